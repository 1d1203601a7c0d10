"""Events on real databases: stored once, tied to one call, merged whatever their order."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta

import msgspec
from sqlalchemy import select, update

from connectors.voice.events import Analysis, CallEvent, CallNews
from gateway.calls import queries
from gateway.calls.ripe import NEVER_ENDED
from gateway.calls.tables import Call
from gateway.tenants.settings import Retention, TenantDocument, current, replace
from tests.factories import make_tenant
from tests.gateway.calls.house import ANALYZED, BEGAN, ENDED, NUMBER, STARTED, House, event


async def test_any_order_and_any_expiry_of_the_grace_time_is_one_call(house: House) -> None:
    """Analysis may come first, or when the call was planned without it."""
    for order, planned_after in itertools.product(itertools.permutations(range(3)), (None, 0, 1)):
        call_id = f"c-{order}-{planned_after}"
        for place, number in enumerate(order):
            one = (STARTED, ENDED, ANALYZED)[number]
            await house.take(msgspec.structs.replace(one, call_id=call_id, dedupe=f"{call_id}:{one.name}"))
            if place == planned_after:
                await planned(house, call_id)
    calls = await house.calls()
    assert len(calls) == 18
    for call, news in calls:
        assert (call.ended, call.complete) == (True, True)
        assert (news.summary, news.started_at, news.duration_s) == ("Wants an offer.", BEGAN, 95)
        assert news.analysis is not None
        assert news.analysis.data == {"budget": 1200}
        assert call.plan_at is not None
        assert call.plan_at <= call.updated_at


async def planned(house: House, call_id: str = "c-1") -> None:
    """As if the worker had just planned it."""
    async with house.db.transaction(house.tenant_id) as session:
        await session.execute(
            update(Call)
            .where(Call.external_id == call_id)
            .values(plan_at=None, planned_at=datetime.now(UTC), state="planned", ruleset_version=1)
        )


async def test_a_repeat_changes_nothing(house: House) -> None:
    first = await house.take(ANALYZED)
    before = (await house.calls())[0][0].updated_at
    again = await house.take(ANALYZED)
    assert (first.duplicate, again.duplicate) == (False, True)
    assert again.call_id == first.call_id
    assert (await house.calls())[0][0].updated_at == before
    assert len(await house.events()) == 1


async def test_an_event_that_adds_nothing_is_kept_and_plans_nothing(house: House) -> None:
    await house.take(ANALYZED)
    await planned(house)
    poorer = event("late", news={"summary": "Short."}, ended=True)
    taken = await house.take(poorer)
    assert (taken.duplicate, taken.became) == (True, "nothing new")
    ((call, _),) = await house.calls()
    assert call.plan_at is None
    assert [row.became for row in await house.events()] == ["stored", "nothing new"]


async def test_a_planned_call_is_due_again_when_an_event_adds_something(house: House) -> None:
    await house.take(ENDED)
    await planned(house)
    assert (await house.take(ANALYZED)).became == "merged"
    async with house.db.reading() as session:
        assert list(await queries.due(session)) == [(await house.calls())[0][0].id]


async def test_an_ended_call_waits_its_grace_time_and_one_that_never_ended_too(house: House) -> None:
    await house.take(STARTED)
    await house.take(event("ended", "c-2", ended=True))
    (started, _), (ended, _) = await house.calls()
    assert started.plan_at == started.grace_until == started.received_at + NEVER_ENDED
    assert ended.plan_at == ended.grace_until == ended.received_at + house.settings.call_grace
    async with house.db.reading() as session:
        assert list(await queries.due(session)) == []


async def test_events_at_the_same_time_are_one_call(house: House) -> None:
    """Platforms post `ended` and `analyzed` within milliseconds."""
    many = [event(f"e{n}", news={"analysis": Analysis(data={f"f{n}": n})}, ended=True) for n in range(8)]
    taken = await asyncio.gather(*(house.take(one) for one in many for _ in range(2)))
    assert sum(not one.duplicate for one in taken) == 8
    ((_, news),) = await house.calls()
    assert news.analysis is not None
    assert news.analysis.data == {f"f{n}": n for n in range(8)}


async def test_the_same_ids_at_other_sources_and_tenants_are_other_calls(house: House) -> None:
    await house.take(ENDED)
    await house.take(ENDED, source="ve_2")
    other = await make_tenant(house.db, house.keyring, "Other SA")
    await house.intake.take(other, "ve_1", ENDED, raw=b"{}")
    async with house.db.reading() as session:
        found = (await session.scalars(select(Call).order_by(Call.id))).all()
        theirs = await queries.call_by_any_id(session, other, "c-1")
        nobodys = await queries.call_by_any_id(session, other, found[0].id)
    assert len({row.id for row in found}) == 3
    assert theirs is not None
    assert theirs.tenant_id == other
    assert nobodys is None


async def test_who_the_person_is(house: House) -> None:
    """A lane is a person; whoever hides the number is a person of one call."""
    keys = await house.keyring.of(house.tenant_id)
    await house.take(event("ended", "c-1", ended=True, news={"from_number": "044 668 18 00"}))
    await house.take(event("ended", "c-2", ended=True, news={"from_number": None, "withheld": True}))
    (known, _), (hidden, _) = await house.calls()
    assert known.person == known.subject_index == keys.index(NUMBER)
    assert hidden.person == keys.index(f"call:{hidden.id}")
    assert hidden.subject_index is None
    assert [row.subject_index for row in await house.events()] == [keys.index(NUMBER), None]


async def test_a_number_that_comes_later_settles_the_person(house: House) -> None:
    await house.take(event("ended", ended=True, news={"from_number": None}))
    await house.take(event("analyzed", final=True))
    ((call, _),) = await house.calls()
    assert call.person == call.subject_index == (await house.keyring.of(house.tenant_id)).index(NUMBER)


async def test_a_carriers_id_finds_a_call_and_merges_none(house: House) -> None:
    """Carriers' ids come back: two platform ids are two calls."""
    await house.take(event("ended", "c-1", ended=True, aliases=("carrier:CA1",)))
    await house.take(event("ended", "c-2", ended=True, aliases=("carrier:CA1",)))
    (first, _), (_second, _) = await house.calls()
    async with house.db.reading(house.tenant_id) as session:
        found = await queries.call_by_any_id(session, house.tenant_id, "CA1")
    assert found is not None
    assert found.id == first.id


async def test_news_without_an_id_of_its_own_is_tied_by_its_alias(house: House) -> None:
    """A carrier's recording callback knows the carrier's id alone."""
    await house.take(event("ended", "c-1", ended=True, aliases=("carrier:CA1",)))
    nameless = CallEvent(
        name="recording", dedupe="CA1:rec", call_id="", news=CallNews(summary="Said."), aliases=("carrier:CA1",)
    )
    assert (await house.take(nameless)).became == "merged"
    assert [news.summary for _, news in await house.calls()] == ["Said."]


async def test_the_lookup_before_it_finds_the_call(house: House) -> None:
    await house.take(event("ended", ended=True, news={"lookup_id": "lk_01"}))
    async with house.db.reading(house.tenant_id) as session:
        found = await queries.call_by_any_id(session, house.tenant_id, "lk_01")
    assert found is not None
    assert found.external_id == "c-1"


async def test_secrets_are_not_in_the_body_that_is_kept(house: House) -> None:
    """Vapi sends carriers' tokens inside its events."""
    raw = b'{"phoneNumber": {"twilioAuthToken": "t0ps3cret", "number": "+41435550100"}}'
    await house.take(ENDED, raw=raw)
    (row,) = await house.events()
    assert row.raw is not None
    kept = (await house.keyring.of(house.tenant_id)).open(row.raw, "call_events", "raw", row.id)
    assert kept == b'{"phoneNumber":{"number":"+41435550100"}}'
    assert row.raw_until == row.received_at + timedelta(days=7)


async def test_an_erased_call_is_not_brought_back_by_a_repeat(house: House) -> None:
    await house.take(ENDED)
    async with house.db.transaction(house.tenant_id) as session:
        ((call, _),) = await house.calls()
        await session.delete(await session.get_one(Call, (call.tenant_id, call.id)))
    assert (await house.take(ENDED)).duplicate
    assert await house.calls() == []


async def test_a_tenants_own_terms_are_kept(house: House) -> None:
    async with house.db.transaction(house.tenant_id) as session:
        document = await current(session, house.tenant_id)
        wanted = TenantDocument.model_validate(
            {**document.model_dump(), "retention": Retention(raw_days=0, transcript_days=3, summary_days=20)}
        )
        await replace(session, house.tenant_id, wanted, by="test", now=BEGAN)
    await house.take(event("ended", ended=True, news={"recording_url": "https://recordings.example/1.mp3"}))
    ((call, news),) = await house.calls()
    assert news.recording_url is None
    assert call.transcript_until == call.received_at + timedelta(days=3)
    assert call.people_until == call.received_at + timedelta(days=20)
    assert [row.raw for row in await house.events()] == [None]


async def test_calls_are_paged_newest_first(house: House) -> None:
    for number in range(5):
        await house.take(event("ended", f"c-{number}", ended=True))
    async with house.db.reading(house.tenant_id) as session:
        first = await queries.page(session, house.tenant_id, limit=2)
        rest = await queries.page(session, house.tenant_id, before=first[-1].id, limit=9)
    assert [row.external_id for row in (*first, *rest)] == ["c-4", "c-3", "c-2", "c-1", "c-0"]
