"""The whole schema: every tables module, and bringing a database to the newest revision.

SQLite is migrated on start; on PostgreSQL `gateway migrate` does it under the owner's role and `serve` only checks.
"""

from __future__ import annotations

import asyncio
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

import gateway.calls.tables
import gateway.connections.tables
import gateway.db.tables
import gateway.directory.change_tables
import gateway.directory.tables
import gateway.lookup.tables
import gateway.mappings.tables
import gateway.outbox.tables
import gateway.rulesets.tables
import gateway.tenants.tables  # noqa: F401 - imported for their effect on the metadata
from gateway.db.base import Base
from gateway.db.engine import Database, normalised

if TYPE_CHECKING:
    from alembic.config import Config

metadata = Base.metadata
MIGRATIONS = Path(__file__).parent.parent / "alembic"


class WrongRevision(Exception):
    """The database is not at the revision this code needs; the text says what to do."""


async def migrate(url: str) -> None:
    """Bring the database at `url` to the newest revision. Repeatable."""
    from alembic import command  # ten megabytes that a running process does not need

    await asyncio.to_thread(command.upgrade, _config(url), "head")


async def check_revision(db: Database) -> None:
    """Raise `WrongRevision` unless the database is at the newest revision."""
    async with db.reading() as session:
        connection = await session.connection()
        found = await connection.run_sync(_revision)
    wanted = newest_revision()
    if found != wanted:
        raise WrongRevision(
            f"the database is at revision {found or 'none'}, this release needs {wanted}: run `gateway migrate`"
        )


def _revision(connection: Connection) -> str | None:
    """The revision a database says it is at; None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    return found[0] if len(found) == 1 else None


@cache
def newest_revision() -> str:
    """The newest revision of this release: the one no other follows. Read off the files, which name their own."""
    texts = [path.read_text() for path in (MIGRATIONS / "versions").glob("*.py")]
    said = {
        name: re.findall(rf'^{name} = "(\w+)"', "\n".join(texts), re.MULTILINE)
        for name in ("revision", "down_revision")
    }
    newest: str
    (newest,) = set(said["revision"]) - set(said["down_revision"])
    return newest


def _config(url: str) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["url"] = normalised(url)
    return config
