"""What the demo stands on: the sandbox, which can go down and come back, the gateway beside it, a tenant."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import httpx2
import uvicorn
from pydantic import SecretStr
from rich.console import Console

from connectors.crm.catalog import CATALOG
from connectors.sandbox.faults import Fault, Kind
from connectors.sandbox.serve import running
from connectors.sandbox.shown import Shown
from gateway.app import create_app
from gateway.connections.providers import Providers
from gateway.db.base import TenantId
from gateway.db.engine import Database, utc_now
from gateway.parts import parts
from gateway.settings import App, Settings
from gateway.tenants import api_keys
from gateway.tenants import queries as tenant_queries
from gateway.tenants.keys import Keyring, check_keks, load_keks
from gateway.tenants.principal import SCOPES
from gateway.tenants.sessions import make_console_link

T = TypeVar("T")


PATIENCE = timedelta(seconds=90)


class DemoFailed(Exception):
    """The story did not go as told; the text says where."""


TENANT = "Helvetia Muster SA"


@dataclass
class Scene:
    """The running installation, as the story uses it."""

    say: Console
    origin: str
    crm: Shown
    client: httpx2.AsyncClient
    key: str
    endpoint: str = ""
    secret: str = field(default="", repr=False)
    calls: int = 0

    @property
    def auth(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    async def api(self, method: str, path: str, body: Any = None) -> Any:
        reply = await self.client.request(method, self.origin + path, json=body, headers=self.auth)
        if reply.status_code >= 400:
            raise DemoFailed(f"{method} {path} answered {reply.status_code}: {reply.text[:200]}")
        return reply.json() if reply.content else None

    async def vapi(self, message: Mapping[str, Any]) -> tuple[Any, float]:
        """Post as Vapi does; its answer and how long it took, in milliseconds."""
        began = time.perf_counter()
        reply = await self.client.post(self.endpoint, json={"message": message}, headers={"x-vapi-secret": self.secret})
        took = (time.perf_counter() - began) * 1000
        if reply.status_code >= 300:
            raise DemoFailed(f"the voice endpoint answered {reply.status_code}: {reply.text[:200]}")
        return (reply.json() if reply.content else None), took


class Outage(contextlib.AbstractAsyncContextManager["Outage"]):
    """The sandbox on a port, which can be taken off it and put back: the same CRM, gone and come back."""

    def __init__(self, face: Any) -> None:
        self._face = face
        self._stack = contextlib.AsyncExitStack()
        self._port = 0
        self.origin = ""

    async def __aenter__(self) -> Outage:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _open(self) -> None:
        self.origin = await self._stack.enter_async_context(running(self._face, port=self._port))
        self._port = int(self.origin.rsplit(":", 1)[1])

    def begin(self) -> None:
        """Everything the CRM is asked from now on fails as it does when its front door is broken."""
        self._face.faults.add(Fault(kind=Kind.OUTAGE))

    async def end(self) -> None:
        self._face.faults.clear()


class _Server(uvicorn.Server):
    """A server on somebody else's loop: signals are not its business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


@contextlib.asynccontextmanager
async def served(settings: Settings, providers: Providers, listening: Any) -> AsyncIterator[None]:
    server = _Server(
        uvicorn.Config(
            create_app(settings, opened=partial(parts, providers=providers)),
            lifespan="on",
            ws="none",
            access_log=False,
            log_config=None,
        )
    )
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        while not server.started:
            if task.done():
                raise DemoFailed("the gateway did not start")
            await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        await task


def registered(crm: str, origin: str) -> Providers:
    """Our app at the sandbox, which stands in for the vendor."""
    secret = SecretStr("sandbox-secret")
    app = App(client_id="sandbox-client", client_secret=secret, auth_url=origin, token_url=origin, api_url=origin)
    return Providers({crm: CATALOG[crm]}, lambda _: app)


async def make_tenant(settings: Settings) -> tuple[TenantId, str]:
    db = Database(settings.database_url)
    try:
        keks = load_keks(settings)
        await check_keks(db, keks)
        async with db.transaction() as session:
            row = await tenant_queries.create(session, Keyring(db, keks), name=TENANT, region="CH", now=utc_now())
            tenant_id = TenantId(row.id)
            _, key = await api_keys.create(session, tenant_id, scopes=SCOPES, name="demo", now=utc_now())
        return tenant_id, key
    finally:
        await db.close()


async def console_link(settings: Settings, tenant_id: TenantId) -> str:
    db = Database(settings.database_url)
    try:
        async with db.transaction(tenant_id) as session:
            return await make_console_link(session, tenant_id, SCOPES, utc_now())
    finally:
        await db.close()


async def until(what: str, look: Callable[[], Awaitable[T | None]]) -> T:
    end = time.monotonic() + PATIENCE.total_seconds()
    while time.monotonic() < end:
        if (found := await look()) is not None:
            return found
        await asyncio.sleep(0.1)
    raise DemoFailed(f"waited {PATIENCE.seconds} s in vain until {what}")
