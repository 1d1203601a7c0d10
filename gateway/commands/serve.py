"""`gateway serve`, `worker`, `relay`, `migrate`: the processes of an installation."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands.terminal import Failed, Json, as_json, opened, read_settings, run, say

if TYPE_CHECKING:
    from gateway.settings import Settings


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
) -> None:
    """Answer the API and the pages. Without GATEWAY_REDIS_URL this is the whole product in one process."""
    from gateway.commands.server import answer
    from gateway.settings import is_local

    settings = read_settings()
    with _bind(host, port) as listening:
        address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
        if "public_url" not in settings.model_fields_set and is_local(host):
            settings = settings.model_copy(update={"public_url": address})
        if not answer(settings, listening, address):
            raise Failed("could not start; the log says why")


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise Failed(f"cannot listen on {host}:{port}: {error.strerror}") from None
    return listening


def worker() -> None:
    """Do what is due: decide about calls, deliver to CRMs. As many as wanted, on as many machines."""
    from gateway.worker import main

    settings = read_settings()
    run(_checked(settings))
    main(settings)


def relay() -> None:
    """Ask the database twice a second what is due, and ring the workers. One is enough, two are harmless."""
    from gateway.relay import main

    settings = read_settings()
    run(_checked(settings))
    main(settings)


async def _checked(settings: Settings) -> None:
    async with opened(settings):
        pass


def migrate(json_: Json = False) -> None:
    """Bring the database to this release, as GATEWAY_OWNER_DATABASE_URL where that is set."""
    from gateway import schema

    settings = read_settings()
    run(schema.migrate(settings.owner_database_url or settings.database_url))
    if json_:
        as_json({"migrated": True})
    else:
        say("the database is at the newest revision")


def sandbox(
    provider: Annotated[str, typer.Argument(help="Which CRM: hubspot.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 9001,
    redirect_uri: Annotated[
        list[str] | None, typer.Option(help="Where its sign-in may return to; repeat for several. Without: anywhere.")
    ] = None,
) -> None:
    """Serve a simulated CRM that speaks the vendor's own API. It forgets everything when it ends."""
    from connectors.sandbox.serve import PROVIDERS
    from connectors.sandbox.serve import run as run_sandbox

    if provider not in PROVIDERS:
        raise Failed(f"no sandbox is called {provider}; there is {', '.join(sorted(PROVIDERS))}", code=2)
    options: dict[str, Any] = {"redirect_uris": tuple(redirect_uri)} if redirect_uri else {}
    run_sandbox(provider, host, port, **options)
