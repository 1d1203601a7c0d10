"""How a tenant wants its calls read and kept."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import timedelta

from gateway.db.base import TenantId
from gateway.db.engine import Database
from gateway.tenants import settings

BELIEVED = timedelta(seconds=5)
_MOST = 10_000


@dataclass(frozen=True)
class Terms:
    """region  ISO 3166, for national spellings. raw, transcripts, people: how long each is kept (security.md §10)."""

    region: str
    raw: timedelta
    transcripts: timedelta
    people: timedelta
    recording_links: bool


class TermsOf:
    """Each tenant's terms, believed for 5 s. One per process."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: dict[TenantId, tuple[float, Terms]] = {}
        self._reading: dict[TenantId, asyncio.Task[Terms]] = {}

    async def tenant(self, tenant_id: TenantId) -> Terms:
        held = self._known.get(tenant_id)
        if held is not None and held[0] > time.monotonic():
            return held[1]
        task = self._reading.get(tenant_id)  # one reading for all whose five seconds end in the same moment
        if task is None:
            task = self._reading[tenant_id] = asyncio.create_task(self._read(tenant_id))
            task.add_done_callback(lambda _: self._reading.pop(tenant_id, None))
        return await asyncio.shield(task)

    async def _read(self, tenant_id: TenantId) -> Terms:
        async with self._db.reading(tenant_id) as session:
            document = await settings.current(session, tenant_id)
        kept = document.retention
        terms = Terms(
            region=document.region,
            raw=timedelta(days=kept.raw_days),
            transcripts=timedelta(days=kept.transcript_days),
            people=timedelta(days=kept.summary_days),
            recording_links=kept.recording_links,
        )
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[tenant_id] = (time.monotonic() + BELIEVED.total_seconds(), terms)
        return terms
