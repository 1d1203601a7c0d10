"""Retell's events and replies. The samples are read in place from ../shared/payloads/retell."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.voice.events import CallEvent, CallNews, Event, Ignored, LookupAsked, ToolsCalled, Turn
from connectors.voice.port import Answer, Assurance, BadEvent, BadSignature, Caller, ToolResult
from connectors.voice.retell import Retell, function_secret
from tests.connectors.voice.requests import NOW, request, sample, vectors, verdict
from tests.shared import FOLDER

RETELL = Retell()
KEY = "key_of_a_tenant"
CALL = "call_7f1d2c3b4a5968778695a4b3c2d"
MAYA, DESK = "+14155550142", "+14155550100"
CARRIER = ("carrier:CA00000000000000000000000000000002",)
TALKED = {
    "started_at": datetime(2026, 3, 2, 17, 4, 13, 300000, tzinfo=UTC),
    "ended_at": datetime(2026, 3, 2, 17, 4, 32, 100000, tzinfo=UTC),
    "duration_s": 18.8,
    "end_reason": "user_hangup",
    "outcome": "completed",
    "recording_url": "https://recordings.example.invalid/r.wav",
    "cost": 0.0392,
    "cost_currency": "USD",
    "lookup_id": "lk_01",
    "transferred_to": None,
}
INBOUND = {"direction": "inbound", "from_number": MAYA, "to_number": DESK, "customer_number": MAYA, "our_number": DESK}
SUMMARY = "Maya Ortiz moved her Tuesday cleaning to Thursday at 10."

# file → (class, fields of the event, fields of its news)
SAMPLES: dict[str, tuple[type[Event], dict[str, Any], dict[str, Any]]] = {
    "call_inbound.json": (
        LookupAsked,
        {"number": "+12137771234", "our_number": "+12137771235", "call_id": None, "withheld": False},
        {},
    ),
    "custom_function.json": (ToolsCalled, {"caller": MAYA, "our_number": DESK, "call_id": CALL, "withheld": False}, {}),
    "custom_function.args_at_root.json": (ToolsCalled, {"caller": None, "call_id": None}, {}),
    "call_started.json": (
        CallEvent,
        {"call_id": CALL, "dedupe": f"{CALL}:call_started", "ended": False, "final": False, "aliases": CARRIER},
        {**INBOUND, "started_at": TALKED["started_at"], "outcome": None, "lookup_id": "lk_01", "withheld": False},
    ),
    "call_ended.json": (
        CallEvent,
        {"dedupe": f"{CALL}:call_ended", "ended": True, "final": False, "aliases": CARRIER},
        {**TALKED, **INBOUND, "summary": None},
    ),
    "call_analyzed.json": (
        CallEvent,
        {"dedupe": f"{CALL}:call_analyzed", "ended": True, "final": True, "aliases": CARRIER},
        {**TALKED, **INBOUND, "summary": SUMMARY},
    ),
    "call_analyzed.web.json": (
        CallEvent,
        {"call_id": "call_web0000000000000000000001", "final": True, "aliases": ()},
        {
            **TALKED,
            "direction": "web",
            "customer_number": None,
            "our_number": None,
            "withheld": None,
            "summary": SUMMARY,
        },
    ),
    "call_ended.outbound-busy.json": (
        CallEvent,
        {"call_id": "call_out000000000000000000000001", "ended": True, "final": False},
        {
            "direction": "outbound",
            "customer_number": MAYA,
            "our_number": DESK,
            "started_at": None,
            "duration_s": 0.0,
            "end_reason": "dial_busy",
            "outcome": "busy",
            "cost": 0.0,
            "transcript": (),
            "transcript_text": None,
        },
    ),
    "transfer_started.json": (
        CallEvent,
        {"call_id": "Jabr9TXYYJHfvl6Syypi88rdAHYHmcq6", "ended": False, "final": False},
        {"transferred_to": None, "direction": None, "withheld": None},
    ),
}


def parse(body: dict[str, Any], **query: str) -> Event:
    return RETELL.parse(request(body, query=query))


def news(event: str = "call_analyzed", **call: Any) -> CallNews:
    read = parse({"event": event, "call": {"call_id": "c-1", **call}})
    assert isinstance(read, CallEvent)
    return read.news


def body(answer: Answer) -> Any:
    assert answer.status == 200
    return json.loads(answer.body)


def official(does: str) -> Callable[..., Any]:
    """The SDK's "sign" or "verify". Loaded by who asks: it takes two seconds, of every process that collects tests."""
    from retell.lib import webhook_auth

    found: Callable[..., Any] = webhook_auth.symmetric[does]
    return found


def sign(raw: bytes, key: str = KEY, *, at: datetime = NOW) -> dict[str, str]:
    signature = official("sign")(raw.decode(), key, int(at.timestamp() * 1000))
    return {"X-Retell-Signature": signature}


def verify(
    raw: bytes, headers: dict[str, str], *, key: str = KEY, query: dict[str, str] | None = None, **settings: str
) -> Assurance:
    return RETELL.verify(request(raw, headers, query=query), secret=key, settings=settings, now=NOW)


@pytest.mark.parametrize("file", SAMPLES)
def test_each_sample_becomes(file: str) -> None:
    kind, fields, told = SAMPLES[file]
    event = RETELL.parse(request(sample(f"retell/{file}")))
    assert type(event) is kind
    for name, expected in fields.items():
        assert getattr(event, name) == expected, name
    for name, expected in told.items():
        assert getattr(getattr(event, "news"), name) == expected, name  # noqa: B009 - not every event has news


def test_no_sample_is_left_out() -> None:
    sample("retell/call_inbound.json")
    there = {path.name for path in (FOLDER / "payloads/retell").iterdir() if ".reply" not in path.name}
    assert there == set(SAMPLES)


def test_what_was_said_and_found() -> None:
    event = RETELL.parse(request(sample("retell/call_analyzed.json")))
    assert isinstance(event, CallEvent)
    turns, read = event.news.transcript, event.news.analysis
    assert [turn.role for turn in turns] == ["agent", "caller", "tool", "tool", "agent", "caller"]
    assert turns[1] == Turn(role="caller", text="I need to move my cleaning on Tuesday.", at_s=6.1)
    assert turns[2].text == 'lookup_customer({"phone":"+14155550142"})'
    assert event.news.transcript_text is not None
    assert read is not None
    assert (read.sentiment, read.success, read.intents) == ("positive", True, ("reschedule",))
    assert read.data["preferred_day"] == "Thursday"
    assert read.data["appointment_booked"] is True


@pytest.mark.parametrize("case", ["ok", "stale-6min", "future-6min", "body-reserialised", "uppercase-hex"])
def test_signed_requests(case: str) -> None:
    (vector,) = (vector for vector in vectors("retell") if vector["case"] == case)
    if vector["expect"] == "valid":
        assert verdict(RETELL, vector, {}) is Assurance.SIGNED
    else:
        with pytest.raises(BadSignature):
            verdict(RETELL, vector, {})


def test_every_vector_is_tried() -> None:
    cases = [vector["case"] for vector in vectors("retell")]
    assert cases == ["ok", "stale-6min", "future-6min", "body-reserialised", "uppercase-hex"]


@given(text=st.text(), key=st.text(min_size=1), off=st.integers(-290_000, 290_000))
def test_whatever_the_official_sdk_signs_is_accepted(text: str, key: str, off: int) -> None:
    raw = text.encode()
    if not raw:
        return
    at = NOW + timedelta(milliseconds=off)
    assert verify(raw, sign(raw, key, at=at), key=key) is Assurance.SIGNED
    with pytest.raises(BadSignature):
        verify(raw + b" ", sign(raw, key, at=at), key=key)


def test_the_official_verifier_agrees() -> None:
    """Both read one header alike, at the edges too: what Retell's own SDK refuses must not pass here."""
    raw, stamp = b'{"event":"call_ended"}', int(NOW.timestamp() * 1000)
    digest = sign(raw)["X-Retell-Signature"].partition("d=")[2]
    for header in (
        f"v={stamp},d={digest}",
        f"v={stamp},d={digest}\n",
        f"v={stamp},d={digest.upper()}",
        f"v={stamp}, d={digest}",
        f"v={stamp + 1},d={digest}",
        f"v=,d={digest}",
        f"d={digest}",
        f"v={stamp},d={digest[:-1]}",
        "",
        sign(raw, at=NOW + timedelta(minutes=5))["X-Retell-Signature"],
        sign(raw, at=NOW + timedelta(minutes=5, milliseconds=1))["X-Retell-Signature"],
        sign(raw, at=NOW - timedelta(minutes=5))["X-Retell-Signature"],
        sign(raw, at=NOW - timedelta(minutes=5, milliseconds=1))["X-Retell-Signature"],
    ):
        theirs = official("verify")(raw.decode(), KEY, header, {"timestamp": stamp})
        try:
            ours = verify(raw, {"X-Retell-Signature": header}) is Assurance.SIGNED
        except BadSignature:
            ours = False
        assert ours == theirs, header


def test_the_official_sdk_signs_for_this_very_moment() -> None:
    raw = b"{}"
    headers = {"X-Retell-Signature": official("sign")(raw.decode(), KEY)}
    now = datetime.fromtimestamp(time.time(), tz=UTC)
    assert RETELL.verify(request(raw, headers), secret=KEY, settings={}, now=now) is Assurance.SIGNED


def test_a_query_is_under_no_signature() -> None:
    """The tool's name in the query could be anyone's: such a request is no better than one with a secret."""
    assert verify(b"{}", sign(b"{}"), query={"tool": "lookup_customer"}) is Assurance.SECRET
    assert verify(b"", sign(b""), query={"phone": MAYA}) is Assurance.SECRET


def test_a_header_may_stand_in_for_a_missing_signature_only() -> None:
    good = {"X-Function-Secret": function_secret(KEY)}
    assert verify(b"{}", good, function_header="X-Function-Secret") is Assurance.SECRET
    refused: tuple[tuple[dict[str, str], dict[str, Any]], ...] = (
        (good, {}),
        ({"X-Function-Secret": KEY}, {"function_header": "X-Function-Secret"}),
        ({"X-Function-Secret": ""}, {"function_header": "X-Function-Secret"}),
        ({**good, "X-Retell-Signature": "v=1,d=0"}, {"function_header": "X-Function-Secret"}),
    )
    for headers, settings in refused:
        with pytest.raises(BadSignature):
            verify(b"{}", headers, **settings)


@pytest.mark.parametrize(
    ("reason", "ms", "voicemail", "outcome"),
    [
        ("user_hangup", 60_000, None, "completed"),
        ("agent_hangup", 60_000, True, "voicemail"),
        ("voicemail_reached", 9_000, None, "voicemail"),
        ("dial_busy", 0, None, "busy"),
        ("dial_no_answer", 0, None, "no_answer"),
        ("user_declined", 0, None, "no_answer"),
        ("error_user_not_joined", 0, None, "cancelled"),
        ("dial_failed", 0, None, "failed"),
        ("no_valid_payment", 0, None, "failed"),
        ("error_retell", 40_000, False, "completed"),
        ("error_retell", 0, False, "failed"),
        ("a_reason_of_next_year", 40_000, None, "completed"),
        (None, None, None, "failed"),
    ],
)
def test_how_a_call_came_out(reason: str | None, ms: int | None, voicemail: bool | None, outcome: str) -> None:
    told = news(disconnection_reason=reason, duration_ms=ms, call_analysis={"in_voicemail": voicemail})
    assert told.outcome == outcome


def test_every_reason_of_the_official_model_is_placed() -> None:
    from typing import get_args

    from retell.types.phone_call_response import PhoneCallResponse

    outcomes = {"completed", "no_answer", "busy", "failed", "voicemail", "cancelled"}
    annotation = PhoneCallResponse.model_fields["disconnection_reason"].annotation
    reasons = [reason for part in get_args(annotation) for reason in get_args(part)]
    assert len(reasons) > 30
    assert {news(disconnection_reason=reason).outcome for reason in reasons} == outcomes


@pytest.mark.parametrize("hidden", [None, "", "anonymous", "Restricted", "+266696687"])
def test_a_caller_who_hides_is_never_a_number(hidden: str | None) -> None:
    asked = parse({"event": "call_inbound", "call_inbound": {"from_number": hidden, "to_number": DESK}})
    assert isinstance(asked, LookupAsked)
    assert (asked.number, asked.withheld) == (None, True)
    told = news(direction="inbound", from_number=hidden, to_number=DESK)
    assert (told.customer_number, told.from_number, told.withheld) == (None, None, True)


def test_analysis_in_an_early_event_is_taken_but_not_the_last_word() -> None:
    event = parse({"event": "call_ended", "call": {"call_id": "c-1", "call_analysis": {"call_summary": "Moved."}}})
    assert isinstance(event, CallEvent)
    assert (event.news.summary, event.final) == ("Moved.", False)


@pytest.mark.parametrize(
    ("event", "to"),
    [("transfer_started", None), ("transfer_cancelled", None), ("transfer_bridged", DESK), ("transfer_ended", DESK)],
)
def test_a_transfer_counts_once_it_is_bridged(event: str, to: str | None) -> None:
    """News cannot be taken back: a cancelled transfer must not read as one that took place."""
    read = parse(
        {"event": event, "call": {"call_id": "c-1"}, "transfer_destination": {"number": DESK}, "event_timestamp": 5}
    )
    assert isinstance(read, CallEvent)
    assert (read.news.transferred_to, read.dedupe) == (to, f"c-1:{event}:5")


def test_a_transferred_call_says_where_to() -> None:
    assert news(disconnection_reason="call_transfer", transfer_destination=DESK).transferred_to == DESK


@pytest.mark.parametrize(
    ("raw", "noisy"),
    [
        ({"event": "transcript_updated", "call": {"call_id": "c-1"}}, True),
        ({"event": "chat_started", "chat": {"chat_id": "c-1"}}, False),
        ({"event": "chat_inbound", "chat_inbound": {"from_number": MAYA}}, False),
        ({"event": "an_event_of_next_year", "call": {"call_id": "c-1"}}, False),
        ({"event": "an_event_of_next_year"}, False),
        ({"event": "call_ended", "call": {}}, False),
        ({"event": "call_ended"}, False),
    ],
)
def test_the_rest_is_acknowledged(raw: dict[str, Any], noisy: bool) -> None:
    event = parse(raw)
    assert type(event) is Ignored
    assert event.noisy is noisy
    assert body(RETELL.acknowledge(event)) == {}


@pytest.mark.parametrize(
    ("raw", "query", "name", "arguments"),
    [
        ({"name": "f", "call": {"call_id": "c"}, "args": {"a": 1}}, {}, "f", {"a": 1}),
        ({"name": "f", "call": {"call_id": "c"}}, {}, "f", {}),
        ({"a": 1}, {"tool": "f"}, "f", {"a": 1}),
        ({"name": "Jean"}, {"tool": "f"}, "f", {"name": "Jean"}),
        ({"event": "a birthday"}, {"tool": "f"}, "f", {"event": "a birthday"}),
        ({"call": "back"}, {}, "", {"call": "back"}),
        ({}, {"tool": "f", "phone": "1"}, "f", {"phone": "1"}),
    ],
)
def test_custom_functions_in_every_form(
    raw: dict[str, Any], query: dict[str, str], name: str, arguments: dict[str, Any]
) -> None:
    event = parse(raw, **query)
    assert isinstance(event, ToolsCalled)
    (call,) = event.calls
    assert (call.name, dict(call.arguments)) == (name, arguments)


def test_a_function_by_get_has_its_query() -> None:
    event = RETELL.parse(request(b"", method="GET", query={"tool": "f", "phone": "\udc80 1"}))
    assert isinstance(event, ToolsCalled)
    assert (event.calls[0].name, dict(event.calls[0].arguments)) == ("f", {"phone": "\ufffd 1"})
    with pytest.raises(BadEvent):
        RETELL.parse(request(b"", method="GET"))


def test_a_real_event_is_one_whatever_the_url_says() -> None:
    assert isinstance(parse({"event": "call_ended", "call": {"call_id": "c-1"}}, tool="f"), CallEvent)


def test_a_repeated_function_call_has_the_same_id() -> None:
    """Retell runs a failed function again: without a stable id a note would be written twice."""

    def asked(name: str, **arguments: str) -> str:
        event = parse({"name": name, "call": {"call_id": "c"}, "args": arguments})
        assert isinstance(event, ToolsCalled)
        return event.calls[0].id

    assert asked("note", text="a", to="b") == asked("note", to="b", text="a")
    assert len({asked("note", text="a"), asked("note", text="b"), asked("task", text="a")}) == 3


def test_the_number_of_a_web_call_is_not_believed() -> None:
    event = parse(
        {"name": "f", "call": {"call_id": "c", "call_type": "web_call", "direction": "inbound", "from_number": MAYA}}
    )
    assert isinstance(event, ToolsCalled)
    assert event.caller is None


@pytest.mark.parametrize("wrap", [True, False])
def test_the_reply_that_names_the_caller(wrap: bool) -> None:
    wanted = json.loads(sample("retell/call_inbound.reply.json"))["call_inbound"]
    stored: dict[str, Any] = {
        "override_agent_id": "agent_12345",
        "dynamic_variables": {"open": True, "customer_name": ""},
        "metadata": {"crm_contact_id": "003xx0001"},
    }
    caller = Caller(
        lookup_id="lk_01",
        known=True,
        variables=wanted["dynamic_variables"],
        fallback={"call_inbound": stored} if wrap else stored,
    )
    answer = body(RETELL.answer_lookup(parse({"event": "call_inbound", "call_inbound": {}}), caller))
    assert set(answer) == {"call_inbound"}
    inner = answer["call_inbound"]
    assert inner["override_agent_id"] == wanted["override_agent_id"]
    assert inner["metadata"] == wanted["metadata"]
    assert inner["dynamic_variables"] == {**wanted["dynamic_variables"], "open": "true"}


def test_an_unknown_caller_gets_every_neutral_variable() -> None:
    """Retell drops a call that gets an empty answer when its number has no agent of its own."""
    wanted = json.loads(sample("retell/call_inbound.reply.unknown.json"))["call_inbound"]
    caller = Caller(
        lookup_id="lk_02", known=False, variables={}, fallback={"dynamic_variables": wanted["dynamic_variables"]}
    )
    answer = body(RETELL.answer_lookup(parse({"event": "call_inbound", "call_inbound": {}}), caller))["call_inbound"]
    assert answer["dynamic_variables"] == wanted["dynamic_variables"]
    assert answer["metadata"] == {"gateway_lookup_id": "lk_02"}


def test_a_function_is_answered_with_data_and_a_line() -> None:
    wanted = json.loads(sample("retell/custom_function.reply.json"))
    event = RETELL.parse(request(sample("retell/custom_function.json")))
    assert isinstance(event, ToolsCalled)
    asked = event.calls[0].id
    assert body(RETELL.answer_tools(event, (ToolResult(id=asked, data=wanted),))) == wanted
    told = body(RETELL.answer_tools(event, (ToolResult(id=asked, text="Maya\nOrtiz", data=wanted),)))
    assert told == {**wanted, "result": "Maya Ortiz"}
    assert body(RETELL.answer_tools(event, (ToolResult(id=asked, error="No\nluck."),))) == {"error": "No luck."}
    assert set(body(RETELL.answer_tools(event, ()))) == {"error"}


def test_the_steps_show_no_api_key() -> None:
    """The key opens the tenant's whole Retell account; a page with it on would be one more place to lose it."""
    key = "key_0123456789abcdef"
    steps = "\n".join(RETELL.steps(url="https://gw.example/v1/voice/retell/k", secret=key))
    assert key not in steps
    assert "ends in cdef" in steps
    assert function_secret(key) in steps
    assert "https://gw.example/v1/voice/retell/k" in steps
    assert all(name in steps for name in ("call_started", "call_ended", "call_analyzed", "transcript_updated"))
