"""`gateway connection`: tenants' accounts at CRMs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.commands.terminal import Failed, Json, TenantName, as_json, opened, read_settings, run, say, table

commands = typer.Typer(name="connection", help="Accounts at CRMs.", no_args_is_help=True)


@commands.callback()
def _several() -> None:
    """Accounts at CRMs."""


@commands.command("list")
def list_(tenant: TenantName, json_: Json = False) -> None:
    """A tenant's connections, and how they are."""
    from sqlalchemy import select

    from gateway.connections.health import state_of
    from gateway.connections.tables import Connection, CrmAccount
    from gateway.db.engine import utc_now
    from gateway.tenants import queries

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
                    "state": state_of(
                        one.state,
                        connected_at=one.connected_at,
                        last_success_at=one.last_success_at,
                        last_error_at=one.last_error_at,
                        now=utc_now(),
                    ),
                    "scopes": one.scopes,
                    "missing_scopes": one.missing_scopes,
                    "reason": one.reason,
                }
                for one, account in await session.execute(both)
            ]

    rows = run(work())
    if json_:
        as_json(rows)
        return
    table(
        "Connections",
        ["id", "provider", "account", "name", "state", "why"],
        [
            [row["id"], row["provider"], row["account"]["id"], row["account"]["name"], row["state"], row["reason"]]
            for row in rows
        ],
        empty="No connections yet: open the pages with `gateway console TENANT` and connect a CRM",
    )


@commands.command("allow-shared")
def allow_shared(
    provider: Annotated[str, typer.Argument(help="Such as hubspot.")],
    account: Annotated[
        str, typer.Argument(help="The CRM's own id of the account; `gateway connection list` shows it.")
    ],
    no: Annotated[bool, typer.Option("--no", help="Take it back; existing connections stay.")] = False,
    json_: Json = False,
) -> None:
    """Let several tenants connect to one CRM account (agencies; production and staging)."""
    from gateway.connections import accounts

    async def work() -> bool:
        async with opened(read_settings()) as (db, _), db.transaction() as session:
            return await accounts.allow_shared(session, provider, account, allowed=not no)

    if not run(work()):
        raise Failed("no tenant has ever connected that account here")
    if json_:
        as_json({"provider": provider, "account": account, "allow_shared": not no})
    else:
        say(f"{provider} account {account} may {'not ' if no else ''}be connected by several tenants")
