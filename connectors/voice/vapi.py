"""Vapi: one server URL gets everything, as `{"message": {"type": …}}`.

Sources: docs.vapi.ai "Server events", "Server authentication", "Call ended reasons"; vapi_server_sdk 3.0; captures as
collected in voice-platforms.md §4 (2026-11-21). What is typed there and what is sent differ: nothing is required here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from connectors.json_text import BadJson, parse_json
from connectors.phone import withheld
from connectors.voice.analysis import flag, read_analysis
from connectors.voice.events import (
    Analysis,
    CallEvent,
    CallNews,
    Event,
    Ignored,
    LookupAsked,
    ToolCall,
    ToolsCalled,
    Turn,
)
from connectors.voice.port import Answer, Assurance, BadSignature, Caller, Incoming, ToolResult
from connectors.voice.reading import (
    EMPTY,
    https_url,
    ident,
    items,
    label,
    lookup_id,
    mapping,
    moment,
    number,
    one_line,
    read_object,
    seconds_between,
    text,
)
from connectors.voice.signature import check_hmac, same

_DIRECTIONS = {
    "inboundPhoneCall": "inbound",
    "outboundPhoneCall": "outbound",
    "webCall": "web",
    "vapi.websocketCall": "web",
}
_STATUSES = frozenset({"ringing", "in-progress", "forwarding", "ended"})  # scheduled and queued calls may never be
_NOISE = frozenset(
    {
        "conversation-update",
        "speech-update",
        "model-output",
        "voice-input",
        "user-interrupted",
        "assistant.speechStarted",
    }
)  # many a second; `transcript` comes in two spellings
_ROLES = {
    "bot": "agent",
    "assistant": "agent",
    "user": "caller",
    "customer": "caller",
}  # system is the prompt: not said
_TOOL_ROLES = frozenset({"tool", "tool_calls", "tool_call_result", "function", "function_call", "function_result"})

_OUTCOMES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), outcome)
    for pattern, outcome in (
        (r"voicemail", "voicemail"),
        (r"customer-busy|.*sip-486.*", "busy"),
        (r"customer-did-not-answer|.*sip-4(08|80)-.*", "no_answer"),
        (
            r"manually-canceled|scheduled-call-deleted|call-deleted|call\.ringing\.sip-inbound-caller-hungup.*",
            "cancelled",
        ),
        (r"customer-ended-call.*|assistant-ended-call.*|assistant-said-.*|assistant-forwarded-call", "completed"),
        (
            r"exceeded-max-duration|silence-timed-out|vonage-completed|call\.in-progress\.\w+-completed-call",
            "completed",
        ),
        (r"assistant-request-returned-forwarding-phone-number|call\.(ringing|ending)\.hook-executed-.*", "completed"),
        (r"assistant-(request|not|join)-.*|call[.-]start[.-]error.*|customer-did-not-give-microphone.*", "failed"),
        (r".*(failed-to-connect|never-connected).*|twilio-reported-.*|vonage-rejected|.*-sip-40[37]-.*", "failed"),
    )
)
"""First match of the whole reason wins. Some 600 reasons exist and new ones come (docs.vapi.ai, "Call ended reasons"):
what no line knows (a pipeline that broke, a worker that died) is `completed` if people had talked by then, else `failed`."""

_NO_TOOL_ANSWER = "There is no answer to this right now."
_NO_DESTINATION = "No transfer destination is set for this call."


class Vapi:
    """See `connectors.voice.port.Platform`."""

    slug = "vapi"
    name = "Vapi"
    secret_is_theirs = False
    settings: Mapping[str, str] = {
        "auth": "any",  # any | secret | bearer | hmac: what the endpoint's credential at Vapi is; `any` takes each
        "secret_header": "x-vapi-secret",
        "bearer_header": "authorization",
        "bearer_prefix": "Bearer ",
        "algorithm": "sha256",  # from here on the fields of Vapi's HMAC credential; sha256 | sha512 | sha1
        "signature_header": "x-signature",
        "signature_prefix": "",
        "signature_encoding": "hex",  # hex | base64
        "timestamp_header": "x-timestamp",
        "message_id_header": "svix-id",
        "payload_format": "{timestamp}.{body}",  # also {method}, {url}, {svix-id}; "{body}" if no timestamp is included
        "secret_is_base64": "false",
    }

    def verify(self, request: Incoming, *, secret: str, settings: Mapping[str, str], now: datetime) -> Assurance:
        """A signature is believed before a secret: where its header is present, it alone decides.

        SIGNED needs body and time under the signature (`payload_format`), and a time within five minutes of `now`,
        in seconds or milliseconds: Vapi does not say which. A signature over less proves no more than a secret does.
        """
        chosen = {**self.settings, **settings}
        if not secret:
            raise BadSignature("no secret is set")
        how, headers = chosen["auth"], request.headers
        if how in ("any", "hmac") and chosen["signature_header"].lower() in headers:
            return check_hmac(request, secret=secret, chosen=chosen, now=now)
        if how in ("any", "secret") and same(headers.get(chosen["secret_header"].lower(), ""), secret):
            return Assurance.SECRET
        if how in ("any", "bearer") and same(
            headers.get(chosen["bearer_header"].lower(), ""), chosen["bearer_prefix"] + secret
        ):
            return Assurance.SECRET
        raise BadSignature("no valid signature or secret")

    def parse(self, request: Incoming) -> Event:
        """Read the event. Known by (call id, type), a status also by its status, tool calls by their own ids."""
        body = read_object(request.body)
        message = mapping(body.get("message")) or body
        kind = label(message.get("type"))
        call = mapping(message.get("call"))
        call_id = ident(call.get("id"))
        match kind:
            case "assistant-request":
                return _lookup(kind, message, call_id)
            case "tool-calls" | "function-call":
                return _tools(kind, message, call_id)
            case "end-of-call-report" if call_id:
                return _event(kind, call_id, _report(message), call, ended=True, final=True)
            case "status-update" if call_id and (status := message.get("status")) in _STATUSES:
                return _event(f"{kind}:{status}", call_id, _status(message), call, ended=status == "ended", name=kind)
            case _:
                return Ignored(name=kind, call_id=call_id, noisy=kind in _NOISE or kind.startswith("transcript"))

    def answer_lookup(self, event: Event, caller: Caller) -> Answer:
        """The tenant's stored reply with our variables merged over its own.

        Vapi takes one of assistant(Id), squad(Id), workflow(Id), and asks only for numbers that have none of their own.
        Without one it ends the call as `assistant-request-returned-no-assistant`: naming one is the tenant's part, as
        the steps say. A stored `error` (spoken, then the call ends) or `destination` (transfer at once) wins over any
        assistant at Vapi, so it goes out alone.
        """
        fallback = dict(caller.fallback)
        for alone in ("error", "destination"):
            if fallback.get(alone):
                return _json({alone: fallback[alone]})
        echoed = {"gateway_lookup_id": caller.lookup_id}
        variables = {**caller.variables, **echoed}
        kinds = [kind for kind in ("squad", "workflow") if fallback.get(kind) or fallback.get(f"{kind}Id")]
        for kind in ("assistant", *kinds):  # each kind reads its own overrides; the assistant's do no harm beside them
            stored = mapping(fallback.get(f"{kind}Overrides"))
            merged = {**stored, "variableValues": {**mapping(stored.get("variableValues")), **variables}}
            if kind != "workflow":  # a workflow's overrides know variables only
                merged["metadata"] = {**mapping(stored.get("metadata")), **echoed}
            fallback[f"{kind}Overrides"] = merged
        return _json(fallback)

    def answer_tools(self, event: Event, results: tuple[ToolResult, ...]) -> Answer:
        """One single-line string for every id that was asked, always with 200: Vapi drops any other reply."""
        if not isinstance(event, ToolsCalled):
            return self.acknowledge(event)
        by_id = {result.id: result for result in results}
        answers = []
        for call in event.calls:
            result = by_id.get(call.id)
            if result is not None and result.error is None:
                answers.append({"toolCallId": call.id, "result": one_line(result.text or "")})
            else:
                reason = one_line(result.error or "") if result is not None else ""
                answers.append({"toolCallId": call.id, "error": reason or _NO_TOOL_ANSWER})
        if event.name == "function-call":  # the format before tools: one call, no id, no error field
            return _json({"result": answers[0].get("result") or answers[0].get("error")})
        return _json({"results": answers})

    def acknowledge(self, event: Event) -> Answer:
        """`{}`, except for the two kinds of question we have no part in: Vapi waits for those.

        A transfer or handoff is declined with the documented `error`, and the assistant goes on talking; a knowledge
        base gets no documents, and the model answers from what it knows.
        """
        match event.name:
            case "transfer-destination-request" | "handoff-destination-request":
                return _json({"error": _NO_DESTINATION})
            case "knowledge-base-request":
                return _json({"documents": []})
            case _:
                return _json({})

    def steps(self, *, url: str, secret: str) -> tuple[str, ...]:
        return (
            "At dashboard.vapi.ai open Phone Numbers, choose the number and set its Server URL to " + url,
            "In the same place create a credential of type Bearer Token (header Authorization, prefix Bearer) or, on an "
            "older account, fill in the Server URL Secret, with this value: " + secret,
            "To have bytes and time signed as well, create an HMAC credential with the same value instead: SHA-256, header "
            "x-signature, timestamp header x-timestamp, payload {timestamp}.{body}, hex.",
            "To greet callers by name, leave the number without an assistant, and put the assistant's id into this "
            'endpoint\'s fallback as {"assistantId": "…"}: Vapi then asks who is calling while it rings. Without a '
            "fallback such calls end at once.",
            "In the assistant open Advanced, Messaging, and set the same Server URL and credential.",
            "Among the assistant's Server Messages switch on status-update, end-of-call-report and tool-calls; switch off "
            "conversation-update, speech-update, transcript and model-output, which only cost traffic.",
            "To let the assistant look things up during the call, add a custom tool (for example lookup_customer) with the "
            "same Server URL and credential.",
            "Vapi does not retry by itself. Through its API set the server's retries on number and assistant: "
            '"server": {"url": "…", "backoffPlan": {"type": "exponential", "maxRetries": 3, "baseDelaySeconds": 1}}',
            "In the prompt write {{customer_name}}, {{customer_known}} and the other variables of this endpoint.",
        )


def _json(value: Mapping[str, Any]) -> Answer:
    return Answer(body=msgspec.json.encode(value))


def _event(
    dedupe: str,
    call_id: str,
    news: CallNews,
    call: Mapping[str, Any],
    *,
    ended: bool,
    final: bool = False,
    name: str = "",
) -> CallEvent:
    return CallEvent(
        name=name or dedupe,
        dedupe=f"{call_id}:{dedupe}",
        call_id=call_id,
        news=news,
        aliases=_aliases(call),
        ended=ended,
        final=final,
    )


def _aliases(call: Mapping[str, Any]) -> tuple[str, ...]:
    carrier = ident(call.get("phoneCallProviderId"))
    return (f"carrier:{carrier}",) if carrier else ()


def _lookup(kind: str, message: Mapping[str, Any], call_id: str | None) -> LookupAsked:
    news = _who(message)
    on_a_phone = news.direction != "web"  # in a browser the visitor's own page says which number it is
    return LookupAsked(
        name=kind,
        number=news.customer_number if on_a_phone else None,
        withheld=bool(news.withheld),
        our_number=news.our_number,
        call_id=call_id,
        aliases=_aliases(mapping(message.get("call"))),
        news=news,
    )


def _tools(kind: str, message: Mapping[str, Any], call_id: str | None) -> ToolsCalled:
    news = _who(message)
    calls = {call.id: call for call in _tool_calls(kind, message)}  # `toolCalls` repeats the list: each id once
    return ToolsCalled(
        name=kind,
        calls=tuple(calls.values()),
        caller=news.customer_number if news.direction != "web" else None,
        withheld=bool(news.withheld),
        call_id=call_id,
        our_number=news.our_number,
    )


def _tool_calls(kind: str, message: Mapping[str, Any]) -> Iterator[ToolCall]:
    if kind == "function-call":
        asked = mapping(message.get("functionCall"))
        yield ToolCall(id="function-call", name=text(asked.get("name")) or "", arguments=_arguments(asked))
        return
    wrapped = [mapping(item).get("toolCall") for item in items(message.get("toolWithToolCallList"))]
    for item in (*items(message.get("toolCallList")), *items(message.get("toolCalls")), *wrapped):
        called, inner = mapping(item), mapping(mapping(item).get("function"))
        if call_id := text(called.get("id")):
            name = text(inner.get("name")) or text(called.get("name")) or ""
            yield ToolCall(id=call_id, name=name, arguments=_arguments(inner) or _arguments(called))


def _arguments(called: Mapping[str, Any]) -> Mapping[str, Any]:
    """An object, or an object spelled as a JSON string; under `arguments`, or under `parameters`."""
    for name in ("arguments", "parameters"):
        given = called.get(name)
        if isinstance(given, str):
            try:
                given = parse_json(given.encode(errors="replace"))
            except BadJson:
                given = None
        if mapping(given):
            return mapping(given)
    return EMPTY


def _who(message: Mapping[str, Any]) -> CallNews:
    """Who talks to whom. `customer` is the person on the line in both directions; `phoneNumber` is our side."""
    call = mapping(message.get("call"))
    direction = _DIRECTIONS.get(str(call.get("type")))
    customer = _number(message.get("customer")) or _number(call.get("customer"))
    ours = _number(message.get("phoneNumber")) or _number(call.get("phoneNumber"))
    hidden = withheld(customer) if direction == "inbound" or customer else None
    if hidden:
        customer = None
    overrides = mapping(call.get("assistantOverrides"))
    artifact = mapping(message.get("artifact"))
    return CallNews(
        direction=direction,
        from_number={"inbound": customer, "outbound": ours}.get(direction or ""),
        to_number={"inbound": ours, "outbound": customer}.get(direction or ""),
        customer_number=customer,
        our_number=ours,
        withheld=hidden,
        lookup_id=lookup_id(
            overrides.get("variableValues"),
            overrides.get("metadata"),
            call.get("metadata"),
            artifact.get("variableValues"),
            mapping(message.get("assistant")).get("metadata"),
        ),
    )


def _number(place: object) -> str | None:
    return text(mapping(place).get("number")) or text(mapping(place).get("sipUri"))


def _status(message: Mapping[str, Any]) -> CallNews:
    """A status says who and when; what was said comes with the report, and the live transcript is not the whole one."""
    call, reason = mapping(message.get("call")), text(message.get("endedReason"))
    return msgspec.structs.replace(
        _who(message),
        started_at=moment(message.get("startedAt")) or moment(call.get("startedAt")),
        ended_at=moment(message.get("endedAt")) or moment(call.get("endedAt")),
        end_reason=reason,
        outcome=_known_outcome(reason),
    )


def _report(message: Mapping[str, Any]) -> CallNews:
    """The report carries most things twice; `artifact` and `analysis` first, since they are the documented place."""
    call, artifact, analysis = (mapping(message.get(part)) for part in ("call", "artifact", "analysis"))
    started = moment(message.get("startedAt")) or moment(call.get("startedAt"))
    ended = moment(message.get("endedAt")) or moment(call.get("endedAt"))
    measured = seconds_between(started, ended)
    duration = _duration(message) if measured is None else measured
    reason = text(message.get("endedReason")) or text(call.get("endedReason"))
    cost = number(message.get("cost"))
    if cost is None:
        cost = number(mapping(message.get("costBreakdown")).get("total"))
    return msgspec.structs.replace(
        _who(message),
        started_at=started,
        ended_at=ended,
        duration_s=duration,
        end_reason=reason,
        outcome=_known_outcome(reason) or ("completed" if duration else "failed"),
        transferred_to=_transferred_to(message, artifact, reason),
        summary=text(analysis.get("summary")) or text(message.get("summary")),
        transcript=_turns(artifact.get("messages")) or _turns(message.get("messages")),
        transcript_text=text(artifact.get("transcript")) or text(message.get("transcript")),
        recording_url=_recording(artifact) or https_url(message.get("recordingUrl")),
        cost=cost,
        cost_currency=None if cost is None else "USD",
        analysis=_analysis(analysis, artifact),
    )


def _duration(message: Mapping[str, Any]) -> float | None:
    for name, seconds in (("durationSeconds", 1.0), ("durationMs", 0.001), ("durationMinutes", 60.0)):
        given = number(message.get(name))
        if given is not None and given >= 0:
            return round(given * seconds, 3)
    return None


def _known_outcome(reason: str | None) -> str | None:
    return next((outcome for pattern, outcome in _OUTCOMES if reason and pattern.fullmatch(reason)), None)


def _transferred_to(message: Mapping[str, Any], artifact: Mapping[str, Any], reason: str | None) -> str | None:
    """Only where the transfer took place: a destination is also named when the caller hung up before."""
    done = [mapping(item) for item in items(artifact.get("transfers")) if mapping(item).get("status") == "completed"]
    if done and (number_ := _number(done[-1].get("destination"))):
        return number_
    return _number(message.get("destination")) if reason == "assistant-forwarded-call" else None


def _recording(artifact: Mapping[str, Any]) -> str | None:
    recording = mapping(artifact.get("recording"))
    places = (
        mapping(recording.get("mono")).get("combinedUrl"),
        artifact.get("recordingUrl"),
        recording.get("stereoUrl"),
    )
    return next((url for url in map(https_url, places) if url), None)


def _turns(messages: object) -> tuple[Turn, ...]:
    return tuple(turn for turn in map(_turn, items(messages)) if turn)


def _turn(message: object) -> Turn | None:
    said = mapping(message)
    role, at_s = said.get("role"), number(said.get("secondsFromStart"))
    if role in _TOOL_ROLES:
        called = [mapping(mapping(call).get("function")) for call in items(said.get("toolCalls"))]
        names = [f"{call.get('name')}({call.get('arguments')})" for call in called]
        told = text(said.get("result")) or ", ".join(names) or text(said.get("message"))
        name = text(said.get("name"))
        return Turn(role="tool", text=f"{name}: {told}" if name else told, at_s=at_s) if told else None
    told = text(said.get("message")) or text(said.get("content"))
    return Turn(role=_ROLES[str(role)], text=told, at_s=at_s) if told and role in _ROLES else None


def _analysis(analysis: Mapping[str, Any], artifact: Mapping[str, Any]) -> Analysis | None:
    """The tenant's structured data, then its structured outputs by name; and the success evaluation, which is a string.

    "true", "Pass" is a success or not; "8", "80%" a score; words of a scale ("Good") stay in the data as they came.
    """
    multi = analysis.get("structuredDataMulti")
    data: dict[str, Any] = {}
    for part in (*items(multi), multi, analysis.get("structuredData")):
        data.update(mapping(part))
    for output in mapping(artifact.get("structuredOutputs")).values():
        if name := text(mapping(output).get("name")):
            data[name] = mapping(output).get("result")
    judged = analysis.get("successEvaluation")
    scored = number(judged.strip().removesuffix("%")) if isinstance(judged, str) else number(judged)
    if flag(judged) is None and scored is None and text(judged):
        data.setdefault("successEvaluation", judged)
    said_score = any(name in data for name in ("score", "lead_score"))
    return read_analysis(data, success=judged, score=None if said_score else scored)
