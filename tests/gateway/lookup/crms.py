"""A CRM that does as the test says, and a house with tenants around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from phonenumbers import PhoneNumber
from pydantic import SecretStr
from redis.asyncio import Redis

from connectors import phone
from connectors.crm.records import Company, Contact, Context, Kind, Owner, Phone, Ref
from connectors.errors import ConnectorError
from gateway import bell
from gateway.crypto import new_kek_text
from gateway.db.base import TenantId
from gateway.db.engine import Database, utc_now
from gateway.lookup.find import Finder
from gateway.settings import Settings
from gateway.tenants import queries
from gateway.tenants.keys import Keyring, load_keks

MAIN = "+41446681800"  # as in the design's example


def person(name: str = "Jean Dupont", number: str = MAIN, **more: Any) -> Contact:
    """A contact who holds `number` as the mobile, exactly."""
    first, _, last = name.partition(" ")
    values: dict[str, Any] = {
        "kind": Kind.CONTACT,
        "id": f"c-{name.lower().replace(' ', '-')}",
        "name": name,
        "first_name": first or None,
        "last_name": last or None,
        "phones": (Phone(raw=number, label="mobile", e164=number),),
        "updated_at": datetime(2026, 11, 1, tzinfo=UTC),
        "match": "exact",
        "reason": "mobile",
    }
    return Contact(**{**values, **more})


def company(name: str = "Acme SA", number: str = MAIN, **more: Any) -> Contact:
    return person(name, number, **{"kind": Kind.COMPANY, "first_name": None, "last_name": None, **more})


class ScriptedCrm:
    """The part of the port that lookup uses: knows the contacts it is given, hangs, fails, counts what it is asked."""

    def __init__(self, *contacts: Contact, contexts: dict[str, Context] | None = None) -> None:
        self.contacts = list(contacts)  # what the search finds
        self.stored: dict[str, Contact] = {}  # what only a read by id finds
        self.contexts = contexts or {}
        self.fails: ConnectorError | None = None
        self.context_fails: ConnectorError | None = None
        self.searches = 0
        self.reads = 0
        self.context_reads = 0
        self._let_search = asyncio.Event()
        self._let_context = asyncio.Event()
        self.answer()

    def hang(self) -> None:
        self._let_search.clear()

    def hang_context(self) -> None:
        self._let_context.clear()

    def answer(self) -> None:
        self._let_search.set()
        self._let_context.set()

    async def find_contacts(self, number: PhoneNumber, *, limit: int = 5) -> list[Contact]:
        self.searches += 1
        found = [one for one in self.contacts if any(phone.same(number, held.raw, "CH") for held in one.phones)]
        await self._let_search.wait()
        if self.fails is not None:
            raise self.fails
        return found[:limit]

    async def read_contact(self, ref: Ref, *, fields: Sequence[str] = ()) -> Contact | None:
        self.reads += 1
        if self.fails is not None:
            raise self.fails
        return self.stored.get(ref.id)

    async def context(self, ref: Ref, *, recent: int = 5) -> Context:
        self.context_reads += 1
        await self._let_context.wait()
        if self.context_fails is not None:
            raise self.context_fails
        return self.contexts.get(ref.id, Context())


CONTEXT = Context(company=Company(id="7", name="Exemple SA"), owner=Owner(id="3", name="Anna Muster"))


@dataclass(frozen=True)
class Account:
    """An open connection, as far as lookup looks at it."""

    id: str
    provider: str
    crm: Any


@dataclass
class Accounts:
    """Which connections each tenant has, in its order of preference."""

    by_tenant: dict[str, list[Account]] = field(default_factory=dict)
    fails: Exception | None = None

    async def of(self, tenant_id: TenantId) -> Sequence[Account]:
        if self.fails is not None:
            raise self.fails
        return self.by_tenant.get(tenant_id, [])


@dataclass
class House:
    """What `gateway.parts` builds, with CRMs of the test's own."""

    settings: Settings
    db: Database
    keyring: Keyring
    redis: Redis
    connections: Accounts
    finder: Finder

    async def tenant(self, *crms: ScriptedCrm, region: str = "CH", prefix: str = "cn") -> TenantId:
        """A new tenant, connected to `crms` in this order (cn_0, cn_1, …)."""
        async with self.db.transaction() as session:
            row = await queries.create(
                session, self.keyring, name="Exemple SA", region=region, zone="Europe/Zurich", now=utc_now()
            )
        tenant_id = TenantId(row.id)
        self.connections.by_tenant[tenant_id] = [
            Account(f"{prefix}_{place}", "hubspot", crm) for place, crm in enumerate(crms)
        ]
        await self.keyring.of(tenant_id)
        return tenant_id


@asynccontextmanager
async def house(
    database_url: str,
    redis_url: str = "",
    *,
    connections: Accounts | None = None,
    keys: str | None = None,
    change: Callable[[Settings], Settings] = lambda settings: settings,
) -> AsyncIterator[House]:
    """Another process of the same gateway, when `keys` and `connections` are those of the first."""
    settings = change(
        Settings(database_url=database_url, redis_url=redis_url, sealing_keys=(SecretStr(keys or new_kek_text()),))
    )
    db = Database(settings.database_url)
    redis = bell.connect(settings)
    keyring = Keyring(db, load_keks(settings))
    accounts = connections or Accounts()
    finder = Finder(settings=settings, db=db, keyring=keyring, redis=redis, connections=accounts)
    try:
        yield House(settings, db, keyring, redis, accounts, finder)
    finally:
        await finder.close()
        await redis.aclose()
        await db.close()
