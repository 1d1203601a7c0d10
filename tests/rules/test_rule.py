"""Rule sets: what is refused, and ids that last."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.rule import RulesRefused, parse, with_ids
from tests.rules.builders import rule, rule_set


def refused(*rules: dict[str, Any], **more: Any) -> list[str]:
    with pytest.raises(RulesRefused) as error:
        parse({"rules": list(rules), **more})
    return [str(problem) for problem in error.value.problems]


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (rule(wen="x"), 'rules[0].wen: There is no key "wen" here. Did you mean "when"?'),
        (
            rule(then=[{"do": "opt_out", "wiht": {}}]),
            'rules[0].then[0].wiht: There is no key "wiht" here. Did you mean "with"?',
        ),
        (rule(active={"form": None}), 'rules[0].active.form: There is no key "form" here. Did you mean "from"?'),
        (rule("call.scor > 3"), 'rules[0].when: There is no fact "call.scor". Did you mean "call.score"?'),
        (rule(then=[{"do": "opt_ot"}]), 'rules[0].then[0].do: There is no action "opt_ot". Did you mean "opt_out"?'),
        (
            rule(then=[{"do": "add_note", "with": {"body": "${x}"}}]),
            'rules[0].then[0].with.body: There is no fact "x".',
        ),
        (rule(then=[]), "rules[0].then: List should have at least 1 item"),
        (rule(then=[{"do": "opt_out"}] * 21), "rules[0].then: List should have at most 20 items"),
        (rule(name=""), "rules[0].name: String should have at least 1 character."),
        (rule(name="x" * 121), "rules[0].name: String should have at most 120 characters."),
        (rule(priority="high"), "rules[0].priority: Input should be a valid integer."),
        (rule(stop="yes"), "rules[0].stop: Input should be a valid boolean."),
        (rule(active="yes"), "rules[0].active: Input should be a valid boolean."),
        (rule(once_per="year"), "rules[0].once_per: Input should be 'call', 'contact' or 'day'."),
        (rule(active={"from": "2026-01-01T00:00:00"}), "rules[0].active.from: Input should have timezone info."),
        (
            rule(active={"from": "2026-02-01T00:00Z", "until": "2026-01-01T00:00Z"}),
            "rules[0].active.until: It ends before it begins.",
        ),
        (rule(shared={"stage": "Hot"}), "rules[0].with.stage: None of this rule's actions takes stage."),
        (
            rule(then=[{"do": "add_note"}], shared={"body": "${x}"}),
            'rules[0].with.body: There is no fact "x".',
        ),
        (rule(id="my id"), "rules[0].id: String should match pattern"),
    ],
)
def test_a_bad_rule_is_refused_with_its_place_and_a_hint(wrong: dict[str, Any], problem: str) -> None:
    found = refused(wrong)
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_everything_wrong_is_said_at_once() -> None:
    """A tenant mends a rule set in one go, not by being sent back ten times."""
    found = refused(rule("call.scor > 3", "A"), rule("call.typ == 'x'", "a", id="ru_1"), rule(name="C", id="ru_1"))
    assert [problem.split(":")[0] for problem in found] == [
        "rules[0].when",
        "rules[1].when",
        "rules[1].name",
        "rules[2].id",
    ]


def test_there_is_an_end_to_rules() -> None:
    assert "at most 100" in refused(*(rule(name=f"Rule {n}") for n in range(101)))[0]
    assert len(rule_set(*(rule(name=f"Rule {n}") for n in range(100))).rules) == 100


json_documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["rules", "name", "when", "then", "do", "with", "active", "from", "cel", "id", "x"]), inner
        )
    ),
    max_leaves=15,
)


@given(json_documents | json_documents.map(lambda inner: {"rules": [inner]}))
def test_any_document_is_read_or_refused(document: Any) -> None:
    try:
        parse(document)
    except RulesRefused as error:
        assert error.problems  # noqa: PT017 - either answer is right


def test_the_document_reads_back_to_the_same_rules() -> None:
    """What is stored is this document; a worker must see what the tenant saved."""
    rules = rule_set(
        rule(name="A", stop=True, priority=3, active={"from": "2026-01-01T00:00:00+01:00"}, once_per="day"),
        rule("call.score > 80", "B", then=[{"do": "create_deal", "with": {"name": "x", "amount": {"cel": "1"}}}]),
    )
    document = json.loads(json.dumps(rules.document()))
    assert parse(document) == rules
    assert {"id", "name", "when", "then", "with", "priority", "stop", "active", "once_per"} <= document["rules"][
        0
    ].keys()


def test_a_rule_s_data_goes_to_the_actions_that_know_it() -> None:
    """The "avec" of "si, alors, avec": said once, used by each action, unless it says otherwise."""
    then = [
        {"do": "create_deal", "with": {"name": "x"}},
        {"do": "add_note", "with": {"body": "own"}},
        {"do": "opt_out"},
    ]
    (parsed,) = parse({"rules": [rule(then=then, shared={"body": "shared"})]}).rules
    assert [parsed.data_for(action) for action in parsed.then] == [
        {"body": "shared", "name": "x"},
        {"body": "own"},
        {},
    ]


@pytest.mark.parametrize(
    ("active", "ago", "holds"),
    [
        (True, 0, True),
        (False, 0, False),
        ({"from": "2026-11-20T10:00:00+01:00"}, 0, True),
        ({"from": "2026-11-20T10:00:00+01:00"}, 1, False),
        ({"until": "2026-11-20T10:00:00+01:00"}, 0, False),
        ({"until": "2026-11-20T10:00:00+01:00"}, 1, True),
    ],
)
def test_a_window_begins_and_ends_to_the_second(active: Any, ago: int, holds: bool) -> None:
    now = datetime(2026, 11, 20, 9, 0, tzinfo=UTC) - timedelta(seconds=ago)
    assert rule_set(rule(active=active)).rules[0].is_active(now) is holds


# ── ids ──


def ids(rules: Any) -> dict[str, tuple[str | None, list[str | None]]]:
    return {rule.name: (rule.id, [action.id for action in rule.then]) for rule in rules.rules}


NOTE = {"do": "add_note", "with": {"body": "x"}}


def test_ids_survive_reorder_and_edit() -> None:
    """A delivery's id is made of these: a new id would write a second time."""
    first = rule_set(rule(name="A", then=[NOTE, {"do": "opt_out"}, NOTE]), rule(name="B"))
    again = parse(
        {"rules": [rule("call.score > 3", "B"), rule(name="a", then=[{"do": "opt_out"}, NOTE, NOTE], stop=True)]}
    )
    known, later = ids(first), ids(with_ids(again, first))
    assert later["B"] == known["B"]
    rule_id, (note, opt_out, second_note) = known["A"]
    assert later["a"] == (rule_id, [opt_out, note, second_note])


def test_ids_survive_rename_when_they_are_given() -> None:
    first = rule_set(rule(name="A"))
    document = first.document()
    document["rules"][0]["name"] = "Renamed"
    assert ids(with_ids(parse(document), first))["Renamed"] == ids(first)["A"]


@pytest.mark.parametrize("place", [0, 1])
def test_a_new_rule_under_an_old_name_is_a_new_rule(place: int) -> None:
    """The renamed rule keeps its history; the one that takes its old name starts without."""
    first = rule_set(rule(name="A"))
    document = first.document()
    document["rules"][0]["name"] = "Renamed"
    document["rules"].insert(place, rule(name="A"))
    found = ids(with_ids(parse(document), first))
    assert found["Renamed"] == ids(first)["A"]
    assert found["A"][0] != found["Renamed"][0]
    assert set(found["A"][1]).isdisjoint(found["Renamed"][1])


def test_ids_are_unique_and_the_same_each_time() -> None:
    rules = [rule(name=f"Rule {n}", then=[NOTE, NOTE]) for n in range(30)]
    once, twice = rule_set(*rules), rule_set(*rules)
    assert once == twice
    everything = [found for rule in once.rules for found in (rule.id, *(action.id for action in rule.then))]
    assert len(set(everything)) == 90
    assert with_ids(once, twice) == once


def test_an_action_s_given_id_is_not_given_to_another() -> None:
    first = rule_set(rule(name="A", then=[NOTE, NOTE]))
    (_, (one, two)) = ids(first)["A"]
    moved = parse({"rules": [rule(name="A", then=[{**NOTE, "id": two}, NOTE])]})
    found = ids(with_ids(moved, first))["A"][1]
    assert found[0] == two
    assert len(set(found)) == 2
    assert one not in found or found[1] == one
