"""`/v1/connections`: a tenant's accounts at CRMs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from connectors.crm.records import Kind
from connectors.errors import ConnectorError, RateLimited, ReconnectNeeded, Unsupported
from connectors.errors import Unavailable as NoAnswer
from gateway.connections import disconnect, queries
from gateway.connections.health import state_of
from gateway.connections.limits import standing
from gateway.connections.open import Connections
from gateway.connections.start import start
from gateway.connections.tables import Connection, CrmAccount
from gateway.connections.throttle import Standing
from gateway.db.requests import Now, Reading, Transaction
from gateway.errors import Conflict, Forbidden, Invalid, NotFound, Problem, Unauthenticated, Unavailable, documented
from gateway.tenants.access import Principal, needs

router = APIRouter(tags=["connections"])


async def _connections(request: Request) -> Connections:
    found: Connections = request.app.state.parts.connections
    return found


AllConnections = Annotated[Connections, Depends(_connections)]
Admin = Annotated[Principal, needs("admin")]
ConnectionId = Annotated[str, Path(max_length=40, pattern=r"^\w+$", description="`cn_…`")]


class NewConnection(BaseModel):
    """Start connecting a CRM. With `connection_id` the grant of that connection is renewed."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"provider": "hubspot"}]})

    provider: str = Field(max_length=40, description="`hubspot`, …")
    connection_id: str | None = Field(
        None, max_length=40, description="Renew this connection: only its account will do."
    )
    expected_account: str | None = Field(
        None, max_length=100, description="The CRM's id of the only account that will do."
    )
    login_host: str | None = Field(
        None, max_length=253, description="A sign-in host of the tenant's own, where the CRM has such."
    )


class SignIn(BaseModel):
    """Where a person goes next: an address of this gateway, good once and until `expires_at`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"authorize_url": "https://gateway.example.com/connect/Zk3…", "expires_at": "2026-11-21T10:10:00Z"}
            ]
        }
    )

    authorize_url: str
    expires_at: datetime


class AccountView(BaseModel):
    id: str
    name: str


class LimitView(BaseModel):
    """One of the CRM account's rate limits: shared by everybody who uses the account, so what others do shows here too."""

    name: str
    limit: int
    remaining: int
    per_s: float = Field(description="Within how many seconds; 86400: a day. 0: how many may be under way at once.")
    resumes_in_s: float | None = Field(description="Nothing is sent under it for so long; null when it is not paused.")


class ConnectionView(BaseModel):
    """`state`: active, degraded (the CRM does not answer), reconnect_needed or disconnected; `reason` says why in words."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "cn_01…",
                    "provider": "hubspot",
                    "account": {"id": "62515", "name": "Acme SA"},
                    "state": "active",
                    "scopes": ["crm.objects.contacts.read"],
                    "missing_scopes": [],
                    "reason": None,
                    "paused": False,
                    "connected_at": "2026-11-21T10:00:00Z",
                    "sticking": {"log_call": "enforced"},
                    "limits": [{"name": "api", "limit": 110, "remaining": 104, "per_s": 10.0, "resumes_in_s": None}],
                }
            ]
        }
    )

    id: str
    provider: str
    account: AccountView
    state: str
    scopes: list[str]
    missing_scopes: list[str]
    reason: str | None
    paused: bool
    connected_at: datetime
    sticking: dict[str, str] = Field(
        description="How each kind of write is kept from doubling: enforced, found, blind, repeatable."
    )
    limits: list[LimitView] = Field(description="The account's rate limits, as far as they are known.")


class ConnectionPage(BaseModel):
    items: list[ConnectionView]
    next: str | None


class FieldList(BaseModel):
    """`type`: text, longtext, number, date, datetime, bool, choice, choices or phone."""

    items: list[dict[str, Any]]
    next: str | None = None


@router.get("/v1/connections", responses=documented(Unauthenticated, Forbidden, Invalid))
async def list_connections(
    who: Admin,
    connections: AllConnections,
    session: Reading,
    now: Now,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=40, pattern=r"^\w+$")] = None,
) -> ConnectionPage:
    """The tenant's connections, newest first."""
    rows = await queries.listed(session, who.tenant_id, before=cursor, limit=limit + 1)
    limits = await standing(
        connections, [(row.crm_account_id, row.provider) for row, _ in rows[:limit] if is_live(row)]
    )
    shown = [view(row, account, now, limits.get(account.id, ())) for row, account in rows[:limit]]
    return ConnectionPage(items=shown, next=shown[-1].id if len(rows) > limit else None)


@router.post(
    "/v1/connections", status_code=201, responses=documented(Unauthenticated, Forbidden, Invalid, NotFound, Conflict)
)
async def start_connection(
    who: Admin, body: NewConnection, connections: AllConnections, session: Transaction, now: Now
) -> SignIn:
    """Start connecting a CRM: give `authorize_url` to a person who may sign in there. Nothing is connected before that."""
    started = await start(
        connections,
        session,
        who,
        provider=body.provider,
        connection_id=body.connection_id,
        expected_account=body.expected_account,
        login_host=body.login_host,
        now=now,
    )
    return SignIn(authorize_url=started.authorize_url(connections.settings.public_url), expires_at=started.expires_at)


@router.delete(
    "/v1/connections/{connection_id}",
    status_code=204,
    responses=documented(Unauthenticated, Forbidden, NotFound),
)
async def end_connection(who: Admin, connection_id: ConnectionId, connections: AllConnections) -> Response:
    """Disconnect: nothing is read or written any more, the grant is revoked at the CRM, its tokens are forgotten."""
    if not await disconnect.end(connections, who.tenant_id, connection_id):
        raise NotFound("There is no such connection.")
    return Response(status_code=204)


@router.get(
    "/v1/connections/{connection_id}/fields",
    responses=documented(Unauthenticated, Forbidden, NotFound, Conflict, Unavailable),
)
async def list_fields(
    who: Admin, connection_id: ConnectionId, connections: AllConnections, kind: Annotated[Kind, Query()] = Kind.CONTACT
) -> FieldList:
    """The CRM's own fields of one kind of record, as this account has them."""
    try:
        opened = await connections.open(who.tenant_id, connection_id, purpose="connect")
        fields = await opened.crm.fields(kind)
    except ConnectorError as error:
        raise _problem(error) from None
    return FieldList(items=[msgspec.to_builtins(field) for field in fields])


def is_live(connection: Connection) -> bool:
    return connection.disconnected_at is None


def view(connection: Connection, account: CrmAccount, now: datetime, limits: Sequence[Standing] = ()) -> ConnectionView:
    """A connection as the API shows it. A disconnected one has no limits to show."""
    state = state_of(
        connection.state,
        connected_at=connection.connected_at,
        last_success_at=connection.last_success_at,
        last_error_at=connection.last_error_at,
        now=now,
    )
    return ConnectionView(
        id=connection.id,
        provider=connection.provider,
        account=AccountView(id=account.external_id, name=account.name),
        state=state,
        scopes=connection.scopes,
        missing_scopes=connection.missing_scopes,
        reason=connection.reason,
        paused=connection.paused_at is not None,
        connected_at=connection.connected_at,
        sticking={name: level["stick"] for name, level in connection.sticks.items()},
        limits=[
            LimitView(
                name=one.name,
                limit=one.limit,
                remaining=one.remaining,
                per_s=one.per.total_seconds(),
                resumes_in_s=None if one.resumes_in is None else one.resumes_in.total_seconds(),
            )
            for one in (limits if is_live(connection) else ())
        ],
    )


def _problem(error: ConnectorError) -> Problem:
    """A CRM's trouble, for whoever asked us to ask it."""
    match error:
        case ReconnectNeeded():
            return Conflict(f"This connection needs a new sign-in: {error.reason}.")
        case RateLimited():
            return Unavailable(error.retry_after, "The CRM's request limit is used up for the moment.")
        case NoAnswer():
            return Unavailable(detail="The CRM does not answer.")
        case Unsupported():
            return Conflict("This CRM has no such records.")
        case _:
            return Conflict(f"The CRM did not answer this: {error.reason}.")
