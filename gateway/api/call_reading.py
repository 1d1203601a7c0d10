"""A call as `POST /v1/calls` brings it: read in one step where it is as it should be, and made into an event. Pure.

`SaidCall` says the same as `call_shapes.NewCall`, which documents the contract and names every field that is wrong, at
six times the price. What `SaidCall` takes, `NewCall` takes, and both come to the same event; a test holds them to it.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from connectors import phone
from connectors.json_text import is_plain
from connectors.voice.events import Analysis, CallEvent, CallNews, Promise, Turn
from connectors.voice.reading import https_url
from gateway.api.call_shapes import NewCall

_Short = Annotated[str, Meta(max_length=200)]
_Words = Annotated[str, Meta(max_length=20_000)]
_Phone = Annotated[str, Meta(max_length=phone.LONGEST_TEXT)]
_Seconds = Annotated[float, Meta(ge=0)]
_Time = Annotated[datetime, Meta(tz=True)]


class _Said(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is null or empty says nothing, and is left out of what tells one event from another."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class SaidTurn(_Said, frozen=True, kw_only=True):
    role: Literal["caller", "agent", "tool"]
    text: _Words
    at_s: _Seconds | None = None


class SaidPromise(_Said, frozen=True, kw_only=True):
    what: _Words
    due: _Short | None = None


class SaidAnalysis(_Said, frozen=True, kw_only=True):
    type: _Short | None = None
    sentiment: _Short | None = None
    intents: Annotated[tuple[_Short, ...], Meta(max_length=100)] = ()
    products: Annotated[tuple[_Short, ...], Meta(max_length=100)] = ()
    questions: Annotated[tuple[_Words, ...], Meta(max_length=100)] = ()
    promises: Annotated[tuple[SaidPromise, ...], Meta(max_length=100)] = ()
    score: float | None = None
    success: bool | None = None
    data: dict[str, Any] = {}


class SaidCall(_Said, frozen=True, kw_only=True):
    """`from_`, `to`: None is a withheld number, UNSET says nothing. Times are UTC."""

    call_id: Annotated[str, Meta(pattern=r"^[!-~]{1,200}\Z")]
    direction: Literal["inbound", "outbound", "web"]
    from_: _Phone | UnsetType | None = msgspec.field(name="from", default=UNSET)
    to: _Phone | UnsetType | None = UNSET
    started_at: _Time | None = None
    ended_at: _Time | None = None
    duration_s: _Seconds | None = None
    end_reason: _Short | None = None
    outcome: Literal["completed", "no_answer", "busy", "failed", "voicemail", "cancelled"] | None = None
    transferred_to: _Phone | None = None
    summary: _Words | None = None
    transcript: Annotated[tuple[SaidTurn, ...], Meta(max_length=10_000)] = ()
    recording_url: Annotated[str, Meta(max_length=2048)] | None = None
    lookup_id: Annotated[str, Meta(pattern=r"^lk_[0-9A-Za-z_-]{1,36}\Z")] | None = None
    complete: bool = False
    analysis: SaidAnalysis | None = None


_DECODER = msgspec.json.Decoder(SaidCall)


def read_at_once(body: bytes) -> SaidCall | None:
    """The call in `body`; None when something about it needs a second look: then `NewCall` says what, or takes it."""
    if not is_plain(body):
        return None
    try:
        call = _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if call.direction != "web" and call.from_ is UNSET and call.to is UNSET:
        return None
    if call.recording_url is not None and https_url(call.recording_url) is None:
        return None
    return _in_utc(call)


def said_in(call: NewCall) -> SaidCall:
    """The same call, read the long way."""
    return msgspec.convert(call.model_dump(by_alias=True, exclude_unset=True), SaidCall)


def _in_utc(call: SaidCall) -> SaidCall:
    changed = {
        name: at.astimezone(UTC)
        for name, at in (("started_at", call.started_at), ("ended_at", call.ended_at))
        if at is not None and at.tzinfo is not UTC
    }
    return msgspec.structs.replace(call, **changed) if changed else call


def event_of(call: SaidCall) -> CallEvent:
    """The event that `call` tells of. Equal calls are one event, however their JSON is written."""
    written = msgspec.json.encode(call, order="deterministic")
    return CallEvent(
        name="call",
        dedupe=hashlib.sha256(written).hexdigest(),
        call_id=call.call_id,
        news=_news(call),
        ended=True,
        final=call.complete,
    )


def _news(call: SaidCall) -> CallNews:
    caller = None if call.direction == "web" else call.from_ if call.direction == "inbound" else call.to
    hidden = None if call.direction == "web" or caller is UNSET else phone.withheld(caller)
    return CallNews(
        direction=call.direction,
        from_number=None if hidden and call.direction == "inbound" else call.from_ or None,
        to_number=None if hidden and call.direction == "outbound" else call.to or None,
        withheld=hidden,
        started_at=call.started_at,
        ended_at=call.ended_at,
        duration_s=call.duration_s,
        end_reason=call.end_reason,
        outcome=call.outcome,
        transferred_to=call.transferred_to,
        summary=call.summary,
        transcript=tuple(
            [Turn(role=turn.role, text=turn.text, at_s=turn.at_s) for turn in call.transcript if turn.text]
        ),
        recording_url=call.recording_url,
        lookup_id=call.lookup_id,
        analysis=_analysis(call.analysis) if call.analysis is not None else None,
    )


def _analysis(given: SaidAnalysis) -> Analysis:
    return Analysis(
        type=_word(given.type),
        sentiment=_word(given.sentiment),
        intents=tuple(word for text in given.intents if (word := _word(text))),
        products=tuple(text for text in given.products if text),
        questions=tuple(text for text in given.questions if text),
        promises=tuple(Promise(what=one.what, due=one.due) for one in given.promises if one.what),
        score=given.score,
        success=given.success,
        data=given.data,
    )


def _word(text: str | None) -> str | None:
    return (text or "").strip().lower() or None
