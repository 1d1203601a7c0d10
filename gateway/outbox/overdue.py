"""Deliveries nobody will send any more: their time ran out while they waited, or their CRM was disconnected."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.connections.tables import Connection
from gateway.db.base import TenantId
from gateway.db.engine import among, clock
from gateway.outbox.record import release_waiting
from gateway.outbox.states import State
from gateway.outbox.tables import Delivery, Lane

UNSENT = (State.WAITING, State.PENDING)


async def end_overdue(session: AsyncSession, *, limit: int = 500) -> int:
    """End up to `limit` of them, oldest first; how many. Sees every tenant: it is housekeeping.

    One whose outcome is unknown is not touched while its CRM may still be asked; after a disconnect it is `uncertain`.
    """
    now = (await session.execute(select(clock(session)))).scalar_one()
    gone = Connection.disconnected_at.is_not(None)
    found = await session.execute(
        select(Delivery.tenant_id, Delivery.lane_id, Delivery.id, Delivery.state, Connection.disconnected_at)
        .join(Connection, (Connection.tenant_id == Delivery.tenant_id) & (Connection.id == Delivery.connection_id))
        .where(
            (Delivery.state.in_([*UNSENT]) & ((Delivery.expires_at < now) | gone))
            | ((Delivery.state == State.IN_FLIGHT) & gone)
        )
        .order_by(Delivery.created_at)
        .limit(limit)
    )
    by_tenant: dict[str, list[tuple[str, str, str, bool]]] = defaultdict(list)
    for row in found:
        by_tenant[row.tenant_id].append((row.lane_id, row.id, row.state, row.disconnected_at is not None))
    for tenant, several in by_tenant.items():
        tenant_id = TenantId(tenant)
        lanes = sorted({lane_id for lane_id, *_ in several})
        await session.execute(
            select(Lane.id)
            .where(Lane.tenant_id == tenant_id, among(session, Lane.id, lanes))
            .order_by(Lane.id)
            .with_for_update()
        )
        for _, delivery_id, state, disconnected in several:
            await session.execute(
                update(Delivery)
                .where(Delivery.tenant_id == tenant_id, Delivery.id == delivery_id, Delivery.state == state)
                .values(**_ending(State(state), disconnected=disconnected), ended_at=now)
            )
        await release_waiting(session, tenant_id, lanes, now)
    return sum(map(len, by_tenant.values()))


def _ending(state: State, *, disconnected: bool) -> dict[str, str]:
    if not disconnected:
        return {"state": State.DEAD, "code": "expired", "reason": "its time ran out before it could be sent"}
    if state is State.IN_FLIGHT:
        reason = "it was sent and no answer came before the CRM was disconnected"
        return {"state": State.UNCERTAIN, "code": "uncertain", "reason": reason}
    return {"state": State.CANCELLED, "code": "disconnected", "reason": "the CRM was disconnected before it was sent"}
