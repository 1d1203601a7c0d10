"""HubSpot's own `hubspot-api-client` 12, unchanged, on the v3 and v4 paths that are still alive."""

from __future__ import annotations

from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hubspot import HubSpot
from hubspot.crm import associations, contacts, deals, objects, properties

from tests.connectors.sandbox.world import SCOPES, World


def _factory(origin: str) -> Any:
    def make(package: ModuleType, name: str, config: dict[str, Any]) -> Any:
        """The client's own hook for another host."""
        configuration = package.Configuration(host=origin)
        configuration.access_token = config.get("access_token")
        return getattr(package, name)(api_client=package.ApiClient(configuration=configuration))

    return make


@pytest.fixture
def client(live: World) -> HubSpot:
    return HubSpot(access_token=live.token, api_factory=_factory(live.origin))


def test_oauth_v1_from_code_to_information(live: World, client: HubSpot) -> None:
    callback = "http://localhost/cb"
    asked = {"client_id": "sandbox-client", "redirect_uri": callback, "scope": " ".join(SCOPES), "auto": "approve"}
    back = httpx.get(verify=False, url=f"{live.origin}/oauth/authorize", params=asked).headers["location"]
    app = {"client_id": "sandbox-client", "client_secret": "sandbox-secret"}
    tokens = client.oauth.tokens_api.create(
        grant_type="authorization_code", redirect_uri=callback, code=parse_qs(urlsplit(back).query)["code"][0], **app
    )
    again = client.oauth.tokens_api.create(grant_type="refresh_token", refresh_token=tokens.refresh_token, **app)
    assert again.expires_in == 1800
    assert client.oauth.access_tokens_api.get(again.access_token).hub_id == 62515
    assert client.oauth.refresh_tokens_api.get(again.refresh_token).client_id == "sandbox-client"
    client.oauth.refresh_tokens_api.archive(again.refresh_token)
    with pytest.raises(Exception, match="BAD_REFRESH_TOKEN"):
        client.oauth.tokens_api.create(grant_type="refresh_token", refresh_token=tokens.refresh_token, **app)


def test_contacts(live: World, client: HubSpot) -> None:
    basic = client.crm.contacts.basic_api
    wanted = contacts.SimplePublicObjectInputForCreate(properties={"email": "uno@mail.example", "lastname": "Uno"})
    made = basic.create(simple_public_object_input_for_create=wanted)
    change = contacts.SimplePublicObjectInput(properties={"city": "Bern"})
    assert basic.update(made.id, simple_public_object_input=change).properties["city"] == "Bern"
    read = basic.get_by_id("uno@mail.example", id_property="email", properties=["city"])
    assert (read.id, read.properties["city"]) == (made.id, "Bern")
    with pytest.raises(contacts.ApiException) as twice:
        basic.create(simple_public_object_input_for_create=wanted)
    assert twice.value.status == 409
    assert f"Existing ID: {made.id}" in twice.value.body
    live.later(3)
    search = contacts.PublicObjectSearchRequest(query="uno", limit=5, properties=["email"])
    assert client.crm.contacts.search_api.do_search(search).total == 1
    basic.archive(made.id)
    assert client.crm.contacts.get_all() == []


def test_an_upsert_and_a_batch_that_misses_one(live: World, client: HubSpot) -> None:
    batch = client.crm.contacts.batch_api
    upsert = contacts.BatchInputSimplePublicObjectBatchInputUpsert(
        inputs=[{"id": "due@mail.example", "idProperty": "email", "properties": {"firstname": "Due"}}]
    )
    (first,) = batch.upsert(upsert).results
    (again,) = batch.upsert(upsert).results
    assert (first.new, again.new, first.id) == (True, False, again.id)
    read = contacts.BatchReadInputSimplePublicObjectId(
        inputs=[{"id": first.id}, {"id": "999999"}], properties=["firstname"], properties_with_history=[]
    )
    told = batch.read(read)
    assert [each.id for each in told.results] == [first.id]
    assert told.num_errors == 1
    assert told.errors[0].category == "OBJECT_NOT_FOUND"


def test_deals_calls_and_tasks_with_their_links(live: World, client: HubSpot) -> None:
    person = live.create("contacts", firstname="Remy")
    link = {
        "to": {"id": person},
        "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 3}],
    }
    deal = client.crm.deals.basic_api.create(
        deals.SimplePublicObjectInputForCreate(
            properties={"dealname": "Offre", "dealstage": "appointmentscheduled"}, associations=[link]
        )
    )
    for kind, values, type_id in (
        ("calls", {"hs_timestamp": "1795296960000", "hs_call_title": "Rappel"}, 194),
        ("tasks", {"hs_timestamp": "1795296960000", "hs_task_subject": "Rappeler"}, 204),
    ):
        wanted = objects.SimplePublicObjectInputForCreate(
            properties=values,
            associations=[
                {
                    "to": {"id": person},
                    "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": type_id}],
                }
            ],
        )
        made = getattr(client.crm.objects, kind).basic_api.create(wanted)
        listed = client.crm.associations.v4.basic_api.get_page("contacts", person, kind)
        assert [str(each.to_object_id) for each in listed.results] == [made.id]
    whole = client.crm.contacts.basic_api.get_by_id(person, associations=["deals", "calls", "tasks"])
    assert set(whole.associations) == {"deals", "calls", "tasks"}
    assert whole.associations["deals"].results[0].id == deal.id


def test_links_of_the_fourth_version(live: World, client: HubSpot) -> None:
    company, person = live.create("companies", name="Haus"), live.create("contacts", firstname="Anja")
    api = client.crm.associations.v4
    api.basic_api.create_default("contacts", person, "companies", company)
    listed = api.basic_api.get_page("contacts", person, "companies")
    assert isinstance(listed.results[0].to_object_id, int | str)
    assert {kind.type_id for kind in listed.results[0].association_types} == {1, 279}
    told = api.batch_api.create(
        "companies",
        "contacts",
        associations.v4.BatchInputPublicAssociationMultiPost(
            inputs=[
                {
                    "from": {"id": company},
                    "to": {"id": "77"},
                    "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 2}],
                }
            ]
        ),
    )
    assert told.errors[0].message == "CONTACT=77 is not valid"


def test_owners_pipelines_and_properties(live: World, client: HubSpot) -> None:
    (owner,) = client.crm.owners.owners_api.get_page(email="admin@aurora.example").results
    assert client.crm.owners.owners_api.get_by_id(int(owner.id)).email == "admin@aurora.example"
    (pipeline,) = client.crm.pipelines.pipelines_api.get_all("tickets").results
    assert [stage.metadata["ticketState"] for stage in pipeline.stages] == ["OPEN", "OPEN", "OPEN", "CLOSED"]
    made = client.crm.properties.core_api.create(
        "contacts",
        properties.PropertyCreate(
            name="gateway_key",
            label="Key",
            type="string",
            field_type="text",
            group_name="contactinformation",
            has_unique_value=True,
        ),
    )
    assert made.has_unique_value
    assert client.crm.properties.core_api.get_by_name("contacts", "gateway_key").name == "gateway_key"
    with pytest.raises(properties.ApiException) as missing:
        client.crm.properties.core_api.get_by_name("contacts", "nothing_like_it")
    assert missing.value.status == 404
