"""`POST /v1/calls` is read in two ways, and both say the same."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors.json_text import BadJson, parse_json
from gateway.api.call_reading import event_of, read_at_once, said_in
from gateway.api.call_shapes import _EXAMPLE, NewCall

LEAST = {"call_id": "c-1", "direction": "inbound", "from": "+41446681800"}

texts = st.text(max_size=30) | st.sampled_from(["", "\x00", "\ud800", "anonymous", "+41446681800", "x" * 201])
numbers = st.integers(-(10**20), 10**20) | st.floats() | st.sampled_from([0, -1, 85, 85.0, True])
times = st.datetimes(timezones=st.timezones()).map(lambda at: at.isoformat()) | st.sampled_from(
    ["2026-11-21T09:30:00Z", "2026-11-21 09:30:00+02:00", "2026-11-21T09:30:00", "1700000000", "2026-11-21", "9:30"]
)
anything = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
fields: dict[str, st.SearchStrategy[Any]] = {
    "direction": st.sampled_from(["inbound", "outbound", "web", "upside down"]),
    "from": texts | st.none(),
    "to": texts | st.none(),
    "started_at": times,
    "ended_at": times | st.none(),
    "duration_s": numbers,
    "outcome": st.sampled_from(["completed", "no_answer", "", None]),
    "summary": texts,
    "transcript": st.lists(
        st.fixed_dictionaries({"role": st.sampled_from(["caller", "agent", "tool", "?"]), "text": texts})
        | st.fixed_dictionaries({"role": st.just("agent"), "text": texts, "at_s": numbers}),
        max_size=3,
    ),
    "recording_url": st.sampled_from(
        ["https://a.example/r.mp3", "http://a.example/r.mp3", "https://", "nowhere", None]
    ),
    "lookup_id": st.sampled_from(["lk_01kax6zv3c9f4m2t8q5r7w1y0d", "lk_", "lk_a\n", None]),
    "complete": st.sampled_from([True, False, None, 1, "true"]),
    "analysis": st.fixed_dictionaries(
        {},
        optional={
            "type": texts,
            "intents": st.lists(texts, max_size=3),
            "promises": st.lists(
                st.fixed_dictionaries({"what": texts}, optional={"due": texts | st.none()}), max_size=2
            ),
            "score": numbers,
            "success": st.sampled_from([True, False, None, 0]),
            "data": st.dictionaries(texts, anything, max_size=3) | anything,
        },
    ),
}


def the_long_way(body: bytes) -> Any:
    return said_in(NewCall.model_validate(parse_json(body)))


def agree(body: bytes) -> bool:
    """Whether the quick way took it; then the long way must have taken it too, for the same event."""
    quick = read_at_once(body)
    if quick is None:
        return False
    assert event_of(quick) == event_of(the_long_way(body))
    return True


@given(st.fixed_dictionaries({"call_id": st.just("c-1")}, optional=fields), st.booleans())
@settings(max_examples=400)
def test_what_is_read_at_once_is_what_the_contract_says(call: dict[str, Any], ascii: bool) -> None:
    agree(json.dumps({**LEAST, **call}, ensure_ascii=ascii).encode("utf-8", "surrogatepass"))


@given(st.dictionaries(texts, anything, max_size=4))
def test_unknown_fields_are_never_taken(more: dict[str, Any]) -> None:
    agree(json.dumps({**more, **LEAST}).encode())


@pytest.mark.parametrize("call", [LEAST, _EXAMPLE], ids=["the least", "the documented example"])
def test_calls_as_they_should_be_are_read_at_once(call: dict[str, Any]) -> None:
    assert agree(json.dumps(call).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"from": None},
        {"started_at": "2026-11-21T11:30:00+02:00"},
        {"data": {}},
        {"call_id": "c-1\n"},
        {"call_id": "with space"},
        {"lookup_id": "lk_x\n"},
        {"direction": "web"},
        {"recording_url": "http://not-safe.example/"},
        {"from_": "+41446681800"},
        {"analysis": {"score": 85}},
        {"transcript": [{"role": "caller", "text": "x" * 20_001}]},
    ],
)
def test_edges_are_the_same_both_ways(change: dict[str, Any]) -> None:
    body = json.dumps({**LEAST, **change}).encode()
    try:
        long: Any = the_long_way(body)
    except (ValidationError, BadJson):
        assert read_at_once(body) is None
    else:
        assert event_of(read_at_once(body) or long) == event_of(long)


def test_equal_calls_are_one_event_however_they_are_written() -> None:
    one = b'{"call_id":"c-1","direction":"inbound","from":"+41446681800","started_at":"2026-11-21T09:30:00Z"}'
    same = (
        b'{ "direction": "inbound", "started_at": "2026-11-21T11:30:00+02:00", "complete": false, "summary": null,'
        b' "from": "\\u002b41446681800", "call_id": "c-1" }'
    )
    other = one.replace(b"c-1", b"c-2")
    first = read_at_once(one)
    assert first is not None
    assert event_of(first).dedupe == event_of(the_long_way(same)).dedupe
    assert event_of(first).dedupe != event_of(the_long_way(other)).dedupe


def test_a_withheld_number_is_not_one_that_nobody_named() -> None:
    withheld = read_at_once(b'{"call_id":"c-1","direction":"inbound","from":null,"to":"+41435550100"}')
    unnamed = read_at_once(b'{"call_id":"c-1","direction":"inbound","to":"+41435550100"}')
    assert withheld is not None
    assert unnamed is not None
    assert (event_of(withheld).news.withheld, event_of(unnamed).news.withheld) == (True, None)
