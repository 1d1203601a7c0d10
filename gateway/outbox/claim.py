"""Holding lanes: claim them, and commit the intent to send what they hold before the first byte leaves (delivery.md §§2-3).

A lane's row is the mutex of its person. Leases are by the database's clock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, bindparam, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from connectors.crm.records import Kind, Ref
from gateway.db.base import Base, TenantId, UtcTime
from gateway.db.engine import among, clock
from gateway.outbox.states import OPEN, Standing, State, Waiting, together
from gateway.outbox.tables import Delivery, LaneRecord

_DELIVERIES = Base.metadata.tables[Delivery.__tablename__]
PER_LANE = 8  # deliveries of one lane in one claim
PERSON_KINDS = (Kind.CONTACT, Kind.LEAD, Kind.COMPANY)  # kinds of records a lane's person can be, best first


@dataclass(frozen=True, kw_only=True)
class HeldDelivery:
    """A delivery under a claim.

    looking  an earlier try's outcome is unknown: look before sending.
    waiting  it was claimed with what it needs, to go out in one request with it: not to be sent before that.
    """

    id: str
    seq: int
    v: int
    payload: bytes
    action: str
    needs: tuple[str, ...]
    record_key: str
    attempts: int
    waits: int
    claims: int
    looking: bool
    waiting: bool
    blind: bool
    settle: timedelta
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class HeldLane:
    """A lane under a claim: its deliveries in order, and who its person is.

    left     the records that needed deliveries left. lacking: needed ones that have not arrived, as they stand.
    """

    tenant_id: TenantId
    id: str
    connection_id: str
    fence: int
    deliveries: tuple[HeldDelivery, ...]
    person: Ref | None
    left: Mapping[str, Ref]
    lacking: Mapping[str, State]
    claimed_at: datetime


_CLAIM_POSTGRESQL = text("""
    WITH ready AS MATERIALIZED (
        SELECT tenant_id, id FROM lanes
        WHERE connection_id = :connection AND ready_at <= now()
        ORDER BY ready_at LIMIT :most FOR UPDATE SKIP LOCKED
    )
    UPDATE lanes SET ready_at = now() + :lease, lease_until = now() + :lease, fence = fence + 1
    FROM ready WHERE lanes.tenant_id = ready.tenant_id AND lanes.id = ready.id AND lanes.tenant_id = :tenant
    RETURNING lanes.id, lanes.fence, now() AS now
""")

_CLAIM_SQLITE = text("""
    UPDATE lanes SET ready_at = :until, lease_until = :until, fence = fence + 1
    WHERE tenant_id = :tenant AND id IN (
        SELECT id FROM lanes WHERE connection_id = :connection AND ready_at <= :now ORDER BY ready_at LIMIT :most
    )
    RETURNING id, fence, :now AS now
""").bindparams(bindparam("until", type_=UtcTime()), bindparam("now", type_=UtcTime()))

_COLUMNS = "id, lane_id, seq, v, payload, action, needs, record_key, attempts, waits, claims, looking, state, blind, settle_ms, expires_at"

# LATERAL, so that a lane of 200,000 costs no more than its first eight; two statements, not one with the claim: this one
# must see what was committed until the lanes were locked.
_FIRST_POSTGRESQL = """
    SELECT d.* FROM unnest(CAST(:lanes AS varchar[])) AS lane(id) CROSS JOIN LATERAL (
        SELECT {columns} FROM deliveries WHERE lane_id = lane.id AND {which} ORDER BY seq LIMIT :most
    ) d ORDER BY d.lane_id, d.seq
"""
_FIRST_SQLITE = """
    SELECT {columns} FROM deliveries JOIN (SELECT value FROM json_each(:lanes)) lane ON lane_id = lane.value
    WHERE seq IN (
        SELECT seq FROM deliveries first WHERE lane_id = lane.value AND {which} ORDER BY seq LIMIT :most
    ) ORDER BY lane_id, seq
"""
_IS_DUE, _IS_WAITING = "state IN ('pending', 'in_flight') AND due_at <= {now}", "state = 'waiting'"
_DUE_POSTGRESQL = text(_FIRST_POSTGRESQL.format(columns=_COLUMNS, which=_IS_DUE.format(now="now()")))
_DUE_SQLITE = text(_FIRST_SQLITE.format(columns=_COLUMNS, which=_IS_DUE.format(now=":now"))).bindparams(
    bindparam("now", type_=UtcTime())
)
_WAITING_POSTGRESQL = text(_FIRST_POSTGRESQL.format(columns=_COLUMNS, which=_IS_WAITING))
_WAITING_SQLITE = text(_FIRST_SQLITE.format(columns=_COLUMNS, which=_IS_WAITING))


async def claim(
    session: AsyncSession, tenant_id: TenantId, connection_id: str, *, most: int, lease: timedelta, run: int = 1
) -> list[HeldLane]:
    """Hold up to `most` ready lanes of a connection, longest due first, and commit the intent to send what they hold.

    run  the most deliveries this CRM takes in one request: with more than one, those that wait only for what is claimed
         here are claimed with it.
    Everything returned is `in_flight` once this transaction commits: whoever finds it later, under an expired lease,
    knows that it may have been sent. What an earlier claim left `in_flight` comes back with `looking`.
    """
    lanes = await _claim_lanes(session, tenant_id, connection_id, most=most, lease=lease)
    if not lanes:
        return []
    due = await _due(session, list(lanes))
    taken: dict[str, list[HeldDelivery]] = {lane_id: [] for lane_id in lanes}
    for lane_id, one in due:
        if _may_join(taken[lane_id], one):
            taken[lane_id].append(one)
    if run > 1:
        await _join(session, tenant_id, taken)
    (_, now) = next(iter(lanes.values()))
    await _intend(session, tenant_id, [one for several in taken.values() for one in several], lease=lease, now=now)
    persons = await _persons(session, tenant_id, list(lanes))
    left, lacking = await _needed(
        session, tenant_id, {need for several in taken.values() for one in several for need in one.needs}
    )
    return [
        HeldLane(
            tenant_id=tenant_id,
            id=lane_id,
            connection_id=connection_id,
            fence=fence,
            deliveries=tuple(taken[lane_id]),
            person=persons.get(lane_id),
            left=left,
            lacking=lacking,
            claimed_at=now,
        )
        for lane_id, (fence, now) in lanes.items()
    ]


CRASHES_ALONE = 3  # claims without a record: from here on it is sent alone, so that it takes nobody with it


def _may_join(before: Sequence[HeldDelivery], one: HeldDelivery) -> bool:
    return not before or not (_goes_alone(one) or _goes_alone(before[0]))


def _goes_alone(one: HeldDelivery) -> bool:
    """A blind one: intent is all we know of it after a crash. And one that workers keep dying on."""
    return one.blind or one.claims >= CRASHES_ALONE


async def _claim_lanes(
    session: AsyncSession, tenant_id: TenantId, connection_id: str, *, most: int, lease: timedelta
) -> dict[str, tuple[int, datetime]]:
    given: dict[str, object] = {"tenant": tenant_id, "connection": connection_id, "most": most}
    if session.get_bind().dialect.name == "sqlite":
        now = await session.scalar(select(clock(session)))
        rows = await session.execute(_CLAIM_SQLITE, {**given, "now": now, "until": now + lease if now else now})
        return {row.id: (row.fence, now) for row in rows if now}
    rows = await session.execute(_CLAIM_POSTGRESQL, {**given, "lease": lease})
    return {row.id: (row.fence, row.now) for row in rows}


_TYPES = {
    "needs": Delivery.needs.type,
    "expires_at": UtcTime(),
    "looking": Delivery.looking.type,
    "blind": Delivery.blind.type,
}


async def _due(session: AsyncSession, lane_ids: list[str]) -> list[tuple[str, HeldDelivery]]:
    if session.get_bind().dialect.name == "sqlite":
        statement = _DUE_SQLITE.columns(**_TYPES)
        now = await session.scalar(select(clock(session)))
        rows = await session.execute(statement, {"lanes": json.dumps(lane_ids), "most": PER_LANE, "now": now})
    else:
        statement = _DUE_POSTGRESQL.columns(**_TYPES)
        rows = await session.execute(statement, {"lanes": lane_ids, "most": PER_LANE})
    return [(row.lane_id, _held(row)) for row in rows]


def _held(row: Row[Any]) -> HeldDelivery:
    return HeldDelivery(
        id=row.id,
        seq=row.seq,
        v=row.v,
        payload=row.payload or b"",
        action=row.action,
        needs=tuple(row.needs),
        record_key=row.record_key,
        attempts=row.attempts,
        waits=row.waits,
        claims=row.claims,
        looking=row.looking or row.state == State.IN_FLIGHT,
        waiting=row.state == State.WAITING,
        blind=row.blind,
        settle=timedelta(milliseconds=row.settle_ms),
        expires_at=row.expires_at,
    )


async def _join(session: AsyncSession, tenant_id: TenantId, taken: dict[str, list[HeldDelivery]]) -> None:
    """Add what waits only for what is taken already. Nothing joins what is looked for first, or goes alone."""
    going = {
        lane_id: [one.id for one in several if not one.looking]
        for lane_id, several in taken.items()
        if several and len(several) < PER_LANE and not _goes_alone(several[0])
    }
    lane_ids = [lane_id for lane_id, several in going.items() if several]
    waiting = await _waiting(session, lane_ids) if lane_ids else {}
    if not waiting:
        return
    standing = await _standing(session, tenant_id, waiting)
    for lane_id, found in waiting.items():
        asked = [Waiting(one.id, one.seq, one.needs, one.record_key) for one in found]
        joined = set(together(asked, standing.get(lane_id, ()), going[lane_id]))
        several = [*taken[lane_id], *(one for one in found if one.id in joined)]
        taken[lane_id] = sorted(several[:PER_LANE], key=lambda one: one.seq)


async def _waiting(session: AsyncSession, lane_ids: list[str]) -> dict[str, list[HeldDelivery]]:
    """The first that wait in these lanes, by lane and in order; those that go alone are left out."""
    if session.get_bind().dialect.name == "sqlite":
        given: dict[str, object] = {"lanes": json.dumps(lane_ids), "most": PER_LANE}
        rows = await session.execute(_WAITING_SQLITE.columns(**_TYPES), given)
    else:
        rows = await session.execute(_WAITING_POSTGRESQL.columns(**_TYPES), {"lanes": lane_ids, "most": PER_LANE})
    found: dict[str, list[HeldDelivery]] = {}
    for row in rows:
        one = _held(row)
        if not (one.looking or _goes_alone(one)):
            found.setdefault(row.lane_id, []).append(one)
    return found


async def _standing(
    session: AsyncSession, tenant_id: TenantId, waiting: Mapping[str, Sequence[HeldDelivery]]
) -> dict[str, list[Standing]]:
    """What those that wait may have to wait for, by lane: what they need, and open ones of the same records."""
    asked = [one for several in waiting.values() for one in several]
    same_record = Delivery.state.in_([*OPEN]) & among(session, Delivery.record_key, {one.record_key for one in asked})
    rows = await session.execute(
        select(Delivery.lane_id, Delivery.id, Delivery.seq, Delivery.record_key, Delivery.state).where(
            Delivery.tenant_id == tenant_id,
            among(session, Delivery.lane_id, list(waiting)),
            same_record | among(session, Delivery.id, {need for one in asked for need in one.needs}),
        )
    )
    found: dict[str, list[Standing]] = {}
    for row in rows:
        found.setdefault(row.lane_id, []).append(Standing(row.id, row.seq, row.record_key, State(row.state)))
    return found


async def _intend(
    session: AsyncSession, tenant_id: TenantId, held: Sequence[HeldDelivery], *, lease: timedelta, now: datetime
) -> None:
    """Write the crash plan: after the lease and the longest settle among them, somebody looks."""
    if not held:
        return
    await session.execute(
        update(_DELIVERIES)
        .where(_DELIVERIES.c.tenant_id == tenant_id, among(session, _DELIVERIES.c.id, [one.id for one in held]))
        .values(
            looking=_DELIVERIES.c.looking | (_DELIVERIES.c.state == State.IN_FLIGHT.value),
            state=State.IN_FLIGHT.value,
            claims=_DELIVERIES.c.claims + 1,
            sent_at=now,
            due_at=now + lease + max(one.settle for one in held),
        )
    )


async def _persons(session: AsyncSession, tenant_id: TenantId, lane_ids: list[str]) -> dict[str, Ref]:
    """Who each lane's person is at its CRM; a contact before a lead before a company."""
    rows = await session.execute(
        select(LaneRecord.lane_id, LaneRecord.kind, LaneRecord.record_id).where(
            LaneRecord.tenant_id == tenant_id, among(session, LaneRecord.lane_id, lane_ids)
        )
    )
    best: dict[str, Ref] = {}
    for row in sorted(rows, key=lambda row: PERSON_KINDS.index(Kind(row.kind))):
        best.setdefault(row.lane_id, Ref(Kind(row.kind), row.record_id))
    return best


async def _needed(
    session: AsyncSession, tenant_id: TenantId, needed: set[str]
) -> tuple[dict[str, Ref], dict[str, State]]:
    """The records these deliveries left, and how those stand that have not arrived."""
    if not needed:
        return {}, {}
    rows = await session.execute(
        select(Delivery.id, Delivery.state, Delivery.record_kind, Delivery.record_id).where(
            Delivery.tenant_id == tenant_id, among(session, Delivery.id, needed)
        )
    )
    left: dict[str, Ref] = {}
    lacking: dict[str, State] = {}
    for row in rows:
        if row.record_id is not None:
            left[row.id] = Ref(Kind(row.record_kind), row.record_id)
        if row.state != State.DELIVERED:
            lacking[row.id] = State(row.state)
    return left, lacking
