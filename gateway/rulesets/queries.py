"""Rule sets by version, and decisions by call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.calls.tables import Call
from gateway.db.base import TenantId
from gateway.db.engine import inserting
from gateway.rulesets.tables import RuleDecision, RuleSetVersion
from gateway.tenants.keys import TenantKeys
from rules.decide import Decided, Outcome
from rules.rule import RuleSet, parse
from rules.starters import starter

FORGOTTEN = "No longer kept: its retention time is over."
STARTER = 0  # the version of a tenant that has never saved any rules


async def ruleset(session: AsyncSession, tenant_id: TenantId, version: int | None = None) -> tuple[int, RuleSet] | None:
    """A version of the tenant's rules and its number; the newest by default; None when there is no such version.

    Version 0 is what a new tenant starts with.
    """
    if version == STARTER:
        return STARTER, starter()
    mine = select(RuleSetVersion).where(RuleSetVersion.tenant_id == tenant_id)
    mine = mine.where(RuleSetVersion.version == version) if version is not None else mine
    row = (await session.scalars(mine.order_by(RuleSetVersion.version.desc()).limit(1))).first()
    if row is not None:
        return row.version, parse(row.document)
    return (STARTER, starter()) if version is None else None


async def save(
    session: AsyncSession, tenant_id: TenantId, document: Mapping[str, Any], *, by: str, now: datetime
) -> int:
    """Keep `document` as the next version; its number. Two at once: the second fails on the key, and is to be sent again."""
    newest = await session.scalar(select(func.max(RuleSetVersion.version)).where(RuleSetVersion.tenant_id == tenant_id))
    version = (newest or STARTER) + 1
    await session.execute(
        insert(RuleSetVersion).values(tenant_id=tenant_id, version=version, document=dict(document), by=by, at=now)
    )
    return version


async def outcomes(session: AsyncSession, tenant_id: TenantId, call_id: str) -> dict[str, Outcome]:
    """What was decided for a call so far, by rule."""
    rows = await session.execute(
        select(RuleDecision.rule_id, RuleDecision.outcome).where(
            RuleDecision.tenant_id == tenant_id, RuleDecision.call_id == call_id
        )
    )
    return {row.rule_id: Outcome(row.outcome) for row in rows}


async def keep(
    session: AsyncSession,
    tenant_id: TenantId,
    call_id: str,
    decided: Sequence[Decided],
    *,
    keys: TenantKeys,
    now: datetime,
    until: datetime | None = None,
) -> None:
    """Write decisions; what was undecided before is replaced. `until`: then why is forgotten, with the call's people."""
    for position, one in enumerate(decided):
        if not one.fresh:
            continue
        because = keys.seal(one.because.encode(), "call_decisions", "because", call_id, one.rule_id)
        values = {
            "name": one.name,
            "outcome": one.outcome.value,
            "because": because,
            "because_until": until or now,
            "decided_at": now,
            "position": position,
        }
        await session.execute(
            inserting(session, RuleDecision)
            .values(tenant_id=tenant_id, call_id=call_id, rule_id=one.rule_id, **values)
            .on_conflict_do_update(index_elements=["tenant_id", "call_id", "rule_id"], set_=values)
        )


async def decisions(
    session: AsyncSession, tenant_id: TenantId, call_id: str, *, keys: TenantKeys
) -> list[dict[str, Any]]:
    """Decisions of a call for a person to read, in the order the rules were looked at."""
    rows = await session.scalars(
        select(RuleDecision)
        .where(RuleDecision.tenant_id == tenant_id, RuleDecision.call_id == call_id)
        .order_by(RuleDecision.position)
    )
    return [
        {
            "id": row.rule_id,
            "name": row.name,
            "matched": row.outcome == Outcome.FIRED,
            "outcome": row.outcome,
            "because": _because(row, keys),
        }
        for row in rows
    ]


def _because(row: RuleDecision, keys: TenantKeys) -> str:
    if row.because is None:
        return FORGOTTEN
    return keys.open(row.because, "call_decisions", "because", row.call_id, row.rule_id).decode()


async def fired_before(
    session: AsyncSession,
    tenant_id: TenantId,
    rule_id: str,
    subject_index: bytes,
    *,
    not_call: str,
    since: datetime | None,
) -> bool:
    """Whether the rule fired for another call of the same person, ever or since a time (`once_per`)."""
    found = (
        select(RuleDecision.call_id)
        .join(Call, (Call.tenant_id == RuleDecision.tenant_id) & (Call.id == RuleDecision.call_id))
        .where(
            RuleDecision.tenant_id == tenant_id,
            RuleDecision.rule_id == rule_id,
            RuleDecision.outcome == Outcome.FIRED,
            RuleDecision.call_id != not_call,
            Call.subject_index == subject_index,
        )
    )
    if since is not None:
        found = found.where(RuleDecision.decided_at >= since)
    return (await session.scalars(found.limit(1))).first() is not None


async def previous_calls(session: AsyncSession, tenant_id: TenantId, subject_index: bytes, *, not_call: str) -> int:
    """How many calls we had with this person besides this one."""
    counted = select(func.count()).where(
        Call.tenant_id == tenant_id, Call.subject_index == subject_index, Call.id != not_call
    )
    return int(await session.scalar(counted) or 0)
