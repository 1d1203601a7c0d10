"""The web application in the test's own process, spoken to over ASGI: lifespan, parts, keys."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2

from gateway import app as gateway_app
from gateway.bodies import Message
from gateway.db.base import TenantId
from gateway.db.engine import utc_now
from gateway.parts import Parts
from gateway.parts import parts as parts_of
from gateway.settings import Settings
from gateway.tenants import api_keys, queries
from gateway.tenants.access import SCOPES, make_console_link

ORIGIN = "http://127.0.0.1:8000"


@dataclass
class Web:
    """A running application. `client` asks as somebody on this machine; `anyone(address)` as somebody elsewhere."""

    app: Any
    parts: Parts
    client: httpx2.AsyncClient
    origin: str

    def anyone(self, address: str, **more: Any) -> httpx2.AsyncClient:
        """A client at `address`; close it yourself, or let the test end."""
        transport = httpx2.ASGITransport(app=self.app, client=(address, 50000), raise_app_exceptions=False)
        return httpx2.AsyncClient(transport=transport, base_url=self.origin, **more)

    async def tenant(self, name: str = "Acme SA", region: str = "CH") -> TenantId:
        async with self.parts.db.transaction() as session:
            row = await queries.create(session, self.parts.keyring, name=name, region=region, now=utc_now())
        return TenantId(row.id)

    async def key(self, tenant_id: TenantId, *scopes: str, **more: Any) -> str:
        """A key's text; with every scope when none is named."""
        async with self.parts.db.transaction(tenant_id) as session:
            _, text = await api_keys.create(session, tenant_id, scopes=scopes or SCOPES, now=utc_now(), **more)
        return text

    async def console_link(self, tenant_id: TenantId, *scopes: str) -> str:
        async with self.parts.db.transaction(tenant_id) as session:
            return await make_console_link(session, tenant_id, scopes or SCOPES, utc_now())


@contextlib.asynccontextmanager
async def no_work(_parts: Parts) -> AsyncIterator[None]:
    """For tests of the shell: nothing beside the API."""
    yield


@contextlib.asynccontextmanager
async def running(settings: Settings, **how: Any) -> AsyncIterator[Web]:
    """The application between its start and its end. `how` goes to `create_app`."""
    caught: list[Parts] = []

    @contextlib.asynccontextmanager
    async def remembered(settings: Settings) -> AsyncIterator[Any]:
        async with parts_of(settings) as parts:
            caught.append(parts)
            yield parts

    app = gateway_app.create_app(settings, opened=remembered, **how)
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    from_app: asyncio.Queue[Message] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {}, "state": {}}
    life = asyncio.ensure_future(app(scope, to_app.get, from_app.put))
    await to_app.put({"type": "lifespan.startup"})
    started = await from_app.get()
    assert started["type"] == "lifespan.startup.complete", started
    transport = httpx2.ASGITransport(app=app, client=("127.0.0.1", 50000), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url=settings.public_url) as client:
        yield Web(app, caught[0], client, settings.public_url)
    await to_app.put({"type": "lifespan.shutdown"})
    assert (await from_app.get())["type"] == "lifespan.shutdown.complete"
    await life
