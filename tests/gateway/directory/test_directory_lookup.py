"""Lookups answered from the mirror, on both databases: at once, bounded, and whole a moment later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from connectors.crm.records import Contact, Context, Deal, Kind
from connectors.errors import Unavailable
from gateway.db.base import TenantId
from gateway.db.engine import utc_now
from gateway.directory import queries
from gateway.directory.mirror import prepare, put
from gateway.directory.numbers import Reading
from gateway.directory.tables import Mirror
from gateway.lookup.answer import Found
from tests.factories import make_connection
from tests.gateway.directory.people import NOON, somebody
from tests.gateway.lookup.crms import MAIN, Account, House, ScriptedCrm, house, person
from tests.processes import until_async

SWISS = Reading(("CH",))
PATIENT = timedelta(seconds=5)  # what is answered counts here, not when: the machine may be busy
SHORT = timedelta(milliseconds=500)


class Mirrored:
    """A tenant whose connections have a mirror, whole or not."""

    def __init__(self, here: House, tenant_id: TenantId, connections: Sequence[str]) -> None:
        self.house, self.tenant_id, self.connections = here, tenant_id, connections

    async def put(self, *contacts: Contact, place: int = 0, read_at: datetime | None = None) -> set[bytes]:
        keys = await self.house.keyring.of(self.tenant_id)
        connection_id = self.connections[place]
        ready = [prepare(keys, connection_id, one, SWISS) for one in contacts]
        async with self.house.db.transaction(self.tenant_id) as session:
            return await put(session, self.tenant_id, connection_id, ready, read_at=read_at or utc_now())

    async def find(self, number: str = MAIN, **more: Any) -> Found:
        given: dict[str, Any] = {"region": "CH", "asked_by": "ak_1", "assurance": "key", "budget": PATIENT, **more}
        return await self.house.finder.find(self.tenant_id, number, **given)


@asynccontextmanager
async def mirrored(
    database_url: str, redis_url: str, *crms: ScriptedCrm, whole: bool = True, **how: Any
) -> AsyncIterator[Mirrored]:
    async with house(database_url, redis_url, **how) as here:
        tenant_id = await here.tenant(*crms)
        connections = [await make_connection(here.db, tenant_id) for _ in crms]
        here.connections.by_tenant[tenant_id] = [
            Account(one, "hubspot", crm) for one, crm in zip(connections, crms, strict=True)
        ]
        async with here.db.transaction(tenant_id) as session:
            for one in connections:
                await queries.begin(session, tenant_id, one, dry=False, now=utc_now())
                for row in await queries.mirrors(session, tenant_id, one):
                    row.state = "done" if whole else "running"
                    row.complete_at = utc_now() if whole else None
        yield Mirrored(here, tenant_id, connections)


@pytest.fixture
def crm() -> ScriptedCrm:
    return ScriptedCrm()


async def test_known_at_once_and_whole_a_moment_later(database_url: str, redis_url: str, crm: ScriptedCrm) -> None:
    crm.contexts = {"1": Context(open_deals=(Deal(id="d", name="Fenster"),))}
    async with mirrored(database_url, redis_url, crm) as mirror:
        await mirror.put(somebody("1", "044 668 18 00"), read_at=utc_now() - timedelta(seconds=90))
        first = await mirror.find()
        assert (first.status, first.source, first.complete) == ("known", "directory", False)
        assert first.fields()["contact"]["name"] == "Person 1"
        assert first.fields()["contact"]["open_deals"] == []
        assert 89 < first.age < 120

        async def whole() -> bool:
            return (await mirror.find()).complete

        await until_async("its context is there", whole)
        again = await mirror.find()
        assert (again.source, again.fields()["contact"]["open_deals"][0]["name"]) == ("cache", "Fenster")
        assert crm.searches == 0  # the mirror is whole: nothing is left to search


@pytest.mark.parametrize("trouble", ["hangs", "fails"])
async def test_mirrored_callers_are_known_whatever_the_crm_does(
    database_url: str, redis_url: str, crm: ScriptedCrm, trouble: str
) -> None:
    """The share of `known` must not fall when a CRM does."""
    async with mirrored(database_url, redis_url, crm) as mirror:
        await mirror.put(*(somebody(str(n), f"+4144668{n:04d}") for n in range(50)))
        crm.hang()
        crm.hang_context()
        crm.fails = crm.context_fails = Unavailable("away") if trouble == "fails" else None
        found = await asyncio.gather(*(mirror.find(f"+4144668{n:04d}") for n in range(50)))
        assert {one.status for one in found} == {"known"}
        assert {one.source for one in found} == {"directory"}


async def test_a_switchboard_of_hundreds_is_answered_bounded_with_the_company_first(
    database_url: str, redis_url: str, crm: ScriptedCrm
) -> None:
    async with mirrored(database_url, redis_url, crm) as mirror:
        await mirror.put(
            *(somebody(str(n), MAIN) for n in range(300)), somebody("zz", MAIN, kind=Kind.COMPANY, name="Exemple SA")
        )
        found = await mirror.find()
        matches = found.fields()["matches"]
        assert (found.status, matches[0]["kind"], matches[0]["name"]) == ("several", "company", "Exemple SA")
        assert len(matches) <= 12
        assert found.fields()["contact"] is None


async def test_two_connections_merge_into_one_answer(database_url: str, redis_url: str) -> None:
    async with mirrored(database_url, redis_url, ScriptedCrm(), ScriptedCrm()) as mirror:
        await mirror.put(somebody("1", MAIN, name="Jean Dupont", email=None, company=None))
        await mirror.put(somebody("2", MAIN, name="DUPONT Jean", email="jean@example.com"), place=1)
        contact = (await mirror.find()).fields()["contact"]
        assert contact["email"] == "jean@example.com"
        assert contact["from"]["email"]["connection_id"] in mirror.connections


async def test_who_is_not_in_a_whole_mirror_is_searched_for_within_the_budget(
    database_url: str, redis_url: str, crm: ScriptedCrm
) -> None:
    """Somebody a colleague has typed into the CRM a moment ago."""
    crm.contacts = [person()]
    async with mirrored(database_url, redis_url, crm) as mirror:
        found = await mirror.find()
        assert (found.status, found.source) == ("known", "crm")


async def test_who_is_not_in_a_whole_mirror_is_unknown_when_the_crm_hangs(
    database_url: str, redis_url: str, crm: ScriptedCrm
) -> None:
    crm.hang()
    async with mirrored(database_url, redis_url, crm) as mirror:
        found = await mirror.find(budget=SHORT)
        assert (found.status, found.source, found.complete) == ("unknown", "directory", False)


async def test_who_is_not_in_half_a_mirror_is_pending(database_url: str, redis_url: str, crm: ScriptedCrm) -> None:
    crm.hang()
    async with mirrored(database_url, redis_url, crm, whole=False) as mirror:
        await mirror.put(somebody("1", "+41446681811"))
        assert (await mirror.find(budget=SHORT)).status == "pending"
        assert (await mirror.find("+41446681811")).status == "known"


async def test_changed_numbers_are_answered_anew_at_once(database_url: str, redis_url: str, crm: ScriptedCrm) -> None:
    async with mirrored(database_url, redis_url, crm) as mirror:
        await mirror.put(somebody("1", MAIN, name="Jean Dupont"))
        await mirror.find()
        touched = await mirror.put(somebody("1", MAIN, name="Jeanne Dupont", updated_at=NOON + timedelta(seconds=1)))
        await mirror.house.finder.forget_hashes(mirror.tenant_id, touched)
        assert (await mirror.find()).fields()["contact"]["name"] == "Jeanne Dupont"


async def test_own_numbers_are_nobodys(database_url: str, redis_url: str, crm: ScriptedCrm) -> None:
    from gateway.tenants.tables import TenantSettings

    async with mirrored(database_url, redis_url, crm) as mirror:
        await mirror.put(somebody("1", MAIN))
        async with mirror.house.db.transaction(mirror.tenant_id) as session:
            document = {"own_numbers": [MAIN]}
            session.add(TenantSettings(tenant_id=mirror.tenant_id, version=1, document=document, at=utc_now(), by="me"))
        assert (await mirror.find()).status == "unknown"


async def test_a_connection_that_is_not_asked_any_more_answers_nothing(
    database_url: str, redis_url: str, crm: ScriptedCrm
) -> None:
    """Disconnected is disconnected, also while its mirror is still being purged."""
    async with mirrored(database_url, redis_url, crm) as mirror:
        await mirror.put(somebody("1", MAIN))
        mirror.house.connections.by_tenant[mirror.tenant_id] = []
        assert (await mirror.find()).status == "unknown"


async def test_another_tenants_people_are_strangers(database_url: str, redis_url: str, crm: ScriptedCrm) -> None:
    async with mirrored(database_url, redis_url, crm) as mirror:
        await mirror.put(somebody("1", MAIN))
        other = await mirror.house.tenant(ScriptedCrm())
        mirror.house.connections.by_tenant[other] = mirror.house.connections.by_tenant[mirror.tenant_id]
        found = await asyncio.gather(
            mirror.find(),
            mirror.house.finder.find(other, MAIN, region="CH", asked_by="ak_2", assurance="key", budget=PATIENT),
        )
        assert [one.status for one in found] == ["known", "unknown"]


async def test_many_tenants_in_one_loop_turn_get_their_own(database_url: str, redis_url: str) -> None:
    async with house(database_url, redis_url) as here:
        mirrors = []
        for n in range(5):
            tenant_id = await here.tenant(ScriptedCrm())
            connection_id = await make_connection(here.db, tenant_id)
            here.connections.by_tenant[tenant_id] = [Account(connection_id, "hubspot", ScriptedCrm())]
            async with here.db.transaction(tenant_id) as session:
                key = {"tenant_id": tenant_id, "connection_id": connection_id, "kind": "contact"}
                session.add(Mirror(**key, state="done", queued_at=utc_now(), examples=[]))
            mirror = Mirrored(here, tenant_id, [connection_id])
            await mirror.put(somebody("1", MAIN, name=f"Tenant {n}"))
            mirrors.append(mirror)
        found = await asyncio.gather(*(mirror.find() for mirror in mirrors for _ in range(4)))
        names = [one.fields()["contact"]["name"] for one in found]
        assert names == [f"Tenant {n}" for n in range(5) for _ in range(4)]


async def test_a_record_whose_seal_does_not_open_is_left_out(
    database_url: str, redis_url: str, crm: ScriptedCrm
) -> None:
    from sqlalchemy import update

    from gateway.directory.tables import DirectoryRecord

    async with mirrored(database_url, redis_url, crm) as mirror:
        await mirror.put(somebody("1", MAIN), somebody("2", MAIN))
        async with mirror.house.db.transaction() as session:
            spoilt = update(DirectoryRecord).where(DirectoryRecord.record_id == "1").values(sealed=b"x" * 60)
            await session.execute(spoilt)
        assert (await mirror.find()).fields()["contact"]["id"] == "2"
