"""What a route asks for: a transaction of its tenant, a reading one, the time.

Which tenant is said by the dependency that stands before them in the signature (`needs(…)`, `page_session(…)`, a voice
endpoint's). Without one there is no transaction: a route that forgot to ask who it is serves nobody.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.db import idempotency
from gateway.db.base import TenantId
from gateway.db.engine import Database, utc_now
from gateway.metrics import seen


class NobodysRequest(RuntimeError):
    """A route asked for a transaction before it asked who is calling. Put `who` first in its signature."""


def _tenant(request: Request) -> TenantId:
    tenant_id = seen(request.scope).tenant_id
    if tenant_id is None:
        raise NobodysRequest(f"{request.scope.get('route')!r}")
    return TenantId(tenant_id)


async def _now() -> datetime:
    return utc_now()


async def _transaction(request: Request) -> AsyncIterator[AsyncSession]:
    db: Database = request.app.state.parts.db
    async with db.transaction(_tenant(request)) as session:
        await idempotency.carried_out(session, request.scope)
        yield session


async def _reading(request: Request) -> AsyncIterator[AsyncSession]:
    db: Database = request.app.state.parts.db
    async with db.reading(_tenant(request)) as session:
        yield session


# scope="function": committed before the first byte of the answer leaves. FastAPI's default would commit after it,
# and a 2xx would be a promise that a crash can break.
Transaction = Annotated[AsyncSession, Depends(_transaction, scope="function")]
Reading = Annotated[AsyncSession, Depends(_reading, scope="function")]
Now = Annotated[datetime, Depends(_now)]
