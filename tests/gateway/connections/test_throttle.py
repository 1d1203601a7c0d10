"""The rate limits of an account: exact over any window, shared by all processes, the caller first."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import cast

import fakeredis
import pytest
import redis.asyncio as redis

from connectors.crm.port import Bucket, Left
from connectors.errors import RateLimited
from gateway import bell
from gateway.connections import throttle as module
from gateway.connections.throttle import ALONE, Purpose, Standing, Throttle
from gateway.settings import Settings

SECOND = timedelta(seconds=1)
SEARCH = Bucket(limit=5, per=timedelta(seconds=30), reserve=3)


@pytest.fixture(params=["redis", "embedded"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[redis.Redis]:
    """Real Redis, and the in-process one of the embedded form: one script must do for both."""
    if request.param == "redis":
        connected = redis.Redis.from_url(request.getfixturevalue("redis_url"))
    else:
        connected = cast(redis.Redis, fakeredis.FakeAsyncRedis())
    yield connected
    await connected.aclose()


async def spent(throttle: Throttle, bucket: Bucket, times: int, **more: object) -> int:
    """How many of `times` tries went through."""
    through = 0
    for _ in range(times):
        try:
            await throttle.spend("ac_1", bucket, "search", **more)  # type: ignore[arg-type]
        except RateLimited:
            continue
        through += 1
    return through


async def test_a_window_lets_through_what_the_vendor_allows_and_no_more(store: redis.Redis) -> None:
    assert await spent(Throttle(store), Bucket(limit=5, per=timedelta(seconds=30)), 9) == 5


async def test_processes_share_one_window(store: redis.Redis) -> None:
    bucket = Bucket(limit=40, per=timedelta(seconds=30))
    processes = [Throttle(store) for _ in range(4)]
    assert sum(await asyncio.gather(*(spent(one, bucket, 20) for one in processes))) == 40


async def test_a_reserve_is_kept_for_whoever_is_on_the_phone(store: redis.Redis) -> None:
    throttle = Throttle(store)
    assert await spent(throttle, SEARCH, 9, purpose="delivery") == 2
    assert await spent(throttle, SEARCH, 9, purpose="lookup") == 3
    assert await spent(throttle, SEARCH, 1, purpose="lookup") == 0


async def test_the_wait_is_until_the_oldest_request_leaves_the_window(store: redis.Redis) -> None:
    throttle, bucket = Throttle(store), Bucket(limit=2, per=timedelta(milliseconds=300))
    await spent(throttle, bucket, 2)
    with pytest.raises(RateLimited) as full:
        await throttle.spend("ac_1", bucket, "search")
    assert timedelta(0) < full.value.retry_after <= timedelta(milliseconds=300)
    assert full.value.status is None  # our own word, not the vendor's
    await asyncio.sleep(full.value.retry_after.total_seconds())
    await throttle.spend("ac_1", bucket, "search")


async def test_a_window_never_holds_more_than_its_limit_whenever_it_begins(store: redis.Redis) -> None:
    """A refilled bucket lets twice the limit through in one window; the vendor then answers 429."""
    throttle, per = Throttle(store), 0.25
    bucket = Bucket(limit=4, per=timedelta(seconds=per))
    loop = asyncio.get_running_loop()
    sent: list[float] = []
    until = loop.time() + 4 * per
    while loop.time() < until:
        try:
            await throttle.spend("ac_1", bucket, "search")
        except RateLimited as full:
            await asyncio.sleep(full.retry_after.total_seconds())
        else:
            sent.append(loop.time())
    assert len(sent) >= 12
    for begin in sent:
        assert sum(begin <= at < begin + per * 0.9 for at in sent) <= 4


async def test_several_at_once_are_taken_together_or_not_at_all(store: redis.Redis) -> None:
    throttle, bucket = Throttle(store), Bucket(limit=10, per=timedelta(seconds=30))
    await throttle.spend("ac_1", bucket, "search", 8)
    with pytest.raises(RateLimited):
        await throttle.spend("ac_1", bucket, "search", 3)
    await throttle.spend("ac_1", bucket, "search", 2)


async def test_accounts_and_limits_do_not_touch_each_other(store: redis.Redis) -> None:
    throttle, bucket = Throttle(store), Bucket(limit=1, per=timedelta(seconds=30))
    for account in ("ac_1", "ac_2"):
        for name in ("api", "search"):
            await throttle.spend(account, bucket, name)


async def test_a_429_stops_everybody_for_as_long_as_it_says(store: redis.Redis) -> None:
    here, there = Throttle(store), Throttle(store)
    await here.pause("ac_1", ["search"], timedelta(seconds=30))
    await here.pause("ac_1", ["search"], timedelta(seconds=1))  # an earlier, longer one stays
    with pytest.raises(RateLimited) as paused:
        await there.spend("ac_1", SEARCH, "search", purpose="lookup")
    assert timedelta(seconds=25) < paused.value.retry_after <= timedelta(seconds=30)
    await there.spend("ac_1", SEARCH, "api")


async def test_requests_of_others_count_once_the_vendor_has_told_us(store: redis.Redis) -> None:
    throttle, bucket = Throttle(store), Bucket(limit=10, per=timedelta(seconds=30))
    left = Left(bucket="search", limit=10, remaining=2, per=timedelta(seconds=30))
    assert throttle.is_news("ac_1", left)
    await throttle.observe("ac_1", [left])
    assert await spent(throttle, bucket, 9) == 2


async def test_our_own_requests_are_not_counted_twice(store: redis.Redis) -> None:
    throttle, bucket = Throttle(store), Bucket(limit=10, per=timedelta(seconds=30))
    assert await spent(throttle, bucket, 6) == 6
    await throttle.observe("ac_1", [Left(bucket="search", limit=10, remaining=4, per=timedelta(seconds=30))])
    assert await spent(throttle, bucket, 9) == 4


async def test_the_account_s_true_limit_replaces_what_we_assumed(store: redis.Redis) -> None:
    throttle, bucket = Throttle(store), Bucket(limit=10, per=timedelta(seconds=30))
    left = Left(bucket="search", limit=25, remaining=25, per=timedelta(seconds=30))
    await throttle.observe("ac_1", [left])
    assert await spent(throttle, bucket, 40) == 25
    assert not throttle.is_news("ac_1", left)


async def test_without_redis_it_goes_on_slowly() -> None:
    """Losing Redis must not turn into a storm of 429s at the customer's CRM, nor into silence."""
    away = bell.connect(Settings(redis_url="redis://127.0.0.1:1/0"))
    throttle = Throttle(away)
    assert await spent(throttle, Bucket(limit=ALONE * 3, per=timedelta(seconds=30)), 20) == 3
    await throttle.observe("ac_1", [Left(bucket="search", limit=5, remaining=1, per=SECOND)])
    await throttle.pause("ac_1", ["search"], SECOND)
    await away.aclose()


# ── what may be under way at once ───────────────────────────────────────────────────────────────────────────────────

AT_ONCE = Bucket(limit=4, per=timedelta(0), reserve=1)
LASTS = timedelta(seconds=30)


async def entered(throttle: Throttle, times: int, *, purpose: Purpose = "delivery", **more: timedelta) -> list[str]:
    """The slots that `times` tries were given."""
    slots = []
    for _ in range(times):
        with contextlib.suppress(RateLimited):
            slots.append(await throttle.enter("ac_1", AT_ONCE, "api", purpose=purpose, **{"lasts": LASTS, **more}))
    return slots


async def test_only_so_many_are_under_way_over_all_processes_and_one_slot_is_the_caller_s(
    store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zoho answers 429 to the sixth call at once, in its free edition, and says nothing about how long to wait."""
    monkeypatch.setattr(module, "SLOT_WAITS", dict.fromkeys(module.SLOT_WAITS, timedelta(0)))
    here, there = Throttle(store), Throttle(store)
    slots = await entered(here, 2) + await entered(there, 4)
    assert len(slots) == 3
    (mine,) = await entered(here, 2, purpose="lookup")
    await there.leave("ac_1", "api", mine)  # by whichever process
    await here.leave("ac_1", "api", slots[0])
    assert len(await entered(there, 3)) == 1


async def test_who_finds_no_slot_waits_a_moment_for_one(store: redis.Redis) -> None:
    throttle = Throttle(store)
    slots = await entered(throttle, 3)
    waiting = asyncio.create_task(throttle.enter("ac_1", AT_ONCE, "api", lasts=LASTS))
    await asyncio.sleep(0)
    await throttle.leave("ac_1", "api", slots[0])
    assert await waiting


async def test_a_slot_whose_holder_died_is_free_again_by_itself(store: redis.Redis) -> None:
    throttle = Throttle(store)
    assert len(await entered(throttle, 3, lasts=timedelta(milliseconds=60))) == 3
    assert len(await entered(throttle, 3)) == 3  # each waited for one


async def test_without_redis_a_process_keeps_to_a_part_of_the_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOT_WAITS", dict.fromkeys(module.SLOT_WAITS, timedelta(0)))
    away = bell.connect(Settings(redis_url="redis://127.0.0.1:1/0"))
    throttle = Throttle(away)
    (slot,) = await entered(throttle, 3)
    await throttle.leave("ac_1", "api", slot)
    assert len(await entered(throttle, 1)) == 1
    await throttle.check("ac_1", "api")
    assert await throttle.standing([("ac_1", "api", AT_ONCE)]) == {}
    await away.aclose()


# ── pauses ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_paused_limit_lets_nothing_in_of_any_kind(store: redis.Redis) -> None:
    throttle = Throttle(store)
    await throttle.check("ac_1", "api")
    await throttle.pause("ac_1", ["api"], timedelta(seconds=30))
    for ask in (
        throttle.check("ac_1", "api"),
        throttle.enter("ac_1", AT_ONCE, "api", lasts=LASTS),
        throttle.spend("ac_1", SEARCH, "api"),
    ):
        with pytest.raises(RateLimited) as paused:
            await ask
        assert paused.value.retry_after > timedelta(seconds=25)


async def test_who_is_refused_again_right_after_a_pause_waits_twice_as_long(store: redis.Redis) -> None:
    """Zoho and Pipedrive do not say how long; asking every second for an hour ends in a ban."""
    throttle, least = Throttle(store), timedelta(milliseconds=40)

    async def pause() -> float:
        await throttle.pause("ac_1", ["api"], least)
        await throttle.pause("ac_1", ["api"], least)  # a straggler that was under way says the same: counted once
        standing = (await throttle.standing([("ac_1", "api", SEARCH)]))["ac_1", "api"]
        assert standing.resumes_in is not None
        await asyncio.sleep(standing.resumes_in.total_seconds() + 0.002)
        return standing.resumes_in / least

    waits = [await pause() for _ in range(4)]
    assert [0.5 < wait <= most * 1.1 for wait, most in zip(waits, (1, 2, 4, 8), strict=True)] == [True] * 4
    assert waits[3] > 4


async def test_how_limits_stand_can_be_told(store: redis.Redis) -> None:
    throttle, window = Throttle(store), Bucket(limit=10, per=timedelta(seconds=30))
    await throttle.spend("ac_1", window, "burst", 3)
    await entered(throttle, 1)
    asked = [("ac_1", "burst", window), ("ac_1", "api", AT_ONCE), ("ac_2", "burst", window)]
    told = await throttle.standing(asked)
    assert told["ac_1", "burst"] == Standing("burst", 10, 7, timedelta(seconds=30))
    assert told["ac_1", "api"] == Standing("api", 4, 3, timedelta(0))
    assert told["ac_2", "burst"].remaining == 10
    await throttle.observe("ac_2", [Left(bucket="burst", limit=20, remaining=5, per=timedelta(seconds=30))])
    assert (await throttle.standing(asked))["ac_2", "burst"] == Standing("burst", 20, 5, timedelta(seconds=30))


async def test_the_reserve_is_a_part_of_the_true_limit(store: redis.Redis) -> None:
    """An account whose plan allows a tenth must not find all of it reserved."""
    throttle, bucket = Throttle(store), Bucket(limit=100, per=timedelta(seconds=30), reserve=20)
    await throttle.observe("ac_1", [Left(bucket="search", limit=10, remaining=10, per=timedelta(seconds=30))])
    assert await spent(throttle, bucket, 20) == 8
    assert await spent(throttle, bucket, 20, purpose="lookup") == 2
