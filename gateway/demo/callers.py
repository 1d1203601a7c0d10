"""Who calls in the demo and what they say, in the words Vapi reports it with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any


@dataclass(frozen=True)
class Story:
    """What one caller says. `analysis`: the voice platform's structured data about the call."""

    title: str
    known: bool
    summary: str
    lines: tuple[tuple[str, str], ...]
    analysis: Mapping[str, Any]


STORIES: Mapping[str, Story] = {
    "lead": Story(
        "a customer wants to buy",
        True,
        "Wants an offer for two heat pumps, delivery in January. Asked to be called back on Monday.",
        (
            ("bot", "Bonjour, comment puis-je vous aider ?"),
            ("user", "Je voudrais une offre pour deux pompes à chaleur."),
        ),
        {
            "intents": ["purchase"],
            "products": ["heat pump"],
            "budget": 24000,
            "promises": [{"what": "call back with an offer", "due": "+MONDAY"}],
        },
    ),
    "newcomer": Story(
        "somebody nobody knows",
        False,
        "First call. Asked for the opening hours and left her name.",
        (("bot", "Grüezi, wie kann ich helfen?"), ("user", "Meier, guten Tag. Wann haben Sie offen?")),
        {"first_name": "Ruth", "last_name": "Meier", "intents": ["information"]},
    ),
    "callback": Story(
        "a call back is promised",
        True,
        "The invoice of October is not clear. Was promised a call back tomorrow.",
        (("bot", "Buongiorno."), ("user", "Non capisco la fattura di ottobre.")),
        {"intents": ["question"], "promises": [{"what": "call back about the invoice", "due": "+MONDAY"}]},
    ),
}


def vapi_message(kind: str, caller: str, call_id: str, **call: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "type": kind,
        "timestamp": int(now.timestamp() * 1000),
        "call": {"id": call_id, "type": "inboundPhoneCall", "customer": {"number": caller}, **call},
        "customer": {"number": caller},
        "phoneNumber": {"number": "+41435550100", "name": "Front desk"},
    }


def end_report(story: Story, caller: str, call_id: str) -> dict[str, Any]:
    ended = datetime.now(UTC)
    began = ended - timedelta(seconds=74)
    monday = (ended + timedelta(days=7 - ended.weekday())).date().isoformat()
    promises = [{**one, "due": monday} for one in story.analysis.get("promises", [])]
    data = {**story.analysis, **({"promises": promises} if promises else {})}
    said = [
        {"role": role, "message": text, "secondsFromStart": 2.0 + 5 * n} for n, (role, text) in enumerate(story.lines)
    ]
    return {
        **vapi_message("end-of-call-report", caller, call_id, status="ended"),
        "startedAt": began.isoformat(),
        "endedAt": ended.isoformat(),
        "endedReason": "customer-ended-call",
        "analysis": {"summary": story.summary, "structuredData": data, "successEvaluation": "true"},
        "artifact": {"messages": said, "transcript": "\n".join(text for _, text in story.lines)},
    }
