"""`/v1/deliveries`: the outbox, for whoever looks after it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from gateway.db.pages import Page
from gateway.db.requests import Reading, Transaction
from gateway.delivery import dead_letters
from gateway.delivery.dead_letters import FORGOTTEN, MENDS, NotNow
from gateway.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated, documented
from gateway.outbox.states import State
from gateway.outbox.tables import Attempt, Delivery
from gateway.tenants.access import Principal, needs

router = APIRouter(tags=["deliveries"])

Operator = Annotated[Principal, needs("operate")]


class AttemptShown(BaseModel):
    at: datetime
    outcome: str
    status: int | None
    took_ms: int
    reason: str | None


class DeliveryShown(BaseModel):
    """One promise: what became of it, and what can be done about it."""

    id: str
    call_id: str | None = Field(description="Our own id of the call.")
    connection_id: str
    rule: str
    action: str
    state: State
    code: str | None = Field(description='Why, in a word: "rejected", "rate_limited", "reconnect", "needs".')
    reason: str | None = Field(description="Why, in a sentence.")
    mend: str | None = Field(description="What to do about it.")
    due_at: datetime | None = Field(description="Not tried before; only while it is open.")
    created_at: datetime
    ended_at: datetime | None
    record: dict[str, Any] | None = Field(description="What it left at the CRM: kind, id, url.")
    attempts: list[AttemptShown]


class DeliveriesShown(BaseModel):
    items: list[DeliveryShown]
    next: str | None


class Replay(BaseModel):
    model_config = ConfigDict(extra="forbid")

    resend: bool | None = Field(
        default=None, description="For an uncertain one: send it once more, or take it as arrived."
    )


class ReplayMany(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: str = Field(max_length=40, description="`code` of those to replay.")


class Replayed(BaseModel):
    replayed: int


@router.get("/v1/deliveries", responses=documented(Unauthenticated, Forbidden, Invalid))
async def list_deliveries(
    who: Operator,
    session: Reading,
    page: Page,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
) -> DeliveriesShown:
    """The outbox, newest first."""
    states = (state,) if state is not None else ()
    rows = await dead_letters.listed(session, who.tenant_id, states=states, before=page.before, limit=page.limit + 1)
    rows, after = page.of(rows, lambda row: row.id)
    tried = await dead_letters.attempts(session, who.tenant_id, [row.id for row in rows])
    return DeliveriesShown(items=[shown(row, tried.get(row.id, [])) for row in rows], next=after)


@router.get("/v1/deliveries/{delivery_id}", responses=documented(Unauthenticated, Forbidden, NotFound))
async def read_delivery(who: Operator, delivery_id: str, session: Reading) -> DeliveryShown:
    """One delivery and everything that was tried."""
    row = await dead_letters.delivery(session, who.tenant_id, delivery_id)
    if row is None:
        raise NotFound
    tried = await dead_letters.attempts(session, who.tenant_id, [row.id])
    return shown(row, tried.get(row.id, []))


@router.post("/v1/deliveries/replay", responses=documented(Unauthenticated, Forbidden, Invalid))
async def replay_deliveries(who: Operator, wanted: ReplayMany, session: Transaction, request: Request) -> Replayed:
    """Replay dead and held deliveries of one reason, at most a thousand at once."""
    lifetime = request.app.state.parts.settings.delivery_lifetime
    return Replayed(
        replayed=await dead_letters.replay_by_code(session, who.tenant_id, wanted.reason, lifetime=lifetime)
    )


@router.post(
    "/v1/deliveries/{delivery_id}/replay", responses=documented(Unauthenticated, Forbidden, NotFound, Conflict)
)
async def replay_delivery(
    who: Operator, delivery_id: str, session: Transaction, request: Request, wanted: Replay | None = None
) -> DeliveryShown:
    """Let a dead, held or uncertain delivery go on."""
    lifetime = request.app.state.parts.settings.delivery_lifetime
    resend = wanted.resend if wanted is not None else None
    try:
        row = await dead_letters.replay(session, who.tenant_id, delivery_id, lifetime=lifetime, resend=resend)
    except NotNow as error:
        raise Conflict(str(error)) from None
    if row is None:
        raise NotFound
    return shown(row, [])


@router.post(
    "/v1/deliveries/{delivery_id}/cancel", responses=documented(Unauthenticated, Forbidden, NotFound, Conflict)
)
async def cancel_delivery(who: Operator, delivery_id: str, session: Transaction) -> DeliveryShown:
    """Give a delivery up. What needs it is held and says so."""
    try:
        row = await dead_letters.cancel(session, who.tenant_id, delivery_id)
    except NotNow as error:
        raise Conflict(str(error)) from None
    if row is None:
        raise NotFound
    return shown(row, [])


def _mend(row: Delivery) -> str | None:
    if row.state not in (State.DEAD, State.HELD, State.UNCERTAIN):
        return None
    return MENDS.get(row.code or "") if row.payload is not None else FORGOTTEN


def shown(row: Delivery, tried: list[Attempt]) -> DeliveryShown:
    """A delivery as clients see it."""
    record = None
    if row.record_id is not None:
        record = {"kind": row.record_kind, "id": row.record_id, "url": row.record_url}
    return DeliveryShown(
        id=row.id,
        call_id=row.call_id,
        connection_id=row.connection_id,
        rule=row.rule,
        action=row.action,
        state=State(row.state),
        code=row.code,
        reason=row.reason,
        mend=_mend(row),
        due_at=row.due_at if row.state in (State.PENDING, State.IN_FLIGHT) else None,
        created_at=row.created_at,
        ended_at=row.ended_at,
        record=record,
        attempts=[
            AttemptShown(at=one.at, outcome=one.outcome, status=one.status, took_ms=one.took_ms, reason=one.reason)
            for one in tried
        ],
    )
