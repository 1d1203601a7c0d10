"""SOSL: a search over an index that lags behind, in which numbers are what people typed.

    FIND {"044 668 18 00" OR 0446681800} IN PHONE FIELDS RETURNING Contact(Id,Name WHERE … LIMIT n), Lead(…) LIMIT n

A phone field is indexed as the runs of digits in it and as all its digits in one; a term matches neighbouring runs or the
whole, from the start (`*` ends it early). There is no search for the end of a number. What the real index does with every
country's spellings is not documented; this one finds less rather than more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from connectors.sandbox.salesforce import asking, soql
from connectors.sandbox.salesforce.errors import Refusal, malformed_search, no_such_object
from connectors.sandbox.salesforce.org import Org, Row

_FIND = re.compile(
    r"\s*FIND\s*\{(?P<text>(?:[^{}\\]|\\.)*)\}\s*(?:IN\s+(?P<where>ALL|NAME|EMAIL|PHONE|SIDEBAR)\s+FIELDS\s*)?"
    r"(?:RETURNING\s+(?P<returning>.*?))?\s*(?:LIMIT\s+(?P<limit>\d+))?\s*",
    re.IGNORECASE | re.DOTALL,
)
_TERM = re.compile(r'\s*(?:"(?P<phrase>(?:[^"\\]|\\.)*)"|(?P<word>(?:[^\s"\\]|\\.)+))')
_RESERVED = re.compile(r"(?<!\\)[?&|!{}\[\]()^~:\"'+-]")
_FIELDS = {"PHONE": ("phone",), "EMAIL": ("email",), "NAME": ("Name",), "ALL": ()}
_OBJECTS = ("Contact", "Lead", "Account")


def search(org: Org, index: Index, text: str, now: datetime, *, version: str) -> dict[str, Any]:
    """Raises MALFORMED_SEARCH, INVALID_TYPE, INVALID_FIELD."""
    asked = _FIND.fullmatch(text)
    if asked is None:
        raise malformed_search("No search term found. The search term must be enclosed in braces.")
    terms = _terms(asked["text"])
    where = (asked["where"] or "ALL").upper()
    index.advance(now - org.lag)
    found: list[dict[str, Any]] = []
    for query in _returning(asked["returning"]):
        type = org.type(query.of)
        if type is None or not type.searchable:
            raise no_such_object(query.of, text)
        rows = [
            row
            for row in index.rows(type.name)
            if not row.is_deleted and any(_matches(org, row, term, where) for term in terms)
        ]
        found += asking.show(org, query, asking.records(org, query, rows=rows), version=version)
    return {"searchRecords": found[: int(asked["limit"] or 2_000)]}


class Index:
    """Records as they were some time ago."""

    def __init__(self, org: Org) -> None:
        self._org = org
        self._seen = 0
        self._rows: dict[str, dict[str, Row]] = {}

    def advance(self, until: datetime) -> None:
        changes = self._org.changes
        while self._seen < len(changes) and changes[self._seen].at <= until:
            row = changes[self._seen].after
            self._rows.setdefault(row.type, {})[row.id] = row
            self._seen += 1

    def rows(self, type: str) -> Sequence[Row]:
        return list(self._rows.get(type, {}).values())


def _terms(text: str) -> list[str]:
    """Alternatives; words side by side must all be there, which a phrase of them is near enough to."""
    found: list[str] = []
    at, joined = 0, False
    while text[at:].strip():
        match = _TERM.match(text, at)
        if match is None:
            raise malformed_search("the search term is not understood")
        at = match.end()
        if match["word"] is not None and match["word"].upper() in ("OR", "AND"):
            joined = match["word"].upper() == "AND"
            continue
        raw = match["phrase"] if match["phrase"] is not None else match["word"]
        if match["word"] is not None and _RESERVED.search(raw):
            raise malformed_search("a reserved character must be escaped")
        term = re.sub(r"\\(.)", r"\1", raw)
        if len(term.replace("*", "")) < 2:
            raise malformed_search("search term must be longer than one character: " + term)
        if joined and found:
            found[-1] += " " + term
        else:
            found.append(term)
    if not found:
        raise malformed_search("No search term found. The search term must be enclosed in braces.")
    return found


def _returning(text: str | None) -> list[soql.Query]:
    if not text:
        return [soql.Query(("Id",), name) for name in _OBJECTS]
    reading = _read(text)
    found = []
    while True:
        of = reading.name()
        if reading.sign("("):
            fields = reading.names()
            where, order, limit, offset = reading.rest()
            reading.need(")")
            found.append(soql.Query(fields, of, where, order, limit, offset, text))
        else:
            found.append(soql.Query(("Id",), of, text=text))
        if not reading.sign(","):
            break
    reading.end()
    return found


def _read(text: str) -> soql.Reading:
    try:
        return soql.Reading(text)
    except Refusal as refused:
        raise malformed_search(refused.body[0]["message"]) from None


def _matches(org: Org, row: Row, term: str, where: str) -> bool:
    wanted = _FIELDS.get(where, ())
    for field in org.types[row.type].fields.values():
        held = row.get(field.name)
        if not isinstance(held, str) or (wanted and field.type not in wanted and field.name not in wanted):
            continue
        if field.type == "phone":
            if _number_matches(held, term):
                return True
        elif where != "PHONE" and _text_matches(held, term):
            return True
    return False


def _number_matches(held: str, term: str) -> bool:
    runs, asked = _runs(held), _runs(term)
    if not asked:
        return False
    whole, digits = "".join(runs), "".join(asked)
    if whole == digits or (term.endswith("*") and whole.startswith(digits)):
        return True
    size = len(asked)
    return any(runs[at : at + size] == asked for at in range(len(runs) - size + 1))


@lru_cache(maxsize=65_536)
def _runs(text: str) -> list[str]:
    """The runs of digits in a text. Shared: not to be changed."""
    return re.findall(r"\d+", text)


def _text_matches(held: str, term: str) -> bool:
    words, asked = held.lower().split(), term.lower().split()
    return all(
        any(word.startswith(one.rstrip("*")) if one.endswith("*") else word == one for word in words) for one in asked
    )
