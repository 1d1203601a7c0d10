from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from gateway.settings import Settings
from gateway.tenants import access
from tests.web import Web, no_work, running


@pytest.fixture(autouse=True)
def _nobody_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins as a process that has seen no key and no failure."""
    monkeypatch.setattr(access, "_known", {})
    monkeypatch.setattr(access, "_uses", {})
    monkeypatch.setattr(access, "_failures", {})


@pytest.fixture
async def web(sqlite_url: str) -> AsyncIterator[Web]:
    """The application in the embedded form, without workers."""
    async with running(Settings(database_url=sqlite_url), beside=no_work) as web:
        yield web


@pytest.fixture
async def each_web(database_url: str, sealing_key: str) -> AsyncIterator[Web]:
    """The same on each database, for what depends on it."""
    settings = Settings(database_url=database_url, sealing_keys=(SecretStr(sealing_key),))
    async with running(settings, beside=no_work) as web:
        yield web
