"""What we ask HubSpot, and the shapes its answers come in. Pure.

Facts: developers.hubspot.com as of 2026-11 and recorded answers (named beside what they show). Property values are
strings or null; times are ISO 8601 with milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from phonenumbers import PhoneNumber

from connectors import phone
from connectors.crm.hubspot.manifest import VERSION
from connectors.crm.records import Field, Kind, Option
from connectors.errors import UnexpectedReply, Unsupported
from connectors.json_text import BadJson, parse_json
from connectors.request import Reply, Request

T = TypeVar("T")

# HubSpot has no leads that stand for people: its leads belong to a contact, and the word for "not a customer yet" is the
# contact's lifecycle stage. So a lead of ours is a contact there.
TYPES: Mapping[Kind, str] = {
    Kind.CONTACT: "contacts",
    Kind.LEAD: "contacts",
    Kind.COMPANY: "companies",
    Kind.DEAL: "deals",
    Kind.TICKET: "tickets",
    Kind.CALL: "calls",
    Kind.TASK: "tasks",
    Kind.NOTE: "notes",
    Kind.EVENT: "meetings",
}
TYPE_IDS = {
    "contacts": "0-1",
    "companies": "0-2",
    "deals": "0-3",
    "tickets": "0-5",
    "calls": "0-48",
    "tasks": "0-27",
    "notes": "0-46",
    "meetings": "0-47",
}
ACTIVITIES: Mapping[str, Kind] = {
    "calls": Kind.CALL,
    "notes": Kind.NOTE,
    "meetings": Kind.EVENT,
    "tasks": Kind.TASK,
}

PHONES: Mapping[
    str, Sequence[tuple[str, str, str | None]]
] = {  # property, what we call it, its E.164 as HubSpot reads it
    "contacts": (
        ("mobilephone", "mobile", "hs_calculated_mobile_number"),
        ("phone", "phone", "hs_calculated_phone_number"),
        ("fax", "fax", None),
    ),
    "companies": (("phone", "phone", None),),
}
_CHANGED = {"contacts": "lastmodifieddate"}  # all others: hs_lastmodifieddate
READ: Mapping[str, tuple[str, ...]] = {
    "contacts": (
        "firstname",
        "lastname",
        "salutation",
        "email",
        *(name for row in PHONES["contacts"] for name in (row[0], row[2]) if name),
        "company",
        "associatedcompanyid",
        "hubspot_owner_id",
        "lifecyclestage",
        "hs_language",
        "lastmodifieddate",
    ),
    "companies": ("name", "domain", "phone", "hubspot_owner_id", "lifecyclestage", "hs_lastmodifieddate"),
    "deals": ("dealname", "dealstage", "pipeline", "amount", "deal_currency_code", "closedate", "hs_is_closed"),
    "tickets": ("subject", "hs_pipeline", "hs_pipeline_stage", "hs_ticket_priority", "closed_date"),
    "calls": ("hs_timestamp", "hs_call_title", "hs_body_preview"),
    "notes": ("hs_timestamp", "hs_body_preview"),
    "meetings": ("hs_timestamp", "hs_meeting_title", "hs_body_preview"),
    "tasks": ("hs_timestamp", "hs_task_subject", "hs_body_preview"),
}
MOST_PER_PAGE = 100
MOST_PER_SEARCH = 200
SEARCH_WINDOW = 10_000  # hits one query can be paged through; beyond that is a 400


def changed_field(type: str) -> str:
    """The property with the time of the last change."""
    return _CHANGED.get(type, "hs_lastmodifieddate")


def people_type(kind: Kind) -> str:
    if kind not in (Kind.CONTACT, Kind.LEAD, Kind.COMPANY):
        raise Unsupported(f"HubSpot has no people of the kind {kind.value}")
    return TYPES[kind]


GROUPS = {  # where new properties are shown
    "contacts": "contactinformation",
    "companies": "companyinformation",
    "deals": "dealinformation",
    "tickets": "ticketinformation",
}
FIELD_TYPES = {  # ours → type, fieldType
    "text": ("string", "text"),
    "longtext": ("string", "textarea"),
    "number": ("number", "number"),
    "date": ("date", "date"),
    "datetime": ("datetime", "date"),
    "bool": ("bool", "booleancheckbox"),
    "choice": ("enumeration", "select"),
    "choices": ("enumeration", "checkbox"),
    "phone": ("string", "phonenumber"),
}


# ── what we ask ─────────────────────────────────────────────────────────────────────────────────────────────────────


def path(*segments: str) -> str:
    return "/" + "/".join(quote(segment, safe="") for segment in segments)


def details() -> Request:
    return Request(method="GET", path=path("account-info", VERSION, "details"))


def search_number(type: str, number: PhoneNumber, *, extra: Sequence[str] = (), limit: int) -> Request:
    """Ask for records with this number in any of their phone fields.

    HubSpot ORs at most five groups. Contacts: the searchable fields hold national digits only, so answers are
    over-inclusive and `read_matches` sorts them; a number it could not read stands there as typed. Companies: their
    number is compared as text, so we ask for the spellings people use.
    Source: "Search the CRM", read 2026-11; recorded: contact_search_200, legacy_v1_contact_profile_with_phone_200.
    """
    if type == "contacts":
        digits, plain = phone.national_digits(number), phone.e164(number)
        wanted = [
            ("hs_searchable_calculated_phone_number", digits),
            ("hs_searchable_calculated_mobile_number", digits),
            ("phone", plain),
            ("mobilephone", plain),
            (extra[0] if extra else "fax", plain),
        ]
    else:
        wanted = [("phone", spelling) for spelling in phone.spellings(number)[:5]]
    groups = [{"filters": [{"propertyName": name, "operator": "EQ", "value": value}]} for name, value in wanted]
    return _search(type, {"filterGroups": groups, "properties": [*READ[type], *extra], "limit": limit})


def search_changed(type: str, since: datetime, *, after: str | None = None) -> Request:
    """Records changed at or after `since`, oldest change first."""
    changed = changed_field(type)
    condition = {"propertyName": changed, "operator": "GTE", "value": str(milliseconds(since))}
    return _ordered(type, [condition], changed, after=after)


def search_changed_at(type: str, moment: datetime, *, above_id: str) -> Request:
    """Records changed in exactly this millisecond with an id above `above_id`, by id."""
    changed = changed_field(type)
    at = {"propertyName": changed, "operator": "EQ", "value": str(milliseconds(moment))}
    above = {"propertyName": "hs_object_id", "operator": "GT", "value": above_id}
    return _ordered(type, [at, above], "hs_object_id")


def _ordered(type: str, conditions: list[dict[str, str]], by: str, *, after: str | None = None) -> Request:
    return _search(
        type,
        {
            "filterGroups": [{"filters": conditions}],
            "sorts": [{"propertyName": by, "direction": "ASCENDING"}],
            "properties": list(READ[type]),
            "limit": MOST_PER_SEARCH,
            **({"after": after} if after else {}),
        },
    )


def _search(type: str, body: Mapping[str, Any]) -> Request:
    return Request(method="POST", path=path("crm", "objects", VERSION, type, "search"), json=body, bucket="search")


def read_one(
    type: str,
    id: str,
    *,
    fields: Sequence[str] | None = None,
    associations: Sequence[str] = (),
    by: str | None = None,
) -> Request:
    """One record by id, or by the value `id` of its unique property `by`. Read after write, unlike search."""
    query = [("properties", ",".join(READ[type] if fields is None else fields))]
    if associations:
        query.append(("associations", ",".join(associations)))
    if by:
        query.append(("idProperty", by))
    return Request(method="GET", path=path("crm", "objects", VERSION, type, id), query=query)


def read_many(type: str, ids: Sequence[str], *, fields: Sequence[str] | None = None) -> Request:
    """At most a hundred records by id; missing ones are left out of the answer."""
    body = {"properties": list(READ[type] if fields is None else fields), "inputs": [{"id": id} for id in ids]}
    return Request(method="POST", path=path("crm", "objects", VERSION, type, "batch", "read"), json=body)


def linked(type: str, id: str, to: str, *, after: str | None = None) -> Request:
    """Ids of records associated with one, a page at a time: the only such read among the routes of 2026-09."""
    body = {"inputs": [{"id": id, **({"after": after} if after else {})}]}
    return Request(method="POST", path=path("crm", "associations", VERSION, type, to, "batch", "read"), json=body)


def list_page(type: str, *, after: str | None, limit: int, extra: Sequence[str] = ()) -> Request:
    query = [("limit", str(min(limit, MOST_PER_PAGE))), ("properties", ",".join([*READ[type], *extra]))]
    if after:
        query.append(("after", after))
    return Request(method="GET", path=path("crm", "objects", VERSION, type), query=query)


def owners_page(*, after: str | None = None, email: str | None = None) -> Request:
    query = [("limit", "100")]
    query += [("email", email)] if email else []
    query += [("after", after)] if after else []
    return Request(method="GET", path=path("crm", "owners", VERSION), query=query)


def owner(id: str) -> Request:
    return Request(method="GET", path=path("crm", "owners", VERSION, id))


def pipelines(type: str) -> Request:
    return Request(method="GET", path=path("crm", "pipelines", VERSION, type))


def fields(type: str) -> Request:
    return Request(method="GET", path=path("crm", "properties", VERSION, type))


def field(type: str, name: str) -> Request:
    return Request(method="GET", path=path("crm", "properties", VERSION, type, name))


def create_field(type: str, made: Field, *, group: str, description: str = "") -> Request:
    """Not marked as a write: one that exists already is refused, so a lost answer is simply asked again."""
    hub_type, hub_field_type = FIELD_TYPES[made.type]
    body: dict[str, Any] = {
        "groupName": group,
        "name": made.name,
        "label": made.label,
        "type": hub_type,
        "fieldType": hub_field_type,
    }
    if description:
        body["description"] = description
    if made.unique:
        body["hasUniqueValue"] = True
    if made.type == "bool":
        body["options"] = _options([Option(value="true", label="Yes"), Option(value="false", label="No")])
    elif made.options:
        body["options"] = _options(made.options)
    return Request(method="POST", path=path("crm", "properties", VERSION, type), json=body)


def _options(options: Iterable[Option]) -> list[dict[str, Any]]:
    return [
        {"value": option.value, "label": option.label, "displayOrder": order, "hidden": False}
        for order, option in enumerate(options)
    ]


# ── what comes back ─────────────────────────────────────────────────────────────────────────────────────────────────


class _Id(msgspec.Struct):
    id: str | int


class _ToId(msgspec.Struct, rename="camel"):
    to_object_id: str | int


class _Next(msgspec.Struct):
    after: str | None = None


class Paging(msgspec.Struct):
    next: _Next | None = None


class ItemError(msgspec.Struct):
    """What went wrong with one input of a batch; since 2026-09 it stands in the normal answer."""

    category: str | None = None


class _Around(msgspec.Struct):
    results: list[_Id] = []


class _LinkedOfOne(msgspec.Struct):
    to: list[_ToId] = []
    paging: Paging | None = None


class Linked(msgspec.Struct):
    """A page of ids around one record; empty where there are none, or no such record."""

    results: list[_LinkedOfOne] = []
    errors: list[ItemError] = []

    @property
    def after(self) -> str | None:
        paging = self.results[0].paging if self.results else None
        return paging.next.after if paging and paging.next else None

    def ids(self) -> set[str]:
        return {str(entry.to_object_id) for one in self.results for entry in one.to}


def newest_first(ids: Iterable[str]) -> list[str]:
    """HubSpot's ids grow with time."""
    return sorted(ids, key=lambda id: (len(id), id), reverse=True)


class Object(msgspec.Struct):
    """Any record. `properties` holds what was asked for, null where unset."""

    id: str
    properties: dict[str, str | int | float | bool | None] = {}
    associations: dict[str, _Around] | None = None

    def value(self, name: str) -> str:
        found = self.properties.get(name)
        if isinstance(found, bool):
            return "true" if found else "false"
        return "" if found is None else str(found)

    def linked(self, type: str) -> list[str]:
        """Ids of associated records, newest first."""
        found = {name.lower(): group for name, group in (self.associations or {}).items()}.get(type)
        return newest_first({str(entry.id) for entry in found.results}) if found else []  # a primary one comes twice


class Objects(msgspec.Struct):
    """A page of records. `after` of the next page is opaque when listing and an offset when searching."""

    results: list[Object]
    total: int | None = None
    paging: Paging | None = None
    errors: list[ItemError] = []

    @property
    def after(self) -> str | None:
        return self.paging.next.after if self.paging and self.paging.next else None


def read(reply: Reply, shape: type[T]) -> T:
    """The answer in this shape. Raises `UnexpectedReply` for HTML, half a JSON, nothing, or another shape."""
    try:
        return msgspec.convert(parse_json(reply.body), shape, strict=False)
    except (BadJson, msgspec.ValidationError):
        reason = "HubSpot's answer has a shape it does not document"
        raise UnexpectedReply(reason, status=reply.status) from None


def whole(batch: Linked | Objects) -> None:
    """Raises `UnexpectedReply` if a part failed for another reason than that there is nothing: then absence means nothing."""
    if any(error.category != "OBJECT_NOT_FOUND" for error in batch.errors):
        raise UnexpectedReply("HubSpot answered only a part of the question")


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def stamp(at: datetime) -> str:
    """2026-11-21T21:56:00.000Z"""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: str) -> datetime | None:
    """A time as HubSpot writes it: ISO 8601, a date alone (its midnight, UTC), or milliseconds; None for anything else."""
    try:
        if text.isdigit():
            return datetime.fromtimestamp(int(text) / 1000, UTC)
        if len(text) == 10:
            return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def is_true(value: object) -> bool:
    return value is True or value == "true"
