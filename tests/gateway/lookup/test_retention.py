"""Who looked whom up is forgotten when its time is over, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import select

from gateway.db.base import TenantId, new_id
from gateway.db.engine import utc_now
from gateway.lookup.retention import prune
from gateway.lookup.tables import Lookup
from tests.factories import Books, books, make_tenant


@pytest.fixture
async def book(database_url: str) -> AsyncIterator[Books]:
    async with books(database_url) as made:
        yield made


async def looked_up(book: Books, tenant_id: TenantId, *, kept: timedelta) -> str:
    name, now = new_id("lk"), utc_now()
    async with book.db.transaction(tenant_id) as session:
        session.add(
            Lookup(
                tenant_id=tenant_id, id=name, asked_by="ak_1", assurance="key", status="known", source="cache", records=[],
                took_us=900, at=now, kept_until=now + kept,
            )
        )  # fmt: skip
    return name


async def left(book: Books, **more: int) -> tuple[int, set[str]]:
    async with book.db.transaction() as session:
        gone = await prune(session, **more)
    async with book.db.reading() as session:
        return gone, set(await session.scalars(select(Lookup.id)))


async def test_rows_of_every_tenant_go_when_their_time_is_over(book: Books) -> None:
    other = await make_tenant(book.db, book.keyring, "Other SA")
    await looked_up(book, book.tenant_id, kept=timedelta(seconds=-1))
    await looked_up(book, other, kept=timedelta(seconds=-1))
    stays = await looked_up(book, other, kept=timedelta(days=1))
    assert await left(book) == (2, {stays})
    assert await left(book) == (0, {stays})


async def test_at_most_so_many_go_at_once(book: Books) -> None:
    for _ in range(3):
        await looked_up(book, book.tenant_id, kept=timedelta(seconds=-1))
    assert (await left(book, limit=2))[0] == 2
    assert await left(book, limit=2) == (1, set())
