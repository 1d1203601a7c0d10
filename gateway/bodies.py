"""Bodies of requests: how long they may be, read once, and strangers' JSON made safe before FastAPI sees it.

FastAPI reads JSON with the standard library, which lets NUL characters, lone surrogates and NaN through; the first
PostgreSQL column refuses them, as a 500. So JSON is read here first (security.md §9) and passed on as it may be stored.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from connectors.json_text import BadJson, parse_json
from gateway.errors import BadRequest, FieldError, TooLarge, WrongMediaType

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

KB, MB = 1024, 1024 * 1024
_EXACT = {"/v1/lookup": 4 * KB, "/v1/calls": 4 * MB}
_BELOW = (("/v1/voice/", 4 * MB), ("/crm/", 2 * MB))
_ELSEWHERE = 64 * KB


class Gone(Exception):
    """The client went away before it had sent its body: nobody is left to answer."""


def most(path: str) -> int:
    """Bytes a body may have at `path`, whoever sends it: decided before authentication."""
    if (found := _EXACT.get(path)) is not None:
        return found
    return next((size for start, size in _BELOW if path.startswith(start)), _ELSEWHERE)


async def read(receive: Receive, size: int) -> bytes:
    """The whole body, of at most `size` bytes. Raises `TooLarge`, `Gone`."""
    parts: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        part: bytes = message.get("body", b"")
        length += len(part)
        if length > size:
            raise TooLarge(size)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives `body` as if it had just come, then whatever the client does next."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def takes_json(method: str, path: str) -> bool:
    """Whether a body here is our own JSON. Voice platforms sign raw bytes, MCP reads its own, pages send forms."""
    return method in ("POST", "PUT", "PATCH") and path.startswith("/v1/") and not path.startswith("/v1/voice/")


def safe_json(headers: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    """`body` as JSON that every store takes. Empty stays empty. Raises `WrongMediaType`, `BadRequest`."""
    if not body:
        return body
    value = read_json(headers, body)
    return msgspec.json.encode(value) if b"\\u" in body or not body.isascii() else body


def read_json(headers: list[tuple[bytes, bytes]], body: bytes) -> Any:
    """The value of `body`, which is not empty, as every store takes it. Raises `WrongMediaType`, `BadRequest`."""
    kind = next((value for name, value in headers if name == b"content-type"), b"")
    if kind != b"application/json":
        essence = kind.split(b";", 1)[0].strip().lower()
        if essence != b"application/json" and not (essence.startswith(b"application/") and essence.endswith(b"+json")):
            raise WrongMediaType(errors=[FieldError("header.content-type", "must be application/json")])
    try:
        return parse_json(body)
    except BadJson as bad:
        raise BadRequest(errors=[FieldError("body", f"is not JSON we take: {bad}")]) from None
