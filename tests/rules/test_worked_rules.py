"""The three rules that the product was explained with (seeds, "Exemples de règles"), with English names of facts.

Sending mail and text messages and entering appointments are not in the catalogue; the rules keep what is.
"""

from typing import Any

import pytest

from tests.rules.builders import decided, facts, rule_set

HOT_LEAD = {
    "name": "Hot lead",
    "when": "call.score > 80 && call.data.budget_mentioned == true",
    "then": [
        {
            "do": "create_deal",
            "with": {"name": "Opportunity ${caller.name}", "stage": "Qualified", "amount": {"cel": "call.data.budget"}},
        },
        {"do": "assign_owner", "with": {"email": "senior@example.ch"}},
        {"do": "add_note"},
    ],
    "with": {"body": "${call.summary}\nProducts: ${call.products}\nBudget: ${call.data.budget}"},
}
URGENT_COMPLAINT = {
    "name": "Urgent complaint",
    "when": "call.type == 'complaint' && call.sentiment == 'negative'",
    "then": [
        {"do": "create_ticket", "with": {"subject": "Complaint of ${caller.name}", "priority": "high"}},
        {
            "do": "create_task",
            "with": {
                "subject": "Call ${caller.name}",
                "owner": "${caller.owner_email}",
                "due": "today",
                "priority": "high",
            },
        },
        {"do": "opt_out"},
    ],
    "with": {"body": "${call.summary}\nCalls before this one: ${caller.previous_calls}"},
    "priority": 10,
    "stop": True,
}
APPOINTMENT = {
    "name": "Appointment made",
    "when": "has(call.data.appointment_at)",
    "then": [
        {
            "do": "create_task",
            "with": {
                "subject": "Prepare the appointment with ${caller.name}",
                "body": "${call.data.appointment_at}: ${call.data.appointment_about}",
                "due": {"cel": "timestamp(call.data.appointment_at) - duration('24h')"},
            },
        }
    ],
}
RULES = rule_set(HOT_LEAD, URGENT_COMPLAINT, APPOINTMENT)
CALLER = {"name": "Jean Dupont", "owner_email": "mara@example.ch", "previous_calls": 4}


@pytest.mark.parametrize(
    ("call", "fired"),
    [
        ({"score": 85.0, "data": {"budget_mentioned": True, "budget": 5000}}, ["Hot lead"]),
        ({"score": 80.0, "data": {"budget_mentioned": True}}, []),
        ({"score": 85.0, "data": {"budget_mentioned": False}}, []),
        ({"score": 85.0}, []),
        ({"type": "complaint", "sentiment": "negative"}, ["Urgent complaint"]),
        ({"type": "complaint", "sentiment": "neutral"}, []),
        (
            {"type": "complaint", "sentiment": "negative", "score": 99.0, "data": {"budget_mentioned": True}},
            ["Urgent complaint"],
        ),
        ({"data": {"appointment_at": "2026-11-25T14:00:00+01:00"}}, ["Appointment made"]),
        ({}, []),
    ],
)
def test_which_rules_fire(call: dict[str, Any], fired: list[str]) -> None:
    decision = decided(RULES, facts(call, CALLER), grace_over=True)
    assert [rule.name for rule in decision.rules if rule.outcome == "fired"] == fired


def test_a_hot_lead_becomes_a_deal() -> None:
    data = {"budget_mentioned": True, "budget": 5000}
    call = {"score": 85.0, "summary": "Wants panels.", "products": ("Panel X",), "data": data}
    deal, owner, note = decided(RULES, facts(call, CALLER), grace_over=True).actions
    body = "Wants panels.\nProducts: Panel X\nBudget: 5000"
    assert (deal.do, deal.data) == (
        "create_deal",
        {"name": "Opportunity Jean Dupont", "body": body, "amount": 5000, "stage": "Qualified"},
    )
    assert (owner.do, owner.data) == ("assign_owner", {"email": "senior@example.ch"})
    assert (note.do, note.data, note.speech) == ("add_note", {"body": body}, ("body",))


def test_a_complaint_becomes_a_ticket_and_a_task() -> None:
    call = {"type": "complaint", "sentiment": "negative", "summary": "Pump broke."}
    ticket, task, opt_out = decided(RULES, facts(call, CALLER), grace_over=True).actions
    body = "Pump broke.\nCalls before this one: 4"
    assert (ticket.do, ticket.data) == (
        "create_ticket",
        {"subject": "Complaint of Jean Dupont", "body": body, "priority": "high"},
    )
    assert (task.do, task.data) == (
        "create_task",
        {
            "subject": "Call Jean Dupont",
            "body": body,
            "due": "2026-11-20",
            "owner": "mara@example.ch",
            "priority": "high",
        },
    )
    assert (opt_out.do, opt_out.data) == ("opt_out", {})


def test_an_appointment_is_prepared_the_day_before() -> None:
    data = {"appointment_at": "2026-11-25T14:00:00+01:00", "appointment_about": "Roof"}
    (task,) = decided(RULES, facts({"data": data}, CALLER), grace_over=True).actions
    assert task.data == {
        "subject": "Prepare the appointment with Jean Dupont",
        "body": "2026-11-25T14:00:00+01:00: Roof",
        "due": "2026-11-24T14:00+01:00",
    }
