"""The sandbox as others use it: the demo's people, what is written down, what goes wrong on command."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from connectors.sandbox import salesforce
from connectors.sandbox.clock import Clock
from connectors.sandbox.face import Call
from connectors.sandbox.faults import Fault, Kind
from connectors.sandbox.seed import KNOWN
from tests.connectors.sandbox.salesforce.world import HOME, START, World


def test_the_demos_people_are_the_same_every_time() -> None:
    shown = [salesforce.shown(salesforce.demo_app(clock=Clock(START))) for _ in range(2)]
    assert shown[0].people() == shown[1].people()
    people = shown[0].people()
    assert len(people) == 220
    assert {f"{person.first_name} {person.last_name}" for person in KNOWN} <= {person.name for person in people}
    assert {person.id[:3] for person in people} == {"003", "00Q"}
    for kind in ("call", "deal"):
        items = shown[0].items(kind)
        assert items
        assert all(item.people <= {person.id for person in people} for item in items)
        assert any(item.people for item in items)


def test_our_keys_are_found_wherever_they_lie(world: World) -> None:
    """Doubles are counted by them at the end of a night of killed processes."""
    person = world.create("Contact", LastName="x")
    asked = [
        {"method": "POST", "url": f"{HOME}/sobjects/Task", "referenceId": "a", "body": {"CallObject": "k-1"}},
        {"method": "POST", "url": f"{HOME}/sobjects/Contact", "referenceId": "b", "body": {"Gateway_Key__c": "k-2"}},
        {
            "method": "POST",
            "url": f"{HOME}/sobjects/Event",
            "referenceId": "c",
            "body": {"Description": "x\n\nRef. gw-" + "0" * 20},
        },
        {
            "method": "PATCH",
            "url": f"{HOME}/sobjects/Contact/{person}",
            "referenceId": "d",
            "body": {"Gateway_Key__c": "k-3"},
        },
    ]
    call = _call("POST", f"{HOME}/composite", {"compositeRequest": asked})
    assert list(world.vendor.keys_in(call)) == ["k-1", "k-2", "gw-" + "0" * 20]
    assert list(world.vendor.keys_in(_call("POST", f"{HOME}/sobjects/Task", {"CallObject": "k-1"}))) == ["k-1"]
    assert list(world.vendor.keys_in(_call("GET", f"{HOME}/limits", None))) == []


def _call(method: str, path: str, body: Any) -> Call:
    raw = b"" if body is None else msgspec.json.encode(body)
    return Call(method=method, path=path, query={}, raw_query="", headers={}, body=raw, now=START)


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (Kind.OUTAGE, 503, "SERVER_UNAVAILABLE"),
        (Kind.ERROR, 500, "UNKNOWN_EXCEPTION"),
        (Kind.RATE_LIMIT, 403, "REQUEST_LIMIT_EXCEEDED"),
        (Kind.EXPIRED, 401, "INVALID_SESSION_ID"),
        (Kind.REVOKED, 401, "INVALID_SESSION_ID"),
    ],
)
def test_faults_are_worded_as_the_vendor_words_them(world: World, kind: Kind, status: int, code: str) -> None:
    answer = world.vendor.refuse(Fault(kind=kind), _call("GET", f"{HOME}/limits", None))
    assert (answer.status, msgspec.json.decode(answer.body)[0]["errorCode"]) == (status, code)


def test_a_fault_can_hit_one_subrequest(world: World) -> None:
    world.app.faults.add(Fault(kind=Kind.OUTAGE, path="/composite/*Task*"))
    hit, spared = world.composite(
        ("a", "POST", "sobjects/Task", {"Subject": "x"}), ("b", "POST", "sobjects/Contact", {"LastName": "x"})
    )
    assert (hit["httpStatusCode"], spared["httpStatusCode"]) == (503, 201)
    assert not list(world.org.all("Task"))


def test_the_sandboxs_own_doors(world: World) -> None:
    person = world.create("Contact", LastName="Meier")
    world.create("Task", Subject="x", TaskSubtype="Call", WhoId=person)
    told = world.vendor.control(_call("GET", "/_sandbox/records/calls", None))
    assert told is not None
    assert b'"Subject":"x"' in told.body
    changes = world.vendor.control(_call("GET", "/_sandbox/changes", None))
    assert changes is not None
    assert changes.body.count(b'"created"') == 2
    assert world.vendor.control(_call("POST", f"/_sandbox/uninstall/{world.org.id}", None)) is not None
    assert world.ask("GET", "limits").status == 401
    told = world.vendor.control(_call("POST", f"/_sandbox/org/{world.org.id}", {"limit": 5, "lag": 0}))
    assert told is not None
    assert (world.org.limit, world.org.lag.total_seconds()) == (5, 0.0)
    assert world.vendor.control(_call("POST", "/_sandbox/nothing", None)) is None
