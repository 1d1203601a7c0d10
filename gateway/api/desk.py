"""What becomes of one request of a voice platform: who is calling, a tool, news of a call, or noise.

While a caller waits for the answer nothing may go wrong in front of them: whatever breaks behind a lookup, the platform
gets the tenant's stored reply with neutral values and 200. News of a call is the other way round: 2xx means it is
stored, and when it cannot be the platform is told so and sends it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import msgspec
from prometheus_client import Counter
from sqlalchemy.exc import SQLAlchemyError

from connectors.voice.events import CallEvent, CallNews, Event, Ignored, LookupAsked, ToolsCalled
from connectors.voice.port import Answer, Assurance, BadEvent, Caller, Incoming, ToolResult
from connectors.voice.reading import label
from gateway.calls.endpoints import Endpoints, Known
from gateway.calls.intake import Intake
from gateway.db.base import new_id
from gateway.db.engine import Database, utc_now
from gateway.errors import Unavailable
from gateway.logs import log
from gateway.lookup.answer import NEUTRAL
from gateway.lookup.find import Finder
from gateway.settings import Settings
from gateway.tenants.keys import Keyring

REQUESTS = Counter(
    "gateway_voice_requests", "Requests of voice platforms, by what became of them.", ["platform", "became"]
)

LOOKUP_TOOLS = frozenset(
    {
        "lookup",
        "lookup_customer",
        "lookup_caller",
        "lookup_contact",
        "find_customer",
        "find_caller",
        "find_contact",
        "get_customer",
        "who_is_calling",
        "",  # a platform could not say which: looking up harms nobody, and it is the tool that everybody has
    }
)
STORING = timedelta(seconds=8)  # platforms wait 10 s, then send again
NOTING = timedelta(seconds=1)  # for what nobody needs stored: the platform waits for our acknowledgement
_MOST_BEHIND = 1000

NOT_AVAILABLE = "This tool is not available."
NO_NUMBER = "The caller's number is not known here."


class Rooms(Protocol):
    """What of `gateway.parts.Parts` this needs."""

    @property
    def settings(self) -> Settings: ...
    @property
    def db(self) -> Database: ...
    @property
    def keyring(self) -> Keyring: ...
    @property
    def finder(self) -> Finder: ...
    @property
    def intake(self) -> Intake: ...


@dataclass(frozen=True)
class Reply:
    """The answer in the platform's shape, and what became of the request. `call_id` is our own."""

    answer: Answer
    event: str
    became: str
    assurance: Assurance
    call_id: str | None = None


class Desk:
    """Answers voice platforms for every tenant. One per process; `close()` it."""

    def __init__(self, parts: Rooms) -> None:
        self._settings = parts.settings
        self._finder = parts.finder
        self._intake = parts.intake
        self._endpoints = Endpoints(parts.db, parts.keyring)
        self._behind: set[asyncio.Task[None]] = set()

    async def endpoint(self, platform: str, key: str) -> Known | None:
        """Who is asked at this address. Raises `Unavailable` when nobody can say."""
        return await self._endpoints.find(platform, key)

    async def answer(self, endpoint: Known, request: Incoming, *, trial: bool = False) -> Reply:
        """Answer one request. Raises `BadSignature` (nothing is stored then), and `Unavailable` for news that cannot be kept.

        trial  a test of ours: taken like any other, and never planned.
        """
        assurance = endpoint.verify(request, now=utc_now())
        event = _read(endpoint, request)
        match event:
            case LookupAsked():
                reply = await self._look_up(endpoint, request, event, assurance)
            case ToolsCalled():
                reply = await self._use_tools(endpoint, request, event, assurance)
            case CallEvent():
                reply = await self._take(endpoint, request, event, assurance, trial=trial)
            case Ignored():
                reply = await self._ignore(endpoint, request, event, assurance)
        REQUESTS.labels(endpoint.platform.slug, reply.became).inc()
        return reply

    async def _look_up(self, endpoint: Known, request: Incoming, event: LookupAsked, assurance: Assurance) -> Reply:
        caller = await self._caller(endpoint, None if event.withheld else event.number, assurance)
        answer = endpoint.platform.answer_lookup(event, caller)
        self._later(self._note_lookup(endpoint, request, event, caller.lookup_id))
        return Reply(answer, event.name, "lookup", assurance)

    async def _use_tools(self, endpoint: Known, request: Incoming, event: ToolsCalled, assurance: Assurance) -> Reply:
        """Lookups are answered with the number of the call; what the model typed as a number is not read at all."""
        wanted = [call for call in event.calls if call.name.strip().lower() in LOOKUP_TOOLS]
        caller: Caller | None = None
        if wanted and (event.caller is not None or event.withheld):
            caller = await self._caller(endpoint, None if event.withheld else event.caller, assurance)
        results = []
        for call in event.calls:
            if call not in wanted:
                log.info("voice tool not available", tool=label(call.name), endpoint=endpoint.id)
                results.append(ToolResult(id=call.id, error=NOT_AVAILABLE))
            elif caller is None:
                results.append(ToolResult(id=call.id, text=NO_NUMBER, data=dict(NEUTRAL)))
            else:
                results.append(ToolResult(id=call.id, text=caller.spoken, data=dict(caller.variables)))
        self._later(self._note(endpoint, event.name, _fingerprint(request), "tools", request.body))
        return Reply(endpoint.platform.answer_tools(event, tuple(results)), event.name, "tools", assurance)

    async def _take(
        self, endpoint: Known, request: Incoming, event: CallEvent, assurance: Assurance, *, trial: bool
    ) -> Reply:
        try:
            async with asyncio.timeout(STORING.total_seconds()):
                taken = await self._intake.take(endpoint.tenant_id, endpoint.id, event, raw=request.body, trial=trial)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            log.error("call event could not be stored", error=type(error).__name__, event_name=event.name)
            raise Unavailable from None
        answer = endpoint.platform.acknowledge(event)
        return Reply(answer, event.name, taken.became, assurance, taken.call_id)

    async def _ignore(self, endpoint: Known, request: Incoming, event: Ignored, assurance: Assurance) -> Reply:
        became = "unreadable" if event is UNREADABLE else "ignored"
        if not event.noisy:
            raw = request.body if became == "ignored" else None
            await self._note(endpoint, event.name, _fingerprint(request), became, raw)
        return Reply(endpoint.platform.acknowledge(event), event.name, became, assurance)

    async def _caller(self, endpoint: Known, number: str | None, assurance: Assurance) -> Caller:
        """Who calls, within the budget; nobody we know when anything breaks. No number: withheld."""
        budget = self._settings.lookup_budget
        try:
            async with asyncio.timeout((budget * 2).total_seconds()):
                found = await self._finder.find(
                    endpoint.tenant_id,
                    number or "",
                    region=endpoint.region,
                    asked_by=endpoint.id,
                    assurance=assurance.value,
                    budget=budget,
                )
        except Exception as error:  # somebody is on the line
            log.error("lookup broke", exc_info=error)
            return Caller(lookup_id=new_id("lk"), known=False, variables=dict(NEUTRAL), fallback=endpoint.fallback)
        return Caller(
            lookup_id=found.lookup_id,
            known=found.status == "known",
            variables=found.variables,
            fallback=endpoint.fallback,
            spoken=found.spoken,
        )

    async def _note_lookup(self, endpoint: Known, request: Incoming, event: LookupAsked, lookup_id: str) -> None:
        """A lookup with the platform's call id is the first news of that call; without one it is only written down."""
        if event.call_id is None:
            await self._note(endpoint, event.name, lookup_id, "lookup", request.body)
            return
        news = msgspec.structs.replace(event.news or CallNews(), lookup_id=lookup_id)
        first = CallEvent(
            name=event.name,
            dedupe=f"{event.call_id}:{event.name}",
            call_id=event.call_id,
            news=news,
            aliases=event.aliases,
        )
        try:
            await self._intake.take(endpoint.tenant_id, endpoint.id, first, raw=request.body, became="lookup")
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            log.warning("lookup could not be written down", error=type(error).__name__)

    async def _note(self, endpoint: Known, name: str, dedupe: str, became: str, raw: bytes | None) -> None:
        try:
            async with asyncio.timeout(NOTING.total_seconds()):
                await self._intake.note(
                    endpoint.tenant_id, endpoint.id, name=name, dedupe=dedupe, became=became, raw=raw
                )
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            log.warning("voice request could not be written down", became=became, error=type(error).__name__)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        """Behind the answer, since a caller waits for it."""
        if len(self._behind) >= _MOST_BEHIND:
            work.close()
            log.warning("voice request not written down: too many at once")
            return
        task = asyncio.create_task(work)
        self._behind.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._behind.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("writing down a voice request broke", exc_info=error)

    async def settle(self) -> None:
        """Wait for what is being written behind the answers."""
        while self._behind:
            await asyncio.gather(*self._behind, return_exceptions=True)


@contextlib.asynccontextmanager
async def opened(parts: Rooms) -> AsyncIterator[Desk]:
    desk = Desk(parts)
    try:
        yield desk
    finally:
        await desk.settle()


UNREADABLE = Ignored(name="unreadable")


def _read(endpoint: Known, request: Incoming) -> Event:
    """The event; `UNREADABLE` for what is none, also if that is our own fault: it is verified, and a call may hang on it."""
    try:
        return endpoint.platform.parse(request)
    except BadEvent:
        return UNREADABLE
    except Exception as error:
        log.error("voice event broke its reader", platform=endpoint.platform.slug, exc_info=error)
        return UNREADABLE


def _fingerprint(request: Incoming) -> str:
    """The same for a repeat: what platforms give no key for."""
    return hashlib.sha256(request.url.encode(errors="surrogatepass") + b"\0" + request.body).hexdigest()
