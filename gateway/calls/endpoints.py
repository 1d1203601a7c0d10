"""A tenant's voice endpoints: one unguessable address for one voice platform, and the secret its requests prove.

Address and secret are rotated together, with the old pair valid for a day beside the new one: a person has to paste
both at the platform, one after the other, while calls come in.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from connectors.voice.catalog import PLATFORMS
from connectors.voice.port import Assurance, BadSignature, Incoming, Platform
from gateway.calls.tables import VoiceEndpoint
from gateway.db.base import TenantId, new_id
from gateway.db.engine import Database, utc_now
from gateway.errors import Unavailable
from gateway.logs import log
from gateway.tenants.keys import Keyring, TenantKeys
from gateway.tenants.tables import Tenant

BOTH_VALID = timedelta(hours=24)
BELIEVED = timedelta(seconds=1)  # how long a process believes what it read about an address
STALE = timedelta(minutes=10)  # how long it may still be used when the database does not answer
PATIENCE = timedelta(seconds=2)  # for the database, when nothing is known about an address
HURRY = timedelta(milliseconds=100)  # for the database, when something is: a caller may be on the line
_MOST = 10_000

_STRENGTH = {Assurance.URL: 0, Assurance.SECRET: 1, Assurance.SIGNED: 2}


@dataclass(frozen=True)
class Made:
    """An endpoint with what is shown once: its address's key, and its secret."""

    row: VoiceEndpoint
    key: str = field(repr=False)
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Known:
    """An endpoint as a request meets it. `secrets`: those that are valid now."""

    tenant_id: TenantId
    id: str
    platform: Platform
    secrets: tuple[str, ...] = field(repr=False)
    required: Assurance
    settings: Mapping[str, str]
    fallback: Mapping[str, Any]
    region: str

    def verify(self, request: Incoming, *, now: datetime) -> Assurance:
        """How the request is proven, with any valid secret. Raises `BadSignature`, also when it is not proven enough."""
        proven: Assurance | None = None
        for secret in self.secrets:
            try:
                proven = self.platform.verify(request, secret=secret, settings=self.settings, now=now)
                break
            except BadSignature:
                continue
        if proven is None or _STRENGTH[proven] < _STRENGTH[self.required]:
            raise BadSignature("not proven enough for this endpoint")
        return proven


def url_of(public_url: str, platform: str, key: str) -> str:
    return f"{public_url}/v1/voice/{platform}/{key}"


async def create(
    session: AsyncSession,
    tenant_id: TenantId,
    *,
    platform: Platform,
    name: str,
    theirs: str | None,
    assurance: Assurance,
    settings: Mapping[str, str],
    fallback: Mapping[str, Any],
    keys: TenantKeys,
    now: datetime,
) -> Made:
    """A new endpoint. `theirs`: the tenant's own key, where the platform signs with that; else a secret is made here."""
    endpoint_id, key = new_id("ve"), _new_secret()
    secret = theirs if theirs is not None else _new_secret()
    row = VoiceEndpoint(
        tenant_id=tenant_id,
        id=endpoint_id,
        platform=platform.slug,
        name=name,
        key_sha256=_digest(key),
        key=keys.seal(key.encode(), "voice_endpoints", "key", endpoint_id),
        secret=keys.seal(secret.encode(), "voice_endpoints", "secret", endpoint_id),
        assurance=assurance.value,
        settings=dict(settings),
        fallback=dict(fallback),
        created_at=now,
    )
    session.add(row)
    await session.flush()
    return Made(row, key, secret)


async def change(
    session: AsyncSession,
    tenant_id: TenantId,
    endpoint_id: str,
    *,
    name: str | None = None,
    assurance: Assurance | None = None,
    settings: Mapping[str, str] | None = None,
    fallback: Mapping[str, Any] | None = None,
) -> VoiceEndpoint | None:
    """Replace what is given, whole, and keep the rest. In force within `BELIEVED`. None: no such endpoint."""
    row = await live(session, tenant_id, endpoint_id, for_update=True)
    if row is None:
        return None
    if name is not None:
        row.name = name
    if assurance is not None:
        row.assurance = assurance.value
    if settings is not None:
        row.settings = dict(settings)
    if fallback is not None:
        row.fallback = dict(fallback)
    await session.flush()
    return row


async def rotate(
    session: AsyncSession,
    tenant_id: TenantId,
    endpoint_id: str,
    *,
    theirs: str | None,
    keys: TenantKeys,
    now: datetime,
) -> Made | None:
    """A new address and secret; what was valid until now is for 24 more hours, what was older ends. None: no such endpoint.

    theirs  the tenant's new key, where the platform signs with that; None keeps the one that is in use.
    """
    row = await live(session, tenant_id, endpoint_id, for_update=True)
    if row is None:
        return None
    key, old = _new_secret(), _opened(keys, row.id, "secret", row.secret)
    keeps = PLATFORMS[row.platform].secret_is_theirs and theirs in (None, old)
    secret = old if keeps else (theirs or _new_secret())
    row.previous_key_sha256, row.previous_secret, row.previous_until = row.key_sha256, row.secret, now + BOTH_VALID
    row.key_sha256, row.key = _digest(key), keys.seal(key.encode(), "voice_endpoints", "key", row.id)
    row.secret = keys.seal(secret.encode(), "voice_endpoints", "secret", row.id)
    await session.flush()
    return Made(row, key, secret)


async def delete(session: AsyncSession, tenant_id: TenantId, endpoint_id: str, *, now: datetime) -> bool:
    """End an endpoint: its address is unknown from now on, what it brought stays. False: no such endpoint."""
    row = await live(session, tenant_id, endpoint_id, for_update=True)
    if row is None:
        return False
    row.deleted_at = now
    return True


async def live(
    session: AsyncSession, tenant_id: TenantId, endpoint_id: str, *, for_update: bool = False
) -> VoiceEndpoint | None:
    mine = select(VoiceEndpoint).where(
        VoiceEndpoint.tenant_id == tenant_id, VoiceEndpoint.id == endpoint_id, VoiceEndpoint.deleted_at.is_(None)
    )
    return (await session.scalars(mine.with_for_update() if for_update else mine)).one_or_none()


async def page(
    session: AsyncSession, tenant_id: TenantId, *, before: str | None = None, limit: int = 50
) -> Sequence[VoiceEndpoint]:
    """A page of a tenant's endpoints, newest first, older than the endpoint `before`."""
    mine = select(VoiceEndpoint).where(VoiceEndpoint.tenant_id == tenant_id, VoiceEndpoint.deleted_at.is_(None))
    if before is not None:
        mine = mine.where(VoiceEndpoint.id < before)
    return (await session.scalars(mine.order_by(VoiceEndpoint.id.desc()).limit(limit))).all()


def opened_key(keys: TenantKeys, row: VoiceEndpoint) -> str:
    """The key in an endpoint's address, to show it again."""
    return _opened(keys, row.id, "key", row.key)


def opened_secret(keys: TenantKeys, row: VoiceEndpoint) -> str:
    """The secret in use, to sign a test with."""
    return _opened(keys, row.id, "secret", row.secret)


class Endpoints:
    """Finds endpoints by the key in their address. One per process.

    What was read is believed for a second; when the database does not answer, for ten minutes: a caller on the line is
    then answered with the stored fallback.
    """

    def __init__(self, db: Database, keyring: Keyring) -> None:
        self._db = db
        self._keyring = keyring
        self._read: dict[bytes, tuple[float, Known | None]] = {}

    async def find(self, platform: str, key: str) -> Known | None:
        """The endpoint at `/v1/voice/{platform}/{key}`, or None. Raises `Unavailable` when nobody can say."""
        digest = _digest(key)
        held = self._read.get(digest)
        age = None if held is None else time.monotonic() - held[0]
        if held is not None and age is not None and age < BELIEVED.total_seconds():
            return _at(platform, held[1])
        usable = held is not None and held[1] is not None and age is not None and age < STALE.total_seconds()
        asked = time.monotonic()
        try:
            async with asyncio.timeout((HURRY if usable else PATIENCE).total_seconds()):
                known = await self._known(digest)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            log.warning("voice endpoints cannot be read", error=type(error).__name__)
            if held is not None and usable:
                return _at(platform, held[1])
            raise Unavailable from None
        if len(self._read) >= _MOST:
            self._read.clear()
        self._read[digest] = (asked, known)
        return _at(platform, known)

    async def _known(self, digest: bytes) -> Known | None:
        """Sees every tenant: whose it is follows from the key."""
        now = utc_now()
        by_key = or_(
            VoiceEndpoint.key_sha256 == digest,
            and_(VoiceEndpoint.previous_key_sha256 == digest, VoiceEndpoint.previous_until > now),
        )
        async with self._db.reading() as session:
            found = await session.execute(
                select(VoiceEndpoint, Tenant.region)
                .join(Tenant, Tenant.id == VoiceEndpoint.tenant_id)
                .where(by_key, VoiceEndpoint.deleted_at.is_(None), Tenant.disabled_at.is_(None))
            )
            one = found.one_or_none()
        if one is None or one[0].platform not in PLATFORMS:
            return None
        row: VoiceEndpoint = one[0]
        tenant_id = TenantId(row.tenant_id)
        keys = await self._keyring.of(tenant_id)
        valid = [row.secret]
        if row.previous_secret is not None and row.previous_until is not None and row.previous_until > now:
            valid.append(row.previous_secret)
        return Known(
            tenant_id=tenant_id,
            id=row.id,
            platform=PLATFORMS[row.platform],
            secrets=tuple(dict.fromkeys(_opened(keys, row.id, "secret", sealed) for sealed in valid)),
            required=Assurance(row.assurance),
            settings=row.settings,
            fallback=row.fallback,
            region=one[1],
        )


def _at(platform: str, known: Known | None) -> Known | None:
    return known if known is not None and known.platform.slug == platform else None


def _opened(keys: TenantKeys, endpoint_id: str, column: str, sealed: bytes) -> str:
    return keys.open(sealed, "voice_endpoints", column, endpoint_id).decode()


def _new_secret() -> str:
    return secrets.token_urlsafe(32)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()
