"""What only Pipedrive has, or only it has not, against its sandbox over real HTTP; every exchange is held to its documents."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from connectors import phone
from connectors.crm.changes import Change, Happened, Notice
from connectors.crm.pipedrive.manifest import KEY, NO_MARKETING, TEXT
from connectors.crm.pipedrive.wire_changes import read_changes
from connectors.crm.pipedrive.wire_texts import mark
from connectors.crm.port import Done, Failed, Stick
from connectors.crm.records import (
    AddNote,
    AddToList,
    AssignOwner,
    CallLog,
    CreateDeal,
    CreateTask,
    CreateTicket,
    Kind,
    Link,
    LogCall,
    MoveStage,
    OptOut,
    Record,
    Ref,
    SetFields,
    UpsertContact,
    Write,
)
from connectors.errors import OutcomeUnknown, Rejected, Unsupported
from connectors.sandbox.faults import Kind as Fault
from connectors.sandbox.pipedrive.company import Sent
from tests.contract.accounts_pipedrive import PipedriveAccount, pipedrive_account

AT = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)
NUMBER = "+41446681800"


@pytest.fixture
async def account() -> AsyncIterator[PipedriveAccount]:
    async with pipedrive_account(Stick.FOUND) as opened:
        assert isinstance(opened, PipedriveAccount)
        yield opened


@pytest.fixture
async def plain() -> AsyncIterator[PipedriveAccount]:
    """We may make no fields here, and the company has no Campaigns."""
    async with pipedrive_account(Stick.BLIND) as opened:
        assert isinstance(opened, PipedriveAccount)
        yield opened


async def done(account: PipedriveAccount, write: Write) -> Record:
    (outcome,) = await account.crm.write([write])
    assert isinstance(outcome, Done), outcome
    assert outcome.record is not None
    return outcome.record


async def refused(account: PipedriveAccount, write: Write) -> Exception:
    (outcome,) = await account.crm.write([write])
    assert isinstance(outcome, Failed)
    return outcome.error


def call(*about: Link, key: str = "call-1") -> LogCall:
    made = CallLog(direction="inbound", started_at=AT, duration=timedelta(seconds=185), customer_number=NUMBER)
    return LogCall(key=key, subject="Call", call=made, about=about)


def paths(account: PipedriveAccount) -> list[str]:
    return [f"{request.method} {request.path.split('/', 2)[2]}" for request in account.sent]


async def found(account: PipedriveAccount, number: str = NUMBER) -> list[tuple[Kind, str, str | None]]:
    read = phone.read(number)
    assert read is not None
    return [(one.kind, one.id, one.reason) for one in await account.crm.find_contacts(read)]


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


# ── deals, tickets, notes ───────────────────────────────────────────────────────────────────────────────────────────


async def test_a_deals_text_and_key_lie_in_fields_of_ours(account: PipedriveAccount) -> None:
    person = account.add_person(last_name="Perrochon")
    account.sent.clear()
    deal = await done(account, CreateDeal(key="d-1", name="Maintenance", body="Two boilers.", about=(person,)))
    codes = {one.name: one.code for one in account.company.custom("deal").values()}
    values = account.values(deal.ref)
    assert (values[codes[KEY]], values[codes[TEXT]]) == ("d-1", "Two boilers.")
    assert sum(request.writes for request in account.sent) == 1


async def test_without_them_the_text_follows_as_a_note(plain: PipedriveAccount) -> None:
    person = plain.add_person(last_name="Perrochon")
    deal = await done(plain, CreateDeal(key="d-1", name="Maintenance", body="Two <boilers>.", about=(person,)))
    (note,) = [plain.values(Ref(Kind.NOTE, entry.id)) for entry in plain.company.all("note")]
    assert note["deal_id"] == deal.id
    assert "Two &lt;boilers&gt;." in note["content"]
    assert mark("d-1") in note["content"]


async def test_a_deal_without_its_text_is_for_a_person_to_look_at(plain: PipedriveAccount) -> None:
    person = plain.add_person(last_name="Perrochon")
    plain.hurt(kind=Fault.RATE_LIMIT, method="POST", path="*/notes", count=1)
    error = await refused(plain, CreateDeal(key="d-1", name="Maintenance", body="Two boilers.", about=(person,)))
    assert isinstance(error, OutcomeUnknown)
    assert "the deal was made" in error.reason


async def test_a_deal_about_a_lead_is_its_persons(account: PipedriveAccount) -> None:
    person = account.add_person(last_name="Perrochon")
    lead = account.add_lead("Heat pump", person)
    write = CreateDeal(key="d-1", name="Maintenance", about=(lead,))
    deal = await done(account, write)
    assert account.values(deal.ref)["person_id"] == person.id
    looked = await account.crm.find(write)
    assert looked is not None
    assert looked.id == deal.id


async def test_one_key_is_not_taken_for_another_that_begins_alike(account: PipedriveAccount) -> None:
    person = account.add_person(last_name="Perrochon")
    await done(account, CreateDeal(key="d-12", name="Maintenance", about=(person,)))
    assert await account.crm.find(CreateDeal(key="d-1", name="Maintenance", about=(person,))) is None


async def test_a_deal_is_won_and_moves_within_its_pipeline(account: PipedriveAccount) -> None:
    person = account.add_person(last_name="Perrochon")
    deal = await done(account, CreateDeal(key="d", name="x", pipeline="service", stage="in arbeit", about=(person,)))
    await done(account, MoveStage(key="m-1", target=deal.ref, stage="Eingang"))
    assert account.values(deal.ref)["stage_id"] == "5"
    error = await refused(account, MoveStage(key="m-2", target=deal.ref, stage="Offerte"))  # of the other pipeline
    assert isinstance(error, Rejected)
    await done(account, MoveStage(key="m-3", target=deal.ref, stage="Offerte", pipeline="Verkauf"))
    assert account.values(deal.ref)["pipeline_id"] == "1"
    await done(account, MoveStage(key="m-4", target=deal.ref, stage="Won"))
    assert account.values(deal.ref)["status"] == "won"
    assert (await account.crm.context(person)).open_deals == ()


async def test_what_stands_for_a_ticket_is_no_task_to_an_agent(account: PipedriveAccount) -> None:
    person = account.add_person(last_name="Perrochon")
    write = CreateTicket(key="t", subject="Broken device", body="Does not start.", priority="high", about=(person,))
    ticket = await done(account, write)
    values = account.values(ticket.ref)
    assert (values["subject"], values["type"], values["done"]) == ("Ticket: Broken device", "task", "false")
    assert "Priority: high" in values["note"]
    context = await account.crm.context(person)
    assert [(one.id, one.subject) for one in context.open_tickets] == [(ticket.id, "Broken device")]
    assert context.recent == ()
    assert await account.crm.pipelines(Kind.TICKET) == []
    assert isinstance(await refused(account, MoveStage(key="m", target=ticket.ref, stage="Done")), Unsupported)


async def test_types_of_activities_are_the_companys_own(account: PipedriveAccount) -> None:
    """Somebody switched "call" off and made a type of their own with its icon."""
    account.company.activity_types[0] = ("call", "Anruf", "call", False)
    account.company.activity_types.append(("telefonat", "Telefonat", "call", True))
    person = account.add_person(last_name="Perrochon")
    record = await done(account, call(person))
    assert account.values(record.ref)["type"] == "telefonat"


async def test_a_type_switched_off_meanwhile_is_learned(account: PipedriveAccount) -> None:
    person = account.add_person(last_name="Perrochon")
    await done(account, call(person, key="1"))
    account.company.activity_types[0] = ("call", "Anruf", "call", False)
    account.company.activity_types.append(("telefonat", "Telefonat", "call", True))
    error = await refused(account, call(person, key="2"))
    assert isinstance(error, Rejected)
    assert error.field == "type"
    await done(account, call(person, key="2"))


async def test_what_hangs_on_nobody_is_found_among_the_newest(account: PipedriveAccount) -> None:
    for key in ("call-1", "call-2"):
        await done(account, call(key=key))
    looked = await account.crm.find(call(key="call-1"))
    assert looked is not None
    assert looked.id == "1"
    assert await account.crm.find(call(key="call-3")) is None


async def test_a_note_has_to_belong_to_something(account: PipedriveAccount) -> None:
    write = AddNote(key="n", body="Prefers mornings.", at=AT)
    assert isinstance(await refused(account, write), Rejected)
    assert await account.crm.find(write) is None


async def test_an_activity_is_linked_to_all_it_is_about(account: PipedriveAccount) -> None:
    one, two = account.add_person(last_name="A"), account.add_person(last_name="B")
    company, deal = account.add_company("Aurora SA"), account.add_deal("Maintenance", one)
    record = await done(account, call(one, two, company, deal))
    values = account.values(record.ref)
    assert json.loads(values["participants"]) == [
        {"person_id": int(one.id), "primary": True},
        {"person_id": int(two.id), "primary": False},
    ]
    assert (values["org_id"], values["deal_id"], values["person_id"]) == (company.id, deal.id, one.id)
    lead = account.add_lead("Heat pump", one)
    assert isinstance(await refused(account, call(deal, lead)), Rejected)


async def test_an_inactive_owner_is_refused_with_the_field(account: PipedriveAccount) -> None:
    person = account.add_person(last_name="Perrochon")
    owner = account.add_owner("Sarah", "Brunnental", "sarah@aurora.example")
    account.company.users[int(owner)].active = False
    error = await refused(account, AssignOwner(key="o", owner=owner, target=person))
    assert isinstance(error, Rejected)
    assert error.field == "owner_id"
    error = await refused(account, AssignOwner(key="o", owner="sarah", target=person))
    assert isinstance(error, Rejected)


# ── labels and opt-outs ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_labels_of_leads_are_their_own(account: PipedriveAccount) -> None:
    person = account.add_person(last_name="Perrochon")
    lead = account.add_lead("Heat pump", person)
    await done(account, AddToList(key="l", target=lead, list="hot"))
    assert json.loads(account.values(lead)["label_ids"]) == ["f08b42a0-4e75-11ea-9643-03698ef1cfd6"]
    error = await refused(account, AddToList(key="l", target=lead, list="VIP"))
    assert isinstance(error, Rejected)


async def test_a_label_comes_beside_the_others(account: PipedriveAccount) -> None:
    person = account.add_person(last_name="Perrochon")
    for named in ("Hot", "VIP", "hot"):
        await done(account, AddToList(key="l", target=person, list=named))
    assert json.loads(account.values(person)["label_ids"]) == [1, 2]


async def opted(account: PipedriveAccount, person: Ref, reason: str = "") -> None:
    (outcome,) = await account.crm.write([OptOut(key="out", target=person, reason=reason)])
    assert outcome == Done(record=None, status=200)


async def test_a_marketing_status_that_does_not_take_is_noticed(account: PipedriveAccount) -> None:
    """It may be changed once; the second change is ignored with a 200. Nobody must believe they are unsubscribed."""
    person = account.add_person(last_name="Perrochon", email="a@example.com")
    account.company.update(account._entry(person), {"marketing_status": "subscribed"}, account.clock())
    account.company.statuses_changed.add(person.id)
    await opted(account, person, "said so in the call")
    assert account.values(person)["marketing_status"] == "subscribed"
    (field,) = [one.code for one in account.company.custom("person").values() if one.name == NO_MARKETING]
    assert account.values(person)[field] == "said so in the call"
    await opted(account, person)
    assert account.values(person)[field] == "said so in the call"


async def test_an_opt_out_is_the_label_where_there_is_one(plain: PipedriveAccount) -> None:
    label = plain.add_list(NO_MARKETING)
    person = plain.add_person(last_name="Perrochon")
    await opted(plain, person)
    assert plain.members(label) == {person.id}


async def test_an_opt_out_that_can_be_said_nowhere_is_refused(plain: PipedriveAccount) -> None:
    field = next(one for one in plain.company.definitions["person"] if one.name == NO_MARKETING)
    plain.company.definitions["person"].remove(field)
    person = plain.add_person(last_name="Perrochon", email="a@example.com")
    plain.crm = plain.reopened()
    error = await refused(plain, OptOut(key="out", target=person))
    assert isinstance(error, Rejected)
    assert "may not make a field" in error.reason


async def test_a_leads_opt_out_is_its_persons(account: PipedriveAccount) -> None:
    person = account.add_person(last_name="Perrochon", email="a@example.com")
    await opted(account, account.add_lead("Heat pump", person))
    assert account.opted_out("a@example.com")
    assert isinstance(await refused(account, OptOut(key="o", target=account.add_company("Aurora SA"))), Unsupported)


# ── notifications ───────────────────────────────────────────────────────────────────────────────────────────────────

ADDRESS, SECRET = "https://gateway.example/crm/pipedrive/k-1", "a-long-secret"


async def test_notifications_are_asked_for_once(account: PipedriveAccount) -> None:
    made = await account.crm.subscribe(address=ADDRESS, secret=SECRET)
    assert [one.kinds for one in made] == [(Kind.CONTACT,), (Kind.COMPANY,), (Kind.LEAD,)]
    assert await account.crm.subscribe(address=ADDRESS, secret=SECRET) == made
    assert len(account.company.webhooks) == 3
    changed = await account.crm.subscribe(address=ADDRESS, secret="another")
    assert {one.id for one in changed}.isdisjoint({one.id for one in made})
    assert [hook.password for hook in account.company.webhooks if hook.active] == ["another"] * 3


async def test_a_notification_that_pipedrive_took_away_is_said_to_be_gone(account: PipedriveAccount) -> None:
    one, other, _ = await account.crm.subscribe(address=ADDRESS, secret=SECRET)
    assert await account.crm.renew(one) == one
    for _ in range(2):
        await account.crm.unsubscribe(one)
    with pytest.raises(Rejected) as refusal:
        await account.crm.renew(one)
    assert refusal.value.gone
    assert await account.crm.renew(other) == other


async def test_what_is_sent_is_read(account: PipedriveAccount) -> None:
    await account.crm.subscribe(address=ADDRESS, secret=SECRET)
    record = await done(account, LEAD)
    person = account.company.crm.linked("lead", "1", "contact")
    assert len(person) == 1
    sent = [(one.address, _read(one)) for one in account.company.outgoing]
    assert {address for address, _ in sent} == {ADDRESS}
    changes = [change for _, found in sent for change in found]
    assert [(change.kind, change.happened) for change in changes] == [
        (Kind.CONTACT, Happened.CHANGED),
        (Kind.LEAD, Happened.CHANGED),
    ]
    assert changes[1].id == record.id
    assert {change.account for change in changes} == {(await account.crm.who_am_i()).id}
    assert all(change.at is not None for change in changes)


def _read(sent: Sent) -> list[Change]:
    pair = base64.b64encode(f"{sent.user}:{sent.password}".encode()).decode()
    headers = {"authorization": f"Basic {pair}"}
    notice = Notice(method="POST", url=sent.address, headers=headers, body=msgspec.json.encode(sent.body))
    return list(read_changes(notice, SECRET, AT))


async def test_reminders_and_priorities_are_said_in_words(account: PipedriveAccount) -> None:
    person = account.add_person(last_name="Perrochon")
    write = CreateTask(
        key="t",
        subject="Call back",
        due=AT,
        remind=AT - timedelta(hours=1),
        priority="high",
        type="email",
        about=(person,),
    )
    values = account.values((await done(account, write)).ref)
    assert (values["type"], values["due_date"], values["due_time"]) == ("email", "2026-11-23", "08:30")
    assert "Priority: high<br>Reminder wished for 2026-11-23 07:30:00 UTC" in values["note"]
