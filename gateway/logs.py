"""Logs: ids bound, people masked, nothing of libraries below WARNING.

The first net is not to log people at all. The second is here: whatever looks like a number, an address or a token in a
text is masked before it is written (security.md §9). Errors are written as class and place, never with their text:
SQLAlchemy, httpx2 and parsers put values into theirs.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import msgspec
import structlog

from gateway.settings import Settings

log: structlog.stdlib.BoundLogger = structlog.get_logger()

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Set by the middleware for each request. Own variable: structlog's binding costs 1 µs, this one a tenth."""

bound = structlog.contextvars.bound_contextvars
"""`with bound(tenant_id=…, call_id=…, delivery_id=…):` every line inside carries the ids."""

LONGEST = 500  # characters of one text in a line
_ROOT = Path(__file__).parents[1]

_SECRET_NAME = re.compile(r"(?i)secret|token|password|authorization|api_?key|cookie")
_TOKEN = re.compile(
    r"gwk_\w+|(?i:bearer|basic)\s+[\w.~+/=-]{8,}|\beyJ[\w-]{8,}\.[\w.-]+|(?<![\w/-])(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{32,}"
)
_EMAIL = re.compile(r"[\w.+'-]{1,64}@[\w-]+(?:\.[\w-]+)+")
_NUMBER = re.compile(r"(?<![\w.:+-])(?:\+|00)?\(?\d(?:[ ().\-/\u00a0]{0,3}\d){6,18}(?![\w:-]|\.\d)")
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = re.compile(rf"(?:{_OCTET}\.){{3}}{_OCTET}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[ .].*)?")


def masked(text: str) -> str:
    """`text` without what looks like a token, an e-mail address or a telephone number, and not longer than 500."""
    text = _TOKEN.sub("[token]", text[: 4 * LONGEST])
    text = _EMAIL.sub("[email]", text)
    return _NUMBER.sub(_number, text)[:LONGEST]


def _number(found: re.Match[str]) -> str:
    text = found.group()
    if _IPV4.fullmatch(text) or _DATE.fullmatch(text):
        return text
    return "[number]"


def place_of(error: BaseException) -> str:
    """The innermost line of ours that `error` passed through, such as `gateway/app.py:61 entry`."""
    found = ""
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if path.is_relative_to(_ROOT) and "site-packages" not in path.parts:
            found = f"{path.relative_to(_ROOT)}:{frame.lineno} {frame.name}"
    return found


def _mask(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: "[secret]" if _SECRET_NAME.search(name) else _masked_value(value) for name, value in event.items()}


def _masked_value(value: Any) -> Any:
    match value:
        case str():
            return masked(value)
        case bytes():
            return f"[{len(value)} bytes]"
        case None | bool() | int() | float():
            return value
        case Mapping():
            return {
                str(name): "[secret]" if _SECRET_NAME.search(str(name)) else _masked_value(inner)
                for name, inner in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [_masked_value(inner) for inner in value]
        case BaseException():
            return type(value).__name__
        case _:
            return masked(str(value))


def _class_and_place(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An exception by class and place. `record.exc_info` of libraries and our own `exc_info=` come the same way."""
    info = event.pop("exc_info", None)
    error = info[1] if isinstance(info, tuple) else sys.exc_info()[1] if info is True else info
    if isinstance(error, BaseException):
        event["error"], event["at_line"] = type(error).__name__, place_of(error)
    event.pop("stack_info", None)
    return event


def _request(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if (found := request_id.get()) is not None:
        event.setdefault("request_id", found)
    return event


_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    _request,
    structlog.stdlib.add_log_level,
    _class_and_place,
    _mask,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
]


def _renderer(settings: Settings) -> Any:
    if settings.log_format == "json":
        return structlog.processors.JSONRenderer(serializer=lambda event, **_: msgspec.json.encode(event).decode())
    return structlog.dev.ConsoleRenderer(colors=False, pad_event_to=30)


def set_up(settings: Settings, stream: TextIO | None = None) -> None:
    """Send our lines and libraries' warnings to `stream` (stderr), as JSON or for people. Once per process."""
    stream = stream or sys.stderr
    level = getattr(logging, settings.log_level)
    structlog.configure(
        processors=[*_SHARED, _renderer(settings)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_library, *_SHARED],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(settings)],
            keep_exc_info=True,
            keep_stack_info=True,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
    for name in list(logging.root.manager.loggerDict):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(logging.NOTSET)
    logging.getLogger("uvicorn.access").disabled = True
    logging.captureWarnings(True)


def _library(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Which library spoke; its exception moves to where `_class_and_place` looks."""
    record = event.get("_record")
    if record is not None:
        event["library"] = record.name
        event["exc_info"] = record.exc_info
        record.exc_info = record.exc_text = None
    return event


class AccessLog:
    """One line per request, with the route's template and never its path. Lines of one loop turn are one write.

    A structlog line costs 8 µs, half of what the whole middleware may (performance.md §3): these are formatted by
    hand from values that are ours, so nothing needs escaping.
    """

    def __init__(self, settings: Settings, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._on = settings.log_level in ("DEBUG", "INFO")
        self._json = settings.log_format == "json"
        self._lines: list[str] = []

    def note(self, identity: str, method: str, route: str, status: int, seconds: float, tenant_id: str | None) -> None:
        """`method` one of the known ones, `route` a template, `tenant_id` ours: written as they are."""
        if not self._on:
            return
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
        took = f"{seconds * 1000:.2f}"
        if self._json:
            tenant = f',"tenant_id":"{tenant_id}"' if tenant_id else ""
            self._lines.append(
                f'{{"event":"request","level":"info","request_id":"{identity}","method":"{method}","route":"{route}",'
                f'"status":{status},"took_ms":{took}{tenant},"at":"'
            )
        else:
            self._lines.append(f"request {method} {route} {status} {took} ms {identity} {tenant_id or ''}".rstrip())

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        if self._json:
            text = "".join(f'{line}{at}"}}\n' for line in lines)
        else:
            text = "".join(f"{at} {line}\n" for line in lines)
        stream = self._stream or sys.stderr
        stream.write(text)
        stream.flush()
