"""Questions about the outbox."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.db.base import UtcTime
from gateway.db.engine import clock


async def due_connections(session: AsyncSession, *, limit: int = 1000) -> Sequence[str]:
    """Connections with a lane that is due now and that may be written to. Sees every tenant: it is the relay's question."""
    found = await session.scalars(
        _DUE_CONNECTIONS, {"now": await session.scalar(select(clock(session))), "most": limit}
    )
    return found.all()


_DUE_CONNECTIONS = text("""
    SELECT id FROM connections
    WHERE paused_at IS NULL AND disconnected_at IS NULL
      AND EXISTS (SELECT 1 FROM lanes WHERE lanes.connection_id = connections.id AND lanes.ready_at <= :now)
    LIMIT :most
""").bindparams(bindparam("now", type_=UtcTime()))
