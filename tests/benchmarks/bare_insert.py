"""The floor of ingest: a bare ASGI application that inserts and commits one row for each POST, served by the same uvicorn.

python -m tests.benchmarks.bare_insert POSTGRES_URL
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import asyncpg
import uvicorn

from tests.benchmarks.floor import Server, bound

POOL = 20  # as many connections as the gateway may open: ten kept, and ten more
_TABLE = """
    CREATE TABLE IF NOT EXISTS bench_floor (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), body bytea NOT NULL
    )
"""
_INSERT = "INSERT INTO bench_floor (body) VALUES ($1)"
_ANSWER = b'{"kept":true}'


async def serve(postgres_url: str, listening: socket.socket) -> None:
    url = postgres_url.replace("postgresql+asyncpg://", "postgresql://")
    async with asyncpg.create_pool(url, min_size=POOL, max_size=POOL) as pool:
        await pool.execute(_TABLE)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            body = b""
            while True:
                message = await receive()
                body += message.get("body", b"")
                if not message.get("more_body"):
                    break
            await pool.execute(_INSERT, body)  # a statement alone is a transaction: committed on return
            length = (b"content-length", b"%d" % len(_ANSWER))
            start = {
                "type": "http.response.start",
                "status": 202,
                "headers": [(b"content-type", b"application/json"), length],
            }
            await send(start)
            await send({"type": "http.response.body", "body": _ANSWER})

        config = uvicorn.Config(app, lifespan="off", ws="none", access_log=False, log_config=None, server_header=False)
        await Server(config).serve(sockets=[listening])


def main() -> None:
    with asyncio.Runner(loop_factory=uvicorn.Config("").get_loop_factory()) as runner:
        runner.run(serve(sys.argv[1], bound()))


if __name__ == "__main__":
    main()
