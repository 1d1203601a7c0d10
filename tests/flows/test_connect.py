"""A person connects their CRM: the real application, the real pages, a scripted browser, and HubSpot's sandbox behind.

Every rule of OAuth here is one that somebody was hurt by elsewhere; the docstrings say who.
"""

from __future__ import annotations

import contextlib
import html
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest
from sqlalchemy import select, update

from connectors.sandbox.faults import Kind
from gateway.connections.tables import Connection, OauthFlow
from gateway.db.base import TenantId
from gateway.db.engine import utc_now
from tests import web as shell
from tests.gateway.connections.connecting import AURORA, BOREALIS, Crm, change, served_crm, settings_for
from tests.web import Web

CALLBACK = "/oauth/callback/hubspot"


@dataclass
class Browser:
    """One browser: its cookies, and what it sends by itself. `page` is the last page's text, tags removed."""

    client: httpx2.AsyncClient
    status: int = 0
    address: str = ""
    html: str = ""
    headers: httpx2.Headers = field(default_factory=httpx2.Headers)

    @property
    def page(self) -> str:
        text = re.sub(r"<(head|script)\b.*?</\1>", " ", self.html, flags=re.DOTALL)
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())

    async def get(self, address: str, *, follow: bool = True, site: str = "none") -> Browser:
        return self._took(await self._send("GET", address, site=site, follow=follow))

    async def post(self, address: str, data: dict[str, str] | None = None, *, site: str = "same-origin") -> Browser:
        return self._took(await self._send("POST", address, data=data, site=site, follow=False))

    async def press(self, button: str) -> Browser:
        """Send the form whose button says so, with its hidden fields; stop at a redirect to elsewhere."""
        for form in re.findall(r"<form\b.*?</form>", self.html, re.DOTALL):
            if re.search(rf"<button[^>]*>\s*{re.escape(button)}\s*<", form):
                action = re.search(r'action="([^"]*)"', form)
                hidden = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form))
                return await self.post(html.unescape(action[1]) if action else self.address, hidden)
        raise AssertionError(f"no button {button!r} on: {self.page}")

    async def follow(self) -> Browser:
        """Go where the last answer sent us, if that is ours."""
        return await self.get(self.headers["location"])

    async def at_vendor(self, decision: str = "approve", account: int = AURORA) -> str:
        """Decide on the vendor's page; answers the address it sends the browser back to, as a path of ours."""
        assert self.status == 303, self.page
        async with httpx2.AsyncClient(trust_env=False) as elsewhere:
            reply = await elsewhere.get(
                f"{self.headers['location']}&{urlencode({'auto': decision, 'hub_id': account})}"
            )
        assert reply.status_code == 302, reply.text
        back = urlsplit(reply.headers["location"])
        return f"{back.path}?{back.query}"

    async def _send(self, method: str, address: str, *, site: str, follow: bool, **more: Any) -> httpx2.Response:
        headers = {"sec-fetch-site": site}
        return await self.client.request(method, address, headers=headers, follow_redirects=follow, **more)

    def _took(self, reply: httpx2.Response) -> Browser:
        self.status, self.html, self.headers = reply.status_code, reply.text, reply.headers
        self.address = reply.request.url.raw_path.decode()
        return self


@dataclass
class Stage:
    """Everything a test walks on."""

    web: Web
    crm: Crm
    tenant_id: TenantId
    key: str

    def browser(self) -> Browser:
        return Browser(self.web.anyone("127.0.0.1"))

    async def link(self, **more: str) -> str:
        """`POST /v1/connections`: the path of the address it answers."""
        reply = await self.ask("POST", "/v1/connections", json={"provider": "hubspot", **more})
        assert reply.status_code == 201, reply.text
        return str(urlsplit(reply.json()["authorize_url"]).path)

    async def ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        return await self.web.client.request(method, path, headers={"authorization": f"Bearer {self.key}"}, **more)

    async def connections(self) -> list[dict[str, Any]]:
        reply = await self.ask("GET", "/v1/connections")
        assert reply.status_code == 200, reply.text
        items: list[dict[str, Any]] = reply.json()["items"]
        return items

    async def live(self) -> list[str]:
        return [one["id"] for one in await self.connections() if one["state"] != "disconnected"]

    async def signed_in(self, tenant_id: TenantId | None = None) -> Browser:
        browser = self.browser()
        await browser.get(await self.web.console_link(tenant_id or self.tenant_id))
        await browser.press("Continue")
        return await browser.follow()

    async def connected(self, account: int = AURORA) -> str:
        """Walk it once; the connection's id."""
        browser = self.browser()
        await browser.get(await self.link())
        await browser.press("Approve")
        await browser.get(await browser.at_vendor(account=account))
        assert "is connected" in browser.page, browser.page
        return str((await self.connections())[0]["id"])

    async def flow(self) -> OauthFlow:
        async with self.web.parts.db.reading() as session:
            return (await session.scalars(select(OauthFlow).order_by(OauthFlow.id.desc()).limit(1))).one()

    async def make_older(self, by: timedelta) -> None:
        async with self.web.parts.db.transaction() as session:
            await session.execute(update(OauthFlow).values(expires_at=utc_now() - by))


both = pytest.mark.parametrize("stage", ["sqlite_url", "postgres_url"], indirect=True)
"""Where a race or a lock decides; the rest walks on SQLite, the statements being the same and tested on both."""


@pytest.fixture
async def stage(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, sealing_key: str
) -> AsyncIterator[Stage]:
    database_url = request.getfixturevalue(getattr(request, "param", "sqlite_url"))
    async with served_crm() as crm:
        for name, value in crm.environment().items():
            monkeypatch.setenv(name, value)
        settings = settings_for(database_url, sealing_key)
        async with shell.running(settings, beside=lambda _: contextlib.nullcontext()) as web:
            await web.parts.redis.flushall()
            tenant_id = await web.tenant("ACME SA")
            yield Stage(web, crm, tenant_id, await web.key(tenant_id))


@both
async def test_a_person_connects_their_crm(stage: Stage) -> None:
    browser = await stage.browser().get(await stage.link())
    assert browser.status == 200
    assert "You give ACME SA access to your HubSpot" in browser.page
    assert "Asked for by" in browser.page
    await browser.press("Approve")
    assert browser.headers["location"].startswith(f"{stage.crm.origin}/oauth/authorize?")
    await browser.get(await browser.at_vendor())
    assert browser.status == 200
    assert "HubSpot is connected" in browser.page
    assert re.fullmatch(r"/connect/result/fl_\w+", browser.address)  # no code, no state in the history
    (item,) = await stage.connections()
    assert item["provider"] == "hubspot"
    assert item["account"]["id"] == str(AURORA)
    assert (item["state"], item["missing_scopes"], item["paused"]) == ("active", [], False)
    assert "crm.objects.contacts.read" in item["scopes"]


async def test_declining_connects_nothing_and_says_so(stage: Stage) -> None:
    browser = await stage.browser().get(await stage.link())
    await browser.press("Approve")
    await browser.get(await browser.at_vendor("deny"))
    assert "Access was not granted" in browser.page
    assert "start again" in browser.page.lower()
    assert await stage.connections() == []
    assert stage.crm.exchanges == 0


async def test_a_mail_scanner_that_opens_the_link_changes_nothing(stage: Stage) -> None:
    """Scanners open every link in a mail, some of them twice, before the person does."""
    path = await stage.link()
    before = await stage.flow()
    for _ in range(3):
        scanner = await stage.browser().get(path)
        assert scanner.status == 200
        assert "set-cookie" not in scanner.headers
    after = await stage.flow()
    assert (after.claimed_at, after.used_at, after.state_sha256) == (None, None, None)
    assert after.expires_at == before.expires_at
    assert (await (await stage.browser().get(path)).press("Approve")).status == 303


@both
async def test_a_link_is_claimed_once(stage: Stage) -> None:
    path = await stage.link()
    first, second = await stage.browser().get(path), await stage.browser().get(path)
    await first.press("Approve")
    await second.press("Approve")
    assert (first.status, second.status) == (303, 410)
    assert "used already" in second.page


async def test_an_expired_link_says_what_to_do(stage: Stage) -> None:
    path = await stage.link()
    early = await stage.browser().get(path)
    await stage.make_older(timedelta(seconds=1))
    late = await stage.browser().get(path)
    assert late.status == 410
    assert "This link has expired" in late.page
    assert "Ask for a new link" in late.page
    await early.press("Approve")  # the page was open in time, the button came too late
    assert early.status == 410


async def test_a_callback_after_the_time_is_not_exchanged(stage: Stage) -> None:
    browser = await stage.browser().get(await stage.link())
    await browser.press("Approve")
    back = await browser.at_vendor()
    await stage.make_older(timedelta(seconds=1))
    await browser.get(back)
    assert "expired" in browser.page
    assert stage.crm.exchanges == 0
    assert await stage.connections() == []


async def test_an_unknown_link_is_not_found(stage: Stage) -> None:
    browser = await stage.browser().get("/connect/" + "A" * 43)
    assert browser.status == 404
    assert "not valid" in browser.page


@both
@pytest.mark.parametrize(
    "query",
    ["", "code=x", "code=x&state=forged", "error=access_denied", "error=access_denied&state=forged", "state=%00",
     "code=x&state=" + "s" * 10_000],
    ids=lambda query: query[:40] or "nothing",
)  # fmt: skip
async def test_a_forged_callback_is_a_page_and_nothing_else(stage: Stage, query: str) -> None:
    await stage.link()
    browser = await stage.browser().get(f"{CALLBACK}?{query}")
    assert browser.status == 404
    assert "not valid" in browser.page
    assert "denied" not in browser.page  # without a state nothing of a callback is read
    assert (await stage.flow()).used_at is None
    assert stage.crm.exchanges == 0
    assert await stage.connections() == []


@both
async def test_two_callbacks_with_one_code_make_one_connection(stage: Stage) -> None:
    """Browsers reload, and thieves replay."""
    browser = await stage.browser().get(await stage.link())
    await browser.press("Approve")
    back = await browser.at_vendor()
    await browser.get(back)
    assert "is connected" in browser.page
    await browser.get(back)
    assert "used already" in browser.page
    assert stage.crm.exchanges == 1
    assert len(await stage.connections()) == 1


async def test_two_tabs_do_not_disturb_each_other(stage: Stage) -> None:
    browser = stage.browser()
    await (await browser.get(await stage.link())).press("Approve")
    first = await browser.at_vendor(account=AURORA)
    await (await browser.get(await stage.link())).press("Approve")
    second = await browser.at_vendor(account=BOREALIS)
    await browser.get(first)
    assert "is connected" in browser.page
    await browser.get(second)
    assert "is connected" in browser.page
    assert len(await stage.connections()) == 2


@both
async def test_another_browser_cannot_finish_a_sign_in(stage: Stage) -> None:
    """A sent callback would attach the sender's CRM to the tenant, or the victim's to the sender's."""
    browser = await stage.browser().get(await stage.link())
    await browser.press("Approve")
    back = await browser.at_vendor()
    thief = await stage.browser().get(back)
    assert thief.status == 400
    assert "another browser" in thief.page
    await browser.get(back)  # the state was shown elsewhere: it is burnt for everybody
    assert "used already" in browser.page
    assert stage.crm.exchanges == 0
    assert await stage.connections() == []


async def test_a_callback_at_another_provider_s_address_is_refused(stage: Stage) -> None:
    """Mix-up: the code of one vendor must not be shown to another."""
    browser = await stage.browser().get(await stage.link())
    await browser.press("Approve")
    back = await browser.at_vendor()
    await browser.get(back.replace("/hubspot?", "/zoho?"))
    assert browser.status == 404
    assert stage.crm.exchanges == 0


async def test_an_answer_of_another_issuer_is_refused(stage: Stage) -> None:
    browser = await stage.browser().get(await stage.link())
    await browser.press("Approve")
    await browser.get(await browser.at_vendor() + "&iss=https%3A%2F%2Fevil.example")
    assert "did not complete the sign-in" in browser.page
    assert stage.crm.exchanges == 0


async def test_a_vendor_s_own_words_are_not_shown(stage: Stage) -> None:
    """They are whatever somebody put into an address."""
    browser = await stage.browser().get(await stage.link())
    await browser.press("Approve")
    state = parse_qs(urlsplit(browser.headers["location"]).query)["state"][0]
    await browser.get(
        f"{CALLBACK}?{urlencode({'state': state, 'error': 'call_us', 'error_description': 'Call +41 79'})}"
    )
    assert "did not complete the sign-in" in browser.page
    assert "call_us" not in browser.html
    assert "+41 79" not in browser.html
    assert (await stage.flow()).used_at is not None  # consumed, also by an error


async def test_the_verifier_is_what_the_code_is_exchanged_with(stage: Stage) -> None:
    browser = await stage.browser().get(await stage.link())
    await browser.press("Approve")
    asked = parse_qs(urlsplit(browser.headers["location"]).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["redirect_uri"] == [f"{stage.web.origin}{CALLBACK}"]
    flow = await stage.flow()
    assert flow.verifier is not None
    assert len(asked["state"][0]) >= 43
    async with stage.web.parts.db.transaction() as session:  # another verifier than the one of this sign-in
        keys = await stage.web.parts.keyring.in_session(session, stage.tenant_id)
        sealed = keys.seal(b"x" * 64, "oauth_flows", "verifier", flow.id)
        await session.execute(update(OauthFlow).values(verifier=sealed))
    await browser.get(await browser.at_vendor())
    assert "did not complete the sign-in" in browser.page
    assert await stage.connections() == []


async def test_nothing_in_the_row_opens_anything(stage: Stage) -> None:
    """Whoever reads the database during a sign-in can neither claim it nor finish it."""
    path = await stage.link()
    browser = await stage.browser().get(path)
    await browser.press("Approve")
    state = parse_qs(urlsplit(browser.headers["location"]).query)["state"][0]
    cookie = browser.headers["set-cookie"].partition("=")[2].partition(";")[0]
    stored = repr(list(vars(await stage.flow()).values()))
    for secret in (path.rpartition("/")[2], state, cookie):
        assert secret not in stored


async def test_the_flow_cookie_is_out_of_reach_of_scripts_and_other_sites(stage: Stage) -> None:
    browser = await stage.browser().get(await stage.link())
    await browser.press("Approve")
    name, _, rest = browser.headers["set-cookie"].partition("=")
    assert name == f"gw_flow_{(await stage.flow()).id}"
    attributes = {part.strip().lower() for part in rest.split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/"} <= attributes


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
async def test_approve_is_only_pressed_on_our_own_page(stage: Stage, site: str) -> None:
    """A hidden form elsewhere would send the victim to consent without having read anything."""
    path = await stage.link()
    browser = await stage.browser().post(path, site=site)
    assert browser.status == 403
    assert (await stage.flow()).claimed_at is None


async def test_a_token_never_comes_near_a_page_or_an_answer(stage: Stage) -> None:
    await stage.connected()
    browser = await stage.signed_in()
    seen = browser.html + (await stage.ask("GET", "/v1/connections")).text
    assert "CLo" not in seen
    assert "na1-" not in seen


# ── which account ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_another_account_than_asked_for_is_refused_and_handed_back(stage: Stage) -> None:
    browser = await stage.browser().get(await stage.link(expected_account=str(AURORA)))
    await browser.press("Approve")
    await browser.get(await browser.at_vendor(account=BOREALIS))
    assert "That was another account" in browser.page
    assert str(BOREALIS) in browser.page
    assert stage.crm.revocations == 1
    assert await stage.connections() == []


async def test_the_same_account_twice_is_refused_and_the_first_stays(stage: Stage) -> None:
    await stage.connected()
    browser = await stage.browser().get(await stage.link())
    await browser.press("Approve")
    await browser.get(await browser.at_vendor())
    assert "connected already" in browser.page
    assert len(await stage.connections()) == 1
    assert stage.crm.revocations == 0


async def test_what_was_not_granted_is_named_in_words(stage: Stage) -> None:
    stage.crm.vendor.portals[AURORA].lacks = frozenset({"tickets"})
    browser = await stage.browser().get(await stage.link())
    await browser.press("Approve")
    await browser.get(await browser.at_vendor())
    assert "read and create tickets" in browser.page
    (item,) = await stage.connections()
    assert item["missing_scopes"] == ["tickets"]


async def test_a_crm_in_trouble_is_told_from_a_refusal(stage: Stage) -> None:
    stage.crm.break_down(kind=Kind.OUTAGE, path="/oauth/2026-09/token")
    browser = await stage.browser().get(await stage.link())
    await browser.press("Approve")
    await browser.get(await browser.at_vendor())
    assert "HubSpot did not answer" in browser.page
    assert "Wait a few minutes" in browser.page
    assert await stage.connections() == []


# ── signed in ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_signed_in_browser_connects_from_its_page(stage: Stage) -> None:
    browser = await stage.signed_in()
    assert "Nothing is connected yet" in browser.page
    await browser.press("Connect")
    await browser.get(await browser.at_vendor())
    assert "HubSpot is connected" in browser.page
    await browser.get("/console/connections")
    assert "Working" in browser.page
    assert str(AURORA) in browser.page


async def test_a_browser_of_the_tenant_goes_on_by_itself(stage: Stage) -> None:
    path = await stage.link()
    mine = await (await stage.signed_in()).get(path)
    assert "/console/static/onward.js" in mine.html
    assert (await stage.flow()).claimed_at is None  # the script presses the button; the GET itself changes nothing
    other = await stage.web.tenant("Other AG")
    theirs = await (await stage.signed_in(other)).get(path)
    assert "onward.js" not in theirs.html
    assert "You give ACME SA access" in theirs.page


async def test_disconnecting_asks_once_more_then_revokes(stage: Stage) -> None:
    connection_id = await stage.connected()
    browser = await stage.signed_in()
    await browser.get(f"/console/connections/{connection_id}/disconnect")
    assert "Disconnect HubSpot" in browser.page
    assert stage.crm.revocations == 0
    await (await browser.press("Disconnect")).follow()
    assert "Nothing is connected yet" in browser.page
    assert stage.crm.revocations == 2
    (item,) = await stage.connections()
    assert item["state"] == "disconnected"


async def test_forms_need_the_session_s_own_token(stage: Stage) -> None:
    connection_id = await stage.connected()
    browser = await stage.signed_in()
    for path in ("", f"/{connection_id}/reconnect", f"/{connection_id}/disconnect"):
        await browser.post(f"/console/connections{path}", {"provider": "hubspot", "csrf": "guessed"})
        assert browser.status == 403
        assert "expired" in browser.page
    assert await stage.live() == [connection_id]


async def test_pages_send_strangers_to_the_sign_in(stage: Stage) -> None:
    browser = await stage.browser().get("/console/connections", follow=False)
    assert (browser.status, browser.headers["location"]) == (303, "/console/sign-in")


async def test_another_tenant_s_connection_is_not_found(stage: Stage) -> None:
    connection_id = await stage.connected()
    other = await stage.web.tenant("Other AG")
    browser = await stage.signed_in(other)
    csrf = re.search(r'name="csrf" value="([^"]+)"', browser.html)
    assert csrf is not None
    assert (await browser.get(f"/console/connections/{connection_id}/disconnect")).status == 404
    for action in ("reconnect", "disconnect"):
        await browser.post(f"/console/connections/{connection_id}/{action}", {"csrf": csrf[1]})
        assert browser.status == 404
    stage.key = await stage.web.key(other)
    for method, path in (("DELETE", ""), ("GET", "/fields")):
        assert (await stage.ask(method, f"/v1/connections/{connection_id}{path}")).status_code == 404
    reply = await stage.ask("POST", "/v1/connections", json={"provider": "hubspot", "connection_id": connection_id})
    assert reply.status_code == 404
    assert await stage.connections() == []


@both
async def test_a_revoked_grant_holds_everything_until_somebody_signs_in_again(stage: Stage) -> None:
    """The whole way: the CRM takes the grant back, the page says so, Reconnect repairs it, nothing was disconnected."""
    connection_id = await stage.connected()
    connections = stage.web.parts.connections
    stage.crm.vendor.grants.uninstall(AURORA)
    await change(stage.web.parts, connection_id, refresh_due_at=utc_now())
    await connections.refresh_due(connection_id)
    (item,) = await stage.connections()
    assert (item["state"], item["paused"]) == ("reconnect_needed", True)
    assert item["reason"]
    assert await connections.of(stage.tenant_id) == []
    browser = await stage.signed_in()
    assert "sign in again" in browser.page
    assert "kept and delivered after you sign in again" in browser.page
    await browser.press("Reconnect")
    await browser.get(await browser.at_vendor())
    assert "connected again" in browser.page
    (item,) = await stage.connections()
    assert (item["id"], item["state"], item["paused"], item["reason"]) == (connection_id, "active", False, None)
    (opened,) = await connections.of(stage.tenant_id)
    assert (await opened.crm.who_am_i()).id == str(AURORA)


async def test_a_grant_that_is_refused_in_use_holds_the_connection(stage: Stage) -> None:
    """Nobody waits for the next renewal to find out: the 401 of a lookup or a delivery is enough."""
    connection_id = await stage.connected()
    (opened,) = await stage.web.parts.connections.of(stage.tenant_id)
    stage.crm.vendor.grants.uninstall(AURORA)
    with pytest.raises(Exception, match=r"ended|no longer"):
        await opened.crm.who_am_i()
    (item,) = await stage.connections()
    assert (item["id"], item["state"]) == (connection_id, "reconnect_needed")


# ── the API ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"provider": "excel"}, "body.provider"),
        ({}, "body.provider"),
        ({"provider": 7}, "body.provider"),
        ({"provider": "hubspot", "colour": "red"}, "body.colour"),
        ({"provider": "hubspot", "login_host": "evil.example"}, "body.login_host"),
    ],
)
async def test_what_cannot_be_started_names_the_field(stage: Stage, body: dict[str, object], field: str) -> None:
    reply = await stage.ask("POST", "/v1/connections", json=body)
    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in reply.json()["errors"]] == [field]


async def test_only_admin_keys_see_connections(stage: Stage) -> None:
    stage.key = await stage.web.key(stage.tenant_id, "lookup", "read", "operate")
    assert (await stage.ask("GET", "/v1/connections")).status_code == 403
    assert (await stage.ask("POST", "/v1/connections", json={"provider": "hubspot"})).status_code == 403


async def test_a_crm_s_own_fields_are_listed(stage: Stage) -> None:
    connection_id = await stage.connected()
    reply = await stage.ask("GET", f"/v1/connections/{connection_id}/fields?kind=contact")
    assert reply.status_code == 200
    assert "email" in [one["name"] for one in reply.json()["items"]]
    assert (await stage.ask("GET", f"/v1/connections/{connection_id}/fields?kind=spoon")).status_code == 422


async def test_deleting_a_connection_revokes_it_once(stage: Stage) -> None:
    connection_id = await stage.connected()
    assert (await stage.ask("DELETE", f"/v1/connections/{connection_id}")).status_code == 204
    assert (await stage.ask("DELETE", f"/v1/connections/{connection_id}")).status_code == 404
    assert (await stage.ask("GET", f"/v1/connections/{connection_id}/fields")).status_code == 409
    async with stage.web.parts.db.reading() as session:
        row = (await session.scalars(select(Connection))).one()
    assert (row.access_token, row.refresh_token) == (None, None)


@both
async def test_lists_are_paged_newest_first(stage: Stage) -> None:
    first, second = await stage.connected(AURORA), await stage.connected(BOREALIS)
    page = (await stage.ask("GET", "/v1/connections?limit=1")).json()
    assert [one["id"] for one in page["items"]] == [second]
    rest = (await stage.ask("GET", f"/v1/connections?limit=1&cursor={page['next']}")).json()
    assert ([one["id"] for one in rest["items"]], rest["next"]) == ([first], None)
