"""What all events together say about one call. Pure.

Events come in any order, more than once, and each with a part of the story. So merging is a join: for every field there
is one order among the values that events give it, and the greatest stands. Any order of the same events, repeats too,
comes to the same result, and a later, poorer event takes nothing away.

Which value of a field is the greatest:
1. any value is greater than none (None, "", and empty lists and objects say nothing);
2. what a final event says (the one with the analysis) is greater than what the end of the call says, and that is
   greater than what was said while the call was running;
3. of two events of equal standing: the earlier start, the later end, the more telling outcome, the fuller text.
The tenant's own fields (`analysis.data`) are compared one by one. A duration is the end minus the start where both are
known, whatever the platform counted; a caller whose number any event names is not withheld.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import IntEnum
from typing import Any

import msgspec

from connectors import phone
from connectors.voice.events import Analysis, CallEvent, CallNews
from connectors.voice.reading import seconds_between


class Standing(IntEnum):
    """How much an event's word counts."""

    RUNNING = 0
    ENDED = 1
    FINAL = 2


class Merged(CallNews, frozen=True, kw_only=True):
    """One call as it is kept. Whoever only reads decodes the same JSON as `CallNews`.

    standings  by path ("summary", "analysis.data.budget"): the standing of the event that gave the value; RUNNING is left out.
    counted_s  the duration as the platform counted it.
    """

    standings: Mapping[str, int] = {}
    counted_s: float | None = None


def standing_of(event: CallEvent) -> Standing:
    return Standing.FINAL if event.final else Standing.ENDED if event.ended else Standing.RUNNING


def join(known: Merged | None, news: CallNews, standing: Standing) -> Merged:
    """`known` with what `news` adds; equal to `known` when it adds nothing."""
    if known is None:
        said = _said(news)
        return _whole(said, dict.fromkeys(sorted(said), int(standing)) if standing else {})
    values = _said(known)
    standings = dict(known.standings)
    for path, value in _said(news).items():
        if path in values:
            before = standings.get(path, Standing.RUNNING)
            if before > standing or (before == standing and _order(path, values[path]) >= _order(path, value)):
                continue
        values[path] = value
        standings[path] = int(standing)
    return _whole(values, {path: standings[path] for path in sorted(standings) if standings[path]})


def customer_of(news: CallNews, *, region: str | None) -> str | None:
    """E.164 of the person on the line: as the platform named them, else by direction. None if withheld or unreadable.

    On the web nobody has a number: whatever a page says about its visitor was typed by the visitor.
    """
    if news.withheld or news.direction == "web":
        return None
    raw = _customer_number(news)
    number = phone.read(raw, region)  # nobody's, if withheld
    return None if number is None else phone.e164(number)


def without_transcript(news: Merged) -> Merged:
    return msgspec.structs.replace(news, transcript=(), transcript_text=None)


def without_people(news: Merged) -> Merged:
    """What may be counted later: direction, times, outcome, cost."""
    kept = ("direction", "started_at", "ended_at", "duration_s", "counted_s", "end_reason", "outcome", "withheld")
    values = {name: getattr(news, name) for name in (*kept, "cost", "cost_currency")}
    return Merged(**values, standings={path: news.standings[path] for path in kept if path in news.standings})


_APART = frozenset({"analysis", "cost", "cost_currency", "duration_s", "standings", "counted_s"})
_FIELDS = tuple(name for name in CallNews.__struct_fields__ if name not in _APART)
_FIELD_PATHS = frozenset(_FIELDS)
_ANALYSIS = tuple(name for name in Analysis.__struct_fields__ if name != "data")
_DATA = "analysis.data."

_OUTCOMES = ("completed", "failed", "cancelled", "no_answer", "busy", "voicemail")  # the last tells most
_DIRECTIONS = ("web", "inbound", "outbound")


def _fuller(value: Any) -> tuple[int, bytes]:
    written = msgspec.json.encode(value, order="deterministic")
    return len(written), written


def _place_in(words: tuple[str, ...]) -> Callable[[Any], Any]:
    def place(word: str) -> tuple[int, str]:
        return (words.index(word) if word in words else -1, word)

    return place


def _earlier(at: datetime) -> float:
    return -at.timestamp()


def _later(at: datetime) -> float:
    return at.timestamp()


_ORDERS: Mapping[str, Callable[[Any], Any]] = {
    "started_at": _earlier,
    "ended_at": _later,
    "outcome": _place_in(_OUTCOMES),
    "direction": _place_in(_DIRECTIONS),
    "counted_s": float,
}


def _order(path: str, value: Any) -> Any:
    order: Callable[[Any], Any] = _ORDERS.get(path, _fuller)
    return order(value)


def _said(news: CallNews) -> dict[str, Any]:
    """What `news` says, by path."""
    said = {name: value for name in _FIELDS if (value := getattr(news, name)) not in (None, "", ())}
    counted = news.counted_s if isinstance(news, Merged) else news.duration_s
    if counted is not None:
        said["counted_s"] = counted
    if news.cost is not None:
        said["cost"] = (news.cost, news.cost_currency)
    if news.analysis is not None:
        for name in _ANALYSIS:
            if (value := getattr(news.analysis, name)) not in (None, "", ()):
                said[f"analysis.{name}"] = value
        for name, value in news.analysis.data.items():
            if value not in (None, "", [], {}):
                said[_DATA + name] = value
    return said


def _whole(values: Mapping[str, Any], standings: Mapping[str, int]) -> Merged:
    fields = {path: value for path, value in values.items() if path in _FIELD_PATHS}
    judged = {name: values[path] for name in _ANALYSIS if (path := f"analysis.{name}") in values}
    data = {path.removeprefix(_DATA): values[path] for path in sorted(values) if path.startswith(_DATA)}
    cost, currency = values.get("cost", (None, None))
    counted = values.get("counted_s")
    measured = seconds_between(values.get("started_at"), values.get("ended_at"))
    merged = Merged(
        **fields,
        analysis=Analysis(**judged, data=data) if judged or data else None,
        cost=cost,
        cost_currency=currency,
        duration_s=counted if measured is None else measured,
        counted_s=counted,
        standings=standings,
    )
    if merged.withheld and _customer_number(merged) is not None:
        return msgspec.structs.replace(merged, withheld=False)
    return merged


def _customer_number(news: CallNews) -> str | None:
    return news.customer_number or (news.to_number if news.direction == "outbound" else news.from_number)
