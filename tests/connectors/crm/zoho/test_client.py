"""What Zoho has and others have not: leads that become contacts, search beside queries, fields and layouts of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import phonenumbers
import pytest

from connectors.crm.changes import Change, Happened
from connectors.crm.port import Done, Failed, Outcome, Stick
from connectors.crm.records import (
    CallLog,
    CreateDeal,
    CreateTask,
    Field,
    Kind,
    LogCall,
    MoveStage,
    OptOut,
    Ref,
    SetFields,
    UpsertContact,
)
from connectors.crm.zoho import wire
from connectors.crm.zoho.client import Zoho
from connectors.crm.zoho.manifest import DATA_CENTRES, KEY, MANIFEST, has_field
from connectors.errors import Rejected, Unavailable, UnexpectedReply, Unsupported
from connectors.request import Reply
from connectors.sandbox.zoho.modules import MODULES, FieldDef
from connectors.sandbox.zoho.org import Layout, Pipeline, Stage
from tests.connectors.crm.zoho.world import SCOPES, World, connected, make_world

NUMBER = phonenumbers.parse("+41446681800")
AT = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)
CALL = CallLog(direction="inbound", started_at=AT)


def call(about: Ref, key: str = "call-1") -> LogCall:
    return LogCall(key=key, subject="Offer", call=CALL, about=(about,))


def done(outcomes: Sequence[Outcome]) -> Any:
    (outcome,) = outcomes
    assert isinstance(outcome, Done), outcome
    assert outcome.record is not None
    return outcome.record


def refused(outcomes: Sequence[Outcome]) -> Rejected:
    (outcome,) = outcomes
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, Rejected), outcome.error
    return outcome.error


# ── looking people up ───────────────────────────────────────────────────────────────────────────────────────────────


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


# ── leads that become contacts ──────────────────────────────────────────────────────────────────────────────────────


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


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


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
    for one in leads:
        convert(world, one)
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
