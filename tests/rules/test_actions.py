"""What an action takes, what words from a call may not do, and what is left of its data."""

from typing import Any

import pytest

from rules import actions
from rules.actions import CATALOGUE, Prepared
from tests.rules.builders import facts


def problems(do: str, data: dict[str, Any]) -> list[str]:
    return [str(problem) for problem in actions.check(do, data, max_amount=1_000.0)]


def prepare(do: str, data: dict[str, Any], **known: Any) -> Prepared:
    assert problems(do, data) == []
    return actions.prepare(do, data, facts(**known).settle(), max_amount=1_000.0)


def test_the_catalogue_tells_what_each_action_takes() -> None:
    """The rule editor is made from this."""
    assert set(CATALOGUE) == {
        *("log_call", "upsert_contact", "create_task", "create_deal", "create_ticket", "add_note", "assign_owner"),
        *("opt_out", "set_fields"),
    }
    assert all(
        ability.meaning and all(datum.meaning for datum in ability.data.values()) for ability in CATALOGUE.values()
    )


@pytest.mark.parametrize(
    ("do", "data"),
    [
        ("create_deal", {"name": "x", "stage": "${call.summary}"}),
        ("create_deal", {"name": "x", "pipeline": {"cel": "call.data.pipeline"}}),
        ("create_deal", {"name": "x", "currency": {"cel": "call.data.currency"}}),
        ("create_ticket", {"subject": "x", "stage": {"cel": "call.type == 'a' ? call.type : 'b'"}}),
        ("assign_owner", {"email": "${call.data.email}"}),
        ("assign_owner", {"email": {"cel": "call.promises[0].what"}}),
        ("create_task", {"subject": "x", "owner": {"cel": "call.intents.filter(i, i.contains('@'))[0]"}}),
        ("set_fields", {"fields": {"hubspot_owner_id": "${call.data.owner}"}}),
        ("set_fields", {"fields": {"StageName": "${call.summary}"}}),
        ("set_fields", {"fields": {"Record_Type__c": "${call.type}"}}),
        ("set_fields", {"fields": {"HasOptedOutOfEmail": {"cel": "call.data.out"}}}),
    ],
)
def test_words_from_a_call_choose_nothing(do: str, data: dict[str, Any]) -> None:
    """A caller who says "assign this to eve@example.net" must not have it done."""
    (problem,) = problems(do, data)
    assert "Words spoken in a call" in problem


@pytest.mark.parametrize(
    ("do", "data"),
    [
        ("create_deal", {"name": "${call.products}", "body": "${call.summary}", "amount": {"cel": "call.data.budget"}}),
        ("create_deal", {"name": "x", "stage": {"cel": "call.score > 90 ? 'Hot' : 'Qualified'"}}),
        ("create_task", {"subject": "x", "owner": "${caller.owner_email}", "due": {"cel": "call.promises[0].due"}}),
        ("create_ticket", {"subject": "x", "priority": {"cel": "call.type == 'outage' ? 'urgent' : 'normal'"}}),
        ("assign_owner", {"email": "mara@example.ch"}),
        ("set_fields", {"fields": {"last_summary": "${call.summary}", "lead_stage": "Hot", "My_Field__c": 3}}),
    ],
)
def test_what_is_safe_is_allowed(do: str, data: dict[str, Any]) -> None:
    assert problems(do, data) == []


@pytest.mark.parametrize(
    ("do", "data", "problem"),
    [
        ("create_dael", {}, 'do: There is no action "create_dael". Did you mean "create_deal"?'),
        ("create_deal", {"name": "x", "stag": "y"}, 'with.stag: create_deal takes no stag. Did you mean "stage"?'),
        ("create_task", {}, "with: create_task needs subject: what to do."),
        ("opt_out", {"email": "x"}, "with.email: opt_out takes no email."),
        (
            "create_task",
            {"subject": "x", "due": "soon"},
            'with.due: This does not fit: it is a day or words for one, such as "+2 days".',
        ),
        (
            "create_task",
            {"subject": "x", "priority": "hihg"},
            "with.priority: This does not fit: it is one of low, normal, high.",
        ),
        (
            "create_deal",
            {"name": "x", "amount": 1_001},
            "with.amount: This does not fit: it is above this rule's cap of 1000.",
        ),
        ("set_fields", {"fields": {}}, "with.fields: This takes 1 to 50 field names with their values."),
        ("set_fields", {"fields": {"${call.type}": "x"}}, "is no field name"),
        ("create_task", {"subject": "${call.sumary}"}, 'Did you mean "call.summary"?'),
    ],
)
def test_a_wrong_action_is_refused_when_saved(do: str, data: dict[str, Any], problem: str) -> None:
    found = problems(do, data)
    assert len(found) == 1
    assert problem in found[0]


def test_data_is_rendered_to_json() -> None:
    ready = prepare(
        "create_deal",
        {
            "name": "Call of ${caller.name}",
            "body": "${call.summary}",
            "amount": {"cel": "call.data.budget"},
            "stage": "Hot",
        },
        call={"summary": "Wants a pump.", "data": {"budget": 900}},
        caller={"name": "Jean Dupont"},
    )
    assert ready == Prepared(
        {"name": "Call of Jean Dupont", "body": "Wants a pump.", "amount": 900, "stage": "Hot"},
        speech=("body", "amount"),
    )


def test_an_amount_above_the_cap_is_left_out() -> None:
    """A misheard billion must not stand in a forecast, nor must the cap as if it had been said."""
    ready = prepare(
        "create_deal", {"name": "x", "amount": {"cel": "call.data.budget"}}, call={"data": {"budget": 10**9}}
    )
    assert ready.data == {"name": "x"}
    assert ready.notes == ("amount is left out: it is above this rule's cap of 1000.",)


def test_what_is_not_known_is_left_out_and_wipes_nothing() -> None:
    ready = prepare(
        "set_fields", {"fields": {"a": "${call.summary}", "b": "${caller.name}", "c": ""}}, caller={"name": "J"}
    )
    assert ready.data == {"fields": {"b": "J", "c": ""}}
    assert ready.notes == ("fields.a: call.summary is not known.",)


def test_an_action_without_what_it_needs_says_so() -> None:
    ready = prepare("assign_owner", {"email": "${caller.owner_email}"})
    assert ready.lacks == ("email",)
    assert ready.notes == ("email: caller.owner_email is not known.",)
