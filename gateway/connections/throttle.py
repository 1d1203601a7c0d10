"""The rate limits of a CRM account, across all processes and tenants that use it; whoever is on the phone goes first.

A limit is kept as what was sent within its window, not as a refilled bucket: vendors count rolling windows, and a
bucket of N that refills at N per window lets 2 N through in one. It is kept in Redis, by Redis's clock, and corrected by
what the vendor's answers say (others use the same account). What may be under way at once is kept as leases: one that is
not given back, because its process died, ends by itself. Without Redis every process goes on at a fraction of the limit.
Budgets of a day are rows (`budget.py`); here they can only be paused.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
IN_A_ROW = timedelta(seconds=20)  # refused again this soon after a pause: that one was too short
LONGEST_DOUBLED = timedelta(
    minutes=1
)  # pauses double up to here where the vendor does not say how long (Zoho, Pipedrive)
SLOT_WAITS: Mapping[Purpose, timedelta] = {  # for one that is free, before whoever wants it is sent away
    "lookup": timedelta(milliseconds=300),
    "delivery": timedelta(seconds=2),
    "import": timedelta(seconds=10),
    "connect": timedelta(seconds=10),
}
SENT_AWAY = timedelta(milliseconds=500)
_LOOKS_EVERY = timedelta(milliseconds=25)
_FULL = -1

_SPEND = """
local at = redis.call('TIME')
local now = at[1] * 1000 + math.floor(at[2] / 1000)
local paused = tonumber(redis.call('HGET', KEYS[2], 'paused_until') or '0')
if paused > now then return paused - now end
local limit = tonumber(redis.call('HGET', KEYS[2], 'limit') or ARGV[1])
local per, n = tonumber(ARGV[2]), tonumber(ARGV[4])
local reserve = math.floor(tonumber(ARGV[3]) * limit / tonumber(ARGV[1]))
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

_ENTER = """
local at = redis.call('TIME')
local now = at[1] * 1000 + math.floor(at[2] / 1000)
local paused = tonumber(redis.call('HGET', KEYS[2], 'paused_until') or '0')
if paused > now then return paused - now end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local limit = tonumber(ARGV[1])
if redis.call('ZCARD', KEYS[1]) >= limit - math.min(tonumber(ARGV[2]), limit - 1) then return -1 end
redis.call('ZADD', KEYS[1], now + ARGV[4], ARGV[3])
redis.call('PEXPIRE', KEYS[1], math.max(tonumber(ARGV[4]), redis.call('PTTL', KEYS[1])))
return 0
"""

_CHECK = """
local at = redis.call('TIME')
local till = tonumber(redis.call('HGET', KEYS[1], 'paused_until') or '0')
return till - at[1] * 1000 - math.floor(at[2] / 1000)
"""

_PAUSE = """
local at = redis.call('TIME')
local now = at[1] * 1000 + math.floor(at[2] / 1000)
local wait, till = tonumber(ARGV[1]), tonumber(redis.call('HGET', KEYS[1], 'paused_until') or '0')
if till <= now then
  local run = 0
  if now - till < tonumber(ARGV[3]) then run = math.min(20, redis.call('HINCRBY', KEYS[1], 'refusals', 1)) end
  redis.call('HSET', KEYS[1], 'refusals', run)
  wait = math.max(wait, math.min(tonumber(ARGV[4]), wait * math.pow(2, run)))
end
if now + wait > till then
  redis.call('HSET', KEYS[1], 'paused_until', now + wait)
  redis.call('PEXPIRE', KEYS[1], math.max(wait, tonumber(ARGV[2])))
end
"""


@dataclass(frozen=True)
class Standing:
    """How one limit of an account stands. `per` zero: what may be under way at once. `resumes_in`: it is paused so long."""

    name: str
    limit: int
    remaining: int
    per: timedelta
    resumes_in: timedelta | None = None


class Throttle:
    """Spends the limits of accounts. One per process."""

    def __init__(self, redis: redis.Redis) -> None:
        self._redis = redis
        self._spend = redis.register_script(_SPEND)
        self._observe = redis.register_script(_OBSERVE)
        self._enter = redis.register_script(_ENTER)
        self._check = redis.register_script(_CHECK)
        self._pause = redis.register_script(_PAUSE)
        self._alone: dict[tuple[str, str], deque[float]] = {}
        self._inside_alone: Counter[tuple[str, str]] = Counter()
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
            raise _limited(name, timedelta(milliseconds=wait))

    async def enter(
        self, account_id: str, bucket: Bucket, name: str, *, lasts: timedelta, purpose: Purpose = "delivery"
    ) -> str:
        """Take one of the slots of a limit on what is under way, waiting a moment for one; to be given to `leave`.

        lasts  the longest a request may take: then the slot is free again, whatever became of its holder.
        Raises `RateLimited` when none becomes free.
        """
        slot, reserve = secrets.token_hex(8), 0 if purpose == "lookup" else bucket.reserve
        patience = SLOT_WAITS[purpose]
        give_up_at = time.monotonic() + patience.total_seconds()
        while True:
            try:
                arguments = [bucket.limit, reserve, slot, _ms(lasts)]
                wait = int(await self._enter(keys=_keys(account_id, name), args=arguments))
                self._is_away(False)
            except (RedisError, OSError):
                self._is_away(True)
                if self._inside_alone[account_id, name] < max(1, bucket.limit // ALONE):
                    self._inside_alone[account_id, name] += 1
                    return ""
                wait = _FULL
            if wait == 0:
                return slot
            if wait != _FULL:
                raise _limited(name, timedelta(milliseconds=wait))
            if time.monotonic() >= give_up_at:
                raise _limited(name, SENT_AWAY * random.uniform(0.5, 1.0))
            await asyncio.sleep(_LOOKS_EVERY.total_seconds() * random.uniform(0.5, 1.5))

    async def leave(self, account_id: str, name: str, slot: str) -> None:
        """Give a slot back: the answer is in, or will not come."""
        if not slot:
            self._inside_alone[account_id, name] -= 1
            return
        with contextlib.suppress(RedisError, OSError):  # it ends by itself
            await self._redis.zrem(_keys(account_id, name)[0], slot)

    async def check(self, account_id: str, name: str) -> None:
        """Raise `RateLimited` while this limit is paused, and take nothing of it."""
        try:
            wait = int(await self._check(keys=[_keys(account_id, name)[1]]))
            self._is_away(False)
        except (RedisError, OSError):
            self._is_away(True)
            return
        if wait > 0:
            raise _limited(name, timedelta(milliseconds=wait))

    async def standing(self, asked: Sequence[tuple[str, str, Bucket]]) -> Mapping[tuple[str, str], Standing]:
        """How limits stand, by (account, name); of budgets, that they are paused. Nothing while Redis is away."""
        try:
            seconds, micros = await self._redis.time()
            now = seconds * 1000 + micros // 1000
            async with self._redis.pipeline(transaction=False) as pipe:
                for account_id, name, bucket in asked:
                    sent, known = _keys(account_id, name)
                    pipe.zcount(sent, f"({now - (_ms(bucket.per) if bucket.per else 0)}", "+inf")
                    pipe.hmget(known, "limit", "paused_until")
                told = await pipe.execute()
        except (RedisError, OSError):
            self._is_away(True)
            return {}
        found = {}
        for place, (account_id, name, bucket) in enumerate(asked):
            used, (learned, paused) = told[2 * place], told[2 * place + 1]
            limit, left = int(learned or bucket.limit), int(paused or 0) - now
            resumes_in = timedelta(milliseconds=left) if left > 0 else None
            remaining = 0 if resumes_in else max(0, limit - used)
            found[account_id, name] = Standing(name, limit, remaining, bucket.per, resumes_in)
        return found

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
        """Nothing is sent under these limits for `wait` (a 429), by anybody; an earlier, longer pause stays.

        Where the first request after a pause is refused again, the next pause is twice as long, up to a minute.
        """
        times = [_ms(one) for one in (min(wait, _LONGEST_PAUSE), _LEARNED_FOR, IN_A_ROW, LONGEST_DOUBLED)]
        for name in names:
            try:
                await self._pause(keys=[_keys(account_id, name)[1]], args=times)
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


def _limited(name: str, wait: timedelta) -> RateLimited:
    reason = "this CRM account's own rate limit is used up for the moment"
    return RateLimited(reason, retry_after=wait, policy=name)


def _keys(account_id: str, name: str) -> list[str]:
    """The window's members, and what is known about the limit. One hash slot, should there be slots."""
    return [f"gw:sent:{{{account_id}}}:{name}", f"gw:limit:{{{account_id}}}:{name}"]


def _ms(span: timedelta) -> Any:
    return max(1, round(span.total_seconds() * 1000))
