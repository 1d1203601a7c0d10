"""Lookup: warm against a bare ASGI application with one redis-py GET, cold with a CRM that hangs.

Warm answers are put into the cache by the product's own code, as a search would have left them, and are fresh for the
run: what is measured is `gateway serve` as it stands, key check, metrics, log line and access log included.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

from connectors.crm.records import Activity, Company, Contact, Context, Deal, Kind, Owner, Phone
from gateway.db.base import TenantId
from gateway.directory.cache import CallerCache
from gateway.directory.reach import Reach
from gateway.lookup.answer import Found, somebody
from gateway.lookup.match import Candidate, decide
from tests.benchmarks.figures import Figure, Target, against_floor
from tests.benchmarks.floor import KEY as FLOOR_KEY
from tests.benchmarks.load import Plan, Result
from tests.benchmarks.stage import Stage, cpu_seconds, pin
from tests.processes import Process

NUMBERS = 1000
ALL_IN_TIME = Target("value", "<=", 200)  # ms, at the client, for the slowest of all


@dataclass(frozen=True, eq=False)
class Server:
    """What is asked."""

    process: Process
    port: int


def run(stage: Stage) -> Iterator[Figure]:
    """All figures of lookup, one after the other."""
    tenant_id, key = stage.tenant()
    ask = _asker(key)
    asyncio.run(_warm(stage, tenant_id))
    process, address = stage.gateway.serve(more={"GATEWAY_CALLER_FRESH": "3600", "GATEWAY_CALLER_KEPT": "7200"})
    ours = Server(process, int(address.rpartition(":")[2]))
    floor_process = stage.start("tests.benchmarks.floor", stage.redis.url, name="floor")
    floor = Server(floor_process, int(floor_process.wait_for_line(r"127\.0\.0\.1:(\d+)")[1]))
    for measured in (process, floor_process):
        pin(measured.pid, measured=True)
    for target, connections in ((0.7, 16), (0.8, 64)):
        yield _warm_throughput(stage, ours, floor, ask, connections, Target("ratio", ">=", target))
    yield _warm_latency(stage, ours, floor, ask)
    floor_process.stop()
    process.stop()
    yield from _cold(stage, tenant_id, ask)


Ask = Callable[..., Plan]


def _asker(key: str) -> Ask:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    bodies = tuple(json.dumps({"phone": text}) for n in range(NUMBERS) for text in (_spellings(n)[n % 4],))

    def plan(port: int, **more: object) -> Plan:
        values = {"port": port, "path": "/v1/lookup", "headers": headers, "bodies": bodies, **more}
        return msgspec.convert(values, Plan)

    return plan


def _e164(n: int) -> str:
    return f"+4144668{n:04}"


def _spellings(n: int) -> tuple[str, ...]:
    """The four that are asked with: E.164, national with spaces, with 00, as a SIP URI."""
    local = f"{n:04}"
    return (
        _e164(n),
        f"044 668 {local[:2]} {local[2:]}",
        f"004144668{local}",
        f"sip:+4144668{local}@203.0.113.7;user=phone",
    )


# ── warm ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _warm_throughput(stage: Stage, ours: Server, floor: Server, ask: Ask, connections: int, target: Target) -> Figure:
    rounds, seconds = (2, 1.0) if stage.quick else (5, 2.0)
    per_second: dict[Server, list[float]] = {ours: [], floor: []}
    spent: dict[Server, list[float]] = {ours: [], floor: []}

    def once(server: Server) -> None:
        before = cpu_seconds(server.process)
        result = stage.load(ask(server.port, mode="closed", connections=connections, seconds=seconds))
        spent[server].append((cpu_seconds(server.process) - before) / result.count * 1000)
        per_second[server].append(result.per_second)

    stage.load(ask(ours.port, mode="closed", connections=connections, seconds=0.5))  # both warm up alike
    stage.load(ask(floor.port, mode="closed", connections=connections, seconds=0.5))
    once(floor)
    for _ in range(rounds):
        once(ours)
        once(floor)
    value, base, ratio = against_floor(per_second[ours], per_second[floor])
    cpu = (sorted(spent[ours])[rounds // 2], sorted(spent[floor])[rounds // 2])
    return Figure(f"warm lookup, {connections} connections", value, "/s", base, ratio, target, cpu)


def _warm_latency(stage: Stage, ours: Server, floor: Server, ask: Ask) -> Figure:
    """Open loop: requests come when they come, also while earlier ones wait."""
    rounds, seconds = (1, 2.0) if stage.quick else (3, 4.0)
    found: dict[Server, list[float]] = {ours: [], floor: []}

    def once(server: Server) -> None:
        plan = ask(server.port, mode="open", connections=64, rate=200.0, seconds=seconds)
        found[server].append(stage.load(plan).p99)

    once(floor)
    for _ in range(rounds):
        once(ours)
        once(floor)
    value, base, ratio = against_floor(found[ours], found[floor])
    return Figure("warm lookup at 200/s, p99", value, "ms", base, ratio, Target("ratio", "<=", 2))


async def _warm(stage: Stage, tenant_id: TenantId) -> None:
    """Leave in Redis what searches for a thousand people would have left."""
    async with stage.parts() as parts:
        keys, cache = await parts.keyring.of(tenant_id), CallerCache(Reach(parts.redis))
        for n in range(NUMBERS):
            one = _contact(n)
            match = decide([Candidate("cn_bench", "hubspot", 0, one)], e164=_e164(n))
            kept = somebody(match, _e164(n), {f"cn_bench/contact/{one.id}": _CONTEXT})
            index, now = keys.index(_e164(n)), time.time()
            await cache.claim(keys, index, "bench", lease=timedelta(seconds=9))
            await cache.keep(keys, index, "bench", msgspec.msgpack.encode(kept), at=now, kept=timedelta(hours=2))
        example = Found("lk_01kax6zv3c9f4m2t8q5r7w1y0d", kept, "cache", 1.0, 0.001).to_json()
        await parts.redis.set(FLOOR_KEY, example)


def _contact(n: int) -> Contact:
    return Contact(
        kind=Kind.CONTACT,
        id=f"{286101 + n}",
        name=f"Jean Dupont {n}",
        first_name="Jean",
        last_name=f"Dupont {n}",
        salutation="Monsieur",
        email=f"jean.dupont.{n}@example.com",
        phones=(Phone(raw=_e164(n), label="mobilephone", e164=_e164(n)),),
        tier="customer",
        language="fr",
        url=f"https://app.hubspot.com/contacts/62515/record/0-1/{286101 + n}",
        match="exact",
        reason="mobilephone",
    )


_CONTEXT = Context(
    company=Company(id="7101", name="Exemple SA"),
    owner=Owner(id="31", name="Anna Muster", email="anna.muster@example.com"),
    open_deals=(Deal(id="905", name="Renewal", stage="Offer sent", amount=Decimal(1200), currency="CHF"),),
    recent=(
        Activity(kind=Kind.CALL, id="1", at=datetime(2026, 11, 20, 9, 12, tzinfo=UTC), subject="Asked for an offer"),
    ),
)


# ── cold, with the CRM hanging ──────────────────────────────────────────────────────────────────────────────────────


def _cold(stage: Stage, tenant_id: TenantId, ask: Ask) -> Iterator[Figure]:
    """No number is in the cache, and the CRM takes requests and says nothing."""
    crm = stage.sandbox()
    asyncio.run(stage.connect(tenant_id))
    crm.break_down(kind="hang", path="/crm/*")
    process, address = stage.gateway.serve()
    port = int(address.rpartition(":")[2])
    pin(process.pid, measured=True)

    def cold(first: int, count: int) -> tuple[str, ...]:
        return tuple(json.dumps({"phone": f"+4143{first + n:07}"}) for n in range(count))

    worst: list[Result] = []
    for n in range(1 if stage.quick else 3):
        plan = ask(port, mode="burst", connections=500)
        worst.append(stage.load(msgspec.structs.replace(plan, bodies=cold(2_000_000 + n * 1000, 500))))
    slowest = max(result.most for result in worst)
    yield Figure("500 cold lookups at once, CRM hanging: slowest", slowest, "ms", target=ALL_IN_TIME)
    count = 200 if stage.quick else 1000
    plan = ask(port, mode="open", connections=64, rate=50.0, seconds=count / 50)
    result = stage.load(msgspec.structs.replace(plan, bodies=cold(3_000_000, count)))
    name = f"{count:,} cold lookups at 50/s, CRM hanging: slowest"
    yield Figure(name, result.most, "ms", target=ALL_IN_TIME)
    process.stop()
    crm.process.stop()
