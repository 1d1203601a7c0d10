"""An action and a call become a write, in the words of connectors. Pure; record ids that do not exist yet are links.

What was said in a call stands apart ("From the call, not checked"), and only ever as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from connectors.crm.records import (
    AddNote,
    AssignOwner,
    CallLog,
    CreateDeal,
    CreateTask,
    CreateTicket,
    LogCall,
    OptOut,
    Person,
    SetFields,
    UpsertContact,
    Write,
)
from rules.decide import Planned

MORNING = time(9, 0)  # when something that is due on a day is due
RECORD_OF_THE_PERSON = (
    "upsert_contact",
    "set_fields",
    "assign_owner",
    "opt_out",
)  # actions that write the contact itself


@dataclass(frozen=True, kw_only=True, repr=False)
class CallView:
    """What a write needs to know of the call. `customer`: E.164, or None. `zone`: the tenant's, for days."""

    direction: str
    started_at: datetime
    duration: timedelta | None
    customer: str | None
    our_number: str | None
    outcome: str
    recording_url: str | None
    zone: str


def write_of(
    planned: Planned, call: CallView, *, key: str, person_key: str, nobody_at: datetime | None = None
) -> Write:
    """The write for one action.

    key         the delivery's id. person_key: for people, the same for every call of one person at one connection.
    nobody_at   when the CRM was asked for the caller and had nobody, if it was.
    Raises ValueError for an action this release does not know: the rule set was checked when it was saved.
    """
    data = planned.data
    body, unchecked = _text(planned)
    match planned.do:
        case "upsert_contact":
            return UpsertContact(
                key=person_key, phone=call.customer, target=Person(nobody_at), first_name=data.get("first_name"),
                last_name=data.get("last_name"), email=data.get("email"), company=data.get("company"),
            )  # fmt: skip
        case "log_call":
            return LogCall(
                key=key,
                subject=str(data.get("subject") or "Call"),
                call=_log(call),
                about=(Person(),),
                body=body,
                unchecked=unchecked,
            )
        case "create_task":
            return CreateTask(
                key=key, subject=str(data["subject"]), due=_moment(data.get("due"), call), owner=data.get("owner"),
                priority=data.get("priority", "normal"), type=data.get("type", "todo"), about=(Person(),), body=body, unchecked=unchecked,
            )  # fmt: skip
        case "create_deal":
            return CreateDeal(
                key=key, name=str(data["name"]), pipeline=str(data.get("pipeline", "")), stage=str(data.get("stage", "")),
                amount=_amount(data.get("amount")), currency=data.get("currency"), closes=_day(data.get("closes")),
                body=str(data.get("body", "")), about=(Person(),),
            )  # fmt: skip
        case "create_ticket":
            return CreateTicket(
                key=key, subject=str(data["subject"]), priority=data.get("priority", "normal"),
                pipeline=str(data.get("pipeline", "")), stage=str(data.get("stage", "")), about=(Person(),), body=body, unchecked=unchecked,
            )  # fmt: skip
        case "add_note":
            return AddNote(key=key, at=call.started_at, about=(Person(),), body=body, unchecked=unchecked)
        case "assign_owner":
            return AssignOwner(key=key, owner=str(data["email"]), target=Person())
        case "opt_out":
            return OptOut(key=key, target=Person(), reason="asked for in a call")
        case "set_fields":
            return SetFields(
                key=key, fields={name: _as_text(value) for name, value in data["fields"].items()}, target=Person()
            )
        case other:
            raise ValueError(f"no such action: {other}")


def record_key(do: str, delivery_id: str) -> str:
    """Which record an action writes: writes of one record keep their order, others overtake each other."""
    return "person" if do in RECORD_OF_THE_PERSON else f"{do}:{delivery_id}"


def late_summary(text: str, call: CallView, *, key: str) -> AddNote:
    """What is added when a summary comes after its call was logged."""
    return AddNote(
        key=key, at=call.started_at, body="Added later to the call of that time.", unchecked=text, about=(Person(),)
    )


def needed(planned: Sequence[Planned]) -> str | None:
    """The action the others of one plan need: whoever creates the person comes first."""
    return next((one.action_id for one in planned if one.do == "upsert_contact"), None)


def _log(call: CallView) -> CallLog:
    return CallLog(
        direction="outbound" if call.direction == "outbound" else "inbound",
        started_at=call.started_at,
        duration=call.duration,
        customer_number=call.customer,
        our_number=call.our_number,
        outcome=call.outcome,
        recording_url=call.recording_url,
    )


def _text(planned: Planned) -> tuple[str, str]:
    """The text of the tenant, and the text of the call: `body` stands in one or the other."""
    body = str(planned.data.get("body") or "")
    return ("", body) if "body" in planned.speech else (body, "")


def _moment(due: Any, call: CallView) -> datetime:
    """A due time: days are due in the morning of the tenant's zone; nothing said is the next morning."""
    zone = ZoneInfo(call.zone)
    if due is None:
        day = call.started_at.astimezone(zone).date() + timedelta(days=1)
    elif (day_or_none := _day(due)) is not None and "T" not in str(due):
        day = day_or_none
    else:
        return datetime.fromisoformat(str(due)).astimezone(UTC)
    return datetime.combine(day, MORNING, zone).astimezone(UTC)


def _day(text: Any) -> date | None:
    return None if text is None else datetime.fromisoformat(str(text)).date()


def _amount(value: Any) -> Decimal | None:
    try:
        return None if value is None else Decimal(str(value))
    except InvalidOperation:
        return None


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
