"""Who holds a number, from the mirror: what one loop turn asks for is one statement (performance.md §4).

A read by itself costs the loop a third of a millisecond, its share of a batch a tenth of that. Bounded per number and
connection: hundreds of people on a switchboard are no more work than a dozen, and companies come first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import text

from connectors.crm.records import Contact, Kind, Ref
from gateway.crypto import CannotOpen
from gateway.db.base import TenantId, UtcTime
from gateway.db.engine import Database
from gateway.directory.mirror import known
from gateway.logs import log
from gateway.tenants.keys import TenantKeys

MOST = 12  # records of one number at one connection
PATIENCE = timedelta(seconds=2)  # then the database counts as silent; whoever is on the line has long been answered

_POSTGRESQL = """
    SELECT asked.place, p.connection_id, p.kind, p.record_id, p.label, p.match, r.sealed, r.updated_at, r.read_at
    FROM unnest($1::varchar[], $2::bytea[], $3::varchar[]) WITH ORDINALITY AS asked (tenant_id, hash, connection_id, place)
    CROSS JOIN LATERAL (
        SELECT * FROM directory_phones
        WHERE tenant_id = asked.tenant_id AND phone_hash = asked.hash AND connection_id = asked.connection_id
        ORDER BY kind, record_id LIMIT $4
    ) p
    JOIN directory_records r ON r.tenant_id = p.tenant_id AND r.connection_id = p.connection_id
        AND r.kind = p.kind AND r.record_id = p.record_id
"""
_SQLITE = text("""
    SELECT p.connection_id, p.kind, p.record_id, p.label, p.match, r.sealed, r.updated_at, r.read_at
    FROM directory_phones p
    JOIN directory_records r ON r.tenant_id = p.tenant_id AND r.connection_id = p.connection_id
        AND r.kind = p.kind AND r.record_id = p.record_id
    WHERE p.tenant_id = :tenant AND p.phone_hash = :hash AND p.connection_id = :connection
    ORDER BY p.kind, p.record_id LIMIT :most
""").columns(updated_at=UtcTime(), read_at=UtcTime())


class Held(NamedTuple):
    """A record that holds a number. `contact.match` and `.reason` say how; read_at: when the CRM said so."""

    connection_id: str
    contact: Contact
    read_at: datetime


class _Asked(NamedTuple):
    tenant_id: TenantId
    number: bytes  # its keyed hash
    connections: tuple[str, ...]
    answer: asyncio.Future[list[Any]]


class Directory:
    """Reads of this process. One per loop; `close()` it."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._waiting: list[_Asked] = []
        self._reader: asyncio.Task[None] | None = None

    async def holders(self, keys: TenantKeys, index: bytes, connections: Sequence[str]) -> list[Held]:
        """The tenant's records at these connections that hold the number with this hash, companies first; at most a dozen
        of each connection. Raises what the database raises, or `TimeoutError`."""
        if not connections:
            return []
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Asked(keys.tenant_id, index, tuple(connections), answer))
        if self._reader is None:
            self._reader = asyncio.create_task(self._read_on())
        return [held for row in await answer if (held := _opened(keys, row)) is not None]

    def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()

    async def _read_on(self) -> None:
        batch: list[_Asked] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                try:
                    async with asyncio.timeout(PATIENCE.total_seconds()):
                        found = await (self._batch(batch) if self._db.dialect == "postgresql" else self._each(batch))
                except Exception as error:
                    for one in batch:
                        _refuse(one.answer, error)
                else:
                    for one, rows in zip(batch, found, strict=True):
                        if not one.answer.done():
                            one.answer.set_result(rows)
        finally:
            self._reader = None
            for one in (*batch, *self._waiting):
                one.answer.cancel()  # of those that are answered nothing is left to cancel
            self._waiting = []

    async def _batch(self, batch: Sequence[_Asked]) -> list[list[Any]]:
        """One statement for several tenants: each row is found by the tenant it was asked for. Sees every tenant."""
        asked = [(one.tenant_id, one.number, connection) for one in batch for connection in one.connections]
        whose = [place for place, one in enumerate(batch) for _ in one.connections]
        tenants, indexes, connections = zip(*asked, strict=True)
        async with self._db.driver() as driver:
            rows = await driver.fetch(_POSTGRESQL, list(tenants), list(indexes), list(connections), MOST)
        found: list[list[Any]] = [[] for _ in batch]
        for row in rows:
            found[whose[row["place"] - 1]].append(row)
        return found

    async def _each(self, batch: Sequence[_Asked]) -> list[list[Any]]:
        found: list[list[Any]] = []
        async with self._db.reading() as session:
            for one in batch:
                rows: list[Any] = []
                for connection in one.connections:
                    what = {"tenant": one.tenant_id, "hash": one.number, "connection": connection, "most": MOST}
                    rows += (await session.execute(_SQLITE, what)).mappings().all()
                found.append(rows)
        return found


def _refuse(answer: asyncio.Future[list[Any]], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
        answer.exception()  # whoever asked may have gone


def _opened(keys: TenantKeys, row: Any) -> Held | None:
    ref = Ref(Kind(row["kind"]), row["record_id"])
    if row["sealed"] is None:
        return None
    try:
        contact = known(
            keys,
            row["connection_id"],
            ref,
            row["sealed"],
            updated_at=row["updated_at"],
            match=row["match"],
            reason=row["label"],
        )
    except CannotOpen:
        log.error("a mirrored record cannot be opened", connection_id=row["connection_id"], kind=ref.kind)
        return None
    return Held(row["connection_id"], contact, row["read_at"])
