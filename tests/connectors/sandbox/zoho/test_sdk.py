"""Zoho's own Python SDK (zohocrmsdk8-0) against the sandbox, pointed there by an environment of its own.

What it cannot be tried with: composite requests (the SDK has none), Bulk Read (the sandbox has none), and the sign-in page
(the SDK begins at the token endpoint, which is tried here).
"""

# mypy: disable-error-code="import-untyped"
from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.sandbox import zoho
from connectors.sandbox.clock import Clock
from connectors.sandbox.zoho.grants import Grant
from connectors.sandbox.zoho.modules import MODULES
from tests.connectors.sandbox.world import served
from tests.connectors.sandbox.zoho.conftest import SCOPES

pytest.importorskip("zohocrmsdk", reason="Zoho's SDK is not installed: it was not tried against the sandbox")

from zohocrmsdk.src.com.zoho.api.authenticator import OAuthToken
from zohocrmsdk.src.com.zoho.api.authenticator.store import FileStore
from zohocrmsdk.src.com.zoho.crm.api import HeaderMap, ParameterMap
from zohocrmsdk.src.com.zoho.crm.api.coql import BodyWrapper as QueryBody
from zohocrmsdk.src.com.zoho.crm.api.coql import CoqlOperations
from zohocrmsdk.src.com.zoho.crm.api.dc import DataCenter
from zohocrmsdk.src.com.zoho.crm.api.fields import FieldsOperations, GetFieldsParam
from zohocrmsdk.src.com.zoho.crm.api.initializer import Initializer
from zohocrmsdk.src.com.zoho.crm.api.layouts import GetLayoutsParam, LayoutsOperations
from zohocrmsdk.src.com.zoho.crm.api.modules import MinifiedModule
from zohocrmsdk.src.com.zoho.crm.api.notes import BodyWrapper as NoteBody
from zohocrmsdk.src.com.zoho.crm.api.notes import Note, NotesOperations, ParentId
from zohocrmsdk.src.com.zoho.crm.api.notifications import BodyWrapper as WatchBody
from zohocrmsdk.src.com.zoho.crm.api.notifications import (
    DeleteNotificationParam,
    GetNotificationsParam,
    Notification,
    NotificationsOperations,
)
from zohocrmsdk.src.com.zoho.crm.api.org import OrgOperations
from zohocrmsdk.src.com.zoho.crm.api.pipeline import PipelineOperations
from zohocrmsdk.src.com.zoho.crm.api.record import (
    BodyWrapper,
    Field,
    GetDeletedRecordsParam,
    GetRecordsParam,
    Record,
    RecordOperations,
    SearchRecordsParam,
)
from zohocrmsdk.src.com.zoho.crm.api.sdk_config import SDKConfig
from zohocrmsdk.src.com.zoho.crm.api.tags import NewTagRequestWrapper, Tag, TagsOperations
from zohocrmsdk.src.com.zoho.crm.api.users import GetUsersParam, UsersOperations
from zohocrmsdk.src.com.zoho.crm.api.util import Choice


class Live:
    """The sandbox on a port, with the SDK's one global client in front of it."""

    def __init__(self, org: zoho.Org, vendor: zoho.Zoho, clock: Clock) -> None:
        self.org, self.vendor, self.clock = org, vendor, clock

    def add(self, module: str, **values: Any) -> str:
        return self.org.create(MODULES[module.lower()], values, self.clock()).id


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    org, clock = zoho.Org("20097655001", "Aurora Demo SA"), Clock()
    app = zoho.create_app(org, clock=clock, limits=False)
    assert isinstance(app.vendor, zoho.Zoho)
    scopes = ["ZohoCRM.modules.ALL", "ZohoCRM.settings.ALL", *SCOPES]
    grant = app.vendor.grants.admit(Grant(org.zgid, org.installer.id, scopes))
    logging.getLogger("SDKLogger").setLevel(logging.CRITICAL)
    with served(app) as origin:
        Initializer.initialize(
            environment=DataCenter.Environment(origin, f"{origin}/oauth/v2/token", origin),
            token=OAuthToken("sandbox-client", "sandbox-secret", refresh_token=grant.refresh_token),
            store=FileStore(str(tmp_path / "tokens.txt")),
            sdk_config=SDKConfig(auto_refresh_fields=False, pick_list_validation=False),
            resource_path=str(tmp_path),
        )
        yield Live(org, app.vendor, clock)


def asked(**values: Any) -> Any:
    """A request's parameters, by the SDK's own names."""
    instance = ParameterMap()
    for param, value in values.values():
        instance.add(param, value)
    return instance


def body(module: Any, **values: Any) -> BodyWrapper:
    record = Record()
    for name, value in values.items():
        record.add_field_value(getattr(module, name)(), value)
    wrapper = BodyWrapper()
    wrapper.set_data([record])
    return wrapper


def only(response: Any, status: int) -> Any:
    """The one entry of an answer that is no refusal."""
    assert response.get_status_code() == status
    (entry,) = response.get_object().get_data()
    return entry


def test_the_sdk_signs_in_writes_and_reads(live: Live) -> None:
    contacts = RecordOperations("Contacts")
    made = only(contacts.create_records(body(Field.Contacts, last_name="Perrochon", phone="044 668 18 00")), 201)
    assert made.get_code().get_value() == "SUCCESS"
    id = int(made.get_details()["id"])
    changed = only(contacts.update_record(id, body(Field.Contacts, mobile="079 555 01 23")), 200)
    assert changed.get_code().get_value() == "SUCCESS"
    read = only(contacts.get_record(id), 200)
    assert (read.get_key_value("Last_Name"), read.get_key_value("Mobile")) == ("Perrochon", "079 555 01 23")
    assert read.get_key_value("Owner").get_email() == live.org.installer.email
    assert contacts.get_record(7328395000000999999).get_status_code() == 204


def test_the_sdk_lists_searches_and_queries(live: Live) -> None:
    for number in range(3):
        live.add("Contacts", Last_Name=f"Person {number}", Phone="044 668 18 00")
    contacts = RecordOperations("Contacts")
    listed = contacts.get_records(
        asked(a=(GetRecordsParam.fields, "Last_Name,Phone"), b=(GetRecordsParam.per_page, 2)), HeaderMap()
    )
    assert listed.get_status_code() == 200
    assert len(listed.get_object().get_data()) == 2
    info = listed.get_object().get_info()
    assert info.get_more_records() is True
    assert info.get_next_page_token()
    number = asked(a=(SearchRecordsParam.phone, "446681800"))
    assert contacts.search_records(number, HeaderMap()).get_status_code() == 204  # search has not caught up
    live.clock.advance(timedelta(minutes=1))
    assert len(contacts.search_records(number, HeaderMap()).get_object().get_data()) == 3
    query = QueryBody()
    query.set_select_query("select Last_Name from Contacts where Last_Name = 'Person 1' limit 1")
    (row,) = CoqlOperations().get_records(query).get_object().get_data()
    assert row.get_key_value("Last_Name") == "Person 1"


def test_the_sdk_sees_refusals_as_zohos(live: Live) -> None:
    refused = only(RecordOperations("Contacts").create_records(body(Field.Contacts, phone="044 668 18 00")), 400)
    assert refused.get_code().get_value() == "MANDATORY_NOT_FOUND"
    assert refused.get_details()["api_name"] == "Last_Name"
    query = QueryBody()
    query.set_select_query("select Nothing from Contacts where id = '1'")
    assert CoqlOperations().get_records(query).get_object().get_code().get_value() == "INVALID_QUERY"


def test_the_sdk_logs_a_call_and_upserts(live: Live) -> None:
    contact = Record()
    contact.set_id(int(live.add("Contacts", Last_Name="Perrochon", Email="a@example.com")))
    at = datetime(2026, 11, 21, 14, 5, tzinfo=UTC)
    call = body(
        Field.Calls,
        subject="Offer",
        call_type=Choice("Inbound"),
        call_start_time=at,
        call_duration="07:30",
        who_id=contact,
    )
    made = only(RecordOperations("Calls").create_records(call), 201)
    read = only(RecordOperations("Calls").get_record(int(made.get_details()["id"])), 200)
    assert read.get_key_value("Call_Duration_in_seconds") == 450
    assert read.get_key_value("Call_Start_Time") == at
    again = body(Field.Contacts, last_name="Perrochon", email="a@example.com")
    again.set_duplicate_check_fields(["Email"])
    merged = only(RecordOperations("Contacts").upsert_records(again), 200)
    assert merged.get_action().get_value() == "update"


def test_the_sdk_notes_tags_and_deletes(live: Live) -> None:
    id = live.add("Contacts", Last_Name="Perrochon")
    parent, module, note, wrapper = ParentId(), MinifiedModule(), Note(), NoteBody()
    module.set_api_name("Contacts")
    parent.set_id(int(id))
    parent.set_module(module)
    note.set_note_content("Prefers mornings.")
    note.set_parent_id(parent)
    wrapper.set_data([note])
    assert only(NotesOperations().create_notes(wrapper), 201).get_code().get_value() == "SUCCESS"
    tag, tags = Tag(), NewTagRequestWrapper()
    tag.set_name("VIP")
    tags.set_tags([tag])
    assert TagsOperations().add_tags("Contacts", int(id), tags).get_status_code() == 200
    (linked,) = live.org.crm.linked("contact", id, "note")
    assert live.org.crm.get("note", linked) is not None
    assert RecordOperations("Contacts").delete_record(int(id)).get_status_code() == 200
    deleted = RecordOperations("Contacts").get_deleted_records(
        asked(a=(GetDeletedRecordsParam.type, "all")), HeaderMap()
    )
    assert [str(one.get_id()) for one in deleted.get_object().get_data()] == [id]


def test_the_sdk_knows_the_account(live: Live) -> None:
    (org,) = OrgOperations().get_organization().get_object().get_org()
    assert (org.get_zgid(), org.get_company_name()) == ("20097655001", "Aurora Demo SA")
    people = UsersOperations().get_users(asked(a=(GetUsersParam.type, "ActiveUsers")), HeaderMap())
    assert [one.get_email() for one in people.get_object().get_users()] == [live.org.installer.email]
    fields = FieldsOperations().get_fields(asked(a=(GetFieldsParam.module, "Contacts"))).get_object().get_fields()
    assert {one.get_api_name() for one in fields if one.get_data_type() == "phone"} >= {"Phone", "Mobile", "Fax"}
    layouts = LayoutsOperations().get_layouts(asked(a=(GetLayoutsParam.module, "Deals"))).get_object().get_layouts()
    (pipeline,) = PipelineOperations(int(layouts[0].get_id())).get_pipelines().get_object().get_pipeline()
    assert next(one.get_display_value() for one in pipeline.get_maps()) == "Qualification"


def test_the_sdk_watches(live: Live) -> None:
    watch, wrapper = Notification(), WatchBody()
    watch.set_channel_id("1000000068001")
    watch.set_events(["Contacts.all"])
    watch.set_channel_expiry(live.clock() + timedelta(days=2))
    watch.set_token("word")
    watch.set_notify_url("https://www.zoho.example/notify")
    wrapper.set_watch([watch])
    response = NotificationsOperations().enable_notifications(wrapper)
    assert response.get_status_code() == 201
    listed = NotificationsOperations().get_notifications(asked(a=(GetNotificationsParam.channel_id, 1000000068001)))
    assert [one.get_token() for one in listed.get_object().get_watch()] == ["word"]
    ended = asked(a=(DeleteNotificationParam.channel_ids, "1000000068001"))
    assert NotificationsOperations().delete_notification(ended).get_status_code() == 200
    assert live.vendor.watching.of(live.org).open == {}
