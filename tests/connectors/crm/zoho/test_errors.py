"""Every way Zoho says no, as what to do next: each row of its error table, and what strangers in between answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.crm.zoho.wire_composite import together
from connectors.crm.zoho.wire_coql import equals, select
from connectors.crm.zoho.wire_errors import (
    AlreadyExists,
    ChangedMeanwhile,
    Converted,
    NotExecuted,
    NotModified,
    PlaceLost,
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

READ = Request(method="GET", path="/crm/v8/Contacts/7328395000000680001")
WRITE = Request(method="POST", path="/crm/v8/Calls", json={"data": [{}]}, writes=True)


def reply(status: int, body: Any = b"", **headers: str) -> Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status=status, headers={name.replace("_", "-"): text for name, text in headers.items()}, body=content)


def error(code: str, message: str = "told", **details: Any) -> dict[str, Any]:
    return {"code": code, "details": details, "message": message, "status": "error"}


def in_data(code: str, message: str = "told", **details: Any) -> dict[str, Any]:
    return {"data": [error(code, message, **details)]}


@pytest.mark.parametrize(
    ("status", "body", "for_a_read", "for_a_write"),
    [
        (302, b"", UnexpectedReply, OutcomeUnknown),
        (304, b"", NotModified, NotModified),
        (400, in_data("INVALID_DATA", api_name="Phone"), Rejected, Rejected),
        (400, in_data("MANDATORY_NOT_FOUND", api_name="Last_Name"), Rejected, Rejected),
        (400, in_data("DUPLICATE_DATA", api_name="Email"), AlreadyExists, AlreadyExists),
        *(
            (400, error(code), Rejected, Rejected)
            for code in (
                *("INVALID_MODULE", "REQUIRED_PARAM_MISSING", "EXPECTED_PARAM_MISSING", "LIMIT_EXCEEDED"),
                *("NOT_APPROVED", "INVALID_QUERY", "SYNTAX_ERROR", "LIMIT_REACHED", "INVALID_REQUEST_METHOD"),
                *("AUTHORIZATION_FAILED", "DISCRETE_PAGINATION_LIMIT_EXCEEDED", "PAGINATION_LIMIT_EXCEEDED"),
            )
        ),
        (400, in_data("RECORD_LOCKED"), Unavailable, Unavailable),
        (400, error("EXPIRED_VALUE"), PlaceLost, PlaceLost),
        (400, error("TOKEN_BOUND_DATA_MISMATCH"), PlaceLost, PlaceLost),
        (400, error("ID_ALREADY_CONVERTED", resource_path_index=1), Converted, Converted),
        (400, b"<html>", Rejected, Rejected),
        (401, error("INVALID_TOKEN", "invalid oauth token"), ReconnectNeeded, ReconnectNeeded),
        (401, error("AUTHENTICATION_FAILURE"), ReconnectNeeded, ReconnectNeeded),
        (401, error("OAUTH_SCOPE_MISMATCH", "Unauthorized"), Rejected, Rejected),
        (401, b"", ReconnectNeeded, ReconnectNeeded),
        (403, error("NO_PERMISSION", permissions=["Crm_Implied_View_Leads"]), Rejected, Rejected),
        (403, error("FEATURE_NOT_SUPPORTED"), Rejected, Rejected),
        (403, b"<html>blocked</html>", Unavailable, Unavailable),
        (404, error("INVALID_URL_PATTERN"), Rejected, Rejected),
        (404, error("RESOURCE_NOT_FOUND"), Rejected, Rejected),
        (404, b"<html>", Rejected, Rejected),
        (408, b"", Unavailable, OutcomeUnknown),
        (412, in_data("ALREADY_MODIFIED"), ChangedMeanwhile, ChangedMeanwhile),
        (412, b"", ChangedMeanwhile, ChangedMeanwhile),
        (429, error("TOO_MANY_REQUESTS"), RateLimited, RateLimited),
        (429, error("RATE_LIMIT_EXCEEDED"), RateLimited, RateLimited),
        (429, b"<html>", RateLimited, RateLimited),
        (500, error("INTERNAL_ERROR"), Unavailable, OutcomeUnknown),
        (502, error("SERVICE_UNAVAILABLE"), Unavailable, OutcomeUnknown),
        (503, b"<html>", Unavailable, OutcomeUnknown),
        (504, b"", Unavailable, OutcomeUnknown),
    ],
)
def test_each_refusal_says_what_to_do(
    status: int, body: Any, for_a_read: type[ConnectorError], for_a_write: type[ConnectorError]
) -> None:
    for request, expected in ((READ, for_a_read), (WRITE, for_a_write)):
        said = read_error(request, reply(status, body))
        assert type(said) is expected
        assert said.status == status


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        (in_data("INVALID_DATA", api_name="Subject", maximum_length=255), "Subject", "too long (Zoho takes 255)"),
        (
            in_data("INVALID_DATA", api_name="Stage", expected_data_type="picklist", supported_values=["Open"]),
            "Stage",
            "no such option",
        ),
        (in_data("INVALID_DATA", api_name="Amount", expected_data_type="double"), "Amount", "of the type double"),
        (in_data("MANDATORY_NOT_FOUND", api_name="Company"), "Company", "must have a value"),
        (error("REQUIRED_PARAM_MISSING", param_name="fields"), "fields", "must have a value"),
        (in_data("MAPPING_MISMATCH", api_name="Stage"), "Stage", "does not fit"),
        (
            in_data("EXPECTED_FIELD_MISSING", expected_fields=[{"api_name": "Note_Content", "json_path": "$"}]),
            "Note_Content",
            "must have a value",
        ),
        (
            in_data("MULTIPLE_OR_MULTI_ERRORS", errors=[error("MANDATORY_NOT_FOUND", api_name="Last_Name")]),
            "Last_Name",
            "must have a value",
        ),
        (error("SYNTAX_ERROR", near="select"), None, "(SYNTAX_ERROR)"),
        (error("<b>odd</b>"), None, "did not accept"),
    ],
)
def test_a_rejection_names_the_field_and_why(body: Any, field: str | None, words: str) -> None:
    refused = read_error(WRITE, reply(400, body))
    assert isinstance(refused, Rejected)
    assert refused.field == field
    assert words in refused.reason
    assert not refused.gone


@pytest.mark.parametrize(
    "body",
    [
        in_data("INVALID_DATA", "the id given seems to be invalid", id="1"),
        error("INVALID_DATA", "the id given seems to be invalid", resource_path_index=1),
        in_data("INVALID_DATA", "invalid data", api_name="id", json_path="$.data[0].id"),
        error("RESOURCE_NOT_FOUND"),
        error("NOT_SUBSCRIBED"),
    ],
)
def test_what_is_gone_is_told_from_what_is_wrong(body: Any) -> None:
    refused = read_error(WRITE, reply(400, body))
    assert isinstance(refused, Rejected)
    assert refused.gone


@pytest.mark.parametrize(
    ("details", "existing"),
    [
        ({"api_name": "Email", "duplicate_record": {"id": "7328395000000680001", "module": {}}}, "7328395000000680001"),
        ({"api_name": "Email", "id": "7328395000000680002"}, "7328395000000680002"),
        ({"api_name": "Email"}, None),
        ({"api_name": "Email", "id": "../../etc"}, None),
    ],
)
def test_a_double_names_the_record_that_is_there(details: Mapping[str, Any], existing: str | None) -> None:
    refused = read_error(WRITE, reply(400, in_data("DUPLICATE_DATA", **details)))
    assert isinstance(refused, AlreadyExists)
    assert (refused.field, refused.existing) == ("Email", existing)


def test_several_errors_at_once_are_a_double_if_one_of_them_is() -> None:
    errors = [error("MANDATORY_NOT_FOUND", api_name="X"), error("DUPLICATE_DATA", api_name="Gateway_Key", id="12")]
    refused = read_error(WRITE, reply(400, in_data("MULTIPLE_OR_MULTI_ERRORS", errors=errors)))
    assert isinstance(refused, AlreadyExists)
    assert refused.existing == "12"


@pytest.mark.parametrize(
    ("answer", "wait", "policy"),
    [
        (reply(429, error("TOO_MANY_REQUESTS", "Too many requests fired in concurrent.")), 2, "api"),
        (reply(429, error("TOO_MANY_REQUESTS", "API credits for 24 hours are used up")), 3600, "DAILY"),
        (reply(429, error("TOO_MANY_REQUESTS", "wait"), x_api_credits_remaining="0"), 3600, "DAILY"),
        (reply(429, error("TOO_MANY_REQUESTS", "wait"), retry_after="7"), 7, "api"),
        (reply(429, error("TOO_MANY_REQUESTS", "wait"), retry_after="soon"), 2, "api"),
    ],
)
def test_one_code_stands_for_two_limits(answer: Reply, wait: int, policy: str) -> None:
    limited = read_error(READ, answer)
    assert isinstance(limited, RateLimited)
    assert (limited.retry_after, limited.policy) == (timedelta(seconds=wait), policy)


@pytest.mark.parametrize(
    ("request_", "scopes"),
    [
        (READ, {"ZohoCRM.modules.contacts.READ"}),
        (WRITE, {"ZohoCRM.modules.calls.CREATE"}),
        (
            Request(method="GET", path="/crm/v8/Leads/search"),
            {"ZohoCRM.modules.leads.READ", "ZohoSearch.securesearch.READ"},
        ),
        (select(["id"], "Deals", equals("id", "1")), {"ZohoCRM.coql.READ", "ZohoCRM.modules.deals.READ"}),
        (
            together([WRITE, Request(method="POST", path="/crm/v8/Contacts/1/actions/add_tags", json={})]),
            {"ZohoCRM.composite_requests.CUSTOM", "ZohoCRM.modules.calls.CREATE", "ZohoCRM.settings.tags.ALL"},
        ),
        (Request(method="POST", path="/crm/v8/settings/fields"), {"ZohoCRM.settings.fields.CREATE"}),
        (Request(method="PATCH", path="/crm/v8/actions/watch"), {"ZohoCRM.notifications.UPDATE"}),
        (Request(method="GET", path="/crm/v8/Contacts/1/Notes"), {"ZohoCRM.modules.notes.READ"}),
        (Request(method="GET", path="/elsewhere"), set()),
    ],
)
def test_a_missing_scope_is_named_though_zoho_does_not(request_: Request, scopes: set[str]) -> None:
    refused = read_error(request_, reply(401, error("OAUTH_SCOPE_MISMATCH")))
    assert isinstance(refused, Rejected)
    assert set(refused.scopes) == scopes


@pytest.mark.parametrize("code", ["INVALID_REFERENCE", "PROCESSING_STOPPED", "ROLLBACK_PERFORMED"])
def test_a_part_that_was_not_carried_out_may_be_sent_again(code: str) -> None:
    assert isinstance(read_error(WRITE, reply(400, {"__composite_requests": [error(code)]})), NotExecuted)


@given(
    st.integers(300, 599),
    st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("error"),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["code", "details", "message", "status", "data", "x"]), inner)
            ),
            max_leaves=12,
        ).map(lambda value: json.dumps(value).encode()),
    ),
)
def test_nothing_that_comes_breaks_the_reading_or_shows(status: int, body: bytes) -> None:
    for request in (READ, WRITE):
        said = read_error(request, reply(status, body))
        assert isinstance(said, ConnectorError)
        assert len(said.reason) < 300


def test_messages_of_zohos_are_not_repeated() -> None:
    """They quote what people wrote."""
    told = in_data("INVALID_DATA", "invalid value: +41 44 668 18 00 of Aurélie", api_name="Phone")
    refused = read_error(WRITE, reply(400, told))
    assert "668" not in refused.reason
    assert "Aur" not in refused.reason


def test_credits_are_learnt_when_half_of_them_is_spent() -> None:
    assert read_limits(READ, reply(200, b"{}")) == ()
    (left,) = read_limits(READ, reply(200, b"{}", x_api_credits_remaining="1200"))
    assert (left.bucket, left.remaining, left.per) == ("credits", 1200, timedelta(days=1))
    assert left.limit == 50_000
    (more,) = read_limits(READ, reply(200, b"{}", x_api_credits_remaining="2000000"))
    assert more.limit == 2_000_000
    assert read_limits(READ, reply(200, b"{}", x_api_credits_remaining="many")) == ()


# ── tokens ──────────────────────────────────────────────────────────────────────────────────────────────────────────

GIVEN = {"access_token": "1000.aa", "api_domain": "https://www.zohoapis.eu", "token_type": "Bearer", "expires_in": 3600}


def test_a_token_is_read_with_where_it_is_good() -> None:
    token = read_token(200, {}, json.dumps({**GIVEN, "refresh_token": "1000.bb", "scope": "A B,C"}).encode())
    assert (token.access_token, token.refresh_token, token.expires_in) == ("1000.aa", "1000.bb", timedelta(hours=1))
    assert token.extra["api_domain"] == "https://www.zohoapis.eu"
    assert token.scopes == ("A", "B", "C")


def test_a_refresh_without_a_new_refresh_token_leaves_the_old_one() -> None:
    assert read_token(200, {}, json.dumps(GIVEN).encode()).refresh_token is None


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        (200, {"error": "invalid_code"}, ReconnectNeeded),
        (200, {"error": "access_denied"}, ReconnectNeeded),
        (200, {"error": "invalid_client"}, Unavailable),
        (200, {"error": "invalid_client_secret"}, Unavailable),
        (200, {"error": "invalid_redirect_uri"}, Unavailable),
        (200, {"error": "general_error"}, Unavailable),
        (200, {"access_token": ""}, Unavailable),
        (200, [], Unavailable),
        (400, {"error": "Access Denied", "error_description": "too many requests", "status": "failure"}, Unavailable),
        (429, {}, Unavailable),
        (500, {"access_token": "1000.aa"}, Unavailable),
    ],
)
def test_an_error_of_status_200_is_no_token(status: int, answer: Any, expected: type[ConnectorError]) -> None:
    with pytest.raises(expected) as refused:
        read_token(status, {}, json.dumps(answer).encode())
    if "Access Denied" in str(answer):  # not a reason to disconnect: ten minutes later it answers again
        assert isinstance(refused.value, Unavailable)
        assert refused.value.retry_after == timedelta(minutes=10)
