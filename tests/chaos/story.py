"""One seeded run: real relay, workers, PostgreSQL, Redis and sandbox; things break; then everything is counted.

The judge is the sandbox's own store: it runs in this process, which nobody kills. *Lost* is a promised write that is
not there at the end; *doubled*, one that is there twice; *out of order*, a record that was written before the person it
is about, or without them.
"""

from __future__ import annotations

import asyncio
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import redis.asyncio
from pydantic import SecretStr
from sqlalchemy import func, select

from connectors.crm.port import Sticking
from connectors.crm.records import CallLog, CreateDeal, CreateTask, LogCall, Person, UpsertContact, Write
from connectors.sandbox.faults import Fault, Kind
from connectors.sandbox.serve import running
from gateway import schema
from gateway.connections.tables import Connection
from gateway.crypto import new_kek_text
from gateway.db.base import TenantId
from gateway.outbox.plan import Promise, person_key, plan
from gateway.outbox.states import OPEN
from gateway.outbox.tables import Attempt, Delivery
from gateway.parts import Parts
from gateway.parts import parts as opened_parts
from gateway.settings import Settings
from tests.chaos.vendors import VENDORS, Vendor
from tests.factories import providers_at
from tests.processes import Gateway, Process
from tests.servers import Postgres, Redis

LEASE, REQUEST, SETTLE = timedelta(seconds=4), timedelta(seconds=1), timedelta(seconds=1)
CLIENT = {"CLIENT_ID": "sandbox-client", "CLIENT_SECRET": "sandbox-secret"}


@dataclass(frozen=True)
class Size:
    """How much of everything. The default is a run of a minute or two."""

    accounts: int = 3  # at a vendor whose sandbox has several
    people: int = 20  # per account; where there is one, as many as in all
    calls: int = 2  # per person, four writes each for the first, three for the others
    workers: int = 2
    trouble: timedelta = timedelta(seconds=30)
    patience: timedelta = timedelta(seconds=240)


SHORT = Size(accounts=2, people=8, calls=2, trouble=timedelta(seconds=5), patience=timedelta(seconds=150))


@dataclass
class Verdict:
    """What was counted at the end. Good when all but the last two are empty or zero."""

    promised: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    strays: int = 0  # records at the CRM that nobody promised
    troubles: Counter[str] = field(default_factory=Counter)
    took: float = 0.0

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.out_of_order or self.unfinished or self.strays)

    def __str__(self) -> str:
        told = ", ".join(f"{count} {what}" for what, count in sorted(self.troubles.items()))
        return (
            f"{self.promised} promised; lost {len(self.lost)}, doubled {len(self.doubled)}, out of order "
            f"{len(self.out_of_order)}, unfinished {len(self.unfinished)}, strays {self.strays}; {told}; {self.took:.0f} s"
        )


@dataclass
class Stage:
    """Everything that takes part in a run."""

    gateway: Gateway
    parts: Parts
    vendor: Vendor
    postgres: Postgres
    redis: Redis
    chance: random.Random
    size: Size
    workers: list[Process]
    relay: Process
    lanes: dict[int, tuple[TenantId, str]]  # account → tenant and connection
    troubles: Counter[str] = field(default_factory=Counter)

    @property
    def people(self) -> int:
        """In each account."""
        return self.size.people * self.size.accounts // len(self.vendor.accounts)


async def run(seed: int, size: Size, postgres: Postgres, redis_server: Redis, *, crm: str = "hubspot") -> Verdict:
    """One run. `postgres` and `redis_server` are used and hurt: give it its own."""
    began = time.monotonic()
    async with staged(seed, size, postgres, redis_server, VENDORS[crm](size.accounts)) as stage:
        promised = {account: await promise_all(stage, account) for account in stage.lanes}
        later = asyncio.create_task(_promise_later(stage, promised))
        await trouble(stage)
        await later
        stage.vendor.face.faults.clear()
        unfinished = await finished(stage)
        verdict = count(stage, promised)
        verdict.unfinished = unfinished
    verdict.took = time.monotonic() - began
    return verdict


@asynccontextmanager
async def staged(
    seed: int, size: Size, postgres: Postgres, redis_server: Redis, vendor: Vendor
) -> AsyncIterator[Stage]:
    chance = random.Random(seed)
    key = new_kek_text()
    await schema.migrate(postgres.url)
    async with running(vendor.face) as origin:
        at = {**CLIENT, **{f"{what}_URL": origin for what in ("AUTH", "TOKEN", "API")}}
        given = {
            "GATEWAY_DATABASE_URL": postgres.url,
            "GATEWAY_REDIS_URL": redis_server.url,
            "GATEWAY_SEALING_KEYS": key,
            "GATEWAY_LEASE": str(LEASE.total_seconds()),
            "GATEWAY_REQUEST_TIMEOUT": str(REQUEST.total_seconds()),
            "GATEWAY_LOG_LEVEL": "WARNING",
            **{f"GATEWAY_{vendor.slug.upper()}_{name}": value for name, value in at.items()},
        }
        settings = Settings(database_url=postgres.url, redis_url=redis_server.url, sealing_keys=(SecretStr(key),))
        gateway = Gateway(given, Path(tempfile.mkdtemp(prefix="chaos-")))
        async with opened_parts(settings, providers=providers_at(origin)) as parts:
            lanes = {place: await vendor.connect(parts, place) for place in range(len(vendor.accounts))}
            await _settle_sooner(parts)
            vendor.face.journal.forget()
            workers = await asyncio.gather(*(asyncio.to_thread(gateway.worker) for _ in range(size.workers)))
            relay = await asyncio.to_thread(gateway.relay)
            stage = Stage(gateway, parts, vendor, postgres, redis_server, chance, size, list(workers), relay, lanes)
            try:
                yield stage
            finally:
                for process in (*stage.workers, stage.relay):
                    process.kill()


async def _settle_sooner(parts: Parts) -> None:
    """The sandbox commits at once or on command: a run need not wait as long as for the real one."""
    async with parts.db.transaction() as session:
        for row in await session.scalars(select(Connection)):
            sticks = msgspec.convert(row.sticks, dict[str, Sticking])
            row.sticks = msgspec.to_builtins(
                {name: Sticking(stick=one.stick, where=one.where, settle=SETTLE) for name, one in sticks.items()}
            )


# ── what is promised ────────────────────────────────────────────────────────────────────────────────────────────────


async def promise_all(stage: Stage, account: int) -> list[Promise]:
    """The first call of everybody."""
    made = []
    for person in range(stage.people):
        made += await _promise(stage, account, person, call=0)
    return made


async def _promise_later(stage: Stage, promised: dict[int, list[Promise]]) -> None:
    """Further calls of the same people come in while things break."""
    wait = stage.size.trouble.total_seconds() / max(1, (stage.size.calls - 1) * stage.people * len(stage.lanes))
    for call in range(1, stage.size.calls):
        for person in range(stage.people):
            for account in stage.lanes:
                while True:
                    try:
                        promised[account] += await _promise(stage, account, person, call=call)
                        break
                    except Exception:  # PostgreSQL is restarting: intake would answer 503 and be asked again
                        await asyncio.sleep(0.2)
                await asyncio.sleep(wait)


async def _promise(stage: Stage, account: int, person: int, *, call: int) -> list[Promise]:
    tenant_id, connection_id = stage.lanes[account]
    keys = await stage.parts.keyring.of(tenant_id)
    who = b"%d-%d" % (account, person)
    number = f"+4179{account % 1000:03}{person:04}"
    name = f"{account}-{person}-{call}"
    key = person_key(connection_id, who)
    upsert = UpsertContact(key=key, phone=number, first_name="P", last_name=name, target=Person())
    contact = _one(f"dl_c-{name}", upsert, "person")
    began = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=call)
    log = CallLog(direction="inbound", started_at=began, duration=timedelta(seconds=60), customer_number=number)
    rest: list[Write] = [
        LogCall(key=f"dl_l-{name}", subject=f"call {call}", call=log, body=name, about=(Person(),)),
        CreateTask(key=f"dl_t-{name}", subject=f"call back {name}", due=began, about=(Person(),)),
    ]
    if call == 0:
        rest.append(CreateDeal(key=f"dl_d-{name}", name=f"deal {name}", about=(Person(),)))
    promises = [contact, *(_one(write.key, write, f"own:{write.key}", needs=(contact.id,)) for write in rest)]
    async with stage.parts.db.transaction(tenant_id) as session:
        await plan(
            session, tenant_id, connection_id, who, promises, keys=keys, call_id=None, lifetime=timedelta(days=7)
        )
    return promises


def _one(name: str, write: Write, record: str, *, needs: tuple[str, ...] = ()) -> Promise:
    return Promise(
        id=name, rule_id="ru_1", rule="chaos", action_id=name, write=write, needs=needs, record_key=record,
        settle=SETTLE, blind=False,
    )  # fmt: skip


# ── what breaks ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def trouble(stage: Stage) -> None:
    """Break something every moment, by the seed's choice, for as long as the size says."""
    acts = [
        (kill_worker, 5),
        (freeze_worker, 2),
        (stop_worker, 1),
        (kill_relay, 1),
        (flush_redis, 3),
        (answers_lost, 5),
        (crm_down, 2),
        (crm_hangs, 2),
        (rate_limited, 0 if stage.vendor.daily else 1),
        (rubbish, 2),
        (postgres_restart, 1),
    ]
    end = time.monotonic() + stage.size.trouble.total_seconds()
    thawing: list[asyncio.Task[None]] = []
    while time.monotonic() < end:
        (act,) = stage.chance.choices([one for one, _ in acts], [weight for _, weight in acts])
        stage.troubles[act.__name__] += 1
        if (task := await act(stage)) is not None:
            thawing.append(task)
        await asyncio.sleep(stage.chance.uniform(0.2, 1.0))
    await asyncio.gather(*thawing)


async def kill_worker(stage: Stage) -> None:
    place = stage.chance.randrange(len(stage.workers))
    stage.workers[place].kill()
    stage.workers[place] = stage.gateway.start("worker")


async def freeze_worker(stage: Stage) -> asyncio.Task[None]:
    """Stopped past its lease, then let go on: it must not send what somebody else has sent by then."""
    frozen = stage.workers[stage.chance.randrange(len(stage.workers))]
    frozen.send(signal.SIGSTOP)

    async def thaw() -> None:
        await asyncio.sleep(LEASE.total_seconds() * stage.chance.uniform(0.8, 1.6))
        if frozen.exit_code is None:
            frozen.send(signal.SIGCONT)

    return asyncio.create_task(thaw())


async def stop_worker(stage: Stage) -> asyncio.Task[None]:
    """A rolling restart."""
    place = stage.chance.randrange(len(stage.workers))
    old = stage.workers[place]
    old.send(signal.SIGTERM)
    stage.workers[place] = stage.gateway.start("worker")

    async def at_last() -> None:
        await asyncio.to_thread(_ended_or_killed, old)

    return asyncio.create_task(at_last())


def _ended_or_killed(process: Process) -> None:
    """A frozen one cannot hear SIGTERM; a supervisor kills it in the end."""
    try:
        process.wait(timedelta(seconds=10))
    except Exception:
        process.kill()


async def kill_relay(stage: Stage) -> None:
    stage.relay.kill()
    stage.relay = stage.gateway.start("relay")


async def flush_redis(stage: Stage) -> None:
    client = redis.asyncio.Redis.from_url(stage.redis.url)
    await client.flushall()
    await client.aclose()


async def answers_lost(stage: Stage) -> None:
    stage.vendor.face.faults.add(
        Fault(
            kind=Kind.RESET_AFTER,
            method="POST",
            path=stage.vendor.api,
            probability=0.5,
            count=stage.chance.randint(1, 8),
        )
    )
    stage.vendor.face.faults.add(
        Fault(
            kind=Kind.ERROR,
            method="POST",
            path=stage.vendor.api,
            commits=True,
            probability=0.3,
            count=stage.chance.randint(1, 5),
        )
    )


async def crm_down(stage: Stage) -> None:
    kind = stage.chance.choice((Kind.OUTAGE, Kind.RESET, Kind.ERROR))
    stage.vendor.face.faults.add(Fault(kind=kind, path=stage.vendor.api, count=stage.chance.randint(1, 15)))


async def crm_hangs(stage: Stage) -> None:
    stage.vendor.face.faults.add(Fault(kind=Kind.HANG, path=stage.vendor.api, count=stage.chance.randint(1, 4)))
    stage.vendor.face.faults.add(
        Fault(kind=Kind.LATENCY, path=stage.vendor.api, delay=timedelta(seconds=1.5), count=stage.chance.randint(1, 4))
    )


async def rate_limited(stage: Stage) -> None:
    stage.vendor.face.faults.add(Fault(kind=Kind.RATE_LIMIT, path=stage.vendor.api, count=stage.chance.randint(1, 10)))


async def rubbish(stage: Stage) -> None:
    kind = stage.chance.choice((Kind.HTML, Kind.TRUNCATED, Kind.EMPTY, Kind.CUT))
    stage.vendor.face.faults.add(
        Fault(kind=kind, method="POST", path=stage.vendor.api, count=stage.chance.randint(1, 4))
    )


async def postgres_restart(stage: Stage) -> None:
    await asyncio.to_thread(stage.postgres.restart)


# ── what is counted ─────────────────────────────────────────────────────────────────────────────────────────────────


async def finished(stage: Stage) -> list[str]:
    """Wait until every promise has ended; what is still open, or ended otherwise than delivered, when patience ends."""
    end = time.monotonic() + stage.size.patience.total_seconds()
    while time.monotonic() < end:
        async with stage.parts.db.reading() as session:
            if not await session.scalar(select(func.count()).where(Delivery.state.in_([*OPEN]))):
                break
        await asyncio.sleep(0.3)
    async with stage.parts.db.reading() as session:
        rows = await session.execute(
            select(Delivery.id, Delivery.state, Delivery.code, Delivery.reason).where(Delivery.state != "delivered")
        )
        return [f"{row.id}: {row.state} {row.code or ''} {row.reason or ''}" for row in rows]


def count(stage: Stage, promised: dict[int, list[Promise]]) -> Verdict:
    """Compare what was promised with what each account holds, by the key in our own field or in the text's last line."""
    verdict = Verdict(troubles=stage.troubles)
    for account, promises in promised.items():
        keys = {promise.write.key for promise in promises}
        held = stage.vendor.held(account, keys)
        verdict.promised += len(promises)
        verdict.lost += sorted(key for key in keys if key not in held)
        verdict.doubled += sorted(key for key in keys if len(held.get(key, ())) > 1)
        verdict.strays += sum(len(entries) for key, entries in held.items() if key not in keys)
        people = {promise.id: promise.write.key for promise in promises if isinstance(promise.write, UpsertContact)}
        for promise in promises:
            wanted = {one.id for need in promise.needs for one in held.get(people[need], ())}
            for entry in held.get(promise.write.key, ()) if promise.needs else ():
                if not stage.vendor.is_linked(account, entry, wanted):
                    verdict.out_of_order.append(promise.write.key)
    return verdict


async def attempts(stage: Stage) -> Counter[str]:
    async with stage.parts.db.reading() as session:
        rows = await session.execute(select(Attempt.outcome, func.count()).group_by(Attempt.outcome))
        return Counter({row[0]: row[1] for row in rows})
