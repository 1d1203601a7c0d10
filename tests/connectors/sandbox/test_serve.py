"""The sandbox as a process, and inside another: where it listens, what outlives it, how it goes away and comes back."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from connectors.sandbox import serve
from connectors.sandbox.journal import Asked, Journal
from tests.connectors.sandbox.world import World, make_world
from tests.processes import PROJECT


def _started(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    program = (
        f"from connectors.sandbox import serve; from pathlib import Path; serve.run('hubspot', {', '.join(arguments)})"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.fullmatch(r"hubspot sandbox: (http://127\.0\.0\.1:\d+)\n", line)
    assert found, line
    return process, found[1]


def test_it_says_where_it_is_and_writes_down_every_request(tmp_path: Path) -> None:
    """Each line is on disk before its answer leaves: killing the sandbox loses none that were answered."""
    journal = tmp_path / "requests.jsonl"
    process, origin = _started("port=0", f"journal=Path({str(journal)!r})", "client_id='us'")
    try:
        with httpx2.Client(verify=False, base_url=origin) as client:
            assert client.get("/oauth/authorize?client_id=them").status_code == 400
            assert client.get("/crm/objects/2026-09/contacts").status_code == 401
            client.post(
                "/crm/objects/2026-09/calls/batch/upsert", json={"inputs": [{"properties": {"gateway_key": "k7"}}]}
            )
            assert len(client.get("/_sandbox/records/contacts").json()) == 220
            assert client.get("/_sandbox/accounts").json() == ["62515", "62516"]
    finally:
        process.kill()
        process.wait()
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [(each["n"], each["status"], each["committed"]) for each in lines] == [
        (1, 400, False),
        (2, 401, False),
        (3, 401, False),
    ]
    assert lines[2]["keys"] == ["k7"]


def test_a_connection_is_reset_on_any_loop() -> None:
    """The command runs on uvloop, whose transports are others than asyncio's."""
    process, origin = _started("port=0")
    try:
        with httpx2.Client(verify=False, base_url=origin) as client:
            client.post("/_sandbox/faults", json={"kind": "reset", "count": 1})
            with pytest.raises(httpx2.ReadError, match="reset"):
                client.get("/crm/objects/2026-09/contacts")
            assert client.get("/crm/objects/2026-09/contacts").status_code == 401
    finally:
        process.kill()
        process.wait()


def test_a_signal_ends_it_in_order() -> None:
    process, _ = _started("port=0")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) in (0, -signal.SIGTERM)


async def test_an_outage_can_be_a_closed_port(world: World) -> None:
    """Gone, connections are refused; back on the same port, it is the same CRM."""
    async with serve.running(world.app) as origin, httpx2.AsyncClient(verify=False) as client:
        port = int(origin.rsplit(":", 1)[1])
        assert (await client.get(f"{origin}/_sandbox/accounts")).status_code == 200
    async with httpx2.AsyncClient(verify=False) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get(origin)
    person = world.create("contacts", firstname="A")
    async with serve.running(world.app, port=port) as again, httpx2.AsyncClient(verify=False) as client:
        told = (await client.get(f"{again}/_sandbox/records/contacts")).json()
    assert (again, [each["id"] for each in told]) == (origin, [person])


async def test_leaving_does_not_wait_for_those_who_hang() -> None:
    world = make_world()
    async with asyncio.timeout(5):
        async with serve.running(world.app) as origin, httpx2.AsyncClient(verify=False, timeout=30) as client:
            await client.post(f"{origin}/_sandbox/faults", json={"kind": "hang"})
            hanging = asyncio.create_task(client.get(f"{origin}/crm/objects/2026-09/contacts"))
            while not world.app.journal.asked:
                await client.get(f"{origin}/_sandbox/log")
            hanging.cancel()


async def test_answers_do_not_wait_for_an_acknowledgement() -> None:
    """Accepted connections have Nagle's algorithm off; with it on, each keep-alive answer takes 40 ms more."""
    world, seen = make_world(), []

    async def spy(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        inner = scope["extensions"]["sandbox.transport"].get_extra_info("socket")
        seen.append(inner.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        await world.app(scope, receive, send)

    async with serve.running(spy) as origin, httpx2.AsyncClient(verify=False) as client:  # type: ignore[arg-type]
        await client.get(f"{origin}/_sandbox/log")
    assert seen[0]


async def test_an_unknown_vendor_is_a_clear_error() -> None:
    with pytest.raises(LookupError, match="there is no sandbox for 'kalender'; there is one for: hubspot"):
        await serve.serve("kalender")


def test_a_journal_forgets_in_memory_only(tmp_path: Path) -> None:
    file = tmp_path / "log"
    journal = Journal(file)
    for _ in range(2):
        journal.append(Asked(n=journal.next(), at=make_world().clock(), method="GET", path="/", status=200))
        journal.forget()
    journal.close()
    assert journal.asked == []
    assert [json.loads(line)["n"] for line in file.read_text().splitlines()] == [1, 2]
