"""Transactions on PostgreSQL and SQLite, one code path.

SQLite (delivery.md §7): one writer at a time behind a FIFO lock with `BEGIN IMMEDIATE`, readers on a second, read-only
engine; without the lock SQLAlchemy's default lost updates silently, and IMMEDIATE alone had a p99 of 700 ms.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, String, any_, event, func, literal, select, text
from sqlalchemy import column as column_
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import InstrumentedAttribute

from gateway.db.base import Base, TenantId, UtcTime
from gateway.db.driver import DRIVER_ERRORS, InSession, OnDriver, Runs, as_sqlalchemy


class Database:
    """One database, for one event loop.

    url   `postgresql+asyncpg://…` or `sqlite+aiosqlite:///path`; plain `postgresql://` and `sqlite://` are understood.
    pool  connections kept to PostgreSQL; twice as many may be open for a moment.
    """

    def __init__(self, url: str, *, pool: int = 10) -> None:
        self.url = normalised(url)
        self.dialect = "sqlite" if self.url.startswith("sqlite") else "postgresql"
        self._writing = asyncio.Lock()
        if self.dialect == "sqlite":
            self._writer = _sqlite(self.url, begin="BEGIN IMMEDIATE")
            self._reader = _sqlite(self.url, begin="BEGIN", read_only=True)
        else:
            self._writer = self._reader = create_async_engine(
                self.url, pool_size=pool, max_overflow=pool, pool_timeout=10, hide_parameters=True, pool_use_lifo=True
            )

    @contextlib.asynccontextmanager
    async def transaction(self, tenant_id: TenantId | None = None) -> AsyncIterator[AsyncSession]:
        """Read and write; committed at the end of the block, rolled back if it raises. Nothing inside calls `commit()`.

        tenant_id  whose rows these are; on PostgreSQL the setting `app.tenant` carries it. None: says in its docstring why.
        """
        async with self._alone(), AsyncSession(self._writer, expire_on_commit=False) as session, session.begin():
            await self._as(session, tenant_id)
            yield session

    @contextlib.asynccontextmanager
    async def reading(self, tenant_id: TenantId | None = None) -> AsyncIterator[AsyncSession]:
        """Read only, one snapshot; never waits for a writer."""
        async with AsyncSession(self._reader, expire_on_commit=False) as session, session.begin():
            await self._as(session, tenant_id)
            yield session

    @contextlib.asynccontextmanager
    async def statements(self) -> AsyncIterator[AsyncConnection]:
        """The same as `transaction` without a session, for the batched statements of outbox and intake."""
        async with self._alone(), self._writer.begin() as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def quick(self, tenant_id: TenantId) -> AsyncIterator[Runs]:
        """The same as `transaction` for statements that are many and short: on PostgreSQL they skip SQLAlchemy (driver.py)."""
        if self.dialect == "sqlite":
            async with self.transaction(tenant_id) as session:
                yield InSession(session)
            return
        async with self.driver() as driver:
            await driver.execute(f"BEGIN; SET LOCAL app.tenant = '{_harmless(tenant_id)}'")
            yield OnDriver(driver)
            await driver.execute("COMMIT")

    @contextlib.asynccontextmanager
    async def driver(self) -> AsyncIterator[Any]:
        """An asyncpg connection out of the pool, PostgreSQL only. What the block leaves open when it raises is rolled back.

        Raises `DBAPIError`, as everywhere.
        """
        async with self._writer.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            try:
                yield driver
            except BaseException as error:
                lost = not await _rolled_back(driver)
                if lost:
                    await connection.invalidate()
                if lost and isinstance(error, (DBAPIError, OSError, *DRIVER_ERRORS)):
                    await self._writer.dispose()  # the others of its age are gone too: a server that was restarted
                if isinstance(error, DRIVER_ERRORS):
                    raise as_sqlalchemy(error, lost=lost) from error
                raise

    async def _as(self, session: AsyncSession, tenant_id: TenantId | None) -> None:
        if tenant_id is not None and self.dialect == "postgresql":
            await session.execute(_SET_TENANT, {"tenant": tenant_id})

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        if self.dialect == "sqlite":
            async with self._writing:
                yield
        else:
            yield

    async def close(self) -> None:
        await self._writer.dispose()
        if self._reader is not self._writer:
            await self._reader.dispose()


_SET_TENANT = text("SELECT set_config('app.tenant', :tenant, true)")


def _harmless(tenant_id: TenantId) -> str:
    """An id that may stand inside a statement: the driver takes several statements at once only without parameters."""
    if not tenant_id.replace("_", "").isalnum() or not tenant_id.isascii():
        raise ValueError("a tenant's id has letters, digits and _")
    return tenant_id


async def _rolled_back(driver: Any) -> bool:
    """Whether the connection can be used again. One that was left in the middle of a statement cannot."""
    if driver.is_closed() or asyncio.current_task().cancelling():  # type: ignore[union-attr]
        return False
    try:
        if driver.is_in_transaction():
            await driver.execute("ROLLBACK")
    except Exception:
        return False
    return True


def clock(session: AsyncSession | AsyncConnection) -> ColumnElement[datetime]:
    """The database's own clock, for leases and due times: machines' clocks differ, and jump."""
    if _dialect(session) == "sqlite":
        return literal(utc_now(), UtcTime())  # the same machine; SQLite's own clock has whole seconds
    return func.now(type_=UtcTime())


def among(
    session: AsyncSession | AsyncConnection,
    column: ColumnElement[Any] | InstrumentedAttribute[Any],
    values: Collection[str],
) -> ColumnElement[bool]:
    """`column IN values` with one parameter however many there are, so that the statement is prepared once."""
    if _dialect(session) == "sqlite":
        return column.in_(select(column_("value")).select_from(func.json_each(json.dumps(list(values)))))
    return column == any_(literal(list(values), ARRAY(String)))


def inserting(session: AsyncSession | AsyncConnection, table: type[Base]) -> Any:
    """An INSERT that knows ON CONFLICT, in this database's dialect."""
    return sqlite_insert(table) if _dialect(session) == "sqlite" else postgresql_insert(table)


def _dialect(session: AsyncSession | AsyncConnection) -> str:
    return session.get_bind().dialect.name if isinstance(session, AsyncSession) else session.dialect.name


def normalised(url: str) -> str:
    """`url` with the driver we use; the password stays."""
    parsed = make_url(url)
    drivers = {"postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite"}
    return parsed.set(drivername=drivers.get(parsed.drivername, parsed.drivername)).render_as_string(
        hide_password=False
    )


def utc_now() -> datetime:
    """The clock of this machine. Leases use the database's instead."""
    return datetime.now(UTC)


def _sqlite(url: str, *, begin: str, read_only: bool = False) -> AsyncEngine:
    engine = create_async_engine(url, hide_parameters=True)

    @event.listens_for(engine.sync_engine, "connect")
    def _settings(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we begin ourselves: the driver would begin late, and deferred
        cursor = connection.cursor()
        for pragma in (
            "busy_timeout=5000",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            *(("query_only=ON",) if read_only else ()),
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    return engine
