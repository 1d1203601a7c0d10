"""Every row of the error table (vendors/salesforce.md §8): what Salesforce sends, and what it asks us to do."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.crm.salesforce.wire_errors import (
    AlreadyExists,
    Denied,
    Halted,
    classified,
    complaints,
    read_error,
    read_limits,
    read_token,
)
from connectors.errors import (
    ConnectorError,
    OutcomeUnknown,
    RateLimited,
    ReconnectNeeded,
    Rejected,
    Unavailable,
    UnexpectedReply,
)
from connectors.request import Reply, Request

READ = Request(method="GET", path="/services/data/v66.0/query")
WRITE = Request(method="POST", path="/services/data/v66.0/composite", writes=True)


def refusal(code: str, message: str = "Nachricht in der Sprache des Benutzers", **more: Any) -> list[dict[str, Any]]:
    return [{"errorCode": code, "message": message, **more}]


def error_of(request: Request, status: int, body: Any, **headers: str) -> ConnectorError:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_error(request, Reply(status=status, headers=headers, body=content))


TABLE: list[tuple[int, str, type[ConnectorError], type[ConnectorError]]] = [  # status, code, read, write
    (401, "INVALID_SESSION_ID", ReconnectNeeded, ReconnectNeeded),
    (403, "REQUEST_LIMIT_EXCEEDED", RateLimited, RateLimited),
    (403, "INSUFFICIENT_ACCESS_OR_READONLY", Rejected, Rejected),
    (403, "INSUFFICIENT_ACCESS", Rejected, Rejected),
    (400, "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", Rejected, Rejected),
    (403, "API_DISABLED_FOR_ORG", Rejected, Rejected),
    (403, "API_CURRENTLY_DISABLED", Rejected, Rejected),
    (400, "UNABLE_TO_LOCK_ROW", Unavailable, Unavailable),
    (409, "UNABLE_TO_LOCK_ROW", Unavailable, Unavailable),
    (400, "QUERY_TIMEOUT", Unavailable, Unavailable),
    (400, "REQUEST_RUNNING_TOO_LONG", Unavailable, Unavailable),
    (500, "UNKNOWN_EXCEPTION", Unavailable, OutcomeUnknown),
    (503, "SERVER_UNAVAILABLE", Unavailable, OutcomeUnknown),
    (504, "REQUEST_RUNNING_TOO_LONG", Unavailable, OutcomeUnknown),
    (420, "UNKNOWN_CODE", Unavailable, OutcomeUnknown),
    (400, "REQUIRED_FIELD_MISSING", Rejected, Rejected),
    (400, "INVALID_FIELD", Rejected, Rejected),
    (400, "INVALID_FIELD_FOR_INSERT_UPDATE", Rejected, Rejected),
    (400, "STRING_TOO_LONG", Rejected, Rejected),
    (400, "INVALID_EMAIL_ADDRESS", Rejected, Rejected),
    (400, "FIELD_CUSTOM_VALIDATION_EXCEPTION", Rejected, Rejected),
    (400, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", Rejected, Rejected),
    (400, "INACTIVE_OWNER_OR_USER", Rejected, Rejected),
    (400, "MALFORMED_QUERY", Rejected, Rejected),
    (400, "MALFORMED_SEARCH", Rejected, Rejected),
    (400, "MALFORMED_ID", Rejected, Rejected),
    (400, "JSON_PARSER_ERROR", Rejected, Rejected),
    (400, "CANNOT_UPDATE_CONVERTED_LEAD", Rejected, Rejected),
    (400, "DUPLICATE_VALUE", AlreadyExists, AlreadyExists),
    (400, "DUPLICATES_DETECTED", AlreadyExists, AlreadyExists),
    (404, "NOT_FOUND", Rejected, Rejected),
    (400, "ENTITY_IS_DELETED", Rejected, Rejected),
    (400, "INVALID_CROSS_REFERENCE_KEY", Rejected, Rejected),
    (409, "CONFLICT_OF_SOME_KIND", Rejected, Rejected),
    (412, "PRECONDITION_FAILED", Rejected, Rejected),
    (415, "UNSUPPORTED_MEDIA_TYPE", Rejected, Rejected),
    (428, "PRECONDITION_REQUIRED", Rejected, Rejected),
    (410, "UNSUPPORTED_API_VERSION", Rejected, Rejected),
    (400, "PROCESSING_HALTED", Halted, Halted),
    (400, "A_CODE_OF_NEXT_YEAR", Rejected, Rejected),
]


@pytest.mark.parametrize(("status", "code", "read", "written"), TABLE, ids=[f"{row[0]} {row[1]}" for row in TABLE])
def test_a_code_says_what_to_do(
    status: int, code: str, read: type[ConnectorError], written: type[ConnectorError]
) -> None:
    for request, expected in ((READ, read), (WRITE, written)):
        error = error_of(request, status, refusal(code))
        assert isinstance(error, expected)
        assert "Nachricht" not in error.reason, "messages quote values and names"
        assert error.status == status


@pytest.mark.parametrize(
    ("status", "read", "written"),
    [
        (300, Rejected, Rejected),  # several records with one external id
        (302, UnexpectedReply, OutcomeUnknown),
        (304, UnexpectedReply, OutcomeUnknown),
        (401, ReconnectNeeded, ReconnectNeeded),
        (403, Unavailable, Unavailable),  # a page of whatever stands in front
        (404, Rejected, Rejected),
        (408, Unavailable, OutcomeUnknown),
        (414, Rejected, Rejected),
        (420, Unavailable, OutcomeUnknown),
        (429, Unavailable, Unavailable),
        (500, Unavailable, OutcomeUnknown),
        (502, Unavailable, OutcomeUnknown),
        (503, Unavailable, OutcomeUnknown),
        (504, Unavailable, OutcomeUnknown),
    ],
)
def test_a_page_where_json_was_due_is_judged_by_its_status(
    status: int, read: type[ConnectorError], written: type[ConnectorError]
) -> None:
    """Salesforce's edge answers with HTML during maintenance; so does every proxy."""
    page = b"<html><head><title>We are down for maintenance.</title></head></html>"
    assert isinstance(error_of(READ, status, page), read)
    assert isinstance(error_of(WRITE, status, page), written)


def test_a_page_that_is_not_there_is_no_record_that_is_gone() -> None:
    """A 404 page of a proxy, believed, would delete a customer from the mirror."""
    error = error_of(READ, 404, b"<html>Not here</html>")
    assert isinstance(error, Rejected)
    assert not error.gone


def test_what_is_gone_is_said_to_be_gone() -> None:
    for status, code in ((404, "NOT_FOUND"), (404, "ENTITY_IS_DELETED"), (400, "ENTITY_IS_DELETED")):
        error = error_of(READ, status, refusal(code))
        assert isinstance(error, Rejected)
        assert error.gone
    elsewhere = error_of(WRITE, 400, refusal("INVALID_CROSS_REFERENCE_KEY"))
    assert isinstance(elsewhere, Rejected)
    assert not elsewhere.gone, "it may be hidden by sharing"


@pytest.mark.parametrize(
    ("message", "headers", "policy", "wait"),
    [
        ("TotalRequests Limit exceeded.", {}, "DAILY", timedelta(hours=1)),
        ("ConcurrentRequests (Concurrent API Requests) Limit exceeded.", {}, "concurrent", timedelta(seconds=5)),
        ("ConcurrentPerOrgLongTxn Limit exceeded.", {}, "concurrent", timedelta(seconds=5)),
        ("Limite dépassée.", {"sforce-limit-info": "api-usage=15000/15000"}, "DAILY", timedelta(hours=1)),
        ("Limite dépassée.", {"sforce-limit-info": "api-usage=120/15000"}, "concurrent", timedelta(seconds=5)),
        ("Limite dépassée.", {}, "DAILY", timedelta(hours=1)),
        ("TotalRequests Limit exceeded.", {"retry-after": "7"}, "DAILY", timedelta(seconds=7)),
    ],
)
def test_one_code_for_two_limits(message: str, headers: dict[str, str], policy: str, wait: timedelta) -> None:
    error = error_of(WRITE, 403, refusal("REQUEST_LIMIT_EXCEEDED", message), **headers)
    assert isinstance(error, RateLimited)
    assert (error.policy, error.retry_after) == (policy, wait)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (refusal("REQUIRED_FIELD_MISSING", fields=["CloseDate"]), "CloseDate"),
        (refusal("STRING_TOO_LONG", fields=["FirstName"]), "FirstName"),
        (refusal("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", fields=["Tier__c"]), "Tier__c"),
        (refusal("INVALID_FIELD", "No such column 'Tier__c' on sobject of type Contact"), "Tier__c"),
        ([{"success": False, "errors": [{"statusCode": "INVALID_EMAIL_ADDRESS", "message": "x", "fields": ["Email"]}]}], "Email"),
        (refusal("FIELD_CUSTOM_VALIDATION_EXCEPTION", fields=[]), None),
        (refusal("STRING_TOO_LONG", fields=["<script>"]), None),
        (refusal("STRING_TOO_LONG", fields="Name"), None),
    ],
)  # fmt: skip
def test_a_complaint_names_its_field(body: Any, field: str | None) -> None:
    """So that the tenant sees which line of the mapping to change."""
    error = error_of(WRITE, 400, body)
    assert isinstance(error, Denied)
    assert error.field == field
    assert "<" not in error.reason


@pytest.mark.parametrize("key", ["duplicateResut", "duplicateResult"])
def test_a_duplicate_rule_names_whom_it_found(key: str) -> None:
    """The vendor has misspelt the key for years; a corrected one must not stop us."""
    found = {"matchResults": [{"matchRecords": [{"record": {"Id": "003000000000001AAA"}}]}]}
    error = error_of(WRITE, 400, [{"errorCode": "DUPLICATES_DETECTED", "message": "x", key: found}])
    assert isinstance(error, AlreadyExists)
    assert error.existing == "003000000000001AAA"


def test_several_duplicates_are_for_a_person_to_decide() -> None:
    """Taking the first would one day read one customer's data to another."""
    records = [{"record": {"Id": f"00300000000000{n}AAA"}} for n in (1, 2)]
    found = {"matchResults": [{"matchRecords": records}]}
    error = error_of(WRITE, 400, [{"errorCode": "DUPLICATES_DETECTED", "message": "x", "duplicateResut": found}])
    assert isinstance(error, AlreadyExists)
    assert error.existing is None
    assert "several" in error.reason


def test_a_unique_value_names_its_holder() -> None:
    message = "duplicate value found: Gateway_Key__c duplicates value on record with id: 003000000000001"
    error = error_of(WRITE, 400, refusal("DUPLICATE_VALUE", message, fields=[]))
    assert isinstance(error, AlreadyExists)
    assert error.existing == "003000000000001"


@given(st.integers(300, 599), st.one_of(st.binary(max_size=60), st.recursive(
    st.none() | st.booleans() | st.text(max_size=8) | st.integers(), lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["errorCode", "errors", "message", "fields", "duplicateResut", "matchResults"]), inner),
)), st.booleans())  # fmt: skip
def test_nothing_that_comes_back_breaks_the_reading(status: int, body: Any, writes: bool) -> None:
    error = error_of(WRITE if writes else READ, status, body)
    assert isinstance(error, ConnectorError)
    if not isinstance(body, bytes):
        complaints(body)
        classified(status, body, writes=writes)


# ── limits and tokens ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("api-usage=101/15000", (15_000, 14_899)),
        ("api-usage=25/5000; per-app-api-usage=17/250(appName=sample-connected-app)", (5_000, 4_975)),
        ("per-app-api-usage=17/250(appName=x); api-usage=25/5000", (5_000, 4_975)),
        ("api-usage=15100/15000", (15_000, 0)),
        ("api-usage=1/0", None),
        ("api-usage=x/15000", None),
        ("", None),
    ],
)
def test_the_days_allowance_is_read_from_every_answer(header: str, expected: tuple[int, int] | None) -> None:
    left = read_limits(READ, Reply(status=200, headers={"sforce-limit-info": header}, body=b""))
    assert [(one.bucket, one.limit, one.remaining, one.per) for one in left] == (
        [("api", *expected, timedelta(days=1))] if expected else []
    )


GRANTED = {
    "access_token": "00D!x",
    "instance_url": "https://a.my.salesforce.com",
    "issued_at": "1",
    "scope": "api refresh_token",
}


def test_a_token_says_where_and_not_how_long() -> None:
    token = read_token(200, {}, json.dumps({**GRANTED, "refresh_token": "5Aep"}).encode())
    assert (token.access_token, token.refresh_token, token.expires_in) == ("00D!x", "5Aep", None)
    assert token.extra["instance_url"] == "https://a.my.salesforce.com"
    assert token.scopes == ("api", "refresh_token")
    assert read_token(200, {}, json.dumps(GRANTED).encode()).refresh_token is None


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("refresh_token api", ("refresh_token", "api")),
        ("offline_access full", ("refresh_token", "full", "api")),
        ("offline_access refresh_token api", ("refresh_token", "api")),
    ],
)
def test_a_scope_by_its_other_name_is_not_missing(given: str, meant: tuple[str, ...]) -> None:
    assert read_token(200, {}, json.dumps({**GRANTED, "scope": given}).encode()).scopes == meant


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, "invalid_grant", ReconnectNeeded),
        (400, "inactive_user", ReconnectNeeded),
        (400, "inactive_org", ReconnectNeeded),
        (400, "invalid_client_id", Unavailable),
        (400, "invalid_client", Unavailable),
        (400, "redirect_uri_mismatch", Unavailable),
        (400, "unsupported_grant_type", Unavailable),
        (400, "rate_limit_exceeded", Unavailable),
        (400, "unknown_error", Unavailable),
        (429, "invalid_grant", Unavailable),
        (503, "invalid_grant", Unavailable),
    ],
)
def test_a_refused_token_is_the_grant_or_something_else(
    status: int, error: str, expected: type[ConnectorError]
) -> None:
    """Taking our own wrong secret for a lost grant would ask every tenant to sign in again."""
    body = json.dumps({"error": error, "error_description": "expired access/refresh token"}).encode()
    with pytest.raises(expected):
        read_token(status, {}, body)


def test_a_page_is_no_token() -> None:
    with pytest.raises(Unavailable):
        read_token(200, {}, b"<html>Maintenance</html>")
