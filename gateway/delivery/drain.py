"""Draining: many connections at once on one loop, each with its own senders, so that one that hangs delays nobody else.

Three parts per connection joined by bounded queues: a claimer, up to `connection_senders` lanes being sent, a recorder.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from connectors.crm.records import Record, Write
from connectors.errors import ConnectorError
from gateway.connections import queries as connection_queries
from gateway.crypto import CannotOpen
from gateway.db.base import TenantId
from gateway.delivery.attempt import send_until, work
from gateway.delivery.outcomes import Claim
from gateway.logs import log
from gateway.outbox.claim import claim
from gateway.outbox.record import LaneResult, record

if TYPE_CHECKING:
    from gateway.connections.open import Opened
    from gateway.parts import Parts
    from gateway.tenants.keys import TenantKeys

SLICE = timedelta(seconds=20)  # one connection's turn; the relay rings again for what is left
AHEAD = 4  # lanes claimed per sender: one transaction for many. What is not sent in time is handed back
TOGETHER = timedelta(milliseconds=20)  # results recorded in one transaction, if they come within this time
TOGETHER_BUSY = timedelta(milliseconds=200)  # the same while more is claimed than can be sent: nobody waits for it
MOST_TOGETHER = 100

Wrote = Callable[[TenantId, str, Write, Record], Awaitable[None]]
"""Told of every write that arrived (tenant, connection, write, what it left), after it was recorded."""


class Drains:
    """The connections this process is draining. `start` returns at once; a connection is drained once at a time."""

    def __init__(self, parts: Parts, *, wrote: Wrote | None = None) -> None:
        self._parts = parts
        self._wrote = wrote
        self._running: dict[str, asyncio.Task[None]] = {}
        self._turns: dict[str, _Turn] = {}
        self._again: set[str] = set()
        self._stopping = False
        self.room = asyncio.Event()
        self.room.set()

    def start(self, connection_id: str) -> None:
        """Drain the connection now, or once more when its turn ends."""
        if self._stopping:
            return
        if connection_id in self._running:
            if (turn := self._turns.get(connection_id)) is not None:
                turn.rung()
            else:
                self._again.add(connection_id)
            return
        task = asyncio.create_task(self._turn(connection_id), name=f"drain {connection_id}")
        self._running[connection_id] = task
        if len(self._running) >= self._parts.settings.worker_connections:
            self.room.clear()
        task.add_done_callback(lambda _: self._ended(connection_id))

    def _ended(self, connection_id: str) -> None:
        self._running.pop(connection_id, None)
        self.room.set()
        if connection_id in self._again:
            self._again.discard(connection_id)
            self.start(connection_id)

    async def stop(self, within: timedelta) -> None:
        """Finish what is being sent, hand back the rest, record both. What is not done `within` is left to its lease."""
        self._stopping = True
        self._again.clear()
        running = set(self._running.values())
        if running:
            _, late = await asyncio.wait(running, timeout=within.total_seconds())
            for task in late:
                task.cancel()

    async def idle(self) -> None:
        """Wait until nothing is being drained (tests, the demo)."""
        while self._running:
            await asyncio.wait(set(self._running.values()))
            await asyncio.sleep(0)

    async def _turn(self, connection_id: str) -> None:
        try:
            await self._drain(connection_id)
        except ConnectorError as error:  # the connection cannot be opened now; its rows wait, the relay rings again
            log.info("connection not drained", connection=connection_id, why=type(error).__name__)
        except CannotOpen:
            log.error("a tenant's sealing key is not here; its deliveries wait", connection=connection_id)
        except Exception:
            log.exception("draining failed", connection=connection_id)

    async def _drain(self, connection_id: str) -> None:
        parts = self._parts
        async with parts.db.reading() as session:
            tenant_id = await connection_queries.tenant_of(session, connection_id)
        if tenant_id is None:
            return
        opened = await parts.connections.open(tenant_id, connection_id, purpose="delivery")
        if not await parts.connections.breakers.allows(opened.account_id):
            return
        keys = await parts.keyring.of(tenant_id)
        turn = _Turn(parts, opened, keys, self._wrote, lambda: self._stopping)
        self._turns[connection_id] = turn
        try:
            await turn.run(until=time.monotonic() + SLICE.total_seconds())
        finally:
            del self._turns[connection_id]
        if turn.more and not self._stopping:
            self._again.add(connection_id)


class _Turn:
    """One turn of one connection."""

    def __init__(
        self, parts: Parts, opened: Opened, keys: TenantKeys, wrote: Wrote | None, stopping: Callable[[], bool]
    ) -> None:
        self._parts = parts
        self._opened = opened
        self._keys = keys
        self._wrote = wrote
        self._stopping = stopping
        self._halted = False  # the grant is gone, the account fails or refuses: claim nothing more in this turn
        self._done: asyncio.Queue[tuple[Claim, LaneResult]] = asyncio.Queue(MOST_TOGETHER * 2)
        self._unrecorded = 0
        self._busy = False
        self._news = asyncio.Event()  # something was recorded, or rung for: there may be more to claim
        self.more = False

    def rung(self) -> None:
        """Somebody planned something for this connection."""
        self._news.set()

    async def run(self, *, until: float) -> None:
        """Claim and send until nothing is due, time is up, or the account had enough; then everything is recorded."""
        recorder = asyncio.create_task(self._record_all())
        sending: set[asyncio.Task[None]] = set()
        claiming: asyncio.Task[list[Claim]] | None = None
        claimed: deque[Claim] = deque()
        most = self._parts.settings.connection_senders
        wanted = 0
        self._news.set()
        try:
            while True:
                over = self._halted or self._stopping() or time.monotonic() >= until
                if claiming is not None and claiming.done():
                    found, claiming = claiming.result(), None
                    claimed.extend(found)
                    if len(found) == wanted:
                        self._news.set()  # as many as asked for: there may be more
                hungry = not over and claiming is None and len(claimed) <= most
                if hungry and self._news.is_set():
                    self._news.clear()
                    wanted = most * AHEAD - len(claimed)
                    claiming, hungry = asyncio.create_task(self._claim(wanted)), False
                while claimed and len(sending) < most:
                    sending.add(asyncio.create_task(self._send(claimed.popleft())))
                self._busy = bool(claimed)
                if not sending and claiming is None and (over or not (self._unrecorded or self._news.is_set())):
                    self.more = over and not self._halted
                    break
                sending = await self._wait(sending, claiming, until, hungry=hungry)
        finally:
            left = {*sending, *((claiming,) if claiming is not None else ())}
            if left:  # only after an error of ours: what is out is out, and its answers count
                await asyncio.wait(left)
            await self._done.join()
            recorder.cancel()
            await asyncio.gather(recorder, return_exceptions=True)

    async def _wait(
        self,
        sending: set[asyncio.Task[None]],
        claiming: asyncio.Task[list[Claim]] | None,
        until: float,
        *,
        hungry: bool,
    ) -> set[asyncio.Task[None]]:
        """Until a sender or the claim ends, or there is news and room for it."""
        waiting: set[asyncio.Task[Any]] = {*sending, *((claiming,) if claiming is not None else ())}
        news = asyncio.create_task(self._news.wait()) if hungry else None
        if news is not None:
            waiting.add(news)
        if not waiting:  # only results to be recorded are left
            await self._done.join()
            return set()
        await asyncio.wait(waiting, timeout=max(0.05, until - time.monotonic()), return_when=asyncio.FIRST_COMPLETED)
        if news is not None:
            news.cancel()
        for task in sending:
            if task.done() and not task.cancelled():
                task.result()
        return {task for task in sending if not task.done()}

    async def _claim(self, most: int) -> list[Claim]:
        settings, opened = self._parts.settings, self._opened
        began = time.monotonic()  # before the claim: our deadline ends before the database's lease does
        async with self._parts.db.transaction(opened.tenant_id) as session:
            lanes = await claim(
                session, opened.tenant_id, opened.id, most=most, lease=settings.lease, run=opened.crm.manifest.run
            )
        until = send_until(began, lease=settings.lease, request=settings.request_timeout)
        return [Claim(lane, until) for lane in lanes]

    async def _send(self, claim: Claim) -> None:
        result = await work(claim, self._opened.crm, self._keys, stopping=lambda: self._stopping() or self._halted)
        self._halted = self._halted or claim.ended  # a grant that is gone has paused the connection already (Sender)
        for ok in claim.healthy:
            await self._parts.connections.breakers.record(self._opened.account_id, ok)
        self._unrecorded += 1
        await self._done.put((claim, result))

    async def _record_all(self) -> None:
        """Record results as they come, many in one transaction; after a failure the leases run out and somebody looks."""
        while True:
            batch = [await self._done.get()]
            closes = time.monotonic() + (TOGETHER_BUSY if self._busy else TOGETHER).total_seconds()
            while len(batch) < MOST_TOGETHER and (left := closes - time.monotonic()) > 0:
                try:
                    batch.append(await asyncio.wait_for(self._done.get(), left))
                except TimeoutError:
                    break
            try:
                await self._record(batch)
            except Exception:
                log.exception("recording failed; the leases run out and the keys are looked for", lanes=len(batch))
            finally:
                self._unrecorded -= len(batch)
                self._news.set()
                for _ in batch:
                    self._done.task_done()

    async def _record(self, batch: Sequence[tuple[Claim, LaneResult]]) -> None:
        tenant_id = self._opened.tenant_id
        async with self._parts.db.transaction(tenant_id) as session:
            kept = await record(session, tenant_id, [result for _, result in batch])
        if kept.fenced_off:
            log.warning(
                "claims outlived their lease; nothing recorded", connection=self._opened.id, lanes=kept.fenced_off
            )
        if self._wrote is not None:
            for claim, _ in batch:
                for write, left in claim.wrote:
                    await self._wrote(tenant_id, self._opened.id, write, left)
