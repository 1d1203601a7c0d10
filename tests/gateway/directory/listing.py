"""A CRM that lists who the test says, page by page, and the connections that lead to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from sqlalchemy import update

from connectors.crm.records import Contact, Kind, Page
from connectors.errors import ConnectorError, Unsupported
from gateway.connections.tables import Connection
from gateway.db.base import TenantId
from gateway.db.engine import utc_now
from gateway.directory import queries
from gateway.directory.importer import Importer
from gateway.directory.tables import Mirror
from gateway.settings import Settings
from tests.factories import Books, books


class ListingCrm:
    """`per_page` records a page; the cursor is where the next one begins. Knows contacts and companies, no leads."""

    def __init__(self, *contacts: Contact, per_page: int = 2) -> None:
        self.contacts = list(contacts)
        self.per_page = per_page
        self.asked: list[tuple[Kind, str | None]] = []
        self.fails: dict[int, ConnectorError] = {}  # by number of the request, from 0
        self.wait: timedelta | None = None
        self.total = False
        self.between: Callable[[int], Any] | None = None  # called with the number of each request

    async def list_contacts(self, kind: Kind, *, after: str | None = None, limit: int = 100) -> Page:
        number = len(self.asked)
        self.asked.append((kind, after))
        if self.between is not None:
            await self.between(number)
        if number in self.fails:
            raise self.fails[number]
        if kind is Kind.LEAD:
            raise Unsupported("no leads here")
        mine = [one for one in self.contacts if one.kind is kind]
        start = int(after or 0)
        end = start + self.per_page
        more = str(end) if end < len(mine) else None
        return Page(
            items=tuple(mine[start:end]),
            next=more,
            total=len(mine) if self.total else None,
            wait=self.wait if more else None,
        )


@dataclass
class Ways:
    """`gateway.connections.open.Connections`, as far as an import looks at it."""

    crm: ListingCrm
    settings: Settings = field(default_factory=lambda: Settings(lease=timedelta(seconds=60)))
    fails: Exception | None = None
    purposes: list[str] = field(default_factory=list)

    async def open(self, tenant_id: TenantId, connection_id: str, *, purpose: str) -> Any:
        self.purposes.append(purpose)
        if self.fails is not None:
            raise self.fails
        return SimpleNamespace(crm=self.crm)


@dataclass
class Import:
    """One connection's import, under the test's hands."""

    book: Books
    crm: ListingCrm
    ways: Ways
    forgotten: list[bytes] = field(default_factory=list)

    def importer(self) -> Importer:
        async def forget(_: TenantId, hashes: Any) -> None:
            self.forgotten += hashes

        return Importer(db=self.book.db, keyring=self.book.keyring, connections=self.ways, forget=forget)  # type: ignore[arg-type]

    async def run(self) -> None:
        await self.importer().run(self.book.connection_id)

    async def again(self, *, dry: bool = False) -> None:
        """Ask for another import, and run it."""
        async with self.book.db.transaction(self.book.tenant_id) as session:
            assert await queries.begin(session, self.book.tenant_id, self.book.connection_id, dry=dry, now=utc_now())
        await self.run()

    async def rows(self) -> Sequence[Mirror]:
        async with self.book.db.reading(self.book.tenant_id) as session:
            return await queries.mirrors(session, self.book.tenant_id, self.book.connection_id)

    async def due(self) -> Sequence[str]:
        async with self.book.db.reading() as session:
            return await queries.due_imports(session)


@asynccontextmanager
async def importing(url: str, *contacts: Contact, per_page: int = 2) -> AsyncIterator[Import]:
    async with books(url) as book:
        async with book.db.transaction() as session:
            await session.execute(update(Connection).values(provider="salesforce"))  # which has leads of their own
        crm = ListingCrm(*contacts, per_page=per_page)
        yield Import(book, crm, Ways(crm))
