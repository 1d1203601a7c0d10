"""`gateway endpoint`: shapes programs rely on, and one line for what is wrong."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from gateway.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """(exit code, stdout, stderr) of a command in the embedded default, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEWAY_DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path / 'gateway.db'}")
    monkeypatch.setenv("GATEWAY_PUBLIC_URL", "https://gateway.example")

    def command(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(arguments)
        written = capsys.readouterr()
        return code, written.out, written.err

    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield command
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


@pytest.fixture
def tenant(run: Run) -> str:
    code, out, err = run("tenant", "create", "Acme SA", "--region", "CH", "--json")
    assert code == 0, err
    tenant_id: str = json.loads(out)["id"]
    return tenant_id


def test_an_endpoint_is_made_listed_rotated_and_ended(run: Run, tenant: str) -> None:
    code, out, err = run("endpoint", "create", tenant, "--platform", "vapi", "--json")
    assert code == 0, err
    made = json.loads(out)
    assert made["url"].startswith("https://gateway.example/v1/voice/vapi/")
    assert len(made["secret"]) >= 43

    listed = json.loads(run("endpoint", "list", tenant, "--json")[1])
    assert [(one["id"], one["url"]) for one in listed] == [(made["id"], made["url"])]

    rotated = json.loads(run("endpoint", "rotate", tenant, made["id"], "--json")[1])
    assert rotated["id"] == made["id"]
    assert {rotated["url"], rotated["secret"]}.isdisjoint({made["url"], made["secret"]})

    assert run("endpoint", "delete", tenant, made["id"])[0] == 0
    assert json.loads(run("endpoint", "list", tenant, "--json")[1]) == []
    code, _, err = run("endpoint", "delete", tenant, made["id"])
    assert (code, err.count("\n")) == (1, 1)


def test_an_endpoint_is_changed(run: Run, tenant: str) -> None:
    made = json.loads(
        run("endpoint", "create", tenant, "--platform", "vapi", "--setting", "auth=secret", "--json")[1],
    )
    options = ("--name", "Night", "--fallback", '{"assistantId": "as_2"}', "--setting", "auth=bearer")
    code, out, err = run("endpoint", "change", tenant, made["id"], *options)
    assert (code, out) == (0, f"{made['id']} is changed\n"), err
    (listed,) = json.loads(run("endpoint", "list", tenant, "--json")[1])
    assert {name: listed[name] for name in ("name", "url", "fallback", "settings")} == {
        "name": "Night",
        "url": made["url"],
        "fallback": {"assistantId": "as_2"},
        "settings": {"auth": "bearer"},
    }
    for wrong, told in (
        ((), "say what to change"),
        (("--setting", "auth"), "--setting is not NAME=VALUE"),
        (("--setting", "colour=red"), "settings.colour is not known here"),
        (("--fallback", "[]"), "fallback"),
        (("--name", ""), "name must be printable text"),
    ):
        code, out, err = run("endpoint", "change", tenant, made["id"], *wrong)
        assert (code, out, err.count("\n")) == (2, "", 1), wrong
        assert told in err
    assert run("endpoint", "change", tenant, "ve_none", "--name", "A")[0] == 1


def test_a_person_is_told_what_to_paste_where(run: Run, tenant: str) -> None:
    code, out, _ = run("endpoint", "create", tenant, "--platform", "vapi", "--name", "Reception")
    assert code == 0
    assert "1. At dashboard.vapi.ai" in out
    assert "its secret, shown this once" in out


def test_a_platforms_own_key_comes_from_standard_input(run: Run, tenant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the command line everybody on the machine could read it."""
    monkeypatch.setattr("sys.stdin", io.StringIO("key_of_the_tenant\n"))
    code, out, err = run("endpoint", "create", tenant, "--platform", "retell", "--secret", "-", "--json")
    assert code == 0, err
    assert json.loads(out)["secret"] == "key_of_the_tenant"


def test_what_is_wrong_is_one_line(run: Run, tenant: str) -> None:
    for options, told in (
        (("--platform", "skype"), "platform is not one of vapi, retell"),
        (("--platform", "retell"), "secret is missing: Retell AI signs with your own API key"),
        (("--platform", "vapi", "--secret", "my own making"), "secret is made here for this platform"),
        (("--platform", "vapi", "--fallback", "{"), "--fallback is not JSON"),
        (("--platform", "vapi", "--assurance", "url"), "assurance"),
    ):
        code, out, err = run("endpoint", "create", tenant, *options)
        assert (code, out) == (2, "")
        assert told in err
        assert err.count("\n") == 1
    code, _, err = run("endpoint", "create", "nobody", "--platform", "vapi")
    assert code == 1
