"""The relay: asks the database twice a second for what is due, and rings. This poll guarantees progress; two are harmless."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import redis.exceptions

from gateway import bell
from gateway.delivery.due import due
from gateway.logs import log
from gateway.parts import parts as opened_parts

if TYPE_CHECKING:
    from gateway.parts import Parts
    from gateway.settings import Settings


async def run(parts: Parts) -> None:
    """Poll and ring until cancelled. A database or a Redis that is away is waited for; each way one log line."""
    away: str | None = None
    pause = parts.settings.relay_interval.total_seconds()
    while True:
        try:
            waiting = await due(parts.db)
            if waiting:
                await asyncio.to_thread(bell.ring, parts.rings, list(waiting))
            trouble = None
        except redis.exceptions.RedisError:
            trouble = "redis"  # the workers ask the database themselves while no ring reaches them
        except Exception as error:
            trouble = type(error).__name__
        if trouble != away:
            if trouble is None:
                log.info("relay: all is well again", was=away)
            else:
                log.warning("relay: cannot ring", trouble=trouble)
            away = trouble
        await asyncio.sleep(pause)


async def _main(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    async with opened_parts(settings) as parts:
        task = asyncio.create_task(run(parts))
        print("gateway relay ready", flush=True)  # noqa: T201 - the line a supervisor waits for
        await stop.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def main(settings: Settings) -> None:
    """`gateway relay`: until SIGTERM or SIGINT."""
    asyncio.run(_main(settings))
