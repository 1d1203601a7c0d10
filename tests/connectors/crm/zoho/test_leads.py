"""Leads, and the contacts they become: before, between and after a lookup and a write."""

from __future__ import annotations

from datetime import timedelta

import pytest

from connectors.crm.changes import Change, Happened
from connectors.crm.port import Done
from connectors.crm.records import (
    CreateTask,
    Kind,
    OptOut,
    Ref,
    SetFields,
    UpsertContact,
)
from connectors.crm.zoho.client import Zoho
from connectors.sandbox.zoho.modules import MODULES
from tests.connectors.crm.zoho.world import AT, World, call, done


def convert(world: World, lead: str) -> str:
    found = world.org.get(MODULES["leads"], lead)
    assert found is not None
    return world.org.convert(found, world.clock())["Contacts"].id


@pytest.fixture
def lead(world: World) -> Ref:
    made = world.add(
        "Leads",
        First_Name="Aline",
        Last_Name="Voisard",
        Company="Aurora SA",
        Phone="044 668 18 00",
        Email="a@example.com",
    )
    return Ref(Kind.LEAD, made)


async def test_a_lead_is_called_and_reminded_of_like_a_contact(world: World, crm: Zoho, lead: Ref) -> None:
    logged = done(await crm.write([call(lead)]))
    done(await crm.write([CreateTask(key="t", subject="Call back", due=AT, about=(lead,))]))
    assert world.held("Calls", logged.id)["$se_module"] == "Leads"
    context = await crm.context(lead)
    assert context.complete
    assert context.company is not None
    assert context.company.name == "Aurora SA"
    assert {one.kind for one in context.recent} == {Kind.CALL, Kind.TASK}


async def test_a_converted_lead_is_read_as_its_contact(world: World, crm: Zoho, lead: Ref) -> None:
    contact = convert(world, lead.id)
    found = await crm.read_contact(lead)
    assert found is not None
    assert (found.kind, found.id, found.name) == (Kind.CONTACT, contact, "Aline Voisard")
    assert (await crm.context(lead)).company is not None


async def test_a_call_about_a_lead_converted_meanwhile_lands_at_the_contact(world: World, crm: Zoho, lead: Ref) -> None:
    """Looked up while it rang as a lead, converted during the call, written afterwards."""
    contact = convert(world, lead.id)
    logged = done(await crm.write([call(lead)]))
    assert world.held("Calls", logged.id)["Who_Id"] == contact
    assert "What_Id" not in world.held("Calls", logged.id)
    first, second = await crm.write([call(lead, "call-2"), call(lead, "call-3")])  # in one request as well
    assert {world.held("Calls", done([one]).id)["Who_Id"] for one in (first, second)} == {contact}


async def test_changes_to_a_converted_lead_go_to_the_contact(world: World, crm: Zoho, lead: Ref) -> None:
    contact = convert(world, lead.id)
    filled = done(await crm.write([UpsertContact(key="p", target=lead, kind=Kind.LEAD, phone="+41795550123")]))
    assert (filled.kind, filled.id) == (Kind.CONTACT, contact)
    assert world.held("Contacts", contact)["Mobile"] == "+41795550123"
    set_ = done(await crm.write([SetFields(key="s", target=lead, fields={"City": "Bern"})]))
    assert (set_.kind, set_.id) == (Kind.CONTACT, contact)
    assert isinstance((await crm.write([OptOut(key="o", target=lead)]))[0], Done)
    assert world.held("Contacts", contact)["Email_Opt_Out"] == "true"


async def test_conversions_and_deletions_are_told(world: World, crm: Zoho, lead: Ref) -> None:
    gone = world.add("Leads", Last_Name="Gone", Company="X")
    since = world.clock()
    assert await crm.deleted_since(Kind.LEAD, since) == []
    world.clock.advance(timedelta(seconds=5))
    contact = convert(world, lead.id)
    world.delete("Leads", gone)
    told = {change.id: change for change in await crm.deleted_since(Kind.LEAD, since)}
    assert told[gone].happened is Happened.DELETED
    assert told[lead.id] == Change(
        kind=Kind.LEAD, id=lead.id, happened=Happened.CONVERTED, at=told[lead.id].at, into=Ref(Kind.CONTACT, contact)
    )
    assert await crm.deleted_since(Kind.LEAD, world.clock() + timedelta(seconds=1)) == []
    assert await crm.deleted_since(Kind.CONTACT, since) == []
