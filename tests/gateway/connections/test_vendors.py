"""OAuth as each vendor really does it: where secrets, codes and tokens go, and where they never go."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from connectors.errors import ConnectorError, ReconnectNeeded, Unavailable
from gateway.connections.attach import Attached
from gateway.connections.authorize import Callback, Claimed, Outcome
from gateway.connections.health import State
from gateway.connections.hosts import ForeignHost
from gateway.connections.open import Connections
from gateway.db.base import TenantId
from gateway.db.engine import utc_now
from gateway.parts import Parts
from gateway.parts import parts as opened_parts
from gateway.settings import App
from tests.gateway.connections.connecting import approve, change, come_back, make_tenant, row_of, settings_for
from tests.gateway.connections.vendors import GRANTS, SECRET, SECRET_EU, Dialled, Internet, providers, secret_in
from tests.processes import until_async

EU = "https://accounts.zoho.eu"
FORGED = [
    "https://evil.com/.zoho.eu",
    "https://evil.com#accounts.zoho.eu",
    "https://accounts.zoho.eu.evil.com",
    "https://accounts.zoho.eu@evil.com",
    "https://user:pw@accounts.zoho.eu",
    "https://accounts.zoho.eu:8443",
    "https://accounts.zoho.eu/",
    "https://accounts.zoho.eu?x",
    "https://accounts.zoho.eu\n",
    "https://accounts.zoho.eu.",
    "https://accounts。zoho。eu",
    "https://аccounts.zoho.eu",
    "https://ACCOUNTS.zoho.eu",
    "https://accounts.zoho.evil",
    "http://accounts.zoho.eu",
    "//accounts.zoho.eu",
    "accounts.zoho.eu",
    "https://127.0.0.1",
    "https://",
]


@pytest.fixture
async def parts(internet: Internet, sqlite_url: str, sealing_key: str) -> AsyncIterator[Parts]:
    """SQLite alone: the statements are the same, and tested on both elsewhere."""
    async with opened_parts(settings_for(sqlite_url, sealing_key), providers=providers()) as parts:
        await parts.redis.flushall()
        yield parts


@pytest.fixture
async def tenant_id(parts: Parts) -> TenantId:
    return await make_tenant(parts)


def back_with(claimed: Claimed, **more: str) -> Callback:
    return Callback(code="c-1", state=claimed.state, error="", issuer="", **more)


async def connect(parts: Parts, tenant_id: TenantId, provider: str, **more: Any) -> Attached:
    """From approval to the row, with what the callback says besides its code."""
    connection_id = more.pop("connection_id", None)
    claimed = await approve(parts, tenant_id, provider=provider, connection_id=connection_id)
    attached = await come_back(parts, claimed, back_with(claimed, **more))
    assert isinstance(attached, Attached)
    if attached.connection_id is not None:
        await parts.connections.probed(attached.connection_id, within=timedelta(seconds=20))
    return attached


async def connected(parts: Parts, tenant_id: TenantId, internet: Internet, provider: str, **more: str) -> str:
    """A connection, and an internet that has forgotten how it came about."""
    internet.tokens = [(200, GRANTS[provider])]
    attached = await connect(parts, tenant_id, provider, **more)
    assert attached.connection_id is not None, attached
    internet.dialled.clear()
    return attached.connection_id


def fresh(parts: Parts) -> Connections:
    """As another process has it: nothing remembered."""
    return Connections(
        settings=parts.settings,
        db=parts.db,
        keyring=parts.keyring,
        redis=parts.redis,
        providers=parts.connections.providers,
    )


async def renew(parts: Parts, tenant_id: TenantId, connection_id: str) -> str:
    await change(parts, connection_id, token_expires_at=utc_now())
    return await fresh(parts).tokens.token(tenant_id, connection_id)


# ── signing in ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("provider", "page", "asked"),
    [
        ("salesforce", "https://login.salesforce.com/oauth/authorize", {"scope": "api refresh_token"}),
        ("pipedrive", "https://oauth.pipedrive.com/oauth/authorize", {}),
        (
            "zoho",
            "https://accounts.zoho.com/oauth/authorize",
            {
                "scope": "ZohoCRM.modules.contacts.READ,ZohoCRM.users.READ,ZohoCRM.bulk.READ",
                "access_type": "offline",
                "prompt": "consent",
            },
        ),
        (
            "hubspot",
            "https://app.hubspot.com/oauth/authorize",
            {"scope": "oauth crm.objects.contacts.read", "optional_scope": "tickets"},
        ),
    ],
)
def test_each_vendor_is_asked_for_consent_in_its_own_words(provider: str, page: str, asked: dict[str, str]) -> None:
    address = providers().of(provider).oauth().authorize_url(redirect_uri="https://gw/cb", state="s", verifier="v" * 43)
    said = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    pkce = {said.pop(name, None) for name in ("code_challenge_method", "code_challenge")}
    assert ("S256" in pkce) == (provider in ("salesforce", "hubspot"))
    assert address.partition("?")[0] == page
    common = {"response_type": "code", "client_id": "our-app", "redirect_uri": "https://gw/cb", "state": "s"}
    assert said == {**common, **asked}


@pytest.mark.parametrize(
    ("provider", "server", "token_host", "api_host", "secret", "scheme"),
    [
        ("salesforce", "", "login.salesforce.com", "acme.my.salesforce.com", SECRET, "Bearer"),
        ("pipedrive", "", "oauth.pipedrive.com", "acme.pipedrive.com", SECRET, "Bearer"),
        ("zoho", EU, "accounts.zoho.eu", "www.zohoapis.eu", SECRET_EU, "Zoho-oauthtoken"),
        ("hubspot", "", "api.hubapi.com", "api.hubapi.com", SECRET, "Bearer"),
        ("hubspot", EU, "api.hubapi.com", "api.hubapi.com", SECRET, "Bearer"),  # it names no servers: not read
    ],
)
async def test_each_sign_in_ends_at_the_vendor_s_own_addresses(
    parts: Parts, tenant_id: TenantId, internet: Internet, provider: str, server: str, token_host: str, api_host: str,
    secret: str, scheme: str,
) -> None:  # fmt: skip
    internet.tokens = [(200, GRANTS[provider])]
    attached = await connect(parts, tenant_id, provider, server=server)
    assert attached.outcome == Outcome.CONNECTED
    (exchange,) = internet.to("/oauth/token")
    assert (exchange.host, secret_in(exchange)) == (token_host, secret)
    assert exchange.authorization.startswith("Basic ") == (provider == "pipedrive")
    assert ("code_verifier" in exchange.form) == (provider in ("salesforce", "hubspot"))
    (who,) = internet.to("/me")
    assert (who.host, who.authorization) == (api_host, f"{scheme} {GRANTS[provider]['access_token']}")
    row = await row_of(parts, attached.connection_id or "")
    assert (row.token_origin, row.api_origin) == (f"https://{token_host}", f"https://{api_host}")
    opened = await parts.connections.open(tenant_id, row.id)
    await opened.crm.who_am_i()
    assert internet.hosts == {token_host, api_host}
    assert json.loads(
        (await parts.keyring.of(tenant_id)).open(row.grant_extra or b"", "connections", "grant_extra", row.id)
    ) == {name: said for name, said in GRANTS[provider].items() if name in row_extra(provider)}


def row_extra(provider: str) -> set[str]:
    known = {"access_token", "refresh_token", "expires_in", "scope", "scopes"}
    return set(GRANTS[provider]) - known


@pytest.mark.parametrize("server", FORGED, ids=ascii)
async def test_a_callback_that_names_somebody_else_s_server_sends_nothing_anywhere(
    parts: Parts, tenant_id: TenantId, internet: Internet, server: str
) -> None:
    """Anyone can make a browser open our callback: the client secret would be posted to his host."""
    internet.tokens = [(200, GRANTS["zoho"])]
    assert (await connect(parts, tenant_id, "zoho", server=server)).outcome == Outcome.FOREIGN_HOST
    assert internet.dialled == []


async def test_a_callback_that_names_no_server_is_exchanged_where_it_was_begun(
    parts: Parts, tenant_id: TenantId, internet: Internet
) -> None:
    internet.tokens = [(200, {**GRANTS["zoho"], "api_domain": "https://www.zohoapis.com"})]
    assert (await connect(parts, tenant_id, "zoho")).outcome == Outcome.CONNECTED
    (exchange,) = internet.to("/oauth/token")
    assert (exchange.host, secret_in(exchange)) == ("accounts.zoho.com", SECRET)


@pytest.mark.parametrize(
    ("provider", "named"),
    [
        ("zoho", "https://evil.com/.zohoapis.eu"),
        ("zoho", "https://www.zohoapis.com"),  # Zoho's, but of another data centre than the one that signed in
        ("zoho", 7),
        ("salesforce", "https://evil.com/.my.salesforce.com"),
        ("salesforce", "https://acme.my.salesforce.com:8443"),
        ("salesforce", "https://acme.my.salesforce.com/services"),
        ("salesforce", "https://u@acme.my.salesforce.com"),
        ("salesforce", "https://Acme.my.salesforce.com"),
        ("salesforce", "https://acme.my.salesforce.com\n"),
        ("salesforce", ["https://acme.my.salesforce.com"]),
        ("pipedrive", "https://pipedrive.com.evil.com"),
        ("pipedrive", "https://evilpipedrive.com"),
    ],
    ids=ascii,
)
async def test_a_token_that_comes_with_somebody_else_s_address_is_handed_back(
    parts: Parts, tenant_id: TenantId, internet: Internet, provider: str, named: object
) -> None:
    """Whoever is there would be sent the access token with the first request."""
    manifest = providers().of(provider).manifest
    internet.tokens = [(200, {**GRANTS[provider], manifest.origin_field: named})]
    attached = await connect(parts, tenant_id, provider, server=EU if provider == "zoho" else "")
    assert (attached.outcome, attached.connection_id) == (Outcome.FOREIGN_HOST, None)
    (revocation,) = internet.to("/oauth/revoke")
    assert revocation.form["token"] == GRANTS[provider]["refresh_token"]
    assert internet.hosts == {revocation.host}
    assert revocation.host in ("accounts.zoho.eu", "login.salesforce.com", "oauth.pipedrive.com")


async def test_a_data_centre_without_a_secret_is_asked_for_nothing(
    internet: Internet, sqlite_url: str, sealing_key: str
) -> None:
    """The secret of another one would be refused, and be known where it has no business."""
    app = App(client_id="our-app", client_secrets={"eu": SecretStr(SECRET_EU)})
    known = providers(zoho=app)
    assert known.of("zoho").ready
    async with opened_parts(settings_for(sqlite_url, sealing_key), providers=known) as parts:
        tenant_id = await make_tenant(parts)
        india = await connect(parts, tenant_id, "zoho", server="https://accounts.zoho.in")
        assert (india.outcome, internet.dialled) == (Outcome.REFUSED, [])
        internet.tokens = [(200, GRANTS["zoho"])]
        assert (await connect(parts, tenant_id, "zoho", server=EU)).outcome == Outcome.CONNECTED


@pytest.mark.parametrize(
    ("provider", "granted", "missing"),
    [
        ("pipedrive", "base,contacts:full", ["leads:full"]),
        ("pipedrive", "base", ["contacts:full", "leads:full"]),
        ("zoho", None, []),  # it does not say: what was asked for is taken for granted
        ("zoho", "zohocrm.modules.contacts.read ZohoCRM.users.READ", ["ZohoCRM.bulk.READ"]),
        ("salesforce", "refresh_token api", []),
        ("salesforce", "api", ["refresh_token"]),
    ],
)
async def test_what_was_asked_for_and_not_granted_is_known(
    parts: Parts, tenant_id: TenantId, internet: Internet, provider: str, granted: str | None, missing: list[str]
) -> None:
    internet.tokens = [(200, {**GRANTS[provider], "scope": granted})]
    attached = await connect(parts, tenant_id, provider, server=EU if provider == "zoho" else "")
    assert (await row_of(parts, attached.connection_id or "")).missing_scopes == missing


# ── where the operator has put an emulator ──────────────────────────────────────────────────────────────────────────

EMULATED = App(
    client_id="our-app", client_secret=SecretStr(SECRET),
    auth_url="http://127.0.0.1:9001", token_url="http://sandbox:9001", api_url="http://sandbox:9002",
)  # fmt: skip


@pytest.mark.parametrize("server", ["", EU, "http://127.0.0.1:9001", "http://sandbox:9001"], ids=ascii)
async def test_an_override_is_all_we_talk_to_whatever_an_emulator_calls_itself(
    internet: Internet, sqlite_url: str, sealing_key: str, server: str
) -> None:
    internet.tokens = [(200, {**GRANTS["zoho"], "api_domain": "http://localhost:9001"})]
    settings = settings_for(sqlite_url, sealing_key)
    async with opened_parts(settings, providers=providers(zoho=EMULATED)) as parts:
        tenant_id = await make_tenant(parts)
        attached = await connect(parts, tenant_id, "zoho", server=server)
        assert attached.outcome == Outcome.CONNECTED
        assert internet.hosts == {"sandbox:9001", "sandbox:9002"}
        await renew(parts, tenant_id, attached.connection_id or "")
        assert internet.hosts == {"sandbox:9001", "sandbox:9002"}


@pytest.mark.parametrize("server", [*FORGED, "http://127.0.0.1:9002", "http://127.0.0.1:9001.evil.com"], ids=ascii)
def test_beside_an_override_nobody_else_is_named_either(server: str) -> None:
    known = providers(zoho=EMULATED).of("zoho")
    with pytest.raises(ForeignHost):
        known.exchange_at(server, otherwise=known.token_origin)


# ── renewing ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_token_without_a_lifetime_is_believed_as_long_as_the_manifest_says(
    parts: Parts, tenant_id: TenantId, internet: Internet
) -> None:
    row = await row_of(parts, await connected(parts, tenant_id, internet, "salesforce"))
    assert row.token_expires_at is not None
    assert timedelta(minutes=119) < row.token_expires_at - utc_now() <= timedelta(hours=2)


async def test_a_grant_that_ends_of_idleness_is_kept_alive_by_the_relay_s_ring(
    parts: Parts, tenant_id: TenantId, internet: Internet
) -> None:
    """A tenant that has no calls over the summer must find its connection working in September."""
    internet.tokens = [(200, {**GRANTS["pipedrive"], "expires_in": 200 * 86_400})]
    attached = await connect(parts, tenant_id, "pipedrive")
    row = await row_of(parts, attached.connection_id or "")
    assert row.refresh_due_at is not None
    assert row.refresh_due_at - utc_now() < timedelta(days=20)


async def test_an_account_that_moves_is_followed_with_the_very_next_request(
    parts: Parts, tenant_id: TenantId, internet: Internet
) -> None:
    """Salesforce migrates orgs: the old address refuses the new token, and that is no end of the grant."""
    connection_id = await connected(parts, tenant_id, internet, "salesforce")
    moved = {"access_token": "sf-2", "refresh_token": "sf-r2", "instance_url": "https://acme2.my.salesforce.com"}
    internet.tokens = [(200, moved)]

    def api(one: Dialled) -> tuple[int, Any]:
        good = (one.host, one.authorization) == ("acme2.my.salesforce.com", "Bearer sf-2")
        return (200, {"id": "1", "name": "Acme SA"}) if good else (401, {})

    internet.api = api
    opened = await parts.connections.open(tenant_id, connection_id)
    assert (await opened.crm.who_am_i()).name == "Acme SA"
    assert [one.host for one in internet.to("/me")] == ["acme.my.salesforce.com", "acme2.my.salesforce.com"]
    row = await row_of(parts, connection_id)
    assert (row.state, row.api_origin) == (State.ACTIVE, "https://acme2.my.salesforce.com")
    again = await fresh(parts).open(tenant_id, connection_id)
    await again.crm.who_am_i()
    assert len(internet.to("/oauth/token")) == 1


@pytest.mark.parametrize("named", ["https://evil.com/.my.salesforce.com", "https://evil.com", 7, {}], ids=ascii)
async def test_a_renewal_that_names_somebody_else_s_address_moves_nothing_and_loses_nothing(
    parts: Parts, tenant_id: TenantId, internet: Internet, named: object
) -> None:
    """The refresh token in it may be the only good one by now; the address is nobody we know."""
    connection_id = await connected(parts, tenant_id, internet, "salesforce")
    internet.tokens = [(200, {"access_token": "sf-2", "refresh_token": "sf-r2", "instance_url": named})]
    assert await renew(parts, tenant_id, connection_id) == "sf-2"
    row = await row_of(parts, connection_id)
    keys = await parts.keyring.of(tenant_id)
    assert keys.open(row.refresh_token or b"", "connections", "refresh_token", row.id) == b"sf-r2"
    assert b"evil" not in keys.open(row.grant_extra or b"", "connections", "grant_extra", row.id)
    opened = await fresh(parts).open(tenant_id, connection_id)
    await opened.crm.who_am_i()
    assert internet.hosts == {"login.salesforce.com", "acme.my.salesforce.com"}


async def test_a_renewal_that_says_no_address_stays_where_it_was(
    parts: Parts, tenant_id: TenantId, internet: Internet
) -> None:
    connection_id = await connected(parts, tenant_id, internet, "zoho", server=EU)
    internet.tokens = [(200, {"access_token": "zo-2", "expires_in": 3600})]
    assert await renew(parts, tenant_id, connection_id) == "zo-2"
    (renewal,) = internet.to("/oauth/token")
    assert (renewal.host, secret_in(renewal)) == ("accounts.zoho.eu", SECRET_EU)
    assert (await row_of(parts, connection_id)).api_origin == "https://www.zohoapis.eu"


async def test_an_error_that_comes_with_200_ends_the_grant_or_waits_as_the_vendor_means_it(
    parts: Parts, tenant_id: TenantId, internet: Internet
) -> None:
    connection_id = await connected(parts, tenant_id, internet, "zoho", server=EU)
    internet.tokens = [(400, {"error": "Access Denied", "status": "failure"})]
    with pytest.raises(Unavailable):
        await renew(parts, tenant_id, connection_id)
    row = await row_of(parts, connection_id)
    assert row.state == State.ACTIVE
    assert row.refresh_not_before is not None
    assert row.refresh_not_before - utc_now() > timedelta(minutes=9)  # ten tokens in ten minutes are spent
    await change(parts, connection_id, refresh_not_before=None)
    internet.tokens = [(200, {"error": "invalid_code"})]
    with pytest.raises(ReconnectNeeded):
        await renew(parts, tenant_id, connection_id)
    assert (await row_of(parts, connection_id)).state == State.RECONNECT_NEEDED


async def test_a_vendor_that_refuses_what_it_just_gave_is_not_asked_for_more(
    parts: Parts, tenant_id: TenantId, internet: Internet
) -> None:
    """Ten refused requests in a second would burn the ten tokens of ten minutes, and then nothing works at all."""
    connection_id = await connected(parts, tenant_id, internet, "zoho", server=EU)
    internet.api = lambda _: (401, {})
    given = iter(range(2, 99))
    internet.tokens = [(200, {"access_token": f"zo-{next(given)}", "expires_in": 3600}) for _ in range(20)]
    for _ in range(5):
        opened = await fresh(parts).open(tenant_id, connection_id, purpose="connect")
        with pytest.raises(ConnectorError):
            await opened.crm.who_am_i()
        await change(parts, connection_id, state=State.ACTIVE, paused_at=None)
    assert len(internet.to("/oauth/token")) == 1


async def test_a_grant_that_is_replaced_is_revoked_where_each_sign_in_makes_its_own(
    parts: Parts, tenant_id: TenantId, internet: Internet
) -> None:
    """Zoho keeps twenty per person and app and silently drops the oldest, which may be another tenant's."""
    connection_id = await connected(parts, tenant_id, internet, "zoho", server=EU)
    internet.tokens = [(200, {**GRANTS["zoho"], "access_token": "zo-9", "refresh_token": "zo-r9"})]
    attached = await connect(parts, tenant_id, "zoho", server=EU, connection_id=connection_id)
    assert attached.outcome == Outcome.RECONNECTED

    async def revoked() -> bool:
        return bool(internet.to("/oauth/revoke"))

    await until_async("the old grant is revoked", revoked)
    (revocation,) = internet.to("/oauth/revoke")
    assert (revocation.host, revocation.form["token"]) == ("accounts.zoho.eu", "zo-r1")


async def test_a_second_sign_in_to_a_connected_account_leaves_no_grant_behind(
    parts: Parts, tenant_id: TenantId, internet: Internet
) -> None:
    await connected(parts, tenant_id, internet, "zoho", server=EU)
    internet.tokens = [(200, {**GRANTS["zoho"], "access_token": "zo-9", "refresh_token": "zo-r9"})]
    assert (await connect(parts, tenant_id, "zoho", server=EU)).outcome == Outcome.ALREADY_CONNECTED
    assert [one.form["token"] for one in internet.to("/oauth/revoke")] == ["zo-r9"]


async def test_where_grants_are_one_per_account_nothing_is_revoked_that_is_in_use(
    parts: Parts, tenant_id: TenantId, internet: Internet
) -> None:
    """At Pipedrive a revocation uninstalls the app."""
    connection_id = await connected(parts, tenant_id, internet, "pipedrive")
    internet.tokens = [(200, {**GRANTS["pipedrive"], "refresh_token": "pd-r9"})]
    attached = await connect(parts, tenant_id, "pipedrive", connection_id=connection_id)
    assert attached.outcome == Outcome.RECONNECTED
    assert (await connect(parts, tenant_id, "pipedrive")).outcome == Outcome.ALREADY_CONNECTED
    assert internet.to("/oauth/revoke") == []


async def test_a_reconnect_follows_the_tenant_to_another_server(
    parts: Parts, tenant_id: TenantId, internet: Internet
) -> None:
    """An account that moved to another data centre is renewed there from then on."""
    connection_id = await connected(parts, tenant_id, internet, "zoho", server=EU)
    internet.tokens = [(200, {**GRANTS["zoho"], "api_domain": "https://www.zohoapis.in"})]
    await connect(parts, tenant_id, "zoho", server="https://accounts.zoho.in", connection_id=connection_id)
    row = await row_of(parts, connection_id)
    assert (row.token_origin, row.api_origin) == ("https://accounts.zoho.in", "https://www.zohoapis.in")
