"""Every fault as a real client meets it, and whether the write was done all the same."""

from __future__ import annotations

from datetime import timedelta

import httpx2
import pytest

from connectors.sandbox.faults import Fault, Faults, Kind, read_fault
from tests.connectors.sandbox.world import World
from tests.processes import until

TASKS = "/crm/objects/2026-09/tasks"
TASK = {"properties": {"hs_timestamp": "2026-11-22T12:00:00Z", "hs_task_subject": "einmal"}}


def _write(world: World, *, timeout: float = 5) -> httpx2.Response:
    headers = {"authorization": f"Bearer {world.token}"}
    with httpx2.Client(verify=False, base_url=world.origin, headers=headers, timeout=timeout) as client:
        return client.post(TASKS, json=TASK)


def _written(world: World) -> int:
    return len(list(world.portal.crm.all("task")))


@pytest.mark.parametrize(
    ("fault", "status", "written"),
    [
        (Fault(kind=Kind.OUTAGE), 503, 0),
        (Fault(kind=Kind.ERROR), 500, 0),
        (Fault(kind=Kind.ERROR, status=504, commits=True), 504, 1),
        (Fault(kind=Kind.RATE_LIMIT), 429, 0),
        (Fault(kind=Kind.EXPIRED), 401, 0),
        (Fault(kind=Kind.REVOKED), 401, 0),
        (Fault(kind=Kind.REDIRECT), 302, 0),
        (Fault(kind=Kind.HTML), 200, 0),
        (Fault(kind=Kind.HTML, status=502), 502, 0),
        (Fault(kind=Kind.EMPTY), 204, 1),
        (Fault(kind=Kind.TRUNCATED), 201, 1),
        (Fault(kind=Kind.TRICKLE, delay=timedelta(milliseconds=40)), 201, 1),
        (Fault(kind=Kind.LATENCY, delay=timedelta(milliseconds=40)), 201, 1),
    ],
    ids=lambda value: str(value.kind) if isinstance(value, Fault) else None,
)
def test_answers_that_are_not_what_was_hoped_for(live: World, fault: Fault, status: int, written: int) -> None:
    live.app.faults.add(fault)
    answer = _write(live)
    assert (answer.status_code, _written(live)) == (status, written)
    (asked,) = live.app.journal.asked
    assert (asked.status, asked.committed, asked.fault) == (status, bool(written), fault.kind)


@pytest.mark.parametrize(
    ("kind", "written"), [(Kind.RESET, 0), (Kind.RESET_AFTER, 1), (Kind.CUT, 1)], ids=["before", "after", "midway"]
)
def test_connections_that_are_reset(live: World, kind: Kind, written: int) -> None:
    """A lost answer says nothing about the write: that is what the two resets differ in."""
    live.app.faults.add(Fault(kind=kind, count=1))
    with pytest.raises(httpx2.TransportError) as lost:
        _write(live)
    assert isinstance(lost.value, httpx2.ReadError | httpx2.RemoteProtocolError)
    assert _written(live) == written
    assert live.app.journal.asked[0].committed is bool(written)
    assert _write(live).status_code == 201  # the next one is let through


def test_a_reset_is_a_reset(live: World) -> None:
    """Not an orderly end: the client's socket gets ECONNRESET."""
    live.app.faults.add(Fault(kind=Kind.RESET))
    with pytest.raises(httpx2.ReadError) as lost:
        _write(live)
    assert "reset" in str(lost.value).lower() or "104" in str(lost.value)


@pytest.mark.parametrize(("commits", "written"), [(None, 0), (True, 1)], ids=["before", "after"])
def test_a_hang_lasts_as_long_as_the_client(live: World, commits: bool | None, written: int) -> None:
    live.app.faults.add(Fault(kind=Kind.HANG, commits=commits))
    with pytest.raises(httpx2.ReadTimeout):
        _write(live, timeout=0.2)
    assert _written(live) == written
    assert live.app.journal.asked[0].status is None


def test_a_late_write_is_done_after_the_connection_is_gone(live: World) -> None:
    """What a look right after a lost answer does not find may still arrive."""
    live.app.faults.add(Fault(kind=Kind.LATE, delay=timedelta(milliseconds=200), count=1))
    with pytest.raises(httpx2.TransportError):
        _write(live)
    assert _written(live) == 0
    until("the late write is done", lambda: bool(live.app.journal.asked))
    assert _written(live) == 1
    assert live.app.journal.asked[0].fault == Kind.LATE


def test_a_trickled_answer_is_whole_in_the_end(live: World) -> None:
    live.app.faults.add(Fault(kind=Kind.TRICKLE, delay=timedelta(milliseconds=100)))
    assert _write(live).json()["properties"]["hs_task_subject"] == "einmal"


def test_half_of_the_json_is_not_json(live: World) -> None:
    live.app.faults.add(Fault(kind=Kind.TRUNCATED))
    with pytest.raises(ValueError, match=r"Unterminated|Expecting|delimiter"):
        _write(live).json()


@pytest.mark.parametrize("after", [None, timedelta(seconds=7)], ids=["without", "with"])
def test_a_rate_limit_may_or_may_not_say_when(live: World, after: timedelta | None) -> None:
    live.app.faults.add(Fault(kind=Kind.RATE_LIMIT, retry_after=after))
    answer = _write(live)
    assert answer.headers.get("retry-after") == ("7" if after else None)
    assert answer.json()["policyName"] == "TEN_SECONDLY_ROLLING"


def test_faults_are_set_and_cleared_over_http(live: World) -> None:
    with httpx2.Client(verify=False, base_url=live.origin) as door:
        faults = [
            {"kind": "outage", "method": "POST", "path": "/crm/*", "count": 2},
            {"kind": "latency", "delay": 0.01},
        ]
        ids = door.post("/_sandbox/faults", json=faults).json()["ids"]
        assert _write(live).status_code == 503
        told = door.get("/_sandbox/faults").json()
        assert [(each["id"], each["kind"], each["struck"]) for each in told] == [
            (ids[0], "outage", 1),
            (ids[1], "latency", 0),
        ]
        assert door.delete(f"/_sandbox/faults/{ids[0]}").status_code == 204
        assert _write(live).status_code == 201
        assert door.post("/_sandbox/faults", json={"kind": "earthquake"}).status_code == 400
        assert door.post("/_sandbox/reset").status_code == 204
        assert door.get("/_sandbox/faults").json() == []
        assert door.get("/_sandbox/log").json() == []
        assert len(door.get("/_sandbox/records/tasks").json()) == 1
        assert [each["what"] for each in door.get("/_sandbox/changes/tasks").json()] == ["created"]


def test_tokens_are_ended_over_http(live: World) -> None:
    with httpx2.Client(verify=False, base_url=live.origin) as door:
        assert door.post("/_sandbox/expire/62515").json() == {"ended": 1}
        assert _write(live).json()["category"] == "EXPIRED_AUTHENTICATION"
        assert door.post("/_sandbox/uninstall/62515").json() == {"ended": 1}
        assert _write(live).json()["category"] == "INVALID_AUTHENTICATION"


def test_a_portal_and_the_app_are_set_up_over_http(live: World) -> None:
    with httpx2.Client(verify=False, base_url=live.origin) as door:
        rules = {"required": {"task": ["hubspot_owner_id"]}, "activities_unique": False, "lag": 0.5}
        assert door.post("/_sandbox/portal/62515", json=rules).status_code == 200
        assert _write(live).json()["context"] == {"properties": ["hubspot_owner_id"]}
        assert live.portal.index.lag == timedelta(milliseconds=500)
        assert door.post("/_sandbox/app", json={"redirect_uris": ["https://a.example/cb"]}).status_code == 200
        assert live.vendor.consent.redirect_uris == ["https://a.example/cb"]
        before = live.clock()
        assert door.post("/_sandbox/clock", json={"advance": 1.5}).status_code == 200
        assert live.clock() - before == timedelta(seconds=1.5)
        assert door.post("/_sandbox/clock", json={}).status_code == 400
        assert door.post("/_sandbox/nothing").status_code == 404


@pytest.mark.parametrize(
    ("fault", "struck"),
    [
        (Fault(kind=Kind.OUTAGE), [True] * 6),
        (Fault(kind=Kind.OUTAGE, count=2), [True, True, False, False, False, False]),
        (Fault(kind=Kind.OUTAGE, skip=1, count=1), [False, True, False, False, False, False]),
        (Fault(kind=Kind.OUTAGE, method="GET"), [False] * 6),
        (Fault(kind=Kind.OUTAGE, path="/crm/*/tasks"), [True] * 6),
        (Fault(kind=Kind.OUTAGE, path="/crm"), [False] * 6),
        (Fault(kind=Kind.OUTAGE, probability=0.0), [False] * 6),
    ],
    ids=["always", "twice", "second only", "other method", "pattern", "not a prefix", "never"],
)
def test_whom_a_fault_strikes(fault: Fault, struck: list[bool]) -> None:
    faults = Faults(fault)
    assert [faults.strike("POST", TASKS) is not None for _ in range(6)] == struck


def test_chance_is_the_same_for_the_same_seed() -> None:
    runs = []
    for _ in range(2):
        faults = Faults(Fault(kind=Kind.RESET, probability=0.5), seed=7)
        runs.append([faults.strike("POST", TASKS) is not None for _ in range(50)])
    assert runs[0] == runs[1]
    assert 10 < sum(runs[0]) < 40


def test_durations_are_read_as_seconds() -> None:
    fault = read_fault({"kind": "rate_limit", "retry_after": 12, "delay": 0.25})
    assert (fault.retry_after, fault.delay) == (timedelta(seconds=12), timedelta(milliseconds=250))
