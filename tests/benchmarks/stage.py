"""What benchmarks run on: PostgreSQL that waits for its disk, Redis, a sandbox CRM and real `gateway` processes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import Request, urlopen

import msgspec
import psutil

from gateway.crypto import new_kek_text
from gateway.db.base import TenantId
from gateway.parts import Parts
from gateway.parts import parts as opened_parts
from gateway.settings import Settings
from tests import servers
from tests.benchmarks.load import Plan, Result
from tests.gateway.connections.connecting import connected
from tests.processes import PROJECT, Gateway, Process, gateway_environment, new_folder, remove_folder

CLIENT = {"GATEWAY_HUBSPOT_CLIENT_ID": "sandbox-client", "GATEWAY_HUBSPOT_CLIENT_SECRET": "sandbox-secret"}


@dataclass(frozen=True)
class Crm:
    """A sandbox in its own process."""

    process: Process
    origin: str

    def break_down(self, **fault: object) -> None:
        """Arm a fault (`connectors.sandbox.faults.Fault`, durations in seconds) until it is mended."""
        self._do("POST", json.dumps(fault).encode())

    def mend(self) -> None:
        self._do("DELETE", None)

    def _do(self, method: str, body: bytes | None) -> None:
        with urlopen(Request(f"{self.origin}/_sandbox/faults", body, method=method), timeout=10) as answer:
            assert answer.status < 300


@dataclass
class Stage:
    """One set of servers for all benchmarks. `quick`: shorter runs, less to be believed.

    Where there are two CPUs, what is measured runs on the first one alone, and everything else on the others: floor and
    ours alike.
    """

    postgres: servers.Postgres
    redis: servers.Redis
    gateway: Gateway
    folder: Path
    quick: bool
    processes: list[Process] = field(default_factory=list)

    def tenant(self) -> tuple[TenantId, str]:
        """A new tenant and a key of it that may do everything."""
        made = json.loads(self.gateway.run("tenant", "create", "Bench SA", "--region", "CH", "--json"))
        scopes = "lookup,events,read,operate,admin"
        key = json.loads(self.gateway.run("key", "create", made["id"], "--scopes", scopes, "--json"))
        return TenantId(made["id"]), key["key"]

    def sandbox(self) -> Crm:
        """A HubSpot of our own, in its own process; gateways that are started from now on use it."""
        process = self.gateway.start("sandbox", "hubspot", "--port", "0")
        origin = process.wait_for_line(r"http://127\.0\.0\.1:\d+").group()
        self.gateway.settings.update({f"GATEWAY_HUBSPOT_{what}_URL": origin for what in ("AUTH", "TOKEN", "API")})
        pin(process.pid, measured=False)
        return Crm(process, origin)

    async def connect(self, tenant_id: TenantId) -> str:
        """Connect the tenant to the sandbox, as a person would by OAuth; the connection's id."""
        async with self.parts() as parts:
            return await connected(parts, tenant_id)

    @asynccontextmanager
    async def parts(self) -> AsyncIterator[Parts]:
        """The parts of a gateway process, in this one."""
        before = dict(os.environ)
        os.environ.update(self.settings)
        try:
            async with opened_parts(Settings()) as parts:
                yield parts
        finally:
            os.environ.clear()
            os.environ.update(before)

    @property
    def settings(self) -> Mapping[str, str]:
        """`GATEWAY_…` of every process here."""
        return self.gateway.settings

    def start(self, *command: str, name: str) -> Process:
        """A process of ours that is not a `gateway` command; ended with the stage."""
        env = gateway_environment({**self.settings, "PYTHONPATH": str(PROJECT)})
        process = Process([sys.executable, "-m", *command], self.folder / f"{name}.log", env, cwd=self.folder).start()
        self.processes.append(process)
        return process

    def load(self, plan: Plan, *, status: str = "200") -> Result:
        """Run one load client to its end. Raises when an answer was not a `status`."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.load"],
            input=msgspec.json.encode(msgspec.structs.replace(plan, cpu=_cpus()[-1] if len(_cpus()) > 1 else None)),
            capture_output=True,
            cwd=PROJECT,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"the load client failed: {done.stderr.decode()[-500:]}")
        result = msgspec.json.decode(done.stdout, type=Result)
        if set(result.statuses) != {status}:
            raise RuntimeError(f"answers other than {status}: {result.statuses}; the last was {result.last[:300]}")
        return result


def pin(pid: int, *, measured: bool) -> None:
    """Give a process and its children the first CPU (what is measured) or the others."""
    cpus = _cpus()
    if len(cpus) > 1:
        for one in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            one.cpu_affinity(cpus[:1] if measured else cpus[1:])


def cpu_seconds(process: Process) -> float:
    times = psutil.Process(process.pid).cpu_times()
    return float(times.user + times.system)


def resident_mb(process: Process) -> float:
    return float(psutil.Process(process.pid).memory_info().rss) / 1024 / 1024


def _cpus() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]


@contextlib.contextmanager
def staged(*, quick: bool) -> Iterator[Stage]:
    """Everything started, the database migrated, and ended again."""
    folder = new_folder("bench")
    try:
        with servers.start_postgres(durable=True) as postgres, servers.start_redis() as redis:
            settings = {
                "GATEWAY_DATABASE_URL": postgres.url,
                "GATEWAY_REDIS_URL": redis.url,
                "GATEWAY_SEALING_KEYS": new_kek_text(),
                "GATEWAY_LOG_LEVEL": "INFO",
                **CLIENT,
            }
            with Gateway(settings, folder) as gateway:
                gateway.run("migrate")
                for server in (postgres, redis):
                    pin(server.pid, measured=False)
                stage = Stage(postgres, redis, gateway, folder, quick)
                try:
                    yield stage
                finally:
                    for process in stage.processes:
                        process.stop()
    finally:
        remove_folder(folder)
