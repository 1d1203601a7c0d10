"""Signing in at Zoho: the data centre in the callback, errors of status 200, and tokens that are rationed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import msgspec
import pytest

from connectors.crm.zoho.manifest import MANIFEST
from connectors.request import Request
from connectors.sandbox.face import Answer, Call
from connectors.sandbox.zoho import Org, create_app
from tests.connectors.crm.zoho.world import World, make_world
from tests.connectors.sandbox.world import served

CALLBACK = "http://127.0.0.1:8000/oauth/callback/zoho"
APP = {"client_id": "sandbox-client", "client_secret": "sandbox-secret"}
ASKED = {
    "response_type": "code",
    "client_id": "sandbox-client",
    "redirect_uri": CALLBACK,
    "scope": ",".join(MANIFEST.scopes),
    "state": "st at/e",
    "access_type": "offline",
    "prompt": "consent",
}


def ask(world: World, method: str, path: str, form: Mapping[str, str], query: Mapping[str, str]) -> Answer:
    raw = urlencode(query)
    return world.vendor.answer(
        Call(
            method=method,
            path=path,
            query=parse_qs(raw, keep_blank_values=True),
            raw_query=raw,
            headers={"host": "127.0.0.1:9999"},
            body=urlencode(form).encode(),
            now=world.clock(),
        )
    )


def callback(world: World, **changes: str) -> dict[str, str]:
    answer = ask(world, "GET", "/oauth/v2/auth", {}, {**ASKED, "auto": "approve", **changes})
    assert answer.status == 302, answer.body
    location = dict(answer.headers)["location"]
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


def token(world: World, **form: str) -> tuple[int, dict[str, Any]]:
    answer = ask(world, "POST", "/oauth/v2/token", {**APP, **form}, {})
    return answer.status, msgspec.json.decode(answer.body)


def exchanged(world: World, **changes: str) -> dict[str, Any]:
    code = callback(world, **changes)["code"]
    return token(world, grant_type="authorization_code", code=code, redirect_uri=CALLBACK)[1]


def test_the_callback_names_the_data_centre(world: World) -> None:
    told = callback(world)
    assert (told["accounts-server"], told["location"]) == ("http://127.0.0.1:9999", "eu")
    assert told["state"] == "st at/e"
    assert told["code"]


def test_a_token_says_where_it_is_good(world: World) -> None:
    told = exchanged(world)
    assert told["api_domain"] == "http://127.0.0.1:9999"
    assert (told["token_type"], told["expires_in"]) == ("Bearer", 3600)  # and is to be sent as Zoho-oauthtoken
    assert told["access_token"].startswith("1000.")
    assert told["refresh_token"].startswith("1000.")


@pytest.mark.parametrize("changes", [{"access_type": "online"}, {"prompt": ""}])
def test_without_asking_for_it_there_is_no_refresh_token(world: World, changes: dict[str, str]) -> None:
    assert "refresh_token" not in exchanged(world, **changes)


def test_a_refresh_gives_no_new_refresh_token(world: World) -> None:
    first = exchanged(world)
    status, again = token(world, grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert status == 200
    assert "refresh_token" not in again
    assert again["access_token"] != first["access_token"]


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"client_id": "other"}, "invalid_client"),
        ({"client_secret": "wrong"}, "invalid_client_secret"),
        ({"code": "1000.made.up"}, "invalid_code"),
        ({"redirect_uri": CALLBACK + "/"}, "invalid_redirect_uri"),
        ({"grant_type": "password"}, "general_error"),
        ({"grant_type": "refresh_token", "refresh_token": "1000.made.up"}, "invalid_code"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusals_have_status_200(world: World, form: dict[str, str], error: str) -> None:
    right = {"grant_type": "authorization_code", "code": callback(world)["code"], "redirect_uri": CALLBACK}
    assert token(world, **{**right, **form}) == (200, {"error": error})


def test_a_code_works_once_and_not_for_long(world: World) -> None:
    code = {"grant_type": "authorization_code", "code": callback(world)["code"], "redirect_uri": CALLBACK}
    assert "access_token" in token(world, **code)[1]
    assert token(world, **code)[1] == {"error": "invalid_code"}
    late = {**code, "code": callback(world)["code"]}
    world.clock.advance(timedelta(minutes=3))
    assert token(world, **late)[1] == {"error": "invalid_code"}


def test_ten_tokens_in_ten_minutes_and_none_for_the_rest_of_them() -> None:
    world = make_world(limits=True)
    refresh = {"grant_type": "refresh_token", "refresh_token": exchanged(world)["refresh_token"]}
    for _ in range(9):  # the exchange was one
        assert "access_token" in token(world, **refresh)[1]
    status, told = token(world, **refresh)
    assert (status, told["error"], told["status"]) == (400, "Access Denied", "failure")
    world.clock.advance(timedelta(minutes=10, seconds=1))
    assert "access_token" in token(world, **refresh)[1]


def test_the_twenty_first_sign_in_silently_ends_the_oldest() -> None:
    world = make_world(limits=True)
    refreshes = []
    for _ in range(20):  # one grant was there
        refreshes.append(exchanged(world)["refresh_token"])
        world.clock.advance(timedelta(minutes=1))
    assert world.grant.alive is False
    assert "access_token" in token(world, grant_type="refresh_token", refresh_token=refreshes[0])[1]
    exchanged(world)
    assert token(world, grant_type="refresh_token", refresh_token=refreshes[0])[1] == {"error": "invalid_code"}


def test_revoking_ends_the_access_tokens_too(world: World) -> None:
    first = exchanged(world)
    assert world.answered(Request(method="GET", path="/crm/v8/org"), token=first["access_token"]).status == 200
    answer = ask(world, "POST", "/oauth/v2/token/revoke", {}, {"token": first["refresh_token"]})
    assert msgspec.json.decode(answer.body) == {"status": "success"}
    assert world.answered(Request(method="GET", path="/crm/v8/org"), token=first["access_token"]).status == 401


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"client_id": "other"}, "Invalid Client Id"),
        ({"redirect_uri": "https://evil.example/cb"}, "Redirect URI"),
        ({"scope": "ZohoCRM.modules.contacts.READ,ZohoMail.messages.READ"}, "ZohoMail.messages.READ"),
        ({"scope": " ".join(MANIFEST.scopes)}, "Scope does not exist"),  # blanks instead of commas
        ({"org": "1"}, "no such organisation"),
    ],
    ids=["app", "redirect", "scope", "blanks", "organisation"],
)
def test_what_cannot_be_granted_is_a_page_and_never_a_redirect(world: World, changes: dict[str, str], why: str) -> None:
    answer = ask(world, "GET", "/oauth/v2/auth", {}, {**ASKED, "auto": "approve", **changes})
    assert answer.status == 400
    assert "location" not in dict(answer.headers)
    assert why in answer.body.decode()


def test_denied_goes_back_with_the_reason_alone(world: World) -> None:
    assert callback(world, auto="deny") == {"error": "access_denied", "state": "st at/e"}


def test_a_person_walks_the_page() -> None:
    """As a browser does: read the page, choose the second organisation, press the button, follow the redirect."""
    app = create_app(Org("1", "Aurora Demo SA"), Org("2", "Borealis <Test> GmbH"), limits=False)
    with served(app) as origin, httpx2.Client(verify=False, base_url=origin) as browser:
        page = browser.get("/oauth/v2/auth", params=ASKED)
        assert page.status_code == 200
        assert "Borealis &lt;Test&gt; GmbH" in page.text
        assert 'name="state" value="st at/e"' in page.text
        sent = browser.post("/oauth/v2/auth", data={**ASKED, "org": "2", "decision": "approve"})
        told = parse_qs(urlsplit(sent.headers["location"]).query)
        assert told["accounts-server"] == [origin]
        form = {**APP, "grant_type": "authorization_code", "code": told["code"][0], "redirect_uri": CALLBACK}
        given = browser.post("/oauth/v2/token", data=form).json()
        scheme = {"authorization": f"Zoho-oauthtoken {given['access_token']}"}
        assert browser.get("/crm/v8/org", headers=scheme).json()["org"][0]["zgid"] == "2"
        assert (
            browser.get("/crm/v8/org", headers={"authorization": f"Bearer {given['access_token']}"}).status_code == 401
        )
