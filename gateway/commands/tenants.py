"""`gateway tenant`, `gateway console`: tenants and the way into their pages."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from gateway.commands.terminal import Failed, Json, TenantName, as_json, opened, read_settings, run, say, table
from gateway.tenants.principal import SCOPES, scopes_of

commands = typer.Typer(name="tenant", help="Companies that use this gateway.", no_args_is_help=True)


@commands.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    region: Annotated[str, typer.Option(help="ISO 3166 country: how national numbers are read.")] = "CH",
    zone: Annotated[str | None, typer.Option(help="IANA time zone, where the country has several.")] = None,
    json_: Json = False,
) -> None:
    """Make a tenant, with sealing keys of its own."""
    from gateway.db.engine import utc_now
    from gateway.tenants import queries

    async def work() -> dict[str, str]:
        async with opened(read_settings()) as (db, keyring), db.transaction() as session:
            try:
                row = await queries.create(session, keyring, name=name, region=region, zone=zone, now=utc_now())
            except ValueError as wrong:
                given = f"{region}, {zone}" if zone else region
                raise Failed(f"{given}: {wrong}", code=2) from None
            return {"id": row.id, "name": row.name}

    made = run(work())
    if json_:
        as_json(made)
    else:
        say(f"{made['name']} is {made['id']}", f"next: gateway key create {made['id']} --scopes lookup,events")


@commands.command("list")
def list_(json_: Json = False) -> None:
    """All tenants."""
    from gateway.tenants import queries

    async def work() -> list[dict[str, Any]]:
        async with opened(read_settings()) as (db, _), db.reading() as session:
            return [
                {
                    "id": row.id,
                    "name": row.name,
                    "region": row.region,
                    "zone": row.zone,
                    "created_at": row.created_at,
                    "disabled_at": row.disabled_at,
                }
                for row in await queries.everyone(session)
            ]

    rows = run(work())
    if json_:
        as_json(rows)
    else:
        table(
            "Tenants",
            ["id", "name", "region", "zone"],
            [[row["id"], row["name"], row["region"], row["zone"]] for row in rows],
            empty="No tenants yet: gateway tenant create NAME --region CH",
        )


@commands.command("set")
def set_(
    tenant: TenantName,
    changes: Annotated[list[str], typer.Argument(metavar="KEY=VALUE…", help="Such as zone=Europe/Paris.")],
    json_: Json = False,
) -> None:
    """Change the tenant's settings: region, zone, languages, own_numbers, retention.transcript_days, …"""
    from pydantic import ValidationError

    from gateway.db.base import TenantId
    from gateway.db.engine import utc_now
    from gateway.errors import from_validation
    from gateway.tenants import queries
    from gateway.tenants import settings as documents

    async def work() -> dict[str, Any]:
        async with opened(read_settings()) as (db, _), db.transaction() as session:
            row = await queries.named(session, tenant)
            tenant_id = TenantId(row.id)
            try:
                wanted = documents.changed(await documents.current(session, tenant_id), _pairs(changes))
            except ValidationError as wrong:
                told = from_validation(wrong.errors()).errors
                raise Failed("; ".join(f"{one.field} {one.reason}" for one in told), code=2) from None
            kept = await documents.replace(session, tenant_id, wanted, by="command line", now=utc_now())
            return kept.model_dump(mode="json")

    document = run(work())
    if json_:
        as_json(document)
    else:
        table("Settings", ["setting", "value"], _flat(document), empty="")


def _flat(document: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """("retention.raw_days", 7): each setting under the name that `set` takes."""
    found: list[tuple[str, Any]] = []
    for name, value in document.items():
        found += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return found


def _pairs(changes: list[str]) -> list[tuple[str, Any]]:
    """("languages", ["fr", "de"]) from `languages=fr,de`: JSON where it is JSON, a list where the setting is one."""
    found: list[tuple[str, Any]] = []
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise Failed(f"{change} is not KEY=VALUE", code=2)
        value: Any = text
        if name in ("languages", "own_numbers"):
            value = [part.strip() for part in text.split(",") if part.strip()]
        elif text in ("true", "false", "null") or text.isdigit() or text[:1] in "[{":
            try:
                value = json.loads(text)
            except ValueError:
                raise Failed(f"the value of {name} is not JSON", code=2) from None
        found.append((name, value))
    return found


def console(
    tenant: TenantName,
    scopes: Annotated[str, typer.Option(help="What the session may do.")] = ",".join(SCOPES),
    json_: Json = False,
) -> None:
    """Print a link into a tenant's pages: once, within ten minutes."""
    from gateway.db.base import TenantId
    from gateway.db.engine import utc_now
    from gateway.tenants import queries, sessions

    async def work() -> str:
        settings = read_settings()
        async with opened(settings) as (db, _), db.transaction() as session:
            row = await queries.named(session, tenant)
            path = await sessions.make_console_link(session, TenantId(row.id), scopes_of(scopes.split(",")), utc_now())
        return settings.public_url + path

    link = run(work())
    if json_:
        as_json({"url": link})
    else:
        say(link)
