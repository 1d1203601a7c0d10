"""`/v1/connections/{id}/import`: start the mirror of a CRM's people, and watch it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Body, Path
from pydantic import BaseModel, ConfigDict, Field

from gateway.connections import queries as connection_queries
from gateway.connections.health import State
from gateway.db.requests import Now, Reading, Transaction
from gateway.directory import queries
from gateway.directory.progress import progress
from gateway.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated, documented
from gateway.tenants.access import Principal, needs

router = APIRouter(tags=["connections"])

Admin = Annotated[Principal, needs("admin")]
ConnectionId = Annotated[str, Path(max_length=40, pattern=r"^\w+$", description="`cn_…`")]


class StartImport(BaseModel):
    """What an import may be told."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"dry_run": True}]})

    dry_run: bool = Field(False, description="Read and count everything, and keep nothing.")


class ImportView(BaseModel):
    """`state`: queued, running, done or failed; `reason` says why it waits or failed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "state": "running",
                    "done": 1200,
                    "total": 2400,
                    "unreadable_numbers": 3,
                    "rate_per_s": 310.0,
                    "remaining_s": 4,
                    "dry_run": False,
                    "reason": None,
                    "unreadable_examples": ["contact 286101, mobile: 079 •••"],
                    "kinds": {"contact": 1200, "company": 0},
                }
            ]
        }
    )

    state: str
    done: int = Field(description="Records read so far.")
    total: int | None = Field(description="How many there are; null while the CRM does not say.")
    unreadable_numbers: int = Field(description="Phone fields that hold something no number can be read from.")
    rate_per_s: float
    remaining_s: int | None
    dry_run: bool
    reason: str | None
    unreadable_examples: list[str] = Field(description="Record, field, and what stands there; digits and words masked.")
    kinds: dict[str, int] = Field(description="Records read of each kind.")


@router.post(
    "/v1/connections/{connection_id}/import",
    status_code=202,
    responses=documented(Unauthenticated, Forbidden, Invalid, NotFound, Conflict),
)
async def start_import(
    who: Admin,
    connection_id: ConnectionId,
    session: Transaction,
    now: Now,
    body: Annotated[StartImport | None, Body()] = None,
) -> ImportView:
    """Copy the CRM's people who have a number, so that lookups need not ask it. One that is under way goes on."""
    row = await connection_queries.connection(session, who.tenant_id, connection_id)
    if row is None:
        raise NotFound("There is no such connection.")
    if row.state != State.ACTIVE:
        raise Conflict(f"This connection cannot be read: {row.reason or row.state}.")
    dry = body is not None and body.dry_run
    if not await queries.begin(session, who.tenant_id, connection_id, dry=dry, now=now):
        under_way = await queries.mirrors(session, who.tenant_id, connection_id)
        if any(one.dry for one in under_way) != dry:
            raise Conflict("An import of the other sort is under way; wait for its end.")
    session.expire_all()
    rows = await queries.mirrors(session, who.tenant_id, connection_id)
    return ImportView(**msgspec.to_builtins(progress(rows, now)))


@router.get(
    "/v1/connections/{connection_id}/import", responses=documented(Unauthenticated, Forbidden, Invalid, NotFound)
)
async def read_import(who: Admin, connection_id: ConnectionId, session: Reading, now: Now) -> ImportView:
    """How far the copying is, of all kinds of records together."""
    rows = await queries.mirrors(session, who.tenant_id, connection_id)
    if not rows:
        if await connection_queries.connection(session, who.tenant_id, connection_id) is None:
            raise NotFound("There is no such connection.")
        raise NotFound("Nothing was imported from this connection yet.")
    return ImportView(**msgspec.to_builtins(progress(rows, now)))
