"""Rows whose time is up, by their keys, a bounded number at once: what retention starts with."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from gateway.db.base import Base


async def due(
    session: AsyncSession, key: tuple[InstrumentedAttribute[Any], ...], is_due: ColumnElement[bool], *, limit: int
) -> list[tuple[Any, ...]]:
    """The keys of at most `limit` rows that are due, locked; rows that somebody else is at are left to them."""
    rows = await session.execute(select(*key).where(is_due).limit(limit).with_for_update(skip_locked=True))
    return [tuple(row) for row in rows]


async def delete_due(
    session: AsyncSession,
    table: type[Base],
    key: tuple[InstrumentedAttribute[Any], ...],
    is_due: ColumnElement[bool],
    *,
    limit: int,
) -> int:
    """Delete at most `limit` rows that are due; how many."""
    found = await due(session, key, is_due, limit=limit)
    if found:
        gone = delete(table).where(tuple_(*key).in_(found))
        await session.execute(gone.execution_options(synchronize_session=False))
    return len(found)
