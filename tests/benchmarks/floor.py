"""The floor of lookup: a bare ASGI application with one redis-py GET, served by the same uvicorn.

python -m tests.benchmarks.floor REDIS_URL
"""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from typing import Any

import redis.asyncio as redis
import uvicorn

KEY = "bench:floor"


async def serve(redis_url: str, listening: socket.socket) -> None:
    connection = redis.Redis.from_url(redis_url, max_connections=256)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        value = await connection.get(KEY)
        assert isinstance(value, bytes)
        length = (b"content-length", b"%d" % len(value))
        start = {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"application/json"), length],
        }
        await send(start)
        await send({"type": "http.response.body", "body": value})

    config = uvicorn.Config(app, lifespan="off", ws="none", access_log=False, log_config=None, server_header=False)
    await Server(config).serve(sockets=[listening])


class Server(uvicorn.Server):
    """Says when it is ready, and treats its garbage as the gateway does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 50, 50)
        assert sockets
        sys.stdout.write(f"ready at http://127.0.0.1:{sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()


def bound() -> socket.socket:
    """A socket on a free port."""
    # The protocol is named because asyncio sets TCP_NODELAY only then, as for the gateway's own socket.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    return listening


def main() -> None:
    with asyncio.Runner(loop_factory=uvicorn.Config("").get_loop_factory()) as runner:
        runner.run(serve(sys.argv[1], bound()))


if __name__ == "__main__":
    main()
