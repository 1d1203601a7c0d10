"""SOQL and SOSL: the one place where values become part of a query. Pure.

Sources: developer.salesforce.com, "Quoted String Escape Sequences" (SOQL) and "FIND {SearchQuery}" (SOSL), 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from phonenumbers import PhoneNumber, PhoneNumberFormat, format_number

from connectors import phone
from connectors.errors import Rejected
from connectors.json_text import clean

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}(?:\.[A-Za-z][A-Za-z0-9_]{0,79}){0,5}")
_ID = re.compile(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?")
_ESCAPES = str.maketrans({"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"})


def text(value: str) -> str:
    """A string literal."""
    return f"'{clean(value).translate(_ESCAPES)}'"


def texts(values: Iterable[str]) -> str:
    """A list of string literals, for IN."""
    return f"({','.join(text(value) for value in values)})"


def moment(at: datetime) -> str:
    """A datetime literal, 2026-11-21T21:56:00.000Z. Salesforce keeps seconds; a finer one is rounded down."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def name(given: str) -> str:
    """An object, field or path, which cannot be quoted and so must be one. Raises `Rejected`."""
    if not _NAME.fullmatch(given):
        raise Rejected("that is no name of a Salesforce field", field=given[:80])
    return given


def is_id(given: str) -> bool:
    return _ID.fullmatch(given) is not None


def select(fields: Sequence[str], of: str, where: str = "", *, order: str = "", limit: int | None = None) -> str:
    """A query. `fields`, `of` and `order` are names; `where` is built from `text` and its like. No fields: a count."""
    named = ",".join(name(field) for field in dict.fromkeys(fields)) or "count()"
    query = f"SELECT {named} FROM {name(of)}"  # noqa: S608 - this is the builder: names are checked, values quoted
    query += f" WHERE {where}" if where else ""
    query += f" ORDER BY {order}" if order else ""
    return query + (f" LIMIT {limit}" if limit is not None else "")


def find_number(number: PhoneNumber, returning: Sequence[str], *, limit: int) -> str:
    """A search for a number over all phone fields of the objects in `returning`, custom ones included.

    The index holds what people typed, cut into runs of digits, and the digits of the whole; a term matches from the start
    of either, and there is no search by ending. So the number is asked for in every way it is commonly written, as digits
    and as a phrase; what matches too much is sorted out by whoever reads the answer. Terms are digits and spaces only:
    nothing in them can end the quotes.
    """
    digits = phone.national_digits(number)
    code = str(number.country_code or "")
    national = format_number(number, PhoneNumberFormat.NATIONAL)
    international = format_number(number, PhoneNumberFormat.INTERNATIONAL)
    bare = international.partition(" ")[2]  # without its +41, also inside "+41 (0)44 …"
    written = [f"{code}{digits}", re.sub(r"\D", "", national), f"00{code}{digits}", digits, f"{code}0{digits}"]
    phrases = [_spaced(national), _spaced(international), _spaced(bare)]
    terms = " OR ".join(f'"{term}"' for term in dict.fromkeys([*written, *phrases]) if len(term) > 1)
    return f"FIND {{{terms}}} IN PHONE FIELDS RETURNING {','.join(returning)} LIMIT {limit}"


def _spaced(written: str) -> str:
    return " ".join(re.findall(r"\d+", written))
