"""Decisions about a call: which rules fire, in which order, once, and with which actions."""

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.decide import Outcome, plan
from rules.facts import Facts, Promise
from rules.rule import parse
from tests.rules.builders import NOW, by_name, decided, facts, outcomes, rule, rule_set

FIRED, DECLINED, UNDECIDED = Outcome.FIRED, Outcome.DECLINED, Outcome.UNDECIDED


@pytest.mark.parametrize(
    ("call", "early", "late"),
    [
        ({"score": 81.0}, FIRED, FIRED),
        ({"score": 80.0}, DECLINED, DECLINED),
        ({}, UNDECIDED, DECLINED),
    ],
)
def test_a_rule_fires_declines_or_waits(call: dict[str, Any], early: Outcome, late: Outcome) -> None:
    rules = rule_set(rule("call.score > 80"))
    assert by_name(decided(rules, facts(call))) == {"Rule": early}
    assert by_name(decided(rules, facts(call), grace_over=True)) == {"Rule": late}


def test_what_was_decided_is_not_decided_again() -> None:
    """The score is corrected after the deal was opened: no second deal, and no deal taken back."""
    rules = rule_set(rule("call.score > 80", "Hot"), rule("call.score <= 80", "Cold"), rule("call.success", "Won"))
    first = decided(rules, facts({"score": 90.0}))
    assert by_name(first) == {"Hot": FIRED, "Cold": DECLINED, "Won": UNDECIDED}
    second = decided(rules, facts({"score": 10.0, "success": True}), earlier=outcomes(first))
    assert by_name(second) == {"Hot": FIRED, "Cold": DECLINED, "Won": FIRED}
    assert [rule.fresh for rule in second.rules] == [False, False, True]
    assert [action.rule_id for action in second.actions] == [rules.rules[2].id]


def test_priority_then_document_order() -> None:
    rules = rule_set(rule(name="A"), rule(name="B", priority=5), rule(name="C"), rule(name="D", priority=5))
    decision = decided(rules, facts())
    assert [found.name for found in decision.rules] == ["B", "D", "A", "C"]
    ids = {rule.id: rule.name for rule in rules.rules}
    assert [ids[action.rule_id] for action in decision.actions] == ["B", "D", "A", "C"]


def test_stop_ends_the_look_at_later_rules() -> None:
    rules = rule_set(rule(name="A"), rule("call.success", "B", stop=True), rule(name="C"))
    decision = decided(rules, facts({"success": True}))
    assert by_name(decision) == {"A": FIRED, "B": FIRED, "C": DECLINED}
    assert decision.rules[2].because == 'Stopped by "B", which comes first.'
    assert by_name(decided(rules, facts({"success": False}))) == {"A": FIRED, "B": DECLINED, "C": FIRED}


def test_an_earlier_stop_is_still_in_effect() -> None:
    rules = rule_set(rule("call.success", "B", stop=True), rule("call.score > 3", "C"))
    earlier = {rules.rules[0].id or "": FIRED}
    decision = decided(rules, facts({"score": 5.0}), earlier=earlier)
    assert by_name(decision) == {"B": FIRED, "C": DECLINED}
    assert decision.actions == ()


def test_a_rule_waits_for_one_that_may_stop_it() -> None:
    """Fired too early, it could not be taken back when the one before it stops the look."""
    rules = rule_set(rule("call.success", "First", stop=True), rule(name="Second"), rule("false", "Third"))
    decision = decided(rules, facts())
    assert by_name(decision) == {"First": UNDECIDED, "Second": UNDECIDED, "Third": DECLINED}
    assert 'It waits for "First"' in decision.rules[1].because
    assert not decision.is_final
    assert by_name(decided(rules, facts(), grace_over=True)) == {"First": DECLINED, "Second": FIRED, "Third": DECLINED}


def test_a_rule_that_is_switched_off_declines_and_stops_nothing() -> None:
    window = {"until": (NOW - timedelta(days=1)).isoformat()}
    rules = rule_set(rule(name="Off", active=False, stop=True), rule(name="Past", active=window), rule(name="On"))
    decision = decided(rules, facts())
    assert by_name(decision) == {"Off": DECLINED, "Past": DECLINED, "On": FIRED}
    assert decision.rules[0].because == "It is switched off."
    assert decision.rules[1].because == "It is in force only until 2026-11-19T09:00:00+00:00."


def test_an_error_waits_and_then_declines() -> None:
    rules = rule_set(rule("call.intents[3] == 'x'"))
    known = facts({"intents": ()})
    (early,), (late,) = decided(rules, known).rules, decided(rules, known, grace_over=True).rules
    assert (early.outcome, late.outcome) == (UNDECIDED, DECLINED)
    assert early.because == late.because == "error: it looks past the end of a list."


def test_once_per_is_handed_on() -> None:
    """Whoever stores decisions counts contacts and days; the rule only says so."""
    rules = rule_set(rule(name="A", once_per="contact"), rule(name="B"))
    assert [found.once_per for found in decided(rules, facts()).rules] == ["contact", "call"]


def test_an_action_that_lacks_something_is_not_planned_and_said() -> None:
    then = [{"do": "assign_owner", "with": {"email": "${caller.owner_email}"}}, {"do": "opt_out"}]
    decision = decided(rule_set(rule(then=then)), facts())
    assert [action.do for action in decision.actions] == ["opt_out"]
    assert decision.rules[0].notes == (
        "assign_owner is not planned, it lacks email. email: caller.owner_email is not known.",
    )


def test_the_same_plan_comes_out_fuller_with_later_facts() -> None:
    """An amendment fills what was empty, under the same ids."""
    rules = rule_set(rule(then=[{"do": "log_call", "with": {"subject": "Call", "body": "${call.summary}"}}]))
    (first,) = decided(rules, facts()).actions
    (later,), _ = plan(rules.rules[0], facts({"summary": "Wants a pump."}))
    assert (first.rule_id, first.action_id) == (later.rule_id, later.action_id)
    assert first.data == {"subject": "Call"}
    assert later.data == {"subject": "Call", "body": "Wants a pump."}
    assert later.speech == ("body",)


def test_connections_of_an_action_are_handed_on() -> None:
    then = [{"do": "opt_out", "connections": ["cn_1", "cn_2"]}]
    assert decided(rule_set(rule(then=then)), facts()).actions[0].connections == ("cn_1", "cn_2")


def test_rules_without_ids_are_not_decided() -> None:
    """A delivery id made of nothing would be the same for every rule."""
    with pytest.raises(ValueError, match="with_ids"):
        decided(parse({"rules": [rule()]}), facts())


def test_reprs_carry_no_people() -> None:
    rules = rule_set(rule("call.summary != ''", then=[{"do": "add_note", "with": {"body": "${caller.name}"}}]))
    decision = decided(rules, facts({"summary": "secret words"}, {"name": "Odile Perret"}))
    assert "Odile" not in repr(decision)
    assert "secret" not in repr(decision)


# ── order of arrival ──

CONDITIONS = (
    "true",
    "call.score > 50",
    "has(call.score) && call.score > 50",
    "!has(call.score) || call.success",
    "!(call.success && has(call.type))",
    "call.score > 50 || caller.tier == 'gold'",
    "caller.tier == 'gold' ? call.success : call.score > 50",
    "'buy' in call.intents && !has(call.data.budget)",
    "call.intents.exists(i, i == 'buy' || call.score > 50)",
    "call.intents.all(i, has(call.type) && i != call.type)",
    "call.promises.exists(p, has(p.due))",
    "call.data.budget > 10 || has(call.data.inner.x)",
    "call.intents[0] == 'buy'",
)

call_facts: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "score": st.sampled_from([10.0, 90.0]),
        "success": st.booleans(),
        "type": st.sampled_from(["buy", "other"]),
        "intents": st.sampled_from([(), ("buy",), ("sell", "buy")]),
        "promises": st.sampled_from([(), (Promise("a"),), (Promise("a", date(2026, 12, 1)),)]),
        "data": st.fixed_dictionaries(
            {}, optional={"budget": st.sampled_from([5, 500]), "inner": st.sampled_from([{}, {"x": 1}])}
        ),
    },
)
caller_facts: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {}, optional={"tier": st.sampled_from(["gold", "silver"])}
)
rule_documents = st.lists(
    st.fixed_dictionaries(
        {
            "when": st.sampled_from(CONDITIONS),
            "priority": st.integers(0, 2),
            "stop": st.booleans(),
            "active": st.booleans(),
        }
    ),
    min_size=1,
    max_size=6,
)


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[Facts, Facts]:
    """What is known in the end, and a part of it that came first."""
    call, caller = draw(call_facts), draw(caller_facts)
    names = [*(f"call.{name}" for name in call), *(f"caller.{name}" for name in caller)]
    names += [f"call.data.{name}" for name in call.get("data", {})]
    hidden = draw(st.sets(st.sampled_from(names))) if names else set()
    first_call = {name: value for name, value in call.items() if f"call.{name}" not in hidden}
    if "data" in first_call:
        kept = {name: value for name, value in first_call["data"].items() if f"call.data.{name}" not in hidden}
        first_call["data"] = kept
    first_caller = {name: value for name, value in caller.items() if f"caller.{name}" not in hidden}
    return facts(first_call, first_caller), facts(call, caller)


@given(rule_documents, arrivals())
def test_the_order_in_which_facts_arrive_does_not_matter(
    documents: list[dict[str, Any]], arrival: tuple[Facts, Facts]
) -> None:
    """Two calls with the same facts must end the same, whichever event was late."""
    part, whole = arrival
    rules = rule_set(*(rule(name=f"Rule {n}", **document) for n, document in enumerate(documents)))
    at_once = decided(rules, whole, grace_over=True)
    first = decided(rules, part)
    second = decided(rules, whole, earlier=outcomes(first))
    third = decided(rules, whole, earlier=outcomes(second), grace_over=True)
    assert by_name(third) == by_name(at_once)
    assert third.is_final
    fired = sorted(action.action_id for step in (first, second, third) for action in step.actions)
    assert fired == sorted(action.action_id for action in at_once.actions)


@given(rule_documents, arrivals(), st.booleans())
def test_decisions_are_deterministic(
    documents: list[dict[str, Any]], arrival: tuple[Facts, Facts], grace_over: bool
) -> None:
    rules = rule_set(*(rule(name=f"Rule {n}", **document) for n, document in enumerate(documents)))
    assert decided(rules, arrival[0], grace_over=grace_over) == decided(rules, arrival[0], grace_over=grace_over)
