"""Deliveries that a person looks after: list, explain, replay, cancel. Each takes its lane's lock first, like everybody."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import case, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.db.base import TenantId
from gateway.db.engine import among, clock
from gateway.outbox.record import release_waiting
from gateway.outbox.states import State
from gateway.outbox.tables import Attempt, Delivery, Lane

MOST_AT_ONCE = 1000  # replayed by reason in one request; the rest with the next
REPLAYABLE = (State.DEAD, State.HELD)

MENDS = {
    "rejected": "Fix the field in the mapping or at the CRM (or loosen the CRM's own rule), then replay it.",
    "scope": "Reconnect the CRM and grant what is missing, then replay it.",
    "gone": "The record was deleted or merged at the CRM. Replay it to write about whoever is found now.",
    "unsupported": "This CRM has no such thing: change the rule.",
    "needs": "Something this refers to was not delivered. Replay that one; this follows by itself.",
    "no-person": "There is nobody in the CRM this could be written about; let a rule create the contact first.",
    "uncertain": "Look in the CRM whether it is there, then say so: resend it, or not.",
    "crashes": "Workers stop while working on this one. Replay it once; if it happens again, report it.",
    "expired": "The CRM was away for longer than the delivery was kept for. Replay it if it still matters.",
    "unreadable": "The CRM answered in a form we do not know. Replay it; if it happens again, report it.",
    "payload": "It was sealed with a key that is not here, or by another release. Restore the key, then replay it.",
}
"""What a person can do, by `code`."""


FORGOTTEN = "What it was to write is no longer kept: its retention time is over. It cannot be sent any more."


class NotNow(Exception):
    """The delivery's state does not allow it; the text says why."""


async def listed(
    session: AsyncSession,
    tenant_id: TenantId,
    *,
    states: Collection[State] = (),
    call_id: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> Sequence[Delivery]:
    """A page of deliveries, newest first; `before`: the last id of the page before."""
    mine = select(Delivery).where(Delivery.tenant_id == tenant_id)
    mine = mine.where(Delivery.state.in_([*states])) if states else mine
    mine = mine.where(Delivery.call_id == call_id) if call_id is not None else mine
    if before is not None:
        last = select(Delivery.created_at, Delivery.id).where(Delivery.tenant_id == tenant_id, Delivery.id == before)
        mine = mine.where(tuple_(Delivery.created_at, Delivery.id) < last.scalar_subquery())
    return (await session.scalars(mine.order_by(Delivery.created_at.desc(), Delivery.id.desc()).limit(limit))).all()


async def attempts(
    session: AsyncSession, tenant_id: TenantId, delivery_ids: Collection[str]
) -> dict[str, list[Attempt]]:
    """What was tried, by delivery, oldest first."""
    rows = await session.scalars(
        select(Attempt)
        .where(Attempt.tenant_id == tenant_id, among(session, Attempt.delivery_id, list(delivery_ids)))
        .order_by(Attempt.id)
    )
    told: dict[str, list[Attempt]] = {}
    for row in rows:
        told.setdefault(row.delivery_id, []).append(row)
    return told


async def delivery(session: AsyncSession, tenant_id: TenantId, delivery_id: str) -> Delivery | None:
    mine = select(Delivery).where(Delivery.tenant_id == tenant_id, Delivery.id == delivery_id)
    return (await session.scalars(mine)).one_or_none()


async def replay(
    session: AsyncSession, tenant_id: TenantId, delivery_id: str, *, lifetime: timedelta, resend: bool | None = None
) -> Delivery | None:
    """Let a dead, held or uncertain delivery go on; None if there is no such delivery. Raises `NotNow`.

    resend  for an uncertain one, and only for it: True sends it once more, False takes it as having arrived.
    What may have been sent before is still looked for first. Deliveries held because of this one wait for it again.
    """
    row = await _locked(session, tenant_id, delivery_id)
    if row is None:
        return None
    now = (await session.execute(select(clock(session)))).scalar_one()
    if row.payload is None and not (row.state == State.UNCERTAIN and resend is False):
        raise NotNow(FORGOTTEN)
    if row.state == State.UNCERTAIN:
        if resend is None:
            raise NotNow(
                'It may have arrived. Say {"resend": true} to send it once more, {"resend": false} if it is there.'
            )
        row.looking = False
        row.blind = row.blind and not resend
        _reset(row, State.PENDING if resend else State.DELIVERED, now, lifetime)
        row.reason = None if resend else "somebody found it in the CRM"
        row.ended_at = None if resend else now
    elif row.state in REPLAYABLE:
        _reset(row, State.IN_FLIGHT if row.looking else State.WAITING, now, lifetime)
    else:
        raise NotNow(f"It is {row.state}; there is nothing to replay.")
    await session.flush()
    await _let_dependents_wait(session, tenant_id, row)
    await release_waiting(session, tenant_id, [row.lane_id], now)
    await _ready(session, tenant_id, row.lane_id)
    await session.refresh(row)
    return row


async def cancel(session: AsyncSession, tenant_id: TenantId, delivery_id: str) -> Delivery | None:
    """Give a delivery up; None if there is no such delivery. Raises `NotNow` for one that is on its way or has arrived."""
    row = await _locked(session, tenant_id, delivery_id)
    if row is None:
        return None
    if row.state in (State.IN_FLIGHT, State.DELIVERED, State.CANCELLED):
        raise NotNow(f"It is {row.state}; it cannot be cancelled.")
    now = (await session.execute(select(clock(session)))).scalar_one()
    row.state, row.ended_at, row.reason, row.code = State.CANCELLED, now, "cancelled by hand", "cancelled"
    await session.flush()
    await release_waiting(session, tenant_id, [row.lane_id], now)
    await _ready(session, tenant_id, row.lane_id)
    return row


async def replay_by_code(session: AsyncSession, tenant_id: TenantId, code: str, *, lifetime: timedelta) -> int:
    """Replay dead and held deliveries with this `code`, oldest first, at most a thousand; how many."""
    found = await session.scalars(
        select(Delivery.id)
        .where(Delivery.tenant_id == tenant_id, Delivery.state.in_([*REPLAYABLE]), Delivery.code == code)
        .order_by(Delivery.created_at, Delivery.id)
        .limit(MOST_AT_ONCE)
    )
    replayed = 0
    for delivery_id in found.all():
        try:
            await replay(session, tenant_id, delivery_id, lifetime=lifetime)
            replayed += 1
        except NotNow:  # replaying an earlier one has released it already
            continue
    return replayed


def _reset(row: Delivery, state: State, now: datetime, lifetime: timedelta) -> None:
    row.state, row.due_at, row.expires_at = state, now, now + lifetime
    row.attempts = row.claims = row.waits = 0
    row.code = row.reason = row.ended_at = None


async def _locked(session: AsyncSession, tenant_id: TenantId, delivery_id: str) -> Delivery | None:
    """The delivery, its lane locked before it."""
    lane_id = await session.scalar(
        select(Delivery.lane_id).where(Delivery.tenant_id == tenant_id, Delivery.id == delivery_id)
    )
    if lane_id is None:
        return None
    await session.execute(select(Lane.id).where(Lane.tenant_id == tenant_id, Lane.id == lane_id).with_for_update())
    return await delivery(session, tenant_id, delivery_id)


async def _let_dependents_wait(session: AsyncSession, tenant_id: TenantId, row: Delivery) -> None:
    """Those that were held because of `row`, and because of those, wait again."""
    held = (
        await session.scalars(
            select(Delivery).where(
                Delivery.tenant_id == tenant_id,
                Delivery.lane_id == row.lane_id,
                Delivery.state == State.HELD,
                Delivery.code == "needs",
                Delivery.payload.is_not(None),
            )
        )
    ).all()
    back = {row.id}
    for one in sorted(held, key=lambda held: held.seq):
        if back & set(one.needs):
            one.state, one.code, one.reason, one.ended_at = State.WAITING, None, None, None
            back.add(one.id)
    await session.flush()


async def _ready(session: AsyncSession, tenant_id: TenantId, lane_id: str) -> None:
    """The lane is due when its first open delivery is; a live lease is not shortened, its recorder looks again."""
    now = clock(session)
    first_due = (
        select(func.min(Delivery.due_at))
        .where(Delivery.lane_id == lane_id, Delivery.state.in_([State.PENDING, State.IN_FLIGHT]))
        .scalar_subquery()
    )
    await session.execute(
        update(Lane)
        .where(Lane.tenant_id == tenant_id, Lane.id == lane_id)
        .values(ready_at=case((Lane.lease_until > now, Lane.ready_at), else_=first_due))
    )
