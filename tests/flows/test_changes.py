"""Somebody works in the CRM: whoever calls a moment later is who the CRM says, at every vendor, told of it or not."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any, cast

import msgspec
import pytest

from connectors.crm.changes import Notice
from connectors.crm.port import Done, Stick
from connectors.crm.records import Kind, Ref, SetFields
from connectors.request import Reply, Request
from connectors.sandbox.salesforce import saving
from gateway import bell
from gateway.db.engine import utc_now
from gateway.directory.importer import Importer
from gateway.lookup.find import Finder
from tests.contract.accounts import ACCOUNTS, Account, HubSpotAccount
from tests.contract.accounts_pipedrive import PipedriveAccount
from tests.contract.accounts_salesforce import SalesforceAccount
from tests.contract.accounts_zoho import ZohoAccount
from tests.gateway.directory.feeding import PUBLIC, House, house
from tests.gateway.directory.test_notices import hubspot_signed, hubspot_url

FIRST, SECOND, THIRD = "+41446681800", "+41446681801", "+41446681802"
LEVEL = {"pipedrive": Stick.FOUND}


@dataclass
class Story:
    """A tenant whose CRM is `account`, mirrored, and a process that answers the phone."""

    account: Account
    house: House
    finder: Finder
    told: Callable[[], Awaitable[int]]

    async def callers(self, number: str) -> set[str]:
        """Ids of the records that a lookup answers with."""
        found = await self.finder.find(
            self.house.book.tenant_id,
            number,
            region="CH",
            asked_by="ky_1",
            assurance="key",
            budget=timedelta(seconds=5),
        )
        assert found.kept.status in ("known", "several", "unknown")
        return {record.rpartition("/")[2] for record in found.kept.records}

    async def tell(self) -> None:
        """What the vendor has to say arrives, and the worker is rung for it."""
        assert await self.told() > 0
        later = utc_now() + timedelta(hours=1)
        await self.house.change_feed(poll_at=later, sweep_at=later)
        await self.house.follow()
        assert await self.house.hints() == []

    async def poll(self) -> None:
        """Nobody tells anything; a poll is due."""
        if isinstance(self.account, HubSpotAccount):
            self.account.settle()  # it asks the search, which lags
        await self.house.poll()
        await self.house.follow()

    # ── what people do in the CRM; at Pipedrive through its API, since what is done there is told ───────────────────────

    async def add(self, first: str, last: str, number: str) -> Ref:
        if isinstance(self.account, PipedriveAccount):
            body = {"name": f"{first} {last}", "phones": [{"value": number, "label": "work", "primary": True}]}
            made = json.loads((await self._pipedrive("POST", "/api/v2/persons", body)).body)
            return Ref(Kind.CONTACT, str(made["data"]["id"]))
        return self.account.add_person(first_name=first, last_name=last, phone=number)

    async def change_phone(self, ref: Ref, number: str) -> None:
        if isinstance(self.account, PipedriveAccount):
            body = {"phones": [{"value": number, "label": "work", "primary": True}]}
            await self._pipedrive("PATCH", f"/api/v2/persons/{ref.id}", body)
            return
        fields = {self.account.name_of("phone"): number}
        (outcome,) = await self.account.crm.write([SetFields(key=f"k{number}", fields=fields, target=ref)])
        assert isinstance(outcome, Done), outcome

    async def merge(self, winner: Ref, loser: Ref) -> None:
        if isinstance(self.account, PipedriveAccount):
            await self._pipedrive("PUT", f"/api/v1/persons/{loser.id}/merge", {"merge_with_id": int(winner.id)})
        else:
            self.account.merge(winner, loser)

    async def delete(self, ref: Ref) -> None:
        if isinstance(self.account, PipedriveAccount):
            await self._pipedrive("DELETE", f"/api/v2/persons/{ref.id}")
        else:
            self.account.delete(ref)

    async def _pipedrive(self, method: str, path: str, body: Any = None) -> Reply:
        self.account.clock.advance(timedelta(seconds=1))
        assert isinstance(self.account, PipedriveAccount)
        cost = {"DELETE": 3, "PUT": 40}.get(method, 5)
        return await self.account.http.send(Request(method=method, path=path, json=body, cost=cost, writes=True))


@asynccontextmanager
async def story(slug: str, url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Story]:
    module = "tests.contract.accounts" if slug == "hubspot" else f"tests.contract.accounts_{slug}"
    monkeypatch.setattr(import_module(module), "START", utc_now())  # the vendor's clock is right
    async with ACCOUNTS[slug](LEVEL.get(slug, Stick.ENFORCED)) as account:
        known = await account.crm.who_am_i()
        async with house(
            url, slug=slug, account=known.id, crm=account.crm, redis_url=redis_url, mirrored=False
        ) as here:
            if isinstance(account, PipedriveAccount):
                account.company.outgoing.clear()
            redis = bell.connect(here.settings)
            finder = Finder(
                settings=here.settings, db=here.book.db, keyring=here.book.keyring, redis=redis,
                connections=here.connections,
            )  # fmt: skip
            here.follower.forget = finder.forget_hashes
            await here.subscriptions.renew(here.book.connection_id)
            try:
                yield Story(account, here, finder, _telling(account, here))
            finally:
                await finder.close()
                await redis.aclose()


async def mirrored(story: Story) -> None:
    here = story.house
    importer = Importer(
        db=here.book.db, keyring=here.book.keyring, connections=here.connections, forget=story.finder.forget_hashes
    )
    await importer.run(here.book.connection_id)
    await here.poll()


def _telling(account: Account, here: House) -> Callable[[], Awaitable[int]]:
    """Delivers what this vendor would send by now, in its own form; how many records were hinted at."""

    async def deliver(url: str, body: bytes, headers: Mapping[str, str]) -> int:
        slug, key = url.removeprefix(f"{PUBLIC}/crm/").split("/")
        known = await here.notices.find(slug, key)
        assert known is not None
        return await here.notices.take(known, Notice(method="POST", url=url, headers=headers, body=body), now=utc_now())

    async def pipedrive() -> int:
        company = cast(PipedriveAccount, account).company
        sent, company.outgoing[:] = list(company.outgoing), []
        pairs = [(one, f"{one.user}:{one.password}") for one in sent]
        return sum([
            await deliver(one.address, msgspec.json.encode(one.body),
                          {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()})
            for one, pair in pairs
        ])  # fmt: skip

    async def zoho() -> int:
        of = cast(ZohoAccount, account)
        return sum([await deliver(one.url, one.body, {}) for one in of.vendor.outgoing(of.org)])

    seen = 0

    async def hubspot() -> int:
        nonlocal seen
        crm = cast(HubSpotAccount, account).portal.crm
        events = [_hubspot_event(crm, change) for change in crm.changes[seen:]]
        seen = len(crm.changes)
        body, url = json.dumps([one for one in events if one]).encode(), hubspot_url(here)
        return await deliver(url, body, hubspot_signed(url, body, utc_now()))

    async def nothing() -> int:
        raise AssertionError("this vendor tells nothing")

    return {"pipedrive": pipedrive, "zoho": zoho, "hubspot": hubspot}.get(account.provider.manifest.slug, nothing)


def _hubspot_event(crm: Any, change: Any) -> dict[str, Any] | None:
    """As HubSpot's "Webhooks" page shows them (2026-11); its sandbox sends none itself."""
    entry = change.entry
    if entry.kind not in ("contact", "company"):
        return None
    at = int(change.at.timestamp() * 1000)
    about: dict[str, Any] = {"portalId": 62515, "appId": 54321, "occurredAt": at, "attemptNumber": 0}
    if change.what == "merged":
        winner = int(crm.get(entry.kind, entry.id).id)
        return {**about, "subscriptionType": f"{entry.kind}.merge", "primaryObjectId": winner,
                "mergedObjectIds": [int(entry.id)]}  # fmt: skip
    news = {"created": "creation", "updated": "propertyChange", "archived": "deletion"}[change.what]
    return {**about, "subscriptionType": f"{entry.kind}.{news}", "objectId": int(entry.id)}


TELLING = ["hubspot", "pipedrive", "zoho"]
LISTING_DELETIONS = ["pipedrive", "salesforce", "zoho"]
CONVERTING = ["salesforce", "zoho"]


@pytest.mark.parametrize("slug", TELLING)
async def test_what_a_crm_tells_us_is_what_the_next_caller_meets(
    slug: str, postgres_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with story(slug, postgres_url, redis_url, monkeypatch) as told:
        jean = await told.add("Jean", "Dupont", FIRST)
        await mirrored(told)
        assert await told.callers(FIRST) == {jean.id}

        anna = await told.add("Anna", "Muster", SECOND)
        await told.tell()
        assert await told.callers(SECOND) == {anna.id}

        await told.change_phone(jean, THIRD)
        await told.tell()
        assert (await told.callers(FIRST), await told.callers(THIRD)) == (set(), {jean.id})

        await told.merge(anna, jean)
        await told.tell()
        assert await told.callers(SECOND) == {anna.id}
        assert jean.id not in await told.callers(THIRD)

        await told.delete(anna)
        await told.tell()
        assert await told.callers(SECOND) == set()


@pytest.mark.parametrize("slug", ["hubspot", *LISTING_DELETIONS])
async def test_what_nobody_told_us_is_found_by_asking(
    slug: str, postgres_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with story(slug, postgres_url, redis_url, monkeypatch) as told:
        jean = await told.add("Jean", "Dupont", FIRST)
        await mirrored(told)
        assert await told.callers(FIRST) == {jean.id}

        anna = await told.add("Anna", "Muster", SECOND)
        await told.change_phone(jean, THIRD)
        await told.poll()
        assert await told.callers(SECOND) == {anna.id}
        assert (await told.callers(FIRST), await told.callers(THIRD)) == (set(), {jean.id})


@pytest.mark.parametrize("slug", LISTING_DELETIONS)
async def test_who_was_deleted_or_merged_is_not_answered_any_more(
    slug: str, postgres_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with story(slug, postgres_url, redis_url, monkeypatch) as told:
        jean = await told.add("Jean", "Dupont", FIRST)
        anna = await told.add("Anna", "Muster", SECOND)
        await mirrored(told)
        assert await told.callers(SECOND) == {anna.id}
        await told.merge(jean, anna)
        await told.poll()
        assert anna.id not in await told.callers(SECOND)
        assert jean.id in await told.callers(FIRST)
        await told.delete(jean)
        await told.poll()
        assert await told.callers(FIRST) == set()


@pytest.mark.parametrize("slug", ["hubspot"])
async def test_a_deletion_that_nobody_tells_of_is_found_by_a_sweep(
    slug: str, postgres_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HubSpot lists no deletions: where its app sends no notices, the daily sample and imports find them."""
    async with story(slug, postgres_url, redis_url, monkeypatch) as told:
        jean = await told.add("Jean", "Dupont", FIRST)
        await mirrored(told)
        assert await told.callers(FIRST) == {jean.id}
        await told.delete(jean)
        await told.house.sweep()
        assert await told.callers(FIRST) == set()


@pytest.mark.parametrize("slug", CONVERTING)
async def test_a_lead_that_became_a_contact_is_answered_as_one(
    slug: str, postgres_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with story(slug, postgres_url, redis_url, monkeypatch) as told:
        account = told.account
        if isinstance(account, ZohoAccount):
            lead = account._create(Kind.LEAD, Last_Name="Dupont", Company="Exemple SA", Phone=FIRST)
        else:
            assert isinstance(account, SalesforceAccount)
            lead = Ref(Kind.LEAD, account._create("Lead", LastName="Dupont", Company="Exemple SA", Phone=FIRST).id)
        await mirrored(told)
        assert await told.callers(FIRST) == {lead.id}
        if isinstance(account, ZohoAccount):
            contact = account.org.convert(account._entry(lead), account._now())["Contacts"].id
        else:
            made = account._create("Contact", LastName="Dupont", Phone=FIRST)
            saving.convert(account.org, account._row(lead), made, account._now())
            contact = made.id
        await told.poll()
        assert await told.callers(FIRST) == {contact}
