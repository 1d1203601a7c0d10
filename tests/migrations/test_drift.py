"""Migrations make exactly the tables that the code knows, on both databases, and take them away again."""

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect
from sqlalchemy.ext.asyncio import create_async_engine

from gateway import schema


def _differences(connection: Connection) -> list[Any]:
    found = compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), schema.metadata)
    return list(found)


async def test_a_migrated_database_is_what_the_tables_say(database_url: str) -> None:
    engine = create_async_engine(database_url)
    async with engine.connect() as connection:
        assert await connection.run_sync(_differences) == []
    await engine.dispose()


async def test_a_change_without_a_migration_is_seen(database_url: str) -> None:
    engine = create_async_engine(database_url)
    async with engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE tenants ADD COLUMN forgotten integer")
    async with engine.connect() as connection:
        assert await connection.run_sync(_differences)
    await engine.dispose()


async def test_migrating_twice_changes_nothing(database_url: str) -> None:
    await schema.migrate(database_url)
    engine = create_async_engine(database_url)
    async with engine.connect() as connection:
        tables = await connection.run_sync(lambda sync: set(inspect(sync).get_table_names()))
    await engine.dispose()
    assert tables == {*schema.metadata.tables, "alembic_version"}
