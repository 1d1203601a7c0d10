"""What a disconnected CRM said is forgotten: at once, by every process."""

import time
from datetime import timedelta

import pytest
from redis.exceptions import RedisError

from gateway.connections import disconnect
from gateway.connections import open as module
from gateway.db.base import TenantId
from gateway.directory.cache import CallerCache, Claim, value_key
from gateway.directory.reach import Reach
from gateway.parts import Parts
from tests.gateway.connections.connecting import another_process, connected
from tests.processes import until_async

NUMBER = "+41446681800"


async def is_cached(parts: Parts, tenant_id: TenantId) -> bool:
    keys = await parts.keyring.of(tenant_id)
    return bool(await parts.redis.exists(value_key(tenant_id, keys.index(NUMBER))))


async def cache_a_caller(parts: Parts, tenant_id: TenantId) -> None:
    keys = await parts.keyring.of(tenant_id)
    cache, index = CallerCache(Reach(parts.redis)), keys.index(NUMBER)
    assert (await cache.claim(keys, index, "t", lease=timedelta(seconds=20)))[0] is Claim.OURS
    assert await cache.keep(keys, index, "t", b"Jean", at=time.time(), kept=timedelta(minutes=15))


async def test_callers_of_a_disconnected_crm_are_forgotten_at_once(parts: Parts, tenant_id: TenantId) -> None:
    connection_id = await connected(parts, tenant_id)
    await cache_a_caller(parts, tenant_id)
    await disconnect.end(parts.connections, tenant_id, connection_id)
    assert not await is_cached(parts, tenant_id)


async def test_what_another_process_read_there_a_moment_longer_is_forgotten_too(
    parts: Parts, tenant_id: TenantId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It believes its rows for a second, and what it caches would be believed for a quarter of an hour."""
    monkeypatch.setattr(module, "FORGOTTEN_AGAIN", timedelta(milliseconds=5))
    connection_id, times = await connected(parts, tenant_id), 0

    async def forget(whose: TenantId) -> None:
        nonlocal times
        await parts.finder.forget_everyone(whose)
        if times == 0:
            await cache_a_caller(parts, tenant_id)  # the other process, a moment later
        times += 1

    parts.connections.when_ended(forget)
    await disconnect.end(parts.connections, tenant_id, connection_id)

    async def forgotten() -> bool:
        return times > 1 and not await is_cached(parts, tenant_id)

    await until_async("it is forgotten again", forgotten)


async def test_with_redis_away_it_is_tried_until_it_is_done(
    parts: Parts, tenant_id: TenantId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FORGOTTEN_AGAIN", timedelta(milliseconds=5))
    connection_id = await connected(parts, tenant_id)
    connections, tries = another_process(parts), 0

    async def forget(_: TenantId) -> None:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise RedisError("away")

    connections.when_ended(forget)
    assert await disconnect.end(connections, tenant_id, connection_id)

    async def done() -> bool:
        return tries >= 4

    await until_async("it is forgotten in the end", done)
    await connections.close()
