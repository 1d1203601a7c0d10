"""What the simulated Salesforce saves, refuses and tells, held against what is known of the real one."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from tests.connectors.sandbox.salesforce.world import HOME, World
from tests.shared import needs_shared, shared

OWNER = "005"


def test_a_record_is_made_read_changed_and_deleted(world: World) -> None:
    made = world.ask("POST", "sobjects/Contact", {"LastName": "Meier", "Phone": "044 668 18 00"})
    assert (made.status, made.body["success"], made.body["errors"]) == (201, True, [])
    id = made.body["id"]
    assert made.headers["location"] == f"{HOME}/sobjects/Contact/{id}"
    assert made.headers["sforce-limit-info"] == "api-usage=1/15000"
    assert world.ask("PATCH", f"sobjects/Contact/{id}", {"FirstName": "Ruth"}).status == 204
    read = world.ask("GET", f"sobjects/Contact/{id[:15]}?fields=Name,Phone").body
    assert read == {
        "attributes": {"type": "Contact", "url": f"{HOME}/sobjects/Contact/{id}"}, "Name": "Ruth Meier", "Phone": "044 668 18 00",
    }  # fmt: skip
    assert world.ask("DELETE", f"sobjects/Contact/{id}").status == 204
    gone = world.ask("GET", f"sobjects/Contact/{id}")
    assert (gone.status, gone.body[0]["errorCode"]) == (404, "ENTITY_IS_DELETED")


@pytest.mark.parametrize(
    ("type", "fields", "status", "code", "named"),
    [
        ("Contact", {}, 400, "REQUIRED_FIELD_MISSING", ["LastName"]),
        ("Lead", {"LastName": "x"}, 400, "REQUIRED_FIELD_MISSING", ["Company"]),
        ("Opportunity", {"Name": "x", "StageName": "y"}, 400, "REQUIRED_FIELD_MISSING", ["CloseDate"]),
        ("Contact", {"LastName": "x" * 81}, 400, "STRING_TOO_LONG", ["LastName"]),
        ("Contact", {"LastName": "x", "Email": "nobody"}, 400, "INVALID_EMAIL_ADDRESS", ["Email"]),
        ("Contact", {"LastName": "x", "Foo": 1}, 400, "INVALID_FIELD", None),
        ("Contact", {"LastName": "x", "Name": "y"}, 400, "INVALID_FIELD_FOR_INSERT_UPDATE", ["Name"]),
        ("Contact", {"LastName": "x", "DoNotCall": "true"}, 400, "JSON_PARSER_ERROR", None),
        ("Contact", {"LastName": 5}, 400, "JSON_PARSER_ERROR", None),
        ("Contact", {"LastName": "x", "AccountId": "nothing"}, 400, "MALFORMED_ID", ["AccountId"]),
        ("Contact", {"LastName": "x", "AccountId": "001000000000000AAA"}, 400, "INVALID_CROSS_REFERENCE_KEY", []),
        ("Contact", {"LastName": "x", "OwnerId": "005000000000000AAA"}, 400, "INVALID_CROSS_REFERENCE_KEY", ["OwnerId"]),
        ("Task", {"Subject": "x", "CallType": "Sideways"}, 400, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", ["CallType"]),
        ("Event", {"Subject": "x"}, 400, "REQUIRED_FIELD_MISSING", ["StartDateTime"]),
        ("User", {"LastName": "x"}, 403, "INSUFFICIENT_ACCESS_OR_READONLY", []),
        ("Foo", {}, 404, "NOT_FOUND", None),
    ],
)  # fmt: skip
def test_what_may_not_be_saved_is_refused(
    world: World, type: str, fields: dict[str, Any], status: int, code: str, named: list[str] | None
) -> None:
    told = world.ask("POST", f"sobjects/{type}", fields)
    assert (told.status, told.body[0]["errorCode"], told.body[0].get("fields")) == (status, code, named)
    assert not list(world.org.all("Contact"))


def test_an_inactive_owner_is_refused(world: World) -> None:
    left = world.org.add_user("Gone", "Away", "gone@aurora.example", active=False)
    told = world.ask("POST", "sobjects/Contact", {"LastName": "x", "OwnerId": left})
    assert told.body[0]["errorCode"] == "INACTIVE_OWNER_OR_USER"


def test_a_converted_lead_takes_nothing_more(world: World) -> None:
    from connectors.sandbox.salesforce import saving

    lead, contact = world.create("Lead", LastName="x", Company="y"), world.create("Contact", LastName="x")
    task = world.create("Task", Subject="before", WhoId=lead)
    saving.convert(world.org, world.org.get("Lead", lead), world.org.get("Contact", contact), world.clock())  # type: ignore[arg-type]
    for told in (
        world.ask("PATCH", f"sobjects/Lead/{lead}", {"FirstName": "z"}),
        world.ask("POST", "sobjects/Task", {"Subject": "x", "WhoId": lead}),
    ):
        assert (told.status, told.body[0]["errorCode"]) == (400, "CANNOT_UPDATE_CONVERTED_LEAD")
    (row,) = world.query(f"SELECT IsConverted, ConvertedContactId FROM Lead WHERE Id='{lead}'").body["records"]
    assert (row["IsConverted"], row["ConvertedContactId"]) == (True, contact)
    assert world.query(f"SELECT WhoId FROM Task WHERE Id='{task}'").body["records"][0]["WhoId"] == contact


def test_a_thing_beside_a_lead_is_refused(world: World) -> None:
    lead, account = world.create("Lead", LastName="x", Company="y"), world.create("Account", Name="z")
    told = world.ask("POST", "sobjects/Task", {"Subject": "x", "WhoId": lead, "WhatId": account})
    assert told.body[0]["errorCode"] == "FIELD_INTEGRITY_EXCEPTION"


def test_a_merged_record_lies_in_the_bin_and_names_its_master(world: World) -> None:
    from connectors.sandbox.salesforce import saving

    loser, winner = world.create("Contact", LastName="x"), world.create("Contact", LastName="y")
    case = world.create("Case", Subject="z", ContactId=loser)
    saving.merge(world.org, world.org.get("Contact", winner), world.org.get("Contact", loser), world.clock())  # type: ignore[arg-type]
    assert world.query(f"SELECT Id FROM Contact WHERE Id='{loser}'").body["totalSize"] == 0
    (row,) = world.query(f"SELECT IsDeleted, MasterRecordId FROM Contact WHERE Id='{loser}'", deleted=True).body[
        "records"
    ]
    assert (row["IsDeleted"], row["MasterRecordId"]) == (True, winner)
    assert world.ask("GET", f"sobjects/Case/{case}").body["ContactId"] == winner


# ── unique values, duplicates ───────────────────────────────────────────────────────────────────────────────────────


def key_field(world: World, of: str = "Contact") -> None:
    body = {
        "FullName": f"{of}.Our_Key__c",
        "Metadata": {"type": "Text", "label": "Our key", "length": 255, "unique": True, "externalId": True},
    }
    assert world.ask("POST", "tooling/sobjects/CustomField", body).status == 201
    set_id = world.query("SELECT Id FROM PermissionSet WHERE Name='Ours'").body["records"]
    id = set_id[0]["Id"] if set_id else world.create("PermissionSet", Name="Ours", Label="Ours")
    world.create(
        "FieldPermissions",
        ParentId=id,
        SobjectType=of,
        Field=f"{of}.Our_Key__c",
        PermissionsRead=True,
        PermissionsEdit=True,
    )
    if not set_id:
        world.create("PermissionSetAssignment", PermissionSetId=id, AssigneeId=world.org.user)


def test_a_new_field_is_nobodys_until_a_permission_set_names_it(world: World) -> None:
    body = {
        "FullName": "Contact.Score__c",
        "Metadata": {"type": "Number", "label": "Score", "precision": 5, "scale": 0},
    }
    assert world.ask("POST", "tooling/sobjects/CustomField", body).status == 201
    names = {field["name"] for field in world.ask("GET", "sobjects/Contact/describe").body["fields"]}
    assert "Score__c" not in names
    assert world.query("SELECT Score__c FROM Contact").body[0]["errorCode"] == "INVALID_FIELD"
    key_field(world)
    names = {field["name"] for field in world.ask("GET", "sobjects/Contact/describe").body["fields"]}
    assert {"Our_Key__c"} <= names
    assert world.ask("POST", "tooling/sobjects/CustomField", body).body[0]["errorCode"] == "DUPLICATE_DEVELOPER_NAME"
    world.org.customizable = False
    assert world.ask("POST", "tooling/sobjects/CustomField", body).status == 403


def test_a_unique_value_is_held_by_one(world: World) -> None:
    key_field(world)
    first = world.create("Contact", LastName="x", Our_Key__c="k-1")
    told = world.ask("POST", "sobjects/Contact", {"LastName": "y", "Our_Key__c": "K-1"})
    assert (told.status, told.body[0]["errorCode"]) == (400, "DUPLICATE_VALUE")
    assert told.body[0]["message"].endswith(first[:15])
    world.ask("DELETE", f"sobjects/Contact/{first}")
    world.create("Contact", LastName="y", Our_Key__c="k-1")


def test_an_upsert_by_external_id_makes_once_and_changes_then(world: World) -> None:
    key_field(world)
    made = world.ask("PATCH", "sobjects/Contact/Our_Key__c/k-1", {"LastName": "x"})
    again = world.ask("PATCH", "sobjects/Contact/Our_Key__c/k-1", {"LastName": "y"})
    assert (made.status, made.body["created"], again.status, again.body["created"]) == (201, True, 200, False)
    assert made.body["id"] == again.body["id"]
    inside = world.ask("PATCH", "sobjects/Contact/Our_Key__c/k-1", {"LastName": "y", "Our_Key__c": "k-1"})
    assert inside.body[0]["errorCode"] == "INVALID_FIELD"
    assert world.ask("PATCH", "sobjects/Contact/Nothing__c/k-1", {"LastName": "y"}).status == 404
    assert world.ask("PATCH", "sobjects/Contact/Our_Key__c/k-2?updateOnly=true", {"LastName": "y"}).status == 404


def test_an_ambiguous_external_id_is_a_choice_of_addresses(world: World) -> None:
    world.org.rules.clear()
    ids = [world.create("Contact", LastName=name, Email="a@example.com") for name in ("x", "y")]
    told = world.ask("PATCH", "sobjects/Contact/Email/a@example.com", {"FirstName": "z"})
    assert (told.status, told.body) == (300, [f"{HOME}/sobjects/Contact/{id}" for id in ids])


def test_a_duplicate_rule_warns_and_may_be_overruled(world: World) -> None:
    first = world.create("Contact", LastName="x", Email="a@example.com")
    second = {"LastName": "y", "Email": "A@example.com"}
    told = world.ask("POST", "sobjects/Contact", second)
    result = told.body[0]["duplicateResut"]
    assert (told.status, told.body[0]["errorCode"], result["allowSave"]) == (400, "DUPLICATES_DETECTED", True)
    assert result["matchResults"][0]["matchRecords"][0]["record"]["Id"] == first
    saved = world.ask("POST", "sobjects/Contact", second, headers={"sforce-duplicate-rule-header": "allowSave=true"})
    assert saved.status == 201


# ── several at once ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_composite_request_refers_to_what_it_made(world: World) -> None:
    person, call, query = world.composite(
        ("p", "POST", "sobjects/Contact", {"LastName": "x"}),
        ("c", "POST", "sobjects/Task", {"Subject": "for @{p.id}", "WhoId": "@{p.id}"}),
        ("q", "GET", "query/?q=SELECT+Id,Subject+FROM+Task+WHERE+WhoId='@{p.id}'", None),
    )
    assert [one["httpStatusCode"] for one in (person, call, query)] == [201, 201, 200]
    assert query["body"]["records"][0]["Subject"] == f"for {person['body']['id']}"
    assert world.org.used == 1, "it counts as one"


def test_a_failed_subrequest_halts_what_refers_to_it_and_nothing_else(world: World) -> None:
    bad, halted, good = world.composite(
        ("p", "POST", "sobjects/Contact", {}),
        ("c", "POST", "sobjects/Task", {"Subject": "x", "WhoId": "@{p.id}"}),
        ("d", "POST", "sobjects/Task", {"Subject": "y"}),
    )
    assert [one["httpStatusCode"] for one in (bad, halted, good)] == [400, 400, 201]
    assert halted["body"][0]["errorCode"] == "PROCESSING_HALTED"
    assert len(list(world.org.all("Task"))) == 1


def test_unrelated_subrequests_come_in_any_order_unless_told_otherwise(world: World) -> None:
    """The default since v49: whoever relies on their order finds an older value over a newer one."""
    id = world.create("Contact", LastName="x")
    for collate, title in ((True, "first"), (False, "second")):
        asked = [
            {"referenceId": title, "method": "PATCH", "url": f"{HOME}/sobjects/Contact/{id}", "body": {"Title": title}}
            for title in ("first", "second")
        ]
        body = {"compositeRequest": asked, "collateSubrequests": collate}
        told = world.ask("POST", "composite", body).body["compositeResponse"]
        assert [one["referenceId"] for one in told] == ["first", "second"]
        assert world.ask("GET", f"sobjects/Contact/{id}?fields=Title").body["Title"] == title


def test_all_or_none_leaves_nothing(world: World) -> None:
    good, bad = world.composite(
        ("a", "POST", "sobjects/Contact", {"LastName": "x"}), ("b", "POST", "sobjects/Contact", {}), all_or_none=True
    )
    assert (good["httpStatusCode"], good["body"][0]["errorCode"]) == (400, "PROCESSING_HALTED")
    assert bad["body"][0]["errorCode"] == "REQUIRED_FIELD_MISSING"
    assert not list(world.org.all("Contact"))


@pytest.mark.parametrize(
    "parts",
    [
        [("a", "GET", "query/?q=SELECT+Id+FROM+Contact", None)] * 2,
        [(f"a{n}", "GET", "query/?q=SELECT+Id+FROM+Contact", None) for n in range(6)],
        [(f"a{n}", "GET", "sobjects", None) for n in range(26)],
    ],
    ids=["one name twice", "six queries", "twenty-six"],
)
def test_a_composite_request_has_its_bounds(world: World, parts: list[tuple[str, str, str, Any]]) -> None:
    asked = [{"referenceId": ref, "method": method, "url": f"{HOME}/{url}"} for ref, method, url, _ in parts]
    assert world.ask("POST", "composite", {"compositeRequest": asked}).status == 400


def test_a_collection_says_of_each_what_became_of_it(world: World) -> None:
    records = [{"attributes": {"type": "Contact"}, "LastName": "x"}, {"attributes": {"type": "Contact"}}]
    told = world.ask("POST", "composite/sobjects", {"allOrNone": False, "records": records})
    assert [one["success"] for one in told.body] == [True, False]
    assert told.body[1]["errors"][0]["statusCode"] == "REQUIRED_FIELD_MISSING"
    rolled = world.ask("POST", "composite/sobjects", {"allOrNone": True, "records": records})
    assert rolled.body[0]["errors"][0]["statusCode"] == "ALL_OR_NONE_OPERATION_ROLLED_BACK"
    assert len(list(world.org.all("Contact"))) == 1
    wrong = [{"attributes": {"type": "Account"}, "id": "001xx000003DHP0AAO", "Name": "y"}]
    told = world.ask("PATCH", "composite/sobjects", {"records": wrong})
    assert told.body[0]["errors"][0]["statusCode"] == "INVALID_CROSS_REFERENCE_KEY"
    id = next(world.org.all("Contact")).id
    assert world.ask("DELETE", f"composite/sobjects?ids={id}").body == [{"id": id, "success": True, "errors": []}]


# ── what it says of itself ──────────────────────────────────────────────────────────────────────────────────────────


def test_sessions_versions_and_the_days_allowance(world: World) -> None:
    assert world.ask("GET", "limits", token="nonsense").body[0]["errorCode"] == "INVALID_SESSION_ID"
    versions = world.ask("GET", "/services/data", token="").body
    assert {"label": "Spring '26", "url": "/services/data/v66.0", "version": "66.0"} in versions
    assert world.ask("GET", "/services/data/v29.0/limits").status == 410
    assert world.ask("GET", "/services/data/v99.0/limits").status == 404
    assert world.ask("GET", "nowhere").body[0]["errorCode"] == "NOT_FOUND"
    world.vendor.limited = True
    world.org.limit = world.org.used
    refused = world.ask("GET", "limits")
    assert (refused.status, refused.body[0]["errorCode"]) == (403, "REQUEST_LIMIT_EXCEEDED")
    world.later(7_300)
    world.org.limit = 15_000
    assert world.ask("GET", "limits").status == 401


def test_what_was_deleted_and_changed_is_told_for_thirty_days(world: World) -> None:
    id, kept = world.create("Contact", LastName="x"), world.create("Contact", LastName="y")
    world.ask("DELETE", f"sobjects/Contact/{id}")
    start, end = (world.clock() + by for by in (timedelta(minutes=-5), timedelta(minutes=5)))
    span = f"start={start:%Y-%m-%dT%H:%M:%S}%2B00:00&end={end:%Y-%m-%dT%H:%M:%S}%2B00:00"
    assert [one["id"] for one in world.ask("GET", f"sobjects/Contact/deleted/?{span}").body["deletedRecords"]] == [id]
    assert world.ask("GET", f"sobjects/Contact/updated/?{span}").body["ids"] == [kept]
    world.later(31 * 86_400)
    world.token = world.vendor.grants.issue_access(world.vendor.grants.all[0], world.clock())
    assert world.ask("GET", f"sobjects/Contact/deleted/?{span}").body[0]["errorCode"] == "INVALID_REPLICATION_DATE"


@needs_shared("recorded/salesforce", what="whether the sandbox answers in Salesforce's shapes")
@pytest.mark.parametrize(
    ("name", "method", "path"),
    [
        ("n_query_200.json", "GET", "query?q=SELECT+Id,Name+FROM+Account+LIMIT+5"),
        ("n_queryall_200.json", "GET", "queryAll?q=SELECT+Id,Name+FROM+Account+LIMIT+5"),
        ("n_param_search_empty_200.json", "GET", "parameterizedSearch?q=Acme&sObject=Account"),
        ("versions_200.json", "GET", "/services/data"),
        ("n_create_201.json", "POST", "sobjects/Account/"),
        ("query_400_invalid_field.json", "GET", "query?q=SELECT+Foo+FROM+Account"),
        ("write_400_invalid_field.json", "POST", "sobjects/Case"),
        ("search_400_malformed.json", "GET", "search?q=Acme"),
    ],
)
def test_answers_have_the_recorded_shape(world: World, name: str, method: str, path: str) -> None:
    world.create("Account", Name="Edge Communications")
    kept = json.loads((shared("recorded/salesforce", what="real answers") / name).read_text())["response"]
    body = {"Name": "Test"} if "Account" in path else {"foo": 1}
    told = world.ask(method, path, body if method == "POST" else None)
    assert told.status == (kept["status"] if "create" not in name else 201)
    _same_shape(told.body, kept["body"])


def _same_shape(mine: Any, theirs: Any) -> None:
    assert type(mine) is type(theirs)
    if isinstance(theirs, dict):
        assert mine.keys() == theirs.keys()
        for name, value in theirs.items():
            _same_shape(mine[name], value)
    elif isinstance(theirs, list) and theirs and mine:
        _same_shape(mine[0], theirs[0])
