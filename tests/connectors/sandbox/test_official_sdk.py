"""HubSpot's own `hubspot-sdk`, unchanged, on the dated paths; every answer is held against HubSpot's schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx
import hubspot_sdk
import pytest
from hubspot_sdk import HubSpot

from tests.connectors.sandbox.schemas import check_answer
from tests.connectors.sandbox.world import SCOPES, World
from tests.shared import present

CONTACT_TO_COMPANY, CALL_TO_CONTACT, TASK_TO_CONTACT, DEAL_TO_CONTACT = 279, 194, 204, 3


def _held_against_schema(response: httpx.Response) -> None:
    """Every answer the SDK gets, while the published schemas are at hand."""
    response.read()
    if response.is_success and present("specs/hubspot"):
        body = json.loads(response.content) if response.content else None
        check_answer(response.request.method, response.request.url.path, response.status_code, body)


@pytest.fixture
def client(live: World) -> Iterator[HubSpot]:
    with httpx.Client(verify=False, event_hooks={"response": [_held_against_schema]}) as http:
        yield HubSpot(access_token=live.token, base_url=live.origin, http_client=http, max_retries=0)


def _link(to: str, type_id: int) -> dict[str, object]:
    spec = {"association_category": "HUBSPOT_DEFINED", "association_type_id": type_id}
    return {"to": {"id": to}, "types": [spec]}


def test_oauth_from_consent_to_revocation(live: World, client: HubSpot) -> None:
    callback = "http://127.0.0.1:9/callback"
    asked = {
        "client_id": "sandbox-client",
        "redirect_uri": callback,
        "scope": " ".join(SCOPES),
        "state": "s",
        "auto": "approve",
    }
    back = httpx.get(verify=False, url=f"{live.origin}/oauth/authorize", params=asked).headers["location"]
    code = parse_qs(urlsplit(back).query)["code"][0]
    app = {"client_id": "sandbox-client", "client_secret": "sandbox-secret"}
    first = client.auth.oauth.create_token(grant_type="authorization_code", code=code, redirect_uri=callback, **app)
    second = client.auth.oauth.create_token(grant_type="refresh_token", refresh_token=first.refresh_token, **app)
    assert (second.hub_id, second.expires_in, second.token_type) == (62515, 1800, "bearer")
    assert second.refresh_token == first.refresh_token
    assert second.access_token != first.access_token
    told = client.auth.oauth.introspect_token(token=second.access_token, token_type_hint="access_token", **app)
    assert (told.active, told.hub_id, told.scopes) == (True, 62515, second.scopes)
    client.access_token = second.access_token
    assert client.account.get().portal_id == 62515
    client.auth.oauth.revoke_token(token=first.refresh_token, token_type_hint="refresh_token", **app)
    with pytest.raises(hubspot_sdk.BadRequestError) as refused:
        client.auth.oauth.create_token(grant_type="refresh_token", refresh_token=first.refresh_token, **app)
    assert refused.value.response.json()["status"] == "BAD_REFRESH_TOKEN"


def test_a_contact_lives_and_goes(live: World, client: HubSpot) -> None:
    contacts = client.crm.objects.contacts
    made = contacts.create(
        properties={"email": "Ada.Beispiel@mail.example", "firstname": "Ada", "phone": "044 668 18 00"}, associations=[]
    )
    assert made.properties["email"] == "ada.beispiel@mail.example"
    assert made.properties["hs_calculated_phone_number"] == "+41446681800"
    read = contacts.get(made.id, properties=["firstname", "mobilephone", "no_such_property"])
    assert read.properties["firstname"] == "Ada"
    assert read.properties["mobilephone"] is None
    assert "no_such_property" not in read.properties
    changed = contacts.update(contact_id="ada.beispiel@mail.example", id_property="email", properties={"firstname": ""})
    assert changed.id == made.id
    assert changed.properties["firstname"] == ""
    live.later(3)
    wanted = [{"filters": [{"property_name": "email", "operator": "EQ", "value": "ADA.beispiel@mail.example"}]}]
    found = contacts.search(filter_groups=wanted, properties=["email"], limit=5, after="", sorts=[])
    assert [each.id for each in found.results] == [made.id]
    contacts.delete(made.id)
    with pytest.raises(hubspot_sdk.NotFoundError) as gone:
        contacts.get(made.id)
    assert "<title>Error 404 Not Found</title>" in gone.value.response.text
    assert [each.id for each in contacts.list(archived=True).results] == [made.id]


def test_everyone_is_listed_page_by_page(live: World, client: HubSpot) -> None:
    ids = [live.create("contacts", firstname=f"Nr {at}") for at in range(7)]
    assert [each.id for each in client.crm.objects.contacts.list(limit=3)] == ids  # the SDK follows the pages


def test_an_upsert_by_our_own_key_writes_once(live: World, client: HubSpot) -> None:
    client.crm.properties.create(
        "calls",
        group_name="call",
        name="gateway_key",
        label="Key",
        type="string",
        field_type="text",
        has_unique_value=True,
    )
    wanted = {
        "id": "k-1",
        "id_property": "gateway_key",
        "object_write_trace_id": "t-1",
        "properties": {"hs_timestamp": "1795296960000", "hs_call_title": "Rückruf"},
    }
    first = client.crm.objects.calls.batch.upsert(inputs=[wanted])
    again = client.crm.objects.calls.batch.upsert(inputs=[wanted])
    assert (first.results[0].new, again.results[0].new) == (True, False)
    assert first.results[0].id == again.results[0].id
    assert again.results[0].object_write_trace_id == "t-1"
    read = client.crm.objects.calls.get("k-1", id_property="gateway_key", properties=["hs_timestamp"])
    assert read.properties["hs_timestamp"] == "2026-11-21T21:36:00Z"


def test_batches_of_contacts(live: World, client: HubSpot) -> None:
    batch = client.crm.objects.contacts.batch
    made = batch.create(inputs=[{"properties": {"firstname": name}, "associations": []} for name in ("Uno", "Due")])
    ids = [each.id for each in made.results]
    batch.update(inputs=[{"id": id, "properties": {"city": "Lugano"}} for id in ids])
    read = batch.get(inputs=[{"id": id} for id in ids], properties=["city"], properties_with_history=[])
    assert {each.properties["city"] for each in read.results} == {"Lugano"}
    batch.delete(inputs=[{"id": id} for id in ids])
    assert list(client.crm.objects.contacts.list().results) == []


def test_the_story_of_a_call(live: World, client: HubSpot) -> None:
    """Call, task, deal, ticket, note and meeting, each tied to the caller."""
    objects = client.crm.objects
    company = objects.companies.create(properties={"name": "Atelier SA"}, associations=[])
    caller = objects.contacts.create(
        properties={"firstname": "Luc"}, associations=[_link(company.id, CONTACT_TO_COMPANY)]
    )
    at = "2026-11-22T11:00:00.000Z"
    call = objects.calls.create(
        properties={"hs_timestamp": at, "hs_call_duration": "185000", "hs_call_status": "COMPLETED"},
        associations=[_link(caller.id, CALL_TO_CONTACT)],
    )
    task = objects.tasks.create(
        properties={"hs_timestamp": at, "hs_task_subject": "Rappeler", "hs_task_priority": "HIGH"},
        associations=[_link(caller.id, TASK_TO_CONTACT)],
    )
    deal = objects.deals.create(
        properties={"dealname": "Neu", "dealstage": "appointmentscheduled", "amount": "1200"},
        associations=[_link(caller.id, DEAL_TO_CONTACT)],
    )
    ticket = objects.tickets.create(
        properties={"subject": "Kaputt", "hs_pipeline_stage": "1"}, associations=[_link(caller.id, 16)]
    )
    note = objects.notes.create(
        properties={"hs_timestamp": at, "hs_note_body": "<p>ok</p>"}, associations=[_link(caller.id, 202)]
    )
    meeting = objects.meetings.create(
        properties={"hs_timestamp": at, "hs_meeting_title": "Besuch"}, associations=[_link(caller.id, 200)]
    )
    assert (deal.properties["pipeline"], deal.properties["hs_is_closed"]) == ("default", "false")
    kinds = ["companies", "calls", "tasks", "deals", "tickets", "notes", "meetings"]
    whole = objects.contacts.get(caller.id, associations=kinds)
    assert whole.associations is not None
    told = {kind: {each.id for each in whole.associations[kind].results} for kind in kinds}
    made = (company, call, task, deal, ticket, note, meeting)
    assert told == {kind: {record.id} for kind, record in zip(kinds, made, strict=True)}
    assert objects.contacts.get(caller.id, properties=["associatedcompanyid"]).properties["associatedcompanyid"] == (
        company.id
    )
    read = objects.calls.batch.get(
        inputs=[{"id": call.id}], properties=["hs_call_duration"], properties_with_history=[]
    )
    assert read.results[0].properties["hs_call_duration"] == "185000"


def test_deals_that_are_open(live: World, client: HubSpot) -> None:
    caller = live.create("contacts", firstname="Inès")
    open_deal = live.create("deals", [(caller, 3)], dealname="Offen", dealstage="qualifiedtobuy")
    won = live.create("deals", [(caller, 3)], dealname="Gewonnen", dealstage="closedwon")
    live.later(3)
    filters = [
        {"property_name": "associations.contact", "operator": "EQ", "value": caller},
        {"property_name": "hs_is_closed", "operator": "EQ", "value": "false"},
    ]
    found = client.crm.objects.deals.search(
        filter_groups=[{"filters": filters}], properties=["dealname"], limit=10, after="", sorts=[]
    )
    assert [each.id for each in found.results] == [open_deal]
    client.crm.objects.deals.update(deal_id=won, properties={"dealstage": "contractsent"})
    assert client.crm.objects.deals.get(won, properties=["hs_is_closed"]).properties["hs_is_closed"] == "false"


def test_links_are_made_and_listed(live: World, client: HubSpot) -> None:
    company, person = live.create("companies", name="Verein"), live.create("contacts", firstname="Reto")
    wrong, right = (
        [{"association_category": "HUBSPOT_DEFINED", "association_type_id": type_id}] for type_id in (280, 279)
    )
    pair = {"object_type": "contacts", "object_id": person, "to_object_type": "companies"}
    with pytest.raises(hubspot_sdk.BadRequestError):  # 280 is company to contact
        client.crm.associations.update_labels(company, body=wrong, **pair)
    client.crm.associations.update_labels(company, body=right, **pair)
    client.crm.associations.create(
        company, from_object_type="contacts", from_object_id=person, to_object_type="companies"
    )
    listed = client.crm.associations.list("companies", object_type="contacts", object_id=person)
    assert [each.to_object_id for each in listed.results] == [company]
    assert [spec.type_id for spec in listed.results[0].association_types] == [1, 279]
    client.crm.associations.delete(company, **pair)
    assert client.crm.associations.list("companies", object_type="contacts", object_id=person).results == []


def test_what_the_portal_is_made_of(live: World, client: HubSpot) -> None:
    pipelines = client.crm.pipelines.list("deals")
    assert [stage.id for stage in pipelines.results[0].stages][-2:] == ["closedwon", "closedlost"]
    (owner,) = client.crm.owners.list(email="admin@aurora.example").results
    assert client.crm.owners.get(owner.id).email == "admin@aurora.example"
    assert client.crm.owners.get(owner.user_id or 0, id_property="userId").id == owner.id
    names = {each.name for each in client.crm.properties.list("contacts").results}
    assert {"firstname", "mobilephone", "lifecyclestage", "hs_language", "hubspot_owner_id"} <= names
    labels = client.crm.associations_schema.labels.list_labels("companies", from_object_type="contacts")
    assert {(each.type_id, each.label) for each in labels.results} == {(1, "Primary"), (279, None)}


def test_two_become_one(live: World, client: HubSpot) -> None:
    first = live.create("contacts", email="a@mail.example")
    second = live.create("contacts", email="b@mail.example", firstname="Bea")
    merged = client.crm.objects.contacts.merge(primary_object_id=first, object_id_to_merge=second)
    assert (merged.id, merged.properties["firstname"]) == (first, "Bea")
    assert client.crm.objects.contacts.get(second).id == first
    assert client.crm.objects.contacts.get("b@mail.example", id_property="email").id == first


def test_no_more_mail(live: World, client: HubSpot) -> None:
    person = live.create("contacts", email="nein@mail.example")
    preferences = client.communication_preferences
    preferences.unsubscribe_all("nein@mail.example", channel="EMAIL")
    (told,) = preferences.get_unsubscribe_all_status("nein@mail.example", channel="EMAIL").results
    assert told.status == "UNSUBSCRIBED"
    read = client.crm.objects.contacts.get(person, properties=["hs_email_optout"])
    assert read.properties["hs_email_optout"] == "true"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, hubspot_sdk.AuthenticationError), (409, hubspot_sdk.ConflictError), (429, hubspot_sdk.RateLimitError)],
    ids=["dead token", "same e-mail", "too many"],
)
def test_the_sdk_knows_our_errors(live: World, client: HubSpot, status: int, kind: type[Exception]) -> None:
    live.create("contacts", email="da@mail.example")
    if status == 401:
        live.later(1800)
    if status == 429:
        live.vendor.limits[62515].on = True
        for _ in range(110):
            live.vendor.limits[62515].spend(live.clock(), search=False)
    with pytest.raises(kind):
        client.crm.objects.contacts.create(properties={"email": "DA@mail.example"}, associations=[])
