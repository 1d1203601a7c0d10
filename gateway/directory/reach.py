"""Redis, for as long as somebody on the phone can wait for it.

A Redis that fails or keeps silent is left alone for a moment, so that not each caller waits for it anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import redis.asyncio as redis
from redis.exceptions import RedisError

from gateway.logs import log

T = TypeVar("T")

PATIENCE = timedelta(milliseconds=80)  # half of a caller's budget
AWAY = timedelta(milliseconds=500)  # how long Redis is left alone
SILENT = 2  # reads in a row without an answer until it is: one alone may be a busy moment


class RedisAway(Exception):
    """Redis did not answer in time, or has not just before."""


class Reach:
    """One connection pool, and whether it is worth asking. One per loop."""

    def __init__(self, connection: redis.Redis, *, patience: timedelta = PATIENCE) -> None:
        self.redis = connection
        self.patience = patience
        self._away_until = 0.0
        self._silent = 0

    @property
    def away(self) -> bool:
        return self._away_until > asyncio.get_running_loop().time()

    def answered(self) -> None:
        self._silent = 0

    def failed(self, why: str) -> None:
        """It refused, or broke off: it is away."""
        self._away_until = asyncio.get_running_loop().time() + AWAY.total_seconds()
        log.warning("redis_away", error=why)

    def silent(self) -> None:
        """It did not answer in time."""
        self._silent += 1
        if self._silent >= SILENT:
            self.failed("silent")

    async def within(self, work: Callable[[], Awaitable[T]]) -> T:
        """The answer of `work`, or `RedisAway`."""
        if self.away:
            raise RedisAway
        try:
            async with asyncio.timeout(self.patience.total_seconds()):
                return await work()
        except TimeoutError:  # perhaps only our own loop was busy: the reads of `Together` know better
            raise RedisAway from None
        except (RedisError, OSError) as error:
            self.failed(type(error).__name__)
            raise RedisAway from None
