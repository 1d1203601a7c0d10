"""Every way HubSpot says no, as what to do next. The recorded ones stand in test_recorded.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.crm.hubspot.wire_errors import AlreadyExists, read_error, read_limits, read_token, retry_after
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

READ = Request(method="GET", path="/crm/objects/2026-09/contacts/1")
WRITE = Request(method="POST", path="/crm/objects/2026-09/calls", writes=True)
SEARCH = Request(method="POST", path="/crm/objects/2026-09/contacts/search", bucket="search")


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
        (400, b"<html>", Rejected, Rejected),
        (401, {"category": "INVALID_AUTHENTICATION"}, ReconnectNeeded, ReconnectNeeded),
        (401, {"category": "EXPIRED_AUTHENTICATION"}, Unavailable, Unavailable),
        (401, b"", ReconnectNeeded, ReconnectNeeded),
        (403, {"message": "You do not have permissions to edit object type CONTACT"}, Rejected, Rejected),
        (403, {"category": "BANNED"}, Rejected, Rejected),
        (403, b"<html>blocked</html>", Unavailable, Unavailable),
        (404, b"<html>", Rejected, Rejected),
        (405, b"", Rejected, Rejected),
        (408, b"", Unavailable, OutcomeUnknown),
        (409, {"category": "CONFLICT"}, AlreadyExists, AlreadyExists),
        (414, b"", Rejected, Rejected),
        (415, b"", Rejected, Rejected),
        (423, b"", Unavailable, Unavailable),
        (429, b"<html>", RateLimited, RateLimited),
        (477, b"", Unavailable, Unavailable),
        *((status, b"<html>", Unavailable, OutcomeUnknown) for status in (500, 502, 503, 504, 521, 523, 524)),
    ],
)
def test_each_status_says_what_to_do(
    status: int, body: Any, for_a_read: type[ConnectorError], for_a_write: type[ConnectorError]
) -> None:
    """A 5xx may come after the commit: for a write it is no failure, it is not knowing."""
    assert type(read_error(READ, reply(status, body))) is for_a_read
    error = read_error(WRITE, reply(status, body))
    assert type(error) is for_a_write
    assert error.status == status


@pytest.mark.parametrize(
    ("request_", "body", "headers", "wait", "policy"),
    [
        (SEARCH, {"message": "You have reached your secondly limit.", "category": "RATE_LIMITS"}, {}, 1, "search"),
        (READ, {"errorType": "RATE_LIMIT", "policyName": "TEN_SECONDLY_ROLLING"}, {}, 10, "TEN_SECONDLY_ROLLING"),
        (READ, {"policyName": "DAILY"}, {}, 3600, "DAILY"),
        (READ, {"policyName": "SECONDLY"}, {"retry_after": "3"}, 3, "SECONDLY"),
        (READ, {"policyName": {"x": 1}}, {"retry_after": "soon"}, 1, "api"),
        (READ, [], {"retry_after": "99999999"}, 86400, "api"),
    ],
)
def test_a_limit_says_how_long(request_: Request, body: Any, headers: dict[str, str], wait: int, policy: str) -> None:
    error = read_error(request_, reply(429, body, **headers))
    assert isinstance(error, RateLimited)
    assert (error.retry_after, error.policy) == (timedelta(seconds=wait), policy)


def test_a_moving_or_locked_account_is_waited_for() -> None:
    moving = read_error(WRITE, reply(477, b"", retry_after="7200"))
    locked = read_error(WRITE, reply(423))
    assert isinstance(moving, Unavailable)
    assert isinstance(locked, Unavailable)
    assert (moving.retry_after, locked.retry_after) == (timedelta(hours=2), timedelta(seconds=2))


PERSON = "secret.person@example.com"


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        (
            {
                "message": f'Property values were not valid: [{{"error":"INVALID_EMAIL","name":"email","message":"{PERSON}"}}]'
            },
            "email",
            "is not an e-mail address",
        ),
        (
            {"message": 'Property values were not valid: [{"error":"PROPERTY_DOESNT_EXIST","name":"no_such"}]'},
            "no_such",
            "does not exist in this HubSpot account",
        ),
        (
            {
                "errors": [
                    {"code": "INVALID_OPTION", "context": {"propertyName": ["lifecyclestage"]}, "message": PERSON}
                ]
            },
            "lifecyclestage",
            "has no such option",
        ),
        ({"errors": [{"code": "BRAND_NEW_CODE", "context": {"propertyName": ["x"]}}]}, "x", "BRAND_NEW_CODE"),
        (
            {
                "message": "Some required properties were not set.",
                "context": {"properties": ["hs_legal_basis", "email"]},
            },
            "hs_legal_basis",
            "requires a value for: hs_legal_basis, email",
        ),
        ({"category": "VALIDATION_ERROR", "message": f"{PERSON} is odd"}, None, "VALIDATION_ERROR"),
        ({"message": "[{ no json }]", "errors": "nonsense", "context": 7}, None, "did not accept"),
        ({"errors": [{"code": PERSON, "context": {"propertyName": [PERSON]}}]}, None, "did not accept"),
    ],
)
def test_a_refused_value_names_the_field_and_nobody(body: Any, field: str | None, says: str) -> None:
    error = read_error(WRITE, reply(400, body))
    assert isinstance(error, Rejected)
    assert error.field == field
    assert says in error.reason
    assert PERSON not in error.reason


@pytest.mark.parametrize(
    ("status", "body", "field", "existing"),
    [
        (409, {"message": "Contact already exists. Existing ID: 777"}, None, "777"),
        (400, {"message": "Contact already exists. Existing ID: 777"}, None, "777"),
        (
            400,
            {
                "message": "Cannot set PropertyValueCoordinates{portalId=1, objectTypeId=0-48, propertyName=gateway_key, "
                "value=k-1} on 5. 1234 already has that value."
            },
            "gateway_key",
            "1234",
        ),
        (400, {"errors": [{"code": "CONFLICTING_UNIQUE_VALUE", "context": {"propertyName": ["gateway_key"]}}]}, "gateway_key", None),
        (409, {}, None, None),
    ],
)  # fmt: skip
def test_what_exists_already_is_told_apart(status: int, body: Any, field: str | None, existing: str | None) -> None:
    """It is the second try of a write that went through: no failure at all."""
    error = read_error(WRITE, reply(status, body))
    assert isinstance(error, AlreadyExists)
    assert (error.field, error.existing) == (field, existing)


GRANT = {"access_token": "at", "refresh_token": "rt", "expires_in": 1800, "scopes": ["oauth"], "hub_id": 62515}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, {"error": "invalid_grant", "status": "BAD_REFRESH_TOKEN"}, ReconnectNeeded),
        (400, {"status": "BAD_REFRESH_TOKEN"}, ReconnectNeeded),
        (400, {"status": "BAD_AUTH_CODE"}, ReconnectNeeded),
        (400, {"error": "access_denied", "status": "BAD_HUB"}, ReconnectNeeded),
        (400, {"error": "invalid_client", "status": "BAD_CLIENT_SECRET"}, Unavailable),
        (400, {"status": "BAD_REDIRECT_URI"}, Unavailable),
        (400, {}, Unavailable),
        (400, b"<html>", Unavailable),
        (429, {"error": "invalid_grant"}, Unavailable),
        (423, {"status": "BAD_REFRESH_TOKEN"}, Unavailable),
        (477, b"", Unavailable),
        (500, {"error": "invalid_grant"}, Unavailable),
        (201, GRANT, Unavailable),
        (429, GRANT, Unavailable),
        (200, {"access_token": ""}, Unavailable),
        (200, b"", Unavailable),
    ],
)
def test_only_a_lost_grant_asks_the_tenant_to_sign_in(status: int, body: Any, expected: type[ConnectorError]) -> None:
    """A limit at the token endpoint once cost connections that were perfectly good."""
    with pytest.raises(expected) as raised:
        read_token(status, {}, reply(status, body).body)
    assert type(raised.value) is expected


def test_a_token_is_read() -> None:
    token = read_token(200, {}, json.dumps(GRANT).encode())
    assert (token.access_token, token.refresh_token, token.expires_in) == ("at", "rt", timedelta(minutes=30))
    assert (token.scopes, token.extra) == (("oauth",), {"hub_id": 62515})


@given(
    st.sampled_from([READ, WRITE, SEARCH]),
    st.integers(300, 599),
    st.binary(max_size=200)
    | st.fixed_dictionaries(
        {},
        optional={
            name: st.none()
            | st.text()
            | st.integers()
            | st.lists(st.text())
            | st.lists(st.dictionaries(st.text(), st.text()))
            for name in ("message", "category", "errors", "context", "policyName", "status")
        },
    ).map(lambda value: json.dumps(value).encode()),
    st.dictionaries(
        st.sampled_from(["retry-after", "x-hubspot-ratelimit-max", "x-hubspot-ratelimit-remaining"]), st.text()
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
