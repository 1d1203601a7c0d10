"""How many different numbers one asker may try in an hour."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gateway.bell import connect
from gateway.db.base import TenantId
from gateway.directory.reach import Reach
from gateway.lookup.caps import NumberCaps
from gateway.settings import Settings

TENANT, OTHER = TenantId("tn_a"), TenantId("tn_b")


@pytest.fixture(params=["real", "embedded"])
async def redis(request: pytest.FixtureRequest) -> AsyncIterator[Redis]:
    url = request.getfixturevalue("redis_url") if request.param == "real" else ""
    connection = connect(Settings(redis_url=url))
    await connection.flushdb()
    yield connection
    await connection.aclose()


async def test_the_same_number_counts_once_and_one_more_is_refused(redis: Redis) -> None:
    caps = NumberCaps(Reach(redis))
    spent = [await caps.spend(TENANT, "ve_1", number, most=2) for number in (b"a", b"a", b"b", b"c", b"a", b"c")]
    assert spent == [True, True, True, False, True, False]
    assert await caps.spend(TENANT, "ve_2", b"c", most=2)
    assert await caps.spend(OTHER, "ve_1", b"c", most=2)


async def test_unknown_numbers_are_counted_when_they_turn_out_so(redis: Redis) -> None:
    caps = NumberCaps(Reach(redis))
    assert await caps.may_try(TENANT, "ak_1", b"a", most=1)
    await caps.note_unknown(TENANT, "ak_1", b"a", most=1)
    assert not await caps.may_try(TENANT, "ak_1", b"b", most=1)
    assert await caps.may_try(TENANT, "ak_1", b"a", most=1)
    assert await caps.may_try(TENANT, "ak_2", b"b", most=1)


async def test_the_count_ends_by_itself(redis: Redis) -> None:
    caps = NumberCaps(Reach(redis))
    await caps.spend(TENANT, "ve_1", b"a", most=2)
    (key,) = await redis.keys("gw:numbers:*")
    assert 0 < await redis.ttl(key) <= 3660


async def test_without_redis_nobody_is_refused() -> None:
    caps = NumberCaps(Reach(connect(Settings(redis_url="redis://127.0.0.1:1/0"))))
    assert await caps.may_try(TENANT, "ak_1", b"a", most=0)
    assert await caps.spend(TENANT, "ak_1", b"a", most=0)
