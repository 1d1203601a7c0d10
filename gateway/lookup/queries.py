"""What lookup reads of the database: our own calls with a number, and what the tenant wishes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.calls.tables import Call
from gateway.db.base import TenantId
from gateway.tenants.tables import Tenant, TenantSettings


async def last_calls(
    session: AsyncSession, tenant_id: TenantId, subject_index: bytes, *, limit: int = 3
) -> Sequence[Call]:
    """Ended calls with the person of this keyed hash, newest first."""
    mine = select(Call).where(Call.tenant_id == tenant_id, Call.subject_index == subject_index, Call.ended.is_(True))
    newest = mine.order_by(func.coalesce(Call.started_at, Call.received_at).desc()).limit(limit)
    return (await session.scalars(newest)).all()


async def document(session: AsyncSession, tenant_id: TenantId) -> tuple[dict[str, Any], str | None]:
    """The tenant's settings in force ({} where there never were any), and how its national spellings are read."""
    newest = select(TenantSettings.document).where(TenantSettings.tenant_id == tenant_id)
    newest = newest.order_by(TenantSettings.version.desc()).limit(1)
    mine = select(Tenant.region, newest.scalar_subquery()).where(Tenant.id == tenant_id)
    row = (await session.execute(mine)).one_or_none()
    return (row[1] or {}, row[0]) if row else ({}, None)


async def regions(session: AsyncSession) -> Sequence[str]:
    """Regions of tenants, each once. Sees every tenant: it warms the phone metadata at start."""
    return (await session.scalars(select(Tenant.region).where(Tenant.disabled_at.is_(None)).distinct())).all()
