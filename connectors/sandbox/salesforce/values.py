"""Values of fields: from JSON as Salesforce takes them, to JSON and CSV as it shows them. Kept as Python's own types."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, date, datetime
from typing import Any

from connectors.sandbox.salesforce import ids
from connectors.sandbox.salesforce.errors import bad_json, error
from connectors.sandbox.salesforce.objects import Field

_EMAIL = re.compile(r"[^@\s,;<>()]+@[^@\s,;<>()]+\.[^@\s,;<>().]+")
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def taken_in(field: Field, value: Any) -> Any:
    """A value from a request's JSON. Raises the 400 for one the field does not take. Null clears."""
    if value is None or value == "":
        return False if field.type == "boolean" else None
    match field.type:
        case "boolean":
            return _only(field, value, bool, "boolean")
        case "int":
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise _cannot(field, value, "integer")
            return int(value)
        case "double" | "currency" | "percent":
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise _cannot(field, value, "double")
            return float(value)
        case "date":
            return _date(field, value)
        case "datetime":
            return _datetime(field, value)
    text = _only(field, value, str, "string")
    if "\x00" in text:
        raise bad_json("Illegal character in a string")
    return _text(field, text)


def _text(field: Field, text: str) -> str:
    match field.type:
        case "email":
            if not _EMAIL.fullmatch(text):
                message = f"{field.label or field.name}: invalid email address: {text}"
                raise error(400, "INVALID_EMAIL_ADDRESS", message, fields=[field.name])
        case "reference":
            if not ids.is_id(text):
                raise error(
                    400, "MALFORMED_ID", f"{field.name}: id value of incorrect type: {text}", fields=[field.name]
                )
            return ids.whole(text)
        case "picklist":
            if field.restricted and text not in field.picklist:
                message = f"{field.name}: bad value for restricted picklist field: {text}"
                raise error(400, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, fields=[field.name])
        case "base64":
            try:
                base64.b64decode(text, validate=True)
            except binascii.Error:
                raise bad_json(f"Content is not base64: {field.name}") from None
            return text
    size = len(text.encode("utf-16-le", "replace")) // 2
    if field.length and size > field.length:
        message = f"{field.label or field.name}: data value too large: {text[:40]} (max length={field.length})"
        raise error(400, "STRING_TOO_LONG", message, fields=[field.name])
    return text


def _only(field: Field, value: Any, type: type, name: str) -> Any:
    if not isinstance(value, type):
        raise _cannot(field, value, name)
    return value


def _cannot(field: Field, value: Any, type: str) -> Exception:
    kind = "VALUE_STRING" if isinstance(value, str) else "VALUE_TRUE" if value is True else "START_OBJECT"
    return bad_json(
        f"Cannot deserialize instance of {type} from {kind} value {str(value)[:40]} or request may be missing a required field"
    )


def _date(field: Field, value: Any) -> date:
    try:
        if not isinstance(value, str) or not _DATE.match(value):
            raise ValueError
        return date.fromisoformat(value[:10])
    except ValueError:
        raise _cannot(field, value, "date") from None


def _datetime(field: Field, value: Any) -> datetime:
    try:
        at = datetime.fromisoformat(value)
    except (ValueError, TypeError):
        raise _cannot(field, value, "datetime") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).replace(microsecond=0)


def shown(value: Any) -> Any:
    """As JSON: 2026-05-01T07:25:37.000+0000 for times."""
    match value:
        case datetime():
            return value.strftime("%Y-%m-%dT%H:%M:%S.000+0000")
        case date():
            return value.isoformat()
        case _:
            return value


def in_csv(value: Any) -> str:
    """As a cell of a bulk result: times end in Z there."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        case _:
            return str(shown(value))


def plain(value: Any) -> str:
    """For whoever looks into the sandbox: text."""
    return in_csv(value)
