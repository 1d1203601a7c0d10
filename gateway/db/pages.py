"""Pages of a list: `?limit=≤200&cursor=`, newest first, by key and not by offset.

A cursor is the id of the last row of the page before, made opaque so that nobody builds one.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Query

from gateway.errors import Invalid

T = TypeVar("T")
_ID = re.compile(r"[a-z]{2}_[0-9a-z]{1,36}")


@dataclass(frozen=True)
class Wanted:
    """Which page. `before`: ids older than this one; None: from the newest."""

    limit: int
    before: str | None

    def of(self, rows: Sequence[T], id_of: Callable[[T], str]) -> tuple[Sequence[T], str | None]:
        """The page's rows and the cursor of the next, from up to `limit + 1` rows."""
        page = rows[: self.limit]
        return page, cursor(id_of(page[-1])) if len(rows) > self.limit else None


def cursor(row_id: str) -> str:
    return base64.urlsafe_b64encode(row_id.encode()).decode().rstrip("=")


def read_cursor(text: str) -> str:
    """The id in a cursor. Raises `Invalid`."""
    try:
        row_id = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        row_id = ""
    if not _ID.fullmatch(row_id):
        raise Invalid("query.cursor", "is not one of ours; leave it out to begin with the newest")
    return row_id


def _wanted(
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=100, description="`next` of the page before.")] = None,
) -> Wanted:
    return Wanted(limit, None if cursor is None else read_cursor(cursor))


Page = Annotated[Wanted, Depends(_wanted)]
"""`page: Page`; ask the database for `page.limit + 1` rows before `page.before`."""
