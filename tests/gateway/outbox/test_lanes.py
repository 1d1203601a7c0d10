"""Lanes on both databases: plan, claim, intend, record, fence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from connectors.crm.records import Kind, Later, LogCall, Record, Ref
from gateway.db.engine import utc_now
from gateway.outbox import payloads
from gateway.outbox.claim import PER_LANE, HeldLane, claim
from gateway.outbox.queries import due_connections
from gateway.outbox.record import LaneResult, Result, record
from gateway.outbox.states import State
from gateway.outbox.tables import Attempt, Delivery, Lane
from tests.factories import Books, books, log_call, promise, upsert_contact

LEASE = timedelta(seconds=60)


@pytest.fixture
async def book(database_url: str) -> AsyncIterator[Books]:
    async with books(database_url) as made:
        yield made


async def hold(book: Books, *, most: int = 10, lease: timedelta = LEASE) -> list[HeldLane]:
    async with book.db.transaction(book.tenant_id) as session:
        return await claim(session, book.tenant_id, book.connection_id, most=most, lease=lease)


async def keep(book: Books, lane: HeldLane, *results: Result, met: Ref | None = None) -> int:
    async with book.db.transaction(book.tenant_id) as session:
        return (await record(session, book.tenant_id, [LaneResult(lane=lane, results=results, met=met)])).lanes


async def states(book: Books) -> dict[str, str]:
    async with book.db.reading() as session:
        rows = await session.execute(select(Delivery.id, Delivery.state).order_by(Delivery.seq))
        return {row.id: row.state for row in rows}


async def let_lease_run_out(book: Books) -> None:
    """As if the lease and every settle time had passed."""
    async with book.db.transaction() as session:
        past = utc_now() - timedelta(seconds=1)
        await session.execute(update(Lane).where(Lane.lease_until.is_not(None)).values(lease_until=past, ready_at=past))
        await session.execute(update(Delivery).where(Delivery.state == "in_flight").values(due_at=past))


def delivered(name: str, record_id: str = "1", kind: Kind = Kind.CALL) -> Result:
    return Result(
        delivery_id=name, state=State.DELIVERED, counts=True, record=Record(kind=kind, id=record_id), outcome="delivered", status=201
    )  # fmt: skip


async def test_planning_twice_plans_nothing_new(book: Books) -> None:
    assert await book.plan(promise("dl_a"), promise("dl_b")) == ["dl_a", "dl_b"]
    assert await book.plan(promise("dl_a"), promise("dl_b")) == []
    assert await states(book) == {"dl_a": "pending", "dl_b": "pending"}


async def test_a_claim_commits_the_intent_to_send(book: Books) -> None:
    """A worker that dies after this leaves rows that say: it may have been sent."""
    await book.plan(promise("dl_a"))
    (lane,) = await hold(book)
    assert [one.id for one in lane.deliveries] == ["dl_a"]
    assert not lane.deliveries[0].looking
    assert await states(book) == {"dl_a": "in_flight"}


async def test_a_held_lane_is_not_claimed_again(book: Books) -> None:
    await book.plan(promise("dl_a"))
    assert len(await hold(book)) == 1
    assert await hold(book) == []


async def test_planning_into_a_held_lane_does_not_shorten_its_lease(book: Books) -> None:
    """Two workers in one lane would write the same person twice."""
    await book.plan(promise("dl_a"))
    (lane,) = await hold(book)
    await book.plan(promise("dl_b"))
    assert await hold(book) == []
    await keep(book, lane, delivered("dl_a"))
    (again,) = await hold(book)
    assert [one.id for one in again.deliveries] == ["dl_b"]


async def test_what_a_dead_worker_held_is_looked_for(book: Books) -> None:
    await book.plan(promise("dl_a"), promise("dl_b"))
    await hold(book)
    await let_lease_run_out(book)
    (again,) = await hold(book)
    assert [(one.id, one.looking, one.claims) for one in again.deliveries] == [("dl_a", True, 1), ("dl_b", True, 1)]


async def test_looking_waits_for_lease_and_settle(book: Books) -> None:
    """Right after a crash "not found" is not believed: the CRM may still be committing."""
    await book.plan(promise("dl_a", settle=timedelta(hours=1)))
    await hold(book)
    async with book.db.transaction() as session:
        past = utc_now() - timedelta(seconds=1)
        await session.execute(update(Lane).values(lease_until=past, ready_at=past))
    (lane,) = await hold(book)
    assert lane.deliveries == ()
    await keep(book, lane)
    assert await hold(book) == []


async def test_a_worker_that_outlived_its_lease_records_nothing(book: Books) -> None:
    await book.plan(promise("dl_a"))
    (old,) = await hold(book)
    await let_lease_run_out(book)
    (new,) = await hold(book)
    assert new.fence == old.fence + 1
    assert await keep(book, old, delivered("dl_a")) == 0
    assert await states(book) == {"dl_a": "in_flight"}
    assert await keep(book, new, delivered("dl_a")) == 1
    assert await states(book) == {"dl_a": "delivered"}


async def test_one_that_needs_another_waits_and_then_gets_its_record(book: Books) -> None:
    call = log_call("dl_b")
    await book.plan(
        promise("dl_a", upsert_contact("dl_a"), record_key="contact"),
        promise("dl_b", type(call)(key="dl_b", subject="s", call=call.call, about=(Later(Kind.CONTACT, "dl_a"),)), needs=("dl_a",)),
    )  # fmt: skip
    assert await states(book) == {"dl_a": "pending", "dl_b": "waiting"}
    (lane,) = await hold(book)
    assert [one.id for one in lane.deliveries] == ["dl_a"]
    await keep(book, lane, delivered("dl_a", "77", Kind.CONTACT), met=Ref(Kind.CONTACT, "77"))
    assert await states(book) == {"dl_a": "delivered", "dl_b": "pending"}
    (lane,) = await hold(book)
    assert lane.left == {"dl_a": Ref(Kind.CONTACT, "77")}
    assert lane.person == Ref(Kind.CONTACT, "77")
    write = payloads.read(book.keys, "dl_b", lane.deliveries[0].v, lane.deliveries[0].payload)
    whole = payloads.resolved(write, left=lane.left, person=lane.person)
    assert isinstance(whole, LogCall)
    assert whole.about == (Ref(Kind.CONTACT, "77"),)


async def test_what_needs_a_dead_one_is_held(book: Books) -> None:
    await book.plan(promise("dl_a"), promise("dl_b", needs=("dl_a",)), promise("dl_c"))
    (lane,) = await hold(book)
    dead = Result(delivery_id="dl_a", state=State.DEAD, code="rejected", reason="no", outcome="rejected")
    await keep(book, lane, dead, delivered("dl_c"))
    assert await states(book) == {"dl_a": "dead", "dl_b": "held", "dl_c": "delivered"}


async def test_a_retry_does_not_hold_up_other_records(book: Books) -> None:
    await book.plan(promise("dl_a", record_key="deal"), promise("dl_b", record_key="task"))
    (lane,) = await hold(book)
    later = Result(delivery_id="dl_a", state=State.PENDING, wait=timedelta(hours=1), waited=True, outcome="unavailable")
    await keep(book, lane, later, Result(delivery_id="dl_b", state=State.PENDING))
    (lane,) = await hold(book)
    assert [one.id for one in lane.deliveries] == ["dl_b"]


async def test_a_lane_of_many_gives_a_few_at_a_time(book: Books) -> None:
    await book.plan(*(promise(f"dl_{n:02}") for n in range(20)))
    (lane,) = await hold(book)
    assert [one.id for one in lane.deliveries] == [f"dl_{n:02}" for n in range(PER_LANE)]


async def test_a_blind_one_is_claimed_alone(book: Books) -> None:
    """After a crash all we know of a blind one is that it was meant to go out: the fewer, the better."""
    await book.plan(promise("dl_a", blind=True), promise("dl_b"), promise("dl_c", blind=True))
    (lane,) = await hold(book)
    assert [one.id for one in lane.deliveries] == ["dl_a"]
    await keep(book, lane, delivered("dl_a"))
    (lane,) = await hold(book)
    assert [one.id for one in lane.deliveries] == ["dl_b"]


async def test_attempts_are_rows(book: Books) -> None:
    await book.plan(promise("dl_a"))
    (lane,) = await hold(book)
    put_off = Result(
        delivery_id="dl_a", state=State.PENDING, waited=True, outcome="rate_limited", status=429, reason="slow down"
    )
    await keep(book, lane, put_off)
    (lane,) = await hold(book)
    assert (lane.deliveries[0].attempts, lane.deliveries[0].waits) == (0, 1)
    await keep(book, lane, delivered("dl_a"))
    async with book.db.reading() as session:
        rows = (await session.scalars(select(Attempt).order_by(Attempt.id))).all()
        assert [(row.outcome, row.status) for row in rows] == [("rate_limited", 429), ("delivered", 201)]
        one = await session.get_one(Delivery, (book.tenant_id, "dl_a"))
        assert (one.attempts, one.record_id, one.record_kind) == (1, "1", "call")


async def test_the_relay_sees_who_is_due(book: Books) -> None:
    async def due() -> list[str]:
        async with book.db.reading() as session:
            return list(await due_connections(session))

    assert await due() == []
    await book.plan(promise("dl_a"))
    assert await due() == [book.connection_id]
    (lane,) = await hold(book)
    assert await due() == []
    await keep(book, lane, delivered("dl_a"))
    assert await due() == []


async def test_a_payload_moved_to_another_delivery_does_not_open(book: Books) -> None:
    await book.plan(promise("dl_a"))
    (lane,) = await hold(book)
    with pytest.raises(Exception, match="sealed elsewhere"):
        payloads.read(book.keys, "dl_b", 1, lane.deliveries[0].payload)
