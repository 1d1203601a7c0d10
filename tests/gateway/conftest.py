"""Fixtures of the gateway's tests: the application in this process, on a database of the test's own."""

from collections.abc import AsyncIterator

import pytest

from gateway.settings import Settings
from tests.web import Web, no_work, running


@pytest.fixture
async def web(sqlite_url: str) -> AsyncIterator[Web]:
    """The application on SQLite and in-process Redis, without worker and relay."""
    async with running(Settings(database_url=sqlite_url), beside=no_work) as found:
        yield found


@pytest.fixture
async def web_on(database_url: str, redis_url: str, sealing_key: str) -> AsyncIterator[Web]:
    """The application on real Redis, once on SQLite and once on PostgreSQL."""
    settings = Settings.model_validate(
        {"database_url": database_url, "redis_url": redis_url, "sealing_keys": sealing_key}
    )
    async with running(settings, beside=no_work) as found:
        yield found
