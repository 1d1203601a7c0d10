"""Deals, tickets, notes, labels and notifications as only Pipedrive has them, over real HTTP."""

from __future__ import annotations

import base64
import json
from datetime import timedelta

import msgspec
import pytest

from connectors.crm.changes import Change, Happened, Notice
from connectors.crm.pipedrive.manifest import KEY, NO_MARKETING, TEXT
from connectors.crm.pipedrive.wire_changes import read_changes
from connectors.crm.pipedrive.wire_texts import mark
from connectors.crm.port import Done
from connectors.crm.records import (
    AddNote,
    AddToList,
    AssignOwner,
    CreateDeal,
    CreateTask,
    CreateTicket,
    Kind,
    MoveStage,
    OptOut,
    Ref,
    UpsertContact,
)
from connectors.errors import OutcomeUnknown, Rejected, Unsupported
from connectors.sandbox.faults import Kind as Fault
from connectors.sandbox.pipedrive.company import Sent
from tests.connectors.crm.pipedrive.asking import AT, NUMBER, call, done, refused
from tests.contract.accounts_pipedrive import PipedriveAccount

LEAD = UpsertContact(key="person-1", phone=NUMBER, first_name="Aurélie", last_name="Perrochon", kind=Kind.LEAD)

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
