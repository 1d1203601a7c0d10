"""Runs migrations: on the URL `gateway.schema` hands over, else on the owner's URL from the settings."""

from __future__ import annotations

import asyncio
from typing import Literal

from sqlalchemy import Connection, pool
from sqlalchemy.ext.asyncio import create_async_engine

from alembic import context
from gateway.db.base import UtcTime
from gateway.db.engine import normalised
from gateway.schema import metadata
from gateway.settings import Settings


def _url() -> str:
    given = context.config.attributes.get("url")
    if given:
        return str(given)
    settings = Settings()
    return normalised(settings.owner_database_url or settings.database_url)


def _render(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Migrations stand alone: our own types are written as what they are in the database."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcTime) else False


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, compare_type=True, render_item=_render)
    with context.begin_transaction():
        context.run_migrations()


async def _online() -> None:
    engine = create_async_engine(_url(), poolclass=pool.NullPool, hide_parameters=True)
    async with engine.connect() as connection:
        await connection.run_sync(_run)
        await connection.commit()
    await engine.dispose()


if context.is_offline_mode():
    context.configure(url=_url(), target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    asyncio.run(_online())
