"""Events that come at the same time, committed together: while one transaction is on its way, the next one fills up.

Nobody waits for company: a lone event is its own batch at once. Batches are a tenant's own, and hold at most one event of
each call, so that what one event adds is there when the next is merged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy.exc import DBAPIError

from gateway.calls.store import Prepared, Taken, store
from gateway.db.base import TenantId
from gateway.db.engine import Database

MOST = 64  # events of one transaction


@dataclass
class _Waiting:
    prepared: Prepared
    taken: asyncio.Future[Taken]


@dataclass
class _Line:
    """One tenant's events that wait, oldest first, and whoever is writing them."""

    waiting: list[_Waiting] = field(default_factory=list)
    writer: asyncio.Task[None] | None = None


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
        if line.writer is None:
            line.writer = asyncio.create_task(self._write(prepared.tenant_id, line))
        return await waiting.taken

    async def _write(self, tenant_id: TenantId, line: _Line) -> None:
        try:
            while line.waiting:
                batch, line.waiting = next_batch(line.waiting)
                await self._commit(tenant_id, batch)
        finally:
            self._lines.pop(tenant_id, None)
            for left in line.waiting:  # only when cancelled: the process ends, and nobody is told 2xx
                left.taken.cancel()

    async def _commit(self, tenant_id: TenantId, batch: Sequence[_Waiting]) -> None:
        try:
            async with self._db.quick(tenant_id) as run:
                taken = await store(run, [one.prepared for one in batch])
        except DBAPIError as error:
            if len(batch) == 1 or error.connection_invalidated:
                return _fail(batch, error)
            for one in batch:  # one of them may be at fault: the others must not suffer for it
                await self._commit(tenant_id, [one])
        except Exception as error:
            _fail(batch, error)
        except asyncio.CancelledError:
            for one in batch:
                one.taken.cancel()
            raise
        else:
            for one, became in zip(batch, taken, strict=True):
                if not one.taken.done():  # who waited may have given up
                    one.taken.set_result(became)
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


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    for one in batch:
        if not one.taken.done():
            one.taken.set_exception(error)
