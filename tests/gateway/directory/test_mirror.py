"""The mirror on both databases: what is put is found, what is dropped is not, and late news changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from connectors.crm.records import Kind, Ref
from gateway.crypto import CannotOpen
from gateway.db.base import TenantId
from gateway.db.engine import utc_now
from gateway.directory import queries, retention
from gateway.directory.mirror import known
from gateway.directory.numbers import Reading
from gateway.directory.tables import DirectoryPhone, DirectoryRecord, Mirror
from tests.factories import Books, books
from tests.gateway.directory.people import NOON, begin, everything, hashes, owners, remove, somebody, store

MAIN, MOBILE = "+41446681800", "+41796681801"
SECOND = timedelta(seconds=1)


@pytest.fixture
async def book(database_url: str) -> AsyncIterator[Books]:
    async with books(database_url) as made:
        await begin(made)
        yield made


async def test_a_record_is_found_by_each_of_its_numbers(book: Books) -> None:
    touched = await store(book, somebody("1", "044 668 18 00", "+41 79 668 18 01"), somebody("2", "044 668 18 00"))
    assert touched == hashes(book, MAIN, MOBILE)
    assert await owners(book, MAIN) == {("1", "exact"), ("2", "exact")}
    assert await owners(book, MOBILE) == {("1", "exact")}


async def test_the_same_again_changes_nothing(book: Books) -> None:
    """A re-import of a million must not empty a million cached answers."""
    await store(book, somebody("1", MAIN))
    before = await everything(book)
    assert await store(book, somebody("1", MAIN), at=NOON + SECOND) == set()
    assert await everything(book) == before


async def test_changed_numbers_are_touched_both_ways(book: Books) -> None:
    await store(book, somebody("1", MAIN))
    assert await store(book, somebody("1", MOBILE), at=NOON + SECOND) == hashes(book, MAIN, MOBILE)
    assert await owners(book, MAIN) == set()
    assert await owners(book, MOBILE) == {("1", "exact")}


async def test_a_changed_name_touches_its_numbers(book: Books) -> None:
    await store(book, somebody("1", MAIN))
    assert await store(book, somebody("1", MAIN, name="Other"), at=NOON + SECOND) == hashes(book, MAIN)


async def test_who_has_no_number_any_more_is_not_kept(book: Books) -> None:
    await store(book, somebody("1", MAIN), somebody("2"))
    assert await store(book, somebody("1"), at=NOON + SECOND) == hashes(book, MAIN)
    async with book.db.reading(book.tenant_id) as session:
        assert (await session.scalars(select(DirectoryRecord.sealed))).all() == [None]
        assert await session.scalar(select(func.count()).select_from(DirectoryPhone)) == 0


@pytest.mark.parametrize("later", ["updated_at", "read_at"])
async def test_what_was_read_first_does_not_replace_what_was_read_last(book: Books, later: str) -> None:
    """Webhooks overtake an import's page, and each other."""
    newer: dict[str, Any] = {"updated_at": NOON + SECOND} if later == "updated_at" else {}
    await store(book, somebody("1", MOBILE, **newer), at=NOON + SECOND)
    assert await store(book, somebody("1", MAIN), at=NOON, run=2) == set()
    assert await owners(book, MOBILE) == {("1", "exact")}
    async with book.db.reading(book.tenant_id) as session:
        assert await session.scalar(select(DirectoryRecord.run)) == 2  # seen all the same


async def test_dropped_is_not_found_and_does_not_come_back_from_an_old_page(book: Books) -> None:
    await store(book, somebody("1", MAIN))
    gone = Ref(Kind.CONTACT, "1")
    assert await remove(book, gone) == hashes(book, MAIN)
    assert await remove(book, gone) == set()
    assert await store(book, somebody("1", MAIN), at=NOON) == set()
    assert await owners(book, MAIN) == set()
    assert await store(book, somebody("1", MAIN), at=NOON + 2 * SECOND) == hashes(book, MAIN)  # out of the bin again
    assert await owners(book, MAIN) == {("1", "exact")}


async def test_a_deletion_known_before_the_record_is_obeyed(book: Books) -> None:
    assert await remove(book, Ref(Kind.CONTACT, "9")) == set()
    await store(book, somebody("9", MAIN))
    assert await owners(book, MAIN) == set()


async def test_a_late_deletion_of_a_record_that_was_read_since_is_nothing(book: Books) -> None:
    await store(book, somebody("1", MAIN), at=NOON + SECOND)
    assert await remove(book, Ref(Kind.CONTACT, "1"), at=NOON) == set()
    assert await owners(book, MAIN) == {("1", "exact")}


async def test_kinds_apart_and_unmirrored_ones_left_out(book: Books) -> None:
    await store(
        book, somebody("1", MAIN), somebody("1", MAIN, kind=Kind.COMPANY), somebody("1", MAIN, kind=Kind.TICKET)
    )
    async with book.db.reading(book.tenant_id) as session:
        kinds = set((await session.scalars(select(DirectoryRecord.kind))).all())
    assert kinds == {"contact", "company"}


async def test_nothing_is_kept_for_a_connection_nobody_imported(book: Books) -> None:
    async with book.db.transaction(book.tenant_id) as session:
        await session.execute(update(Mirror).values(tenant_id=Mirror.tenant_id))
        for kind in ("contact", "lead", "company"):
            await queries.remove(session, book.tenant_id, book.connection_id, kind)
    assert await store(book, somebody("1", MAIN)) == set()
    assert await everything(book) == []


async def test_many_records_in_one_transaction(book: Books) -> None:
    many = [somebody(str(n), f"+4144668{n:04d}") for n in range(1000)]
    assert len(await store(book, *many)) == 1000
    assert await owners(book, "+41446680999") == {("999", "exact")}
    assert len(await remove(book, *(Ref(Kind.CONTACT, str(n)) for n in range(1000)))) == 1000


async def test_contents_are_sealed_where_they_stand(book: Books) -> None:
    await store(book, somebody("1", MAIN), somebody("2", MOBILE))
    async with book.db.reading(book.tenant_id) as session:
        one, two = (await session.scalars(select(DirectoryRecord).order_by(DirectoryRecord.record_id))).all()
        phones = (await session.scalars(select(DirectoryPhone))).all()
    assert one.sealed is not None
    assert two.sealed is not None
    assert b"Person" not in one.sealed
    assert known(book.keys, book.connection_id, Ref(Kind.CONTACT, "1"), one.sealed).name == "Person 1"
    with pytest.raises(CannotOpen):
        known(book.keys, book.connection_id, Ref(Kind.CONTACT, "1"), two.sealed)
    assert not any(b"4466818" in phone.phone_hash or "4466818" in phone.label for phone in phones)


async def test_own_numbers_and_regions_come_from_the_tenant(book: Books) -> None:
    from gateway.tenants.tables import TenantSettings

    async with book.db.transaction(book.tenant_id) as session:
        document = {"own_numbers": ["+49 30 901820", "nonsense", 7]}
        session.add(TenantSettings(tenant_id=book.tenant_id, version=1, document=document, at=utc_now(), by="a test"))
    async with book.db.reading(book.tenant_id) as session:
        found = await queries.reading(session, book.tenant_id, book.connection_id)
        nobody = await queries.reading(session, TenantId("tn_nobody"), book.connection_id)
    assert found == Reading(("CH", "DE"), frozenset({"+4930901820"}))
    assert nobody == Reading(())


async def test_another_tenant_sees_nothing(book: Books) -> None:
    await store(book, somebody("1", MAIN))
    async with book.db.transaction() as session:
        other = TenantId("tn_other")
        assert await queries.mirrors(session, other, book.connection_id) == []
        assert await queries.completeness(session, other) == {}
        assert await queries.unseen(session, other, book.connection_id, Kind.CONTACT, run=99) == []
        assert await queries.claim(session, other, book.connection_id, lease=SECOND) is None


async def test_marks_of_what_is_gone_are_forgotten_a_day_later(book: Books) -> None:
    await store(book, somebody("1", MAIN), somebody("2", MAIN))
    await remove(book, Ref(Kind.CONTACT, "1"), at=utc_now() - timedelta(hours=25))
    await remove(book, Ref(Kind.CONTACT, "2"), at=utc_now())
    async with book.db.transaction() as session:
        await session.execute(
            update(DirectoryRecord).where(DirectoryRecord.record_id == "1").values(gone_at=NOON - timedelta(days=400))
        )
        assert await retention.prune_gone(session) == 1
    async with book.db.reading() as session:
        assert (await session.scalars(select(DirectoryRecord.record_id))).all() == ["2"]


async def test_a_disconnected_mirror_is_purged(book: Books) -> None:
    from gateway.connections.tables import Connection

    await store(book, somebody("1", MAIN), somebody("2", MOBILE))
    async with book.db.transaction() as session:
        assert await retention.purge_ended(session) == 0
        await session.execute(update(Connection).values(disconnected_at=utc_now(), state="disconnected"))
        assert await retention.purge_ended(session) == 2
    async with book.db.reading() as session:
        for table in (Mirror, DirectoryRecord, DirectoryPhone):
            assert await session.scalar(select(func.count()).select_from(table)) == 0
