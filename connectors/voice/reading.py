"""Foreign JSON values, read leniently: what cannot be read is None or empty, never an error.

A live call hangs on every event, and platforms change types without notice (numbers as strings, seconds as
milliseconds, absent parts as null), so no reader here raises for a value. Only `read_object` raises, for no JSON at all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from connectors.json_text import BadJson, parse_json
from connectors.voice.port import BadEvent

EMPTY: Mapping[str, Any] = {}

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\[\]=\"-]{0,63}")
_ID = re.compile(r"[!-~]{1,200}")
_LOOKUP_ID = re.compile(r"lk_[A-Za-z0-9_-]{1,80}")
_UNBROKEN = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029]+")
_LATER_THAN_SECONDS = 1e11  # as seconds this is the year 5138, as milliseconds 1973: what is larger is milliseconds


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`. Raises `BadEvent` if there is none; the text never quotes the body."""
    try:
        value = parse_json(body)
    except BadJson as bad:
        raise BadEvent("the body is not JSON") from bad
    if not isinstance(value, dict):
        raise BadEvent("the body is JSON, but no object")
    return value


def mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else EMPTY


def items(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def text(value: object) -> str | None:
    """A non-blank string without its outer spaces. Whole numbers count: phone numbers come as integers too."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        return str(value)
    if isinstance(value, str):
        return value.strip() or None
    return None


def number(value: object) -> float | None:
    """A finite number, also when it came as a string ("18.8")."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        read = float(value)
    except (ValueError, OverflowError):
        return None
    return read if math.isfinite(read) else None


def moment(value: object) -> datetime | None:
    """A point in time, in UTC, from seconds or milliseconds since 1970 or from ISO 8601 (no zone means UTC)."""
    since_1970 = number(value)
    try:
        if since_1970 is not None:
            if since_1970 <= 0:
                return None
            return datetime.fromtimestamp(since_1970 / 1000 if since_1970 > _LATER_THAN_SECONDS else since_1970, tz=UTC)
        if isinstance(value, str):
            read = datetime.fromisoformat(value.strip())
            return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    """Seconds from `start` to `end`; None when either is missing or they are the wrong way round."""
    if start is None or end is None or end < start:
        return None
    return round((end - start).total_seconds(), 3)


def ident(value: object) -> str | None:
    """An id as a platform makes them: printable ASCII without spaces, at most 200 long; else None."""
    read = text(value)
    return read if read is not None and _ID.fullmatch(read) else None


def label(value: object) -> str:
    """The name of an event, safe to log and to keep; "unknown" for anything that does not look like one."""
    return value if isinstance(value, str) and _LABEL.fullmatch(value) else "unknown"


def lookup_id(*places: object) -> str | None:
    """Our own `gateway_lookup_id` from the first of the places that echoes it; None if what is there is not ours."""
    for place in places:
        read = mapping(place).get("gateway_lookup_id")
        if isinstance(read, str) and _LOOKUP_ID.fullmatch(read):
            return read
    return None


def https_url(value: object) -> str | None:
    """An https address without user or spaces. Which hosts count is for the gateway to say."""
    if not isinstance(value, str) or len(value) > 2048 or _UNBROKEN.search(value):
        return None
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - read for its ValueError
    except ValueError:
        return None
    return value if parts.scheme == "https" and parts.hostname and parts.username is None else None


def one_line(value: str) -> str:
    """The text on a single line: every run of line breaks, control characters and spaces becomes one space."""
    return _UNBROKEN.sub(" ", value).strip()


def flat_strings(values: Mapping[str, Any]) -> dict[str, str]:
    """Prompt variables as strings: true, false, numbers as written, nothing as ""; lists and objects are left out."""
    return {name: _flat(value) for name, value in values.items() if not isinstance(value, dict | list | tuple)}


def _flat(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
