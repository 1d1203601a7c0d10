"""A token that works now. One process renews it, ahead of time when it can; everybody else waits for the row.

Three layers: callers of one process share one flight; one process at a time holds the lease on the row (database
clock, fenced); under it the row is read again. A waiting process looks at the row, never at the vendor: two exchanges
at once can cost the whole grant. The new refresh token is committed before the new access token is used.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import msgspec
from sqlalchemy import ColumnElement, Interval, and_, case, literal, or_, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import ReturningUpdate

from connectors.crm.port import Manifest
from connectors.errors import ConnectorError, ReconnectNeeded, Unavailable
from connectors.tokens import Token
from gateway.connections import queries
from gateway.connections.health import State
from gateway.connections.hosts import ForeignHost
from gateway.connections.providers import Providers, Registered
from gateway.connections.tables import Connection
from gateway.db.base import TenantId, UtcTime
from gateway.db.engine import Database, clock, utc_now
from gateway.logs import log
from gateway.tenants.keys import Keyring, TenantKeys

LEASE = timedelta(seconds=30)  # longer than a token endpoint may take: OAuth's total is 15 s
KEPT = timedelta(seconds=60)  # an opened token stays in memory this long at most
MARGIN = timedelta(seconds=30)  # a token with less left than this is not handed out: the request needs time too
STORE_AGAIN = (timedelta(milliseconds=200), timedelta(seconds=1), timedelta(seconds=4))  # all of it within the lease
UNKNOWN_LIFETIME = timedelta(minutes=15)  # where neither a vendor nor its manifest says
IDLE_PART = 4  # a grant that ends of idleness is renewed in this part of the time it has
LONGEST_COOL_DOWN = timedelta(minutes=1)
_LONGEST_WISH = timedelta(hours=1)  # of a Retry-After


@dataclass(frozen=True)
class Access:
    """A token that works now, and where: the address may move with it (Salesforce's `instance_url`)."""

    token: str = field(repr=False)
    origin: str


@dataclass(frozen=True)
class _Held:
    """The right to renew one grant, and what it is renewed with."""

    tenant_id: TenantId
    connection_id: str
    provider: str
    token_origin: str
    api_origin: str
    seen: int
    fence: int
    failures: int
    refresh_token: str = field(repr=False)
    extra: Mapping[str, Any] = field(repr=False)


class Tokens:
    """The tokens of this process's connections.

    lease  how long one process may take for an exchange, storing included.
    """

    def __init__(self, *, db: Database, keyring: Keyring, providers: Providers, lease: timedelta = LEASE) -> None:
        self._db = db
        self._keyring = keyring
        self._providers = providers
        self._lease = lease
        self._kept: dict[tuple[TenantId, str], tuple[float, Access]] = {}
        self._flights: dict[tuple[TenantId, str], asyncio.Task[Access]] = {}

    async def token(self, tenant_id: TenantId, connection_id: str, *, refused: str | None = None) -> str:
        """The token of `access`."""
        return (await self.access(tenant_id, connection_id, refused=refused)).token

    async def access(self, tenant_id: TenantId, connection_id: str, *, refused: str | None = None) -> Access:
        """An access token with time left on it, and where it is good.

        refused  the token the vendor has just answered 401 to: anything but that one.
        Raises `ReconnectNeeded` when the grant is gone, `Unavailable` while it cannot be renewed.
        """
        which = (tenant_id, connection_id)
        until, kept = self._kept.get(which, (0.0, None))
        if kept is not None and until > time.monotonic() and kept.token != refused:
            return kept
        while (flight := self._flights.get(which)) is not None:
            found = await asyncio.shield(flight)
            if found.token != refused:
                return found
        return await self._fly(which, lambda: self._fetch(tenant_id, connection_id, refused))

    async def refresh_due(self, tenant_id: TenantId, connection_id: str) -> None:
        """Renew a grant whose time has come, with nobody waiting for it. Ringing twice renews once.

        A failure stands in the row, with the time of the next try, and is not raised.
        """
        row = await self._row(tenant_id, connection_id)
        if row is None or row.state != State.ACTIVE or row.refresh_due_at is None or row.refresh_due_at > utc_now():
            return
        which, seen = (tenant_id, connection_id), row.token_version
        try:
            if (flight := self._flights.get(which)) is not None:
                await asyncio.shield(flight)
            else:
                await self._fly(which, lambda: self._renew(tenant_id, connection_id, seen))
        except ConnectorError as error:
            log.warning("token not renewed", connection_id=connection_id, error=type(error).__name__)

    async def gone(self, tenant_id: TenantId, connection_id: str, token: str, *, reason: str) -> None:
        """The vendor refused `token` and also what came of renewing it: hold the connection until somebody signs in.

        Changes nothing when another grant is stored by now.
        """
        row = await self._row(tenant_id, connection_id)
        if row is None or await self._opened(row, "access_token") != token:
            return
        async with self._db.transaction(tenant_id) as session:
            paused = await queries.pause(
                session, tenant_id, connection_id, reason=reason, now=utc_now(), seen=row.token_version
            )
        self.forget(tenant_id, connection_id)
        if paused:
            log.warning("connection needs a new sign-in", connection_id=connection_id)

    def forget(self, tenant_id: TenantId, connection_id: str) -> None:
        """Drop what is in memory, after a disconnect or a reconnect in this process; others follow within a minute."""
        self._kept.pop((tenant_id, connection_id), None)

    async def _fly(self, which: tuple[TenantId, str], work: Callable[[], Coroutine[Any, Any, Access]]) -> Access:
        """Run `work` as the one flight of this connection: it goes on when whoever asked first gives up."""
        flight = asyncio.create_task(work())
        self._flights[which] = flight

        def landed(done: asyncio.Task[Access]) -> None:
            self._flights.pop(which, None)
            if not done.cancelled():
                done.exception()  # seen here, in case nobody waits any more

        flight.add_done_callback(landed)
        return await asyncio.shield(flight)

    async def _fetch(self, tenant_id: TenantId, connection_id: str, refused: str | None) -> Access:
        row = await self._row(tenant_id, connection_id)
        if row is None or row.state != State.ACTIVE:
            _not_active(row)
        token = await self._opened(row, "access_token")
        left = timedelta.max if row.token_expires_at is None else row.token_expires_at - utc_now()
        if token and token != refused and left > MARGIN:
            return self._keep(row, token)
        try:
            return await self._renew(tenant_id, connection_id, row.token_version)
        except Unavailable:
            if token and token != refused and left > timedelta(0):
                return self._access(row, token)  # the last seconds of the old one are better than nothing
            raise

    async def _renew(self, tenant_id: TenantId, connection_id: str, seen: int) -> Access:
        """What comes after the grant of version `seen`: renewed here, or by whoever holds the lease."""
        give_up_at = time.monotonic() + 2 * self._lease.total_seconds()
        wait = 0.02
        while True:
            held = await self._claim(tenant_id, connection_id, seen)
            if held is not None and (renewed := await self._exchange(held)) is not None:
                return renewed
            row = await self._row(tenant_id, connection_id)
            if row is None or row.state != State.ACTIVE:
                _not_active(row)
            if row.token_version != seen:
                return self._keep(row, await self._opened(row, "access_token"))
            if row.refresh_not_before is not None and (cooling := row.refresh_not_before - utc_now()) > timedelta(0):
                trouble = (
                    "the CRM's sign-in is in trouble"
                    if row.refresh_failures
                    else "the CRM refuses a token it just gave"
                )
                raise Unavailable(f"{trouble}; we ask again soon", retry_after=cooling)
            if time.monotonic() > give_up_at:
                raise Unavailable("the grant is being renewed elsewhere and that takes too long")
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))
            wait = min(wait * 1.6, 0.25)

    async def _claim(self, tenant_id: TenantId, connection_id: str, seen: int) -> _Held | None:
        """Take the lease, if the grant is still the one seen and nobody else has it. RETURNING reads the row under it."""
        async with self._db.transaction(tenant_id) as session:
            now = clock(session)
            claimed: ReturningUpdate[Connection] = (
                update(Connection)
                .where(
                    Connection.tenant_id == tenant_id,
                    Connection.id == connection_id,
                    Connection.state == State.ACTIVE,
                    Connection.token_version == seen,
                    or_(Connection.refresh_lease_until.is_(None), Connection.refresh_lease_until < now),
                    or_(Connection.refresh_not_before.is_(None), Connection.refresh_not_before <= now),
                )
                .values(refresh_lease_until=_in(session, self._lease), refresh_fence=Connection.refresh_fence + 1)
                .returning(Connection)
            )
            row = (await session.execute(claimed)).scalar_one_or_none()
        if row is None:
            return None
        return _Held(
            tenant_id=tenant_id,
            connection_id=connection_id,
            provider=row.provider,
            token_origin=row.token_origin,
            api_origin=row.api_origin,
            seen=seen,
            fence=row.refresh_fence,
            failures=row.refresh_failures,
            refresh_token=await self._opened(row, "refresh_token"),
            extra=json.loads(await self._opened(row, "grant_extra") or "{}"),
        )

    async def _exchange(self, held: _Held) -> Access | None:
        """Renew under the lease; None when the row has to be looked at again."""
        if not held.refresh_token:
            await self._lost(held, "the CRM gave no way to renew its permission")
            return None
        registered = self._providers.of(held.provider)
        asked_at = utc_now()
        try:
            granted = await registered.oauth_of(held.token_origin).refresh(held.refresh_token)
        except ReconnectNeeded as gone:
            await self._lost(held, gone.reason)
            return None
        except ConnectorError as error:
            await self._cool_down(held, error, floor=registered.manifest.refresh_floor)
            return None
        for wait in (*STORE_AGAIN, None):
            try:
                return await self._store(held, registered, granted, asked_at)
            except (
                SQLAlchemyError,
                OSError,
            ) as error:  # a rotated refresh token that is not stored ends the connection
                log.error(
                    "a new grant could not be stored", connection_id=held.connection_id, error=type(error).__name__
                )
                if wait is None:
                    raise
                await asyncio.sleep(wait.total_seconds())
        return None

    async def _store(self, held: _Held, registered: Registered, granted: Token, asked_at: datetime) -> Access | None:
        """Commit a new grant, unless another one was stored meanwhile: then that one is used."""
        keys = await self._keyring.of(held.tenant_id)
        granted, api_origin = _placed(held, registered, granted)
        values = grant_values(keys, held.connection_id, granted, registered.manifest, asked_at, extra=held.extra)
        values["api_origin"] = api_origin
        if granted.scopes:
            values |= {"scopes": list(granted.scopes), "missing_scopes": missing(registered, granted.scopes)}
        # A process that was frozen between the exchange and here may find itself declared gone: it knows better.
        revived = Connection.state == State.RECONNECT_NEEDED
        async with self._db.transaction(held.tenant_id) as session:
            values["refresh_not_before"] = _in(session, registered.manifest.refresh_floor)
            stored = await session.execute(
                update(Connection)
                .where(_same_grant(held), Connection.disconnected_at.is_(None))
                .values(
                    **values,
                    state=State.ACTIVE,
                    paused_at=case((revived, None), else_=Connection.paused_at),
                    reason=case((revived, None), else_=Connection.reason),
                )
                .returning(Connection.id)
            )
            kept = stored.scalar_one_or_none() is not None
        if not kept:
            return None
        access = Access(granted.access_token, registered.app.api_url or api_origin)
        self._kept[held.tenant_id, held.connection_id] = _until(values["token_expires_at"]), access
        return access

    async def _lost(self, held: _Held, reason: str) -> None:
        """The vendor says that the grant is gone. A lost race is no revocation: only an unchanged row is believed."""
        async with self._db.transaction(held.tenant_id) as session:
            row = await queries.locked(session, held.tenant_id, held.connection_id)
            if row is None or row.token_version != held.seen or row.refresh_fence != held.fence:
                return
            row.refresh_lease_until = None
            await session.flush()
            await queries.pause(session, held.tenant_id, held.connection_id, reason=reason, now=utc_now())
        self.forget(held.tenant_id, held.connection_id)
        log.warning("connection needs a new sign-in", connection_id=held.connection_id)

    async def _cool_down(self, held: _Held, error: ConnectorError, *, floor: timedelta) -> None:
        """Nobody asks the token endpoint again before some time has passed; the grant itself is not doubted."""
        wait = max(floor, cool_down(held.failures, wish=getattr(error, "retry_after", None), roll=random.random()))
        async with self._db.transaction(held.tenant_id) as session:
            await session.execute(
                update(Connection)
                .where(_same_grant(held), Connection.refresh_fence == held.fence)
                .values(
                    refresh_lease_until=None,
                    refresh_not_before=_in(session, wait),
                    refresh_due_at=_in(session, wait),
                    refresh_failures=held.failures + 1,
                )
            )
        log.warning("token endpoint in trouble", connection_id=held.connection_id, error=type(error).__name__)

    async def _row(self, tenant_id: TenantId, connection_id: str) -> Connection | None:
        async with self._db.reading(tenant_id) as session:
            return await queries.connection(session, tenant_id, connection_id)

    async def _opened(self, row: Connection, column: str) -> str:
        sealed: bytes | None = getattr(row, column)
        if sealed is None:
            return ""
        keys = await self._keyring.of(TenantId(row.tenant_id))
        return keys.open(sealed, "connections", column, row.id).decode()

    def _keep(self, row: Connection, token: str) -> Access:
        now = time.monotonic()
        for other in [which for which, (until, _) in self._kept.items() if until <= now]:
            del self._kept[other]
        access = self._access(row, token)
        self._kept[TenantId(row.tenant_id), row.id] = _until(row.token_expires_at), access
        return access

    def _access(self, row: Connection, token: str) -> Access:
        return Access(token, self._providers.of(row.provider).app.api_url or row.api_origin)


def grant_values(
    keys: TenantKeys,
    connection_id: str,
    granted: Token,
    manifest: Manifest,
    asked_at: datetime,
    *,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Columns of `connections` for a new grant.

    asked_at  when the vendor was asked: a lifetime counted from then is never too long.
    extra     what earlier answers said: a renewal often leaves half of it out (Salesforce's `instance_url`).
    """
    lifetime = granted.expires_in or manifest.assumed_life or UNKNOWN_LIFETIME
    values: dict[str, Any] = {
        "access_token": keys.seal(granted.access_token.encode(), "connections", "access_token", connection_id),
        "grant_extra": keys.seal(
            json.dumps({**(extra or {}), **granted.extra}).encode(), "connections", "grant_extra", connection_id
        ),
        "token_expires_at": asked_at + lifetime,
        "token_version": Connection.token_version + 1,
        "refresh_due_at": asked_at + renew_after(lifetime, manifest, roll=random.random()),
        "refresh_lease_until": None,
        "refresh_not_before": None,
        "refresh_failures": 0,
    }
    if granted.refresh_token:  # else the one we have stays valid
        values["refresh_token"] = keys.seal(
            granted.refresh_token.encode(), "connections", "refresh_token", connection_id
        )
    return values


def renew_after(lifetime: timedelta, manifest: Manifest, *, roll: float) -> timedelta:
    """When to renew, counted from the grant: `refresh_ahead` of the token's end and up to a fifth of that earlier, so
    that connections made together are not renewed together; half-way at the earliest. Long before the grant itself
    ends of idleness, however long a token lasts."""
    due = max(lifetime - manifest.refresh_ahead * (1 + 0.2 * roll), lifetime / 2)
    return due if manifest.idle_life is None else min(due, manifest.idle_life / IDLE_PART)


def cool_down(failures: int, *, wish: timedelta | None, roll: float) -> timedelta:
    """How long the token endpoint is left alone after `failures` earlier ones: doubling from a second, up to a minute.

    wish  the vendor's own Retry-After; taken up to an hour.
    """
    if wish is not None and wish > timedelta(0):
        return min(wish, _LONGEST_WISH)
    longest = min(LONGEST_COOL_DOWN, timedelta(seconds=2.0 ** min(failures, 10)))
    return longest * (0.5 + 0.5 * roll)


def missing(registered: Registered, granted: tuple[str, ...]) -> list[str]:
    """Scopes we asked for and did not get; vendors do not all write them as they were asked for."""
    got = {scope.casefold() for scope in granted}
    return [scope for scope in registered.wanted_scopes if scope.casefold() not in got]


def _placed(held: _Held, registered: Registered, granted: Token) -> tuple[Token, str]:
    """A renewed grant and where its API is now. An address that is not the vendor's is neither used nor kept, but the
    grant is: the refresh token in it may be the only good one."""
    try:
        return granted, registered.api_origin_of(granted, token_origin=held.token_origin, otherwise=held.api_origin)
    except ForeignHost as foreign:
        log.error("a renewed grant named a foreign host", connection_id=held.connection_id, why=str(foreign))
    known = {name: value for name, value in granted.extra.items() if name != registered.manifest.origin_field}
    return msgspec.structs.replace(granted, extra=known), held.api_origin


def _same_grant(held: _Held) -> ColumnElement[bool]:
    return and_(
        Connection.tenant_id == held.tenant_id,
        Connection.id == held.connection_id,
        Connection.token_version == held.seen,
    )


def _not_active(row: Connection | None) -> NoReturn:
    if row is None or row.state == State.DISCONNECTED:
        raise ReconnectNeeded("this CRM was disconnected")
    raise ReconnectNeeded(row.reason or "the CRM no longer accepts our permission; sign in again")


def _in(session: AsyncSession, wait: timedelta) -> ColumnElement[datetime]:
    """The database's clock, `wait` from now."""
    if session.get_bind().dialect.name == "sqlite":
        return literal(utc_now() + wait, UtcTime())
    return clock(session) + literal(wait, Interval())


def _until(expires_at: datetime | None) -> float:
    """On the monotonic clock: when a token is opened again from its row."""
    left = KEPT if expires_at is None else min(KEPT, expires_at - MARGIN - datetime.now(UTC))
    return time.monotonic() + left.total_seconds()
