"""Redis, the queue and the bell: the one place where they are made.

Redis holds what may be lost. A ring is a throw-away job that names a connection, a call or another row; it carries no
right and no data, so losing it costs half a second (the relay asks the database) and forging it does nothing new.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import redis as sync_redis
import redis.asyncio as redis
from fakeredis import FakeAsyncRedis, FakeServer, FakeStrictRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from gateway.settings import Settings

RING = "gateway.worker.ring"  # stored in jobs: the name stays, whatever the code is called
QUEUE = "gateway"
SPARED = timedelta(milliseconds=1500)  # a ring for the same row within this time is not rung again
_ARGUMENT = re.compile(r"[a-z]{3,10}-[a-z]{2}_[0-9a-z]{1,36}")

_embedded = FakeServer()  # one in-process Redis for everything in this process


class NotOurs(Exception):
    """A job that is not a ring. It is dropped: Redis is not trusted with code (security.md §1)."""


class RingJob(Job):
    """A job that can only ring. RQ imports functions and callbacks by name from Redis; here a name opens nothing."""

    answer: Callable[[str], None] | None = None  # set by the worker process

    @property
    def func(self) -> Callable[..., Any]:
        if self.func_name != RING or RingJob.answer is None:
            raise NotOurs("not a ring")
        return ring_answered

    @property
    def instance(self) -> None:
        return None

    @instance.setter
    def instance(self, value: object) -> None:
        """Dropped: an instance is somebody else's code."""

    def restore(self, raw_data: Any) -> Any:
        """Take what a ring has and nothing else: no callbacks, webhooks, dependencies, retries or meta."""
        kept = (
            b"data",
            b"created_at",
            b"enqueued_at",
            b"origin",
            b"status",
            b"timeout",
            b"result_ttl",
            b"failure_ttl",
            b"ttl",
        )
        restored = super().restore({name: raw_data[name] for name in kept if name in raw_data})
        self.description = ""  # RQ colours it where there is a terminal, and dies of None (rq 3.0.0, logutils.py)
        return restored


def ring_answered(argument: str) -> None:
    """What every job does: hand its one argument, validated, to the worker of this process."""
    if RingJob.answer is None or not _ARGUMENT.fullmatch(str(argument)):
        raise NotOurs("not a ring's argument")
    RingJob.answer(argument)


def connect(settings: Settings) -> redis.Redis:
    """Redis for a loop. Embedded: in this process. Never retries: a caller is on the line."""
    if settings.embedded:
        return FakeAsyncRedis(server=_embedded)
    pool = redis.BlockingConnectionPool.from_url(
        settings.redis_url,
        max_connections=64,
        timeout=0.2,
        socket_timeout=1.0,
        socket_connect_timeout=0.5,
        retry=AsyncRetry(NoBackoff(), 0),
        driver_info=None,  # else each new connection reads redis-py's package metadata, a millisecond of the loop's time
    )
    return redis.Redis(connection_pool=pool)


def connect_blocking(settings: Settings, *, socket_timeout: float | None = 2.0) -> sync_redis.Redis:
    """Redis for RQ, which knows no loop."""
    if settings.embedded:
        return FakeStrictRedis(server=_embedded)
    return sync_redis.Redis.from_url(
        settings.redis_url, socket_timeout=socket_timeout, socket_connect_timeout=1.0, retry=Retry(NoBackoff(), 0)
    )


def queue(connection: sync_redis.Redis) -> Queue:
    return Queue(QUEUE, connection=connection, job_class=RingJob, serializer=JSONSerializer)


def ring(connection: sync_redis.Redis, rings: list[tuple[str, str]], *, longest: int = 200) -> int:
    """Ring for each (kind, id) that was not rung just now; how many were. Blocking: call it in a thread.

    Nothing is rung while the queue is longer than `longest`: the workers have enough to do, and rows do not get lost.
    """
    waiting = queue(connection)
    rung = 0
    if waiting.count >= longest:
        return 0
    for kind, row_id in rings:
        argument = f"{kind}-{row_id}"
        if not connection.set(spare_key(argument), b"1", nx=True, px=SPARED):
            continue
        waiting.enqueue_call(
            RING,
            args=(argument,),
            job_id=secrets.token_hex(8),
            result_ttl=0,
            failure_ttl=60,
            ttl=30,
            timeout=-1,
            description="",
        )
        rung += 1
    return rung


def spare_key(argument: str) -> str:
    return f"gw:ring:{argument}"


def split(argument: str) -> tuple[str, str]:
    """("drain", "cn_…") from a ring's argument."""
    kind, _, row_id = argument.partition("-")
    return kind, row_id
