"""What stands behind a name in an action's `with`, and how it becomes a value.

It has one of three forms:

    "High"                                 a literal: text, number, true or false
    {"cel": "call.duration_s / 60.0"}      an expression; its value is used as it is
    "Call from ${caller.name}"             a text with expressions in it; `$${` writes a plain `${`

Why not a template engine: Jinja and its like run programs, loop without bounds and reach into objects, and a tenant's
text must not. Here everything between `${` and `}` is the same bounded CEL as in a rule's `when`, checked by the same
code when saved, so there is one language to learn and one to defend. Choices and loops are CEL's own:
`${has(caller.name) ? caller.name : "unknown"}`.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

from rules.conditions import Checked, Result, check, compute
from rules.facts import MISSING, Facts
from rules.problems import Problem
from rules.scan import closing_brace
from rules.shapes import as_text

MAX_TEMPLATE: Final = 4_000
MAX_PARTS: Final = 20


@dataclass(frozen=True, slots=True)
class Literal:
    """Written out by the tenant."""

    value: str | int | float | bool


@dataclass(frozen=True, slots=True)
class Expression:
    """`{"cel": …}`."""

    checked: Checked


@dataclass(frozen=True, slots=True)
class Template:
    """Texts and expressions that follow each other."""

    parts: tuple[str | Checked, ...]


Value: TypeAlias = Literal | Expression | Template


@dataclass(frozen=True, slots=True)
class Rendered:
    """A value, or `MISSING`, and what was not there to render it, as half sentences."""

    value: Any
    notes: tuple[str, ...] = ()


def read(raw: object) -> Value | tuple[Problem, ...]:
    """Read one entry of `with`, or say what is wrong with it. Raises nothing."""
    match raw:
        case str() if "${" in raw:
            return _template(raw) if len(raw) <= MAX_TEMPLATE else _problem(f"at most {MAX_TEMPLATE} characters")
        case str() | bool() | int() | float():
            return Literal(raw)
        case {"cel": str(text), **rest} if not rest:
            checked = check(text, condition=False)
            return Expression(checked) if isinstance(checked, Checked) else checked
        case _:
            return _problem('a text, a number, true, false, or {"cel": "…"}')


def spoken(value: Value) -> tuple[str, ...]:
    """The facts it reads that can carry words out of a call."""
    match value:
        case Expression(checked):
            return checked.spoken
        case Template(parts):
            return tuple(dict.fromkeys(path for part in parts if isinstance(part, Checked) for path in part.spoken))
        case _:
            return ()


def render(value: Value, facts: Facts) -> Rendered:
    """The value for these facts. A missing fact is an empty place in a text, and a missing value of an expression."""
    match value:
        case Literal(literal):
            return Rendered(literal)
        case Expression(checked):
            result = compute(checked, facts)
            return Rendered(result.value, _notes(result))
        case Template(parts):
            results = [part if isinstance(part, str) else compute(part, facts) for part in parts]
            text = "".join(_part(result) for result in results)
            notes = (note for result in results if isinstance(result, Result) for note in _notes(result))
            return Rendered(text, tuple(dict.fromkeys(notes)))


def _part(result: str | Result) -> str:
    if isinstance(result, str):
        return result
    return "" if result.value is MISSING else as_text(result.value)


def _notes(result: Result) -> tuple[str, ...]:
    if result.error:
        return (result.error,)
    return tuple(f"{path} is not known" for path in result.waiting or result.absent)


@lru_cache(maxsize=1024)
def _template(text: str) -> Template | tuple[Problem, ...]:
    parts: list[str | Checked] = []
    at = 0
    while (found := text.find("${", at)) >= 0:
        if found > at and text[found - 1] == "$":
            parts.append(text[at : found - 1] + "${")
            at = found + 2
            continue
        end = closing_brace(text, found + 2)
        if end is None:
            return _problem("a ${ that is closed by }", at=found)
        checked = check(text[found + 2 : end], condition=False)
        if not isinstance(checked, Checked):
            return checked
        parts += [text[at:found], checked]
        at = end + 1
        if len(parts) > 2 * MAX_PARTS:
            return _problem(f"at most {MAX_PARTS} expressions")
    return Template((*parts, text[at:]))


def _problem(text: str, *, at: int | None = None) -> tuple[Problem, ...]:
    return (Problem("", f"This takes {text}.", at),)
