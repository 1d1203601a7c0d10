"""What we ask of any voice platform. Pure: bytes and a clock in, values out. One file per platform beside this one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from connectors.voice.events import Event


class Assurance(StrEnum):
    """How sure we are who asks (security.md §6)."""

    SIGNED = "signed"  # bytes and time are covered
    SECRET = "secret"  # noqa: S105 - a word, no secret: a shared secret in a header
    URL = "url"  # only the unguessable address


class BadSignature(Exception):
    """Not from the platform, or too old. Nothing is stored; the answer is 401 and says no more than that."""


class BadEvent(Exception):
    """Verified, but not readable as this platform's format. Recorded and acknowledged; a live call must not suffer."""


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request as it came. `headers` has lower-case names; `url` is the public one, from settings, with query."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    query: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"<Incoming {self.method} {len(self.body)} bytes>"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What we send back."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"

    def __repr__(self) -> str:
        return f"<Answer {self.status} {len(self.body)} bytes>"


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """What the lookup found, as a platform's answer needs it.

    variables  flat strings for prompt templates; every variable the tenant's agents declare is present, neutral if unknown.
    fallback   the tenant's stored reply for this endpoint (platform's own shape, e.g. {"assistantId": …}), merged under ours.
    spoken     one line an agent can say or reason with ("Jean Dupont, gold customer, 1 open deal"); never a line break.
    """

    lookup_id: str
    known: bool
    variables: Mapping[str, str]
    fallback: Mapping[str, Any] = {}
    spoken: str = ""
    data: Mapping[str, Any] = {}  # structured, for platforms whose tools take JSON

    def __repr__(self) -> str:
        return f"<Caller {self.lookup_id}>"


class ToolResult(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one tool call. Exactly one of `text` and `error` is set; both are single lines."""

    id: str
    text: str | None = None
    error: str | None = None
    data: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        return f"<ToolResult {self.id}>"


class Platform(Protocol):
    """One voice platform.

    settings  keys of the endpoint's own settings that `verify` reads (names of headers, algorithms), with their defaults.
    secret_is_theirs  True when requests are signed with the tenant's own key of the platform, which the tenant gives us;
                      False when the secret is made here and pasted there.
    """

    slug: str
    name: str
    settings: Mapping[str, str]
    secret_is_theirs: bool

    def verify(self, request: Incoming, *, secret: str, settings: Mapping[str, str], now: datetime) -> Assurance:
        """How this request is proven. Raises `BadSignature`. Constant-time compares; raw bytes, never re-serialised JSON."""

    def parse(self, request: Incoming) -> Event:
        """Read the event. Lenient: missing parts are None, unknown types are `Ignored`. Raises `BadEvent` for no JSON at all."""

    def answer_lookup(self, event: Event, caller: Caller) -> Answer:
        """The reply to a `LookupAsked`, known or not, in the platform's shape; status 200."""

    def answer_tools(self, event: Event, results: tuple[ToolResult, ...]) -> Answer:
        """The reply to `ToolsCalled`: every id answered; status 200."""

    def acknowledge(self, event: Event) -> Answer:
        """The reply to everything else."""

    def steps(self, *, url: str, secret: str) -> tuple[str, ...]:
        """What to paste where at the platform, one step a line, with this endpoint's own values filled in."""
