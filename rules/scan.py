"""What a CEL expression consists of and reads, found by counting tokens, before the CEL library sees it.

The library recurses without a limit: 40 KB of expression end the process, and deep parentheses end in a panic that
no `except Exception` holds. Nothing reaches it that has not passed `scan`. At the bounds below it was run in threads
with a stack of 192 KB without harm (common-expression-language 0.10.0, November 2026).

The scan refuses what it cannot count with certainty (bytes, triple quotes), so that it and the library never disagree
about where a text ends. It does not check grammar; the library does that afterwards.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NoReturn

from rules.facts import NAMESPACES, Path
from rules.problems import Problem, did_you_mean

MAX_CHARACTERS: Final = 2_000
MAX_TOKENS: Final = 200
MAX_DEPTH: Final = 12  # open brackets plus the `?` inside them
MAX_MACROS: Final = 2  # exists(… exists(…)): with lists of 100 that is 10,000 looks at the innermost part
MAX_INNERMOST: Final = 40  # tokens inside the second macro, so that a look stays short
MAX_JOINS: Final = 5  # `+` inside a macro, each of which may make a long text a hundred times
MAX_MATCHES: Final = 5  # each look compiles its pattern again: 0.05 ms for a plain one, 1 ms for every \w in it
MAX_PATTERN: Final = 200
MAX_CLASSES: Final = 60  # \w, [a-z] and dots in a pattern, times their repeats {n,m}

MACROS: Final = frozenset({"exists", "all", "exists_one", "map", "filter"})
FUNCTIONS: Final = frozenset({"has", "size", "string", "int", "double", "timestamp", "duration"})
METHODS: Final = MACROS | {
    *("size", "contains", "startsWith", "endsWith", "matches"),
    *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
    *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
}

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n\f]+ | //[^\r\n]*)
  | (?P<text>[rR](?:"[^"\r\n]*"|'[^'\r\n]*') | "(?:\\.|[^"\\\r\n])*" | '(?:\\.|[^'\\\r\n])*')
  | (?P<number>0[xX][0-9a-fA-F]+[uU]? | (?:\d+\.\d+|\.\d+|\d+)(?:[eE][+-]?\d+)?[uU]?)
  | (?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
  | (?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%!?:.,()\[\]{}<>])
    """,
    re.VERBOSE | re.ASCII,
)
_REPEAT = re.compile(r"\{(\d*),?(\d*)\}")


@dataclass(frozen=True, slots=True)
class Token:
    """One word of an expression; `kind` is text, number, name or sign."""

    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Presence:
    """A `has(path)` about a fact, and where it stands in the expression."""

    path: Path
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Scan:
    """What one expression reads.

    paths      every fact it reads, in order of appearance, each once; `has(…)` counts as reading.
    presences  the `has(…)` among them.
    compared   a fact and a written text it is compared with, for facts that have few possible values.
    innermost  facts read inside a list inside a list, ten thousand times; they must not be lists themselves.
    problems   why it must not reach the library; when there are any, the rest may be incomplete.
    """

    paths: tuple[Path, ...] = ()
    presences: tuple[Presence, ...] = ()
    compared: tuple[tuple[Path, str, int], ...] = ()
    innermost: tuple[Path, ...] = ()
    problems: tuple[Problem, ...] = ()


class Unreadable(ValueError):
    """No token starts at `at`."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


def tokens(text: str, start: int = 0) -> Iterator[Token]:
    """Cut `text` into tokens from `start` on, blanks and comments left out. Raises `Unreadable`, lazily."""
    at, touching = start, False
    while at < len(text):
        found = _TOKEN.match(text, at)
        kind = found.lastgroup if found else None
        # A quote that touches the word before it is a prefix or a triple quote to the library.
        if found is None or kind is None or (touching and kind == "text"):
            raise Unreadable(at)
        if kind != "space":
            yield Token(kind, found.group(), at, found.end())
        touching = kind in {"text", "name", "number"}
        at = found.end()


def closing_brace(text: str, start: int) -> int | None:
    """Where the `}` stands that ends the expression begun at `start`; None when it does not end within the bounds."""
    depth = 0
    try:
        for token in tokens(text[: start + MAX_CHARACTERS + 1], start):
            if token.text == "}" and depth == 0:
                return token.start
            depth += (token.text == "{") - (token.text == "}")
    except Unreadable:
        return None
    return None


def scan(text: str) -> Scan:
    """Count and read one expression. Takes any text, of any length, in time linear in `MAX_CHARACTERS`."""
    if len(text) > MAX_CHARACTERS:
        return _refused(f"This is {len(text)} characters long; {MAX_CHARACTERS} are allowed.")
    found: list[Token] = []
    try:
        for token in tokens(text):
            found.append(token)
            if len(found) > MAX_TOKENS:
                return _refused(f"This has more than {MAX_TOKENS} words and signs; split it into several rules.")
    except Unreadable as error:
        return _refused(_unreadable(text, error.at), error.at)
    if not found:
        return _refused("There is no condition; write true for a rule that always applies.")
    walk = _Walk(found)
    try:
        walk.run()
    except _Refused as refused:
        return Scan(problems=(refused.problem,))
    return Scan(
        paths=tuple(dict.fromkeys(walk.paths)),
        presences=tuple(walk.presences),
        compared=tuple(walk.compared),
        innermost=tuple(dict.fromkeys(walk.inner_paths)),
    )


def written(token: Token) -> str:
    """What a text token says, without quotes; escapes stay as they are spelled."""
    return token.text[2:-1] if token.text[0] in "rR" else token.text[1:-1]


class _Refused(Exception):
    """The way out of the walk."""

    def __init__(self, text: str, at: int) -> None:
        super().__init__(text)
        self.problem = Problem("", text, at)


def _refused(text: str, at: int | None = None) -> Scan:
    return Scan(problems=(Problem("", text, at),))


def _unreadable(text: str, at: int) -> str:
    if text[at] in "\"'":
        return "Put a blank before a quoted text, close it on the same line, and use no triple quotes or b prefix."
    if text[at] in "&|=":
        return f"Write {text[at] * 2}, not {text[at]}."
    return f'"{text[at]}" has no meaning here.' if text[at].isprintable() else "There is an invisible character here."


class _Operand(Enum):
    """What stands right before a sign: the library's macros may look through a `RANGE` only."""

    RANGE = "a fact, a written list, a filtered one, or the macro's own variable"
    VALUE = "anything else"


@dataclass(slots=True)
class _Frame:
    """An open bracket. `ends_as` is what the whole of it is once closed."""

    opener: str
    ends_as: _Operand = _Operand.VALUE
    variable: str | None = None  # of a macro
    questions: int = 0


@dataclass(slots=True)
class _Walk:
    tokens: list[Token]
    at: int = 0
    frames: list[_Frame] = field(default_factory=lambda: [_Frame("")])  # the first is the expression itself
    operand: _Operand | None = None
    matches: int = 0
    innermost: int = 0
    joins: int = 0
    paths: list[Path] = field(default_factory=list)
    inner_paths: list[Path] = field(default_factory=list)
    presences: list[Presence] = field(default_factory=list)
    compared: list[tuple[Path, str, int]] = field(default_factory=list)

    def run(self) -> None:
        while self.at < len(self.tokens):
            before = self.at
            match self.tokens[self.at]:
                case Token(kind="name") as token:
                    self._name(token)
                case Token(kind="sign") as token:
                    self._sign(token)
                case _:
                    self._step(_Operand.VALUE)
            self._count_innermost(self.at - before)
        if len(self.frames) > 1:
            self._refuse(f"A {self.frames[-1].opener} is not closed.", len(self.tokens) - 1)

    # ── names ──

    def _name(self, token: Token) -> None:
        called = self._text(1) == "("
        if self._text(-1) == ".":
            self._method(token) if called else self._step(self.operand)
        elif token.text == "in":
            self._step(None)
        elif token.text in {"true", "false", "null"}:
            self._step(_Operand.VALUE)
        elif called:
            self._function(token)
        elif any(frame.variable == token.text for frame in self.frames):
            self._step(_Operand.RANGE)
        else:
            self._path()

    def _function(self, token: Token) -> None:
        if token.text not in FUNCTIONS:
            hint = did_you_mean(token.text, FUNCTIONS | METHODS)
            self._refuse(f'There is no function "{token.text}".{hint}')
        if token.text == "has" and self._text(2) in NAMESPACES:
            self._presence(token)
        else:
            self._step(None)

    def _presence(self, token: Token) -> None:
        self.at += 2
        path = self._read_path(index=False)
        if self._text(0) != ")":
            self._refuse("has() asks about one fact, such as has(call.score).", self.at - 1)
        self.presences.append(Presence(path, token.start, self.tokens[self.at].end))
        self._step(_Operand.VALUE)

    def _method(self, token: Token) -> None:
        if token.text not in METHODS:
            self._refuse(f'There is no function "{token.text}".{did_you_mean(token.text, METHODS)}')
        if token.text in MACROS:
            self._macro(token)
            return
        if token.text == "matches":
            self._pattern()
        self._step(None)

    def _macro(self, token: Token) -> None:
        if self._macros() >= MAX_MACROS:
            self._refuse(f"Lists may be looked through at most {MAX_MACROS} deep.")
        if self._macros() and token.text in {"map", "filter"}:  # the library copies all it has made at each step
            self._refuse(f"{token.text} may not stand inside another list that is looked through.")
        if self.operand is not _Operand.RANGE:
            self._refuse(f"{token.text} looks through a fact or a list written out, not through a computed one.")
        name = self.tokens[self.at + 2] if self.at + 3 < len(self.tokens) else None
        if name is None or name.kind != "name" or self._text(3) != "," or name.text in NAMESPACES:
            self._refuse(f"{token.text} starts with a name of your choice: .{token.text}(x, …).")
        # What filter leaves is a part of its range; what map makes can be anything.
        ends_as = _Operand.RANGE if token.text == "filter" else _Operand.VALUE
        self.at += 1
        self._open(_Frame("(", ends_as, variable=name.text))
        self.at += 2  # the name and its comma

    def _pattern(self) -> None:
        """A pattern is compiled at each look, so it is written out, short, and out of the innermost part."""
        self.matches += 1
        pattern = self.tokens[self.at + 2] if self.at + 2 < len(self.tokens) else None
        if pattern is None or pattern.kind != "text" or self._text(3) != ")":
            self._refuse('matches() takes one pattern, written out: .matches("quote|offer").')
        if self.matches > MAX_MATCHES or self._macros() == MAX_MACROS:
            self._refuse(f"matches() may stand {MAX_MATCHES} times in a condition, and not in a list in a list.")
        classes = sum(pattern.text.count(sign) for sign in "\\.[")
        for least, most in _REPEAT.findall(pattern.text):
            classes *= max(1, int((most or least or "1")[:6]))
        if len(pattern.text) > MAX_PATTERN or classes > MAX_CLASSES:
            self._refuse(f"A pattern has at most {MAX_PATTERN} characters and {MAX_CLASSES} classes, repeats counted.")
        if self._macros() and ("\\" in pattern.text or "{" in pattern.text):
            self._refuse("A pattern inside a list that is looked through has no \\ and no {.")

    def _path(self) -> None:
        first = self.at
        path = self._read_path(index=True)
        self._note_comparison(path, first)
        self.operand = _Operand.RANGE

    def _read_path(self, *, index: bool) -> Path:
        """Take `call.data.budget`, or `call.data["budget"]` with `index`; stops before a method and any other index."""
        path = [self.tokens[self.at].text]
        self.at += 1
        while True:
            if self._text(0) == "." and self._kind(1) == "name" and self._text(2) != "(":
                path.append(self._text(1))
                self.at += 2
            elif index and path[:2] == ["call", "data"] and self._text(0) == "[" and self._text(2) == "]":
                key = self.tokens[self.at + 1]
                if key.kind != "text" or "\\" in key.text:
                    break
                path.append(written(key))
                self.at += 3
            else:
                break
        self.paths.append(tuple(path))
        if self._macros() == MAX_MACROS:
            self.inner_paths.append(tuple(path))
        return tuple(path)

    def _note_comparison(self, path: Path, first: int) -> None:
        texts: list[Token] = []
        if self._text(0) in {"==", "!="}:
            texts = self.tokens[self.at + 1 : self.at + 2]
        elif first >= 2 and self.tokens[first - 1].text in {"==", "!="}:
            texts = self.tokens[first - 2 : first - 1]
        elif self._text(0) == "in" and self._text(1) == "[":
            for token in self.tokens[self.at + 2 :]:
                if token.text == "]":
                    break
                texts.append(token)
        self.compared += [(path, written(token), token.start) for token in texts if token.kind == "text"]

    # ── signs ──

    def _sign(self, token: Token) -> None:
        match token.text:
            case "(":
                self._open(_Frame("("))
            case "[":
                self._open(_Frame("[", _Operand.VALUE if self.operand else _Operand.RANGE))
            case "{":
                if self.operand:
                    self._refuse("A { cannot stand here.")
                self._open(_Frame("{"))
            case ")" | "]" | "}":
                self._close(token)
            case ".":
                if self.operand is None or self._kind(1) != "name":
                    self._refuse("A . stands between a fact's names, such as call.score.")
                self.at += 1
            case sign:
                if sign == "?":
                    self.frames[-1].questions += 1
                    self._check_depth()
                if sign == "+" and self._macros():
                    self._join()
                self._step(None)

    def _open(self, frame: _Frame) -> None:
        self.frames.append(frame)
        self._check_depth()
        self._step(None)

    def _close(self, token: Token) -> None:
        pairs = {")": "(", "]": "[", "}": "{"}
        if self.frames[-1].opener != pairs[token.text]:
            self._refuse(f"This {token.text} closes nothing.")
        self._step(self.frames.pop().ends_as)

    def _check_depth(self) -> None:
        if len(self.frames) - 1 + sum(frame.questions for frame in self.frames) > MAX_DEPTH:
            self._refuse(f"Brackets and choices may be at most {MAX_DEPTH} deep.")

    def _count_innermost(self, taken: int) -> None:
        self.innermost += taken if self._macros() == MAX_MACROS else 0
        if self.innermost > MAX_INNERMOST:
            self._refuse(f"A list looked through inside another has more than {MAX_INNERMOST} words and signs.")

    def _macros(self) -> int:
        return sum(frame.variable is not None for frame in self.frames)

    def _join(self) -> None:
        self.joins += 1
        if self.joins > MAX_JOINS or self._macros() == MAX_MACROS:
            self._refuse(f"+ may stand {MAX_JOINS} times where a list is looked through, and not in a list in a list.")

    # ── moving ──

    def _step(self, operand: _Operand | None) -> None:
        self.operand = operand
        self.at += 1

    def _text(self, ahead: int) -> str:
        at = self.at + ahead
        return self.tokens[at].text if 0 <= at < len(self.tokens) else ""

    def _kind(self, ahead: int) -> str:
        at = self.at + ahead
        return self.tokens[at].kind if 0 <= at < len(self.tokens) else ""

    def _refuse(self, text: str, at: int | None = None) -> NoReturn:
        where = min(self.at if at is None else at, len(self.tokens) - 1)
        raise _Refused(text, self.tokens[where].start)
