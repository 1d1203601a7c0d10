"""The one ASGI middleware: request id, context for logs, metrics, one log line, and what is refused before all else.

Pure ASGI, since each `BaseHTTPMiddleware` costs half the throughput (performance.md §2). Prometheus children are
cached by route template, method and status; `labels()` costs 2 µs each time.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import os
from collections.abc import MutableMapping
from functools import lru_cache
from hmac import compare_digest
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import Counter, Histogram

from gateway import bodies, logs
from gateway.bodies import App, Message, Receive, Scope, Send
from gateway.errors import BadRequest, Broken, FieldError, Misdirected, Problem, TooLarge, WrongMediaType
from gateway.errors import problem_response as as_response
from gateway.settings import Settings

REQUESTS = Counter("gateway_requests", "Requests answered.", ["method", "route", "status"])
SECONDS = Histogram(
    "gateway_request_seconds",
    "Time from the request's first byte to the last one answered.",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.5, 1, 5),
)
METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"})
APART = frozenset({"/healthz", "/readyz", "/metrics"})  # probes come by address, not by our name

_SINGLE = frozenset(
    {b"host", b"content-encoding", b"content-length", b"transfer-encoding", b"x-forwarded-for", b"forwarded"}
)


class Seen:
    """What the middleware knows about a request; `scope["gateway"]`.

    route      the template it matched, set by whoever answers; never the path, which may carry keys and numbers.
    client     the caller's address, through trusted proxies only.
    loopback   asked from this machine, and by nobody in between.
    """

    __slots__ = ("client", "loopback", "request_id", "route", "tenant_id")

    def __init__(self, request_id: str, client: str, loopback: bool) -> None:
        self.request_id = request_id
        self.client = client
        self.loopback = loopback
        self.route: str | None = None
        self.tenant_id: str | None = None


def seen(scope: MutableMapping[str, Any]) -> Seen:
    found: Seen = scope["gateway"]
    return found


def content_policy(*form_targets: str) -> str:
    """The CSP of our pages. `form_targets`: further origins a form may end at; Chromium also checks redirects after it."""
    targets = " ".join(("'self'", *form_targets))
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        f"form-action {targets}; base-uri 'none'; frame-ancestors 'none'"
    )


class Middleware:
    """Wraps the whole application; what uvicorn serves."""

    def __init__(self, app: App, settings: Settings) -> None:
        self._app = app
        self._access = logs.AccessLog(settings)
        self._hosts = _Hosts(settings.public_url)
        self._proxies = _Proxies(settings.trusted_proxies)
        self._always: tuple[tuple[bytes, bytes], ...] = (
            (b"x-content-type-options", b"nosniff"),
            *([(b"strict-transport-security", b"max-age=31536000")] if settings.secure else []),
        )
        self._pages = ((b"referrer-policy", b"no-referrer"), (b"x-frame-options", b"DENY"))
        self._policy = (b"content-security-policy", content_policy().encode())
        self._prefix = f"rq_{os.urandom(6).hex()}"
        self._count = itertools.count(1)
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._live(scope, receive, send)
            else:  # no WebSockets here
                await send({"type": "websocket.close", "code": 1008})
            return
        started = perf_counter()
        identity = f"{self._prefix}{next(self._count):x}"
        logs.request_id.set(identity)
        found: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in _SINGLE:
                found[name] = found[name] + b"," + value if name in found else value
        about = self._about(scope, identity, found)
        scope["gateway"] = about
        status = 0

        async def tell(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self._headers(message.get("headers", ()), identity)
            await send(message)

        try:
            path = scope["path"]
            self._refuse(path, found)
            if b"transfer-encoding" in found:  # no length to believe: read here, so that it cannot be exceeded
                receive = bodies.again(await bodies.read(receive, bodies.most(path)), receive)
            await self._app(scope, receive, tell)
        except Problem as problem:
            await _answer(problem, tell, started=bool(status))
        except bodies.Gone:
            status = status or 499
        except asyncio.CancelledError:
            status = status or 499
            raise
        except Exception as error:  # the guard: class and place, never the text, which may hold people
            logs.log.error("broken", error=type(error).__name__, at_line=logs.place_of(error), route=_route(scope))
            await _answer(Broken(identity), tell, started=bool(status))
        finally:
            self._note(scope, about, status, perf_counter() - started)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A start that fails is told by class and place; Starlette would hand the whole traceback to the server's log."""

        async def tell(message: Message) -> None:
            await send({**message, "message": ""} if message["type"] == "lifespan.startup.failed" else message)

        try:
            await self._app(scope, receive, tell)
        except Exception as error:
            logs.log.error("could not start", exc_info=error)

    def _about(self, scope: Scope, identity: str, found: dict[bytes, bytes]) -> Seen:
        peer = scope["client"][0] if scope.get("client") else ""
        forwarded = found.get(b"x-forwarded-for")
        if forwarded is None:
            return Seen(identity, peer, b"forwarded" not in found and _is_loopback(peer))
        return Seen(identity, self._proxies.behind(peer, forwarded), False)

    def _refuse(self, path: str, found: dict[bytes, bytes]) -> None:
        """Raise the `Problem` of what is refused unread and whoever sends it."""
        if not self._hosts.serve(found.get(b"host", b"")) and path not in APART:
            raise Misdirected
        if found.get(b"content-encoding", b"identity").lower() != b"identity":
            raise WrongMediaType(errors=[FieldError("header.content-encoding", "compressed bodies are not taken")])
        if (length := found.get(b"content-length")) is not None:
            if not length.isdigit():
                raise BadRequest(errors=[FieldError("header.content-length", "is not a number")])
            if len(length) > 9 or int(length) > bodies.most(path):
                raise TooLarge(bodies.most(path))

    def _headers(self, given: Any, identity: str) -> list[tuple[bytes, bytes]]:
        headers = list(given)
        page = cached = policy = False
        for name, value in headers:
            if name == b"content-type":
                page = value.startswith(b"text/html")
            elif name == b"cache-control":
                cached = True
            elif name == b"content-security-policy":
                policy = True
        headers.append((b"x-request-id", identity.encode()))
        headers.extend(self._always)
        if not cached:
            headers.append((b"cache-control", b"no-store"))
        if page:
            headers.extend(self._pages)
            if not policy:
                headers.append(self._policy)
        return headers

    def _note(self, scope: Scope, about: Seen, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        route = about.route or _route(scope)
        key = (method, route, status)
        children = self._children.get(key)
        if children is None:
            children = self._children[key] = (REQUESTS.labels(method, route, str(status)), SECONDS.labels(route))
        children[0].inc()
        children[1].observe(seconds)
        self._access.note(about.request_id, method, route, status, seconds, about.tenant_id)


def _route(scope: Scope) -> str:
    """The template FastAPI matched. Anything else is one word: paths are the client's text, and endless."""
    return getattr(scope.get("route"), "path", None) or "unmatched"


async def _answer(problem: Problem, send: Send, *, started: bool) -> None:
    if started:  # half an answer is out: the connection's end is all that can be said
        return
    status, headers, body = as_response(problem)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Hosts:
    """Only PUBLIC_URL's host is served; every loopback name when PUBLIC_URL is one, whatever the port."""

    def __init__(self, public_url: str) -> None:
        parts = urlsplit(public_url)
        self._own = parts.netloc.lower().encode()
        self._without_port = (parts.hostname or "").encode() if parts.port in (None, 80, 443) else None
        self._loopback = _is_local_name(parts.hostname or "")

    def serve(self, host: bytes) -> bool:
        if host == self._own:
            return True
        host = host.lower()
        if host == self._own or (self._without_port is not None and _split_port(host) == self._without_port):
            return True
        return self._loopback and _is_local_name(_split_port(host).decode("latin-1"))


def _split_port(host: bytes) -> bytes:
    name, colon, port = host.rpartition(b":")
    bare = name if colon and port.isdigit() else host
    return bare.removeprefix(b"[").removesuffix(b"]")


def _is_local_name(host: str) -> bool:
    return host == "localhost" or _is_loopback(host)


@lru_cache(maxsize=4096)
def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Proxies:
    """Whose `X-Forwarded-For` we believe: read from the right, through our own proxies, to the first stranger."""

    def __init__(self, trusted: tuple[str, ...]) -> None:
        networks = [ipaddress.ip_network(one, strict=False) for one in trusted]

        @lru_cache(maxsize=4096)
        def trusts(host: str) -> bool:
            try:
                address = ipaddress.ip_address(host)
            except ValueError:
                return False
            return any(address in network for network in networks)

        self._trusts = trusts

    def behind(self, peer: str, forwarded: bytes) -> str:
        if not self._trusts(peer):
            return peer
        for hop in reversed([part.strip() for part in forwarded.decode("latin-1").split(",")]):
            try:
                ipaddress.ip_address(hop)
            except ValueError:
                return peer  # not an address: somebody writes what he likes
            peer = hop
            if not self._trusts(hop):
                break
        return peer


def is_operator(scope: Scope, settings: Settings) -> bool:
    """Asked on this machine, or with GATEWAY_OPERATOR_TOKEN: may see metrics and the long readiness."""
    if seen(scope).loopback:
        return True
    token = settings.operator_token.get_secret_value()
    given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    return bool(token) and compare_digest(given, b"Bearer " + token.encode())
