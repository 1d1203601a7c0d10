"""What commands print: tables of 80 columns for people, JSON for programs, one line for an error.

Text from outside (names of tenants, errors) is shown as `rich.text.Text` without control characters: a name must not
be able to move the cursor or colour the screen (security.md §7).
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import unicodedata
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from pydantic import ValidationError
    from rich.console import Console

    from gateway.db.engine import Database
    from gateway.settings import Settings
    from gateway.tenants.keys import Keyring

T = TypeVar("T")
COLUMNS = 80

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
TenantName = Annotated[str, typer.Argument(metavar="TENANT", help="A tenant's id or name.")]


class Failed(Exception):
    """A command that cannot do what was asked: one line for stderr. `code` 2 means: asked or configured wrongly."""

    def __init__(self, line: str, *, code: int = 1) -> None:
        super().__init__(line)
        self.code = code


def clean(text: object) -> str:
    """`text` on one line, without control, bidi and other format characters."""
    return "".join(" " if c in "\n\t" else c for c in str(text) if c in "\n\t" or unicodedata.category(c)[0] != "C")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows for people, or `empty` when there are none."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        shown.add_column(column, overflow="fold", no_wrap=number == 0)
    for row in rows:
        shown.add_row(*(Text(clean(_shown(value))) for value in row))
    if shown.row_count:
        _console().print(shown)
    else:
        say(empty)


def _shown(value: object) -> str:
    match value:
        case None:
            return "-"
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
        case bool():
            return "yes" if value else "no"
        case list() | tuple() | set() | frozenset():
            return ", ".join(str(one) for one in value) or "-"
        case _:
            return str(value)


def say(*lines: str) -> None:
    """Print lines for people."""
    from rich.text import Text

    for line in lines:
        _console().print(Text(clean(line)), soft_wrap=True)


def remark(line: str) -> None:
    """One line for people, on stderr: `KEY=$(gateway key create …)` takes what is on stdout."""
    sys.stderr.write(f"{clean(line)}\n")


def as_json(value: Any) -> None:
    """Print one JSON value for programs."""
    import msgspec

    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def complain(line: str) -> None:
    """One line on stderr."""
    sys.stderr.write(f"gateway: {clean(line)}\n")


def _console() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else COLUMNS, highlight=False, soft_wrap=False)


def read_settings() -> Settings:
    """The settings from the environment, logs set up; `Failed` names the variable that is wrong."""
    from pydantic import ValidationError

    from gateway import logs
    from gateway.settings import Settings

    try:
        settings = Settings()
    except ValidationError as wrong:
        raise Failed(_variable(wrong), code=2) from None
    logs.set_up(settings)
    return settings


def _variable(wrong: ValidationError) -> str:
    first = wrong.errors(include_input=False, include_url=False)[0]
    name = str(first["loc"][0]).upper() if first["loc"] else "?"
    return f"GATEWAY_{name} {str(first['msg']).removeprefix('Value error, ')}"


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work on a loop of its own."""
    return asyncio.run(work)


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[tuple[Database, Keyring]]:
    """Database and keys for a command, at the right revision. SQLite is brought there, as `serve` does."""
    from sqlalchemy.exc import OperationalError

    from gateway import schema
    from gateway.db.engine import Database
    from gateway.tenants.keys import Keyring, check_keks, load_keks

    keks = load_keks(settings)
    db = Database(settings.database_url)
    try:
        try:
            await schema.check_revision(db)
        except (schema.WrongRevision, OperationalError):  # a file that does not exist yet cannot be opened for reading
            if db.dialect != "sqlite":
                raise
            await schema.migrate(settings.database_url)  # only now: loading the tool takes longer than most commands
            await schema.check_revision(db)
        await check_keks(db, keks)
        yield db, Keyring(db, keks)
    finally:
        await db.close()
