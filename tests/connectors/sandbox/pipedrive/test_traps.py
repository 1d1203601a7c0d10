"""What makes Pipedrive different from what one would expect, one trap a test."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from connectors.sandbox.pipedrive.company import Company
from tests.connectors.sandbox.pipedrive.world import World, make_world
from tests.contract.schemas_pipedrive import price_of
from tests.shared import needs_shared

PHONE = [{"value": "+41 44 668 18 00", "label": "work", "primary": True}]


def found(world: World, term: str, **more: str) -> list[int]:
    told = world.ask("GET", "v2/persons/search", term=term, fields="phone,custom_fields", exact_match="true", **more)
    return [each["item"]["id"] for each in told.body["data"]["items"]]


def test_search_is_behind_and_compares_text(world: World) -> None:
    person = world.make("v2/persons", name="Aurélie Perrochon", phones=PHONE)
    assert found(world, "+41 44 668 18 00") == []
    world.later(4)
    assert found(world, "+41 44 668 18 00") == [person]
    assert found(world, "+41446681800") == []
    assert world.ask("GET", f"v2/persons/{person}").body["data"]["phones"] == PHONE


def test_a_field_of_ones_own_is_a_hash_that_no_other_company_has(world: World) -> None:
    made = world.ask("POST", "v2/personFields", {"field_name": "Score", "field_type": "double"}).body["data"]
    twin = world.ask("POST", "v2/personFields", {"field_name": "Score", "field_type": "double"}).body["data"]
    assert len(made["field_code"]) == 40
    assert made["field_code"] != twin["field_code"]
    assert Company(1, "x").add_field("person", "Score", "double").code not in (made["field_code"], twin["field_code"])
    person = world.make("v2/persons", name="A", custom_fields={made["field_code"]: 7})
    custom = world.ask("GET", f"v2/persons/{person}").body["data"]["custom_fields"]
    assert custom == {made["field_code"]: 7, twin["field_code"]: None}


@pytest.mark.parametrize(
    "values",
    [
        {"name": "A", "owner_id": "25760681"},
        {"name": "A", "visible_to": True},
        {"name": "A", "phones": "+41"},
        {"name": "A", "phones": [{"number": "+41"}]},
        {"name": "A", "label_ids": ["1"]},
        {"name": "A", "email": []},
        {"name": "A", "custom_fields": {"f" * 40: "x"}},
        {},
    ],
)
def test_types_are_strict_and_members_known(world: World, values: dict[str, object]) -> None:
    assert world.ask("POST", "v2/persons", values).status == 400


def test_values_of_ones_own_fields_are_checked(world: World) -> None:
    choice = {"field_name": "Mood", "field_type": "set", "options": [{"label": "Good"}]}
    made = world.ask("POST", "v2/personFields", choice).body["data"]
    option = made["options"][0]["id"]
    for value, status in (([option], 200), (None, 200), ([], 400), (["Good"], 400), (option, 400)):
        told = world.ask("POST", "v2/persons", {"name": "A", "custom_fields": {made["field_code"]: value}})
        assert told.status == status, value


def test_job_titles_come_with_contact_sync_only(world: World) -> None:
    assert world.ask("POST", "v2/persons", {"name": "A", "job_title": "CFO"}).status == 403


def test_ids_count_for_each_kind(world: World) -> None:
    ids = [
        world.make("v2/persons", name="A"),
        world.make("v2/organizations", name="B"),
        world.make("v2/deals", title="C"),
    ]
    assert [*ids, world.make("v2/activities", subject="D"), world.make("v2/persons", name="E")] == [1, 1, 1, 1, 2]


def test_a_deleted_person_answers_to_the_id_and_is_in_no_list(world: World) -> None:
    person = world.make("v2/persons", name="A")
    assert world.ask("DELETE", f"v2/persons/{person}").status == 200
    assert world.ask("GET", f"v2/persons/{person}").body["data"]["is_deleted"] is True
    assert world.ask("GET", "v2/persons").body["data"] == []
    assert world.ask("PATCH", f"v2/persons/{person}", {"name": "B"}).status == 404
    told = world.ask("GET", "v1/recents", since_timestamp="2026-11-22 11:00:00", items="person")
    assert [each["data"]["active_flag"] for each in told.body["data"]] == [False]


def test_a_merge_leaves_the_named_one_and_tells_it_as_two_changes(world: World) -> None:
    hook = {
        "subscription_url": "https://g.example/x", "event_action": "*", "event_object": "person", "name": "x",
        "http_auth_user": "u", "http_auth_password": "p",
    }  # fmt: skip
    loser, winner = world.make("v2/persons", name="A", phones=PHONE), world.make("v2/persons", name="B")
    assert world.ask("POST", "v1/webhooks", hook).status == 201
    assert world.ask("PUT", f"v1/persons/{loser}/merge", {"merge_with_id": winner}).body["data"]["id"] == winner
    assert world.ask("GET", f"v2/persons/{winner}").body["data"]["phones"] == PHONE
    assert world.ask("GET", f"v2/persons/{loser}").body["data"]["is_deleted"] is True
    deleted, changed = [sent.body for sent in world.company.outgoing]
    assert (deleted["meta"]["action"], deleted["meta"]["merged_to_id"], deleted["data"]) == (
        "delete",
        str(winner),
        None,
    )
    assert (changed["meta"]["action"], changed["meta"]["merged_from_id"]) == ("change", str(loser))
    assert set(changed["previous"]) <= {"phones", "update_time"}


def test_pages_go_on_where_the_last_ended_whatever_happened_meanwhile(world: World) -> None:
    ids = [world.make("v2/persons", name=f"P{n}") for n in range(5)]
    first = world.ask("GET", "v2/persons", limit=2).body
    world.ask("DELETE", f"v2/persons/{ids[1]}")
    rest = world.ask("GET", "v2/persons", limit=9, cursor=first["additional_data"]["next_cursor"]).body
    assert [each["id"] for each in first["data"]] == ids[:2]
    assert [each["id"] for each in rest["data"]] == ids[2:]
    assert rest["additional_data"]["next_cursor"] is None
    assert world.ask("GET", "v2/persons", cursor="nonsense").status == 400
    assert world.ask("GET", "v2/persons", limit=501).status == 400


def test_times_take_no_fractions(world: World) -> None:
    assert world.ask("GET", "v2/persons", updated_since="2026-11-22T11:00:00.123Z").status == 400
    world.make("v2/persons", name="A")
    assert len(world.ask("GET", "v2/persons", updated_since="2026-11-22T12:00:00Z").body["data"]) == 1
    assert world.ask("GET", "v2/persons", updated_until="2026-11-22T12:00:00Z").body["data"] == []


def test_an_activity_takes_people_through_its_participants(world: World) -> None:
    person = world.make("v2/persons", name="A")
    alone = world.make("v2/activities", subject="x", person_id=person)
    linked = world.make("v2/activities", subject="y", participants=[{"person_id": person, "primary": True}])
    of = world.ask("GET", "v2/activities", person_id=person).body["data"]
    assert [each["id"] for each in of] == [linked]
    assert world.ask("GET", f"v2/activities/{alone}").body["data"]["person_id"] is None
    assert world.ask("POST", "v2/activities", {"type": "lunch"}).status == 400  # switched off in this company


def test_a_marketing_status_changes_once(world: World) -> None:
    mail = [{"value": "a@example.com", "primary": True, "label": "work"}]
    person = world.make("v2/persons", name="A", emails=mail)
    silent = world.make("v2/persons", name="B")

    def changed(id: int, status: str) -> str:
        told = world.ask("PATCH", f"v2/persons/{id}", {"marketing_status": status})
        return str(told.body["data"]["marketing_status"])

    assert changed(person, "subscribed") == "subscribed"
    assert changed(person, "unsubscribed") == "subscribed"
    assert changed(silent, "unsubscribed") == "no_consent"


def test_a_deal_goes_where_its_stage_is(world: World) -> None:
    deal = world.make("v2/deals", title="x", stage_id=6)
    assert world.ask("GET", f"v2/deals/{deal}").body["data"]["pipeline_id"] == 2
    first = world.make("v2/deals", title="y")
    assert world.ask("GET", f"v2/deals/{first}").body["data"]["stage_id"] == 1
    assert world.ask("POST", "v2/deals", {"title": "z", "stage_id": 99}).status == 400
    assert world.ask("POST", "v2/deals", {}).body["error"] == "Deal title must be given."


def test_what_v2_took_over_is_gone_from_v1(world: World) -> None:
    told = world.ask("GET", "v1/persons")
    assert (told.status, told.body) == (404, {"status": False, "error": "Unknown method ."})


def test_a_scope_that_is_missing_is_not_named(world: World) -> None:
    world.grant.scopes = ("base",)
    told = world.ask("GET", "v2/persons")
    assert (told.status, told.body["error"], told.body["errorCode"]) == (403, "Scope and URL mismatch", 403)
    assert world.ask("GET", "v2/persons", token="nobody's").body["error"] == "unauthorized access"


def test_webhooks_want_https_and_end_with_a_404(world: World) -> None:
    hook = {"subscription_url": "http://g.example/x", "event_action": "*", "event_object": "person", "name": "x"}
    told = world.ask("POST", "v1/webhooks", hook)
    assert (told.status, told.body["errors"]) == (400, {"subscription_url": ["invalid or non-reachable URL"]})
    assert world.ask("DELETE", "v1/webhooks/7").body == {
        "status": "error", "success": False, "errors": {"id": ["not found"]},
    }  # fmt: skip
    good = {**hook, "subscription_url": "https://g.example/x"}
    statuses = [world.ask("POST", "v1/webhooks", good).status for _ in range(41)]
    assert statuses == [201] * 40 + [422]


# ── limits ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ten_searches_and_eighty_requests_in_two_seconds() -> None:
    world = make_world(limits=True)
    searched = [world.ask("GET", "v2/itemSearch", term="xx").status for _ in range(11)]
    assert searched == [200] * 10 + [429]
    asked = [world.ask("GET", "v1/users/me").status for _ in range(81)]
    assert asked == [200] * 80 + [429]
    world.later(2.1)
    told = world.ask("GET", "v1/users/me")
    assert (told.headers["x-ratelimit-limit"], told.headers["x-ratelimit-remaining"]) == ("80", "79")


def test_each_request_costs_tokens_of_the_day() -> None:
    world = make_world(limits=True)
    world.ask("GET", "v2/persons")
    told = world.ask("GET", "v2/itemSearch", term="xx")
    assert told.headers["x-daily-ratelimit-token-limit"] == "150000"
    assert told.headers["x-daily-ratelimit-token-remaining"] == str(150_000 - 10 - 20)
    world.vendor.limits[15043420].daily = 35
    assert world.ask("GET", "v2/persons").status == 429
    assert world.ask("GET", "v1/users/me").status == 200
    world.clock.advance(timedelta(days=1))
    world.token = world.vendor.grants.issue_access(world.grant, world.clock())
    assert world.ask("GET", "v2/persons").status == 200


@needs_shared("specs/pipedrive", what="what Pipedrive's operations cost")
def test_every_route_costs_and_takes_what_is_published(world: World) -> None:
    for method, pattern, route in world.vendor.routes.all():
        cost, scopes = price_of(method, pattern.replace("{id}", "1").replace("{code}", "1"))
        assert (route.cost, set(route.scopes)) == (cost, scopes), f"{method} {pattern}"


def test_who_goes_on_is_shut_out_with_a_page() -> None:
    world = make_world(limits=True)
    statuses = [world.ask("GET", "v2/itemSearch", term="xx").status for _ in range(31)]
    assert statuses == [200] * 10 + [429] * 20 + [403]
    told = world.ask("GET", "v1/users/me")
    assert told.status == 403
    assert "Cloudflare" in told.body
    world.later(301)
    assert world.ask("GET", "v1/users/me").status == 200


# ── for whoever counts ──────────────────────────────────────────────────────────────────────────────────────────────


def test_keys_and_markers_are_read_from_writes(world: World) -> None:
    code = world.company.add_field("deal", "Gateway key", "varchar").code
    bodies = [
        {"title": "x", "custom_fields": {code: "d-1"}},
        {"subject": "x", "note": "<p>Ref. gw-0123456789abcdef0123</p>"},
        {"title": "x", "custom_fields": {code: None}},
    ]
    keys = [
        tuple(world.vendor.keys_in(world._call("POST", "/api/v2/x", json.dumps(body).encode(), "", None)))
        for body in bodies
    ]
    assert keys == [("d-1",), ("gw-0123456789abcdef0123",), ()]
