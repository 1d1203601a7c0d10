"""Forgetting: what was written goes with the people of its call, attempts after 90 days (security.md §10)."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.db.due import delete_due, due
from gateway.db.engine import utc_now
from gateway.outbox.states import OPEN
from gateway.outbox.tables import Attempt, Delivery

ATTEMPT_KEPT = timedelta(days=90)


async def prune_payloads(session: AsyncSession, *, limit: int = 500) -> int:
    """Forget what ended deliveries were to write, and whom it was about, at most `limit` of them; how many.

    One that is still open keeps its payload until it ends, which its lifetime sees to. Sees every tenant: housekeeping.
    """
    key = (Delivery.tenant_id, Delivery.id)
    is_due = (Delivery.people_until <= utc_now()) & Delivery.state.not_in([*OPEN])
    found = await due(session, key, is_due, limit=limit)
    if found:
        forgotten = (
            update(Delivery).where(tuple_(*key).in_(found)).values(payload=None, subject_index=None, people_until=None)
        )
        await session.execute(forgotten.execution_options(synchronize_session=False))
    return len(found)


async def prune_attempts(session: AsyncSession, *, limit: int = 2000) -> int:
    """Delete attempts older than 90 days, at most `limit`; how many. Sees every tenant: housekeeping."""
    is_due = Attempt.at <= utc_now() - ATTEMPT_KEPT
    return await delete_due(session, Attempt, (Attempt.tenant_id, Attempt.id), is_due, limit=limit)
