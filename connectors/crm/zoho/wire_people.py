"""Zoho's people, and what happened with them → our records. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation

import msgspec
from phonenumbers import PhoneNumber

from connectors import phone
from connectors.crm.records import Account, Activity, Company, Contact, Deal, Kind, Owner, Phone, Stage, Ticket
from connectors.crm.zoho.wire import KINDS, LABELS, Row, link, moment, value

LONGEST_SUBJECT = 120
_AT = {"Calls": "Call_Start_Time", "Tasks": "Due_Date", "Events": "Start_DateTime", "Notes": "Created_Time"}
_SUBJECTS = {"Calls": "Subject", "Tasks": "Subject", "Events": "Event_Title", "Notes": "Note_Title"}
_ORDER = {Kind.CONTACT: 0, Kind.LEAD: 1, Kind.COMPANY: 2}


def record_url(account: Account | None, module: str, id: str) -> str | None:
    """Where a person opens a record; None as long as the account is not known."""
    if account is None or not account.ui_origin:
        return None
    return f"{account.ui_origin}/crm/org{account.id}/tab/{module}/{id}"


def read_contact(
    module: str, row: Row, *, phones: Sequence[str], account: Account | None, region: str | None = None
) -> Contact:
    """A contact, a lead or an account. `phones` names the fields that hold numbers, the most telling first."""
    company = link(row, "Account_Name") if module == "Contacts" else None
    company_name = value(row, "Company") if module == "Leads" else ""
    first, last = value(row, "First_Name"), value(row, "Last_Name")
    name = value(row, "Account_Name") if module == "Accounts" else " ".join(part for part in (first, last) if part)
    id = value(row, "id")
    return Contact(
        kind=KINDS[module],
        id=id,
        name=name or value(row, "Full_Name") or value(row, "Email"),
        first_name=first or None,
        last_name=last or None,
        salutation=value(row, "Salutation") or None,
        email=value(row, "Email") or None,
        phones=tuple(_phones(row, phones, region)),
        company=Company(id=company[0], name=company[1])
        if company
        else Company(id="", name=company_name)
        if company_name
        else None,
        owner=read_owner(row),
        tier=value(row, "Account_Type" if module == "Accounts" else "Rating") or None,
        url=record_url(account, module, id),
        updated_at=moment(value(row, "Modified_Time")),
    )


def read_owner(row: Row) -> Owner | None:
    """Records name their owner with address; queries give the id alone."""
    found = row.get("Owner")
    if not isinstance(found, dict) or not isinstance(found.get("id"), str):
        return None
    return Owner(id=found["id"], name=str(found.get("name") or ""), email=found.get("email") or None)


def _phones(row: Row, names: Sequence[str], region: str | None) -> Iterable[Phone]:
    for name in names:
        raw = value(row, name)
        if raw:
            number = phone.read(raw, region)
            yield Phone(raw=raw, label=LABELS.get(name, name), e164=phone.e164(number) if number else None)


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


def rank(contact: Contact) -> tuple[bool, int, float]:
    """Order of matches: exact before national, contacts before leads before accounts, the latest changed first."""
    changed = contact.updated_at.timestamp() if contact.updated_at else 0.0
    return contact.match != "exact", _ORDER.get(contact.kind, 3), -changed


def read_deal(row: Row, stages: Mapping[str, Stage], *, currency: str | None) -> Deal:
    stage_value, closes = value(row, "Stage"), moment(value(row, "Closing_Date"))
    stage = stages.get(stage_value)
    return Deal(
        id=value(row, "id"),
        name=value(row, "Deal_Name"),
        stage=stage.label if stage else stage_value,
        pipeline=value(row, "Pipeline"),
        amount=_amount(value(row, "Amount")),
        currency=value(row, "Currency") or currency,
        closes=closes.date() if closes else None,
        is_open=not stage.closed if stage else not stage_value.startswith("Closed"),
    )


def read_ticket(row: Row, stages: Mapping[str, Stage]) -> Ticket:
    status = value(row, "Status")
    stage = stages.get(status)
    return Ticket(
        id=value(row, "id"),
        subject=value(row, "Subject"),
        stage=stage.label if stage else status,
        priority=value(row, "Priority").lower() or None,
        is_open=not stage.closed if stage else status != "Closed",
    )


def read_activity(module: str, row: Row) -> Activity | None:
    """None for one without a time: a task nobody gave a day."""
    at = moment(value(row, _AT[module]))
    if at is None:
        return None
    subject = value(row, _SUBJECTS[module]) or value(row, "Note_Content")
    return Activity(kind=KINDS[module], id=value(row, "id"), at=at, subject=" ".join(subject.split())[:LONGEST_SUBJECT])


def _amount(text: str) -> Decimal | None:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None
