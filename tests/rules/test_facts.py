"""The schema, and what the facts do with values they are given."""

from datetime import datetime

import pytest

from rules.facts import MAX_ITEM_TEXT, MAX_TEXT, MISSING, VERSION, CallFacts, Kind, LocalFacts, Promise, schema
from tests.rules.builders import NOW, ZURICH, facts


def test_schema_lists_every_fact_with_its_meaning() -> None:
    """The console and the documentation show this list and nothing else."""
    found = schema()
    assert found.version == VERSION == 1
    assert {path.split(".")[0] for path in found.facts} == {"call", "caller", "local"}
    assert all(fact.meaning and "\n" not in fact.meaning for fact in found.facts.values())
    assert found.facts["call.score"].kind is Kind.DOUBLE
    assert not found.facts["call.direction"].may_be_missing
    assert found.facts["call.score"].may_be_missing


def test_only_free_words_from_the_call_count_as_spoken() -> None:
    spoken = {path for path, fact in schema().facts.items() if fact.spoken}
    assert spoken == {
        *("call.end_reason", "call.summary", "call.type", "call.intents", "call.products", "call.questions"),
        *("call.promises", "call.data"),
    }


def test_missing_lists_what_may_still_come() -> None:
    known = facts({"score": 3.0}, settled=("caller", "call.type"))
    assert "call.summary" in known.missing
    assert known.missing.isdisjoint({"call.score", "call.type", "caller.tier", "local.hour"})
    assert known.settle().missing == frozenset()


def test_none_is_not_known_and_empty_is_known() -> None:
    assert facts({"intents": None}).get(("call", "intents")) is MISSING
    assert facts({"intents": ()}).get(("call", "intents")) == ()


def test_what_is_too_long_is_cut() -> None:
    known = facts({"summary": "x" * (MAX_TEXT + 1), "promises": (Promise("y" * (MAX_TEXT + 1)),) * 101})
    assert len(known.get(("call", "summary"))) == MAX_TEXT
    assert len(known.get(("call", "promises"))) == 100
    assert len(known.get(("call", "promises"))[0]["what"]) == MAX_ITEM_TEXT


def test_an_unknown_mood_becomes_other() -> None:
    """A model's new word for a mood must not stop a call, nor slip through as a value of its own."""
    assert CallFacts(direction="web", sentiment="furious").sentiment == "other"


@pytest.mark.parametrize("wrong", [{"direction": "sideways"}, {"started_at": datetime(2026, 1, 1)}])  # noqa: DTZ001
def test_wrong_facts_are_our_mistake(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"call\.direction|zone"):
        facts(wrong)


def test_local_time_needs_a_zone() -> None:
    assert LocalFacts.at(NOW.astimezone(ZURICH)).hour == 10
    with pytest.raises(ValueError, match="zone"):
        LocalFacts.at(NOW.replace(tzinfo=None))


def test_people_are_not_in_reprs() -> None:
    """A traceback in a log must not carry a caller."""
    known = facts({"summary": "secret words", "promises": (Promise("secret promise"),)}, {"name": "Odile Perret"})
    shown = f"{known!r} {known.call!r} {known.caller!r} {known.call.promises!r}"
    assert "secret" not in shown
    assert "Odile" not in shown
