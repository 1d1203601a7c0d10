"""What changed at a CRM → the mirror: hints are read again, and what nobody told us is asked for.

One process follows a feed at a time (`feeds.claim`), nothing holds a transaction over the network, and whatever is
written is written under the feed's fence. Notices come late, twice, in any order or not at all: what counts is what the
CRM answers when it is asked, and a poll asks again for what lies a little before what was read last.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncSession

from connectors.crm.changes import Change
from connectors.crm.port import Crm
from connectors.crm.records import Contact, Kind, Page, Ref
from connectors.errors import ConnectorError, RateLimited, ReconnectNeeded, Rejected, Unavailable, Unsupported
from gateway.connections import queries as connection_queries
from gateway.connections.health import State
from gateway.connections.open import Connections
from gateway.db.base import TenantId
from gateway.db.engine import Database, utc_now
from gateway.directory import feeds, mirror, queries, sweep
from gateway.directory.feeds import Held, Hint, Mirrored
from gateway.directory.numbers import Reading
from gateway.errors import NotFound
from gateway.logs import log
from gateway.settings import Settings
from gateway.tenants.keys import Keyring, TenantKeys

OVERLAP = timedelta(minutes=5)  # asked for again: searches lag, and transactions that began earlier end later
CLOCKS_APART = timedelta(minutes=10)  # how far a vendor's clock may be from ours before a poll misses something
FORGOTTEN = timedelta(days=14)  # not polled for so long: vendors forget what was deleted, so all is imported again
TOLD = timedelta(days=1)  # a CRM that told us something within this time is polled less often
SWEPT_EVERY = timedelta(days=1)
HINTS_A_TURN = 200
AT_ONCE = 4  # records of one connection being read
TOGETHER = 8  # records read and then stored in one transaction: well within a lease, however slow the CRM is
MOST_TRIES = 8  # readings of one record that make no sense; a sweep may find it later
PAUSED = timedelta(minutes=5)  # between tries while the tenant has to sign in again

READ = Counter("gateway_directory_changes", "Records that a change led us to.", ["provider", "by"])


class Forget(Protocol):
    """`gateway.lookup.find.Finder.forget_hashes`."""

    async def __call__(self, tenant_id: TenantId, hashes: Collection[bytes]) -> None: ...


class FencedOff(Exception):
    """Somebody else follows this feed by now: nothing more is written."""


class Follower:
    """Keeps the mirrors of all connections true. One per process."""

    def __init__(
        self, *, settings: Settings, db: Database, keyring: Keyring, connections: Connections, forget: Forget
    ) -> None:
        self.settings = settings
        self.db = db
        self.keyring = keyring
        self.connections = connections
        self.forget = forget

    async def follow(self, connection_id: str) -> None:
        """Do what a feed owes: hints, a poll, a sweep. Answers the ring "poll"; doing it twice is harmless."""
        async with self.db.reading() as session:
            tenant_id = await connection_queries.tenant_of(session, connection_id)
        if tenant_id is None:
            return
        async with self.db.transaction(tenant_id) as session:
            row = await connection_queries.connection(session, tenant_id, connection_id)
            if row is None or row.state == State.DISCONNECTED:
                await feeds.end(session, tenant_id, connection_id)
                return
            if row.probed_at is not None:
                await feeds.ensure(session, tenant_id, connection_id)
            held = await feeds.claim(session, tenant_id, connection_id, lease=self.settings.lease)
        if held is not None:
            await self._turn(held)

    async def _turn(self, held: Held) -> None:
        tenant_id, connection_id = held.tenant_id, held.connection_id
        wait: timedelta | None = None
        turn: _Turn | None = None
        try:
            opened = await self.connections.open(tenant_id, connection_id, purpose="import")
            keys = await self.keyring.of(tenant_id)
            async with self.db.reading(tenant_id) as session:
                reading = await queries.reading(session, tenant_id, connection_id)
                kinds = await feeds.mirrored(session, tenant_id, connection_id)
            turn = _Turn(self, held, opened.crm, opened.provider, keys, reading, kinds)
            await turn.run()
        except FencedOff:
            log.info("a feed is followed by somebody else", connection_id=connection_id)
            return
        except (ReconnectNeeded, NotFound):
            wait = PAUSED * random.uniform(0.8, 1.2)
            async with self.db.transaction(tenant_id) as session:
                await feeds.look_soon(session, tenant_id, connection_id)
        except ConnectorError as error:
            wait = pause(error, held.failures, roll=random.random())
            log.info("changes are read later", connection_id=connection_id, error=type(error).__name__)
        await self._finish(held, turn, wait)

    async def _finish(self, held: Held, turn: _Turn | None, wait: timedelta | None) -> None:
        tenant_id, settings = held.tenant_id, self.settings
        polled = turn is not None and turn.polled
        async with self.db.transaction(tenant_id) as session:
            told = await feeds.is_told(session, tenant_id, held.connection_id, since=utc_now() - TOLD)
            interval = settings.poll_interval_told if told else settings.poll_interval
            await feeds.finish(
                session,
                tenant_id,
                held,
                poll_in=interval * random.uniform(0.8, 1.2) if polled else None,
                polled_at=turn.polled_at if turn is not None else None,
                sweep_in=SWEPT_EVERY * random.uniform(0.8, 1.2) if turn is not None and turn.swept else None,
                wait=wait,
            )


def pause(error: ConnectorError, failures: int, *, roll: float) -> timedelta:
    """How long a CRM is left alone after `error`, the `failures`-th in a row. Pure; `roll` is 0..1."""
    if isinstance(error, RateLimited):
        return error.retry_after * (1 + roll / 4)
    wish = error.retry_after if isinstance(error, Unavailable) else None
    grown: timedelta = min(timedelta(minutes=15), timedelta(seconds=10) * 2 ** min(failures, 10))
    return max(wish or timedelta(0), grown * (0.5 + roll / 2))


@dataclass(frozen=True)
class _Read:
    """A record that was asked for at `asked`: what it is now, None if it is gone, or why it could not be read."""

    ref: Ref
    asked: datetime
    found: Contact | None = None
    error: ConnectorError | None = None


class _Turn:
    """One turn at one feed."""

    def __init__(
        self,
        follower: Follower,
        held: Held,
        crm: Crm,
        provider: str,
        keys: TenantKeys,
        reading: Reading,
        kinds: Sequence[Mirrored],
    ) -> None:
        self._follower = follower
        self._held = held
        self._crm = crm
        self._provider = provider
        self._keys = keys
        self._reading = reading
        self._kinds = kinds
        self._tenant_id, self._connection_id = held.tenant_id, held.connection_id
        self.polled = self.swept = False
        self.polled_at: datetime | None = None

    async def run(self) -> None:
        """Hints first: somebody may be about to call. Raises `FencedOff`, and `ConnectorError` for what stops the turn."""
        await self._read_hints(HINTS_A_TURN)
        if self._held.poll:
            await self._poll()
            self.polled = True
        if self._held.sweep:
            await self._sweep()
            self.swept = True

    # ── hints ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _read_hints(self, most: int) -> None:
        async with self._follower.db.reading(self._tenant_id) as session:
            due = await feeds.hints(session, self._tenant_id, self._connection_id, limit=most)
        for start in range(0, len(due), TOGETHER):
            some = due[start : start + TOGETHER]
            read = await self._read([hint.ref for hint in some])
            await self._take_hints({hint.ref: hint for hint in some}, read)

    async def _read(self, refs: Sequence[Ref]) -> list[_Read]:
        """Each of them as it is now, or why not. Raises what stops the turn, if nothing at all was read."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(ref: Ref) -> _Read:
            async with gate:
                asked = utc_now()
                try:
                    return _Read(ref, asked, await self._crm.read_contact(ref))
                except ConnectorError as error:
                    return _Read(ref, asked, error=error)

        return list(await asyncio.gather(*(one(ref) for ref in refs)))

    async def _take_hints(self, hints: dict[Ref, Hint], read: Sequence[_Read]) -> None:
        """Into the mirror with what was read. What could not be read is put off, or given up if it never will be."""
        stops = next((one.error for one in read if _stops(one.error)), None)
        good = [one for one in read if one.error is None]
        given_up = [one for one in read if isinstance(one.error, Rejected | Unsupported)]
        unclear = [one for one in read if one.error is not None and not _stops(one.error) and one not in given_up]
        given_up += [one for one in unclear if hints[one.ref].tries + 1 >= MOST_TRIES]
        async with self._follower.db.transaction(self._tenant_id) as session:
            await self._hold(session)
            touched = await self._store(session, good)
            settled = [hints[one.ref] for one in (*good, *given_up)]
            await feeds.settle(session, self._tenant_id, self._connection_id, settled)
            for one in unclear:
                if one not in given_up:
                    hint = hints[one.ref]
                    wait = timedelta(minutes=1) * 2**hint.tries
                    await feeds.put_off(session, self._tenant_id, self._connection_id, hint, wait=wait)
        if given_up:
            log.warning("records that may have changed cannot be read", connection_id=self._connection_id,
                        records=len(given_up))  # fmt: skip
        READ.labels(self._provider, "hint").inc(len(good))
        await self._forget(touched)
        if stops is not None:
            raise stops

    async def _store(self, session: AsyncSession, read: Iterable[_Read]) -> set[bytes]:
        """Records as they are now; one that is gone, or has become another, is taken out."""
        touched: set[bytes] = set()
        for one in sorted(read, key=lambda one: (one.ref.kind, one.ref.id)):
            now = one.found
            if now is None or Ref(now.kind, now.id) != one.ref:
                touched |= await mirror.drop(session, self._tenant_id, self._connection_id, [one.ref], at=one.asked)
        ready = [(one.asked, self._prepared(one.found)) for one in read if one.found is not None]
        if ready:
            asked = min(at for at, _ in ready)
            touched |= await mirror.put(
                session, self._tenant_id, self._connection_id, [one for _, one in ready], read_at=asked
            )
        return touched

    # ── polls ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _poll(self) -> None:
        """Every mirrored kind: what is gone first, then what changed, so that what came back is back."""
        began = utc_now()
        unclear: ConnectorError | None = None
        kinds = [one for one in self._kinds if one.changed_until is not None]
        for one in kinds:
            assert one.changed_until is not None
            if began - one.changed_until > FORGOTTEN:
                await self._import_again("not asked for too long")
            try:
                await self._poll_kind(one, one.changed_until, began)
            except (Rejected, Unsupported) as error:  # a scope, an edition: the others may do
                log.info("changes cannot be asked for", connection_id=self._connection_id, kind=one.kind.value,
                         error=type(error).__name__)  # fmt: skip
            except ConnectorError as error:
                if _stops(error):
                    raise
                unclear = error
        if unclear is not None:
            raise unclear
        if kinds:
            self.polled_at = began

    async def _poll_kind(self, one: Mirrored, changed_until: datetime, began: datetime) -> None:
        told_from = min(self._held.polled_at or changed_until, changed_until) - OVERLAP - CLOCKS_APART
        await self._deletions(one.kind, told_from)
        async for page, asked in _asked(self._crm.changes_since(one.kind, changed_until - OVERLAP)):
            last = max((item.updated_at for item in page.items if item.updated_at), default=None)
            await self._put(one.kind, page.items, asked, read_until=last)
            await self._read_hints(TOGETHER)
        await self._put(one.kind, (), began, read_until=began - CLOCKS_APART)

    async def _put(self, kind: Kind, items: Sequence[Contact], asked: datetime, *, read_until: datetime | None) -> None:
        ready = []
        for place, item in enumerate(items):
            ready.append(self._prepared(item))
            if place % 25 == 24:
                await asyncio.sleep(0)  # beside an API somebody is on the line
        async with self._follower.db.transaction(self._tenant_id) as session:
            await self._hold(session)
            touched = await mirror.put(session, self._tenant_id, self._connection_id, ready, read_at=asked)
            if read_until is not None:
                await feeds.read_until(session, self._tenant_id, self._connection_id, kind, read_until)
        READ.labels(self._provider, "poll").inc(len(items))
        await self._forget(touched)

    async def _deletions(self, kind: Kind, since: datetime) -> None:
        """What was deleted, merged away or converted. What has changed since it was deleted is back, and stays."""
        asked = utc_now()
        try:
            changes = await self._crm.deleted_since(kind, since)
        except (Rejected, Unsupported):  # notices and sweeps find them
            return
        for start in range(0, len(changes), 500):
            some = changes[start : start + 500]
            async with self._follower.db.transaction(self._tenant_id) as session:
                await self._hold(session)
                back = await feeds.changed_after(session, self._tenant_id, self._connection_id, _times(some))
                gone = [Ref(one.kind, one.id) for one in some if Ref(one.kind, one.id) not in back]
                touched = await mirror.drop(session, self._tenant_id, self._connection_id, gone, at=asked)
                heirs = [one.into for one in some if one.into is not None and Ref(one.kind, one.id) not in back]
                mine = (self._tenant_id, self._connection_id)
                await feeds.note(session, {mine: heirs}, now=asked, by_crm=False)
            READ.labels(self._provider, "deletion").inc(len(gone))
            await self._forget(touched)

    # ── sweeps ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _sweep(self) -> None:
        """Read a random sample again and mend what drifted; where too much did, import everything again."""
        async with self._follower.db.reading(self._tenant_id) as session:
            drawn = await sweep.draw(session, self._tenant_id, self._connection_id)
        until = {one.kind: one.changed_until for one in self._kinds}
        tally = sweep.Tally()
        for start in range(0, len(drawn), TOGETHER):
            read = await self._read(drawn[start : start + TOGETHER])
            touched: set[bytes] = set()
            async with self._follower.db.transaction(self._tenant_id) as session:
                await self._hold(session)
                for one in read:
                    if one.error is None:
                        changed = await self._store(session, [one])
                        tally.add(sweep.verdict(one.ref, one.found, until.get(one.ref.kind), changed=bool(changed)))
                        touched |= changed
            await self._forget(touched)
            if (stops := next((one.error for one in read if _stops(one.error)), None)) is not None:
                raise stops
        async with self._follower.db.transaction(self._tenant_id) as session:
            await self._hold(session)
            for kind in until:
                await feeds.swept(session, self._tenant_id, self._connection_id, kind, utc_now())
        tally.report(self._provider, self._connection_id)
        if tally.is_too_much:
            await self._import_again("too much has drifted")

    async def _import_again(self, why: str) -> None:
        async with self._follower.db.transaction(self._tenant_id) as session:
            await self._hold(session)
            begun = await queries.begin(session, self._tenant_id, self._connection_id, dry=False, now=utc_now())
        if begun:
            log.warning("a mirror is imported again", connection_id=self._connection_id, why=why)

    # ── what all of them do ─────────────────────────────────────────────────────────────────────────────────────────

    def _prepared(self, contact: Contact) -> mirror.Ready:
        return mirror.prepare(self._keys, self._connection_id, contact, self._reading)

    async def _hold(self, session: AsyncSession) -> None:
        if not await feeds.hold(session, self._tenant_id, self._held, lease=self._follower.settings.lease):
            raise FencedOff

    async def _forget(self, touched: Collection[bytes]) -> None:
        if touched:
            await self._follower.forget(self._tenant_id, touched)


def _stops(error: ConnectorError | None) -> bool:
    """Whether this is about the account, and not about one record."""
    return isinstance(error, ReconnectNeeded | RateLimited | Unavailable)


def _times(changes: Iterable[Change]) -> Mapping[Ref, datetime]:
    return {Ref(one.kind, one.id): one.at for one in changes if one.at is not None}


async def _asked(pages: AsyncIterator[Page]) -> AsyncIterator[tuple[Page, datetime]]:
    """Each page, and when it was asked for."""
    while True:
        asked = utc_now()
        try:
            page = await anext(pages)
        except StopAsyncIteration:
            return
        yield page, asked
