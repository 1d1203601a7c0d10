"""The sandbox's answers beside real ones: every field of the recorded answer is in ours, with a value of the same type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.connectors.sandbox.test_traps import recorded
from tests.connectors.sandbox.world import Told, World

AT = "2026-11-22T10:00:00Z"
# Calculated by HubSpot from what the sandbox does not have (analytics, sequences, forecasts, help desk), or of its own making.
NOT_OURS = (
    *("hs_sequences", "hs_prospecting", "hs_currently_enrolled", "hs_membership", "hs_registered", "hs_associated"),
    *("hs_lifecyclestage_", "hs_v2_", "hs_closed_", "days_to_close", "hs_days_to_close", "hs_has_last", "hs_num_"),
    *("hs_deal_stage_probability_shadow", "hs_is_deal_split", "hs_number_of", "hs_projected_amount"),
    *("num_associated_contacts", "hs_helpdesk", "hs_is_visible", "hs_last_", "hs_engagements_last_contacted"),
    *("hs_start_date", "hs_task_completion_count", "hs_task_family", "hs_task_for", "hs_task_is_", "hs_task_missed"),
    *("hs_meeting_source", "hs_user_ids_of_all_owners"),
)


def same_shape(ours: Any, theirs: Any, at: str = "answer") -> None:
    """Raises AssertionError naming the first place where the real answer has something that ours has not."""
    match theirs:
        case dict():
            assert isinstance(ours, dict), at
            for name, value in theirs.items():
                if name == "__truncated__" or name.startswith(tuple(NOT_OURS)):
                    continue
                assert name in ours, f"{at}.{name} is missing"
                same_shape(ours[name], value, f"{at}.{name}")
        case list():
            assert isinstance(ours, list), at
            if theirs:
                assert ours, f"{at} is empty"
                same_shape(ours[0], theirs[0], f"{at}[0]")
        case None:
            pass
        case _:
            assert isinstance(ours, type(theirs)), f"{at}: {ours!r} is not a {type(theirs).__name__}"


def _contact_create(world: World) -> Told:
    values = {"email": "t@mail.example", "firstname": "T", "lastname": "C", "phone": "+1 555-1234"}
    return world.ask(
        "POST", "/crm/v3/objects/contacts", {"properties": {**values, "company": "A", "website": "b.example"}}
    )


def _contacts_page(world: World) -> Told:
    for name in "AB":
        world.create("contacts", firstname=name, lastname="X", email=f"{name}@mail.example")
    return world.ask("GET", "/crm/v3/objects/contacts?limit=1")


def _deal_create(world: World) -> Told:
    return world.ask("POST", "/crm/v3/objects/deals", {"properties": {"dealname": "T", "amount": 10000}})


def _deal_search(world: World) -> Told:
    for _ in range(2):
        world.create("deals", dealname="T", amount="3000", dealstage="appointmentscheduled")
    world.later(3)
    names = ["dealname", "amount", "dealstage", "pipeline", "closedate", "createdate", "hs_lastmodifieddate"]
    return world.ask("POST", "/crm/v3/objects/deals/search", {"limit": 1, "properties": names})


def _note_create(world: World) -> Told:
    person = world.create("contacts", firstname="A")
    spec = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 202}
    values = {"hs_timestamp": AT, "hs_note_body": "Test", "hubspot_owner_id": world.portal.installer.id}
    return world.ask(
        "POST",
        "/crm/v3/objects/notes",
        {"properties": values, "associations": [{"to": {"id": person}, "types": [spec]}]},
    )


def _meeting_create(world: World) -> Told:
    values = {
        "hs_timestamp": "1659970341857",
        "hubspot_owner_id": int(world.portal.installer.id),
        "hs_meeting_title": "t",
        "hs_meeting_body": "b",
        "hs_meeting_start_time": "1651568400000",
        "hs_meeting_end_time": "1651569300000",
        "hs_meeting_outcome": "SCHEDULED",
    }
    return world.ask("POST", "/crm/v3/objects/meetings", {"properties": values})


def _task_create(world: World) -> Told:
    values = {"hs_task_subject": "T", "hs_task_type": "TODO", "hs_task_priority": "MEDIUM", "hs_timestamp": AT}
    return world.ask("POST", "/crm/v3/objects/tasks", {"properties": {**values, "hs_task_status": "NOT_STARTED"}})


def _ticket_create(world: World) -> Told:
    values = {"subject": "T", "hs_pipeline": "0", "hs_pipeline_stage": "1"}
    return world.ask("POST", "/crm/v3/objects/tickets", {"properties": values})


def _property_create(world: World) -> Told:
    wanted = {"name": "t", "label": "T", "type": "string", "fieldType": "text", "groupName": "contactinformation"}
    return world.ask("POST", "/crm/v3/properties/contacts", {**wanted, "description": "Test"})


def _batch_update(world: World) -> Told:
    person = world.create("contacts", firstname="J", email="j@mail.example")
    world.ask(
        "POST",
        "/crm/v3/properties/contacts",
        {
            "name": "number_field",
            "label": "N",
            "type": "number",
            "fieldType": "number",
            "groupName": "contactinformation",
        },
    )
    values = {"email": "j@mail.example", "firstname": "John", "lastname": "Doe", "number_field": "3039"}
    return world.ask("POST", "/crm/v3/objects/CONTACT/batch/update", {"inputs": [{"id": person, "properties": values}]})


def _batch_create(world: World) -> Told:
    values = {"email": "j@mail.example", "firstname": "John"}
    return world.ask("POST", "/crm/v3/objects/CONTACT/batch/create", {"inputs": [{"properties": values}]})


def _link_batch(world: World, person: str | None = None) -> Told:
    company, contact = world.create("companies", name="A"), person or world.create("contacts", firstname="B")
    spec = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 2}
    inputs = [{"from": {"id": company}, "to": {"id": contact}, "types": [spec]}]
    return world.ask("POST", "/crm/v4/associations/Company/Contact/batch/create", {"inputs": inputs})


def _links_of_a_deal(world: World) -> Told:
    person = world.create("contacts", firstname="A")
    deal = world.create("deals", [(person, 3)], dealname="D")
    return world.ask("GET", f"/crm/v4/objects/Deal/{deal}/associations/Contact")


TOLD: dict[str, Callable[[World], Told]] = {
    "contact_create": _contact_create,
    "contacts_list_page_200": _contacts_page,
    "contact_batch_create_201": _batch_create,
    "contact_batch_update_200": _batch_update,
    "deal_create": _deal_create,
    "deal_search_200": _deal_search,
    "note_create": _note_create,
    "meeting_create_201": _meeting_create,
    "task_create_eu": _task_create,
    "ticket_create_eu": _ticket_create,
    "property_create_contacts": _property_create,
    "pipelines_deals_200": lambda world: world.ask("GET", "/crm/v3/pipelines/deals"),
    "owners_list_200": lambda world: world.ask("GET", "/crm/v3/owners?limit=100&archived=false"),
    "owner_get_200": lambda world: world.ask("GET", f"/crm/v3/owners/{world.portal.installer.id}"),
    "schemas_empty_200": lambda world: world.ask("GET", "/crm/v3/schemas"),
    "assoc_v4_batch_create_201": _link_batch,
    "assoc_v4_batch_create_207": lambda world: _link_batch(world, "1234"),
    "assoc_v4_list_contacts_of_deal_200": _links_of_a_deal,
}


@pytest.mark.parametrize("name", TOLD)
def test_ours_has_what_the_real_one_has(world: World, name: str) -> None:
    real, told = recorded(name), TOLD[name](world)
    created = {201} if real["status"] == 200 else set()  # a proxy that recorded them turned 201 into 200
    assert told.status in {real["status"], *created}, told.body
    same_shape(told.body, real["body"])


def test_the_fields_that_differ_are_few_enough_to_name() -> None:
    with pytest.raises(AssertionError, match=r"answer\.a\[0\]\.b is missing"):
        same_shape({"a": [{}]}, {"a": [{"b": 1}]})
    with pytest.raises(AssertionError, match="is not a str"):
        same_shape({"a": 1}, {"a": "1"})
