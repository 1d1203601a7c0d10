"""SOQL, SOSL and bulk jobs at the simulated Salesforce: what is understood, what is refused, and in which words."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import Any

import pytest

from tests.connectors.sandbox.salesforce.world import World


@pytest.fixture
def people(world: World) -> dict[str, str]:
    account = world.create("Account", Name="Aurora SA", Phone="+41 44 668 18 00")
    made = {"Aurora": account}
    for name, number, score in (
        ("Meier", "044 668 18 00", "Hot"),
        ("O'Neill", "+41446681800", None),
        ("Zünd", None, "Cold"),
    ):
        made[name] = world.create("Contact", LastName=name, Phone=number, AccountId=account if score else None)
        world.create("Task", Subject=f"for {name}", WhoId=made[name], ActivityDate="2026-11-20" if score else None)
        world.later(1)
    return made


def names(told: Any) -> list[str]:
    return [row["LastName"] for row in told.body["records"]]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("LastName='meier'", ["Meier"]),
        (r"LastName='O\'Neill'", ["O'Neill"]),
        ("LastName LIKE '%e%'", ["Meier", "O'Neill"]),
        ("LastName LIKE 'M_ier'", ["Meier"]),
        ("Phone!=null AND (LastName='Meier' OR LastName='Zünd')", ["Meier"]),
        ("NOT LastName='Meier'", ["O'Neill", "Zünd"]),
        ("LastName IN ('Meier','Zünd')", ["Meier", "Zünd"]),
        ("LastName NOT IN ('Meier')", ["O'Neill", "Zünd"]),
        ("Account.Name='Aurora SA'", ["Meier", "Zünd"]),
        ("AccountId=null", ["O'Neill"]),
        ("CreatedDate>2026-11-22T12:00:00Z AND CreatedDate<2026-11-22T12:00:02.000+0000", ["O'Neill"]),
        ("Id IN (SELECT WhoId FROM Task WHERE Subject='for Meier')", ["Meier"]),
        ("DoNotCall=false AND HasOptedOutOfEmail=FALSE AND LastName>'N'", ["O'Neill", "Zünd"]),
    ],
)
def test_a_question_finds_what_it_means(world: World, people: dict[str, str], where: str, expected: list[str]) -> None:
    told = world.query(f"SELECT LastName FROM Contact WHERE {where} ORDER BY CreatedDate, Id")
    assert told.status == 200, told.body
    assert names(told) == expected


def test_parents_children_and_counts(world: World, people: dict[str, str]) -> None:
    told = world.query(
        "SELECT LastName, Account.Name, Account.Owner.Name, (SELECT Subject FROM Tasks), (SELECT Id FROM Cases) "
        f"FROM Contact WHERE Id='{people['Meier'][:15]}'"
    )
    (row,) = told.body["records"]
    assert row["Account"]["Name"] == "Aurora SA"
    assert row["Account"]["Owner"]["Name"] == "Integration User"
    assert [task["Subject"] for task in row["Tasks"]["records"]] == ["for Meier"]
    assert row["Cases"] is None
    assert world.query("SELECT Account.Name FROM Contact WHERE AccountId=null").body["records"][0]["Account"] is None
    assert world.query("SELECT count() FROM Contact").body == {"totalSize": 3, "done": True, "records": []}


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("LastName DESC", ["Zünd", "O'Neill", "Meier"]),
        ("Phone, LastName", ["Zünd", "O'Neill", "Meier"]),
        ("Phone NULLS LAST", ["O'Neill", "Meier", "Zünd"]),
        ("LastName LIMIT 1 OFFSET 1", ["O'Neill"]),
    ],
)
def test_records_come_in_the_order_asked_for(
    world: World, people: dict[str, str], order: str, expected: list[str]
) -> None:
    assert names(world.query(f"SELECT LastName FROM Contact ORDER BY {order}")) == expected


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("SELECT Foo FROM Contact", "INVALID_FIELD"),
        ("SELECT Id FROM Foo", "INVALID_TYPE"),
        ("SELECT Id FROM Contact WHERE Foo='x'", "INVALID_FIELD"),
        ("SELECT Id FROM Contact WHERE Description='x'", "INVALID_FIELD"),
        ("SELECT Id FROM Contact WHERE CreatedDate='2026-11-22'", "INVALID_FIELD"),
        ("SELECT Foo.Name FROM Contact", "INVALID_FIELD"),
        ("SELECT Id, (SELECT Id FROM Nieces) FROM Contact", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE LastName='O'Neill'", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact LIMIT x", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact; DROP", "MALFORMED_QUERY"),
        ("SELECT FROM Contact", "MALFORMED_QUERY"),
        ("", "MALFORMED_QUERY"),
    ],
)
def test_what_is_no_question_is_refused(world: World, people: dict[str, str], query: str, code: str) -> None:
    told = world.query(query)
    assert (told.status, told.body[0]["errorCode"]) == (400, code)


def test_long_answers_come_in_pages(world: World) -> None:
    for n in range(450):
        world.create("Task", Subject=str(n))
    told = world.ask("GET", "query?q=SELECT+Id+FROM+Task", headers={"sforce-query-options": "batchSize=200"})
    seen, pages = len(told.body["records"]), 1
    while not told.body["done"]:
        told = world.ask("GET", told.body["nextRecordsUrl"])
        seen, pages = seen + len(told.body["records"]), pages + 1
    assert (seen, pages, told.body["totalSize"]) == (450, 3, 450)
    assert world.ask("GET", "query/01g000000000000-5").body[0]["errorCode"] == "INVALID_QUERY_LOCATOR"


# ── search ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def found(told: Any) -> list[str]:
    return [row.get("LastName") or row["Name"] for row in told.body["searchRecords"]]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("0446681800", ["Meier"]),
        ("41446681800", ["O'Neill", "Aurora SA"]),
        ('"044 668 18 00"', ["Meier"]),
        ('"44 668 18 00"', ["Aurora SA"]),
        ("0446681800 OR 41446681800", ["Meier", "O'Neill", "Aurora SA"]),
        ("0446*", ["Meier"]),
        ("6681800", []),  # there is no search by ending
        (r"\+41446681800", ["O'Neill", "Aurora SA"]),
    ],
)
def test_numbers_are_found_as_they_were_typed(
    world: World, people: dict[str, str], words: str, expected: list[str]
) -> None:
    world.later(30)
    told = world.search(f"FIND {{{words}}} IN PHONE FIELDS RETURNING Contact(LastName), Lead(LastName), Account(Name)")
    assert found(told) == expected


def test_search_lags_behind_and_questions_do_not(world: World) -> None:
    world.create("Contact", LastName="Meier", Phone="0446681800")
    search = "FIND {0446681800} IN PHONE FIELDS RETURNING Contact(LastName)"
    assert found(world.search(search)) == []
    assert names(world.query("SELECT LastName FROM Contact WHERE Phone='0446681800'")) == ["Meier"]
    world.later(world.org.lag.total_seconds() + 1)
    assert found(world.search(search)) == ["Meier"]


@pytest.mark.parametrize(
    ("search", "code"),
    [
        ("Meier", "MALFORMED_SEARCH"),
        ("FIND {} IN PHONE FIELDS", "MALFORMED_SEARCH"),
        ("FIND {4} IN PHONE FIELDS", "MALFORMED_SEARCH"),
        ("FIND {+4144} IN PHONE FIELDS", "MALFORMED_SEARCH"),
        ("FIND {4144} IN PHONE FIELDS RETURNING Contact(Foo)", "INVALID_FIELD"),
        ("FIND {4144} IN PHONE FIELDS RETURNING Task(Id)", "INVALID_TYPE"),
    ],
)
def test_what_is_no_search_is_refused(world: World, people: dict[str, str], search: str, code: str) -> None:
    told = world.search(search)
    assert (told.status, told.body[0]["errorCode"]) == (400, code)


def test_a_search_by_parameters(world: World, people: dict[str, str]) -> None:
    world.later(30)
    body = {"q": "0446681800", "in": "PHONE", "sobjects": [{"name": "Contact", "fields": ["LastName"], "limit": 5}]}
    assert found(world.ask("POST", "parameterizedSearch", body)) == ["Meier"]


# ── bulk ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_job_is_waited_for_and_read_in_pages(world: World, people: dict[str, str]) -> None:
    asked = {"operation": "query", "query": "SELECT Id, LastName, Account.Name, CreatedDate FROM Contact"}
    job = world.ask("POST", "jobs/query", asked).body
    assert (job["state"], job["object"]) == ("UploadComplete", "Contact")
    early = world.ask("GET", f"jobs/query/{job['id']}/results")
    assert early.body[0]["errorCode"] == "INVALIDJOBSTATE"
    states = [world.ask("GET", f"jobs/query/{job['id']}").body["state"] for _ in range(3)]
    assert states == ["UploadComplete", "InProgress", "JobComplete"]
    rows: list[dict[str, str]] = []
    locator = ""
    while locator != "null":
        page = world.ask(
            "GET", f"jobs/query/{job['id']}/results?maxRecords=2" + (f"&locator={locator}" if locator else "")
        )
        told = list(csv.DictReader(io.StringIO(page.body)))
        assert page.headers["sforce-numberofrecords"] == str(len(told))
        rows, locator = rows + told, page.headers["sforce-locator"]
    assert [(row["LastName"], row["Account.Name"]) for row in rows] == [
        ("Meier", "Aurora SA"),
        ("O'Neill", ""),
        ("Zünd", "Aurora SA"),
    ]
    assert rows[0]["CreatedDate"] == "2026-11-22T12:00:00.000Z"
    world.later(timedelta(days=7).total_seconds())
    world.token = world.vendor.grants.issue_access(world.vendor.grants.all[0], world.clock())
    assert world.ask("GET", f"jobs/query/{job['id']}").status == 404


@pytest.mark.parametrize(
    "asked",
    [
        {"operation": "insert", "query": "SELECT Id FROM Contact"},
        {"operation": "query", "query": "SELECT count() FROM Contact"},
        {"operation": "query", "query": "SELECT Id, (SELECT Id FROM Tasks) FROM Contact"},
        {"operation": "query", "query": "SELECT Foo FROM Contact"},
        {"operation": "query", "query": ""},
    ],
)
def test_not_every_question_makes_a_job(world: World, asked: dict[str, str]) -> None:
    assert world.ask("POST", "jobs/query", asked).status == 400
