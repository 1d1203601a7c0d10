"""Connecting: what a person sees, what a script gets, and every way it can fail."""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest

from connectors.sandbox.hubspot import Portal
from tests.connectors.sandbox.world import SCOPES, Told, World, make_world

CALLBACK = "http://127.0.0.1:8000/oauth/callback/hubspot"
APP = {"client_id": "sandbox-client", "client_secret": "sandbox-secret"}
TOKEN = "/oauth/2026-09/token"


def _authorize(world: World, **changes: str) -> str:
    asked = {"client_id": "sandbox-client", "redirect_uri": CALLBACK, "scope": "oauth crm.objects.contacts.read"}
    return "/oauth/authorize?" + urlencode({**asked, "state": "st at/e", "auto": "approve", **changes})


def _code(world: World, **changes: str) -> str:
    told = world.ask("GET", _authorize(world, **changes), token="")
    assert told.status == 302, told.body
    return parse_qs(urlsplit(told.headers["location"]).query)["code"][0]


def _exchange(world: World, sent: str, **changes: str) -> Told:
    form = {"grant_type": "authorization_code", "code": sent, "redirect_uri": CALLBACK, **APP, **changes}
    return world.ask("POST", TOKEN, form=urlencode(form), token="")


def _refresh(world: World, token: str) -> Told:
    form = {"grant_type": "refresh_token", "refresh_token": token, **APP}
    return world.ask("POST", TOKEN, form=urlencode(form), token="")


def test_a_person_walks_the_page(live: World) -> None:
    """As a browser does: read the page, choose the second account, press the button, follow the redirect."""
    with httpx2.Client(verify=False, base_url=live.origin) as browser:
        page = browser.get(_authorize(live, auto="", scope=" ".join(SCOPES)))
        assert page.status_code == 200
        assert "Borealis Test GmbH" in page.text
        assert 'name="state" value="st at/e"' in page.text
        form = {"client_id": "sandbox-client", "redirect_uri": CALLBACK, "scope": "oauth", "state": "st at/e"}
        sent = browser.post("/oauth/authorize", data={**form, "hub_id": "62516", "decision": "approve"})
    back = urlsplit(sent.headers["location"])
    assert sent.status_code == 302
    assert f"{back.scheme}://{back.netloc}{back.path}" == CALLBACK
    assert parse_qs(back.query)["state"] == ["st at/e"]
    told = _exchange(live, parse_qs(back.query)["code"][0])
    assert told.body["hub_id"] == 62516


def test_tokens_look_as_hubspots(world: World) -> None:
    told = _exchange(world, _code(world, scope="oauth crm.objects.contacts.read"))
    assert told.status == 200
    assert (told.body["token_type"], told.body["expires_in"], told.body["hub_id"]) == ("bearer", 1800, 62515)
    assert told.body["scopes"] == ["oauth", "crm.objects.contacts.read"]
    assert "scope" not in told.body
    assert len(told.body["access_token"]) > 300


def test_consent_denied_goes_back_with_the_reason(world: World) -> None:
    told = world.ask("GET", _authorize(world, auto="deny"), token="")
    query = parse_qs(urlsplit(told.headers["location"]).query)
    assert query["error"] == ["access_denied"]
    assert query["state"] == ["st at/e"]
    assert "code" not in query


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"client_id": "someone-else"}, "no app with this client ID"),
        ({"redirect_uri": "https://evil.example/cb"}, "not one that this app has registered"),
        ({"scope": "oauth crm.objects.calls.write"}, "no such scopes: crm.objects.calls.write"),
        ({"scope": ""}, "names no scope"),
        ({"hub_id": "1"}, "no such account"),
        ({"code_challenge": "x", "code_challenge_method": "plain"}, "S256"),
    ],
    ids=["app", "redirect", "scope of calls", "no scope", "account", "plain PKCE"],
)
def test_what_cannot_be_granted_is_a_page_and_never_a_redirect(world: World, changes: dict[str, str], why: str) -> None:
    told = world.ask("GET", _authorize(world, **changes), token="")
    assert told.status == 400
    assert "location" not in told.headers
    assert why in told.body


def test_registered_addresses_are_compared_whole() -> None:
    world = make_world(redirect_uris=["https://gateway.example/oauth/callback/hubspot"])
    assert world.ask("GET", _authorize(world), token="").status == 400
    right = {"redirect_uri": "https://gateway.example/oauth/callback/hubspot"}
    assert world.ask("GET", _authorize(world, **right), token="").status == 302


def test_a_code_works_once(world: World) -> None:
    code = _code(world)
    assert _exchange(world, code).status == 200
    assert _exchange(world, code).body["status"] == "BAD_AUTH_CODE"


def test_a_code_grows_old(world: World) -> None:
    code = _code(world)
    world.later(301)
    assert _exchange(world, code).body["status"] == "BAD_AUTH_CODE"


@pytest.mark.parametrize(
    ("changes", "error", "status"),
    [
        ({"client_id": "other"}, "invalid_client", "BAD_CLIENT_ID"),
        ({"client_secret": "wrong"}, "invalid_client", "BAD_CLIENT_SECRET"),
        ({"redirect_uri": CALLBACK + "/"}, "invalid_grant", "BAD_REDIRECT_URI"),
        ({"code": "made-up"}, "invalid_grant", "BAD_AUTH_CODE"),
        ({"grant_type": "password"}, "unsupported_grant_type", "BAD_GRANT_TYPE"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused_exchanges_say_why(world: World, changes: dict[str, str], error: str, status: str) -> None:
    told = _exchange(world, _code(world), **changes)
    assert (told.status, told.body["error"], told.body["status"]) == (400, error, status)
    assert "category" not in told.body


def test_credentials_count_in_the_body_only(world: World) -> None:
    form = urlencode({"grant_type": "refresh_token", "refresh_token": "x"})
    basic = {"authorization": "Basic " + base64.b64encode(b"sandbox-client:sandbox-secret").decode()}
    told = world.ask("POST", f"{TOKEN}?{urlencode(APP)}", form=form, token="", headers=basic)
    assert told.body["status"] == "BAD_CLIENT_ID"


def test_pkce_is_verified_when_it_was_begun(world: World) -> None:
    verifier = "v" * 43
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    begun = {"code_challenge": challenge, "code_challenge_method": "S256"}
    assert _exchange(world, _code(world, **begun)).status == 400
    assert _exchange(world, _code(world, **begun), code_verifier="w" * 43).status == 400
    assert _exchange(world, _code(world, **begun), code_verifier=verifier).status == 200


def test_refreshing_keeps_the_refresh_token_and_the_old_access_token(world: World) -> None:
    first = _exchange(world, _code(world)).body
    second = _refresh(world, first["refresh_token"]).body
    assert second["refresh_token"] == first["refresh_token"]
    for token in (first["access_token"], second["access_token"]):
        assert world.ask("GET", "/account-info/2026-09/details", token=token).status == 200


def test_access_ends_by_the_clock(world: World) -> None:
    token = _exchange(world, _code(world)).body["access_token"]
    world.later(1799)
    assert world.ask("GET", "/account-info/2026-09/details", token=token).status == 200
    world.later(76)
    told = world.ask("GET", "/account-info/2026-09/details", token=token)
    assert (told.status, told.body["category"]) == (401, "EXPIRED_AUTHENTICATION")
    assert told.body["message"] == "The OAuth token used to make this call expired 75 second(s) ago."
    assert told.body["context"] == {"expire time": ["2026-11-22T12:30:00.000Z"]}


def test_a_revoked_refresh_token_leaves_access_alive_until_it_ends(world: World) -> None:
    told = _exchange(world, _code(world)).body
    form = urlencode({"token": told["refresh_token"], "token_type_hint": "refresh_token", **APP})
    assert world.ask("POST", f"{TOKEN}/revoke", form=form, token="").status == 200
    assert _refresh(world, told["refresh_token"]).body["error"] == "invalid_grant"
    assert world.ask("GET", "/account-info/2026-09/details", token=told["access_token"]).status == 200
    info = world.ask("POST", f"{TOKEN}/introspect", form=form, token="")
    assert info.body == {"active": False}


def test_uninstalling_ends_everything(world: World) -> None:
    told = _exchange(world, _code(world)).body
    assert world.ask("DELETE", "/appinstalls/2026-09/external-install", token=told["access_token"]).status == 204
    after = world.ask("GET", "/account-info/2026-09/details", token=told["access_token"])
    assert (after.status, after.body["category"]) == (401, "INVALID_AUTHENTICATION")
    assert _refresh(world, told["refresh_token"]).body["status"] == "BAD_REFRESH_TOKEN"


def test_a_portal_that_is_gone_is_not_a_lost_grant(world: World) -> None:
    told = _exchange(world, _code(world)).body
    del world.vendor.portals[62515]
    refused = _refresh(world, told["refresh_token"]).body
    assert (refused["error"], refused["status"]) == ("access_denied", "BAD_HUB")


def test_optional_scopes_are_dropped_in_silence_and_required_ones_block() -> None:
    world = make_world(Portal(62515, "Klein AG", lacks=frozenset({"crm.lists.write"})))
    told = _exchange(world, _code(world, optional_scope="crm.lists.write tickets")).body
    assert told["scopes"] == ["oauth", "crm.objects.contacts.read", "tickets"]
    blocked = world.ask("GET", _authorize(world, scope="crm.lists.write"), token="")
    assert blocked.status == 400
    assert "does not include: crm.lists.write" in blocked.body


@pytest.mark.parametrize(
    ("header", "category", "says"),
    [
        ("", "INVALID_AUTHENTICATION", "credentials not found"),
        ("Basic abc", "INVALID_AUTHENTICATION", "credentials not found"),
        ("Bearer garbage", "EXPIRED_AUTHENTICATION", "expired 20779 day(s) ago"),  # since 1970: it could not be read
    ],
    ids=["none", "basic", "garbage"],
)
def test_who_are_you(world: World, header: str, category: str, says: str) -> None:
    told = world.ask("GET", "/crm/objects/2026-09/contacts", token="", headers={"authorization": header})
    assert (told.status, told.body["category"]) == (401, category)
    assert says in told.body["message"]
