"""Our writes → HubSpot's properties, associations and requests. Pure.

Facts: developers.hubspot.com's guides to calls, tasks, notes, meetings, deals and tickets as of 2026-11; recorded:
meeting_create_201, task_create_eu, note_create, ticket_create_eu, deal_create.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import assert_never
from urllib.parse import urlsplit

import msgspec

from connectors import phone
from connectors.crm.hubspot.manifest import KEY, VERSION
from connectors.crm.hubspot.wire import TYPES, Object, milliseconds, path, stamp
from connectors.crm.port import Stick
from connectors.crm.records import (
    AddNote,
    AssignOwner,
    CallLog,
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
    SetFields,
    UpsertContact,
)
from connectors.errors import Rejected, Unsupported
from connectors.json_text import clean
from connectors.request import Request

Creating = UpsertContact | LogCall | CreateTask | AddNote | CreateEvent | CreateDeal | CreateTicket
Dated = LogCall | CreateTask | AddNote | CreateEvent | CreateDeal | CreateTicket
"""Writes that leave a record of their own every time: activities, deals, tickets."""

LONGEST_TEXT = 65_536  # of one property
CUT_NOTE = "[cut here: longer than HubSpot takes]"
UNCHECKED = "From the call, not checked"

# Types of associations that HubSpot defines, from our new record to an existing one.
ASSOCIATIONS: Mapping[tuple[str, str], int] = {
    ("calls", "contacts"): 194,
    ("calls", "companies"): 182,
    ("calls", "deals"): 206,
    ("calls", "tickets"): 220,
    ("notes", "contacts"): 202,
    ("notes", "companies"): 190,
    ("notes", "deals"): 214,
    ("notes", "tickets"): 228,
    ("tasks", "contacts"): 204,
    ("tasks", "companies"): 192,
    ("tasks", "deals"): 216,
    ("tasks", "tickets"): 230,
    ("meetings", "contacts"): 200,
    ("meetings", "companies"): 188,
    ("meetings", "deals"): 212,
    ("meetings", "tickets"): 226,
    ("deals", "contacts"): 3,
    ("deals", "companies"): 5,  # primary
    ("deals", "tickets"): 27,
    ("tickets", "contacts"): 16,
    ("tickets", "companies"): 26,  # primary
    ("tickets", "deals"): 28,
}

BODIES: Mapping[str, str] = {  # where the text stands, and with it the marker
    "calls": "hs_call_body",
    "tasks": "hs_task_body",
    "notes": "hs_note_body",
    "meetings": "hs_meeting_body",
    "deals": "description",
    "tickets": "content",
}
_PLAIN = frozenset({"deals", "tickets"})  # their text is text; the others' is HTML

_CALL_STATUS = {
    "completed": "COMPLETED",
    "voicemail": "COMPLETED",  # its outcome is a disposition, and those are each account's own
    "no_answer": "NO_ANSWER",
    "busy": "BUSY",
    "failed": "FAILED",
    "cancelled": "CANCELED",
}
_TASK_PRIORITY = {"low": "LOW", "normal": "MEDIUM", "high": "HIGH"}
_TASK_TYPE = {"call": "CALL", "email": "EMAIL", "todo": "TODO"}
_TICKET_PRIORITY = {"low": "LOW", "normal": "MEDIUM", "high": "HIGH", "urgent": "URGENT"}

KINDS: Mapping[type[Dated], Kind] = {
    LogCall: Kind.CALL,
    CreateTask: Kind.TASK,
    AddNote: Kind.NOTE,
    CreateEvent: Kind.EVENT,
    CreateDeal: Kind.DEAL,
    CreateTicket: Kind.TICKET,
}


class Place(msgspec.Struct, frozen=True):
    """Ids of the pipeline and the stage a deal or ticket starts in."""

    pipeline: str
    stage: str


def type_of(write: Dated) -> str:
    return TYPES[KINDS[type(write)]]


def create(write: Dated, stick: Stick, *, place: Place | None = None, home_currency: str | None = None) -> Request:
    """One request: the record with its links. With an enforced key HubSpot refuses the second of it."""
    type = type_of(write)
    marker = mark(write.key) if stick is Stick.FOUND else None
    properties = {
        **_properties(write, place, home_currency, marker),
        **_common(write.fields, write.owner),
        **({KEY: write.key} if stick is Stick.ENFORCED else {}),
    }
    return _create(type, properties, associations(type, write.about))


def create_contact(write: UpsertContact, stick: Stick) -> Request:
    """A new person. HubSpot wants a name or an address: a caller who gave neither is named by the number."""
    wished = {**write.fields_if_empty, **_named(write), **write.fields}
    if write.kind is Kind.LEAD:
        wished.setdefault("lifecyclestage", "lead")
    if not any(wished.get(name) for name in ("firstname", "lastname", "email")) and write.phone:
        wished["lastname"] = write.phone
    keyed = {KEY: write.key} if stick is Stick.ENFORCED else {}
    return _create("contacts", {**_common(wished, write.owner), **keyed}, [])


def contact_changes(write: UpsertContact, current: Object, stick: Stick) -> dict[str, str]:
    """What an existing person lacks: `fields` wherever they differ, everything else only where HubSpot has nothing.

    A name that is nothing but the number, as `create_contact` leaves it, counts as nothing. A number goes into the first
    free phone field, unless one has it. Our key goes to a person who has none, so that it is found again.
    """
    changes = {name: value for name, value in write.fields.items() if current.value(name) != value}
    wished = {**write.fields_if_empty, **_named(write), "hubspot_owner_id": write.owner or ""}
    number = phone.read(write.phone)
    if number is not None and not any(
        phone.same(number, current.value(name), phone.region_of(number)) == "exact" for name in ("phone", "mobilephone")
    ):
        free = [name for name in ("phone", "mobilephone") if not current.value(name)]
        wished.pop("phone", None)
        wished.update({name: phone.e164(number) for name in free[:1]})
    if stick is Stick.ENFORCED and write.target is None:
        wished[KEY] = write.key
    for name, value in wished.items():
        if value and name not in changes and name not in write.fields and _is_empty(current, name):
            changes[name] = value
    return _clean(changes)


def contact_fields(write: UpsertContact, stick: Stick) -> list[str]:
    """What must be read before `contact_changes` can compare."""
    base: tuple[str, ...] = ("firstname", "lastname", "email", "company", "phone", "mobilephone", "hubspot_owner_id")
    base += (KEY,) if stick is Stick.ENFORCED else ()
    return list(dict.fromkeys((*base, *write.fields, *write.fields_if_empty)))


def update(type: str, id: str, properties: Mapping[str, str]) -> Request:
    return Request(
        method="PATCH",
        path=path("crm", "objects", VERSION, type, id),
        json={"properties": _clean(properties)},
        writes=True,
    )


def unsubscribe_all(email: str) -> Request:
    """No more e-mail of any kind. HubSpot has no other channel, and nothing for people without an address."""
    return Request(
        method="POST",
        path=path("communication-preferences", VERSION, "statuses", email, "unsubscribe-all"),
        query=[("channel", "EMAIL")],
        writes=True,
    )


def owned(write: SetFields | AssignOwner) -> Mapping[str, str]:
    return {"hubspot_owner_id": write.owner} if write.owner else {}


def mark(key: str) -> str:
    """What a text carries instead of the key: short, and telling nobody anything."""
    return f"gw-{hashlib.sha256(key.encode()).hexdigest()[:20]}"


def associations(type: str, about: Sequence[Link]) -> list[dict[str, object]]:
    """Raises `Rejected` for a link HubSpot has no association for."""
    links: dict[tuple[str, str], dict[str, object]] = {}
    for link in about:
        to, id = "contacts" if isinstance(link, Person) else TYPES[link.kind], id_of(link)
        number = ASSOCIATIONS.get((type, to))
        if number is None:
            raise Rejected(f"HubSpot does not link {type} to {to}")
        links[(to, id)] = {
            "to": {"id": id},
            "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": number}],
        }
    return list(links.values())


def id_of(link: Link) -> str:
    """A record's id; a placeholder for one that does not exist yet (dry runs only)."""
    match link:
        case Ref(id=id):
            return id
        case Later(kind=kind):
            return f"<id of the new {kind.value}>"
        case _:
            return "<id of the caller>"


def html(body: str, unchecked: str, *, extra: Sequence[str] = (), marker: str | None = None) -> str:
    """Escaped paragraphs. What was said in the call stands under its heading; the marker is the last line."""

    def build(body: str, unchecked: str) -> str:
        parts = [*_paragraphs(body), *extra]
        if unchecked:
            parts += [f"<p><strong>{UNCHECKED}</strong></p>", *_paragraphs(unchecked)]
        if marker:
            parts.append(f"<p>Ref. {marker}</p>")
        return "".join(parts)

    return _fitted(build, body, unchecked)


def plain(body: str, unchecked: str, *, marker: str | None = None) -> str:
    """The same for fields that hold text."""

    def build(body: str, unchecked: str) -> str:
        parts = [body.strip(), f"{UNCHECKED}:\n{unchecked.strip()}" if unchecked.strip() else ""]
        parts.append(f"Ref. {marker}" if marker else "")
        return "\n\n".join(part for part in parts if part)

    return _fitted(build, body, unchecked)


# ── parts ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_Build = Callable[[str, str], str]


def _create(type: str, properties: Mapping[str, str], links: Sequence[Mapping[str, object]]) -> Request:
    return Request(
        method="POST",
        path=path("crm", "objects", VERSION, type),
        json={"properties": _clean(properties), "associations": list(links)},
        writes=True,
    )


def placing(kind: Kind, place: Place) -> Mapping[str, str]:
    """The properties that put a deal or ticket into a stage. Raises `Unsupported` for what has none."""
    match kind:
        case Kind.DEAL:
            return {"pipeline": place.pipeline, "dealstage": place.stage}
        case Kind.TICKET:
            return {"hs_pipeline": place.pipeline, "hs_pipeline_stage": place.stage}
        case _:
            raise Unsupported(f"a {kind.value} has no stages in HubSpot")


def _properties(write: Dated, place: Place | None, home_currency: str | None, marker: str | None) -> Mapping[str, str]:
    match write:
        case LogCall():
            return _call(write, marker)
        case CreateTask():
            return {
                "hs_timestamp": stamp(write.due),
                "hs_task_subject": write.subject,
                "hs_task_body": html(write.body, write.unchecked, marker=marker),
                "hs_task_status": "NOT_STARTED",
                "hs_task_priority": _TASK_PRIORITY.get(write.priority, "MEDIUM"),
                "hs_task_type": _TASK_TYPE.get(write.type, "TODO"),
                **({"hs_task_reminders": str(milliseconds(write.remind))} if write.remind else {}),
            }
        case AddNote():
            return {"hs_timestamp": stamp(write.at), "hs_note_body": html(write.body, write.unchecked, marker=marker)}
        case CreateEvent():
            return {
                "hs_timestamp": stamp(write.starts),
                "hs_meeting_title": write.subject,
                "hs_meeting_body": html(write.body, "", marker=marker),
                "hs_meeting_start_time": stamp(write.starts),
                "hs_meeting_end_time": stamp(write.ends),
                "hs_meeting_outcome": "SCHEDULED",
            }
        case CreateDeal():
            foreign = write.currency if write.currency and write.currency != home_currency else ""
            return {
                "dealname": write.name,
                **(placing(Kind.DEAL, place) if place else {}),
                **({"amount": f"{write.amount:f}"} if write.amount is not None else {}),
                **({"deal_currency_code": foreign} if foreign and write.amount is not None else {}),
                **({"closedate": write.closes.isoformat() + "T00:00:00.000Z"} if write.closes else {}),
                **_unless_empty("description", plain(write.body, "", marker=marker)),
            }
        case CreateTicket():
            return {
                "subject": write.subject,
                **(placing(Kind.TICKET, place) if place else {}),
                "hs_ticket_priority": _TICKET_PRIORITY.get(write.priority, "MEDIUM"),
                **_unless_empty("content", plain(write.body, write.unchecked, marker=marker)),
            }
        case _:
            assert_never(write)


def _call(write: LogCall, marker: str | None) -> Mapping[str, str]:
    call = write.call
    customer, ours = call.customer_number or "", call.our_number or ""
    inbound = call.direction == "inbound"
    recording, as_link = _recording(call)
    return {
        "hs_timestamp": stamp(call.started_at),
        "hs_call_title": write.subject,
        "hs_call_body": html(write.body, write.unchecked, extra=as_link, marker=marker),
        "hs_call_direction": "INBOUND" if inbound else "OUTBOUND",
        "hs_call_status": _CALL_STATUS.get(call.outcome, "COMPLETED"),
        "hs_call_source": "INTEGRATIONS_PLATFORM",
        **_unless_empty("hs_call_duration", _duration(call)),
        **_unless_empty("hs_call_from_number", customer if inbound else ours),
        **_unless_empty("hs_call_to_number", ours if inbound else customer),
        **_unless_empty("hs_call_recording_url", recording),
    }


def _duration(call: CallLog) -> str:
    """Milliseconds."""
    return "" if call.duration is None else str(max(0, round(call.duration.total_seconds() * 1000)))


def _recording(call: CallLog) -> tuple[str, list[str]]:
    """(value of the recording field, paragraphs): the field plays https .mp3 and .wav only and refuses the whole call
    over anything else, as one adapter found; other links go into the text."""
    url = call.recording_url or ""
    if not url.startswith("https://"):
        return "", []
    if urlsplit(url).path.lower().endswith((".mp3", ".wav")):
        return url, []
    return "", [f'<p><a href="{escape(url)}">Recording</a></p>']


def _named(write: UpsertContact) -> dict[str, str]:
    given = {
        "firstname": write.first_name,
        "lastname": write.last_name,
        "email": write.email,
        "company": write.company,
        "phone": write.phone,
    }
    return {name: value for name, value in given.items() if value}


def _is_empty(current: Object, name: str) -> bool:
    held = current.value(name)
    return not held or (name == "lastname" and held in (current.value("phone"), current.value("mobilephone")))


def _common(fields: Mapping[str, str], owner: str | None) -> dict[str, str]:
    return {**fields, **({"hubspot_owner_id": owner} if owner else {})}


def _unless_empty(name: str, value: str) -> Mapping[str, str]:
    return {name: value} if value else {}


def _clean(properties: Mapping[str, str]) -> dict[str, str]:
    return {name: clean(value) for name, value in properties.items()}


def _paragraphs(text: str) -> list[str]:
    blocks = text.strip().replace("\r\n", "\n").split("\n\n")
    return [f"<p>{escape(block.strip()).replace(chr(10), '<br>')}</p>" for block in blocks if block.strip()]


def _fitted(build: _Build, body: str, unchecked: str) -> str:
    """`build(body, unchecked)`, the texts cut as little as makes it fit; the end of the call's words goes first."""
    whole = build(body, unchecked)
    if len(whole) <= LONGEST_TEXT:
        return whole

    def cut(keep: int) -> str:
        mine, theirs = body[:keep], unchecked[: max(0, keep - len(body))]
        mine += f"\n\n{CUT_NOTE}" if len(mine) < len(body) else ""
        theirs += f"\n\n{CUT_NOTE}" if len(theirs) < len(unchecked) else ""
        return build(mine, theirs)

    fits, too_much = 0, len(body) + len(unchecked)
    while too_much - fits > 1:
        middle = (fits + too_much) // 2
        fits, too_much = (middle, too_much) if len(cut(middle)) <= LONGEST_TEXT else (fits, middle)
    return cut(fits)
