"""Every way Pipedrive says no, as what to do next: each row of the fact sheet's table, and what it is not sure about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.crm.pipedrive.wire_errors import BLOCKED, read_error, read_limits, read_token, retry_after, scopes_for
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

READ = Request(method="GET", path="/api/v2/persons/1", cost=1)
WRITE = Request(method="POST", path="/api/v2/activities", writes=True, cost=5)
SEARCH = Request(method="GET", path="/api/v2/itemSearch", bucket="search", cost=20)
PAGE = b"<!DOCTYPE html><html><head><title>Attention Required! | Cloudflare</title></head></html>"


def reply(status: int, body: Any = b"", **headers: str) -> Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(
        status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}, body=content
    )


@pytest.mark.parametrize(
    ("status", "body", "for_a_read", "for_a_write"),
    [
        (300, b"", UnexpectedReply, OutcomeUnknown),
        (302, b"", UnexpectedReply, OutcomeUnknown),
        (400, {"success": False, "error": "Deal title must be given.", "data": None}, Rejected, Rejected),
        (400, PAGE, Rejected, Rejected),
        (401, {"success": False, "error": "unauthorized access", "errorCode": 401}, ReconnectNeeded, ReconnectNeeded),
        (401, b"", ReconnectNeeded, ReconnectNeeded),
        (402, {"success": False, "error": "Payment required"}, ReconnectNeeded, ReconnectNeeded),
        (403, {"success": False, "error": "Scope and URL mismatch", "errorCode": 403}, Rejected, Rejected),
        (403, {"success": False, "message": "Forbidden"}, Rejected, Rejected),
        (403, {"success": False, "code": "feature_capping_deals_limit"}, Rejected, Rejected),
        (403, PAGE, RateLimited, RateLimited),
        (404, {"success": False, "error": "Person not found"}, Rejected, Rejected),
        (404, {"status": False, "error": "Unknown method ."}, UnexpectedReply, Rejected),
        (405, b"", Rejected, Rejected),
        (408, b"", Unavailable, OutcomeUnknown),
        (410, {"success": True, "data": {"id": 11}}, Rejected, Rejected),
        (415, b"", Rejected, Rejected),
        (422, {"success": False, "error": "limit of webhooks"}, Rejected, Rejected),
        (429, {"success": False, "error": "Request over limit", "errorCode": 429}, RateLimited, RateLimited),
        (429, PAGE, RateLimited, RateLimited),
        (501, b"", Rejected, Rejected),
        *((status, PAGE, Unavailable, OutcomeUnknown) for status in (500, 502, 503, 504, 521)),
    ],
)
def test_each_status_says_what_to_do(
    status: int, body: Any, for_a_read: type[ConnectorError], for_a_write: type[ConnectorError]
) -> None:
    """A 5xx may come after the commit, and Pipedrive takes no key that would make a second try harmless."""
    assert type(read_error(READ, reply(status, body))) is for_a_read
    error = read_error(WRITE, reply(status, body))
    assert type(error) is for_a_write
    assert error.status == status


@pytest.mark.parametrize(
    ("status", "body", "gone"),
    [
        (404, {"success": False, "error": "Person not found"}, True),
        (404, {"status": "error", "success": False, "errors": {"id": ["not found"]}}, True),
        (410, {"success": True, "data": {"id": 11}}, True),
        (404, {"status": False, "error": "Unknown method ."}, False),
    ],
)
def test_a_route_that_is_gone_is_no_record_that_is_gone(status: int, body: Any, gone: bool) -> None:
    """v1 routes may go without notice; taking that for deleted people would make all of them anew."""
    error = read_error(WRITE, reply(status, body))
    assert isinstance(error, Rejected)
    assert error.gone is gone


@pytest.mark.parametrize(
    ("request_", "headers", "wait", "policy"),
    [
        (READ, {}, 2, "api"),
        (READ, {"x_ratelimit_reset": "1"}, 1, "api"),
        (SEARCH, {"x_ratelimit_reset": "2", "x_daily_ratelimit_token_remaining": "900"}, 2, "search"),
        (READ, {"x_ratelimit_reset": "1778840900"}, 2, "api"),  # a point in time, as leads answer
        (READ, {"retry_after": "7", "x_ratelimit_reset": "1"}, 7, "api"),
        (READ, {"x_daily_ratelimit_token_remaining": "0"}, 3600, "DAILY"),
        (SEARCH, {"x_daily_ratelimit_token_remaining": "19"}, 3600, "DAILY"),  # less than this request costs
        (READ, {"x_daily_ratelimit_token_remaining": "0", "retry_after": "99999999"}, 86400, "DAILY"),
        (READ, {"x_ratelimit_reset": "soon", "retry_after": "-3"}, 2, "api"),
    ],
)
def test_a_limit_says_which_and_how_long(request_: Request, headers: dict[str, str], wait: int, policy: str) -> None:
    error = read_error(request_, reply(429, {"success": False}, **headers))
    assert isinstance(error, RateLimited)
    assert (error.retry_after, error.policy) == (timedelta(seconds=wait), policy)


def test_cloudflares_page_stops_everything_for_minutes() -> None:
    """Whoever goes on is shut out for longer; it is no missing right, which a tenant could mend."""
    error = read_error(READ, reply(403, PAGE, content_type="text/html"))
    assert isinstance(error, RateLimited)
    assert error.retry_after == BLOCKED >= timedelta(minutes=5)  # a minute and more stops the whole account


PERSON = "secret.person@example.com"
HASH = "946947d1b02fd3ef20798d6112ec5d895a686a21"


@pytest.mark.parametrize(
    ("status", "body", "field", "says"),
    [
        (400, {"error": "Deal title must be given."}, "title", "“title”"),
        (400, {"error": f"custom_fields.{HASH} is not valid: {PERSON}"}, HASH, HASH),
        (400, {"error": f"bad {PERSON}", "code": "ERR_SCHEMA_VALIDATION_FAILED"}, None, "ERR_SCHEMA_VALIDATION_FAILED"),
        (400, {"status": "error", "errors": {"subscription_url": ["invalid"]}}, "subscription_url", "subscription_url"),
        (400, {"errors": {PERSON: ["x"]}, "code": PERSON}, None, "did not accept the request"),
        (400, {"message": "owner_id is inactive"}, "owner_id", "owner_id"),
        (400, {"error": 7, "errors": [PERSON]}, None, "did not accept"),
        (403, {"error": "job_title cannot be set"}, "job_title", "may not do this"),
        (403, {"code": "feature_capping_deals_limit"}, None, "plan takes no more"),
        (422, b"[]", None, "did not accept"),
    ],
)
def test_a_refusal_names_the_field_and_nobody(status: int, body: Any, field: str | None, says: str) -> None:
    error = read_error(WRITE, reply(status, body))
    assert isinstance(error, Rejected)
    assert error.field == field
    assert says in error.reason
    assert PERSON not in error.reason


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/api/v2/persons/1", "contacts:full"),
        ("PATCH", "/api/v2/persons/1", "contacts:full"),
        ("POST", "/api/v2/personFields", "contact-fields:full"),
        ("GET", "/api/v2/itemSearch", "search:read"),
        ("POST", "/api/v2/activities", "activities:full"),
        ("POST", "/api/v1/leads", "leads:full"),
        ("GET", "/api/v1/webhooks", "admin"),
        ("GET", "/api/v1/users", "users:read"),
    ],
)
def test_a_missing_scope_is_named_although_the_refusal_does_not(method: str, path: str, scope: str) -> None:
    request = Request(method=method, path=path, writes=method != "GET")
    error = read_error(request, reply(403, {"error": "Scope and URL mismatch", "errorCode": 403}))
    assert isinstance(error, Rejected)
    assert error.scopes == (scope,) == scopes_for(request)
    assert scope in error.reason


GRANT = {
    "access_token": "at",
    "token_type": "Bearer",
    "expires_in": 3599,
    "refresh_token": "rt",
    "scope": "base,contacts:full",
    "api_domain": "https://aurora.pipedrive.com",
}


@pytest.mark.parametrize(
    ("status", "body", "expected", "says"),
    [
        (400, {"success": False, "message": "Invalid grant: refresh_token is invalid"}, ReconnectNeeded, "has ended"),
        (400, {"error": "Invalid grant: authorization_code has expired"}, ReconnectNeeded, "has ended"),
        (401, {"success": False, "message": "Invalid grant: refresh_token is invalid"}, ReconnectNeeded, "has ended"),
        (400, {"error": "invalid_grant", "error_description": "x"}, ReconnectNeeded, "has ended"),
        (401, {"success": False, "message": "Invalid client: client is invalid"}, Unavailable, "client id"),
        (400, {"error": "invalid_client"}, Unavailable, "client id"),
        (400, {"message": "Invalid request: redirect_uri is invalid"}, Unavailable, "callback"),
        (400, {}, Unavailable, "no token"),
        (401, b"", Unavailable, "no token"),
        (403, PAGE, Unavailable, "no token"),
        (429, {"message": "Invalid grant"}, Unavailable, "no token"),
        (500, {"message": "Invalid grant"}, Unavailable, "no token"),
        (201, GRANT, Unavailable, "no token"),
        (200, {"success": False, "message": "x"}, Unavailable, "no token"),
        (200, {"access_token": ""}, Unavailable, "no token"),
        (200, PAGE, Unavailable, "no token"),
    ],
)
def test_only_a_lost_grant_asks_the_tenant_to_sign_in(
    status: int, body: Any, expected: type[ConnectorError], says: str
) -> None:
    """Refusals have no `error` member as the standard wants it: a library's own check finds nothing wrong with them."""
    with pytest.raises(expected) as raised:
        read_token(status, {}, reply(status, body).body)
    assert type(raised.value) is expected
    assert says in str(raised.value)


def test_a_token_is_read_with_the_companys_address() -> None:
    token = read_token(200, {}, json.dumps(GRANT).encode())
    assert (token.access_token, token.refresh_token, token.expires_in) == ("at", "rt", timedelta(seconds=3599))
    assert token.scopes == ("base", "contacts:full")
    assert token.extra["api_domain"] == "https://aurora.pipedrive.com"


def test_headers_teach_burst_and_day() -> None:
    said = reply(
        200,
        {},
        x_ratelimit_limit="160",
        x_ratelimit_remaining="150",
        x_ratelimit_reset="2",
        x_daily_ratelimit_token_limit="150000",
        x_daily_ratelimit_token_remaining="147002",
    )
    burst, day = read_limits(READ, said)
    assert (burst.bucket, burst.limit, burst.remaining, burst.per) == ("api", 160, 150, timedelta(seconds=2))
    assert (day.bucket, day.limit, day.remaining, day.per) == ("daily", 150000, 147002, timedelta(days=1))
    assert [left.bucket for left in read_limits(SEARCH, said)] == ["api", "daily"]
    ten = reply(200, {}, x_ratelimit_limit="10", x_ratelimit_remaining="9", x_ratelimit_reset="2")
    assert [left.bucket for left in read_limits(SEARCH, ten)] == ["search"]
    assert read_limits(READ, reply(200, {}, x_ratelimit_limit="80")) == ()
    of_leads = reply(200, {}, x_ratelimit_limit="5000", x_ratelimit_remaining="1", x_ratelimit_reset="1778840900")
    assert read_limits(READ, of_leads) == ()


@given(
    st.sampled_from([READ, WRITE, SEARCH]),
    st.integers(300, 599),
    st.binary(max_size=200)
    | st.fixed_dictionaries(
        {},
        optional={
            name: st.none() | st.text() | st.integers() | st.lists(st.text()) | st.dictionaries(st.text(), st.text())
            for name in ("success", "message", "error", "errors", "errorCode", "code", "status", "error_info")
        },
    ).map(lambda value: json.dumps(value).encode()),
    st.dictionaries(
        st.sampled_from(["retry-after", "x-ratelimit-reset", "x-ratelimit-limit", "x-daily-ratelimit-token-remaining"]),
        st.text(),
    ),
)
def test_any_answer_becomes_an_instruction(
    request_: Request, status: int, body: bytes, headers: Mapping[str, str]
) -> None:
    answer = Reply(status=status, headers=headers, body=body)
    error = read_error(request_, answer)
    assert error.status == status
    assert not isinstance(error, OutcomeUnknown) or request_.writes
    read_limits(request_, answer)
    wait = retry_after(headers)
    assert wait is None or timedelta(0) <= wait <= timedelta(days=1)
