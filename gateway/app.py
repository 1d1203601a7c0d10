"""The web application: parts wired together, the hot path before FastAPI, the operator's addresses. Decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from importlib.metadata import version
from typing import Any

import prometheus_client
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from redis.exceptions import RedisError

from gateway import bodies, errors, schema
from gateway.api import desk, docs, promised
from gateway.api.calls import router as calls_router
from gateway.api.calls_endpoint import PATH as CALLS
from gateway.api.calls_endpoint import take as take_call
from gateway.api.crm_notices import router as crm_notices_router
from gateway.api.trial import router as trial_router
from gateway.api.voice import router as voice_router
from gateway.bodies import App, Receive, Scope, Send
from gateway.calls.routes import router as endpoints_router
from gateway.connections.routes import router as connections_router
from gateway.console.routes import router as console_router
from gateway.db import idempotency
from gateway.delivery.routes import router as deliveries_router
from gateway.directory.routes import router as import_router
from gateway.logs import log
from gateway.lookup.endpoint import PATH as LOOKUP
from gateway.lookup.endpoint import look_up
from gateway.lookup.routes import router as lookup_router
from gateway.metrics import Middleware, is_operator, seen
from gateway.parts import Parts
from gateway.parts import parts as opened_parts
from gateway.rulesets.routes import router as rules_router
from gateway.settings import Settings
from gateway.tenants import access
from gateway.tenants.routes import router as tenants_router

ROUTERS: tuple[APIRouter, ...] = (
    connections_router,
    import_router,
    console_router,
    rules_router,
    deliveries_router,
    lookup_router,
    calls_router,
    voice_router,
    crm_notices_router,
    endpoints_router,
    trial_router,
    tenants_router,
    promised.router,
    docs.router,
)


Hot = Callable[[Scope, Receive, Send, Parts], Awaitable[None]]

HOT: Mapping[tuple[str, str], Hot] = {
    ("POST", LOOKUP): look_up,
    ("POST", CALLS): take_call,
}
"""What is answered before FastAPI, bytes in and bytes out, by method and whole path, which is its own route template.
FastAPI keeps a documented twin of each (performance.md §6)."""


@contextlib.asynccontextmanager
async def workers(parts: Parts) -> AsyncIterator[None]:
    """Relay and worker beside the API, in the embedded form."""
    from gateway import relay, worker

    async with worker.beside(parts), running("relay", relay.run(parts)):
        yield


def create_app(
    settings: Settings,
    *,
    opened: Callable[[Settings], contextlib.AbstractAsyncContextManager[Parts]] = opened_parts,
    beside: Callable[[Parts], contextlib.AbstractAsyncContextManager[Any]] = workers,
) -> App:
    """What uvicorn serves.

    opened  builds the parts when the server starts and closes them when it ends.
    beside  what works next to the API when this process is the whole product.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            parts = app.state.parts = await stack.enter_async_context(opened(settings))
            await parts.finder.warm_up()
            app.state.desk = await stack.enter_async_context(desk.opened(parts))
            await stack.enter_async_context(running("last uses of keys", access.keep_uses(parts)))
            if settings.embedded:
                await stack.enter_async_context(beside(parts))
            yield

    app = FastAPI(
        title="Voice CRM gateway",
        version=version("voice-crm-gateway"),
        summary="Who is calling, answered while it rings; what happened, written once.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        openapi_tags=docs.TAGS,
        # As they are: `include_router` would build each of them anew, for each application, at its first request.
        routes=[route for router in (_operators, *ROUTERS) for route in router.routes],
    )
    errors.handle(app)
    app.add_exception_handler(access.SignInNeeded, access.to_sign_in)
    return Middleware(_entry(app), settings)


def _entry(app: FastAPI) -> App:
    """The hot path, but for repeats by key; else the body as it may be stored, the kept answer of a repeated POST, and FastAPI."""

    async def entry(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        key = idempotency.key_of(scope) if idempotency.honoured(method, path) else None
        if key is None and (hot := HOT.get((method, path))) is not None:
            seen(scope).route = path
            await hot(scope, receive, send, app.state.parts)
            return
        if bodies.takes_json(method, path):
            body = await bodies.read(receive, bodies.most(path))
            receive = bodies.again(bodies.safe_json(scope["headers"], body), receive)
        if key is not None:
            await _once(app, scope, receive, send, key)
            return
        await app(scope, receive, send)

    return entry


async def _once(app: FastAPI, scope: Scope, receive: Receive, send: Send, key: str) -> None:
    parts: Parts = app.state.parts
    header = next((value for name, value in scope["headers"] if name == b"authorization"), None)
    who = scope["principal"] = await access.authenticate(parts, header, seen(scope).client)
    await idempotency.once(
        app,
        scope,
        receive,
        send,
        key=key,
        db=parts.db,
        keys=await parts.keyring.of(who.tenant_id),
        tenant_id=who.tenant_id,
        principal=who.id,
    )


@contextlib.asynccontextmanager
async def running(what: str, work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """`work` beside the block, cancelled at its end. One that ends by itself is an error worth a line."""
    task = asyncio.create_task(work, name=what)

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background work ended", what=what, exc_info=error)

    task.add_done_callback(ended)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


_operators = APIRouter(include_in_schema=False)


@_operators.get("/healthz")
async def healthz() -> dict[str, bool]:
    """Alive: the loop turns."""
    return {"alive": True}


@_operators.get("/readyz")
async def readyz(request: Request) -> Response:
    """Able to work: the database answers at our revision. Redis may be away; calls are still answered, more slowly."""
    parts: Parts = request.app.state.parts
    trouble: dict[str, str] = {}
    try:
        async with asyncio.timeout(2):
            await schema.check_revision(parts.db)
    except schema.WrongRevision as wrong:
        trouble["database"] = str(wrong)
    except Exception as error:
        trouble["database"] = f"does not answer ({type(error).__name__})"
    ready = not trouble
    try:
        async with asyncio.timeout(2):
            await parts.redis.ping()
    except (RedisError, OSError, TimeoutError) as error:
        trouble["redis"] = f"does not answer ({type(error).__name__})"
    found: dict[str, Any] = {"ready": ready}
    if is_operator(request.scope, parts.settings):
        found |= {
            "database": trouble.get("database", "ok"),
            "redis": trouble.get("redis", "ok, in this process" if parts.settings.embedded else "ok"),
            "version": request.app.version,
        }
    return JSONResponse(found, 200 if ready else 503)


@_operators.get("/metrics")
async def metrics(request: Request) -> Response:
    """Prometheus' text form, for this machine or with GATEWAY_OPERATOR_TOKEN. Elsewhere it does not exist."""
    if not is_operator(request.scope, request.app.state.parts.settings):
        raise errors.NotFound
    return Response(prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST)
