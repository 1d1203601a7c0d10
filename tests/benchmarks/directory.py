"""Lookup from the directory with the cache cold, against the floor; what a million contacts cost beside ten thousand.

The cache keeps answers for 50 ms here, so every lookup of the run reads the directory. The CRM is a sandbox that answers.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
from msgspec.structs import replace

from connectors.crm.records import Company, Contact, Kind, Owner, Phone
from gateway.db.base import TenantId
from gateway.db.engine import utc_now
from gateway.directory import queries
from gateway.directory.mirror import Ready, prepare
from gateway.directory.numbers import Reading
from gateway.directory.tables import DirectoryPhone, DirectoryRecord
from gateway.lookup.answer import Found, somebody
from gateway.lookup.match import Candidate, decide
from gateway.parts import Parts
from tests.benchmarks.figures import Figure, Target, against_floor
from tests.benchmarks.floor import KEY as FLOOR_KEY
from tests.benchmarks.load import Plan
from tests.benchmarks.lookup import Server
from tests.benchmarks.stage import Stage, cpu_seconds, pin

FEW, MANY = 10_000, 1_000_000
ASKED = 1_000  # different numbers
COLD = {"GATEWAY_CALLER_KEPT": "0.05", "GATEWAY_UNKNOWN_KEPT": "0.05"}
SWISS = Reading(("CH",))


def run(stage: Stage) -> Iterator[Figure]:
    tenant_id, key = stage.tenant()
    stage.sandbox()
    connection_id = asyncio.run(stage.connect(tenant_id))
    asyncio.run(_fill(stage, tenant_id, connection_id, 0, FEW))
    asyncio.run(_example(stage))
    process, address = stage.gateway.serve(more=COLD)
    ours = Server(process, int(address.rpartition(":")[2]))
    floor_process = stage.start("tests.benchmarks.floor", stage.redis.url, name="floor")
    floor = Server(floor_process, int(floor_process.wait_for_line(r"127\.0\.0\.1:(\d+)")[1]))
    for measured in (process, floor_process):
        pin(measured.pid, measured=True)
    for target, connections in ((0.4, 16), (0.5, 64)):
        yield _throughput(stage, ours, floor, key, connections, Target("ratio", ">=", target))
    few = _alone(stage, ours, key, FEW)
    many = 100_000 if stage.quick else MANY
    asyncio.run(_fill(stage, tenant_id, connection_id, FEW, many))
    big = _alone(stage, ours, key, many)
    name = f"directory lookup alone, {many:,} contacts beside {FEW:,}: median"
    yield Figure(name, big, "ms", few, big / few, Target("ratio", "<=", 1.3))


async def _example(stage: Stage) -> None:
    """What the floor answers: as long as what we answer."""
    found = replace(_contact(0), match="exact", reason="mobilephone")
    match = decide([Candidate("cn_bench", "hubspot", 0, found)], e164=_e164(0))
    answer = Found("lk_01kax6zv3c9f4m2t8q5r7w1y0d", somebody(match, _e164(0), {}), "directory", 1.0, 0.001).to_json()
    async with stage.parts() as parts:
        await parts.redis.set(FLOOR_KEY, answer)


def _plan(port: int, key: str, among: int, **more: object) -> Plan:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    step = max(1, among // ASKED)
    bodies = tuple(json.dumps({"phone": _e164(n)}) for n in range(0, step * ASKED, step))
    values = {"port": port, "path": "/v1/lookup", "headers": headers, "bodies": bodies, **more}
    return msgspec.convert(values, Plan)


def _throughput(stage: Stage, ours: Server, floor: Server, key: str, connections: int, target: Target) -> Figure:
    rounds, seconds = (2, 1.0) if stage.quick else (5, 2.0)
    per_second: dict[Server, list[float]] = {ours: [], floor: []}
    spent: dict[Server, list[float]] = {ours: [], floor: []}

    def once(server: Server) -> None:
        before = cpu_seconds(server.process)
        plan = _plan(server.port, key, FEW, mode="closed", connections=connections, seconds=seconds)
        result = stage.load(plan)
        spent[server].append((cpu_seconds(server.process) - before) / result.count * 1000)
        per_second[server].append(result.per_second)

    once(ours)  # warms up
    per_second[ours].clear()
    spent[ours].clear()
    once(floor)
    for _ in range(rounds):
        once(ours)
        once(floor)
    value, base, ratio = against_floor(per_second[ours], per_second[floor])
    cpu = (sorted(spent[ours])[rounds // 2], sorted(spent[floor])[rounds // 2])
    return Figure(f"directory lookup, cache cold, {connections} connections", value, "/s", base, ratio, target, cpu)


def _alone(stage: Stage, ours: Server, key: str, among: int) -> float:
    """The median of one connection's lookups over the whole directory."""
    plan = _plan(ours.port, key, among, mode="closed", connections=1, seconds=1.0 if stage.quick else 4.0)
    stage.load(replace(plan, seconds=2.0))  # every number once, so that it is the directory that differs
    return stage.load(plan).p50


def _e164(n: int) -> str:
    return f"+4179{n:07}"


async def _fill(stage: Stage, tenant_id: TenantId, connection_id: str, first: int, until: int) -> None:
    """Contacts as an import would have left them, copied in."""
    async with stage.parts() as parts:
        keys = await parts.keyring.of(tenant_id)
        async with parts.db.transaction(tenant_id) as session:
            await queries.begin(session, tenant_id, connection_id, dry=False, now=utc_now())
            for row in await queries.mirrors(session, tenant_id, connection_id):
                row.state, row.complete_at, row.due_at = "done", utc_now(), None
        for start in range(first, until, 20_000):
            ready = [prepare(keys, connection_id, _contact(n), SWISS) for n in range(start, min(until, start + 20_000))]
            await _copy(parts, tenant_id, connection_id, ready)
        async with parts.db.driver() as driver:
            await driver.execute("VACUUM (ANALYZE) directory_phones, directory_records")


async def _copy(parts: Parts, tenant_id: TenantId, connection_id: str, ready: list[Ready]) -> None:
    now = utc_now()
    records = [
        (tenant_id, connection_id, "contact", one.ref.id, one.sealed, one.digest, one.updated_at, 1, now, None)
        for one in ready
    ]
    phones = [
        (tenant_id, number, connection_id, "contact", one.ref.id, label, match)
        for one in ready
        for number, label, match in one.numbers
    ]
    async with parts.db.driver() as driver:
        for table, rows in ((DirectoryRecord, records), (DirectoryPhone, phones)):
            columns = [column.name for column in table.__table__.columns]
            await driver.copy_records_to_table(table.__tablename__, records=rows, columns=columns)


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
        company=Company(id="7101", name="Exemple SA"),
        owner=Owner(id="31", name="Anna Muster", email="anna.muster@example.com"),
        tier="customer",
        language="fr",
        url=f"https://app.hubspot.com/contacts/62515/record/0-1/{286101 + n}",
        updated_at=datetime(2026, 11, 1, tzinfo=UTC),
    )
