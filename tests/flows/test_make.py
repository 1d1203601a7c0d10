"""The two commands of a new user, `make demo` and `make test`, and their neighbours."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.processes import PROJECT, program


@pytest.mark.parametrize(
    ("asked", "runs"),
    [
        ("demo", ".venv/bin/gateway demo"),
        ("demo ONCE=1", ".venv/bin/gateway demo --once"),
        ("demo ONCE=0", ".venv/bin/gateway demo"),
        ("demo CRM=hubspot STORY=lead ONCE=1", ".venv/bin/gateway demo --crm hubspot --story lead --once"),
        ("test", ".venv/bin/python -m pytest -n 2"),
        ("test JOBS=4", ".venv/bin/python -m pytest -n 4"),
        ("test THOROUGH=1", ".venv/bin/python -m pytest -n 2 --hypothesis-profile thorough"),
        ("check", ".venv/bin/ruff format --check ."),
        ("check", ".venv/bin/ruff check ."),
        ("check", ".venv/bin/mypy gateway connectors rules tests"),
        ("check", ".venv/bin/lint-imports"),
        ("bench", ".venv/bin/python -m tests.benchmarks"),
        ("chaos SEEDS=20", ".venv/bin/python -m tests.chaos --seeds 20"),
    ],
)
def test_a_target_sets_up_and_then_runs(asked: str, runs: str) -> None:
    """Nobody should have to know that there is a virtual environment."""
    done = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", *asked.split()],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"]},  # not what `make test TESTS=…` itself was told
        capture_output=True,
        text=True,
        check=True,
    )
    first, *rest = (line.split("#")[0].rstrip() for line in done.stdout.splitlines())
    assert ".ci/setup" in first
    assert runs in [" ".join(line.split()) for line in rest]


def test_ci_runs_the_tests_and_the_checks() -> None:
    lines = (PROJECT / ".ci" / "run").read_text().splitlines()
    assert "set -euo pipefail" in lines
    assert lines[-2:] == ["make test", "make check"]
    assert (PROJECT / ".ci" / "run").stat().st_mode & stat.S_IXUSR


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of what set-up reads, with no virtual environment."""
    folder = tmp_path / "clone"
    (folder / ".ci").mkdir(parents=True)
    shutil.copy(PROJECT / ".ci" / "setup", folder / ".ci" / "setup")
    for lock in PROJECT.glob("requirements*.txt"):
        shutil.copy(lock, folder)
    return folder


def _set_up(clone: Path, kind: str, path: str | None = None) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "PATH": path or os.environ["PATH"]}
    env.pop("PYTHON", None)
    return subprocess.run([clone / ".ci" / "setup", kind], env=env, capture_output=True, text=True, check=False)


def _path_with(folder: Path, python: str) -> str:
    """A PATH with the system's small programs, and one python3 that does as told."""
    folder.mkdir()
    for name in ("sh", "env", "cat", "cksum", "tr", "dirname", "grep", "printf"):
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    (folder / "python3").write_text(f"#!/bin/sh\n{python}\n")
    (folder / "python3").chmod(0o755)
    return str(folder)


def test_an_old_python_is_named_in_one_line(clone: Path, tmp_path: Path) -> None:
    """A new user gets told what to install, not a stack of errors from a package that did not build."""
    path = _path_with(tmp_path / "bin", 'if [ "$1" = --version ]; then echo Python 3.9.2; else exit 1; fi')
    done = _set_up(clone, "run", path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "Python 3.11 or newer is missing (found: Python 3.9.2)" in line


def test_a_python_without_venv_is_named_in_one_line(clone: Path, tmp_path: Path) -> None:
    path = _path_with(
        tmp_path / "bin",
        'case "$*" in --version) echo Python 3.12.1;; -c*) exit 0;; *) echo "No module named venv" >&2; exit 1;; esac',
    )
    done = _set_up(clone, "run", path)
    assert done.returncode == 1
    *_, line = done.stderr.splitlines()
    assert "install its venv module" in line
    assert not (clone / ".venv" / "ready-run").exists()


def test_set_up_does_nothing_until_the_lock_changes(clone: Path) -> None:
    """`make demo` the second time starts at once, and after an update it installs what is new."""
    bin_ = clone / ".venv" / "bin"
    bin_.mkdir(parents=True)
    installed = clone / "installed"
    (bin_ / "python").write_text(f'#!/bin/sh\ncase "$*" in *requirements-dev.txt*) echo x >> "{installed}";; esac\n')
    (bin_ / "gateway").write_text("#!/bin/sh\n")
    for script in bin_.iterdir():
        script.chmod(0o755)

    def times() -> int:
        return len(installed.read_text().split()) if installed.exists() else 0

    assert _set_up(clone, "dev").returncode == 0
    assert times() == 1
    assert _set_up(clone, "dev").stderr == ""
    assert _set_up(clone, "run").stderr == "", "what the tests need is all that the gateway needs, and more"
    assert times() == 1
    with (clone / "requirements-dev.txt").open("a") as lock:
        lock.write("# one more package\n")
    assert _set_up(clone, "dev").returncode == 0
    assert times() == 2


def test_the_gateway_command_is_installed() -> None:
    """What README and Makefile call is there after set-up, not only `python -m`."""
    done = subprocess.run([program("gateway"), "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
