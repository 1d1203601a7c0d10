"""Retell: `{"event": …}` for what happens, a request of its own for each custom function, `call_inbound` while it rings.

Sources: docs.retellai.com "Webhook overview", "Inbound webhook", "Custom function", "Debug call disconnection";
retell-sdk 6.2.13 (`lib/webhook_auth`, call models); captures as collected in voice-platforms.md §5 (2026-11-21).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from connectors.json_text import clean
from connectors.phone import withheld
from connectors.voice.analysis import read_analysis
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
    flat_strings,
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
from connectors.voice.signature import fresh, same

SIGNATURE_HEADER = "x-retell-signature"

_SIGNATURE = re.compile(r"v=([0-9]{1,16}),d=([0-9a-f]{64})")  # as the official SDK: lower-case hex only
_LIFECYCLE = frozenset({"call_started", "call_ended", "call_analyzed"})
_TRANSFERS = frozenset({"transfer_started", "transfer_bridged", "transfer_cancelled", "transfer_ended"})
_NOISE = frozenset({"transcript_updated"})
_ENVELOPES = ("call", "chat", "call_inbound", "chat_inbound")  # what stands beside `event` in a real event
_ROLES = {"agent": "agent", "user": "caller", "transfer_target": "agent"}  # the colleague a call went to is our side

_OUTCOMES = {
    "user_hangup": "completed",
    "agent_hangup": "completed",
    "user_requested_dnc": "completed",
    "user_requested_callback": "completed",
    "call_transfer": "completed",
    "transfer_bridged": "completed",
    "transfer_cancelled": "completed",
    "call_take_over": "completed",
    "inactivity": "completed",
    "max_duration_reached": "completed",
    "ivr_reached": "completed",
    "voicemail_reached": "voicemail",
    "dial_busy": "busy",
    "dial_no_answer": "no_answer",
    "user_declined": "no_answer",
    "registered_call_timeout": "cancelled",
    "error_user_not_joined": "cancelled",
    "dial_failed": "failed",
    "invalid_destination": "failed",
    "telephony_provider_permission_denied": "failed",
    "telephony_provider_unavailable": "failed",
    "sip_routing_error": "failed",
    "marked_as_spam": "failed",
    "network_blocked": "failed",
    "scam_detected": "failed",
    "concurrency_limit_reached": "failed",
    "no_concurrency_fallback": "failed",
    "no_valid_payment": "failed",
    "credit_exhausted": "failed",
}
"""`disconnection_reason` of retell-sdk 6.2.13. The rest (`error_*`, `manual_stopped`, `budget_reached`, and what will be
added) says nothing of who talked: `completed` if the call lasted, else `failed`. A voicemail wins over all of them."""

_NO_TOOL_ANSWER = "There is no answer to this right now."


class Retell:
    """See `connectors.voice.port.Platform`."""

    slug = "retell"
    name = "Retell AI"
    secret_is_theirs = True  # requests are signed with the tenant's Retell API key; nothing of ours can replace it
    settings: Mapping[str, str] = {"function_header": ""}  # a header that proves a custom function without signature

    def verify(self, request: Incoming, *, secret: str, settings: Mapping[str, str], now: datetime) -> Assurance:
        """`X-Retell-Signature: v=<ms>,d=<hex>`: HMAC-SHA256 with the API key over the raw body followed by the ms digits.

        SIGNED when the body says it all. A query is not under the signature (it names the tool when the body cannot), so
        such a request is SECRET. `function_header`, if the tenant set one, stands in only where there is no signature,
        and carries `function_secret(secret)`, never the API key itself.
        """
        header = {**self.settings, **settings}["function_header"].lower()
        if not secret:
            raise BadSignature("no secret is set")
        if SIGNATURE_HEADER in request.headers:
            _check_signature(request, secret, now)
            return Assurance.SIGNED if request.body and not request.query else Assurance.SECRET
        if header and same(request.headers.get(header, ""), function_secret(secret)):
            return Assurance.SECRET
        raise BadSignature("no signature")

    def parse(self, request: Incoming) -> Event:
        """Read the event. Known by (event, call id), a transfer also by its time.

        A custom function is what has no `event` around it: `{"name", "call", "args"}`, or with `args_at_root` only the
        arguments, or with GET only a query. The last two name neither tool nor call, so the URL set at Retell may say
        `?tool=lookup_customer`; without it the tool's name is "".
        """
        if not request.body.strip() and request.query:
            return _function({}, request)
        body = read_object(request.body)
        event = body.get("event")
        if not isinstance(event, str) or ("tool" in request.query and not _is_event(event, body)):
            return _function(body, request)
        name, call = label(event), mapping(body.get("call"))
        call_id = ident(call.get("call_id"))
        if name == "call_inbound":
            return _lookup(name, mapping(body.get("call_inbound")))
        if call_id is None or name not in _LIFECYCLE | _TRANSFERS:
            return Ignored(name=name, call_id=call_id, noisy=name in _NOISE)
        return CallEvent(
            name=name,
            dedupe=_dedupe(name, call_id, body),
            call_id=call_id,
            news=_transfer(name, body, call) if name in _TRANSFERS else _news(name, call),
            aliases=_aliases(call),
            ended=name in ("call_ended", "call_analyzed"),
            final=name == "call_analyzed",  # it comes for every call, also for one that never connected
        )

    def answer_lookup(self, event: Event, caller: Caller) -> Answer:
        """The tenant's stored reply, with or without its `call_inbound` around it, with our variables merged over.

        Retell takes strings only as variables. Without `override_agent_id` the number's own agent answers; if it has none
        the call is dropped. `metadata` comes back with every event of the call, and so joins it to this lookup: there is
        no call id yet.
        """
        stored = mapping(caller.fallback.get("call_inbound")) or caller.fallback
        variables = flat_strings(mapping(stored.get("dynamic_variables"))) | flat_strings(caller.variables)
        metadata = {**mapping(stored.get("metadata")), "gateway_lookup_id": caller.lookup_id}
        return _json({"call_inbound": {**stored, "dynamic_variables": variables, "metadata": metadata}})

    def answer_tools(self, event: Event, results: tuple[ToolResult, ...]) -> Answer:
        """One object for the one call, always with 200: on anything else Retell may run the function again.

        The model reads it as text, `response_variables` picks fields from it: our data, and a line to say as `result`.
        """
        if not isinstance(event, ToolsCalled):
            return self.acknowledge(event)
        asked = event.calls[0].id if event.calls else None
        result = next((result for result in results if result.id == asked), None)
        if result is None or result.error is not None:
            return _json({"error": one_line((result and result.error) or "") or _NO_TOOL_ANSWER})
        said = {"result": one_line(result.text)} if result.text else {}
        return _json({**said, **result.data})

    def acknowledge(self, event: Event) -> Answer:
        """`{}`: Retell reads the status only."""
        return _json({})

    def steps(self, *, url: str, secret: str) -> tuple[str, ...]:
        ending = f" (this endpoint has one that ends in {secret[-4:]})" if len(secret) >= 16 else ""
        return (
            "At dashboard.retellai.com open Settings, API Keys: the key with the Webhook badge signs all requests. It must "
            f"be this endpoint's secret{ending}.",
            "To greet callers by name, open Phone Numbers, choose the number and set its Inbound Webhook URL to " + url,
            "Give the number a default inbound agent as well: it answers when no other is named, and without one calls drop.",
            "Open the agent, Webhook Settings, and set the Agent Level Webhook URL to " + url,
            "Among its events leave call_started, call_ended and call_analyzed on; add transfer_bridged if calls are "
            "transferred; leave transcript_updated off, which only costs traffic.",
            "Leave the webhook timeout at 10 seconds; Retell retries up to three times by itself.",
            "To let the agent look things up during the call, add a Custom Function (for example lookup_customer), method "
            f"POST, URL {url} , and leave “args at root” off: the caller's number then comes from the call, not the model.",
            f"If “args at root” must be on, end that URL with ?tool=lookup_customer : {url}?tool=lookup_customer",
            "Set the function's retries to 0 for whatever writes; lookups may have 1.",
            "Functions are signed like webhooks. Where a proxy removes the signature, send a header of your choice with the "
            f"value {function_secret(secret)} and name that header in this endpoint's setting function_header.",
            "In the prompt write {{customer_name}}, {{customer_known}} and the other variables of this endpoint.",
        )


def function_secret(secret: str) -> str:
    """What a custom function's header carries: made from the API key, so that the key stays out of agent exports."""
    return hmac.new(secret.encode(errors="surrogatepass"), b"gateway: custom function", hashlib.sha256).hexdigest()


def _check_signature(request: Incoming, secret: str, now: datetime) -> None:
    read = _SIGNATURE.fullmatch(request.headers[SIGNATURE_HEADER])
    if read is None or not fresh(read[1], now):
        raise BadSignature("no readable signature, or one too far from now")
    message = request.body + read[1].encode()
    if not same(read[2], hmac.new(secret.encode(errors="surrogatepass"), message, hashlib.sha256).hexdigest()):
        raise BadSignature("the signature does not match")


def _is_event(event: str, body: Mapping[str, Any]) -> bool:
    """Told from the arguments of a function at a URL with `?tool=`, one of which may be called `event`."""
    return event in _LIFECYCLE | _TRANSFERS | _NOISE or any(isinstance(body.get(part), dict) for part in _ENVELOPES)


def _json(value: Mapping[str, Any]) -> Answer:
    return Answer(body=msgspec.json.encode(value))


def _dedupe(name: str, call_id: str, body: Mapping[str, Any]) -> str:
    """A call may be transferred more than once; the event's own time tells which. No number may stand in a key."""
    at = number(body.get("event_timestamp")) if name in _TRANSFERS else None
    return f"{call_id}:{name}" if at is None else f"{call_id}:{name}:{at:.0f}"


def _aliases(call: Mapping[str, Any]) -> tuple[str, ...]:
    carriers = (ident(value) for value in mapping(call.get("telephony_identifier")).values())
    return tuple(f"carrier:{carrier}" for carrier in carriers if carrier)


def _lookup(name: str, asked: Mapping[str, Any]) -> LookupAsked:
    caller = text(asked.get("from_number"))
    hidden = withheld(caller)
    return LookupAsked(
        name=name,
        number=None if hidden else caller,
        withheld=hidden,
        our_number=text(asked.get("to_number")),
    )


def _function(body: Mapping[str, Any], request: Incoming) -> ToolsCalled:
    call = mapping(body.get("call"))
    wrapped = bool(call) and (isinstance(body.get("name"), str) or isinstance(body.get("args"), dict))
    query = {clean(key): clean(value) for key, value in request.query.items() if key != "tool"}
    arguments = mapping(body.get("args")) if wrapped else body or query
    name = (text(body.get("name")) if wrapped else None) or clean(request.query.get("tool", ""))
    who, call_id = _who(call if wrapped else {}), ident(call.get("call_id")) if wrapped else None
    return ToolsCalled(
        name="custom_function",
        calls=(ToolCall(id=_function_id(call_id, name, arguments), name=name, arguments=arguments),),
        caller=who.customer_number,
        withheld=bool(who.withheld),
        call_id=call_id,
        our_number=who.our_number,
    )


def _function_id(call_id: str | None, name: str, arguments: Mapping[str, Any]) -> str:
    """Retell gives none. The same for the same question in the same call, since Retell repeats failed ones.

    Made from what was asked, so it is for stores that are sealed or short-lived, not for logs.
    """
    asked = msgspec.json.encode([call_id, name, arguments], order="deterministic")
    return "fn_" + hashlib.sha256(asked).hexdigest()[:32]


def _who(call: Mapping[str, Any]) -> CallNews:
    """Who talks to whom: from and to by direction. A web call has neither, whatever its page says."""
    web = call.get("call_type") == "web_call"
    direction = "web" if web else text(call.get("direction"))
    if direction not in ("inbound", "outbound", "web"):
        direction = None
    from_number, to_number = (None, None) if web else (text(call.get("from_number")), text(call.get("to_number")))
    hidden = withheld(from_number) if direction == "inbound" else None
    if hidden:
        from_number = None
    return CallNews(
        direction=direction,
        from_number=from_number,
        to_number=to_number,
        customer_number={"inbound": from_number, "outbound": to_number}.get(direction or ""),
        our_number={"inbound": to_number, "outbound": from_number}.get(direction or ""),
        withheld=hidden,
        lookup_id=lookup_id(call.get("metadata"), call.get("retell_llm_dynamic_variables")),
    )


def _transfer(name: str, body: Mapping[str, Any], call: Mapping[str, Any]) -> CallNews:
    """Transferred only once it is bridged: one that has started may yet be cancelled, and news cannot be taken back."""
    to = mapping(body.get("transfer_destination")) if name in ("transfer_bridged", "transfer_ended") else {}
    return msgspec.structs.replace(
        _who(call),
        started_at=moment(call.get("start_timestamp")),
        transferred_to=text(to.get("number")) or text(to.get("sip_uri")),
    )


def _news(name: str, call: Mapping[str, Any]) -> CallNews:
    started, ended = moment(call.get("start_timestamp")), moment(call.get("end_timestamp"))
    who = msgspec.structs.replace(_who(call), started_at=started)
    if name == "call_started":
        return who
    measured, given = seconds_between(started, ended), number(call.get("duration_ms"))
    duration = measured if measured is not None else None if given is None or given < 0 else round(given / 1000, 3)
    analysis = mapping(call.get("call_analysis"))
    cents = number(mapping(call.get("call_cost")).get("combined_cost"))
    return msgspec.structs.replace(
        who,
        ended_at=ended,
        duration_s=duration,
        end_reason=text(call.get("disconnection_reason")),
        outcome=_outcome(call, analysis, duration),
        transferred_to=text(call.get("transfer_destination")),
        summary=text(analysis.get("call_summary")),
        transcript=_turns(call.get("transcript_with_tool_calls")) or _turns(call.get("transcript_object")),
        transcript_text=text(call.get("transcript")),
        recording_url=https_url(call.get("recording_url")),
        cost=None if cents is None else round(cents / 100, 6),
        cost_currency=None if cents is None else "USD",
        analysis=_analysis(call, analysis),
    )


def _outcome(call: Mapping[str, Any], analysis: Mapping[str, Any], duration: float | None) -> str:
    if analysis.get("in_voicemail") is True:
        return "voicemail"
    reason = text(call.get("disconnection_reason"))
    return _OUTCOMES.get(reason or "") or ("completed" if duration else "failed")


def _turns(said: object) -> tuple[Turn, ...]:
    return tuple(turn for turn in map(_turn, items(said)) if turn)


def _turn(utterance: object) -> Turn | None:
    said = mapping(utterance)
    role, told = str(said.get("role")), text(said.get("content"))
    if role == "tool_call_invocation" and (name := text(said.get("name"))):
        return Turn(role="tool", text=f"{name}({text(said.get('arguments')) or ''})")
    if role == "tool_call_result" and told:
        return Turn(role="tool", text=told)
    words = items(said.get("words"))
    at_s = number(mapping(words[0]).get("start")) if words else None
    return Turn(role=_ROLES[role], text=told, at_s=at_s) if told and role in _ROLES else None


def _analysis(call: Mapping[str, Any], analysis: Mapping[str, Any]) -> Analysis | None:
    """What was collected in the call, then what the analysis found, which wins under the same name."""
    data = {**mapping(call.get("collected_dynamic_variables")), **mapping(analysis.get("custom_analysis_data"))}
    return read_analysis(data, sentiment=analysis.get("user_sentiment"), success=analysis.get("call_successful"))
