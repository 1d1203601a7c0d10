"""Text as it goes into Salesforce: inert, cut to what a field takes, with our marker and the times tasks have no field for. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from html import escape
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from connectors.json_text import clean

LONGEST_TEXT = 32_000  # of a description, as Salesforce counts
LONGEST_SUBJECT = 255
LONGEST_TITLE = 255
CUT_NOTE = "[cut here: longer than Salesforce takes]"
UNCHECKED = "From the call, not checked"
_LONGEST_NOTE = 500_000  # characters of HTML; the field takes 50 MB

_KEY = re.compile(r"[A-Za-z0-9_-]{1,255}", re.ASCII)


def inert(text: str) -> str:
    """Text that means only itself. Composite requests replace `@{…}` wherever it stands, also in what somebody said."""
    return clean(text).replace("@{", "@ {")


def key_value(key: str) -> str:
    """A write's key as it stands in a field of 255 characters: itself, or its hash if it would need quoting anywhere."""
    return key if _KEY.fullmatch(key) else hashlib.sha256(key.encode()).hexdigest()


def mark(key: str) -> str:
    """What a text carries instead of the key: short, and telling nobody anything."""
    return f"gw-{hashlib.sha256(key.encode()).hexdigest()[:20]}"


def line(text: str, most: int) -> str:
    """One line of at most `most` characters."""
    flat = " ".join(inert(text).split())
    return flat if len(flat) <= most else flat[: most - 1].rstrip() + "…"


def zone(name: str | None) -> ZoneInfo:
    """The org's time zone; UTC for one this machine does not know."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def day(at: datetime, timezone: str | None) -> date:
    """The day it is where the org is."""
    return at.astimezone(zone(timezone)).date()


def started(at: datetime) -> str:
    """When a call began, for people and for `wire_people.read_task`: tasks keep the day only."""
    return f"Started: {at.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%SZ')}"


def due(at: datetime, timezone: str | None) -> str:
    """The hour of a due time, which tasks have no field for; "" for midnight, which means the day."""
    local = at.astimezone(zone(timezone))
    return "" if (local.hour, local.minute) == (0, 0) else f"Due at {local:%H:%M} ({local.tzinfo})"


def plain(body: str, unchecked: str = "", *, details: Sequence[str] = (), marker: str | None = None) -> str:
    """The text of a record: what is known, details, what was said in the call under its heading, the marker last."""

    def build(body: str, unchecked: str) -> str:
        parts = [body.strip(), "\n".join(inert(detail) for detail in details if detail)]
        parts.append(f"{UNCHECKED}:\n{unchecked.strip()}" if unchecked.strip() else "")
        parts.append(f"Ref. {marker}" if marker else "")
        return "\n\n".join(part for part in parts if part)

    return _fitted(build, inert(body), inert(unchecked), LONGEST_TEXT)


def html(body: str, unchecked: str = "") -> str:
    """The same as escaped paragraphs, for notes."""

    def build(body: str, unchecked: str) -> str:
        heading = [f"<p><b>{UNCHECKED}</b></p>"] if unchecked.strip() else []
        return "".join([*_paragraphs(body), *heading, *_paragraphs(unchecked)])

    return _fitted(build, inert(body), inert(unchecked), _LONGEST_NOTE)


def _paragraphs(text: str) -> list[str]:
    blocks = text.strip().replace("\r\n", "\n").split("\n\n")
    return [f"<p>{escape(block.strip()).replace(chr(10), '<br>')}</p>" for block in blocks if block.strip()]


def length(text: str) -> int:
    """As Salesforce counts: UTF-16 units, a line break for two."""
    return len(text.encode("utf-16-le", "replace")) // 2 + text.count("\n")


def _fitted(build: Callable[[str, str], str], body: str, unchecked: str, most: int) -> str:
    """`build(body, unchecked)`, the texts cut as little as makes it fit; the end of the call's words goes first."""
    whole = build(body, unchecked)
    if length(whole) <= most:
        return whole

    def cut(keep: int) -> str:
        mine, theirs = body[:keep], unchecked[: max(0, keep - len(body))]
        mine += f"\n\n{CUT_NOTE}" if len(mine) < len(body) else ""
        theirs += f"\n\n{CUT_NOTE}" if len(theirs) < len(unchecked) else ""
        return build(mine, theirs)

    fits, too_much = 0, len(body) + len(unchecked)
    while too_much - fits > 1:
        middle = (fits + too_much) // 2
        fits, too_much = (middle, too_much) if length(cut(middle)) <= most else (fits, middle)
    return cut(fits)
