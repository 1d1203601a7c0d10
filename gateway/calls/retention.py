"""Forgetting: raw bodies, transcripts, people and at last whole calls go when their time is up (security.md §10).

Each row carries its own times, set from the tenant's settings when it came. Everything here sees every tenant, works in
batches, and may be stopped or run twice at any point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import delete, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.calls.intake import EVENT_KEPT
from gateway.calls.merge import Merged, without_people, without_transcript
from gateway.calls.store import read_merged, seal_merged, tombstone
from gateway.calls.tables import Call, CallEvent, Tombstone
from gateway.crypto import CannotOpen
from gateway.db.base import TenantId
from gateway.db.due import delete_due
from gateway.db.engine import Database, inserting, utc_now
from gateway.logs import log
from gateway.tenants.keys import Keyring

TOMBSTONE_KEPT = timedelta(days=400)


class Rooms(Protocol):
    """What of `gateway.parts.Parts` this needs."""

    @property
    def db(self) -> Database: ...
    @property
    def keyring(self) -> Keyring: ...


@dataclass(frozen=True)
class Forgotten:
    """How many of each were forgotten."""

    raw: int = 0
    events: int = 0
    transcripts: int = 0
    people: int = 0
    calls: int = 0
    tombstones: int = 0

    @property
    def nothing(self) -> bool:
        return self == Forgotten()


async def prune(parts: Rooms, *, limit: int = 500) -> Forgotten:
    """Forget what is due, at most `limit` of each kind, each kind in a transaction of its own. Call again until nothing."""
    now = utc_now()
    async with parts.db.transaction() as session:
        raw, events = await _raw_bodies(session, now, limit)
    async with parts.db.transaction() as session:
        transcripts = await _rewritten(session, parts.keyring, now, limit, people=False)
    async with parts.db.transaction() as session:
        people = await _rewritten(session, parts.keyring, now, limit, people=True)
    async with parts.db.transaction() as session:
        calls = await _whole_calls(session, now, limit)
    async with parts.db.transaction() as session:
        key = (Tombstone.tenant_id, Tombstone.hash)
        tombstones = await delete_due(session, Tombstone, key, Tombstone.until <= now, limit=limit)
    return Forgotten(raw, events, transcripts, people, calls, tombstones)


async def _raw_bodies(session: AsyncSession, now: datetime, limit: int) -> tuple[int, int]:
    """Bodies go first. The row of an event stays with its call, so that a late repeat is known; without a call it goes."""
    due = select(CallEvent).where(CallEvent.raw_until <= now).order_by(CallEvent.raw_until).limit(limit)
    rows = (await session.scalars(due.with_for_update(skip_locked=True))).all()
    raw = events = 0
    for row in rows:
        keeps_until = row.received_at + EVENT_KEPT
        if row.call_id is None and keeps_until <= now:
            await session.delete(row)
            events += 1
        else:
            row.raw, row.raw_until = None, keeps_until if row.call_id is None else None
            raw += 1
    return raw, events


async def _rewritten(session: AsyncSession, keyring: Keyring, now: datetime, limit: int, *, people: bool) -> int:
    """Seal calls' news anew without their transcripts, or without people at all."""
    until = Call.people_until if people else Call.transcript_until
    forget: Callable[[Merged], Merged] = without_people if people else without_transcript
    due = select(Call).where(until <= now).order_by(until).limit(limit)
    rows = (await session.scalars(due.with_for_update(skip_locked=True))).all()
    for row in rows:
        keys = await keyring.in_session(session, TenantId(row.tenant_id))
        try:
            row.news = seal_merged(keys, row.id, forget(read_merged(keys, row.id, row.news)))
        except CannotOpen:  # nobody can read it: it is as good as forgotten, and must not stop the others
            log.error("the news of a call cannot be opened", call_id=row.id)
        row.transcript_until = None
        if people:
            row.people_until = row.subject_index = row.lookup_id = None
            row.person = keys.index(f"call:{row.id}")
    if people and rows:
        await session.execute(
            update(CallEvent).where(_of(rows)).values(subject_index=None).execution_options(synchronize_session=False)
        )
    return len(rows)


async def _whole_calls(session: AsyncSession, now: datetime, limit: int) -> int:
    """After 13 months; aliases and decisions go with the call's row. A hash of its ids stays, for late repeats."""
    due = select(Call).where(Call.kept_until <= now).order_by(Call.kept_until).limit(limit)
    rows = (await session.scalars(due.with_for_update(skip_locked=True))).all()
    if rows:
        stones = [
            {"tenant_id": row.tenant_id, "hash": tombstone(row.source, row.external_id), "until": now + TOMBSTONE_KEPT}
            for row in rows
        ]
        await session.execute(inserting(session, Tombstone).on_conflict_do_nothing(), stones)
        await session.execute(delete(CallEvent).where(_of(rows)).execution_options(synchronize_session=False))
        mine = tuple_(Call.tenant_id, Call.id).in_([(row.tenant_id, row.id) for row in rows])
        await session.execute(delete(Call).where(mine).execution_options(synchronize_session=False))
    return len(rows)


def _of(rows: Sequence[Call]) -> Any:
    """The events of these calls."""
    return tuple_(CallEvent.tenant_id, CallEvent.call_id).in_([(row.tenant_id, row.id) for row in rows])
