"""What Zoho has and others have not, in writes: layouts, locks, unique values; where keys lie; lists without end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from connectors.crm.port import Failed, Stick
from connectors.crm.records import (
    CreateDeal,
    Field,
    Kind,
    MoveStage,
    OptOut,
    Ref,
    SetFields,
    UpsertContact,
)
from connectors.crm.zoho import wire
from connectors.crm.zoho.client import Zoho
from connectors.crm.zoho.manifest import KEY, has_field
from connectors.errors import Unavailable, Unsupported
from connectors.request import Reply
from connectors.sandbox.zoho.modules import MODULES, FieldDef
from connectors.sandbox.zoho.org import Layout, Pipeline, Stage
from tests.connectors.crm.zoho.world import SCOPES, World, call, connected, done, make_world, refused


async def test_a_lead_is_made_and_found_again(world: World, crm: Zoho) -> None:
    write = UpsertContact(key="p-1", kind=Kind.LEAD, phone="+41446681800", first_name="Aline", last_name="Voisard")
    first = done(await crm.write([write]))
    again = done(await crm.write([write]))
    assert (first.kind, again.id, again.created) == (Kind.LEAD, first.id, False)
    assert world.count("Leads") == 1
    found = await crm.find(write)
    assert found is not None
    assert found.id == first.id


async def test_two_people_with_one_number_stay_two(world: World, crm: Zoho) -> None:
    """Zoho makes no double of a phone number either: people are told apart by our key and their address."""
    done(await crm.write([UpsertContact(key="p-1", phone="+41446681800", last_name="Voisard")]))
    done(await crm.write([UpsertContact(key="p-2", phone="+41446681800", last_name="Perrochon")]))
    assert world.count("Contacts") == 2


async def test_a_value_another_person_has_is_no_update_of_them(world: World) -> None:
    """A unique field of the tenant's own: for a call it is a refusal, never somebody else's record."""
    world.org.add_field(MODULES["calls"], FieldDef(name="Ticket_No", label="Ticket no", length=20, unique=True))
    crm = await connected(world)
    person = Ref(Kind.CONTACT, world.add("Contacts", Last_Name="Perrochon"))
    numbered = msgspec.structs.replace(call(person, "c-1"), fields={"Ticket_No": "7"})
    done(await crm.write([numbered]))
    error = refused(await crm.write([msgspec.structs.replace(numbered, key="c-2")]))
    assert error.field == "Ticket_No"
    assert world.count("Calls") == 1


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"Call_Result": "No such result"}, "Call_Result"),
        ({"Call_Purpose": "x" * 300}, "Call_Purpose"),
        ({"No_Such_Field": "1"}, "No_Such_Field"),
    ],
)
async def test_values_the_account_does_not_take_are_named(
    world: World, crm: Zoho, values: dict[str, str], field: str
) -> None:
    person = Ref(Kind.CONTACT, world.add("Contacts", Last_Name="Perrochon"))
    error = refused(await crm.write([msgspec.structs.replace(call(person), fields=values)]))
    assert error.field == field
    assert world.count("Calls") == 0


async def test_a_locked_record_is_tried_later(world: World, crm: Zoho) -> None:
    person = world.add("Contacts", Last_Name="Perrochon")
    world.org.locked = {person}
    (outcome,) = await crm.write([SetFields(key="s", target=Ref(Kind.CONTACT, person), fields={"City": "Bern"})])
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, Unavailable)
    assert outcome.error.retry_after


async def test_who_was_faster_is_not_overwritten(world: World, crm: Zoho) -> None:
    """A colleague types the mobile number between our read and our write: read again, and theirs stays."""
    person = world.add("Contacts", Last_Name="Perrochon", Phone="044 668 18 01")
    await crm.fields(Kind.CONTACT)
    real = world.ask
    asked: list[Any] = []

    def slow(request: Any) -> Reply:
        reply = real(request)
        if request.method == "GET" and request.path.endswith(person) and not asked:
            asked.append(request)
            world.clock.advance(timedelta(seconds=3))
            world.org.update(MODULES["contacts"], person, {"Mobile": "079 555 99 99"}, world.clock())
        return reply

    world.ask = slow  # type: ignore[method-assign]
    write = UpsertContact(key="p", target=Ref(Kind.CONTACT, person), phone="+41795550123", first_name="Aline")
    done(await crm.write([write]))
    held = world.held("Contacts", person)
    assert (held["Mobile"], held["First_Name"]) == ("079 555 99 99", "Aline")


async def test_deals_of_another_layout_name_it(world: World, crm: Zoho) -> None:
    stages = (Stage("Briefing", "Open", "1"), Stage("Signed", "Closed Won", "2"))
    projects = Layout("Projects", "7328395000000099001", (Pipeline("Projects", stages, "3"),))
    world.org.add_layout(projects)
    person = Ref(Kind.CONTACT, world.add("Contacts", Last_Name="Perrochon"))
    listed = await crm.pipelines(Kind.DEAL)
    assert [one.label for one in listed] == ["Standard (Standard)", "Projects"]
    assert [(stage.closed, stage.won) for stage in listed[1].stages] == [(False, False), (True, True)]
    deal = done(await crm.write([CreateDeal(key="d", name="Fair", pipeline="projects", about=(person,))]))
    held = world.held("Deals", deal.id)
    assert (held["Layout"], held["Pipeline"], held["Stage"]) == (projects.id, "Projects", "Briefing")
    moved = MoveStage(key="m", target=Ref(Kind.DEAL, deal.id), stage="signed", pipeline="Projects")
    done(await crm.write([moved]))
    assert world.held("Deals", deal.id)["Stage"] == "Signed"


async def test_an_account_without_pipelines_has_the_stages_of_the_field(world: World, crm: Zoho) -> None:
    world.org.layouts["Deals"] = [Layout("Standard", "7328395000000099002")]
    (only,) = await crm.pipelines(Kind.DEAL)
    assert [stage.label for stage in only.stages if stage.closed] == ["Closed Won", "Closed Lost"]
    deal = done(await crm.write([CreateDeal(key="d", name="Fair")]))
    assert world.held("Deals", deal.id)["Stage"] == "Qualification"
    assert "Pipeline" not in world.held("Deals", deal.id)


async def test_cases_move_by_their_status(world: World, crm: Zoho) -> None:
    case = world.add("Cases", Subject="Broken", Status="New", Case_Origin="Phone")
    done(await crm.write([MoveStage(key="m", target=Ref(Kind.TICKET, case), stage="escalated")]))
    assert world.held("Cases", case)["Status"] == "Escalated"
    (only,) = await crm.pipelines(Kind.TICKET)
    assert [stage.label for stage in only.stages if stage.closed] == ["Closed"]


async def test_opting_out_reaches_people_only(world: World, crm: Zoho) -> None:
    account = Ref(Kind.COMPANY, world.add("Accounts", Account_Name="Aurora SA"))
    assert refused(await crm.write([OptOut(key="o", target=account)])).field == "Email_Opt_Out"


# ── where keys lie ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_probe_takes_what_the_account_gives() -> None:
    """Contacts enforce; activities only carry the field; without the right to make fields it is texts and addresses."""
    world = make_world(activities_unique=False)
    crm = await connected(world)
    levels = crm._writer.sticks
    assert levels["upsert_contact"].stick is Stick.ENFORCED
    assert (levels["log_call"].stick, has_field(levels["log_call"])) == (Stick.FOUND, True)
    assert (levels["add_note"].stick, has_field(levels["add_note"])) == (Stick.FOUND, False)
    assert world.org.field(MODULES["contacts"], KEY) is not None
    bare = make_world(scopes=[scope for scope in SCOPES if scope != "ZohoCRM.settings.fields.CREATE"])
    levels = (await connected(bare))._writer.sticks
    assert (levels["log_call"].stick, has_field(levels["log_call"])) == (Stick.FOUND, False)


async def test_too_many_unique_fields_leave_the_field_without(world: World) -> None:
    for name in ("Customer_No", "Tax_No"):
        world.org.add_field(MODULES["contacts"], FieldDef(name=name, label=name, length=20, unique=True))
    crm = await connected(world)
    level = crm._writer.sticks["upsert_contact"]
    assert (level.stick, has_field(level)) == (Stick.FOUND, True)
    write = UpsertContact(key="p-1", last_name="Perrochon", phone="+41446681800")
    assert await crm.find(write) is None
    first = done(await crm.write([write]))
    again = done(await crm.write([write]))  # looked for before it is made
    assert (again.id, again.created) == (first.id, False)


async def test_a_field_of_our_name_and_another_type_is_not_ours(world: World) -> None:
    world.org.add_field(MODULES["deals"], FieldDef(name=KEY, label="Gateway Key", type="picklist", options=("a",)))
    crm = await connected(world)
    assert not has_field(crm._writer.sticks["create_deal"])


@pytest.mark.parametrize(
    ("name", "label", "made"),
    [("Gateway_Key", "Gateway Key", "Gateway Key"), ("caller_mood", "Mood of the caller", "caller mood")],
)
async def test_a_fields_name_is_made_of_its_label(world: World, crm: Zoho, name: str, label: str, made: str) -> None:
    field = await crm.create_field(Kind.COMPANY, Field(name=name, label=label, type="text", custom=True))
    assert (field.name, field.label) == (name, made)


async def test_types_zoho_does_not_make_are_said(crm: Zoho) -> None:
    with pytest.raises(Unsupported):
        await crm.create_field(Kind.CONTACT, Field(name="x", label="x", type="bool"))
    with pytest.raises(Unsupported):
        await crm.pipelines(Kind.CONTACT)
    with pytest.raises(Unsupported):
        await crm.list_contacts(Kind.DEAL)


# ── lists ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", [Kind.CONTACT, Kind.LEAD, Kind.COMPANY])
async def test_a_list_is_taken_up_where_it_was_left(world: World, crm: Zoho, kind: Kind) -> None:
    """Also days later, also after records in between were deleted: no token can expire."""
    module = wire.MODULES[kind]
    values: dict[str, Any] = {"Account_Name": "x"} if kind is Kind.COMPANY else {"Last_Name": "x", "Company": "y"}
    made = [world.add(module, Phone="044 668 18 00", **values) for _ in range(6)]
    page = await crm.list_contacts(kind, limit=2)
    world.clock.advance(timedelta(days=3))
    world.token = world.vendor.grants.issue_access(world.grant, world.clock())
    for gone in made[1:3]:
        world.delete(module, gone)
    listed = [one.id for one in page.items]
    while page.next:
        page = await crm.list_contacts(kind, after=page.next, limit=2)
        listed += [one.id for one in page.items]
    assert listed == [made[0], made[1], made[3], made[4], made[5]]
    assert all(one.phones for one in page.items)


async def test_changes_within_one_second_come_once(world: World, crm: Zoho) -> None:
    """An import: more records in one second than fit on a page."""
    world.clock.advance(timedelta(minutes=1))
    now = world.clock()
    made = [world.org.create(MODULES["contacts"], {"Last_Name": f"P{n}"}, now).id for n in range(450)]
    later = world.add("Contacts", Last_Name="Later")
    pages = [page async for page in crm.changes_since(Kind.CONTACT, now)]
    assert [one.id for page in pages for one in page.items] == [*made, later]
    assert [len(page.items) for page in pages] == [200, 200, 51]


async def test_tokens_beyond_the_first_page_of_conversions_are_followed(world: World, crm: Zoho) -> None:
    since = world.clock()
    leads = [world.add("Leads", Last_Name=f"L{n}", Company=f"C{n}") for n in range(3)]
    row = {"id": leads[0], "Converted_Contact": {"id": "7"}, "Modified_Time": "2026-11-23T10:00:01+01:00"}
    pages = [
        {"data": [row], "info": {"more_records": True, "next_page_token": "t-2"}},
        {"data": [{**row, "id": leads[1]}], "info": {"more_records": False}},
    ]
    scripted = iter(pages)
    real = world.ask

    def paged(request: Any) -> Reply:
        if request.path == "/crm/v8/Leads":
            return Reply(status=200, headers={}, body=msgspec.json.encode(next(scripted)))
        return real(request)

    world.ask = paged  # type: ignore[method-assign]
    told = await crm.deleted_since(Kind.LEAD, since)
    assert [change.id for change in told] == leads[:2]
    assert [dict(request.query).get("page_token") for request in world.sent[-2:]] == [None, "t-2"]
