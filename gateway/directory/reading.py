"""Who holds a number, from the mirror: what one loop turn asks for is one statement (performance.md §4).

A read by itself costs the loop a third of a millisecond, its share of a batch a tenth of that. Bounded per number and
connection: hundreds of people on a switchboard are no more work than a dozen, and companies come first.
"""

from __future__ import annotations

import asyncio
import contextlib
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
LINGERS = timedelta(seconds=1)  # without a question, until the connection goes back
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
        self._idle: asyncio.Future[None] | None = None
        self._on_driver = db.dialect == "postgresql"

    async def holders(self, keys: TenantKeys, index: bytes, connections: Sequence[str]) -> list[Held]:
        """The tenant's records at these connections that hold the number with this hash, companies first; at most a dozen
        of each connection. Raises what the database raises, or `TimeoutError`."""
        if not connections:
            return []
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Asked(keys.tenant_id, index, tuple(connections), answer))
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)  # it reads after everything that is ready in this turn
        elif self._reader is None:
            self._reader = asyncio.create_task(self._read_on())
        return [held for row in await answer if (held := _opened(keys, row)) is not None]

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait({self._reader})

    async def _read_on(self) -> None:
        """One task reads for everybody, on one connection that it keeps while there is something to read: taking it from
        the pool costs ten times the statement."""
        batch: list[_Asked] = []
        me = asyncio.current_task()
        try:
            async with contextlib.AsyncExitStack() as kept:
                driver = await kept.enter_async_context(self._db.driver()) if self._on_driver else None
                while self._waiting or await self._more_comes():
                    batch, self._waiting = self._waiting, []
                    async with asyncio.timeout(PATIENCE.total_seconds()):
                        found = await (self._each(batch) if driver is None else self._batch(driver, batch))
                    for one, rows in zip(batch, found, strict=True):
                        if not one.answer.done():
                            one.answer.set_result(rows)
                self._reader = None  # who comes now starts another
        except Exception as error:
            for one in (*batch, *self._left(me)):
                _refuse(one.answer, error)
        finally:
            for one in (*batch, *self._left(me)):
                one.answer.cancel()  # of those that are answered nothing is left to cancel

    def _left(self, me: asyncio.Task[None] | None) -> list[_Asked]:
        """Who has waited in vain for this reader, which is the reader no more."""
        if self._reader is not me:
            return []
        left, self._waiting, self._reader = self._waiting, [], None
        return left

    async def _more_comes(self) -> bool:
        self._idle = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait_for(self._idle, LINGERS.total_seconds())
        except TimeoutError:
            return bool(self._waiting)
        finally:
            self._idle = None
        return True

    async def _batch(self, driver: Any, batch: Sequence[_Asked]) -> list[list[Any]]:
        """One statement for several tenants: each row is found by the tenant it was asked for. Sees every tenant."""
        asked = [(one.tenant_id, one.number, connection) for one in batch for connection in one.connections]
        whose = [place for place, one in enumerate(batch) for _ in one.connections]
        tenants, indexes, connections = zip(*asked, strict=True)
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
