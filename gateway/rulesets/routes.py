"""`/v1/rules`: a tenant's rule set, a version a PUT. Putting an old version again is the rollback."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel
from sqlalchemy.exc import IntegrityError

from gateway.db.requests import Now, Reading, Transaction
from gateway.errors import Conflict, FieldError, Forbidden, Invalid, NotFound, Unauthenticated, documented
from gateway.rulesets import queries
from gateway.tenants.access import Principal, needs
from rules.rule import RulesRefused, parse, with_ids

router = APIRouter(tags=["rules"])

Admin = Annotated[Principal, needs("admin")]


class RulesShown(BaseModel):
    """`version` 0 is what every tenant begins with."""

    version: int
    rules: list[dict[str, Any]]


class RulesKept(BaseModel):
    version: int
    at: datetime
    rules: list[dict[str, Any]]


@router.get("/v1/rules", responses=documented(Unauthenticated, Forbidden, NotFound))
async def read_rules(
    who: Admin, session: Reading, version: Annotated[int | None, Query(ge=0, description="Without: the newest.")] = None
) -> RulesShown:
    """The rules in force, or an earlier version."""
    found = await queries.ruleset(session, who.tenant_id, version)
    if found is None:
        raise NotFound
    number, rules = found
    return RulesShown(version=number, rules=rules.document()["rules"])


@router.put("/v1/rules", responses=documented(Unauthenticated, Forbidden, Invalid, Conflict))
async def replace_rules(
    who: Admin, document: Annotated[dict[str, Any], Body()], session: Transaction, now: Now
) -> RulesKept:
    """Put a rule set in force for calls that are not planned yet. Rules and actions keep their ids, by name where left out."""
    try:
        wanted = parse(document)
    except RulesRefused as refused:
        problems = [FieldError(f"body.{one.path}".rstrip("."), one.text) for one in refused.problems]
        raise Invalid(errors=problems) from None
    before = await queries.ruleset(session, who.tenant_id)
    rules = with_ids(wanted, before[1] if before is not None else None)
    try:
        async with session.begin_nested():
            version = await queries.save(session, who.tenant_id, rules.document(), by=who.id, now=now)
    except IntegrityError:
        raise Conflict("Somebody else has just changed the rules. Read them and try again.") from None
    return RulesKept(version=version, at=now, rules=rules.document()["rules"])
