"""Forgetting why: what rules said of a call goes with its people; that they fired or not stays, to be counted."""

from __future__ import annotations

from sqlalchemy import tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.db.due import due
from gateway.db.engine import utc_now
from gateway.rulesets.tables import RuleDecision


async def prune(session: AsyncSession, *, limit: int = 500) -> int:
    """Forget reasons that are due, at most `limit`; how many. Sees every tenant: it is housekeeping."""
    key = (RuleDecision.tenant_id, RuleDecision.call_id, RuleDecision.rule_id)
    found = await due(session, key, RuleDecision.because_until <= utc_now(), limit=limit)
    if found:
        forgotten = update(RuleDecision).where(tuple_(*key).in_(found)).values(because=None, because_until=None)
        await session.execute(forgotten.execution_options(synchronize_session=False))
    return len(found)
