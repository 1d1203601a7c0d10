"""What we ask Salesforce, and the shapes its answers come in. Pure.

Facts: developer.salesforce.com (REST API v66.0) as of 2026-11, describes of a real org (../shared/specs/salesforce) and
recorded answers (named beside what they show).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from connectors.crm.records import Kind
from connectors.crm.salesforce.manifest import API
from connectors.errors import UnexpectedReply, Unsupported
from connectors.json_text import BadJson, parse_json
from connectors.request import Reply, Request

T = TypeVar("T")

TYPES: Mapping[Kind, str] = {
    Kind.CONTACT: "Contact",
    Kind.LEAD: "Lead",
    Kind.COMPANY: "Account",
    Kind.DEAL: "Opportunity",
    Kind.TICKET: "Case",
    Kind.CALL: "Task",
    Kind.TASK: "Task",
    Kind.NOTE: "ContentNote",
    Kind.EVENT: "Event",
}
PEOPLE: Mapping[str, Kind] = {"Contact": Kind.CONTACT, "Lead": Kind.LEAD, "Account": Kind.COMPANY}

PHONES: Mapping[str, Sequence[tuple[str, str]]] = {  # field, what we call it; the first ones are filled first
    "Contact": (
        ("MobilePhone", "mobile"),
        ("Phone", "phone"),
        ("HomePhone", "home"),
        ("OtherPhone", "other"),
        ("AssistantPhone", "assistant"),
        ("Fax", "fax"),
    ),
    "Lead": (("MobilePhone", "mobile"), ("Phone", "phone"), ("Fax", "fax")),
    "Account": (("Phone", "phone"), ("Fax", "fax")),
}
_PERSON = ("Id", "Name", "FirstName", "LastName", "Salutation", "Email")
READ: Mapping[str, tuple[str, ...]] = {
    "Contact": (
        *_PERSON,
        *(field for field, _ in PHONES["Contact"]),
        "AccountId",
        "Account.Name",
        "OwnerId",
        "Owner.Name",
        "Owner.Email",
        "SystemModstamp",
    ),
    "Lead": (
        *_PERSON,
        *(field for field, _ in PHONES["Lead"]),
        "Company",
        "Rating",
        "OwnerId",
        "Owner.Name",
        "Owner.Email",
        "SystemModstamp",
    ),
    "Account": (
        "Id",
        "Name",
        *(field for field, _ in PHONES["Account"]),
        "Rating",
        "OwnerId",
        "Owner.Name",
        "Owner.Email",
        "SystemModstamp",
    ),
}
GONE: Mapping[str, tuple[str, ...]] = {  # says where a record went
    "Contact": ("IsDeleted", "MasterRecordId"),
    "Account": ("IsDeleted", "MasterRecordId"),
    "Lead": ("IsDeleted", "MasterRecordId", "IsConverted", "ConvertedContactId"),
}
SUBREQUESTS = 25  # of one composite request
QUERIES = 5  # of those, at most so many queries
PAGE = 2_000  # rows of one answer


def people_type(kind: Kind) -> str:
    if kind not in (Kind.CONTACT, Kind.LEAD, Kind.COMPANY):
        raise Unsupported(f"Salesforce has no people of the kind {kind.value}")
    return TYPES[kind]


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────


def path(*segments: str) -> str:
    return f"{API}/{'/'.join(quote(segment, safe='') for segment in segments)}"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One subrequest of a composite request. `url` is relative to the API's version; references stay as they are."""

    ref: str
    method: str
    url: str
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = {}

    def shown(self) -> dict[str, Any]:
        told: dict[str, Any] = {"method": self.method, "url": f"{API}/{self.url}", "referenceId": self.ref}
        if self.body is not None:
            told["body"] = self.body
        if self.headers:
            told["httpHeaders"] = dict(self.headers)
        return told


def composite(parts: Sequence[Part], *, all_or_none: bool = False, writes: bool = False) -> Request:
    """Up to 25 subrequests as one call of the org's allowance. The answer is 200 whatever became of them.

    They are carried out in their order: left alone, Salesforce gathers those of one object since v49 and carries them out in
    any ("Composite Request Body", 2026-11).
    """
    body = {"allOrNone": all_or_none, "compositeRequest": [part.shown() for part in parts]}
    if writes:
        body["collateSubrequests"] = False
    return Request(method="POST", path=path("composite"), json=body, writes=writes)


def asking(ref: str, soql: str, *, deleted: bool = False) -> Part:
    """A query as a subrequest. `deleted`: what lies in the recycle bin too."""
    where = "queryAll" if deleted else "query"
    return Part(ref=ref, method="GET", url=f"{where}/?{urlencode({'q': soql}, quote_via=quote)}")


def query(soql: str, *, deleted: bool = False) -> Request:
    return Request(method="GET", path=path("queryAll" if deleted else "query"), query=[("q", soql)])


_NEXT = re.compile(r"/services/data/v\d{2,3}\.0/(query(?:All)?)/([A-Za-z0-9-]{10,80})", re.ASCII)


def query_more(url: str) -> Request:
    """The next page of a query. Only its locator is believed: an address inside an answer is never dialled."""
    found = _NEXT.fullmatch(url)
    if found is None:
        raise UnexpectedReply("Salesforce's answer points to a next page in a shape it does not document")
    return Request(method="GET", path=path(found[1], found[2]))


def search(sosl: str) -> Request:
    return Request(method="GET", path=path("search") + "/", query=[("q", sosl)])


def describe(of: str) -> Request:
    return Request(method="GET", path=path("sobjects", of, "describe"))


# ── what comes back ─────────────────────────────────────────────────────────────────────────────────────────────────

Row = Mapping[str, Any]
"""One record as the API shows it: fields by name, parents as rows, children as nested query answers, `attributes`."""


class Rows(msgspec.Struct, rename="camel"):
    """A query's answer (recorded: n_contacts_query_200, g_query_200)."""

    records: list[dict[str, Any]]
    total_size: int = 0
    done: bool = True
    next_records_url: str | None = None


class Found(msgspec.Struct, rename="camel"):
    """A search's answer since v37 (recorded: n_param_search_empty_200)."""

    search_records: list[dict[str, Any]]


class Answered(msgspec.Struct, rename="camel"):
    """What became of one subrequest: `body` is what the same request answers alone, a list of errors if it failed."""

    http_status_code: int
    reference_id: str
    body: Any = None
    http_headers: dict[str, Any] = {}

    @property
    def good(self) -> bool:
        return 200 <= self.http_status_code < 300

    def reply(self) -> Reply:
        """The same as the reply it would have been alone."""
        return Reply(status=self.http_status_code, headers={}, body=msgspec.json.encode(self.body))


class _Composite(msgspec.Struct, rename="camel"):
    composite_response: list[Answered]


class Saved(msgspec.Struct):
    """A create's or upsert's answer (recorded: create_201, n_upsert_contact_email_201)."""

    id: str
    success: bool = True
    created: bool | None = None


def read(reply: Reply, shape: type[T]) -> T:
    """The answer in this shape. Raises `UnexpectedReply` for HTML, half a JSON, nothing, or another shape."""
    try:
        return msgspec.convert(parse_json(reply.body), shape, strict=False)
    except (BadJson, msgspec.ValidationError):
        reason = "Salesforce's answer has a shape it does not document"
        raise UnexpectedReply(reason, status=reply.status) from None


def read_composite(reply: Reply, refs: Sequence[str]) -> dict[str, Answered]:
    """What became of each of `refs`. Raises `UnexpectedReply` unless every one of them is answered."""
    told = {answer.reference_id: answer for answer in read(reply, _Composite).composite_response}
    if any(ref not in told for ref in refs):
        raise UnexpectedReply("Salesforce answered only a part of the question", status=reply.status)
    return told


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def value(row: Row, field: str) -> str:
    """A field as text, "" if it has none; a path ("Account.Name") goes through parents."""
    found: Any = row
    for step in field.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    if isinstance(found, bool):
        return "true" if found else "false"
    return "" if found is None or isinstance(found, Mapping | list) else str(found)


def children(row: Row, name: str) -> list[dict[str, Any]]:
    """The records of a subquery; none where it is null."""
    found = row.get(name)
    listed = found.get("records") if isinstance(found, Mapping) else None
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def type_of(row: Row) -> str:
    return value(row, "attributes.type")


def stamp(at: datetime) -> str:
    """2026-11-21T21:56:00.000Z"""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: str) -> datetime | None:
    """A time as Salesforce writes it (2026-05-01T07:25:37.000+0000), or a date's midnight, UTC; None for anything else."""
    try:
        if len(text) == 10:
            return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def amount(text: str) -> Decimal | None:
    try:
        read = Decimal(text)
    except InvalidOperation:
        return None
    return read if read.is_finite() else None
