"""The worker forgets everything whose time is up; what fails stops nothing else. On both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from gateway import worker
from gateway.db import idempotency
from gateway.db.engine import utc_now
from gateway.db.tables import IdempotentAnswer
from gateway.tenants.tables import ConsoleLink, Session
from tests.factories import Books, books

PAST, SOON = timedelta(minutes=-1), timedelta(minutes=1)


@pytest.fixture
async def book(database_url: str) -> AsyncIterator[Books]:
    async with books(database_url) as made:
        yield made


async def kept(book: Books, *, ends: timedelta, name: bytes) -> None:
    """An answer, a session and a link that end so."""
    now = utc_now()
    async with book.db.transaction(book.tenant_id) as session:
        session.add_all(
            [
                IdempotentAnswer(
                    tenant_id=book.tenant_id, principal="ak_1", route="POST /v1/calls", key_sha256=name, body_sha256=b"",
                    at=now, expires_at=now + ends,
                ),
                Session(
                    cookie_sha256=name, tenant_id=book.tenant_id, principal="ak_1", scopes=[], created_at=now, seen_at=now,
                    ends_at=now + ends,
                ),
                ConsoleLink(link_sha256=name, tenant_id=book.tenant_id, scopes=[], expires_at=now + ends),
            ]
        )  # fmt: skip


async def left(book: Books) -> list[int]:
    async with book.db.reading() as session:
        return [
            await session.scalar(select(func.count()).select_from(table)) or 0
            for table in (IdempotentAnswer, Session, ConsoleLink)
        ]


async def test_answers_sessions_and_links_go_past_their_time(book: Books) -> None:
    await kept(book, ends=PAST, name=b"old")
    await kept(book, ends=SOON, name=b"new")
    await worker.forget(book.db)
    assert await left(book) == [1, 1, 1]


async def test_what_fails_stops_nothing_else(book: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_: Any) -> int:
        raise OSError("the disk is full")

    monkeypatch.setattr(worker, "FORGETTING", (broken, *worker.FORGETTING))
    await kept(book, ends=PAST, name=b"old")
    await worker.forget(book.db)
    assert await left(book) == [0, 0, 0]


async def test_answers_go_a_bounded_number_at_once(book: Books) -> None:
    for number in range(3):
        await kept(book, ends=PAST, name=b"%d" % number)
    async with book.db.transaction() as session:
        assert await idempotency.prune_all(session, limit=2) == 2
    assert (await left(book))[0] == 1
