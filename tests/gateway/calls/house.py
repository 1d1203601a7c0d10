"""An intake on a real database, and events for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select

from connectors.voice.events import Analysis, CallEvent, CallNews, Turn
from gateway.calls.intake import Intake
from gateway.calls.merge import Merged
from gateway.calls.store import Taken, read_merged
from gateway.calls.tables import Call
from gateway.calls.tables import CallEvent as EventRow
from gateway.db.base import TenantId
from gateway.db.engine import Database
from gateway.settings import Settings
from gateway.tenants.keys import Keyring
from tests.factories import books

BEGAN = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
NUMBER = "+41446681800"


@dataclass(frozen=True)
class House:
    """One tenant, and what came in for it."""

    settings: Settings
    db: Database
    keyring: Keyring
    tenant_id: TenantId
    intake: Intake

    async def take(self, event: CallEvent, source: str = "ve_1", **more: Any) -> Taken:
        return await self.intake.take(self.tenant_id, source, event, raw=more.pop("raw", b"{}"), **more)

    async def calls(self) -> list[tuple[Call, Merged]]:
        keys = await self.keyring.of(self.tenant_id)
        async with self.db.reading(self.tenant_id) as session:
            rows = (await session.scalars(select(Call).order_by(Call.id))).all()
        return [(row, read_merged(keys, row.id, row.news)) for row in rows]

    async def events(self) -> list[EventRow]:
        async with self.db.reading(self.tenant_id) as session:
            return list((await session.scalars(select(EventRow).order_by(EventRow.id))).all())


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[House]:
    async with books(url) as here:
        settings = Settings(database_url=url)
        intake = Intake(settings=settings, db=here.db, keyring=here.keyring)
        yield House(settings, here.db, here.keyring, here.tenant_id, intake)


def event(name: str, call_id: str = "c-1", **more: Any) -> CallEvent:
    news = {"direction": "inbound", "from_number": NUMBER, **more.pop("news", {})}
    return CallEvent(name=name, dedupe=f"{call_id}:{name}", call_id=call_id, news=CallNews(**news), **more)


STARTED = event("started", news={"started_at": BEGAN})
ENDED = event("ended", news={"ended_at": BEGAN + timedelta(seconds=95), "summary": "Short."}, ended=True)
ANALYZED = event(
    "analyzed",
    news={
        "summary": "Wants an offer.",
        "transcript": (Turn(role="caller", text="An offer, please."),),
        "analysis": Analysis(intents=("purchase",), data={"budget": 1200}),
    },
    ended=True,
    final=True,
)
