"""Whose CRM is hurt, and asked afterwards: one that takes a write at a time, or one that takes a whole call in one request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import httpx2

from connectors.crm.hubspot.wire_writes import mark as hubspot_mark
from connectors.crm.pipedrive.wire_texts import mark as pipedrive_mark
from connectors.crm.salesforce.wire_texts import mark as salesforce_mark
from connectors.crm.zoho.wire_writes import mark as zoho_mark
from connectors.sandbox import hubspot, pipedrive, salesforce, zoho
from connectors.sandbox.face import Face
from connectors.sandbox.serve import bind
from connectors.sandbox.store import Crm, Entry
from gateway.db.base import TenantId
from gateway.demo.browser import sign_in
from gateway.demo.stage import make_tenant as tenant_with_key
from gateway.demo.stage import served
from gateway.parts import Parts
from tests.gateway.connections.connecting import connected, make_tenant

Connect = Callable[[Parts, int], Awaitable[tuple[TenantId, str]]]


@dataclass(frozen=True)
class Vendor:
    """A sandbox with some accounts.

    accounts  what each of them holds. api: the paths of its API, for faults.
    mark      what a text carries instead of a key. connect: a new tenant's connection to the account of that place.
    daily     a refusal for rate reasons means the rest of the day: a run does not wait for that.
    """

    slug: str
    face: Face = field(repr=False)
    accounts: Sequence[Crm]
    api: str
    mark: Callable[[str], str]
    connect: Connect
    daily: bool = False

    def held(self, account: int, keys: set[str]) -> dict[str, list[Entry]]:
        """What an account holds, by the key it was written under; a name of its own for what nobody promised."""
        marks = {self.mark(key): key for key in keys}
        found: dict[str, list[Entry]] = {}
        for kind in ("contact", "call", "task", "deal"):
            for entry in self.accounts[account].all(kind):
                found.setdefault(_key_of(entry, keys, marks), []).append(entry)
        return found

    def is_linked(self, account: int, entry: Entry, people: set[str]) -> bool:
        crm = self.accounts[account]
        return any(entry.id in crm.linked("contact", person, entry.kind) for person in people)


def _key_of(entry: Entry, keys: set[str], marks: Mapping[str, str]) -> str:
    values = entry.properties.values()
    if (key := next((value for value in values if value in keys), None)) is not None:
        return key
    text = " ".join(values)
    return next((key for sign, key in marks.items() if sign in text), f"stray {entry.kind} {entry.id}")


def hubspots(accounts: int) -> Vendor:
    """Every other account lets activities carry unique properties; in the rest a repeat must be found, not refused."""
    portals = [hubspot.Portal(70000 + n, f"Chaos {n} SA", activities_unique=n % 2 == 0) for n in range(accounts)]

    async def connect(parts: Parts, account: int) -> tuple[TenantId, str]:
        tenant_id = await make_tenant(parts, f"Tenant {account}")
        return tenant_id, await connected(parts, tenant_id, account=portals[account].hub_id)

    face = hubspot.create_app(*portals, limits=False)
    return Vendor("hubspot", face, [portal.crm for portal in portals], "/crm/*", hubspot_mark, connect)


def salesforces(accounts: int) -> Vendor:
    """One org: a person, a call, a task and a deal go out in one composite request; activities must be found by their key."""
    org = salesforce.Org(name="Chaos SA")
    face = salesforce.create_app(org, limits=False)
    vendor = face.vendor
    assert isinstance(vendor, salesforce.Salesforce)
    books = [vendor.books[org.id]]
    return Vendor(
        "salesforce", face, books, "/services/data/*", salesforce_mark, _by_its_pages("salesforce"), daily=True
    )


def pipedrives(accounts: int) -> Vendor:
    """One company: a write at a time, nothing kept unique; what was sent must be found again by reading lists."""
    company = pipedrive.Company(13371337, "Chaos SA")
    face = pipedrive.create_app(company, limits=False)
    return Vendor("pipedrive", face, [company.crm], "/api/*", pipedrive_mark, _by_its_pages("pipedrive"))


def zohos(accounts: int) -> Vendor:
    """One organisation: composite requests of five writes, found again by queries."""
    org = zoho.Org("20097655001", "Chaos SA")
    face = zoho.create_app(org, limits=False)
    return Vendor("zoho", face, [org.crm], "/crm/*", zoho_mark, _by_its_pages("zoho"))


def _by_its_pages(provider: str) -> Connect:
    async def connect(parts: Parts, account: int) -> tuple[TenantId, str]:
        tenant_id, key = await tenant_with_key(parts.settings)
        with bind() as ours:
            origin = f"http://127.0.0.1:{ours.getsockname()[1]}"
            here = parts.settings.model_copy(update={"public_url": origin})
            async with (
                served(here, parts.connections.providers, ours),
                httpx2.AsyncClient(trust_env=False, timeout=30) as browser,
            ):
                auth = {"authorization": f"Bearer {key}"}
                asked = await browser.post(f"{origin}/v1/connections", json={"provider": provider}, headers=auth)
                told = await sign_in(browser, asked.json()["authorize_url"], ours=origin)
                shown = (await browser.get(f"{origin}/v1/connections", headers=auth)).json()["items"]
        assert len(shown) == 1, told
        connection_id: str = shown[0]["id"]
        assert await parts.connections.probed(connection_id, within=timedelta(seconds=20))
        return tenant_id, connection_id

    return connect


VENDORS: Mapping[str, Callable[[int], Vendor]] = {
    "hubspot": hubspots,
    "pipedrive": pipedrives,
    "salesforce": salesforces,
    "zoho": zohos,
}
