"""Single steps of OAuth 2, against token endpoints that answer as vendors really do."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from connectors.crm.port import Manifest
from connectors.errors import ConnectorError, ReconnectNeeded, Unavailable, Unsupported
from connectors.oauth import OAuth
from connectors.tokens import Token, read_object, token_in
from tests.connectors.servers import Script, answering, hanging, resetting, sending, serving

SECRET = "client-secret"
GRANT = {
    "access_token": "at-1",
    "refresh_token": "rt-1",
    "expires_in": 1800,
    "scopes": ["oauth", "a.b"],
    "hub_id": 62515,
}
MANIFEST = Manifest(
    slug="example", name="Example", api_origin="https://api.example", auth_origin="https://app.example",
    token_origin="https://api.example", authorize_path="/oauth/authorize", token_path="/oauth/token",
    revoke_path="/oauth/revoke", introspect_path="/oauth/introspect", scopes=("oauth", "contacts.read"),
    optional_scopes=("tickets", "deals"), pkce=True, client_auth="body", can=frozenset(), sticks={}, buckets={},
    refresh_ahead=timedelta(minutes=5),
)  # fmt: skip


def read_token(status: int, headers: Mapping[str, str], body: bytes) -> Token:
    answer = read_object(body)
    token = token_in(answer) if status == 200 else None
    if token:
        return token
    if answer.get("error") == "invalid_grant":
        raise ReconnectNeeded("the grant is gone", status=status)
    raise Unavailable("no token", status=status)


def oauth(origin: str, manifest: Manifest = MANIFEST) -> OAuth:
    return OAuth(
        manifest, client_id="client-id", client_secret=SECRET, read_token=read_token,
        auth_origin=origin, token_origin=origin, total=timedelta(milliseconds=500),
    )  # fmt: skip


def reply(status: int, answer: Any, **headers: str) -> Script:
    return answering(status, json.dumps(answer).encode(), Content_Type="application/json", **headers)


def form(body: bytes) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(body.decode(), strict_parsing=True).items()}


def test_the_authorize_url_asks_for_what_the_manifest_says() -> None:
    url = oauth("https://app.example").authorize_url(
        redirect_uri="https://gw.example/cb?x=a+b", state="s-1", verifier="v" * 43
    )
    asked = parse_qs(urlsplit(url).query)
    challenge = asked.pop("code_challenge")
    assert asked == {
        "response_type": ["code"], "client_id": ["client-id"], "redirect_uri": ["https://gw.example/cb?x=a+b"],
        "scope": ["oauth contacts.read"], "optional_scope": ["tickets deals"], "state": ["s-1"],
        "code_challenge_method": ["S256"],
    }  # fmt: skip
    assert len(challenge[0]) == 43
    assert "+" not in url  # HubSpot documents %20
    assert SECRET not in url


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({"scope_separator": ","}, {"scope": "oauth,contacts.read", "optional_scope": "tickets,deals"}),
        (
            {"scope_separator": ",", "optional_scope_field": ""},
            {"scope": "oauth,contacts.read,tickets,deals"},
        ),
        ({"scope_field": ""}, {}),
        ({"scopes": (), "optional_scopes": ()}, {}),
        (
            {"authorize_extra": {"access_type": "offline", "prompt": "consent"}, "optional_scopes": ()},
            {"scope": "oauth contacts.read", "access_type": "offline", "prompt": "consent"},
        ),
    ],
    ids=["commas", "optional ones with the others", "set at the vendor", "none", "extra parameters"],
)
def test_each_vendor_is_asked_in_its_own_way(changes: dict[str, Any], asked: dict[str, str]) -> None:
    manifest = msgspec.structs.replace(MANIFEST, pkce=False, **changes)
    url = oauth("https://app.example", manifest).authorize_url(redirect_uri="https://gw.example/cb", state="s-1")
    said = {name: values[0] for name, values in parse_qs(urlsplit(url).query, keep_blank_values=True).items()}
    common = ("response_type", "client_id", "redirect_uri", "state")
    assert {name: value for name, value in said.items() if name not in common} == asked


def test_pkce_is_left_out_where_the_vendor_does_not_take_it() -> None:
    plain = msgspec.structs.replace(MANIFEST, pkce=False)
    assert "code_challenge" not in oauth("https://app.example", plain).authorize_url(
        redirect_uri="https://gw.example/cb", state="s", verifier="v" * 43
    )


async def test_a_code_becomes_a_token() -> None:
    async with serving(reply(200, GRANT)) as server:
        token = await oauth(server.origin).exchange(code="c-1", redirect_uri="https://gw.example/cb", verifier="v" * 43)
    assert (token.access_token, token.refresh_token, token.expires_in) == ("at-1", "rt-1", timedelta(minutes=30))
    assert token.scopes == ("oauth", "a.b")
    assert token.extra == {"hub_id": 62515}
    (seen,) = server.seen
    assert seen.line == "POST /oauth/token HTTP/1.1"
    assert seen.header("authorization") is None
    assert form(seen.body) == {
        "grant_type": "authorization_code", "code": "c-1", "redirect_uri": "https://gw.example/cb",
        "code_verifier": "v" * 43, "client_id": "client-id", "client_secret": SECRET,
    }  # fmt: skip


async def test_credentials_can_go_into_the_header() -> None:
    """Pipedrive: of the exchange, of renewals and of revocations, and then nowhere else."""
    basic = msgspec.structs.replace(MANIFEST, client_auth="basic", pkce=False)
    async with serving(reply(200, GRANT), reply(200, GRANT), reply(200, {})) as server:
        await oauth(server.origin, basic).exchange(code="c-1", redirect_uri="https://gw.example/cb", verifier="v" * 43)
        await oauth(server.origin, basic).refresh("rt-0")
        await oauth(server.origin, basic).revoke("rt-1")
    header = "Basic " + base64.b64encode(f"client-id:{SECRET}".encode()).decode()
    assert [seen.header("authorization") for seen in server.seen] == [header] * 3
    assert [form(seen.body) for seen in server.seen] == [
        {"grant_type": "authorization_code", "code": "c-1", "redirect_uri": "https://gw.example/cb"},
        {"grant_type": "refresh_token", "refresh_token": "rt-0"},
        {"token": "rt-1", "token_type_hint": "refresh_token"},
    ]


async def test_without_a_secret_for_this_server_nothing_is_sent() -> None:
    """A vendor's data centres have secrets of their own; a code is not spent on a request that cannot succeed."""
    async with serving(reply(200, GRANT)) as server:
        keyless = OAuth(
            MANIFEST, client_id="client-id", client_secret="", read_token=read_token, token_origin=server.origin
        )
        with pytest.raises(Unsupported):
            await keyless.refresh("rt-0")
        with pytest.raises(Unsupported):
            await keyless.exchange(code="c-1", redirect_uri="https://gw.example/cb")
    assert server.seen == []


@pytest.mark.parametrize("answered", [None, "", "absent"])
async def test_an_answer_without_a_refresh_token_says_so(answered: str | None) -> None:
    """Taken for a value it would wipe the stored one, and the connection with it."""
    grant = {name: value for name, value in GRANT.items() if name != "refresh_token"}
    if answered != "absent":
        grant["refresh_token"] = answered
    async with serving(reply(200, grant)) as server:
        token = await oauth(server.origin).refresh("rt-0")
    assert token.refresh_token is None
    assert form(server.seen[0].body)["refresh_token"] == "rt-0"


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        pytest.param(reply(400, {"error": "invalid_grant"}), ReconnectNeeded, id="revoked"),
        pytest.param(reply(429, {"status": "error", "message": "slow down"}), Unavailable, id="429 with a JSON object"),
        pytest.param(reply(429, GRANT), Unavailable, id="429 that looks like a token"),
        pytest.param(reply(401, {"success": False}), Unavailable, id="401 with a JSON object"),
        pytest.param(reply(200, {"error": "invalid_grant"}), ReconnectNeeded, id="revoked, with 200"),
        pytest.param(reply(200, {"error": "general_error"}), Unavailable, id="an error with 200"),
        pytest.param(reply(200, {"access_token": ""}), Unavailable, id="empty token"),
        pytest.param(reply(200, {"access_token": None}), Unavailable, id="null token"),
        pytest.param(reply(200, ["access_token"]), Unavailable, id="a list"),
        pytest.param(answering(200, b"<html>"), Unavailable, id="HTML"),
        pytest.param(answering(200, b'{"access_token": "at'), Unavailable, id="truncated JSON"),
        pytest.param(answering(200, b"[" * 100_000), Unavailable, id="nested JSON"),
        pytest.param(answering(200, b"x" * 300_000), Unavailable, id="too large"),
        pytest.param(answering(204), Unavailable, id="nothing"),
        pytest.param(answering(503, b"down"), Unavailable, id="503"),
        pytest.param(answering(302, Location="http://127.0.0.1:9/"), Unavailable, id="redirect"),
        pytest.param(hanging, Unavailable, id="hangs"),
        pytest.param(resetting, Unavailable, id="reset"),
        pytest.param(
            sending(b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\n{", then_close=True), Unavailable, id="cut short"
        ),
        pytest.param(answering(200, b"zzz", Content_Encoding="gzip"), Unavailable, id="garbled"),
    ],
)
async def test_only_a_token_is_a_token(script: Script, expected: type[ConnectorError]) -> None:
    """One 429 taken for a token, and the tenant is asked to sign in again for nothing."""
    async with serving(script) as server:
        with pytest.raises(expected) as refreshing:
            await oauth(server.origin).refresh("rt-0")
        with pytest.raises(expected):
            await oauth(server.origin).exchange(code="c", redirect_uri="https://gw.example/cb")
    assert len(server.seen) == 2
    for private in (SECRET, "rt-0", server.origin):
        assert private not in str(refreshing.value)


@pytest.mark.parametrize("status", [200, 204, 400, 404])
async def test_a_grant_that_is_gone_counts_as_revoked(status: int) -> None:
    async with serving(reply(status, {})) as server:
        await oauth(server.origin).revoke("rt-1")
    (seen,) = server.seen
    assert seen.line == "POST /oauth/revoke HTTP/1.1"
    assert form(seen.body) == {
        "token": "rt-1", "token_type_hint": "refresh_token", "client_id": "client-id", "client_secret": SECRET,
    }  # fmt: skip


@pytest.mark.parametrize("status", [423, 429, 500, 503])
async def test_a_revocation_that_may_not_have_happened_is_told(status: int) -> None:
    async with serving(answering(status)) as server:
        with pytest.raises(Unavailable):
            await oauth(server.origin).revoke("rt-1")


async def test_introspection_describes_a_token() -> None:
    async with serving(
        reply(200, {"active": True, "hub_domain": "acme.example"}), reply(200, {"active": False})
    ) as server:
        assert (await oauth(server.origin).introspect("at-1"))["hub_domain"] == "acme.example"
        with pytest.raises(ReconnectNeeded):
            await oauth(server.origin).introspect("at-1")
    assert form(server.seen[0].body)["token"] == "at-1"


async def test_what_a_vendor_does_not_offer_is_unsupported() -> None:
    bare = msgspec.structs.replace(MANIFEST, revoke_path=None, introspect_path=None)
    with pytest.raises(Unsupported):
        await oauth("https://api.example", bare).revoke("rt")
    with pytest.raises(Unsupported):
        await oauth("https://api.example", bare).introspect("at")


@pytest.mark.parametrize(
    ("answer", "scopes", "lifetime"),
    [
        ({"scope": "a b"}, ("a", "b"), None),
        ({"scope": "a,b"}, ("a", "b"), None),
        ({"scopes": ["a", 7, "b"], "expires_in": "3600"}, ("a", "b"), timedelta(hours=1)),
        ({"expires_in": "soon"}, (), None),
        ({"expires_in": -5}, (), None),
        ({"expires_in": 1e300}, (), None),
        ({"expires_in": True, "scope": None}, (), None),
    ],
)
def test_the_rest_of_a_token_is_read_leniently(
    answer: dict[str, Any], scopes: tuple[str, ...], lifetime: timedelta | None
) -> None:
    token = token_in({"access_token": "at", **answer})
    assert token is not None
    assert (token.scopes, token.expires_in) == (scopes, lifetime)


def test_nothing_secret_is_shown() -> None:
    token = token_in(GRANT)
    assert "at-1" not in repr(token)
    assert "rt-1" not in f"{token}{[token]}"
    assert SECRET not in repr(oauth("https://api.example"))
