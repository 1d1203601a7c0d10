"""What CRMs are asked to tell us by themselves: subscribed to, prolonged, made again where missing, ended.

Each connection has an address nobody can guess and a secret of its own. Both are committed before the vendor hears of
them: its first notice may be here before its answer. The vendor's own list counts, ours only says what to renew; so
losing an answer, or doing anything here twice, leaves one subscription.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec
from prometheus_client import Counter
from sqlalchemy import and_, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from connectors.crm.changes import Subscription
from connectors.crm.port import Crm
from connectors.errors import ConnectorError, RateLimited, ReconnectNeeded, Rejected, Unavailable
from gateway.connections import queries as connection_queries
from gateway.connections.health import State
from gateway.connections.open import Connections
from gateway.db.base import TenantId
from gateway.db.engine import Database, clock, utc_now
from gateway.directory import feeds
from gateway.directory.change_tables import ChangeFeed, ChangeSubscription
from gateway.directory.notices import address as address_of
from gateway.directory.notices import digest_of
from gateway.errors import NotFound
from gateway.logs import log
from gateway.settings import Settings, is_local
from gateway.tenants.keys import Keyring, TenantKeys

LEASE = timedelta(minutes=2)
LOOKED_AT = timedelta(hours=12)  # also those without an end: vendors remove what fails too often
GOODBYE = timedelta(seconds=5)  # how long a person who disconnects waits for the vendor to be told

RENEWALS = Counter("gateway_crm_subscriptions", "Subscriptions at CRMs, seen to.", ["provider", "outcome"])


class _Kept(msgspec.Struct, frozen=True):
    """What is sealed of a subscription."""

    address: str
    subscription: Subscription


@dataclass(frozen=True)
class _Held:
    """A feed whose subscriptions this process sees to for now."""

    fence: int
    failures: int
    address: str = field(repr=False)
    secret: str = field(repr=False)
    kept: Sequence[_Kept] = field(repr=False)


class Subscriptions:
    """Sees to the subscriptions of all connections. One per process."""

    def __init__(self, *, settings: Settings, db: Database, keyring: Keyring, connections: Connections) -> None:
        self._public_url = settings.public_url
        self._db = db
        self._keyring = keyring
        self._connections = connections

    async def renew(self, connection_id: str) -> None:
        """Do what a connection's subscriptions owe. Answers the ring "renew"; doing it twice is harmless."""
        async with self._db.reading() as session:
            tenant_id = await connection_queries.tenant_of(session, connection_id)
        if tenant_id is None:
            return
        keys = await self._keyring.of(tenant_id)
        async with self._db.transaction(tenant_id) as session:
            row = await connection_queries.connection(session, tenant_id, connection_id)
            if row is None or row.state == State.DISCONNECTED:
                await feeds.end(session, tenant_id, connection_id)
                return
            manifest = self._connections.providers.of(row.provider).manifest
            if manifest.notices != "subscribed" or not reachable(self._public_url):
                await self._again(session, tenant_id, connection_id, None)
                return
            held = await self._claim(session, tenant_id, connection_id, row.provider, keys)
        if held is not None:
            await self._see_to(tenant_id, connection_id, row.provider, keys, held)

    async def end(self, tenant_id: TenantId, connection_id: str) -> None:
        """The connection is about to be disconnected: tell the vendor while we still may.

        As far as possible: what is left at the vendor comes to an address that is nobody's, until it gives up.
        """
        keys = await self._keyring.of(tenant_id)
        async with self._db.transaction(tenant_id) as session:
            await feeds.forget_address(session, tenant_id, connection_id, until=LOOKED_AT)
            kept = await _kept(session, tenant_id, connection_id, keys)
            await _keep(session, tenant_id, connection_id, keys, "", ())
        if not kept:
            return
        try:
            async with asyncio.timeout(GOODBYE.total_seconds()):
                opened = await self._connections.open(tenant_id, connection_id, purpose="connect")
                for one in kept:
                    await opened.crm.unsubscribe(one.subscription)
        except (ConnectorError, NotFound, TimeoutError) as error:
            log.info("a subscription is left at the vendor", connection_id=connection_id, error=type(error).__name__)

    async def _claim(
        self, session: AsyncSession, tenant_id: TenantId, connection_id: str, slug: str, keys: TenantKeys
    ) -> _Held | None:
        """Take the feed, with an address and a secret: new ones, if it has none."""
        now = clock(session)
        claimed = (
            update(ChangeFeed)
            .where(
                ChangeFeed.tenant_id == tenant_id,
                ChangeFeed.connection_id == connection_id,
                ChangeFeed.renew_at <= now,
                or_(ChangeFeed.renew_lease_until.is_(None), ChangeFeed.renew_lease_until < now),
            )
            .values(renew_lease_until=feeds.in_(session, LEASE), renew_fence=ChangeFeed.renew_fence + 1)
            .returning(ChangeFeed)
        )
        row = (await session.execute(claimed, execution_options={"populate_existing": True})).scalar_one_or_none()
        if row is None:
            return None
        if row.key is None or row.secret is None:
            key, secret = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
            row.key_sha256 = digest_of(key)
            row.key = keys.seal(key.encode(), "change_feeds", "key", connection_id)
            row.secret = keys.seal(secret.encode(), "change_feeds", "secret", connection_id)
            await session.flush()
        else:
            key = keys.open(row.key, "change_feeds", "key", connection_id).decode()
            secret = keys.open(row.secret, "change_feeds", "secret", connection_id).decode()
        kept = await _kept(session, tenant_id, connection_id, keys)
        return _Held(row.renew_fence, row.renew_failures, address_of(self._public_url, slug, key), secret, kept)

    async def _see_to(self, tenant_id: TenantId, connection_id: str, slug: str, keys: TenantKeys, held: _Held) -> None:
        wait: timedelta | None = None
        alive: Sequence[Subscription] | None = None
        try:
            opened = await self._connections.open(tenant_id, connection_id, purpose="import")
            alive = await _prolonged(opened.crm, held)
            RENEWALS.labels(slug, "alive").inc()
        except (ReconnectNeeded, NotFound):
            wait = timedelta(minutes=15)
        except (Unavailable, RateLimited) as error:
            wait = max(error.retry_after or timedelta(0), timedelta(minutes=1) * 2 ** min(held.failures, 6))
        except ConnectorError as error:  # a scope or an edition that does without: polls find what changes
            log.info("not subscribed", connection_id=connection_id, error=type(error).__name__)
            RENEWALS.labels(slug, "refused").inc()
            wait, alive = LOOKED_AT, ()
        async with self._db.transaction(tenant_id) as session:
            if not await self._again(session, tenant_id, connection_id, held, wait=wait, alive=alive):
                return
            if alive is not None:
                await _keep(session, tenant_id, connection_id, keys, held.address, alive)

    async def _again(
        self,
        session: AsyncSession,
        tenant_id: TenantId,
        connection_id: str,
        held: _Held | None,
        *,
        wait: timedelta | None = None,
        alive: Sequence[Subscription] | None = None,
    ) -> bool:
        """Say when these subscriptions are to be seen to again, and give them back; False: somebody else has them by now.

        held  None: nothing to see to, as this installation is; another day it may be.
        """
        which = and_(ChangeFeed.tenant_id == tenant_id, ChangeFeed.connection_id == connection_id)
        values: dict[str, Any] = {"renew_at": feeds.in_(session, LOOKED_AT)}
        if held is not None:
            which = and_(which, ChangeFeed.renew_fence == held.fence)
            due = wait if wait is not None else next_look(alive or (), now=utc_now())
            failed = wait is not None and alive is None
            values = {
                "renew_at": feeds.in_(session, due * random.uniform(0.8, 1.0)),
                "renew_lease_until": None,
                "renew_failures": held.failures + 1 if failed else 0,
            }
        given_back = update(ChangeFeed).where(which).values(**values).returning(ChangeFeed.renew_fence)
        return (await session.execute(given_back)).one_or_none() is not None


def reachable(public_url: str) -> bool:
    """Whether a vendor could call us at this address: https, and no name or address of a machine or a house. Pure."""
    parts = urlsplit(public_url)
    host = parts.hostname or ""
    if parts.scheme != "https" or is_local(host):
        return False
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return not host.endswith((".local", ".internal", ".localhost"))


def next_look(alive: Sequence[Subscription], *, now: datetime) -> timedelta:
    """Until they are seen to again: after half of what is left of the first to end, at most half a day. Pure."""
    ends = [one.expires_at - now for one in alive if one.expires_at is not None]
    return max(timedelta(minutes=1), min([LOOKED_AT, *(left / 2 for left in ends)]))


async def _prolonged(crm: Crm, held: _Held) -> Sequence[Subscription]:
    """Every subscription, alive at our address of today. Those that have gone are made again."""
    moved = [one.subscription for one in held.kept if one.address != held.address]
    mine = [one.subscription for one in held.kept if one.address == held.address]
    for one in moved:
        await crm.unsubscribe(one)
    try:
        if mine:
            return [await crm.renew(one) for one in mine]
    except Rejected as refused:
        if not refused.gone:
            raise
        log.info("a subscription had gone")
    return await crm.subscribe(address=held.address, secret=held.secret)


async def _kept(session: AsyncSession, tenant_id: TenantId, connection_id: str, keys: TenantKeys) -> Sequence[_Kept]:
    mine = and_(ChangeSubscription.tenant_id == tenant_id, ChangeSubscription.connection_id == connection_id)
    rows = (await session.scalars(select(ChangeSubscription).where(mine).order_by(ChangeSubscription.id))).all()
    return [
        msgspec.json.decode(keys.open(row.sealed, *_place(connection_id, row.id)), type=_Kept, strict=True)
        for row in rows
    ]


async def _keep(
    session: AsyncSession,
    tenant_id: TenantId,
    connection_id: str,
    keys: TenantKeys,
    address: str,
    alive: Sequence[Subscription],
) -> None:
    """Write down which subscriptions there are, in place of what stood there."""
    mine = and_(ChangeSubscription.tenant_id == tenant_id, ChangeSubscription.connection_id == connection_id)
    await session.execute(delete(ChangeSubscription).where(mine).execution_options(synchronize_session=False))
    now = utc_now()
    for one in alive:
        sealed = keys.seal(msgspec.json.encode(_Kept(address, one)), *_place(connection_id, one.id))
        session.add(
            ChangeSubscription(
                tenant_id=tenant_id,
                connection_id=connection_id,
                id=one.id,
                sealed=sealed,
                expires_at=one.expires_at,
                made_at=now,
            )
        )
    await session.flush()


def _place(connection_id: str, id: str) -> tuple[str, ...]:
    return ("change_subscriptions", "sealed", connection_id, id)
