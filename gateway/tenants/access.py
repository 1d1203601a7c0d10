"""The one place where a request becomes a `TenantId`: by API key under `/v1` and `/mcp`, by session on pages.

Keys never open pages, sessions never open `/v1`. A key that was right is believed for a second by this process; a
marker in Redis ends it at once everywhere, and without Redis the second does.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Annotated, Any, Protocol

import structlog
from fastapi import Depends, Request, Security
from fastapi.responses import RedirectResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.db.base import TenantId
from gateway.db.engine import Database, utc_now
from gateway.errors import Forbidden, TooMany, Unauthenticated
from gateway.logs import log
from gateway.metrics import seen
from gateway.settings import Settings
from gateway.tenants import api_keys, sessions
from gateway.tenants.api_keys import KnownKey, marker
from gateway.tenants.principal import SCOPES, Principal
from gateway.tenants.sessions import (
    check_csrf,
    check_same_site,
    csrf_token,
    exchange_link,
    make_console_link,
    open_session,
)

__all__ = [
    "SCOPES",
    "Principal",
    "acts_for",
    "at_hand",
    "authenticate",
    "check_csrf",
    "check_same_site",
    "csrf_token",
    "exchange_link",
    "keep_uses",
    "make_console_link",
    "needs",
    "open_session",
    "page_session",
    "revocation_key",
    "session_of",
]

BELIEVED = timedelta(seconds=1)
FAILURES_A_MINUTE = 20
USES_EVERY = timedelta(seconds=30)
SIGN_IN = "/console/sign-in"
_MOST_KNOWN = 10_000


class Rooms(Protocol):
    """What of `gateway.parts.Parts` this needs; that module stands above this one."""

    @property
    def db(self) -> Database: ...
    @property
    def redis(self) -> Redis: ...
    @property
    def settings(self) -> Settings: ...


@dataclass(frozen=True)
class _Believed:
    until: float  # monotonic
    key: KnownKey


# Of this process. Keyed by the SHA-256 of the header, so that no key stays in memory in clear.
_known: dict[bytes, _Believed] = {}
_checking: dict[bytes, asyncio.Task[_Believed | None]] = {}
_uses: dict[tuple[str, str], float] = {}
_failures: dict[tuple[str, int], int] = {}


def at_hand(header: bytes | str | None) -> Principal | None:
    """Who this `Authorization` header is, if this process has just checked it; for paths that must not wait.

    A key that was revoked meanwhile is believed for what is left of its second; whoever reads Redis anyway reads
    `revocation_key(principal)` too, and knows at once. None is no refusal: call `authenticate`.
    """
    if header is None:
        return None
    believed = _known.get(sha256(header.encode("latin-1", "replace") if isinstance(header, str) else header).digest())
    if believed is None or believed.until <= time.monotonic() or believed.key.networks:
        return None
    principal = believed.key.principal
    _uses[principal.tenant_id, principal.id] = time.time()
    return principal


def revocation_key(principal: Principal) -> str:
    """The Redis key that exists once this principal's key has been revoked."""
    return marker(principal.id)


async def authenticate(parts: Rooms, header: bytes | str | None, address: str) -> Principal:
    """Who asks. Raises `Unauthenticated`, with the same text for every cause, or `TooMany` after 20 failures a minute.

    A right key is never refused for others' failures: voice platforms send all their customers' calls from the same
    few addresses, and 256 bits do not need the protection. The limit keeps guessing from being worth anybody's while.
    """
    raw = header.encode("latin-1", "replace") if isinstance(header, str) else header or b""
    digest = sha256(raw).digest()
    believed = _known.get(digest)
    if believed is not None and believed.until > time.monotonic():
        if await _revoked(parts.redis, believed.key.principal.id):
            _known.pop(digest, None)
            believed = None
    else:
        believed = await _checked_once(parts.db, raw, digest)
    if believed is None or not believed.key.usable_from(address):
        await _count_failure(parts.redis, address)
        raise Unauthenticated
    principal = believed.key.principal
    _uses[principal.tenant_id, principal.id] = time.time()
    return principal


async def _checked_once(db: Database, raw: bytes, digest: bytes) -> _Believed | None:
    """One reading for all who present the same key in the same moment: its second ends for all of them at once."""
    task = _checking.get(digest)
    if task is None or task.get_loop() is not asyncio.get_running_loop():
        task = _checking[digest] = asyncio.create_task(_checked(db, raw, digest))
        task.add_done_callback(lambda _: _checking.pop(digest, None))
    return await asyncio.shield(task)


async def _checked(db: Database, raw: bytes, digest: bytes) -> _Believed | None:
    scheme, _, text = raw.decode("latin-1").partition(" ")
    presented = api_keys.read(text.strip()) if scheme.lower() == "bearer" else None
    if presented is None:
        return None
    now = utc_now()
    asked = time.monotonic()
    async with db.reading() as session:
        key = await api_keys.in_force(session, presented, now=now)
    if key is None:
        return None
    lives = min(BELIEVED, key.expires_at - now) if key.expires_at else BELIEVED
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    found = _known[digest] = _Believed(asked + lives.total_seconds(), key)  # counted from before the row was read
    return found


async def _revoked(redis: Redis, key_id: str) -> bool:
    try:
        return bool(await redis.exists(marker(key_id)))
    except (RedisError, OSError, TimeoutError):
        return False  # then the second is what ends it


async def _count_failure(redis: Redis, address: str) -> None:
    """Count one failure of `address`, here when Redis is away. Raises `TooMany` beyond the limit."""
    minute = int(time.time()) // 60
    who = _origin(address)
    name = f"gw:denied:{who}:{minute}"
    try:
        async with redis.pipeline(transaction=False) as pipe:
            pipe.incr(name)
            pipe.expire(name, 60)
            count = int((await pipe.execute())[0])
    except (RedisError, OSError, TimeoutError):
        if len(_failures) >= _MOST_KNOWN:
            _failures.clear()
        count = _failures[who, minute] = _failures.get((who, minute), 0) + 1
    if count == FAILURES_A_MINUTE + 1:
        log.warning("too many bad keys from one address", address=who)
    if count > FAILURES_A_MINUTE:
        raise TooMany(timedelta(seconds=60 - time.time() % 60), "Too many bad keys from this address.")


def _origin(address: str) -> str:
    """Who is counted together: an IPv4 address, or an IPv6 /64, which one machine holds alone."""
    try:
        host = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    return str(host) if host.version == 4 else str(ipaddress.ip_network((host, 64), strict=False).network_address)


async def keep_uses(parts: Rooms) -> None:
    """Write keys' last use every 30 s, behind the answers, and once more when cancelled. Runs for the process's life."""
    try:
        while True:
            await asyncio.sleep(USES_EVERY.total_seconds())
            await write_uses(parts)
    finally:
        await write_uses(parts)


async def write_uses(parts: Rooms) -> None:
    uses = {key: datetime.fromtimestamp(at, UTC) for key, at in _uses.items()}
    _uses.clear()
    try:
        async with parts.db.statements() as connection:
            await api_keys.note_uses(connection, uses)
    except Exception as error:  # a last use that is not kept must not end the loop
        log.warning("last uses of keys were not written", error=error)


_bearer = HTTPBearer(auto_error=False, description="An API key, `gwk_…`; `gateway key create` makes one.")


def needs(*scopes: str) -> Any:
    """The dependency of a `/v1` route: `who: Annotated[Principal, needs("events")]`. All of `scopes` are needed.

    Stands before `Transaction` in the signature, which asks whose rows these are.
    """
    assert set(scopes) <= set(SCOPES), scopes

    async def principal(
        request: Request, _shown: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
    ) -> Principal:
        who: Principal | None = request.scope.get("principal")
        if who is None:
            who = await authenticate(
                request.app.state.parts, request.headers.get("authorization"), seen(request.scope).client
            )
        acts_for(request.scope, who.tenant_id, who.id)
        for scope in scopes:
            if scope not in who.scopes:
                raise Forbidden(scope)
        return who

    return Depends(principal)


def acts_for(scope: MutableMapping[str, Any], tenant_id: TenantId, principal: str) -> None:
    """From here on this request is `tenant_id`'s: its transactions, its log lines."""
    seen(scope).tenant_id = tenant_id
    structlog.contextvars.bind_contextvars(tenant_id=tenant_id, principal=principal)


class SignInNeeded(Exception):
    """A page was asked for without a session."""


async def to_sign_in(_request: Request, _error: Exception) -> RedirectResponse:
    """The handler of `SignInNeeded`."""
    return RedirectResponse(SIGN_IN, 303)


async def session_of(request: Request) -> Principal | None:
    """Who is signed in with this browser, or None."""
    if "session_principal" in request.scope:
        known: Principal | None = request.scope["session_principal"]
        return known
    value = sessions.cookie_value(request)
    who: Principal | None = None
    if value is not None:
        db: Database = request.app.state.parts.db
        now = utc_now()
        async with db.reading() as session:
            found = await sessions.find_session(session, value, now)
        if found is not None:
            who = found.principal
            if found.stale:
                async with db.transaction(who.tenant_id) as session:
                    await sessions.note_seen(session, value, now)
    request.scope["session_principal"] = who
    return who


def page_session(*scopes: str) -> Any:
    """The dependency of a page: `who: Annotated[Principal, page_session("admin")]`. Without a session: to the sign-in."""
    assert set(scopes) <= set(SCOPES), scopes

    async def principal(request: Request) -> Principal:
        who = await session_of(request)
        if who is None:
            raise SignInNeeded
        acts_for(request.scope, who.tenant_id, who.id)
        for scope in scopes:
            if scope not in who.scopes:
                raise Forbidden(scope)
        return who

    return Depends(principal)
