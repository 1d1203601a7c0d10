"""The pages themselves: signing in and out, what browsers are told, how problems look."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select

from gateway.connections.authorize import Outcome, Refusal
from gateway.connections.health import State
from gateway.connections.tables import OauthFlow
from gateway.console import texts
from gateway.console.connect import targets
from gateway.console.pages import when
from gateway.db.base import TenantId
from gateway.settings import App
from tests import web as shell
from tests.flows.test_connect import Browser
from tests.gateway.connections.connecting import settings_for
from tests.gateway.connections.vendors import MANIFESTS, provider, providers
from tests.web import Web

TEMPLATES = Path(__file__).parents[3] / "gateway" / "console" / "templates"


@pytest.fixture
async def web(sqlite_url: str, sealing_key: str) -> AsyncIterator[Web]:
    settings = settings_for(sqlite_url, sealing_key)
    async with shell.running(settings, beside=lambda _: contextlib.nullcontext()) as web:
        await web.parts.redis.flushall()
        yield web


@pytest.fixture
async def tenant_id(web: Web) -> TenantId:
    return await web.tenant("ACME <SA> & “Söhne”")


@pytest.fixture
def browser(web: Web) -> Browser:
    return Browser(web.anyone("127.0.0.1"))


@pytest.mark.parametrize("address", ["/", "/console"])
async def test_the_bare_address_leads_to_the_pages(browser: Browser, address: str) -> None:
    """`gateway serve` prints it, and terminals make it a link."""
    await browser.get(address)
    assert browser.status == 200
    assert "Sign in" in browser.page


async def test_a_link_opens_the_pages_once_and_only_by_its_button(
    web: Web, tenant_id: TenantId, browser: Browser
) -> None:
    link = await web.console_link(tenant_id)
    await browser.get(link)
    await browser.get(link)
    assert "set-cookie" not in browser.headers  # opening it, even twice, changes nothing
    await (await browser.press("Continue")).follow()
    assert browser.address == "/console/connections"
    thief = Browser(web.anyone("127.0.0.1"))
    await thief.get(link)
    await thief.press("Continue")
    assert thief.status == 410
    assert "does not work any more" in thief.page


async def test_a_link_is_not_exchanged_for_another_site(web: Web, tenant_id: TenantId, browser: Browser) -> None:
    link = await web.console_link(tenant_id)
    assert (await browser.post(link, site="cross-site")).status == 403
    assert (await browser.post(link)).status == 303


async def test_an_admin_key_typed_once_opens_a_session(web: Web, tenant_id: TenantId, browser: Browser) -> None:
    key = await web.key(tenant_id, "admin", "read")
    await browser.post("/console/sign-in", {"key": f" {key} "})
    assert browser.status == 303
    cookie = browser.headers["set-cookie"]
    assert key not in cookie
    assert {"HttpOnly", "SameSite=Lax"} <= {part.strip() for part in cookie.split(";")}
    await browser.follow()
    assert "ACME <SA> & “Söhne”" in browser.page
    assert "<SA>" not in browser.html  # escaped


@pytest.mark.parametrize(
    ("key", "status", "said"),
    [("gwk_nonsense", 401, "not in force"), ("", 401, "not in force"), ("\x00", 401, "not in force")],
)
async def test_a_wrong_key_is_told_in_words(browser: Browser, key: str, status: int, said: str) -> None:
    await browser.post("/console/sign-in", {"key": key})
    assert browser.status == status
    assert said in browser.page
    assert "set-cookie" not in browser.headers


async def test_a_key_without_admin_does_not_open_pages(web: Web, tenant_id: TenantId, browser: Browser) -> None:
    await browser.post("/console/sign-in", {"key": await web.key(tenant_id, "lookup")})
    assert browser.status == 403
    assert "may not open these pages" in browser.page


async def test_guessing_keys_is_slowed_down(browser: Browser) -> None:
    for _ in range(20):
        await browser.post("/console/sign-in", {"key": "gwk_guess"})
    assert browser.status == 401
    await browser.post("/console/sign-in", {"key": "gwk_guess"})
    assert browser.status == 429
    assert "Too many tries" in browser.page


async def test_signing_out_ends_the_session_itself(web: Web, tenant_id: TenantId, browser: Browser) -> None:
    await browser.get(await web.console_link(tenant_id))
    await (await browser.press("Continue")).follow()
    kept = dict(browser.client.cookies)
    await browser.press("Sign out")
    assert browser.headers["location"] == "/console/sign-in"
    stale = Browser(web.anyone("127.0.0.1", cookies=kept))
    assert (await stale.get("/console/connections", follow=False)).status == 303


async def test_signing_out_needs_our_own_form(web: Web, tenant_id: TenantId, browser: Browser) -> None:
    await browser.get(await web.console_link(tenant_id))
    await (await browser.press("Continue")).follow()
    assert (await browser.post("/console/sign-out", {})).status == 403
    assert (await browser.get("/console/connections", follow=False)).status == 200


async def test_a_session_without_the_scope_gets_a_page_that_says_so(
    web: Web, tenant_id: TenantId, browser: Browser
) -> None:
    await browser.get(await web.console_link(tenant_id, "read"))
    await (await browser.press("Continue")).follow()
    assert browser.status == 403
    assert "needs the scope" in browser.page


@pytest.mark.parametrize(
    "address",
    [
        "/console/sign-in",
        "/console/enter/x",
        "/connect/" + "x" * 43,
        "/connect/%00",
        "/connect/problem/expired",
        "/connect/problem/nonsense",
        "/connect/result/fl_unknown",
        "/connect/result/%00",
        "/console/static/nonsense",
        "/oauth/callback/hubspot",
        "/oauth/callback/%00?state=x",
    ],
)
async def test_every_page_is_a_page_and_guarded(browser: Browser, address: str) -> None:
    """Never JSON, never a trace, and nothing on it that our own policy would not run."""
    await browser.get(address)
    assert browser.status < 500
    assert browser.headers["content-type"].startswith("text/html")
    policy = browser.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    for header, value in (
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ):
        assert browser.headers[header] == value
    assert '<html lang="en">' in browser.html
    assert browser.html.count("<h1") == 1


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_templates_hold_no_script_style_or_address_of_others(template: Path) -> None:
    text = template.read_text()
    assert not re.search(r"<script(?![^>]*src=\"/console/static/)|<style|\sstyle=|\son\w+=|javascript:", text)
    assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", text)
    assert "| safe" not in text
    assert "|safe" not in text


async def test_static_files_are_ours_and_may_be_kept(browser: Browser) -> None:
    for name, kind in (("console.css", "text/css"), ("onward.js", "text/javascript"), ("mark.svg", "image/svg+xml")):
        await browser.get(f"/console/static/{name}")
        assert browser.status == 200
        assert browser.headers["content-type"].startswith(kind)


def test_everything_that_can_happen_has_words() -> None:
    assert set(texts.RESULTS) == set(Outcome)
    assert set(texts.REFUSALS) == set(Refusal)
    assert set(texts.STATES) == set(State)
    names = {"crm": "HubSpot", "tenant": "ACME", "account": "62515"}
    for result in (*texts.RESULTS.values(), *texts.REFUSALS.values()):
        for said in (result.title, result.text, result.next):
            assert said.format(**names)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://app.hubspot.com", ("https://app.hubspot.com", "https://*.hubspot.com")),
        ("https://acme.my.salesforce.com", ("https://acme.my.salesforce.com", "https://*.my.salesforce.com")),
        ("http://127.0.0.1:9001", ("http://127.0.0.1:9001",)),
        ("http://sandbox:9001", ("http://sandbox:9001",)),
        ("https://hubspot.com", ("https://hubspot.com",)),
    ],
)
def test_forms_may_lead_to_the_vendor_and_nowhere_else(origin: str, allowed: tuple[str, ...]) -> None:
    assert targets(None, origin) == allowed


# ── connecting, where vendors differ ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def known(browser: Browser, web: Web, tenant_id: TenantId, monkeypatch: pytest.MonkeyPatch) -> Browser:
    """A browser that is signed in, where four CRMs can be connected."""
    monkeypatch.setattr(web.parts.connections, "providers", providers())
    await browser.get(await web.console_link(tenant_id))
    await (await browser.press("Continue")).follow()
    return browser


async def test_a_crm_that_is_not_set_up_says_which_settings_are_missing_and_where_that_is_explained(
    known: Browser, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    guided = provider(msgspec.structs.replace(MANIFESTS["zoho"], guide="docs/connect/zoho.md"))
    half = App(client_id="ours")
    monkeypatch.setattr(web.parts.connections, "providers", providers({"zoho": guided}, zoho=half, pipedrive=App()))
    await known.get("/console/connections")
    assert "GATEWAY_ZOHO_CLIENT_SECRET" in known.page
    assert "GATEWAY_ZOHO_CLIENT_ID" not in known.page
    assert "docs/connect/zoho.md" in known.page
    assert "GATEWAY_PIPEDRIVE_CLIENT_ID and GATEWAY_PIPEDRIVE_CLIENT_SECRET" in known.page
    assert 'value="pipedrive"' not in known.html
    csrf = dict(re.findall(r'name="(csrf)" value="([^"]+)"', known.html))
    await known.post("/console/connections", {**csrf, "provider": "zoho"})
    assert known.status == 409
    assert "GATEWAY_ZOHO_CLIENT_SECRET" in known.page


@pytest.mark.parametrize(
    ("typed", "origin"),
    [
        ("", "https://login.salesforce.com"),
        ("test.salesforce.com", "https://test.salesforce.com"),
        (" https://Acme--Dev.sandbox.my.salesforce.com/lightning/page ", "https://acme--dev.sandbox.my.salesforce.com"),
    ],
)
async def test_a_sign_in_host_of_one_s_own_is_where_the_browser_goes(
    known: Browser, web: Web, typed: str, origin: str
) -> None:
    await known.get("/console/connections")
    assert "test.salesforce.com for a sandbox" in known.page
    csrf = dict(re.findall(r'name="(csrf)" value="([^"]+)"', known.html))
    await known.post("/console/connections", {**csrf, "provider": "salesforce", "login_host": typed})
    assert known.status == 303
    assert known.headers["location"].startswith(f"{origin}/oauth/authorize?")
    async with web.parts.db.reading() as session:
        flow = (await session.scalars(select(OauthFlow))).one()
    assert (flow.auth_origin, flow.token_origin) == (origin, origin)


@pytest.mark.parametrize(
    "typed",
    [
        "evil.com",
        "https://evil.com/.my.salesforce.com",
        "x@acme.my.salesforce.com",
        "acme.my.salesforce.com:8443",
        "<b>",
    ],
)
async def test_a_sign_in_host_that_is_not_the_vendor_s_is_refused_in_words(
    known: Browser, web: Web, typed: str
) -> None:
    await known.get("/console/connections")
    csrf = dict(re.findall(r'name="(csrf)" value="([^"]+)"', known.html))
    await known.post("/console/connections", {**csrf, "provider": "salesforce", "login_host": typed})
    assert known.status == 409
    assert "not a sign-in host of Salesforce: test.salesforce.com for a sandbox, or your My Domain" in known.page
    assert "evil" not in known.html
    key = await web.key(await web.tenant("Other AG"))
    reply = await web.client.post(
        "/v1/connections",
        json={"provider": "salesforce", "login_host": typed},
        headers={"authorization": f"Bearer {key}"},
    )
    assert reply.status_code == 422
    assert [error["field"] for error in reply.json()["errors"]] == ["body.login_host"]
    async with web.parts.db.reading() as session:
        assert (await session.scalars(select(OauthFlow))).all() == []


async def test_the_page_that_asks_says_where_one_will_sign_in(known: Browser, web: Web) -> None:
    """Whoever is sent a link sees that it leads to a sandbox, or to somebody's own domain."""
    key = await web.key(await web.tenant("Other AG"))
    for host, shown in (("test.salesforce.com", True), ("login.salesforce.com", False)):
        reply = await web.client.post(
            "/v1/connections",
            json={"provider": "salesforce", "login_host": host},
            headers={"authorization": f"Bearer {key}"},
        )
        await known.get(reply.json()["authorize_url"])
        assert ("Sign-in at" in known.page) == shown
        assert (host in known.page) == shown


def test_consent_pages_may_pass_a_browser_on_to_the_vendor_s_other_regions() -> None:
    """Chromium checks redirects of a form against the policy: a European would be stuck at accounts.zoho.com."""
    manifest = msgspec.structs.replace(MANIFESTS["zoho"], consent_hosts=("https://*.zoho.eu",))
    known = providers({"zoho": provider(manifest)}).of("zoho")
    assert targets(known, known.auth_origin) == (
        "https://accounts.zoho.com",
        "https://*.zoho.com",
        "https://*.zoho.eu",
    )
    assert targets(known, "http://127.0.0.1:9001") == ("http://127.0.0.1:9001",)


def test_times_are_where_the_tenant_is() -> None:
    assert when(datetime(2026, 11, 21, 9, 4, tzinfo=UTC), "Europe/Zurich") == "21 November 2026, 10:04"
