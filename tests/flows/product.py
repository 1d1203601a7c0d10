"""The whole product as a stranger meets it: processes, HTTP and a CRM sandbox. Flows tell their story through this."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx2

from connectors.sandbox import hubspot
from connectors.sandbox.serve import running
from connectors.sandbox.store import Crm
from tests.chaos.story import CLIENT
from tests.gateway.connections.connecting import AURORA
from tests.processes import Gateway, until_async

ENDED = {"delivered", "dead", "cancelled", "uncertain", "held"}


@dataclass
class Product:
    """A running installation with one tenant that is connected to a sandbox."""

    origin: str
    gateway: Gateway
    client: httpx2.AsyncClient
    vendor: hubspot.HubSpot
    face: Any
    tenant: str
    key: str = field(repr=False)
    endpoints: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def crm(self) -> Crm:
        return self.vendor.portals[AURORA].crm

    async def api(self, method: str, path: str, body: Any = None, *, expect: int = 200) -> Any:
        reply = await self.client.request(
            method, self.origin + path, json=body, headers={"authorization": f"Bearer {self.key}"}
        )
        assert reply.status_code == expect, f"{method} {path}: {reply.status_code} {reply.text}"
        return reply.json() if reply.content else None

    async def endpoint(self, platform: str, **more: Any) -> tuple[str, str]:
        """A voice endpoint's address and secret."""
        if platform not in self.endpoints:
            made = await self.api("POST", "/v1/endpoints", {"platform": platform, "name": platform, **more}, expect=201)
            self.endpoints[platform] = made["url"], made.get("secret") or more["secret"]
        return self.endpoints[platform]

    async def vapi(self, message: Mapping[str, Any]) -> httpx2.Response:
        """Post as Vapi does."""
        url, secret = await self.endpoint("vapi", fallback={"assistantId": "as_1"})
        return await self.client.post(url, json={"message": message}, headers={"x-vapi-secret": secret})

    async def delivered(self, call_id: str, within: timedelta = timedelta(seconds=60)) -> dict[str, Any]:
        """The call, once everything it caused has ended."""
        shown: dict[str, Any] = {}

        async def done() -> bool:
            shown.update(await self.api("GET", f"/v1/calls/{call_id}"))
            return bool(shown["deliveries"]) and all(one["state"] in ENDED for one in shown["deliveries"])

        await until_async(f"{call_id} is delivered", done, within)
        return shown


@contextlib.asynccontextmanager
async def installed(gateway: Gateway, *, embedded: bool, connect: bool = True) -> AsyncIterator[Product]:
    """Start everything, make a tenant and a key, and walk the sign-in. `embedded`: one process; else web, relay, worker."""
    face = hubspot.demo_app(limits=False)
    assert isinstance(face.vendor, hubspot.HubSpot)
    async with running(face) as origin, httpx2.AsyncClient(trust_env=False, timeout=20) as client:
        app = {**CLIENT, **{f"{what}_URL": origin for what in ("AUTH", "TOKEN", "API")}}
        gateway.settings.update({f"GATEWAY_HUBSPOT_{name}": value for name, value in app.items()})
        _, address = gateway.serve()
        if not embedded:
            gateway.worker()
            gateway.relay()
        tenant = json.loads(gateway.run("tenant", "create", "Acme SA", "--region", "CH", "--json"))
        scopes = "lookup,events,read,operate,admin"
        key = json.loads(gateway.run("key", "create", tenant["id"], "--scopes", scopes, "--json"))["key"]
        product = Product(address, gateway, client, face.vendor, face, tenant["id"], key)
        if connect:
            await sign_in(product)
        yield product


async def sign_in(product: Product, *, decision: str = "approve", account: int = AURORA) -> httpx2.Response:
    """From `POST /v1/connections` through our page, the CRM's page and back; the last page."""
    started = await product.api("POST", "/v1/connections", {"provider": "hubspot"}, expect=201)
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as browser:
        await browser.get(started["authorize_url"])
        site = {"sec-fetch-site": "same-origin", "origin": product.origin}
        approved = await browser.post(started["authorize_url"], headers=site)
        consented = await browser.get(f"{approved.headers['location']}&auto={decision}&hub_id={account}")
        back = await browser.get(consented.headers["location"])
        return await browser.get(product.origin + back.headers["location"].removeprefix(product.origin))
