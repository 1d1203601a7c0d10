"""Salesforce's people, and what happened with them → our records. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
from phonenumbers import PhoneNumber

from connectors import phone
from connectors.crm.records import Account, Activity, Company, Contact, Deal, Kind, Owner, Phone, Ref, Ticket
from connectors.crm.salesforce.wire import PEOPLE, PHONES, Row, amount, moment, type_of, value
from connectors.json_text import clean

UNKNOWN_NAME = "[not provided]"  # what Salesforce's own tools write where a name is demanded and none is known
STARTED = re.compile(r"^Started: (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)", re.MULTILINE | re.ASCII)
_LONGEST_SUBJECT = 120


def record_url(account: Account | None, id: str) -> str | None:
    """Where a person opens a record; None as long as the account is not known."""
    return f"{account.ui_origin}/{id}" if account is not None and account.ui_origin else None


def read_contact(
    row: Row,
    *,
    account: Account | None,
    region: str | None = None,
    extra: Sequence[str] = (),
    type: str | None = None,
) -> Contact:
    """A contact, a lead or an account. Numbers stand as typed and are read with `region`.

    type  of the row where it does not say itself (CSV).
    """
    of = type or type_of(row)
    owner_id = value(row, "OwnerId")
    company = None
    if of == "Contact" and value(row, "AccountId"):
        company = Company(id=value(row, "AccountId"), name=value(row, "Account.Name"))
    elif of == "Lead" and value(row, "Company") not in ("", UNKNOWN_NAME):
        company = Company(id="", name=value(row, "Company"))
    owner = Owner(id=owner_id, name=value(row, "Owner.Name"), email=value(row, "Owner.Email") or None)
    id = value(row, "Id")
    parts = (value(row, "FirstName"), value(row, "LastName"))
    return Contact(
        kind=PEOPLE.get(of, Kind.CONTACT),
        id=id,
        name=value(row, "Name") or " ".join(filter(None, parts)) or value(row, "Email"),
        first_name=value(row, "FirstName") or None,
        last_name=value(row, "LastName") or None,
        salutation=value(row, "Salutation") or None,
        email=value(row, "Email") or None,
        phones=tuple(_phones(of, row, region, extra)),
        company=company,
        owner=owner if owner_id else None,
        tier=value(row, "Rating") or None,
        url=record_url(account, id),
        updated_at=moment(value(row, "SystemModstamp")),
    )


def _phones(of: str, row: Row, region: str | None, extra: Sequence[str]) -> Iterable[Phone]:
    for field, label in (*PHONES.get(of, ()), *((field, field) for field in extra)):
        raw = clean(value(row, field))
        if raw:
            number = phone.read(raw, region)
            yield Phone(raw=raw, label=label, e164=phone.e164(number) if number else None)


def matched(contact: Contact, number: PhoneNumber) -> Contact | None:
    """`contact` with how and where it holds `number`; None if it does not hold it after all."""
    plain, region = phone.e164(number), phone.region_of(number)
    ways = (
        ("exact", lambda held: held.e164 == plain),
        ("exact", lambda held: held.e164 is None and _holds(number, held.raw, region)),
        ("national", lambda held: phone.same(number, held.e164 or held.raw) == "national"),
    )
    for match, fits in ways:
        for held in contact.phones:
            if fits(held):
                return msgspec.structs.replace(contact, match=match, reason=held.label)
    return None


def _holds(number: PhoneNumber, raw: str, region: str | None) -> bool:
    """Whether a text nobody could read as one number is it after all, or holds it among others."""
    return any(phone.same(number, part, region) == "exact" for part in (raw, *re.split(r"[/;,|]", raw)))


def rank(contact: Contact) -> tuple[bool, int, float]:
    """Order of matches: exact before national; contacts before leads before companies; the latest changed first."""
    changed = contact.updated_at.timestamp() if contact.updated_at else 0.0
    order = {Kind.CONTACT: 0, Kind.LEAD: 1}
    return contact.match != "exact", order.get(contact.kind, 2), -changed


def heir(row: Row) -> Ref | None:
    """Where a merged or converted record lives on; None if it is itself, or nothing is left of it."""
    if master := value(row, "MasterRecordId"):
        return Ref(PEOPLE[type_of(row)], master)
    if value(row, "IsConverted") == "true" and (contact := value(row, "ConvertedContactId")):
        return Ref(Kind.CONTACT, contact)
    return None


def is_gone(row: Row) -> bool:
    return value(row, "IsDeleted") == "true"


# ── around them ─────────────────────────────────────────────────────────────────────────────────────────────────────


def read_deal(row: Row) -> Deal:
    """An opportunity, or the role that ties a contact to one."""
    found = row.get("Opportunity") if "Opportunity" in row else row
    deal: Row = found if isinstance(found, dict) else {}
    closes = moment(value(deal, "CloseDate"))
    return Deal(
        id=value(deal, "Id"),
        name=value(deal, "Name"),
        stage=value(deal, "StageName"),
        pipeline=value(deal, "RecordType.Name"),
        amount=amount(value(deal, "Amount")),
        currency=value(deal, "CurrencyIsoCode") or None,
        closes=closes.date() if closes else None,
        is_open=value(deal, "IsClosed") != "true",
    )


def read_ticket(row: Row) -> Ticket:
    return Ticket(
        id=value(row, "Id"),
        subject=value(row, "Subject") or value(row, "CaseNumber"),
        stage=value(row, "Status"),
        priority=value(row, "Priority").lower() or None,
        is_open=value(row, "IsClosed") != "true",
    )


def read_task(row: Row) -> Activity | None:
    """A task or a logged call. A task knows its day only; when a call began stands in our text, else its day counts."""
    called = value(row, "TaskSubtype") == "Call"
    began = STARTED.search(value(row, "Description"))
    at = moment(began[1]) if began else None
    at = at or moment(value(row, "ActivityDate")) or moment(value(row, "CreatedDate"))
    return _activity(Kind.CALL if called else Kind.TASK, row, at)


def read_event(row: Row) -> Activity | None:
    at = moment(value(row, "StartDateTime")) or moment(value(row, "ActivityDate"))
    return _activity(Kind.EVENT, row, at)


def _activity(kind: Kind, row: Row, at: datetime | None) -> Activity | None:
    """None for one without a time, which Salesforce does not make."""
    if at is None:
        return None
    subject = " ".join(clean(value(row, "Subject")).split())[:_LONGEST_SUBJECT]
    return Activity(kind=kind, id=value(row, "Id"), at=at, subject=subject)
