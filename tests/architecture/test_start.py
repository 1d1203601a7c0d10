"""A command loads what it needs: `gateway --help` and a typing mistake must not wait for the whole product."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import PROJECT, gateway_environment

DATABASE = {"sqlalchemy", "alembic"}
SERVER = {"fastapi", "uvicorn", "rq", "redis", "fakeredis", "httpx2", "authlib", "prometheus_client", "connectors"}

LOADED = """
import json, sys
from gateway.cli import main
code = main(sys.argv[1:])
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


@pytest.mark.parametrize(
    ("command", "spared"),
    [
        (["--help"], DATABASE | SERVER),
        (["key", "--help"], DATABASE | SERVER),
        (["tenant", "create", "--regiom", "CH"], DATABASE | SERVER),
        (["key", "new-sealing"], DATABASE | SERVER),
        (["tenant", "list"], SERVER),
        (["key", "list", "nobody"], SERVER - {"redis"}),  # `api_keys` names its client's type
        (["connection", "list", "nobody"], SERVER),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_loads_no_more_than_it_needs(command: list[str], spared: set[str], tmp_path: Path) -> None:
    """`python -X importtime` shows who to blame; import it inside the function that needs it."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *command],
        cwd=tmp_path,
        env=gateway_environment({"PYTHONPATH": str(PROJECT)}),
        capture_output=True,
        text=True,
        check=True,
    )
    _, loaded = json.loads(done.stdout.splitlines()[-1])
    assert spared & set(loaded) == set()


@pytest.mark.parametrize(
    ("modules", "spared"),
    [
        ("gateway.app, gateway.worker", {"prompt_toolkit", "typer", "alembic"}),
        ("gateway.worker, gateway.relay", {"fastapi", "uvicorn"}),
    ],
    ids=["a server", "a worker"],
)
def test_a_process_that_stays_loads_no_more_than_it_needs(modules: str, spared: set[str]) -> None:
    """It would pay with start time and memory, as often as it is started."""
    code = f"import sys, {modules}; print(*sys.modules)"
    env = gateway_environment({"PYTHONPATH": str(PROJECT)})
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert spared & set(done.stdout.split()) == set()
