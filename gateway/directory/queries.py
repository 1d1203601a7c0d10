"""Rows of the mirror: how far it is, who works on it, how a tenant's numbers are read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from connectors import phone
from connectors.crm.catalog import CATALOG
from connectors.crm.records import Kind, Ref
from gateway.connections.health import State
from gateway.connections.tables import Connection, CrmAccount
from gateway.db.base import TenantId
from gateway.db.engine import clock, inserting
from gateway.directory.mirror import KINDS
from gateway.directory.numbers import Reading, country_of
from gateway.directory.tables import DirectoryRecord, Mirror
from gateway.tenants.tables import Tenant, TenantSettings

QUEUED, RUNNING, DONE, FAILED = "queued", "running", "done", "failed"
UNFINISHED = (QUEUED, RUNNING)


async def reading(session: AsyncSession, tenant_id: TenantId, connection_id: str) -> Reading:
    """How this tenant's fields are read: its own region, then the CRM account's, then those of its own numbers."""
    newest = select(TenantSettings.document).where(TenantSettings.tenant_id == tenant_id)
    newest = newest.order_by(TenantSettings.version.desc()).limit(1)
    zone = (
        select(CrmAccount.timezone)
        .join(Connection, Connection.crm_account_id == CrmAccount.id)
        .where(Connection.tenant_id == tenant_id, Connection.id == connection_id)
    )
    mine = select(Tenant.region, zone.scalar_subquery(), newest.scalar_subquery()).where(Tenant.id == tenant_id)
    row = (await session.execute(mine)).one_or_none()
    if row is None:
        return Reading(())
    region, account_zone, document = row
    lines = (document or {}).get("own_numbers")
    texts = (text for text in lines if isinstance(text, str)) if isinstance(lines, list) else ()
    own = [number for text in texts if (number := phone.read(text, region)) is not None]
    regions = (region, country_of(account_zone), *(phone.region_of(number) for number in own))
    known = tuple(dict.fromkeys(one.upper() for one in regions if one))
    return Reading(known[:4], frozenset(phone.e164(number) for number in own))


async def mirrors(session: AsyncSession, tenant_id: TenantId, connection_id: str) -> Sequence[Mirror]:
    """One row for each kind that is mirrored, contacts first; none if nobody has asked for an import."""
    mine = select(Mirror).where(Mirror.tenant_id == tenant_id, Mirror.connection_id == connection_id)
    rows = (await session.scalars(mine)).all()
    return sorted(rows, key=lambda row: KINDS.index(Kind(row.kind)))


async def completeness(session: AsyncSession, tenant_id: TenantId) -> Mapping[str, bool]:
    """Per connection that is mirrored, whether every kind has been read to its end once."""
    mine = select(Mirror.connection_id, func.count() == func.count(Mirror.complete_at))
    rows = await session.execute(mine.where(Mirror.tenant_id == tenant_id).group_by(Mirror.connection_id))
    return {connection_id: bool(complete) for connection_id, complete in rows}


async def begin(session: AsyncSession, tenant_id: TenantId, connection_id: str, *, dry: bool, now: datetime) -> bool:
    """Queue an import of every kind this CRM has; False, and nothing changed, while one is queued or running."""
    rows = await mirrors(session, tenant_id, connection_id)
    if any(row.state in UNFINISHED for row in rows):
        return False
    queued: dict[str, Any] = {
        "state": QUEUED,
        "dry": dry,
        "cursor": None,
        "listed": False,
        "done": 0,
        "total": None,
        "unreadable": 0,
        "examples": [],
        "failures": 0,
        "reason": None,
        "queued_at": now,
        "started_at": None,
        "finished_at": None,
        "due_at": now,
    }
    for kind in await _kinds(session, tenant_id, connection_id):
        key = {"tenant_id": tenant_id, "connection_id": connection_id, "kind": kind.value}
        again = inserting(session, Mirror).values(**key, **queued, run=1, fence=0)
        anew = again.on_conflict_do_update(
            index_elements=list(key),
            set_={**queued, "run": Mirror.run + 1, "fence": Mirror.fence + 1, "lease_until": None},
            where=Mirror.state.not_in(UNFINISHED),
        )
        await session.execute(anew)
    return True


async def due_imports(session: AsyncSession, *, limit: int = 1000) -> Sequence[str]:
    """Connections with an import that somebody should go on with, longest due first. Sees every tenant."""
    first = select(Mirror.connection_id).where(_unfinished(session)).group_by(Mirror.connection_id)
    return (await session.scalars(first.order_by(func.min(Mirror.due_at)).limit(limit))).all()


async def claim(session: AsyncSession, tenant_id: TenantId, connection_id: str, *, lease: timedelta) -> Mirror | None:
    """Hold the next kind of a connection that is due for import: contacts first. None: nothing is, or it is held."""
    mine = and_(Mirror.tenant_id == tenant_id, Mirror.connection_id == connection_id, _unfinished(session))
    rows = (await session.scalars(select(Mirror).where(mine).order_by(Mirror.kind).with_for_update())).all()
    if not rows:
        return None
    row = min(rows, key=lambda one: KINDS.index(Kind(one.kind)))
    now = await session.scalar(select(clock(session)))
    assert now is not None
    row.fence += 1
    row.lease_until = now + lease
    if row.state == QUEUED:
        row.state, row.started_at = RUNNING, now
    return row


async def held(session: AsyncSession, tenant_id: TenantId, connection_id: str, kind: str, fence: int) -> Mirror | None:
    """The row, locked with the connection's others, if it is still held under `fence`."""
    mine = select(Mirror).where(Mirror.tenant_id == tenant_id, Mirror.connection_id == connection_id)
    rows = (await session.scalars(mine.order_by(Mirror.kind).with_for_update())).all()
    return next((row for row in rows if row.kind == kind and row.fence == fence), None)


async def unseen(
    session: AsyncSession,
    tenant_id: TenantId,
    connection_id: str,
    kind: Kind,
    *,
    run: int,
    after: str = "",
    limit: int = 500,
) -> Sequence[Ref]:
    """Records no run since `run` has seen, by id, those later than `after`: the CRM has them no more."""
    mine = select(DirectoryRecord.record_id).where(
        DirectoryRecord.tenant_id == tenant_id,
        DirectoryRecord.connection_id == connection_id,
        DirectoryRecord.kind == kind.value,
        DirectoryRecord.record_id > after,
        DirectoryRecord.run < run,
        DirectoryRecord.gone_at.is_(None),
    )
    ids = await session.scalars(mine.order_by(DirectoryRecord.record_id).limit(limit))
    return [Ref(kind, one) for one in ids]


async def remove(session: AsyncSession, tenant_id: TenantId, connection_id: str, kind: str) -> None:
    """The CRM has no such kind of record."""
    mine = (Mirror.tenant_id == tenant_id, Mirror.connection_id == connection_id, Mirror.kind == kind)
    await session.execute(delete(Mirror).where(*mine).execution_options(synchronize_session=False))


async def unmirrored(session: AsyncSession, providers: Collection[str], *, limit: int = 1000) -> Sequence[str]:
    """Connections at these providers that were probed and never imported. Sees every tenant."""
    mirrored = select(Mirror.kind).where(
        Mirror.tenant_id == Connection.tenant_id, Mirror.connection_id == Connection.id
    )
    ready = select(Connection.id).where(
        Connection.state == State.ACTIVE,
        Connection.probed_at.is_not(None),
        Connection.provider.in_(sorted(providers)),
        ~exists(mirrored),
    )
    return (await session.scalars(ready.limit(limit))).all()


async def release(
    session: AsyncSession,
    tenant_id: TenantId,
    connection_id: str,
    kind: str,
    fence: int,
    *,
    wait: timedelta,
    reason: str | None = None,
    failed: bool = False,
) -> None:
    """Give a row back that is still held under `fence`: it is due again after `wait`, and `reason` says why it waits."""
    row = await held(session, tenant_id, connection_id, kind, fence)
    if row is None:
        return
    now = await session.scalar(select(clock(session)))
    assert now is not None
    row.lease_until, row.due_at, row.reason = None, now + wait, reason
    row.failures = row.failures + 1 if failed else row.failures


async def _kinds(session: AsyncSession, tenant_id: TenantId, connection_id: str) -> Sequence[Kind]:
    provider = await session.scalar(
        select(Connection.provider).where(Connection.tenant_id == tenant_id, Connection.id == connection_id)
    )
    known = CATALOG.get(provider or "")
    return KINDS if known is None else known.manifest.people


def _unfinished(session: AsyncSession) -> ColumnElement[bool]:
    now = clock(session)
    free = or_(Mirror.lease_until.is_(None), Mirror.lease_until < now)
    return and_(Mirror.state.in_(UNFINISHED), Mirror.due_at <= now, free)
