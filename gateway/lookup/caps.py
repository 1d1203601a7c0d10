"""How many different numbers one asker may try in an hour: a leaked key is a reverse phone book (security.md §3).

Kept in Redis as sets of keyed hashes. With Redis away nobody is refused: a caller is on the line, and the cap on cold
searches still holds.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from gateway.db.base import TenantId
from gateway.directory.reach import Reach, RedisAway

HOUR = timedelta(hours=1)

# KEYS: set. ARGV: member, most, seconds.
_SPEND = """
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then return 1 end
if redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""


class NumberCaps:
    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._spend = reach.redis.register_script(_SPEND)

    async def may_try(self, tenant_id: TenantId, asked_by: str, index: bytes, *, most: int) -> bool:
        """Whether `asked_by` may have this number searched: it was among this hour's unknown ones, or `most` is not reached."""
        key = _key("unknown", tenant_id, asked_by)

        async def ask() -> list[Any]:
            async with self._reach.redis.pipeline(transaction=False) as pipe:
                pipe.sismember(key, index.hex())
                pipe.scard(key)
                return await pipe.execute()

        try:
            tried, count = await self._reach.within(ask)
        except RedisAway:
            return True
        return bool(tried) or count < most

    async def note_unknown(self, tenant_id: TenantId, asked_by: str, index: bytes, *, most: int) -> None:
        """`asked_by` tried this number, and nobody has it."""
        await self._count("unknown", tenant_id, asked_by, index, most)

    async def spend(self, tenant_id: TenantId, asked_by: str, index: bytes, *, most: int) -> bool:
        """Count this number, known or not; False when it would be one more than `most` different ones this hour."""
        return await self._count("asked", tenant_id, asked_by, index, most)

    async def _count(self, what: str, tenant_id: TenantId, asked_by: str, index: bytes, most: int) -> bool:
        names = [_key(what, tenant_id, asked_by)]
        told: list[str | int] = [index.hex(), most, int(HOUR.total_seconds()) + 60]
        try:
            return bool(await self._reach.within(lambda: self._spend(keys=names, args=told)))
        except RedisAway:
            return True


def _key(what: str, tenant_id: TenantId, asked_by: str) -> str:
    return f"gw:numbers:{what}:{tenant_id}:{asked_by}:{int(time.time() // HOUR.total_seconds())}"
