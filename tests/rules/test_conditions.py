"""What a condition says about a call: true, false, or what it waits for, and why."""

from typing import Any

import pytest

from rules.conditions import Checked, Verdict, check, evaluate
from rules.facts import Facts, Promise
from tests.rules.builders import NOW, facts

KNOWN = {"duration_s": 63.0, "intents": ("purchase",), "sentiment": "negative", "data": {"budget": 5000, "a": {"b": 1}}}


def ask(text: str, known: Facts) -> Verdict:
    checked = check(text)
    assert isinstance(checked, Checked), checked
    return evaluate(checked, known)


@pytest.mark.parametrize(
    ("text", "open_", "settled"),
    [
        # known facts decide
        ("call.duration_s > 60", True, True),
        ("call.duration_s > 60.5", True, True),
        ("'purchase' in call.intents", True, True),
        ("call.sentiment == 'positive'", False, False),
        ("call.data.budget >= 5000 && call.data.a.b == 1", True, True),
        ("call.data['budget'] == 5000", True, True),
        ("local.weekday == 'friday' && local.hour == 10 && local.date == '2026-11-20'", True, True),
        # a missing one is waited for, and once settled it does not match
        ("call.score > 80", None, False),
        ("!(call.score > 80)", None, False),
        ("call.data.city == 'Bern'", None, False),
        ("call.data.a.c == 1", None, False),
        ("call.promises.exists(p, p.what.contains('call'))", None, False),
        # unless the rest decides without it, on either side
        ("call.duration_s > 60 || call.score > 80", True, True),
        ("call.score > 80 || call.duration_s > 60", True, True),
        ("call.score > 80 && call.duration_s > 99", False, False),
        ("call.score > 80 && call.duration_s > 60", None, False),
        ("call.duration_s > 60 ? true : call.score > 80", True, True),
        # has() is open while the fact may come, and an answer afterwards
        ("has(call.score)", None, False),
        ("!has(call.score)", None, True),
        ("has(call.score) && call.score > 80", None, False),
        ("!has(call.score) || call.score > 80", None, True),
        ("has(call.data.zip.code)", None, False),
        ("!has(call.data.zip.code)", None, True),
        ("has(call.data.a.b) && has(call.duration_s)", True, True),
        ("has(call.score) || has(call.sentiment)", True, True),
    ],
)
def test_missing_facts_are_a_third_answer(text: str, open_: bool | None, settled: bool) -> None:
    """A "no" said too early is final; a "yes" or "no" said too late is only late."""
    known = facts(KNOWN)
    assert ask(text, known).value is open_
    assert ask(text, known.settle()).value is settled


def test_a_settled_namespace_is_not_waited_for() -> None:
    """The lookup is over and the CRM has no tier for this person: only the call can still add something."""
    known = facts(settled=("caller",))
    assert ask("caller.tier == 'gold'", known).value is False
    verdict = ask("caller.tier == 'gold' || call.score > 80", known)
    assert (verdict.value, verdict.missing) == (None, ("call.score",))


def test_missing_facts_are_named() -> None:
    verdict = ask("call.score > 80 && call.duration_s > 5.0 && caller.tier == 'gold'", facts({"duration_s": 6.0}))
    assert verdict.missing == ("call.score", "caller.tier")
    assert verdict.because == "Waiting for call.score and caller.tier, not known yet."


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("true", "The condition holds for every call."),
        (
            "call.duration_s > 60 && call.sentiment == 'negative'",
            'call.duration_s is 63 and call.sentiment is "negative".',
        ),
        ("'purchase' in call.intents", 'The condition holds: call.intents is ["purchase"].'),
        ("call.score > 80 || call.data.budget > 1", "call.score is not known and call.data.budget is 5000."),
        ("call.duration_s < 60", "The condition does not hold: call.duration_s is 63."),
    ],
)
def test_reasons_name_what_was_read(text: str, because: str) -> None:
    """The person who wrote the rule sees why, without knowing CEL's insides."""
    assert ask(text, facts(KNOWN).settle()).because.endswith(because)


def test_reasons_do_not_repeat_people_or_long_speech() -> None:
    """Reasons are kept longer than transcripts and shown to more people."""
    known = facts(
        {"summary": "I live at " + "x" * 300, "promises": (Promise("call me"),)},
        {"name": "Odile Perret", "email": "odile@example.ch", "number": "+41446681800"},
    )
    text = "has(call.summary) && has(call.promises) && has(caller.name) && has(caller.email) && has(caller.number)"
    because = ask(text, known).because
    assert "caller.name is known" in because
    assert not any(person in because for person in ("Odile", "example", "4466"))
    assert "x" * 41 not in because
    assert "call.promises has 1" in because


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("caller.open_deals / 0 == 1", "divides by zero"),
        ("call.intents[4] == 'a'", "past the end"),
        ("call.data.budget + 1.5 > 3.0", "different kinds"),
        ("call.data.budget", "gives a number"),
        ("int(call.data.word) == 3", "function does not take"),
        ("9223372036854775807 + caller.open_deals > 0", "too large"),
        ("{'a': 1}[call.data.word] == 1", "not there"),
        ("call.intents.exists(a, call.intents.exists(b, call.data.list == []))", "whole list"),
    ],
)
def test_errors_are_told_and_never_raised(text: str, reason: str) -> None:
    known = facts(KNOWN | {"data": {"budget": 5000, "word": "spoken words", "list": [1]}}, {"open_deals": 2}).settle()
    verdict = ask(text, known)
    assert verdict.value is None
    assert verdict.error
    assert reason in verdict.error
    assert verdict.because.startswith("error: ")
    assert "spoken words" not in verdict.because


@pytest.mark.parametrize(
    ("text", "part_of_reason"),
    [
        ("call.sentimant == 'negative'", 'mean "call.sentiment"'),
        ("score > 80", 'mean "call.score"'),
        ("caller.score > 80", 'mean "call.score"'),
        ("call.score.value > 80", 'has no "value" inside'),
        ("call == caller", "Name what of call"),
        ("'budget' in call.data", "read by key"),
        ("call.data[call.type] == 1", "read by key"),
        ("call.sentiment == 'negativ'", 'mean "negative"'),
        ("'outbond' != call.direction", 'mean "outbound"'),
        ("call.direction in ['inbound', 'outbond']", 'mean "outbound"'),
        ("call.intents.exists(a, call.products.exists(b, a in call.questions))", "call.questions is a list"),
        ("call.score >", "cannot be read"),
        ("call.score > 80 call.type", "cannot be read"),
        ("call.score + 1 > 80", "1.0 and not 1"),
        ("call.score > '80'", "different kinds"),
        ("call.started_at > '2026-01-01'", "different kinds"),
        ("call.summary.contains(3)", "does not take"),
        ("call.summary.matches('[')", "does not take"),
        ("call.summary", "true or false"),
        ("call.score", "true or false"),
        ("99999999999999999999 > 1", "cannot be read"),
    ],
)
def test_a_bad_condition_is_refused_when_saved(text: str, part_of_reason: str) -> None:
    """What would never match, or fail at night, is said while the writer is still looking."""
    found = check(text)
    assert isinstance(found, tuple), "it was accepted"
    assert part_of_reason in " ".join(problem.text for problem in found)


def test_a_problem_says_where() -> None:
    (problem,) = check("true &&\n  call.score >")  # type: ignore[misc]
    assert problem.at == len("true &&\n  call.score >")


def test_every_fact_can_be_read() -> None:
    """The schema promises each path to those who write rules."""
    from rules.facts import SCHEMA

    for path in SCHEMA.facts:
        asked = f"has({path}) || true" if path != "call.data" else "has(call.data.x) || true"
        assert ask(asked, facts()).value is True


def test_values_that_cel_cannot_hold_do_no_harm() -> None:
    """Facts come from models and platforms; half a surrogate pair or a NaN must not undo a whole call."""
    odd: dict[str, Any] = {
        "n": float("nan"),
        "s": "a\ud800b\x00",
        "big": 2**80,
        "deep": {"a": {"b": {"c": [object()]}}},
    }
    known = facts({"score": float("inf"), "summary": "x\udfff", "started_at": NOW, "data": odd})
    assert ask("call.summary.contains('x') && call.data.s == 'a?b' && call.data.big > 3", known).value is True
    assert ask("call.data.n > 1 || call.score > 1", known).value is None


def test_long_lists_are_cut_before_they_are_looked_through() -> None:
    """Two lists of 100 inside each other are the most that one condition may cost."""
    many = {"many": list(range(5_000)), "grid": [[1] * 100] * 100, "text": "x" * 30_000}
    known = facts({"intents": tuple(map(str, range(5_000))), "questions": ("x" * 5_000,), "data": many})
    assert ask("size(call.intents) == 100 && size(call.data.many) == 100", known).value is True
    assert ask("size(call.data.grid) < 6 && size(call.questions[0]) == 1000", known).value is True
    assert ask("size(call.data.text) == 20000", facts({"data": {"text": "x" * 30_000}})).value is True
