"""docker-compose.yml and the image, held against what the code and the documents say.

They are read, not started: a Docker engine is rarely at hand where tests run (the closing lines say whether one was).
What can be tried without one is in test_compose_rights.py.
"""

import inspect
import re
import subprocess
from typing import Any, cast

import pytest
import yaml

from connectors.sandbox.hubspot import app as sandbox_hubspot
from gateway.settings import App, Settings
from tests.architecture.test_settings import DOCUMENTED
from tests.processes import GATEWAY, PROJECT, gateway_environment

COMPOSE = cast(dict[str, Any], yaml.safe_load((PROJECT / "docker-compose.yml").read_text()))
SERVICES = cast(dict[str, dict[str, Any]], COMPOSE["services"])
OURS = [name for name, service in SERVICES.items() if "build" in service]
DOCKERFILE = (PROJECT / "Dockerfile").read_text()
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<rest>[^}]*)\}")


def test_every_part_is_there() -> None:
    assert set(SERVICES) == {"web", "worker", "relay", "migrate", "sandbox", "postgres", "redis"}


@pytest.mark.parametrize("name", OURS)
def test_the_command_exists(name: str) -> None:
    """A renamed command or option would show at the customer's first start."""
    words = SERVICES[name]["command"]
    options = [word for word in words if word.startswith("--")]
    subcommand = words[: next((at for at, word in enumerate(words) if word.startswith("--")), len(words))]
    done = subprocess.run(
        [*GATEWAY, *subcommand, "--help"],
        env=gateway_environment({"NO_COLOR": "1", "TERM": "dumb"}),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [option for option in options if option not in done.stdout] == []


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting(name: str) -> None:
    """A misspelt variable is silently the default."""
    fields = {f"GATEWAY_{one.upper()}" for one in Settings.model_fields}
    fields |= {f"GATEWAY_HUBSPOT_{one.upper()}" for one in App.model_fields}
    assert set(SERVICES[name]["environment"]) <= fields
    assert set(SERVICES[name]["environment"]) <= set(DOCUMENTED)


def test_the_sandbox_knows_the_app_that_is_named_to_it() -> None:
    """Else the first thing anybody tries, connecting the simulated HubSpot, ends on its page of errors."""
    sandbox = inspect.signature(sandbox_hubspot.create_app).parameters
    for name in ("client_id", "client_secret"):
        assert SERVICES["web"]["environment"][f"GATEWAY_HUBSPOT_{name.upper()}"].endswith(
            f":-{sandbox[name].default}}}"
        )


def test_every_value_asked_of_the_operator_is_explained() -> None:
    asked = {one["name"] for one in VARIABLE.finditer((PROJECT / "docker-compose.yml").read_text())}
    assert asked <= set(DOCUMENTED), "explain it in .env.example"


def test_no_secret_is_baked_in() -> None:
    """A password with a default is the password of every installation."""
    text = (PROJECT / "docker-compose.yml").read_text()
    passwords = [one for one in VARIABLE.finditer(text) if one["name"].endswith("_PASSWORD")]
    assert passwords
    assert [one.group() for one in passwords if not one["rest"].startswith(":?")] == []
    assert COMPOSE["secrets"] == {"sealing_keys": {"environment": "GATEWAY_SEALING_KEYS"}}
    assert not re.search(r"(?i)^(ARG|ENV).*(secret|password|key|token)", DOCKERFILE, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_who_is_waited_for_says_when_he_is_ready(name: str) -> None:
    """Starting before the database does is how an installation fails on every second machine."""
    for awaited, how in SERVICES[name].get("depends_on", {}).items():
        if how["condition"] == "service_healthy":
            assert SERVICES[awaited]["healthcheck"]["test"]
        else:
            assert (awaited, how["condition"]) == ("migrate", "service_completed_successfully")


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate"}))
def test_every_lasting_service_has_a_health_check(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("name", ["postgres", "redis"])
def test_the_stores_are_not_reachable_from_outside(name: str) -> None:
    assert "ports" not in SERVICES[name]


@pytest.mark.parametrize("name", OURS)
def test_our_processes_can_do_little(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_only_the_migration_holds_the_owners_password() -> None:
    """The processes that face the world own no table: they cannot switch off a row's protection."""
    holders = {name for name, service in SERVICES.items() if "OWNER_PASSWORD" in str(service)}
    assert holders == {"migrate", "postgres"}


def test_the_image_runs_as_nobody_in_particular() -> None:
    last_stage = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    (user,) = re.findall(r"^USER (\S+)$", last_stage, re.MULTILINE)
    assert int(user) > 0
    assert last_stage.index("USER") < last_stage.index("ENTRYPOINT")


def test_the_image_is_built_from_the_lock() -> None:
    assert re.search(r"pip install .*--require-hashes -r requirements\.txt", DOCKERFILE)


def test_all_that_the_image_copies_is_let_through_and_nothing_else() -> None:
    """`.dockerignore` lets in by name, so that no `.env`, key or database ends up in a layer."""
    let_through = set(re.findall(r"^!(\S+)$", (PROJECT / ".dockerignore").read_text(), re.MULTILINE))
    copied = {
        word.removesuffix("/")
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for word in line.split()[:-1]
    }
    assert copied == let_through
    assert [name for name in copied if not (PROJECT / name).exists()] == []
