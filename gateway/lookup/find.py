"""Who is calling: cache, then the directory, then the CRMs, inside the budget.

A warm lookup is one read of Redis, shared with everybody else of the same loop turn; a cold one is a read of the
directory, shared likewise, and what belongs to the caller is read behind the answer. Whom the directory does not know is
searched for at the CRMs: the caller joins a flight (`flights.py`) for as long as the budget lasts.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Generic, Protocol, TypeVar

import msgspec
import phonenumbers
from prometheus_client import Counter as Metric
from redis.asyncio import Redis
from redis.exceptions import RedisError

from connectors import phone
from connectors.crm.records import Contact, Ref
from connectors.voice.events import CallNews
from gateway.db.base import TenantId, new_id
from gateway.db.engine import Database
from gateway.directory import queries as directory_queries
from gateway.directory.cache import CallerCache, opened, value_key
from gateway.directory.outdated import outdated
from gateway.directory.reach import Reach
from gateway.directory.reading import Directory
from gateway.errors import Unauthenticated
from gateway.logs import log
from gateway.lookup import queries, wishes
from gateway.lookup.answer import Found, LastCall, for_unsigned, somebody
from gateway.lookup.caps import NumberCaps
from gateway.lookup.flights import Flights, Landed, none, read_kept
from gateway.lookup.journal import Journal, Row
from gateway.lookup.match import Candidate, decide
from gateway.lookup.number import Asked, read_number
from gateway.lookup.search import Askable, Search
from gateway.settings import Settings
from gateway.tenants.keys import Keyring, TenantKeys

T = TypeVar("T")

LOOKUPS = Metric("gateway_lookups_total", "Lookups answered.", ["status", "source"])

URL_NUMBERS_PER_HOUR = 300  # different numbers an endpoint without a secret may ask for (security.md §6)
PATCHY_FRESH = timedelta(seconds=15)  # an incomplete answer is asked for again sooner
WISHES_KEPT = timedelta(seconds=5)
READ_BEHIND = timedelta(milliseconds=40)  # between two callers of a process whose context is read behind the answer:
BEHIND_AT_ONCE = 4  # more would make others late; but so many may come together
ACCOUNTS_KEPT = timedelta(milliseconds=100)  # for reads of the directory, of which a thousand a second may want them
DROPPED_AGAIN = timedelta(seconds=1)  # with Redis away: between tries to forget what has changed


class Accounts(Protocol):
    """`gateway.connections.open.Connections`."""

    async def of(self, tenant_id: TenantId) -> Sequence[Askable]:
        """Connections that lookup may ask, in the tenant's order of preference."""


class Finder:
    """Answers "who is calling?" for every tenant. One per process; `close()` it."""

    def __init__(
        self, *, settings: Settings, db: Database, keyring: Keyring, redis: Redis, connections: Accounts
    ) -> None:
        self._settings = settings
        self._db = db
        self._keyring = keyring
        self._connections = connections
        reach = Reach(redis)
        self._cache = CallerCache(reach)
        self._caps = NumberCaps(reach)
        self._flights = Flights(settings, self._cache, self._caps, self._plan)
        self._journal = Journal(db)
        self._directory = Directory(db)
        self._behind_until = 0.0  # monotonic; how far the room for reading behind is taken
        self._connected: dict[TenantId, tuple[float, Sequence[Askable]]] = {}
        self._whole: dict[TenantId, tuple[float, Mapping[str, bool]]] = {}
        self._under_way: Counter[str] = Counter()
        self._wishes: dict[TenantId, tuple[float, wishes.Wishes]] = {}
        self._opening = _Shared[TenantKeys]()
        self._listing = _Shared[Sequence[Askable]]()
        self._wishing = _Shared[wishes.Wishes]()
        self._counted: dict[tuple[str, str], Metric] = {}
        self._dropping: set[asyncio.Task[None]] = set()
        self._fresh = settings.caller_fresh.total_seconds()

    async def find(
        self,
        tenant_id: TenantId,
        number_text: str,
        *,
        region: str | None,
        asked_by: str,
        assurance: str,
        budget: timedelta | None = None,
        unless: str | None = None,
    ) -> Found:
        """Who calls from `number_text`, within `budget` (default: the settings'), never an error because of a CRM.

        region     ISO 3166, how national spellings are read. asked_by: the API key or voice endpoint.
        assurance  key | signed | secret | url; `url` is answered little, and 300 different numbers an hour at most.
        unless     a Redis key read along with the cache: when it is set, raises `Unauthenticated` (a revoked key).
        """
        started = time.perf_counter()
        asked = read_number(number_text, region)
        keys = self._keyring.at_hand(tenant_id)
        index: bytes | None = None
        try:
            landed, keys, index = await self._look(keys, asked, unless)
            if landed is None:
                deadline = started + (budget or self._settings.lookup_budget).total_seconds()
                landed, keys, index = await self._wait(tenant_id, keys, asked, unless, asked_by, assurance, deadline)
        except Unauthenticated:
            raise
        except Exception as error:  # the database is away, or ours to fix: somebody is on the line all the same
            log.error("lookup_broke", exc_info=error)
            landed = Landed(none("unknown", asked.e164, complete=False), time.time(), "none")
        if assurance == "url":
            landed = await self._for_unsigned(landed, tenant_id, index, asked_by)
        now = time.time()
        took = time.perf_counter() - started
        found = Found(new_id("lk"), landed.kept, landed.source, max(0.0, now - landed.at), took, landed.over_cap)
        self._note(found, tenant_id, asked_by, assurance, index, keys, now)
        return found

    async def _look(
        self, keys: TenantKeys | None, asked: Asked, unless: str | None
    ) -> tuple[Landed | None, TenantKeys | None, bytes | None]:
        """The hot path: what one read of Redis can answer, when the tenant's keys are in memory."""
        if asked.e164 is None:
            if unless is not None and (found := await self._cache.read(unless)) and found[0] is not None:
                raise Unauthenticated
            return Landed(none(asked.status, None, complete=True), time.time(), "none"), keys, None
        if keys is None:
            return None, None, None
        index = keys.index(asked.e164)
        key = value_key(keys.tenant_id, index)
        if unless is None:
            found = await self._cache.read(key)
        elif (found := await self._cache.read(key, unless)) and found[1] is not None:
            raise Unauthenticated
        if not found or not found[0] or (entry := opened(keys, key, found[0])) is None:
            return None, keys, index
        if (kept := read_kept(entry.value)) is None:
            return None, keys, index
        fresh = self._fresh if kept.complete else PATCHY_FRESH.total_seconds()
        if time.time() - entry.at > fresh:
            self._flights.refresh(keys, index, asked, since=entry.at)
        return Landed(kept, entry.at, "cache"), keys, index

    async def _wait(
        self,
        tenant_id: TenantId,
        keys: TenantKeys | None,
        asked: Asked,
        unless: str | None,
        asked_by: str,
        assurance: str,
        deadline: float,
    ) -> tuple[Landed, TenantKeys | None, bytes | None]:
        """What takes longer: the tenant's keys from the database, callers from their CRMs."""
        pending = Landed(none("pending", asked.e164, complete=False), time.time(), "none")
        landed: Landed | None = None
        if keys is None:
            keys = await self._keys(tenant_id, deadline)
            if keys is None:
                return pending, None, None
            landed, _, _ = await self._look(keys, asked, unless)
        assert asked.e164 is not None
        index = keys.index(asked.e164)
        read = False
        if landed is None:
            landed, read = await self._in_directory(keys, index, asked, deadline)
        if landed is None:
            landed = await self._flights.join(keys, index, asked, asked_by=asked_by, deadline=deadline)
        if landed is None and read and self._knows_all(keys.tenant_id):
            landed = Landed(none("unknown", asked.e164, complete=False), time.time(), "directory")
        return landed or pending, keys, index

    async def _in_directory(
        self, keys: TenantKeys, index: bytes, asked: Asked, deadline: float
    ) -> tuple[Landed | None, bool]:
        """Whoever the mirror has for the number, at once, None for nobody; what belongs to them is read behind. Then
        whether it was read: the database may be silent."""
        assert asked.e164 is not None
        try:
            async with asyncio.timeout(deadline - time.perf_counter()):
                wished = await self._wished(keys.tenant_id)
                if asked.e164 in wished.own_numbers:
                    return None, True
                kept_until, accounts = self._connected.get(keys.tenant_id, (0.0, ()))
                if kept_until < time.monotonic():
                    accounts = await self._accounts(keys.tenant_id)
                candidates, at = await self._mirrored(keys, index, accounts)
        except TimeoutError:
            return None, False
        except Exception as error:  # the CRMs can still be asked
            log.error("directory_unread", exc_info=error)
            return None, False
        match = decide(candidates, e164=asked.e164)
        if match.status == "unknown":
            return None, True
        if self._may_read_behind():
            self._flights.refresh(keys, index, asked, since=0.0)
        summary = wished.summary_in_prompts
        kept = somebody(match, asked.e164, {}, complete=False, summary_in_variables=summary)
        return Landed(kept, at, "directory"), True

    def _may_read_behind(self) -> bool:
        """Whether there is room for one more; who is not read for now is when asked for again."""
        now, step = time.monotonic(), READ_BEHIND.total_seconds()
        begins = max(self._behind_until, now - (BEHIND_AT_ONCE - 1) * step)
        if begins > now:
            return False
        self._behind_until = begins + step
        return True

    async def _mirrored(
        self, keys: TenantKeys, index: bytes, accounts: Sequence[Askable]
    ) -> tuple[list[Candidate], float]:
        """Whom the mirror has for a number, and since when that is so (Unix seconds)."""
        places = {account.id: (place, account.provider) for place, account in enumerate(accounts)}
        held = await self._directory.holders(keys, index, list(places))
        found = [
            Candidate(one.connection_id, places[one.connection_id][1], places[one.connection_id][0], one.contact)
            for one in held
        ]
        return found, min((one.read_at.timestamp() for one in held), default=time.time())

    def _knows_all(self, tenant_id: TenantId) -> bool:
        """Whether every CRM of the tenant was mirrored to its end, as far as is known without asking."""
        _, connected = self._connected.get(tenant_id, (0.0, ()))
        _, whole = self._whole.get(tenant_id, (0.0, {}))
        return bool(connected) and all(whole.get(one.id, False) for one in connected)

    async def _accounts(self, tenant_id: TenantId) -> Sequence[Askable]:
        accounts = await asyncio.shield(self._listing.of(tenant_id, self._connections.of))
        self._connected[tenant_id] = (time.monotonic() + ACCOUNTS_KEPT.total_seconds(), accounts)
        return accounts

    async def _wholly_mirrored(self, tenant_id: TenantId) -> Mapping[str, bool]:
        held = self._whole.get(tenant_id)
        if held is not None and held[0] > time.monotonic():
            return held[1]
        async with self._db.reading(tenant_id) as session:
            whole = await directory_queries.completeness(session, tenant_id)
        self._whole[tenant_id] = (time.monotonic() + WISHES_KEPT.total_seconds(), whole)
        return whole

    async def _keys(self, tenant_id: TenantId, deadline: float) -> TenantKeys | None:
        """The tenant's keys from the database; None when that takes too long."""
        task = self._opening.of(tenant_id, self._keyring.of)
        done, _ = await asyncio.wait({task}, timeout=deadline - time.perf_counter())
        return task.result() if done else None

    async def _for_unsigned(self, landed: Landed, tenant_id: TenantId, index: bytes | None, asked_by: str) -> Landed:
        """Little, and nothing beyond 300 different numbers an hour, known or not."""
        if index is not None and not await self._caps.spend(tenant_id, asked_by, index, most=URL_NUMBERS_PER_HOUR):
            return Landed(none("unknown", None, complete=False), time.time(), "none", over_cap=True)
        wished = await self._wished(tenant_id)
        kept = for_unsigned(landed.kept, with_name=wished.name_when_unsigned)
        return msgspec.structs.replace(landed, kept=kept)

    def _note(
        self,
        found: Found,
        tenant_id: TenantId,
        asked_by: str,
        assurance: str,
        index: bytes | None,
        keys: TenantKeys | None,
        now: float,
    ) -> None:
        """Count it, and write down who asked; both behind the answer."""
        what = (found.kept.status, found.source)
        if (counter := self._counted.get(what)) is None:
            counter = self._counted[what] = LOOKUPS.labels(*what)
        counter.inc()
        version = keys.index_version if keys is not None else 1
        kept = found.kept
        self._journal.note(
            Row(
                tenant_id,
                found.lookup_id,
                asked_by,
                assurance,
                index,
                version,
                kept.status,
                found.source,
                kept.records,
                found.took,
                now,
            )
        )

    # ── what a flight asks ──────────────────────────────────────────────────────────────────────────────────────

    async def _plan(self, keys: TenantKeys, index: bytes, asked: Asked) -> Search | None:
        """Whom the directory has, and everybody else who may know this number; None for the tenant's own lines, which are nobody's."""
        assert asked.number is not None
        wished = await self._wished(keys.tenant_id)
        if asked.e164 in wished.own_numbers:
            return None
        accounts = await self._accounts(keys.tenant_id)
        mirrored, _ = await self._mirrored(keys, index, accounts)
        whole = await self._wholly_mirrored(keys.tenant_id)
        return Search(
            asked.number,
            accounts,
            mirrored=mirrored,
            sought_at=[one.id for one in accounts if not mirrored or not whole.get(one.id, False)],
            written=await self._cache.written(keys, index),
            last_call=lambda: self._last_call(keys, index, profiling=wished.profiling),
            under_way=self._under_way,
            most=self._settings.cold_searches,
            head_start=self._settings.lookup_budget / 2,
            summary_in_variables=wished.summary_in_prompts,
            outdated=lambda connection_id, found: self._outdated(keys.tenant_id, connection_id, index, found),
        )

    async def _outdated(
        self, tenant_id: TenantId, connection_id: str, index: bytes, found: Sequence[Contact]
    ) -> Collection[Ref]:
        """What a search that lags still says, and the mirror knows better."""
        async with self._db.reading(tenant_id) as session:
            return await outdated(session, tenant_id, connection_id, index, found)

    async def _wished(self, tenant_id: TenantId) -> wishes.Wishes:
        held = self._wishes.get(tenant_id)
        if held is not None and held[0] > time.monotonic():
            return held[1]
        return await asyncio.shield(self._wishing.of(tenant_id, self._read_wishes))

    async def _read_wishes(self, tenant_id: TenantId) -> wishes.Wishes:
        async with self._db.reading(tenant_id) as session:
            document, region = await queries.document(session, tenant_id)
        wished = wishes.read(document, region=region)
        self._wishes[tenant_id] = (time.monotonic() + WISHES_KEPT.total_seconds(), wished)
        return wished

    async def _last_call(self, keys: TenantKeys, index: bytes, *, profiling: bool) -> LastCall | None:
        """The newest ended call with this number; the summary is of the newest that has one."""
        async with self._db.reading(keys.tenant_id) as session:
            calls = await queries.last_calls(session, keys.tenant_id, index)
        if not calls:
            return None
        news = [msgspec.json.decode(keys.open(call.news, "calls", "news", call.id), type=CallNews) for call in calls]
        told = next((one for one in news if one.summary), None)
        return LastCall(
            at=calls[0].started_at or calls[0].received_at,
            summary=told.summary if told else None,
            sentiment=told.analysis.sentiment if told and told.analysis and profiling else None,
        )

    # ── what we know better ─────────────────────────────────────────────────────────────────────────────────────

    async def forget(self, tenant_id: TenantId, e164: str) -> None:
        """Something about this number changed: the next lookup asks again, and searches under way are not believed."""
        keys = await self._keyring.of(tenant_id)
        index = keys.index(e164)
        self._flights.disown(tenant_id, index)
        await self._cache.forget(tenant_id, index)

    async def forget_hashes(self, tenant_id: TenantId, hashes: Collection[bytes]) -> None:
        """The mirror changed for these numbers: what is kept of exactly them is dropped, for every process.

        With Redis away it is tried again behind, until it is done or what is kept there has ended by itself.
        """
        for index in hashes:
            self._flights.disown(tenant_id, index)
        if not await self._dropped(tenant_id, hashes):
            task = asyncio.create_task(self._drop_later(tenant_id, frozenset(hashes)))
            self._dropping.add(task)
            task.add_done_callback(self._dropping.discard)

    async def _dropped(self, tenant_id: TenantId, hashes: Collection[bytes]) -> bool:
        try:
            await self._cache.forget_many(tenant_id, hashes)
        except (RedisError, OSError) as error:
            log.warning("changed callers are not forgotten yet", error=type(error).__name__, numbers=len(hashes))
            return False
        return True

    async def _drop_later(self, tenant_id: TenantId, hashes: Collection[bytes]) -> None:
        until = time.monotonic() + self._settings.caller_kept.total_seconds()
        while time.monotonic() < until:
            await asyncio.sleep(DROPPED_AGAIN.total_seconds())
            if await self._dropped(tenant_id, hashes):
                return

    async def forget_everyone(self, tenant_id: TenantId) -> None:
        """One of the tenant's CRMs was taken away: nobody is answered from what it said, in no process.

        Raises `RedisError` when Redis is away: what is kept there is wrong now, and the caller has to try again.
        """
        self._flights.disown_all(tenant_id)
        await self._cache.forget_everyone(tenant_id)

    async def remember_written(
        self, tenant_id: TenantId, e164: str, *, connection_id: str, kind: str, record_id: str
    ) -> None:
        """We wrote this record with this number: found from now on, though the CRM's search does not know it yet.

        If the number was asked for lately it is read again at once, since the next call may be near.
        """
        keys = await self._keyring.of(tenant_id)
        index = keys.index(e164)
        await self._cache.note_written(keys, index, f"{connection_id}/{kind}/{record_id}")
        self._flights.disown(tenant_id, index)
        if await self._cache.forget(tenant_id, index):
            self._flights.refresh(keys, index, read_number(e164, None), since=0.0)

    # ── life ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def warm_up(self) -> None:
        """Load what the first caller of a region would wait 4 ms for. Sees every tenant's region."""
        async with self._db.reading() as session:
            for region in await queries.regions(session):
                example = phonenumbers.example_number(region)
                if example is not None:
                    phone.read(phone.e164(example), region)

    async def close(self) -> None:
        """Stop searching, and write who looked whom up."""
        for task in self._dropping:
            task.cancel()
        await self._flights.close()
        await self._directory.close()
        self._cache.close()
        await self._journal.close()


class _Shared(Generic[T]):
    """One reading of something of a tenant's, for all who want it while it is under way: five hundred may at once."""

    def __init__(self) -> None:
        self._under_way: dict[TenantId, asyncio.Task[T]] = {}

    def of(self, tenant_id: TenantId, read: Callable[[TenantId], Awaitable[T]]) -> asyncio.Task[T]:
        """The reading that is under way, or a new one. Await it behind a shield, or with `asyncio.wait`."""
        task = self._under_way.get(tenant_id)
        if task is None:
            task = self._under_way[tenant_id] = asyncio.ensure_future(_awaited(read, tenant_id))
            task.add_done_callback(lambda _: self._under_way.pop(tenant_id, None))
        return task


async def _awaited(read: Callable[[TenantId], Awaitable[T]], tenant_id: TenantId) -> T:
    return await read(tenant_id)
