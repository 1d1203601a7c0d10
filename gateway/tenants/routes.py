"""`/v1/settings`: a tenant reads and replaces its own document."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter

from gateway.db.requests import Now, Reading, Transaction
from gateway.errors import Conflict, Forbidden, Invalid, Unauthenticated, documented
from gateway.tenants import settings
from gateway.tenants.access import Principal, needs
from gateway.tenants.settings import TenantDocument

router = APIRouter(tags=["settings"])


@router.get("/v1/settings", responses=documented(Unauthenticated, Forbidden))
async def read_settings(who: Annotated[Principal, needs("admin")], session: Reading) -> TenantDocument:
    """The tenant's document in force."""
    return await settings.current(session, who.tenant_id)


@router.put("/v1/settings", responses=documented(Unauthenticated, Forbidden, Conflict, Invalid))
async def replace_settings(
    who: Annotated[Principal, needs("admin")], document: TenantDocument, session: Transaction, now: Now
) -> TenantDocument:
    """Replace the whole document. What is left out is back at its default."""
    return await settings.replace(session, who.tenant_id, document, by=who.id, now=now)
