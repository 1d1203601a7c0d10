"""Vapi's events and replies. The samples are read in place from ../shared/payloads/vapi."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from connectors.voice.events import CallEvent, CallNews, Event, Ignored, LookupAsked, Promise, ToolsCalled, Turn
from connectors.voice.port import Answer, Assurance, BadEvent, BadSignature, Caller, ToolResult
from connectors.voice.vapi import Vapi
from tests.connectors.voice.requests import request, sample, vectors, verdict
from tests.shared import FOLDER

VAPI = Vapi()
CALL = "0197c1de-4f7a-7aa2-9d3e-5b0b3c7f1a0"
MAYA, DESK, COLLEAGUE = "+14155550142", "+14155550100", "+14155550199"
CARRIER = ("carrier:CA00000000000000000000000000000001",)
GITHUB = {"signature_header": "x-hub-signature-256", "signature_prefix": "sha256=", "payload_format": "{body}"}
TALKED = {
    "started_at": datetime(2026, 3, 2, 17, 4, 13, 300000, tzinfo=UTC),
    "ended_at": datetime(2026, 3, 2, 17, 4, 32, 100000, tzinfo=UTC),
    "duration_s": 18.8,
    "outcome": "completed",
    "summary": "Maya Ortiz moved her Tuesday cleaning to Thursday at 10.",
    "recording_url": "https://storage.example.invalid/0197c1de-mono.wav",
    "cost": 0.0731,
    "cost_currency": "USD",
}

# file → (class, fields of the event, fields of its news)
SAMPLES: dict[str, tuple[type[Event], dict[str, Any], dict[str, Any]]] = {
    "assistant-request.json": (
        LookupAsked,
        {"number": MAYA, "our_number": DESK, "call_id": CALL + "1", "withheld": False, "aliases": CARRIER},
        {"direction": "inbound", "from_number": MAYA, "to_number": DESK},
    ),
    "tool-calls.json": (ToolsCalled, {"caller": MAYA, "our_number": DESK, "call_id": CALL + "1"}, {}),
    "tool-calls.string-arguments.json": (ToolsCalled, {"caller": MAYA, "our_number": None}, {}),
    "tool-calls.flat.json": (ToolsCalled, {"caller": None, "call_id": "call-uuid"}, {}),
    "status-update.in-progress.json": (
        CallEvent,
        {"dedupe": CALL + "1:status-update:in-progress", "ended": False, "final": False, "aliases": CARRIER},
        {"direction": "inbound", "customer_number": MAYA, "transcript": (), "outcome": None},
    ),
    "status-update.ended.json": (
        CallEvent,
        {"dedupe": CALL + "1:status-update:ended", "ended": True, "final": False},
        {"end_reason": "customer-ended-call", "outcome": "completed", "transcript": ()},
    ),
    "end-of-call-report.inbound.json": (
        CallEvent,
        {
            "dedupe": CALL + "1:end-of-call-report",
            "call_id": CALL + "1",
            "ended": True,
            "final": True,
            "aliases": CARRIER,
        },
        {**TALKED, "direction": "inbound", "customer_number": MAYA, "our_number": DESK, "withheld": False},
    ),
    "end-of-call-report.artifact-only.json": (CallEvent, {"final": True}, {**TALKED, "customer_number": MAYA}),
    "end-of-call-report.outbound-no-answer.json": (
        CallEvent,
        {"call_id": CALL + "2", "final": True},
        {
            "direction": "outbound",
            "from_number": DESK,
            "to_number": MAYA,
            "customer_number": MAYA,
            "started_at": None,
            "duration_s": 0.0,
            "end_reason": "customer-did-not-answer",
            "outcome": "no_answer",
            "summary": None,
            "transcript": (),
            "analysis": None,
            "lookup_id": None,
        },
    ),
    "end-of-call-report.transferred.json": (
        CallEvent,
        {"call_id": CALL + "3", "final": True},
        {**TALKED, "end_reason": "assistant-forwarded-call", "transferred_to": COLLEAGUE},
    ),
    "end-of-call-report.web.json": (
        CallEvent,
        {"call_id": CALL + "4", "final": True, "aliases": ()},
        {
            **TALKED,
            "direction": "web",
            "customer_number": None,
            "from_number": None,
            "our_number": None,
            "withheld": None,
        },
    ),
    "hang.json": (Ignored, {"name": "hang", "noisy": False}, {}),
    "transfer-destination-request.json": (Ignored, {"name": "transfer-destination-request", "noisy": False}, {}),
    "conversation-update.json": (Ignored, {"noisy": True}, {}),
}


def message(kind: str, **fields: Any) -> Event:
    call = {"id": "c-1", "type": "inboundPhoneCall", **fields.pop("call", {})}
    return VAPI.parse(request({"message": {"type": kind, "call": call, **fields}}))


def news(kind: str = "end-of-call-report", **fields: Any) -> CallNews:
    event = message(kind, **fields)
    assert isinstance(event, CallEvent)
    return event.news


def body(answer: Answer) -> Any:
    assert answer.status == 200
    assert answer.content_type == "application/json"
    return json.loads(answer.body)


@pytest.mark.parametrize("file", SAMPLES)
def test_each_sample_becomes(file: str) -> None:
    kind, fields, told = SAMPLES[file]
    event = VAPI.parse(request(sample(f"vapi/{file}")))
    assert type(event) is kind
    for name, expected in fields.items():
        assert getattr(event, name) == expected, name
    for name, expected in told.items():
        assert getattr(getattr(event, "news"), name) == expected, name  # noqa: B009 - not every event has news


def test_no_sample_is_left_out() -> None:
    sample("vapi/hang.json")
    there = {path.name for path in (FOLDER / "payloads/vapi").iterdir() if ".reply" not in path.name}
    assert there == set(SAMPLES)


@pytest.mark.parametrize(
    ("file", "calls"),
    [
        ("tool-calls.json", [("call_9hYw2bq1", "lookup_customer", {"phone": MAYA})]),
        ("tool-calls.flat.json", [("toolu_01DTPAzUm5Gk3zxrpJ969oMF", "lookup_customer", {"phone": MAYA})]),
        (
            "tool-calls.string-arguments.json",
            [("call_str1", "lookup_customer", {"phone": MAYA}), ("call_str2", "get_open_tickets", {})],
        ),
    ],
)
def test_all_three_shapes_of_tool_calls(file: str, calls: list[tuple[str, str, dict[str, str]]]) -> None:
    event = VAPI.parse(request(sample(f"vapi/{file}")))
    assert isinstance(event, ToolsCalled)
    assert [(call.id, call.name, dict(call.arguments)) for call in event.calls] == calls


@pytest.mark.parametrize("file", ["end-of-call-report.inbound.json", "end-of-call-report.artifact-only.json"])
def test_the_report_is_read_from_either_copy(file: str) -> None:
    """Captures have the one or the other copy empty; a transcript lost here is lost for good."""
    whole = json.loads(sample(f"vapi/{file}"))
    event = VAPI.parse(request(whole))
    if "messages" in whole["message"]:
        whole["message"]["artifact"] = {
            "messages": [],
            "structuredOutputs": whole["message"]["artifact"]["structuredOutputs"],
        }
    assert isinstance(event, CallEvent)
    other = VAPI.parse(request(whole))
    assert isinstance(other, CallEvent)
    for told in (event.news, other.news):
        assert [turn.role for turn in told.transcript] == ["agent", "caller", "tool", "tool", "agent", "caller"]
        assert told.transcript[1] == Turn(role="caller", text="I need to move my cleaning on Tuesday.", at_s=6.1)
        assert told.transcript[3].text == "lookup_customer: Maya Ortiz, gold customer"
        assert "receptionist" not in "".join(turn.text for turn in told.transcript)  # the prompt was not said
        assert told.transcript_text is not None
        assert told.transcript_text.startswith("AI: Hi Maya")
        assert told.analysis is not None
        assert (told.analysis.sentiment, told.analysis.intents, told.analysis.success) == (
            "positive",
            ("reschedule",),
            True,
        )
        assert told.analysis.data["csat"] == 5
        assert told.analysis.data["appointment"] == {"date": "2026-03-05", "time": "10:00"}


@pytest.mark.parametrize(
    ("case", "settings", "expected"),
    [
        ("secret-header-ok", {}, Assurance.SECRET),
        ("secret-header-wrong", {}, None),
        ("bearer-ok", {}, Assurance.SECRET),
        ("hmac-default-ok", {}, Assurance.SIGNED),
        ("hmac-default-ms-ok", {}, Assurance.SIGNED),
        ("hmac-github-style-ok", GITHUB, Assurance.SECRET),
        ("hmac-github-style-ok", {}, None),
        ("secret-header-ok", {"auth": "hmac"}, None),
        ("secret-header-ok", {"auth": "bearer"}, None),
        ("bearer-ok", {"auth": "secret"}, None),
        ("hmac-default-ok", {"auth": "secret"}, None),
        ("hmac-default-ok", {"auth": "hmac"}, Assurance.SIGNED),
        ("bearer-ok", {"auth": "no such way"}, None),
    ],
)
def test_signed_requests(case: str, settings: dict[str, str], expected: Assurance | None) -> None:
    (vector,) = (vector for vector in vectors("vapi") if vector["case"] == case)
    if expected is None:
        with pytest.raises(BadSignature):
            verdict(VAPI, vector, settings)
    else:
        assert vector["expect"] == "valid"
        assert verdict(VAPI, vector, settings) is expected


def test_every_vector_is_tried() -> None:
    cases = {vector["case"] for vector in vectors("vapi")}
    assert cases == {
        "secret-header-ok",
        "secret-header-wrong",
        "bearer-ok",
        "hmac-default-ok",
        "hmac-default-ms-ok",
        "hmac-github-style-ok",
    }


def test_a_bad_signature_is_not_saved_by_a_good_secret() -> None:
    """Whoever changed the bytes on the way has seen the secret beside them."""
    (vector,) = (vector for vector in vectors("vapi") if vector["case"] == "hmac-default-ok")
    forged = {
        **vector,
        "body": vector["body"] + " ",
        "headers": {**vector["headers"], "X-Vapi-Secret": vector["secret"]},
    }
    with pytest.raises(BadSignature):
        verdict(VAPI, forged, {})


def test_the_header_of_a_bearer_credential_is_free() -> None:
    settings = {"bearer_header": "X-Api-Key", "bearer_prefix": ""}
    incoming = request(b"{}", {"x-api-key": "s3"})
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert VAPI.verify(incoming, secret="s3", settings=settings, now=now) is Assurance.SECRET
    with pytest.raises(BadSignature):
        VAPI.verify(incoming, secret="s3", settings={}, now=now)


@pytest.mark.parametrize(
    ("customer", "number", "hidden"),
    [
        ({"number": MAYA}, MAYA, False),
        ({"sipUri": "sip:maya@pbx.example.invalid"}, "sip:maya@pbx.example.invalid", False),
        (None, None, True),
        ({}, None, True),
        ({"number": ""}, None, True),
        ({"number": "anonymous"}, None, True),
        ({"number": "+266696687"}, None, True),
        ({"number": "sip:anonymous@anonymous.invalid"}, None, True),
    ],
)
def test_a_caller_who_hides_is_never_a_number(customer: object, number: str | None, hidden: bool) -> None:
    event = message("assistant-request", customer=customer)
    assert isinstance(event, LookupAsked)
    assert (event.number, event.withheld) == (number, hidden)
    told = news(customer=customer)
    assert (told.customer_number, told.from_number, told.withheld) == (number, number, hidden)


def test_a_browser_does_not_say_who_is_looked_up() -> None:
    """A web page may put any number into `customer`: answering would read out a stranger's record."""
    asked = message(
        "tool-calls", call={"type": "webCall"}, customer={"number": MAYA}, toolCallList=[{"id": "t", "name": "x"}]
    )
    assert isinstance(asked, ToolsCalled)
    assert asked.caller is None


@pytest.mark.parametrize(
    ("reason", "seconds", "outcome"),
    [
        ("customer-ended-call", 60, "completed"),
        ("customer-ended-call-during-transfer", 60, "completed"),
        ("assistant-ended-call-after-message-spoken", 60, "completed"),
        ("assistant-said-end-call-phrase", 60, "completed"),
        ("silence-timed-out", 60, "completed"),
        ("call.in-progress.twilio-completed-call", 60, "completed"),
        ("voicemail", 20, "voicemail"),
        ("customer-busy", 0, "busy"),
        ("customer-did-not-answer", 0, "no_answer"),
        ("call.in-progress.error-providerfault-outbound-sip-480-temporarily-unavailable", 0, "no_answer"),
        ("call.in-progress.error-providerfault-outbound-sip-403-forbidden", 0, "failed"),
        ("manually-canceled", 0, "cancelled"),
        ("call.ringing.sip-inbound-caller-hungup-before-call-connect", 0, "cancelled"),
        ("assistant-request-failed", 5, "failed"),
        ("assistant-request-returned-no-assistant", 0, "failed"),
        ("assistant-request-returned-forwarding-phone-number", 5, "completed"),
        ("call.start.error-get-org", 0, "failed"),
        ("call.in-progress.error-sip-outbound-call-failed-to-connect", 0, "failed"),
        ("pipeline-error-openai-llm-failed", 40, "completed"),
        ("call.in-progress.error-vapifault-worker-died", 0, "failed"),
        ("a-reason-of-next-year", 40, "completed"),
        ("a-reason-of-next-year", 0, "failed"),
        (None, 0, "failed"),
    ],
)
def test_how_a_call_came_out(reason: str | None, seconds: int, outcome: str) -> None:
    assert news(endedReason=reason, durationSeconds=seconds).outcome == outcome


@pytest.mark.parametrize(
    ("judged", "success", "score", "kept"),
    [
        ("true", True, None, None),
        ("Fail", False, None, None),
        (True, True, None, None),
        ("8", None, 8.0, None),
        ("80%", None, 80.0, None),
        (7, None, 7.0, None),
        ("Good", None, None, "Good"),
    ],
)
def test_the_success_evaluation_in_all_its_rubrics(
    judged: object, success: bool | None, score: float | None, kept: object
) -> None:
    read = news(analysis={"successEvaluation": judged}).analysis
    assert read is not None
    assert (read.success, read.score, read.data.get("successEvaluation")) == (success, score, kept)


def test_structured_data_in_every_place() -> None:
    read = news(
        analysis={
            "structuredDataMulti": [{"a": 1}, {"b": 2}],
            "structuredData": {"b": 3, "score": "90"},
            "successEvaluation": "8",
        },
        artifact={
            "structuredOutputs": {
                "id-1": {"name": "promises", "result": ["call back"]},
                "id-2": {"result": 1},
                "id-3": None,
            }
        },
    ).analysis
    assert read is not None
    assert read.data == {"a": 1, "b": 3, "score": "90", "promises": ["call back"]}
    assert (read.score, read.promises) == (90.0, (Promise(what="call back"),))


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"startedAt": "2026-03-02T17:00:00Z", "endedAt": "2026-03-02T17:01:00Z", "durationSeconds": 75}, 60.0),
        ({"startedAt": "2026-03-02T17:01:00Z", "endedAt": "2026-03-02T17:00:00Z", "durationSeconds": 75}, 75.0),
        ({"durationMs": "75000"}, 75.0),
        ({"durationMinutes": 1.25}, 75.0),
        ({"durationSeconds": -1}, None),
        ({}, None),
    ],
)
def test_end_minus_start_is_the_duration(fields: dict[str, Any], seconds: float | None) -> None:
    assert news(**fields).duration_s == seconds


@pytest.mark.parametrize(
    "place",
    [
        {"call": {"assistantOverrides": {"variableValues": {"gateway_lookup_id": "lk_7"}}}},
        {"call": {"assistantOverrides": {"metadata": {"gateway_lookup_id": "lk_7"}}}},
        {"call": {"metadata": {"gateway_lookup_id": "lk_7"}}},
        {"artifact": {"variableValues": {"gateway_lookup_id": "lk_7"}}},
        {"assistant": {"metadata": {"gateway_lookup_id": "lk_7"}}},
    ],
)
def test_our_lookup_comes_back(place: dict[str, Any]) -> None:
    assert news(**place).lookup_id == "lk_7"


def test_a_transfer_that_did_not_happen_is_none() -> None:
    wanted: dict[str, Any] = {"destination": {"number": COLLEAGUE}}
    assert news(endedReason="customer-ended-call-during-transfer", **wanted).transferred_to is None
    assert news(artifact={"transfers": [{**wanted, "status": "failed"}]}).transferred_to is None


@pytest.mark.parametrize("kind", ["speech-update", "transcript", 'transcript[transcriptType="final"]', "model-output"])
def test_noise_is_not_even_recorded(kind: str) -> None:
    assert message(kind) == Ignored(name=kind, call_id="c-1", noisy=True)


@pytest.mark.parametrize("kind", ["chat.created", "a-type-of-next-year", "phone-call-control", "assistant.started"])
def test_other_types_are_recorded(kind: str) -> None:
    assert message(kind) == Ignored(name=kind, call_id="c-1", noisy=False)


@pytest.mark.parametrize("status", ["queued", "scheduled", "a-status-of-next-year", None])
def test_a_call_that_may_never_be_is_no_call(status: str | None) -> None:
    assert type(message("status-update", status=status)) is Ignored


@pytest.mark.parametrize("kind", ["end-of-call-report", "status-update"])
def test_news_of_no_call_is_recorded(kind: str) -> None:
    assert type(message(kind, call={"id": None}, status="ended")) is Ignored


@pytest.mark.parametrize("raw", [b"", b"not json", b"[1]"])
def test_no_json_at_all(raw: bytes) -> None:
    with pytest.raises(BadEvent):
        VAPI.parse(request(raw))


def test_the_reply_that_names_the_caller() -> None:
    wanted = json.loads(sample("vapi/assistant-request.reply.assistantId.json"))
    variables = {
        "caller_known": "true",
        "customer_name": "Maya Ortiz",
        "customer_tier": "gold",
        "last_call_summary": "…",
    }
    fallback = {
        "assistantId": wanted["assistantId"],
        "assistantOverrides": {
            "firstMessage": "Hi {{customer_name}}",
            "variableValues": {"customer_name": "", "opening_hours": "8 to 17"},
            "metadata": {"branch": "north"},
        },
    }
    caller = Caller(lookup_id="lk_1", known=True, variables=variables, fallback=fallback)
    answer = body(VAPI.answer_lookup(message("assistant-request"), caller))
    assert set(answer) == set(wanted)
    assert answer["assistantId"] == wanted["assistantId"]
    overrides = answer["assistantOverrides"]
    assert set(wanted["assistantOverrides"]["variableValues"]) <= set(overrides["variableValues"])
    assert overrides["firstMessage"] == "Hi {{customer_name}}"
    assert overrides["variableValues"] == {**variables, "opening_hours": "8 to 17", "gateway_lookup_id": "lk_1"}
    assert overrides["metadata"] == {"branch": "north", "gateway_lookup_id": "lk_1"}
    assert fallback["assistantOverrides"]["variableValues"]["customer_name"] == "", "the stored reply was changed"


@pytest.mark.parametrize("name", ["error", "transfer"])
def test_a_stored_error_or_transfer_goes_out_alone(name: str) -> None:
    wanted = json.loads(sample(f"vapi/assistant-request.reply.{name}.json"))
    caller = Caller(lookup_id="lk_1", known=False, variables={"a": "b"}, fallback={"assistantId": "x", **wanted})
    assert body(VAPI.answer_lookup(message("assistant-request"), caller)) == wanted


@pytest.mark.parametrize(
    ("fallback", "where"),
    [
        ({}, {"assistantOverrides"}),
        ({"assistant": {"name": "A"}}, {"assistantOverrides"}),
        ({"squadId": "s"}, {"assistantOverrides", "squadOverrides"}),
        ({"workflowId": "w"}, {"assistantOverrides", "workflowOverrides"}),
    ],
)
def test_the_variables_stand_where_each_kind_reads_them(fallback: dict[str, Any], where: set[str]) -> None:
    caller = Caller(lookup_id="lk_1", known=False, variables={"customer_name": ""}, fallback=fallback)
    answer = body(VAPI.answer_lookup(message("assistant-request"), caller))
    assert set(answer) == set(fallback) | where
    for kind in where:
        assert answer[kind]["variableValues"] == {"customer_name": "", "gateway_lookup_id": "lk_1"}
    assert "metadata" not in answer.get("workflowOverrides", {})


def test_tools_are_answered_as_documented() -> None:
    for file, result in (
        (
            "reply",
            ToolResult(
                id="call_9hYw2bq1", text="Maya Ortiz, gold customer, open ticket 4411\nabout the Tuesday cleaning."
            ),
        ),
        ("reply.error", ToolResult(id="call_9hYw2bq1", error="Customer lookup is not\r\navailable right now.")),
    ):
        event = VAPI.parse(request(sample("vapi/tool-calls.json")))
        assert body(VAPI.answer_tools(event, (result,))) == json.loads(sample(f"vapi/tool-calls.{file}.json"))


def test_every_id_is_answered_also_those_nobody_worked_on() -> None:
    event = message(
        "tool-calls", toolCallList=[{"id": "a", "name": "x"}, {"id": "b", "name": "y"}, {"id": "b"}, {"name": "z"}]
    )
    answer = body(VAPI.answer_tools(event, (ToolResult(id="b", text="done"), ToolResult(id="stranger", text="?"))))
    assert [result["toolCallId"] for result in answer["results"]] == ["a", "b"]
    assert answer["results"][0]["error"]
    assert answer["results"][1]["result"] == "done"


def test_the_format_before_tools() -> None:
    event = message("function-call", functionCall={"name": "lookup_customer", "parameters": {"phone": MAYA}})
    assert isinstance(event, ToolsCalled)
    (call,) = event.calls
    assert (call.name, dict(call.arguments)) == ("lookup_customer", {"phone": MAYA})
    assert body(VAPI.answer_tools(event, (ToolResult(id=call.id, text="Maya"),))) == {"result": "Maya"}
    assert body(VAPI.answer_tools(event, ())) == {"result": "There is no answer to this right now."}


def test_questions_we_have_no_part_in_do_not_hold_up_the_call() -> None:
    for kind in ("transfer-destination-request", "handoff-destination-request"):
        assert set(body(VAPI.acknowledge(message(kind)))) == {"error"}
    assert body(VAPI.acknowledge(message("knowledge-base-request"))) == {"documents": []}
    assert body(VAPI.acknowledge(message("hang"))) == {}


def test_the_steps_name_what_prevents_loss() -> None:
    steps = "\n".join(VAPI.steps(url="https://gw.example/v1/voice/vapi/k", secret="s3cret"))
    assert "https://gw.example/v1/voice/vapi/k" in steps
    assert "s3cret" in steps
    assert '"backoffPlan": {"type": "exponential", "maxRetries": 3' in steps
    assert "end-of-call-report" in steps
