"""What nobody will send any more ends, and says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from gateway.connections.tables import Connection
from gateway.db.engine import utc_now
from gateway.outbox.overdue import end_overdue
from gateway.outbox.tables import Delivery
from tests.factories import Books, books, promise

PAST = timedelta(seconds=-1)


@pytest.fixture
async def book(database_url: str) -> AsyncIterator[Books]:
    async with books(database_url) as made:
        yield made


async def ended(book: Books) -> dict[str, tuple[str, str | None]]:
    async with book.db.transaction() as session:
        await end_overdue(session)
    async with book.db.reading() as session:
        return {row.id: (row.state, row.code) for row in await session.scalars(select(Delivery))}


async def test_what_waited_too_long_is_a_dead_letter_and_holds_what_needs_it(book: Books) -> None:
    """The connection is paused, so no worker ever claims it: its lifetime ends all the same."""
    await book.plan(promise("dl_a"), lifetime=PAST)
    await book.plan(promise("dl_b", needs=("dl_a",)), promise("dl_c"))
    assert await ended(book) == {"dl_a": ("dead", "expired"), "dl_b": ("held", "needs"), "dl_c": ("pending", None)}


async def test_what_may_have_been_sent_is_still_looked_for(book: Books) -> None:
    await book.plan(promise("dl_a"), lifetime=PAST)
    async with book.db.transaction() as session:
        await session.execute(update(Delivery).values(state="in_flight", looking=True))
    assert await ended(book) == {"dl_a": ("in_flight", None)}


async def test_a_disconnected_crm_gets_nothing_more(book: Books) -> None:
    await book.plan(promise("dl_a"), promise("dl_b"))
    async with book.db.transaction() as session:
        await session.execute(update(Delivery).where(Delivery.id == "dl_b").values(state="in_flight", looking=True))
        await session.execute(update(Connection).values(disconnected_at=utc_now()))
    assert await ended(book) == {"dl_a": ("cancelled", "disconnected"), "dl_b": ("uncertain", "uncertain")}
