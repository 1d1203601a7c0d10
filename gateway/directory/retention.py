"""Forgetting: what stood in the mirror of a connection that has ended, and the marks of records that are gone.

Sees every tenant, works in batches, and may be stopped or run twice at any point.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.connections.tables import Connection
from gateway.db.due import delete_due
from gateway.db.engine import utc_now
from gateway.directory.tables import DirectoryRecord, Mirror

GONE_KEPT = timedelta(days=1)  # much longer than a page that was read before a deletion can be on its way
FORGOTTEN_AT_ONCE = 5_000
PURGED_AT_ONCE = 20_000  # a minute: a mirror of a million is purged within the hour (security.md §10)

_KEY = (
    DirectoryRecord.tenant_id,
    DirectoryRecord.connection_id,
    DirectoryRecord.kind,
    DirectoryRecord.record_id,
)


async def prune_gone(session: AsyncSession) -> int:
    """Forget that records are gone, a day later."""
    is_due = DirectoryRecord.gone_at <= utc_now() - GONE_KEPT
    return await delete_due(session, DirectoryRecord, _KEY, is_due, limit=FORGOTTEN_AT_ONCE)


async def purge_ended(session: AsyncSession) -> int:
    """Delete what was mirrored of connections that were disconnected; numbers go with their records."""
    ended = (
        select(Mirror.tenant_id, Mirror.connection_id)
        .join(Connection, (Connection.tenant_id == Mirror.tenant_id) & (Connection.id == Mirror.connection_id))
        .where(Connection.disconnected_at.is_not(None))
        .limit(1)
    )
    one = (await session.execute(ended)).first()
    if one is None:
        return 0
    mine = (DirectoryRecord.tenant_id == one[0], DirectoryRecord.connection_id == one[1])
    which = (DirectoryRecord.kind, DirectoryRecord.record_id)
    some = select(*which).where(*mine).limit(PURGED_AT_ONCE)
    gone = delete(DirectoryRecord).where(*mine, tuple_(*which).in_(some)).returning(DirectoryRecord.record_id)
    purged = len((await session.scalars(gone.execution_options(synchronize_session=False))).all())
    if purged < PURGED_AT_ONCE:
        whole = delete(Mirror).where(Mirror.tenant_id == one[0], Mirror.connection_id == one[1])
        await session.execute(whole.execution_options(synchronize_session=False))
    return purged
