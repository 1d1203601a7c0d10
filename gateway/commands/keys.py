"""`gateway key`: API keys of tenants, and the keys that seal."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands.terminal import Failed, Json, TenantName, as_json, opened, read_settings, remark, run, say, table
from gateway.tenants.principal import SCOPES, scopes_of

if TYPE_CHECKING:
    from gateway.settings import Settings

commands = typer.Typer(name="key", help="API keys, and the keys that seal.", no_args_is_help=True)


@commands.command("create")
def create(
    tenant: TenantName,
    scopes: Annotated[str, typer.Option(help=f"Comma-separated, of {', '.join(SCOPES)}.")],
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    days: Annotated[int | None, typer.Option(min=1, help="Days until it ends; without: never.")] = None,
    network: Annotated[list[str] | None, typer.Option(help="Where it may be used from; repeat for several.")] = None,
    json_: Json = False,
) -> None:
    """Make an API key and show it, this once."""
    from gateway.db.base import TenantId
    from gateway.db.engine import utc_now
    from gateway.tenants import api_keys, queries

    async def work() -> dict[str, Any]:
        async with opened(read_settings()) as (db, _), db.transaction() as session:
            row = await queries.named(session, tenant)
            now = utc_now()
            key, text = await api_keys.create(
                session,
                TenantId(row.id),
                scopes=scopes_of(scopes.split(",")),
                name=name,
                networks=network or (),
                expires_at=now + timedelta(days=days) if days else None,
                now=now,
            )
            return {"key": text, "id": key.id, "scopes": key.scopes}

    made = run(work())
    if json_:
        as_json(made)
    else:
        say(made["key"])
        remark(f"{made['id']} may: {', '.join(made['scopes'])}. It is shown this once; keep it.")


@commands.command("list")
def list_(tenant: TenantName, json_: Json = False) -> None:
    """A tenant's API keys; never their secrets."""
    from gateway.db.base import TenantId
    from gateway.tenants import api_keys, queries

    async def work() -> list[dict[str, Any]]:
        async with opened(read_settings()) as (db, _), db.reading() as session:
            row = await queries.named(session, tenant)
            return [
                {
                    "id": key.id,
                    "name": key.name,
                    "scopes": key.scopes,
                    "networks": key.networks,
                    "created_at": key.created_at,
                    "expires_at": key.expires_at,
                    "revoked_at": key.revoked_at,
                    "last_used_at": key.last_used_at,
                }
                for key in await api_keys.of_tenant(session, TenantId(row.id))
            ]

    rows = run(work())
    if json_:
        as_json(rows)
        return
    table(
        "API keys",
        ["id", "name", "scopes", "last used", "ended"],
        [[row["id"], row["name"], row["scopes"], row["last_used_at"], row["revoked_at"]] for row in rows],
        empty="No keys yet: gateway key create TENANT --scopes lookup,events",
    )


@commands.command("revoke")
def revoke(
    tenant: TenantName,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id, ak_…; `gateway key list` shows it.")],
    json_: Json = False,
) -> None:
    """End an API key: at once, or within two seconds where Redis is away."""
    from gateway.db.base import TenantId
    from gateway.db.engine import utc_now
    from gateway.tenants import api_keys, queries

    settings = read_settings()

    async def work() -> str:
        async with opened(settings) as (db, _), db.transaction() as session:
            row = await queries.named(session, tenant)
            if not await api_keys.revoke(session, TenantId(row.id), key, now=utc_now()):
                raise Failed("this tenant has no such key in force")
        await _announce(settings, key)
        return key

    ended = run(work())
    if json_:
        as_json({"id": ended})
    else:
        say(f"{ended} is revoked")


async def _announce(settings: Settings, key_id: str) -> None:
    from redis.exceptions import RedisError

    from gateway import bell
    from gateway.tenants import api_keys

    redis = bell.connect(settings)
    try:
        async with asyncio.timeout(2):
            await api_keys.announce(redis, key_id)
    except (RedisError, OSError, TimeoutError):
        pass  # every process asks the database again within a second
    finally:
        await redis.aclose()


@commands.command("rotate")
def rotate(json_: Json = False) -> None:
    """Wrap every tenant's keys with the first of GATEWAY_SEALING_KEYS. May be stopped and run again."""

    async def work() -> int:
        async with opened(read_settings()) as (_, keyring):
            return await keyring.rewrap()

    done = run(work())
    if json_:
        as_json({"rewrapped": done})
    else:
        say(f"{done} keys are wrapped anew; `gateway doctor` counts what is left")


@commands.command("new-sealing")
def new_sealing(json_: Json = False) -> None:
    """Print a new key for GATEWAY_SEALING_KEYS. Nothing is stored."""
    from gateway.crypto import new_kek_text

    text = new_kek_text()
    if json_:
        as_json({"key": text})
    else:
        say(text)
