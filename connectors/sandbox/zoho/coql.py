"""COQL: a parser for the part of it that is documented, and the query carried out on an organisation's records.

Conditions stand in pairs, each pair in brackets; names that are no plain words stand in quotes; a quote inside a text is
doubled. Converted leads and what only their records know (`Converted_Contact`) are out of its reach.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from connectors.sandbox.store import Entry
from connectors.sandbox.zoho.errors import Refusal, refusal
from connectors.sandbox.zoho.modules import MODULES, FieldDef, Module
from connectors.sandbox.zoho.org import Org

_TOKEN = re.compile(
    r"""\s+|(?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")|(?P<number>-?\d+(?:\.\d+)?)(?![\w.])"""
    r"""|(?P<word>[A-Za-z_]\w*(?:\.\w+)*)|(?P<sign><=|>=|!=|<>|[=<>(),*])"""
)
_HIDDEN = frozenset({"Converted__s", "Converted_Contact", "Converted_Account", "Converted_Deal"})
_NO_QUERIES = frozenset({"Notes"})
_MOST = {"columns": 50, "conditions": 25, "values": 50, "rows": 2000, "all": 100_000}


class Token(msgspec.Struct, frozen=True):
    kind: str
    text: str
    at: int


class Condition(msgspec.Struct, frozen=True):
    column: str
    operator: str
    values: tuple[str, ...] = ()


class Pair(msgspec.Struct, frozen=True):
    word: str
    one: Condition | Pair
    other: Condition | Pair


Where = Condition | Pair


class Query(msgspec.Struct, frozen=True, kw_only=True):
    columns: tuple[str, ...]
    module: str
    where: Where
    order: tuple[tuple[str, bool], ...] = ()  # column, whether descending
    limit: int = 200
    offset: int = 0


def parse(text: str) -> Query:
    """Raises the 400 that says where it went wrong."""
    return _Parser(_tokens(text)).query()


def carry_out(org: Org, query: Query, *, most: int | None = None) -> tuple[list[dict[str, Any]], bool]:
    """The rows, and whether there are more. `most` is the bound inside a composite request."""
    module = MODULES.get(query.module.lower())
    if module is None or module.name in _NO_QUERIES:
        raise refusal(400, "INVALID_QUERY", "invalid query formed", {"module": query.module})
    columns = [_Column(org, module, name, "select") for name in query.columns]
    orders = [(_Column(org, module, name, "order by"), down) for name, down in query.order]
    holds = _compiled(org, module, query.where)
    found = [entry for entry in org.crm.all(module.kind) if org.visible(entry) and holds(entry)]
    for column, down in reversed(orders):
        found.sort(key=column.sort_key, reverse=down)
    limit = query.limit if most is None else min(query.limit, most)
    shown = found[query.offset : query.offset + limit]
    rows = [{"id": entry.id, **{one.name: one.shown(entry) for one in columns if one.name != "id"}} for entry in shown]
    return rows, len(found) > query.offset + limit


def credits_for(rows: int) -> int:
    return 1 if rows <= 200 else 2 if rows <= 1000 else 3


# ── reading it ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _tokens(text: str) -> list[Token]:
    tokens, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise _syntax(near=text[at : at + 20])
        if found.lastgroup:
            tokens.append(Token(found.lastgroup, found[found.lastgroup], at))
        at = found.end()
    return tokens


class _Parser:
    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = [*tokens, Token("end", "", 0)]
        self._at = 0
        self._conditions = 0

    def query(self) -> Query:
        self._word("select")
        columns = [self._name()]
        while self._takes(","):
            columns.append(self._name())
        if len(columns) > _MOST["columns"]:
            raise refusal(400, "LIMIT_EXCEEDED", "too many columns", {"limit": _MOST["columns"]})
        self._word("from")
        module = self._name()
        self._word("where", missing="where")
        where = self._expression()
        order: list[tuple[str, bool]] = []
        if self._takes("order"):
            self._word("by")
            order.append(self._ordered())
            while self._takes(","):
                order.append(self._ordered())
        limit, offset = self._limits()
        if self._peek().kind != "end":
            raise _syntax(near=self._peek().text)
        return Query(columns=tuple(columns), module=module, where=where, order=tuple(order), limit=limit, offset=offset)

    def _limits(self) -> tuple[int, int]:
        limit, offset = 200, 0
        if self._takes("limit"):
            limit = self._number()
            if self._takes(","):
                offset, limit = limit, self._number()
        if self._takes("offset"):
            offset = self._number()
        if not 1 <= limit <= _MOST["rows"] or offset + limit > _MOST["all"]:
            raise refusal(400, "LIMIT_EXCEEDED", "limit exceeded", {"limit": _MOST["rows"]})
        return limit, offset

    def _expression(self) -> Where:
        one = self._term()
        word = self._peek().text.lower()
        if word not in ("and", "or"):
            return one
        self._next()
        pair = Pair(word, one, self._term())
        if self._peek().text.lower() in ("and", "or"):  # three in a row: Zoho wants brackets around two
            raise _syntax(clause="where")
        return pair

    def _term(self) -> Where:
        if self._takes("("):
            inner = self._expression()
            if not self._takes(")"):
                raise _syntax(near=self._peek().text)
            return inner
        return self._condition()

    def _condition(self) -> Condition:
        self._conditions += 1
        if self._conditions > _MOST["conditions"]:
            raise refusal(400, "LIMIT_EXCEEDED", "too many conditions", {"limit": _MOST["conditions"]})
        column = self._name()
        token = self._next()
        operator = token.text.lower()
        if operator == "is":
            negated = self._takes("not")
            self._word("null")
            return Condition(column, "is not null" if negated else "is null")
        if operator == "not":
            operator = f"not {self._next().text.lower()}"
        if operator in ("in", "not in"):
            return Condition(column, operator, self._list())
        if operator in ("between", "not between"):
            first = self._value()
            self._word("and")
            return Condition(column, operator, (first, self._value()))
        if operator in ("like", "not like", "=", "!=", "<>", "<", "<=", ">", ">="):
            return Condition(column, {"<>": "!="}.get(operator, operator), (self._value(),))
        raise _syntax(near=token.text)

    def _list(self) -> tuple[str, ...]:
        if not self._takes("("):
            raise _syntax(near=self._peek().text)
        values = [self._value()]
        while self._takes(","):
            values.append(self._value())
        if not self._takes(")"):
            raise _syntax(near=self._peek().text)
        if len(values) > _MOST["values"]:
            raise refusal(400, "LIMIT_EXCEEDED", "too many values", {"limit": _MOST["values"]})
        return tuple(values)

    def _ordered(self) -> tuple[str, bool]:
        name = self._name()
        if self._takes("desc"):
            return name, True
        self._takes("asc")
        return name, False

    def _name(self) -> str:
        token = self._next()
        if token.kind == "word":
            return token.text
        if token.kind == "text":
            return _unquoted(token.text)
        raise _syntax(near=token.text)

    def _value(self) -> str:
        token = self._next()
        if token.kind == "text":
            return _unquoted(token.text)
        if token.kind == "number" or token.text.lower() in ("true", "false"):
            return token.text
        raise _syntax(near=token.text)

    def _number(self) -> int:
        token = self._next()
        if token.kind != "number" or not token.text.isdigit():
            raise _syntax(near=token.text)
        return int(token.text)

    def _word(self, word: str, *, missing: str = "") -> None:
        if not self._takes(word):
            raise _syntax(clause=missing) if missing else _syntax(near=self._peek().text)

    def _takes(self, word: str) -> bool:
        token = self._peek()
        if token.kind in ("word", "sign") and token.text.lower() == word:
            self._at += 1
            return True
        return False

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._tokens[self._at]
        if token.kind != "end":
            self._at += 1
        return token


def _unquoted(text: str) -> str:
    mark = text[0]
    return text[1:-1].replace(mark * 2, mark)


def _syntax(**details: Any) -> Refusal:
    return refusal(400, "SYNTAX_ERROR", "error occured while parsing the query", details)


# ── carrying it out ─────────────────────────────────────────────────────────────────────────────────────────────────


class _Column:
    """One column of one module: plain, of a linked record, or of one of several modules ('What_Id->Leads.id')."""

    def __init__(self, org: Org, module: Module, name: str, clause: str) -> None:
        self.name = name
        self._org, self._module = org, module
        several, _, rest = name.partition("->")
        self._of = ""
        if rest:
            self._of, _, self._rest = rest.partition(".")
            base = several
        else:
            base, _, self._rest = name.partition(".")
        field = org.field(module, base)
        if field is None or base in _HIDDEN or (self._of and self._of.lower() not in MODULES):
            details = {"column_name": name, **({"clause": clause} if clause != "select" else {})}
            raise refusal(400, "INVALID_QUERY", "column given seems to be invalid", details)
        if clause == "where" and field.type == "textarea":
            details = {"column_name": name, "operator": "=", "reason": "not supported"}
            raise refusal(400, "INVALID_QUERY", "data type not supported", details)
        self.field: FieldDef = field

    def kept(self, entry: Entry) -> str:
        """As text to compare, "" for nothing."""
        if self._of and entry.properties.get("$se_module", "").lower() != self._of.lower():
            return ""
        if self.field.name in ("id", "Created_Time", "Modified_Time", "Full_Name"):
            return str(self._org.value(self._module, entry, self.field) or "")
        held = entry.properties.get(self.field.name, "")
        if self.field.type == "boolean":
            return held or "false"
        if self._rest and self._rest != "id":
            return str(self._linked(held) or "")
        return held

    def shown(self, entry: Entry) -> Any:
        """Of links the id alone; what hangs on them has to be asked for."""
        if self._rest and self._rest != "id":
            return self._linked(entry.properties.get(self.field.name, ""))
        if self._rest == "id":
            return self.kept(entry) or None
        if self.field.type in ("lookup", "ownerlookup"):
            id = entry.properties.get(self.field.name)
            return {"id": id} if id else None
        return self._org.value(self._module, entry, self.field)

    def _linked(self, id: str) -> Any:
        target = MODULES.get((self._of or self.field.to).lower())
        other = self._org.get(target, id) if target and id else None
        field = self._org.field(target, self._rest) if target else None
        return self._org.value(target, other, field) if target and other and field else None

    def sort_key(self, entry: Entry) -> Any:
        return _comparable(self.field, self.kept(entry))


def _comparable(field: FieldDef, text: str) -> Any:
    """Empty sorts first."""
    if text == "":
        return (0, 0)
    try:
        match field.type:
            case "datetime":
                return (1, datetime.fromisoformat(text).timestamp())
            case "bigint" | "lookup" | "ownerlookup":
                return (1, int(text))
            case "integer" | "currency" | "double" | "percent":
                return (1, float(text))
            case _:
                return (1, text.casefold())
    except ValueError:
        raise refusal(
            400, "INVALID_QUERY", "value given seems to be invalid for the column", {"column_name": field.name}
        ) from None


def _compiled(org: Org, module: Module, where: Where) -> Callable[[Entry], bool]:
    if isinstance(where, Pair):
        one, other = _compiled(org, module, where.one), _compiled(org, module, where.other)
        if where.word == "and":
            return lambda entry: one(entry) and other(entry)
        return lambda entry: one(entry) or other(entry)
    return _condition(_Column(org, module, where.column, "where"), where)


def _condition(column: _Column, wanted: Condition) -> Callable[[Entry], bool]:
    field, values = column.field, wanted.values
    if column._rest not in ("", "id"):
        field = FieldDef(name=column.name, label="", type="text")
    match wanted.operator:
        case "is null":
            return lambda entry: column.kept(entry) == ""
        case "is not null":
            return lambda entry: column.kept(entry) != ""
        case "like" | "not like":
            pattern = re.compile(".*".join(map(re.escape, values[0].casefold().split("%"))), re.DOTALL)
            positive = wanted.operator == "like"
            return lambda entry: (pattern.fullmatch(column.kept(entry).casefold()) is not None) is positive
    known = [_comparable(field, value) for value in values]

    def compared(entry: Entry) -> Any:
        return _comparable(field, column.kept(entry))

    match wanted.operator:
        case "in":
            return lambda entry: compared(entry) in known
        case "not in":
            return lambda entry: compared(entry) not in known
        case "=":
            return lambda entry: bool(compared(entry) == known[0])
        case "!=":
            return lambda entry: bool(compared(entry) != known[0])
        case "between":
            return lambda entry: bool(known[0] <= compared(entry) <= known[1])
        case "not between":
            return lambda entry: not known[0] <= compared(entry) <= known[1]
        case operator:
            return lambda entry: compared(entry) != (0, 0) and _ORDER[operator](compared(entry), known[0])


_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda one, other: bool(one < other),
    "<=": lambda one, other: bool(one <= other),
    ">": lambda one, other: bool(one > other),
    ">=": lambda one, other: bool(one >= other),
}
