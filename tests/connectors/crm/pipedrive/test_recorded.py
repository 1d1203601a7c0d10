"""Real answers of Pipedrive (`../shared/recorded/pipedrive`) through our readers: what each of them must come out as."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.crm.changes import Change, Happened, Notice
from connectors.crm.pipedrive import wire, wire_account, wire_changes, wire_errors, wire_people
from connectors.crm.records import Account, Kind
from connectors.errors import ConnectorError, Rejected, UnexpectedReply
from connectors.request import Reply, Request
from tests.shared import FOLDER, needs_shared, shared

RECORDED = "recorded/pipedrive"
pytestmark = needs_shared(RECORDED, what="how Pipedrive's real answers are read")

Read = Callable[[Reply], Any]


def kept(name: str) -> Any:
    return json.loads((shared(RECORDED, what="real answers") / f"{name}.json").read_text())


def recorded(name: str) -> tuple[Request, Reply]:
    said = kept(name)
    body, method = said["response"]["body"], said["request"]["method"]
    content = body if isinstance(body, str) else json.dumps(body)
    headers = {key.lower(): value for key, value in said["response"].get("headers", {}).items()}
    where = said["request"].get("uri") or said["request"]["path"]
    request = Request(method=method, path=where, writes=method != "GET")
    return request, Reply(status=said["response"]["status"], headers=headers, body=content.encode())


def row(reply: Reply) -> str:
    return wire.read_row(reply).id


def count(reply: Reply) -> int:
    return len(wire.read_rows(reply).results)


def names(reply: Reply) -> list[str]:
    rows = wire.read_rows(reply).results
    return [wire_people.read_contact(Kind.CONTACT, one, account=None).name for one in rows]


def companies(reply: Reply) -> list[str]:
    rows = wire.read_rows(reply).results
    return [wire_people.read_contact(Kind.COMPANY, one, account=None).name for one in rows]


def deal(reply: Reply) -> tuple[str, bool, str]:
    found = wire_people.read_deal(wire.read_row(reply), {}, {})
    return found.name, found.is_open, str(found.amount)


def kinds(reply: Reply) -> list[Kind]:
    return [wire_people.activity_kind(one) for one in wire.read_rows(reply).results]


READABLE: list[tuple[str, Read, Any]] = [
    ("nango-create-activity", row, "6"),
    ("nango-get-activity", lambda reply: wire_people.read_activity(wire.read_row(reply)), None),
    ("nango-update-activity", row, "3"),
    ("nango-create-deal", deal, None),
    ("nango-get-deal", deal, ("Acme Corp - Enterprise License", True, "25000")),
    ("nango-update-deal", row, "1"),
    ("nango-deals", count, 8),
    ("nango-delete-deal", row, "10"),
    ("nango-create-lead", row, "c750ba60-5048-11f1-bc07-9325c0fa40f5"),
    ("nango-get-lead", row, "1bce0200-5044-11f1-8f4f-d7944c9e4f3a"),
    ("nango-leads", count, 7),
    ("nango-create-note", row, "5"),
    ("nango-update-note", row, "1"),
    ("nango-notes", count, 1),
    ("nango-list-notes", count, 1),
    ("nango-persons", names, None),
    ("nango-list-persons", names, None),
    ("nango-update-person", row, "13"),
    ("nango-list-organizations", companies, None),
    ("nango-get-stage", row, "1"),
    ("nango-list-stages", count, 7),
    ("nango-stages", count, 12),
    ("nango-update-stage", row, "1"),
    ("nango-list-pipelines", count, 2),
    ("nango-pipelines", count, 7),
    ("nango-update-pipeline", row, "6"),
    ("nango-get-user", row, "25760681"),
    ("vcr-activitytypes-all-when-success-returns-a-list-of-activity-types-1", row, None),
    ("vcr-deals-create-when-success-return-success-true", row, None),
    ("vcr-deals-find-by-title-when-success-returns-success-true", count, 6),
    ("vcr-organizations-find-when-success-returns-success-true", row, "1"),
    ("vcr-recents-all-when-success-returns-a-list-of-recent-changes", count, 100),
    ("vcr-searchresults-all-when-success-returns-succes-true", count, 17),
    ("vcr-searchresults-field-when-success-returns-succes-true", lambda reply: len(wire.read(reply)), 3),
    ("vcr-usersettings-all-when-success-returns-a-list-of-settings", lambda reply: bool(wire.read(reply)), True),
    ("vcr-webhooks-create-when-success-returns-success-true", row, "24476"),
    ("vcr2-activity-types", lambda reply: len(wire_account.read_activity_types(reply)), None),
    ("vcr2-more-activities-1", kinds, None),
    ("vcr2-more-activities-2", kinds, None),
    ("vcr2-token-refresher-2", lambda reply: wire_account.read_users(reply)[0].id, "5206648"),
    ("vcr2-users", lambda reply: wire_account.read_users(reply)[0].email, "user@example.com"),
    (
        "vcr2-pipedrive-endpoints-webhooks-post-webhooks-subscription-url-only-returns-result-object-with-json-response-1",
        lambda reply: len(wire_account.read_users(reply)),
        1,
    ),
]


@pytest.mark.parametrize(("name", "read", "expected"), READABLE, ids=[row[0] for row in READABLE])
def test_a_recorded_answer_is_read(name: str, read: Read, expected: Any) -> None:
    _, reply = recorded(name)
    value = read(reply)
    assert value
    if expected is not None:
        assert value == expected


def test_the_account_is_the_company_whoever_signed_in() -> None:
    assert wire_account.read_account(recorded("vcr2-users-me")[1]) == Account(
        id="3408256",
        name="Saleskick-Sandbox",
        timezone="Europe/Warsaw",
        currency="USD",
        ui_origin="https://saleskick-sandbox.pipedrive.com",
    )


def test_pages_of_both_versions_say_where_they_go_on() -> None:
    assert wire.read_rows(recorded("vcr2-more-activities-1")[1]).after == "1"
    assert wire.read_rows(recorded("nango-deals")[1]).after is None
    assert wire.read_rows(recorded("nango-stages")[1]).after is None
    assert wire.read_rows(recorded("vcr-recents-all-when-success-returns-a-list-of-recent-changes")[1]).after == "100"


def test_people_have_their_numbers_and_their_names_in_two() -> None:
    rows = wire.read_rows(recorded("nango-persons")[1]).results
    jane = wire_people.read_contact(Kind.CONTACT, rows[0], account=None, region="US")
    assert (jane.first_name, jane.last_name, jane.email) == ("Jane", "Smith", "jane.smith@acme.com")
    assert [(held.e164, held.label) for held in jane.phones] == [("+14155551234", "phone")]
    assert (jane.owner.id if jane.owner else "", jane.company.name if jane.company else "") == ("25760681", "Acme Corp")
    changed = wire.read_row(recorded("nango-update-person")[1])
    assert (changed.value("first_name"), changed.value("last_name")) == ("Updated", "Person Name via Action")
    assert changed.entries("phones") == []  # an empty one, as v1 has them, is none


def test_pipelines_have_their_stages_in_order() -> None:
    pipelines = wire.read_rows(recorded("nango-pipelines")[1]).results
    stages = wire.read_rows(recorded("nango-stages")[1]).results
    found = {one.id: one for one in wire_account.read_pipelines(pipelines, stages)}
    labels = [stage.label for stage in found["1"].stages]
    assert labels[:2] == ["Qualified Lead Updated", "Contact Made"]
    assert [(stage.id, stage.closed, stage.won) for stage in found["1"].stages[-2:]] == [
        ("won", True, True),
        ("lost", True, False),
    ]


def test_deleted_deals_are_among_recent_changes() -> None:
    page = wire.read_rows(recorded("vcr-recents-all-when-success-returns-a-list-of-recent-changes")[1])
    deals = wire.Rows(tuple(one for one in page.results if one.value("item") == "deal"))
    gone = wire_changes.read_deletions(deals, Kind.DEAL)
    assert gone
    assert all(change.happened is Happened.DELETED for change in gone)
    assert "3" in {change.id for change in gone}


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("nango-delete-person", {"gone": True, "status": 410}),
    ("vcr-activities-create-when-fails-return-success-false", {"gone": False, "status": 400}),
    ("vcr-activities-update-when-not-found-returns-success-false", {"gone": True}),
    ("vcr-dealfields-create-when-fails-return-success-false-2", {"gone": False, "field": "name"}),
    ("vcr-dealfields-delete-when-fails-returns-success-false-2", {}),
    ("vcr-dealfields-update-when-fails-return-success-false-2", {"gone": False}),
    ("vcr-deals-create-when-fails-return-success-false", {"gone": False, "field": "title"}),
    ("vcr-deals-delete-when-fails-returns-success-false", {"gone": True, "status": 410}),
    ("vcr-deals-find-when-fails-return-success-false", {"gone": True}),
    ("vcr-deals-followers-when-not-found-return-data-nil", {"gone": True}),
    ("vcr-deals-merge-when-fails-return-success-false", {"gone": False}),
    ("vcr-deals-update-when-not-found-returns-success-false", {"gone": True}),
    ("vcr-deals-activities-when-fails-return-success-false", {}),
    ("vcr-dealfields-find-when-fails-return-success-false-2", {}),
    ("vcr-organizations-find-when-fails-return-success-false", {"gone": True}),
    ("vcr-organizations-update-when-fails-return-success-false", {"gone": False, "field": None}),
    ("vcr-webhooks-delete-when-fails-returns-success-false", {"gone": True}),
]


@pytest.mark.parametrize(("name", "carries"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_recorded_refusal_says_what_to_do(name: str, carries: dict[str, Any]) -> None:
    request, reply = recorded(name)
    error = wire_errors.read_error(request, reply)
    assert type(error) is Rejected
    assert {attribute: getattr(error, attribute) for attribute in carries} == carries
    if not json.loads(reply.body).get("success"):  # a 410 that says success is refused by its status
        with pytest.raises(UnexpectedReply):
            wire.read(reply)


UNKNOWN_ROUTES = [
    "vcr-deals-files-when-fails-return-success-false",
    "vcr-deals-participants-when-fails-return-success-false",
    "vcr-deals-permitted-users-when-fails-return-success-false",
]


@pytest.mark.parametrize("name", UNKNOWN_ROUTES)
def test_a_route_that_is_not_there_is_ours_to_mend(name: str) -> None:
    error: ConnectorError = wire_errors.read_error(*recorded(name))
    assert type(error) is UnexpectedReply


def test_a_recorded_token_is_read() -> None:
    _, reply = recorded("vcr2-token-refresher-1")
    token = wire_errors.read_token(reply.status, reply.headers, reply.body)
    assert (token.access_token, token.refresh_token) == ("new_access_token", "new_refresh_token")
    assert token.expires_in == timedelta(seconds=3599)
    assert "contacts:read" in token.scopes


def test_recorded_headers_say_what_is_left() -> None:
    burst, day = wire_errors.read_limits(*recorded("nango-get-deal"))
    assert (burst.bucket, burst.limit, burst.remaining) == ("api", 80, 79)
    assert (day.bucket, day.limit, day.remaining) == ("daily", 150000, 148051)
    assert wire_errors.read_limits(*recorded("nango-create-lead")) == ()  # a service of its own, counting for itself


NOW = datetime(2026, 11, 23, tzinfo=UTC)
SECRET = "s-1"


def noticed(name: str) -> list[Change]:
    pair = base64.b64encode(f"gateway:{SECRET}".encode()).decode()
    body = json.dumps(kept(name)["body"]).encode()
    notice = Notice(method="POST", url="https://g.example/x", headers={"authorization": f"Basic {pair}"}, body=body)
    return list(wire_changes.read_changes(notice, SECRET, NOW))


def test_a_recorded_notification_is_read() -> None:
    (change,) = noticed("webhook-v2-lead-change-application")
    assert (change.kind, change.id, change.happened) == (
        Kind.LEAD,
        "123456789-1234-1234-1234-123456789012",
        Happened.CHANGED,
    )
    assert (change.account, change.at) == ("12345678", datetime(2025, 6, 19, 16, 7, 36, 754000, tzinfo=UTC))


@pytest.mark.parametrize(
    "name",
    [
        "webhook-v1-webhook_deal_create",
        "webhook-v1-webhook_deal_update",
        "webhook-v1-webhook_person_update",
        "webhook-v1-webhook_person_update_import",
    ],
)
def test_notifications_of_the_first_version_say_nothing_and_break_nothing(name: str) -> None:
    assert noticed(name) == []


def test_every_recorded_answer_is_in_a_table() -> None:
    """A new recording must not lie around unread."""
    elsewhere = {
        "vcr2-users-me", "vcr2-token-refresher-1", "webhook-v2-lead-change-application", *UNKNOWN_ROUTES,
        *(f"webhook-v1-webhook_{name}" for name in ("deal_create", "deal_update", "person_update", "person_update_import")),
    }  # fmt: skip
    known = {each[0] for each in READABLE} | {each[0] for each in REFUSED} | elsewhere
    files = {file.stem for file in (FOLDER / RECORDED).glob("*.json")}
    assert files - known == {"vcr-deals-delete-many-when-success-returns-success-true"}  # a route we do not call
