"""The lock says what `pyproject.toml` asks for, with a hash for each file and without an address."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.processes import PROJECT

LOCKS = ["requirements.txt", "requirements-dev.txt", "requirements-installer.txt"]
PIN = re.compile(r"^(?P<name>[\w.\[\],-]+)==(?P<version>[^ ;\\]+)", re.MULTILINE)


def pins(lock: str) -> dict[str, Version]:
    """What a lock pins, by canonical name."""
    found = PIN.finditer((PROJECT / lock).read_text())
    return {canonicalize_name(one["name"].partition("[")[0]): Version(one["version"]) for one in found}


def asked(*extras: str) -> list[Requirement]:
    """What pyproject.toml asks for, with these extras."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    words = project["dependencies"] + [one for extra in extras for one in project["optional-dependencies"][extra]]
    return [Requirement(word) for word in words]


@pytest.mark.parametrize(
    ("lock", "extras"), [("requirements.txt", ["build"]), ("requirements-dev.txt", ["build", "dev"])]
)
def test_the_lock_is_what_the_project_asks_for(lock: str, extras: list[str]) -> None:
    """Otherwise a fresh machine gets something else than what was tested."""
    pinned = pins(lock)
    missing = [
        str(want)
        for want in asked(*extras)
        if (name := canonicalize_name(want.name)) not in pinned or not want.specifier.contains(pinned[name], True)
    ]
    assert missing == [], "run `make lock`"


def test_tests_run_on_what_is_shipped() -> None:
    shipped, tested = pins("requirements.txt"), pins("requirements-dev.txt")
    assert {name: tested.get(name) for name in shipped} == shipped, "run `make lock`"


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_names_no_address(lock: str) -> None:
    """Whoever has a mirror of his own could not use it."""
    assert not re.search(r"://|^-|git\+", (PROJECT / lock).read_text(), re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_a_hash(lock: str) -> None:
    blocks = re.split(r"\n(?=\S)", (PROJECT / lock).read_text().strip())
    assert [block.split()[0] for block in blocks if not block.startswith("#") and "--hash=sha256:" not in block] == []
