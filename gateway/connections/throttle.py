"""The rate limits of a CRM account, across all processes and tenants that use it; whoever is on the phone goes first.

A limit is kept as what was sent within its window, not as a refilled bucket: vendors count rolling windows, and a
bucket of N that refills at N per window lets 2 N through in one. It is kept in Redis, by Redis's clock, and corrected by
what the vendor's answers say (others use the same account). Without Redis every process goes on at a fraction of the limit.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal

import redis.asyncio as redis
from redis.exceptions import RedisError

from connectors.crm.port import Bucket, Left
from connectors.errors import RateLimited
from gateway.logs import log

Purpose = Literal["lookup", "delivery", "import", "connect"]

ALONE = 8  # without Redis each process takes this part of a limit: there may be as many others
_LEARNED_FOR = timedelta(hours=1)  # a limit that the vendor told us
_LONGEST_PAUSE = timedelta(days=1)

_SPEND = """
local at = redis.call('TIME')
local now = at[1] * 1000 + math.floor(at[2] / 1000)
local paused = tonumber(redis.call('HGET', KEYS[2], 'paused_until') or '0')
if paused > now then return paused - now end
local limit = tonumber(redis.call('HGET', KEYS[2], 'limit') or ARGV[1])
local per, reserve, n = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local room = limit - math.min(reserve, limit - 1)
n = math.min(n, room)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - per)
local free = room - redis.call('ZCARD', KEYS[1])
if free < n then
  local leaves = redis.call('ZRANGE', KEYS[1], n - free - 1, n - free - 1, 'WITHSCORES')
  return math.max(1, leaves[2] + per - now)
end
local last = redis.call('HINCRBY', KEYS[2], 'sent', n)
for i = 1, n do redis.call('ZADD', KEYS[1], now, last - n + i) end
redis.call('PEXPIRE', KEYS[1], per)
redis.call('PEXPIRE', KEYS[2], math.max(per, tonumber(ARGV[5])))
return 0
"""

_OBSERVE = """
local at = redis.call('TIME')
local now = at[1] * 1000 + math.floor(at[2] / 1000)
local limit, used, per = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('HSET', KEYS[2], 'limit', limit)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - per)
local unseen = used - redis.call('ZCARD', KEYS[1])
if unseen > 0 then
  local last = redis.call('HINCRBY', KEYS[2], 'sent', unseen)
  for i = 1, unseen do redis.call('ZADD', KEYS[1], now, last - unseen + i) end
  redis.call('PEXPIRE', KEYS[1], per)
end
redis.call('PEXPIRE', KEYS[2], math.max(per, tonumber(ARGV[4])))
return unseen
"""

_PAUSE = """
local at = redis.call('TIME')
local till = at[1] * 1000 + math.floor(at[2] / 1000) + tonumber(ARGV[1])
if till > tonumber(redis.call('HGET', KEYS[1], 'paused_until') or '0') then
  redis.call('HSET', KEYS[1], 'paused_until', till)
  redis.call('PEXPIRE', KEYS[1], math.max(tonumber(ARGV[1]), tonumber(ARGV[2])))
end
"""


class Throttle:
    """Spends the limits of accounts. One per process."""

    def __init__(self, redis: redis.Redis) -> None:
        self._spend = redis.register_script(_SPEND)
        self._observe = redis.register_script(_OBSERVE)
        self._pause = redis.register_script(_PAUSE)
        self._alone: dict[tuple[str, str], deque[float]] = {}
        self._known: dict[tuple[str, str], int] = {}
        self._away = False

    async def spend(
        self, account_id: str, bucket: Bucket, name: str, n: int = 1, *, purpose: Purpose = "delivery"
    ) -> None:
        """Take `n` requests of the account's limit `name`; more than it holds at once counts as all it holds.

        purpose  "lookup" may take the reserve too.
        Raises `RateLimited` with the time until they are there; nothing is taken then.
        """
        reserve = 0 if purpose == "lookup" else bucket.reserve
        arguments = [bucket.limit, _ms(bucket.per), reserve, n, _ms(_LEARNED_FOR)]
        try:
            wait = int(await self._spend(keys=_keys(account_id, name), args=arguments))
            self._is_away(False)
        except (RedisError, OSError):
            self._is_away(True)
            wait = self._spend_alone(account_id, bucket, name, n)
        if wait > 0:
            raise RateLimited(
                "this CRM account's own rate limit is used up for the moment",
                retry_after=timedelta(milliseconds=wait),
                policy=name,
            )

    async def observe(self, account_id: str, said: Sequence[Left]) -> None:
        """Believe what an answer's headers said: the account's true limit, and requests that others sent."""
        for left in said:
            self._known[account_id, left.bucket] = left.limit
            used = max(0, left.limit - left.remaining)
            try:
                await self._observe(
                    keys=_keys(account_id, left.bucket), args=[left.limit, used, _ms(left.per), _ms(_LEARNED_FOR)]
                )
            except (RedisError, OSError):
                self._is_away(True)

    def is_news(self, account_id: str, left: Left) -> bool:
        """Whether `observe` would learn from this: another limit than we know, or one that is running out."""
        return self._known.get((account_id, left.bucket)) != left.limit or left.remaining * 4 < left.limit

    async def pause(self, account_id: str, names: Sequence[str], wait: timedelta) -> None:
        """Nothing is sent under these limits for `wait` (a 429), by anybody; an earlier, longer pause stays."""
        for name in names:
            try:
                await self._pause(
                    keys=[_keys(account_id, name)[1]], args=[_ms(min(wait, _LONGEST_PAUSE)), _ms(_LEARNED_FOR)]
                )
            except (RedisError, OSError):
                self._is_away(True)

    def _is_away(self, away: bool) -> None:
        """Say it once, each way."""
        if away != self._away:
            self._away = away
            log.warning("limits of CRM accounts", redis="away: going on slowly" if away else "back")

    def _spend_alone(self, account_id: str, bucket: Bucket, name: str, n: int) -> int:
        """The same window in this process only, of a part of the limit; milliseconds to wait, 0 if taken."""
        now, per = time.monotonic(), bucket.per.total_seconds()
        sent = self._alone.setdefault((account_id, name), deque())
        while sent and sent[0] <= now - per:
            sent.popleft()
        room = max(1, bucket.limit // ALONE)
        n = min(n, room)
        if room - len(sent) < n:
            return max(1, int((sent[n - (room - len(sent)) - 1] + per - now) * 1000))
        sent.extend([now] * n)
        return 0


def _keys(account_id: str, name: str) -> list[str]:
    """The window's members, and what is known about the limit. One hash slot, should there be slots."""
    return [f"gw:sent:{{{account_id}}}:{name}", f"gw:limit:{{{account_id}}}:{name}"]


def _ms(span: timedelta) -> Any:
    return max(1, round(span.total_seconds() * 1000))
