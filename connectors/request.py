"""An HTTP request and its reply as values, so that wire formats stay pure and testable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request to an API, relative to the connection's origin.

    path      starts with "/", segments already quoted (`quote(safe="")`).
    query     in order; repeated names allowed.
    json      sent as compact UTF-8 JSON; exclusive with `form`.
    form      sent as application/x-www-form-urlencoded.
    bucket    which of the account's rate limits it spends ("api", "search", …; the manifest names them).
    cost      how much of it, where a vendor charges requests differently (tokens, credits).
    writes    True when a lost answer leaves us not knowing (everything that changes the CRM).
    """

    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    json: Any = None
    form: Sequence[tuple[str, str]] | None = None
    headers: Mapping[str, str] = {}
    bucket: str = "api"
    cost: int = 1
    writes: bool = False


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came back. `headers` has lower-case names; `body` is decoded content, at most the sender's cap."""

    status: int
    headers: Mapping[str, str]
    body: bytes
