"""`gateway import`: copy a CRM's people into the mirror, and watch it."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands.terminal import Failed, Json, TenantName, as_json, clean, read_settings, run, say

if TYPE_CHECKING:
    from gateway.directory.importer import Importer
    from gateway.directory.progress import Progress
    from gateway.parts import Parts

LOOKS_EVERY = timedelta(milliseconds=250)
NOBODY_COMES = timedelta(seconds=3)  # then no worker is running, and the command does the work itself


def import_(
    tenant: TenantName,
    connection: Annotated[
        str, typer.Argument(metavar="CONNECTION", help="`cn_…`; `gateway connection list` shows it.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and count everything, and keep nothing.")] = False,
    json_: Json = False,
) -> None:
    """Copy a CRM's people who have a number, so that lookups need not ask it. A worker does it, if one is running."""
    done = run(_work(tenant, connection, dry=dry_run, quiet=json_))
    if json_:
        as_json(done)
    else:
        kept = "would be read" if dry_run else "read"
        say(f"{done.done} records {kept}; {done.unreadable_numbers} phone fields hold no readable number")
        say(*(f"  {one}" for one in done.unreadable_examples))
    if done.state == "failed":
        raise Failed(f"the import failed: {done.reason or 'the CRM refused it'}")


async def _work(tenant: str, connection: str, *, dry: bool, quiet: bool) -> Progress:
    from gateway.commands.terminal import opened
    from gateway.connections import queries as connection_queries
    from gateway.db.base import TenantId
    from gateway.db.engine import utc_now
    from gateway.directory import queries
    from gateway.directory.importer import Importer
    from gateway.parts import parts as opened_parts
    from gateway.tenants import queries as tenant_queries

    settings = read_settings()
    async with opened(settings):
        pass  # SQLite is brought to the newest revision
    async with opened_parts(settings) as parts:
        async with parts.db.transaction() as session:
            tenant_id = TenantId((await tenant_queries.named(session, tenant)).id)
            row = await connection_queries.connection(session, tenant_id, connection)
            if row is None:
                raise Failed("this tenant has no such connection")
            if row.state != "active":
                raise Failed(f"this connection cannot be read: {row.reason or row.state}")
            begun = await queries.begin(session, tenant_id, connection, dry=dry, now=utc_now())
            under_way = await queries.mirrors(session, tenant_id, connection)
            if not begun and any(one.dry for one in under_way) != dry:
                raise Failed("an import of the other sort is under way; wait for its end")
        importer = Importer(
            db=parts.db, keyring=parts.keyring, connections=parts.connections, forget=parts.finder.forget_hashes
        )
        return await _watched(parts, importer, tenant_id, connection, quiet=quiet)


async def _watched(parts: Parts, importer: Importer, tenant_id: Any, connection: str, *, quiet: bool) -> Progress:
    """Show how far it is until it is done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from gateway.db.engine import utc_now
    from gateway.directory import queries
    from gateway.directory.progress import progress

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f}/s"), TimeRemainingColumn(),
    )  # fmt: skip
    began, own = time.monotonic(), None
    with Bar(*columns, console=Console(stderr=True), disable=quiet or not sys.stderr.isatty()) as bar:
        task = bar.add_task("waiting for a worker", total=None, rate=0.0)
        while True:
            async with parts.db.reading(tenant_id) as session:
                rows = await queries.mirrors(session, tenant_id, connection)
                now = progress(rows, utc_now())
            bar.update(
                task,
                completed=now.done,
                total=now.total,
                rate=now.rate_per_s,
                description=clean(now.reason or now.state),
            )
            if now.state in ("done", "failed"):
                return now
            untouched = now.state == "queued" and time.monotonic() - began > NOBODY_COMES.total_seconds()
            if (untouched and own is None) or (own is not None and own.done()):
                if own is not None:
                    own.result()
                own = asyncio.create_task(importer.run(connection))
            await asyncio.sleep(LOOKS_EVERY.total_seconds())
