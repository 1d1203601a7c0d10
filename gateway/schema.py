"""The whole schema: every tables module, and bringing a database to the newest revision.

SQLite is migrated on start; on PostgreSQL `gateway migrate` does it under the owner's role and `serve` only checks.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import gateway.calls.tables
import gateway.connections.tables
import gateway.db.tables
import gateway.lookup.tables
import gateway.mappings.tables
import gateway.outbox.tables
import gateway.rulesets.tables
import gateway.tenants.tables  # noqa: F401 - imported for their effect on the metadata
from alembic import command
from gateway.db.base import Base
from gateway.db.engine import Database, normalised

metadata = Base.metadata
MIGRATIONS = Path(__file__).parent.parent / "alembic"


class WrongRevision(Exception):
    """The database is not at the revision this code needs; the text says what to do."""


async def migrate(url: str) -> None:
    """Bring the database at `url` to the newest revision. Repeatable."""
    await asyncio.to_thread(command.upgrade, _config(url), "head")


async def check_revision(db: Database) -> None:
    """Raise `WrongRevision` unless the database is at the newest revision."""
    async with db.reading() as session:
        connection = await session.connection()
        found = await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
    wanted = ScriptDirectory.from_config(_config(db.url)).get_current_head()
    if found != wanted:
        raise WrongRevision(
            f"the database is at revision {found or 'none'}, this release needs {wanted}: run `gateway migrate`"
        )


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["url"] = normalised(url)
    return config
