"""What the demo stands on: the sandbox, which can go down and come back, the gateway beside it, a tenant."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import uvicorn
from pydantic import SecretStr
from rich.console import Console

from connectors.crm.catalog import CATALOG
from connectors.http import make_client
from connectors.sandbox.face import Face
from connectors.sandbox.faults import Fault, Kind
from connectors.sandbox.journal import Journal
from connectors.sandbox.serve import PROVIDERS, SHOWN, bind, running
from connectors.sandbox.shown import Shown
from gateway import logs, schema
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


@dataclass(frozen=True)
class Ground:
    """What a story is told on, before anybody serves anything.

    ours     where the gateway will listen. crm: what the account holds; journal: what the CRM was asked.
    outage   the sandbox. providers: our app at it. key: an API key of the tenant that may do everything.
    """

    provider: str
    ours: socket.socket
    crm: Shown
    outage: Outage
    journal: Journal
    providers: Providers
    settings: Settings
    tenant_id: TenantId
    key: str = field(repr=False)


@dataclass
class Scene:
    """The running installation, as the story uses it."""

    say: Console
    ground: Ground
    client: httpx2.AsyncClient
    endpoint: str = ""
    secret: str = field(default="", repr=False)
    calls: int = 0

    @property
    def crm(self) -> Shown:
        return self.ground.crm

    @property
    def origin(self) -> str:
        return self.ground.settings.public_url

    @property
    def auth(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.ground.key}"}

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


@contextlib.asynccontextmanager
async def grounded(provider: str, *, limits: bool = True) -> AsyncIterator[Ground]:
    """A sandbox, a database with a tenant and a free port for us, in a folder that goes when they do.

    limits  whether the sandbox refuses what is over the vendor's rate limits.
    """
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as folder, bind() as ours:
        face = PROVIDERS[provider](limits=limits)
        async with Outage(face) as outage:
            settings = Settings(
                database_url=f"sqlite+aiosqlite:///{Path(folder) / 'gateway.db'}",
                redis_url="",
                public_url=f"http://127.0.0.1:{ours.getsockname()[1]}",
                log_level="ERROR",
            )
            logs.set_up(settings)
            await schema.migrate(settings.database_url)
            tenant_id, key = await make_tenant(settings)
            providers, shown = registered(provider, outage.origin), SHOWN[provider](face)
            yield Ground(provider, ours, shown, outage, face.journal, providers, settings, tenant_id, key)


@contextlib.asynccontextmanager
async def staged(ground: Ground, say: Console) -> AsyncIterator[Scene]:
    """The gateway on it, and somebody who uses it."""
    async with served(ground.settings, ground.providers, ground.ours), make_client() as client:
        yield Scene(say, ground, client)


class Outage(contextlib.AbstractAsyncContextManager["Outage"]):
    """The sandbox on a port, which can be taken off it and put back: the same CRM, gone and come back."""

    def __init__(self, face: Face) -> None:
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
