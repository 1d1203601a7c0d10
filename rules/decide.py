"""A rule set and facts become a decision: per rule whether it fired and why, and the actions to plan.

A rule is decided once per call: fired and declined are final, undecided waits for facts. Asking again with more facts
gives, for each rule, what asking once with all of them would have given. Two things make that hold: `has(…)` is an open
question while a fact may still come (conditions.py), and a rule does not fire while one before it that would stop it
is undecided.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from rules import actions, conditions
from rules.facts import Facts
from rules.rule import Action, OncePer, Rule, RuleSet, Window


class Outcome(StrEnum):
    """What became of a rule. The words are stored."""

    FIRED = "fired"
    DECLINED = "declined"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Decided:
    """One rule's outcome.

    because  one or two sentences; repeats values of facts, cut short, so it is as private as the call.
    missing  facts it waits for, when it is undecided.
    fresh    False when it was decided earlier and only stands here for completeness.
    notes    actions of a fired rule that were not planned, and why.
    """

    rule_id: str
    name: str
    outcome: Outcome
    because: str
    missing: tuple[str, ...] = ()
    once_per: OncePer = "call"
    fresh: bool = True
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Decided {self.rule_id} {self.outcome}>"


@dataclass(frozen=True, slots=True)
class Planned:
    """An action to carry out, its data rendered to JSON.

    connections  where the rule wants it; empty means the tenant's first that can.
    notes        what is left out of `data` or empty in it, and why.
    speech       names in `data` with words out of the call, to be marked "not checked"; `fields.x` for a field.
    """

    rule_id: str
    action_id: str
    do: str
    data: Mapping[str, Any]
    connections: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    speech: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Planned {self.do} {self.action_id}>"


@dataclass(frozen=True, slots=True)
class Decision:
    """Every rule in the order it was looked at, and the actions of those that fired now, in order."""

    rules: tuple[Decided, ...]
    actions: tuple[Planned, ...]

    @property
    def is_final(self) -> bool:
        """Nothing is left to wait for."""
        return all(rule.outcome is not Outcome.UNDECIDED for rule in self.rules)


def decide(
    rules: RuleSet,
    facts: Facts,
    *,
    now: datetime,
    earlier: Mapping[str, Outcome] | None = None,
    grace_over: bool = False,
) -> Decision:
    """Decide what has not been decided yet.

    rules       with ids (`rule.with_ids`); the set pinned on the call. Raises ValueError when ids are left out.
    now         aware; rules with a window are in force or not at this time.
    earlier     outcomes by rule id of earlier decisions about this call; missing or undecided ones are looked at.
    grace_over  nothing more will come: what is missing is absent, and undecided counts as "did not match".
    Deterministic, and raises nothing for whatever the facts hold.
    """
    earlier = earlier or {}
    facts = facts.settle() if grace_over else facts
    looked_at: list[Decided] = []
    planned: list[Planned] = []
    stopped_by: Rule | None = None
    held_by: Rule | None = None
    for rule in rules.in_order():
        past = earlier.get(_id(rule.id), Outcome.UNDECIDED)
        if past is not Outcome.UNDECIDED:
            decided = _say(rule, past, "It was decided earlier.", fresh=False)
        elif stopped_by:
            decided = _say(rule, Outcome.DECLINED, f'Stopped by "{stopped_by.name}", which comes first.')
        elif not rule.is_active(now):
            decided = _say(rule, Outcome.DECLINED, _switched_off(rule))
        else:
            decided = _ask(rule, facts, grace_over=grace_over)
            if decided.outcome is Outcome.FIRED and held_by:
                reason = f'{decided.because} It waits for "{held_by.name}", which comes first and may stop it.'
                decided = _say(rule, Outcome.UNDECIDED, reason)
            elif decided.outcome is Outcome.FIRED:
                made, notes = plan(rule, facts)
                planned += made
                decided = _say(rule, Outcome.FIRED, decided.because, notes=notes)
        looked_at.append(decided)
        if rule.stop and decided.outcome is Outcome.FIRED:
            stopped_by = stopped_by or rule
        if rule.stop and decided.outcome is Outcome.UNDECIDED:
            held_by = held_by or rule
    return Decision(tuple(looked_at), tuple(planned))


def plan(rule: Rule, facts: Facts) -> tuple[list[Planned], tuple[str, ...]]:
    """The actions of a rule that fired, rendered with what is known now; and which are not planned, as sentences.

    Also for an amendment: with later facts the same actions come out fuller, under the same ids.
    """
    facts = facts.settle()  # a fired rule does not wait for its texts
    planned: list[Planned] = []
    notes: list[str] = []
    for action in rule.then:
        ready = actions.prepare(action.do, rule.data_for(action), facts, max_amount=rule.max_amount)
        if ready.lacks:
            notes.append(
                f"{action.do} is not planned, it lacks {', '.join(ready.lacks)}. {' '.join(ready.notes)}".strip()
            )
        else:
            planned.append(_planned(rule, action, ready))
    return planned, tuple(notes)


def _planned(rule: Rule, action: Action, ready: actions.Prepared) -> Planned:
    return Planned(
        rule_id=_id(rule.id),
        action_id=_id(action.id),
        do=action.do,
        data=ready.data,
        connections=action.connections,
        notes=ready.notes,
        speech=ready.speech,
    )


def _ask(rule: Rule, facts: Facts, *, grace_over: bool) -> Decided:
    checked = conditions.check(rule.when)
    if not isinstance(checked, conditions.Checked):  # saved under an older schema
        verdict = conditions.Verdict(None, f"error: {checked[0].text}", error=checked[0].text)
    else:
        verdict = conditions.evaluate(checked, facts)
    if verdict.value is None and not grace_over:
        return _say(rule, Outcome.UNDECIDED, verdict.because, missing=verdict.missing)
    return _say(rule, Outcome.FIRED if verdict.value else Outcome.DECLINED, verdict.because)


def _say(
    rule: Rule,
    outcome: Outcome,
    because: str,
    *,
    missing: tuple[str, ...] = (),
    fresh: bool = True,
    notes: tuple[str, ...] = (),
) -> Decided:
    return Decided(_id(rule.id), rule.name, outcome, because, missing, rule.once_per, fresh, notes)


def _switched_off(rule: Rule) -> str:
    if not isinstance(rule.active, Window):
        return "It is switched off."
    start, end = rule.active.from_, rule.active.until
    parts = [f"from {start.isoformat()}" if start else "", f"until {end.isoformat()}" if end else ""]
    return f"It is in force only {' '.join(filter(None, parts))}."


def _id(given: str | None) -> str:
    if given is None:
        raise ValueError("rules are decided with ids; call with_ids first")
    return given
