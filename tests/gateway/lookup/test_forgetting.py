"""What the mirror learns is answered from then on: exactly the touched numbers are forgotten, by every process."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any

import pytest
from redis.exceptions import RedisError

from gateway.db.base import TenantId
from gateway.directory.cache import value_key
from gateway.lookup import find as module
from tests.gateway.lookup.crms import House, ScriptedCrm, house, person
from tests.processes import until_async

FIRST, SECOND = "+41446681800", "+41446681801"
BUDGET = timedelta(seconds=5)


async def answered(at: House, tenant_id: TenantId, number: str) -> str:
    found = await at.finder.find(tenant_id, number, region="CH", asked_by="k", assurance="key", budget=BUDGET)
    return found.kept.status


async def cached(at: House, tenant_id: TenantId, numbers: Collection[str]) -> list[bool]:
    keys = await at.keyring.of(tenant_id)
    return [bool(await at.redis.exists(value_key(tenant_id, keys.index(one)))) for one in numbers]


async def test_only_the_touched_numbers_are_forgotten_and_elsewhere_too(postgres_url: str, redis_url: str) -> None:
    async with house(postgres_url, redis_url) as here:
        tenant_id = await here.tenant(ScriptedCrm(person(), person("Anna Muster", SECOND)))
        for number in (FIRST, SECOND):
            assert await answered(here, tenant_id, number) == "known"
        keys = await here.keyring.of(tenant_id)
        secret = here.settings.sealing_keys[0].get_secret_value()
        async with house(postgres_url, redis_url, connections=here.connections, keys=secret) as there:
            await there.finder.forget_hashes(tenant_id, {keys.index(FIRST)})
        assert await cached(here, tenant_id, (FIRST, SECOND)) == [False, True]


async def test_with_redis_away_it_is_tried_until_it_is_done(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DROPPED_AGAIN", timedelta(milliseconds=5))
    async with house(postgres_url) as here:
        tenant_id = await here.tenant(ScriptedCrm(person()))
        assert await answered(here, tenant_id, FIRST) == "known"
        keys, cache, tries = await here.keyring.of(tenant_id), here.finder._cache, 0
        really = cache.forget_many

        async def forget(*given: Any) -> None:
            nonlocal tries
            tries += 1
            if tries < 4:
                raise RedisError("away")
            await really(*given)

        monkeypatch.setattr(cache, "forget_many", forget)
        await here.finder.forget_hashes(tenant_id, {keys.index(FIRST)})

        async def forgotten() -> bool:
            return await cached(here, tenant_id, [FIRST]) == [False]

        await until_async("it is forgotten in the end", forgotten)
