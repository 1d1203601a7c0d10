"""Promising: deliveries into their lane, in one transaction with the decision that asked for them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import case, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from connectors.crm.records import Ref, Write, name_of
from gateway.db.base import TenantId, derived_id, new_id
from gateway.db.engine import among, clock, inserting
from gateway.outbox import payloads
from gateway.outbox.states import OPEN, Standing, State, Waiting, released
from gateway.outbox.tables import Delivery, Lane, LaneRecord
from gateway.tenants.keys import TenantKeys


@dataclass(frozen=True, kw_only=True)
class Promise:
    """One thing to be written, as decided: everything but ids of records that do not exist yet.

    needs       deliveries whose records `write` refers to.
    record_key  which record it writes ("contact", "deal:<delivery>"): earlier open writes of the same one come first.
    settle      how long after a send "not found" is not believed. blind: it cannot be found again at all.
    """

    id: str
    rule_id: str
    rule: str
    action_id: str
    write: Write
    needs: tuple[str, ...] = ()
    record_key: str
    settle: timedelta
    blind: bool


def delivery_id(tenant_id: TenantId, call_id: str, rule_id: str, action_id: str, connection_id: str, *more: str) -> str:
    """The key of a promise: the same for the same decision, so planning twice plans nothing new."""
    parts = (tenant_id, call_id, rule_id, action_id, connection_id, *more)
    return derived_id("dl", hashlib.sha256(b"\0".join(part.encode() for part in parts)).digest())


def person_key(connection_id: str, person: bytes) -> str:
    """The key under which a person is created at a CRM: two calls of one unknown caller are one contact."""
    return derived_id("pe", hashlib.sha256(connection_id.encode() + b"\0" + person).digest())


async def plan(
    session: AsyncSession,
    tenant_id: TenantId,
    connection_id: str,
    person: bytes,
    promises: Sequence[Promise],
    *,
    keys: TenantKeys,
    call_id: str | None,
    lifetime: timedelta,
    subject_index: bytes | None = None,
    people_until: datetime | None = None,
    known_as: Ref | None = None,
) -> list[str]:
    """Plan `promises`, in order, in the lane of `person`; the ids that were new. Locks the lane until the commit.

    known_as      who the person is at this CRM, when somebody has just looked; an earlier finding stays.
    people_until  then what was to be written is forgotten, once it has ended; at its end when nothing is said.
    """
    lane = await _locked_lane(session, tenant_id, connection_id, person)
    known = set(
        await session.scalars(
            select(Delivery.id).where(
                Delivery.tenant_id == tenant_id, among(session, Delivery.id, [one.id for one in promises])
            )
        )
    )
    new = [one for one in promises if one.id not in known]
    if known_as is not None:
        await session.execute(
            inserting(session, LaneRecord)
            .values(tenant_id=tenant_id, lane_id=lane.id, kind=known_as.kind, record_id=known_as.id, at=lane.now)
            .on_conflict_do_nothing()
        )
    if not new:
        return []
    standing = await _standing(session, tenant_id, lane.id, new)
    waiting = [Waiting(one.id, lane.next_seq + place, one.needs, one.record_key) for place, one in enumerate(new)]
    states = {one.id: one for one in released(waiting, standing)}
    rows = []
    for place, one in enumerate(new):
        release = states.get(one.id)
        rows.append(
            {
                "tenant_id": tenant_id,
                "id": one.id,
                "connection_id": connection_id,
                "lane_id": lane.id,
                "seq": lane.next_seq + place,
                "call_id": call_id,
                "rule_id": one.rule_id,
                "rule": one.rule,
                "action_id": one.action_id,
                "action": name_of(one.write),
                "state": release.state if release else State.WAITING,
                "reason": release.reason if release else None,
                "due_at": lane.now,
                "expires_at": lane.now + lifetime,
                "needs": list(one.needs),
                "record_key": one.record_key,
                "v": payloads.VERSION,
                "payload": payloads.seal(keys, one.id, one.write),
                "settle_ms": int(one.settle / timedelta(milliseconds=1)),
                "blind": one.blind,
                "subject_index": subject_index,
                "people_until": people_until or lane.now + lifetime,
                "created_at": lane.now,
            }
        )
    await session.execute(insert(Delivery), rows)
    await _make_ready(session, tenant_id, lane.id, seq=lane.next_seq + len(new))
    return [one.id for one in new]


@dataclass(frozen=True)
class _Locked:
    id: str
    next_seq: int
    now: datetime


async def _locked_lane(session: AsyncSession, tenant_id: TenantId, connection_id: str, person: bytes) -> _Locked:
    made = (
        inserting(session, Lane)
        .values(tenant_id=tenant_id, id=new_id("la"), connection_id=connection_id, person=person, fence=0, next_seq=1)
        .on_conflict_do_update(index_elements=["connection_id", "person"], set_={"fence": Lane.fence})
        .returning(Lane.id, Lane.next_seq, clock(session).label("now"))
    )
    row = (await session.execute(made)).one()
    return _Locked(row.id, row.next_seq, row.now)


async def _standing(session: AsyncSession, tenant_id: TenantId, lane_id: str, new: Sequence[Promise]) -> list[Standing]:
    """What the new ones may have to wait for: those they need, and open ones of the same records."""
    needed = {need for one in new for need in one.needs}
    same_record = Delivery.state.in_([*OPEN]) & among(session, Delivery.record_key, {one.record_key for one in new})
    rows = await session.execute(
        select(Delivery.id, Delivery.seq, Delivery.record_key, Delivery.state).where(
            Delivery.tenant_id == tenant_id,
            Delivery.lane_id == lane_id,
            same_record | among(session, Delivery.id, needed),
        )
    )
    return [Standing(row.id, row.seq, row.record_key, State(row.state)) for row in rows]


async def _make_ready(session: AsyncSession, tenant_id: TenantId, lane_id: str, *, seq: int) -> None:
    """Due now, unless somebody holds the lane: a live lease is never shortened, its recorder will see the new rows."""
    now = clock(session)
    await session.execute(
        update(Lane)
        .where(Lane.tenant_id == tenant_id, Lane.id == lane_id)
        .values(
            next_seq=seq,
            ready_at=case(
                (Lane.lease_until > now, Lane.ready_at),
                (func.coalesce(Lane.ready_at, now) < now, Lane.ready_at),
                else_=now,
            ),
        )
    )
