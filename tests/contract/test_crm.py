"""What every CRM connector promises (connectors/crm/port.py), against each vendor's sandbox, over real HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from phonenumbers import PhoneNumber

from connectors import phone
from connectors.crm.port import Done, Failed, Outcome, Stick
from connectors.crm.records import (
    AddNote,
    AddToList,
    AssignOwner,
    CallLog,
    CreateDeal,
    CreateEvent,
    CreateTask,
    CreateTicket,
    Field,
    Kind,
    Later,
    LogCall,
    MoveStage,
    Option,
    OptOut,
    Record,
    Ref,
    SetFields,
    UpsertContact,
    Write,
    name_of,
)
from connectors.errors import (
    OutcomeUnknown,
    RateLimited,
    ReconnectNeeded,
    Rejected,
    Unavailable,
    UnexpectedReply,
    Unsupported,
)
from connectors.http import no_sending_after
from connectors.sandbox.faults import Kind as Fault
from tests.contract.accounts import LEVELS, Account


def number(text: str) -> PhoneNumber:
    read = phone.read(text)
    assert read is not None
    return read


NUMBER = number("+41446681800")
AT = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)
CALL = CallLog(
    direction="inbound",
    started_at=AT,
    duration=timedelta(seconds=185),
    customer_number="+41446681800",
    our_number="+41435550100",
    recording_url="https://recordings.example/c-1.mp3",
)


def call(about: Ref, key: str = "call-1") -> LogCall:
    return LogCall(key=key, subject="Call about the offer", call=CALL, body="Wants an offer.", about=(about,))


def writes(about: Ref) -> list[Write]:
    """One of each kind that leaves a record of its own."""
    return [
        call(about),
        CreateTask(key="task-1", subject="Call back", due=AT + timedelta(days=1), body="As promised.", about=(about,)),
        AddNote(key="note-1", body="Prefers mornings.", at=AT, about=(about,)),
        CreateEvent(
            key="event-1", subject="Visit", starts=AT + timedelta(days=2), ends=AT + timedelta(days=2, hours=1), about=(about,)
        ),
        CreateDeal(key="deal-1", name="Maintenance", amount=Decimal("1200.50"), closes=date(2026, 12, 31), about=(about,)),
        CreateTicket(key="ticket-1", subject="Broken device", body="Does not start.", priority="high", about=(about,)),
    ]  # fmt: skip


KINDS = {
    "log_call": Kind.CALL,
    "create_task": Kind.TASK,
    "add_note": Kind.NOTE,
    "create_event": Kind.EVENT,
    "create_deal": Kind.DEAL,
    "create_ticket": Kind.TICKET,
}


@pytest.fixture
def person(account: Account) -> Ref:
    return account.add_person(
        first_name="Aurélie", last_name="Perrochon", email="aurelie@example.com", phone="+41446681800"
    )


def done(outcomes: Sequence[Outcome]) -> list[Record]:
    records = []
    for outcome in outcomes:
        assert isinstance(outcome, Done), outcome
        assert outcome.record is not None
        records.append(outcome.record)
    return records


def failed(outcomes: Sequence[Outcome], kind: type[Exception]) -> Exception:
    (outcome,) = outcomes
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, kind), outcome.error
    return outcome.error


def ref(record: Record) -> Ref:
    return Ref(record.kind, record.id)


def supported(account: Account, about: Ref) -> list[Write]:
    return [write for write in writes(about) if name_of(write) in _granted(account)]


def _granted(account: Account) -> set[str]:
    """At the lower level the sandboxes also lack optional scopes; tickets are one of them."""
    can = set(account.provider.manifest.can)
    granted = getattr(account, "grant", None)
    if granted is not None and "tickets" not in granted.scopes:
        can.discard("create_ticket")
    return can


# ── who is it ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_account_names_itself(account: Account) -> None:
    said = await account.crm.who_am_i()
    assert said.id
    assert said.name
    assert said == await account.crm.who_am_i()


@pytest.mark.parametrize("field", ["phone", "mobile"])
@pytest.mark.parametrize("written", ["+41 44 668 18 00", "044 668 18 00", "0041446681800", "+41446681800"])
async def test_a_person_is_found_in_any_field_and_spelling(account: Account, field: str, written: str) -> None:
    """The caller is a customer, however a colleague typed the number years ago."""
    expected = account.add_person(first_name="Aurélie", last_name="Perrochon", **{field: written})
    account.add_person(first_name="Somebody", last_name="Else", phone="+41 44 668 18 01")
    account.settle()
    (found,) = await account.crm.find_contacts(NUMBER)
    assert (found.kind, found.id, found.match, found.reason) == (Kind.CONTACT, expected.id, "exact", field)
    assert (found.name, found.first_name, found.last_name) == ("Aurélie Perrochon", "Aurélie", "Perrochon")
    assert "+41446681800" in {held.e164 for held in found.phones}


async def test_the_same_digits_in_another_country_are_no_exact_match(account: Account) -> None:
    """Taking a German for a Swiss customer would read somebody else's data to the caller."""
    account.add_person(last_name="Fernweh", phone="+49 44 6681800")
    exact = account.add_person(last_name="Perrochon", phone="+41 44 668 18 00")
    account.settle()
    found = await account.crm.find_contacts(NUMBER)
    assert found[0].id == exact.id
    assert [contact.match for contact in found] == ["exact", "national"][: len(found)]


async def test_companies_hold_numbers_too(account: Account) -> None:
    company = account.add_company("Aurora SA", "+41 44 668 18 00")
    person = account.add_person(last_name="Perrochon", phone="044 668 18 00")
    account.settle()
    found = await account.crm.find_contacts(NUMBER)
    assert [(contact.kind, contact.id) for contact in found] == [(Kind.CONTACT, person.id), (Kind.COMPANY, company.id)]
    assert len(await account.crm.find_contacts(NUMBER, limit=1)) == 1


async def test_a_stranger_is_nobody(account: Account, person: Ref) -> None:
    account.settle()
    assert await account.crm.find_contacts(number("+41435550199")) == []


async def test_a_contact_is_read_as_it_is_now(account: Account, person: Ref) -> None:
    """Not through search: what was just written is there."""
    title = account.name_of("job_title")
    assert isinstance((await account.crm.write([SetFields(key="f", fields={title: "CFO"}, target=person)]))[0], Done)
    found = await account.crm.read_contact(person, fields=[title])
    assert found is not None
    assert (found.name, found.email, found.fields[title]) == ("Aurélie Perrochon", "aurelie@example.com", "CFO")


async def test_what_is_gone_reads_as_none(account: Account, person: Ref) -> None:
    account.delete(person)
    assert await account.crm.read_contact(person) is None
    assert (await account.crm.context(person)).open_deals == ()


async def test_a_merged_person_is_still_reached(account: Account, person: Ref) -> None:
    winner = account.add_person(last_name="Perrochon-Meier")
    account.merge(winner, person)
    found = await account.crm.read_contact(person)
    if not account.follows_merges:  # the old id is gone; the CRM says only in its notifications what became of it
        assert found is None
        return
    assert found is not None
    assert found.id == winner.id


async def test_context_is_what_an_agent_wants_to_know(account: Account) -> None:
    company = account.add_company("Aurora SA")
    owner = account.add_owner("Sarah", "Brunnental", "sarah@aurora.example")
    person = account.add_person(last_name="Perrochon", company_id=company.id, owner=owner)
    opened, _ = account.add_deal("Maintenance", person), account.add_deal("Old", person, closed=True)
    tickets = "create_ticket" in _granted(account)
    ticket = account.add_ticket("Broken", person)
    account.add_ticket("Fixed", person, closed=True)
    earlier = msgspec.structs.replace(
        call(person, "call-0"), call=msgspec.structs.replace(CALL, started_at=AT - timedelta(days=1))
    )
    records = done(await account.crm.write([earlier, call(person, "call-1")]))
    before = len(account.sent)
    context = await account.crm.context(person, recent=1)
    assert len(account.sent) - before <= 10
    assert context.company is not None
    assert context.owner is not None
    assert (context.company.name, context.owner.name, context.owner.email) == (
        "Aurora SA",
        "Sarah Brunnental",
        "sarah@aurora.example",
    )
    (deal,) = context.open_deals
    assert (deal.id, deal.name, deal.amount, deal.closes) == (
        opened.id,
        "Maintenance",
        Decimal(1200),
        date(2026, 12, 31),
    )
    assert deal.stage
    assert [held.id for held in context.open_tickets] == ([ticket.id] if tickets else [])
    assert [(one.kind, one.id, one.at) for one in context.recent] == [(Kind.CALL, records[1].id, AT)]
    assert context.complete is tickets


async def test_context_says_when_a_part_is_missing(account: Account, person: Ref) -> None:
    """Half an answer on the phone beats none, if it says that it is half."""
    done(await account.crm.write([call(person)]))
    account.add_deal("Maintenance", person)
    account.hurt(kind=Fault.OUTAGE, path=account.reads_deals_at)
    context = await account.crm.context(person)
    assert context.complete is False
    assert context.open_deals == ()
    assert len(context.recent) == 1


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_each_kind_is_written_and_linked(account: Account, person: Ref) -> None:
    run = supported(account, person)
    records = done(await account.crm.write(run))
    for write, record in zip(run, records, strict=True):
        assert (record.kind, record.created) == (KINDS[name_of(write)], True)
        assert account.linked(person, record.kind) == {record.id}
        assert account.count(record.kind) == 1
    assert "Wants an offer." in account.text(ref(records[0]))
    assert all(record.url and record.id in record.url for record in records)


async def test_one_key_writes_once(account: Account, person: Ref) -> None:
    """A lost answer must not become a second activity in the customer's CRM."""
    for write in supported(account, person):
        (first,) = done(await account.crm.write([write]))
        if _blind(account, write):
            with pytest.raises(Unsupported):
                await account.crm.find(write)
            continue
        earlier = await account.crm.find(write)
        assert earlier is not None
        assert ref(earlier) == ref(first)
        if account.sticks[name_of(write)].stick is Stick.ENFORCED:
            (again,) = done(await account.crm.write([write]))
            assert (ref(again), again.created) == (ref(first), False)
        assert account.count(first.kind) == 1


async def test_a_look_finds_nothing_where_nothing_is(account: Account, person: Ref) -> None:
    for write in supported(account, person):
        if not _blind(account, write):
            assert await account.crm.find(write) is None
    done(await account.crm.write([call(person, "another-key")]))
    assert await account.crm.find(call(person, "call-1")) is None


@pytest.mark.parametrize(
    "fault", [Fault.RESET_AFTER, Fault.CUT, Fault.TRUNCATED, Fault.EMPTY, Fault.HTML, Fault.ERROR, Fault.OUTAGE]
)
async def test_a_lost_answer_is_looked_for_and_found(account: Account, person: Ref, fault: Fault) -> None:
    """The CRM did it and could not say so: unknown first, then found by its key, never sent again."""
    for write in supported(account, person):
        account.lose_answer(write, fault)
        unknown = failed(await account.crm.write([write]), OutcomeUnknown)
        assert isinstance(unknown, OutcomeUnknown)
        assert unknown.settle == account.sticks[name_of(write)].settle
        if _blind(account, write):  # for a person to decide
            continue
        found = await account.crm.find(write)
        assert found is not None
        assert account.linked(person, found.kind) == {found.id}
        assert account.count(found.kind) == 1


def _blind(account: Account, write: Write) -> bool:
    return account.sticks[name_of(write)].stick is Stick.BLIND


async def test_a_look_can_fail_without_being_believed(account: Account, person: Ref) -> None:
    """ "Could not look" taken for "nothing there" is how a double is made."""
    done(await account.crm.write([call(person)]))
    account.hurt(kind=Fault.OUTAGE)
    with pytest.raises(Unavailable):
        await account.crm.find(call(person))


async def test_what_was_refused_was_not_written(account: Account, person: Ref) -> None:
    account.hurt(kind=Fault.RATE_LIMIT, count=1, retry_after=timedelta(seconds=7))
    limited = failed(await account.crm.write([call(person)]), RateLimited)
    assert isinstance(limited, RateLimited)
    assert limited.retry_after == timedelta(seconds=7)
    with no_sending_after(0.0):
        failed(await account.crm.write([call(person)]), Unavailable)
    assert account.count(Kind.CALL) == 0


async def test_an_expired_token_is_replaced_in_passing(account: Account, person: Ref) -> None:
    account.hurt(kind=Fault.EXPIRED, count=1)
    done(await account.crm.write([call(person)]))
    assert account.count(Kind.CALL) == 1


async def test_a_revoked_grant_asks_for_a_new_sign_in(account: Account, person: Ref) -> None:
    account.revoke()
    failed(await account.crm.write([call(person)]), ReconnectNeeded)
    with pytest.raises(ReconnectNeeded):
        await account.crm.find_contacts(NUMBER)


async def test_a_missing_scope_is_no_lost_grant(account: Account, person: Ref) -> None:
    """Disconnecting a tenant over one missing right would stop everything else too."""
    account.read_only()
    refused = failed(await account.crm.write([call(person)]), Rejected)
    assert isinstance(refused, Rejected)
    assert refused.scopes or not account.rights_are_scopes


async def test_after_a_failure_that_may_pass_nothing_overtakes(account: Account, person: Ref) -> None:
    run = [call(person, "call-1"), call(person, "call-2"), call(person, "call-3")]
    passed = 0 if account.provider.manifest.run >= len(run) else 1  # one request carries them all, or each its own
    account.hurt(kind=Fault.RATE_LIMIT, method="POST", count=1, skip=passed)
    outcomes = await account.crm.write(run)
    became = [type(one.error) if isinstance(one, Failed) else type(one) for one in outcomes]
    assert became[: passed + 1] == [Done, RateLimited][1 - passed :]
    assert set(became[passed + 1 :]) <= {RateLimited, Unavailable}  # refused with it, or not sent because of it
    assert account.count(Kind.CALL) == passed


async def test_one_bad_write_does_not_stop_the_next(account: Account, person: Ref) -> None:
    bad = msgspec.structs.replace(call(person, "bad"), fields={"no_such_field": "1"})
    first, second = await account.crm.write([bad, call(person, "good")])
    assert isinstance(first, Failed)
    assert isinstance(first.error, Rejected)
    assert first.error.field == "no_such_field"
    assert isinstance(second, Done)


async def test_a_demand_of_the_accounts_admin_names_the_field(account: Account, person: Ref) -> None:
    if not account.admins_demand:
        done(await account.crm.write([CreateDeal(key="d", name="Maintenance", about=(person,))]))
        return
    account.require(Kind.DEAL, account.name_of("amount"))
    refused = failed(await account.crm.write([CreateDeal(key="d", name="Maintenance", about=(person,))]), Rejected)
    assert isinstance(refused, Rejected)
    assert refused.field == account.name_of("amount")


async def test_a_record_that_is_gone_is_said_to_be_gone(account: Account, person: Ref) -> None:
    account.delete(person)
    refused = failed(
        await account.crm.write([SetFields(key="f", fields={account.name_of("first_name"): "X"}, target=person)]),
        Rejected,
    )
    assert isinstance(refused, Rejected)
    assert refused.gone


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "a & b < c", "\"quoted\" 'single'", "{{ 7*7 }}", "half \ud83d \x00 null"]
)
async def test_spoken_text_is_shown_not_run(account: Account, person: Ref, text: str) -> None:
    spoken = msgspec.structs.replace(call(person), unchecked=text, subject=text)
    (record,) = done(await account.crm.write([spoken]))
    shown = account.text(ref(record))
    assert "From the call, not checked" in shown
    body = account.html(ref(record))
    assert "From the call, not checked" in body
    assert "<script>" not in body
    assert "\x00" not in shown


async def test_a_long_transcript_is_cut_not_refused(account: Account, person: Ref) -> None:
    long = msgspec.structs.replace(call(person), unchecked="und dann & so weiter\n\n" * 20_000)
    (record,) = done(await account.crm.write([long]))
    found = await account.crm.find(long)
    assert found is not None
    assert found.id == record.id
    assert "cut here" in account.text(ref(record))


# ── people ──────────────────────────────────────────────────────────────────────────────────────────────────────────

NEW = UpsertContact(
    key="person-1", phone="+41446681800", first_name="Aurélie", last_name="Perrochon", email="a@example.com"
)


async def test_a_new_person_is_made_once(account: Account) -> None:
    (first,) = done(await account.crm.write([NEW]))
    (again,) = done(await account.crm.write([NEW]))
    assert (again.id, first.created, again.created) == (first.id, True, False)
    found = await account.crm.find(NEW)
    assert found is not None
    assert found.id == first.id
    assert account.count(Kind.CONTACT) == 1


async def test_a_caller_without_a_name_can_still_be_made(account: Account) -> None:
    (record,) = done(await account.crm.write([UpsertContact(key="p", phone="+41446681800")]))
    found = await account.crm.read_contact(ref(record))
    assert found is not None
    assert "+41446681800" in {held.e164 for held in found.phones}
    named = UpsertContact(
        key="p", phone="+41446681800", first_name="Aurélie", last_name="Perrochon", target=ref(record)
    )
    done(await account.crm.write([named]))
    renamed = await account.crm.read_contact(ref(record))
    assert renamed is not None
    assert renamed.name == "Aurélie Perrochon"


async def test_what_a_person_has_is_kept_and_what_is_missing_filled_in(account: Account, person: Ref) -> None:
    """A name heard on the phone must not replace the one a colleague typed."""
    title, last = account.name_of("job_title"), account.name_of("last_name")
    heard = UpsertContact(
        key="p", target=person, phone="+41795550123", first_name="Orelly", last_name="Peron",
        fields_if_empty={title: "CFO", last: "Nobody"}, fields={},
    )  # fmt: skip
    done(await account.crm.write([heard]))
    found = await account.crm.read_contact(person, fields=[title])
    assert found is not None
    assert (found.name, found.fields[title]) == ("Aurélie Perrochon", "CFO")
    assert {held.e164 for held in found.phones} == {"+41446681800", "+41795550123"}
    overwritten = UpsertContact(key="p2", target=person, fields={title: "CEO"})
    done(await account.crm.write([overwritten]))
    again = await account.crm.read_contact(person, fields=[title])
    assert again is not None
    assert again.fields[title] == "CEO"


async def test_a_known_address_becomes_an_update(account: Account, person: Ref) -> None:
    """The CRM knows the person by e-mail already: no error, no second person."""
    known = UpsertContact(key="p", phone="+41795550123", email="aurelie@example.com", first_name="A.", last_name="P.")
    (record,) = done(await account.crm.write([known]))
    assert (record.id, record.created) == (person.id, False)
    assert account.count(Kind.CONTACT) == 1
    found = await account.crm.read_contact(person)
    assert found is not None
    assert found.name == "Aurélie Perrochon"
    assert "+41795550123" in {held.e164 for held in found.phones}


async def test_a_person_who_cannot_be_found_again_is_said_so(account: Account, level: tuple[str, Stick]) -> None:
    write = UpsertContact(key="p", phone="+41446681800", last_name="Perrochon")
    if level[1] is Stick.ENFORCED or account.finds_anybody:
        assert await account.crm.find(write) is None
    else:
        with pytest.raises(Unsupported):
            await account.crm.find(write)


async def test_repeatable_writes_repeat(account: Account, person: Ref) -> None:
    owner = account.add_owner("Sarah", "Brunnental", "sarah@aurora.example")
    for write in (
        SetFields(key="s", fields={account.name_of("first_name"): "Aurelia"}, target=person),
        AssignOwner(key="o", owner=owner, target=person),
        OptOut(key="out", target=person),
    ):
        for _ in range(2):
            (outcome,) = await account.crm.write([write])
            assert isinstance(outcome, Done)
        assert await account.crm.find(write) is None
    assert account.values(person)[account.name_of("first_name")] == "Aurelia"
    assert account.values(person)[account.name_of("owner")] == owner
    assert account.opted_out("aurelie@example.com")


async def test_whom_an_opt_out_cannot_reach_is_said(account: Account) -> None:
    silent = account.add_person(last_name="Perrochon", phone="+41446681800")
    if not account.opts_out_by_address:
        (outcome,) = await account.crm.write([OptOut(key="out", target=silent)])
        assert isinstance(outcome, Done)
        return
    failed(await account.crm.write([OptOut(key="out", target=silent)]), Rejected)


async def test_a_link_that_is_not_known_yet_is_never_sent(account: Account) -> None:
    before = len(account.sent)
    failed(
        await account.crm.write([SetFields(key="s", fields={"a": "b"}, target=Later(Kind.CONTACT, "d-1"))]), Rejected
    )
    failed(
        await account.crm.write([LogCall(key="c", subject="x", call=CALL, about=(Later(Kind.CONTACT, "d-1"),))]),
        Rejected,
    )
    assert len(account.sent) == before


async def test_a_deal_starts_in_the_first_open_stage_or_the_named_one(account: Account, person: Ref) -> None:
    pipeline = (await account.crm.pipelines(Kind.DEAL))[0]
    opened = [stage for stage in pipeline.stages if not stage.closed]
    plain, named, by_id, unknown = await account.crm.write(
        [
            CreateDeal(key="d-1", name="a", about=(person,)),
            CreateDeal(key="d-2", name="b", pipeline=pipeline.label.upper(), stage=opened[-1].label, about=(person,)),
            CreateDeal(key="d-3", name="c", stage=opened[1].id, about=(person,)),
            CreateDeal(key="d-4", name="d", stage="No such stage", about=(person,)),
        ]
    )
    stages = [account.values(ref(record))[account.name_of("stage_of_deal")] for record in done([plain, named, by_id])]
    assert stages == [opened[0].id, opened[-1].id, opened[1].id]
    failed([unknown], Rejected)


async def test_a_deal_moves_to_another_stage(account: Account, person: Ref) -> None:
    if "move_stage" not in _granted(account):
        pytest.skip(f"{account.provider.manifest.name} says beforehand that it moves no stages")
    deal = account.add_deal("Maintenance", person)
    pipeline = (await account.crm.pipelines(Kind.DEAL))[0]
    opened = [stage for stage in pipeline.stages if not stage.closed]
    for wanted in (opened[-1].label.upper(), opened[-1].id):
        move = MoveStage(key="m-1", target=deal, stage=wanted)
        for _ in range(2):
            (record,) = done(await account.crm.write([move]))
            assert (record.kind, record.id, record.created) == (Kind.DEAL, deal.id, False)
        assert account.values(deal)[account.name_of("stage_of_deal")] == opened[-1].id
        assert await account.crm.find(move) is None
    failed(await account.crm.write([MoveStage(key="m-2", target=deal, stage="No such stage")]), Rejected)
    failed(await account.crm.write([MoveStage(key="m-3", target=person, stage=opened[0].id)]), Unsupported)
    assert account.values(deal)[account.name_of("stage_of_deal")] == opened[-1].id


async def test_a_person_is_put_into_a_list_by_its_id_or_its_name(account: Account, person: Ref) -> None:
    if "add_to_list" not in _granted(account):
        pytest.skip(f"{account.provider.manifest.name} says beforehand that it groups nobody")
    other = account.add_list("To be called back again")
    wanted = account.add_list("To be called back")
    for named in (wanted, "to be CALLED back"):
        join = AddToList(key="l-1", target=person, list=named)
        for _ in range(2):
            (record,) = done(await account.crm.write([join]))
            assert (record.kind, record.id, record.created) == (Kind.CONTACT, person.id, False)
        assert account.members(wanted) == {person.id}
        assert await account.crm.find(join) is None
    assert account.members(other) == set()


async def test_a_list_that_is_not_there_is_no_lost_person(account: Account, person: Ref) -> None:
    """ "Gone" would have the caller looked for, and made, anew."""
    if "add_to_list" not in _granted(account):
        pytest.skip(f"{account.provider.manifest.name} says beforehand that it groups nobody")
    refused = failed(await account.crm.write([AddToList(key="l-1", target=person, list="No such list")]), Rejected)
    assert isinstance(refused, Rejected)
    assert not refused.gone
    wanted = account.add_list("To be called back")
    account.delete(person)
    gone = failed(await account.crm.write([AddToList(key="l-2", target=person, list=wanted)]), Rejected)
    assert isinstance(gone, Rejected)
    assert gone.gone


async def test_the_preview_is_what_is_sent(account: Account, person: Ref) -> None:
    await account.crm.pipelines(Kind.DEAL)
    if "create_ticket" in _granted(account):
        await account.crm.pipelines(Kind.TICKET)
    stranger = msgspec.structs.replace(NEW, phone="+41445550177")
    for write in [*supported(account, person), stranger]:
        account.sent.clear()
        shown = account.crm.preview(write)
        done(await account.crm.write([write]))
        assert [request for request in account.sent if request.writes] == shown


async def test_a_preview_of_what_is_not_known_yet_has_placeholders(account: Account) -> None:
    (shown,) = account.crm.preview(LogCall(key="c", subject="x", call=CALL, about=(Later(Kind.CONTACT, "d-1"),)))
    assert "<id of the new contact>" in str(shown.json)


# ── the account's make-up ───────────────────────────────────────────────────────────────────────────────────────────


async def test_owners_are_listed_and_found(account: Account) -> None:
    id = account.add_owner("Sarah", "Brunnental", "sarah@aurora.example")
    listed = await account.crm.owners()
    assert id in {owner.id for owner in listed}
    assert [owner.name for owner in listed] == sorted((owner.name for owner in listed), key=str.casefold)
    found = await account.crm.owner_by_email("Sarah@aurora.example")
    assert found is not None
    assert found.id == id
    assert await account.crm.owner_by_email("nobody@aurora.example") is None


async def test_fields_are_listed_with_what_they_hold(account: Account) -> None:
    fields = {field.name: field for field in await account.crm.fields(Kind.CONTACT)}
    assert fields[account.name_of("first_name")].type == "text"
    assert fields[account.name_of("phone")].type == "phone"
    assert not fields[account.name_of("first_name")].custom
    choices = [field for field in fields.values() if field.type == "choice"]
    assert all(field.options for field in choices if field.writable and field.custom)


async def test_a_field_is_made_once(account: Account, level: tuple[str, Stick]) -> None:
    wanted = Field(name="gateway_score", label="Score", type="number", custom=True)
    if level[1] is not LEVELS.get(level[0], (Stick.ENFORCED,))[0]:
        with pytest.raises(Rejected) as refused:
            await account.crm.create_field(Kind.CONTACT, wanted)
        assert refused.value.scopes or not account.rights_are_scopes
        return
    made = await account.crm.create_field(Kind.CONTACT, wanted)
    assert (made.type, made.custom) == ("number", True)
    assert (made.name if account.names_fields else made.label) == ("gateway_score" if account.names_fields else "Score")
    assert await account.crm.create_field(Kind.CONTACT, wanted) == made
    with pytest.raises(Rejected):
        await account.crm.create_field(Kind.CONTACT, msgspec.structs.replace(wanted, type="text"))
    choice = Field(
        name="gateway_mood", label="Mood", type="choice", options=(Option(value="good", label="Good"),), custom=True
    )
    options = (await account.crm.create_field(Kind.CONTACT, choice)).options
    assert [option.label for option in options] == ["Good"]
    assert options == choice.options or not account.names_fields


async def test_everyone_is_listed_in_pages(account: Account) -> None:
    expected = [account.add_person(last_name=f"Person {n}", phone="+41446681800").id for n in range(7)]
    listed, after, pages = [], None, 0
    while True:
        page = await account.crm.list_contacts(Kind.CONTACT, after=after, limit=3)
        listed += [contact.id for contact in page.items]
        pages, after = pages + 1, page.next
        if after is None:
            break
    assert listed == expected
    assert pages == 3
    assert not (await account.crm.list_contacts(Kind.COMPANY)).items


async def test_changes_come_oldest_first(account: Account, person: Ref) -> None:
    account.settle()
    since = account.clock()
    expected = [account.add_person(last_name=f"Person {n}").id for n in range(3)]
    account.clock.advance(timedelta(seconds=1))
    done(await account.crm.write([SetFields(key="s", fields={account.name_of("first_name"): "New"}, target=person)]))
    account.settle()
    pages = [page async for page in account.crm.changes_since(Kind.CONTACT, since)]
    items = [contact for page in pages for contact in page.items]
    assert [contact.id for contact in items] == [*expected, person.id]
    assert items == sorted(items, key=lambda contact: contact.updated_at or since)


async def test_reads_that_make_no_sense_are_said_so(account: Account, person: Ref) -> None:
    account.hurt(kind=Fault.HTML, count=1)
    with pytest.raises(UnexpectedReply):
        await account.crm.pipelines(Kind.DEAL)
    account.hurt(kind=Fault.REDIRECT, count=1)
    with pytest.raises(UnexpectedReply):
        await account.crm.read_contact(person)
    account.hurt(kind=Fault.TRUNCATED, count=1)
    with pytest.raises(UnexpectedReply):
        await account.crm.owners()
    account.hurt(kind=Fault.EMPTY, count=1)
    with pytest.raises(UnexpectedReply):
        await account.crm.fields(Kind.CONTACT)


async def test_the_probe_repeats_and_leaves_no_records(account: Account, level: tuple[str, Stick]) -> None:
    first = await account.crm.probe()
    assert first == await account.crm.probe()
    assert first.keys() == account.provider.manifest.sticks.keys()
    assert all(sticking in account.provider.manifest.sticks[name] for name, sticking in first.items())
    assert sum(account.count(kind) for kind in Kind) == 0


async def test_an_outage_while_probing_is_not_taken_for_an_answer(account: Account) -> None:
    account.hurt(kind=Fault.OUTAGE)
    with pytest.raises(Unavailable):
        await account.crm.probe()
