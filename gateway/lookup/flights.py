"""Cold numbers: one search per number over all processes, joined by all who ask, and as many at once as the loop bears.

Each cold try costs the loop almost a millisecond, and 500 at once made everybody late; hence a cap per process that is
looked at before anything else is done, and `pending` at once beyond it (performance.md §2, J).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import lru_cache

import msgspec

from gateway.db.base import TenantId
from gateway.directory.cache import CallerCache, Claim, Entry, claim_key, opened, value_key
from gateway.logs import log
from gateway.lookup.answer import Kept, nobody
from gateway.lookup.caps import NumberCaps
from gateway.lookup.number import Asked
from gateway.lookup.search import Search
from gateway.settings import Settings
from gateway.tenants.keys import TenantKeys

AFTER_FAILURE = timedelta(seconds=2)  # a refresh that failed is not tried again before
HANGING = timedelta(milliseconds=250)  # a tenant whose CRMs all hang is answered `pending` without a try for so long
CLAIM_SPARE = timedelta(seconds=5)  # a claim outlives the longest request by this much

Plan = Callable[[TenantKeys, bytes, Asked], Awaitable[Search | None]]
"""The search for a number, ready to run; None for a number that nobody is to be asked about."""


class Landed(msgspec.Struct, frozen=True):
    """What is known, and when it was true (Unix seconds).

    source    crm, cache, or none when nobody was asked.
    over_cap  the asker has tried too many numbers.
    """

    kept: Kept
    at: float
    source: str = "crm"
    over_cap: bool = False


class Flight:
    """One search in this process.

    asked_by  whose unknown numbers are counted, should nobody have this one; empty for a refresh.
    since     a refresh looks for an answer that was true later than this (Unix seconds).
    """

    def __init__(self, asked_by: str | None, since: float) -> None:
        self.task: asyncio.Task[Landed | None]
        self.search: Search | None = None
        self.since = since
        self.first = asked_by
        self.asked_by = set() if asked_by is None else {asked_by}

    def so_far(self) -> Landed | None:
        return Landed(self.search.so_far(), time.time()) if self.search is not None and self.search.found else None


class Flights:
    """All searches of this process. One per process; `close()` it."""

    def __init__(self, settings: Settings, cache: CallerCache, caps: NumberCaps, plan: Plan) -> None:
        self._settings = settings
        self._cache = cache
        self._caps = caps
        self._plan = plan
        self._flights: dict[str, Flight] = {}
        self._every: set[asyncio.Task[Landed | None]] = set()
        self._starting = 0  # flights younger than the budget
        self._hanging: dict[TenantId, float] = {}  # whose CRMs are all busy with too many searches, until when

    async def join(
        self, keys: TenantKeys, index: bytes, asked: Asked, *, asked_by: str, deadline: float
    ) -> Landed | None:
        """What the search for this number has brought by `deadline` (of `time.perf_counter`). None: nothing yet.

        The search goes on behind a caller who stops waiting.
        """
        key = value_key(keys.tenant_id, index)
        if self._hanging.get(keys.tenant_id, 0.0) > time.monotonic():
            return None
        for _ in range(2):
            flight = self._flights.get(key) or self._take_off(keys, index, asked, asked_by)
            if flight is None:
                return None
            flight.asked_by.add(asked_by)
            landed, _ = await asyncio.wait({flight.task}, timeout=deadline - time.perf_counter())
            if not landed:
                return flight.so_far()
            result = flight.task.result()
            if result is None or not result.over_cap or flight.first == asked_by:
                return result
            # refused to whoever asked first, which is none of this caller's business
        return None

    def refresh(self, keys: TenantKeys, index: bytes, asked: Asked, *, since: float) -> None:
        """Search behind an answer that was true at `since`, unless somebody does already, or too many start."""
        if value_key(keys.tenant_id, index) not in self._flights:
            self._take_off(keys, index, asked, None, since)

    def disown(self, tenant_id: TenantId, index: bytes) -> None:
        """Whoever asks from now on starts anew; who waits for the search under way still gets its answer."""
        self._flights.pop(value_key(tenant_id, index), None)

    def disown_all(self, tenant_id: TenantId) -> None:
        """The same for every number of a tenant."""
        mine = value_key(tenant_id, b"")
        self._flights = {key: flight for key, flight in self._flights.items() if not key.startswith(mine)}

    async def close(self) -> None:
        """End what is under way. Cancelled again until it is: drivers swallow a cancellation now and then."""
        while self._every:
            for task in self._every:
                task.cancel()
            await asyncio.wait(self._every, timeout=0.1)

    def _take_off(
        self, keys: TenantKeys, index: bytes, asked: Asked, asked_by: str | None, since: float = 0.0
    ) -> Flight | None:
        """Start a flight; None when too many start already."""
        if self._starting >= self._settings.cold_searches:
            return None
        key = value_key(keys.tenant_id, index)
        flight = self._flights[key] = Flight(asked_by, since)
        loop = asyncio.get_running_loop()
        flight.task = loop.create_task(self._fly(flight, keys, index, asked))
        self._every.add(flight.task)
        self._starting += 1
        starting = True

        def under_way() -> None:  # it waits for a CRM now, which costs nothing: the next one may start
            nonlocal starting
            self._starting -= starting
            starting = False

        def landed(task: asyncio.Task[Landed | None]) -> None:
            under_way()
            self._every.discard(task)
            if self._flights.get(key) is flight:
                del self._flights[key]

        loop.call_later(self._settings.lookup_budget.total_seconds(), under_way)
        flight.task.add_done_callback(landed)
        return flight

    async def _fly(self, flight: Flight, keys: TenantKeys, index: bytes, asked: Asked) -> Landed | None:
        """One number, from claim to cache. None when nothing can be said yet. Raises nothing."""
        most = self._settings.unknown_numbers_per_hour
        try:
            if flight.first and not await self._caps.may_try(keys.tenant_id, flight.first, index, most=most):
                return Landed(none("unknown", asked.e164, complete=False), time.time(), "none", over_cap=True)
            landed = await self._searched(flight, keys, index, asked)
        except Exception as error:  # the database is away, or ours to fix: whoever waits is answered all the same
            log.error("lookup_broke", exc_info=error)
            return Landed(none("unknown", asked.e164, complete=False), time.time(), "none")
        answered = flight.search is None or flight.search.answered  # a CRM that is down makes nobody a stranger
        if landed is not None and landed.kept.status == "unknown" and answered:
            for asker in flight.asked_by:
                await self._caps.note_unknown(keys.tenant_id, asker, index, most=most)
        return landed

    async def _searched(self, flight: Flight, keys: TenantKeys, index: bytes, asked: Asked) -> Landed | None:
        lease = self._settings.request_timeout + CLAIM_SPARE
        while True:
            token = secrets.token_hex(8)
            claim, entry = await self._cache.claim(keys, index, token, lease=lease)
            if claim is Claim.THEIRS:
                if not flight.asked_by:
                    return None  # a refresh: the others' will do
                entry = await self._theirs(keys, index)
            elif entry is not None and entry.at <= flight.since:
                entry = None  # what is to be refreshed
            if entry is not None and (kept := read_kept(entry.value)) is not None:
                if claim is Claim.OURS:
                    await self._cache.release(keys.tenant_id, index, token)
                return Landed(kept, entry.at, "cache")
            if claim is Claim.THEIRS:
                continue
            at = time.time()
            held, after = True, timedelta(0)
            try:
                search = flight.search = await self._plan(keys, index, asked)
                kept = await search.run() if search else none("unknown", asked.e164, complete=True)
                if search is not None and search.held_back and not search.answered:
                    self._hanging[keys.tenant_id] = time.monotonic() + HANGING.total_seconds()
                if kept.status == "unknown" and not kept.complete:  # an error is not an "unknown": it is not kept
                    after = timedelta(0) if flight.asked_by else AFTER_FAILURE
                    return None if search is not None and search.held_back else Landed(kept, at)
                lasts = self._settings.unknown_kept if kept.status == "unknown" else self._settings.caller_kept
                value = msgspec.msgpack.encode(kept)
                stored = await self._cache.keep(keys, index, token, value, at=at, kept=lasts)
                held = False  # stored or overtaken, the claim is gone
                if stored:
                    return Landed(kept, at)
                # somebody wrote about this number meanwhile: what we read may be old. Once more.
            finally:
                if held:
                    await self._cache.release(keys.tenant_id, index, token, after=after)

    async def _theirs(self, keys: TenantKeys, index: bytes) -> Entry | None:
        """What another process finds; None when it gave up. Looks often at first, for a caller waits."""
        key, claim = value_key(keys.tenant_id, index), claim_key(keys.tenant_id, index)
        pause, unread = 0.01, 0
        while True:
            await asyncio.sleep(pause)
            found = await self._cache.read(key, claim)
            if found is None:
                unread += 1
                if unread == 3:
                    return None
                continue
            if found[0] is not None and (entry := opened(keys, key, found[0])) is not None:
                return entry
            if found[1] is None:
                return None
            pause = min(pause * 1.5, 0.25)


@lru_cache(maxsize=1024)
def none(status: str, e164: str | None, *, complete: bool) -> Kept:
    """The answer without a person and without a last call; made once per number while many ask in vain."""
    return nobody(status, e164, complete=complete)


_KEPT = msgspec.msgpack.Decoder(Kept)


def read_kept(value: bytes) -> Kept | None:
    """The answer inside a cached value; None when another release wrote it in another shape."""
    try:
        return _KEPT.decode(value)
    except msgspec.DecodeError:
        return None
