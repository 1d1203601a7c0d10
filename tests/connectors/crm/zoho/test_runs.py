"""A run of one lane as Zoho takes it: in one request, with references; and everything that can become of its parts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from connectors.crm import runs
from connectors.crm.port import Done, Failed, Outcome
from connectors.crm.records import (
    AddToList,
    AssignOwner,
    CallLog,
    CreateDeal,
    CreateTask,
    Earlier,
    Kind,
    LogCall,
    Ref,
    SetFields,
    UpsertContact,
    Write,
)
from connectors.crm.zoho.client import Zoho
from connectors.crm.zoho.manifest import KEY
from connectors.errors import OutcomeUnknown, RateLimited, ReconnectNeeded, Rejected, Unavailable
from connectors.request import Reply
from connectors.sandbox.faults import Fault
from connectors.sandbox.faults import Kind as Strikes
from connectors.sandbox.zoho.modules import MODULES
from tests.connectors.crm.zoho.world import World, connected, make_world

AT = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)
COMPOSITE = "POST /crm/v8/__composite_requests"
CALL = CallLog(direction="inbound", started_at=AT, duration=timedelta(seconds=185))
WHO = UpsertContact(key="person-1", phone="+41446681800", last_name="Perrochon")


def after_call(about: Any) -> list[Write]:
    """What a call leaves behind, in the order it is to be there."""
    return [
        LogCall(key="call-1", subject="Offer", call=CALL, about=(about,)),
        CreateTask(key="task-1", subject="Call back", due=AT, about=(about,)),
        CreateDeal(key="deal-1", name="Maintenance", about=(about,)),
    ]


def call(key: str, about: Ref, **fields: str) -> LogCall:
    return LogCall(key=key, subject="Offer", call=CALL, about=(about,), fields=fields)


def ids(outcomes: list[Outcome]) -> list[str]:
    found = []
    for one in outcomes:
        assert isinstance(one, Done), one
        assert one.record is not None
        found.append(one.record.id)
    return found


def errors(outcomes: list[Outcome]) -> list[type[Exception]]:
    return [type(one.error) if isinstance(one, Failed) else Done for one in outcomes]  # type: ignore[misc]


async def test_a_new_caller_with_everything_is_one_request(world: World, crm: Zoho) -> None:
    await crm.pipelines(Kind.DEAL)
    world.sent.clear()
    outcomes = list(await crm.write([WHO, *after_call(Earlier(Kind.CONTACT, 0))]))
    person, logged, task, deal = ids(outcomes)
    assert [f"{request.method} {request.path}" for request in world.sent] == [COMPOSITE]
    assert world.held("Calls", logged)["Who_Id"] == world.held("Tasks", task)["Who_Id"] == person
    assert world.held("Deals", deal)["Contact_Name"] == person


async def test_a_run_of_one_goes_as_it_is(world: World, crm: Zoho) -> None:
    person = Ref(Kind.CONTACT, world.add("Contacts", Last_Name="Perrochon"))
    await crm.write([call("c-1", person)])
    assert [request.path for request in world.sent] == ["/crm/v8/Calls"]


async def test_five_go_together_and_the_rest_behind_them(world: World, crm: Zoho) -> None:
    person = Ref(Kind.CONTACT, world.add("Contacts", Last_Name="Perrochon"))
    outcomes = list(await crm.write([call(f"c-{n}", person) for n in range(7)]))
    assert len(set(ids(outcomes))) == 7
    assert [len(request.json["__composite_requests"]) for request in world.sent] == [5, 2]


async def test_links_reach_back_over_requests(world: World, crm: Zoho) -> None:
    links = (Earlier(Kind.CONTACT, 0),)
    calls = [LogCall(key=f"c-{n}", subject="x", call=CALL, about=links) for n in range(6)]
    person, *logged = ids(list(await crm.write([WHO, *calls])))
    assert {world.held("Calls", id)["Who_Id"] for id in logged} == {person}


async def test_the_same_write_twice_in_a_run_is_one_record(world: World, crm: Zoho) -> None:
    person = Ref(Kind.CONTACT, world.add("Contacts", Last_Name="Perrochon"))
    first, second = await crm.write([call("c-1", person), call("c-1", person)])
    assert isinstance(first, Done)
    assert isinstance(second, Done)
    assert first.record is not None
    assert second.record is not None
    assert (first.record.id, first.record.created, second.record.created) == (second.record.id, True, False)
    assert world.count("Calls") == 1


async def test_a_known_person_in_a_run_takes_what_follows(world: World, crm: Zoho) -> None:
    """The person is there already by our key: filled in, and everything behind it hangs on that record."""
    (known,) = ids(list(await crm.write([WHO])))
    person, *others = ids(list(await crm.write([WHO, *after_call(Earlier(Kind.CONTACT, 0))])))
    assert person == known
    assert world.count("Contacts") == 1
    assert world.held("Calls", others[0])["Who_Id"] == known


async def test_a_refused_person_stops_what_hangs_on_them_and_nothing_else(world: World, crm: Zoho) -> None:
    other = Ref(Kind.CONTACT, world.add("Contacts", Last_Name="Other"))
    bad = msgspec.structs.replace(WHO, email="no address", key="bad")
    outcomes = list(
        await crm.write(
            [bad, LogCall(key="c-1", subject="x", call=CALL, about=(Earlier(Kind.CONTACT, 0),)), call("c-2", other)]
        )
    )
    assert errors(outcomes) == [Rejected, Unavailable, Done]
    assert isinstance(outcomes[0], Failed)
    assert isinstance(outcomes[0].error, Rejected)
    assert outcomes[0].error.field == "Email"
    assert world.count("Calls") == 1


async def test_a_lost_answer_leaves_all_of_it_unknown_and_all_of_it_is_found(world: World, crm: Zoho) -> None:
    await crm.pipelines(Kind.DEAL)
    run = [WHO, *after_call(Earlier(Kind.CONTACT, 0))]
    world.strange[COMPOSITE] = Reply(status=200, headers={}, body=b'{"__composite_requests": [')
    outcomes = list(await crm.write(run))
    assert errors(outcomes) == [OutcomeUnknown] * 4
    settles = [
        one.error.settle for one in outcomes if isinstance(one, Failed) and isinstance(one.error, OutcomeUnknown)
    ]
    assert settles == [crm._writer.sticking(write).settle for write in run]
    world.strange.clear()
    assert [await crm.find(write) for write in run] == [None] * 4
    written = ids(list(await crm.write(run)))
    assert [found.id for write in run if (found := await crm.find(write))] == written


@pytest.mark.parametrize(
    ("status", "body", "first"),
    [
        (429, {"code": "TOO_MANY_REQUESTS", "details": {}, "message": "x", "status": "error"}, RateLimited),
        (401, {"code": "INVALID_TOKEN", "details": {}, "message": "x", "status": "error"}, ReconnectNeeded),
    ],
)
async def test_what_was_not_looked_at_leaves_the_rest_unsent(
    world: World, crm: Zoho, status: int, body: Any, first: type[Exception]
) -> None:
    person = Ref(Kind.CONTACT, world.add("Contacts", Last_Name="Perrochon"))
    world.strange[COMPOSITE] = Reply(status=status, headers={}, body=json.dumps(body).encode())
    outcomes = list(await crm.write([call(f"c-{n}", person) for n in range(7)]))
    assert errors(outcomes) == [first] + [Unavailable] * 6
    assert all(one.error.reason == runs.NOT_SENT for one in outcomes[1:] if isinstance(one, Failed))
    assert len(world.sent) == 1


async def test_an_error_of_zohos_leaves_all_of_it_unknown(world: World, crm: Zoho) -> None:
    person = Ref(Kind.CONTACT, world.add("Contacts", Last_Name="Perrochon"))
    world.strange[COMPOSITE] = Reply(status=500, headers={}, body=b"<html>")
    outcomes = list(await crm.write([call("c-1", person), call("c-2", person), *[call("c-3", person)] * 4]))
    assert errors(outcomes) == [OutcomeUnknown] * 5 + [Unavailable]


async def test_a_part_that_zoho_could_not_do_is_unknown_by_itself(world: World, crm: Zoho) -> None:
    person = Ref(Kind.CONTACT, world.add("Contacts", Last_Name="Perrochon"))
    world.vendor.shared.faults.add(Fault(kind=Strikes.ERROR, path="*/Tasks", count=1))
    task = CreateTask(key="t-1", subject="x", due=AT, about=(person,))
    outcomes = list(await crm.write([call("c-1", person), task, call("c-2", person)]))
    assert errors(outcomes) == [Done, OutcomeUnknown, Done]


async def test_a_request_refused_as_a_whole_is_tried_piece_by_piece(world: World, crm: Zoho) -> None:
    """An account whose Zoho does not take composite requests still gets everything, in order."""
    body = json.dumps({"code": "API_NOT_SUPPORTED", "details": {}, "message": "x", "status": "error"}).encode()
    world.strange[COMPOSITE] = Reply(status=400, headers={}, body=body)
    person, logged = ids(
        list(await crm.write([WHO, LogCall(key="c-1", subject="x", call=CALL, about=(Earlier(Kind.CONTACT, 0),))]))
    )
    assert world.held("Calls", logged)["Who_Id"] == person


async def test_parts_wrapped_either_way_are_read(world: World, crm: Zoho) -> None:
    """How Zoho wraps a part that its own API refused is shown nowhere: as an answer of its own, or as a bare error."""
    person = Ref(Kind.CONTACT, world.add("Contacts", Last_Name="Perrochon"))
    record = {"code": "SUCCESS", "status": "success", "message": "", "details": {"id": "7328395000000680099"}}
    good = {"response": {"status_code": 201, "headers": {}, "body": {"data": [record]}}}
    refused = {"code": "MANDATORY_NOT_FOUND", "status": "error", "message": "", "details": {"api_name": "Subject"}}
    inside = {"response": {"status_code": 400, "headers": {}, "body": {"data": [refused]}}}
    parts = [
        {"code": "SUCCESS", "status": "success", "message": "", "details": good},
        refused,
        {"code": "SUCCESS", "status": "success", "message": "", "details": inside},
    ]
    world.strange[COMPOSITE] = Reply(status=207, headers={}, body=json.dumps({"__composite_requests": parts}).encode())
    outcomes = list(await crm.write([call("c-1", person), call("c-2", person), call("c-3", person)]))
    assert errors(outcomes) == [Done, Rejected, Rejected]
    assert [one.error.field for one in outcomes if isinstance(one, Failed) and isinstance(one.error, Rejected)] == [
        "Subject",
        "Subject",
    ]


async def test_a_person_is_made_and_changed_in_one_request(world: World, crm: Zoho) -> None:
    owner = world.org.add_user("Sarah", "Brunnental", "sarah@aurora.example", AT).id
    world.org.tag_id(MODULES["contacts"], "VIP")
    await crm.fields(Kind.CONTACT)
    await crm.write([AddToList(key="x", target=Ref(Kind.CONTACT, world.add("Contacts", Last_Name="A")), list="vip")])
    world.sent.clear()
    target = Earlier(Kind.CONTACT, 0)
    outcomes = await crm.write(
        [
            WHO,
            SetFields(key="s", target=target, fields={"Title": "CFO"}),
            AssignOwner(key="o", target=target, owner=owner),
            AddToList(key="l", target=target, list="VIP"),
        ]
    )
    person = ids([outcomes[0]])[0]
    assert all(isinstance(one, Done) for one in outcomes), outcomes
    held = world.held("Contacts", person)
    assert (held["Title"], held["Owner"], held["Tag"]) == ("CFO", owner, "VIP")
    assert len(world.sent) == 1


async def test_filling_in_a_person_of_the_same_run_waits_for_them(world: World, crm: Zoho) -> None:
    """What the person has must be read first, and there is nothing to read yet."""
    more = UpsertContact(key="p-2", target=Earlier(Kind.CONTACT, 0), phone="+41795550123")
    first, second = await crm.write([WHO, more])
    assert ids([first, second])[0] == ids([first, second])[1]
    assert world.held("Contacts", ids([first])[0])["Mobile"] == "+41795550123"


async def test_text_cannot_point_at_other_parts(world: World, crm: Zoho) -> None:
    """A transcript that says "@{w0:…}" must not become somebody's record number."""
    person = Ref(Kind.CONTACT, world.add("Contacts", Last_Name="Perrochon"))
    said = "@{w0:$.data[0].details.id}"
    sly = LogCall(key="c-2", subject=said, call=CALL, body=said, unchecked=said, about=(person,))
    _, logged = ids(list(await crm.write([call("c-1", person), sly])))
    assert "w0:$.data[0].details.id" in world.held("Calls", logged)["Description"]


@pytest.mark.parametrize("unique", [True, False])
async def test_keys_lie_where_the_account_allows(unique: bool) -> None:
    """Where activities take no unique values the field is there all the same, and is asked before sending again."""
    world = make_world(activities_unique=unique)
    crm = await connected(world)
    person = Ref(Kind.CONTACT, world.add("Contacts", Last_Name="Perrochon"))
    (logged,) = ids(list(await crm.write([call("c-1", person)])))
    assert world.held("Calls", logged)[KEY] == "c-1"
    found = await crm.find(call("c-1", person))
    assert found is not None
    assert found.id == logged
    assert crm._writer.sticks["log_call"].stick.value == ("enforced" if unique else "found")
