"""CEL expressions: checked when saved, then asked about facts. Nothing here raises for an expression that was checked.

CEL's own logic is what makes waiting work: `a || b` is true when one side is, even if the other cannot be answered,
and `a && b` false likewise. The library keeps to that and reports a fact without a value as an error, which is read
here as "undecided", unless nothing more will come.

`has(fact)` needs care. On a fact that may still come, answering "no" would be final and, a moment later, wrong. So it
is an open question until the fact is settled; then the answer is no.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from types import ModuleType
from typing import Any, Final

from rules.facts import MISSING, SCHEMA, Fact, Facts, Kind, Path, Schema
from rules.problems import Problem, did_you_mean
from rules.scan import MAX_CHARACTERS, Presence, scan

# The package loads a command line of its own, and with it a terminal toolkit: a fifth of a second and 8 MB of every
# process of ours. An empty module in its place is all the package asks for. Source: common-expression-language 0.10.
sys.modules.setdefault("cel.cli", ModuleType("cel.cli"))
import cel  # noqa: E402

SHOWN_TEXT: Final = 60  # characters of a text that a reason repeats
SHOWN_SPEECH: Final = 40  # of a text that came out of a call
SHOWN_ITEMS: Final = 5


@dataclass(frozen=True, slots=True)
class Checked:
    """An expression that may be run.

    paths   the facts it reads, each once, in order of appearance.
    spoken  those of them that can carry words out of a call (security: such words never choose a recipient or a stage).
    """

    text: str
    paths: tuple[Path, ...]
    spoken: tuple[str, ...]
    presences: tuple[Presence, ...]
    innermost: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What an expression came to.

    value    its value in Python's types, or `MISSING` when it has none.
    waiting  facts it reads that have no value yet and may still get one; empty when it has a value.
    absent   facts it reads that have no value and will get none; empty when it has a value.
    error    why there is no value although nothing it reads is without one.
    """

    value: Any
    waiting: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a condition holds. `value` is None when that cannot be said (yet): facts are missing, or an error."""

    value: bool | None
    because: str
    missing: tuple[str, ...] = ()
    error: str | None = None


def check(text: str, schema: Schema = SCHEMA, *, condition: bool = True) -> Checked | tuple[Problem, ...]:
    """Whether this expression may be saved. Takes any text and raises nothing.

    condition  it must say true or false; otherwise any value will do.
    Bounds are counted first, then every fact must be in `schema`, then the library must parse it, and at last it is
    tried on two made-up calls, which finds what does not fit together (`call.score.contains("x")`).
    """
    if len(text) > MAX_CHARACTERS:  # refused here, so that the cache below holds no long texts
        return scan(text).problems
    return _check(text, schema, condition)


def evaluate(checked: Checked, facts: Facts) -> Verdict:
    """Ask a condition about facts: true, false, or undecided with the facts it waits for."""
    result = compute(checked, facts)
    match result:
        case Result(value=bool(value)):
            return Verdict(value, _because(checked, facts, holds=value))
        case Result(waiting=waiting) if waiting:
            return Verdict(None, f"Waiting for {_listed(waiting)}, not known yet.", missing=waiting)
        case Result(absent=absent) if absent:
            return Verdict(False, _because(checked, facts, holds=False))
        case Result(error=None, value=value):
            error = f"the condition gives {_type_name(value)}, not true or false"
        case _:
            error = result.error or ""
    return Verdict(None, f"error: {error}.", error=error)


def compute(checked: Checked, facts: Facts) -> Result:
    """The value of an expression. 15 to 50 µs: only facts that it reads are handed to the library."""
    values = {path: facts.get(path) for path in checked.paths}
    return _run(checked, values, {path for path in checked.paths if not facts.is_settled(path)})


# ── checking ──


@lru_cache(maxsize=2048)
def _check(text: str, schema: Schema, condition: bool) -> Checked | tuple[Problem, ...]:
    found = scan(text)
    if found.problems:
        return found.problems
    problems = [Problem("", reason) for path in found.paths if (reason := schema.unknown(path))]
    for path, said, at in found.compared:
        fact = schema.find(path)
        if fact and fact.choices and said not in fact.choices:
            hint = did_you_mean(said, fact.choices)
            problems.append(
                Problem("", f'{fact.path} is never "{said}"; it is one of {", ".join(fact.choices)}.{hint}', at)
            )
    for path in found.innermost:
        fact = schema.find(path)
        if fact and fact.kind in {Kind.TEXTS, Kind.PROMISES}:
            problems.append(Problem("", f"{fact.path} is a list, and may not be read inside a list in a list."))
    if problems:
        return tuple(problems)
    try:
        _program(text)
    except BaseException as error:
        return (_syntax(text, error),)
    facts = {path: fact for path in found.paths if (fact := schema.find(path))}
    spoken = tuple(".".join(path) for path, fact in facts.items() if fact.spoken)
    checked = Checked(text, found.paths, spoken, found.presences, found.innermost)
    trouble = _try(checked, facts, condition)
    return (Problem("", trouble),) if trouble else checked


def _try(checked: Checked, facts: Mapping[Path, Fact], condition: bool) -> str | None:
    """Run it on two opposite made-up calls; only what cannot depend on a call's values counts as trouble."""
    for sample in (_typical, _empty):
        result = _run(checked, {path: sample(fact) for path, fact in facts.items()}, set())
        if result.absent:
            continue  # the tenant's own data can hold anything
        if result.error in _NEVER_FITS:
            return f"This cannot work: {result.error}."
        if condition and result.error is None and not isinstance(result.value, bool):
            return f"A condition says true or false; this gives {_type_name(result.value)}."
    return None


def _typical(fact: Fact) -> Any:
    values: dict[Kind, Any] = {
        Kind.BOOL: True,
        Kind.INT: 3,
        Kind.DOUBLE: 90.5,
        Kind.TEXT: fact.choices[0] if fact.choices else "a",
        Kind.TIMESTAMP: datetime(2026, 11, 23, 10, 30, tzinfo=UTC),
        Kind.TEXTS: ["a", "b"],
        Kind.PROMISES: [{"what": "a", "due": "2026-11-23"}, {"what": "b"}],
    }
    return values.get(fact.kind, MISSING)


def _empty(fact: Fact) -> Any:
    values: dict[Kind, Any] = {
        Kind.BOOL: False,
        Kind.INT: 0,
        Kind.DOUBLE: 0.0,
        Kind.TEXT: fact.choices[-1] if fact.choices else "",
        Kind.TIMESTAMP: datetime(2026, 11, 22, 22, 0, tzinfo=UTC),
        Kind.TEXTS: [],
        Kind.PROMISES: [],
    }
    return values.get(fact.kind, MISSING)


def _syntax(text: str, error: BaseException) -> Problem:
    """The library's first complaint, with its position and without its drawing."""
    found = re.search(r"<input>:(\d+):(\d+): (?:Syntax error: )?(.*)", str(error))
    if found is None:
        return Problem("", "This cannot be read as a condition.")
    lines = text.split("\n")[: int(found[1]) - 1]
    at = sum(len(line) + 1 for line in lines) + int(found[2]) - 1
    return Problem("", f"This cannot be read as a condition: {found[3][:200]}.", at)


# ── running ──


def _run(checked: Checked, values: Mapping[Path, Any], open_paths: set[Path]) -> Result:
    """Run it on a value for each of its paths. `open_paths` are those that may still get one."""
    if any(isinstance(values[path], Mapping | list | tuple) for path in checked.innermost):
        return Result(MISSING, error="it reads a whole list inside a list in a list")
    without = [path for path, value in values.items() if value is MISSING]
    waiting = [path for path in without if path in open_paths]
    try:
        return Result(_program(_answer_presences(checked, values, waiting)).execute(_nested(values)))
    except BaseException as error:  # a panic of the library is no Exception
        reason = _explain(error, checked.text)
    names = tuple(".".join(path) for path in waiting or without)
    if waiting:
        return Result(MISSING, waiting=names)
    return Result(MISSING, absent=names) if without else Result(MISSING, error=reason)


@lru_cache(maxsize=2048)
def _program(text: str) -> cel.Program:
    return cel.compile(text)


def _answer_presences(checked: Checked, values: Mapping[Path, Any], waiting: list[Path]) -> str:
    """The expression with each `has()` that the library would answer wrongly, or not at all, put differently.

    About a fact that may still come: the fact compared with itself, which is an error until it is there. About one
    that will not: `false`, since the library fails when the map around it is not there either.
    """
    text = checked.text
    for presence in reversed(checked.presences):
        if values[presence.path] is MISSING:
            name = ".".join(presence.path)
            answer = f"({name} == {name})" if presence.path in waiting else "false"
            text = text[: presence.start] + answer + text[presence.end :]
    return text


def _nested(values: Mapping[Path, Any]) -> dict[str, Any]:
    """Paths and values as the maps that expressions walk through. Shorter paths first: they hold the longer ones."""
    top: dict[str, Any] = {}
    for path in sorted(values, key=len):
        inner = top
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
            if path[:2] == ("call", "data") and not isinstance(inner, dict):
                break
        else:
            if values[path] is not MISSING:
                inner.setdefault(path[-1], values[path])
    return top


_NO_SUCH_KEY: Final = "it looks for something that is not there"
_MIXED_TYPES: Final = (
    "it compares or joins things of different kinds (beside a number with a fraction, write 1.0 and not 1)"
)
_BAD_ARGUMENT: Final = "a function does not take what it was given"
_NEVER_FITS: Final = frozenset({_MIXED_TYPES, _BAD_ARGUMENT})


def _explain(error: BaseException, text: str) -> str:
    """Our words for the library's errors; theirs can repeat what people said. Passes on what is not an error."""
    match error:
        case KeyError() if error.args and isinstance(error.args[0], str) and error.args[0] in text:
            return f'{_NO_SUCH_KEY}: "{error.args[0]}"'
        case KeyError():
            return _NO_SUCH_KEY
        case IndexError():
            return "it looks past the end of a list"
        case ZeroDivisionError():
            return "it divides by zero"
        case OverflowError():
            return "a number becomes too large"
        case TypeError():
            return _MIXED_TYPES
        case RuntimeError():
            return _BAD_ARGUMENT
        case Exception():
            return "a value cannot be converted"
        case _ if type(error).__name__ == "PanicException":  # pyo3's, a BaseException
            return "it cannot be evaluated"
        case _:
            raise error


# ── telling why ──


def _because(checked: Checked, facts: Facts, *, holds: bool) -> str:
    said = "The condition holds" if holds else "The condition does not hold"
    if not checked.paths:
        return f"{said} for every call."
    return f"{said}: {_listed(tuple(_shown(path, facts) for path in checked.paths))}."


def _shown(path: Path, facts: Facts) -> str:
    """A fact and its value, short; people are not named, and what they said is cut."""
    name, value, fact = ".".join(path), facts.get(path), SCHEMA.find(path)
    if value is MISSING:
        return f"{name} is not known"
    if fact is None or fact.person or isinstance(value, Mapping):
        return f"{name} is known"
    if fact.kind is Kind.PROMISES:
        return f"{name} has {len(value)}"
    return f"{name} is {_short(value, SHOWN_SPEECH if fact.spoken else SHOWN_TEXT)}"


def _short(value: Any, most: int) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"
        case str():
            return f'"{value}"' if len(value) <= most else f'"{value[:most]}…"'
        case list() | tuple():
            items = [_short(item, most) for item in value[:SHOWN_ITEMS]]
            return "[" + ", ".join(items + ["…"] * (len(value) > SHOWN_ITEMS)) + "]"
        case datetime():
            return value.isoformat(sep=" ", timespec="minutes")
        case Mapping():
            return "{…}"
        case _:
            return str(value)


def _listed(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _type_name(value: Any) -> str:
    names: dict[type, str] = {int: "a number", float: "a number", str: "a text", list: "a list", dict: "a map"}
    return names.get(type(value), "a time" if isinstance(value, datetime) else "another kind of value")
