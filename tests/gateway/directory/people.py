"""Contacts and a mirror to put them into."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select

from connectors.crm.records import Company, Contact, Kind, Owner, Phone, Ref
from gateway.db.engine import utc_now
from gateway.directory import queries
from gateway.directory.mirror import drop, known, prepare, put
from gateway.directory.numbers import Reading
from gateway.directory.tables import DirectoryPhone, DirectoryRecord
from tests.factories import Books

SWISS = Reading(("CH",))
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def somebody(identity: str, *numbers: str, kind: Kind = Kind.CONTACT, **more: Any) -> Contact:
    """A record with these numbers, in fields called phone, phone2, …"""
    phones = tuple(Phone(raw=raw, label=f"phone{place or ''}") for place, raw in enumerate(numbers))
    values: dict[str, Any] = {
        "name": f"Person {identity}",
        "company": Company(id="7", name="Exemple SA"),
        "owner": Owner(id="3", name="Anna Muster", email="anna@example.com"),
        "updated_at": NOON,
        **more,
    }
    return Contact(kind=kind, id=identity, phones=phones, **values)


async def begin(book: Books) -> None:
    async with book.db.transaction(book.tenant_id) as session:
        assert await queries.begin(session, book.tenant_id, book.connection_id, dry=False, now=utc_now())


async def store(
    book: Books, *contacts: Contact, at: datetime = NOON, reading: Reading = SWISS, run: int | None = None
) -> set[bytes]:
    ready = [prepare(book.keys, book.connection_id, one, reading) for one in contacts]
    async with book.db.transaction(book.tenant_id) as session:
        return await put(session, book.tenant_id, book.connection_id, ready, read_at=at, run=run)


async def remove(book: Books, *refs: Ref, at: datetime = NOON + timedelta(seconds=1)) -> set[bytes]:
    async with book.db.transaction(book.tenant_id) as session:
        return await drop(session, book.tenant_id, book.connection_id, refs, at=at)


def hashes(book: Books, *e164: str) -> set[bytes]:
    return {book.keys.index(one) for one in e164}


async def owners(book: Books, e164: str) -> set[tuple[str, str]]:
    """(record, match) of whoever is found by this number."""
    mine = select(DirectoryPhone.record_id, DirectoryPhone.match).where(
        DirectoryPhone.tenant_id == book.tenant_id, DirectoryPhone.phone_hash == book.keys.index(e164)
    )
    async with book.db.reading(book.tenant_id) as session:
        return {(record, match) for record, match in await session.execute(mine)}


async def everything(book: Books) -> list[tuple[Any, ...]]:
    """The directory row by row, opened, without what differs from run to run by nature: nonces and times of reading."""
    async with book.db.reading(book.tenant_id) as session:
        records = (await session.scalars(select(DirectoryRecord))).all()
        phones = (await session.scalars(select(DirectoryPhone))).all()
    rows: Iterable[tuple[Any, ...]] = [
        (
            "record",
            row.tenant_id,
            row.connection_id,
            row.kind,
            row.record_id,
            repr(row.updated_at),
            row.run,
            row.digest or b"",
            _opened(book, row),
            row.gone_at is not None,
        )
        for row in records
    ]
    numbers = [
        ("phone", one.tenant_id, one.connection_id, one.kind, one.record_id, one.phone_hash, one.label, one.match)
        for one in phones
    ]
    return sorted([*rows, *numbers])


def _opened(book: Books, row: DirectoryRecord) -> str:
    if row.sealed is None:
        return ""
    contact = known(book.keys, row.connection_id, Ref(Kind(row.kind), row.record_id), row.sealed)
    return str([getattr(contact, name) for name in ("name", "email", "salutation", "tier", "language", "url")])
