"""First events of new calls go to PostgreSQL in one trip; everything else is left to `store`, and comes to the same."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from connectors.voice.events import CallEvent
from gateway import schema
from gateway.calls import batches, fresh
from gateway.calls.store import Prepared, Taken, tombstone
from gateway.calls.tables import Tombstone
from gateway.db.engine import utc_now
from tests.gateway.calls.house import House, event, opened
from tests.servers import Postgres


@pytest.fixture
async def house(postgres_url: str) -> AsyncIterator[House]:
    async with opened(postgres_url) as here:
        yield here


async def prepared(house: House, *events: CallEvent) -> list[Prepared]:
    return [await house.intake.prepare(house.tenant_id, "ve_1", one, raw=b"{}") for one in events]


async def test_new_calls_are_stored_and_known_ones_left(house: House) -> None:
    await house.take(event("ended", "c-known", ended=True))
    events = await prepared(house, event("ended", "c-new", ended=True), event("other", "c-known", ended=True))
    taken = await fresh.take(house.db, house.tenant_id, events)
    assert [one.external_id for one in taken.values()] == ["c-new"]
    assert taken[events[0].row["id"]].duplicate is False
    assert sorted(call.external_id for call, _ in await house.calls()) == ["c-known", "c-new"]
    assert len(await house.events()) == 2


async def test_what_was_pruned_stays_away(house: House) -> None:
    async with house.db.transaction(house.tenant_id) as session:
        until = utc_now() + timedelta(days=1)
        session.add(Tombstone(tenant_id=house.tenant_id, hash=tombstone("ve_1", "c-old"), until=until))
    events = await prepared(house, event("ended", "c-old", ended=True), event("ended", "c-new", ended=True))
    assert [one.external_id for one in (await fresh.take(house.db, house.tenant_id, events)).values()] == ["c-new"]
    assert [call.external_id for call, _ in await house.calls()] == ["c-new"]
    assert (await house.intake.commit(events[0])).duplicate
    assert [call.external_id for call, _ in await house.calls()] == ["c-new"]


async def test_an_event_that_came_before_makes_no_call(house: House) -> None:
    first, again = await prepared(house, event("ended", "c-1", ended=True), event("ended", "c-2", ended=True))
    await house.intake.commit(first)
    again.row["dedupe"] = first.row["dedupe"]
    assert await fresh.take(house.db, house.tenant_id, [again]) == {}
    assert [call.external_id for call, _ in await house.calls()] == ["c-1"]


async def test_the_same_prepared_event_twice_is_one_call_that_stays(house: House) -> None:
    """A commit whose answer was lost, tried again: its call must not be taken for one that outlived its event."""
    (one,) = await prepared(house, event("ended", "c-1", ended=True))
    assert not (await house.intake.commit(one)).duplicate
    assert (await house.intake.commit(one)).duplicate
    assert [call.external_id for call, _ in await house.calls()] == ["c-1"]


async def test_a_role_that_may_make_nothing_temporary_is_served_the_long_way(house: House) -> None:
    async with house.db.transaction() as session:
        name = await session.scalar(text("SELECT current_database()"))
        await session.execute(text(f'REVOKE TEMPORARY ON DATABASE "{name}" FROM PUBLIC'))
        await session.execute(text("CREATE ROLE plain_one"))
        await session.execute(text("GRANT ALL ON ALL TABLES IN SCHEMA public TO plain_one"))

    async def as_plain_one(driver: Any) -> None:
        await driver.execute("SET ROLE plain_one")

    try:
        async with house.db.driver() as driver:
            await as_plain_one(driver)
        assert not (await house.take(event("ended", "c-1", ended=True))).duplicate
        assert (await house.take(event("ended", "c-1", ended=True))).duplicate
    finally:
        async with house.db.driver() as driver:
            await driver.execute("RESET ROLE; DROP OWNED BY plain_one; DROP ROLE plain_one")
    assert [call.external_id for call, _ in await house.calls()] == ["c-1"]


async def test_many_of_one_moment_are_all_kept(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST", 7)
    events = [event(f"e-{n}", f"c-{n % 60}", ended=True, news={"summary": f"{n:03}"}) for n in range(180)]
    taken = await asyncio.gather(*(house.take(one) for one in events))
    assert len({one.call_id for one in taken}) == 60
    assert {news.summary for _, news in await house.calls()} == {f"{120 + n:03}" for n in range(60)}
    assert len(await house.events()) == 180


async def test_a_restarted_database_is_found_again(own_postgres: Postgres) -> None:
    await schema.migrate(own_postgres.url)
    async with opened(own_postgres.url) as house:
        events = [event("ended", f"c-{n}", ended=True) for n in range(30)]
        await asyncio.gather(*(house.take(one) for one in events[:10]))
        own_postgres.restart()
        refused = await asyncio.gather(*(house.take(one) for one in events[10:20]), return_exceptions=True)
        assert {type(one) for one in refused} <= {DBAPIError, Taken}
        kept = await asyncio.gather(*(house.take(one) for one in events[10:]))
        assert len({one.call_id for one in kept}) == 20
        assert len(await house.calls()) == 30
