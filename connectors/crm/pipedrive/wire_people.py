"""Pipedrive's people, and what happened with them → our records. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, time
from decimal import Decimal, InvalidOperation

import msgspec
from phonenumbers import PhoneNumber

from connectors import phone
from connectors.crm.pipedrive.manifest import TICKET
from connectors.crm.pipedrive.wire import Row, day, moment
from connectors.crm.records import (
    Account,
    Activity,
    Company,
    Contact,
    Deal,
    Kind,
    Link,
    Owner,
    Phone,
    Ref,
    Stage,
    Ticket,
)

_PAGES: Mapping[Kind, str] = {
    Kind.CONTACT: "person",
    Kind.COMPANY: "organization",
    Kind.DEAL: "deal",
    Kind.LEAD: "leads/inbox",
    **dict.fromkeys((Kind.CALL, Kind.TASK, Kind.EVENT, Kind.TICKET), "activities"),
}
_LABELS = frozenset({"mobile", "home", "fax"})  # "work", "other" and none at all are plain phones to us
_LONGEST_SUBJECT = 120
_MIDNIGHT = time(tzinfo=UTC)


def record_url(account: Account | None, ref: Ref, about: Sequence[Link] = ()) -> str | None:
    """Where a person opens a record; None as long as the company's own address is not known.

    about  what a note hangs on: it has no page of its own and is shown there.
    """
    if account is None or not account.ui_origin:
        return None
    if ref.kind is not Kind.NOTE:
        return f"{account.ui_origin}/{_PAGES[ref.kind]}/{ref.id}"
    on = next((link for link in about if isinstance(link, Ref) and link.kind in _PAGES), None)
    return f"{account.ui_origin}/{_PAGES[on.kind]}/{on.id}#note-{ref.id}" if on else None


def read_contact(
    kind: Kind,
    found: Row,
    *,
    account: Account | None,
    region: str | None = None,
    extra: Mapping[str, str] | None = None,
) -> Contact:
    """A person or an organisation.

    extra  the company's own fields that hold numbers: code → name. Organisations have numbers nowhere else.
    """
    first, last = found.value("first_name"), found.value("last_name")
    emails = found.entries("emails")
    name = found.value("name") or " ".join(part for part in (first, last) if part)
    company_id, owner_id = found.value("org_id"), found.value("owner_id")
    return Contact(
        kind=kind,
        id=found.id,
        name=name or (emails[0].value if emails else ""),
        first_name=first or None,
        last_name=last or None,
        email=emails[0].value if emails else None,
        phones=tuple(_phones(found, region, extra or {})),
        company=Company(id=company_id, name=_company_name(found)) if company_id and kind is not Kind.COMPANY else None,
        owner=Owner(id=owner_id) if owner_id else None,
        url=record_url(account, Ref(kind, found.id)),
        updated_at=moment(found.value("update_time")),
    )


def read_lead(lead: Row, person: Contact | None, *, account: Account | None) -> Contact:
    """A lead as the person it is about: it has no name or number of its own. Its title stands for a person we cannot see."""
    base = person or Contact(kind=Kind.LEAD, id=lead.id, name=lead.value("title"))
    owner_id = lead.value("owner_id")
    return msgspec.structs.replace(
        base,
        kind=Kind.LEAD,
        id=lead.id,
        owner=Owner(id=owner_id) if owner_id else base.owner,
        url=record_url(account, Ref(Kind.LEAD, lead.id)),
        updated_at=moment(lead.value("update_time")) or base.updated_at,
    )


def _company_name(found: Row) -> str:
    """v2 gives the id alone; v1 and search have the name beside it."""
    embedded = found.raw.get("org_id")
    if isinstance(embedded, dict):
        return str(embedded.get("name") or "")
    return found.value("org_name")


def _phones(found: Row, region: str | None, extra: Mapping[str, str]) -> Iterable[Phone]:
    for entry in found.entries("phones"):
        label = entry.label.casefold() if entry.label.casefold() in _LABELS else "phone"
        yield _phone(entry.value, label, region)
    for code, name in extra.items():
        if raw := found.value(code):
            yield _phone(raw, name, region)


def _phone(raw: str, label: str, region: str | None) -> Phone:
    number = phone.read(raw, region)
    return Phone(raw=raw, label=label, e164=phone.e164(number) if number else None)


def matched(contact: Contact, number: PhoneNumber) -> Contact | None:
    """`contact` with how and where it holds `number`; None if it does not hold it after all."""
    plain, region = phone.e164(number), phone.region_of(number)
    for held in contact.phones:
        if held.e164 == plain or (held.e164 is None and phone.same(number, held.raw, region) == "exact"):
            return msgspec.structs.replace(contact, match="exact", reason=held.label)
    for held in contact.phones:
        if phone.same(number, held.e164 or held.raw) == "national":
            return msgspec.structs.replace(contact, match="national", reason=held.label)
    return None


def rank(contact: Contact) -> tuple[bool, bool, bool, float]:
    """Order of matches: exact before national, persons before their leads, both before companies, the latest changed first."""
    changed = contact.updated_at.timestamp() if contact.updated_at else 0.0
    return contact.match != "exact", contact.kind is Kind.COMPANY, contact.kind is Kind.LEAD, -changed


def read_deal(found: Row, stages: Mapping[str, Stage], pipeline_names: Mapping[str, str]) -> Deal:
    stage = stages.get(found.value("stage_id"))
    status = found.value("status")
    return Deal(
        id=found.id,
        name=found.value("title"),
        stage=stage.label if stage else found.value("stage_id"),
        pipeline=pipeline_names.get(found.value("pipeline_id"), found.value("pipeline_id")),
        amount=_amount(found.value("value")),
        currency=found.value("currency") or None,
        closes=day(found.value("expected_close_date")),
        is_open=status in ("open", "") and not found.is_gone,
    )


def is_ticket(found: Row) -> bool:
    return found.value("subject").startswith(TICKET)


def read_ticket(found: Row) -> Ticket:
    """The activity that stands for one."""
    return Ticket(id=found.id, subject=found.value("subject").removeprefix(TICKET), is_open=not found.flag("done"))


def activity_kind(found: Row) -> Kind:
    """Calls are activities of type "call" that are done; those still to be made are tasks."""
    if is_ticket(found):
        return Kind.TICKET
    match found.value("type"):
        case "call" if found.flag("done"):
            return Kind.CALL
        case "meeting" | "lunch":
            return Kind.EVENT
        case _:
            return Kind.TASK


def read_activity(found: Row) -> Activity | None:
    """When it is due or was done, in UTC; when it was added, for one without a date."""
    at = _due(found) or moment(found.value("add_time"))
    if at is None:
        return None
    subject = " ".join(found.value("subject").split())[:_LONGEST_SUBJECT]
    return Activity(kind=activity_kind(found), id=found.id, at=at, subject=subject)


def _due(found: Row) -> datetime | None:
    """`due_time` is "14:05" in what is written and "14:05:00" in what is documented; empty for a whole day."""
    on = day(found.value("due_date"))
    if on is None:
        return None
    try:
        clock = time.fromisoformat(found.value("due_time")).replace(tzinfo=UTC)
    except ValueError:
        clock = _MIDNIGHT
    return datetime.combine(on, clock)


def _amount(text: str) -> Decimal | None:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None
