"""What we ask Zoho CRM, and the shapes its answers come in. Pure.

Facts: zoho.com/crm/developer as of 2026-11, zoho/crm-oas v8.0, and recorded answers (named beside what they show; they
are of version 2, whose members are the same). Ids are strings of 19 digits; times have an offset; "nothing" is a 204
without a body.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from phonenumbers import PhoneNumber

from connectors import phone
from connectors.crm.records import Field, Kind
from connectors.crm.zoho import wire_coql as coql
from connectors.crm.zoho.manifest import VERSION
from connectors.errors import UnexpectedReply, Unsupported
from connectors.json_text import BadJson, parse_json
from connectors.request import Reply, Request

T = TypeVar("T")
Row = Mapping[str, Any]
"""A record as Zoho gives it: what was asked for, null where empty; links are objects with an id."""

MODULES: Mapping[Kind, str] = {
    Kind.CONTACT: "Contacts",
    Kind.LEAD: "Leads",
    Kind.COMPANY: "Accounts",
    Kind.DEAL: "Deals",
    Kind.TICKET: "Cases",
    Kind.CALL: "Calls",
    Kind.TASK: "Tasks",
    Kind.NOTE: "Notes",
    Kind.EVENT: "Events",
}
KINDS: Mapping[str, Kind] = {module: kind for kind, module in MODULES.items()}
PEOPLE = (Kind.CONTACT, Kind.LEAD, Kind.COMPANY)  # what holds phone numbers

LABELS: Mapping[str, str] = {  # fields every account has, as we call them; further ones keep their own name
    "Mobile": "mobile",
    "Phone": "phone",
    "Home_Phone": "home",
    "Other_Phone": "other",
    "Asst_Phone": "assistant",
    "Fax": "fax",
}
STANDARD_PHONES: Mapping[str, tuple[str, ...]] = {
    "Contacts": ("Mobile", "Phone", "Home_Phone", "Other_Phone", "Asst_Phone", "Fax"),
    "Leads": ("Mobile", "Phone", "Fax"),
    "Accounts": ("Phone", "Fax"),
}
READ: Mapping[str, tuple[str, ...]] = {
    "Contacts": (
        *("First_Name", "Last_Name", "Full_Name", "Salutation", "Email", "Account_Name", "Owner", "Modified_Time"),
    ),
    "Leads": (
        *("First_Name", "Last_Name", "Full_Name", "Salutation", "Email", "Company", "Owner", "Rating", "Modified_Time"),
    ),
    "Accounts": ("Account_Name", "Owner", "Account_Type", "Modified_Time"),
}
CONVERTED = ("Converted_Contact", "Converted_Account")  # of a lead; COQL does not know them, its record does

MOST_PER_PAGE = 200
DIGITS = re.compile(r"\d{1,19}", re.ASCII)


def people_module(kind: Kind) -> str:
    if kind not in PEOPLE:
        raise Unsupported(f"Zoho has no people of the kind {kind.value}")
    return MODULES[kind]


# ── what we ask ─────────────────────────────────────────────────────────────────────────────────────────────────────


def path(*segments: str) -> str:
    return f"/crm/{VERSION}/" + "/".join(quote(segment, safe="") for segment in segments)


def org() -> Request:
    return Request(method="GET", path=path("org"))


def search_phone(module: str, number: PhoneNumber, *, fields: Sequence[str]) -> Request:
    """Records with these digits in any field for phone numbers, custom ones too.

    Partial matches are answered, so the national digits find every way of writing the country; the caller keeps what is
    the same number. Whether punctuation counts is not documented: `spelled` covers the other case.
    Source: oas-3.1/module-search.json; recorded: nango-search-records (nothing found is 204).
    """
    query = [("phone", phone.national_digits(number)[-10:]), ("fields", ",".join(fields)), ("per_page", "20")]
    return Request(method="GET", path=path(module, "search"), query=query)


def spelled(module: str, number: PhoneNumber, *, phones: Sequence[str], columns: Sequence[str]) -> Request:
    """Records where a number stands exactly as people write it. No index in between: what was just written is found."""
    written = spellings(number)
    where = coql.either([coql.among(field, written) for field in phones[:20]])
    return coql.select(["id", *columns], module, where, limit=20)


def spellings(number: PhoneNumber) -> list[str]:
    """`phone.spellings` and the ways of separating that are common around us."""
    _, international, national, *_ = phone.spellings(number)
    code, _, rest = international.partition(" ")
    more = (f"{code} (0){rest}", f"{code} (0) {rest}", *(national.replace(" ", mark) for mark in ".-"))
    return list(dict.fromkeys((*phone.spellings(number), *more, international.replace(" ", "-"))))


def read_one(module: str, id: str, *, fields: Sequence[str]) -> Request:
    """One record. A read of the database, unlike search. An unknown id is a 204, or a 400 about the id."""
    return Request(method="GET", path=path(module, id), query=[("fields", ",".join(dict.fromkeys(fields)))])


def list_after(module: str, *, columns: Sequence[str], above: str, limit: int) -> Request:
    """Records in the order they were made, beyond the id `above`. Ids grow with time."""
    wanted = f"id > {coql.text(above)}"
    return coql.select(["id", *columns], module, wanted, order=["id"], limit=min(limit, coql.MOST_ROWS))


def changed_since(module: str, since: datetime, *, above: str | None, columns: Sequence[str], limit: int) -> Request:
    """Records changed at or after `since`, oldest change first; with `above`, only what comes behind that record."""
    at = coql.time(since)
    wanted = f"Modified_Time >= {at}"
    if above is not None:
        wanted = f"(Modified_Time > {at} or (Modified_Time = {at} and id > {coql.text(above)}))"
    return coql.select(["id", *columns], module, wanted, order=["Modified_Time", "id"], limit=limit)


def deleted(module: str, since: datetime, *, page: int) -> Request:
    """A 304 when nothing was."""
    query = [("type", "all"), ("page", str(page)), ("per_page", str(MOST_PER_PAGE))]
    return Request(method="GET", path=path(module, "deleted"), query=query, headers=modified_since(since), cost=2)


def converted_leads(since: datetime, *, page_token: str | None) -> Request:
    """Leads that became contacts, latest change first. A 304 when none was changed."""
    query = [("fields", ",".join((*CONVERTED, "Modified_Time"))), ("converted", "true")]
    query += [("per_page", str(MOST_PER_PAGE)), ("sort_by", "Modified_Time"), ("sort_order", "desc")]
    query += [("page_token", page_token)] if page_token else []
    return Request(method="GET", path=path("Leads"), query=query, headers=modified_since(since))


def modified_since(since: datetime) -> Mapping[str, str]:
    return {"If-Modified-Since": since.isoformat(timespec="seconds")}


def notes_of(module: str, id: str, *, page: int = 1, most: int = MOST_PER_PAGE) -> Request:
    """Notes on one record, latest first."""
    query = [("fields", "Note_Title,Note_Content,Created_Time"), ("page", str(page)), ("per_page", str(most))]
    query += [("sort_by", "Created_Time"), ("sort_order", "desc")]
    return Request(method="GET", path=path(module, id, "Notes"), query=query)


def users(*, page: int = 1) -> Request:
    query = [("type", "ActiveUsers"), ("page", str(page)), ("per_page", str(MOST_PER_PAGE))]
    return Request(method="GET", path=path("users"), query=query)


def user(id: str) -> Request:
    return Request(method="GET", path=path("users", id))


def fields(module: str) -> Request:
    return Request(method="GET", path=path("settings", "fields"), query=[("module", module)])


def tags(module: str) -> Request:
    return Request(method="GET", path=path("settings", "tags"), query=[("module", module)])


def layouts(module: str) -> Request:
    return Request(method="GET", path=path("settings", "layouts"), query=[("module", module)])


def pipelines(layout: str) -> Request:
    return Request(method="GET", path=path("settings", "pipeline"), query=[("layout_id", layout)])


FIELD_TYPES: Mapping[str, str] = {  # ours → Zoho's
    "text": "text",
    "longtext": "textarea",
    "number": "integer",
    "date": "date",
    "datetime": "datetime",
    "choice": "picklist",
    "choices": "multiselectpicklist",
    "phone": "phone",
}


def create_field(module: str, made: Field) -> Request:
    """Not marked as a write: one that exists already is refused, so a lost answer is simply asked again."""
    body: dict[str, Any] = {"field_label": label_for(made.name, made.label), "data_type": FIELD_TYPES[made.type]}
    if made.type == "text":
        body["length"] = 255
    if made.type == "longtext":
        body["textarea"] = {"type": "small"}
    if made.type == "number":
        body["length"] = 9
    if made.unique:
        body["unique"] = {"case_sensitive": False}  # older pages: "casesensitive", as a text
    if made.options:
        body["pick_list_values"] = [{"display_value": one.label, "actual_value": one.value} for one in made.options]
    return Request(method="POST", path=path("settings", "fields"), query=[("module", module)], json={"fields": [body]})


def name_for(label: str) -> str:
    """The name Zoho makes out of a label: "Gateway Key" → "Gateway_Key"."""
    return re.sub(r"\W+", "_", label.strip(), flags=re.ASCII).strip("_")


def label_for(name: str, label: str) -> str:
    """A label from which Zoho makes this name: the wished one if it does, else the name in words."""
    return label if name_for(label) == name else name.replace("_", " ")


# ── what comes back ─────────────────────────────────────────────────────────────────────────────────────────────────


class Info(msgspec.Struct):
    more_records: bool = False
    count: int | None = None
    next_page_token: str | None = None


class Rows(msgspec.Struct):
    """A page of records."""

    data: list[dict[str, Any]]
    info: Info = msgspec.field(default_factory=Info)


class Written(msgspec.Struct):
    """What Zoho says of one record it was given (recorded: nango-create-call, nango-update-lead)."""

    code: str
    status: str = ""
    message: str = ""
    details: dict[str, Any] = {}
    action: str | None = None

    @property
    def id(self) -> str | None:
        """Of the record; None if it says none."""
        found = self.details.get("id")
        return found if isinstance(found, str) and DIGITS.fullmatch(found) else None


class _AllWritten(msgspec.Struct):
    data: list[Written]


def read(reply: Reply, shape: type[T]) -> T:
    """The answer in this shape. Raises `UnexpectedReply` for HTML, half a JSON, nothing, or another shape."""
    try:
        return msgspec.convert(parse_json(reply.body), shape, strict=False)
    except (BadJson, msgspec.ValidationError):
        reason = "Zoho's answer has a shape it does not document"
        raise UnexpectedReply(reason, status=reply.status) from None


def read_rows(reply: Reply) -> Rows:
    """The records in an answer; none in a 204. Anything else without records is no answer."""
    if reply.status == 204 and not reply.body:
        return Rows(data=[])
    return read(reply, Rows)


def read_written(reply: Reply) -> Written:
    """What became of the one record in a write. Raises `UnexpectedReply` if that cannot be told."""
    found = read(reply, _AllWritten).data
    if len(found) != 1:
        raise UnexpectedReply("Zoho answered for another number of records than it was given", status=reply.status)
    return found[0]


class _Entry(msgspec.Struct):
    code: str = ""
    status: str = ""


def refused_in(reply: Reply, part: str) -> str | None:
    """The code of the first entry of a 2xx that is a refusal all the same; None if all went well."""
    entries = read(reply, dict[str, list[_Entry]]).get(part, [])
    return next((one.code for one in entries if one.status == "error"), None)


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def value(row: Row, name: str) -> str:
    """A field as text; "" where it is empty. Of a link its id."""
    match row.get(name):
        case None:
            return ""
        case bool() as truth:
            return "true" if truth else "false"
        case str() as said:
            return said
        case {"id": str() as id}:
            return id
        case list() as several:
            return ";".join(map(_shown, several))
        case int() | float() as number:
            return str(number)
        case _:
            return ""


def _shown(item: object) -> str:
    return str(item.get("name", "")) if isinstance(item, dict) else str(item)


def link(row: Row, name: str) -> tuple[str, str] | None:
    """(id, name) of what a link points at. A lead's `converted` members of older versions are plain ids."""
    found = row.get(name)
    if isinstance(found, str) and DIGITS.fullmatch(found):
        return found, ""
    if isinstance(found, dict) and isinstance(found.get("id"), str):
        return found["id"], str(found.get("name") or "")
    return None


def converted_into(row: Row) -> str | None:
    """The contact a lead has become; None if it is still a lead."""
    details = row.get("$converted_detail")
    for place, name in ((row, "Converted_Contact"), (details if isinstance(details, dict) else {}, "contact")):
        if found := link(place, name):
            return found[0]
    return None


def moment(text: str) -> datetime | None:
    """A time as Zoho writes it: ISO 8601 with an offset, or a day alone (its midnight, UTC)."""
    try:
        if len(text) == 10:
            return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def stamp(at: datetime) -> str:
    """2026-11-21T14:05:00+00:00: Zoho takes no fractions of a second."""
    return at.astimezone(UTC).isoformat(timespec="seconds")


def ids(rows: Iterable[Row]) -> list[str]:
    return [value(row, "id") for row in rows]
