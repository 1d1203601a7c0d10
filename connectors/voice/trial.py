"""A test event in each platform's own format, signed as that platform would sign it. Pure.

It tells of a call that never was: made-up words, a caller who hides the number, so that nobody is looked up.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from connectors.voice.port import Incoming
from connectors.voice.retell import SIGNATURE_HEADER
from connectors.voice.signature import hmac_of
from connectors.voice.vapi import Vapi

LASTED = timedelta(seconds=42)
SUMMARY = "This is a test event. Somebody asked for the opening hours."


def vapi(*, url: str, secret: str, settings: Mapping[str, str], call_id: str, now: datetime) -> Incoming:
    """An end-of-call report, with the proof that the endpoint's settings ask for."""
    began = now - LASTED
    message = {
        "type": "end-of-call-report",
        "timestamp": _ms(now),
        "startedAt": began.isoformat(),
        "endedAt": now.isoformat(),
        "endedReason": "customer-ended-call",
        "call": {"id": call_id, "type": "inboundPhoneCall", "status": "ended"},
        "customer": {"number": "anonymous"},
        "analysis": {"summary": SUMMARY, "successEvaluation": "true"},
        "artifact": {
            "messages": [
                {"role": "bot", "message": "Good day, how can I help?", "secondsFromStart": 0.8},
                {"role": "user", "message": "When are you open?", "secondsFromStart": 3.1},
            ]
        },
    }
    chosen = {**Vapi.settings, **settings}
    unsigned = Incoming(
        method="POST", url=url, headers={chosen["timestamp_header"].lower(): str(_ms(now))}, body=_json(message=message)
    )
    match chosen["auth"]:
        case "hmac":
            proof = {chosen["signature_header"]: hmac_of(unsigned, secret=secret, chosen=chosen)}
        case "bearer":
            proof = {chosen["bearer_header"]: chosen["bearer_prefix"] + secret}
        case _:
            proof = {chosen["secret_header"]: secret}
    return _with(unsigned, proof)


def retell(*, url: str, secret: str, settings: Mapping[str, str], call_id: str, now: datetime) -> Incoming:
    """`call_analyzed`, signed with the API key."""
    call = {
        "call_id": call_id,
        "call_type": "phone_call",
        "call_status": "ended",
        "direction": "inbound",
        "from_number": "anonymous",
        "start_timestamp": _ms(now - LASTED),
        "end_timestamp": _ms(now),
        "disconnection_reason": "user_hangup",
        "transcript": "Agent: Good day, how can I help?\nUser: When are you open?\n",
        "transcript_object": [
            {"role": "agent", "content": "Good day, how can I help?"},
            {"role": "user", "content": "When are you open?"},
        ],
        "call_analysis": {"call_summary": SUMMARY, "call_successful": True, "user_sentiment": "Neutral"},
    }
    body, stamp = _json(event="call_analyzed", call=call), str(_ms(now))
    digest = hmac.new(secret.encode(errors="surrogatepass"), body + stamp.encode(), hashlib.sha256).hexdigest()
    return _with(Incoming(method="POST", url=url, headers={}, body=body), {SIGNATURE_HEADER: f"v={stamp},d={digest}"})


TRIALS: Mapping[str, Callable[..., Incoming]] = {"vapi": vapi, "retell": retell}


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _json(**value: Any) -> bytes:
    return msgspec.json.encode(value)


def _with(request: Incoming, headers: Mapping[str, str]) -> Incoming:
    lower = {name.lower(): value for name, value in headers.items()}
    return msgspec.structs.replace(request, headers={**request.headers, **lower})
