"""What is about people goes when its time is up, on both databases."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import update

from gateway.calls.intake import CALL_KEPT
from gateway.calls.retention import Forgotten, prune
from gateway.calls.tables import Call, CallEvent
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
