"""Statements on the driver's own connection, for the few places where the loop's time is what limits us.

A statement through SQLAlchemy's session costs the loop half a millisecond, on asyncpg itself a fifth of that (2026-11-22).
They are built by SQLAlchemy all the same, once: what is compiled here is the same text it would send.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import asyncpg
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.base import Executable

Values = Mapping[str, Any] | Sequence[Mapping[str, Any]]
_DIALECT: Any = asyncpg_dialect()  # type: ignore[no-untyped-call]


class Runs(Protocol):
    """Runs statements inside a transaction that somebody else begins and ends."""

    dialect: str

    async def rows(self, statement: Executable, values: Values) -> Sequence[Mapping[str, Any]]:
        """What the statement returns; with several sets of values it runs for each of them. Raises `DBAPIError`."""


class InSession:
    """SQLAlchemy's own way: SQLite, and transactions that have other business too."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        self.dialect = session.get_bind().dialect.name

    async def rows(self, statement: Executable, values: Values) -> Sequence[Mapping[str, Any]]:
        connection = (
            await self._session.connection()
        )  # no objects are mapped: the session's own way costs as much again
        result = await connection.execute(statement, values)
        return cast(Sequence[Mapping[str, Any]], result.mappings().all()) if result.returns_rows else ()


class OnDriver:
    """asyncpg's own way."""

    dialect = "postgresql"

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def rows(self, statement: Executable, values: Values) -> Sequence[Mapping[str, Any]]:
        compiled = _compiled(statement)
        try:
            if isinstance(values, Mapping):
                found: Sequence[Mapping[str, Any]] = await self._connection.fetch(
                    compiled.text, *compiled.given(values)
                )
                return found
            for some in values:
                await self._connection.execute(compiled.text, *compiled.given(some))
        except DRIVER_ERRORS as error:
            raise as_sqlalchemy(error, lost=self._connection.is_closed()) from error
        return ()


DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


def as_sqlalchemy(error: Exception, *, lost: bool) -> DBAPIError:
    """The driver's error as everybody above expects it."""
    return DBAPIError(None, None, error, hide_parameters=True, connection_invalidated=lost)


class _Compiled:
    """A statement as the driver takes it: its text, and its values in order."""

    def __init__(self, statement: Any) -> None:
        compiled = statement.compile(dialect=_DIALECT)
        self.text = str(compiled)
        names: Sequence[str] = compiled.positiontup or ()
        processors: Mapping[str, Callable[[Any], Any]] = compiled._bind_processors
        self._fixed = dict(compiled.params)
        self._places = [(name, processors.get(name)) for name in names]

    def given(self, values: Mapping[str, Any]) -> list[Any]:
        all_values = {**self._fixed, **values}
        return [all_values[name] if process is None else process(all_values[name]) for name, process in self._places]


@functools.lru_cache(maxsize=64)  # the statements that go this way are module constants
def _compiled(statement: Executable) -> _Compiled:
    return _Compiled(statement)
