"""Recording what became of claims. A record under an old fence writes nothing: somebody else holds the lane by now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, func, insert, null, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from connectors.crm.records import Record, Ref
from gateway.db.base import TenantId, UtcTime, new_id
from gateway.db.engine import among, clock, inserting
from gateway.outbox.claim import HeldLane
from gateway.outbox.states import OPEN, Standing, State, Waiting, released
from gateway.outbox.tables import Attempt, Delivery, Lane, LaneRecord


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of one delivery in this claim.

    wait     for pending and in_flight: not before so much later.
    counts   uses up an attempt. waits: was put off once more.
    record   what it left. forget_person: the lane's person is gone at the CRM, look for them anew.
    outcome  for the attempt's row ("delivered", "rate_limited", …); None when nothing was tried.
    """

    delivery_id: str
    state: State
    wait: timedelta = timedelta(0)
    counts: bool = False
    waited: bool = False
    looking: bool = False
    code: str | None = None
    reason: str | None = None
    record: Record | None = None
    forget_person: bool = False
    outcome: str | None = None
    status: int | None = None
    took: timedelta = timedelta(0)


@dataclass(frozen=True, kw_only=True)
class LaneResult:
    """What became of one claim. `met`: who the lane's person turned out to be."""

    lane: HeldLane
    results: tuple[Result, ...]
    met: Ref | None = None


@dataclass(frozen=True)
class Kept:
    """What `record` wrote: lanes whose fence still held, and the deliveries of the others (written nothing)."""

    lanes: int
    fenced_off: int
    changed: tuple[str, ...] = ()


async def record(session: AsyncSession, tenant_id: TenantId, done: Sequence[LaneResult]) -> Kept:
    """Write what became of claims of one tenant and let their lanes go. A claim whose fence has moved writes nothing."""
    by_lane = {one.lane.id: one for one in done}
    locked = (
        await session.execute(
            select(Lane.id, Lane.fence, clock(session).label("now"))
            .where(Lane.tenant_id == tenant_id, among(session, Lane.id, list(by_lane)))
            .order_by(Lane.id)
            .with_for_update()
        )
    ).all()
    kept = [by_lane[row.id] for row in locked if by_lane[row.id].lane.fence == row.fence]
    if not kept:
        return Kept(0, len(done))
    now: datetime = locked[0].now
    results = [result for one in kept for result in one.results]
    await _write_results(session, tenant_id, results, now)
    await _write_persons(session, tenant_id, kept, now)
    lane_ids = [one.lane.id for one in kept]
    if any(result.state not in (State.PENDING, State.IN_FLIGHT) for result in results):
        await release_waiting(session, tenant_id, lane_ids, now)
    await let_go(session, tenant_id, lane_ids)
    return Kept(len(kept), len(done) - len(kept), tuple(result.delivery_id for result in results))


_ENDED = (State.DELIVERED, State.UNCERTAIN, State.HELD, State.DEAD, State.CANCELLED)

_WRITE = (
    update(Delivery)
    .where(Delivery.tenant_id == bindparam("at_tenant"), Delivery.id == bindparam("at_id"))
    .values(
        state=bindparam("to_state"),
        due_at=bindparam("to_due_at", type_=UtcTime()),
        attempts=Delivery.attempts + bindparam("more_attempts"),
        waits=Delivery.waits + bindparam("more_waits"),
        claims=bindparam("to_claims"),
        looking=bindparam("to_looking"),
        code=bindparam("to_code"),
        reason=bindparam("to_reason"),
        record_kind=func.coalesce(bindparam("to_kind"), Delivery.record_kind),
        record_id=func.coalesce(bindparam("to_record"), Delivery.record_id),
        record_url=func.coalesce(bindparam("to_url"), Delivery.record_url),
        ended_at=bindparam("to_ended_at", type_=UtcTime()),
    )
)


async def _write_results(session: AsyncSession, tenant_id: TenantId, results: Sequence[Result], now: datetime) -> None:
    rows = [
        {
            "at_tenant": tenant_id,
            "at_id": one.delivery_id,
            "to_state": one.state.value,
            "to_due_at": now + one.wait,
            "more_attempts": int(one.counts),
            "more_waits": int(one.waited),
            "to_claims": 0,
            "to_looking": one.looking,
            "to_code": one.code,
            "to_reason": one.reason,
            "to_kind": one.record.kind.value if one.record else None,
            "to_record": one.record.id if one.record else None,
            "to_url": one.record.url if one.record else None,
            "to_ended_at": now if one.state in _ENDED else None,
        }
        for one in results
    ]
    if rows:
        connection = await session.connection()
        await connection.execute(_WRITE, rows)
    tried = [
        {
            "tenant_id": tenant_id,
            "id": new_id("at"),
            "delivery_id": one.delivery_id,
            "at": now,
            "outcome": one.outcome,
            "status": one.status,
            "took_ms": int(one.took / timedelta(milliseconds=1)),
            "reason": one.reason,
        }
        for one in results
        if one.outcome is not None
    ]
    if tried:
        await session.execute(insert(Attempt), tried)


async def _write_persons(session: AsyncSession, tenant_id: TenantId, kept: Sequence[LaneResult], now: datetime) -> None:
    """Who lanes' persons turned out to be; and forget those who are gone at the CRM."""
    gone = [one.lane.id for one in kept if any(result.forget_person for result in one.results)]
    if gone:
        await session.execute(
            delete(LaneRecord).where(LaneRecord.tenant_id == tenant_id, among(session, LaneRecord.lane_id, gone))
        )
    met = [(one.lane.id, one.met) for one in kept if one.met is not None and one.lane.id not in gone]
    for lane_id, ref in met:
        await session.execute(
            inserting(session, LaneRecord)
            .values(tenant_id=tenant_id, lane_id=lane_id, kind=ref.kind.value, record_id=ref.id, at=now)
            .on_conflict_do_update(
                index_elements=["tenant_id", "lane_id", "kind"], set_={"record_id": ref.id, "at": now}
            )
        )


async def release_waiting(session: AsyncSession, tenant_id: TenantId, lane_ids: Sequence[str], now: datetime) -> None:
    """Let waiting deliveries of these lanes go on, or hold them, now that something they waited for has ended.

    The caller holds the lanes. Bounded: at most 500 waiting ones of all these lanes are looked at, oldest first.
    """
    waiting_rows = (
        await session.execute(
            select(Delivery.id, Delivery.lane_id, Delivery.seq, Delivery.needs, Delivery.record_key)
            .where(
                Delivery.tenant_id == tenant_id,
                among(session, Delivery.lane_id, list(lane_ids)),
                Delivery.state == State.WAITING,
            )
            .order_by(Delivery.seq)
            .limit(500)
        )
    ).all()
    if not waiting_rows:
        return
    needed = {need for row in waiting_rows for need in row.needs}
    standing_rows = await session.execute(
        select(Delivery.id, Delivery.lane_id, Delivery.seq, Delivery.record_key, Delivery.state).where(
            Delivery.tenant_id == tenant_id,
            among(session, Delivery.lane_id, {row.lane_id for row in waiting_rows}),
            Delivery.state.in_([*OPEN]) | among(session, Delivery.id, needed),
        )
    )
    standing: dict[str, list[Standing]] = {}
    for row in standing_rows:
        standing.setdefault(row.lane_id, []).append(Standing(row.id, row.seq, row.record_key, State(row.state)))
    for lane_id in {row.lane_id for row in waiting_rows}:
        waiting = [
            Waiting(row.id, row.seq, tuple(row.needs), row.record_key) for row in waiting_rows if row.lane_id == lane_id
        ]
        for one in released(waiting, standing.get(lane_id, [])):
            await session.execute(
                update(Delivery)
                .where(Delivery.tenant_id == tenant_id, Delivery.id == one.id, Delivery.state == State.WAITING)
                .values(
                    state=one.state,
                    due_at=now,
                    reason=one.reason,
                    code="needs" if one.state is State.HELD else None,
                    ended_at=now if one.state is State.HELD else None,
                )
            )


async def let_go(session: AsyncSession, tenant_id: TenantId, lane_ids: Sequence[str]) -> None:
    """End the lease of lanes the caller holds; each is ready when the first of its open deliveries is due."""
    first_due = (
        select(func.min(Delivery.due_at))
        .where(Delivery.lane_id == Lane.id, Delivery.state.in_([State.PENDING, State.IN_FLIGHT]))
        .scalar_subquery()
    )
    await session.execute(
        update(Lane)
        .where(Lane.tenant_id == tenant_id, among(session, Lane.id, list(lane_ids)))
        .values(lease_until=null(), ready_at=first_due)
    )
