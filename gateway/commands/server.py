"""The web server of `gateway serve`: says in one line when it is ready, and signals end it in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Iterator
from datetime import timedelta

import uvicorn

from connectors.crm.catalog import CATALOG
from gateway.app import create_app
from gateway.commands.terminal import opened
from gateway.logs import log
from gateway.settings import Settings, app_of
from gateway.tenants.keys import key_file

LAST_ANSWERS = timedelta(seconds=10)  # what is being answered at SIGTERM may end; then connections are closed


def answer(settings: Settings, listening: socket.socket, address: str) -> bool:
    """Serve on `listening` until a signal; whether it ever started."""
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
    return server.started


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
