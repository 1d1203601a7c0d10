"""Servers that behave badly on purpose: real sockets on 127.0.0.1, scripted byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Script = Callable[["Exchange"], Awaitable[None]]


@dataclass
class Exchange:
    """One request as it came, and the way to answer it."""

    head: bytes
    body: bytes
    writer: asyncio.StreamWriter

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode()

    def header(self, name: str) -> str | None:
        for line in self.head.decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name:
                return value.strip()
        return None

    async def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Cut the line as a crashed machine would: RST, no farewell."""
        self.writer.transport.abort()


@dataclass
class Server:
    origin: str = ""
    seen: list[Exchange] = field(default_factory=list)


@asynccontextmanager
async def serving(*scripts: Script) -> AsyncIterator[Server]:
    """Answers the n-th request with the n-th script, the last one for all later ones."""
    server = Server()
    tasks: set[asyncio.Task[None]] = set()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                exchange = Exchange(head, b"", writer)
                exchange.body = await reader.readexactly(int(exchange.header("content-length") or 0))
                server.seen.append(exchange)
                await scripts[min(len(server.seen), len(scripts)) - 1](exchange)
        writer.close()

    listening = await asyncio.start_server(connection, "127.0.0.1", 0, backlog=512)
    server.origin = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answering(status: int, body: bytes = b"", **headers: str) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(status, body, **headers)

    return script


def sending(data: bytes, *, then_reset: bool = False, then_close: bool = False) -> Script:
    """Write raw bytes, and then cut or end the connection."""

    async def script(exchange: Exchange) -> None:
        await exchange.raw(data)
        if then_reset:
            exchange.reset()
        if then_close:
            exchange.writer.close()

    return script


async def hanging(exchange: Exchange) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def resetting(exchange: Exchange) -> None:
    exchange.reset()
