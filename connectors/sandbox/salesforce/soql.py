"""SOQL read into a tree: the part of the language an integration uses. What it does not know it refuses as Salesforce does.

SELECT field[, parent.field][, (SELECT … FROM Children …)] | count() FROM Object [WHERE …] [ORDER BY …] [LIMIT n] [OFFSET n]
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec

from connectors.sandbox.salesforce.errors import malformed_query

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<text>'(?:[^'\\]|\\.)*')
  | (?P<datetime>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d))
  | (?P<date>\d{4}-\d\d-\d\d)
  | (?P<number>-?\d+(?:\.\d+)?)
  | (?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?::\d+)?)
  | (?P<sign><=|>=|!=|<>|[=<>(),])
    )""",
    re.VERBOSE | re.ASCII | re.DOTALL,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_CLAUSES = {"FROM", "WHERE", "ORDER", "LIMIT", "OFFSET", "GROUP", "HAVING", "FOR", "WITH", "ALL"}


class Compare(msgspec.Struct, frozen=True):
    """`field` as a path; `op` one of = != < <= > >= LIKE IN NOT IN; `value` a Python value, a list, or a query."""

    field: str
    op: str
    value: Any


class Both(msgspec.Struct, frozen=True):
    of: tuple[Condition, ...]


class Either(msgspec.Struct, frozen=True):
    of: tuple[Condition, ...]


class Not(msgspec.Struct, frozen=True):
    of: Condition


Condition = Compare | Both | Either | Not


class Order(msgspec.Struct, frozen=True):
    field: str
    descending: bool = False
    nulls_last: bool = False


class Query(msgspec.Struct, frozen=True):
    """`fields` holds paths and subqueries in the order asked; none: count()."""

    fields: tuple[str | Query, ...]
    of: str
    where: Condition | None = None
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0
    text: str = ""


def parse(text: str) -> Query:
    """Raises MALFORMED_QUERY."""
    reading = Reading(text)
    query = reading.query()
    reading.end()
    return msgspec.structs.replace(query, text=text)


class Reading:
    """Reads tokens of a query one after the other."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._at = 0

    def query(self) -> Query:
        self.word("SELECT")
        fields: list[str | Query] = []
        while True:
            fields.append(self._item())
            if not self.sign(","):
                break
        self.word("FROM")
        of = self.name()
        if self.peek()[0] == "name" and self.peek()[1].upper() not in _CLAUSES:
            raise malformed_query(f"unexpected token: '{self.peek()[1]}'")
        counted = fields == ["count()"]
        return Query(() if counted else tuple(fields), of, *self.rest())

    def rest(self) -> tuple[Condition | None, tuple[Order, ...], int | None, int]:
        """WHERE, ORDER BY, LIMIT, OFFSET, each if it is there."""
        where = self._either() if self.maybe("WHERE") else None
        order = self._order() if self.maybe("ORDER") else ()
        limit = self._count() if self.maybe("LIMIT") else None
        offset = self._count() if self.maybe("OFFSET") else 0
        return where, order, limit, offset

    def names(self) -> tuple[str, ...]:
        found = [self.name()]
        while self.sign(","):
            found.append(self.name())
        return tuple(found)

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise malformed_query(f"unexpected token: '{self.peek()[1]}'")

    # ── parts ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _item(self) -> str | Query:
        if self.sign("("):
            inner = self.query()
            self.need(")")
            return inner
        name = self.name()
        if self.sign("("):
            if name.lower() != "count" or not self.sign(")"):
                raise malformed_query(f"unexpected token: '{name}('")
            return "count()"
        return name

    def _either(self) -> Condition:
        parts = [self._both()]
        while self.maybe("OR"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _both(self) -> Condition:
        parts = [self._one()]
        while self.maybe("AND"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else Both(tuple(parts))

    def _one(self) -> Condition:
        if self.maybe("NOT"):
            return Not(self._one())
        if self.sign("("):
            inner = self._either()
            self.need(")")
            return inner
        field = self.name()
        kind, token = self.take()
        if kind == "sign" and token in ("=", "!=", "<>", "<", "<=", ">", ">="):
            return Compare(field, {"<>": "!="}.get(token, token), self._value())
        word = token.upper()
        if word == "LIKE":
            return Compare(field, "LIKE", self._value())
        if word == "NOT":
            self.word("IN")
            return Compare(field, "NOT IN", self._list())
        if word == "IN":
            return Compare(field, "IN", self._list())
        raise malformed_query(f"unexpected token: '{token}'")

    def _list(self) -> Any:
        self.need("(")
        if self.peek()[1].upper() == "SELECT":
            found: Any = self.query()
        else:
            listed = [self._value()]
            while self.sign(","):
                listed.append(self._value())
            found = tuple(listed)
        self.need(")")
        return found

    def _value(self) -> Any:
        kind, token = self.take()
        match kind:
            case "text":
                return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), token[1:-1], flags=re.DOTALL)
            case "datetime":
                return datetime.fromisoformat(token).astimezone(UTC)
            case "date":
                return date.fromisoformat(token)
            case "number":
                return float(token) if "." in token else int(token)
        known = {"true": True, "false": False, "null": None}
        if token.lower() in known:
            return known[token.lower()]
        raise malformed_query(f"unexpected token: '{token}'")

    def _order(self) -> tuple[Order, ...]:
        self.word("BY")
        found = []
        while True:
            name = self.name()
            descending = self.maybe("DESC") or (self.maybe("ASC") and False)
            last = False
            if self.maybe("NULLS"):
                last = self.take()[1].upper() == "LAST"
            found.append(Order(name, descending, last))
            if not self.sign(","):
                return tuple(found)

    def _count(self) -> int:
        kind, token = self.take()
        if kind != "number" or not token.isdigit():
            raise malformed_query(f"unexpected token: '{token}'")
        return int(token)

    # ── tokens ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("", "<EOF>")

    def take(self) -> tuple[str, str]:
        found = self.peek()
        self._at += 1
        return found

    def name(self) -> str:
        kind, token = self.take()
        if kind != "name":
            raise malformed_query(f"unexpected token: '{token}'")
        return token

    def sign(self, sign: str) -> bool:
        if self.peek() == ("sign", sign):
            self._at += 1
            return True
        return False

    def need(self, sign: str) -> None:
        if not self.sign(sign):
            raise malformed_query(f"expecting '{sign}', found '{self.peek()[1]}'")

    def maybe(self, word: str) -> bool:
        if self.peek()[0] == "name" and self.peek()[1].upper() == word:
            self._at += 1
            return True
        return False

    def word(self, word: str) -> None:
        if not self.maybe(word):
            raise malformed_query(f"unexpected token: '{self.peek()[1]}'")


def _tokens(text: str) -> Sequence[tuple[str, str]]:
    found, at = [], 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            raise malformed_query(f"line 1:{at} no viable alternative at character '{text[at:].strip()[0]}'")
        found.append((str(match.lastgroup), match[str(match.lastgroup)]))
        at = match.end()
    return found
