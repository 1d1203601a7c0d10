"""How much of a bare HTTP loop's speed delivery keeps, and how it compares with one RQ job per delivery.

The sandbox runs in a process of its own. All three send the same request to it, over kept connections: ours with lanes,
claims, sealing, links and records on a PostgreSQL that waits for its disk; the floor with nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import msgspec
from pydantic import SecretStr
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer
from rq.timeouts import TimerDeathPenalty
from sqlalchemy import func, select

from connectors.crm.catalog import CATALOG, Provider
from connectors.crm.records import CallLog, LogCall, Person
from connectors.http import make_client
from connectors.request import Request
from gateway import bell, schema
from gateway.crypto import new_kek_text
from gateway.db.base import TenantId
from gateway.delivery.drain import Drains
from gateway.outbox.plan import plan
from gateway.outbox.tables import Delivery
from gateway.parts import Parts
from gateway.parts import parts as opened_parts
from gateway.settings import Settings
from gateway.worker import run_on_loop
from tests.benchmarks.figures import Figure, Target, against_floor
from tests.benchmarks.stage import Stage, pin
from tests.factories import promise, providers_at
from tests.gateway.connections.connecting import AURORA, connected, make_tenant
from tests.processes import Process, gateway_environment, new_folder
from tests.servers import Postgres, Redis

DELIVERIES = 600  # a round
ROUNDS = 3
SANDBOX = "from connectors.sandbox.serve import run; run('hubspot', port=0, limits=False)"
_sync: httpx2.Client | None = None


@asynccontextmanager
async def connected_to_sandbox(
    postgres: Postgres, redis: Redis, *, senders: int
) -> AsyncIterator[tuple[Parts, TenantId, str, str]]:
    """Parts, a tenant with a connection to a sandbox in its own process, and that sandbox's origin."""
    await schema.migrate(postgres.url)
    log = new_folder("bench") / "sandbox.log"
    with Process([sys.executable, "-c", SANDBOX], log, gateway_environment({})) as sandbox:
        pin(sandbox.pid, measured=False)
        origin = sandbox.wait_for_line(r"sandbox: (http\S+)").group(1)
        unlimited = {name: _unlimited(one) for name, one in CATALOG.items()}
        settings = Settings(
            database_url=postgres.url,
            redis_url=redis.url,
            sealing_keys=(SecretStr(new_kek_text()),),
            connection_senders=senders,
        )
        async with opened_parts(settings, providers=providers_at(origin, unlimited)) as parts:
            tenant_id = await make_tenant(parts)
            yield parts, tenant_id, await connected(parts, tenant_id, account=AURORA), origin


def _unlimited(provider: Provider) -> Provider:
    """The throttle is asked as always and never has to say no: HubSpot's own limit is 11 a second."""
    manifest = provider.manifest
    buckets = {name: msgspec.structs.replace(bucket, limit=10_000_000) for name, bucket in manifest.buckets.items()}
    unlimited = msgspec.structs.replace(manifest, buckets=buckets)
    return dataclasses.replace(provider, manifest=unlimited, read_limits=lambda _request, _reply: ())


def run(stage: Stage) -> Iterator[Figure]:
    """Delivery's two figures."""
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    pin(os.getpid(), measured=True)  # this process is what is measured; the sandbox has the other CPU
    try:
        yield from run_on_loop(measure(stage.postgres, stage.redis, rounds=1 if stage.quick else ROUNDS))
    finally:
        if before:
            os.sched_setaffinity(0, before)


async def measure(postgres: Postgres, redis: Redis, *, concurrency: int = 16, rounds: int = ROUNDS) -> list[Figure]:
    """Deliveries a second: ours, the floor's, RQ's; interleaved, each of ours between two floors."""
    rates: dict[str, list[float]] = {"ours": [], "floor": [], "rq": []}
    spent: dict[str, list[float]] = {"ours": [], "floor": [], "rq": []}

    def note(name: str, told: tuple[float, float]) -> None:
        rates[name].append(told[0])
        spent[name].append(told[1])

    async with connected_to_sandbox(postgres, redis, senders=concurrency) as (parts, tenant_id, connection_id, origin):
        opened = await parts.connections.open(tenant_id, connection_id)
        (request,) = opened.crm.preview(call(0))
        token = await parts.connections.tokens.token(tenant_id, connection_id)
        await ours(parts, tenant_id, connection_id, count=50)  # imports, pools, prepared statements
        note("floor", await floor(origin, request, token, concurrency))
        for _ in range(rounds):
            note("ours", await ours(parts, tenant_id, connection_id, count=DELIVERIES))
            note("floor", await floor(origin, request, token, concurrency))
            note("rq", await asyncio.to_thread(one_job_each, redis, origin, request, token))
    value, bare, ratio = against_floor(rates["ours"], rates["floor"])
    rq = statistics.median(rates["rq"])
    cpu = {name: statistics.median(several) for name, several in spent.items()}
    return [
        Figure(
            f"delivery, {concurrency} at once, against a bare httpx2 loop", value, "1/s", bare, ratio,
            Target("ratio", ">=", 0.5), (cpu["ours"], cpu["floor"]),
        ),
        Figure(
            "delivery against one RQ job per delivery", value, "1/s", rq, value / rq, Target("ratio", ">=", 3),
            (cpu["ours"], cpu["rq"]),
        ),
    ]  # fmt: skip


async def ours(parts: Parts, tenant_id: TenantId, connection_id: str, *, count: int) -> tuple[float, float]:
    """Deliveries a second, and CPU milliseconds each, of draining `count` lanes with one delivery each."""
    await _promise(parts, tenant_id, connection_id, count)
    drains = Drains(parts)
    began, cpu = time.perf_counter(), time.process_time()
    drains.start(connection_id)
    await drains.idle()
    took, spent = time.perf_counter() - began, time.process_time() - cpu
    async with parts.db.reading() as session:
        left = await session.scalar(select(func.count()).where(Delivery.state != "delivered"))
        kinds = (Delivery.state, Delivery.code)
        why = await session.execute(select(*kinds, func.count()).group_by(*kinds))
    if left:
        raise RuntimeError(f"not everything was delivered: {why.all()}")
    return count / took, spent / count * 1000


async def _promise(parts: Parts, tenant_id: TenantId, connection_id: str, count: int) -> None:
    keys = await parts.keyring.of(tenant_id)
    for number in range(count):
        async with parts.db.transaction(tenant_id) as session:
            write = call(number)
            await plan(
                session, tenant_id, connection_id, os.urandom(16), [promise(write.key, write)], keys=keys, call_id=None,
                lifetime=timedelta(days=7),
            )  # fmt: skip


def call(number: int) -> LogCall:
    log = CallLog(
        direction="inbound",
        started_at=datetime.now(UTC),
        duration=timedelta(seconds=90),
        customer_number="+41446681800",
    )
    return LogCall(
        key=f"dl_{os.urandom(8).hex()}{number}", subject="Incoming call", call=log, body="x" * 400, about=(Person(),)
    )


async def floor(origin: str, request: Request, token: str, concurrency: int) -> tuple[float, float]:
    """The same POSTs from a bare httpx2 loop."""
    numbers = iter(range(DELIVERIES))
    async with make_client() as client:
        headers = {"authorization": f"Bearer {token}"}

        async def send() -> None:
            for number in numbers:
                reply = await client.post(origin + request.path, json=_fresh(request, number), headers=headers)
                if reply.status_code != 201:
                    raise RuntimeError(f"the sandbox answered {reply.status_code}")

        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(send() for _ in range(concurrency)))
        return DELIVERIES / (time.perf_counter() - began), (time.process_time() - cpu) / DELIVERIES * 1000


def _fresh(request: Request, number: int) -> dict[str, Any]:
    """The request's body under a key of its own: the sandbox keeps keys unique."""
    body: dict[str, Any] = msgspec.to_builtins(request.json)
    properties = {**body["properties"]}
    if "gateway_key" in properties:
        properties["gateway_key"] = f"bench-{time.monotonic_ns()}-{number}"
    return {**body, "properties": properties, "associations": []}


class _Worker(SimpleWorker):
    death_penalty_class = TimerDeathPenalty

    def _install_signal_handlers(self) -> None:
        """It runs in a thread."""


def send_one(url: str, body: dict[str, Any], token: str) -> None:
    """The job: one POST over a connection that is kept."""
    global _sync
    if _sync is None:
        _sync = httpx2.Client(trust_env=False)
    _sync.post(url, json=body, headers={"authorization": f"Bearer {token}"}).raise_for_status()


def one_job_each(redis: Redis, origin: str, request: Request, token: str, count: int = 200) -> tuple[float, float]:
    """The obvious way: a job per delivery, worked off in process."""
    connection = bell.connect_blocking(Settings(redis_url=redis.url), socket_timeout=None)
    queue = Queue("bench", connection=connection, serializer=JSONSerializer)
    for number in range(count):
        queue.enqueue(send_one, origin + request.path, _fresh(request, number), token, result_ttl=0)
    worker = _Worker([queue], connection=connection, serializer=JSONSerializer)
    began, cpu = time.perf_counter(), time.process_time()
    worker.work(burst=True, logging_level="ERROR")
    return count / (time.perf_counter() - began), (time.process_time() - cpu) / count * 1000
