"""Our writes → Salesforce's objects and fields. Pure.

Facts: developer.salesforce.com, object reference of Task, Event, Opportunity, Case, ContentNote, CampaignMember (2026-11);
describes and field lists in ../shared/specs/salesforce.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, assert_never

import msgspec

from connectors import phone
from connectors.crm.port import Stick
from connectors.crm.records import (
    AddNote,
    CreateDeal,
    CreateEvent,
    CreateTask,
    CreateTicket,
    Kind,
    Link,
    LogCall,
    Person,
    Ref,
    UpsertContact,
)
from connectors.crm.salesforce import wire_texts as texts
from connectors.crm.salesforce.manifest import KEY
from connectors.crm.salesforce.wire import PHONES, TYPES, Row, stamp, value
from connectors.crm.salesforce.wire_people import UNKNOWN_NAME
from connectors.errors import Rejected, Unsupported

Dated = LogCall | CreateTask | AddNote | CreateEvent | CreateDeal | CreateTicket
"""Writes that leave a record of their own every time."""

KINDS: Mapping[type[Dated], Kind] = {
    LogCall: Kind.CALL,
    CreateTask: Kind.TASK,
    AddNote: Kind.NOTE,
    CreateEvent: Kind.EVENT,
    CreateDeal: Kind.DEAL,
    CreateTicket: Kind.TICKET,
}
CLOSES_AFTER = timedelta(days=30)  # a close date is demanded; nobody said one
_NO_ASSIGNMENT = {"Sforce-Auto-Assign": "FALSE"}  # else the org's assignment rules take a lead or case from its owner
_DISPOSITIONS = {
    "completed": "Completed",
    "no_answer": "No answer",
    "busy": "Busy",
    "failed": "Failed",
    "voicemail": "Voicemail",
    "cancelled": "Cancelled",
}
_PEOPLE = (Kind.CONTACT, Kind.LEAD)


class Ways(msgspec.Struct, frozen=True, kw_only=True):
    """What an org calls things, as far as a write needs it. The defaults are a new org's.

    today          at the org.
    home_currency  set only where the org has several currencies.
    types          object → field → type, as described; read before any field of the tenant's own is written.
    """

    today: date
    timezone: str | None = None
    home_currency: str | None = None
    closed_status: str = "Completed"
    high_priority: str = "High"
    low_priority: str = "Low"
    types: Mapping[str, Mapping[str, str]] = {}


class Place(msgspec.Struct, frozen=True):
    """Where a deal or ticket starts: `pipeline` is a record type's id, "" for the org's only one."""

    pipeline: str
    stage: str


class Making(msgspec.Struct, frozen=True):
    """One record to be made or changed: its object, fields, and headers of its own."""

    of: str
    fields: Mapping[str, Any]
    headers: Mapping[str, str] = {}


Anchors = Sequence[tuple[Kind, str]]
"""What a record is about: kind, and an id, or a reference to one made in the same request."""


def anchor(link: Link) -> tuple[Kind, str]:
    """A link outside a run: a record's id, or a placeholder for one that does not exist yet (dry runs only)."""
    if isinstance(link, Ref):
        return link.kind, link.id
    if isinstance(link, Person):
        return Kind.CONTACT, "<id of the caller>"
    return link.kind, f"<id of the new {link.kind.value}>"


def create(
    write: Dated, stick: Stick, ways: Ways, about: Anchors, *, place: Place | None = None, account: str | None = None
) -> Making:
    """The record a write leaves. With an enforced key Salesforce refuses the second of it.

    account  of the person a deal or ticket is about, where it names no company itself.
    Raises `Rejected` for a link Salesforce has no field for.
    """
    of = TYPES[KINDS[type(write)]]
    marker = texts.mark(write.key)
    match write:
        case LogCall():
            fields = _call(write, ways, about)
        case CreateTask():
            fields = _task(write, ways, about)
        case CreateEvent():
            fields = {
                "Subject": texts.line(write.subject, texts.LONGEST_SUBJECT),
                "StartDateTime": stamp(write.starts),
                "EndDateTime": stamp(write.ends),
                "Description": texts.plain(write.body, details=_rest(about), marker=marker),
                **_who_and_what(about),
            }
        case AddNote():
            content = base64.b64encode(texts.html(write.body, write.unchecked).encode()).decode()
            fields = {"Title": title(write), "Content": content}
        case CreateDeal():
            fields = _deal(write, stick, ways, about, place, account)
        case CreateTicket():
            fields = _ticket(write, stick, about, place, account)
        case _:
            assert_never(write)
    keyed = {KEY: texts.key_value(write.key)} if stick is Stick.ENFORCED else {}
    if isinstance(write, LogCall | CreateTask):
        keyed = {"CallObject": texts.key_value(write.key)}
    owned = {"OwnerId": write.owner} if write.owner else {}
    headers = _NO_ASSIGNMENT if owned and of == "Case" else {}
    return Making(of, {**fields, **typed(of, write.fields, ways), **owned, **keyed}, headers)


def title(write: AddNote) -> str:
    """A note's first line and its marker: the same whenever it is worked out, so that it can be asked for as a whole."""
    ending = f" · Ref. {texts.mark(write.key)}"
    return texts.line(write.body, texts.LONGEST_TITLE - len(ending) - 100) + ending


def note_link(note: str, to: str) -> Making:
    """`ShareType` V: who sees the record sees the note, and may not change it through the record."""
    return Making("ContentDocumentLink", {"ContentDocumentId": note, "LinkedEntityId": to, "ShareType": "V"})


def membership(campaign: str, target: tuple[Kind, str]) -> Making:
    kind, id = target
    if kind not in _PEOPLE:
        raise Rejected("only contacts and leads can be added to a Salesforce campaign")
    return Making("CampaignMember", {"CampaignId": campaign, "ContactId" if kind is Kind.CONTACT else "LeadId": id})


def changing(of: str, fields: Mapping[str, Any]) -> Making:
    return Making(of, fields, _NO_ASSIGNMENT if "OwnerId" in fields and of in ("Case", "Lead") else {})


def placing(kind: Kind, place: Place) -> Mapping[str, str]:
    """The fields that put a deal or ticket into a stage. Raises `Unsupported` for what has none."""
    typed = {"RecordTypeId": place.pipeline} if is_record_type(place.pipeline) else {}
    match kind:
        case Kind.DEAL:
            return {**typed, "StageName": place.stage}
        case Kind.TICKET:
            return {**typed, "Status": place.stage}
        case _:
            raise Unsupported(f"a {kind.value} has no stages in Salesforce")


def is_record_type(id: str) -> bool:
    return id.startswith("012")


# ── people ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def create_person(write: UpsertContact, stick: Stick, ways: Ways) -> Making:
    """A new contact or lead. Both demand a last name, leads a company: what nobody knows is said to be unknown."""
    of = TYPES[write.kind]
    wished: dict[str, Any] = {
        **typed(of, write.fields_if_empty, ways),
        **_named(write),
        **typed(of, write.fields, ways),
    }
    if not wished.get("LastName"):
        wished["LastName"] = write.phone if write.phone and not wished.get("FirstName") else UNKNOWN_NAME
    if of == "Lead":
        wished.setdefault("Company", UNKNOWN_NAME)
    elif write.company:  # a contact's company is an account, and which one is not for us to guess
        wished.setdefault("Description", texts.plain(f"Company: {write.company}"))
    if write.owner:
        wished["OwnerId"] = write.owner
    if stick is Stick.ENFORCED:
        wished[KEY] = texts.key_value(write.key)
    return changing(of, wished)


def person_fields(of: str, write: UpsertContact, stick: Stick) -> list[str]:
    """What must be read before `person_changes` can compare."""
    base = ["Id", "FirstName", "LastName", "Email", *(field for field, _ in PHONES[of]), "OwnerId"]
    base += ["Company"] if of == "Lead" else []
    base += [KEY] if stick is Stick.ENFORCED and of in ("Contact", "Lead") else []
    return list(dict.fromkeys((*base, *write.fields, *write.fields_if_empty)))


def person_changes(of: str, write: UpsertContact, current: Row, stick: Stick, ways: Ways) -> dict[str, Any]:
    """What an existing person lacks: `fields` wherever they differ, everything else only where Salesforce has nothing.

    A name that is nothing but the number, as `create_person` leaves it, counts as nothing. A number goes into the first
    free phone field, unless one has it. Our key goes to a person who has none, so that it is found again.
    """
    told = typed(of, write.fields, ways)
    changes = {
        field: given
        for field, given in told.items()
        if current.get(field) != given and value(current, field) != str(given)
    }
    named = _named(write)
    named.pop("Phone", None)
    if of != "Lead":
        named.pop("Company", None)
    wished: dict[str, Any] = {**typed(of, write.fields_if_empty, ways), **named, **_number(of, write, current)}
    if write.owner:
        wished["OwnerId"] = write.owner
    if stick is Stick.ENFORCED and write.target is None and of in ("Contact", "Lead"):
        wished[KEY] = texts.key_value(write.key)
    for field, given in wished.items():
        if field not in told and given not in ("", None) and _is_empty(current, field):
            changes[field] = given
    return changes


def _named(write: UpsertContact) -> dict[str, Any]:
    given = {
        "FirstName": write.first_name,
        "LastName": write.last_name,
        "Email": write.email,
        "Phone": write.phone,
        **({"Company": write.company} if write.kind is Kind.LEAD else {}),
    }
    return {field: texts.inert(text) for field, text in given.items() if text}


def _number(of: str, write: UpsertContact, current: Row) -> dict[str, str]:
    number = phone.read(write.phone)
    if number is None:
        return {}
    region = phone.region_of(number)
    fields = [field for field, _ in PHONES[of]]
    if any(phone.same(number, value(current, field) or None, region) == "exact" for field in fields):
        return {}
    seen = [field for field in fields if field in current] or fields  # what this user may not see is not free
    free = [field for field in ("Phone", "MobilePhone", "OtherPhone") if field in seen and not value(current, field)]
    return {field: phone.e164(number) for field in free[:1]}


def _is_empty(current: Row, field: str) -> bool:
    held = value(current, field)
    if field == "LastName" and held in (value(current, "Phone"), value(current, "MobilePhone")):
        return True
    return held in ("", UNKNOWN_NAME)


# ── activities, deals, tickets ──────────────────────────────────────────────────────────────────────────────────────


def _call(write: LogCall, ways: Ways, about: Anchors) -> dict[str, Any]:
    call = write.call
    inbound = call.direction == "inbound"
    first, second = (call.customer_number, call.our_number) if inbound else (call.our_number, call.customer_number)
    details = [
        texts.started(call.started_at),
        f"From: {first}" if first else "",
        f"To: {second}" if second else "",
        f"Recording: {call.recording_url}" if (call.recording_url or "").startswith("https://") else "",
        *_rest(about),
    ]
    seconds = None if call.duration is None else max(0, round(call.duration.total_seconds()))
    return {
        "Subject": texts.line(write.subject, texts.LONGEST_SUBJECT),
        "TaskSubtype": "Call",
        "CallType": "Inbound" if inbound else "Outbound",
        **({"CallDurationInSeconds": seconds} if seconds is not None else {}),
        "CallDisposition": _DISPOSITIONS.get(call.outcome, "Completed"),
        "Status": ways.closed_status,
        "ActivityDate": texts.day(call.started_at, ways.timezone).isoformat(),
        "Description": texts.plain(write.body, write.unchecked, details=details),
        **_who_and_what(about),
    }


def _task(write: CreateTask, ways: Ways, about: Anchors) -> dict[str, Any]:
    """An open task: the status is left to the org, whose default is an open one, and so is the normal priority."""
    details = [texts.due(write.due, ways.timezone), *_rest(about)]
    priority = {"high": ways.high_priority, "low": ways.low_priority}.get(write.priority)
    return {
        "Subject": texts.line(write.subject, texts.LONGEST_SUBJECT),
        "ActivityDate": texts.day(write.due, ways.timezone).isoformat(),
        "Description": texts.plain(write.body, write.unchecked, details=details),
        **({"Priority": priority} if priority else {}),
        **({"IsReminderSet": True, "ReminderDateTime": stamp(write.remind)} if write.remind else {}),
        **_who_and_what(about),
    }


def _deal(
    write: CreateDeal, stick: Stick, ways: Ways, about: Anchors, place: Place | None, account: str | None
) -> dict[str, Any]:
    person, company = _first(about, Kind.CONTACT), _first(about, Kind.COMPANY) or account
    if person is None and _first(about, Kind.LEAD):
        raise Rejected("Salesforce links deals to contacts and accounts, not to leads: convert the lead first")
    priced = write.amount is not None
    foreign = write.currency if write.currency and priced else ""
    details = [] if ways.home_currency or not foreign else [f"Amount in {foreign}: {write.amount:f}"]
    marker = texts.mark(write.key) if stick is Stick.FOUND else None
    return {
        "Name": texts.line(write.name, 120),
        **(placing(Kind.DEAL, place) if place else {}),
        "CloseDate": (write.closes or ways.today + CLOSES_AFTER).isoformat(),
        **({"Amount": float(write.amount)} if write.amount is not None else {}),
        **({"CurrencyIsoCode": foreign} if foreign and ways.home_currency else {}),
        **({"ContactId": person} if person else {}),  # becomes the primary contact role; on creation only
        **({"AccountId": company} if company else {}),
        **_unless_empty("Description", texts.plain(write.body, details=details, marker=marker)),
    }


def _ticket(
    write: CreateTicket, stick: Stick, about: Anchors, place: Place | None, account: str | None
) -> dict[str, Any]:
    person, company = _first(about, Kind.CONTACT), _first(about, Kind.COMPANY) or account
    if person is None and _first(about, Kind.LEAD):
        raise Rejected("Salesforce links cases to contacts and accounts, not to leads: convert the lead first")
    priority = {"low": "Low", "high": "High", "urgent": "High"}.get(write.priority)
    marker = texts.mark(write.key) if stick is Stick.FOUND else None
    return {
        "Subject": texts.line(write.subject, texts.LONGEST_SUBJECT),
        "Origin": "Phone",
        **(placing(Kind.TICKET, place) if place else {}),
        **({"Priority": priority} if priority else {}),
        **({"ContactId": person} if person else {}),
        **({"AccountId": company} if company else {}),
        **_unless_empty("Description", texts.plain(write.body, write.unchecked, marker=marker)),
    }


def _who_and_what(about: Anchors) -> dict[str, str]:
    """Activities have one person and one thing. A thing beside a lead is refused, so a lead stands alone."""
    who, what = _chosen(about)
    return {**({"WhoId": who[1]} if who else {}), **({"WhatId": what[1]} if what else {})}


def _rest(about: Anchors) -> list[str]:
    """Links an activity has no field for, as lines of its text."""
    taken = _chosen(about)
    return [
        f"Also about: {kind.value} {id}" for kind, id in about if (kind, id) not in taken and not id.startswith("@{")
    ]


def _chosen(about: Anchors) -> tuple[tuple[Kind, str] | None, tuple[Kind, str] | None]:
    who = next((one for one in about if one[0] in _PEOPLE), None)
    if who and who[0] is Kind.LEAD:
        return who, None
    things = (one for kind in (Kind.DEAL, Kind.TICKET, Kind.COMPANY) for one in about if one[0] is kind)
    return who, next(things, None)


def _first(about: Anchors, kind: Kind) -> str | None:
    return next((id for of, id in about if of is kind), None)


def _unless_empty(field: str, text: str) -> dict[str, str]:
    return {field: text} if text else {}


# ── the tenant's own fields ─────────────────────────────────────────────────────────────────────────────────────────

_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}", re.ASCII)


def typed(of: str, fields: Mapping[str, str], ways: Ways) -> dict[str, Any]:
    """Values as the API wants them: a checkbox takes no text, a number no "12 kg".

    Raises `Rejected` with the field for one the org does not have, and for a value its type cannot hold.
    """
    return dict(_typed(of, fields, ways))


def _typed(of: str, fields: Mapping[str, str], ways: Ways) -> Iterator[tuple[str, Any]]:
    known = ways.types.get(of, {})
    for name, text in fields.items():
        if not _FIELD.fullmatch(name) or (known and name not in known):
            raise Rejected(
                f"this Salesforce org has no such field, or the connected user may not see it: “{name[:80]}”",
                field=name[:80],
            )
        yield name, _value(name, known.get(name, "string"), text)


def _value(name: str, type: str, text: str) -> Any:
    if text == "" and type != "boolean":
        return None
    match type:
        case "boolean":
            word = text.strip().lower()
            if word not in ("true", "false", "1", "0", "yes", "no", ""):
                raise Rejected(f"“{name}” is a checkbox: it takes true or false", field=name)
            return word in ("true", "1", "yes")
        case "int" | "long":
            return int(_number_in(name, text))
        case "double" | "currency" | "percent":
            return float(_number_in(name, text))
        case _:
            return texts.inert(text)


def _number_in(name: str, text: str) -> Decimal:
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        raise Rejected(f"“{name}” takes a number", field=name) from None
    if not number.is_finite():
        raise Rejected(f"“{name}” takes a number", field=name)
    return number
