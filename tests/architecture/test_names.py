"""What no file may be called, and what no file may say."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.processes import PROJECT

COLLECTORS = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers", "service", "services"}
IGNORED = {
    ".venv",
    ".git",
    "build",
    "dist",
    "__pycache__",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
}


def tracked() -> list[Path]:
    """The project's files: what git knows, or everything where the project came without its history."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        found = [path for path in PROJECT.rglob("*") if not IGNORED & set(path.relative_to(PROJECT).parts)]
    else:
        found = [PROJECT / name for name in listed.split("\0") if name]
    return [path for path in found if path.is_file()]


def test_no_file_collects_what_has_no_place() -> None:
    """Such a file grows for ever, and nobody finds in it what he looks for."""
    collecting = [
        str(path.relative_to(PROJECT))
        for path in tracked()
        if path.suffix == ".py"
        for part in path.relative_to(PROJECT).with_suffix("").parts
        if part in COLLECTORS or part.rpartition("_")[2] in COLLECTORS
    ]
    assert collecting == [], "name it for what it does"


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        # written so that this file does not find itself
        (
            "a package registry's host or a flag that names one",
            r"https?://[^\s'\"]+/simple\b|--(extra-)?index-ur[l]|--find-link[s]",
        ),
        ("a path of somebody's machine", r"(?<![\w./~-])/(work|root|home|Users)/"),
    ],
)
def test_no_file_names(what: str, pattern: str) -> None:
    """It would be wrong on every machine but the one it was written on."""
    looked_for = re.compile(pattern)
    found = [
        f"{path.relative_to(PROJECT)}:{number}"
        for path in tracked()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if looked_for.search(line)
    ]
    assert found == [], f"{what} stands there"


def test_nothing_is_tracked_that_holds_secrets() -> None:
    """A key that was committed once is a key that everybody has."""
    secret = [path.name for path in tracked() if path.name in (".env", "gateway.key") or path.suffix in (".pem", ".db")]
    assert secret == []
