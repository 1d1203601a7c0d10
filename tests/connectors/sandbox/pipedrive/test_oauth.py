"""Signing in as Pipedrive does it: Basic, an address per company, refusals without an `error`."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from connectors.sandbox.pipedrive.grants import APP_SCOPES
from tests.connectors.sandbox.pipedrive.world import World, make_world

CALLBACK = "http://localhost/cb"
BASIC = f"Basic {base64.b64encode(b'sandbox-client:sandbox-secret').decode()}"


def code(world: World, **form: str) -> str:
    asked = {"client_id": "sandbox-client", "redirect_uri": CALLBACK, "state": "s-1", **form}
    back = urlsplit(world.vendor.sign_in.decide(asked, "approve", world.clock()))
    read = parse_qs(back.query)
    assert read["state"] == ["s-1"]
    return read["code"][0]


def exchanged(world: World, **more: str) -> dict[str, object]:
    form = {"grant_type": "authorization_code", "code": code(world), "redirect_uri": CALLBACK}
    told = world.oauth("token", authorization=BASIC, **form, **more)
    assert told.status == 200, told.body
    body: dict[str, object] = told.body
    return body


def test_a_code_becomes_a_token_with_the_companys_address(world: World) -> None:
    token = exchanged(world)
    assert token["api_domain"] == "https://aurorademosa.pipedrive.com"
    assert (token["token_type"], token["expires_in"]) == ("Bearer", 3599)
    assert token["scope"] == ",".join(APP_SCOPES)
    assert world.ask("GET", "v1/users/me", token=str(token["access_token"])).body["data"]["company_id"] == 15043420


def test_behind_an_override_the_companys_api_is_where_the_sandbox_is(world: World) -> None:
    form = {"grant_type": "authorization_code", "code": code(world), "redirect_uri": CALLBACK}
    told = world.oauth("token", authorization=BASIC, host="127.0.0.1:9001", **form)
    assert told.body["api_domain"] == "http://127.0.0.1:9001"


def test_another_company_is_another_account(world: World) -> None:
    form = {
        "grant_type": "authorization_code", "code": code(world, company_id="15043421"), "redirect_uri": CALLBACK,
    }  # fmt: skip
    token = world.oauth("token", authorization=BASIC, **form).body["access_token"]
    assert world.ask("GET", "v1/users/me", token=token).body["data"]["company_name"] == "Borealis Test GmbH"


def test_the_refresh_token_stays_and_a_lost_answer_costs_nothing(world: World) -> None:
    first = exchanged(world)
    for _ in range(2):
        again = world.oauth(
            "token", authorization=BASIC, grant_type="refresh_token", refresh_token=str(first["refresh_token"])
        )
        assert again.body["refresh_token"] == first["refresh_token"]
        assert again.body["access_token"] != first["access_token"]


def test_it_rotates_where_a_test_wants_it_to() -> None:
    world = make_world(rotates=True)
    first = exchanged(world)
    form = {"grant_type": "refresh_token", "refresh_token": str(first["refresh_token"])}
    again = world.oauth("token", authorization=BASIC, **form)
    assert again.body["refresh_token"] != first["refresh_token"]
    assert world.oauth("token", authorization=BASIC, **form).status == 400


def test_sixty_idle_days_end_a_grant_and_use_restarts_them(world: World) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": str(exchanged(world)["refresh_token"])}
    for days in (59, 59):
        world.later(days * 86_400)
        assert world.oauth("token", authorization=BASIC, **form).status == 200
    world.later(61 * 86_400)
    told = world.oauth("token", authorization=BASIC, **form)
    assert (told.status, told.body["message"]) == (400, "Invalid grant: refresh_token is invalid")


@pytest.mark.parametrize(
    ("form", "authorization", "status", "message"),
    [
        ({"grant_type": "authorization_code", "code": "x"}, BASIC, 400, "Invalid grant: authorization_code is invalid"),
        ({"grant_type": "refresh_token"}, BASIC, 400, "Invalid grant: refresh_token is invalid"),
        ({"grant_type": "password"}, BASIC, 400, "Invalid request: grant_type is invalid"),
        ({"grant_type": "refresh_token"}, "", 401, "Invalid client: client is invalid"),
        ({"grant_type": "refresh_token"}, "Basic !", 401, "Invalid client: client is invalid"),
    ],
)
def test_refusals_have_a_sentence_and_no_error(
    world: World, form: dict[str, str], authorization: str, status: int, message: str
) -> None:
    told = world.oauth("token", authorization=authorization, **form)
    assert (told.status, told.body) == (status, {"success": False, "message": message})


def test_a_code_works_once_for_five_minutes_and_one_address(world: World) -> None:
    for wait, address, message in (
        (301, CALLBACK, "Invalid grant: authorization_code has expired"),
        (0, "http://localhost/other", "Invalid request: redirect_uri is invalid"),
    ):
        form = {"grant_type": "authorization_code", "code": code(world), "redirect_uri": address}
        world.later(wait)
        assert world.oauth("token", authorization=BASIC, **form).body["message"] == message
        assert world.oauth("token", authorization=BASIC, **form).status == 400


def test_credentials_in_the_body_are_tolerated(world: World) -> None:
    form = {"grant_type": "authorization_code", "code": code(world), "redirect_uri": CALLBACK}
    assert world.oauth("token", **form, client_id="sandbox-client", client_secret="sandbox-secret").status == 200


def test_revoking_the_refresh_token_uninstalls(world: World) -> None:
    token = exchanged(world)
    assert world.oauth("revoke", authorization=BASIC, token=str(token["refresh_token"])).status == 200
    assert world.ask("GET", "v1/users/me", token=str(token["access_token"])).status == 401
    assert world.oauth("revoke", authorization=BASIC, token="nobody's").status == 200


def test_a_person_says_no(live: World) -> None:
    asked = {"client_id": "sandbox-client", "redirect_uri": CALLBACK, "state": "s-1"}
    with httpx2.Client(verify=False, base_url=live.origin) as client:
        page = client.get("/oauth/authorize", params=asked)
        assert "Allow and install" in page.text
        assert "Borealis Test GmbH" in page.text
        back = client.post("/oauth/authorize", data={**asked, "decision": "deny"})
        assert back.headers["location"] == f"{CALLBACK}?error=user_denied&state=s-1"
        assert client.get("/oauth/authorize", params={**asked, "client_id": "them"}).status_code == 400
        assert (
            client.get("/oauth/authorize", params={**asked, "redirect_uri": "https://evil.example"}).status_code == 400
        )
