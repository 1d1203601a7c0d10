"""Callers, people and leads as only Pipedrive has them, over real HTTP; every exchange is held to its documents."""

from __future__ import annotations

import pytest

from connectors.crm.changes import Happened
from connectors.crm.records import (
    CreateDeal,
    Kind,
    SetFields,
    UpsertContact,
)
from connectors.errors import OutcomeUnknown, Rejected, Unsupported
from connectors.sandbox.faults import Kind as Fault
from tests.connectors.crm.pipedrive.asking import NUMBER, call, done, found, paths, refused
from tests.contract.accounts_pipedrive import PipedriveAccount

# ── who is calling ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_number_in_a_field_of_the_companys_own_is_found(account: PipedriveAccount) -> None:
    direct = account.company.add_field("person", "Direktwahl", "phone").code
    person = account.add_person(last_name="Perrochon")
    account.company.update(account._entry(person), {direct: "044 668 18 00"}, account.clock())
    account.settle()
    account.crm = account.reopened()
    assert await found(account) == [(Kind.CONTACT, person.id, "Direktwahl")]


async def test_leads_come_with_the_person_they_are_about(account: PipedriveAccount) -> None:
    """After the person: whoever asks wants the person, and the lead bears the same name."""
    person = account.add_person(first_name="Aurélie", last_name="Perrochon", phone="+41 44 668 18 00")
    lead = account.add_lead("Interested in a heat pump", person)
    account.settle()
    assert await found(account) == [(Kind.CONTACT, person.id, "phone"), (Kind.LEAD, lead.id, "phone")]
    read = await account.crm.read_contact(lead)
    assert read is not None
    assert (read.kind, read.name, read.phones[0].e164) == (Kind.LEAD, "Aurélie Perrochon", NUMBER)


async def test_a_lookup_takes_two_round_trips(account: PipedriveAccount) -> None:
    account.add_person(last_name="Perrochon", phone="+41 44 668 18 00")
    account.settle()
    account.sent.clear()
    await found(account)
    assert paths(account) == [*["GET v2/itemSearch"] * 5, "GET v2/organizationFields", "GET v2/persons"]
    account.sent.clear()
    await found(account)
    assert paths(account) == [*["GET v2/itemSearch"] * 5, "GET v2/persons"]
    assert {request.bucket for request in account.sent[:5]} == {"search"}
    assert sum(request.cost for request in account.sent) == 110


async def test_a_leads_context_is_its_persons(account: PipedriveAccount) -> None:
    person = account.add_person(last_name="Perrochon")
    lead, deal = account.add_lead("Heat pump", person), account.add_deal("Maintenance", person)
    logged = await done(account, call(lead))
    context = await account.crm.context(lead)
    assert [one.id for one in context.open_deals] == [deal.id]
    assert [one.id for one in context.recent] == [logged.id]


async def test_everyone_of_a_kind_is_listed(account: PipedriveAccount) -> None:
    person, silent = account.add_person(last_name="Perrochon", phone=NUMBER), account.add_person(last_name="Meier")
    company = account.add_company("Aurora SA", "044 668 18 00")
    leads = [account.add_lead(f"Lead {n}", about).id for n, about in enumerate((person, person, silent))]
    listed: list[str] = []
    after: str | None = None
    while True:
        page = await account.crm.list_contacts(Kind.LEAD, after=after, limit=2)
        listed += [one.id for one in page.items]
        if page.items[0].id == leads[0]:
            assert page.items[0].phones[0].e164 == NUMBER
        after = page.next
        if after is None:
            break
    assert listed == leads
    (only,) = (await account.crm.list_contacts(Kind.COMPANY)).items
    assert (only.id, only.phones[0].e164, only.phones[0].label) == (company.id, NUMBER, "Telefon")


async def test_changed_leads_are_seen(account: PipedriveAccount) -> None:
    person = account.add_person(last_name="Perrochon")
    account.add_lead("Old", person)
    account.settle()
    since = account.clock()
    new = account.add_lead("New", person)
    pages = [page async for page in account.crm.changes_since(Kind.LEAD, since)]
    assert [one.id for page in pages for one in page.items] == [new.id]


async def test_deletions_and_merges_are_told(account: PipedriveAccount) -> None:
    gone, kept, merged = (account.add_person(last_name=name) for name in ("Gone", "Kept", "Merged"))
    company = account.add_company("Aurora SA")
    account.settle()
    since = account.clock()
    account.delete(gone)
    account.merge(kept, merged)
    account.delete(company)
    told = {change.id: change for change in await account.crm.deleted_since(Kind.CONTACT, since)}
    assert told.keys() == {gone.id, merged.id}
    assert told[gone.id].happened is Happened.DELETED
    assert (told[merged.id].happened, told[merged.id].into) == (Happened.MERGED, kept)
    (other,) = await account.crm.deleted_since(Kind.COMPANY, since)
    assert (other.kind, other.id) == (Kind.COMPANY, company.id)
    with pytest.raises(Unsupported):
        await account.crm.deleted_since(Kind.LEAD, since)


# ── people and leads ────────────────────────────────────────────────────────────────────────────────────────────────

LEAD = UpsertContact(key="person-1", phone=NUMBER, first_name="Aurélie", last_name="Perrochon", kind=Kind.LEAD)


async def test_a_lead_is_a_person_and_a_lead_once(account: PipedriveAccount) -> None:
    first = await done(account, LEAD)
    assert (first.kind, first.created) == (Kind.LEAD, True)
    again = await done(account, LEAD)
    assert (again.id, again.created) == (first.id, False)
    looked = await account.crm.find(LEAD)
    assert looked is not None
    assert looked.ref == first.ref
    assert (account.count(Kind.CONTACT), account.count(Kind.LEAD)) == (1, 1)


async def test_a_lead_whose_answer_was_lost_is_found_through_its_person(account: PipedriveAccount) -> None:
    account.hurt(kind=Fault.RESET_AFTER, method="POST", path="*/leads", count=1)
    assert isinstance(await refused(account, LEAD), OutcomeUnknown)
    looked = await account.crm.find(LEAD)
    assert looked is not None
    assert looked.kind is Kind.LEAD


async def test_a_person_without_the_lead_is_no_lead_yet(account: PipedriveAccount) -> None:
    """The person was made and the lead was not: the look says so, and the next try makes the rest only."""
    account.hurt(kind=Fault.OUTAGE, method="POST", path="*/leads", count=1)
    assert isinstance(await refused(account, LEAD), OutcomeUnknown)
    assert await account.crm.find(LEAD) is None
    assert (await done(account, LEAD)).created
    assert (account.count(Kind.CONTACT), account.count(Kind.LEAD)) == (1, 1)


async def test_what_is_new_about_a_lead_goes_to_its_person(account: PipedriveAccount) -> None:
    person = account.add_person(first_name="Aurélie", phone=NUMBER)
    lead = account.add_lead("Heat pump", person)
    record = await done(account, UpsertContact(key="p", target=lead, email="a@example.com", last_name="Perrochon"))
    assert record.ref == lead
    read = await account.crm.read_contact(person)
    assert read is not None
    assert (read.email, read.name) == ("a@example.com", "Aurélie Perrochon")


async def test_a_lead_that_became_a_deal_meanwhile_is_gone(account: PipedriveAccount) -> None:
    person = account.add_person(last_name="Perrochon")
    lead = account.add_lead("Heat pump", person)
    account.delete(lead)
    error = await refused(account, UpsertContact(key="p", target=lead, email="a@example.com"))
    assert isinstance(error, Rejected)
    assert error.gone
    error = await refused(account, CreateDeal(key="d", name="Maintenance", about=(lead,)))
    assert isinstance(error, Rejected)
    assert error.gone
    assert await account.crm.read_contact(lead) is None


async def test_two_persons_with_one_address_are_not_guessed_between(account: PipedriveAccount) -> None:
    """The one added first is filled in, and no third is made."""
    first = account.add_person(last_name="Perrochon", email="office@example.com")
    account.add_person(last_name="Meier", email="office@example.com")
    account.settle()
    record = await done(account, UpsertContact(key="p", email="OFFICE@example.com", phone=NUMBER, last_name="Neu"))
    assert (record.id, record.created) == (first.id, False)
    assert account.count(Kind.CONTACT) == 2


async def test_somebody_added_a_moment_ago_by_hand_is_not_doubled(account: PipedriveAccount) -> None:
    """Search does not know them yet; the list of the newest does."""
    colleague = account.add_person(last_name="Perrochon", phone="044 668 18 00")
    record = await done(account, UpsertContact(key="p", phone=NUMBER, last_name="Peron"))
    assert (record.id, record.created) == (colleague.id, False)


async def test_a_company_named_is_linked_or_made_once(account: PipedriveAccount) -> None:
    known = account.add_company("Aurora SA")
    one = await done(account, UpsertContact(key="p-1", phone="+41445550111", last_name="A", company="aurora sa"))
    two = await done(account, UpsertContact(key="p-2", phone="+41445550112", last_name="B", company="Neu AG"))
    three = await done(account, UpsertContact(key="p-3", phone="+41445550113", last_name="C", company="Neu AG"))
    of = [account.values(record.ref)["org_id"] for record in (one, two, three)]
    assert of[0] == known.id
    assert of[1] == of[2] != known.id
    assert account.count(Kind.COMPANY) == 2


async def test_a_company_whose_number_called_gets_what_is_mapped_and_no_callers_name(account: PipedriveAccount) -> None:
    company = account.add_company("Aurora SA")
    write = UpsertContact(key="p", target=company, first_name="Aurélie", fields={"website": "https://aurora.example"})
    assert (await done(account, write)).ref == company
    assert account.values(company)["website"] == "https://aurora.example"
    assert account.values(company)["name"] == "Aurora SA"


async def test_a_field_is_written_by_its_code_or_its_name(account: PipedriveAccount) -> None:
    person = account.add_person(last_name="Perrochon")
    job = account.name_of("job_title")
    branch = next(one for one in account.company.custom("person").values() if one.name == "Branche")
    await done(account, SetFields(key="s", target=person, fields={"funktion": "CFO", branch.code: "bau"}))
    assert account.values(person)[job] == "CFO"
    read = await account.crm.read_contact(person, fields=["Funktion", branch.code])
    assert read is not None
    assert read.fields == {"Funktion": "CFO", branch.code: str((branch.options or [])[1]["id"])}
    error = await refused(account, SetFields(key="s", target=person, fields={branch.code: "Raumfahrt"}))
    assert isinstance(error, Rejected)
    assert error.field == branch.code


async def test_numbers_and_addresses_are_added_to_lists_not_put_in_their_place(account: PipedriveAccount) -> None:
    person = account.add_person(last_name="Perrochon", phone=NUMBER, email="a@example.com")
    await done(account, SetFields(key="s", target=person, fields={"phone": "+41795550123", "email": "b@example.com"}))
    read = await account.crm.read_contact(person)
    assert read is not None
    assert [held.e164 for held in read.phones] == ["+41795550123", NUMBER]
    assert read.email == "b@example.com"
