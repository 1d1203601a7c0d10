"""`gateway endpoint`: the addresses that voice platforms call."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands.terminal import Failed, Json, TenantName, as_json, opened, read_settings, run, say, table

if TYPE_CHECKING:
    from connectors.voice.port import Platform
    from gateway.calls.endpoints import Made
    from gateway.calls.routes import NewEndpoint

commands = typer.Typer(name="endpoint", help="Addresses that voice platforms call.", no_args_is_help=True)

_Secret = Annotated[
    str | None,
    typer.Option(help="Your own key of the platform, where it signs with that; - reads it from standard input."),
]
_Settings = Annotated[
    list[str] | None,
    typer.Option("--setting", metavar="NAME=VALUE", help="A header's name and the like, where yours differs; repeat."),
]
_EndpointId = Annotated[str, typer.Argument(metavar="ENDPOINT", help="An endpoint's id.")]


@commands.command("create")
def create(
    tenant: TenantName,
    platform: Annotated[str, typer.Option(help="vapi, retell, …")],
    name: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    secret: _Secret = None,
    assurance: Annotated[str, typer.Option(help="What a request must prove: secret or signed.")] = "secret",
    fallback: Annotated[
        str, typer.Option(help="The reply when nothing is known, as JSON in the platform's shape.")
    ] = "{}",
    setting: _Settings = None,
    json_: Json = False,
) -> None:
    """Make an address and a secret, and say what to paste where."""
    given = {
        "platform": platform,
        "name": name,
        "secret": _read_secret(secret),
        "assurance": assurance,
        "fallback": _object(fallback),
        "settings": _pairs(setting or ()),
    }

    async def work() -> dict[str, Any]:
        from connectors.voice.port import Assurance
        from gateway.calls import endpoints
        from gateway.db.base import TenantId
        from gateway.db.engine import utc_now
        from gateway.tenants import queries

        wanted, found = _checked(given)
        settings = read_settings()
        async with opened(settings) as (db, keyring), db.transaction() as session:
            tenant_id = TenantId((await queries.named(session, tenant)).id)
            made = await endpoints.create(
                session,
                tenant_id,
                platform=found,
                name=wanted.name or found.name,
                theirs=wanted.secret,
                assurance=Assurance(wanted.assurance),
                settings=wanted.settings,
                fallback=wanted.fallback,
                keys=await keyring.in_session(session, tenant_id),
                now=utc_now(),
            )
            return _shown(settings.public_url, made)

    _tell(run(work()), json_)


@commands.command("list")
def list_(tenant: TenantName, json_: Json = False) -> None:
    """A tenant's endpoints and their addresses; never their secrets."""

    async def work() -> list[dict[str, Any]]:
        from gateway.calls import endpoints
        from gateway.db.base import TenantId
        from gateway.tenants import queries

        settings = read_settings()
        async with opened(settings) as (db, keyring), db.reading() as session:
            tenant_id = TenantId((await queries.named(session, tenant)).id)
            keys = await keyring.in_session(session, tenant_id)
            return [
                {
                    "id": row.id,
                    "platform": row.platform,
                    "name": row.name,
                    "url": endpoints.url_of(settings.public_url, row.platform, endpoints.opened_key(keys, row)),
                    "assurance": row.assurance,
                    "settings": row.settings,
                    "fallback": row.fallback,
                    "previous_until": row.previous_until,
                }
                for row in await endpoints.page(session, tenant_id, limit=1000)
            ]

    rows = run(work())
    if json_:
        as_json(rows)
    else:
        columns = ["id", "platform", "name", "url"]
        empty = "No endpoints yet: gateway endpoint create TENANT --platform vapi"
        table("Voice endpoints", columns, [[row[name] for name in columns] for row in rows], empty=empty)


@commands.command("change")
def change(
    tenant: TenantName,
    endpoint: _EndpointId,
    name: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    assurance: Annotated[str | None, typer.Option(help="What a request must prove: secret or signed.")] = None,
    fallback: Annotated[str | None, typer.Option(help="The reply when nothing is known, as JSON, whole.")] = None,
    setting: _Settings = None,
) -> None:
    """Change what is named, settings as a whole; address and secret stay. A running server obeys within a second."""
    given: dict[str, Any] = {"name": name, "assurance": assurance}
    if fallback is not None:
        given["fallback"] = _object(fallback)
    if setting is not None:
        given["settings"] = _pairs(setting)

    async def work() -> None:
        from connectors.voice.catalog import PLATFORMS
        from connectors.voice.port import Assurance
        from gateway.calls import endpoints
        from gateway.calls.routes import EndpointChange, check_settings
        from gateway.db.base import TenantId
        from gateway.tenants import queries

        with _told_by_field():
            wanted = EndpointChange.model_validate(given)
        async with opened(read_settings()) as (db, _), db.transaction() as session:
            tenant_id = TenantId((await queries.named(session, tenant)).id)
            row = await endpoints.live(session, tenant_id, endpoint)
            if row is None:
                raise Failed(_UNKNOWN)
            with _told_by_field():
                check_settings(PLATFORMS[row.platform], wanted.settings or {})
            await endpoints.change(
                session,
                tenant_id,
                endpoint,
                name=wanted.name,
                assurance=Assurance(wanted.assurance) if wanted.assurance else None,
                settings=wanted.settings,
                fallback=wanted.fallback,
            )

    if not any(value is not None for value in given.values()):
        raise Failed("say what to change: --name, --assurance, --fallback or --setting", code=2)
    run(work())
    say(f"{endpoint} is changed")


@commands.command("rotate")
def rotate(tenant: TenantName, endpoint: _EndpointId, secret: _Secret = None, json_: Json = False) -> None:
    """Make a new address and secret; the old ones are taken for 24 more hours."""
    theirs = _read_secret(secret)

    async def work() -> dict[str, Any]:
        from connectors.voice.catalog import PLATFORMS
        from gateway.calls import endpoints
        from gateway.db.base import TenantId
        from gateway.db.engine import utc_now
        from gateway.tenants import queries

        settings = read_settings()
        async with opened(settings) as (db, keyring), db.transaction() as session:
            tenant_id = TenantId((await queries.named(session, tenant)).id)
            row = await endpoints.live(session, tenant_id, endpoint)
            if row is None:
                raise Failed(_UNKNOWN)
            if theirs is not None and not PLATFORMS[row.platform].secret_is_theirs:
                raise Failed("the secret is made here for this platform; leave --secret out", code=2)
            keys = await keyring.in_session(session, tenant_id)
            made = await endpoints.rotate(session, tenant_id, row.id, theirs=theirs, keys=keys, now=utc_now())
            if made is None:
                raise Failed(_UNKNOWN)
            return _shown(settings.public_url, made)

    _tell(run(work()), json_)


@commands.command("delete")
def delete(tenant: TenantName, endpoint: _EndpointId) -> None:
    """End an endpoint: its address is unknown from now on; what it brought stays."""

    async def work() -> None:
        from gateway.calls import endpoints
        from gateway.db.base import TenantId
        from gateway.db.engine import utc_now
        from gateway.tenants import queries

        async with opened(read_settings()) as (db, _), db.transaction() as session:
            tenant_id = TenantId((await queries.named(session, tenant)).id)
            if not await endpoints.delete(session, tenant_id, endpoint, now=utc_now()):
                raise Failed(_UNKNOWN)

    run(work())
    say(f"{endpoint} has ended")


_UNKNOWN = "this tenant has no such endpoint; `gateway endpoint list TENANT` shows them"


def _read_secret(secret: str | None) -> str | None:
    """From standard input, so that it need not stand in the list of processes."""
    return sys.stdin.readline().strip() if secret == "-" else secret  # noqa: S105


def _object(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise Failed("--fallback is not JSON", code=2) from None


def _pairs(settings: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in settings]
    if any(not (name and equals) for name, equals, _ in pairs):
        raise Failed("--setting is not NAME=VALUE", code=2)
    return {name: value for name, _, value in pairs}


def _checked(given: dict[str, Any]) -> tuple[NewEndpoint, Platform]:
    """The same rules as `POST /v1/endpoints`; `Failed` names what is wrong."""
    from gateway.calls.routes import NewEndpoint, check, platform_of

    with _told_by_field():
        wanted = NewEndpoint.model_validate(given)
        platform = platform_of(wanted.platform)
        check(platform, secret=wanted.secret, settings=wanted.settings)
    return wanted, platform


@contextlib.contextmanager
def _told_by_field() -> Iterator[None]:
    """What the API answers with 422 is one line here."""
    from pydantic import ValidationError

    from gateway.errors import Invalid, from_validation

    try:
        yield
    except ValidationError as wrong:
        told = from_validation(wrong.errors()).errors
    except Invalid as wrong:
        told = wrong.errors
    else:
        return
    raise Failed("; ".join(f"{one.field.removeprefix('body.')} {one.reason}" for one in told), code=2)


def _shown(public_url: str, made: Made) -> dict[str, Any]:
    from connectors.voice.catalog import PLATFORMS
    from gateway.calls import endpoints

    url = endpoints.url_of(public_url, made.row.platform, made.key)
    steps = PLATFORMS[made.row.platform].steps(url=url, secret=made.secret)
    return {"id": made.row.id, "url": url, "secret": made.secret, "steps": list(steps)}


def _tell(made: dict[str, Any], as_json_: bool) -> None:
    if as_json_:
        as_json(made)
        return
    say(f"{made['id']} listens at {made['url']}", f"its secret, shown this once: {made['secret']}", "")
    say(*(f"{place}. {step}" for place, step in enumerate(made["steps"], 1)))
