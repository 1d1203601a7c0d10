"""Fixtures for everyone: `tests.stores` has the databases, this file the gateway's own processes.

Here too: how many examples a property is tried on. `quick` is what `make test` uses; `make test THOROUGH=1`, which
belongs into the night, tries each a thousand times. A property that states its own number keeps it.
"""

import base64
import functools
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import httpcore2
import hypothesis
import pytest

from tests.processes import Gateway, memory

pytest_plugins = ["tests.stores", "tests.closing"]

hypothesis.settings.register_profile("quick", max_examples=30, deadline=None)
hypothesis.settings.register_profile("thorough", max_examples=1000, deadline=None)
hypothesis.settings.load_profile("quick")

# Where pytest makes `tmp_path`. SQLite waits for the disk at each commit, which on a disk is half of such a test's time.
if (_folder := memory(programs=True)) is not None:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_folder))

# A client without a TLS context of its own makes one, which takes 30 ms of reading the system's certificates. One is
# enough for all clients of a test process: what they ask is this machine, mostly without TLS.
httpcore2.default_ssl_context = functools.cache(httpcore2.default_ssl_context)


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
