"""Real workers, killed while they import: the directory ends as one that nobody disturbed, row by row."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import SecretStr
from sqlalchemy import select, update

from connectors.crm.records import Kind, Ref
from connectors.sandbox import hubspot
from connectors.sandbox.hubspot import Portal
from connectors.sandbox.hubspot.kinds import BY_SEGMENT
from connectors.sandbox.serve import running
from gateway.db.base import TenantId
from gateway.db.engine import utc_now
from gateway.directory import queries
from gateway.directory.mirror import known
from gateway.directory.tables import DirectoryPhone, DirectoryRecord, Mirror
from gateway.parts import Parts
from gateway.parts import parts as opened_parts
from gateway.settings import Settings
from tests.gateway.connections.connecting import Crm, connected, make_tenant
from tests.processes import Gateway, until_async

KILLS = 10
PEOPLE = 2_500  # 25 pages of a hundred, and the companies'
FIRMS = 150


async def test_killed_ten_times_the_import_ends_in_the_same_directory(gateway: Gateway, monkeypatch: Any) -> None:
    """Whoever is missing is a stranger on the phone; whoever is there twice is two people."""
    portal = Portal(62515, "Aurora Demo SA")
    _fill(portal)
    face = hubspot.create_app(portal, limits=False)
    async with running(face) as origin:
        crm = Crm(origin, face)
        for name, value in crm.environment().items():
            monkeypatch.setenv(name, value)
            gateway.settings[name] = value
        async with opened_parts(_settings(gateway)) as parts:
            tenant_id = await make_tenant(parts)
            connection_id = await connected(parts, tenant_id)
            rolled, pages = random.Random(41), 0
            for _ in range(KILLS):
                worker = await asyncio.to_thread(gateway.worker)
                pages = max(pages, _asked(crm)) + rolled.randrange(1, 3)
                await _until_asked(crm, pages)
                worker.kill()
                await _leases_are_over(parts)
            assert {row.state for row in await _rows(parts, tenant_id, connection_id)} <= {"queued", "running"}
            worker = await asyncio.to_thread(gateway.worker)
            await _until_done(parts, tenant_id, connection_id)
            disturbed = await _directory(parts, tenant_id, connection_id)
            counted = {row.kind: row.done for row in await _rows(parts, tenant_id, connection_id)}

            async with parts.db.transaction(tenant_id) as session:
                await session.execute(DirectoryRecord.__table__.delete())  # type: ignore[attr-defined]
                assert await queries.begin(session, tenant_id, connection_id, dry=False, now=utc_now())
            await _until_done(parts, tenant_id, connection_id)
            undisturbed = await _directory(parts, tenant_id, connection_id)
            await asyncio.to_thread(worker.stop)
    assert len(disturbed) > 2 * PEOPLE
    assert disturbed == undisturbed
    assert counted == {"contact": PEOPLE, "company": FIRMS}  # it never started over: then some were counted twice


def _fill(portal: Portal) -> None:
    now = datetime(2026, 11, 1, tzinfo=UTC)
    for n in range(PEOPLE):
        values = {"firstname": f"First{n}", "lastname": f"Last{n}", "phone": f"+4144{6680000 + n}"}
        if n % 3 == 0:
            values["mobilephone"] = f"079 {100 + n % 900} {n % 100:02d} {n // 100 % 100:02d}"
        portal.create(BY_SEGMENT["contacts"], values, now)
    for n in range(FIRMS):
        portal.create(BY_SEGMENT["companies"], {"name": f"Firm {n}", "phone": f"+4143{6680000 + n}"}, now)


def _settings(gateway: Gateway) -> Settings:
    given: Mapping[str, str] = gateway.settings
    return Settings(
        database_url=given["GATEWAY_DATABASE_URL"],
        redis_url=given["GATEWAY_REDIS_URL"],
        sealing_keys=(SecretStr(given["GATEWAY_SEALING_KEYS"]),),
    )


def _asked(crm: Crm) -> int:
    return sum(one.path.endswith("/contacts") and one.method == "GET" for one in crm.face.journal.asked)


async def _until_asked(crm: Crm, pages: int) -> None:
    async def asked() -> bool:
        return _asked(crm) >= pages

    await until_async("another page was asked for", asked)


async def _leases_are_over(parts: Parts) -> None:
    async with parts.db.transaction() as session:
        past = utc_now() - timedelta(seconds=1)
        await session.execute(update(Mirror).where(Mirror.lease_until.is_not(None)).values(lease_until=past))


async def _rows(parts: Parts, tenant_id: TenantId, connection_id: str) -> list[Mirror]:
    async with parts.db.reading(tenant_id) as session:
        return list(await queries.mirrors(session, tenant_id, connection_id))


async def _until_done(parts: Parts, tenant_id: TenantId, connection_id: str) -> None:
    async def done() -> bool:
        rows = await _rows(parts, tenant_id, connection_id)
        return bool(rows) and all(row.state == "done" for row in rows)

    await until_async("the import is done", done, timedelta(seconds=90))


async def _directory(parts: Parts, tenant_id: TenantId, connection_id: str) -> list[tuple[Any, ...]]:
    """Every row, opened, without nonces, runs and times of reading."""
    keys = await parts.keyring.of(tenant_id)
    async with parts.db.reading(tenant_id) as session:
        records = (await session.scalars(select(DirectoryRecord))).all()
        phones = (await session.scalars(select(DirectoryPhone))).all()
    rows: list[tuple[Any, ...]] = [
        ("phone", one.kind, one.record_id, one.phone_hash.hex(), one.label, one.match) for one in phones
    ]
    for row in records:
        assert row.sealed is not None
        contact = known(keys, connection_id, Ref(Kind(row.kind), row.record_id), row.sealed)
        rows.append(("record", row.kind, row.record_id, contact.name, repr(row.updated_at), (row.digest or b"").hex()))
    return sorted(rows)
