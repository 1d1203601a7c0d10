"""What the data of an action must look like: single lines, amounts, days. Anything else is left out, with the reason.

Data is JSON: texts, numbers, booleans, lists of texts. Days are `2026-11-23`, times carry their zone.
"""

import math
import re
import unicodedata
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

MAX_LINE: Final = 255
MAX_NAME: Final = 120
MAX_BODY: Final = 20_000
MAX_DAYS_AHEAD: Final = 366


class Shape(StrEnum):
    """The form one piece of data takes."""

    LINE = "line"  # one line of text
    BODY = "body"  # text of several lines
    NAME = "name"  # names something at the CRM: a stage, a pipeline
    EMAIL = "email"
    CHOICE = "choice"  # one of a few words
    CURRENCY = "currency"  # ISO 4217
    AMOUNT = "amount"  # not negative, at most the rule's `max_amount`
    DUE = "due"  # a day or a time, or words for one: "+2 days"
    FIELDS = "fields"  # names and values, for set_fields


class Unfit(ValueError):
    """A value that cannot be used here. The text says why and repeats no value."""


def fit(value: Any, shape: Shape, *, choices: tuple[str, ...], today: date, max_amount: float) -> Any:
    """Bring a value into shape, as JSON. Raises `Unfit`."""
    match shape:
        case Shape.LINE:
            return one_line(as_text(value), MAX_LINE)
        case Shape.BODY:
            return _several_lines(as_text(value))
        case Shape.NAME:
            return _full(one_line(as_text(value), MAX_NAME))
        case Shape.EMAIL:
            return _email(value)
        case Shape.CHOICE:
            if value not in choices:
                raise Unfit(f"it is one of {', '.join(choices)}")
            return value
        case Shape.CURRENCY:
            if not isinstance(value, str) or not re.fullmatch("[A-Z]{3}", value):
                raise Unfit("it is three capital letters, such as CHF")
            return value
        case Shape.AMOUNT:
            return _amount(value, max_amount)
        case Shape.DUE:
            return due(value, today=today)
        case Shape.FIELDS:
            return _field_value(value)


def as_text(value: Any) -> str:
    """A value as a person would write it: `85` and not `85.0`, lists with commas, times to the minute."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"
        case datetime():
            return value.isoformat(sep=" ", timespec="minutes")
        case timedelta():
            return f"{value.total_seconds():g} s"
        case list() | tuple():
            return ", ".join(as_text(item) for item in value)
        case Mapping() if value.keys() <= {"what", "due"}:  # a promise
            return f"{value.get('what', '')} ({value['due']})" if "due" in value else str(value.get("what", ""))
        case Mapping():
            return ", ".join(f"{key}: {as_text(item)}" for key, item in value.items())
        case _:
            return str(value)


def one_line(text: str, most: int) -> str:
    """Text without line breaks, control and invisible characters, cut to `most`."""
    return " ".join(_visible(text, keep=" \t\r\n").split())[:most].rstrip()


def due(value: Any, *, today: date) -> str:
    """A day or a time as ISO 8601, from such a text, a CEL timestamp, or words counted from `today`.

    Words: `today`, `tomorrow`, `next business day`, `+2 days`, `+1 week`, `+3 business days` (Monday to Friday; a
    tenant's holidays are not known here). Raises `Unfit` for anything else, and for more than a year ahead.
    """
    if isinstance(value, datetime):
        return value.isoformat(timespec="minutes")
    if not isinstance(value, str):
        raise Unfit('it is a day or words for one, such as "+2 days"')
    words = {"today": "+0 days", "tomorrow": "+1 day", "next business day": "+1 business day"}
    text = " ".join(value.lower().split())
    if counted := re.fullmatch(r"\+(\d{1,3}) (business )?(day|week)s?", words.get(text, text)):
        count = int(counted[1]) * (7 if counted[3] == "week" and not counted[2] else 1)
        if count > MAX_DAYS_AHEAD or (counted[2] and counted[3] == "week"):
            raise Unfit("it is at most a year ahead, in days, weeks or business days")
        return (_business_days(today, count) if counted[2] else today + timedelta(days=count)).isoformat()
    try:
        return date.fromisoformat(value.strip()).isoformat()
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        raise Unfit('it is a day or words for one, such as "+2 days"') from None
    if moment.tzinfo is None:
        raise Unfit("a time needs a zone, such as 2026-11-23T10:00+01:00")
    return moment.isoformat(timespec="minutes")


def _business_days(today: date, count: int) -> date:
    day = today
    while count > 0:
        day += timedelta(days=1)
        count -= day.weekday() < 5
    return day


def _amount(value: Any, most: float) -> float | int:
    try:
        number = float(value) if isinstance(value, str) else value
    except ValueError:
        raise Unfit("it is a number") from None
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise Unfit("it is a number")
    if number < 0:
        raise Unfit("it is below zero")
    if number > most:  # a misheard amount cut to the cap would stand in a forecast as if someone had said it
        raise Unfit(f"it is above this rule's cap of {most:g}")
    return number


def _email(value: Any) -> str:
    # No quoting, no display name, one address: what is left cannot smuggle a second recipient.
    pattern = r"[A-Za-z0-9.!#$%&*+/=?^_{|}~-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,63}"
    if not isinstance(value, str) or len(value) > 254 or not re.fullmatch(pattern, value.strip()):
        raise Unfit("it is one e-mail address")
    return value.strip()


def _field_value(value: Any) -> Any:
    match value:
        case bool() | int() | float():
            return value
        case list() | tuple():
            return [one_line(as_text(item), MAX_LINE) for item in value]
        case datetime():
            return value.isoformat(timespec="seconds")
        case _:
            return _several_lines(as_text(value))


def _several_lines(text: str) -> str:
    return _visible(text.replace("\r\n", "\n"), keep="\t\n")[:MAX_BODY]


def _visible(text: str, *, keep: str) -> str:
    """NFC, without control, bidi and zero-width characters, and without lone surrogates."""
    text = unicodedata.normalize("NFC", text)
    return "".join(c for c in text if c in keep or unicodedata.category(c) not in {"Cc", "Cf", "Cs"})


def _full(text: str) -> str:
    if not text:
        raise Unfit("it is empty")
    return text
