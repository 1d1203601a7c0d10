"""A CRM that does as the test says, connected and mirrored, and a process that follows its changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
from pydantic import SecretStr
from sqlalchemy import select

from connectors.crm.catalog import CATALOG, Provider
from connectors.crm.changes import Change, Subscription
from connectors.crm.records import Contact, Kind, Page, Ref
from connectors.errors import ConnectorError, Rejected, Unsupported
from gateway import bell
from gateway.connections import queries
from gateway.connections.open import Connections
from gateway.connections.providers import Providers
from gateway.db.base import TenantId
from gateway.db.engine import utc_now
from gateway.directory import feeds
from gateway.directory.change_tables import ChangeFeed, ChangeHint
from gateway.directory.changes import Follower
from gateway.directory.notices import Notices
from gateway.directory.subscriptions import Subscriptions
from gateway.directory.tables import Mirror
from gateway.settings import App, Settings
from tests.factories import Books, books, make_connection
from tests.gateway.directory.people import begin, owners

PUBLIC = "https://gateway.example.com"
ACCOUNT = "4711"
LONG_AGO = timedelta(hours=1)


class Ledger:
    """A CRM as a list of records: tells what is in it, what changed, what is gone. Counts what it is asked."""

    def __init__(self) -> None:
        self.there: dict[Ref, Contact] = {}
        self.heirs: dict[Ref, Ref] = {}
        self.gone: list[Change] | None = []  # None: it does not tell
        self.reads: list[Ref] = []
        self.polls: list[tuple[Kind, datetime]] = []
        self.page = 2
        self.fails: ConnectorError | None = None
        self.fails_for: dict[Ref, ConnectorError] = {}
        self.hooks: dict[str, tuple[str, str]] = {}  # subscriptions: id → (address, secret)
        self.life: timedelta | None = None
        self.hook_fails: ConnectorError | None = None
        self.before_read: Callable[[Ref], Awaitable[None]] | None = None
        self.after_page: Callable[[], Awaitable[None]] | None = None

    def set(self, *contacts: Contact) -> None:
        for one in contacts:
            self.there[Ref(one.kind, one.id)] = one

    def delete(self, ref: Ref, *, into: Ref | None = None, at: datetime | None = None, told: bool = True) -> None:
        del self.there[ref]
        if into is not None:
            self.heirs[ref] = into
        if told and self.gone is not None:
            self.gone.append(Change(kind=ref.kind, id=ref.id, at=at or utc_now(), into=into))

    async def read_contact(self, ref: Ref, *, fields: Sequence[str] = ()) -> Contact | None:
        self.reads.append(ref)
        if self.before_read is not None:
            await self.before_read(ref)
        if (error := self.fails_for.get(ref) or self.fails) is not None:
            raise error
        return self.there.get(self.heirs.get(ref, ref))

    async def changes_since(self, kind: Kind, since: datetime) -> AsyncIterator[Page]:
        self.polls.append((kind, since))
        if self.fails is not None:
            raise self.fails
        changed = [
            one for one in self.there.values() if one.kind == kind and one.updated_at and one.updated_at >= since
        ]
        changed.sort(key=lambda one: (one.updated_at or since, one.id))
        for start in range(0, len(changed), self.page):
            some = tuple(changed[start : start + self.page])
            yield Page(items=some, next="more" if start + self.page < len(changed) else None)
            if self.after_page is not None:
                await self.after_page()

    async def deleted_since(self, kind: Kind, since: datetime) -> Sequence[Change]:
        if self.fails is not None:
            raise self.fails
        if self.gone is None:
            raise Unsupported("it does not tell")
        return [one for one in self.gone if one.kind == kind and (one.at is None or one.at >= since)]

    async def subscribe(self, *, address: str, secret: str) -> Sequence[Subscription]:
        if self.hook_fails is not None:
            raise self.hook_fails
        for kind in ("contact", "company"):
            self.hooks.setdefault(f"{kind} of {address}", (address, secret))
        return [self._hook(id) for id in self.hooks if self.hooks[id][0] == address]

    async def renew(self, subscription: Subscription) -> Subscription:
        if self.hook_fails is not None:
            raise self.hook_fails
        if subscription.id not in self.hooks:
            raise Rejected("there is no such subscription", gone=True)
        return self._hook(subscription.id)

    async def unsubscribe(self, subscription: Subscription) -> None:
        if self.hook_fails is not None:
            raise self.hook_fails
        self.hooks.pop(subscription.id, None)

    def _hook(self, id: str) -> Subscription:
        ends = None if self.life is None else utc_now() + self.life
        return Subscription(id=id, kinds=(Kind.CONTACT,), expires_at=ends)


@dataclass
class House:
    """One process, a tenant, and its connection to `crm`, which is mirrored."""

    book: Books
    crm: Ledger
    settings: Settings
    connections: Connections
    forgotten: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.follower = Follower(
            settings=self.settings, db=self.book.db, keyring=self.book.keyring, connections=self.connections,
            forget=self.forget,
        )  # fmt: skip
        self.subscriptions = Subscriptions(
            settings=self.settings, db=self.book.db, keyring=self.book.keyring, connections=self.connections
        )
        self.notices = Notices(self.book.db, self.book.keyring, self.connections.providers)

    async def forget(self, tenant_id: TenantId, hashes: Collection[bytes]) -> None:
        self.forgotten += hashes

    @property
    def whose(self) -> feeds.Whose:
        return self.book.tenant_id, self.book.connection_id

    async def follow(self) -> None:
        await self.follower.follow(self.book.connection_id)

    async def hint(self, *refs: Ref) -> int:
        async with self.book.db.transaction() as session:
            noted = await feeds.note(session, {self.whose: refs}, now=utc_now(), by_crm=True)
        return noted.get(self.whose, 0)

    async def hints(self) -> list[ChangeHint]:
        async with self.book.db.reading() as session:
            return list(await session.scalars(select(ChangeHint).order_by(ChangeHint.kind, ChangeHint.record_id)))

    async def feed(self) -> ChangeFeed:
        async with self.book.db.reading() as session:
            found = await feeds.feed(session, *self.whose)
        assert found is not None
        return found

    async def mirror(self, kind: Kind = Kind.CONTACT) -> Mirror:
        async with self.book.db.reading() as session:
            return await session.get_one(Mirror, (*self.whose, kind.value))

    async def change_feed(self, **values: Any) -> None:
        """Set columns of the feed, as time would."""
        async with self.book.db.transaction() as session:
            row = await session.get_one(ChangeFeed, self.whose)
            for name, value in values.items():
                setattr(row, name, value)

    async def poll(self) -> None:
        """A poll is due, and done."""
        past = utc_now() - timedelta(seconds=1)
        await self.change_feed(poll_at=past, due_at=past, not_before=None)
        await self.follow()

    async def sweep(self) -> None:
        past = utc_now() - timedelta(seconds=1)
        await self.change_feed(sweep_at=past, due_at=past, not_before=None)
        await self.follow()

    async def found(self, number: str) -> set[str]:
        return {record for record, _ in await owners(self.book, number)}


def provider(crm: Any, slug: str, **manifest: Any) -> Provider:
    """The vendor as the catalogue has it, but that its account is `crm`."""
    real = CATALOG[slug]
    changed = msgspec.structs.replace(real.manifest, **manifest)

    def opened(*_: Any, **__: Any) -> Any:
        return crm

    return Provider(changed, opened, real.read_token, real.read_error, real.read_limits, real.read_changes)


@asynccontextmanager
async def house(
    url: str,
    *,
    slug: str = "pipedrive",
    public_url: str = PUBLIC,
    mirrored: bool = True,
    account: str = ACCOUNT,
    crm: Any = None,
    redis_url: str = "",
    **manifest: Any,
) -> AsyncIterator[House]:
    """Mirrored since an hour ago, nothing in it, and nothing due but the first poll. `crm`: another than a ledger."""
    crm = crm or Ledger()
    app = App(client_id="our-app", client_secret=SecretStr("our-secret"))
    providers = Providers({slug: provider(crm, slug, **manifest)}, lambda _: app)
    async with books(url) as book:
        settings = Settings(
            database_url=url, sealing_keys=(SecretStr("x"),), public_url=public_url, redis_url=redis_url
        )
        redis = bell.connect(settings)
        connections = Connections(settings=settings, db=book.db, keyring=book.keyring, redis=redis, providers=providers)
        connection_id = await make_connection(book.db, book.tenant_id, provider=slug, probed_at=utc_now())
        async with book.db.transaction() as session:
            found = await queries.with_account(session, book.tenant_id, connection_id)
            assert found is not None
            found[1].provider, found[1].external_id = slug, account
        book = replace(book, connection_id=connection_id)
        if mirrored:
            await begin(book)
            await imported(book)
        async with book.db.transaction() as session:
            await feeds.ensure(session, book.tenant_id, connection_id)
        try:
            yield House(book, crm, settings, connections)
        finally:
            await connections.close()
            await redis.aclose()


async def imported(book: Books) -> None:
    """The import has come to its end, an hour ago."""
    async with book.db.transaction() as session:
        mine = select(Mirror).where(Mirror.tenant_id == book.tenant_id, Mirror.connection_id == book.connection_id)
        for row in await session.scalars(mine):
            row.state, row.due_at = "done", None
            row.started_at = row.complete_at = row.changed_until = utc_now() - LONG_AGO


async def disconnected(here: House) -> None:
    """The tenant has disconnected, and the feed is due."""
    async with here.book.db.transaction() as session:
        row = await queries.connection(session, *here.whose)
        assert row is not None
        row.state, row.disconnected_at = "disconnected", utc_now()
    here.connections.forget(*here.whose)
    await here.change_feed(due_at=utc_now(), not_before=None)
