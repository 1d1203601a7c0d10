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


async def document(session: AsyncSession, tenant_id: TenantId) -> dict[str, Any]:
    """The tenant's settings in force; {} where there never were any."""
    mine = select(TenantSettings.document).where(TenantSettings.tenant_id == tenant_id)
    newest = await session.scalar(mine.order_by(TenantSettings.version.desc()).limit(1))
    return newest or {}


async def region(session: AsyncSession, tenant_id: TenantId) -> str | None:
    """How the tenant's national spellings are read."""
    return await session.scalar(select(Tenant.region).where(Tenant.id == tenant_id))


async def regions(session: AsyncSession) -> Sequence[str]:
    """Regions of tenants, each once. Sees every tenant: it warms the phone metadata at start."""
    return (await session.scalars(select(Tenant.region).where(Tenant.disabled_at.is_(None)).distinct())).all()
