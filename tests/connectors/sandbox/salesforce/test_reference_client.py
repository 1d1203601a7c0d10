"""simple-salesforce 1.12, unchanged, against the sandbox. It speaks https only, so its session carries what it sends to
https://… to the sandbox's plain port, as a proxy would."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from simple_salesforce.api import Salesforce, SFType
from simple_salesforce.exceptions import (
    SalesforceExpiredSession,
    SalesforceMalformedRequest,
    SalesforceMoreThanOneRecord,
    SalesforceResourceNotFound,
)
from simple_salesforce.format import format_soql

from tests.connectors.sandbox.salesforce.test_records import key_field
from tests.connectors.sandbox.salesforce.world import World


class _Plain(requests.adapters.HTTPAdapter):
    def send(self, request: Any, *args: Any, **more: Any) -> Any:
        request.url = request.url.replace("https://", "http://", 1)
        return super().send(request, *args, **more)


def connect(live: World, token: str | None = None) -> Any:
    """Its objects are attributes made up when they are asked for, which no type describes."""
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", _Plain())
    instance = live.origin.removeprefix("http://")
    return Salesforce(session_id=token or live.token, instance=instance, version="66.0", session=session)


@pytest.fixture
def client(live: World) -> Any:
    return connect(live)


def test_records_from_creation_to_deletion(live: World, client: Any) -> None:
    made = client.Contact.create({"LastName": "Meier", "Email": "uno@mail.example"})
    assert made["success"] is True
    assert client.Contact.update(made["id"], {"FirstName": "Ruth"}) == 204
    assert client.Contact.get(made["id"])["Name"] == "Ruth Meier"
    assert client.Contact.get_by_custom_id("Email", "uno@mail.example")["Id"] == made["id"]
    assert client.Contact.delete(made["id"]) == 204
    with pytest.raises(SalesforceResourceNotFound):
        client.Contact.get(made["id"])


def test_upserts_by_external_id(live: World, client: Any) -> None:
    key_field(live)
    assert client.Contact.upsert("Our_Key__c/k-1", {"LastName": "Meier"}) == 201
    assert client.Contact.upsert("Our_Key__c/k-1", {"LastName": "Müller"}) == 200
    assert client.Contact.get_by_custom_id("Our_Key__c", "k-1")["LastName"] == "Müller"
    live.org.rules.clear()
    for name in ("x", "y"):
        client.Contact.create({"LastName": name, "Email": "both@mail.example"})
    with pytest.raises(SalesforceMoreThanOneRecord):
        client.Contact.upsert("Email/both@mail.example", {"FirstName": "z"})


def test_questions_and_their_pages(live: World, client: Any) -> None:
    for n in range(2_100):
        live.create("Contact", LastName=f"Person {n:04d}")
    first = client.query("SELECT Id, LastName FROM Contact ORDER BY LastName")
    assert (len(first["records"]), first["done"], first["totalSize"]) == (2_000, False, 2_100)
    everyone = client.query_all("SELECT LastName FROM Contact ORDER BY LastName")
    assert [row["LastName"] for row in everyone["records"]][::700] == ["Person 0000", "Person 0700", "Person 1400"]
    quoted = format_soql("SELECT Id FROM Contact WHERE LastName = {}", "O'Neill")
    assert client.query(quoted)["totalSize"] == 0
    with pytest.raises(SalesforceMalformedRequest):
        client.query("SELECT Foo FROM Contact")


def test_what_it_is_told_of_objects_and_limits(client: Any) -> None:
    described = client.Contact.describe()
    phones = {field["name"] for field in described["fields"] if field["type"] == "phone"}
    assert {"Phone", "MobilePhone", "HomePhone", "OtherPhone", "AssistantPhone", "Fax"} == phones
    listed = client.describe()
    assert listed is not None
    assert {"Contact", "Lead", "Task"} <= {one["name"] for one in listed["sobjects"]}
    assert client.Contact.metadata()["objectDescribe"]["keyPrefix"] == "003"
    assert client.limits()["DailyApiRequests"]["Max"] == 15_000
    assert client.api_usage["api-usage"].total == 15_000
    assert client.is_sandbox() is False


def test_search_and_tooling(live: World, client: Any) -> None:
    client.Contact.create({"LastName": "Meier", "Phone": "0446681800"})
    live.later(60)
    found = client.search("FIND {0446681800} IN PHONE FIELDS RETURNING Contact(Id, LastName)")
    assert [row["LastName"] for row in found["searchRecords"]] == ["Meier"]
    field = {
        "FullName": "Contact.Score__c",
        "Metadata": {"type": "Number", "label": "Score", "precision": 5, "scale": 0},
    }
    assert client.toolingexecute("sobjects/CustomField", "POST", field)["success"] is True


def test_deleted_and_updated(live: World, client: Any) -> None:
    from datetime import timedelta

    made = client.Contact.create({"LastName": "Meier"})
    client.Contact.delete(made["id"])
    span = live.clock() - timedelta(hours=1), live.clock() + timedelta(hours=1)
    assert [one["id"] for one in client.Contact.deleted(*span)["deletedRecords"]] == [made["id"]]
    assert client.Contact.updated(*span)["ids"] == []


def test_a_bulk_query(live: World, client: Any) -> None:
    for n in range(7):
        live.create("Contact", LastName=f"Person {n}")
    pages = list(client.bulk2.Contact.query("SELECT Id, LastName FROM Contact", max_records=3, wait=0))
    assert [page.count("Person") for page in pages] == [3, 3, 1]


def test_a_session_that_is_over(live: World) -> None:
    with pytest.raises(SalesforceExpiredSession):
        connect(live, "nothing").query("SELECT Id FROM Contact")


def test_a_type_by_itself(live: World, client: Any) -> None:
    tasks = SFType("Task", live.token, client.sf_instance, "66.0", session=client.session)
    made = tasks.create({"Subject": "Call", "TaskSubtype": "Call", "Status": "Completed", "CallObject": "k-1"})
    assert client.query("SELECT Id FROM Task WHERE CallObject='k-1'")["records"][0]["Id"] == made["id"]
