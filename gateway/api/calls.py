"""`/v1/calls`: an end-of-call event in our own shape, and what became of calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

from fastapi import APIRouter, Path, Query, Request
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.api import call_states
from gateway.api.call_reading import said_in
from gateway.api.call_shapes import (
    CallDecision,
    CallDelivery,
    CallListed,
    CallShown,
    CallsListed,
    CallState,
    CallTaken,
    DecidedRule,
    NewCall,
    RecordLeft,
    TriedOnce,
    known_of,
)
from gateway.api.calls_endpoint import PATH, SCOPE, answer, keep
from gateway.calls import queries
from gateway.calls.store import read_merged
from gateway.calls.tables import Call
from gateway.connections.tables import Connection
from gateway.db.base import TenantId
from gateway.db.engine import among
from gateway.db.pages import Page
from gateway.db.requests import Reading
from gateway.delivery import dead_letters
from gateway.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
    WrongMediaType,
    documented,
)
from gateway.outbox.tables import Attempt, Delivery
from gateway.rulesets import queries as rulesets
from gateway.tenants.access import Principal, needs
from gateway.tenants.keys import Keyring

router = APIRouter(tags=["calls"])

MOST_DELIVERIES = 200  # of one call, shown

_Sender = Annotated[Principal, needs(SCOPE)]
_Reader = Annotated[Principal, needs("read")]


@router.post(
    PATH,
    status_code=202,
    responses=documented(
        BadRequest, Unauthenticated, Forbidden, Conflict, TooLarge, WrongMediaType, Invalid, Unavailable
    ),
)
async def take_call(who: _Sender, request: Request, call: NewCall) -> CallTaken:
    """Take what happened in a call. It is stored when this answers; sending it again changes nothing."""
    raw = await request.body()
    taken = await keep(request.app.state.parts, who, said_in(call), raw, request.scope)
    return CallTaken(**answer(taken))


@router.get("/v1/calls", responses=documented(Unauthenticated, Forbidden, Invalid))
async def list_calls(
    who: _Reader,
    session: Reading,
    page: Page,
    state: Annotated[CallState | None, Query(description="Only those in this state.")] = None,
) -> CallsListed:
    """The tenant's calls, newest first, without the people in them."""
    rows = await call_states.page(session, who.tenant_id, before=page.before, state=state, limit=page.limit + 1)
    rows, cursor = page.of(rows, lambda row: row[0].id)
    return CallsListed(items=[CallListed(**_listed(call, found)) for call, found in rows], next=cursor)


@router.get("/v1/calls/{id:path}", responses=documented(Unauthenticated, Forbidden, NotFound))
async def read_call(
    who: _Reader,
    request: Request,
    session: Reading,
    id: Annotated[str, Path(description="Ours, yours, the platform's, the carrier's, or the id of the lookup.")],
) -> CallShown:
    """One call: what we know, what was decided and why, and each delivery with its attempts."""
    tenant_id = who.tenant_id
    call = await queries.call_by_any_id(session, tenant_id, id)
    if call is None:
        raise NotFound
    keyring: Keyring = request.app.state.parts.keyring
    keys = await keyring.in_session(session, tenant_id)
    rows = await dead_letters.listed(session, tenant_id, call_id=call.id, limit=MOST_DELIVERIES)
    tried = await dead_letters.attempts(session, tenant_id, [row.id for row in rows])
    providers = await _providers(session, tenant_id, [row.connection_id for row in rows])
    decided = await rulesets.decisions(session, tenant_id, call.id, keys=keys)
    return CallShown(
        **_listed(call, await call_states.state_of(session, tenant_id, call.id)),
        known=known_of(read_merged(keys, call.id, call.news)),
        decision=CallDecision(rules=[DecidedRule.model_validate(one) for one in decided]),
        deliveries=[_delivery(row, tried.get(row.id, ()), providers) for row in reversed(rows)],
    )


def _listed(call: Call, state: str) -> dict[str, Any]:
    return {
        "id": call.id,
        "call_id": call.external_id,
        "source": call.source,
        "state": cast(CallState, state),
        "direction": call.direction,
        "started_at": call.started_at,
        "received_at": call.received_at,
        "updated_at": call.updated_at,
        "ended": call.ended,
        "complete": call.complete,
    }


async def _providers(session: AsyncSession, tenant_id: TenantId, connection_ids: Sequence[str]) -> Mapping[str, str]:
    """The CRM behind each connection."""
    rows = await session.execute(
        select(Connection.id, Connection.provider).where(
            Connection.tenant_id == tenant_id, among(session, Connection.id, list(connection_ids))
        )
    )
    return {row.id: row.provider for row in rows}


def _delivery(row: Delivery, tried: Sequence[Attempt], providers: Mapping[str, str]) -> CallDelivery:
    record = None
    if row.record_id is not None:
        crm = providers.get(row.connection_id, "unknown")
        record = RecordLeft(crm=crm, kind=row.record_kind, id=row.record_id, url=row.record_url)
    return CallDelivery(
        id=row.id,
        rule=row.rule,
        action=row.action,
        state=cast(Any, row.state),
        record=record,
        reason=row.reason,
        attempts=[
            TriedOnce(at=one.at, outcome=one.outcome, status=one.status, took_ms=one.took_ms, reason=one.reason)
            for one in tried
        ],
    )
