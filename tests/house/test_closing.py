"""The closing lines, as a run of its own prints them: with two workers, on servers that are given by URL."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import PROJECT
from tests.servers import Where

CONFTEST = 'pytest_plugins = ["tests.stores", "tests.closing"]\n'
TESTS = """
import pytest
from tests.closing import note_operation
from tests.shared import shared

@pytest.mark.parametrize("n", range(6))
def test_exchange(n, redis_url):
    note_operation("hubspot", f"GET /things/{n % 2}")

def test_rows(postgres_url):
    note_operation("hubspot", "POST /things")

@pytest.mark.parametrize("n", range(2))
def test_beside(n):
    shared("not/there", what="the fit of things")

def test_that_fails():
    assert False
"""


@pytest.fixture
def printed(tmp_path: Path, postgres_server: Where, redis_server: Where) -> list[str]:
    """The last lines of a small run."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_things.py").write_text(TESTS)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env |= {
        "PYTHONPATH": str(PROJECT),
        "GATEWAY_TEST_POSTGRES_URL": postgres_server.url.replace("+asyncpg", ""),
        "GATEWAY_TEST_REDIS_URL": redis_server.database(100),  # beyond the numbers that our own workers use
    }
    command = [sys.executable, "-m", "pytest", "-n", "2", "-p", "no:cacheprovider", "-p", "no:asyncio", "."]
    return subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    ).stdout.splitlines()


def test_what_a_run_rests_on_stands_at_its_end(printed: list[str], postgres_server: Where, redis_server: Where) -> None:
    """Whoever reads only the end of a log must not take half a run for a whole one."""
    heading = next(at for at, line in enumerate(printed) if "what this run rests on" in line)
    closing = [line for line in printed[heading + 1 : -1] if "Docker" not in line]
    assert closing == [
        f"PostgreSQL {postgres_server.version}, from GATEWAY_TEST_POSTGRES_URL",
        f"Redis {redis_server.version}, from GATEWAY_TEST_REDIS_URL",
        "3 operations checked against hubspot's published schemas, in 7 exchanges",
        "not checked: 2 × ../shared/not/there is not here: the fit of things was not checked",
        "8 tests ran: 7 passed, 1 failed, 0 errors, 2 skipped",
    ]
    assert "1 failed, 7 passed, 2 skipped" in printed[-1]


def test_a_server_that_cannot_be_had_fails_its_tests_in_one_line(tmp_path: Path) -> None:
    """Not a skip: a run without its database has shown nothing."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_things.py").write_text("def test_rows(postgres_url): pass\n")
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)}
    env |= {"GATEWAY_TEST_POSTGRES_URL": "postgresql://127.0.0.1:1/nobody"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "."]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "GATEWAY_TEST_POSTGRES_URL is set, but nobody answers there" in done.stdout
    assert "1 error" in done.stdout.splitlines()[-1]
