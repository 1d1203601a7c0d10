"""Ingest: `POST /v1/calls` against a bare ASGI application that inserts and commits one row for each POST.

Both answer after the commit, on the same PostgreSQL that waits for its disk. Every call is a new one: ours checks the
key, validates, merges, seals, writes the call and its event, and can tell a repeat from news.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.benchmarks.figures import Figure, Target, against_floor
from tests.benchmarks.load import Plan
from tests.benchmarks.stage import Stage, cpu_seconds, pin
from tests.processes import Process

TARGET = Target("ratio", ">=", 0.5)
FASTEST = 15_000  # calls a second that nothing here reaches


@dataclass(eq=False)
class Server:
    """What is asked, and what it said: answers a second, CPU seconds for a thousand."""

    process: Process
    path: str
    headers: dict[str, str]
    per_second: list[float] = field(default_factory=list)
    spent: list[float] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.process.wait_for_line(r"http://127\.0\.0\.1:(\d+)")[1])


def measure(stage: Stage) -> Iterator[Figure]:
    """Calls taken a second at 16 and 64 connections."""
    tenant = json.loads(stage.gateway.run("tenant", "create", "Bench SA", "--region", "CH", "--json"))["id"]
    key = json.loads(stage.gateway.run("key", "create", tenant, "--scopes", "events", "--json"))["key"]
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    process, _ = stage.gateway.serve()
    floor_process = stage.start("tests.benchmarks.bare_insert", stage.postgres.url, name="bare_insert")
    for measured in (process, floor_process):
        pin(measured.pid, measured=True)
    pin(stage.postgres.pid, measured=False)  # the sessions that both have opened as well
    numbers = itertools.count()
    for connections in (16, 64):
        ours = Server(process, "/v1/calls", headers)
        floor = Server(floor_process, "/", headers)
        yield _throughput(stage, ours, floor, connections, numbers)
    floor_process.stop()
    process.stop()


def _throughput(stage: Stage, ours: Server, floor: Server, connections: int, numbers: Iterator[int]) -> Figure:
    rounds, seconds = (2, 1.0) if stage.quick else (5, 2.0)

    def once(server: Server, seconds: float = seconds) -> None:
        bodies = tuple(_call(next(numbers)) for _ in range(int(FASTEST * seconds)))
        before = cpu_seconds(server.process)
        plan = Plan(
            mode="closed",
            port=server.port,
            path=server.path,
            headers=server.headers,
            bodies=bodies,
            connections=connections,
            seconds=seconds,
        )
        result = stage.load(plan, status="202")
        if result.count > len(bodies):
            raise RuntimeError(f"{result.count} answers to {len(bodies)} calls: some came twice")
        server.spent.append((cpu_seconds(server.process) - before) / result.count * 1000)
        server.per_second.append(result.per_second)

    for server in (ours, floor):  # both warm up alike
        once(server, 2.0)
        server.per_second.clear()
        server.spent.clear()
    once(floor)
    for _ in range(rounds):
        once(ours)
        once(floor)
    value, base, ratio = against_floor(ours.per_second, floor.per_second)
    cpu = (sorted(ours.spent)[rounds // 2], sorted(floor.spent)[rounds // 2])
    return Figure(f"calls taken, {connections} connections", value, "/s", base, ratio, TARGET, cpu)


def _call(number: int) -> str:
    """A call as one is posted when it is over, some 600 bytes; every fourth caller has called before."""
    call = {
        "call_id": f"bench-{number:08}",
        "direction": "inbound",
        "from": f"+4144668{number * 3 // 4 % 10_000:04}",
        "to": "+41435550100",
        "started_at": "2026-11-21T09:30:00Z",
        "ended_at": "2026-11-21T09:31:35Z",
        "end_reason": "caller_hung_up",
        "summary": f"Wants to be called back on Monday about offer {number}.",
        "transcript": [
            {"role": "agent", "text": "Good morning, Exemple SA, what can I do for you?", "at_s": 0.4},
            {"role": "caller", "text": "Can somebody call me back on Monday?", "at_s": 3.2},
        ],
        "complete": True,
        "analysis": {
            "type": "inquiry",
            "sentiment": "neutral",
            "intents": ["purchase"],
            "score": 85,
            "promises": [{"what": "call back", "due": "2026-11-23"}],
        },
    }
    return json.dumps(call)
