"""Number → caller in Redis: sealed, per tenant, and gone when it may be wrong.

What one loop turn asks for is one MGET (`Together`): a redis-py GET costs 60 µs of CPU at 16 connections, its share of a
batch 12 µs (performance.md §3). No number stands in Redis, only its keyed hash; a value moved to another key, or kept
beyond its time, does not open (security.md §§1, 2). Redis may be away: then there is no cache, and no error.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from enum import Enum
from typing import Any, cast

import msgspec
from redis.exceptions import RedisError

from gateway.crypto import CannotOpen, Purpose
from gateway.db.base import TenantId
from gateway.directory.reach import Reach, RedisAway
from gateway.logs import log
from gateway.tenants.keys import TenantKeys

OWN_WRITES = timedelta(minutes=15)  # how long a CRM's search may lag behind what we wrote

# The flight's claim is the fence: whoever forgot the number meanwhile took the claim away, and what was read before is
# not stored. KEYS: value, claim. ARGV: token, value, milliseconds.
_KEEP = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if tonumber(ARGV[2]) > 0 then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return redis.call('DEL', KEYS[1])
"""


class Claim(Enum):
    """Who searches for a number, of all processes."""

    OURS = "ours"
    THEIRS = "theirs"
    REDIS_AWAY = "redis away"  # everybody for himself


class Entry(msgspec.Struct, frozen=True):
    """A cached value and when it was true (Unix seconds)."""

    at: float
    value: bytes

    def __repr__(self) -> str:
        return "<Entry>"


Values = list[bytes | None] | None
Waiting = list[tuple[asyncio.Future[Values], tuple[str, ...]]]


class Together:
    """Reads asked for in one loop turn, or while others are under way, go to Redis as one MGET. One per loop.

    One task reads for everybody: a task for each batch would cost another turn of the loop, and a caller's time.
    """

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._half = reach.patience.total_seconds() / 2
        self._waiting: Waiting = []
        self._reader: asyncio.Task[None] | None = None
        self._idle: asyncio.Future[None] | None = None

    def read(self, *keys: str) -> asyncio.Future[Values]:
        """The values of `keys` in order; None instead of a list when Redis is away.

        The future is the caller's own: cancelling it takes nothing from others in the same batch.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Values] = loop.create_future()
        if self._reach.away:
            future.set_result(None)
            return future
        self._waiting.append((future, keys))
        if self._idle is not None:
            if not self._idle.done():
                self._idle.set_result(None)  # it reads after everything that is ready in this turn
        elif self._reader is None:
            self._reader = loop.create_task(self._read_on())
            self._reader.add_done_callback(self._ended)
        return future

    def close(self) -> None:
        """Nothing is read any more; who waits is told that Redis is away."""
        if self._reader is not None:
            self._reader.cancel()
        self._give_up_waiting()

    async def _read_on(self) -> None:
        me, loop = asyncio.current_task(), asyncio.get_running_loop()
        async with self._reach.redis.client() as mine:  # one connection for good: taking it from the pool costs as much
            while self._reader is me:
                if not self._waiting:
                    self._idle = loop.create_future()
                    try:
                        await self._idle
                    finally:
                        self._idle = None
                batch = _Batch(self._waiting)
                self._waiting = []
                batch.timer = loop.call_later(self._half, self._slow, batch, 1)
                try:
                    values = await mine.mget(list(batch.places))
                    self._reach.answered()
                    batch.answer(cast(list[bytes | None], values))
                except (RedisError, OSError, TimeoutError) as error:
                    self._reach.failed(type(error).__name__)
                finally:  # whatever happened: somebody is on the line and must not wait for a future nobody sets
                    batch.answer(None)

    def _slow(self, batch: _Batch, halves: int) -> None:
        """Half of the patience is over.

        Two halves, because a loop that was busy finds its timer and Redis' answer due in the same turn, and the timer
        comes first: only who is silent through a half in which the loop turned is slow. The callers are answered here,
        and another reader takes over, since redis-py swallows a cancellation now and then (seen in 8.1 while it connects).
        """
        if halves == 1:
            batch.timer = asyncio.get_running_loop().call_later(self._half, self._slow, batch, 2)
            return
        self._reach.silent()
        batch.answer(None)
        self._give_up_waiting()  # they have waited behind it
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None

    def _give_up_waiting(self) -> None:
        _Batch(self._waiting).answer(None)
        self._waiting = []

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._reader is task:
            self._reader = None
            self._give_up_waiting()
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, RedisError | OSError):  # not even a connection could be had
            self._reach.failed(type(error).__name__)
        else:
            log.error("reader_broke", exc_info=error)


class _Batch:
    """Who waits for one MGET, and where in it each key stands."""

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self.places: dict[str, int] = {}
        self.timer: asyncio.TimerHandle | None = None
        for _, keys in waiting:
            for key in keys:
                self.places.setdefault(key, len(self.places))

    def answer(self, values: Values) -> None:
        """Give everybody what was read, once; None: nothing was."""
        if self.timer is not None:
            self.timer.cancel()
        for future, keys in self._waiting:
            if not future.done():
                future.set_result(None if values is None else [values[self.places[key]] for key in keys])
        self._waiting = []


class CallerCache:
    """What is known about callers, by (tenant, keyed hash of the number)."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._redis = reach.redis
        self._together = Together(reach)
        self.read = self._together.read
        self._keep = reach.redis.register_script(_KEEP)
        self._release = reach.redis.register_script(_RELEASE)

    def close(self) -> None:
        self._together.close()

    async def get(self, keys: TenantKeys, index: bytes) -> Entry | None:
        """The cached value, if there is one and it is within its time."""
        key = value_key(keys.tenant_id, index)
        found = await self.read(key)
        return opened(keys, key, found[0]) if found and found[0] else None

    async def claim(
        self, keys: TenantKeys, index: bytes, token: str, *, lease: timedelta
    ) -> tuple[Claim, Entry | None]:
        """Take the search for this number, unless somebody has it. Ends by `keep`, `release`, or after `lease`.

        With it what is cached at this moment: whoever had the claim before may just have stored it.
        """
        key = value_key(keys.tenant_id, index)

        async def ask() -> Any:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(claim_key(keys.tenant_id, index), token, nx=True, px=lease)
                pipe.get(key)
                return await pipe.execute()

        try:
            taken, stored = await self._reach.within(ask)
        except RedisAway:
            return Claim.REDIS_AWAY, None
        return Claim.OURS if taken else Claim.THEIRS, opened(keys, key, stored) if stored else None

    async def keep(
        self, keys: TenantKeys, index: bytes, token: str, value: bytes, *, at: float, kept: timedelta
    ) -> bool:
        """Store `value`, true at `at`, for `kept`, and end the claim. False: overtaken, what was read is not news.

        With Redis away nothing is stored, and True.
        """
        tenant_id = keys.tenant_id
        key = value_key(tenant_id, index)
        sealed = _sealed(keys, key, value, at=at, until=at + kept.total_seconds())
        names = [key, claim_key(tenant_id, index)]
        told: list[str | bytes | int] = [token, sealed, int(kept.total_seconds() * 1000)]
        try:
            return bool(await self._reach.within(lambda: self._keep(keys=names, args=told)))
        except RedisAway:
            return True

    async def release(self, tenant_id: TenantId, index: bytes, token: str, *, after: timedelta = timedelta(0)) -> None:
        """End the claim without a value; with `after`, nobody else tries before."""
        names = [claim_key(tenant_id, index)]
        told: list[str | int] = [token, int(after.total_seconds() * 1000)]
        with contextlib.suppress(RedisAway):  # it ends by itself
            await self._reach.within(lambda: self._release(keys=names, args=told))

    async def forget(self, tenant_id: TenantId, index: bytes) -> bool:
        """Drop the value, and whatever a search under way would store. True if there was a value.

        Raises `RedisError` when Redis is away: what is kept there might be wrong now, and the caller may try again.
        """
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(value_key(tenant_id, index))
            pipe.delete(claim_key(tenant_id, index))
            return bool((await pipe.execute())[0])

    async def forget_many(self, tenant_id: TenantId, indexes: Iterable[bytes]) -> None:
        """The same for many numbers. Raises `RedisError` when Redis is away."""
        names = [name(tenant_id, index) for index in indexes for name in (value_key, claim_key)]
        for start in range(0, len(names), 1000):
            await self._redis.unlink(*names[start : start + 1000])

    async def forget_everyone(self, tenant_id: TenantId) -> None:
        """Drop every value of the tenant, and whatever searches under way would store: one of its CRMs was taken away.

        Goes through all keys of Redis, in pieces: for what happens rarely. Raises `RedisError` when Redis is away.
        """
        kinds = (value_key(tenant_id, b""), claim_key(tenant_id, b""))
        piece: list[bytes] = []
        async for key in self._redis.scan_iter(match=f"gw:caller*:{tenant_id}:*", count=1000):
            if key.decode().startswith(kinds):
                piece.append(key)
            if len(piece) == 500:
                await self._redis.unlink(*piece)
                piece = []
        if piece:
            await self._redis.unlink(*piece)

    async def note_written(self, keys: TenantKeys, index: bytes, record: str) -> None:
        """Remember for a while that `record` ("connection/kind/id") holds this number: search does not know it yet."""
        key = written_key(keys.tenant_id, index)
        proof = keys.seal(b"", "caller_written", key, record, purpose=Purpose.CACHE)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(key, record, proof)
            pipe.pexpire(key, OWN_WRITES)
            await pipe.execute()

    async def written(self, keys: TenantKeys, index: bytes) -> list[str]:
        """Records of ours that hold this number, as "connection/kind/id"; what we did not write ourselves is ignored."""
        key = written_key(keys.tenant_id, index)
        asked: Any = self._redis.hgetall  # redis-py types it for both of its faces
        try:
            fields: Mapping[bytes, bytes] = await self._reach.within(lambda: asked(key))
        except RedisAway:
            return []
        return [record for name, proof in fields.items() if _proven(keys, key, record := name.decode(), proof)]


def value_key(tenant_id: TenantId, index: bytes) -> str:
    return f"gw:caller:{tenant_id}:{index.hex()}"


def claim_key(tenant_id: TenantId, index: bytes) -> str:
    return f"gw:caller-claim:{tenant_id}:{index.hex()}"


def written_key(tenant_id: TenantId, index: bytes) -> str:
    return f"gw:caller-written:{tenant_id}:{index.hex()}"


def opened(keys: TenantKeys, key: str, stored: bytes) -> Entry | None:
    """The entry inside what Redis had at `key`; None if it was not sealed for this key and time, or its time is up."""
    times = stored[:16]
    until = int.from_bytes(times[8:]) / 1000
    if until <= time.time():
        return None
    try:
        value = keys.open(stored[16:], "caller", key, times.hex(), purpose=Purpose.CACHE)
    except CannotOpen:  # another key's value, or a key that is gone: as good as nothing
        return None
    return Entry(int.from_bytes(times[:8]) / 1000, value)


def _sealed(keys: TenantKeys, key: str, value: bytes, *, at: float, until: float) -> bytes:
    """`at ‖ until ‖ sealed`, times in milliseconds, 8 bytes each, part of the associated data."""
    times = int(at * 1000).to_bytes(8) + int(until * 1000).to_bytes(8)
    return times + keys.seal(value, "caller", key, times.hex(), purpose=Purpose.CACHE)


def _proven(keys: TenantKeys, key: str, record: str, proof: bytes) -> bool:
    try:
        keys.open(proof, "caller_written", key, record, purpose=Purpose.CACHE)
    except CannotOpen:
        return False
    return True
