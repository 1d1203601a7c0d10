"""What every voice platform in the catalogue promises (`connectors.voice.port`). A live call depends on each line."""

import hashlib
import hmac
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as trying
from hypothesis import strategies as st

from connectors.voice.catalog import PLATFORMS
from connectors.voice.events import CallEvent, Ignored, LookupAsked, ToolsCalled
from connectors.voice.port import Answer, Assurance, BadEvent, BadSignature, Caller, Incoming, Platform, ToolResult
from connectors.voice.scrub import strip_secrets
from tests.connectors.voice.requests import NOW, request

SECRET = "sesame-of-a-tenant-0001"
PERSON, NUMBER = "Jeanne Dupont", "+41446681800"
OURS = "+41435550100"
RECORDING = "https://storage.example.invalid/a.wav"


@dataclass(frozen=True)
class Specimen:
    """What the suite needs to speak as one platform.

    sign    headers that prove a body to the strongest degree the platform has.
    lookup, tool, ended, noise   events; `ended` is the last of its call, echoes `lk_contract`, and holds a secret key.
    tool_ids   how many calls `tool` makes.
    """

    sign: Callable[[bytes, datetime, str], dict[str, str]]
    lookup: Mapping[str, Any]
    tool: Mapping[str, Any]
    ended: Mapping[str, Any]
    noise: Mapping[str, Any]
    tool_ids: int


def _vapi_signs(body: bytes, now: datetime, secret: str) -> dict[str, str]:
    stamp = str(int(now.timestamp()))
    mac = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256)
    return {"x-signature": mac.hexdigest(), "x-timestamp": stamp}


def _retell_signs(body: bytes, now: datetime, secret: str) -> dict[str, str]:
    stamp = str(int(now.timestamp() * 1000))
    return {
        "x-retell-signature": f"v={stamp},d={hmac.new(secret.encode(), body + stamp.encode(), hashlib.sha256).hexdigest()}"
    }


def _vapi(kind: str, **fields: Any) -> dict[str, Any]:
    call = {
        "id": "call-1",
        "type": "inboundPhoneCall",
        "phoneCallProviderId": "CA1",
        "metadata": {"gateway_lookup_id": "lk_contract"},
    }
    ours = {"number": OURS, "twilioAuthToken": "a carrier's token"}
    return {"message": {"type": kind, "call": call, "customer": {"number": NUMBER}, "phoneNumber": ours, **fields}}


_RETELL_CALL = {
    "call_id": "call-1",
    "call_type": "phone_call",
    "direction": "inbound",
    "from_number": NUMBER,
    "to_number": OURS,
    "telephony_identifier": {"twilio_call_sid": "CA1"},
    "metadata": {"gateway_lookup_id": "lk_contract"},
    "access_token": "a web call's token",
}

SPECIMENS = {
    "vapi": Specimen(
        sign=_vapi_signs,
        lookup=_vapi("assistant-request"),
        tool=_vapi(
            "tool-calls",
            toolCallList=[{"id": "t1", "name": "lookup_customer"}, {"id": "t2", "name": "get_open_tickets"}],
        ),
        ended=_vapi(
            "end-of-call-report",
            startedAt="2026-03-02T17:04:13.300Z",
            endedAt="2026-03-02T17:04:32.100Z",
            endedReason="customer-ended-call",
            cost=0.5,
            analysis={
                "summary": f"{PERSON} called.",
                "structuredData": {"sentiment": "Positive"},
                "successEvaluation": "true",
            },
            artifact={"messages": [{"role": "user", "message": f"I am {PERSON}"}], "recordingUrl": RECORDING},
        ),
        noise=_vapi("speech-update"),
        tool_ids=2,
    ),
    "retell": Specimen(
        sign=_retell_signs,
        lookup={"event": "call_inbound", "call_inbound": {"from_number": NUMBER, "to_number": OURS}},
        tool={"name": "lookup_customer", "call": _RETELL_CALL, "args": {"phone": "+41790000000"}},
        ended={
            "event": "call_analyzed",
            "call": {
                **_RETELL_CALL,
                "start_timestamp": 1772471053300,
                "end_timestamp": 1772471072100,
                "disconnection_reason": "user_hangup",
                "transcript_object": [{"role": "user", "content": f"I am {PERSON}"}],
                "recording_url": RECORDING,
                "call_cost": {"combined_cost": 50},
                "call_analysis": {
                    "call_summary": f"{PERSON} called.",
                    "user_sentiment": "Positive",
                    "call_successful": True,
                },
            },
        },
        noise={"event": "transcript_updated", "call": _RETELL_CALL},
        tool_ids=1,
    ),
}

ANY_TEXT = st.text(st.characters(codec=None))  # lone surrogates too
ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
MANY = trying(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


@pytest.fixture(params=PLATFORMS)
def slug(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def platform(slug: str) -> Platform:
    return PLATFORMS[slug]


@pytest.fixture
def specimen(slug: str) -> Specimen:
    assert slug in SPECIMENS, f"{slug} is in the catalogue and has no specimen here: add one"
    return SPECIMENS[slug]


def raw(event: Mapping[str, Any]) -> bytes:
    return json.dumps(event).encode()


def read(answer: Answer) -> Any:
    assert answer.status == 200, "anything but 200 hurts the live call"
    return json.loads(answer.body)


def caller(**fields: Any) -> Caller:
    return Caller(**{"lookup_id": "lk_contract", "known": True, "variables": {"customer_name": PERSON}, **fields})


def test_it_is_filed_under_its_own_name(platform: Platform, slug: str) -> None:
    assert platform.slug == slug
    assert platform.name
    assert all(isinstance(value, str) for value in platform.settings.values())


# who asks


def test_what_the_platform_proves_is_believed(platform: Platform, specimen: Specimen) -> None:
    body = raw(specimen.ended)
    proven = platform.verify(request(body, specimen.sign(body, NOW, SECRET)), secret=SECRET, settings={}, now=NOW)
    assert proven is Assurance.SIGNED


def test_what_is_not_proven_is_refused(platform: Platform, specimen: Specimen) -> None:
    """Nothing of a stranger's may be stored, nor a customer's name be told to one."""
    body = raw(specimen.ended)
    proof = specimen.sign(body, NOW, SECRET)
    refused = {
        "no proof": (body, {}, SECRET, NOW),
        "another tenant's secret": (body, proof, SECRET + "x", NOW),
        "no secret set, signed with none": (body, specimen.sign(body, NOW, ""), "", NOW),
        "no secret set, no proof": (body, {}, "", NOW),
        "other bytes": (body + b" ", proof, SECRET, NOW),
        "six minutes old": (body, proof, SECRET, NOW + timedelta(minutes=6)),
        "six minutes early": (body, proof, SECRET, NOW - timedelta(minutes=6)),
        "cut short": (body, {name: value[:-1] for name, value in proof.items()}, SECRET, NOW),
        "empty": (body, dict.fromkeys(proof, ""), SECRET, NOW),
        "empty, no secret set": (body, dict.fromkeys(proof, ""), "", NOW),
    }
    for case, (sent, headers, secret, now) in refused.items():
        with pytest.raises(BadSignature) as refusal:
            platform.verify(request(sent, headers), secret=secret, settings={}, now=now)
        assert SECRET not in str(refusal.value), case
        assert not any(value and value in str(refusal.value) for value in headers.values()), case


@MANY
@given(data=st.data())
def test_any_headers_and_settings_are_refused_in_order(
    platform: Platform, specimen: Specimen, data: st.DataObject
) -> None:
    names = st.sampled_from([*specimen.sign(b"", NOW, SECRET), "authorization", "x-vapi-secret", "x-other"])
    headers = data.draw(st.dictionaries(names, ANY_TEXT, max_size=4))
    keys = st.sampled_from(sorted(platform.settings))
    settings = data.draw(
        st.dictionaries(keys, ANY_TEXT | st.sampled_from(["true", "hmac", "base64", "{body}"]), max_size=4)
    )
    incoming = Incoming(
        method=data.draw(ANY_TEXT), url=data.draw(ANY_TEXT), headers=headers, body=data.draw(st.binary())
    )
    with pytest.raises(BadSignature):
        platform.verify(incoming, secret="a secret nobody guesses", settings=settings, now=NOW)


# what happened


@MANY
@given(
    body=st.binary(),
    query=st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=2),
    method=st.sampled_from(["GET", "POST", "?"]),
)
def test_any_bytes_are_an_event_or_a_bad_one(
    platform: Platform, body: bytes, query: dict[str, str], method: str
) -> None:
    try:
        event = platform.parse(request(body, method=method, query=query))
    except BadEvent:
        return
    read(platform.acknowledge(event))


@MANY
@given(data=st.data())
def test_parts_may_be_missing_or_strange(platform: Platform, specimen: Specimen, data: st.DataObject) -> None:
    """Vendors add, drop and retype fields without notice, and the call must be stored all the same."""
    event = json.loads(
        raw(data.draw(st.sampled_from([specimen.lookup, specimen.tool, specimen.ended, specimen.noise])))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        place = event
        while True:
            key = data.draw(st.sampled_from(sorted(place))) if isinstance(place, dict) and place else None
            inner = place.get(key) if key is not None else None
            if isinstance(inner, dict) and inner and data.draw(st.booleans()):
                place = inner
                continue
            break
        if key is not None and data.draw(st.booleans()):
            del place[key]
        elif key is not None:
            place[key] = data.draw(ANY_JSON)
    seen = platform.parse(request(event))
    read(platform.acknowledge(seen))
    if isinstance(seen, LookupAsked):
        read(platform.answer_lookup(seen, caller()))
    if isinstance(seen, ToolsCalled):
        read(platform.answer_tools(seen, ()))


def test_the_order_of_keys_says_nothing(platform: Platform, specimen: Specimen) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, Mapping):
            pairs = [(key, shuffled(inner)) for key, inner in value.items()]
            random.Random(7).shuffle(pairs)
            return dict(pairs)
        return [shuffled(inner) for inner in value] if isinstance(value, list) else value

    for event in (specimen.lookup, specimen.tool, specimen.ended, specimen.noise):
        assert platform.parse(request(shuffled(event))) == platform.parse(request(event))


def test_a_repeat_is_known_as_one(platform: Platform, specimen: Specimen) -> None:
    first, again = (platform.parse(request(specimen.ended)) for _ in range(2))
    assert isinstance(first, CallEvent)
    assert isinstance(again, CallEvent)
    assert first.dedupe == again.dedupe
    assert first.call_id in first.dedupe
    assert NUMBER not in first.dedupe


def test_the_end_of_a_call_tells_all(platform: Platform, specimen: Specimen) -> None:
    event = platform.parse(request(specimen.ended))
    assert isinstance(event, CallEvent)
    assert (event.call_id, event.aliases, event.ended, event.final) == ("call-1", ("carrier:CA1",), True, True)
    told = event.news
    assert (told.direction, told.customer_number, told.our_number, told.withheld) == ("inbound", NUMBER, OURS, False)
    assert (told.from_number, told.to_number) == (NUMBER, OURS)
    assert told.started_at is not None
    assert told.started_at.utcoffset() == timedelta(0)
    assert (told.duration_s, told.outcome) == (18.8, "completed")
    assert (told.cost, told.cost_currency) == (0.5, "USD")
    assert (told.summary, told.recording_url, told.lookup_id) == (f"{PERSON} called.", RECORDING, "lk_contract")
    assert [(turn.role, turn.text) for turn in told.transcript] == [("caller", f"I am {PERSON}")]
    assert told.analysis is not None
    assert (told.analysis.sentiment, told.analysis.success) == ("positive", True)


def test_noise_is_told_apart(platform: Platform, specimen: Specimen) -> None:
    event = platform.parse(request(specimen.noise))
    assert isinstance(event, Ignored)
    assert event.noisy


# what we answer


def test_the_lookup_is_asked_for_the_caller(platform: Platform, specimen: Specimen) -> None:
    event = platform.parse(request(specimen.lookup))
    assert isinstance(event, LookupAsked)
    assert (event.number, event.our_number, event.withheld) == (NUMBER, OURS, False)


@pytest.mark.parametrize("known", [True, False])
def test_the_lookup_is_answered_known_or_not(platform: Platform, specimen: Specimen, known: bool) -> None:
    event = platform.parse(request(specimen.lookup))
    variables = {"customer_name": PERSON if known else "", "customer_known": str(known).lower()}
    answer = read(
        platform.answer_lookup(event, caller(known=known, variables=variables, fallback={"stored": {"by": "us"}}))
    )
    told = json.dumps(answer)
    assert ("lk_contract" in told, PERSON in told) == (True, known)
    assert '"by": "us"' in told, "the tenant's stored reply lies under ours"
    assert all(json.dumps(name) + ": " + json.dumps(value) in told for name, value in variables.items())


def test_tools_are_asked_by_the_person_on_the_line(platform: Platform, specimen: Specimen) -> None:
    """The model may type any number: who is on the line is what the platform says."""
    event = platform.parse(request(specimen.tool))
    assert isinstance(event, ToolsCalled)
    assert (event.caller, event.our_number, event.call_id) == (NUMBER, OURS, "call-1")
    assert len({call.id for call in event.calls}) == specimen.tool_ids


def test_every_tool_call_is_answered_on_one_line(platform: Platform, specimen: Specimen) -> None:
    event = platform.parse(request(specimen.tool))
    assert isinstance(event, ToolsCalled)
    for results in (
        tuple(ToolResult(id=call.id, text=f"{PERSON},\r\ngold\u2028customer") for call in event.calls),
        tuple(ToolResult(id=call.id, error="Not\navailable.") for call in event.calls),
        (),
    ):
        answer = platform.answer_tools(event, results)
        told = json.dumps(read(answer), ensure_ascii=False)
        assert "\\n" not in told
        assert "\\r" not in told
        assert "\u2028" not in told
        assert not results or results[0].error or told.count(PERSON) == specimen.tool_ids


def test_everything_can_be_acknowledged(platform: Platform, specimen: Specimen) -> None:
    for event in (specimen.lookup, specimen.tool, specimen.ended, specimen.noise):
        assert isinstance(read(platform.acknowledge(platform.parse(request(event)))), dict)


def test_the_steps_can_be_followed(platform: Platform) -> None:
    url = "https://gateway.example.invalid/v1/voice/p/endpoint-key"
    steps = platform.steps(url=url, secret=SECRET)
    assert len(steps) >= 3
    assert all(step == step.strip() and "\n" not in step for step in steps)
    assert any(url in step for step in steps)
    assert (SECRET in " ".join(steps)) is not platform.secret_is_theirs


# what stays hidden


def test_reprs_name_nobody(platform: Platform, specimen: Specimen) -> None:
    """Reprs end in logs and error reports."""
    shown = [
        repr(request(event, {"authorization": SECRET})) for event in (specimen.lookup, specimen.tool, specimen.ended)
    ]
    for event in (specimen.lookup, specimen.tool, specimen.ended, specimen.noise):
        seen = platform.parse(request(event))
        shown.append(repr(seen))
        if isinstance(seen, CallEvent):
            shown += [repr(seen.news), repr(seen.news.analysis), repr(seen.news.transcript)]
        if isinstance(seen, ToolsCalled):
            shown += [repr(seen.calls), repr(ToolResult(id="t", text=PERSON)), repr(platform.answer_tools(seen, ()))]
        if isinstance(seen, LookupAsked):
            shown += [repr(caller()), repr(platform.answer_lookup(seen, caller()))]
    for hidden in (PERSON, NUMBER, "41446681800", SECRET):
        assert not any(hidden in text for text in shown), hidden


def test_what_is_kept_of_an_event_has_no_secret(specimen: Specimen) -> None:
    kept = raw(strip_secrets(json.loads(raw(specimen.ended))))
    assert b"token" not in kept.lower()
    assert NUMBER.encode() in kept
