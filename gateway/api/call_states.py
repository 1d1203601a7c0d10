"""The state of a call, from its own row and from what became of its deliveries.

Planning says `planned`; whether it is done, or somebody has to look at it, follows from the deliveries and is asked of
them: a second place that says so would have to be kept true by every recorder, replay and cancellation.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, case, exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.calls.tables import Call
from gateway.db.base import TenantId
from gateway.outbox.states import State
from gateway.outbox.tables import Delivery

NEED_SOMEBODY = (State.DEAD, State.HELD, State.UNCERTAIN)
STILL_OPEN = (State.WAITING, State.PENDING, State.IN_FLIGHT)


def _has(states: Sequence[State]) -> ColumnElement[bool]:
    mine = (Delivery.tenant_id == Call.tenant_id) & (Delivery.call_id == Call.id)
    return exists().where(mine, Delivery.state.in_([state.value for state in states])).correlate(Call)


current_state: ColumnElement[str] = case(
    (Call.state != "planned", Call.state),
    (_has(NEED_SOMEBODY), "attention"),
    (_has(STILL_OPEN), "planned"),
    else_="done",
)
"""received | planned | done | attention."""


async def page(
    session: AsyncSession, tenant_id: TenantId, *, before: str | None, state: str | None, limit: int
) -> Sequence[tuple[Call, str]]:
    """A page of a tenant's calls with their states, newest first, older than the call `before`."""
    mine = select(Call, current_state).where(Call.tenant_id == tenant_id)
    if before is not None:
        mine = mine.where(Call.id < before)
    if state is not None:
        mine = mine.where(current_state == state)
    rows = await session.execute(mine.order_by(Call.id.desc()).limit(limit))
    return [(call, found) for call, found in rows]


async def state_of(session: AsyncSession, tenant_id: TenantId, call_id: str) -> str:
    """The state of a call known to exist."""
    found = await session.execute(select(current_state).where(Call.tenant_id == tenant_id, Call.id == call_id))
    return found.scalar_one()
