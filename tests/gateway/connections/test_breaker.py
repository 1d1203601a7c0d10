"""A CRM account that is down is left alone, and found again."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import cast

import fakeredis
import pytest
import redis.asyncio as redis

from gateway import bell
from gateway.connections import breaker
from gateway.connections.breaker import IN_A_ROW, LEAST_FAILURES, Breakers
from gateway.settings import Settings
from tests.processes import until_async


@pytest.fixture(params=["redis", "embedded"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[redis.Redis]:
    if request.param == "redis":
        connected = redis.Redis.from_url(request.getfixturevalue("redis_url"))
    else:
        connected = cast(redis.Redis, fakeredis.FakeAsyncRedis())
    yield connected
    await connected.aclose()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits a test can wait for."""
    monkeypatch.setattr(breaker, "FIRST_WAIT", timedelta(milliseconds=60))
    monkeypatch.setattr(breaker, "TRY_LASTS", timedelta(milliseconds=400))


async def fail(breakers: Breakers, times: int = LEAST_FAILURES) -> None:
    for _ in range(times):
        await breakers.record("ac_1", False)


async def until_a_try(breakers: Breakers) -> None:
    await until_async("a try is allowed", lambda: breakers.allows("ac_1"), timedelta(seconds=5))


async def test_an_account_nobody_knows_may_be_asked(store: redis.Redis) -> None:
    assert await Breakers(store).allows("ac_1")


async def test_some_failures_in_a_row_open_it_for_every_process(store: redis.Redis) -> None:
    here, there = Breakers(store), Breakers(store)
    await fail(here, LEAST_FAILURES - 1)
    assert await there.allows("ac_1")
    await fail(here, 1)
    assert not await there.allows("ac_1")
    assert await there.allows("ac_2")


async def test_failures_among_successes_do_not_open_it(store: redis.Redis) -> None:
    breakers = Breakers(store)
    for _ in range(40):
        await breakers.record("ac_1", True)
        await breakers.record("ac_1", False)
    assert await breakers.allows("ac_1")


async def test_a_busy_account_that_goes_down_is_noticed_at_once(store: redis.Redis) -> None:
    """Hundreds of good answers of the last minute must not cost hundreds of requests into the void."""
    breakers = Breakers(store)
    for _ in range(500):
        await breakers.record("ac_1", True)
    await fail(breakers, IN_A_ROW)
    assert not await breakers.allows("ac_1")


@pytest.mark.usefixtures("quick")
async def test_when_its_time_has_come_one_try_passes_and_success_closes_it(store: redis.Redis) -> None:
    here, there = Breakers(store), Breakers(store)
    await fail(here)
    await until_a_try(here)
    assert not await there.allows("ac_1")
    assert not await here.allows("ac_1")
    await here.record("ac_1", True)
    assert await there.allows("ac_1")
    assert await there.allows("ac_1")


@pytest.mark.usefixtures("quick")
async def test_a_failed_try_opens_it_for_longer(store: redis.Redis) -> None:
    breakers = Breakers(store)
    await fail(breakers)
    waits = []
    for _ in range(4):
        began = asyncio.get_running_loop().time()
        await until_a_try(breakers)
        waits.append(asyncio.get_running_loop().time() - began)
        await breakers.record("ac_1", False)
    assert waits[-1] > 2 * waits[0]


@pytest.mark.usefixtures("quick")
async def test_a_try_that_nobody_reports_is_given_up(store: redis.Redis) -> None:
    """The process that had it was killed."""
    killed, other = Breakers(store), Breakers(store)
    await fail(killed)
    await until_a_try(killed)
    await until_a_try(other)


@pytest.mark.usefixtures("quick")
async def test_late_failures_of_old_requests_do_not_prolong_it(store: redis.Redis) -> None:
    breakers = Breakers(store)
    await fail(breakers)
    await fail(breakers, 50)  # all that were on their way when it opened
    async with asyncio.timeout(0.5):
        await until_a_try(breakers)


async def test_without_redis_it_paces_instead_of_stopping() -> None:
    away = bell.connect(Settings(redis_url="redis://127.0.0.1:1/0"))
    breakers = Breakers(away)
    assert await breakers.allows("ac_1")
    assert not await breakers.allows("ac_1")
    assert await breakers.allows("ac_2")
    await breakers.record("ac_1", False)
    await until_a_try(breakers)
    await away.aclose()
