"""Questions about calls."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.calls.tables import Call, CallAlias, CallEvent
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


async def call(session: AsyncSession, tenant_id: TenantId, call_id: str) -> Call | None:
    """The call by our own id, as it is now."""
    return (await session.scalars(select(Call).where(Call.tenant_id == tenant_id, Call.id == call_id))).one_or_none()


async def locked(session: AsyncSession, tenant_id: TenantId, call_id: str) -> Call | None:
    """The call's row, held until the transaction ends: whoever merges news into it, or plans it, waits here."""
    mine = select(Call).where(Call.tenant_id == tenant_id, Call.id == call_id)
    return (await session.scalars(mine.with_for_update().execution_options(populate_existing=True))).one_or_none()


async def call_by_any_id(session: AsyncSession, tenant_id: TenantId, text: str) -> Call | None:
    """The call that `text` names: our own id, the source's, a carrier's, or that of the lookup before it.

    Sources may use one id for different calls; then our own id wins, and the newest of the others.
    """
    mine = Call.tenant_id == tenant_id
    named = union_all(
        select(Call.id).where(mine, Call.id == text),
        select(Call.id).where(mine, Call.external_id == text),
        select(Call.id).where(mine, Call.lookup_id == text),
        select(CallAlias.call_id).where(
            CallAlias.tenant_id == tenant_id, CallAlias.alias.in_((text, f"carrier:{text}"))
        ),
    )
    found = select(Call).where(mine, Call.id.in_(named))
    return (await session.scalars(found.order_by((Call.id == text).desc(), Call.id.desc()).limit(1))).one_or_none()


async def page(
    session: AsyncSession, tenant_id: TenantId, *, before: str | None = None, state: str | None = None, limit: int = 50
) -> Sequence[Call]:
    """A page of a tenant's calls, newest first, older than the call `before`."""
    mine = select(Call).where(Call.tenant_id == tenant_id)
    if before is not None:
        mine = mine.where(Call.id < before)
    if state is not None:
        mine = mine.where(Call.state == state)
    return (await session.scalars(mine.order_by(Call.id.desc()).limit(limit))).all()


async def events_of(
    session: AsyncSession, tenant_id: TenantId, source: str, *, before: str | None = None, limit: int = 50
) -> Sequence[CallEvent]:
    """A page of what came from one source, newest first, older than the event `before`."""
    mine = select(CallEvent).where(CallEvent.tenant_id == tenant_id, CallEvent.source == source)
    if before is not None:
        mine = mine.where(CallEvent.id < before)
    return (await session.scalars(mine.order_by(CallEvent.id.desc()).limit(limit))).all()
