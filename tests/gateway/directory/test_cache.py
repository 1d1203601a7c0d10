"""Number → caller in Redis: what is kept, for whom, for how long, and what a stranger in Redis can do with it."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.bell import connect
from gateway.crypto import Purpose, new_key
from gateway.db.base import TenantId
from gateway.directory.cache import CallerCache, Claim, Together, claim_key, opened, value_key, written_key
from gateway.directory.reach import Reach, RedisAway
from gateway.settings import Settings
from gateway.tenants.keys import TenantKeys
from tests.processes import until_async
from tests.servers import Redis as RedisServer

LEASE = timedelta(seconds=20)
KEPT = timedelta(minutes=15)


def tenant(name: str = "tn_a") -> TenantKeys:
    return TenantKeys(TenantId(name), {purpose: {1: new_key(name, purpose)} for purpose in Purpose})


@pytest.fixture(params=["real", "embedded"])
async def redis(request: pytest.FixtureRequest) -> AsyncIterator[Redis]:
    """A real server, and the in-process one of the embedded form: the same semantics."""
    url = request.getfixturevalue("redis_url") if request.param == "real" else ""
    connection = connect(Settings(redis_url=url))
    await connection.flushdb()
    yield connection
    await connection.aclose()


async def stored(cache: CallerCache, keys: TenantKeys, index: bytes, value: bytes, **more: Any) -> bool:
    assert (await cache.claim(keys, index, "t", lease=LEASE))[0] is Claim.OURS
    return await cache.keep(keys, index, "t", value, **{"at": time.time(), "kept": KEPT, **more})


async def test_what_is_kept_is_found_with_its_time(redis: Redis) -> None:
    cache, keys = CallerCache(Reach(redis)), tenant()
    index, at = keys.index("+41446681800"), time.time() - 30
    assert await stored(cache, keys, index, b"Jean", at=at)
    entry = await cache.get(keys, index)
    assert entry is not None
    assert entry.value == b"Jean"
    assert entry.at == pytest.approx(at, abs=0.002)
    assert 0 < await redis.pttl(value_key(keys.tenant_id, index)) <= KEPT.total_seconds() * 1000


async def test_no_number_and_no_person_is_readable_in_redis(redis: Redis) -> None:
    cache, keys = CallerCache(Reach(redis)), tenant()
    index = keys.index("+41446681800")
    await cache.note_written(keys, index, "cn_1/contact/7")
    await stored(cache, keys, index, b"Jean Dupont")
    for key in await redis.keys("*"):
        assert b"446681800" not in key
    assert b"Jean" not in (await redis.get(value_key(keys.tenant_id, index)) or b"")


async def test_a_value_opens_only_where_and_when_it_belongs(redis: Redis) -> None:
    """Whoever can write Redis must not put A's answer under B's number, into another tenant, or back after its time."""
    cache, keys, others = CallerCache(Reach(redis)), tenant(), tenant("tn_b")
    a, b = keys.index("+41446681800"), keys.index("+41446681801")
    await stored(cache, keys, a, b"Jean")
    value = await redis.get(value_key(keys.tenant_id, a))
    assert isinstance(value, bytes)
    await redis.set(value_key(keys.tenant_id, b), value)
    assert await cache.get(keys, b) is None
    await redis.set(value_key(others.tenant_id, others.index("+41446681800")), value)
    assert await cache.get(others, others.index("+41446681800")) is None
    younger = (int(time.time() * 1000) + 60_000).to_bytes(8)
    await redis.set(value_key(keys.tenant_id, a), younger + value[8:])
    assert await cache.get(keys, a) is None
    longer = value[:8] + (int(time.time() * 1000) + 3_600_000).to_bytes(8)
    await redis.set(value_key(keys.tenant_id, a), longer + value[16:])
    assert await cache.get(keys, a) is None
    for broken in (b"", b"x", value[:20]):
        assert opened(keys, value_key(keys.tenant_id, a), broken) is None


async def test_a_value_beyond_its_time_is_nothing(redis: Redis) -> None:
    cache, keys = CallerCache(Reach(redis)), tenant()
    index = keys.index("+41446681800")
    await stored(cache, keys, index, b"Jean", at=time.time() - 1000, kept=timedelta(seconds=999))
    assert await cache.get(keys, index) is None


async def test_one_of_all_processes_searches(redis: Redis) -> None:
    here, there, keys = CallerCache(Reach(redis)), CallerCache(Reach(redis)), tenant()
    index = keys.index("+41446681800")
    assert (await here.claim(keys, index, "here", lease=LEASE))[0] is Claim.OURS
    assert (await there.claim(keys, index, "there", lease=LEASE))[0] is Claim.THEIRS
    await there.release(keys.tenant_id, index, "there")  # not theirs to give back
    assert (await there.claim(keys, index, "there", lease=LEASE))[0] is Claim.THEIRS
    await here.release(keys.tenant_id, index, "here")
    assert (await there.claim(keys, index, "there", lease=LEASE))[0] is Claim.OURS
    await there.release(keys.tenant_id, index, "there", after=timedelta(seconds=2))
    assert (await here.claim(keys, index, "here", lease=LEASE))[0] is Claim.THEIRS
    assert 0 < await redis.pttl(claim_key(keys.tenant_id, index)) <= 2000


async def test_a_search_that_was_overtaken_stores_nothing(redis: Redis) -> None:
    """A contact was written while a search was under way: its "nobody" must not hide the contact for two minutes."""
    cache, keys = CallerCache(Reach(redis)), tenant()
    index = keys.index("+41446681800")
    await cache.claim(keys, index, "old", lease=LEASE)
    assert await cache.forget(keys.tenant_id, index) is False
    assert await cache.keep(keys, index, "old", b"nobody", at=time.time(), kept=KEPT) is False
    assert await cache.get(keys, index) is None
    assert await stored(cache, keys, index, b"Jean")
    assert await cache.forget(keys.tenant_id, index) is True
    assert await cache.get(keys, index) is None


async def test_our_own_writes_are_remembered_and_cannot_be_forged(redis: Redis) -> None:
    cache, keys = CallerCache(Reach(redis)), tenant()
    a, b = keys.index("+41446681800"), keys.index("+41446681801")
    await cache.note_written(keys, a, "cn_1/contact/7")
    await cache.note_written(keys, a, "cn_2/contact/8")
    assert sorted(await cache.written(keys, a)) == ["cn_1/contact/7", "cn_2/contact/8"]
    fields: Any = redis.hgetall(written_key(keys.tenant_id, a))
    proof = (await fields)[b"cn_1/contact/7"]
    forged: Any = redis.hset(
        written_key(keys.tenant_id, b), mapping={"cn_1/contact/7": proof, "cn_1/contact/9": b"no proof"}
    )
    await forged
    assert await cache.written(keys, b) == []
    assert await redis.pttl(written_key(keys.tenant_id, a)) > 0


class Counting:
    """A Redis that counts its MGETs, and hangs or fails on demand."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.fails: Exception | None = None
        self.hangs = False

    def client(self) -> "Counting":
        return self

    async def __aenter__(self) -> "Counting":
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def mget(self, keys: list[str]) -> list[bytes | None]:
        self.asked.append(keys)
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails is not None:
            raise self.fails
        return [key.encode() for key in keys]


async def test_what_one_turn_asks_is_one_read() -> None:
    redis: Any = Counting()
    together = Together(Reach(redis))
    answers = await asyncio.gather(*(together.read(f"k{n % 3}", "marker") for n in range(30)))
    assert answers == [[f"k{n % 3}".encode(), b"marker"] for n in range(30)]
    assert [sorted(keys) for keys in redis.asked] == [["k0", "k1", "k2", "marker"]]


async def test_everybody_of_one_tenant_is_forgotten_and_nobody_else(redis: Redis) -> None:
    """A CRM was disconnected: what it said about people is no longer ours to say."""
    cache, mine, theirs = CallerCache(Reach(redis)), tenant("tn_a"), tenant("tn_ab")
    numbers = [mine.index(f"+4144668{n:04}") for n in range(1200)]
    for index in numbers:
        await redis.set(value_key(mine.tenant_id, index), b"x")
    other = theirs.index("+41446681800")
    await stored(cache, theirs, other, b"Jean")
    await cache.note_written(mine, numbers[0], "cn_2/contact/7")  # of a CRM that stays
    await cache.forget_everyone(mine.tenant_id)
    assert [key async for key in redis.scan_iter(match="gw:caller:tn_a:*")] == []
    assert await cache.get(theirs, other) is not None
    assert await cache.written(mine, numbers[0]) == ["cn_2/contact/7"]


async def test_a_search_that_was_under_way_when_all_were_forgotten_stores_nothing(redis: Redis) -> None:
    """It may have asked the CRM that was taken away."""
    cache, keys = CallerCache(Reach(redis)), tenant()
    index = keys.index("+41446681800")
    assert (await cache.claim(keys, index, "t", lease=LEASE))[0] is Claim.OURS
    await cache.forget_everyone(keys.tenant_id)
    assert not await cache.keep(keys, index, "t", b"Jean", at=time.time(), kept=KEPT)
    assert await cache.get(keys, index) is None


async def test_one_caller_who_hangs_up_takes_nothing_from_the_others() -> None:
    redis: Any = Counting()
    together = Together(Reach(redis))
    gone, stays = together.read("a"), together.read("a")
    gone.cancel()
    assert await stays == [b"a"]


async def test_a_redis_that_is_away_costs_one_wait_and_no_error() -> None:
    """The rest of the budget belongs to the CRM; nobody queues behind a dead cache."""
    redis: Any = Counting()
    redis.fails = RedisError("down")
    together = Together(Reach(redis))
    assert await together.read("a") is None
    assert await together.read("b") is None
    assert len(redis.asked) == 1


async def test_a_redis_that_hangs_is_left_after_its_patience() -> None:
    redis: Any = Counting()
    redis.hangs = True
    together = Together(Reach(redis, patience=timedelta(milliseconds=10)))
    async with asyncio.timeout(5):
        assert await together.read("a") is None
        assert await together.read("a") is None
        assert len(redis.asked) == 2
        assert await together.read("a") is None
    assert len(redis.asked) == 2  # one silence may be a busy moment, two are a Redis that hangs


async def test_a_real_redis_may_go_and_come_back(own_redis: RedisServer) -> None:
    redis = connect(Settings(redis_url=own_redis.url))
    cache, keys = CallerCache(Reach(redis)), tenant()
    index = keys.index("+41446681800")
    await stored(cache, keys, index, b"Jean")
    own_redis.stop()
    assert await cache.get(keys, index) is None
    assert (await cache.claim(keys, index, "t", lease=LEASE))[0] is Claim.REDIS_AWAY
    assert await cache.keep(keys, index, "t", b"Jean", at=time.time(), kept=KEPT)
    assert await cache.written(keys, index) == []
    await cache.release(keys.tenant_id, index, "t")
    own_redis.start()

    async def kept_again() -> bool:
        if (await cache.claim(keys, index, "u", lease=LEASE))[0] is Claim.OURS:
            await cache.keep(keys, index, "u", b"Jean", at=time.time(), kept=KEPT)
        return await cache.get(keys, index) is not None

    await until_async("the cache is used again", kept_again)
    await redis.aclose()


async def test_who_waits_for_redis_waits_only_so_long() -> None:
    reach = Reach(Redis(), patience=timedelta(milliseconds=10))
    with pytest.raises(RedisAway):
        await reach.within(lambda: asyncio.Event().wait())
    assert not reach.away
    assert await reach.within(lambda: asyncio.sleep(0, "answer")) == "answer"

    async def broken() -> None:
        raise RedisError("gone")

    with pytest.raises(RedisAway):
        await reach.within(broken)
    with pytest.raises(RedisAway):
        await reach.within(lambda: asyncio.sleep(0))


async def test_a_redis_that_was_never_there_is_away() -> None:
    cache, keys = CallerCache(Reach(connect(Settings(redis_url="redis://127.0.0.1:1/0")))), tenant()
    assert await cache.get(keys, keys.index("+41446681800")) is None
    assert (await cache.claim(keys, keys.index("+41446681800"), "t", lease=LEASE))[0] is Claim.REDIS_AWAY
