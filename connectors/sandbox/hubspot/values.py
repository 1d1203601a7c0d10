"""What HubSpot does to a property value before it keeps it: checks, normal forms, and the values it calculates itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import phonenumbers

from connectors.sandbox.hubspot.definitions import Definition
from connectors.sandbox.hubspot.errors import BadValue, stamp

_EMAIL = re.compile(r"[^@\s,;<>()]+@[^@\s.,;<>()]+(\.[^@\s.,;<>()]+)+")
_RECORDING = re.compile(r"https://[^?#]+\.(mp3|wav)([?#].*)?", re.IGNORECASE)  # one adapter's finding, not confirmed
_LONGEST = 65_536
_PHONE_FIELDS = {"phone": "phone", "mobilephone": "mobile"}


def text_of(value: Any) -> str:
    """Values are strings in the end; JSON numbers and booleans are taken too, null clears."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int() | float():
            return str(value)
        case _:
            raise TypeError(type(value).__name__)


def check(definition: Definition, value: str, options: Sequence[tuple[str, str]]) -> str:
    """The value as it is kept. Raises `Complaint` when it is not acceptable for this property.

    options  the allowed ones of an enumeration, the portal's own where the definition refers to it.
    """
    if value == "":
        return ""
    match definition.type:
        case "number":
            return _number(definition.name, value)
        case "date":
            return _date(definition.name, value)
        case "datetime":
            return _datetime(definition.name, value)
        case "bool":
            return _one_of(definition.name, value.lower(), (("true", "Yes"), ("false", "No")))
        case "enumeration" if options and options[0][0] != "*":
            if definition.field_type == "checkbox":
                return ";".join(_one_of(definition.name, part.strip(), options) for part in value.strip(";").split(";"))
            return _one_of(definition.name, value, options)
        case _:
            return _string(definition, value)


class Complaint(Exception):
    """A value that is not accepted."""

    def __init__(self, name: str, code: str, message: str) -> None:
        super().__init__(code)
        self.bad = BadValue(name=name, code=code, message=message)


def _string(definition: Definition, value: str) -> str:
    if definition.name == "email":
        value = value.strip().lower()
        if not _EMAIL.fullmatch(value):
            raise Complaint("email", "INVALID_EMAIL", f"Email address {value} is invalid")
    if definition.name == "hs_call_recording_url" and not _RECORDING.fullmatch(value):
        raise Complaint(definition.name, "INVALID_URL", f"{value} is not an https link to an .mp3 or .wav file")
    if len(value) > _LONGEST:
        message = f"{definition.name} has {len(value)} characters; {_LONGEST} are allowed"
        raise Complaint(definition.name, "PROPERTY_VALUE_TOO_LONG", message)
    return value


def _number(name: str, value: str) -> str:
    try:
        float(value)
    except ValueError:
        raise Complaint(name, "INVALID_LONG", f"{value} was not a valid long.") from None
    return value.strip()


def _one_of(name: str, value: str, options: Sequence[tuple[str, str]]) -> str:
    allowed = [option for option, _ in options]
    if value not in allowed:
        message = f"{value} was not one of the allowed options: [{', '.join(allowed)}]"
        raise Complaint(name, "INVALID_OPTION", message)
    return value


def _moment(name: str, value: str) -> datetime:
    """From milliseconds since 1970 or ISO 8601; a day alone is its midnight, UTC."""
    try:
        if re.fullmatch(r"-?\d+", value):
            return datetime.fromtimestamp(int(value) / 1000, UTC)
        read = datetime.fromisoformat(value)
    except (ValueError, OverflowError, OSError):
        raise Complaint(name, "INVALID_LONG", f"{value} was not a valid long.") from None
    return read.astimezone(UTC) if read.tzinfo is not None else read.replace(tzinfo=UTC)


def _datetime(name: str, value: str) -> str:
    return short_stamp(_moment(name, value))


def _date(name: str, value: str) -> str:
    """A day. Milliseconds must be a midnight in UTC; other times are refused."""
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError:
        at = _moment(name, value)
    if (at.hour, at.minute, at.second, at.microsecond) != (0, 0, 0, 0):
        told = f"{at.hour}:{at.minute}:{at.second}.{at.microsecond // 1000} UTC"
        raise Complaint(name, "INVALID_DATE", f"{value} is at {told}, not midnight!")
    return at.date().isoformat()


def short_stamp(at: datetime) -> str:
    """Times that were written by a client come back without idle zeros: 2026-12-31T00:00:00Z."""
    full = stamp(at)
    return full[:-5] + "Z" if full.endswith(".000Z") else full


# ── what HubSpot calculates ─────────────────────────────────────────────────────────────────────────────────────────


def phone_values(raw: str, which: str, region: str) -> dict[str, str]:
    """The two forms HubSpot derives from a number: E.164 to show, and the digits after the country code to search.

    Recorded: "+5583999999999" → "+5583999999999" and "83999999999"; "+1 555-1234", which lacks its area code, has only
    its digits "15551234". Numbers without a country code are read in the portal's `region`.
    """
    calculated, searchable = f"hs_calculated_{which}_number", f"hs_searchable_calculated_{which}_number"
    try:
        number = phonenumbers.parse(raw, region)
    except phonenumbers.NumberParseException:
        number = None
    whole = phonenumbers.ValidationResult.IS_POSSIBLE  # long enough to be dialled from abroad
    if number is not None and phonenumbers.is_possible_number_with_reason(number) == whole:
        e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        return {calculated: e164, searchable: phonenumbers.national_significant_number(number)}
    return {calculated: "", searchable: re.sub(r"\D", "", raw)}


def calculate(kind: str, before: Mapping[str, str], written: Mapping[str, str], region: str) -> dict[str, str]:
    """Values that follow from what was written; "" clears. `before` is the record as it was."""
    after = {**before, **written}
    derived: dict[str, str] = {}
    for field, which in _PHONE_FIELDS.items():
        if field in written and kind in ("contact", "company") and (field == "phone" or kind == "contact"):
            derived |= phone_values(written[field], which, region)
    if kind == "contact" and written.keys() & {"firstname", "lastname", "email"}:
        name = " ".join(part for part in (after.get("firstname", ""), after.get("lastname", "")) if part)
        derived["hs_full_name_or_email"] = name or after.get("email", "")
        derived["hs_email_domain"] = after.get("email", "").rpartition("@")[2]
    if kind == "deal" and "amount" in written:
        derived |= {"amount_in_home_currency": written["amount"], "hs_forecast_amount": written["amount"]}
    for field in ("hs_call_body", "hs_task_body", "hs_note_body", "hs_meeting_body"):
        if field in written:
            preview = re.sub(r"<[^>]*>", "", written[field])
            derived |= {"hs_body_preview": preview, "hs_body_preview_is_truncated": "false"}
            derived["hs_body_preview_html"] = (
                f"<html>\n<head></head>\n<body>\n{written[field]}\n</body>\n</html>" if preview else ""
            )
    return derived
