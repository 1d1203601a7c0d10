"""The ASGI side that all sandboxes share: reads a request, lets faults strike, answers, and writes it down.

A vendor is a plain function from a `Call` to an `Answer`; everything that can go wrong on the way is done here, so
"the write happened and the connection was cut" means exactly that.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote

import msgspec

from connectors.sandbox.clock import Clock
from connectors.sandbox.faults import Fault, Faults, Kind
from connectors.sandbox.journal import Asked, Journal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

TRANSPORT = "sandbox.transport"  # ASGI extension set by serve.py: the connection's transport, so that it can be cut
_BODY_CAP = 16 * 1024 * 1024
_TRICKLED_PIECES = 20
_RESET = struct.pack("ii", 1, 0)  # linger for no time: close() sends RST instead of FIN
_PAGE = b"<html>\n<head><title>We'll be right back</title></head>\n<body><h1>We'll be right back</h1></body>\n</html>\n"


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request. Header names are lower case; `path` is unquoted; `query` keeps repeated names and empty values."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    raw_query: str
    headers: Mapping[str, str]
    body: bytes
    now: datetime
    client: int = 0  # the caller's port: the same for all that comes over one connection

    def form(self) -> dict[str, str]:
        """The body as a form; of repeated names the last one counts."""
        read = parse_qs(self.body.decode("utf-8", "replace"), keep_blank_values=True)
        return {name: values[-1] for name, values in read.items()}


class Answer(msgspec.Struct, frozen=True):
    status: int
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()


class Vendor(Protocol):
    """What a vendor's face answers. Synchronous on purpose: one request is one step."""

    def answer(self, call: Call) -> Answer: ...

    def refuse(self, fault: Fault, call: Call) -> Answer:
        """How this vendor words an outage, an error, a rate limit, an expired or revoked token."""

    def control(self, call: Call) -> Answer | None:
        """Requests under `/_sandbox/` that only this vendor knows; None for the rest."""

    def account_of(self, call: Call) -> str:
        """Whose account a request is about, for the journal; "" when it is nobody's."""

    def keys_in(self, call: Call) -> Sequence[str]:
        """The caller's own keys in a request, for the journal."""


class Face:
    """An ASGI application in front of one vendor."""

    def __init__(self, vendor: Vendor, *, clock: Clock, faults: Faults, journal: Journal) -> None:
        self.vendor = vendor
        self.clock = clock
        self.faults = faults
        self.journal = journal
        self._late: set[asyncio.TimerHandle] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await _live(receive, send)
        if scope["type"] != "http":
            raise ValueError(f"no {scope['type']} here")
        call = await self._read(scope, receive)
        if call is None:
            return None
        if call.path.startswith("/_sandbox/"):
            return await _send(send, self.vendor.control(call) or Answer(404, b'{"error":"no such control"}'))
        fault = self.faults.strike(call.method, call.path)
        if fault is not None:
            return await self._struck(fault, call, scope, receive, send)
        answer = self.vendor.answer(call)
        self._write_down(call, answer.status)
        return await _send(send, answer)

    async def _read(self, scope: Scope, receive: Receive) -> Call | None:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if not message.get("more_body") or len(body) > _BODY_CAP:
                break
        query = scope["query_string"].decode("latin-1")
        return Call(
            method=scope["method"],
            path=unquote(scope.get("raw_path", scope["path"].encode()).decode("latin-1").partition("?")[0]),
            query=parse_qs(query, keep_blank_values=True) if query else {},
            raw_query=query,
            headers={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]},
            body=body,
            now=self.clock(),
            client=(scope.get("client") or ("", 0))[1],
        )

    async def _struck(self, fault: Fault, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one fault happen. What takes effect does so before anything can keep the answer from leaving."""
        if fault.kind is Kind.LATE:
            loop = asyncio.get_running_loop()
            handle = loop.call_later(fault.delay.total_seconds(), self._answer_late, call)
            self._late = {waiting for waiting in self._late if waiting.when() > loop.time()} | {handle}
            return _cut(scope)
        if fault.kind is Kind.LATENCY and fault.delay:  # the request itself is slow: it takes effect at the end
            await asyncio.sleep(fault.delay.total_seconds())
        answer = self.vendor.answer(call) if fault.takes_effect else None
        shown = answer if answer is not None and fault.kind in _RIGHT else self._wrong(fault, call, answer)
        self._write_down(call, shown.status if shown else None, committed=fault.takes_effect, fault=fault.kind)
        if fault.kind not in (Kind.LATENCY, Kind.TRICKLE) and fault.delay:
            await asyncio.sleep(fault.delay.total_seconds())
        if shown is None:
            return await _gone(receive) if fault.kind is Kind.HANG else _cut(scope)
        if fault.kind is Kind.TRICKLE:
            return await _trickle(send, shown, fault.delay.total_seconds())
        if fault.kind is Kind.CUT:
            await _send(send, shown, sent=len(shown.body) // 2)
            await asyncio.sleep(0)
            return _cut(scope)
        return await _send(send, shown)

    def _wrong(self, fault: Fault, call: Call, answer: Answer | None) -> Answer | None:
        """What is answered instead of the truth; None for nothing at all."""
        match fault.kind:
            case Kind.RESET | Kind.RESET_AFTER | Kind.HANG | Kind.LATE:
                return None
            case Kind.HTML:
                return Answer(fault.status or 200, _PAGE, [("content-type", "text/html;charset=utf-8")])
            case Kind.EMPTY:
                return Answer(204)
            case Kind.REDIRECT:
                return Answer(fault.status or 302, b"", [("location", "https://example.invalid/moved")])
            case Kind.TRUNCATED if answer is not None:
                return Answer(answer.status, answer.body[: len(answer.body) // 2], answer.headers)
            case _:
                return self.vendor.refuse(fault, call)

    def _answer_late(self, call: Call) -> None:
        self.vendor.answer(call)
        self._write_down(call, None, fault=Kind.LATE)

    def _write_down(self, call: Call, status: int | None, *, committed: bool = True, fault: str = "") -> None:
        self.journal.append(
            Asked(
                n=self.journal.next(),
                at=call.now,
                method=call.method,
                path=call.path,
                status=status,
                committed=committed and (status is None or status < 400 or bool(fault)),
                query=call.raw_query if not call.path.startswith("/oauth/") else "",
                account=self.vendor.account_of(call),
                keys=self.vendor.keys_in(call),
                body=hashlib.sha256(call.body).hexdigest()[:16] if call.body else "",
                fault=fault,
                client=call.client,
            )
        )


_RIGHT = frozenset({Kind.LATENCY, Kind.TRICKLE, Kind.CUT})


async def _send(send: Send, answer: Answer, *, sent: int | None = None) -> None:
    """Answer, announcing the whole length but sending only the first `sent` bytes of the body, if given."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    if answer.status != 204:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if sent is None:
        await send({"type": "http.response.body", "body": answer.body})
    else:
        await send({"type": "http.response.body", "body": answer.body[:sent], "more_body": True})


async def _trickle(send: Send, answer: Answer, seconds: float) -> None:
    size = max(1, -(-len(answer.body) // _TRICKLED_PIECES))
    pieces = [answer.body[at : at + size] for at in range(0, len(answer.body), size)] or [b""]
    await _send(send, answer, sent=0)
    for piece in pieces:
        await asyncio.sleep(seconds / len(pieces))
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _gone(receive: Receive) -> None:
    """Wait until the client has given up."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _cut(scope: Scope) -> None:
    """Reset the connection, so that the client sees ECONNRESET. Without a transport at hand, raise the same."""
    transport = (scope.get("extensions") or {}).get(TRANSPORT)
    if transport is None:
        raise ConnectionResetError("the sandbox cut the connection")
    inner = transport.get_extra_info("socket")
    if inner is not None:
        inner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
