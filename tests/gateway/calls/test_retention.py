"""What is about people goes when its time is up, on both databases."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import select, update

from connectors.voice.events import CallEvent as VoiceEvent
from gateway.calls.intake import CALL_KEPT
from gateway.calls.retention import Forgotten, prune
from gateway.calls.store import tombstone
from gateway.calls.tables import Call, CallEvent, Tombstone
from tests.gateway.calls.house import ANALYZED, ENDED, House

PAST = datetime.now(UTC) - timedelta(seconds=1)


async def due(house: House, table: type[Call] | type[CallEvent], **times: datetime) -> None:
    async with house.db.transaction(house.tenant_id) as session:
        await session.execute(update(table).values(**times))


async def test_nothing_is_forgotten_before_its_time(house: House) -> None:
    await house.take(ANALYZED)
    assert (await prune(house)).nothing


async def test_the_raw_body_goes_first_and_a_repeat_is_still_known(house: House) -> None:
    await house.take(ANALYZED)
    await due(house, CallEvent, raw_until=PAST)
    assert await prune(house) == Forgotten(raw=1)
    (row,) = await house.events()
    assert (row.raw, row.raw_until) == (None, None)
    assert (await house.take(ANALYZED)).duplicate


async def test_what_belongs_to_no_call_goes_altogether(house: House) -> None:
    await house.intake.note(house.tenant_id, "ve_1", name="hang", dedupe="1", became="ignored", raw=b"{}")
    await due(house, CallEvent, raw_until=PAST)
    assert await prune(house) == Forgotten(raw=1)
    await due(house, CallEvent, raw_until=PAST, received_at=PAST - timedelta(days=31))
    assert await prune(house) == Forgotten(events=1)
    assert await house.events() == []


async def test_the_transcript_goes_and_the_summary_stays(house: House) -> None:
    await house.take(ANALYZED)
    await due(house, Call, transcript_until=PAST)
    assert await prune(house) == Forgotten(transcripts=1)
    ((_, news),) = await house.calls()
    assert (news.transcript, news.summary) == ((), "Wants an offer.")
    assert (await prune(house)).nothing


async def test_then_the_people_go_and_what_may_be_counted_stays(house: House) -> None:
    await house.take(ANALYZED)
    await house.take(ENDED)
    await due(house, Call, transcript_until=PAST, people_until=PAST)
    assert await prune(house) == Forgotten(transcripts=1, people=1)
    ((call, news),) = await house.calls()
    assert (news.from_number, news.summary, news.analysis) == (None, None, None)
    assert (news.direction, news.ended_at is not None) == ("inbound", True)
    assert call.subject_index is None
    assert [row.subject_index for row in await house.events()] == [None, None]
    assert (await prune(house)).nothing


async def test_a_late_event_is_forgotten_in_its_turn(house: House) -> None:
    await house.take(ENDED)
    await due(house, Call, people_until=PAST)
    await prune(house)
    await house.take(ANALYZED)
    ((call, news),) = await house.calls()
    assert news.summary == "Wants an offer."
    assert call.people_until is not None
    assert call.transcript_until is not None


async def test_at_last_the_call_goes_with_its_events(house: House) -> None:
    await house.take(ANALYZED)
    ((call, _),) = await house.calls()
    assert call.kept_until == call.received_at + CALL_KEPT
    await due(house, Call, kept_until=PAST)
    assert await prune(house) == Forgotten(calls=1)
    assert (await house.calls(), await house.events()) == ([], [])


async def test_a_batch_is_bounded(house: House) -> None:
    for number in range(3):
        await house.intake.note(house.tenant_id, "ve_1", name="hang", dedupe=f"{number}", became="ignored", raw=b"{}")
    await due(house, CallEvent, raw_until=PAST)
    assert await prune(house, limit=2) == Forgotten(raw=2)
    assert await prune(house, limit=2) == Forgotten(raw=1)


async def pruned(house: House) -> None:
    await due(house, Call, kept_until=PAST)
    assert (await prune(house)).calls == 1


@pytest.mark.parametrize("late", [ENDED, ANALYZED], ids=["the same event", "another of the same call"])
async def test_a_late_repeat_of_a_pruned_call_is_known_and_stores_nothing(house: House, late: VoiceEvent) -> None:
    await house.take(ENDED)
    await pruned(house)
    taken = await house.take(late)
    assert (taken.duplicate, taken.external_id) == (True, ENDED.call_id)
    assert (await house.calls(), await house.events()) == ([], [])


async def test_other_calls_of_the_same_moment_are_stored(house: House) -> None:
    await house.take(ENDED)
    await pruned(house)
    new = [msgspec.structs.replace(ENDED, call_id=f"c-new-{number}", dedupe=f"new {number}") for number in range(3)]
    taken = await asyncio.gather(*(house.take(one) for one in (new[0], ENDED, *new[1:])))
    assert [one.duplicate for one in taken] == [False, True, False, False]
    assert sorted(call.external_id for call, _ in await house.calls()) == ["c-new-0", "c-new-1", "c-new-2"]


async def test_the_same_id_at_another_source_is_another_call(house: House) -> None:
    await house.take(ENDED)
    await pruned(house)
    assert not (await house.take(ENDED, source="ve_2")).duplicate


async def test_a_tombstone_stays_400_days_and_says_nothing_about_people(house: House) -> None:
    await house.take(ENDED)
    await pruned(house)
    async with house.db.transaction(house.tenant_id) as session:
        (stone,) = (await session.scalars(select(Tombstone))).all()
        assert stone.hash == tombstone("ve_1", ENDED.call_id)
        assert abs(stone.until - datetime.now(UTC) - timedelta(days=400)) < timedelta(minutes=1)
        stone.until = PAST
    assert await prune(house) == Forgotten(tombstones=1)
    assert not (await house.take(ENDED)).duplicate
