"""A connection → a ready `Crm`: authorised, throttled, watched. Also what connections owe in the background.

One HTTP pool per connection, so that one CRM's slowness is its own; all share one TLS context. Rows are believed for a
second, so a disconnect or a reconnect is obeyed within that time by every process.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx2
import msgspec
import redis.asyncio as redis
from redis.exceptions import RedisError

from connectors.crm.port import Crm, Sticking
from connectors.crm.records import Account
from connectors.errors import (
    ConnectorError,
    OutcomeUnknown,
    RateLimited,
    ReconnectNeeded,
    Unavailable,
)
from connectors.http import Http, make_client
from connectors.tokens import Token
from gateway.connections import disconnect, queries
from gateway.connections.breaker import Breakers
from gateway.connections.budget import DailyBudgets
from gateway.connections.health import State
from gateway.connections.providers import Providers, Registered
from gateway.connections.sender import Sender
from gateway.connections.tables import Connection, CrmAccount
from gateway.connections.throttle import Purpose, Throttle
from gateway.connections.tokens import Tokens, renew_after
from gateway.db.base import TenantId
from gateway.db.engine import Database, utc_now
from gateway.errors import NotFound
from gateway.logs import log
from gateway.settings import Settings
from gateway.tenants.keys import Keyring

ROWS_BELIEVED = timedelta(seconds=1)
FORGOTTEN_AGAIN = ROWS_BELIEVED + timedelta(milliseconds=500)
FORGET_TRIES = 600  # with Redis away; what is kept there ends by itself in a quarter of an hour
POOL_IDLE = timedelta(minutes=5)  # then its sockets are closed
PROBE_LASTS = timedelta(seconds=45)
PROBE_AGAIN = timedelta(minutes=1)  # after a probe that the CRM kept from ending
PAGE_WAITS = timedelta(seconds=4)  # how long a person waits for the probe before they are shown that it is connected
NOTED_EVERY = timedelta(seconds=30)  # how exactly the last success and the last error are kept


@dataclass(frozen=True)
class Opened:
    """A connection ready to be used for one purpose.

    account_id  of the CRM account: limits and breaker belong to it.
    sticks      per kind of write, as probed.
    origin      where the API is; `ui_origin` where people look at records, if the CRM has such a place.
    """

    id: str
    tenant_id: TenantId
    provider: str
    account_id: str
    crm: Crm
    sticks: Mapping[str, Sticking]
    origin: str
    ui_origin: str | None


@dataclass(frozen=True)
class _Row:
    """What of a connection's rows an open one is made of; another value, another `Crm`."""

    tenant_id: TenantId
    id: str
    provider: str
    state: str
    paused: bool
    reason: str | None
    api_origin: str
    account_id: str
    account: Account
    sticks: bytes
    region: str


class Connections:
    """All of this process's ways into CRMs. One per loop."""

    def __init__(
        self,
        *,
        settings: Settings,
        db: Database,
        keyring: Keyring,
        redis: redis.Redis,
        providers: Providers | None = None,
    ) -> None:
        self.settings = settings
        self.db = db
        self.keyring = keyring
        self.providers = providers or Providers()
        self.tokens = Tokens(db=db, keyring=keyring, providers=self.providers)
        self.throttle = Throttle(redis)
        self.breakers = Breakers(redis)
        self.budgets = DailyBudgets(db)
        self._rows: dict[tuple[TenantId, str], tuple[float, _Row | None]] = {}
        self._lists: dict[TenantId, tuple[float, Sequence[_Row]]] = {}
        self._opened: dict[tuple[str, Purpose], tuple[_Row, Opened]] = {}
        self._pools: dict[str, tuple[httpx2.AsyncClient, float]] = {}
        self._tidied = time.monotonic()
        self._probing: dict[str, asyncio.Task[None]] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self._noted: dict[tuple[str, bool], float] = {}
        self._when_ended: Callable[[TenantId], Awaitable[None]] | None = None
        self._when_ending: Callable[[TenantId, str], Awaitable[None]] | None = None

    async def of(self, tenant_id: TenantId) -> Sequence[Opened]:
        """The tenant's connections that may be asked who is calling, in its order of preference."""
        until, rows = self._lists.get(tenant_id, (0.0, ()))
        if until <= time.monotonic():
            asked = time.monotonic()
            async with self.db.reading(tenant_id) as session:
                found = await queries.openable(session, tenant_id)
            rows = [self._snapshot(*one) for one in found]
            self._lists[tenant_id] = (asked + ROWS_BELIEVED.total_seconds(), rows)
        return [self._open(row, "lookup") for row in rows if self._may_look_up(row)]

    async def open(self, tenant_id: TenantId, connection_id: str, *, purpose: Purpose = "delivery") -> Opened:
        """One connection, for one purpose.

        Raises `NotFound` for one that is not the tenant's, `ReconnectNeeded` for one whose grant is gone, and for
        deliveries `Unavailable` while it is held for another reason.
        """
        until, row = self._rows.get((tenant_id, connection_id), (0.0, None))
        if until <= time.monotonic():
            asked = time.monotonic()
            async with self.db.reading(tenant_id) as session:
                found = await queries.openable(session, tenant_id, connection_id)
            row = self._snapshot(*found[0]) if found else None
            self._rows[tenant_id, connection_id] = (asked + ROWS_BELIEVED.total_seconds(), row)
        if row is None:
            raise NotFound
        if row.state != State.ACTIVE:
            raise ReconnectNeeded(row.reason or "this CRM was disconnected")
        if row.paused and purpose == "delivery":
            raise Unavailable(row.reason or "this connection is held")
        return self._open(row, purpose)

    @contextlib.asynccontextmanager
    async def with_token(self, registered: Registered, granted: Token, origin: str) -> AsyncIterator[Crm]:
        """A `Crm` at `origin` for a grant that is not stored yet, to find out whose it is."""

        async def token(_refused: bool) -> str:
            return granted.access_token

        async with make_client() as client:
            http = Http(
                origin=origin,
                client=client,
                token=token,
                read_error=registered.provider.read_error,
                auth_scheme=registered.manifest.auth_scheme,
                total=self.settings.request_timeout,
            )
            yield registered.provider.open(http, sticks={})

    def renewed(self, tenant_id: TenantId, connection_id: str) -> None:
        """A grant was stored by this process: forget what is remembered of the old one, and probe the account."""
        self.forget(tenant_id, connection_id)
        self._start_probe(tenant_id, connection_id)

    def when_ended(self, forget: Callable[[TenantId], Awaitable[None]]) -> None:
        """`forget` is called when a connection has ended, with its tenant: what was read there is to be known no more."""
        self._when_ended = forget

    def when_ending(self, say_goodbye: Callable[[TenantId, str], Awaitable[None]]) -> None:
        """`say_goodbye` is called before a connection ends, with its tenant and id: its CRM can still be asked."""
        self._when_ending = say_goodbye

    async def ending(self, tenant_id: TenantId, connection_id: str) -> None:
        """A connection is about to be ended by this process; what is set up for it at the vendor ends first."""
        if self._when_ending is not None:
            await self._when_ending(tenant_id, connection_id)

    async def ended(self, tenant_id: TenantId) -> None:
        """A connection was ended by this process. Other processes may read there until they have read its row again, so
        what was read is forgotten at once, and once more after that; and until it can be, should Redis be away."""
        self._lists.pop(tenant_id, None)
        await self._forgotten(tenant_id)
        self.spawn(self._forget_later(tenant_id))

    async def _forgotten(self, tenant_id: TenantId) -> bool:
        try:
            if self._when_ended is not None:
                await self._when_ended(tenant_id)
        except (RedisError, OSError) as error:
            log.warning("callers of a disconnected CRM are not forgotten yet", error=type(error).__name__)
            return False
        return True

    async def _forget_later(self, tenant_id: TenantId) -> None:
        for _ in range(FORGET_TRIES):
            await asyncio.sleep(FORGOTTEN_AGAIN.total_seconds())
            if await self._forgotten(tenant_id):
                return

    async def probed(self, connection_id: str, within: timedelta = PAGE_WAITS) -> bool:
        """Wait for the probe under way, if one is; whether it has ended."""
        task = self._probing.get(connection_id)
        if task is None:
            return True
        done, _ = await asyncio.wait({task}, timeout=within.total_seconds())
        return bool(done)

    async def refresh_due(self, connection_id: str) -> None:
        """Do what a connection owes: a revocation, a probe, a renewal. Answers the ring "refresh"; doing it twice is harmless."""
        async with self.db.reading() as session:
            tenant_id = await queries.tenant_of(session, connection_id)
        if tenant_id is None:
            return
        async with self.db.reading(tenant_id) as session:
            row = await queries.connection(session, tenant_id, connection_id)
        if row is None:
            return
        if row.state == State.DISCONNECTED:
            await disconnect.revoke(self, tenant_id, connection_id)
        elif row.state == State.ACTIVE and row.probed_at is None:
            await asyncio.shield(self._start_probe(tenant_id, connection_id))
        else:
            await self.tokens.refresh_due(tenant_id, connection_id)

    async def close(self) -> None:
        """End what goes on in the background and close all sockets."""
        tasks = [*self._probing.values(), *self._background]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client, _ in self._pools.values():
            await client.aclose()
        self._pools.clear()

    def _snapshot(self, connection: Connection, account: CrmAccount, region: str) -> _Row:
        registered = self.providers.get(connection.provider)
        override = registered.app.api_url if registered is not None else ""
        return _Row(
            tenant_id=TenantId(connection.tenant_id),
            id=connection.id,
            provider=connection.provider,
            state=connection.state,
            paused=connection.paused_at is not None,
            reason=connection.reason,
            api_origin=override or connection.api_origin,
            account_id=account.id,
            account=Account(
                id=account.external_id,
                name=account.name,
                region=account.region,
                timezone=account.timezone,
                currency=account.currency,
                ui_origin=account.ui_origin,
            ),
            sticks=msgspec.json.encode(connection.sticks),
            region=region,
        )

    def _may_look_up(self, row: _Row) -> bool:
        registered = self.providers.get(row.provider)
        return registered is not None and "find_contacts" in registered.manifest.can

    def _open(self, row: _Row, purpose: Purpose) -> Opened:
        self._tidy()
        held = self._opened.get((row.id, purpose))
        if held is not None and held[0] == row and row.id in self._pools:
            return held[1]
        registered = self.providers.of(row.provider)
        sticks = msgspec.json.decode(row.sticks, type=dict[str, Sticking])
        opened = Opened(
            id=row.id,
            tenant_id=row.tenant_id,
            provider=row.provider,
            account_id=row.account_id,
            crm=registered.provider.open(
                self._sender(row, registered, purpose), sticks=sticks, account=row.account, region=row.region
            ),
            sticks=sticks,
            origin=row.api_origin,
            ui_origin=row.account.ui_origin,
        )
        self._opened[row.id, purpose] = (row, opened)
        return opened

    def _sender(self, row: _Row, registered: Registered, purpose: Purpose) -> Sender:
        return Sender(
            tenant_id=row.tenant_id,
            connection_id=row.id,
            account_id=row.account_id,
            provider=registered.provider,
            purpose=purpose,
            client=lambda: self._client(row.id),
            total=self.settings.request_timeout,
            tokens=self.tokens,
            throttle=self.throttle,
            breakers=self.breakers,
            budgets=self.budgets,
            note=lambda ok: self._note(row.tenant_id, row.id, ok=ok),
            spawn=self.spawn,
        )

    def _client(self, connection_id: str) -> httpx2.AsyncClient:
        """The pool of one connection, made when first needed, marked as used."""
        held = self._pools.get(connection_id)
        client = make_client() if held is None else held[0]
        self._pools[connection_id] = (client, time.monotonic())
        return client

    def _note(self, tenant_id: TenantId, connection_id: str, *, ok: bool) -> None:
        """Remember that the CRM has just answered, or has just failed to; behind the answer, and not each time."""
        now = time.monotonic()
        if now < self._noted.get((connection_id, ok), 0.0):
            return
        self._noted[connection_id, ok] = now + NOTED_EVERY.total_seconds()

        async def write() -> None:
            async with self.db.transaction(tenant_id) as session:
                await queries.note(session, tenant_id, connection_id, ok=ok, now=utc_now())

        self.spawn(write())

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do it behind the answer; ended with the process."""
        task = asyncio.create_task(work)
        self._background.add(task)

        def ended(task: asyncio.Task[Any]) -> None:
            self._background.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("background work failed", exc_info=error)

        task.add_done_callback(ended)

    def forget(self, tenant_id: TenantId, connection_id: str) -> None:
        """Drop what this process remembers of a connection's row and token: they have just been changed."""
        self.tokens.forget(tenant_id, connection_id)
        self._rows.pop((tenant_id, connection_id), None)
        self._lists.pop(tenant_id, None)

    def _tidy(self) -> None:
        """Close pools nobody uses and drop rows nobody asked for lately; once a minute at most."""
        now = time.monotonic()
        if now - self._tidied < 60:
            return
        self._tidied = now
        for connection_id, (client, used) in list(self._pools.items()):
            if now - used > POOL_IDLE.total_seconds():
                del self._pools[connection_id]
                self.spawn(client.aclose())
        self._opened = {which: held for which, held in self._opened.items() if which[0] in self._pools}
        self._rows = {which: held for which, held in self._rows.items() if held[0] > now}
        self._lists = {which: held for which, held in self._lists.items() if held[0] > now}

    def _start_probe(self, tenant_id: TenantId, connection_id: str) -> asyncio.Task[None]:
        task = self._probing.get(connection_id)
        if task is None:
            task = self._probing[connection_id] = asyncio.create_task(self._probe(tenant_id, connection_id))

            def ended(task: asyncio.Task[None]) -> None:
                self._probing.pop(connection_id, None)
                if not task.cancelled() and (error := task.exception()) is not None:
                    log.error("probe failed", connection_id=connection_id, exc_info=error)

            task.add_done_callback(ended)
        return task

    async def _probe(self, tenant_id: TenantId, connection_id: str) -> None:
        """Find out how this account keeps writes from doubling, then let deliveries flow.

        An account that refuses to be probed keeps the levels that need nothing of it; one that does not answer is
        probed again by the relay's ring.
        """
        sticks: Mapping[str, Sticking] | None = None
        try:
            opened = await self.open(tenant_id, connection_id, purpose="connect")
            async with asyncio.timeout(PROBE_LASTS.total_seconds()):
                sticks = await opened.crm.probe()
        except ReconnectNeeded:
            return
        except (Unavailable, RateLimited, OutcomeUnknown, TimeoutError) as error:
            log.info("probe put off", connection_id=connection_id, error=type(error).__name__)
            async with self.db.transaction(tenant_id) as session:
                row = await queries.locked(session, tenant_id, connection_id)
                if row is not None and row.state == State.ACTIVE:
                    row.refresh_due_at = utc_now() + PROBE_AGAIN
            return
        except ConnectorError as error:
            log.warning("account not probed", connection_id=connection_id, error=type(error).__name__)
        async with self.db.transaction(tenant_id) as session:
            row = await queries.locked(session, tenant_id, connection_id)
            if row is None or row.state != State.ACTIVE:
                return
            if sticks is not None:
                row.sticks = {**row.sticks, **msgspec.to_builtins(dict(sticks))}
            row.probed_at = utc_now()
            row.paused_at = row.reason = None
            row.refresh_due_at = self._renewal_of(row)
        self._rows.pop((tenant_id, connection_id), None)
        self._lists.pop(tenant_id, None)

    def _renewal_of(self, row: Connection) -> datetime | None:
        """When the grant in `row` is to be renewed; at its end, where it cannot be: then somebody has to sign in."""
        if row.refresh_token is None or row.token_expires_at is None:
            return row.token_expires_at
        left = max(row.token_expires_at - utc_now(), timedelta(0))
        return utc_now() + renew_after(left, self.providers.of(row.provider).manifest, roll=random.random())


def sticks_of(row: Connection) -> Mapping[str, Sticking]:
    """The sticking of each kind of write on this connection, as probed, or the weakest until then."""
    return msgspec.convert(row.sticks, dict[str, Sticking])
