"""What is wrong with this installation, in words. Looks, changes nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from redis.exceptions import NoPermissionError, RedisError

from connectors.crm.catalog import CATALOG
from gateway import bell, schema
from gateway.connections.providers import Registered
from gateway.crypto import BadSealingKey
from gateway.db.engine import Database
from gateway.directory.notices import app_address
from gateway.settings import Settings, app_of, is_local
from gateway.tenants.keys import check_keks, keys_per_kek, load_keks

PATIENCE_S = 5


class Level(StrEnum):
    OK = "ok"
    NOTE = "note"  # good to know
    WARNING = "warning"  # works, but not as it should
    PROBLEM = "problem"  # does not work


@dataclass(frozen=True)
class Finding:
    level: Level
    about: str
    text: str


async def examine(settings: Settings) -> list[Finding]:
    """Everything worth saying, in the order of the story: what is kept, what seals it, what rings, who reaches it."""
    return [
        *await _database(settings),
        *await _redis(settings),
        *_addresses(settings),
        *_providers(settings),
        Finding(
            Level.NOTE,
            "spool",
            "events that arrive while the database is away are refused, and platforms send them again: no disk spool",
        ),
    ]


async def _database(settings: Settings) -> list[Finding]:
    db = Database(settings.database_url)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await schema.check_revision(db)
            found = [Finding(Level.OK, "database", f"{db.dialect} answers, at the newest revision")]
            found += await _sealing(settings, db)
    except schema.WrongRevision as wrong:
        return [Finding(Level.PROBLEM, "database", str(wrong))]
    except Exception as error:
        return [Finding(Level.PROBLEM, "database", f"does not answer ({type(error).__name__}): GATEWAY_DATABASE_URL")]
    finally:
        await db.close()
    if db.dialect == "postgresql" and settings.owner_database_url in ("", settings.database_url):
        found.append(
            Finding(
                Level.WARNING,
                "database",
                "the gateway's own role owns the tables; give GATEWAY_OWNER_DATABASE_URL to `gateway migrate` alone",
            )
        )
    return found


async def _sealing(settings: Settings, db: Database) -> list[Finding]:
    try:
        keks = load_keks(settings)
        await check_keks(db, keks)
    except BadSealingKey as bad:
        return [Finding(Level.PROBLEM, "sealing", str(bad))]
    async with db.reading() as session:
        counts = await keys_per_kek(session)
    found = [Finding(Level.OK, "sealing", f"key {keks[0].id} seals {counts.get(keks[0].id, 0)} tenant keys")]
    for kek in keks[1:]:
        left = counts.get(kek.id, 0)
        if left:
            text = f"older key {kek.id} still wraps {left} tenant keys: run `gateway key rotate`"
            found.append(Finding(Level.WARNING, "sealing", text))
        else:
            found.append(Finding(Level.NOTE, "sealing", f"older key {kek.id} wraps nothing more and may be taken away"))
    return found


async def _redis(settings: Settings) -> list[Finding]:
    if settings.embedded:
        return [Finding(Level.NOTE, "redis", "inside the process; for several machines set GATEWAY_REDIS_URL")]
    found: list[Finding] = []
    parts = urlsplit(settings.redis_url)
    if parts.scheme == "redis" and not is_local(parts.hostname or ""):
        found.append(Finding(Level.WARNING, "redis", "is reached in clear: use rediss:// and a password"))
    redis = bell.connect(settings)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await redis.ping()
            found.append(Finding(Level.OK, "redis", "answers"))
            (policy,) = [str(value) for value in (await redis.config_get("maxmemory-policy")).values()]
            if policy != "noeviction":
                text = f"evicts when it is full ({policy}): set maxmemory-policy noeviction, or rings get lost"
                found.append(Finding(Level.WARNING, "redis", text))
    except NoPermissionError:
        found.append(Finding(Level.NOTE, "redis", "does not tell us its maxmemory-policy; it should be noeviction"))
    except (RedisError, OSError, TimeoutError) as error:
        text = f"does not answer ({type(error).__name__}): GATEWAY_REDIS_URL; nothing is lost, all is slower"
        found.append(Finding(Level.PROBLEM, "redis", text))
    finally:
        await redis.aclose()
    return found


def _addresses(settings: Settings) -> list[Finding]:
    host = urlsplit(settings.public_url).hostname or ""
    if is_local(host):
        text = f"{settings.public_url} is reached from this machine only; platforms and vendors need GATEWAY_PUBLIC_URL"
        return [Finding(Level.NOTE, "public url", text)]
    found = [Finding(Level.OK, "public url", settings.public_url)]
    if not settings.operator_token.get_secret_value():
        text = "/metrics answers this machine only; set GATEWAY_OPERATOR_TOKEN to read it from elsewhere"
        found.append(Finding(Level.NOTE, "operator", text))
    if not settings.trusted_proxies:
        text = "no proxy is trusted: callers' addresses are those of whoever connects (GATEWAY_TRUSTED_PROXIES)"
        found.append(Finding(Level.NOTE, "public url", text))
    return found


def _providers(settings: Settings) -> list[Finding]:
    found: list[Finding] = []
    for provider, known in CATALOG.items():
        app, prefix = app_of(provider), f"GATEWAY_{provider.upper()}"
        if not app.client_id or not (app.client_secret.get_secret_value() or app.client_secrets):
            text = f"cannot be connected: {prefix}_CLIENT_ID or {prefix}_CLIENT_SECRET is not set"
            found.append(Finding(Level.WARNING, provider, text))
        else:
            text = "has a client id and a secret"
            if known.manifest.notices == "app":
                text += f"; its app sends changes to {app_address(settings.public_url, Registered(known, app))}"
            found.append(Finding(Level.OK, provider, text))
        if app.overridden:
            stand_ins = ", ".join(sorted({url for url in (app.auth_url, app.token_url, app.api_url) if url}))
            found.append(Finding(Level.NOTE, provider, f"another address stands in for the vendor: {stand_ins}"))
    return found
