"""Real answers of HubSpot (`../shared/recorded/hubspot`) through our readers: what each of them must come out as."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from connectors.crm.hubspot import wire, wire_account, wire_errors, wire_people
from connectors.crm.records import Kind
from connectors.errors import ConnectorError, RateLimited, Rejected, Unavailable, UnexpectedReply
from connectors.request import Reply, Request
from tests.shared import FOLDER, needs_shared, shared

RECORDED = "recorded/hubspot"
pytestmark = needs_shared(RECORDED, what="how HubSpot's real answers are read")

Read = Callable[[Reply], Any]


def recorded(name: str) -> tuple[Request, Reply]:
    kept = json.loads((shared(RECORDED, what="real answers") / name).read_text())
    body, method = kept["response"]["body"], kept["request"]["method"]
    content = body if isinstance(body, str) else "" if body is None else json.dumps(body)
    headers = {key.lower(): value for key, value in kept["response"].get("headers", {}).items()}
    where = kept["request"].get("url") or kept["request"]["path"]
    request = Request(method=method, path=where, writes=method != "GET" and "search" not in where)
    return request, Reply(status=kept["response"]["status"], headers=headers, body=content.encode())


def an_object(reply: Reply) -> str:
    return wire.read(reply, wire.Object).id


def objects(reply: Reply) -> tuple[int, str | None]:
    page = wire.read(reply, wire.Objects)
    return len(page.results), page.after


def people(reply: Reply) -> list[str]:
    page = wire.read(reply, wire.Objects)
    return [wire_people.read_contact("contacts", found, account=None).name for found in page.results]


def owners(reply: Reply) -> int:
    return len(wire.read(reply, wire_account.Owners).results)


READABLE: list[tuple[str, Read, Any]] = [
    ("contact_create.json", an_object, None),
    ("contact_update_clear_200.json", an_object, "713492963559"),
    ("contact_batch_create_201.json", objects, None),
    ("contact_batch_update_200.json", objects, None),
    ("company_batch_update.json", objects, None),
    ("contacts_list_200.json", people, None),
    ("contacts_list_page_200.json", objects, None),
    ("contacts_list_with_associations_200.json", people, None),
    ("deal_create.json", an_object, None),
    ("deal_update_200.json", an_object, "493593663734"),
    ("deal_search_200.json", objects, None),
    ("deals_list_200.json", objects, None),
    ("meeting_create_201.json", an_object, None),
    ("meeting_get_200.json", an_object, "27195487241"),
    ("meeting_list_page_200.json", objects, None),
    ("meeting_search_by_contact_200.json", objects, None),
    ("note_create.json", an_object, None),
    ("task_create_eu.json", an_object, None),
    ("task_update_eu.json", an_object, "477950799045"),
    ("task_search_200.json", objects, None),
    ("ticket_create_eu.json", an_object, None),
    ("ticket_get_200.json", an_object, "16174569112"),
    ("ticket_update_200.json", an_object, "16174569112"),
    ("owner_get_200.json", lambda reply: wire_account.read_owner(reply).id, "31871817"),
    ("owner_get_eu.json", lambda reply: wire_account.read_owner(reply).id, "534941"),
    ("owner_by_email_200.json", owners, 1),
    ("owners_list_200.json", owners, None),
    ("property_create_contacts.json", lambda reply: wire.read(reply, wire_account.FieldObject).field().type, "text"),
]


@pytest.mark.parametrize(("name", "read", "expected"), READABLE, ids=[row[0] for row in READABLE])
def test_a_recorded_answer_is_read(name: str, read: Read, expected: Any) -> None:
    _, reply = recorded(name)
    value = read(reply)
    assert value
    if expected is not None:
        assert value == expected


def test_recorded_pipelines_have_their_stages_in_order() -> None:
    _, reply = recorded("pipelines_deals_200.json")
    sales = wire_account.read_pipelines(reply)[0]
    assert sales.stages[0].id == "appointmentscheduled"
    assert [stage.closed for stage in sales.stages] == sorted(stage.closed for stage in sales.stages)
    assert [stage.id for stage in sales.stages if stage.won] == ["closedwon"]


def test_a_recorded_number_is_read_as_hubspot_reads_it() -> None:
    """National digits to search by, E.164 to compare: recorded on the same contact."""
    kept = json.loads((FOLDER / RECORDED / "legacy_v1_contact_profile_with_phone_200.json").read_text())
    values = {name: entry["value"] for name, entry in kept["response"]["body"]["properties"].items()}
    found = wire_people.read_contact("contacts", wire.Object(id="1", properties=values), account=None)
    held = next(phone for phone in found.phones if phone.label == "mobile")
    assert held.e164 == values["hs_calculated_mobile_number"] == "+5583999999999"
    assert values["hs_searchable_calculated_mobile_number"] == "83999999999"


REFUSED: list[tuple[str, type[ConnectorError], dict[str, Any]]] = [
    ("q_401_expired_authentication.json", Unavailable, {}),
    (
        "q_403_missing_scopes_private_app.json",
        Rejected,
        {"scopes": ("crm.objects.leads.read", "crm.objects.leads.write", "e-commerce"), "gone": False},
    ),
    ("q_403_oauth_view_schema_no_category.json", Rejected, {"scopes": ("leads-read",)}),
    ("q_409_contact_exists.json", wire_errors.AlreadyExists, {"existing": "777"}),
    ("meeting_create_400.json", Rejected, {"field": "hs_meeting_start_time", "gone": False}),
    ("list_membership_add_dynamic_400.json", Rejected, {"field": None}),
    ("legacy_v1_property_400.json", Rejected, {}),
    ("task_get_404.json", Rejected, {"gone": True}),
    ("ticket_get_404.json", Rejected, {"gone": True}),
    ("legacy_v1_contact_404.json", Rejected, {"gone": True}),
    ("search_429_secondly_company.json", RateLimited, {"retry_after": timedelta(seconds=1)}),
]


@pytest.mark.parametrize(("name", "kind", "carries"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_recorded_refusal_says_what_to_do(name: str, kind: type[ConnectorError], carries: dict[str, Any]) -> None:
    request, reply = recorded(name)
    error = wire_errors.read_error(request, reply)
    assert type(error) is kind
    assert {attribute: getattr(error, attribute) for attribute in carries} == carries
    message = json.loads(reply.body).get("message", "") if reply.body.startswith(b"{") else "HTTP ERROR"
    assert message not in str(error)


@pytest.mark.parametrize(
    "name", ["task_get_404.json", "contact_archive_204.json", "legacy_v1_engagement_call_create_200.json"]
)
def test_what_is_no_record_is_not_read_as_one(name: str) -> None:
    _, reply = recorded(name)
    with pytest.raises(UnexpectedReply):
        wire.read(reply, wire.Object)


def test_recorded_headers_say_what_is_left() -> None:
    (left, daily) = wire_errors.read_limits(*recorded("task_get_404.json"))
    assert (left.bucket, left.limit, left.remaining, left.per) == ("api", 190, 188, timedelta(seconds=10))
    assert (daily.bucket, daily.limit, daily.remaining) == ("daily", 1_000_000, 999_888)
    assert [each.bucket for each in wire_errors.read_limits(*recorded("search_429_secondly_company.json"))] == ["daily"]


def test_every_recorded_answer_of_a_route_we_use_is_in_a_table() -> None:
    """A new recording must not lie around unread."""
    elsewhere = {
        "pipelines_deals_200.json", "legacy_v1_contact_profile_with_phone_200.json", "contact_archive_204.json",
        "legacy_v1_engagement_call_create_200.json",
    }  # fmt: skip
    of_no_use = ("assoc_v4_", "list_membership", "schemas_", "users_", "contact_batch_archive")  # routes we do not call
    known = {row[0] for row in READABLE} | {row[0] for row in REFUSED} | elsewhere
    files = {file.name for file in (FOLDER / RECORDED).glob("*.json") if not file.name.startswith(of_no_use)}
    assert files - known == set()


def test_kinds_have_their_types() -> None:
    assert set(wire.TYPES) == set(Kind)
    assert set(wire.TYPE_IDS) == set(wire.TYPES.values())
