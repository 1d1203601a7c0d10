"""What every process is made of: built once, handed around, closed in order. Decides nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway import bell
from gateway.calls.intake import Intake
from gateway.connections.open import Connections
from gateway.connections.providers import Providers
from gateway.db.engine import Database
from gateway.directory.subscriptions import Subscriptions
from gateway.lookup.find import Finder
from gateway.settings import Settings
from gateway.tenants.keys import Keyring, check_keks, load_keks

if TYPE_CHECKING:
    import redis as sync_redis
    from redis.asyncio import Redis


@dataclass(frozen=True)
class Parts:
    """`redis` belongs to this loop; `rings` is for RQ, which knows no loop: use it in a thread."""

    settings: Settings
    db: Database
    keyring: Keyring
    redis: Redis
    rings: sync_redis.Redis
    connections: Connections
    finder: Finder
    intake: Intake
    subscriptions: Subscriptions


@contextlib.asynccontextmanager
async def parts(settings: Settings, *, providers: Providers | None = None) -> AsyncIterator[Parts]:
    """Everything a process needs, on the running loop. Raises `BadSealingKey` when the sealing keys are missing or wrong.

    providers  the CRMs of this installation; by default those the environment names.
    """
    db = Database(settings.database_url)
    redis = bell.connect(settings)
    rings = bell.connect_blocking(settings)
    try:
        keks = load_keks(settings)
        await check_keks(db, keks)
        keyring = Keyring(db, keks)
        connections = Connections(settings=settings, db=db, keyring=keyring, redis=redis, providers=providers)
        finder = Finder(settings=settings, db=db, keyring=keyring, redis=redis, connections=connections)
        subscriptions = Subscriptions(settings=settings, db=db, keyring=keyring, connections=connections)
        connections.when_ending(subscriptions.end)
        connections.when_ended(finder.forget_everyone)
        intake = Intake(settings=settings, db=db, keyring=keyring)
        try:
            yield Parts(settings, db, keyring, redis, rings, connections, finder, intake, subscriptions)
        finally:
            await finder.close()
            await connections.close()
    finally:
        await redis.aclose()
        rings.close()
        await db.close()
