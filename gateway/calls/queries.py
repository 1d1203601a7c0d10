"""Questions about calls."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.calls.tables import Call
from gateway.db.base import TenantId
from gateway.db.engine import clock


async def due(session: AsyncSession, *, limit: int = 1000) -> Sequence[str]:
    """Calls whose planning is due, the longest due first. Sees every tenant: it is the relay's question."""
    ripe = select(Call.id).where(Call.plan_at <= clock(session))
    return (await session.scalars(ripe.order_by(Call.plan_at).limit(limit))).all()


async def tenant_of(session: AsyncSession, call_id: str) -> TenantId | None:
    """Whose call this is; None when there is none. Sees every tenant: a ring names the call alone."""
    found = await session.scalar(select(Call.tenant_id).where(Call.id == call_id))
    return TenantId(found) if found is not None else None


async def locked(session: AsyncSession, tenant_id: TenantId, call_id: str) -> Call | None:
    """The call's row, held until the transaction ends: whoever merges news into it, or plans it, waits here."""
    mine = select(Call).where(Call.tenant_id == tenant_id, Call.id == call_id)
    return (await session.scalars(mine.with_for_update().execution_options(populate_existing=True))).one_or_none()
