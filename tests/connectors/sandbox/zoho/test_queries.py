"""COQL as Zoho has it: what it takes, what it refuses, and what it knows that search does not know yet."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sandbox.zoho.coql import parse
from connectors.sandbox.zoho.errors import Refusal
from tests.connectors.crm.zoho.world import World


def query(world: World, text: str) -> tuple[int, Any]:
    return world.told("POST", "coql", {"select_query": text})


@pytest.fixture
def people(world: World) -> list[str]:
    account = world.add("Accounts", Account_Name="Aurora SA")
    values: list[dict[str, Any]] = [
        {"Last_Name": "O'Brien", "Phone": "044 668 18 00", "Account_Name": {"id": account}},
        {"Last_Name": "Perrochon", "Email": "a@example.com", "Email_Opt_Out": True},
        {"Last_Name": "voisard", "First_Name": "Aline", "Phone": "0446681801"},
    ]
    return [world.add("Contacts", **one) for one in values]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("Last_Name = 'O''Brien'", [0]),
        ('Last_Name = "Perrochon"', [1]),
        ("Last_Name = 'VOISARD'", [2]),
        ("Phone in ('044 668 18 00', '0446681801')", [0, 2]),
        ("Phone not in ('044 668 18 00')", [1, 2]),
        ("Phone like '%668%'", [0, 2]),
        ("Phone not like '044 %'", [1, 2]),
        ("Email is null", [0, 2]),
        ("Email is not null", [1]),
        ("Email_Opt_Out = 'true'", [1]),
        ("Account_Name.Account_Name = 'Aurora SA'", [0]),
        ("Account_Name is not null", [0]),
        ("(Email = 'a@example.com' or Last_Name = 'voisard')", [1, 2]),
        ("((Phone is not null and Email is null) and Last_Name != 'voisard')", [0]),
        ("Created_Time > '2026-11-23T09:00:01+00:00'", [0, 1, 2]),
        ("Created_Time between '2026-11-23T09:00:02+00:00' and '2026-11-23T09:00:03+00:00'", [0, 1]),
    ],
)
def test_conditions(world: World, people: list[str], where: str, found: list[int]) -> None:
    status, told = query(world, f"select Last_Name from Contacts where {where} order by id asc")
    assert status == 200
    assert [row["id"] for row in told["data"]] == [people[at] for at in found]


def test_order_limit_and_offset(world: World, people: list[str]) -> None:
    text = "select id from Contacts where id is not null order by Modified_Time desc, id desc limit 1, 1"
    status, told = query(world, text)
    assert (status, [row["id"] for row in told["data"]], told["info"]) == (
        200, [people[1]], {"count": 1, "more_records": True}
    )  # fmt: skip
    assert query(world, "select id from Contacts where id > '" + people[2] + "'") == (204, None)


def test_links_come_as_ids_unless_more_is_asked(world: World, people: list[str]) -> None:
    _, told = query(
        world, f"select Account_Name, Account_Name.Account_Name, Owner from Contacts where id = '{people[0]}'"
    )
    (row,) = told["data"]
    assert row["Account_Name"].keys() == {"id"}
    assert row["Account_Name.Account_Name"] == "Aurora SA"
    assert row["Owner"] == {"id": world.org.installer.id}


def test_activities_of_a_lead_are_asked_through_the_arrow(world: World) -> None:
    lead = world.add("Leads", Last_Name="Lead", Company="X")
    other = world.add("Deals", Deal_Name="D", Stage="Qualification", Closing_Date="2026-12-01")
    at = {"Call_Type": "Inbound", "Call_Start_Time": "2026-11-23T09:00:00+00:00", "Call_Duration": "01:00"}
    call = world.add("Calls", Subject="a", What_Id={"id": lead}, **{"$se_module": "Leads"}, **at)
    world.add("Calls", Subject="b", What_Id={"id": other}, **{"$se_module": "Deals"}, **at)
    _, told = query(world, f"select Subject from Calls where 'What_Id->Leads.id' = '{lead}'")
    assert [row["id"] for row in told["data"]] == [call]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("select id from Contacts", "SYNTAX_ERROR"),
        ("select id from Contacts where", "SYNTAX_ERROR"),
        ("select from Contacts where id = '1'", "SYNTAX_ERROR"),
        ("select id from Contacts where id = '1' and id = '2' and id = '3'", "SYNTAX_ERROR"),
        ("select id from Contacts where (id = '1' or id = '2' or id = '3')", "SYNTAX_ERROR"),
        ("select id from Contacts where (id = '1'", "SYNTAX_ERROR"),
        ("select id from Contacts where Last_Name = 'O'Brien'", "SYNTAX_ERROR"),
        ("select id from Contacts where id = '1'; drop", "SYNTAX_ERROR"),
        ("select Nothing from Contacts where id = '1'", "INVALID_QUERY"),
        ("select id from Nothing where id = '1'", "INVALID_QUERY"),
        ("select id from Notes where id = '1'", "INVALID_QUERY"),
        ("select Converted_Contact from Leads where id = '1'", "INVALID_QUERY"),
        ("select id from Leads where Converted__s = 'true'", "INVALID_QUERY"),
        ("select id from Contacts where Description = 'x'", "INVALID_QUERY"),
        ("select id from Contacts where id = 'abc'", "INVALID_QUERY"),
        ("select id from Contacts where id = '1' limit 2001", "LIMIT_EXCEEDED"),
        ("select id from Contacts where id in (" + ",".join(["'1'"] * 51) + ")", "LIMIT_EXCEEDED"),
    ],
)
def test_what_is_refused(world: World, text: str, code: str) -> None:
    status, told = query(world, text)
    assert (status, told["code"], told["status"]) == (400, code, "error")


@given(st.text(alphabet="selctfromwhandi ()'\"=<>,.0123456789%->\\\n;*", max_size=80))
def test_nothing_breaks_the_parser(text: str) -> None:
    for tried in (text, f"select id from Contacts where {text}"):
        with contextlib.suppress(Refusal):
            assert parse(tried).columns


def test_converted_leads_are_out_of_reach(world: World) -> None:
    lead = world.add("Leads", Last_Name="Lead", Company="X")
    assert query(world, f"select id from Leads where id = '{lead}'")[0] == 200
    assert world.told("POST", f"Leads/{lead}/actions/convert", {"data": [{}]})[0] == 200
    assert query(world, f"select id from Leads where id = '{lead}'") == (204, None)
    status, told = world.told("GET", f"Leads/{lead}", fields="Converted_Contact")
    assert (status, told["data"][0]["Converted_Contact"]["name"]) == (200, "Lead")
