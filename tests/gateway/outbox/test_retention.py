"""What deliveries wrote, and what was tried, is forgotten in time, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from gateway.db.base import new_id
from gateway.db.engine import utc_now
from gateway.delivery import dead_letters
from gateway.delivery.dead_letters import FORGOTTEN, NotNow
from gateway.delivery.routes import shown
from gateway.outbox.retention import ATTEMPT_KEPT, prune_attempts, prune_payloads
from gateway.outbox.states import OPEN, State
from gateway.outbox.tables import Attempt, Delivery
from tests.factories import WEEK, Books, books, promise

PAST, SOON = timedelta(seconds=-1), timedelta(days=1)


@pytest.fixture
async def book(database_url: str) -> AsyncIterator[Books]:
    async with books(database_url) as made:
        yield made


async def ended_as(book: Books, state: State, name: str, *, until: timedelta = PAST, **more: Any) -> None:
    await book.plan(promise(name), subject_index=b"somebody's hash.", people_until=utc_now() + until)
    async with book.db.transaction(book.tenant_id) as session:
        await session.execute(update(Delivery).where(Delivery.id == name).values(state=state, **more))


async def payloads_left(book: Books) -> dict[str, bool]:
    async with book.db.transaction() as session:
        await prune_payloads(session)
    async with book.db.reading() as session:
        rows = (await session.scalars(select(Delivery))).all()
    assert all((row.subject_index is None) == (row.payload is None) for row in rows)
    return {row.id: row.payload is not None for row in rows}


@pytest.mark.parametrize("state", State)
async def test_what_was_written_goes_once_it_has_ended(book: Books, state: State) -> None:
    await ended_as(book, state, "dl_a")
    assert await payloads_left(book) == {"dl_a": state in OPEN}


async def test_before_its_time_nothing_goes(book: Books) -> None:
    await ended_as(book, State.DELIVERED, "dl_a", until=SOON)
    assert await payloads_left(book) == {"dl_a": True}


async def test_at_most_so_many_go_at_once(book: Books) -> None:
    for number in range(3):
        await ended_as(book, State.DELIVERED, f"dl_{number}")
    counts = []
    for _ in range(3):
        async with book.db.transaction() as session:
            counts.append(await prune_payloads(session, limit=2))
    assert counts == [2, 1, 0]


@pytest.mark.parametrize(
    ("state", "resend"), [(State.DEAD, None), (State.HELD, None), (State.UNCERTAIN, None), (State.UNCERTAIN, True)]
)
async def test_what_is_forgotten_cannot_be_replayed_and_says_so(book: Books, state: State, resend: bool | None) -> None:
    await ended_as(book, state, "dl_a", code="rejected")
    await payloads_left(book)
    async with book.db.transaction(book.tenant_id) as session:
        row = await dead_letters.delivery(session, book.tenant_id, "dl_a")
        assert row is not None
        assert shown(row, []).mend == FORGOTTEN
        with pytest.raises(NotNow, match="no longer kept"):
            await dead_letters.replay(session, book.tenant_id, "dl_a", lifetime=WEEK, resend=resend)
        assert await dead_letters.replay_by_code(session, book.tenant_id, "rejected", lifetime=WEEK) == 0


async def test_somebody_may_still_say_that_it_arrived(book: Books) -> None:
    await ended_as(book, State.UNCERTAIN, "dl_a")
    await payloads_left(book)
    async with book.db.transaction(book.tenant_id) as session:
        row = await dead_letters.replay(session, book.tenant_id, "dl_a", lifetime=WEEK, resend=False)
        assert row is not None
        assert row.state == State.DELIVERED


async def test_a_forgotten_one_stays_held_when_what_it_needs_is_replayed(book: Books) -> None:
    await book.plan(promise("dl_a"), promise("dl_b", needs=("dl_a",)))
    async with book.db.transaction(book.tenant_id) as session:
        await session.execute(update(Delivery).where(Delivery.id == "dl_a").values(state=State.DEAD))
        held = {"state": State.HELD, "code": "needs", "payload": None}
        await session.execute(update(Delivery).where(Delivery.id == "dl_b").values(**held))
        await dead_letters.replay(session, book.tenant_id, "dl_a", lifetime=WEEK)
    async with book.db.reading() as session:
        found = {row.id: row.state for row in await session.scalars(select(Delivery))}
    assert found == {"dl_a": "pending", "dl_b": "held"}


async def test_attempts_go_after_ninety_days(book: Books) -> None:
    await book.plan(promise("dl_a"))
    now = utc_now()
    async with book.db.transaction(book.tenant_id) as session:
        for at in (now - ATTEMPT_KEPT + timedelta(hours=1), now - ATTEMPT_KEPT - timedelta(hours=1)):
            session.add(
                Attempt(tenant_id=book.tenant_id, id=new_id("at"), delivery_id="dl_a", at=at, outcome="done", took_ms=1)
            )
    async with book.db.transaction() as session:
        assert await prune_attempts(session) == 1
    async with book.db.reading() as session:
        (left,) = (await session.scalars(select(Attempt))).all()
    assert left.at > now - ATTEMPT_KEPT
