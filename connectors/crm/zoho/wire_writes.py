"""Our writes → Zoho's records and requests. Pure.

Facts: zoho.com/crm/developer's pages on records, notes and tags as of 2026-11; recorded: nango-create-call,
nango-create-contact, nango-get-call, nango-get-task, nango-get-event.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, assert_never
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from connectors import phone
from connectors.crm.records import (
    AddNote,
    CallLog,
    CreateDeal,
    CreateEvent,
    CreateTask,
    CreateTicket,
    Earlier,
    Field,
    Kind,
    Later,
    Link,
    LogCall,
    Person,
    Ref,
    UpsertContact,
)
from connectors.crm.zoho.manifest import KEY, KEY_LABEL
from connectors.crm.zoho.wire import LABELS, MODULES, Row, path, stamp, value
from connectors.crm.zoho.wire_text import harmless, plain, title
from connectors.errors import Rejected, Unsupported
from connectors.request import Request

Dated = LogCall | CreateTask | AddNote | CreateEvent | CreateDeal | CreateTicket
"""Writes that leave a record of their own every time."""

LONGEST_TITLE = 120  # of a deal's name or a note's title; subjects take 255
CLOSING = timedelta(days=30)  # Zoho wants a closing date of every deal; where nobody named one
_LONGEST_KEY = 200

KINDS: Mapping[type[Dated], Kind] = {
    LogCall: Kind.CALL,
    CreateTask: Kind.TASK,
    AddNote: Kind.NOTE,
    CreateEvent: Kind.EVENT,
    CreateDeal: Kind.DEAL,
    CreateTicket: Kind.TICKET,
}
BODIES: Mapping[Kind, str] = {  # where the text stands, and with it the marker
    Kind.CALL: "Description",
    Kind.TASK: "Description",
    Kind.NOTE: "Note_Content",
    Kind.EVENT: "Description",
    Kind.DEAL: "Description",
    Kind.TICKET: "Description",
}
_UNANSWERED = frozenset({"no_answer", "busy", "cancelled", "failed"})
_TASK_PRIORITY = {"low": "Low", "high": "High"}
_CASE_PRIORITY = {"low": "Low", "normal": "Medium", "high": "High", "urgent": "High"}


class Place(msgspec.Struct, frozen=True):
    """Where a deal or case starts: values of Pipeline (none in accounts without) and Stage, and the layout they are of."""

    pipeline: str
    stage: str
    layout: str = ""


class Around(msgspec.Struct, frozen=True):
    """What the account's make-up and the moment add to a write.

    fields   of the module written to, as far as known; () writes without knowing.
    links    names of those whose values are records.
    today    for what Zoho wants a date of.
    """

    place: Place | None = None
    fields: Sequence[Field] = ()
    links: frozenset[str] = frozenset()
    timezone: str | None = None
    currency: str | None = None
    today: date = date.min
    key_field: bool = False  # ours is there to carry the key


def create(write: Dated, around: Around) -> Request:
    """One request: the record with its links, and our key in its field or in its text."""
    kind = KINDS[type(write)]
    marker = None if around.key_field else mark(write.key)
    row = {**_row(write, around, marker), **linked(kind, write.about), **_common(write, around)}
    if around.key_field:
        row[KEY] = kept_key(write.key)
    return _insert(MODULES[kind], row)


def create_person(write: UpsertContact, around: Around) -> Request:
    """A new contact or lead. Zoho wants a last name: a caller who gave none is named by what there is. Of a lead it wants
    a company too: who named none stands for himself."""
    row: dict[str, Any] = {**typed(write.fields_if_empty, around), **_named(write), **_common(write, around)}
    if not row.get("Last_Name"):
        row["Last_Name"] = row.pop("First_Name", None) or write.email or write.phone or "?"
    if write.kind is Kind.LEAD and not row.get("Company"):
        row["Company"] = " ".join(str(row[name]) for name in ("First_Name", "Last_Name") if row.get(name))
    if around.key_field:
        row[KEY] = kept_key(write.key)
    return _insert(MODULES[write.kind], row)


def person_changes(write: UpsertContact, kind: Kind, current: Row, around: Around) -> dict[str, Any]:
    """What an existing person lacks: `fields` wherever they differ, everything else only where Zoho has nothing.

    A name that is nothing but the number, as `create_person` leaves it, counts as nothing. A number goes into the first
    free phone field, unless one has it. Our key goes to a person who has none, so that it is found again.
    """
    changes = {
        name: given for name, given in typed(write.fields, around).items() if value(current, name) != _text(given)
    }
    wished: dict[str, Any] = {**typed(write.fields_if_empty, around), **_named(write, kind), **owned(write.owner)}
    phones = [name for name in LABELS if name in current]
    number = phone.read(write.phone)
    if number is not None and not any(
        phone.same(number, value(current, name), phone.region_of(number)) == "exact" for name in phones
    ):
        free = [name for name in ("Phone", "Mobile") if not value(current, name)]
        wished.pop("Phone", None)
        wished.update({name: phone.e164(number) for name in free[:1]})
    if around.key_field and write.target is None:
        wished[KEY] = kept_key(write.key)
    for name, given in wished.items():
        if given and name not in changes and name not in write.fields and _is_empty(current, name):
            changes[name] = given
    return changes


def person_fields(write: UpsertContact, kind: Kind, around: Around) -> list[str]:
    """What must be read before `person_changes` can compare."""
    phones = [field.name for field in around.fields if field.type == "phone"] or ["Phone", "Mobile"]
    base = ["First_Name", "Last_Name", "Email", *phones, "Owner", "Modified_Time"]
    base += ["Company", "Converted_Contact", "Converted_Account"] if kind is Kind.LEAD else ["Account_Name"]
    base += [KEY] if around.key_field else []
    return list(dict.fromkeys((*base, *write.fields, *write.fields_if_empty)))


def update(kind: Kind, id: str, row: Mapping[str, Any], *, unmodified_since: str | None = None) -> Request:
    """unmodified_since  the record's Modified_Time as read: Zoho refuses if somebody was faster."""
    return Request(
        method="PUT",
        path=path(MODULES[kind], id),
        json={"data": [dict(row)]},
        headers={"If-Unmodified-Since": unmodified_since} if unmodified_since else {},
        writes=True,
    )


def add_tag(kind: Kind, id: str, tag: str) -> Request:
    """One that is there already is no error. Tags are Zoho's lists of people."""
    return Request(
        method="POST",
        path=path(MODULES[kind], id, "actions", "add_tags"),
        json={"tags": [{"name": harmless(tag)}], "over_write": False},
        writes=True,
    )


def opt_out(kind: Kind, id: str) -> Request:
    if kind not in (Kind.CONTACT, Kind.LEAD):
        raise Rejected("Zoho keeps contacts and leads from mass e-mail, nothing else", field="Email_Opt_Out")
    return update(kind, id, {"Email_Opt_Out": True})


def placing(kind: Kind, place: Place) -> dict[str, Any]:
    """The values that put a deal or case into a stage. Raises `Unsupported` for what has none."""
    match kind:
        case Kind.DEAL:
            layout = {"Layout": {"id": place.layout}} if place.layout else {}
            return {"Stage": place.stage, **({"Pipeline": place.pipeline} if place.pipeline else {}), **layout}
        case Kind.TICKET:
            return {"Status": place.stage}
        case _:
            raise Unsupported(f"a {kind.value} has no stages in Zoho")


def linked(kind: Kind, about: Sequence[Link]) -> dict[str, Any]:
    """The links of a new record. Activities have one person (`Who_Id`, contacts only) and one other thing (`What_Id`, a
    deal before a case before an account; a lead instead of all of them). Raises `Rejected` for what Zoho does not link."""
    ids = {kind_of(link): id_of(link) for link in reversed(about)}  # of several of a kind the first
    match kind:
        case Kind.CALL | Kind.TASK | Kind.EVENT:
            found: dict[str, Any] = {"Who_Id": {"id": ids[Kind.CONTACT]}} if Kind.CONTACT in ids else {}
            other = next((one for one in _OTHERS if one in ids), None)
            if other is not None and not (other is Kind.LEAD and found):
                found |= {"What_Id": {"id": ids[other]}, "$se_module": MODULES[other]}
            known = {Kind.CONTACT, *_OTHERS}
        case Kind.NOTE:
            of = next((one for one in (Kind.CONTACT, *_OTHERS) if one in ids), None)
            if of is None:
                raise Rejected("a note in Zoho belongs to a contact, lead, account, deal or case", field="Parent_Id")
            found = {"Parent_Id": {"id": ids[of], "module": {"api_name": MODULES[of]}}}
            known = {Kind.CONTACT, *_OTHERS}
        case _:
            names = _OF_DEALS if kind is Kind.DEAL else _OF_CASES
            found = {names[one]: {"id": id} for one, id in ids.items() if one in names}
            known = set(names)
    for one in ids:
        if one not in known:
            raise Rejected(f"Zoho does not link a {kind.value} to a {one.value}")
    return found


_OTHERS = (Kind.LEAD, Kind.DEAL, Kind.TICKET, Kind.COMPANY)
_OF_DEALS = {Kind.CONTACT: "Contact_Name", Kind.COMPANY: "Account_Name"}
_OF_CASES = {Kind.CONTACT: "Related_To", Kind.COMPANY: "Account_Name", Kind.DEAL: "Deal_Name"}


def kind_of(link: Link) -> Kind:
    return Kind.CONTACT if isinstance(link, Person) else link.kind


def id_of(link: Link) -> str:
    """A record's id; a placeholder for one that does not exist yet (dry runs only)."""
    match link:
        case Ref(id=id):
            return id
        case Later(kind=kind) | Earlier(kind=kind):
            return f"<id of the new {kind.value}>"
        case _:
            return "<id of the caller>"


def mark(key: str) -> str:
    """What a text carries instead of the key: short, and telling nobody anything."""
    return f"gw-{hashlib.sha256(key.encode()).hexdigest()[:20]}"


def kept_key(key: str) -> str:
    """The key as our field holds it: itself, if it is plain and fits."""
    return key if re.fullmatch(rf"[\w.:/+-]{{1,{_LONGEST_KEY}}}", key, re.ASCII) else mark(key)


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def typed(values: Mapping[str, str], around: Around) -> dict[str, Any]:
    """Our texts in the types Zoho wants, as far as its fields are known. Raises `Rejected` for a field that is not there:
    Zoho itself drops such values without a word."""
    known = {field.name: field for field in around.fields}
    found: dict[str, Any] = {}
    for name, given in values.items():
        field = known.get(name)
        if known and field is None:
            raise Rejected(f"“{name}” does not exist in this Zoho account", field=name)
        found[name] = _typed(name, given, field, around.links)
    return found


def _typed(name: str, given: str, field: Field | None, links: frozenset[str]) -> Any:
    if given == "":
        return None
    if name in links or name == "Owner":
        return {"id": given}
    match field.type if field else "text":
        case "bool":
            return given.strip().lower() in ("true", "yes", "1")
        case "number":
            return _number(given)
        case "choices":
            return [harmless(part.strip()) for part in given.split(";") if part.strip()]
        case _:
            return harmless(given)


def _number(given: str) -> int | float | str:
    """What is no number goes as it is: Zoho says what it thinks of it."""
    try:
        return int(given) if re.fullmatch(r"[+-]?\d{1,18}", given.strip(), re.ASCII) else float(given)
    except ValueError:
        return given


def _text(given: Any) -> str:
    return value({"": given}, "")


# ── each kind ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _row(write: Dated, around: Around, marker: str | None) -> dict[str, Any]:
    match write:
        case LogCall():
            return _call(write, marker)
        case CreateTask():
            return {
                "Subject": title(write.subject),
                "Due_Date": write.due.astimezone(_zone(around.timezone)).date().isoformat(),
                "Status": "Not Started",
                **({"Priority": _TASK_PRIORITY[write.priority]} if write.priority in _TASK_PRIORITY else {}),
                **({"Remind_At": {"ALARM": _alarm(write.remind)}} if write.remind else {}),
                **_unless_empty("Description", plain(write.body, write.unchecked, marker=marker)),
            }
        case AddNote():
            return {
                "Note_Title": title("Note from the call"),
                "Note_Content": plain(write.body, write.unchecked, marker=marker),
            }
        case CreateEvent():
            return {
                "Event_Title": title(write.subject),
                "Start_DateTime": stamp(write.starts),
                "End_DateTime": stamp(write.ends),
                **_unless_empty("Description", plain(write.body, "", marker=marker)),
            }
        case CreateDeal():
            foreign = write.currency if write.amount is not None and write.currency != around.currency else None
            return {
                "Deal_Name": title(write.name, LONGEST_TITLE),
                **(placing(Kind.DEAL, around.place) if around.place else {}),
                "Closing_Date": (write.closes or around.today + CLOSING).isoformat(),
                **({"Amount": float(write.amount)} if write.amount is not None else {}),
                **({"Currency": foreign} if foreign else {}),
                **_unless_empty("Description", plain(write.body, "", marker=marker)),
            }
        case CreateTicket():
            return {
                "Subject": title(write.subject),
                **(placing(Kind.TICKET, around.place) if around.place else {}),
                **_if_offered("Case_Origin", "Phone", around.fields),
                **_if_offered("Priority", _CASE_PRIORITY.get(write.priority, "Medium"), around.fields),
                **_unless_empty("Description", plain(write.body, write.unchecked, marker=marker)),
            }
        case _:
            assert_never(write)


def _call(write: LogCall, marker: str | None) -> dict[str, Any]:
    """Numbers and the recording have no field an app may write; they stand in the text."""
    call = write.call
    inbound = call.direction == "inbound"
    missed = inbound and call.outcome in _UNANSWERED
    return {
        "Subject": title(write.subject),
        "Call_Type": "Missed" if missed else "Inbound" if inbound else "Outbound",
        "Call_Start_Time": stamp(call.started_at),
        "Call_Duration": "00:00" if missed else _duration(call),
        **({} if inbound else {"Outbound_Call_Status": "Completed"}),  # without it Zoho shows it as to be done
        "Description": plain(write.body, write.unchecked, extra=_particulars(call), marker=marker),
    }


def _duration(call: CallLog) -> str:
    """Minutes and seconds, also beyond an hour; recorded: "00:15" is read as 15 seconds."""
    seconds = 0 if call.duration is None else max(0, round(call.duration.total_seconds()))
    return f"{seconds // 60:02}:{seconds % 60:02}"


def _particulars(call: CallLog) -> list[str]:
    inbound = call.direction == "inbound"
    caller, called = (call.customer_number, call.our_number) if inbound else (call.our_number, call.customer_number)
    lines = [f"From: {caller}" if caller else "", f"To: {called}" if called else ""]
    lines.append(f"Outcome: {call.outcome.replace('_', ' ')}" if call.outcome != "completed" else "")
    lines.append(f"Recording: {call.recording_url}" if (call.recording_url or "").startswith("https://") else "")
    text = "\n".join(line for line in lines if line)
    return [harmless(text)] if text else []


def _alarm(at: datetime) -> str:
    return f"FREQ=NONE;ACTION=POPUP;TRIGGER=DATE-TIME:{stamp(at)}"


def _zone(name: str | None) -> tzinfo:
    """Due dates are days of the account's own calendar."""
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def _if_offered(name: str, wanted: str, fields: Sequence[Field]) -> dict[str, str]:
    """The value, unless the account's own list does not have it: picklists are each tenant's."""
    field = next((one for one in fields if one.name == name), None)
    return {name: wanted} if field and any(one.value == wanted for one in field.options) else {}


def _insert(module: str, row: Mapping[str, Any]) -> Request:
    """Workflows run as for a record made by hand: that is what leaving `trigger` out means."""
    return Request(method="POST", path=path(module), json={"data": [dict(row)]}, writes=True)


def _named(write: UpsertContact, kind: Kind | None = None) -> dict[str, Any]:
    """A company is a text of a lead; of a contact it is a link, and nobody's company is made up here."""
    company = {"Company": write.company} if (kind or write.kind) is Kind.LEAD else {}
    given = {"First_Name": write.first_name, "Last_Name": write.last_name, "Email": write.email, "Phone": write.phone}
    return {name: harmless(text) for name, text in {**given, **company}.items() if text}


def _is_empty(current: Row, name: str) -> bool:
    held = value(current, name)
    return not held or (name == "Last_Name" and held in (value(current, "Phone"), value(current, "Mobile"), "?"))


def _common(write: Dated | UpsertContact, around: Around) -> dict[str, Any]:
    return {**typed(write.fields, around), **owned(write.owner)}


def owned(owner: str | None) -> dict[str, Any]:
    return {"Owner": {"id": owner}} if owner else {}


def _unless_empty(name: str, text: str) -> dict[str, str]:
    return {name: text} if text else {}


FIELD = Field(name=KEY, label=KEY_LABEL, type="text", unique=True, custom=True)
