"""Events that come at the same time, committed together: while a transaction is on its way, the next one fills up.

Nobody waits for company: a lone event is its own batch at once. Batches are a tenant's own, and hold at most one event of
each call, so that what one event adds is there when the next is merged; two batches with events of one call take turns at
its row, as two processes do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy.exc import DBAPIError

from gateway.calls import fresh
from gateway.calls.store import Prepared, Taken, store
from gateway.db.base import TenantId
from gateway.db.engine import Database

MOST = 64  # events of one transaction
WRITERS = 2  # transactions of one tenant at once: the database commits those of one moment together
WORTH_ANOTHER = 4  # events that wait, before one more is begun: each costs the loop as much as some three events


@dataclass
class _Waiting:
    prepared: Prepared
    taken: asyncio.Future[Taken]


@dataclass
class _Line:
    """One tenant's events that wait, oldest first, and those who are writing some."""

    waiting: list[_Waiting] = field(default_factory=list)
    writers: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def wants_another(self) -> bool:
        """Whether one more writer is worth its price. SQLite has one at a time anyway."""
        return not self.writers or (len(self.writers) < WRITERS and len(self.waiting) >= WORTH_ANOTHER)


class Batches:
    """Commits events for every tenant, each tenant's in transactions of their own. One per process."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._lines: dict[TenantId, _Line] = {}

    async def put(self, prepared: Prepared) -> Taken:
        """What became of the event, after its commit. Raises what the database raised."""
        line = self._lines.setdefault(prepared.tenant_id, _Line())
        waiting = _Waiting(prepared, asyncio.get_running_loop().create_future())
        line.waiting.append(waiting)
        if line.wants_another:
            writer = asyncio.create_task(self._write(prepared.tenant_id, line))
            line.writers.add(writer)
        return await waiting.taken

    async def _write(self, tenant_id: TenantId, line: _Line) -> None:
        try:
            while line.waiting:
                batch, line.waiting = next_batch(line.waiting)
                await self._commit(tenant_id, batch)
        finally:
            line.writers.discard(asyncio.current_task())
            if not line.writers:
                self._lines.pop(tenant_id, None)
                for left in line.waiting:  # only when cancelled: the process ends, and nobody is told 2xx
                    left.taken.cancel()

    async def _commit(self, tenant_id: TenantId, batch: Sequence[_Waiting]) -> None:
        """New calls first, in one trip; what is news of others, or a repeat, needs their rows."""
        try:
            left = await self._take_fresh(tenant_id, batch)
            if left:
                await self._merge(tenant_id, left)
        except asyncio.CancelledError:
            for one in batch:
                one.taken.cancel()
            raise
        except Exception as error:
            _fail(batch, error)

    async def _take_fresh(self, tenant_id: TenantId, batch: Sequence[_Waiting]) -> Sequence[_Waiting]:
        """Store what is the first of its call; those that are left. A refusal leaves all of them: `_merge` says whose it is."""
        some = [one.prepared for one in batch if fresh.may_be_fresh(one.prepared)]
        if self._db.dialect == "sqlite" or not some:
            return batch
        try:
            known = await fresh.take(self._db, tenant_id, some)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            return batch
        left = []
        for one in batch:
            if (became := known.get(one.prepared.row["id"])) is None:
                left.append(one)
            else:
                _tell(one, became)
        return left

    async def _merge(self, tenant_id: TenantId, batch: Sequence[_Waiting]) -> None:
        try:
            async with self._db.quick(tenant_id) as run:
                taken = await store(run, [one.prepared for one in batch])
        except DBAPIError as error:
            if len(batch) == 1 or error.connection_invalidated:
                return _fail(batch, error)
            for one in batch:  # one of them may be at fault: the others must not suffer for it
                await self._merge(tenant_id, [one])
        else:
            for one, became in zip(batch, taken, strict=True):
                _tell(one, became)
        return None


def next_batch(waiting: Sequence[_Waiting]) -> tuple[list[_Waiting], list[_Waiting]]:
    """The oldest event of each call, `MOST` at most; and the rest, in order. News without a call's id goes alone."""
    batch: list[_Waiting] = []
    rest: list[_Waiting] = []
    calls: set[tuple[str, str]] = set()
    for one in waiting:
        call = one.prepared.of_call
        alone = not one.prepared.event.call_id
        if len(batch) >= MOST or call in calls or (batch and (alone or not batch[0].prepared.event.call_id)):
            rest.append(one)
        else:
            batch.append(one)
            calls.add(call)
    return batch, rest


def _tell(one: _Waiting, became: Taken) -> None:
    if not one.taken.done():  # who waited may have given up
        one.taken.set_result(became)


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    for one in batch:
        if not one.taken.done():
            one.taken.set_exception(error)
