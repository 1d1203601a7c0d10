"""The client of the benchmarks, in a process of its own: raw sockets, requests as ready bytes.

    python -m tests.benchmarks.load < plan.json > result.json

A client that is always there, and that spends some 20 µs on a request: wrk would spend 5, but it would have to be
installed, and here both sides of every ratio have the same client.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections import Counter, deque
from typing import Literal, cast

import msgspec
import uvloop


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask.

    closed  each of `connections` asks again as soon as it is answered, for `seconds`.
    open    `rate` requests a second, at random moments (Poisson), for `seconds`; latency counts from the intended moment.
    burst   every connection asks once, all in the same moment.
    bodies  are posted one after the other, over and over.
    """

    mode: Literal["closed", "open", "burst"]
    port: int
    path: str
    headers: dict[str, str]
    bodies: tuple[str, ...]
    connections: int
    seconds: float = 0
    rate: float = 0
    cpu: int | None = None  # run on this CPU only


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Latencies in milliseconds. `per_second` counts answers in time; `last` is one body, for whoever wants to look."""

    count: int
    per_second: float
    statuses: dict[str, int]
    p50: float
    p99: float
    most: float
    last: str


class Connection(asyncio.Protocol):
    """One kept HTTP/1.1 connection with one request under way at most."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._transport: asyncio.Transport | None = None
        self._since = 0.0
        self._received = b""
        self._wanted = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def ask(self, request: bytes, since: float) -> None:
        assert self._transport is not None
        self._since = since
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        if not self._wanted:
            head = self._received.find(b"\r\n\r\n")
            if head < 0:
                return
            at = self._received.find(b"ontent-length: ") + 15
            self._wanted = head + 4 + int(self._received[at : self._received.find(b"\r\n", at)])
        if len(self._received) >= self._wanted:
            answer, self._received, self._wanted = self._received, b"", 0
            self._run.answered(self, answer, (time.perf_counter() - self._since) * 1000)

    def connection_lost(self, exc: Exception | None) -> None:
        self._run.lost()


class Run:
    """Asks as planned, and remembers how long each answer took."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._next = 0
        self._ends = 0.0
        self._latencies: list[float] = []
        self._statuses: Counter[str] = Counter()
        self._last = b""
        self._idle: deque[Connection] = deque()
        self._late: deque[float] = deque()
        self._under_way = 0
        self._over = asyncio.Event()
        head = "".join(f"{name}: {value}\r\n" for name, value in plan.headers.items())
        self._requests = [
            f"POST {plan.path} HTTP/1.1\r\nhost: 127.0.0.1:{plan.port}\r\n{head}"
            f"content-length: {len(body.encode())}\r\n\r\n{body}".encode()
            for body in plan.bodies
        ]

    async def go(self) -> Result:
        loop = asyncio.get_running_loop()
        connections = [
            (await loop.create_connection(lambda: Connection(self), "127.0.0.1", self.plan.port))[1]
            for _ in range(self.plan.connections)
        ]
        await asyncio.sleep(0.2)  # the server has accepted all of them
        began = time.perf_counter()
        self._ends = began + self.plan.seconds
        if self.plan.mode == "open":
            self._idle.extend(connections)
            at = 0.0
            while (at := at + random.expovariate(self.plan.rate)) < self.plan.seconds:
                loop.call_at(loop.time() + at, self._due, began + at)
            loop.call_at(loop.time() + self.plan.seconds, self._end)
        else:
            for connection in connections:
                self._ask(connection, time.perf_counter())
        await asyncio.wait_for(self._over.wait(), self.plan.seconds + 60)
        took = time.perf_counter() - began
        return self._result(self.plan.seconds if self.plan.mode == "closed" else took)

    def answered(self, connection: Connection, answer: bytes, took: float) -> None:
        now = time.perf_counter()
        self._under_way -= 1
        if self.plan.mode != "closed" or now <= self._ends:
            self._latencies.append(took)
            self._statuses[answer[9:12].decode()] += 1
            self._last = answer
        if self.plan.mode == "closed" and now < self._ends:
            self._ask(connection, now)
        elif self._late:
            self._ask(connection, self._late.popleft())
        else:
            self._idle.append(connection)
            self._end()

    def lost(self) -> None:
        if not self._over.is_set():
            self._statuses["lost"] += 1
            self._over.set()

    def _ask(self, connection: Connection, since: float) -> None:
        self._under_way += 1
        self._next += 1
        connection.ask(self._requests[self._next % len(self._requests)], since)

    def _due(self, since: float) -> None:
        if self._idle:
            self._ask(self._idle.popleft(), since)
        else:
            self._late.append(since)

    def _end(self) -> None:
        if not self._under_way and (self.plan.mode != "open" or time.perf_counter() >= self._ends):
            self._over.set()

    def _result(self, seconds: float) -> Result:
        found = sorted(self._latencies) or [0.0]
        return Result(
            count=len(self._latencies),
            per_second=len(self._latencies) / seconds,
            statuses=dict(self._statuses),
            p50=found[len(found) // 2],
            p99=found[int(len(found) * 0.99)],
            most=found[-1],
            last=self._last.partition(b"\r\n\r\n")[2].decode(errors="replace"),
        )


async def _run(plan: Plan) -> Result:
    return await Run(plan).go()


def main() -> None:
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    if plan.cpu is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {plan.cpu})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(_run(plan))
    sys.stdout.buffer.write(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
