"""Fixtures for everyone: `tests.stores` has the databases, this file the gateway's own processes."""

import base64
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Gateway

pytest_plugins = ["tests.stores", "tests.closing"]


@pytest.fixture
def sealing_key() -> str:
    """One value for `GATEWAY_SEALING_KEYS`, new for each test."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()


@pytest.fixture
def gateway(tmp_path: Path, postgres_url: str, redis_url: str, sealing_key: str) -> Iterator[Gateway]:
    """`gateway …` processes on PostgreSQL and Redis, as on several machines; all ended after the test."""
    settings = {
        "GATEWAY_DATABASE_URL": postgres_url,
        "GATEWAY_REDIS_URL": redis_url,
        "GATEWAY_SEALING_KEYS": sealing_key,
    }
    with Gateway(settings, tmp_path) as processes:
        yield processes


@pytest.fixture
def embedded_gateway(tmp_path: Path) -> Iterator[Gateway]:
    """`gateway …` processes in the embedded default: a SQLite file and a `gateway.key` in `tmp_path`, no Redis."""
    with Gateway({"GATEWAY_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path / 'gateway.db'}"}, tmp_path) as processes:
        yield processes
