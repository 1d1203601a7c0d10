"""Forgetting who looked whom up, when the time of each row is over (security.md §10)."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.db.due import delete_due
from gateway.db.engine import utc_now
from gateway.lookup.tables import Lookup


async def prune(session: AsyncSession, *, limit: int = 2000) -> int:
    """Delete rows of the access log that are due, at most `limit`; how many. Sees every tenant: housekeeping."""
    return await delete_due(session, Lookup, (Lookup.tenant_id, Lookup.id), Lookup.kept_until <= utc_now(), limit=limit)
