"""Builders with sensible defaults; a test states only what it is about."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import SecretStr

from connectors.crm.catalog import CATALOG, Provider
from connectors.crm.records import CallLog, LogCall, Person, UpsertContact, Write
from gateway.connections.providers import Providers
from gateway.connections.tables import Connection, CrmAccount
from gateway.crypto import new_kek_text, read_kek
from gateway.db.base import TenantId, new_id
from gateway.db.engine import Database, utc_now
from gateway.outbox.plan import Promise, plan
from gateway.settings import App
from gateway.tenants.keys import Keyring, TenantKeys
from gateway.tenants.tables import Tenant

WEEK = timedelta(days=7)
BEGAN = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Books:
    """A database with one tenant that has one connection; more of both on demand."""

    db: Database
    keyring: Keyring
    tenant_id: TenantId
    connection_id: str
    keys: TenantKeys

    async def plan(
        self, *promises: Promise, person: bytes = b"somebody", connection_id: str | None = None, **more: Any
    ) -> list[str]:
        async with self.db.transaction(self.tenant_id) as session:
            return await plan(
                session, self.tenant_id, connection_id or self.connection_id, person, promises,
                keys=self.keys, call_id=None, lifetime=more.pop("lifetime", WEEK), **more,
            )  # fmt: skip


@asynccontextmanager
async def books(url: str) -> AsyncIterator[Books]:
    """A migrated database with a tenant and an active connection."""
    db = Database(url)
    keyring = Keyring(db, [read_kek(new_kek_text())])
    tenant_id = await make_tenant(db, keyring)
    connection_id = await make_connection(db, tenant_id)
    try:
        yield Books(db, keyring, tenant_id, connection_id, await keyring.of(tenant_id))
    finally:
        await db.close()


def providers_at(origin: str, catalog: Mapping[str, Provider] = CATALOG) -> Providers:
    """The CRMs of the catalogue, each with a sandbox at `origin` standing in for the vendor."""
    secret = SecretStr("sandbox-secret")
    app = App(client_id="sandbox-client", client_secret=secret, auth_url=origin, token_url=origin, api_url=origin)
    return Providers(catalog, lambda _: app)


async def make_tenant(db: Database, keyring: Keyring, name: str = "Acme SA") -> TenantId:
    tenant_id = TenantId(new_id("tn"))
    async with db.transaction(tenant_id) as session:
        session.add(Tenant(id=tenant_id, name=name, created_at=utc_now()))
        await session.flush()
        await keyring.make_for(session, tenant_id)
    return tenant_id


async def make_connection(db: Database, tenant_id: TenantId, **more: Any) -> str:
    """An active connection to an account of its own, without tokens."""
    account_id, connection_id = new_id("ac"), new_id("cn")
    async with db.transaction(tenant_id) as session:
        session.add(
            CrmAccount(id=account_id, provider="hubspot", external_id=account_id, name="Acme", created_at=utc_now())
        )
        await session.flush()
        given: dict[str, Any] = {
            "provider": "hubspot", "state": "active", "scopes": [], "missing_scopes": [], "sticks": {},
            "api_origin": "http://127.0.0.1:1", "auth_origin": "http://127.0.0.1:1", "token_origin": "http://127.0.0.1:1",
            "connected_at": utc_now(), **more,
        }  # fmt: skip
        session.add(Connection(tenant_id=tenant_id, id=connection_id, crm_account_id=account_id, **given))
    return connection_id


def promise(name: str = "", write: Write | None = None, **more: Any) -> Promise:
    """A promise to log a call, under a key of its own."""
    delivery_id = name or new_id("dl")
    given: dict[str, Any] = {
        "rule_id": "ru_1", "rule": "log every call", "action_id": f"ac_{delivery_id}", "record_key": f"call:{delivery_id}",
        "settle": timedelta(seconds=5), "blind": False, **more,
    }  # fmt: skip
    return Promise(id=delivery_id, write=write or log_call(delivery_id), **given)


def log_call(key: str) -> LogCall:
    call = CallLog(
        direction="inbound", started_at=BEGAN, duration=timedelta(seconds=95), customer_number="+41446681800"
    )
    return LogCall(key=key, subject="Inbound call", call=call, about=(Person(),))


def upsert_contact(key: str, phone: str = "+41446681800") -> UpsertContact:
    return UpsertContact(key=key, phone=phone, first_name="Jean", last_name="Dupont", target=Person())
