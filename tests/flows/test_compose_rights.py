"""The compose file's own roles, rights and settings, on a real PostgreSQL and Redis, without a Docker engine.

Rights that are too narrow show at the customer's first start, rights that are too wide never.
"""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx2
import pytest
import redis
import rq

from tests import servers
from tests.flows.test_compose import COMPOSE, SERVICES, VARIABLE
from tests.processes import Gateway

PASSWORD = "apassword"


def _filled(text: str) -> str:
    """What Compose makes of `${NAME:-default}`, `${NAME-default}` and `${PASSWORD:?…}` where only passwords are set."""

    def value(found: "re.Match[str]") -> str:
        return PASSWORD if found["rest"].startswith(":?") else found["rest"].lstrip(":").removeprefix("-")

    return VARIABLE.sub(value, text)


@dataclass
class Stores:
    """A PostgreSQL and a Redis as the compose file would have set them up."""

    postgres: servers.Postgres
    redis: servers.Redis

    def settings(self, service: str) -> dict[str, str]:
        """One service's environment, with these servers in the place of those that Compose would name."""
        postgres, redis_ = self.postgres.where.address[1], self.redis.where.address[1]
        return {
            name: _filled(str(value))
            .replace("@postgres/", f"@127.0.0.1:{postgres}/")
            .replace("@redis:6379/", f"@127.0.0.1:{redis_}/")
            for name, value in SERVICES[service]["environment"].items()
        }

    def as_(self, role: str, database: str = "gateway") -> str:
        """The database's address for one of its roles."""
        return f"postgresql://{role}:{PASSWORD}@127.0.0.1:{self.postgres.where.address[1]}/{database}"

    async def set_up(self) -> None:
        """What the image does at its first start: the owner, the database, then the scripts as the owner."""
        first = await asyncpg.connect(self.postgres.url.replace("+asyncpg", ""))
        await first.execute("CREATE ROLE gateway_owner SUPERUSER LOGIN")
        await first.execute("CREATE DATABASE gateway OWNER gateway_owner")
        await first.close()
        owner = await asyncpg.connect(self.as_("gateway_owner"))
        await owner.execute(_filled(COMPOSE["configs"]["app_role"]["content"]))
        await owner.close()


@pytest.fixture
def compose_redis(tmp_path: Path) -> Iterator[servers.Redis]:
    """A Redis with the users of the compose file."""
    users = tmp_path / "users.acl"
    users.write_text(_filled(COMPOSE["configs"]["redis_users"]["content"]))
    with servers.start_redis("--aclfile", str(users)) as server:
        yield server


@pytest.fixture
def stores(own_postgres: servers.Postgres, compose_redis: servers.Redis) -> Stores:
    """Both, set up."""
    stores = Stores(own_postgres, compose_redis)
    asyncio.run(stores.set_up())
    return stores


def answer() -> int:
    """What the job below does."""
    return 42


def test_rq_works_under_the_rights_that_compose_gives_it(compose_redis: servers.Redis) -> None:
    """security.md §1: Redis is not trusted with code, so its user may do no more than queues and caches need."""
    connection = redis.Redis.from_url(compose_redis.url.replace("redis://", f"redis://gateway:{PASSWORD}@"))
    queue = rq.Queue("drain", connection=connection, serializer=rq.serializers.JSONSerializer)
    job = queue.enqueue(answer, result_ttl=60)
    rq.SimpleWorker([queue], connection=connection, serializer=rq.serializers.JSONSerializer).work(burst=True)
    assert job.return_value() == 42
    assert connection.set("gw:ring:drain-1", "", nx=True, px=1500)
    for forbidden in (connection.flushall, lambda: connection.config_set("dir", "/"), lambda: connection.get("other")):
        with pytest.raises(redis.exceptions.NoPermissionError):
            forbidden()
    connection.close()


def test_nobody_enters_redis_without_the_password(compose_redis: servers.Redis) -> None:
    with redis.Redis.from_url(compose_redis.url) as connection, pytest.raises(redis.exceptions.AuthenticationError):
        connection.ping()


def test_the_services_work_with_compose_files_settings(stores: Stores, tmp_path: Path, sealing_key: str) -> None:
    """Migrated by the owner, served by a role that owns no table, under Redis's narrow rights: ready, all three."""
    keys = tmp_path / "sealing_keys"
    keys.write_text(sealing_key)
    with Gateway({}, tmp_path) as gateway:
        gateway.settings = stores.settings("migrate") | {"GATEWAY_SEALING_KEYS_FILE": str(keys)}
        gateway.run(*SERVICES["migrate"]["command"])
        gateway.settings = stores.settings("web") | {"GATEWAY_SEALING_KEYS_FILE": str(keys)}
        _, address = gateway.serve()
        gateway.worker()
        gateway.relay()
        assert httpx2.get(f"{address}/readyz").status_code == 200
        gateway.run(*SERVICES["worker"]["healthcheck"]["test"][2:])


async def test_the_role_that_serves_cannot_change_the_schema(stores: Stores) -> None:
    """A hole in the web process must not be able to switch off what protects a tenant's rows."""
    connection = await asyncpg.connect(stores.as_("gateway"))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("CREATE TABLE mine (n int)")
    await connection.close()
