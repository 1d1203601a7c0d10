"""`gateway serve`, `worker`, `relay`, `migrate`: the processes of an installation."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any

import typer
import uvicorn

from connectors.crm.catalog import CATALOG
from gateway import schema
from gateway.commands.terminal import Failed, Json, as_json, opened, read_settings, run, say
from gateway.logs import log
from gateway.settings import Settings, app_of, is_local
from gateway.tenants.keys import key_file

LAST_ANSWERS = timedelta(seconds=10)  # what is being answered at SIGTERM may end; then connections are closed


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
) -> None:
    """Answer the API and the pages. Without GATEWAY_REDIS_URL this is the whole product in one process."""
    settings = read_settings()
    with _bind(host, port) as listening:
        address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
        if "public_url" not in settings.model_fields_set and is_local(host):
            settings = settings.model_copy(update={"public_url": address})
        from gateway.app import create_app  # what the other commands need not load

        server = Server(
            uvicorn.Config(
                create_app(settings),
                lifespan="on",
                ws="none",
                proxy_headers=False,  # the middleware reads them, from our own proxies only
                server_header=False,
                access_log=False,
                log_config=None,
                backlog=2048,
                timeout_keep_alive=65,  # longer than a proxy before us keeps its own
                timeout_graceful_shutdown=int(LAST_ANSWERS.total_seconds()),
            ),
            settings,
            address,
        )
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(_prepared_and_served(server, settings, listening))
    if not server.started:
        raise Failed("could not start; the log says why")


async def _prepared_and_served(server: Server, settings: Settings, listening: socket.socket) -> None:
    """What can be wrong with the installation is found before anybody connects, and told in one sentence."""
    server.made_key = _without_key(settings)
    async with opened(settings):
        pass
    await server.serve(sockets=[listening])


class Server(uvicorn.Server):
    """Says in one line when it is ready. Signals end it in order, with 0."""

    def __init__(self, config: uvicorn.Config, settings: Settings, address: str) -> None:
        super().__init__(config)
        self._settings = settings
        self._address = address
        self.made_key = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.started:
            return
        gc.collect()
        gc.freeze()  # what lives as long as the process need not be looked at again (performance.md §2)
        gc.set_threshold(50_000, 50, 50)
        sys.stdout.write(f"gateway ready at {self._address}\n")
        sys.stdout.flush()
        if self.made_key:
            log.warning(
                "a sealing key was made; without it the data is lost", file=key_file(self._settings.database_url)
            )
        for provider in CATALOG:
            app = app_of(provider)
            if app.overridden:
                named = {"auth": app.auth_url, "token": app.token_url, "api": app.api_url}
                log.warning("another address stands in for the vendor", provider=provider, **named)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn raises the signal again when it is done; to a supervisor an orderly end is an orderly end."""
        loop = asyncio.get_running_loop()
        wanted = (signal.SIGTERM, signal.SIGINT)
        for one in wanted:
            loop.add_signal_handler(one, self.handle_exit, one, None)
        try:
            yield
        finally:
            for one in wanted:
                loop.remove_signal_handler(one)


def _without_key(settings: Settings) -> bool:
    """Whether this start will make `gateway.key`."""
    given = settings.sealing_keys or settings.sealing_keys_file
    sqlite = settings.database_url.startswith("sqlite")
    return not given and settings.embedded and sqlite and not key_file(settings.database_url).exists()


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
    settings = read_settings()
    run(_checked(settings))
    from gateway.worker import main

    main(settings)


def relay() -> None:
    """Ask the database twice a second what is due, and ring the workers. One is enough, two are harmless."""
    settings = read_settings()
    run(_checked(settings))
    from gateway.relay import main

    main(settings)


async def _checked(settings: Settings) -> None:
    async with opened(settings):
        pass


def migrate(json_: Json = False) -> None:
    """Bring the database to this release, as GATEWAY_OWNER_DATABASE_URL where that is set."""
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
