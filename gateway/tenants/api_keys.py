"""API keys: `gwk_<id>_<secret><crc32>`. Shown once; of the secret only its SHA-256 is kept.

The checksum tells a mistyped key, or text that only looks like one, from a wrong key without asking the database.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hmac import compare_digest

from redis.asyncio import Redis
from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from gateway.db.base import TenantId, new_id
from gateway.tenants.principal import Principal
from gateway.tenants.tables import ApiKey, Tenant

REVOKED_FOR = timedelta(seconds=60)  # how long the marker stands; process caches last a second
_SHAPE = re.compile(r"gwk_([0-9a-hjkmnp-tv-z]{26})_([A-Za-z0-9_-]{43})([0-9a-f]{8})")
_NOBODY = hashlib.sha256(b"nobody").digest()


@dataclass(frozen=True)
class KeyText:
    """A key as it was presented: the id it claims, and the digest of its secret."""

    id: str
    secret_sha256: bytes = field(repr=False)


def read(text: str) -> KeyText | None:
    """The key in `text`, or None when it is not one."""
    found = _SHAPE.fullmatch(text)
    if found is None:
        return None
    core, checksum = text[:-8], found[3]
    if f"{zlib.crc32(core.encode()):08x}" != checksum:
        return None
    return KeyText(f"ak_{found[1]}", hashlib.sha256(found[2].encode()).digest())


def new_text(key_id: str) -> str:
    """A new key's text for `ak_…`, with a secret of 256 bits."""
    secret = base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
    core = f"gwk_{key_id.removeprefix('ak_')}_{secret}"
    return f"{core}{zlib.crc32(core.encode()):08x}"


@dataclass(frozen=True)
class KnownKey:
    """A key that is in force, and from where it may be used (empty: anywhere)."""

    principal: Principal
    expires_at: datetime | None
    networks: tuple[str, ...]

    def usable_from(self, address: str) -> bool:
        if not self.networks:
            return True
        try:
            host = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(host in ipaddress.ip_network(network) for network in self.networks)


async def create(
    session: AsyncSession,
    tenant_id: TenantId,
    *,
    scopes: Sequence[str],
    name: str = "",
    networks: Sequence[str] = (),
    expires_at: datetime | None = None,
    now: datetime,
) -> tuple[ApiKey, str]:
    """A new key and its text, which nobody can show again."""
    key_id = new_id("ak")
    text = new_text(key_id)
    presented = read(text)
    assert presented is not None
    row = ApiKey(
        tenant_id=tenant_id,
        id=key_id,
        name=name,
        secret_sha256=presented.secret_sha256,
        scopes=list(scopes),
        networks=[str(ipaddress.ip_network(network, strict=False)) for network in networks],
        created_at=now,
        expires_at=expires_at,
    )
    session.add(row)
    await session.flush()
    return row, text


async def of_tenant(session: AsyncSession, tenant_id: TenantId) -> Sequence[ApiKey]:
    """All keys of a tenant, newest first, revoked ones too."""
    return (await session.scalars(select(ApiKey).where(ApiKey.tenant_id == tenant_id).order_by(ApiKey.id.desc()))).all()


async def revoke(session: AsyncSession, tenant_id: TenantId, key_id: str, *, now: datetime) -> bool:
    """End a key; False when this tenant has no such key in force. Call `announce` after the commit."""
    ended = await session.execute(
        update(ApiKey)
        .where(ApiKey.tenant_id == tenant_id, ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=now)
        .returning(ApiKey.id)
    )
    return ended.scalar_one_or_none() is not None


async def announce(redis: Redis, key_id: str) -> None:
    """Tell every process that a key has ended. Without Redis they find out within a second."""
    await redis.set(marker(key_id), b"1", px=REVOKED_FOR)


def marker(key_id: str) -> str:
    return f"gw:revoked:{key_id}"


async def in_force(session: AsyncSession, presented: KeyText, *, now: datetime) -> KnownKey | None:
    """Whose key this is, or None: unknown, wrong, expired, revoked, or of a disabled tenant. Sees every tenant.

    An unknown id costs the same comparison as a known one.
    """
    row = (
        await session.execute(
            select(ApiKey, Tenant.region, Tenant.zone, Tenant.disabled_at)
            .join(Tenant, Tenant.id == ApiKey.tenant_id)
            .where(ApiKey.id == presented.id)
        )
    ).one_or_none()
    same = compare_digest(presented.secret_sha256, row[0].secret_sha256 if row else _NOBODY)
    if row is None or not same:
        return None
    key, region, zone, disabled_at = row
    if key.revoked_at is not None or disabled_at is not None or (key.expires_at and key.expires_at <= now):
        return None
    principal = Principal(TenantId(key.tenant_id), key.id, frozenset(key.scopes), "key", region, zone)
    return KnownKey(principal, key.expires_at, tuple(key.networks))


async def note_uses(connection: AsyncConnection, uses: Mapping[tuple[str, str], datetime]) -> None:
    """Keep when each (tenant, key) was last used, to the minute. Sees every tenant: one batch behind the answers."""
    statement = (
        update(ApiKey.__table__)  # type: ignore[arg-type]  # a Table, which SQLAlchemy types as FromClause
        .where(ApiKey.tenant_id == bindparam("of_tenant"), ApiKey.id == bindparam("of_key"))
        .values(last_used_at=bindparam("used_at"))
    )
    rows = [
        {"of_tenant": tenant, "of_key": key, "used_at": at.replace(second=0, microsecond=0)}
        for (tenant, key), at in sorted(uses.items())
    ]
    if rows:
        await connection.execute(statement, rows)
