"""What is written into notes and texts: escaped, in our order, cut to size, with the marker at the end. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from html import escape

from connectors.crm.pipedrive.wire import stamp
from connectors.crm.records import CallLog

LONGEST_TEXT = 60_000  # of one text; Pipedrive documents no bound, and a column of 64 KB is the likeliest one
CUT_NOTE = "[cut here: longer than Pipedrive takes]"
UNCHECKED = "From the call, not checked"

_OUTCOMES = {
    "completed": "answered",
    "no_answer": "not answered",
    "busy": "busy",
    "failed": "failed",
    "voicemail": "voicemail",
    "cancelled": "cancelled",
}


def mark(key: str) -> str:
    """What a text carries instead of the key: short, and telling nobody anything."""
    return f"gw-{hashlib.sha256(key.encode()).hexdigest()[:20]}"


def html(body: str, unchecked: str, *, facts: Sequence[str] = (), extra: Sequence[str] = (), marker: str = "") -> str:
    """Escaped paragraphs: the body, `facts` a line each, `extra` as it is, what was said in the call, the marker last."""

    def build(body: str, unchecked: str) -> str:
        parts = _paragraphs(body)
        if facts:
            parts.append(f"<p>{'<br>'.join(escape(fact) for fact in facts)}</p>")
        parts += extra
        if unchecked:
            parts += [f"<p><strong>{UNCHECKED}</strong></p>", *_paragraphs(unchecked)]
        if marker:
            parts.append(f"<p>Ref. {marker}</p>")
        return "".join(parts)

    return _fitted(build, body, unchecked)


def plain(body: str) -> str:
    """The same for fields that hold text: a deal's has no key in it and nothing that was said."""
    return _fitted(lambda body, _: body.strip(), body, "")


def facts_of(call: CallLog) -> list[str]:
    """What an activity has no members for. Its own duration knows no seconds."""
    inbound = call.direction == "inbound"
    customer, ours = call.customer_number or "", call.our_number or ""
    numbers = [number for number in ((customer, ours) if inbound else (ours, customer)) if number]
    facts = [f"{'Inbound' if inbound else 'Outbound'} call, {_OUTCOMES.get(call.outcome, call.outcome)}"]
    facts += [" → ".join(numbers)] if numbers else []
    facts += [f"Duration: {_spoken(call.duration)}"] if call.duration is not None else []
    return facts


def recording_of(call: CallLog) -> list[str]:
    """A link as a paragraph; other addresses than those of the web are left as text."""
    url = call.recording_url or ""
    if not url:
        return []
    if not url.startswith(("https://", "http://")):
        return [f"<p>Recording: {escape(url)}</p>"]
    return [f'<p><a href="{escape(url)}">Recording</a></p>']


def hours_and_minutes(span: timedelta) -> str:
    """ "00:04" for 3 min 40 s: to the nearest minute, and never none for a call that was one."""
    minutes = max(0, round(span.total_seconds() / 60))
    minutes = minutes or (1 if span > timedelta(0) else 0)
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def task_facts(priority: str, remind: datetime | None = None) -> list[str]:
    """What Pipedrive has no settings for: how urgent, and when the owner wanted to be reminded."""
    facts = [f"Priority: {priority}"] if priority != "normal" else []
    if remind is not None:
        facts.append(f"Reminder wished for {stamp(remind).replace('T', ' ').replace('Z', ' UTC')}")
    return facts


def _spoken(span: timedelta) -> str:
    seconds = max(0, round(span.total_seconds()))
    return f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"


def _paragraphs(text: str) -> list[str]:
    blocks = text.strip().replace("\r\n", "\n").split("\n\n")
    return [f"<p>{escape(block.strip()).replace(chr(10), '<br>')}</p>" for block in blocks if block.strip()]


def _fitted(build: Callable[[str, str], str], body: str, unchecked: str) -> str:
    """`build(body, unchecked)`, the texts cut as little as makes it fit; the end of the call's words goes first."""
    whole = build(body, unchecked)
    if len(whole) <= LONGEST_TEXT:
        return whole

    def cut(keep: int) -> str:
        mine, theirs = body[:keep], unchecked[: max(0, keep - len(body))]
        mine += f"\n\n{CUT_NOTE}" if len(mine) < len(body) else ""
        theirs += f"\n\n{CUT_NOTE}" if len(theirs) < len(unchecked) else ""
        return build(mine, theirs)

    fits, too_much = 0, len(body) + len(unchecked)
    while too_much - fits > 1:
        middle = (fits + too_much) // 2
        fits, too_much = (middle, too_much) if len(cut(middle)) <= LONGEST_TEXT else (fits, middle)
    return cut(fits)
