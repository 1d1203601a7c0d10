"""Our writes → Pipedrive's members, links and requests. Pure.

Facts: OpenAPI v2 (persons, deals, activities), v1 (notes, leads) of 2026-08; recorded: nango-create-*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, assert_never

import msgspec
from phonenumbers import PhoneNumberType, number_type

from connectors import phone
from connectors.crm.pipedrive import wire_texts
from connectors.crm.pipedrive.manifest import TICKET, V1, V2
from connectors.crm.pipedrive.wire import LINKS, RESOURCES, Row, path, v1_stamp
from connectors.crm.pipedrive.wire_account import LOST, WON, WRITABLE, FieldObject, typed
from connectors.crm.records import (
    AddNote,
    CreateDeal,
    CreateEvent,
    CreateTask,
    CreateTicket,
    Kind,
    Later,
    Link,
    LogCall,
    Person,
    Ref,
    UpsertContact,
)
from connectors.errors import Rejected
from connectors.json_text import clean
from connectors.request import Request

Dated = LogCall | CreateTask | CreateEvent | CreateTicket
"""Writes that leave an activity."""

KINDS: Mapping[type, Kind] = {
    LogCall: Kind.CALL,
    CreateTask: Kind.TASK,
    CreateEvent: Kind.EVENT,
    CreateTicket: Kind.TICKET,
    CreateDeal: Kind.DEAL,
    AddNote: Kind.NOTE,
}
_TASK_TYPES = {"call": "call", "email": "email", "todo": "task"}
_MOBILE = frozenset({PhoneNumberType.MOBILE})


class Place(msgspec.Struct, frozen=True):
    """Ids of the pipeline and the stage a deal is in; "won" and "lost" are stages to us and a status to Pipedrive."""

    pipeline: str
    stage: str

    def members(self) -> dict[str, Any]:
        if self.stage in (WON, LOST):
            return {"status": self.stage}
        return {"pipeline_id": whole(self.pipeline), "stage_id": whole(self.stage)}


def type_wanted(write: Dated) -> str:
    """Pipedrive's standard type of activity for this; companies have their own keys for it."""
    match write:
        case LogCall():
            return "call"
        case CreateTask():
            return _TASK_TYPES.get(write.type, "task")
        case CreateEvent():
            return "meeting"
        case CreateTicket():
            return "task"
        case _:
            assert_never(write)


def activity(write: Dated, type: str, members: Mapping[str, Any]) -> Request:
    """One request: the activity with its links. Times are UTC, durations without seconds.

    members  what else the mapping asked for, already typed.
    """
    body = {**_activity(write), "type": type, **_joined(write.about), **members, **owned(write.owner)}
    return _post(V2, "activities", body, cost=5)


def deal(write: CreateDeal, place: Place, members: Mapping[str, Any], custom: Mapping[str, Any]) -> Request:
    """custom  by field code: our key, the text, and what else is the company's own."""
    body: dict[str, Any] = {"title": write.name, **place.members(), **_linked(write.about, "a deal", _OF_DEALS)}
    if write.amount is not None:
        body["value"] = number(write.amount)
        body |= {"currency": write.currency} if write.currency else {}
    if write.closes:
        body["expected_close_date"] = write.closes.isoformat()
    body |= {**members, **owned(write.owner)}
    return _post(V2, "deals", {**body, **({"custom_fields": dict(custom)} if custom else {})}, cost=5)


def note(write: AddNote, members: Mapping[str, Any]) -> Request:
    """Its author is whoever connected the account: only an administrator may name another."""
    content = wire_texts.html(write.body, write.unchecked, marker=wire_texts.mark(write.key))
    links = _linked(write.about, "a note", LINKS)
    if not links:
        raise Rejected("a note in Pipedrive has to belong to a person, a company, a deal or a lead")
    return _post(V1, "notes", {"content": content, "add_time": v1_stamp(write.at), **links, **members}, cost=10)


def deal_note(deal_id: str, write: CreateDeal) -> Request:
    """The text of a deal, where no field of ours may hold it."""
    content = wire_texts.html(write.body, "", marker=wire_texts.mark(write.key))
    return _post(V1, "notes", {"content": content, "deal_id": whole(deal_id)}, cost=10)


def person(write: UpsertContact, org_id: Any, members: Mapping[str, Any], custom: Mapping[str, Any]) -> Request:
    """A new person. Pipedrive wants a name: a caller who gave none is named by address or number."""
    wished = {**write.fields_if_empty, **write.fields}
    first, last = wished.get("first_name") or write.first_name, wished.get("last_name") or write.last_name
    name = wished.get("name") or full_name(first, last) or write.email or write.phone
    if not name:
        raise Rejected("Pipedrive takes no person without a name, an address or a number", field="name")
    body: dict[str, Any] = {"name": name}
    if write.email:
        body["emails"] = [{"value": write.email, "primary": True, "label": "work"}]
    if write.phone:
        body["phones"] = [{"value": write.phone, "primary": True, "label": label_of(write.phone)}]
    if org_id is not None:
        body["org_id"] = org_id
    body |= {key: value for key, value in members.items() if key not in ("first_name", "last_name", "name")}
    body |= owned(write.owner)
    return _post(V2, "persons", {**body, **({"custom_fields": dict(custom)} if custom else {})}, cost=5)


def organisation(name: str) -> Request:
    return _post(V2, "organizations", {"name": name}, cost=5)


def lead(write: UpsertContact, person_id: str, name: str) -> Request:
    """A lead of that person. `origin_id` says which write made it, to people; where the app is a Marketplace one,
    Pipedrive puts its own there (recorded: nango-create-lead)."""
    body = {"title": name, "person_id": whole(person_id), "origin_id": wire_texts.mark(write.key)}
    return _post(V1, "leads", {**body, **owned(write.owner)}, cost=10)


def update(kind: Kind, id: str, members: Mapping[str, Any], custom: Mapping[str, Any]) -> Request:
    """v2 takes a partial record by PATCH, with the company's own fields in an object; leads, in v1, have them beside."""
    if kind is Kind.LEAD:
        body = {**members, **custom}
        return Request(method="PATCH", path=path(V1, "leads", id), json=_clean(body), cost=10, writes=True)
    if kind is Kind.NOTE:
        return Request(method="PUT", path=path(V1, "notes", id), json=_clean(members), cost=10, writes=True)
    body = {**members, **({"custom_fields": dict(custom)} if custom else {})}
    return Request(method="PATCH", path=path(V2, RESOURCES[kind], id), json=_clean(body), cost=5, writes=True)


def person_changes(
    write: UpsertContact, current: Row, definitions: Mapping[str, FieldObject], key: str | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What an existing person lacks: `fields` wherever they differ, everything else only where Pipedrive has nothing.

    Answers the standard members and the company's own by code. A number is added to the list unless one is the same;
    a name that is nothing but the number or address, as `person` leaves it, counts as none. Our key goes to a person
    who has none, so that it is found again. Lists are whole: read, added to, written.
    """
    given = {name: value for name, value in write.fields.items() if current.value(name) != value}
    empty = {name: value for name, value in write.fields_if_empty.items() if value and not current.value(name)}
    members, custom = parted(Kind.CONTACT, {**empty, **given}, definitions, current)
    members |= _renamed(write, current, given, empty)
    for name in ("first_name", "last_name"):
        members.pop(name, None)
    if write.email and not current.entries("emails") and "emails" not in members:
        members["emails"] = [{"value": write.email, "primary": True, "label": "work"}]
    if write.phone and "phones" not in members and not _holds(current, write.phone):
        members["phones"] = [*_kept(current, "phones"), _entry(write.phone, first=not current.entries("phones"))]
    if key is not None and write.target is None and not current.value(key):
        custom[key] = write.key
    return members, custom


def parted(
    kind: Kind, values: Mapping[str, str], definitions: Mapping[str, FieldObject], current: Row | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """`values` as standard members and as the company's own fields by code, both typed.

    current  the record as it is, for lists that are merged (numbers, addresses). Raises `Rejected` with the name of a
    field that is not there or cannot be written.
    """
    members: dict[str, Any] = {}
    custom: dict[str, Any] = {}
    standard = WRITABLE.get(Kind.CALL if RESOURCES[kind] == "activities" else kind, {})
    for name, value in values.items():
        definition = definitions.get(name)
        if definition is not None and definition.is_custom_field:
            custom[name] = typed(name, value, definition, None)
        elif name in ("phone", "phones", "email", "emails") and kind is Kind.CONTACT:
            plural = f"{name.removesuffix('s')}s"
            members[plural] = _first(plural, value, current)
        elif name in standard:
            members[name] = typed(name, value, None, standard[name])
        else:
            raise Rejected(f"“{name}” does not exist in this Pipedrive company, or cannot be written", field=name)
    return members, custom


def renamed(members: Mapping[str, Any], current: Row) -> dict[str, Any]:
    """v2 writes whole names only: a first or last name is put together with the other, as it stands."""
    if "first_name" not in members and "last_name" not in members:
        return dict(members)
    first = members.get("first_name", current.value("first_name"))
    last = members.get("last_name", current.value("last_name"))
    rest = {name: value for name, value in members.items() if name not in ("first_name", "last_name")}
    return {"name": full_name(first, last) or current.value("name"), **rest}


def full_name(first: str | None, last: str | None) -> str:
    return " ".join(part.strip() for part in (first, last) if part and part.strip())


def label_of(number: str) -> str:
    read = phone.read(number)
    return "mobile" if read is not None and number_type(read) in _MOBILE else "work"


def number(amount: Decimal) -> int | float:
    """JSON has one kind of number, and Pipedrive refuses text for it."""
    return int(amount) if amount == amount.to_integral_value() else float(amount)


def whole(id: str) -> int | str:
    """Pipedrive's ids are numbers, and texts in their place are refused; leads have UUIDs, dry runs have placeholders."""
    return int(id) if id.isdecimal() else id


def id_of(link: Link) -> str:
    """A record's id; a placeholder for one that does not exist yet (dry runs only)."""
    match link:
        case Ref(id=id):
            return id
        case Later(kind=kind):
            return f"<id of the new {kind.value}>"
        case _:
            return "<id of the caller>"


# ── parts ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_OF_DEALS = {kind: LINKS[kind] for kind in (Kind.CONTACT, Kind.COMPANY)}


def _activity(write: Dated) -> dict[str, Any]:
    marker = wire_texts.mark(write.key)
    match write:
        case LogCall(call=call):
            text = wire_texts.html(
                write.body,
                write.unchecked,
                facts=wire_texts.facts_of(call),
                extra=wire_texts.recording_of(call),
                marker=marker,
            )
            took = {} if call.duration is None else {"duration": wire_texts.hours_and_minutes(call.duration)}
            return {"subject": write.subject, **_due(call.started_at), **took, "done": True, "note": text}
        case CreateTask():
            text = wire_texts.html(
                write.body, write.unchecked, facts=wire_texts.task_facts(write.priority, write.remind), marker=marker
            )
            return {"subject": write.subject, **_due(write.due), "done": False, "note": text}
        case CreateEvent():
            took = {"duration": wire_texts.hours_and_minutes(max(write.ends - write.starts, timedelta(0)))}
            text = wire_texts.html(write.body, "", marker=marker)
            return {"subject": write.subject, **_due(write.starts), **took, "done": False, "note": text}
        case CreateTicket():
            text = wire_texts.html(write.body, write.unchecked, facts=[f"Priority: {write.priority}"], marker=marker)
            return {"subject": TICKET + write.subject, "done": False, "note": text}
        case _:
            assert_never(write)


def _due(at: datetime) -> dict[str, str]:
    utc = at.astimezone(UTC)
    return {"due_date": utc.date().isoformat(), "due_time": utc.strftime("%H:%M")}


def _joined(about: Sequence[Link]) -> dict[str, Any]:
    """People take part (`person_id` is derived from that); an activity belongs to one company and one deal or lead."""
    people = [_person_id(link) for link in about if isinstance(link, Person) or link.kind is Kind.CONTACT]
    rest = [link for link in about if not isinstance(link, Person) and link.kind is not Kind.CONTACT]
    links = _linked(rest, "an activity", {kind: name for kind, name in LINKS.items() if kind is not Kind.CONTACT})
    if "deal_id" in links and "lead_id" in links:
        raise Rejected("Pipedrive links an activity to a deal or to a lead, not to both")
    taking_part = [{"person_id": id, "primary": at == 0} for at, id in enumerate(dict.fromkeys(people))]
    return {**({"participants": taking_part} if taking_part else {}), **links}


def _person_id(link: Link) -> int | str:
    return whole(id_of(link))


def _linked(about: Sequence[Link], what: str, known: Mapping[Kind, str]) -> dict[str, Any]:
    """One of each kind; the first counts. Raises `Rejected` for what Pipedrive cannot link."""
    links: dict[str, Any] = {}
    for link in about:
        kind = Kind.CONTACT if isinstance(link, Person) else link.kind
        if kind not in known:
            raise Rejected(f"Pipedrive does not link {what} to a {kind.value}")
        links.setdefault(known[kind], whole(id_of(link)))
    return links


def _renamed(write: UpsertContact, current: Row, given: Mapping[str, str], empty: Mapping[str, str]) -> dict[str, str]:
    if "name" in given:
        return {"name": given["name"]}
    held = {"first_name": current.value("first_name"), "last_name": current.value("last_name")}
    if _is_nameless(current):
        held = {"first_name": "", "last_name": ""}
    heard = {"first_name": write.first_name or "", "last_name": write.last_name or ""}
    names = {name: given.get(name) or held[name] or heard[name] or write.fields_if_empty.get(name, "") for name in held}
    if names == held or not full_name(**{"first": names["first_name"], "last": names["last_name"]}):
        return {}
    return {"name": full_name(names["first_name"], names["last_name"])}


def _is_nameless(current: Row) -> bool:
    name = current.value("name")
    known = [*current.entries("phones"), *current.entries("emails")]
    return not name or name in [entry.value for entry in known]


def _holds(current: Row, number: str) -> bool:
    read = phone.read(number)
    if read is None:
        return any(entry.value == number for entry in current.entries("phones"))
    region = phone.region_of(read)
    return any(phone.same(read, entry.value, region) == "exact" for entry in current.entries("phones"))


def _kept(current: Row, name: str) -> list[dict[str, Any]]:
    return [
        {"value": entry.value, "primary": at == 0, **({"label": entry.label} if entry.label else {})}
        for at, entry in enumerate(current.entries(name))
    ]


def _entry(number: str, *, first: bool) -> dict[str, Any]:
    return {"value": number, "primary": first, "label": label_of(number)}


def _first(name: str, value: str, current: Row | None) -> list[dict[str, Any]]:
    """The list with `value` at its head; an empty one takes away the head only."""
    others = [each for each in (_kept(current, name) if current else []) if each["value"] != value]
    if not value:
        others = others[1:]
        return [{**each, "primary": at == 0} for at, each in enumerate(others)]
    label = label_of(value) if name == "phones" else "work"
    return [{"value": value, "primary": True, "label": label}, *({**each, "primary": False} for each in others)]


def owned(owner: str | None) -> dict[str, Any]:
    if not owner:
        return {}
    if not owner.isdecimal():
        raise Rejected("Pipedrive knows its users by number", field="owner_id")
    return {"owner_id": int(owner)}


def _post(version: str, resource: str, body: Mapping[str, Any], *, cost: int) -> Request:
    return Request(method="POST", path=path(version, resource), json=_clean(body), cost=cost, writes=True)


def _clean(value: Any) -> Any:
    match value:
        case str():
            return clean(value)
        case Mapping():
            return {name: _clean(each) for name, each in value.items()}
        case list() | tuple():
            return [_clean(each) for each in value]
        case _:
            return value
