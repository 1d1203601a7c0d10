"""Merging is a join: the order of events, and repeats, change nothing."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.voice.events import Analysis, CallNews, Promise, Turn
from gateway.calls.merge import Merged, Standing, customer_of, join, without_people, without_transcript

BEGAN = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)

_times = st.integers(0, 600).map(lambda s: BEGAN + timedelta(seconds=s))
_words = st.sampled_from(["", "a", "b", "longer", "the longest of them"])
_json = st.sampled_from([None, "", [], {}, 0, 1, 1.5, False, True, "x", "yes", [1], ["a", "b"], {"deep": 1}])


def _maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


_turns = st.lists(st.builds(Turn, role=st.sampled_from(["caller", "agent"]), text=_words), max_size=3).map(tuple)
_analysis = st.builds(
    Analysis,
    type=_maybe(_words),
    sentiment=_maybe(_words),
    intents=st.lists(_words, max_size=2).map(tuple),
    promises=st.lists(st.builds(Promise, what=_words, due=_maybe(_words)), max_size=2).map(tuple),
    score=_maybe(st.sampled_from([0.0, 1.0, 85.0])),
    success=_maybe(st.booleans()),
    data=st.dictionaries(st.sampled_from(["type", "a", "b.c", "data"]), _json, max_size=3),
)
_news = st.builds(
    CallNews,
    direction=_maybe(st.sampled_from(["inbound", "outbound", "web"])),
    from_number=_maybe(st.sampled_from(["+41446681800", "044 668 18 00"])),
    to_number=_maybe(st.just("+41435550100")),
    customer_number=_maybe(st.just("+41446681800")),
    withheld=_maybe(st.booleans()),
    started_at=_maybe(_times),
    ended_at=_maybe(_times),
    duration_s=_maybe(st.sampled_from([0.0, 18.8, 95.0])),
    end_reason=_maybe(_words),
    outcome=_maybe(st.sampled_from(["completed", "failed", "no_answer", "busy", "voicemail", "cancelled", "new word"])),
    summary=_maybe(_words),
    transcript=_turns,
    transcript_text=_maybe(_words),
    cost=_maybe(st.sampled_from([0.0, 0.1, 2.0])),
    cost_currency=_maybe(st.just("USD")),
    lookup_id=_maybe(st.sampled_from(["lk_1", "lk_2"])),
    analysis=_maybe(_analysis),
)
_events = st.lists(st.tuples(_news, st.sampled_from(Standing)), min_size=1, max_size=5)


def merged(*events: tuple[CallNews, Standing]) -> Merged:
    known: Merged | None = None
    for news, standing in events:
        known = join(known, news, standing)
    assert known is not None
    return known


@given(events=_events, data=st.data())
def test_any_order_of_the_same_events_is_the_same_call(
    events: list[tuple[CallNews, Standing]], data: st.DataObject
) -> None:
    """Platforms promise no order; a call must not depend on whose packet was faster."""
    other = data.draw(st.permutations(events))
    assert merged(*events) == merged(*other)


@given(events=_events, data=st.data())
def test_a_repeat_adds_nothing(events: list[tuple[CallNews, Standing]], data: st.DataObject) -> None:
    known = merged(*events)
    news, standing = data.draw(st.sampled_from(events))
    assert join(known, news, standing) == known


@given(events=_events)
def test_what_is_known_survives_an_empty_event(events: list[tuple[CallNews, Standing]]) -> None:
    """A later, poorer event must not erase the customer's words."""
    known = merged(*events)
    assert join(known, CallNews(), Standing.FINAL) == known


RUNNING, ENDED, FINAL = Standing


@pytest.mark.parametrize(
    ("field", "lesser", "greater"),
    [
        ("summary", (None, FINAL), ("short", RUNNING)),
        ("summary", ("", FINAL), ("short", RUNNING)),
        ("summary", ("a running text, and long", RUNNING), ("final", FINAL)),
        ("summary", ("of the end", ENDED), ("final", FINAL)),
        ("summary", ("short", ENDED), ("longer text", ENDED)),
        ("transcript", ((Turn(role="agent", text="x" * 99),), RUNNING), ((Turn(role="agent", text="Hi"),), ENDED)),
        (
            "transcript",
            ((Turn(role="agent", text="Hi"),), ENDED),
            ((Turn(role="agent", text="Hi"), Turn(role="caller", text="Hello")), ENDED),
        ),
        ("started_at", (BEGAN + timedelta(seconds=3), RUNNING), (BEGAN, RUNNING)),
        ("started_at", (BEGAN, RUNNING), (BEGAN + timedelta(seconds=3), FINAL)),
        ("ended_at", (BEGAN, ENDED), (BEGAN + timedelta(seconds=3), ENDED)),
        ("outcome", ("completed", ENDED), ("voicemail", FINAL)),
        ("outcome", ("completed", ENDED), ("no_answer", ENDED)),
        ("outcome", ("failed", ENDED), ("busy", ENDED)),
        ("withheld", (True, RUNNING), (False, RUNNING)),
    ],
)
def test_the_greater_value_stands(field: str, lesser: tuple[Any, Standing], greater: tuple[Any, Standing]) -> None:
    events = [(CallNews(**{field: value}), standing) for value, standing in (lesser, greater)]
    assert getattr(merged(*events), field) == greater[0]
    assert getattr(merged(*reversed(events)), field) == greater[0]


def test_the_end_minus_the_start_wins_over_what_was_counted() -> None:
    counted = CallNews(duration_s=18.8)
    assert merged((counted, FINAL)).duration_s == 18.8
    timed = CallNews(started_at=BEGAN, ended_at=BEGAN + timedelta(seconds=95))
    assert merged((counted, FINAL), (timed, RUNNING)).duration_s == 95


def test_the_tenants_own_fields_are_merged_one_by_one() -> None:
    first = CallNews(analysis=Analysis(type="complaint", data={"budget": 100, "city": "Basel"}))
    second = CallNews(analysis=Analysis(data={"budget": 250, "rooms": 3}))
    analysis = merged((second, FINAL), (first, ENDED)).analysis
    assert analysis == Analysis(type="complaint", data={"budget": 250, "city": "Basel", "rooms": 3})


def test_a_number_that_any_event_names_is_not_withheld() -> None:
    """An event without the customer reads like one whose customer hides the number."""
    named = CallNews(direction="inbound", from_number="+41446681800", withheld=False)
    call = merged((named, RUNNING), (CallNews(direction="inbound", withheld=True), FINAL))
    assert call.withheld is False
    assert customer_of(call, region="CH") == "+41446681800"


@pytest.mark.parametrize(
    ("news", "customer"),
    [
        (CallNews(direction="inbound", from_number="044 668 18 00", to_number="+41435550100"), "+41446681800"),
        (CallNews(direction="outbound", from_number="+41435550100", to_number="+41446681800"), "+41446681800"),
        (CallNews(direction="inbound", customer_number="+41446681800", from_number="+41435550100"), "+41446681800"),
        (CallNews(direction="inbound", from_number="anonymous"), None),
        (CallNews(direction="inbound", from_number="+41446681800", withheld=True), None),
        (CallNews(direction="web", customer_number="+41446681800"), None),
        (CallNews(direction="inbound", from_number="not a number"), None),
        (CallNews(), None),
    ],
)
def test_who_the_customer_is_follows_from_the_direction(news: CallNews, customer: str | None) -> None:
    assert customer_of(news, region="CH") == customer


def test_forgetting_leaves_what_may_be_counted() -> None:
    call = merged(
        (
            CallNews(
                direction="inbound", from_number="+41446681800", started_at=BEGAN, ended_at=BEGAN, outcome="completed",
                summary="said", transcript=(Turn(role="caller", text="said"),), transcript_text="said",
                analysis=Analysis(type="complaint", data={"name": "said"}), cost=0.1, cost_currency="USD",
            ),
            FINAL,
        )
    )  # fmt: skip
    shorter = without_transcript(call)
    assert (shorter.transcript, shorter.transcript_text, shorter.summary) == ((), None, "said")
    nobody = without_people(call)
    assert (nobody.direction, nobody.started_at, nobody.outcome, nobody.cost) == ("inbound", BEGAN, "completed", 0.1)
    assert (nobody.from_number, nobody.summary, nobody.analysis) == (None, None, None)
    assert join(nobody, CallNews(), RUNNING) == nobody
