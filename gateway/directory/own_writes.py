"""What we wrote ourselves is read back at once: nobody waits for a poll to learn what we have just done."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError

from connectors.crm.records import Ref
from gateway.db.base import TenantId
from gateway.db.engine import Database, utc_now
from gateway.directory import feeds
from gateway.directory.feeds import Whose
from gateway.directory.mirror import KINDS
from gateway.logs import log

EVERY = timedelta(milliseconds=200)  # what is written within it is hinted at in one transaction


class OwnWrites:
    """Hints at the people and companies that deliveries leave. One per worker; `close()` it."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._waiting: defaultdict[Whose, set[Ref]] = defaultdict(set)
        self._flushing: asyncio.Task[None] | None = None

    def note(self, tenant_id: TenantId, connection_id: str, ref: Ref) -> None:
        """We have just written this record. What no mirror holds is none of its business."""
        if ref.kind not in KINDS:
            return
        self._waiting[tenant_id, connection_id].add(ref)
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._soon())

    async def _soon(self) -> None:
        while self._waiting:
            await asyncio.sleep(EVERY.total_seconds())
            await self.flush()

    async def flush(self) -> None:
        """Commit what waits. With the database away it is let go: the next poll finds it."""
        hinted, self._waiting = self._waiting, defaultdict(set)
        if not hinted:
            return
        try:
            async with self._db.transaction() as session:  # sees every tenant: one worker writes for many
                await feeds.note(session, hinted, now=utc_now(), by_crm=False)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            log.warning("own writes are left to the next poll", error=type(error).__name__)

    async def close(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)
        await self.flush()
