"""A person connects each CRM there is: the real application and its pages, a scripted browser, the vendor's sandbox behind.

What is the same for all of them; HubSpot's test_connect.py holds every rule of the sign-in itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from connectors.crm.catalog import CATALOG
from connectors.errors import ReconnectNeeded
from connectors.sandbox.face import Face
from connectors.sandbox.faults import Fault, Kind
from connectors.sandbox.serve import PROVIDERS, running
from gateway.db.base import TenantId
from gateway.db.engine import utc_now
from gateway.settings import App
from tests import web as shell
from tests.flows.test_connect import Browser
from tests.gateway.connections.connecting import change, row_of, settings_for
from tests.web import Web

CLIENT = {"CLIENT_ID": "sandbox-client", "CLIENT_SECRET": "sandbox-secret"}
ORIGINS = ("AUTH_URL", "TOKEN_URL", "API_URL")


@dataclass
class Stage:
    web: Web
    face: Face
    origin: str
    provider: str
    tenant_id: TenantId
    key: str

    async def ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        return await self.web.client.request(method, path, headers={"authorization": f"Bearer {self.key}"}, **more)

    async def connections(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = (await self.ask("GET", "/v1/connections")).json()["items"]
        return items

    async def sign_in(self, decision: str = "approve") -> Browser:
        """From the API's link over our page and the vendor's, back to the result."""
        started = await self.ask("POST", "/v1/connections", json={"provider": self.provider})
        assert started.status_code == 201, started.text
        browser = Browser(self.web.anyone("127.0.0.1"))
        await browser.get(str(urlsplit(started.json()["authorize_url"]).path))
        await browser.press("Approve")
        assert browser.status == 303, browser.page
        async with httpx2.AsyncClient(trust_env=False) as elsewhere:
            reply = await elsewhere.get(f"{browser.headers['location']}&auto={decision}")
        assert reply.status_code in (302, 303), reply.text
        back = urlsplit(reply.headers["location"])
        return await browser.get(f"{back.path}?{back.query}")

    async def connected(self) -> dict[str, Any]:
        browser = await self.sign_in()
        assert f"{CATALOG[self.provider].manifest.name} is connected" in browser.page, browser.page
        (item,) = await self.connections()
        assert await self.web.parts.connections.probed(item["id"], within=timedelta(seconds=40))
        return (await self.connections())[0]


@pytest.fixture(params=sorted(set(CATALOG) & set(PROVIDERS)))
async def stage(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, sqlite_url: str, sealing_key: str
) -> AsyncIterator[Stage]:
    provider: str = request.param
    face = PROVIDERS[provider]()
    async with running(face) as origin:
        for name, value in {**CLIENT, **dict.fromkeys(ORIGINS, origin)}.items():
            monkeypatch.setenv(f"GATEWAY_{provider.upper()}_{name}", value)
        settings = settings_for(sqlite_url, sealing_key)
        async with shell.running(settings, beside=lambda _: contextlib.nullcontext()) as web:
            await web.parts.redis.flushall()
            tenant_id = await web.tenant("ACME SA")
            yield Stage(web, face, origin, provider, tenant_id, await web.key(tenant_id))


async def test_a_person_connects_their_crm(stage: Stage) -> None:
    item = await stage.connected()
    assert (item["provider"], item["state"], item["paused"]) == (stage.provider, "active", False)
    assert item["account"]["id"]
    assert item["account"]["name"]
    assert set(CATALOG[stage.provider].manifest.scopes) <= {*item["scopes"], *item["missing_scopes"]}
    assert set(item["sticking"]) == set(CATALOG[stage.provider].manifest.sticks)
    assert {one["name"] for one in item["limits"]} == set(CATALOG[stage.provider].manifest.buckets)
    assert all(0 < one["remaining"] <= one["limit"] for one in item["limits"])
    (opened,) = await stage.web.parts.connections.of(stage.tenant_id)
    assert (await opened.crm.who_am_i()).id == item["account"]["id"]


async def test_declining_connects_nothing_and_says_so(stage: Stage) -> None:
    browser = await stage.sign_in("deny")
    assert "Access was not granted" in browser.page
    assert await stage.connections() == []


async def test_a_grant_is_renewed_again_and_again_and_goes_on_working(stage: Stage) -> None:
    """Rotating refresh tokens die with their first use: the second renewal shows whether the new one was kept."""
    item = await stage.connected()
    parts = stage.web.parts
    for version in (2, 3):
        await change(parts, item["id"], refresh_due_at=utc_now(), refresh_not_before=None)
        await parts.connections.refresh_due(item["id"])
        row = await row_of(parts, item["id"])
        assert (row.token_version, row.state) == (version, "active")
        assert row.token_expires_at is not None
        assert row.token_expires_at > utc_now()
        opened = await parts.connections.open(stage.tenant_id, item["id"])
        assert (await opened.crm.who_am_i()).id == item["account"]["id"]


async def test_a_grant_that_is_refused_in_use_holds_the_connection_until_somebody_signs_in(stage: Stage) -> None:
    item = await stage.connected()
    opened = await stage.web.parts.connections.open(stage.tenant_id, item["id"])
    await opened.crm.who_am_i()
    number = stage.face.faults.add(Fault(kind=Kind.REVOKED, path=list(stage.face.journal.asked)[-1].path))
    with pytest.raises(ReconnectNeeded):
        await opened.crm.who_am_i()
    stage.face.faults.clear(number)
    assert (await stage.connections())[0]["state"] == "reconnect_needed"
    browser = await stage.sign_in()
    assert "is connected again" in browser.page
    (again,) = await stage.connections()
    assert (again["id"], again["state"]) == (item["id"], "active")


async def test_disconnecting_forgets_the_tokens(stage: Stage) -> None:
    item = await stage.connected()
    assert (await stage.ask("DELETE", f"/v1/connections/{item['id']}")).status_code == 204
    row = await row_of(stage.web.parts, item["id"])
    assert (row.access_token, row.refresh_token, row.grant_extra) == (None, None, None)
    revoke = CATALOG[stage.provider].manifest.revoke_path
    assert revoke in {one.path for one in stage.face.journal.asked}


@pytest.mark.parametrize("slug", sorted(CATALOG))
def test_what_a_manifest_says_of_its_sign_in_holds_together(slug: str) -> None:
    """Its own addresses are among those it accepts, and everything it asks for has words."""
    from gateway.connections.hosts import at_host, at_origin, region_of
    from gateway.connections.providers import Registered

    manifest = CATALOG[slug].manifest
    known = Registered(CATALOG[slug], App(client_id="id"))
    assert set(known.wanted_scopes) <= set(manifest.scope_words)
    assert known.lacking == (f"GATEWAY_{slug.upper()}_CLIENT_SECRET",)
    if manifest.login_hosts:
        assert manifest.login_words
        assert at_host(manifest.login_hosts, manifest.auth_origin.removeprefix("https://"))
        assert at_origin(manifest.login_hosts, manifest.token_origin)
    if manifest.callback_host:
        assert manifest.login_hosts
    if manifest.origin_field:
        assert manifest.region_hosts
    assert bool(region_of(manifest.login_hosts, manifest.token_origin)) == bool(
        region_of(manifest.region_hosts, manifest.api_origin)
    )
    for host in ("evil.com", "evil.com/.salesforce.com", "pipedrive.com.evil.com", "accounts.zoho.eu.evil.com"):
        assert at_host(manifest.login_hosts, host) is None
        assert at_host(manifest.region_hosts, host) is None
    for name, bucket in manifest.buckets.items():
        assert bucket.reserve < bucket.limit, name
        assert set(bucket.spent_by) <= set(manifest.buckets), name
