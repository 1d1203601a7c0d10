"""What a new tenant's calls lead to before anybody has written a rule."""

from datetime import date
from typing import Any

import pytest

from rules.facts import Promise
from rules.rule import parse
from rules.starters import names, starter
from tests.rules.builders import decided, facts

CALL_BACK = Promise("We will call you back", date(2026, 11, 26))


def planned(call: dict[str, Any], caller: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    decision = decided(starter(), facts(call, caller), grace_over=True)
    return {action.do: dict(action.data) for action in decision.actions}


@pytest.mark.parametrize("name", names())
def test_a_starter_is_a_document_a_tenant_could_have_saved(name: str) -> None:
    rules = starter(name)
    assert parse(rules.document()) == rules
    assert all(rule.description for rule in rules.rules)


def test_an_unknown_starter_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        starter("../default")


@pytest.mark.parametrize(
    ("call", "caller", "actions"),
    [
        ({"answered": True}, {}, ["upsert_contact", "log_call"]),
        ({"answered": True}, {"number_known": False}, ["log_call"]),
        (
            {"answered": True, "data": {"email": "j@example.ch"}},
            {"number_known": False},
            ["upsert_contact", "log_call"],
        ),
        ({"answered": False}, {}, ["upsert_contact", "log_call"]),
        ({"answered": False}, {"number_known": False}, []),
        ({"promises": (CALL_BACK,)}, {}, ["upsert_contact", "log_call", "create_task"]),
        ({"promises": (Promise("send the brochure"),)}, {}, ["upsert_contact", "log_call"]),
        ({"promises": (Promise("Nous vous rappelons"),)}, {}, ["upsert_contact", "log_call", "create_task"]),
        ({"promises": (Promise("Herr Weiss wird zurückrufen"),)}, {}, ["upsert_contact", "log_call", "create_task"]),
        ({"promises": (Promise("Rückruf morgen"),)}, {}, ["upsert_contact", "log_call", "create_task"]),
        ({"intents": ("callback",)}, {}, ["upsert_contact", "log_call", "create_task"]),
        ({"intents": ("quote",)}, {}, ["upsert_contact", "log_call", "create_deal"]),
        ({"intents": ("opening_hours",)}, {}, ["upsert_contact", "log_call"]),
        ({"score": 81.0}, {}, ["upsert_contact", "log_call", "create_deal"]),
        ({"score": 80.0}, {}, ["upsert_contact", "log_call"]),
        ({"type": "complaint", "sentiment": "negative"}, {}, ["upsert_contact", "log_call"]),
    ],
)
def test_what_a_call_leads_to(call: dict[str, Any], caller: dict[str, Any], actions: list[str]) -> None:
    assert list(planned(call, caller)) == actions


@pytest.mark.parametrize(
    ("promises", "due"),
    [
        ((CALL_BACK,), "2026-11-26"),
        ((Promise("send it", date(2026, 11, 21)), CALL_BACK), "2026-11-26"),
        ((Promise("call back"),), "2026-11-23"),  # said on a Friday
        ((Promise("call back"), Promise("send it", date(2026, 11, 21))), "2026-11-23"),
        (None, "2026-11-23"),
    ],
)
def test_the_call_back_is_due_as_promised(promises: tuple[Promise, ...] | None, due: str) -> None:
    """The customer was told a day."""
    task = planned({"promises": promises, "intents": ("callback",)}, {"name": "Jean Dupont"})["create_task"]
    assert (task["subject"], task["due"]) == ("Call back Jean Dupont", due)


def test_a_new_caller_gets_what_they_said_about_themselves() -> None:
    data = {"first_name": "Jean", "last_name": "Dupont", "email": "not an address"}
    assert planned({"data": data})["upsert_contact"] == {"first_name": "Jean", "last_name": "Dupont"}


def test_the_ticket_waits_to_be_switched_on() -> None:
    """The caller's mood is profiling; nobody is profiled because we ship a rule."""
    (ticket,) = [rule for rule in starter().rules if rule.then[0].do == "create_ticket"]
    assert ticket.active is False
