"""COQL, Zoho's query language, built from values. Pure.

It reads what was just written (search does not). Known of it: WHERE is required; conditions are joined in pairs, each
pair in brackets; a quote inside a text is doubled; names are plain words or words joined by dots, and a link that may
point at several modules is written 'What_Id->Leads.id'. What a backslash means is documented nowhere.
Source: zoho.com/crm/developer, "COQL Query Language" and its questions and answers, read 2026-11; oas-3.1/coql.json.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from connectors.crm.zoho.manifest import VERSION
from connectors.request import Request

MOST_ROWS = 2000  # of one query
MOST_VALUES = 50  # of one `in`
MOST_ROWS_TOGETHER = 25  # of a query inside a composite request

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:\.[A-Za-z][A-Za-z0-9_]*)*")
_NOT_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\\]|@\{")  # "@{" points into composite requests


class Unspeakable(ValueError):
    """A text that cannot stand in a query for certain: no record is looked up by it."""


def is_speakable(value: str) -> bool:
    """Whether `text` takes it."""
    return not _NOT_TEXT.search(value)


def text(value: str) -> str:
    """A literal. Raises `Unspeakable` for control characters and backslashes, about which COQL promises nothing."""
    if not is_speakable(value):
        raise Unspeakable
    return "'" + value.replace("'", "''") + "'"


def name(column: str) -> str:
    """A column or module. Raises `Unspeakable` for anything but words and dots."""
    if not _NAME.fullmatch(column):
        raise Unspeakable
    return column


def time(at: datetime) -> str:
    """2026-11-21T10:00:00+00:00, which COQL takes in quotes."""
    return text(at.isoformat(timespec="seconds"))


def equals(column: str, value: str) -> str:
    return f"{name(column)} = {text(value)}"


def among(column: str, values: Iterable[str]) -> str:
    """At most fifty values; the rest is not asked about."""
    listed = ", ".join(text(value) for value in list(values)[:MOST_VALUES])
    return f"{name(column)} in ({listed})"


def points_at(column: str, module: str, id: str) -> str:
    """A link that may point at several modules (`What_Id`)."""
    return f"'{name(column)}->{name(module)}.id' = {text(id)}"


def either(conditions: Sequence[str]) -> str:
    return _joined(conditions, "or")


def both(conditions: Sequence[str]) -> str:
    return _joined(conditions, "and")


def _joined(conditions: Sequence[str], word: str) -> str:
    """((a or b) or c): Zoho wants them in pairs."""
    joined = conditions[0]
    for condition in conditions[1:]:
        joined = f"({joined} {word} {condition})"
    return joined


def select(columns: Sequence[str], module: str, where: str, *, order: Sequence[str] = (), limit: int = 200) -> Request:
    """order  columns, each alone or with " asc" or " desc" behind it."""
    words = [f"select {', '.join(map(name, columns))} from {name(module)} where {_bracketed(where)}"]  # noqa: S608
    if order:
        words.append("order by " + ", ".join(_ordered(one) for one in order))
    words.append(f"limit {limit}")
    return Request(
        method="POST", path=f"/crm/{VERSION}/coql", json={"select_query": " ".join(words)}, cost=_credits(limit)
    )


def _bracketed(where: str) -> str:
    return where if where.startswith("(") else f"({where})"


def _ordered(column: str) -> str:
    word, _, direction = column.partition(" ")
    return f"{name(word)} {direction if direction == 'desc' else 'asc'}"


def _credits(rows: int) -> int:
    return 1 if rows <= 200 else 2 if rows <= 1000 else 3
