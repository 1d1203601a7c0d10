"""Why a rule decided as it did is forgotten with the call's people; what it decided stays. On both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from gateway.calls.tables import Call
from gateway.db.engine import utc_now
from gateway.outbox.tables import Delivery
from gateway.rulesets import queries
from gateway.rulesets.queries import FORGOTTEN
from gateway.rulesets.retention import prune
from gateway.rulesets.tables import RuleDecision
from tests.factories import Books, books
from tests.gateway.rulesets.test_run import TALKED, call, go


@pytest.fixture
async def book(database_url: str) -> AsyncIterator[Books]:
    async with books(database_url) as made:
        yield made


async def test_reasons_and_payloads_have_the_time_of_the_calls_people(book: Books) -> None:
    call_id = await call(book, TALKED)
    await go(book, call_id)
    async with book.db.reading() as session:
        until = (await session.scalars(select(Call.people_until))).one()
        assert set(await session.scalars(select(RuleDecision.because_until))) == {until}
        assert set(await session.scalars(select(Delivery.people_until))) == {until}


async def test_the_reason_goes_and_the_outcome_stays(book: Books) -> None:
    call_id = await call(book, TALKED)
    await go(book, call_id)
    async with book.db.transaction() as session:
        assert await prune(session) == 0
        before = await queries.decisions(session, book.tenant_id, call_id, keys=book.keys)
        await session.execute(update(RuleDecision).values(because_until=utc_now() - timedelta(seconds=1)))
    async with book.db.transaction() as session:
        assert await prune(session, limit=1) == 1
        assert await prune(session) == len(before) - 1
        assert await prune(session) == 0
    async with book.db.reading() as session:
        after = await queries.decisions(session, book.tenant_id, call_id, keys=book.keys)
    assert [one | {"because": FORGOTTEN} for one in before] == after
    assert FORGOTTEN not in {one["because"] for one in before}
