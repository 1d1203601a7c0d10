"""The one place that sends.

It says of every failure whether anything can have been written: the transport reports when the first byte of a request
leaves, and what fails before that is `Unavailable`, whatever it was. What fails later is `OutcomeUnknown` for a write.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import cache, lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx2
import msgspec

from connectors.errors import ConnectorError, OutcomeUnknown, Rejected, Unavailable, UnexpectedReply, Unsupported
from connectors.request import Reply, Request

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

LARGEST_ANSWER = 8 * 1024 * 1024  # decoded; a few hundred KB of gzip can unpack to gigabytes
TOTAL = timedelta(seconds=10)

sending_deadline: ContextVar[float | None] = ContextVar("sending_deadline", default=None)
"""`time.monotonic()` after which the current task may send nothing more: its lease would no longer cover the answer."""


@contextmanager
def no_sending_after(deadline: float | None) -> Iterator[None]:
    """Set `sending_deadline` for a block."""
    before = sending_deadline.set(deadline)
    try:
        yield
    finally:
        sending_deadline.reset(before)


@cache
def tls() -> ssl.SSLContext:
    """The process's only TLS context: building one takes some 30 ms. Proxies and bundles of the environment are ignored."""
    return httpx2.create_ssl_context(trust_env=False)


def make_client(*, connect: timedelta = timedelta(seconds=3), http2: bool = False) -> httpx2.AsyncClient:
    """A pool of connections for one connection to a CRM. Follows nothing, keeps no cookie, waits for no free slot.

    http2  off by default: one dead TCP connection then carries every request until the kernel gives it up, and the
           measured gain is none (performance.md §5).
    """
    return httpx2.AsyncClient(
        verify=tls(),
        http2=http2,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx2.Timeout(60, connect=connect.total_seconds()),  # `Http` ends the whole much earlier
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=16, keepalive_expiry=30),
        cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
    )


_HEADERS = {"accept": "application/json", "accept-encoding": "gzip", "user-agent": "voice-crm-gateway"}


@lru_cache(maxsize=512)
def _url(origin: str, target: str) -> httpx2.URL:
    return httpx2.URL(origin + target)


class TooLarge(Exception):
    """An answer unpacks to more than we read."""


async def read_bounded(response: httpx2.Response, most: int = LARGEST_ANSWER) -> bytes:
    """The decoded body. Raises `TooLarge` as soon as it exceeds `most`; never holds more than about 1 MiB beyond that."""
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > most:
            raise TooLarge
    return bytes(body)


class Http:
    """Sends requests of one connection: authorised, throttled, watched, bounded.

    origin      "https://api.hubapi.com", or what gives it, asked right after the token: nothing in an answer of the API
                changes where we send.
    client      from `make_client`. Its transport must report httpcore's trace events; one that does not is trusted
                with reads only: of a failed write we then never say that nothing was sent.
    token       gives an access token; asked with True when the last one was refused, to get a fresh one.
    read_error  the provider's reading of an answer that is no 2xx.
                A 401 that it reads as `Rejected` or `Unsupported` is no word about the token (a missing scope, at Zoho).
    auth_scheme in front of the token ("Bearer", "Zoho-oauthtoken").
    gate        entered before each request, and left when its answer is in or will not come; entering raises
                `RateLimited` when the account's budget is spent.
    observe     sees each answer, for the limits in its headers.
    settle      of an `OutcomeUnknown` made here; a connector may know better per kind of record.
    total       wall clock for one try, connecting and reading included.
    """

    def __init__(
        self,
        *,
        origin: str | Callable[[], str],
        client: httpx2.AsyncClient,
        token: Callable[[bool], Awaitable[str]],
        read_error: Callable[[Request, Reply], ConnectorError],
        auth_scheme: str = "Bearer",
        gate: Callable[[Request], AbstractAsyncContextManager[None]] | None = None,
        observe: Callable[[Request, Reply], None] | None = None,
        settle: timedelta = timedelta(seconds=60),
        total: timedelta = TOTAL,
        most: int = LARGEST_ANSWER,
    ) -> None:
        self._origin = origin
        self._auth_scheme = auth_scheme
        self._client = client
        self._token = token
        self._read_error = read_error
        self._gate = gate
        self._observe = observe
        self._settle = settle
        self._total = total
        self._most = most

    @property
    def origin(self) -> str:
        """Where requests go. Some vendors say nowhere else which of their data centres an account is in."""
        return self._origin if isinstance(self._origin, str) else self._origin()

    async def send(
        self, request: Request, *, stop_sending_at: float | None = None, total: timedelta | None = None
    ) -> Reply:
        """Send, and answer with the 2xx reply that came.

        A 401 is repeated once with a fresh token: it was refused before it was looked at, so nothing was written.
        stop_sending_at  `time.monotonic()` after which no byte leaves; `sending_deadline` if not given.

        Raises `Unavailable`, `OutcomeUnknown` (writes only), `UnexpectedReply` (reads only), and what `token`, `gate`
        and `read_error` say.
        """
        deadline = sending_deadline.get() if stop_sending_at is None else stop_sending_at
        limit = total or self._total
        reply = await self._try(request, refused=False, deadline=deadline, limit=limit)
        if reply.status == 401 and not isinstance(self._read_error(request, reply), Rejected | Unsupported):
            reply = await self._try(request, refused=True, deadline=deadline, limit=limit)
        if 200 <= reply.status < 300:
            return reply
        raise self._read_error(request, reply)

    async def _try(self, request: Request, *, refused: bool, deadline: float | None, limit: timedelta) -> Reply:
        token = await self._token(refused)
        if self._gate is None:
            return await self._through(request, token, deadline, limit)
        async with self._gate(request):
            return await self._through(request, token, deadline, limit)

    async def _through(self, request: Request, token: str, deadline: float | None, limit: timedelta) -> Reply:
        sending = _Sending(deadline)
        sending.check()  # saves connecting in vain; the check that counts is made by the transport
        outgoing = self._outgoing(request, token, sending)
        try:
            async with asyncio.timeout(limit.total_seconds()):
                response = await self._client.send(outgoing, stream=True)
                try:
                    body = await read_bounded(response, self._most)
                finally:
                    await response.aclose()
        except (TimeoutError, httpx2.TransportError) as error:
            raise self._lost(request, sending, error) from None
        except (TooLarge, httpx2.DecodingError) as error:
            raise self._unreadable(request, error) from None
        headers = {name.lower(): value for name, value in response.headers.items()}
        reply = Reply(status=response.status_code, headers=headers, body=body)
        if self._observe is not None:
            self._observe(request, reply)
        return reply

    def _outgoing(self, request: Request, token: str, sending: _Sending) -> httpx2.Request:
        """The request as httpx2 sends it. Made whole here: having the client merge its defaults into each costs a tenth."""
        target = f"{request.path}?{urlencode(request.query)}" if request.query else request.path
        content_type, content = _content(request)
        return httpx2.Request(
            request.method,
            _url(self.origin.rstrip("/"), target),
            headers={**_HEADERS, **request.headers, **content_type, "authorization": f"{self._auth_scheme} {token}"},
            content=content,
            extensions={"trace": sending.trace, "timeout": self._client.timeout.as_dict()},
        )

    def _lost(self, request: Request, sending: _Sending, error: Exception) -> ConnectorError:
        """No answer. Reasons name the kind of failure only: texts of the library hold addresses."""
        kind = type(error).__name__
        if not request.writes:
            return Unavailable(f"no answer from the CRM ({kind})")
        if sending.surely_not_begun or isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            return Unavailable(f"the CRM could not be reached; nothing was sent ({kind})")
        return OutcomeUnknown(f"the CRM did not answer after we sent ({kind})", settle=self._settle)

    def _unreadable(self, request: Request, error: Exception) -> ConnectorError:
        reason = "the CRM's answer was too large" if isinstance(error, TooLarge) else "the CRM's answer was garbled"
        return OutcomeUnknown(reason, settle=self._settle) if request.writes else UnexpectedReply(reason)


class _Sending:
    """Watches one request on its way out, through the transport's trace events.

    `http11.` and `http2.send_request_headers.started` come after connecting and TLS, right before the first byte:
    the last moment to stop, and the moment from which a write may have happened.
    """

    def __init__(self, deadline: float | None) -> None:
        self._deadline = deadline
        self._traced = False
        self._begun = False

    @property
    def surely_not_begun(self) -> bool:
        return self._traced and not self._begun

    def check(self) -> None:
        if self._deadline is not None and monotonic() >= self._deadline:
            raise Unavailable("too late to send within the lease; nothing was sent")

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        self._traced = True
        if event.endswith(".send_request_headers.started"):
            self.check()
            self._begun = True


def _content(request: Request) -> tuple[Mapping[str, str], bytes | None]:
    if request.form is not None:
        return {"content-type": "application/x-www-form-urlencoded"}, urlencode(request.form).encode()
    if request.json is None:
        return {}, None
    try:
        content = msgspec.json.encode(request.json)
    except UnicodeEncodeError:  # a lone surrogate in somebody's text must not stop the rest of it
        text = json.dumps(msgspec.to_builtins(request.json), ensure_ascii=False, separators=(",", ":"))
        content = text.encode("utf-8", "replace")
    return {"content-type": "application/json"}, content
