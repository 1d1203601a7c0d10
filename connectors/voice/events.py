"""What voice platforms tell us, in our own words. Partial by nature: everything may come later, or never.

`CallNews` is also the shape of `POST /v1/calls` (design.md §5), so the platforms' adapters and our own contract meet here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec


class Quiet(msgspec.Struct, frozen=True, kw_only=True):
    """Frozen, and silent about people in its repr."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Turn(Quiet, frozen=True, kw_only=True):
    """One thing said. `role`: caller | agent | tool. `at_s`: seconds since the call began."""

    role: str
    text: str
    at_s: float | None = None


class Promise(Quiet, frozen=True, kw_only=True):
    """Something the agent promised. `due` as the platform gave it: a date, a time, or prose for the rules to read."""

    what: str
    due: str | None = None


class Analysis(Quiet, frozen=True, kw_only=True):
    """What the platform made of the call. `None` and empty mean: not said. Words are the platform's, lower-cased.

    data  the tenant's own structured fields, under the tenant's own names, as they came (JSON values).
    """

    type: str | None = None
    sentiment: str | None = None
    intents: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    promises: tuple[Promise, ...] = ()
    score: float | None = None
    success: bool | None = None
    data: Mapping[str, Any] = {}


class CallNews(Quiet, frozen=True, kw_only=True):
    """What one event says about a call; `None` and empty say nothing and erase nothing.

    direction        inbound | outbound | web.
    from_number, to_number   raw, as the platform spelled them; who the customer is follows from `direction`.
    customer_number  raw; set where the platform names the customer itself, and wins over from/to.
    withheld         True when the caller hides the number: never looked up, never made a contact.
    end_reason       the platform's word. outcome: completed | no_answer | busy | failed | voicemail | cancelled.
    duration_s       seconds; end minus start wins when they disagree.
    cost             in `cost_currency` units ("USD"), or platform credits when the currency is None.
    lookup_id        ours, echoed back.
    """

    direction: str | None = None
    from_number: str | None = None
    to_number: str | None = None
    customer_number: str | None = None
    our_number: str | None = None
    withheld: bool | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_s: float | None = None
    end_reason: str | None = None
    outcome: str | None = None
    transferred_to: str | None = None
    summary: str | None = None
    transcript: tuple[Turn, ...] = ()
    transcript_text: str | None = None
    recording_url: str | None = None
    cost: float | None = None
    cost_currency: str | None = None
    lookup_id: str | None = None
    analysis: Analysis | None = None


class CallEvent(Quiet, frozen=True, kw_only=True, tag_field="is", tag="call_event"):
    """News of a call, to be stored once.

    name      the platform's own name of the event ("end-of-call-report").
    dedupe    the same for a repeat of the same event, different for any other of this call.
    call_id   the platform's id of the call. aliases: other ids that may stand for it (carrier's), as "carrier:CA…".
    final     True when no later event can add what this one lacks: the call may be planned at once.
    ended     True when the call is over (planning waits for `final` or the grace time).
    """

    name: str
    dedupe: str
    call_id: str
    news: CallNews
    aliases: tuple[str, ...] = ()
    ended: bool = False
    final: bool = False


class LookupAsked(Quiet, frozen=True, kw_only=True, tag_field="is", tag="lookup_asked"):
    """The platform waits for "who is calling?". Answered within the budget, in its own shape, always 200."""

    name: str
    number: str | None
    withheld: bool = False
    our_number: str | None = None
    call_id: str | None = None
    aliases: tuple[str, ...] = ()
    news: CallNews | None = None


class ToolCall(Quiet, frozen=True, kw_only=True):
    id: str
    name: str
    arguments: Mapping[str, Any] = {}


class ToolsCalled(Quiet, frozen=True, kw_only=True, tag_field="is", tag="tools_called"):
    """The agent called one or more tools; each id must be answered.

    caller  the number of the person on the line as the platform knows it, never as the model typed it.
    """

    name: str
    calls: tuple[ToolCall, ...]
    caller: str | None
    withheld: bool = False
    call_id: str | None = None
    our_number: str | None = None


class Ignored(Quiet, frozen=True, kw_only=True, tag_field="is", tag="ignored"):
    """An event we acknowledge and need not store (noise, audio, unknown types). `noisy`: do not even record it."""

    name: str
    call_id: str | None = None
    noisy: bool = False


Event = CallEvent | LookupAsked | ToolsCalled | Ignored
