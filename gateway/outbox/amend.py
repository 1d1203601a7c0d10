"""Later news of a call that was planned: a delivery that was not sent is refreshed in place, under its lane's lock."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from connectors.crm.records import Write
from gateway.db.base import TenantId
from gateway.db.engine import among
from gateway.outbox import payloads
from gateway.outbox.plan import Promise
from gateway.outbox.states import State
from gateway.outbox.tables import Delivery, Lane
from gateway.tenants.keys import TenantKeys


async def refresh(
    session: AsyncSession,
    tenant_id: TenantId,
    connection_id: str,
    person: bytes,
    promises: Sequence[Promise],
    *,
    keys: TenantKeys,
) -> list[tuple[Promise, Write]]:
    """Give unsent deliveries of these promises their new payload; of those that were sent: the promise, and what was sent.

    Unsent means never claimed with an intent: `waiting`, or `pending` with nothing to look for.
    """
    await session.execute(
        select(Lane.id)
        .where(Lane.tenant_id == tenant_id, Lane.connection_id == connection_id, Lane.person == person)
        .with_for_update()
    )
    wanted = {one.id: one for one in promises}
    rows = await session.execute(
        select(Delivery.id, Delivery.state, Delivery.looking, Delivery.v, Delivery.payload).where(
            Delivery.tenant_id == tenant_id, among(session, Delivery.id, list(wanted))
        )
    )
    sent: list[tuple[Promise, Write]] = []
    for row in rows.all():
        promise = wanted[row.id]
        if row.state in (State.WAITING, State.PENDING) and not row.looking:
            await session.execute(
                update(Delivery)
                .where(Delivery.tenant_id == tenant_id, Delivery.id == row.id)
                .values(payload=payloads.seal(keys, row.id, promise.write), v=payloads.VERSION)
            )
        elif row.payload is not None:
            sent.append((promise, payloads.read(keys, row.id, row.v, row.payload)))
    return sent
