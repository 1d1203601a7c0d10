"""Rule sets: read from JSON, refused as a whole when anything is wrong, given ids that last.

    {"rules": [{"name": "Hot lead", "when": "call.score > 80", "then": [{"do": "create_deal", "with": {…}}],
                "with": {…}, "priority": 10, "stop": false, "active": true, "once_per": "call"}]}

A rule's own `with` (the "avec" of "si, alors, avec") is data for all its actions: each takes from it the names it
knows and does not set itself.
"""

import hashlib
from base64 import b32encode
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    Tag,
    ValidationError,
)

from rules import actions, conditions
from rules.problems import Problem, did_you_mean

MAX_RULES: Final = 100
MAX_ACTIONS: Final = 20
DEFAULT_MAX_AMOUNT: Final = 1_000_000.0

Name: TypeAlias = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
RuleId: TypeAlias = Annotated[str, StringConstraints(pattern=r"^ru_[0-9A-Za-z_-]{1,40}$")]
ActionId: TypeAlias = Annotated[str, StringConstraints(pattern=r"^ac_[0-9A-Za-z_-]{1,40}$")]
ConnectionId: TypeAlias = Annotated[str, StringConstraints(pattern=r"^cn_[0-9A-Za-z_-]{1,40}$")]
OncePer: TypeAlias = Literal["call", "contact", "day"]


class RulesRefused(ValueError):
    """A rule set that cannot be saved, with everything that is wrong with it, in the order of the document."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems[:5]))
        self.problems = problems


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class Window(_Part):
    """When a rule is in force: from `from` on, until before `until`; times carry their zone. Either may be left out."""

    from_: AwareDatetime | None = Field(None, alias="from")
    until: AwareDatetime | None = None

    @property
    def is_empty(self) -> bool:
        return self.from_ is not None and self.until is not None and self.until <= self.from_

    def holds(self, now: datetime) -> bool:
        return (self.from_ is None or self.from_ <= now) and (self.until is None or now < self.until)


class Action(_Part):
    """One thing a rule asks for. `connections` names where; empty means the tenant's first that can."""

    id: ActionId | None = None
    do: str
    with_: Mapping[str, Any] = Field(default_factory=dict, alias="with")
    connections: tuple[ConnectionId, ...] = Field((), max_length=10)


class Rule(_Part):
    """When something holds, some actions follow.

    priority    higher is looked at earlier; equal ones in the order of the document.
    stop        when this rule fires, later ones are not looked at.
    once_per    fire at most once per call, contact, or contact and local day; the caller of `decide` keeps count.
    max_amount  no amount above this leaves the rule.
    """

    id: RuleId | None = None
    name: Name
    description: str = Field("", max_length=500)
    when: str
    then: tuple[Action, ...] = Field(min_length=1, max_length=MAX_ACTIONS)
    with_: Mapping[str, Any] = Field(default_factory=dict, alias="with")
    priority: StrictInt = Field(0, ge=-1_000, le=1_000)
    stop: StrictBool = False
    active: Annotated[
        Annotated[StrictBool, Tag("flag")] | Annotated[Window, Tag("window")],
        Discriminator(lambda value: "window" if isinstance(value, dict | Window) else "flag"),
    ] = True
    once_per: OncePer = "call"
    max_amount: float = Field(DEFAULT_MAX_AMOUNT, ge=0, le=1e12)

    def is_active(self, now: datetime) -> bool:
        """Whether it is switched on at `now`, an aware time."""
        return self.active.holds(now) if isinstance(self.active, Window) else self.active

    def data_for(self, action: Action) -> dict[str, Any]:
        """The action's `with`, completed from the rule's."""
        ability = actions.CATALOGUE.get(action.do)
        shared = {name: raw for name, raw in self.with_.items() if ability and name in ability.data}
        return shared | dict(action.with_)


class RuleSet(_Part):
    """All rules of a tenant, in the order of their document."""

    rules: tuple[Rule, ...] = Field((), max_length=MAX_RULES)

    def in_order(self) -> list[Rule]:
        """As they are looked at: higher priority first, then the order of the document."""
        return sorted(self.rules, key=lambda rule: -rule.priority)

    def document(self) -> dict[str, Any]:
        """The JSON it was read from, with ids and defaults; `parse` reads it back to an equal set."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def parse(document: object) -> RuleSet:
    """Read and check a rule set. Raises `RulesRefused`, and nothing else, whatever the document holds."""
    try:
        rules = RuleSet.model_validate(document)
    except ValidationError as error:
        raise RulesRefused(_from_pydantic(error)) from None
    except RecursionError:
        raise RulesRefused((Problem("", "The document is nested too deeply."),)) from None
    if problems := [*_check_rules(rules), *_check_unique(rules)]:
        raise RulesRefused(tuple(problems))
    return rules


def with_ids(new: RuleSet, previous: RuleSet | None = None) -> RuleSet:
    """Give every rule and action its id.

    An id that is given stays. A rule without one takes that of the rule of the same name in `previous`, an action that
    of the same place among its rule's actions of the same kind; else it gets a new one, derived from the name, so that
    the same document always gets the same ids.
    """
    known = {rule.name.casefold(): rule for rule in previous.rules} if previous else {}
    by_id = {rule.id: rule for rule in previous.rules if rule.id} if previous else {}
    taken: set[str | None] = {rule.id for rule in new.rules if rule.id}
    # A name that was given up by a rule which kept its id is free, but its derived id is not.
    reserved = taken | set(by_id)
    finished = []
    for rule in new.rules:
        rule_id = rule.id
        if rule_id is None:
            same_name = known.get(rule.name.casefold())
            rule_id = same_name.id if same_name and same_name.id not in taken else None
        if rule_id is None:
            rule_id = _derive("ru_", reserved, rule.name.casefold())
        taken.add(rule_id)
        reserved.add(rule_id)
        finished.append(rule.model_copy(update={"id": rule_id, "then": _action_ids(rule, rule_id, by_id.get(rule_id))}))
    return new.model_copy(update={"rules": tuple(finished)})


def _action_ids(rule: Rule, rule_id: str, previous: Rule | None) -> tuple[Action, ...]:
    before = previous.then if previous else ()
    taken = {action.id for action in rule.then if action.id}
    reserved = taken | {action.id for action in before}
    free = {place: action.id for place, action in _places(before) if action.id not in taken}
    finished = []
    for place, action in _places(rule.then):
        action_id = action.id or free.get(place) or _derive("ac_", reserved, rule_id, *map(str, place))
        reserved.add(action_id)
        finished.append(action.model_copy(update={"id": action_id}))
    return tuple(finished)


def _places(then: tuple[Action, ...]) -> Iterator[tuple[tuple[str, int], Action]]:
    """Each action with its kind and its place among those of its kind, from 0."""
    seen: dict[str, int] = {}
    for action in then:
        seen[action.do] = seen.get(action.do, -1) + 1
        yield (action.do, seen[action.do]), action


def _derive(prefix: str, reserved: set[str | None], *parts: str) -> str:
    for turn in range(len(reserved) + 1):
        digest = hashlib.sha256("\x00".join((*parts, str(turn))).encode()).digest()
        made = prefix + b32encode(digest[:10]).decode().lower()
        if made not in reserved:
            return made
    raise AssertionError("more names than digests")


# ── what is wrong ──


def _check_rules(rules: RuleSet) -> Iterator[Problem]:
    for number, rule in enumerate(rules.rules):
        path = f"rules[{number}]"
        checked = conditions.check(rule.when)
        if not isinstance(checked, conditions.Checked):
            yield from (problem.under(f"{path}.when") for problem in checked)
        if isinstance(rule.active, Window) and rule.active.is_empty:
            yield Problem(f"{path}.active.until", "It ends before it begins.")
        for place, action in enumerate(rule.then):
            shared = rule.data_for(action).keys() - action.with_.keys()
            for problem in actions.check(action.do, rule.data_for(action), max_amount=rule.max_amount):
                of_rule = any(
                    problem.path == f"with.{name}" or problem.path.startswith(f"with.{name}.") for name in shared
                )
                yield problem.under(path if of_rule else f"{path}.then[{place}]")
        takers = [ability for action in rule.then if (ability := actions.CATALOGUE.get(action.do))]
        for name in rule.with_:
            if not any(name in ability.data for ability in takers):
                hint = did_you_mean(name, {known for ability in takers for known in ability.data})
                yield Problem(f"{path}.with.{name}", f"None of this rule's actions takes {name}.{hint}")


def _check_unique(rules: RuleSet) -> Iterator[Problem]:
    """Names say which rule is meant when ids are left out, and ids make deliveries unique."""
    names: set[str] = set()
    ids: set[str] = set()
    for number, rule in enumerate(rules.rules):
        path = f"rules[{number}]"
        if rule.name.casefold() in names:
            yield Problem(f"{path}.name", f'Another rule is called "{rule.name}".')
        names.add(rule.name.casefold())
        given = [(f"{path}.id", rule.id)]
        given += [(f"{path}.then[{place}].id", action.id) for place, action in enumerate(rule.then)]
        for where, given_id in given:
            if given_id in ids:
                yield Problem(where, f"The id {given_id} is used twice.")
            if given_id:
                ids.add(given_id)


_MODELS: Final[dict[str, type[BaseModel]]] = {"": RuleSet, "rules": Rule, "then": Action, "active": Window}


def _from_pydantic(error: ValidationError) -> tuple[Problem, ...]:
    """Pydantic's complaints. It also counts an item that is wrong as one that is not there; that one is dropped."""
    found = error.errors(include_input=False, include_url=False)
    places = [one["loc"] for one in found]
    outer = {place[:end] for place in places for end in range(len(place))}
    return tuple(
        _say(one["loc"], one["type"], one["msg"]) for one in found if one["loc"] not in outer or not one["loc"]
    )


def _say(place: tuple[int | str, ...], kind: str, message: str) -> Problem:
    """One complaint, with a path as a person writes it and our hint for a key that does not exist."""
    steps = [step for step in place if step not in {"flag", "window"}]
    path = ""
    for step in steps:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    if kind != "extra_forbidden":
        return Problem(path[:300], f"{message.replace('Tuple', 'List')}.")
    parents = [step for step in steps[:-1] if isinstance(step, str)]
    known = [field.alias or name for name, field in _MODELS[parents[-1] if parents else ""].model_fields.items()]
    key = str(steps[-1])[:80]
    return Problem(path[:300], f'There is no key "{key}" here.{did_you_mean(key, known)}')
