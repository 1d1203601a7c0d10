"""A CRM in memory that obeys the port: it counts what it holds, and fails on command."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
from phonenumbers import PhoneNumber

from connectors.crm import runs
from connectors.crm.hubspot.manifest import MANIFEST as HUBSPOT
from connectors.crm.port import Done, Failed, Manifest, Outcome
from connectors.crm.records import Contact, Kind, Owner, Record, Ref, UpsertContact, Write, name_of
from connectors.errors import ConnectorError, OutcomeUnknown, Rejected, Unavailable
from gateway.connections.open import Opened
from gateway.delivery.drain import Drains
from gateway.settings import Settings
from tests.factories import Books

Trouble = Callable[[Write], ConnectorError | None]


@dataclass
class MemoryCrm:
    """`refuse` answers without writing, `swallow` writes and loses the answer. `calls` is what came in, in order.

    takes     the most writes in one request; with more than one, what points at a refused one is refused with it.
    halts     a request stops at the first that may pass, and says so of the rest.
    requests  the keys that each request wrote, or was to write. blind_to: keys that cannot be looked for now.
    """

    refuse: Trouble = lambda _: None
    swallow: Trouble = lambda _: None
    found: list[Contact] = field(default_factory=list)
    held: dict[str, list[Record]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    about: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    wrote: dict[str, Write] = field(default_factory=dict)
    takes: int = 1
    halts: bool = False
    blind_to: set[str] = field(default_factory=set)
    requests: list[list[str]] = field(default_factory=list)
    on_write: Callable[[], None] = lambda: None

    @property
    def manifest(self) -> Manifest:
        return msgspec.structs.replace(HUBSPOT, run=self.takes)

    async def write(self, run: Sequence[Write]) -> Sequence[Outcome]:
        assert len(run) <= self.takes
        self.requests.append([write.key for write in run])
        outcomes: list[Outcome] = []
        for write in run:
            outcomes.append(self._next(write, outcomes))
        lost = [one.error for one in outcomes if isinstance(one, Failed) and isinstance(one.error, OutcomeUnknown)]
        return [Failed(error=lost[0]) for _ in run] if lost else outcomes

    def _next(self, write: Write, before: Sequence[Outcome]) -> Outcome:
        failed = [one.error for one in before if isinstance(one, Failed)]
        if self.halts and any(runs.may_pass(error) for error in failed):
            return Failed(error=Unavailable(runs.NOT_SENT))
        ready = runs.resolved(write, before)
        return Failed(error=Rejected("it points at what was refused")) if ready is None else self._one(ready)

    def _one(self, write: Write) -> Outcome:
        self.on_write()
        self.calls.append(f"{name_of(write)} {write.key}")
        if error := self.refuse(write):
            return Failed(error=error)
        target = getattr(write, "target", None)
        kind = Kind.CONTACT if isinstance(write, UpsertContact) else Kind.CALL
        record = Record(kind=kind, id=target.id if isinstance(target, Ref) else str(len(self.held) + 1))
        self.held.setdefault(write.key, []).append(record)
        self.wrote[write.key] = write
        self.about[write.key] = tuple(getattr(write, "about", ()))
        if error := self.swallow(write):
            return Failed(error=error)
        return Done(record=record, status=201)

    async def find(self, write: Write) -> Record | None:
        self.calls.append(f"find {write.key}")
        if write.key in self.blind_to:
            raise Unavailable("down", status=503)
        return self.held[write.key][0] if write.key in self.held else None

    async def find_contacts(self, number: PhoneNumber, *, limit: int = 5) -> list[Contact]:
        self.calls.append("find_contacts")
        return self.found[:limit]

    async def owner_by_email(self, email: str) -> Owner | None:
        return Owner(id=self.owners[email]) if email in self.owners else None

    @property
    def doubled(self) -> list[str]:
        return [key for key, records in self.held.items() if len(records) > 1]


class _Connections:
    def __init__(self, crm: MemoryCrm) -> None:
        self.crm = crm
        self.learnt: list[bool] = []
        self.breakers = SimpleNamespace(allows=self._allows, record=self._record)

    async def open(self, tenant_id: Any, connection_id: str, *, purpose: str) -> Opened:
        return Opened(
            id=connection_id, tenant_id=tenant_id, provider="memory", account_id="ac_1", crm=self.crm,  # type: ignore[arg-type]
            sticks={}, origin="", ui_origin=None,
        )  # fmt: skip

    async def _allows(self, account_id: str) -> bool:
        return True

    async def _record(self, account_id: str, ok: bool) -> None:
        self.learnt.append(ok)


@asynccontextmanager
async def drains(book: Books, crm: MemoryCrm, **settings: Any) -> AsyncIterator[Drains]:
    """A worker's drains on this database, with `crm` behind every connection."""
    given: dict[str, Any] = {"lease": timedelta(seconds=30), "request_timeout": timedelta(seconds=5), **settings}
    parts = SimpleNamespace(settings=Settings(**given), db=book.db, keyring=book.keyring, connections=_Connections(crm))
    made = Drains(parts)  # type: ignore[arg-type]
    yield made
    await made.stop(timedelta(seconds=5))
