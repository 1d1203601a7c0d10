"""What we ask Pipedrive, and the shapes its answers come in. Pure.

Facts: OpenAPI v1 and v2 of 2026-08, developer guide as of 2026-11, and recorded answers (named beside what they show).
`cost` is the operation's `x-token-cost`: what it takes of the company's daily tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from phonenumbers import PhoneNumber

from connectors import phone
from connectors.crm.pipedrive.manifest import V1, V2
from connectors.crm.records import Kind
from connectors.errors import UnexpectedReply, Unsupported
from connectors.json_text import BadJson, parse_json
from connectors.request import Reply, Request

T = TypeVar("T")

RESOURCES: Mapping[Kind, str] = {
    Kind.CONTACT: "persons",
    Kind.COMPANY: "organizations",
    Kind.LEAD: "leads",
    Kind.DEAL: "deals",
    Kind.NOTE: "notes",
    Kind.CALL: "activities",
    Kind.TASK: "activities",
    Kind.EVENT: "activities",
    Kind.TICKET: "activities",
}
_OF_V1 = frozenset({"leads", "notes"})  # everything else has a v2 twin
FIELD_LISTS: Mapping[Kind, str] = {
    Kind.CONTACT: "personFields",
    Kind.COMPANY: "organizationFields",
    Kind.DEAL: "dealFields",
    Kind.LEAD: "dealFields",  # leads inherit the custom fields of deals
}
LINKS: Mapping[Kind, str] = {  # the parameter and member that joins something to a record of this kind
    Kind.CONTACT: "person_id",
    Kind.COMPANY: "org_id",
    Kind.DEAL: "deal_id",
    Kind.LEAD: "lead_id",
}
MOST_PER_PAGE = 500
MOST_IDS = 100
MOST_PER_SEARCH = 10
SPELLINGS = 5  # how many spellings of a number are searched; each costs a search


def people_kind(kind: Kind) -> Kind:
    if kind not in (Kind.CONTACT, Kind.LEAD, Kind.COMPANY):
        raise Unsupported(f"Pipedrive has no people of the kind {kind.value}")
    return kind


# ── what we ask ─────────────────────────────────────────────────────────────────────────────────────────────────────


def path(version: str, *segments: str) -> str:
    return version + "".join(f"/{quote(segment, safe='')}" for segment in segments)


def ask(version: str, *segments: str, cost: int, query: Sequence[tuple[str, str]] = (), bucket: str = "api") -> Request:
    return Request(method="GET", path=path(version, *segments), query=query, cost=cost, bucket=bucket)


def me() -> Request:
    return ask(V1, "users", "me", cost=2)


def users() -> Request:
    return ask(V1, "users", cost=20)


def pipelines(cursor: str | None = None) -> Request:
    return ask(V2, "pipelines", query=_page(MOST_PER_PAGE, cursor), cost=5)


def stages(cursor: str | None = None) -> Request:
    """Of all pipelines, in their order."""
    return ask(V2, "stages", query=[("sort_by", "order_nr"), *_page(MOST_PER_PAGE, cursor)], cost=5)


def activity_types() -> Request:
    return ask(V1, "activityTypes", cost=20)


def activity_fields() -> Request:
    """In v1: its twin wants the scope `admin`."""
    return ask(V1, "activityFields", cost=20)


def lead_labels() -> Request:
    return ask(V1, "leadLabels", cost=10)


def fields(kind: Kind, cursor: str | None = None) -> Request:
    return ask(V2, FIELD_LISTS[kind], query=_page(MOST_PER_PAGE, cursor), cost=10)


def search_number(term: str) -> Request:
    """People with this text in a phone field, organisations and people with it in a custom field, and the leads of those.

    Numbers are compared as text, hence one search for each of `number_terms`; no other match would be any wider
    without being wrong. Late: a person just made may be missing. Source: OpenAPI v2, itemSearch.
    """
    query = [
        ("term", term),
        ("item_types", "person,organization"),
        ("fields", "phone,custom_fields"),
        ("exact_match", "true"),
        ("search_for_related_items", "true"),
        ("limit", str(MOST_PER_SEARCH)),
    ]
    return ask(V2, "itemSearch", query=query, cost=20, bucket="search")


def number_terms(number: PhoneNumber) -> tuple[str, ...]:
    """The spellings worth a search: E.164, the two with spaces, national digits, with 00."""
    return phone.spellings(number)[:SPELLINGS]


def search_email(email: str) -> Request:
    query = [("term", email), ("fields", "email"), ("exact_match", "true"), ("limit", str(MOST_PER_SEARCH))]
    return ask(V2, "persons", "search", query=query, cost=20, bucket="search")


def search_company(name: str) -> Request:
    query = [("term", name), ("fields", "name"), ("exact_match", "true"), ("limit", str(MOST_PER_SEARCH))]
    return ask(V2, "organizations", "search", query=query, cost=20, bucket="search")


def read_one(kind: Kind, id: str) -> Request:
    resource = RESOURCES[kind]
    return ask(V1, resource, id, cost=2) if resource in _OF_V1 else ask(V2, resource, id, cost=1)


def read_many(kind: Kind, ids: Sequence[str]) -> Request:
    """At most a hundred by id; missing ones are left out of the answer."""
    query = [("ids", ",".join(ids)), ("limit", str(MOST_IDS))]
    return ask(V2, RESOURCES[kind], query=query, cost=10)


def newest(kind: Kind, *, limit: int, about: tuple[str, str] | None = None, cursor: str | None = None) -> Request:
    """Records as they were added, the last one first: read after write, unlike search.

    about  ("person_id", "7"): only what belongs to that record. Activities count by their primary participant.
    """
    query = [about] if about else []
    query += [("sort_by", "add_time"), ("sort_direction", "desc"), *_page(limit, cursor)]
    return ask(V2, RESOURCES[kind], query=query, cost=10)


def notes_of(about: tuple[str, str], *, start: int, limit: int = 100) -> Request:
    """The notes of one record, the last one made first (`add_time` is the writer's choice, ids are not)."""
    return ask(V1, "notes", query=[about, ("sort", "id DESC"), *_offset(start, limit)], cost=20)


def leads_of(about: tuple[str, str], *, limit: int = 100) -> Request:
    """The living leads of a person or an organisation, oldest first."""
    name, id = about
    of = ("organization_id", id) if name == "org_id" else about
    return ask(V1, "leads", query=[of, *_offset(0, limit)], cost=20)


def open_deals(about: tuple[str, str], *, limit: int) -> Request:
    """Archived ones are not among them."""
    query = [about, ("status", "open"), ("sort_by", "update_time"), ("sort_direction", "desc"), ("limit", str(limit))]
    return ask(V2, "deals", query=query, cost=10)


def activities_of(about: tuple[str, str], *, limit: int) -> Request:
    query = [about, ("sort_by", "update_time"), ("sort_direction", "desc"), ("limit", str(limit))]
    return ask(V2, "activities", query=query, cost=10)


def list_page(kind: Kind, *, after: str | None, limit: int) -> Request:
    """`after` is v2's cursor, or v1's offset for leads."""
    if kind is Kind.LEAD:
        return ask(V1, "leads", query=_offset(int(after or 0), min(limit, MOST_IDS)), cost=20)
    return ask(V2, RESOURCES[kind], query=[("sort_by", "id"), *_page(min(limit, MOST_PER_PAGE), after)], cost=10)


def changed_page(kind: Kind, since: datetime, *, after: str | None) -> Request:
    """Changed at or after `since`, oldest change first. Fractions of seconds are refused: the time is cut, not rounded."""
    if kind is Kind.LEAD:
        query = [("updated_since", stamp(since)), ("sort", "update_time ASC"), *_offset(int(after or 0), MOST_IDS)]
        return ask(V1, "leads", query=query, cost=20)
    query = [("updated_since", stamp(since)), ("sort_by", "update_time"), *_page(MOST_PER_PAGE, after)]
    return ask(V2, RESOURCES[kind], query=query, cost=10)


def recents(kind: Kind, since: datetime, *, start: int) -> Request:
    """What changed of one kind, deletions among it."""
    item = "organization" if kind is Kind.COMPANY else "person"
    query = [("since_timestamp", v1_stamp(since)), ("items", item), *_offset(start, MOST_PER_PAGE)]
    return ask(V1, "recents", query=query, cost=20)


def webhooks() -> Request:
    return ask(V1, "webhooks", cost=10)


def create_webhook(address: str, entity: str, *, user: str, password: str) -> Request:
    """The address is tried at once: https, reachable, no redirects. Not marked as a write: those there are are read first."""
    body = {
        "subscription_url": address,
        "event_action": "*",
        "event_object": entity,
        "name": f"Voice gateway: {entity}",
        "version": "2.0",
        "http_auth_user": user,
        "http_auth_password": password,
    }
    return Request(method="POST", path=path(V1, "webhooks"), json=body, cost=10)


def delete_webhook(id: str) -> Request:
    return Request(method="DELETE", path=path(V1, "webhooks", id), cost=6)


def _page(limit: int, cursor: str | None) -> list[tuple[str, str]]:
    return [("limit", str(limit)), *([("cursor", cursor)] if cursor else [])]


def _offset(start: int, limit: int) -> list[tuple[str, str]]:
    return [("start", str(start)), ("limit", str(limit))]


# ── what comes back ─────────────────────────────────────────────────────────────────────────────────────────────────


class Entry(msgspec.Struct, frozen=True):
    """One of a person's numbers or addresses."""

    value: str
    label: str = ""
    primary: bool = False


class Row(msgspec.Struct, frozen=True):
    """Any record, by the vendor's own names. v2 has plain ids where v1 embeds objects; both are read."""

    raw: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.raw["id"])

    def value(self, name: str) -> str:
        """As text, "" for nothing. Custom fields lie beside the others in v1 and in an object of their own in v2."""
        return text_of(self.own(name))

    def own(self, name: str) -> Any:
        custom = self.raw.get("custom_fields")
        if isinstance(custom, dict) and name in custom:
            return custom[name]
        return self.raw.get(name)

    def entries(self, name: str) -> list[Entry]:
        """Numbers or addresses: `phones` in v2, `phone` in v1; empty ones, as v1 has them (recorded: nango-update-person),
        are left out. The primary one comes first."""
        listed = self.raw.get(name, self.raw.get(name.removesuffix("s")))
        found = [
            Entry(str(each["value"]).strip(), str(each.get("label") or ""), bool(each.get("primary")))
            for each in (listed if isinstance(listed, list) else [])
            if isinstance(each, dict) and str(each.get("value") or "").strip()
        ]
        return sorted(found, key=lambda entry: not entry.primary)

    def ids(self, name: str) -> list[str]:
        listed = self.raw.get(name)
        return [str(each) for each in listed] if isinstance(listed, list) else []

    def flag(self, name: str) -> bool:
        return self.raw.get(name) in (True, 1, "1")

    @property
    def is_gone(self) -> bool:
        """Deleted ones answer to their id for thirty days."""
        return self.flag("is_deleted") or self.raw.get("active_flag") is False


class Rows(msgspec.Struct, frozen=True):
    """A page of records. `after` is v2's opaque cursor, or v1's next offset as text."""

    results: tuple[Row, ...]
    after: str | None = None


class Found(msgspec.Struct, frozen=True):
    """What a search found, and the leads and deals of those."""

    items: tuple[Row, ...]
    related: tuple[Row, ...] = ()

    def ids(self, type: str) -> list[str]:
        return [row.id for row in self.items if row.value("type") == type]


def read(reply: Reply) -> Any:
    """`data` of an answer that says `success`. Raises `UnexpectedReply` for HTML, half a JSON, or another shape."""
    return envelope(reply)["data"]


def read_row(reply: Reply) -> Row:
    return _row(read(reply), reply)


def read_rows(reply: Reply) -> Rows:
    """A list; null stands for an empty one in v1."""
    said = envelope(reply)
    listed = said["data"]
    if listed is None:
        listed = []
    if not isinstance(listed, list):
        raise _unexpected(reply)
    more = said.get("additional_data")
    return Rows(tuple(_row(each, reply) for each in listed), _after(more if isinstance(more, dict) else {}, reply))


def read_found(reply: Reply) -> Found:
    """`result_score` and the item, in a list of what was found and one of what belongs to it."""
    data = read(reply)
    if not isinstance(data, dict) or not isinstance(data.get("items"), list):
        raise _unexpected(reply)

    def items(name: str) -> tuple[Row, ...]:
        listed = data.get(name) or []
        return tuple(_row(each.get("item") if isinstance(each, dict) else None, reply) for each in listed)

    return Found(items("items"), items("related_items"))


def as_shape(value: Any, shape: type[T], reply: Reply) -> T:
    try:
        return msgspec.convert(value, shape, strict=False)
    except msgspec.ValidationError:
        raise _unexpected(reply) from None


def envelope(reply: Reply) -> Mapping[str, Any]:
    """The whole answer, of which `success` is true and `data` there."""
    try:
        said = parse_json(reply.body)
    except BadJson:
        raise _unexpected(reply) from None
    if not isinstance(said, dict) or said.get("success") is not True or "data" not in said:
        raise _unexpected(reply)
    return said


def _row(value: Any, reply: Reply) -> Row:
    if not isinstance(value, dict) or not isinstance(value.get("id"), int | str) or value["id"] == "":
        raise _unexpected(reply)
    return Row(value)


def _after(more: Mapping[str, Any], reply: Reply) -> str | None:
    cursor = more.get("next_cursor")
    if isinstance(cursor, str) and cursor:
        return cursor
    page = more.get("pagination", more)  # leads have it without the wrapping in the documents, with it when recorded
    if not isinstance(page, dict) or page.get("more_items_in_collection") is not True:
        return None
    following = page.get("next_start")
    if following is None and isinstance(page.get("start"), int) and isinstance(page.get("limit"), int):
        following = page["start"] + page["limit"]
    if not isinstance(following, int):
        raise _unexpected(reply)
    return str(following)


def _unexpected(reply: Reply) -> UnexpectedReply:
    return UnexpectedReply("Pipedrive's answer has a shape it does not document", status=reply.status)


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def text_of(value: Any) -> str:
    """A value as text: options by id, several separated by ";", amounts without their currency, addresses as written."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case list():
            return ";".join(text_of(each) for each in value)
        case dict():
            return text_of(next((value[name] for name in ("value", "id", "amount") if name in value), None))
        case float():
            return f"{value:f}".rstrip("0").rstrip(".")
        case _:
            return str(value)


def stamp(at: datetime) -> str:
    """2026-11-21T21:56:00Z"""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def v1_stamp(at: datetime) -> str:
    """2026-11-21 21:56:00, UTC"""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def moment(text: str) -> datetime | None:
    """A time as Pipedrive writes it: RFC 3339 (v2, leads), or date and time in UTC (v1); None for anything else."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def day(text: str) -> date | None:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None
