"""What a rule may look at: one call, its caller, and the tenant's clock at that moment.

The dataclasses below are the schema: `SCHEMA` is read off their fields, so a fact is added in one place. Within a
`VERSION` facts are only added; removing one or changing its meaning needs the next version.

A fact is in one of three states. *Known*: it has a value. *Missing*: no value yet, but one may still come with a later
event. *Absent*: no value, and none will come, because its namespace (or the fact itself) is `settled`.
Rules wait for missing facts and never for absent ones.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from enum import Enum, StrEnum
from functools import cached_property
from types import NoneType
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args, get_type_hints

from rules.problems import did_you_mean

VERSION: Final = 1

MAX_TEXT: Final = 20_000  # characters of one text; more is cut
MAX_ITEMS: Final = 100  # entries of one list or map; more are cut, and conditions.py counts on it
MAX_ITEM_TEXT: Final = 1_000  # characters of one text in a list
MAX_DATA_VALUES: Final = 500  # values in the tenant's own data, at all levels together
MAX_DATA_TEXT: Final = 40_000  # characters in it, together
MAX_DATA_DEPTH: Final = 6  # levels of the tenant's own data; deeper ones are dropped
WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

Path: TypeAlias = tuple[str, ...]
Day: TypeAlias = date  # inside LocalFacts the field of that name would hide it


class Kind(StrEnum):
    """The type of a fact, in CEL's words."""

    BOOL = "bool"
    INT = "int"
    DOUBLE = "double"
    TEXT = "string"
    TIMESTAMP = "timestamp"
    TEXTS = "list<string>"
    PROMISES = "list<promise>"  # each {"what": string, "due"?: ISO date or time as string}
    MAP = "map<string, dyn>"


class Origin(StrEnum):
    """Who said it. What comes from a call was spoken by strangers or guessed by a model; nobody has checked it."""

    CALL = "call"
    CRM = "crm"
    TENANT = "tenant"


class Missing(Enum):
    """The one value that says "no value"; `None` cannot, since a tenant's data may hold null."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the schema.

    choices  the only values a text can have; empty when it is free.
    person   its value names a person, so reasons say only whether it is known.
    """

    path: str
    kind: Kind
    may_be_missing: bool
    meaning: str
    origin: Origin
    choices: tuple[str, ...] = ()
    person: bool = False

    @property
    def spoken(self) -> bool:
        """Can carry any words out of a call. Numbers, times and fixed choices cannot."""
        free = self.kind in {Kind.TEXT, Kind.TEXTS, Kind.PROMISES, Kind.MAP} and not self.choices
        return free and self.origin is Origin.CALL


@dataclass(frozen=True, slots=True)
class Says:
    """What a field below tells the schema about itself."""

    kind: Kind
    meaning: str
    choices: tuple[str, ...] = ()
    person: bool = False


class Quiet:
    """Facts say nothing about people in logs and tracebacks."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


@dataclass(frozen=True, repr=False)
class Promise(Quiet):
    """Something promised to the caller, and by when if that was said."""

    what: str
    due: date | datetime | None = None


DIRECTIONS: Final = ("inbound", "outbound", "web")
SENTIMENTS: Final = ("positive", "neutral", "negative", "other")
CALLER_KINDS: Final = ("contact", "lead", "company")


@dataclass(frozen=True, kw_only=True, repr=False)
class CallFacts(Quiet):
    """The call itself. `None` means "not known"; an empty tuple means "known to be none".

    Texts and lists are cut to what the schema allows, and values that CEL cannot hold (NaN, null, half a surrogate
    pair) are dropped, here and once. A sentiment outside the fixed four becomes `other`.
    Raises ValueError for a time without a zone or a direction that does not exist.
    """

    direction: Annotated[
        Literal["inbound", "outbound", "web"],
        Says(Kind.TEXT, "who called whom, or a call from a web page", choices=DIRECTIONS),
    ]
    started_at: Annotated[datetime | None, Says(Kind.TIMESTAMP, "when it began")] = None
    ended_at: Annotated[datetime | None, Says(Kind.TIMESTAMP, "when it ended")] = None
    duration_s: Annotated[float | None, Says(Kind.DOUBLE, "how long it lasted, in seconds")] = None
    end_reason: Annotated[str | None, Says(Kind.TEXT, "why it ended, such as caller_hung_up")] = None
    answered: Annotated[bool | None, Says(Kind.BOOL, "somebody, or the assistant, answered it")] = None
    voicemail: Annotated[bool | None, Says(Kind.BOOL, "it reached a voicemail")] = None
    transferred: Annotated[bool | None, Says(Kind.BOOL, "it was handed to a person")] = None
    has_transcript: Annotated[bool | None, Says(Kind.BOOL, "a transcript was kept")] = None
    summary: Annotated[str | None, Says(Kind.TEXT, "what was said, in a few sentences")] = None
    type: Annotated[str | None, Says(Kind.TEXT, "what kind of call it was, such as complaint")] = None
    sentiment: Annotated[str | None, Says(Kind.TEXT, "the caller's mood", choices=SENTIMENTS)] = None
    intents: Annotated[tuple[str, ...] | None, Says(Kind.TEXTS, "what the caller wants, such as purchase")] = None
    products: Annotated[tuple[str, ...] | None, Says(Kind.TEXTS, "products and services that were mentioned")] = None
    questions: Annotated[tuple[str, ...] | None, Says(Kind.TEXTS, "questions the caller asked")] = None
    promises: Annotated[
        tuple[Promise, ...] | None, Says(Kind.PROMISES, "what was promised: what, and due if it was said")
    ] = None
    score: Annotated[float | None, Says(Kind.DOUBLE, "qualification of the lead, 0 to 100")] = None
    success: Annotated[bool | None, Says(Kind.BOOL, "the call reached its goal")] = None
    data: Annotated[
        Mapping[str, Any] | None, Says(Kind.MAP, "the tenant's own fields, read by key: call.data.budget")
    ] = None

    def __post_init__(self) -> None:
        _refuse_other("call.direction", self.direction, DIRECTIONS)
        if self.sentiment is not None and self.sentiment not in SENTIMENTS:
            object.__setattr__(self, "sentiment", "other")
        _clean(self)
        object.__setattr__(self, "data", self.data or {})


@dataclass(frozen=True, kw_only=True, repr=False)
class CallerFacts(Quiet):
    """The person on the line, as the CRM knows them. Raises ValueError for a kind that does not exist."""

    number_known: Annotated[bool, Says(Kind.BOOL, "the call came with a number that can be called back")]
    number: Annotated[str | None, Says(Kind.TEXT, "the caller's number, E.164", person=True)] = None
    known: Annotated[bool | None, Says(Kind.BOOL, "the CRM has a record of this person")] = None
    kind: Annotated[
        Literal["contact", "lead", "company"] | None,
        Says(Kind.TEXT, "what kind of record that is", choices=CALLER_KINDS),
    ] = None
    name: Annotated[str | None, Says(Kind.TEXT, "full name in the CRM", person=True)] = None
    first_name: Annotated[str | None, Says(Kind.TEXT, "first name in the CRM", person=True)] = None
    last_name: Annotated[str | None, Says(Kind.TEXT, "last name in the CRM", person=True)] = None
    email: Annotated[str | None, Says(Kind.TEXT, "e-mail address in the CRM", person=True)] = None
    company: Annotated[str | None, Says(Kind.TEXT, "name of the company they belong to", person=True)] = None
    tier: Annotated[str | None, Says(Kind.TEXT, "the tenant's own ranking, such as gold")] = None
    owner_id: Annotated[str | None, Says(Kind.TEXT, "the colleague who looks after them, by the CRM's id")] = None
    owner_email: Annotated[str | None, Says(Kind.TEXT, "the same colleague's e-mail address", person=True)] = None
    open_deals: Annotated[int | None, Says(Kind.INT, "deals that are neither won nor lost")] = None
    open_tickets: Annotated[int | None, Says(Kind.INT, "tickets that are not closed")] = None
    previous_calls: Annotated[int | None, Says(Kind.INT, "calls we had with them before this one")] = None

    def __post_init__(self) -> None:
        if self.kind is not None:
            _refuse_other("caller.kind", self.kind, CALLER_KINDS)
        _clean(self)


@dataclass(frozen=True, kw_only=True)
class LocalFacts:
    """The tenant's wall clock when the call ended (began, if the end is not known)."""

    date: Annotated[Day, Says(Kind.TEXT, "the day, as 2026-11-23; dates compare as texts")]
    hour: Annotated[int, Says(Kind.INT, "full hours, 0 to 23")]
    weekday: Annotated[str, Says(Kind.TEXT, "day of the week, in English", choices=WEEKDAYS)]

    @classmethod
    def at(cls, moment: datetime) -> "LocalFacts":
        """Read the clock at `moment`, which is already in the tenant's zone. Raises ValueError without a zone."""
        if moment.tzinfo is None:
            raise ValueError("local time needs a zone")
        return cls(date=moment.date(), hour=moment.hour, weekday=WEEKDAYS[moment.weekday()])


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """Every fact by its path, in the order a person would look for them."""

    version: int
    facts: Mapping[str, Fact]

    def find(self, path: Path) -> Fact | None:
        """The fact a path reads, the tenant's own data included; None when there is no such fact."""
        if path[:2] == ("call", "data") and len(path) > 2:
            return self.facts["call.data"]
        return self.facts.get(".".join(path))

    def unknown(self, path: Path) -> str | None:
        """Why a rule may not read this path, in words; None when it may."""
        said = ".".join(path)
        if said == "call.data":
            return "call.data is read by key, such as call.data.budget or has(call.data.budget)."
        if self.find(path):
            return None
        if len(path) == 1 and path[0] in NAMESPACES:
            return f"Name what of {said} you mean, such as {next(p for p in self.facts if p.startswith(said + '.'))}."
        for end in range(2, len(path)):
            if outer := self.facts.get(".".join(path[:end])):
                return f'{outer.path} is a {outer.kind} and has no "{path[end]}" inside.'
        same_name = [known for known in self.facts if known.endswith("." + path[-1])]
        hint = f' Did you mean "{same_name[0]}"?' if same_name else did_you_mean(said, self.facts)
        return f'There is no fact "{said}".{hint}'


def schema() -> Schema:
    """The schema of this `VERSION`: `call.…`, `caller.…`, `local.…`."""
    return SCHEMA


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Facts(Quiet):
    """All that is known when a rule set is decided.

    settled  what will not change any more: namespaces (`"caller"` once the lookup is done, `"call"` after the
             platform's last event) or single paths (`"call.score"`). `local` always is.
    """

    call: CallFacts
    caller: CallerFacts
    local: LocalFacts
    settled: frozenset[str] = frozenset()

    @cached_property
    def missing(self) -> frozenset[str]:
        """Paths of the schema without a value that may still get one. The tenant's own data is not listed here."""
        without = (path for path in SCHEMA.facts if self.get(tuple(path.split("."))) is MISSING)
        return frozenset(path for path in without if not self.is_settled(tuple(path.split("."))))

    def get(self, path: Path) -> Any:
        """The value at a path in the types CEL takes, or `MISSING`. A path outside the schema is missing."""
        if path[0] not in NAMESPACES or len(path) < 2:
            return MISSING
        value = _for_cel(getattr(getattr(self, path[0]), path[1], None))
        for key in path[2:]:
            value = value.get(key) if isinstance(value, Mapping) else None
        return MISSING if value is None else value

    def is_settled(self, path: Path) -> bool:
        """Whether nothing at this path can still change."""
        return path[0] == "local" or any(".".join(path[:end]) in self.settled for end in range(1, len(path) + 1))

    def settle(self) -> "Facts":
        """The same facts once nothing more is waited for: what is missing is absent."""
        return replace(self, settled=frozenset(NAMESPACES))


NAMESPACES: Final[Mapping[str, type]] = {"call": CallFacts, "caller": CallerFacts, "local": LocalFacts}
_ORIGINS: Final = {"call": Origin.CALL, "caller": Origin.CRM, "local": Origin.TENANT}


def _read_schema() -> Iterable[Fact]:
    for namespace, holder in NAMESPACES.items():
        for name, hint in get_type_hints(holder, include_extras=True).items():
            value, says = get_args(hint)
            yield Fact(
                path=f"{namespace}.{name}",
                kind=says.kind,
                may_be_missing=NoneType in get_args(value),
                meaning=says.meaning,
                origin=_ORIGINS[namespace],
                choices=says.choices,
                person=says.person,
            )


SCHEMA: Final = Schema(VERSION, {fact.path: fact for fact in _read_schema()})


def _refuse_other(path: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{path} is one of {', '.join(choices)}")


def _clean(holder: CallFacts | CallerFacts) -> None:
    """Cut and drop, so that everything behind this line is small and CEL can hold it."""
    for column in fields(holder):
        value = getattr(holder, column.name)
        if isinstance(value, Mapping):
            value = _Data().cut(value, MAX_DATA_DEPTH)
        elif isinstance(value, list | tuple):
            value = tuple(_plain(item, MAX_ITEM_TEXT) for item in value[:MAX_ITEMS])
        object.__setattr__(holder, column.name, _plain(value, MAX_TEXT))


def _plain(value: Any, most: int) -> Any:
    """One value without structure. Raises ValueError for a time without a zone."""
    match value:
        case str():
            return value[:most].encode("utf-8", "replace").decode().replace("\x00", "")
        case float():
            return value if math.isfinite(value) else None
        case datetime() if value.tzinfo is None:
            raise ValueError("a time in the facts needs a zone")
        case Promise():
            return Promise(_plain(value.what, most), _plain(value.due, most))
        case _:
            return value


@dataclass(slots=True)
class _Data:
    """The tenant's own data, cut to a size that a condition may compare ten thousand times."""

    values_left: int = MAX_DATA_VALUES
    text_left: int = MAX_DATA_TEXT

    def cut(self, value: Any, depth: int) -> Any:
        """The value, or None for what is too deep, too much, or nothing CEL knows."""
        self.values_left -= 1
        if self.values_left < 0 or depth < 0:
            return None
        match value:
            case Mapping():
                kept = {str(key)[:MAX_ITEM_TEXT]: item for key, item in list(value.items())[:MAX_ITEMS]}
                cut = {self.cut(key, depth): self.cut(item, depth - 1) for key, item in kept.items()}
                return {key: item for key, item in cut.items() if item is not None and key is not None}
            case list() | tuple():
                items = (self.cut(item, depth - 1) for item in value[:MAX_ITEMS])
                return tuple(item for item in items if item is not None)
            case str():
                text: str = _plain(value, min(MAX_TEXT, self.text_left))
                self.text_left -= len(text)
                return text
            case bool() | int() | float() | date():
                return _plain(value, MAX_TEXT)
            case _:
                return None


def _for_cel(value: Any) -> Any:
    """Days and promises in the spelling that expressions see; everything else as it is."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple) and value and isinstance(value[0], Promise):
        return [{"what": promise.what} | ({"due": promise.due.isoformat()} if promise.due else {}) for promise in value]
    return value
