"""Puts a sandbox on a port: for a command of its own, or inside a process that has a loop already."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from connectors.sandbox import hubspot, pipedrive, salesforce, zoho
from connectors.sandbox.clock import Clock
from connectors.sandbox.face import TRANSPORT, Face
from connectors.sandbox.journal import Journal
from connectors.sandbox.shown import Shown

PROVIDERS: Mapping[str, Callable[..., Face]] = {
    "hubspot": hubspot.demo_app,
    "pipedrive": pipedrive.demo_app,
    "salesforce": salesforce.demo_app,
    "zoho": zoho.demo_app,
}
SHOWN: Mapping[str, Callable[[Face], Shown]] = {
    "hubspot": hubspot.shown,
    "pipedrive": pipedrive.shown,
    "salesforce": salesforce.shown,
    "zoho": zoho.shown,
}
"""What the account of a `PROVIDERS` sandbox holds, for the demo."""


class _Cuttable(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, with the connection's transport handed to the application so that faults can cut it."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: self.transport}  # type: ignore[dict-item]


class _Guest(uvicorn.Server):
    """A server inside somebody else's process: signals are not its business, and it ends at once, not at the next tick."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.leaving = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        while not self.leaving.is_set():
            await self.on_tick(0)  # the answers' date, each second
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.leaving.wait(), 1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()  # the idle ones
            if not connection.transport.is_closing():
                connection.transport.abort()


def _config(app: Face) -> uvicorn.Config:
    return uvicorn.Config(
        app, http=_Cuttable, ws="none", lifespan="off", log_level="warning", access_log=False, server_header=False
    )


def bind(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A listening address; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio sets TCP_NODELAY only then; without it every answer waits 40 ms for an ACK.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((host, port))
    bound.listen(2048)  # from here on a client waits instead of being refused
    return bound


@contextlib.asynccontextmanager
async def running(app: Face, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve `app` on the running loop while inside; gives its origin ("http://127.0.0.1:41234").

    Leaving closes every connection, at once; entering again with the same port and app is the same CRM come back.
    """
    with bind(host, port) as bound:
        server = _Guest(_config(app))
        task = asyncio.create_task(server.serve(sockets=[bound]))
        while not server.started:
            if task.done():
                task.result()
            await asyncio.sleep(0.005)
        try:
            yield f"http://{host}:{bound.getsockname()[1]}"
        finally:
            server.leaving.set()
            await task


async def serve(
    provider: str,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    client_id: str | None = None,
    client_secret: str | None = None,
    redirect_uris: Sequence[str] = (),
    journal: Path | None = None,
    limits: bool = True,
) -> None:
    """Run one vendor's sandbox until a signal comes; says where it listens in one line on standard output.

    journal  file that every request is written to, one JSON object a line.
    limits   False switches the vendor's rate limits off, for benchmarks.
    Raises `LookupError` for a provider that has no sandbox.
    """
    if provider not in PROVIDERS:
        raise LookupError(f"there is no sandbox for {provider!r}; there is one for: {', '.join(sorted(PROVIDERS))}")
    names = {"client_id": client_id, "client_secret": client_secret}
    app = PROVIDERS[provider](
        **{name: value for name, value in names.items() if value is not None},
        redirect_uris=redirect_uris,
        clock=Clock(),
        journal=Journal(journal),
        limits=limits,
    )
    with bind(host, port) as bound:
        shown = f"[{host}]" if ":" in host else host
        sys.stdout.write(f"{provider} sandbox: http://{shown}:{bound.getsockname()[1]}\n")
        sys.stdout.flush()
        await uvicorn.Server(_config(app)).serve(sockets=[bound])


def run(provider: str, host: str = "127.0.0.1", port: int = 0, **options: object) -> None:
    """`serve` for a command without a loop."""
    fastest = uvicorn.Config("", loop="auto").get_loop_factory()  # uvloop, where there is one
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=fastest) as runner:
        runner.run(serve(provider, host, port, **options))  # type: ignore[arg-type]
