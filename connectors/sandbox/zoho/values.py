"""What Zoho does to a value before it keeps it, and how it shows it again. Values are kept as texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from connectors.sandbox.zoho.errors import invalid, too_long
from connectors.sandbox.zoho.modules import STAGES, FieldDef, Module

_EMAIL = re.compile(r"[^@\s,;<>()]+@[^@\s.,;<>()]+(\.[^@\s.,;<>()]+)+")
_DURATION = re.compile(r"\d{1,4}:[0-5]\d")
_ALARM = re.compile(r"(?:FREQ=\w+;)?ACTION=\w+;TRIGGER=DATE-TIME:(?P<at>.+)")


def zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def read(field: FieldDef, value: Any, at: int) -> str:
    """The value as it is kept; "" clears. Raises `BadRecord`: JSON of the wrong type is refused, not converted."""
    if value is None or value == "":
        return ""
    match field.type:
        case "boolean":
            return _one(field, value, bool, at, "boolean") and ("true" if value else "false")
        case "integer" | "bigint":
            if isinstance(value, bool) or not isinstance(value, int):
                raise invalid(field.name, "integer", at=at)
            return str(value)
        case "currency" | "double" | "percent":
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise invalid(field.name, "double", at=at)
            return str(value)
        case "date":
            return _day(field, value, at)
        case "datetime":
            return _moment(field, value, at)
        case "lookup" | "ownerlookup":
            id = value.get("id") if isinstance(value, dict) else value
            if isinstance(id, bool) or not isinstance(id, str | int) or not str(id).isdigit():  # the SDK sends numbers
                raise invalid(field.name, "bigint", at=at)
            return str(id)
        case "picklist":
            text = _text(field, value, at)
            if field.options and text not in field.options and text != "-None-":
                raise invalid(field.name, "picklist", at=at, supported_values=list(field.options)[:25])
            return "" if text == "-None-" else text
        case "multiselectpicklist":
            if not isinstance(value, list):
                raise invalid(field.name, "jsonarray", at=at)
            return ";".join(str(one) for one in value)
        case "reminder":
            return _alarm(field, value, at)
        case _:
            return _checked(field, _text(field, value, at), at)


def _one(field: FieldDef, value: Any, kind: type, at: int, named: str) -> str:
    if not isinstance(value, kind):
        raise invalid(field.name, named, at=at)
    return "ok"


def _text(field: FieldDef, value: Any, at: int) -> str:
    if not isinstance(value, str):
        raise invalid(field.name, "text", at=at)
    return value


def _checked(field: FieldDef, text: str, at: int) -> str:
    if field.length and len(text) > field.length:
        raise too_long(field.name, field.length, at=at)
    if field.type == "email" and not _EMAIL.fullmatch(text):
        raise invalid(field.name, "email", at=at)
    if field.name == "Call_Duration" and not _DURATION.fullmatch(text):
        raise invalid(field.name, "text", at=at)
    return text


def _day(field: FieldDef, value: Any, at: int) -> str:
    try:
        return date.fromisoformat(value).isoformat()
    except (TypeError, ValueError):
        raise invalid(field.name, "date", at=at) from None


def _moment(field: FieldDef, value: Any, at: int) -> str:
    """ISO 8601 with an offset and without fractions."""
    try:
        read = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise invalid(field.name, "datetime", at=at) from None
    if read.tzinfo is None or read.microsecond:
        raise invalid(field.name, "datetime", at=at)
    return read.astimezone(UTC).isoformat(timespec="seconds")


def _alarm(field: FieldDef, value: Any, at: int) -> str:
    alarm = value.get("ALARM") if isinstance(value, dict) else None
    found = _ALARM.fullmatch(alarm) if isinstance(alarm, str) else None
    if found is None:
        raise invalid(field.name, "jsonobject", at=at)
    _moment(field, found["at"], at)
    return str(alarm)


def show(field: FieldDef, kept: str, stamp: Callable[[datetime], str]) -> Any:
    match field.type:
        case "boolean":
            return kept == "true"
        case "integer" | "bigint":
            return int(kept)
        case "currency" | "double" | "percent":
            number = float(kept)
            return int(number) if number.is_integer() else number
        case "datetime":
            return stamp(datetime.fromisoformat(kept))
        case "multiselectpicklist":
            return kept.split(";")
        case "reminder":
            return {"ALARM": kept}
        case _:
            return kept


def derived(module: Module, held: Mapping[str, str], written: Mapping[str, str]) -> dict[str, str]:
    """Values that follow from what was written (recorded: nango-list-calls, nango-get-deal)."""
    after = {**held, **written}
    if module.name == "Calls" and written.get("Call_Duration"):
        minutes, _, seconds = written["Call_Duration"].partition(":")
        status = {"Inbound": "Received", "Missed": "Missed"}.get(after.get("Call_Type", ""))
        status = status or after.get("Outbound_Call_Status") or "Scheduled"
        return {"Call_Duration_in_seconds": str(60 * int(minutes) + int(seconds)), "Call_Status": status}
    if module.name == "Deals" and written.get("Stage"):
        chances = {name: chance for name, _, chance in STAGES}
        return {"Probability": str(chances[written["Stage"]])} if written["Stage"] in chances else {}
    return {}
