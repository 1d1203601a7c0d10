"""The tests' own servers: were they not what they claim to be, every other test would prove less than it says."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import psutil
import redis.asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests import servers
from tests.processes import PROJECT, until


async def _tables(url: str) -> int:
    count = {
        "sqlite": "SELECT count(*) FROM sqlite_master WHERE type = 'table'",
        "postgresql": "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'",
    }
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        found = (await connection.execute(text(count[engine.dialect.name]))).scalar_one()
    await engine.dispose()
    return int(found)


async def test_a_database_is_migrated(database_url: str) -> None:
    assert await _tables(database_url) > 5


async def test_an_empty_database_is_empty(empty_database_url: str) -> None:
    assert await _tables(empty_database_url) == 0


async def test_a_database_is_nobody_elses(postgres_url: str, empty_postgres_url: str) -> None:
    """Two tests that see one another's rows pass or fail by their order."""
    assert postgres_url != empty_postgres_url


async def test_redis_starts_empty_and_is_real(redis_url: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as connection:
        assert await connection.dbsize() == 0
        assert (await connection.info("server"))["redis_version"]
        await connection.set("left behind", "by this test")


async def test_redis_is_emptied_for_the_next_test(redis_url: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as connection:
        assert await connection.dbsize() == 0


async def test_what_postgres_committed_survives_its_killing(own_postgres: servers.Postgres) -> None:
    """The crash tests count rows after a SIGKILL; a server in too much of a hurry would make them count wrong."""
    address = own_postgres.url.replace("+asyncpg", "")
    before = await asyncpg.connect(address)
    await before.execute("CREATE TABLE kept (n int)")
    await before.execute("INSERT INTO kept VALUES (1)")
    own_postgres.kill()
    own_postgres.start()
    after = await asyncpg.connect(address)
    assert await after.fetchval("SELECT count(*) FROM kept") == 1
    await after.close()


async def test_redis_comes_back_on_the_same_address(own_redis: servers.Redis) -> None:
    own_redis.restart()
    async with redis.asyncio.Redis.from_url(own_redis.url) as connection:
        assert await connection.ping()


KILLED = """
import os
from tests import servers
redis, postgres = servers.start_redis(), servers.start_postgres()
print("started", redis.pid, postgres.pid, redis._data, postgres._data.parent, flush=True)
os.kill(os.getpid(), 9)
"""


def test_no_server_outlives_a_killed_run() -> None:
    """A developer's machine must not fill up with the servers and folders of runs that were cut short."""
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    killed = subprocess.run([sys.executable, "-c", KILLED], env=env, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    _, *found = killed.stdout.split()
    until("both servers are gone", lambda: not any(_runs(int(pid)) for pid in found[:2]))
    until("their folders are gone", lambda: not any(Path(folder).exists() for folder in found[2:]))


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
