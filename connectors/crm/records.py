"""Records of any CRM in our own words: what we read, and what we want written.

Values only. Writes are tagged unions so that a stored payload names its kind (`{"do": "log_call", …}`) and
can be read back years later; adding a field needs a default, renaming one needs a new payload version.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """Kinds of records, the same word for all CRMs."""

    CONTACT = "contact"
    LEAD = "lead"
    COMPANY = "company"
    CALL = "call"
    TASK = "task"
    DEAL = "deal"
    TICKET = "ticket"
    NOTE = "note"
    EVENT = "event"


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all values here: frozen, keyword-only, and silent about people in its repr."""

    def __repr__(self) -> str:  # names, numbers and transcripts stay out of logs and tracebacks
        return f"<{type(self).__name__}>"


class Ref(msgspec.Struct, frozen=True, tag_field="is", tag="record"):
    """A record at the CRM."""

    kind: Kind
    id: str


class Later(msgspec.Struct, frozen=True, tag_field="is", tag="later"):
    """A record that does not exist yet: the one delivery `delivery` will leave. Resolved before a connector sees it."""

    kind: Kind
    delivery: str


class Person(msgspec.Struct, frozen=True, tag_field="is", tag="person", omit_defaults=True):
    """Whoever the lane's person is at this CRM, as known when the write is sent. Resolved before a connector sees it.

    nobody_at  when this CRM was asked for them and had nobody, if it was.
    """

    nobody_at: datetime | None = None


class Earlier(msgspec.Struct, frozen=True, tag_field="is", tag="earlier"):
    """The record that the write at `index` (from 0) of the same run will leave. Only in runs given to `Crm.write`."""

    kind: Kind
    index: int


Link = Ref | Later | Person | Earlier


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a write left: where it is, and whether it was new."""

    kind: Kind
    id: str
    url: str | None = None
    created: bool = True

    @property
    def ref(self) -> Ref:
        return Ref(self.kind, self.id)


# ── what we read ────────────────────────────────────────────────────────────────────────────────────────────────────


class Account(Value, frozen=True, kw_only=True):
    """Who we are connected to. `id` is stable and unique per provider; `origin` is the API origin for this account."""

    id: str
    name: str
    region: str | None = None  # where the vendor hosts it ("eu1", "na1"), if it says
    timezone: str | None = None
    currency: str | None = None
    ui_origin: str | None = None  # to build links a person can open


class Owner(Value, frozen=True, kw_only=True):
    id: str
    name: str = ""
    email: str | None = None


class Company(Value, frozen=True, kw_only=True):
    id: str
    name: str = ""


class Deal(Value, frozen=True, kw_only=True):
    id: str
    name: str
    stage: str = ""  # label, else id
    pipeline: str = ""
    amount: Decimal | None = None
    currency: str | None = None
    closes: date | None = None
    is_open: bool = True


class Ticket(Value, frozen=True, kw_only=True):
    id: str
    subject: str
    stage: str = ""
    priority: str | None = None
    is_open: bool = True


class Activity(Value, frozen=True, kw_only=True):
    """Something that happened: a call, a note, a meeting, a task. Newest first wherever several are given."""

    kind: Kind
    id: str
    at: datetime
    subject: str = ""


class Phone(Value, frozen=True, kw_only=True):
    """A number as the CRM has it. `e164` is None when it cannot be read as one; `label` says which field it stood in."""

    raw: str
    label: str
    e164: str | None = None


class Contact(Value, frozen=True, kw_only=True):
    """A person or company at the CRM who holds a number.

    match    "exact" when one of `phones` is the asked number in E.164, "national" when only the national digits agree.
    reason   which field held it ("mobile", "phone", "fax", a custom field's name).
    fields   values of extra fields that were asked for, by the CRM's own name.
    """

    kind: Kind
    id: str
    name: str
    first_name: str | None = None
    last_name: str | None = None
    salutation: str | None = None
    email: str | None = None
    phones: tuple[Phone, ...] = ()
    company: Company | None = None
    owner: Owner | None = None
    tier: str | None = None  # lifecycle stage, rating: whatever this CRM ranks people by
    language: str | None = None
    url: str | None = None
    updated_at: datetime | None = None
    match: str | None = None
    reason: str | None = None
    fields: Mapping[str, str] = {}


class Context(Value, frozen=True, kw_only=True):
    """What a voice agent wants to know about a contact besides the name. Newest first."""

    company: Company | None = None
    owner: Owner | None = None
    open_deals: tuple[Deal, ...] = ()
    open_tickets: tuple[Ticket, ...] = ()
    recent: tuple[Activity, ...] = ()
    complete: bool = True  # False when a part could not be read (missing scope, slow); what is there is still true


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    label: str
    closed: bool = False
    won: bool = False


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """Stages in the CRM's own order."""

    id: str
    label: str
    stages: tuple[Stage, ...]


class Option(msgspec.Struct, frozen=True, kw_only=True):
    value: str
    label: str


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One field of one kind of record. `type`: text | longtext | number | date | datetime | bool | choice | choices | phone."""

    name: str
    label: str
    type: str
    options: tuple[Option, ...] = ()
    writable: bool = True
    unique: bool = False
    required: bool = False
    custom: bool = False


class Page(Value, frozen=True, kw_only=True):
    """One page of records. `next` is opaque; None at the end.

    wait  how long the CRM wants to be left alone before `next` is asked for (a bulk job that is still running).
    """

    items: tuple[Contact, ...]
    next: str | None = None
    total: int | None = None
    wait: timedelta | None = None


# ── what we want written ────────────────────────────────────────────────────────────────────────────────────────────


class CallLog(Value, frozen=True, kw_only=True):
    """A call as it shall stand in the CRM. Durations are timedeltas; text is plain text, escaped by the connector.

    unchecked  what was said in the call, shown under "From the call, not checked".
    """

    direction: str  # "inbound" | "outbound"
    started_at: datetime
    duration: timedelta | None = None
    customer_number: str | None = None  # E.164
    our_number: str | None = None
    outcome: str = "completed"  # completed | no_answer | busy | failed | voicemail | cancelled
    recording_url: str | None = None


class _Write(Value, frozen=True, kw_only=True, tag_field="do", omit_defaults=True):
    """Common to all writes.

    key     unique for ever; asking twice with one key writes once. For people it is derived from (connection, person).
    fields  extra values by the CRM's own field name, already transformed by the mapping.
    owner   the CRM's owner id.
    """

    key: str
    fields: Mapping[str, str] = {}
    owner: str | None = None


class UpsertContact(_Write, frozen=True, kw_only=True, tag="upsert_contact"):
    """Create the person, or fill in what is new. With `target` it is an update of that record.

    fields_if_empty  written only where the CRM has nothing (compared with a read inside the lane).
    """

    phone: str | None = None  # E.164
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    company: str | None = None
    fields_if_empty: Mapping[str, str] = {}
    target: Link | None = None
    kind: Kind = Kind.CONTACT  # contact or lead


class LogCall(_Write, frozen=True, kw_only=True, tag="log_call"):
    subject: str
    call: CallLog
    body: str = ""
    unchecked: str = ""
    about: tuple[Link, ...] = ()


class CreateTask(_Write, frozen=True, kw_only=True, tag="create_task"):
    subject: str
    due: datetime
    body: str = ""
    unchecked: str = ""
    remind: datetime | None = None
    priority: str = "normal"  # low | normal | high
    type: str = "call"  # call | email | todo
    about: tuple[Link, ...] = ()


class CreateDeal(_Write, frozen=True, kw_only=True, tag="create_deal"):
    """`pipeline` and `stage` are ids or labels; empty means the account's first pipeline and its first open stage."""

    name: str
    pipeline: str = ""
    stage: str = ""
    amount: Decimal | None = None
    currency: str | None = None
    closes: date | None = None
    body: str = ""
    about: tuple[Link, ...] = ()


class CreateTicket(_Write, frozen=True, kw_only=True, tag="create_ticket"):
    subject: str
    body: str = ""
    unchecked: str = ""
    priority: str = "normal"  # low | normal | high | urgent
    pipeline: str = ""
    stage: str = ""
    about: tuple[Link, ...] = ()


class AddNote(_Write, frozen=True, kw_only=True, tag="add_note"):
    body: str
    unchecked: str = ""
    at: datetime
    about: tuple[Link, ...] = ()


class CreateEvent(_Write, frozen=True, kw_only=True, tag="create_event"):
    """A meeting on the CRM's timeline."""

    subject: str
    starts: datetime
    ends: datetime
    body: str = ""
    about: tuple[Link, ...] = ()


class SetFields(_Write, frozen=True, kw_only=True, tag="set_fields"):
    """Set `fields` on an existing record. Repeatable: the same values twice change nothing."""

    target: Link


class AssignOwner(_Write, frozen=True, kw_only=True, tag="assign_owner"):
    """Make `owner` the owner of `target`. Repeatable."""

    target: Link


class MoveStage(_Write, frozen=True, kw_only=True, tag="move_stage"):
    """Put a deal or ticket into another stage, by id or label. Repeatable."""

    target: Link
    stage: str
    pipeline: str = ""  # empty: the one it is in


class AddToList(_Write, frozen=True, kw_only=True, tag="add_to_list"):
    """Make `target` a member of a list, campaign, tag or label: whatever this CRM groups people by. Repeatable.

    list  its id, or its name as people see it.
    """

    target: Link
    list: str


class OptOut(_Write, frozen=True, kw_only=True, tag="opt_out"):
    """No more marketing to this person. What it reaches is each CRM's own (manifest: `opt_out_limits`)."""

    target: Link
    email: str | None = None
    reason: str = ""


Write = (
    UpsertContact
    | LogCall
    | CreateTask
    | CreateDeal
    | CreateTicket
    | AddNote
    | CreateEvent
    | SetFields
    | AssignOwner
    | MoveStage
    | AddToList
    | OptOut
)


def name_of(write: Write) -> str:
    """The write's tag, as it stands in payloads, manifests and answers ("log_call")."""
    return str(write.__struct_config__.tag)
