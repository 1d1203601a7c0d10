"""Who is calling: search beside queries, fields and scopes of the account's own, and links that lead home."""

from __future__ import annotations

import re
from typing import Any

import phonenumbers
import pytest

from connectors.crm.records import (
    CreateDeal,
    Kind,
    LogCall,
    UpsertContact,
)
from connectors.crm.zoho import wire
from connectors.crm.zoho.client import Zoho
from connectors.crm.zoho.manifest import DATA_CENTRES, MANIFEST
from connectors.errors import UnexpectedReply, Unsupported
from connectors.request import Reply
from connectors.sandbox.zoho.modules import MODULES, FieldDef
from tests.connectors.crm.zoho.world import CALL, SCOPES, World, connected, make_world

NUMBER = phonenumbers.parse("+41446681800")


async def test_a_lookup_is_one_request(world: World, crm: Zoho) -> None:
    """Contacts, leads and accounts, by search and by query, in one; which fields hold numbers is asked once in a while."""
    await crm.find_contacts(NUMBER)
    world.sent.clear()
    assert await crm.find_contacts(NUMBER) == []
    (request,) = world.sent
    assert [part["uri"] for part in request.json["__composite_requests"]] == [
        "/crm/v8/Contacts/search",
        "/crm/v8/Leads/search",
        "/crm/v8/Accounts/search",
        "/crm/v8/coql",
        "/crm/v8/coql",
    ]
    assert not request.writes


@pytest.mark.parametrize("field", ["Phone", "Mobile", "Home_Phone", "Other_Phone", "Asst_Phone", "Fax"])
async def test_every_phone_field_is_looked_at(world: World, crm: Zoho, field: str) -> None:
    world.add("Contacts", Last_Name="Perrochon", **{field: "+41 (0)44 668 18 00"})
    world.settle()
    (found,) = await crm.find_contacts(NUMBER)
    assert (found.match, found.reason) == ("exact", wire.LABELS[field])


async def test_a_phone_field_of_the_tenants_own_is_found(world: World) -> None:
    """What holds numbers is discovered, in each module."""
    for module in ("contacts", "leads"):
        world.org.add_field(MODULES[module], FieldDef(name="Direct_Line", label="Direct line", type="phone", length=30))
    crm = await connected(world)
    world.add("Contacts", Last_Name="Perrochon", Direct_Line="044 668 18 00")
    found = await crm.find_contacts(NUMBER)  # not settled: it is the query that finds it
    assert [one.reason for one in found] == ["Direct_Line"]


@pytest.mark.parametrize("search", ["digits", "typed"])
@pytest.mark.parametrize(
    "typed", ["+41446681800", "+41 44 668 18 00", "044 668 18 00", "0446681800", "+41 (0)44 668 18 00"]
)
async def test_how_search_takes_punctuation_does_not_matter(world: World, crm: Zoho, search: str, typed: str) -> None:
    """Zoho does not say; the query covers the usual spellings where search does not."""
    world.org.phone_search = search
    world.add("Leads", Last_Name="Voisard", Company="Aurora SA", Mobile=typed)
    world.settle()
    (found,) = await crm.find_contacts(NUMBER)
    assert (found.kind, found.match, found.company and found.company.name) == (Kind.LEAD, "exact", "Aurora SA")


async def test_somebody_made_a_moment_ago_is_found_before_search_knows(world: World, crm: Zoho) -> None:
    account = world.add("Accounts", Account_Name="Aurora SA")
    world.add("Contacts", Last_Name="Perrochon", Phone="044 668 18 00", Account_Name={"id": account})
    (found,) = await crm.find_contacts(NUMBER)
    assert found.company is not None
    assert found.company.id == account


async def test_people_come_before_companies_and_contacts_before_leads(world: World, crm: Zoho) -> None:
    for module, values in (
        ("Accounts", {"Account_Name": "A"}),
        ("Leads", {"Last_Name": "L", "Company": "C"}),
        ("Contacts", {"Last_Name": "C"}),
    ):
        world.add(module, Phone="044 668 18 00", **values)
    world.settle()
    found = await crm.find_contacts(NUMBER)
    assert [one.kind for one in found] == [Kind.CONTACT, Kind.LEAD, Kind.COMPANY]
    assert len(await crm.find_contacts(NUMBER, limit=1)) == 1


@pytest.mark.parametrize(
    "missing", ["ZohoSearch.securesearch.READ", "ZohoCRM.modules.accounts.READ", "ZohoCRM.modules.leads.READ"]
)
async def test_a_lookup_goes_on_without_what_the_grant_lacks(missing: str) -> None:
    world = make_world(scopes=[scope for scope in SCOPES if scope != missing])
    crm = await connected(world)
    world.add("Contacts", Last_Name="Perrochon", Phone="044 668 18 00")
    world.settle()
    assert [one.kind for one in await crm.find_contacts(NUMBER)] == [Kind.CONTACT]


async def test_without_the_fields_scope_the_standard_fields_are_taken() -> None:
    world = make_world(scopes=[scope for scope in SCOPES if ".settings.fields" not in scope])
    crm = Zoho(world, sticks={}, region="CH")
    world.add("Contacts", Last_Name="Perrochon", Mobile="044 668 18 00")
    assert [one.reason for one in await crm.find_contacts(NUMBER)] == ["mobile"]
    asked = len(world.sent)
    await crm.find_contacts(NUMBER)
    assert len(world.sent) == asked + 1  # a refused scope is not asked for again


# ── the account ─────────────────────────────────────────────────────────────────────────────────────────────────────


class AtHome:
    """A sender that knows where it sends."""

    def __init__(self, inner: World, origin: str) -> None:
        self._inner, self.origin = inner, origin

    async def send(self, request: Any) -> Reply:
        return await self._inner.send(request)


@pytest.mark.parametrize(
    ("origin", "place", "ui"),
    [
        ("https://www.zohoapis.eu", "eu", "https://crm.zoho.eu"),
        ("https://www.zohoapis.ca", "ca", "https://crm.zohocloud.ca"),
        ("https://sandbox.zohoapis.com.au", "au", "https://crm.zoho.com.au"),
        ("http://127.0.0.1:8000", None, "https://crm.zoho.com"),
    ],
)
async def test_links_lead_to_the_data_centre(world: World, origin: str, place: str | None, ui: str) -> None:
    account = await Zoho(AtHome(world, origin), sticks={}).who_am_i()
    assert (account.id, account.name, account.region, account.ui_origin) == ("20097655001", "Aurora Demo SA", place, ui)
    assert (account.timezone, account.currency) == ("Europe/Zurich", "CHF")


def test_hosts_are_matched_whole_and_a_row_is_a_row() -> None:
    for row in DATA_CENTRES.values():
        assert re.fullmatch(MANIFEST.login_hosts, row.accounts)
        assert re.fullmatch(MANIFEST.region_hosts, row.api)
    for evil in ("accounts.zoho.com.evil.example", "evil.example/accounts.zoho.eu", "accounts.zoho.evil", "zoho.eu"):
        assert not re.fullmatch(MANIFEST.login_hosts, evil)
    for evil in ("www.zohoapis.eu.evil.example", "evil.zohoapis.eu", "www.zohoapis.com.evil", "zohoapis.eu"):
        assert not re.fullmatch(MANIFEST.region_hosts, evil)


async def test_an_organisation_that_is_none_is_no_account(world: World) -> None:
    world.strange["GET /crm/v8/org"] = Reply(status=200, headers={}, body=b'{"org": []}')
    with pytest.raises(UnexpectedReply):
        await Zoho(world, sticks={}).who_am_i()


async def test_what_cannot_be_looked_for_says_so(world: World, crm: Zoho) -> None:
    crm._writer.sticks = {}
    with pytest.raises(Unsupported):
        await crm.find(LogCall(key="c", subject="x", call=CALL))
    with pytest.raises(Unsupported):
        await crm.find(CreateDeal(key="d", name="x"))
    for email in (None, "a\\@example.com"):
        with pytest.raises(Unsupported):
            await crm.find(UpsertContact(key="p", last_name="X", email=email))


@pytest.mark.parametrize("host", ["accounts.zoho.ca", "accounts.zohocloud.eu", "accounts.zohocloud.com"])
def test_hosts_of_no_row_are_foreign(host: str) -> None:
    """A name that looks like Zoho's and may be anybody's never sees the client secret."""
    assert not re.fullmatch(MANIFEST.login_hosts, host)


def test_secrets_are_told_apart_by_the_end_of_the_address() -> None:
    for row in DATA_CENTRES.values():
        found = re.fullmatch(MANIFEST.login_hosts, row.accounts), re.fullmatch(MANIFEST.region_hosts, row.api)
        login, api = (one and one["region"] for one in found)
        assert login == api
        assert login
        assert row.accounts.endswith("." + login)
