"""Copying a CRM's people into the mirror: page by page, each page committed with the place to go on from.

A kill at any point costs the page under way and nothing else: rows and cursor are one transaction, under a lease whose
fence goes up with each holder. The next page is asked for while the last one is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from connectors.crm.port import Crm
from connectors.crm.records import Contact, Kind, Page
from connectors.errors import ConnectorError, RateLimited, ReconnectNeeded, Rejected, Unsupported
from gateway.connections import queries as connection_queries
from gateway.connections.open import Connections
from gateway.db.base import TenantId
from gateway.db.engine import Database, clock, utc_now
from gateway.directory import queries
from gateway.directory.mirror import Ready, drop, prepare, put
from gateway.directory.numbers import Reading
from gateway.directory.tables import Mirror
from gateway.errors import NotFound
from gateway.logs import log
from gateway.tenants.keys import Keyring, TenantKeys

PAGE = 500  # records; each connector asks for as many of them as its CRM gives at once
EXAMPLES = 20  # of fields that cannot be read, kept for a report
AT_A_TIME = 25  # records prepared before others on the loop get their turn
WAITS = timedelta(seconds=10)  # a wait no longer than this is waited for here; else the row is due again after it
LONGEST_PAUSE = timedelta(minutes=5)
SIGN_IN = timedelta(minutes=10)  # how often an import looks whether somebody has signed in again
MOST_REJECTED = 3  # in a row, then a person has to look

Forget = Callable[[TenantId, set[bytes]], Awaitable[None]]
"""Drops what is cached about numbers of these hashes, everywhere (`Finder.forget_hashes`)."""


@dataclass(frozen=True)
class _Held:
    """One kind of one connection that this process imports for now."""

    tenant_id: TenantId
    connection_id: str
    kind: Kind
    fence: int
    run: int
    dry: bool
    cursor: str | None
    listed: bool
    failures: int


class _Lost(Exception):
    """Somebody else holds the row now, or it is gone: nothing more is written."""


class Importer:
    """Imports of this process. `stop()` it: what is being stored is finished, the rest handed back."""

    def __init__(self, *, db: Database, keyring: Keyring, connections: Connections, forget: Forget) -> None:
        self._db = db
        self._keyring = keyring
        self._connections = connections
        self._forget = forget
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    async def run(self, connection_id: str) -> None:
        """Import what is due of a connection. Answers the ring "import"; doing it twice is harmless."""
        async with self._db.reading() as session:
            tenant_id = await connection_queries.tenant_of(session, connection_id)
        if tenant_id is None:
            return
        async with self._db.transaction(tenant_id) as session:
            if not await queries.mirrors(session, tenant_id, connection_id):
                await queries.begin(session, tenant_id, connection_id, dry=False, now=utc_now())
        while not self._stopping and (held := await self._claim(tenant_id, connection_id)) is not None:
            try:
                await self._import(held)
            except _Lost:
                return

    async def _claim(self, tenant_id: TenantId, connection_id: str) -> _Held | None:
        async with self._db.transaction(tenant_id) as session:
            row = await queries.claim(session, tenant_id, connection_id, lease=self._lease)
            if row is None:
                return None
            return _Held(
                tenant_id, connection_id, Kind(row.kind), row.fence, row.run, row.dry, row.cursor, row.listed, row.failures
            )  # fmt: skip

    @property
    def _lease(self) -> timedelta:
        return self._connections.settings.lease

    async def _import(self, held: _Held) -> None:
        """One kind, to its end or to where it has to wait. Raises `_Lost`."""
        try:
            if not held.listed:
                await self._list(held)
            if not self._stopping:
                await self._drop_unseen(held)
                await self._finish(held)
        except (RateLimited, _Waiting) as limited:
            await self._give_back(held, wait=limited.retry_after)
        except ReconnectNeeded as error:
            await self._give_back(held, wait=SIGN_IN, reason=error.reason)
        except NotFound:
            raise _Lost from None
        except Unsupported as error:
            await self._end_without(held, error)
        except Rejected as error:
            await self._rejected(held, error)
        except ConnectorError as error:
            log.info("import waits", connection_id=held.connection_id, kind=held.kind, error=type(error).__name__)
            pause = min(LONGEST_PAUSE, timedelta(seconds=2 ** min(held.failures, 10)))
            await self._give_back(held, wait=pause * random.uniform(0.5, 1.0), reason=error.reason, failed=True)
        else:
            if self._stopping:
                await self._give_back(held, wait=timedelta(0))

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _list(self, held: _Held) -> None:
        """Every page from the cursor on."""
        opened = await self._connections.open(held.tenant_id, held.connection_id, purpose="import")
        keys = await self._keyring.of(held.tenant_id)
        async with self._db.reading(held.tenant_id) as session:
            reading = await queries.reading(session, held.tenant_id, held.connection_id)
        coming = asyncio.ensure_future(self._page(held, opened.crm, held.cursor))
        try:
            while not self._stopping:
                read_at, page = await coming
                if page.next is not None and page.wait is None:
                    coming = asyncio.ensure_future(self._page(held, opened.crm, page.next))
                await self._store(held, page, await _prepared(keys, held, page.items, reading), read_at)
                if page.next is None:
                    return
                if page.wait is not None:
                    if page.wait > WAITS:
                        raise _Waiting(page.wait)
                    await asyncio.sleep(page.wait.total_seconds())
                    coming = asyncio.ensure_future(self._page(held, opened.crm, page.next))
        finally:
            coming.cancel()
            # Read ahead and wanted no more, or its error is on its way up already: nothing of it was stored.
            with contextlib.suppress(asyncio.CancelledError, ConnectorError):
                await coming

    async def _page(self, held: _Held, crm: Crm, cursor: str | None) -> tuple[datetime, Page]:
        """One page, and when it was asked for. Waits for our own limits, keeping the lease."""
        while True:
            at = utc_now()
            try:
                return at, await crm.list_contacts(held.kind, after=cursor, limit=PAGE)
            except RateLimited as limited:
                if limited.retry_after > WAITS or self._stopping:
                    raise
                await asyncio.sleep(limited.retry_after.total_seconds())
                await self._keep(held)

    # ── storing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _store(self, held: _Held, page: Page, ready: list[Ready], read_at: datetime) -> None:
        """A page's rows, and the place behind it, in one transaction."""
        touched: set[bytes] = set()
        unreadable = [f"{one.ref.kind} {one.ref.id}, {what}" for one in ready for what in one.unreadable]
        async with self._db.transaction(held.tenant_id) as session:
            row = await self._row(session, held)
            if not held.dry:
                touched = await put(session, held.tenant_id, held.connection_id, ready, read_at=read_at, run=held.run)
            row.done += len(page.items)
            row.total = page.total if page.total is not None else row.total
            row.unreadable += len(unreadable)
            row.examples = [*row.examples, *unreadable][:EXAMPLES]
            row.cursor, row.listed = page.next, page.next is None
            row.failures, row.reason = 0, None
        if touched:
            await self._forget(held.tenant_id, touched)

    async def _drop_unseen(self, held: _Held) -> None:
        """Whoever this run has not met was deleted at the CRM."""
        after = ""
        while not held.dry:
            async with self._db.transaction(held.tenant_id) as session:
                await self._row(session, held)
                refs = await queries.unseen(
                    session, held.tenant_id, held.connection_id, held.kind, run=held.run, after=after
                )
                touched = await drop(session, held.tenant_id, held.connection_id, refs, at=utc_now())
            if touched:
                await self._forget(held.tenant_id, touched)
            if not refs:
                return
            after = refs[-1].id

    async def _finish(self, held: _Held) -> None:
        async with self._db.transaction(held.tenant_id) as session:
            row = await self._row(session, held)
            now = utc_now()
            row.state, row.finished_at, row.total = queries.DONE, now, row.done
            row.due_at = row.lease_until = row.reason = None
            if not held.dry:
                row.complete_at = row.complete_at or now
                row.swept_at = now
                row.changed_until = max(filter(None, (row.changed_until, row.started_at)), default=now)
        log.info("import done", connection_id=held.connection_id, kind=held.kind, records=row.done, dry=held.dry)

    async def _keep(self, held: _Held) -> None:
        async with self._db.transaction(held.tenant_id) as session:
            await self._row(session, held)

    async def _row(self, session: AsyncSession, held: _Held) -> Mirror:
        """The row, locked, if it is still ours; then it is for a whole lease more."""
        row = await queries.held(session, held.tenant_id, held.connection_id, held.kind, held.fence)
        now = await session.scalar(select(clock(session)))
        if row is None or now is None:
            raise _Lost
        row.lease_until = now + self._lease
        return row

    # ── what does not go on ─────────────────────────────────────────────────────────────────────────────────────────

    async def _give_back(
        self, held: _Held, *, wait: timedelta, reason: str | None = None, failed: bool = False
    ) -> None:
        async with self._db.transaction(held.tenant_id) as session:
            await queries.release(
                session, held.tenant_id, held.connection_id, held.kind, held.fence,
                wait=wait, reason=reason, failed=failed,
            )  # fmt: skip
        raise _Lost

    async def _end_without(self, held: _Held, error: Unsupported) -> None:
        """This CRM has no such records; contacts every CRM has."""
        async with self._db.transaction(held.tenant_id) as session:
            row = await self._row(session, held)
            if held.kind is Kind.CONTACT:
                row.state, row.reason, row.due_at, row.lease_until = queries.FAILED, error.reason, None, None
            else:
                await queries.remove(session, held.tenant_id, held.connection_id, held.kind)

    async def _rejected(self, held: _Held, error: Rejected) -> None:
        """A cursor that the CRM takes no more means beginning anew, in the same run; anything else is for a person."""
        async with self._db.transaction(held.tenant_id) as session:
            row = await self._row(session, held)
            row.failures += 1
            row.lease_until = None
            if row.cursor is not None and row.failures < MOST_REJECTED:
                row.cursor, row.done, row.unreadable, row.examples = None, 0, 0, []
            else:
                row.state, row.reason, row.due_at = queries.FAILED, error.reason, None
        log.warning("import refused", connection_id=held.connection_id, kind=held.kind, why=error.reason)


class _Waiting(Exception):
    """The CRM prepares the next page for longer than it is worth waiting here."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__()
        self.retry_after = wait


async def _prepared(keys: TenantKeys, held: _Held, contacts: Sequence[Contact], reading: Reading) -> list[Ready]:
    """Numbers read and contents sealed, a few at a time: beside an API somebody is on the line."""
    ready: list[Ready] = []
    for start in range(0, len(contacts), AT_A_TIME):
        ready += [prepare(keys, held.connection_id, one, reading) for one in contacts[start : start + AT_A_TIME]]
        await asyncio.sleep(0)
    return ready
