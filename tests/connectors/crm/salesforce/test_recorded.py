"""Real answers of Salesforce (`../shared/recorded/salesforce`) through our readers: what each of them must come out as."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from connectors.crm.records import Kind
from connectors.crm.salesforce import wire, wire_account, wire_errors, wire_people
from connectors.crm.salesforce.people import Deleted
from connectors.errors import ConnectorError, RateLimited, Rejected, UnexpectedReply
from connectors.request import Reply, Request
from tests.shared import FOLDER, needs_shared, shared

RECORDED = "recorded/salesforce"
pytestmark = needs_shared(RECORDED, what="how Salesforce's real answers are read")

Read = Callable[[Reply], Any]


def recorded(name: str) -> tuple[Request, Reply]:
    kept = json.loads((shared(RECORDED, what="real answers") / name).read_text())
    body, method = kept["response"]["body"], kept["request"]["method"]
    content = body if isinstance(body, str) else json.dumps(body)
    headers = {key.lower(): value for key, value in kept["response"].get("headers", {}).items()}
    request = Request(method=method, path="/services/data/v66.0/x", writes=method != "GET")
    return request, Reply(status=kept["response"]["status"], headers=headers, body=content.encode())


def rows(reply: Reply) -> tuple[int, bool]:
    page = wire.read(reply, wire.Rows)
    assert page.total_size >= 0
    return len(page.records), page.done


def people(reply: Reply) -> str:
    found = wire.read(reply, wire.Rows).records
    return wire_people.read_contact(found[0], account=None, region="US").name


def saved(reply: Reply) -> str:
    return wire.read(reply, wire.Saved).id


def statuses(reply: Reply) -> list[int]:
    told = json.loads(reply.body)["compositeResponse"]
    answers = wire.read_composite(reply, [one["referenceId"] for one in told])
    return [answer.http_status_code for answer in answers.values()]


def codes(reply: Reply) -> list[str]:
    return [one.code for one in wire_errors.complaints(json.loads(reply.body))]


def in_graph(reply: Reply) -> list[int]:
    told = json.loads(reply.body)["graphs"][0]["graphResponse"]
    return statuses(Reply(status=200, headers={}, body=json.dumps(told).encode()))


READABLE: list[tuple[str, Read, Any]] = [
    ("c_composite_304_headers.json", lambda reply: set(statuses(reply)), {304}),
    ("c_composite_partial_400.json", statuses, [200, 400]),
    ("c_composite_subrequest_404.json", statuses, [404]),
    ("create_201.json", saved, "some_id"),
    ("g_campaign_create_201.json", saved, "7014S00000097HcQAI"),
    ("g_collections_converted_lead_error_200.json", codes, ["CANNOT_UPDATE_CONVERTED_LEAD"]),
    ("g_collections_required_field_missing_200.json", codes, ["REQUIRED_FIELD_MISSING"]),
    ("g_collections_update_partial_error_200.json", codes, ["INVALID_EMAIL_ADDRESS"]),
    ("g_query_200.json", rows, (0, True)),
    ("get_deleted_200.json", lambda reply: wire.read(reply, Deleted).deleted_records[0].id, "a00D0000008pQRAIA2"),
    ("get_updated_200.json", lambda reply: len(json.loads(reply.body)["ids"]), 7),
    ("n_collection_delete_200.json", lambda reply: json.loads(reply.body)[0]["version"], "31.0"),  # versions, in truth
    ("n_collection_update_200.json", codes, ["INVALID_CROSS_REFERENCE_KEY"]),
    ("n_collection_upsert_200.json", codes, ["JSON_PARSER_ERROR"]),
    ("n_composite_graph_200.json", in_graph, [201]),
    ("n_contacts_query_200.json", people, "Rose Gonzalez"),
    ("n_create_201.json", saved, "001dM00003kRs59QAC"),
    ("n_limits_200.json", lambda reply: json.loads(reply.body)["DailyApiRequests"]["Max"], 15_000),
    ("n_opportunities_query_200.json", lambda reply: deal(reply).amount, Decimal(15_000)),
    ("n_param_search_empty_200.json", lambda reply: wire.read(reply, wire.Found).search_records, []),
    ("n_query_200.json", rows, (5, True)),
    ("n_queryall_200.json", rows, (5, True)),
    ("n_quick_action_task_defaults_200.json", lambda reply: json.loads(reply.body)["Status"], "Not Started"),
    ("n_record_get_200.json", lambda reply: wire.type_of(json.loads(reply.body)), "Account"),
    ("n_sobject_info_200.json", lambda reply: wire.read(inner(reply, "objectDescribe"), wire_account.Described).name, "Account"),
    ("n_upsert_contact_email_201.json", lambda reply: wire.read(reply, wire.Saved).created, True),
    ("n_userinfo_200.json", lambda reply: json.loads(reply.body)["organization_id"], "00DdM00000vfgTuUAI"),
    ("n_users_query_200.json", lambda reply: len(wire.read(reply, wire.Rows).records), None),
    ("o_token_200.json", lambda reply: token(reply).expires_in, None),
    ("record_get_200.json", lambda reply: wire.value(json.loads(reply.body), "Checkbox_Label"), "true"),
    ("refresh_success.json", lambda reply: token(reply).access_token, "refreshed_access_token"),
    ("upsert_created_201.json", saved, "foo"),
    ("versions_200.json", lambda reply: json.loads(reply.body)[0]["url"], "/services/data/v20.0"),
]  # fmt: skip

REFUSED: list[tuple[str, type[ConnectorError], dict[str, Any]]] = [
    ("q_400_duplicates_detected_v56_account.json", wire_errors.AlreadyExists, {"existing": "0015c00002Lz9mUAAR"}),
    ("q_403_request_limit_exceeded.json", RateLimited, {"policy": "DAILY", "retry_after": timedelta(hours=1)}),
    ("query_400_invalid_field.json", Rejected, {"code": "INVALID_FIELD", "gone": False}),
    ("search_400_malformed.json", Rejected, {"code": "MALFORMED_SEARCH"}),
    ("upsert_300_multiple.json", Rejected, {"code": "MULTIPLE_RECORDS_FOUND", "gone": False}),
    ("write_400_invalid_field.json", Rejected, {"code": "INVALID_FIELD", "field": "foo"}),
]
EMPTY = ["n_delete_204.json"]


def inner(reply: Reply, name: str) -> Reply:
    return Reply(status=reply.status, headers={}, body=json.dumps(json.loads(reply.body)[name]).encode())


def deal(reply: Reply) -> Any:
    return wire_people.read_deal(wire.read(reply, wire.Rows).records[0])


def token(reply: Reply) -> Any:
    return wire_errors.read_token(reply.status, reply.headers, reply.body)


@pytest.mark.parametrize(("name", "read", "expected"), READABLE, ids=[row[0] for row in READABLE])
def test_a_recorded_answer_is_read(name: str, read: Read, expected: Any) -> None:
    _, reply = recorded(name)
    value = read(reply)
    assert value == expected or (expected is None and value is None) or (expected is None and value)


@pytest.mark.parametrize(("name", "kind", "said"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_recorded_refusal_says_what_to_do(name: str, kind: type[ConnectorError], said: dict[str, Any]) -> None:
    request, reply = recorded(name)
    error = wire_errors.read_error(request, reply)
    assert isinstance(error, kind)
    assert {attribute: getattr(error, attribute) for attribute in said} == said


@pytest.mark.parametrize("name", EMPTY)
def test_nothing_is_not_read_as_something(name: str) -> None:
    _, reply = recorded(name)
    with pytest.raises(UnexpectedReply):
        wire.read(reply, wire.Rows)


def test_every_recorded_answer_is_looked_at() -> None:
    """A file that is added must say what it shows."""
    known = {*(row[0] for row in READABLE), *(row[0] for row in REFUSED), *EMPTY}
    assert known == {path.name for path in (FOLDER / RECORDED).glob("*.json")}


def test_a_recorded_contact_has_its_numbers_and_its_time() -> None:
    _, reply = recorded("n_contacts_query_200.json")
    row = wire.read(reply, wire.Rows).records[0]
    contact = wire_people.read_contact(row, account=None, region="US")
    assert (contact.kind, contact.first_name, contact.last_name) == (Kind.CONTACT, "Rose", "Gonzalez")
    assert {held.label: held.e164 for held in contact.phones} == {"phone": "+15127576000", "mobile": "+15127579340"}
    assert contact.updated_at == datetime(2026, 5, 1, 7, 25, 37, tzinfo=UTC)


def test_a_recorded_answer_says_what_is_left_of_the_day() -> None:
    request, reply = recorded("n_param_search_empty_200.json")
    (left,) = wire_errors.read_limits(request, reply)
    assert (left.limit, left.remaining) == (15_000, 15_000 - 101)
    assert wire_errors.read_limits(*recorded("g_query_200.json"))[0].remaining == 15_000 - 230


def test_a_subrequest_that_failed_is_judged_like_a_request() -> None:
    _, reply = recorded("c_composite_partial_400.json")
    told = wire.read_composite(reply, ("refAccount", "refXYZZY"))
    error = wire_errors.classified(told["refXYZZY"].http_status_code, told["refXYZZY"].body, writes=False)
    assert isinstance(error, wire_errors.Denied)
    assert error.code == "INVALID_TYPE"
    with pytest.raises(UnexpectedReply):
        wire.read_composite(reply, ("refAccount", "refNobodyAnswered"))
