"""The worker: rings in, work done on one loop. The same code beside the API (embedded) and in a process of its own.

RQ runs in a thread and only carries rings (delivery.md §1): each job hands its argument to the loop and ends. A ring
carries no right: everything due is a row, so losing one, or answering it twice, changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import CancelledError
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from rq import SimpleWorker
from rq.serializers import JSONSerializer
from rq.timeouts import TimerDeathPenalty

from connectors.crm.records import UpsertContact
from gateway import bell
from gateway.calls.retention import prune
from gateway.db import idempotency
from gateway.db.engine import utc_now
from gateway.delivery.drain import Drains
from gateway.delivery.due import DRAIN, IMPORT, PLAN, POLL, REFRESH, RENEW, due
from gateway.directory import retention as directory_retention
from gateway.directory.changes import Follower
from gateway.directory.importer import Importer
from gateway.directory.own_writes import OwnWrites
from gateway.logs import log
from gateway.lookup import retention as lookup_retention
from gateway.outbox import retention as outbox_retention
from gateway.outbox.overdue import end_overdue
from gateway.parts import parts as opened_parts
from gateway.rulesets import retention as rulesets_retention
from gateway.rulesets.run import plan_call
from gateway.tenants import sessions

if TYPE_CHECKING:
    from rq import Queue
    from rq.executions import Execution
    from rq.job import Job
    from sqlalchemy.ext.asyncio import AsyncSession

    from connectors.crm.records import Record, Write
    from gateway.db.base import TenantId
    from gateway.db.engine import Database
    from gateway.parts import Parts
    from gateway.settings import Settings

SILENCE = timedelta(seconds=5)  # a loop that no ring has reached for this long asks the database itself
HOUSEKEEPING = timedelta(minutes=1)
LONGEST_STOP = timedelta(seconds=20)  # then what is still being sent is left to its lease
ring = bell.ring_answered  # the name jobs are stored under; it stays

Work = Callable[[str], Awaitable[None]]


async def _prune_sessions(session: AsyncSession) -> int:
    return await sessions.prune(session, utc_now())


FORGETTING: tuple[Callable[[AsyncSession], Awaitable[int]], ...] = (
    outbox_retention.prune_payloads,
    outbox_retention.prune_attempts,
    rulesets_retention.prune,
    lookup_retention.prune,
    directory_retention.prune_gone,
    directory_retention.purge_ended,
    idempotency.prune_all,
    _prune_sessions,
)
Answer = TypeVar("Answer")


async def forget(db: Database) -> None:
    """Forget everything else whose time is up, each kind in a transaction of its own: one that fails stops no other."""
    for prune_kind in FORGETTING:
        try:
            async with db.transaction() as session:
                await prune_kind(session)
        except Exception as error:
            log.warning(
                "worker: forgetting failed; it is tried again", why=type(error).__name__, what=prune_kind.__module__
            )


class Hands:
    """Does what rings ask for, on the running loop."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._finder = parts.finder
        self._drains = Drains(parts, wrote=self._wrote)
        self._heard = 0.0  # monotonic; never: ask at once
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._own_writes = OwnWrites(parts.db)
        follower = Follower(
            settings=parts.settings,
            db=parts.db,
            keyring=parts.keyring,
            connections=parts.connections,
            forget=parts.finder.forget_hashes,
        )
        self._importer = Importer(
            db=parts.db, keyring=parts.keyring, connections=parts.connections, forget=parts.finder.forget_hashes
        )
        self._kinds: Mapping[str, Work] = {
            PLAN: self._plan,
            REFRESH: self._refresh,
            IMPORT: self._importer.run,
            POLL: follower.follow,
            RENEW: parts.subscriptions.renew,
        }

    async def take(self, kind: str, row_id: str) -> None:
        """Start the work and return; waits only while as many connections are being drained as one worker may."""
        self._heard = time.monotonic()
        await self._start(kind, row_id)

    async def _start(self, kind: str, row_id: str) -> None:
        if kind == DRAIN:
            await self._drains.room.wait()
            self._drains.start(row_id)
            return
        work = self._kinds.get(kind)
        if work is None or (kind, row_id) in self._tasks:
            return
        task = asyncio.create_task(self._guarded(work, kind, row_id))
        self._tasks[kind, row_id] = task
        task.add_done_callback(lambda _: self._tasks.pop((kind, row_id), None))

    async def _guarded(self, work: Work, kind: str, row_id: str) -> None:
        try:
            await work(row_id)
        except Exception:
            log.exception("work failed; its row is due again", kind=kind, row=row_id)

    async def _plan(self, call_id: str) -> None:
        connections = await plan_call(self._parts, call_id, finder=self._finder)
        for connection_id in connections:
            self._drains.start(connection_id)

    async def _wrote(self, tenant_id: TenantId, connection_id: str, write: Write, record: Record) -> None:
        """Whoever we have just written is found at once, though the CRM's search does not know them yet."""
        self._own_writes.note(tenant_id, connection_id, record.ref)
        if isinstance(write, UpsertContact) and write.phone is not None:
            await self._finder.remember_written(
                tenant_id, write.phone, connection_id=connection_id, kind=record.kind.value, record_id=record.id
            )

    async def _refresh(self, connection_id: str) -> None:
        await self._parts.connections.refresh_due(connection_id)

    async def feed(self) -> None:
        """Ask the database while no ring comes: at once when a loop is new, later when Redis is away. Never awaits Redis."""
        while True:
            if time.monotonic() - self._heard > SILENCE.total_seconds():
                try:
                    for kind, row_id in await due(self._parts.db):
                        await self._start(kind, row_id)
                except Exception as error:
                    log.warning("worker: the database does not answer", why=type(error).__name__)
            await asyncio.sleep(self._parts.settings.relay_interval.total_seconds())

    async def tend(self) -> None:
        """Once a minute: end what nobody will send any more, and forget what its retention time has run out for."""
        while True:
            try:
                async with self._parts.db.transaction() as session:
                    await end_overdue(session)
                await prune(self._parts)
            except Exception as error:
                log.warning("worker: housekeeping failed; it is tried again", why=type(error).__name__)
            await forget(self._parts.db)
            await asyncio.sleep(HOUSEKEEPING.total_seconds() * random.uniform(0.8, 1.2))

    async def stop(self) -> None:
        self._importer.stop()
        tasks = list(self._tasks.values())
        await self._drains.stop(LONGEST_STOP)
        if tasks:
            await asyncio.wait(tasks, timeout=2)
        await self._own_writes.close()


class RingWorker(SimpleWorker):
    """RQ's worker in a thread: no signals, no alarms, no commands by pub/sub, and no traceback kept in Redis."""

    death_penalty_class = TimerDeathPenalty
    log_job_description = False

    def _install_signal_handlers(self) -> None:
        """The process's own handlers stay."""

    def subscribe(self) -> None:
        """Commands over pub/sub would let Redis stop workers; nobody here sends any."""

    def unsubscribe(self) -> None:
        """Nothing was subscribed."""

    def handle_job_failure(
        self,
        job: Job,
        queue: Queue,
        started_job_registry: Any = None,
        exc_string: Any = "",
        execution: Execution | None = None,
    ) -> None:
        """Keep the class of an exception only: its text and frames may name people."""
        name = str(exc_string).rstrip().rsplit("\n", 1)[-1].split(":")[0]
        super().handle_job_failure(job, queue, started_job_registry, name, execution)


def _listen(settings: Settings, stopped: threading.Event) -> None:
    """Work off rings until stopped; RQ's worker gives up some seconds after Redis does, so it is started again."""
    failures = 0
    while not stopped.is_set():
        began = time.monotonic()
        try:
            connection = bell.connect_blocking(settings, socket_timeout=None)
            worker = RingWorker(
                [bell.queue(connection)],
                connection=connection,
                job_class=bell.RingJob,
                serializer=JSONSerializer,
                worker_ttl=60,
            )
            worker.work(logging_level="ERROR")
        except Exception as error:
            log.info("worker: no rings from Redis", why=type(error).__name__)
        failures = 0 if time.monotonic() - began > 60 else failures + 1
        stopped.wait(min(5.0, 0.2 * 2**failures) * random.uniform(0.5, 1.0))


@contextlib.asynccontextmanager
async def beside(parts: Parts) -> AsyncIterator[Hands]:
    """A worker on the running loop, for the length of the block. One per process: jobs find it by the process."""
    loop = asyncio.get_running_loop()
    hands = Hands(parts)
    stopped = threading.Event()

    def answer(argument: str) -> None:
        kind, row_id = bell.split(argument)
        if stopped.is_set():
            return
        parts.rings.delete(bell.spare_key(argument))
        with contextlib.suppress(CancelledError, RuntimeError):  # the loop is closing: the row stays due
            asyncio.run_coroutine_threadsafe(hands.take(kind, row_id), loop).result()

    bell.RingJob.answer = staticmethod(answer)
    thread = threading.Thread(target=_listen, args=(parts.settings, stopped), name="rings", daemon=True)
    thread.start()
    always = [asyncio.create_task(hands.feed()), asyncio.create_task(hands.tend())]
    try:
        yield hands
    finally:
        stopped.set()
        for task in always:
            task.cancel()
        await asyncio.gather(*always, return_exceptions=True)
        await hands.stop()
        bell.RingJob.answer = None


async def _main(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    async with opened_parts(settings) as parts, beside(parts):
        unrung = "; GATEWAY_REDIS_URL is not set, so it asks the database itself" if settings.embedded else ""
        print(f"gateway worker ready{unrung}", flush=True)  # noqa: T201 - the line a supervisor waits for
        await stop.wait()


def main(settings: Settings) -> None:
    """`gateway worker`: until SIGTERM or SIGINT, which hands back what is not being sent."""
    run_on_loop(_main(settings))


def run_on_loop(work: Coroutine[Any, Any, Answer]) -> Answer:
    """Run on the loop that uvicorn takes, where it is to be had: sending is what a worker does."""
    try:
        import uvloop
    except ImportError:  # not on Windows
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
