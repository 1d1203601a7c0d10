"""Where HubSpot is not what one would expect: each trap of its documentation and its recorded answers, one by one."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from connectors.sandbox.hubspot import Portal, StaticList
from connectors.sandbox.hubspot.errors import Refusal
from connectors.sandbox.hubspot.limits import Limits
from tests.connectors.sandbox.world import SCOPES, World, grant, make_world
from tests.shared import shared

CONTACTS = "/crm/objects/2026-09/contacts"


def recorded(name: str) -> dict[str, Any]:
    """A real answer: status, headers with lower-case names, body."""
    file = shared(f"recorded/hubspot/{name}.json", what=f"the sandbox against the recorded {name}")
    response = json.loads(file.read_text())["response"]
    headers = {key.lower(): value for key, value in (response["headers"] or {}).items()}
    return {"status": response["status"], "headers": headers, "body": response["body"]}


def search(world: World, kind: str = "contacts", **body: Any) -> Any:
    return world.ask("POST", f"/crm/objects/2026-09/{kind}/search", body)


def by(name: str, value: Any, operator: str = "EQ", **more: Any) -> list[dict[str, Any]]:
    return [{"filters": [{"propertyName": name, "operator": operator, "value": value, **more}]}]


def ids(told: Any) -> list[str]:
    assert told.status == 200, told.body
    return [each["id"] for each in told.body["results"]]


# ── search ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_search_is_behind_the_writes(world: World) -> None:
    """Whoever asks search whether a contact exists makes it twice."""
    person = world.create("contacts", email="neu@mail.example")
    world.later(1.9)
    assert search(world, filterGroups=by("email", "neu@mail.example")).body["total"] == 0
    world.later(0.2)
    assert ids(search(world, filterGroups=by("email", "neu@mail.example"))) == [person]
    world.ask("PATCH", f"{CONTACTS}/{person}", {"properties": {"email": "alt@mail.example"}})
    assert ids(search(world, filterGroups=by("email", "neu@mail.example"))) == [person]
    world.later(3)
    assert ids(search(world, filterGroups=by("email", "neu@mail.example"))) == []
    world.ask("DELETE", f"{CONTACTS}/{person}")
    assert ids(search(world)) == [person]
    world.later(3)
    assert ids(search(world)) == []


@pytest.mark.parametrize(
    ("typed", "e164", "searchable"),
    [
        ("+41 (0)44 668 18 00", "+41446681800", "446681800"),
        ("044 668 18 00", "+41446681800", "446681800"),
        ("0041 44 668 18 00", "+41446681800", "446681800"),
        ("+33 6 39 98 01 23", "+33639980123", "639980123"),
        ("+5583999999999", "+5583999999999", "83999999999"),  # recorded: legacy_v1_contact_profile_with_phone_200
        ("+1 555-1234", None, "15551234"),  # recorded: contact_create.json; no valid number
        ("044 668 18 00 / 079 555 01 23", None, "04466818000795550123"),
    ],
)
def test_numbers_are_searched_without_their_country(
    world: World, typed: str, e164: str | None, searchable: str
) -> None:
    person = world.create("contacts", firstname="X", phone=typed, mobilephone=typed)
    world.later(3)
    names = ["hs_calculated_phone_number", "hs_searchable_calculated_phone_number", "hs_calculated_mobile_number"]
    told = world.ask("GET", f"{CONTACTS}/{person}?properties={','.join(names)}").body["properties"]
    assert [told[name] for name in names] == [e164, searchable, e164]
    for field in ("hs_searchable_calculated_phone_number", "hs_searchable_calculated_mobile_number"):
        assert ids(search(world, filterGroups=by(field, searchable))) == [person]
        assert ids(search(world, filterGroups=by(field, e164 or "+41"))) == []
    assert ids(search(world, query=searchable)) == [person]


def test_one_national_number_is_two_peoples(world: World) -> None:
    swiss = world.create("contacts", firstname="Aline", phone="+41 76 555 12 34")
    french = world.create("contacts", firstname="Hugo", phone="+33 7 65 55 12 34")
    world.later(3)
    found = ids(search(world, filterGroups=by("hs_searchable_calculated_phone_number", "765551234")))
    assert found == [swiss, french]


def test_each_operator(world: World) -> None:
    one = world.create("contacts", firstname="Ada", email="ada@one.example", lifecyclestage="customer", city="Bern")
    two = world.create("contacts", firstname="Bea", email="bea@two.example", closedate="2026-11-01")
    world.later(3)
    table: list[tuple[str, str, Any, dict[str, Any], list[str]]] = [
        ("firstname", "EQ", "aDA", {}, [one]),
        ("firstname", "NEQ", "Ada", {}, [two]),
        ("firstname", "IN", None, {"values": ["ada", "bea"]}, [one, two]),
        ("firstname", "IN", None, {"values": ["Ada"]}, []),  # values must be lower case
        ("firstname", "NOT_IN", None, {"values": ["ada"]}, [two]),
        ("city", "HAS_PROPERTY", None, {}, [one]),
        ("city", "NOT_HAS_PROPERTY", None, {}, [two]),
        ("email", "CONTAINS_TOKEN", "*@two.example", {}, [two]),
        ("email", "CONTAINS_TOKEN", "one", {}, [one]),
        ("email", "NOT_CONTAINS_TOKEN", "*two*", {}, [one]),
        ("closedate", "GTE", "1793491200000", {}, [two]),  # 2026-11-01 in milliseconds
        ("closedate", "LT", "2026-11-01", {}, []),
        ("closedate", "LTE", "2026-11-01T00:00:00Z", {}, [two]),
        ("hs_object_id", "GT", one, {}, [two]),
        ("hs_object_id", "BETWEEN", one, {"highValue": two}, [one, two]),
        ("hs_object_id", "EQ", int(one), {}, [one]),  # recorded bodies give numbers
    ]
    for name, operator, value, more, expected in table:
        told = search(world, filterGroups=by(name, value, operator, **more))
        assert ids(told) == expected, (name, operator, value)


@pytest.mark.parametrize(
    "body",
    [
        {"filterGroups": by("firstname", "x") * 6},
        {"filterGroups": [{"filters": by("firstname", "x")[0]["filters"] * 7}]},
        {"filterGroups": [{"filters": by("firstname", "x")[0]["filters"] * 4}] * 5},
        {"limit": 201},
        {"limit": 100, "after": "9950"},
        {"filterGroups": by("no_such_thing", "x")},
        {"filterGroups": by("firstname", "x", "LIKE")},
        {"filterGroups": by("firstname", "")},
        {"query": "x" * 3000},
    ],
    ids=["groups", "filters", "in all", "page", "window", "property", "operator", "no value", "long body"],
)
def test_what_search_does_not_take(world: World, body: dict[str, Any]) -> None:
    told = search(world, **body)
    assert (told.status, told.body["category"]) == (400, "VALIDATION_ERROR")


def test_search_pages_by_offset_and_sorts(world: World) -> None:
    made = [world.create("contacts", firstname=name) for name in ("Carla", "Anna", "Berta")]
    world.later(3)
    first = search(world, sorts=[{"propertyName": "firstname", "direction": "DESCENDING"}], limit=2)
    assert (ids(first), first.body["total"], first.body["paging"]) == ([made[0], made[2]], 3, {"next": {"after": "2"}})
    rest = search(world, sorts=["-firstname"], limit=2, after="2")
    assert ids(rest) == [made[1]]
    assert "paging" not in rest.body


def test_links_are_searched_by_a_pseudo_property(world: World) -> None:
    """As recorded in meeting_search_by_contact_200: filters at the top level, the value a number."""
    person, other = world.create("contacts", firstname="A"), world.create("contacts", firstname="B")
    at = "2026-11-22T10:00:00Z"
    meeting = world.create("meetings", [(person, 200)], hs_timestamp=at)
    world.create("meetings", [(other, 200)], hs_timestamp=at)
    world.later(3)
    filters = [{"propertyName": "associations.contact", "operator": "EQ", "value": int(person)}]
    assert ids(search(world, "meetings", filters=filters)) == [meeting]


# ── objects ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_object_is_a_page(world: World) -> None:
    real = recorded("task_get_404")
    told = world.ask("GET", "/crm/v3/objects/tasks/996174569112?properties=hs_task_subject")
    assert (told.status, told.body.split(), told.headers["content-type"]) == (
        real["status"],
        real["body"].split(),
        real["headers"]["content-type"],
    )
    assert told.headers["x-hubspot-notfound"] == real["headers"]["x-hubspot-notfound"]


def test_the_same_address_twice_names_the_first(world: World) -> None:
    first = world.create("contacts", email="da@mail.example")
    told = world.ask("POST", CONTACTS, {"properties": {"email": "DA@Mail.Example"}})
    real = recorded("q_409_contact_exists")
    assert told.status == real["status"]
    assert {**told.body, "correlationId": ""} == {**real["body"], "correlationId": ""} | {
        "message": real["body"]["message"].replace("777", first)
    }


def test_complaints_hide_in_the_message(world: World) -> None:
    real = recorded("meeting_create_400")
    told = world.ask(
        "POST", "/crm/v3/objects/meetings", {"properties": {"hs_timestamp": "1", "hs_meeting_start_time": "invalid"}}
    )
    prefix = "Property values were not valid: "
    assert told.body["message"].startswith(prefix)
    (ours,) = json.loads(told.body["message"].removeprefix(prefix))
    (theirs,) = json.loads(real["body"]["message"].removeprefix(prefix).replace("<PORTAL_ID>", "62515"))
    assert (ours["error"], ours["name"], ours["isValid"]) == (theirs["error"], theirs["name"], theirs["isValid"])
    assert real["body"].keys() <= told.body.keys()


@pytest.mark.parametrize(
    ("kind", "properties", "code"),
    [
        ("contacts", {"firstname": "A", "gibt_es_nicht": "1"}, "PROPERTY_DOESNT_EXIST"),
        ("contacts", {"email": "kein-at"}, "INVALID_EMAIL"),
        ("contacts", {"firstname": "A", "lifecyclestage": "gold"}, "INVALID_OPTION"),
        ("contacts", {"firstname": "A", "hubspot_owner_id": "1"}, "INVALID_OPTION"),
        ("contacts", {"firstname": "A", "hs_email_optout": "true"}, "READ_ONLY_VALUE"),
        ("deals", {"dealname": "A", "amount": "viel"}, "INVALID_LONG"),
        ("deals", {"dealname": "A", "dealstage": "1"}, "INVALID_OPTION"),
        ("calls", {"hs_timestamp": "gestern"}, "INVALID_LONG"),
        ("calls", {"hs_timestamp": "1", "hs_call_status": "DONE"}, "INVALID_OPTION"),
        ("calls", {"hs_timestamp": "1", "hs_call_recording_url": "http://a.example/x.mp3"}, "INVALID_URL"),
        ("calls", {"hs_timestamp": "1", "hs_call_recording_url": "https://a.example/x"}, "INVALID_URL"),
        ("calls", {"hs_timestamp": "1", "hs_call_body": "x" * 65_537}, "PROPERTY_VALUE_TOO_LONG"),
    ],
)
def test_values_that_are_not_taken(world: World, kind: str, properties: dict[str, str], code: str) -> None:
    told = world.ask("POST", f"/crm/objects/2026-09/{kind}", {"properties": properties})
    assert (told.status, told.body["category"]) == (400, "VALIDATION_ERROR")
    assert [each["code"] for each in told.body["errors"]] == [code]
    assert list(world.portal.crm.all(kind.removesuffix("s"))) == []


def test_a_date_is_a_day_or_a_midnight(world: World) -> None:
    field = {"groupName": "contactinformation", "name": "last_call", "label": "L", "type": "date", "fieldType": "date"}
    world.ask("POST", "/crm/properties/2026-09/contacts", field)
    for given, kept in (("2026-11-21", "2026-11-21"), ("1795219200000", "2026-11-21"), ("1795219200001", None)):
        told = world.ask("POST", CONTACTS, {"properties": {"firstname": "A", "last_call": given}})
        assert told.body.get("properties", {}).get("last_call") == kept
        assert (told.status == 201) is (kept is not None)


@pytest.mark.parametrize(
    ("kind", "properties", "missing"),
    [
        ("calls", {"hs_call_title": "x"}, ["hs_timestamp"]),
        ("tasks", {"hs_task_subject": "x"}, ["hs_timestamp"]),
        ("tickets", {"subject": "x"}, ["hs_pipeline_stage"]),
    ],
)
def test_some_properties_are_required_always(
    world: World, kind: str, properties: dict[str, str], missing: list[str]
) -> None:
    told = world.ask("POST", f"/crm/v3/objects/{kind}", {"properties": properties})
    assert (told.status, told.body["context"]) == (400, {"properties": missing})


def test_what_the_admin_requires_binds_the_new_version_only() -> None:
    world = make_world(Portal(1, "Streng AG", required={"contact": ("email", "city")}))
    wanted = {"properties": {"firstname": "A"}}
    for path, status in ((CONTACTS, 400), ("/crm/objects/2026-03/contacts", 201), ("/crm/v3/objects/contacts", 201)):
        assert world.ask("POST", path, wanted).status == status
    told = world.ask("POST", CONTACTS, wanted)
    assert told.body["context"] == {"properties": ["email", "city"]}


def test_a_contact_needs_a_name_or_an_address_and_a_company_needs_nothing(world: World) -> None:
    assert world.ask("POST", CONTACTS, {"properties": {"phone": "044 668 18 00"}}).status == 400
    assert world.ask("POST", "/crm/objects/2026-09/companies", {}).status == 201


def test_a_patch_answers_with_little(world: World) -> None:
    """Recorded: contact_update_clear_200.json; the last name it also has is not in the answer."""
    person = world.create("contacts", firstname="A", lastname="B", email="x@mail.example")
    told = world.ask("PATCH", f"{CONTACTS}/{person}", {"properties": {"firstname": "Updated", "email": ""}})
    real = recorded("contact_update_clear_200")["body"]
    assert real["properties"].keys() <= told.body["properties"].keys()
    assert told.body["properties"]["email"] == ""
    assert "lastname" not in told.body["properties"]


@pytest.mark.parametrize("version", ["2026-09", "2026-03"])
def test_types_of_association_that_do_not_fit_are_refused(world: World, version: str) -> None:
    person = world.create("contacts", firstname="A")
    for type_id in (193, 182, 999):  # the other direction, another kind, none at all
        spec = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": type_id}
        wanted = {
            "properties": {"hs_timestamp": "1"},
            "associations": [{"to": {"id": person}, "types": [spec]}],
        }
        told = world.ask("POST", f"/crm/objects/{version}/calls", wanted)
        assert (told.status, told.body["message"]) == (400, "one or more associations are not valid")
    assert list(world.portal.crm.all("call")) == []


def test_the_first_company_is_the_primary_one(world: World) -> None:
    person = world.create("contacts", firstname="A")
    first, second = world.create("companies", name="Eins"), world.create("companies", name="Zwei")
    for company in (first, second):
        told = world.ask("PUT", f"{CONTACTS}/{person}/associations/default/companies/{company}")
        assert told.status == 200
    assert _primary(world, person) == first
    spec = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 1}]
    world.ask("PUT", f"{CONTACTS}/{person}/associations/companies/{second}", spec)
    assert _primary(world, person) == second
    listed = world.ask("GET", f"{CONTACTS}/{person}/associations/companies").body["results"]
    types = {each["toObjectId"]: [spec["typeId"] for spec in each["associationTypes"]] for each in listed}
    assert types == {first: [279], second: [1, 279]}


def _primary(world: World, person: str) -> str:
    told = world.ask("GET", f"{CONTACTS}/{person}?properties=associatedcompanyid").body
    return str(told["properties"]["associatedcompanyid"])


# ── batches ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _batch(world: World, version: str, inputs: list[dict[str, Any]], what: str = "create") -> Any:
    base = "/crm/v3/objects" if version == "v3" else f"/crm/objects/{version}"
    return world.ask("POST", f"{base}/contacts/batch/{what}", {"inputs": inputs})


@pytest.mark.parametrize(
    ("version", "traced", "status", "written"),
    [("v3", False, 409, 0), ("v3", True, 207, 1), ("2026-03", True, 207, 1), ("2026-09", False, 201, 1)],
)
def test_a_batch_with_one_bad_input(world: World, version: str, traced: bool, status: int, written: int) -> None:
    world.create("contacts", email="da@mail.example")
    inputs: list[dict[str, Any]] = [
        {"properties": {"email": "neu@mail.example"}, "objectWriteTraceId": "good"},
        {"properties": {"email": "da@mail.example"}, "objectWriteTraceId": "bad"},
    ]
    if not traced:
        for each in inputs:
            del each["objectWriteTraceId"]
    told = _batch(world, version, inputs)
    assert (told.status, len(list(world.portal.crm.all("contact"))) - 1) == (status, written)
    assert world.portal.crm.holder("contact", "email", "neu@mail.example") is None or written
    if written:
        assert (told.body["numErrors"], told.body["errors"][0]["category"]) == (1, "CONFLICT")
    if traced:
        assert told.body["errors"][0]["context"]["objectWriteTraceId"] == ["bad"]
        assert told.body["results"][0]["objectWriteTraceId"] == "good"


def test_a_batch_that_failed_left_nothing(world: World) -> None:
    """Also not in the list of changes, in unique values, or on the records it would have changed."""
    kept = world.create("contacts", email="a@mail.example", city="Bern")
    before = len(world.portal.crm.changes)
    inputs = [
        {"id": kept, "properties": {"city": "Basel", "email": "neu@mail.example"}},
        {"id": kept, "properties": {"email": "kein-at"}},
    ]
    assert _batch(world, "v3", inputs, "update").status == 400
    read = world.ask("GET", f"{CONTACTS}/{kept}?properties=city,email").body["properties"]
    assert (read["city"], read["email"], len(world.portal.crm.changes)) == ("Bern", "a@mail.example", before)
    assert world.portal.crm.holder("contact", "email", "neu@mail.example") is None
    world.later(3)
    assert ids(search(world, filterGroups=by("city", "Bern"))) == [kept]


def test_missing_ids_do_not_fail_a_batch(world: World) -> None:
    kept = world.create("contacts", firstname="A")
    for version, status in (("v3", 207), ("2026-09", 200)):
        told = _batch(world, version, [{"id": kept}, {"id": "99"}], "read")
        assert (told.status, told.body["numErrors"], told.body["errors"][0]["context"]) == (status, 1, {"ids": ["99"]})


@pytest.mark.parametrize("what", ["create", "update", "upsert", "read", "archive"])
def test_a_batch_takes_a_hundred(world: World, what: str) -> None:
    inputs = [{"id": str(at), "idProperty": "email", "properties": {"firstname": "A"}} for at in range(101)]
    assert _batch(world, "2026-09", inputs, what).status == 400


def test_an_upsert_needs_a_unique_property(world: World) -> None:
    told = _batch(world, "v3", [{"id": "044", "idProperty": "phone", "properties": {}}], "upsert")
    assert told.status == 400
    assert "non-unique 0-1 property phone" in told.body["message"]


# ── properties of our own ───────────────────────────────────────────────────────────────────────────────────────────


def _key(name: str = "gateway_key", group: str = "contactinformation") -> dict[str, Any]:
    unique = {"name": name, "label": "Key", "type": "string", "fieldType": "text", "hasUniqueValue": True}
    return {**unique, "groupName": group}


def test_ten_unique_properties_and_no_more(world: World) -> None:
    path = "/crm/properties/2026-09/contacts"
    told = [world.ask("POST", path, _key(f"k{at}")).status for at in range(11)]
    assert told == [201] * 10 + [400]
    again = world.ask("POST", path, _key("k0"))
    assert (again.status, again.body["category"]) == (409, "OBJECT_ALREADY_EXISTS")


def test_activities_may_refuse_unique_properties() -> None:
    world = make_world(Portal(1, "A", activities_unique=False))
    assert world.ask("POST", "/crm/properties/2026-09/calls", _key(group="call")).status == 400
    assert world.ask("POST", "/crm/properties/2026-09/contacts", _key()).status == 201


def test_a_key_that_is_taken_is_refused_and_found(world: World) -> None:
    world.ask("POST", "/crm/properties/2026-09/contacts", _key())
    first = world.create("contacts", firstname="A", gateway_key="K1")
    told = world.ask("POST", CONTACTS, {"properties": {"firstname": "B", "gateway_key": "k1"}})
    assert told.status == 400
    assert told.body["message"].endswith(f"{first} already has that value.")
    assert world.ask("GET", f"{CONTACTS}/K1?idProperty=gateway_key").body["id"] == first
    world.ask("DELETE", f"{CONTACTS}/{first}")
    assert world.ask("GET", f"{CONTACTS}/K1?idProperty=gateway_key").status == 404
    assert world.create("contacts", firstname="B", gateway_key="K1") != first


# ── scopes and limits ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_private_app_is_told_which_scopes_it_lacks(world: World) -> None:
    real = recorded("q_403_missing_scopes_private_app")
    token = world.vendor.grants.issue_private(62515, 1, ("oauth",), world.clock())
    told = world.ask("GET", "/crm/objects/2026-09/deals", token=token)
    assert told.status == real["status"]
    assert told.body.keys() == real["body"].keys()
    assert told.body["errors"][0]["context"] == {"requiredGranularScopes": ["crm.objects.deals.read"]}


def test_an_oauth_app_gets_a_refusal_without_a_category() -> None:
    world = make_world(scopes=("oauth",))
    real = recorded("q_403_oauth_view_schema_no_category")
    told = world.ask("GET", "/crm/properties/2026-09/deals")
    assert (told.status, told.body.keys()) == (real["status"], real["body"].keys())
    assert "view_schema object type ObjectTypeId{legacyObjectType=DEAL} in portal 62515" in told.body["message"]


def test_what_is_left_is_said_on_every_answer_but_searchs() -> None:
    world = make_world(limits=True)
    real = recorded("owner_get_eu")["headers"]
    told = world.ask("GET", "/crm/owners/2026-09")
    limits = {name for name in real if name.startswith("x-hubspot-ratelimit")}
    assert {name for name in told.headers if name.startswith("x-hubspot-ratelimit")} == limits
    for name in ("max", "interval-milliseconds", "secondly"):
        assert told.headers[f"x-hubspot-ratelimit-{name}"] == real[f"x-hubspot-ratelimit-{name}"]
    assert told.headers["x-hubspot-ratelimit-remaining"] == "109"
    assert not [name for name in search(world).headers if name.startswith("x-hubspot-ratelimit")]


def test_a_hundred_and_ten_in_ten_seconds() -> None:
    world = make_world(limits=True)
    answers = [world.ask("GET", "/account-info/2026-09/details").status for _ in range(111)]
    assert answers == [200] * 110 + [429]
    told = world.ask("GET", "/account-info/2026-09/details")
    assert (told.body["policyName"], told.body["errorType"]) == ("TEN_SECONDLY_ROLLING", "RATE_LIMIT")
    assert "retry-after" not in told.headers
    world.later(10)
    assert world.ask("GET", "/account-info/2026-09/details").status == 200


def test_five_searches_a_second() -> None:
    world = make_world(limits=True)
    real = recorded("search_429_secondly_company")
    told = [search(world) for _ in range(6)]
    assert [each.status for each in told] == [200] * 5 + [429]
    assert {**told[5].body, "correlationId": ""} == {**real["body"], "correlationId": ""}
    assert not [name for name in told[5].headers if "ratelimit" in name or name == "retry-after"]
    assert world.ask("GET", "/crm/owners/2026-09").status == 200  # a limit of its own
    world.later(1)
    assert search(world).status == 200


def test_a_window_rolls() -> None:
    world = make_world()
    limits, refused = Limits(most=20), 0
    for step in range(60):
        at = world.clock() + timedelta(seconds=step * 0.25)
        try:
            limits.spend(at, search=False)
        except Refusal:
            refused += 1
    assert refused == 20  # of 60 in 15 s, 40 fit: 20 in the first ten seconds, 20 as those leave


# ── and the rest ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_lists_take_members_by_hand_only(world: World) -> None:
    person = world.create("contacts", firstname="A")
    world.portal.lists = {"1": StaticList("1", "Hand"), "2": StaticList("2", "Regel", processing="DYNAMIC")}
    told = world.ask("PUT", "/crm/lists/2026-09/1/memberships/add", [person, "99"])
    assert (told.body["recordsIdsAdded"], told.body["recordIdsMissing"]) == ([person], ["99"])
    assert world.ask("PUT", "/crm/lists/2026-09/2/memberships/add", [person]).status == 400
    real = recorded("list_membership_add_dynamic_400")
    wrong = world.ask("PUT", "/crm/v3/lists/1/memberships/add", [{"id": person}])
    assert (wrong.status, wrong.body.keys()) == (400, real["body"].keys())
    assert wrong.body["message"] == real["body"]["message"]


def test_an_opt_out_needs_an_address_and_a_channel(world: World) -> None:
    base = "/communication-preferences/2026-09/statuses"
    assert world.ask("POST", f"{base}/x@mail.example/unsubscribe-all").status == 400
    assert world.ask("POST", f"{base}/+41446681800/unsubscribe-all?channel=EMAIL").status == 400
    assert world.ask("POST", f"{base}/x@mail.example/unsubscribe-all?channel=EMAIL").status == 200
    again = {"subscriptionId": 1, "statusState": "SUBSCRIBED", "channel": "EMAIL"}
    assert world.ask("POST", f"{base}/x@mail.example", again).status == 400  # not ours to undo


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/crm/objects/2025-03/contacts", 404),
        ("GET", "/crm/objects/2026-09/contacts/1/2/3/4/5/6", 404),
        ("GET", "/nothing", 404),
        ("PUT", "/crm/objects/2026-09/contacts", 405),
        ("GET", "/crm/objects/2026-09/unicorns", 400),
        ("POST", "/crm/objects/2026-09/contacts", 400),
    ],
    ids=["version", "too deep", "nowhere", "method", "kind", "no body"],
)
def test_requests_that_lead_nowhere(world: World, method: str, path: str, status: int) -> None:
    assert world.ask(method, path).status == status


def test_portals_do_not_see_each_other(world: World) -> None:
    person = world.create("contacts", email="a@mail.example")
    other = grant(world.vendor, world.vendor.portals[62516], SCOPES, world.clock)
    assert world.ask("GET", f"{CONTACTS}/{person}", token=other).status == 404
    assert world.ask("POST", CONTACTS, {"properties": {"email": "a@mail.example"}}, token=other).status == 201
