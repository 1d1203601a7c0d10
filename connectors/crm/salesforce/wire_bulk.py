"""Listing everyone: a page of a keyset query for few, Bulk API 2.0 for many. Pure.

Cursors are ours and opaque to others: `k:<last id>` continues a keyset, `b:<job>` asks a job how far it is, `b:<job>:<locator>`
reads on in its results, which Salesforce keeps for seven days.
Facts: "Query Jobs" of the Bulk API 2.0 guide, 2026-11; simple-salesforce 1.12.10.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from connectors.crm.salesforce import wire_soql as soql
from connectors.crm.salesforce.wire import PAGE, path
from connectors.errors import UnexpectedReply
from connectors.request import Reply, Request

FROM = 2_000  # people from which a job is worth its calls, as Salesforce advises
ROWS = 5_000  # of one page of results: some 2 MB
_JOB = re.compile(r"[A-Za-z0-9]{15,18}", re.ASCII)
_CURSOR = re.compile(
    r"k:(?P<id>[A-Za-z0-9]{0,18})|b:(?P<job>[A-Za-z0-9]{15,18})(?::(?P<locator>[A-Za-z0-9+/=_-]{1,200}))?"
)


class Cursor(msgspec.Struct, frozen=True):
    """Where a listing goes on. `job` empty: the keyset after `id`."""

    id: str = ""
    job: str = ""
    locator: str = ""

    def __str__(self) -> str:
        if self.job:
            return f"b:{self.job}:{self.locator}" if self.locator else f"b:{self.job}"
        return f"k:{self.id}"


def cursor(written: str) -> Cursor:
    """Raises `UnexpectedReply` for what is none of ours."""
    found = _CURSOR.fullmatch(written)
    if found is None:
        raise UnexpectedReply("this listing cannot be continued: its cursor is not one of ours")
    return Cursor(found["id"] or "", found["job"] or "", found["locator"] or "")


def everyone(of: str) -> str:
    """Who is listed: converted leads are contacts by now."""
    return "IsConverted=false" if of == "Lead" else ""


def page(of: str, fields: Sequence[str], *, after: str, limit: int) -> str:
    conditions = [everyone(of), f"Id>{soql.text(after)}" if after else ""]
    return soql.select(fields, of, " AND ".join(filter(None, conditions)), order="Id", limit=min(limit, PAGE))


def count(of: str) -> str:
    return soql.select((), of, everyone(of))


def start(of: str, fields: Sequence[str]) -> Request:
    """Not marked as a write: a job that nobody reads does no harm, so a lost answer is simply asked again."""
    body = {
        "operation": "query",
        "query": soql.select(fields, of, everyone(of)),
        "columnDelimiter": "COMMA",
        "lineEnding": "LF",
    }
    return Request(method="POST", path=path("jobs", "query"), json=body)


def ask(job: str) -> Request:
    return Request(method="GET", path=path("jobs", "query", job))


def results(at: Cursor) -> Request:
    query = [("maxRecords", str(ROWS)), *([("locator", at.locator)] if at.locator else [])]
    return Request(
        method="GET", path=path("jobs", "query", at.job, "results"), query=query, headers={"accept": "text/csv"}
    )


class Job(msgspec.Struct, rename="camel"):
    """`state`: UploadComplete, InProgress, JobComplete, Failed or Aborted."""

    id: str
    state: str
    number_records_processed: int | None = None

    @property
    def is_over(self) -> bool:
        return self.state in ("JobComplete", "Failed", "Aborted")


def read_results(reply: Reply, at: Cursor) -> tuple[list[dict[str, Any]], Cursor | None]:
    """The rows of one page, parents nested as in a query's answer, and where the next one begins; None at the end."""
    if "csv" not in reply.headers.get("content-type", ""):
        raise UnexpectedReply("Salesforce gave no table where one was due", status=reply.status)
    try:
        rows = [
            _nested(row) for row in csv.DictReader(io.StringIO(reply.body.decode("utf-8"), newline=""), strict=True)
        ]
    except (csv.Error, UnicodeDecodeError):
        raise UnexpectedReply("Salesforce's table cannot be read", status=reply.status) from None
    expected = reply.headers.get("sforce-numberofrecords", "")
    if expected.isdigit() and int(expected) != len(rows):
        raise UnexpectedReply("Salesforce's table is not whole", status=reply.status)
    locator = reply.headers.get("sforce-locator", "null")
    if locator in ("null", ""):
        return rows, None
    following = Cursor(job=at.job, locator=locator)
    return rows, cursor(str(following))


def _nested(row: dict[str | Any, Any]) -> dict[str, Any]:
    """`Account.Name` as a value of `Account`; a line with more cells than columns is refused."""
    if None in row:
        raise csv.Error
    nested: dict[str, Any] = {}
    for name, text in row.items():
        if text is None:
            raise csv.Error
        holder = nested
        *parents, last = name.split(".")
        for parent in parents:
            holder = holder.setdefault(parent, {})
        holder[last] = text
    return nested
