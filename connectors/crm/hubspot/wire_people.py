"""HubSpot's people, and what happened with them → our records. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation

import msgspec
from phonenumbers import PhoneNumber

from connectors import phone
from connectors.crm.hubspot.wire import ACTIVITIES, PHONES, TYPE_IDS, Object, changed_field, moment, path
from connectors.crm.records import Account, Activity, Company, Contact, Deal, Kind, Owner, Phone, Stage, Ticket

_SUBJECTS = {"calls": "hs_call_title", "meetings": "hs_meeting_title", "tasks": "hs_task_subject"}
_LONGEST_SUBJECT = 120


def record_url(account: Account | None, type: str, id: str) -> str | None:
    """Where a person opens a record; None as long as the account is not known."""
    if account is None or not account.ui_origin:
        return None
    return f"{account.ui_origin}{path('contacts', account.id, 'record', TYPE_IDS[type], id)}"


def read_contact(
    type: str, found: Object, *, account: Account | None, region: str | None = None, extra: Sequence[str] = ()
) -> Contact:
    """A contact or a company. Numbers HubSpot has not read itself are read with `region`."""
    company_id, company_name = found.value("associatedcompanyid"), found.value("company")
    owner_id = found.value("hubspot_owner_id")
    first, last = found.value("firstname"), found.value("lastname")
    name = found.value("name") or found.value("domain") or " ".join(part for part in (first, last) if part)
    return Contact(
        kind=Kind.COMPANY if type == "companies" else Kind.CONTACT,
        id=found.id,
        name=name or found.value("email"),
        first_name=first or None,
        last_name=last or None,
        salutation=found.value("salutation") or None,
        email=found.value("email") or None,
        phones=tuple(_phones(type, found, region, extra)),
        company=Company(id=company_id, name=company_name) if company_id or company_name else None,
        owner=Owner(id=owner_id) if owner_id else None,
        tier=found.value("lifecyclestage") or None,
        language=found.value("hs_language") or None,
        url=record_url(account, type, found.id),
        updated_at=moment(found.value(changed_field(type))),
    )


def _phones(type: str, found: Object, region: str | None, extra: Sequence[str]) -> Iterable[Phone]:
    for name, label, calculated in (*PHONES[type], *((name, name, None) for name in extra)):
        raw = found.value(name)
        if raw:
            number = phone.read(found.value(calculated), None) if calculated else None
            number = number or phone.read(raw, region)
            yield Phone(raw=raw, label=label, e164=phone.e164(number) if number else None)


def matched(contact: Contact, number: PhoneNumber) -> Contact | None:
    """`contact` with how and where it holds `number`; None if it does not hold it after all."""
    plain, region = phone.e164(number), phone.region_of(number)
    for held in contact.phones:
        if held.e164 == plain:
            return msgspec.structs.replace(contact, match="exact", reason=held.label)
    for held in contact.phones:
        if held.e164 is None and phone.same(number, held.raw, region) == "exact":
            return msgspec.structs.replace(contact, match="exact", reason=held.label)
    for held in contact.phones:
        if phone.same(number, held.e164 or held.raw) == "national":
            return msgspec.structs.replace(contact, match="national", reason=held.label)
    return None


def rank(contact: Contact) -> tuple[bool, bool, float]:
    """Order of matches: exact before national, people before companies, the latest changed first."""
    changed = contact.updated_at.timestamp() if contact.updated_at else 0.0
    return contact.match != "exact", contact.kind is Kind.COMPANY, -changed


def read_deal(found: Object, stages: Mapping[str, Stage], pipeline_names: Mapping[str, str]) -> Deal:
    stage = stages.get(found.value("dealstage"))
    closed = found.value("hs_is_closed") == "true" or (stage is not None and stage.closed)
    closes = moment(found.value("closedate"))
    return Deal(
        id=found.id,
        name=found.value("dealname"),
        stage=stage.label if stage else found.value("dealstage"),
        pipeline=pipeline_names.get(found.value("pipeline"), found.value("pipeline")),
        amount=_amount(found.value("amount")),
        currency=found.value("deal_currency_code") or None,
        closes=closes.date() if closes else None,
        is_open=not closed,
    )


def read_ticket(found: Object, stages: Mapping[str, Stage]) -> Ticket:
    stage = stages.get(found.value("hs_pipeline_stage"))
    closed = stage.closed if stage else bool(found.value("closed_date"))
    return Ticket(
        id=found.id,
        subject=found.value("subject"),
        stage=stage.label if stage else found.value("hs_pipeline_stage"),
        priority=found.value("hs_ticket_priority").lower() or None,
        is_open=not closed,
    )


def read_activity(type: str, found: Object) -> Activity | None:
    """None for one without a time, which HubSpot does not make."""
    at = moment(found.value("hs_timestamp"))
    if at is None:
        return None
    subject = found.value(_SUBJECTS.get(type, "")) or found.value("hs_body_preview")
    return Activity(kind=ACTIVITIES[type], id=found.id, at=at, subject=" ".join(subject.split())[:_LONGEST_SUBJECT])


def _amount(text: str) -> Decimal | None:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None
