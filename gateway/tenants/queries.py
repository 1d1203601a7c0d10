"""Tenants as rows. Operators' commands see all of them, and say so."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import phonenumbers
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.db.base import TenantId, new_id
from gateway.tenants.keys import Keyring
from gateway.tenants.tables import Tenant


class NoSuchTenant(LookupError):
    """No tenant has this id or name, or several have the name."""


async def create(
    session: AsyncSession, keyring: Keyring, *, name: str, region: str, zone: str | None = None, now: datetime
) -> Tenant:
    """A new tenant with its sealing keys. Raises ValueError for a region or zone that does not exist."""
    region = known_region(region)
    row = Tenant(
        id=new_id("tn"),
        name=name,
        region=region,
        zone=known_zone(zone) if zone else zone_of(region),
        created_at=now,
    )
    session.add(row)
    await session.flush()
    await keyring.make_for(session, TenantId(row.id))
    await session.flush()
    return row


async def everyone(session: AsyncSession) -> Sequence[Tenant]:
    """All tenants, by name. Sees every tenant: it is the operator's list."""
    return (await session.scalars(select(Tenant).order_by(Tenant.name, Tenant.id))).all()


async def named(session: AsyncSession, id_or_name: str) -> Tenant:
    """The tenant an operator means. Raises `NoSuchTenant`. Sees every tenant."""
    if (found := await session.get(Tenant, id_or_name)) is not None:
        return found
    rows = (await session.scalars(select(Tenant).where(Tenant.name == id_or_name).limit(2))).all()
    if len(rows) > 1:
        raise NoSuchTenant("several tenants have this name; use the id from `gateway tenant list`")
    if not rows:
        raise NoSuchTenant("no tenant has this id or name; `gateway tenant list` shows them")
    return rows[0]


async def tenant(session: AsyncSession, tenant_id: TenantId) -> Tenant:
    """The row of a tenant known to exist."""
    return (await session.scalars(select(Tenant).where(Tenant.id == tenant_id))).one()


def known_region(text: str) -> str:
    """An ISO 3166 country that has telephone numbers. Raises ValueError."""
    region = text.strip().upper()
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("is not an ISO 3166 country code such as CH")
    return region


def known_zone(text: str) -> str:
    """An IANA time zone. Raises ValueError."""
    try:
        return ZoneInfo(text).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is not an IANA time zone such as Europe/Zurich") from None


def zone_of(region: str) -> str:
    """The one zone of a country that has only one. Raises ValueError for the others: nobody guesses a due date's zone."""
    table = resources.files("tzdata").joinpath("zoneinfo/zone.tab").read_text()
    zones = [line.split("\t")[2] for line in table.splitlines() if line.startswith(f"{region}\t")]
    if len(zones) != 1:
        raise ValueError(f"{region} has {len(zones)} time zones: name the one that due dates follow")
    return zones[0]
