"""Runs of one person against a Salesforce org: in one request, each with its own outcome, whoever moved meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import phonenumbers
import pytest

from connectors.crm.port import Done, Failed, Outcome, Stick
from connectors.crm.records import (
    AddNote,
    AddToList,
    CallLog,
    Contact,
    CreateDeal,
    CreateTask,
    CreateTicket,
    Earlier,
    Kind,
    LogCall,
    MoveStage,
    OptOut,
    Record,
    Ref,
    SetFields,
    UpsertContact,
    Write,
)
from connectors.crm.salesforce.client import Salesforce
from connectors.crm.salesforce.wire_errors import Denied
from connectors.errors import OutcomeUnknown, Rejected, Unavailable, Unsupported
from connectors.sandbox.faults import Kind as Fault
from connectors.sandbox.salesforce import saving
from connectors.sandbox.salesforce.errors import no_access
from connectors.sandbox.salesforce.objects import Field
from tests.contract.accounts_salesforce import SalesforceAccount, salesforce_account

AT = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)
NUMBER = phonenumbers.parse("+41446681800")
ME = Earlier(Kind.CONTACT, 0)
NEW = UpsertContact(key="person-1", phone="+41446681800", first_name="Aurélie", last_name="Perrochon")


@pytest.fixture
async def account() -> AsyncIterator[SalesforceAccount]:
    async with salesforce_account(Stick.ENFORCED) as opened:
        assert isinstance(opened, SalesforceAccount)
        yield opened


@pytest.fixture
def person(account: SalesforceAccount) -> Ref:
    return account.add_person(first_name="Aurélie", last_name="Perrochon", email="aurelie@example.com")


def fresh(account: SalesforceAccount) -> Salesforce:
    """The same org by a connector that knows nothing of it yet, and lives in the sandbox's time."""
    assert isinstance(account.crm, Salesforce)
    return Salesforce(account.crm._http, sticks=account.sticks, region="CH", now=account.clock)


def call(about: Any, key: str = "call-1", **more: Any) -> LogCall:
    return LogCall(key=key, subject="Offer", call=CallLog(direction="inbound", started_at=AT), about=(about,), **more)


def after_a_call(about: Any) -> list[Write]:
    return [
        call(about),
        CreateTask(key="task-1", subject="Call back", due=AT, about=(about,)),
        CreateDeal(key="deal-1", name="Maintenance", about=(about,)),
    ]


def records(outcomes: Any) -> list[Record]:
    for outcome in outcomes:
        assert isinstance(outcome, Done), outcome
    return [outcome.record for outcome in outcomes]


def error_of(outcome: Outcome) -> Any:
    assert isinstance(outcome, Failed)
    return outcome.error


async def test_all_of_a_call_goes_out_in_one_request(account: SalesforceAccount) -> None:
    """The org's allowance is shared with everything else it has: four records cost one call of it."""
    person, logged, task, deal = records(await account.crm.write([NEW, *after_a_call(ME)]))
    assert len(account.sent) == 1
    assert account.linked(Ref(Kind.CONTACT, person.id), Kind.CALL) == {logged.id}
    assert account.linked(Ref(Kind.CONTACT, person.id), Kind.TASK) == {task.id}
    assert account.linked(Ref(Kind.CONTACT, person.id), Kind.DEAL) == {deal.id}


async def test_calls_are_made_in_the_order_they_were_given(account: SalesforceAccount, person: Ref) -> None:
    """Salesforce keeps no time of a call: what was made first is what it shows as older."""
    made = records(await account.crm.write([call(person, f"call-{n}") for n in range(4)]))
    assert [one.id for one in made] == sorted(one.id for one in made)


async def test_a_known_persons_call_costs_one_look_more(account: SalesforceAccount) -> None:
    """A deal belongs under the company of the person it is about, and only the person's record says which."""
    company = account.add_company("Aurora SA")
    person = account.add_person(last_name="Perrochon", company_id=company.id)
    *_, deal = records(await account.crm.write(after_a_call(person)))
    assert len(account.sent) == 2
    assert account.values(Ref(Kind.DEAL, deal.id))["AccountId"] == company.id


async def test_a_repeated_run_leaves_what_is_there_as_it_is(account: SalesforceAccount) -> None:
    """An upsert by key would have put the name back that a colleague corrected meanwhile."""
    run: list[Write] = [
        NEW,
        CreateDeal(key="deal-1", name="Maintenance", about=(ME,)),
        CreateTicket(key="t-1", subject="x", about=(ME,)),
    ]
    first = records(await account.crm.write(run))
    corrected = {"FirstName": "Aurelie-Anne"}
    saving.update(account.org, account._row(Ref(Kind.CONTACT, first[0].id)), corrected, account.clock())
    saving.update(
        account.org, account._row(Ref(Kind.DEAL, first[1].id)), {"StageName": "Negotiation/Review"}, account.clock()
    )
    again = records(await account.crm.write(run))
    assert [(one.id, one.created) for one in again] == [(one.id, False) for one in first]
    assert account.values(Ref(Kind.CONTACT, first[0].id))["FirstName"] == "Aurelie-Anne"
    assert account.values(Ref(Kind.DEAL, first[1].id))["StageName"] == "Negotiation/Review"


async def test_what_hangs_on_a_duplicate_goes_to_the_one_who_was_there(account: SalesforceAccount, person: Ref) -> None:
    """A duplicate rule refuses the person; the call must not be lost with it."""
    account.org.rules["Contact"] = msgspec.structs.replace(account.org.rules["Contact"], fields=("LastName",))
    outcomes = records(await account.crm.write([NEW, *after_a_call(ME)]))
    assert (outcomes[0].id, outcomes[0].created) == (person.id, False)
    assert account.linked(person, Kind.CALL) == {outcomes[1].id}
    assert account.values(person)["Phone"] == "+41446681800"
    assert account.values(person)["Gateway_Key__c"] == "person-1"
    assert account.count(Kind.CALL) == account.count(Kind.TASK) == account.count(Kind.DEAL) == 1


async def test_several_duplicates_are_not_chosen_from(account: SalesforceAccount, person: Ref) -> None:
    account.add_person(last_name="Perrochon", email="other@example.com")
    account.org.rules["Contact"] = msgspec.structs.replace(account.org.rules["Contact"], fields=("LastName",))
    outcomes = await account.crm.write([NEW, call(ME)])
    assert isinstance(error_of(outcomes[0]), Rejected)
    assert isinstance(error_of(outcomes[1]), Unavailable), "what hangs on a refused one waits for it"
    two = UpsertContact(key="p-2", last_name="Voisard", email="both@example.com")
    for n in (1, 2):
        account.add_person(last_name=f"Both {n}", email="both@example.com")
    (ambiguous,) = await account.crm.write([two])
    assert error_of(ambiguous).field == "Email"
    assert account.count(Kind.CALL) == 0


async def test_a_bad_write_costs_nobody_else(account: SalesforceAccount, person: Ref) -> None:
    run: list[Write] = [
        SetFields(key="s", target=person, fields={"Email": "nobody"}),
        call(person, "call-1"),
        CreateDeal(key="d", name="x", stage="No such stage", about=(person,)),
        call(person, "call-2", fields={"Nothing__c": "x"}),
        call(person, "call-3"),
    ]
    first, second, third, fourth, fifth = await account.crm.write(run)
    assert error_of(first).field == "Email"
    assert error_of(third).field == "StageName"
    assert error_of(fourth).field == "Nothing__c"
    records([second, fifth])
    assert account.count(Kind.CALL) == 2


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"Title": "x" * 200}, "Title"),  # too long
        ({"Tier__c": "platinum"}, "Tier__c"),  # no such value
        ({"Birthdate": "soon"}, None),  # no date
    ],
)
async def test_a_value_the_field_does_not_take_is_named(
    account: SalesforceAccount, person: Ref, fields: dict[str, str], named: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.contract.accounts.check_exchange", lambda *_: None)  # wrong on purpose
    account.org.add_field("Contact", Field(name="Tier__c", type="picklist", picklist=("gold",), restricted=True))
    (outcome,) = await account.crm.write([SetFields(key="s", target=person, fields=fields)])
    assert isinstance(error_of(outcome), Rejected)
    assert error_of(outcome).field == named


# ── who moved meanwhile ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_person_merged_meanwhile_is_followed(account: SalesforceAccount, person: Ref) -> None:
    winner = account.add_person(last_name="Perrochon-Meier")
    account.merge(winner, person)
    run: list[Write] = [*after_a_call(person), SetFields(key="s", target=person, fields={"Title": "CFO"})]
    outcomes = records(await account.crm.write(run))
    assert outcomes[3].id == winner.id
    assert account.linked(winner, Kind.CALL) == {outcomes[0].id}
    assert account.values(winner)["Title"] == "CFO"
    filled = UpsertContact(key="p", target=person, phone="+41446681800")
    assert records(await account.crm.write([filled]))[0].id == winner.id


async def test_a_lead_converted_meanwhile_is_the_contact_it_became(account: SalesforceAccount, person: Ref) -> None:
    """Between the lookup and the write somebody pressed Convert."""
    lead = Ref(Kind.LEAD, account._create("Lead", LastName="Perrochon", Company="Aurora SA").id)
    saving.convert(account.org, account._row(lead), account._row(person), account.clock())
    found = await account.crm.read_contact(lead)
    assert found is not None
    assert (found.kind, found.id) == (Kind.CONTACT, person.id)
    logged, filled = records(
        await account.crm.write([call(lead), UpsertContact(key="p", target=lead, phone="+41446681800", kind=Kind.LEAD)])
    )
    assert account.linked(person, Kind.CALL) == {logged.id}
    assert (filled.kind, filled.id) == (Kind.CONTACT, person.id)
    assert account.values(person)["Phone"] == "+41446681800"
    context = await account.crm.context(lead)
    assert [one.id for one in context.recent] == [logged.id]


async def test_a_person_deleted_meanwhile_is_gone(account: SalesforceAccount, person: Ref) -> None:
    account.delete(person)
    for write in (
        call(person),
        SetFields(key="s", target=person, fields={"Title": "x"}),
        OptOut(key="o", target=person),
    ):
        (outcome,) = await account.crm.write([write])
        assert error_of(outcome).gone, write


async def test_a_record_that_is_locked_is_tried_again_and_nothing_overtakes(
    account: SalesforceAccount, person: Ref
) -> None:
    """Two changes of one record in two requests: the second must not land first."""
    first = SetFields(key="a", target=person, fields={"Title": "old"})
    second = SetFields(key="b", target=person, fields={"Title": "new"})
    account.hurt(kind=Fault.OUTAGE, method="PATCH", path="/composite/*", count=1, status=400)
    outcomes = await account.crm.write([first, second])
    assert isinstance(error_of(outcomes[0]), Unavailable)
    assert isinstance(error_of(outcomes[1]), Unavailable)
    assert "Title" not in account.values(person)


async def test_a_broken_subrequest_is_unknown_and_its_neighbours_are_not(
    account: SalesforceAccount, person: Ref
) -> None:
    account.hurt(kind=Fault.ERROR, method="POST", path="/composite/*/sobjects/Task", count=1)
    deal = CreateDeal(key="deal-1", name="x", about=(person,))
    broken, fine = await account.crm.write([call(person), deal])
    assert isinstance(error_of(broken), OutcomeUnknown)
    assert error_of(broken).settle == account.sticks["log_call"].settle
    records([fine])


async def test_a_lost_answer_makes_all_of_it_unknown(account: SalesforceAccount, person: Ref) -> None:
    run: list[Write] = [call(person), CreateTask(key="task-1", subject="x", due=AT, about=(person,))]
    account.hurt(kind=Fault.RESET_AFTER, method="POST", path="*/composite", count=1)
    outcomes = await account.crm.write(run)
    assert all(isinstance(error_of(outcome), OutcomeUnknown) for outcome in outcomes)
    for write in run:
        assert await account.crm.find(write) is not None


# ── kinds of writes ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_lead_is_made_and_worked_with(account: SalesforceAccount) -> None:
    lead = msgspec.structs.replace(NEW, kind=Kind.LEAD, company="Aurora SA")
    campaign = account.add_list("Autumn")
    run: list[Write] = [
        lead,
        call(Earlier(Kind.LEAD, 0)),
        AddToList(key="l", target=Earlier(Kind.LEAD, 0), list=campaign),
        OptOut(key="o", target=Earlier(Kind.LEAD, 0)),
    ]
    made, logged, member, _ = await account.crm.write(run)
    (record, activity, joined) = records([made, logged, member])
    assert (record.kind, joined.kind, joined.id) == (Kind.LEAD, Kind.LEAD, record.id)
    assert account.linked(Ref(Kind.LEAD, record.id), Kind.CALL) == {activity.id}
    assert account.values(Ref(Kind.LEAD, record.id))["DoNotCall"] == "true"
    (deal,) = await account.crm.write([CreateDeal(key="d", name="x", about=(Ref(Kind.LEAD, record.id),))])
    assert "convert the lead" in error_of(deal).reason


async def test_a_note_whose_link_fails_is_not_left_behind(account: SalesforceAccount, person: Ref) -> None:
    account.delete(person)
    (outcome,) = await account.crm.write([AddNote(key="n", body="Prefers mornings", at=AT, about=(person,))])
    assert error_of(outcome).gone
    assert account.count(Kind.NOTE) == 0


async def test_a_deals_place_is_a_record_type_and_its_stages(account: SalesforceAccount, person: Ref) -> None:
    """Orgs with record types have a sales process each; a stage of another one would be refused or worse."""
    types = [account.org.add_record_type(name) for name in ("Service", "Aftermarket", "New business")]
    account.org.unavailable.add(types.pop(1))
    pipelines = await account.crm.pipelines(Kind.DEAL)
    assert [(one.id, one.label) for one in pipelines] == [(types[1], "New business"), (types[0], "Service")]
    assert pipelines[0].stages[0].id == "Qualification"
    deal = CreateDeal(key="d", name="x", pipeline="service", stage="Needs Analysis", amount=Decimal(5), about=(person,))
    (record,) = records(await account.crm.write([deal]))
    values = account.values(Ref(Kind.DEAL, record.id))
    assert (values["RecordTypeId"], values["StageName"]) == (types[0], "Needs Analysis")
    there = Ref(Kind.DEAL, record.id)
    (refused,) = await account.crm.write([MoveStage(key="m", target=there, stage="Prospecting")])
    assert error_of(refused).field == "StageName"
    records(await account.crm.write([MoveStage(key="m", target=there, stage="Value Proposition")]))
    assert account.values(there)["RecordTypeId"] == types[0], "it stays in the pipeline it is in"
    records(await account.crm.write([MoveStage(key="m", target=there, pipeline="New business", stage="Qualification")]))
    assert account.values(there)["RecordTypeId"] == types[1]


async def test_an_opt_out_the_user_may_not_make_is_said(account: SalesforceAccount, person: Ref) -> None:
    """The default org's field-level security hides both fields."""
    account.org.hidden |= {("Contact", "HasOptedOutOfEmail"), ("Contact", "DoNotCall")}
    (outcome,) = await account.crm.write([OptOut(key="o", target=person)])
    assert error_of(outcome).field == "HasOptedOutOfEmail"
    account.org.hidden.remove(("Contact", "DoNotCall"))


async def test_fields_the_user_may_not_see_do_not_hide_the_rest(account: SalesforceAccount) -> None:
    """One hidden field and Salesforce refuses the whole search, the whole read, the whole page."""
    account.org.hidden |= {("Contact", "HomePhone"), ("Contact", "AccountId"), ("Lead", "Rating"), ("Account", "Fax")}
    person = account.add_person(last_name="Perrochon", phone="044 668 18 00", email="a@example.com")
    account.settle()
    assert [one.id for one in await account.crm.find_contacts(NUMBER)] == [person.id]
    assert (await account.crm.context(person)).complete
    assert (await account.crm.list_contacts(Kind.CONTACT)).items[0].id == person.id
    assert await account.crm.read_contact(person) is not None
    filled = UpsertContact(key="p", target=person, first_name="Aurélie")
    records(await account.crm.write([filled]))
    assert [page async for page in account.crm.changes_since(Kind.CONTACT, account.clock() - timedelta(days=1))]


async def test_an_object_the_user_may_not_see_does_not_hide_the_rest(account: SalesforceAccount) -> None:
    person = account.add_person(last_name="Perrochon", phone="044 668 18 00")
    account.settle()
    del account.org.types["Lead"]
    assert [one.id for one in await account.crm.find_contacts(NUMBER)] == [person.id]
    del account.org.types["Case"]
    context = await account.crm.context(person)
    assert not context.complete
    assert context.owner is not None


# ── listing, changes, deletions ─────────────────────────────────────────────────────────────────────────────────────


async def test_many_are_listed_through_a_job(account: SalesforceAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred thousand contacts by pages of a hundred would cost a thousand calls of the org's day."""
    monkeypatch.setattr("connectors.crm.salesforce.wire_bulk.FROM", 5)
    monkeypatch.setattr("connectors.crm.salesforce.wire_bulk.ROWS", 4)
    company = account.add_company('Aurora, "the" SA')
    expected = [
        account.add_person(last_name=f"Person {n}\n", phone="044 668 18 00", company_id=company.id).id for n in range(9)
    ]
    listed: list[Contact] = []
    after, waits, pages = None, 0, 0
    while True:
        page = await account.crm.list_contacts(Kind.CONTACT, after=after, limit=3)
        listed += page.items
        waits += page.wait is not None
        pages += bool(page.items)
        if page.next is None:
            break
        after = page.next
    assert [one.id for one in listed] == expected
    assert (waits, pages) == (3, 3)
    assert {one.company.name for one in listed if one.company} == {'Aurora, "the" SA'}
    assert listed[0].phones[0].e164 == "+41446681800"
    assert listed[0].updated_at is not None


async def test_without_the_right_to_jobs_everyone_is_listed_by_pages(
    account: SalesforceAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.crm.salesforce.wire_bulk.FROM", 1)
    ids = [account.add_person(last_name=f"Person {n}").id for n in range(3)]
    account.hurt(kind=Fault.ERROR, path="*/jobs/query", status=400)
    monkeypatch.setattr("connectors.sandbox.salesforce.app._struck", lambda fault: no_access())
    assert [one.id for one in (await account.crm.list_contacts(Kind.CONTACT)).items] == ids


async def test_a_job_that_came_to_nothing_is_no_end(
    account: SalesforceAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.crm.salesforce.wire_bulk.FROM", 1)
    ids = {account.add_person(last_name=f"Person {n}").id for n in range(3)}
    page = await account.crm.list_contacts(Kind.CONTACT)
    assert page.total == 3
    assert page.next is not None
    found: set[str] = set()
    after: str | None = "b:750000000000000AAA"  # forgotten after a week
    while after is not None:
        page = await account.crm.list_contacts(Kind.CONTACT, after=after)
        found |= {one.id for one in page.items}
        after = page.next
    assert found == ids


async def test_deletions_merges_and_conversions_are_told_apart(account: SalesforceAccount) -> None:
    since = account.clock()
    gone, loser, winner = (account.add_person(last_name=f"Person {n}") for n in range(3))
    account.delete(gone)
    account.merge(winner, loser)
    lead = Ref(Kind.LEAD, account._create("Lead", LastName="x", Company="y").id)
    saving.convert(account.org, account._row(lead), account._row(winner), account.clock())
    crm = fresh(account)
    contacts = {(one.id, one.happened.value, one.into) for one in await crm.deleted_since(Kind.CONTACT, since)}
    assert contacts == {(gone.id, "deleted", None), (loser.id, "merged", winner)}
    leads = [(one.id, one.happened.value, one.into) for one in await crm.deleted_since(Kind.LEAD, since)]
    assert leads == [(lead.id, "converted", winner)]
    assert await crm.deleted_since(Kind.CONTACT, since - timedelta(days=90)), "what is still known is told"


async def test_more_changes_than_a_page_are_all_seen(
    account: SalesforceAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import changes thousands within one second."""
    monkeypatch.setattr("connectors.crm.salesforce.wire.PAGE", 4)
    since = account.clock()
    at_once = [account._create("Contact", LastName=f"Person {n}").id for n in range(11)]
    account.clock.advance(timedelta(seconds=2))
    later = account.add_person(last_name="Later").id
    seen = [one.id async for page in account.crm.changes_since(Kind.CONTACT, since) for one in page.items]
    assert seen == [*at_once, later]


async def test_there_are_no_notices(account: SalesforceAccount) -> None:
    with pytest.raises(Unsupported):
        await account.crm.subscribe(address="https://x", secret="y")


async def test_two_contacts_with_one_number_are_both_told(account: SalesforceAccount) -> None:
    ids = {account.add_person(last_name=name, phone="044 668 18 00").id for name in ("Perrochon", "Meier")}
    account.settle()
    assert {one.id for one in await account.crm.find_contacts(NUMBER)} == ids


async def test_what_the_org_words_differently_is_learnt(account: SalesforceAccount, person: Ref) -> None:
    """Somebody renamed "Completed" to "Erledigt": a call in an unknown status would be an open task."""
    for row in list(account.org.all("TaskStatus")):
        renamed = {**row.values, "ApiName": "Erledigt"} if row.get("IsClosed") else row.values
        account.org.put(type(row)(row.type, row.id, renamed), account.clock())
    (record,) = records(await fresh(account).write([call(person)]))
    assert account.values(Ref(Kind.CALL, record.id))["Status"] == "Erledigt"


@pytest.mark.parametrize("id", ["", "003", "003000000000001AAA/../../Account", "@{w0.id}", "003000000000001AA'"])
async def test_an_id_that_is_none_goes_nowhere(account: SalesforceAccount, id: str) -> None:
    """Ids become parts of addresses and queries; one from a broken import must not."""
    stranger = Ref(Kind.CONTACT, id)
    for write in (
        call(stranger),
        SetFields(key="s", target=stranger, fields={"Title": "x"}),
        OptOut(key="o", target=stranger),
    ):
        (outcome,) = await account.crm.write([write])
        assert isinstance(error_of(outcome), Rejected)
    (outcome,) = await account.crm.write([UpsertContact(key="p", target=stranger, last_name="x")])
    assert isinstance(error_of(outcome), Rejected)
    assert await account.crm.read_contact(stranger) is None
    assert (await account.crm.context(stranger)).recent == ()
    assert not [request for request in account.sent if request.writes]


async def test_a_key_field_that_was_taken_away_is_said(account: SalesforceAccount, person: Ref) -> None:
    account.org.hidden.add(("Opportunity", "Gateway_Key__c"))
    (outcome,) = await account.crm.write([CreateDeal(key="d", name="x", about=(person,))])
    assert isinstance(error_of(outcome), Denied)
    assert error_of(outcome).field == "Gateway_Key__c"
