"""Resident memory of `gateway serve` and `gateway worker` after the same story: lookups, a call, its writes at the CRM."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.request import Request, urlopen

from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.stage import Stage, resident_mb
from tests.processes import until

AT_MOST = Target("value", "<=", 150)
CALLS = 20


def run(stage: Stage) -> Iterator[Figure]:
    """A warm process of each kind. The story is real: the figure is refused when its writes did not arrive."""
    tenant_id, key = stage.tenant()
    stage.sandbox()
    asyncio.run(stage.connect(tenant_id))
    serve, address = stage.gateway.serve()
    worker, relay = stage.gateway.worker(), stage.gateway.relay()

    def ask(method: str, path: str, body: object = None) -> Any:
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        sent = None if body is None else json.dumps(body).encode()
        with urlopen(Request(address + path, sent, headers, method=method), timeout=10) as answer:
            return json.load(answer)

    for n in range(CALLS):
        number = f"+4144668{n:04}"
        ask("POST", "/v1/lookup", {"phone": number})
        ended = {"call_id": f"bench-{n}", "direction": "inbound", "from": number, "to": "+41435550100"}
        told = {"started_at": "2026-11-20T09:00:00Z", "ended_at": "2026-11-20T09:02:00Z", "complete": True}
        ask("POST", "/v1/calls", {**ended, **told, "summary": "Asked for an offer."})

    def all_arrived() -> bool:
        return all(ask("GET", f"/v1/calls/bench-{n}")["state"] == "done" for n in range(CALLS))

    until("every call's writes are at the CRM", all_arrived, timedelta(seconds=90))
    yield Figure("resident memory of serve", resident_mb(serve), "MB", target=AT_MOST)
    yield Figure("resident memory of worker", resident_mb(worker), "MB", target=AT_MOST)
    for process in (relay, worker, serve):
        process.stop()
