"""What changes the mirror: records as the CRM has them now, and records it has no more. Everything goes through here.

Both hold the mirror's row first, so imports, notifications and sweeps of one connection take turns, and none of them
writes what another has read later: what was read first never replaces what was read last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec
from sqlalchemy import Row, and_, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from connectors.crm.records import Company, Contact, Kind, Owner, Ref
from gateway.db.base import Base, TenantId
from gateway.db.engine import among
from gateway.db.rows import insert_many, parameters
from gateway.directory.numbers import Number, Reading, example, held
from gateway.directory.tables import DirectoryPhone, DirectoryRecord, Mirror
from gateway.tenants.keys import TenantKeys

KINDS = (Kind.CONTACT, Kind.LEAD, Kind.COMPANY)  # what holds phone numbers; a CRM may have fewer

_RECORDS = Base.metadata.tables[DirectoryRecord.__tablename__]
_PHONES = Base.metadata.tables[DirectoryPhone.__tablename__]
_RECORD_COLUMNS = tuple(column.name for column in _RECORDS.columns)
_PHONE_COLUMNS = tuple(column.name for column in _PHONES.columns)
_KEY = ("tenant_id", "connection_id", "kind", "record_id")


class Known(msgspec.Struct, frozen=True, array_like=True):
    """What of a record an answer or a rule uses (security.md §10). Sealed as it stands here: fields are only appended."""

    name: str
    first_name: str | None
    last_name: str | None
    salutation: str | None
    email: str | None
    company: tuple[str, str] | None  # id, name
    owner: tuple[str, str, str | None] | None  # id, name, e-mail
    tier: str | None
    language: str | None
    url: str | None

    def __repr__(self) -> str:
        return "<Known>"


@dataclass(frozen=True, repr=False)
class Ready:
    """A record ready to be stored. Without `numbers` it is not kept: nobody could be found by it.

    numbers     (keyed hash, field, exact | national). unreadable: fields no number can be read from, masked.
    """

    ref: Ref
    sealed: bytes
    digest: bytes
    updated_at: datetime | None
    numbers: tuple[tuple[bytes, str, str], ...]
    unreadable: tuple[str, ...] = ()


def prepare(keys: TenantKeys, connection_id: str, contact: Contact, reading: Reading) -> Ready:
    """Read a record's numbers, and seal what is kept of it. To be done before the transaction: it takes a while."""
    numbers, unreadable = held(contact.phones, reading)
    plain = msgspec.msgpack.encode(_known(contact))
    ref = Ref(contact.kind, contact.id)
    return Ready(
        ref,
        keys.seal(plain, *_place(connection_id, ref)) if numbers else b"",
        keys.index(f"record:{plain.hex()}:{sorted(_told(numbers))}"),
        contact.updated_at,
        tuple((keys.index(one.e164), one.label, one.match) for one in numbers),
        tuple(example(one) for one in unreadable),
    )


async def put(
    session: AsyncSession,
    tenant_id: TenantId,
    connection_id: str,
    records: Iterable[Ready],
    *,
    read_at: datetime,
    run: int | None = None,
) -> set[bytes]:
    """Store records as the CRM had them when it was asked at `read_at`; the hashes whose answer may be another now.

    run  of the import that saw them; None: whatever else has read them, they count as seen by the run of the moment.

    A record without a number is taken out; one that was read later than this, or is gone since, stays as it is. Kinds
    that are not mirrored (nobody has asked for an import) are left out. Of a record that comes twice the last counts.
    """
    runs = await _hold(session, tenant_id, connection_id)
    last = {one.ref: one for one in records if one.ref.kind in runs}
    touched: set[bytes] = set()
    for kind, some in groupby(sorted(last.values(), key=lambda one: _order(one.ref)), lambda one: one.ref.kind):
        mine = (tenant_id, connection_id, kind)
        touched |= await _put(session, mine, list(some), read_at, runs[kind] if run is None else run)
    return touched


async def drop(
    session: AsyncSession, tenant_id: TenantId, connection_id: str, refs: Iterable[Ref], *, at: datetime
) -> set[bytes]:
    """Take out records that the CRM had no more at `at`; the hashes whose answer may be another now.

    A record that was read later than that stays. Of the others a row without content is kept for a while, also of those
    we never had: a page that was read before may still be on its way.
    """
    runs = await _hold(session, tenant_id, connection_id)
    touched: set[bytes] = set()
    for kind, some in groupby(sorted({one for one in refs if one.kind in runs}, key=_order), lambda ref: ref.kind):
        mine, ids = (tenant_id, connection_id, kind), [ref.id for ref in some]
        there = await _existing(session, mine, ids)
        gone = [one for one in ids if one not in there or there[one].read_at <= at]
        touched |= await _empty(session, mine, gone, at=at, run=runs[kind])
    return touched


def known(
    keys: TenantKeys,
    connection_id: str,
    ref: Ref,
    sealed: bytes,
    *,
    updated_at: datetime | None = None,
    match: str | None = None,
    reason: str | None = None,
) -> Contact:
    """A record as it stands in the mirror, without its numbers. Raises `CannotOpen`."""
    kept = _KNOWN.decode(keys.open(sealed, *_place(connection_id, ref)))
    return Contact(
        kind=ref.kind,
        id=ref.id,
        name=kept.name,
        first_name=kept.first_name,
        last_name=kept.last_name,
        salutation=kept.salutation,
        email=kept.email,
        company=Company(id=kept.company[0], name=kept.company[1]) if kept.company else None,
        owner=Owner(id=kept.owner[0], name=kept.owner[1], email=kept.owner[2]) if kept.owner else None,
        tier=kept.tier,
        language=kept.language,
        url=kept.url,
        updated_at=updated_at,
        match=match,
        reason=reason,
    )


_KNOWN = msgspec.msgpack.Decoder(Known)


def _known(contact: Contact) -> Known:
    company, owner = contact.company, contact.owner
    return Known(
        contact.name,
        contact.first_name,
        contact.last_name,
        contact.salutation,
        contact.email,
        (company.id, company.name) if company else None,
        (owner.id, owner.name, owner.email) if owner else None,
        contact.tier,
        contact.language,
        contact.url,
    )


def _place(connection_id: str, ref: Ref) -> tuple[str, ...]:
    return ("directory_records", "sealed", connection_id, ref.kind.value, ref.id)


def _told(numbers: Iterable[Number]) -> list[tuple[str, str, str]]:
    return [(one.e164, one.label, one.match) for one in numbers]


Mine = tuple[TenantId, str, Kind]


def _order(ref: Ref) -> tuple[str, str]:
    return ref.kind.value, ref.id


async def _hold(session: AsyncSession, tenant_id: TenantId, connection_id: str) -> Mapping[Kind, int]:
    """Lock the mirrors of a connection, always in this order; the run of each."""
    mine = select(Mirror.kind, Mirror.run).where(Mirror.tenant_id == tenant_id, Mirror.connection_id == connection_id)
    rows = await session.execute(mine.order_by(Mirror.kind).with_for_update())
    return {Kind(kind): run for kind, run in rows}


async def _put(session: AsyncSession, mine: Mine, records: list[Ready], read_at: datetime, run: int) -> set[bytes]:
    there = await _existing(session, mine, [one.ref.id for one in records])
    fresh = [one for one in records if not _is_older(one, read_at, there.get(one.ref.id))]
    kept = [one for one in fresh if one.numbers]
    without = [one.ref.id for one in fresh if not one.numbers and _is_kept(there.get(one.ref.id))]
    changed = [one for one in kept if not _says_the_same(one, there.get(one.ref.id))]
    late = {one.ref.id for one in records} - {one.ref.id for one in fresh}
    if late:
        seen = update(DirectoryRecord).where(_these(session, mine, late), DirectoryRecord.run < run).values(run=run)
        await session.execute(seen.execution_options(synchronize_session=False))
    touched = await _empty(session, mine, without, at=read_at, run=run)
    await _upsert(session, [_row(mine, one, read_at, run) for one in kept])
    touched |= await _unnumber(session, mine, [one.ref.id for one in changed if one.ref.id in there])
    rows = [
        dict(zip(_PHONE_COLUMNS, (mine[0], number, mine[1], mine[2].value, one.ref.id, label, match), strict=True))
        for one in changed
        for number, label, match in one.numbers
    ]
    if rows:
        dialect = session.get_bind().dialect.name
        await session.execute(insert_many(dialect, _PHONES, _PHONE_COLUMNS), parameters(dialect, rows))
    return touched | {number for one in changed for number, _, _ in one.numbers}


def _row(mine: Mine, one: Ready, read_at: datetime, run: int) -> dict[str, Any]:
    return {
        **dict(zip(_KEY, (mine[0], mine[1], mine[2].value, one.ref.id), strict=True)),
        "sealed": one.sealed,
        "digest": one.digest,
        "updated_at": one.updated_at,
        "run": run,
        "read_at": read_at,
        "gone_at": None,
    }


def _is_older(one: Ready, read_at: datetime, there: Row[Any] | None) -> bool:
    """Whether what stands in the mirror is the later news: by the CRM's clock, else by when it was asked."""
    if there is None:
        return False
    if there.gone_at is not None:
        return bool(read_at <= there.gone_at)
    if one.updated_at is not None and there.updated_at is not None and one.updated_at != there.updated_at:
        return bool(one.updated_at < there.updated_at)
    return bool(read_at < there.read_at)


def _is_kept(there: Row[Any] | None) -> bool:
    return there is not None and there.gone_at is None


def _says_the_same(one: Ready, there: Row[Any] | None) -> bool:
    return there is not None and there.gone_at is None and there.digest == one.digest


async def _existing(session: AsyncSession, mine: Mine, ids: Sequence[str]) -> Mapping[str, Row[Any]]:
    columns = (
        DirectoryRecord.record_id,
        DirectoryRecord.digest,
        DirectoryRecord.updated_at,
        DirectoryRecord.read_at,
        DirectoryRecord.gone_at,
    )
    rows: Iterable[Row[Any]] = await session.execute(select(*columns).where(_these(session, mine, ids)))
    return {row.record_id: row for row in rows}


async def _empty(session: AsyncSession, mine: Mine, ids: Sequence[str], *, at: datetime, run: int) -> set[bytes]:
    """Take the content out of these records; the hashes they were found by."""
    if not ids:
        return set()
    nothing = {"sealed": None, "digest": None, "updated_at": None, "run": run, "read_at": at, "gone_at": at}
    keys = [dict(zip(_KEY, (mine[0], mine[1], mine[2].value, one), strict=True)) for one in ids]
    await _upsert(session, [{**key, **nothing} for key in keys])
    return await _unnumber(session, mine, ids)


async def _unnumber(session: AsyncSession, mine: Mine, ids: Sequence[str]) -> set[bytes]:
    if not ids:
        return set()
    tenant_id, connection_id, kind = mine
    which = and_(
        DirectoryPhone.tenant_id == tenant_id,
        DirectoryPhone.connection_id == connection_id,
        DirectoryPhone.kind == kind.value,
        among(session, DirectoryPhone.record_id, ids),
    )
    gone = delete(DirectoryPhone).where(which).returning(DirectoryPhone.phone_hash)
    return set(await session.scalars(gone.execution_options(synchronize_session=False)))


async def _upsert(session: AsyncSession, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    dialect = session.get_bind().dialect.name
    statement = insert_many(dialect, _RECORDS, _RECORD_COLUMNS)
    new = {name: statement.excluded[name] for name in _RECORD_COLUMNS if name not in _KEY}
    new["run"] = (
        func.max(_RECORDS.c.run, new["run"]) if dialect == "sqlite" else func.greatest(_RECORDS.c.run, new["run"])
    )
    await session.execute(statement.on_conflict_do_update(index_elements=_KEY, set_=new), parameters(dialect, rows))


def _these(session: AsyncSession, mine: Mine, ids: Iterable[str]) -> Any:
    tenant_id, connection_id, kind = mine
    return and_(
        DirectoryRecord.tenant_id == tenant_id,
        DirectoryRecord.connection_id == connection_id,
        DirectoryRecord.kind == kind.value,
        among(session, DirectoryRecord.record_id, list(ids)),
    )
