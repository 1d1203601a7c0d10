"""`pipedrive-python-lib` 1.2, unchanged, against the sandbox.

It is written for v1 and for `api.pipedrive.com`; its two addresses are plain attributes, so it is pointed here, at v1
for what is still there and at v2 for what moved. Not to be had: updates of persons, deals and organizations (it sends PUT,
v2 wants PATCH), creating notes and webhooks with all that v2 of those needs, and everything under v1 that Pipedrive took
away on 2026-08-01, which the sandbox answers as Pipedrive does.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from pipedrive.client import Client  # type: ignore[import-untyped]
from pipedrive.exceptions import (  # type: ignore[import-untyped]
    BadRequestError,
    ForbiddenError,
    NotFoundError,
    UnauthorizedError,
)

from tests.connectors.sandbox.pipedrive.world import World

CALLBACK = "http://localhost/cb"


def client(live: World, version: str) -> Any:
    made = Client("sandbox-client", "sandbox-secret")
    made.BASE_URL = f"{live.origin}/api/{version}/"
    made.OAUTH_BASE_URL = f"{live.origin}/oauth/"
    made.set_access_token(live.token)
    return made


@pytest.fixture
def v1(live: World) -> Any:
    return client(live, "v1")


@pytest.fixture
def v2(live: World) -> Any:
    return client(live, "v2")


def test_oauth_from_code_to_refresh(live: World) -> None:
    library = client(live, "v1")
    library.access_token = None
    address = library.authorization_url(CALLBACK, "s-1")
    back = httpx2.get(f"{address}&auto=approve", verify=False).headers["location"]
    code = parse_qs(urlsplit(back).query)["code"][0]
    token = library.exchange_code(CALLBACK, code)
    assert token["api_domain"] == live.origin
    assert library.refresh_token(token["refresh_token"])["refresh_token"] == token["refresh_token"]
    with pytest.raises(BadRequestError):
        library.exchange_code(CALLBACK, code)
    library.set_access_token(token["access_token"])
    assert library.users.get_me()["data"]["company_domain"] == "aurorademosa"


def test_users_notes_leads_and_recent_changes(live: World, v1: Any, v2: Any) -> None:
    person = v2.persons.create_person({"name": "Jane Doe"})["data"]["id"]
    assert [user["is_you"] for user in v1.users.get_all_users()["data"]] == [True]
    note = v1.notes.create_note({"content": "<p>hello</p>", "person_id": person})["data"]
    assert note["person"] == {"name": "Jane Doe"}
    assert v1.notes.update_note(note["id"], {"content": "changed"})["data"]["content"] == "changed"
    assert [each["id"] for each in v1.notes.get_all_notes(params={"person_id": person})["data"]] == [note["id"]]
    v1.notes.delete_note(note["id"])
    with pytest.raises(NotFoundError):
        v1.notes.get_note(note["id"])
    lead = v1.leads.create_lead({"title": "Heat pump", "person_id": person})["data"]
    assert v1.leads.update_lead(lead["id"], {"title": "Two heat pumps"})["data"]["title"] == "Two heat pumps"
    assert [each["id"] for each in v1.leads.get_all_leads()["data"]] == [lead["id"]]
    v1.leads.delete_lead(lead["id"])
    changes = v1.recents.get_recent_changes({"since_timestamp": "2026-11-22 11:00:00", "items": "person"})["data"]
    assert [(each["item"], each["id"]) for each in changes] == [("person", person)]


def test_persons_organizations_deals_and_activities(live: World, v2: Any) -> None:
    house = v2.organizations.create_organization({"name": "Aurora SA"})["data"]["id"]
    phones = [{"value": "+41446681800", "primary": True, "label": "work"}]
    person = v2.persons.create_person({"name": "Jane Doe", "org_id": house, "phones": phones})["data"]
    assert v2.persons.get_person(person["id"])["data"] == person
    deal = v2.deals.create_deal({"title": "Maintenance", "person_id": person["id"]})["data"]
    assert [each["id"] for each in v2.deals.get_all_deals(params={"person_id": person["id"]})["data"]] == [deal["id"]]
    taking_part = [{"person_id": person["id"], "primary": True}]
    made = v2.activities.create_activity({"subject": "Call", "type": "call", "done": True, "participants": taking_part})
    assert v2.activities.get_activity(made["data"]["id"])["data"]["person_id"] == person["id"]
    assert [each["name"] for each in v2.pipelines.get_all_pipelines()["data"]] == ["Verkauf", "Service"]
    assert len(v2.stages.get_all_stages()["data"]) == 6
    live.later(4)
    found = v2.persons.search_persons({"term": "+41446681800", "fields": "phone", "exact_match": "true"})["data"]
    assert [each["item"]["organization"]["name"] for each in found["items"]] == ["Aurora SA"]
    params = {"term": "Jane", "item_types": "person", "search_for_related_items": "true"}
    related = v2.items.get_item_search(params)["data"]["related_items"]
    assert [each["item"]["title"] for each in related] == ["Maintenance"]
    v2.persons.delete_person(person["id"])
    assert v2.persons.get_all_persons()["data"] == []
    names = {field["field_name"] for field in v2.persons.get_person_fields()["data"]}
    assert {"Name", "Phone", "Email"} <= names


def test_webhooks_are_listed_and_ended(live: World, v1: Any) -> None:
    live.make("v1/webhooks", subscription_url="https://g.example/x", event_action="*", event_object="person", name="x")
    (hook,) = v1.webhooks.get_hooks_subscription()["data"]
    assert v1.webhooks.delete_hook_subscription(hook["id"])["success"] is True
    with pytest.raises(NotFoundError):
        v1.webhooks.delete_hook_subscription(hook["id"])


def test_refusals_are_what_the_library_expects(live: World, v1: Any, v2: Any) -> None:
    with pytest.raises(BadRequestError, match="Deal title must be given"):
        v2.deals.create_deal({})
    with pytest.raises(NotFoundError):
        v1.persons.get_all_persons()
    v2.set_access_token("nobody's")
    with pytest.raises(UnauthorizedError):
        v2.persons.get_all_persons()
    live.grant.scopes = ("base",)
    with pytest.raises(ForbiddenError):
        v1.users.get_all_users()
