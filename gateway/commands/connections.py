"""`gateway connection`: tenants' accounts at CRMs."""

from __future__ import annotations

from typing import Any

import typer
from sqlalchemy import select

from gateway.commands.terminal import Json, TenantName, as_json, opened, read_settings, run, table
from gateway.connections.tables import Connection, CrmAccount
from gateway.tenants import queries

commands = typer.Typer(name="connection", help="Accounts at CRMs.", no_args_is_help=True)


@commands.callback()
def _several() -> None:
    """Accounts at CRMs."""


@commands.command("list")
def list_(tenant: TenantName, json_: Json = False) -> None:
    """A tenant's connections, and how they are."""

    async def work() -> list[dict[str, Any]]:
        async with opened(read_settings()) as (db, _), db.reading() as session:
            row = await queries.named(session, tenant)
            both = (
                select(Connection, CrmAccount)
                .join(CrmAccount, CrmAccount.id == Connection.crm_account_id)
                .where(Connection.tenant_id == row.id)
                .order_by(Connection.preference, Connection.id)
            )
            return [
                {
                    "id": one.id,
                    "provider": one.provider,
                    "account": {"id": account.external_id, "name": account.name},
                    "state": one.state,
                    "scopes": one.scopes,
                    "missing_scopes": one.missing_scopes,
                    "reason": one.reason,
                }
                for one, account in (await session.execute(both)).tuples()
            ]

    rows = run(work())
    if json_:
        as_json(rows)
        return
    table(
        "Connections",
        ["id", "provider", "account", "state", "why"],
        [[row["id"], row["provider"], row["account"]["name"], row["state"], row["reason"]] for row in rows],
        empty="No connections yet: open the pages with `gateway console TENANT` and connect a CRM",
    )
