"""The databases and Redis databases that tests ask for by fixture: real, fresh for each test, cheap.

One PostgreSQL and one Redis serve the whole run; with xdist the controlling process owns them and tells the workers.
Each test gets a database of its own, copied from one that was migrated once, and an emptied logical Redis database.
Who restarts or kills a server asks for one of his own: `own_postgres`, `own_redis`.
"""

import asyncio
import os
import secrets
import shutil
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import asyncpg
import pytest
import redis

from gateway.schema import migrate
from tests import servers
from tests.servers import Missing, Where

T = TypeVar("T")
RUN = secrets.token_hex(3)  # tells our databases from those of another run on a server that was given to both


class Provider:
    """Starts each server at the first request, in the process that outlives all others, and ends it with the run."""

    def __init__(self) -> None:
        self._running: list[servers.Server] = []
        self._known: dict[str, Where | Missing] = {}
        self._alone: dict[str, Where] = {}

    def get(self, kind: str) -> Where:
        """The run's "postgres" or "redis"; raises `Missing` again and again, not only the first time."""
        if kind not in self._known:
            try:
                self._known[kind] = self._obtain(kind)
            except Missing as missing:
                self._known[kind] = missing
        known = self._known[kind]
        if isinstance(known, Missing):
            raise known
        return known

    def _obtain(self, kind: str) -> Where:
        given = os.environ.get(f"GATEWAY_TEST_{kind.upper()}_URL")
        if given:
            return _given_postgres(given) if kind == "postgres" else _given_redis(given)
        server = servers.start_postgres() if kind == "postgres" else servers.start_redis()
        self._running.append(server)
        return server.where

    def tell(self) -> dict[str, Any]:
        """What a worker process is told, in values that survive the way there."""
        told: dict[str, Any] = {}
        for kind in ("postgres", "redis"):
            try:
                told[kind] = list(astuple(self.get(kind)))
            except Missing as missing:
                told[kind] = str(missing)
        return told

    def hear(self, told: dict[str, Any]) -> None:
        """The other end of `tell`."""
        for kind, value in told.items():
            self._known[kind] = Missing(value) if isinstance(value, str) else Where(*value)

    def note(self, kind: str, where: Where) -> None:
        """A test has started one of its own; without another it is what the run rests on."""
        self._alone.setdefault(kind, where)

    def used(self) -> dict[str, Where]:
        """The servers that this run has used, for its closing lines."""
        return self._alone | {kind: where for kind, where in self._known.items() if isinstance(where, Where)}

    def close(self) -> None:
        """End what was started."""
        while self._running:
            self._running.pop().close()


PROVIDER = pytest.StashKey[Provider]()


def pytest_configure(config: pytest.Config) -> None:
    provider = config.stash[PROVIDER] = Provider()
    if hasattr(config, "workerinput"):
        provider.hear(config.workerinput["servers"])


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """xdist: runs in the controlling process before each worker starts."""
    node.workerinput["servers"] = node.config.stash[PROVIDER].tell()


def pytest_unconfigure(config: pytest.Config) -> None:
    if PROVIDER in config.stash:
        config.stash[PROVIDER].close()


def _find(request: pytest.FixtureRequest, kind: str) -> Where:
    try:
        return request.config.stash[PROVIDER].get(kind)
    except Missing as missing:
        pytest.fail(str(missing), pytrace=False)


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Where:
    """The run's PostgreSQL, shared by every worker: leave it running. `.url`, `.version`, `.database(name)`."""
    return _find(request, "postgres")


@pytest.fixture(scope="session")
def redis_server(request: pytest.FixtureRequest) -> Where:
    """The run's Redis, shared by every worker: leave it running, and flush your own database of it only."""
    return _find(request, "redis")


@pytest.fixture
def own_postgres(request: pytest.FixtureRequest) -> Iterator[servers.Postgres]:
    """A PostgreSQL for this test alone, empty, with `stop()`, `start()`, `restart()`, `kill()`; about a second."""
    try:
        server = servers.start_postgres()
    except Missing as missing:
        pytest.fail(str(missing), pytrace=False)
    request.config.stash[PROVIDER].note("postgres", server.where)
    with server:
        yield server


@pytest.fixture
def own_redis(request: pytest.FixtureRequest) -> Iterator[servers.Redis]:
    """A Redis for this test alone, with `stop()`, `start()`, `restart()`, `kill()`; comes back empty."""
    try:
        server = servers.start_redis()
    except Missing as missing:
        pytest.fail(str(missing), pytrace=False)
    request.config.stash[PROVIDER].note("redis", server.where)
    with server:
        yield server


# ------------------------------------------------------------------ databases


@pytest.fixture(scope="session")
def postgres_template(postgres_server: Where) -> Iterator[str]:
    """The name of this worker's migrated database. Nobody connects to it: it is copied for each test."""
    name = f"gateway_{RUN}_{_worker()}"
    _in_thread(_create(postgres_server, name, None))
    _in_thread(migrate(postgres_server.database(name)))
    yield name
    _in_thread(_drop(postgres_server, name))


@pytest.fixture
def postgres_url(postgres_server: Where, postgres_template: str) -> Iterator[str]:
    """`postgresql+asyncpg://…` of a migrated database that is this test's own; dropped afterwards, connections and all."""
    yield from _database(postgres_server, postgres_template)


@pytest.fixture
def empty_postgres_url(postgres_server: Where) -> Iterator[str]:
    """As `postgres_url`, without a table: what migrations start from."""
    yield from _database(postgres_server, None)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This worker's migrated SQLite file; it is copied for each test."""
    file = tmp_path_factory.mktemp("template") / "gateway.db"
    _in_thread(migrate(f"sqlite+aiosqlite:///{file}"))
    return file


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path) -> str:
    """`sqlite+aiosqlite:///…` of a migrated file that is this test's own, in its `tmp_path`."""
    file = tmp_path / "gateway.db"
    for part in sqlite_template.parent.glob("gateway.db*"):  # with its write-ahead log, should there be one
        shutil.copy(part, tmp_path / part.name)
    return f"sqlite+aiosqlite:///{file}"


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    """As `sqlite_url`, without a table and even without a file."""
    return f"sqlite+aiosqlite:///{tmp_path / 'empty.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database of the test's own, once on SQLite and once on PostgreSQL."""
    name = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
    return cast(str, request.getfixturevalue(name))


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest) -> str:
    """As `database_url`, without a table."""
    name = {"sqlite": "empty_sqlite_url", "postgresql": "empty_postgres_url"}[request.param]
    return cast(str, request.getfixturevalue(name))


@pytest.fixture
def redis_url(redis_server: Where) -> str:
    """`redis://…/n`: this worker's own logical database, emptied. Channels are the server's: name yours uniquely."""
    url = redis_server.database(_redis_number(redis_server))
    with redis.Redis.from_url(url) as connection:
        connection.flushdb()
    return url


def _redis_number(server: Where) -> int:
    first = int(urlsplit(server.url).path.lstrip("/") or 0)
    return first + int(_worker().removeprefix("gw") or 0)


def _worker() -> str:
    """This xdist worker's name ("gw0", "gw1", …), or "gw0" where there is but one process."""
    return os.environ.get("PYTEST_XDIST_WORKER", "gw0")


def _database(server: Where, template: str | None) -> Iterator[str]:
    name = f"test_{RUN}_{_worker()}_{secrets.token_hex(4)}"
    _in_thread(_create(server, name, template))
    yield server.database(name)
    _in_thread(_drop(server, name))


async def _create(server: Where, name: str, template: str | None) -> None:
    # As files: a third of the work of writing every page of the template to the log, which nobody here reads.
    connection = await _connect(server)
    await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template or "template1"}" STRATEGY FILE_COPY')
    await connection.close()


async def _drop(server: Where, name: str) -> None:
    connection = await _connect(server)
    await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    await connection.close()


async def _connect(server: Where) -> Any:
    return await asyncpg.connect(server.url.replace("+asyncpg", "", 1))


def _in_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop of its own: fixtures are plain functions, also between the steps of a running loop."""
    answer: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            answer.append(asyncio.run(work))
        except BaseException as error:  # carried to the thread that asked
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return answer[0]


# -------------------------------------------------------------- given servers


def _given_postgres(url: str) -> Where:
    given = Where(
        url.replace("postgres://", "postgresql://", 1).replace("postgresql://", "postgresql+asyncpg://", 1), "", ""
    )

    async def version() -> str:
        connection = await _connect(given)
        try:
            return str(await connection.fetchval("SHOW server_version"))
        finally:
            await connection.close()

    try:
        return Where(given.url, _in_thread(version()).split()[0], "GATEWAY_TEST_POSTGRES_URL")
    except (OSError, asyncpg.PostgresError) as error:
        raise Missing(f"PostgreSQL: GATEWAY_TEST_POSTGRES_URL is set, but nobody answers there ({error})") from error


def _given_redis(url: str) -> Where:
    try:
        with redis.Redis.from_url(url) as connection:
            version = cast(dict[str, Any], connection.info("server"))["redis_version"]
    except redis.RedisError as error:
        raise Missing(f"Redis: GATEWAY_TEST_REDIS_URL is set, but nobody answers there ({error})") from error
    return Where(url, str(version), "GATEWAY_TEST_REDIS_URL")
