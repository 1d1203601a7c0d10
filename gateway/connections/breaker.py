"""Stop asking a CRM account that is down, and find out with single tries when it is back. Shared by all processes.

closed     everything passes; outcomes are counted, older ones for less.
open       nothing passes until a jittered time, which doubles with each failed try up to a minute.
half-open  one try passes; its outcome closes or opens again. A try that is never reported is given up after a while.
"""

from __future__ import annotations

import contextlib
import random
import time
from datetime import timedelta

import redis.asyncio as redis
from redis.exceptions import RedisError

LEAST_FAILURES = 5
FAILING = 0.7  # share of failures that opens
IN_A_ROW = 10  # failures that open whatever was before: a busy account has hundreds of good answers to its credit
WINDOW = timedelta(seconds=30)  # counts are halved each time this has passed
FIRST_WAIT = timedelta(seconds=1)
LONGEST_WAIT = timedelta(minutes=1)
TRY_LASTS = timedelta(seconds=20)  # longer than a request may take
TELL_EVERY = timedelta(seconds=1)  # good outcomes are told to Redis in lumps: there are many of them
ALONE_EVERY = timedelta(milliseconds=250)  # without Redis nobody knows: towards slow, not towards silent
_KEPT = timedelta(minutes=10)
_A_TRY = -1

_ALLOWS = """
local till = tonumber(redis.call('HGET', KEYS[1], 'open_until') or '0')
if till == 0 then return 0 end
local at = redis.call('TIME')
local now = at[1] * 1000 + math.floor(at[2] / 1000)
if till > now then return till - now end
redis.call('HSET', KEYS[1], 'open_until', now + ARGV[1], 'trying', 1)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return -1
"""

_RECORD = """
local at = redis.call('TIME')
local now = at[1] * 1000 + math.floor(at[2] / 1000)
local more_good, more_bad = tonumber(ARGV[1]), tonumber(ARGV[2])
local window, least, share = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local first, longest, roll, kept = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local in_a_row = tonumber(ARGV[10])
local had = redis.call('HMGET', KEYS[1], 'good', 'bad', 'since', 'trips', 'open_until', 'trying', 'run')
local good, bad, since = tonumber(had[1] or '0'), tonumber(had[2] or '0'), tonumber(had[3] or now)
local trips, open, trying = tonumber(had[4] or '0'), had[5], had[6] == '1'
if open then
  if more_bad == 0 then
    redis.call('DEL', KEYS[1])
    return 0
  end
  if not trying then return 0 end
else
  local passed = math.floor((now - since) / window)
  if passed > 0 then
    local half = math.pow(2, math.min(passed, 20))
    good, bad, since = math.floor(good / half), math.floor(bad / half), since + passed * window
  end
  good, bad = good + more_good, bad + more_bad
  local run = more_bad
  if more_good == 0 then run = run + tonumber(had[7] or '0') end
  redis.call('HSET', KEYS[1], 'good', good, 'bad', bad, 'since', since, 'run', run)
  redis.call('PEXPIRE', KEYS[1], kept)
  if more_bad == 0 or bad < least or (run < in_a_row and bad < share * (good + bad)) then return 0 end
end
local wait = math.floor(math.min(longest, first * math.pow(2, trips)) * roll)
redis.call('HSET', KEYS[1], 'open_until', now + wait, 'trips', math.min(trips + 1, 20), 'trying', 0)
redis.call('PEXPIRE', KEYS[1], kept)
return wait
"""


class Breakers:
    """The breakers of all accounts. One per process."""

    def __init__(self, redis: redis.Redis) -> None:
        self._allows = redis.register_script(_ALLOWS)
        self._record = redis.register_script(_RECORD)
        self._good: dict[str, int] = {}  # not told yet
        self._told: dict[str, float] = {}
        self._trying: set[str] = set()
        self._alone: dict[str, float] = {}

    async def allows(self, account_id: str) -> bool:
        """Whether the account may be asked now. The first True after a while of False is the one try: do ask, and
        `record` what came of it."""
        try:
            answer = int(await self._allows(keys=[_key(account_id)], args=[_ms(TRY_LASTS), _ms(_KEPT)]))
        except (RedisError, OSError):  # the throttle, which is asked as often, says so in the log
            return self._paced(account_id)
        if answer == _A_TRY:
            self._trying.add(account_id)
        return answer <= 0

    async def record(self, account_id: str, ok: bool) -> None:
        """Count one outcome. ok: the CRM answered, whatever it said; not ok: it was down, silent or broken."""
        good = self._good.get(account_id, 0) + ok
        due = time.monotonic() - self._told.get(account_id, 0.0) >= TELL_EVERY.total_seconds()
        if ok and not due and account_id not in self._trying:
            self._good[account_id] = good
            return
        self._good.pop(account_id, None)
        self._trying.discard(account_id)
        self._told[account_id] = time.monotonic()
        arguments = [
            *(good, int(not ok)),
            *(_ms(WINDOW), LEAST_FAILURES, FAILING),
            *(_ms(FIRST_WAIT), _ms(LONGEST_WAIT), random.uniform(0.5, 1.0), _ms(_KEPT), IN_A_ROW),
        ]
        with contextlib.suppress(RedisError, OSError):
            await self._record(keys=[_key(account_id)], args=arguments)

    def _paced(self, account_id: str) -> bool:
        now = time.monotonic()
        if self._alone.get(account_id, 0.0) > now:
            return False
        self._alone[account_id] = now + ALONE_EVERY.total_seconds()
        return True


def _key(account_id: str) -> str:
    return f"gw:breaker:{account_id}"


def _ms(span: timedelta) -> int:
    return round(span.total_seconds() * 1000)
