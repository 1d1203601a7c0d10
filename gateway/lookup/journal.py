"""Who looked whom up: rows of `lookups`, written in batches behind the answer.

A lookup never waits for its row. When the database is slower than the callers the queue fills, and what does not fit is
counted (`gateway_lookup_rows_dropped_total`), not waited for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime, timedelta

import msgspec
from prometheus_client import Counter
from sqlalchemy import insert, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from gateway.db.base import TenantId
from gateway.db.engine import Database
from gateway.logs import log
from gateway.lookup.tables import Lookup

DROPPED = Counter("gateway_lookup_rows_dropped_total", "Rows of the access log that could not be kept.")
EVERY = timedelta(seconds=1)
MOST = 20_000  # rows waiting; some 6 MB
BATCH = 1000  # rows a statement; making it holds the loop for some 3 ms
KEPT = timedelta(days=396)  # 13 months, security.md §10


class Row(msgspec.Struct, frozen=True):
    """One lookup, as it will be a row of `lookups`. `at`: Unix seconds. `took`: seconds."""

    tenant_id: TenantId
    id: str
    asked_by: str
    assurance: str
    subject_index: bytes | None
    index_version: int
    status: str
    source: str
    records: tuple[str, ...]
    took: float
    at: float

    def __repr__(self) -> str:
        return f"<Row {self.id}>"


class Journal:
    """Takes rows without waiting and writes them a second later. One per process."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._waiting: deque[Row] = deque()
        self._writer: asyncio.Task[None] | None = None

    def note(self, row: Row) -> None:
        """Keep `row` for the next batch, or count it as dropped."""
        if len(self._waiting) >= MOST:
            DROPPED.inc()
            return
        self._waiting.append(row)
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write_behind())

    async def _write_behind(self) -> None:
        while True:
            await asyncio.sleep(EVERY.total_seconds())
            await self.flush()

    async def flush(self) -> None:
        """Write what waits. Raises nothing: while the database is away, rows wait for the next time."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            try:
                await self._write(batch)
            except DBAPIError as error:
                if error.connection_invalidated or not _refused(error):
                    self._waiting.extendleft(reversed(batch))
                    log.warning("lookup_rows_wait", rows=len(self._waiting), error=type(error).__name__)
                    return
                DROPPED.inc(len(batch))  # the database will never take these; better they than all that follow
                log.error("lookup_rows_refused", rows=len(batch), error=type(error).__name__)
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                self._waiting.extendleft(reversed(batch))
                log.warning("lookup_rows_wait", rows=len(self._waiting), error=type(error).__name__)
                return

    async def _write(self, batch: list[Row]) -> None:
        """One statement for rows of every tenant: each row names its own."""
        values = [_values(row) for row in batch]
        async with self._db.statements() as connection:
            if self._db.dialect == "postgresql":
                await connection.execute(_TOGETHER, {"rows": msgspec.json.encode(values).decode()})
            else:
                await connection.execute(insert(Lookup), values)

    async def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
            self._writer = None
        await self.flush()


def _refused(error: DBAPIError) -> bool:
    """Whether the rows themselves are at fault (a constraint, a value), and not the moment."""
    return type(error).__name__ in ("IntegrityError", "DataError", "ProgrammingError")


def _values(row: Row) -> dict[str, object]:
    at = datetime.fromtimestamp(row.at, UTC)
    return {
        "tenant_id": row.tenant_id,
        "id": row.id,
        "asked_by": row.asked_by,
        "assurance": row.assurance,
        "subject_index": row.subject_index,
        "index_version": row.index_version,
        "status": row.status,
        "source": row.source,
        "records": row.records,
        "took_us": int(row.took * 1_000_000),
        "at": at,
        "kept_until": at + KEPT,
    }


# The batch as one JSON parameter: a twentieth of what binding each value costs the loop that callers wait on.
_TOGETHER = text(
    """
    INSERT INTO lookups (tenant_id, id, asked_by, assurance, subject_index, index_version, status, source, records,
                         took_us, at, kept_until)
    SELECT tenant_id, id, asked_by, assurance, decode(subject_index, 'base64'), index_version, status, source, records,
           took_us, at, kept_until
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS row_(
        tenant_id text, id text, asked_by text, assurance text, subject_index text, index_version int, status text,
        source text, records jsonb, took_us int, at timestamptz, kept_until timestamptz)
    """
)
