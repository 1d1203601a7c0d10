"""Salesforce's sign-in as it is in 2026: PKCE demanded, refresh tokens that rotate, no word on how long a token lives."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from connectors.crm.salesforce.manifest import MANIFEST
from connectors.crm.salesforce.wire_errors import read_token
from connectors.errors import ConnectorError, ReconnectNeeded, Unavailable
from tests.connectors.sandbox.salesforce.world import World
from tests.connectors.sandbox.world import Told

VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
CALLBACK = "http://127.0.0.1:8000/oauth/callback/salesforce"
APP = {"client_id": "sandbox-client", "client_secret": "sandbox-secret"}
ASKED = {
    "response_type": "code",
    "client_id": "sandbox-client",
    "redirect_uri": CALLBACK,
    "scope": "api refresh_token",
    "state": "s-1",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


def authorize(world: World, method: str = "GET", **more: str | None) -> Told:
    query = {name: value for name, value in {**ASKED, **more}.items() if value is not None}
    if method == "POST":
        return world.ask("POST", MANIFEST.authorize_path, token="", form=urlencode(query))
    return world.ask("GET", f"{MANIFEST.authorize_path}?{urlencode(query)}", token="")


def back(told: Told) -> dict[str, str]:
    assert told.status == 302
    return {name: values[-1] for name, values in parse_qs(urlsplit(told.headers["location"]).query).items()}


def token(world: World, **form: str) -> Told:
    return world.ask("POST", MANIFEST.token_path, token="", form=urlencode({**APP, **form}))


def exchange(world: World, **more: str) -> Told:
    code = back(authorize(world, auto="approve"))["code"]
    return token(
        world,
        **{
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": VERIFIER,
            **more,
        },
    )


def refresh(world: World, refresh_token: str) -> Told:
    return token(world, grant_type="refresh_token", refresh_token=refresh_token)


def refused(told: Told) -> ConnectorError:
    with pytest.raises(ConnectorError) as caught:
        read_token(told.status, told.headers, json.dumps(told.body).encode())
    return caught.value


def test_a_person_says_yes_or_no_on_a_page(world: World) -> None:
    page = authorize(world)
    assert (page.status, "Allow" in page.body, "refresh_token" in page.body) == (200, True, True)
    second = list(world.vendor.orgs)[1]
    granted = back(authorize(world, "POST", decision="approve", org=second))
    assert granted["state"] == "s-1"
    told = token(
        world, grant_type="authorization_code", code=granted["code"], redirect_uri=CALLBACK, code_verifier=VERIFIER
    )
    assert f"/{second}/" in told.body["id"]
    assert back(authorize(world, "POST", decision="deny"))["error"] == "access_denied"


def test_a_token_says_where_the_org_is_and_not_how_long_it_lives(world: World) -> None:
    told = exchange(world)
    assert told.status == 200
    body = told.body
    assert set(body) == {
        "access_token",
        "refresh_token",
        "signature",
        "scope",
        "instance_url",
        "id",
        "token_type",
        "issued_at",
    }
    assert body["instance_url"] == "http://127.0.0.1:9001"
    signed = hmac.digest(b"sandbox-secret", (body["id"] + body["issued_at"]).encode(), hashlib.sha256)
    assert base64.b64decode(body["signature"]) == signed
    read = read_token(200, told.headers, json.dumps(body).encode())
    assert (read.expires_in, read.scopes, read.extra[MANIFEST.origin_field]) == (
        None,
        ("api", "refresh_token"),
        body["instance_url"],
    )
    assert world.ask("GET", "limits", token=read.access_token).status == 200
    me = world.ask("GET", "/services/oauth2/userinfo", token=read.access_token).body
    assert (me["organization_id"], me["user_id"]) == (world.org.id, world.org.user)


def test_a_refresh_token_works_once(world: World) -> None:
    """Two workers that renew at once lose the connection: whoever comes second holds a dead token."""
    first = exchange(world).body["refresh_token"]
    renewed = refresh(world, first)
    assert renewed.status == 200
    assert renewed.body["refresh_token"] != first
    late = refresh(world, first)
    assert (late.status, late.body) == (
        400,
        {"error": "invalid_grant", "error_description": "expired access/refresh token"},
    )
    assert isinstance(refused(late), ReconnectNeeded)
    assert refresh(world, renewed.body["refresh_token"]).status == 200


def test_a_grant_that_lies_idle_is_gone(world: World) -> None:
    kept = exchange(world).body["refresh_token"]
    world.later(timedelta(days=29).total_seconds())
    kept = refresh(world, kept).body["refresh_token"]
    world.later(timedelta(days=31).total_seconds())
    assert isinstance(refused(refresh(world, kept)), ReconnectNeeded)


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "api everything"}, "invalid_scope"),
    ],
)
def test_what_is_wrong_with_the_question_comes_back_with_the_browser(
    world: World, more: dict[str, Any], error: str
) -> None:
    assert back(authorize(world, **more))["error"] == error


@pytest.mark.parametrize("more", [{"client_id": "another"}, {"redirect_uri": "https://evil.example/cb"}])
def test_nobody_is_sent_to_a_stranger(world: World, more: dict[str, str]) -> None:
    told = authorize(world, **more)
    assert (told.status, "location" in told.headers) == (400, False)


@pytest.mark.parametrize(
    ("more", "error", "kind"),
    [
        ({"code_verifier": "w" * 64}, "invalid_grant", ReconnectNeeded),
        ({"code": "nothing"}, "invalid_grant", ReconnectNeeded),
        ({"redirect_uri": "http://127.0.0.1/other"}, "redirect_uri_mismatch", Unavailable),
        ({"client_secret": "wrong"}, "invalid_client", Unavailable),
        ({"client_id": "wrong"}, "invalid_client_id", Unavailable),
        ({"grant_type": "password"}, "unsupported_grant_type", Unavailable),
    ],
)
def test_a_code_that_does_not_fit_is_refused(
    world: World, more: dict[str, str], error: str, kind: type[Exception]
) -> None:
    told = exchange(world, **more)
    assert (told.status, told.body["error"]) == (400, error)
    assert isinstance(refused(told), kind)


def test_a_code_is_good_for_fifteen_minutes_and_once(world: World) -> None:
    code = back(authorize(world, auto="approve"))["code"]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    assert token(world, **form).status == 200
    assert token(world, **form).body["error"] == "invalid_grant"
    late = back(authorize(world, auto="approve"))["code"]
    world.later(901)
    assert token(world, **{**form, "code": late}).body["error_description"] == "expired authorization code"


def test_a_revoked_grant_ends_everything(world: World) -> None:
    body = exchange(world).body
    asked = {"token": body["access_token"], "token_type_hint": "access_token", **APP}
    described = world.ask("POST", "/services/oauth2/introspect", token="", form=urlencode(asked)).body
    assert (described["active"], described["scope"]) == (True, "api refresh_token")
    assert described["exp"] > described["nbf"]
    assert world.ask("POST", "/services/oauth2/revoke", token="", form=f"token={body['refresh_token']}").status == 200
    assert world.ask("GET", "limits", token=body["access_token"]).status == 401
    assert world.ask("POST", "/services/oauth2/introspect", token="", form=urlencode(asked)).body == {"active": False}
    assert world.ask("POST", "/services/oauth2/revoke", token="", form="token=nothing").status == 400


def test_a_session_ends_after_two_hours_and_says_no_more_than_that(world: World) -> None:
    access = exchange(world).body["access_token"]
    world.later(7_201)
    told = world.ask("GET", "limits", token=access)
    assert (told.status, told.body) == (
        401,
        [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}],
    )
