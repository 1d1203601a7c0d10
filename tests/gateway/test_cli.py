"""The command line: shapes programs rely on, tables for people, one line for what went wrong."""

import json
import logging
import os
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import httpx2
import pytest
import structlog

from gateway.cli import main, told
from gateway.commands.terminal import clean
from gateway.errors import Problem
from gateway.tenants import api_keys
from tests.processes import Gateway, until


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


class Run(Protocol):
    def __call__(self, *arguments: str, more: Mapping[str, str] | None = None) -> Done: ...


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """`gateway <arguments>` in this process, as a command in the embedded default in a folder of its own."""
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    before, level = list(root.handlers), root.level

    def run(*arguments: str, more: Mapping[str, str] | None = None) -> Done:
        with monkeypatch.context() as patched:
            for name, value in {
                "GATEWAY_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path / 'gateway.db'}",
                **(more or {}),
            }.items():
                patched.setenv(name, value)
            capsys.readouterr()
            code = main(arguments)
        written = capsys.readouterr()
        return Done(code, written.out, written.err)

    yield run
    root.handlers[:], root.level = before, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


def test_from_nothing_to_a_key(run: Run) -> None:
    """The shapes that scripts rely on (design.md §5)."""
    tenant = json.loads(run("tenant", "create", "Acme SA", "--region", "CH", "--json").stdout)
    assert set(tenant) == {"id", "name"}
    assert tenant["id"].startswith("tn_")
    made = json.loads(run("key", "create", "Acme SA", "--scopes", "lookup,events,read", "--json").stdout)
    assert api_keys.read(made["key"]) is not None
    (listed,) = json.loads(run("key", "list", tenant["id"], "--json").stdout)
    assert listed["scopes"] == ["lookup", "events", "read"]
    assert made["key"] not in json.dumps(listed)
    (shown,) = json.loads(run("tenant", "list", "--json").stdout)
    assert (shown["region"], shown["zone"]) == ("CH", "Europe/Zurich")
    changed = run("tenant", "set", tenant["id"], "languages=fr,de", "retention.raw_days=3", "--json")
    document = json.loads(changed.stdout)
    assert (document["languages"], document["retention"]["raw_days"]) == (["fr", "de"], 3)
    link = json.loads(run("console", "Acme SA", "--json").stdout)["url"]
    assert re.fullmatch(r"http://127\.0\.0\.1:8000/console/enter/[\w-]{43}", link)
    assert json.loads(run("connection", "list", "Acme SA", "--json").stdout) == []
    assert json.loads(run("key", "revoke", "Acme SA", listed["id"], "--json").stdout) == {"id": listed["id"]}


def test_tables_fit_eighty_columns(run: Run) -> None:
    run("tenant", "create", "A company with a rather long name, and then some more of it, SA & Co. KG")
    for command in (["tenant", "list"], ["doctor"], ["--help"], ["key", "--help"]):
        lines = run(*command).stdout.splitlines()
        assert lines
        assert max(map(len, lines)) <= 80, command


BAD: list[tuple[list[str], int, str]] = [
    (["nonsense"], 2, "No such command"),
    (["tenant", "create"], 2, "Missing argument"),
    (["tenant", "create", "x", "--region", "XX"], 2, "ISO 3166"),
    (["tenant", "create", "x", "--region", "US"], 2, "29 time zones"),
    (["tenant", "create", "x", "--zone", "../x"], 2, "IANA"),
    (["tenant", "set", "nobody", "zone=Europe/Paris"], 1, "no tenant has this id or name"),
    (["key", "create", "nobody", "--scopes", "lookup"], 1, "no tenant has this id or name"),
    (["key", "revoke", "nobody", "ak_1"], 1, "no tenant has this id or name"),
    (["console", "nobody"], 1, "no tenant has this id or name"),
    (["sandbox", "lotus-notes"], 2, "no sandbox is called"),
    (["serve", "--port", "70000"], 2, "65535"),
]


@pytest.mark.parametrize(("arguments", "code", "says"), BAD, ids=[" ".join(bad[0]) for bad in BAD])
def test_what_cannot_be_done_is_one_line(run: Run, arguments: list[str], code: int, says: str) -> None:
    done = run(*arguments)
    assert done.returncode == code
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_bad_settings_of_a_tenant_are_named(run: Run) -> None:
    run("tenant", "create", "Acme SA")
    for change, says in [
        ("zone=Mars/Olympus", "zone is not an IANA"),
        ("colour=red", "colour is not known"),
        ("zone", "is not KEY=VALUE"),
        ("retention={", "is not JSON"),
    ]:
        done = run("tenant", "set", "Acme SA", change)
        assert (done.returncode, says in done.stderr) == (2, True), done.stderr


UNUSABLE: list[tuple[str, Mapping[str, str], int, str]] = [
    ("a short sealing key", {"GATEWAY_SEALING_KEYS": "abc"}, 2, "32 bytes as base64url"),
    ("no key file", {"GATEWAY_SEALING_KEYS_FILE": "/nowhere/keys"}, 2, "cannot read GATEWAY_SEALING_KEYS_FILE"),
    (
        "no sealing key with Redis",
        {"GATEWAY_REDIS_URL": "redis://127.0.0.1:1"},
        2,
        "GATEWAY_SEALING_KEYS is not set",
    ),
    ("a word for seconds", {"GATEWAY_LEASE": "soon"}, 2, "GATEWAY_LEASE"),
    ("an address with a path", {"GATEWAY_PUBLIC_URL": "https://example.com/x"}, 2, "GATEWAY_PUBLIC_URL"),
    ("http in public", {"GATEWAY_PUBLIC_URL": "http://example.com"}, 2, "https"),
]


@pytest.mark.parametrize("command", ["serve", "worker", "tenant list"])
@pytest.mark.parametrize(("more", "code", "says"), [bad[1:] for bad in UNUSABLE], ids=[bad[0] for bad in UNUSABLE])
def test_a_wrong_installation_is_one_clear_sentence(
    run: Run, command: str, more: Mapping[str, str], code: int, says: str
) -> None:
    done = run(*command.split(), more=more)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_wrong_sealing_key_is_found_at_start(run: Run, sealing_key: str) -> None:
    """Otherwise the first caller finds it."""
    assert run("tenant", "create", "Acme SA").returncode == 0
    done = run("serve", "--port", "0", more={"GATEWAY_SEALING_KEYS": sealing_key})
    assert done.returncode == 2
    assert "is not in GATEWAY_SEALING_KEYS" in done.stderr


def test_an_unmigrated_postgres_is_not_served(
    run: Run, empty_postgres_url: str, redis_url: str, sealing_key: str
) -> None:
    more = {
        "GATEWAY_DATABASE_URL": empty_postgres_url,
        "GATEWAY_REDIS_URL": redis_url,
        "GATEWAY_SEALING_KEYS": sealing_key,
    }
    done = run("serve", "--port", "0", more=more)
    assert (done.returncode, "run `gateway migrate`" in done.stderr) == (1, True)
    assert run("migrate", more=more).returncode == 0
    assert run("tenant", "list", "--json", more=more).stdout == "[]\n"


def test_a_database_that_is_away_is_told_without_its_address(run: Run, sealing_key: str) -> None:
    away = {
        "GATEWAY_DATABASE_URL": "postgresql://gateway:hunter2@127.0.0.1:1/gateway",
        "GATEWAY_SEALING_KEYS": sealing_key,
    }
    done = run("serve", "--port", "0", more=away)
    assert (done.returncode, "database does not answer" in done.stderr) == (1, True)
    assert "hunter2" not in done.stdout + done.stderr


def test_serve_says_when_it_is_ready_and_ends_in_order(embedded_gateway: Gateway) -> None:
    server, address = embedded_gateway.serve(
        more={"GATEWAY_HUBSPOT_API_URL": "http://127.0.0.1:9", "GATEWAY_LOG_FORMAT": "console"}
    )
    with httpx2.Client(base_url=address) as client:
        ready = client.get("/readyz")
        assert ready.json()["ready"] is True
        assert client.get("/openapi.json").status_code == 200
        until("the override is told", lambda: "stands in for the vendor" in server.output())
        assert server.output().startswith(f"gateway ready at {address}\n")
        assert server.output().count("a sealing key was made") == 1
        assert server.stop() == 0, "a kept connection must not hold up a deployment"
    assert "Traceback" not in server.output()


def test_a_port_that_is_taken_is_told(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("serve", "--port", str(taken.getsockname()[1]))
    assert (done.returncode, "cannot listen on 127.0.0.1" in done.stderr) == (1, True)


def test_a_command_beside_a_running_server_is_obeyed(embedded_gateway: Gateway, run: Run) -> None:
    """Embedded there are two processes and two Redis: within two seconds the database must have told."""
    _, address = embedded_gateway.serve()
    run("tenant", "create", "Acme SA")
    made = json.loads(run("key", "create", "Acme SA", "--scopes", "admin", "--json").stdout)
    headers = {"Authorization": f"Bearer {made['key']}"}
    with httpx2.Client(base_url=address, headers=headers) as client:
        assert client.get("/v1/settings").status_code == 200
        run("key", "revoke", "Acme SA", made["id"])
        until(
            "the key has ended",
            lambda: client.get("/v1/settings").status_code == 401,
            within=timedelta(seconds=2),
        )


def test_keys_rotate(run: Run, sealing_key: str) -> None:
    """New key second, then first, then everything wrapped anew, then the old one gone."""
    old = run("key", "new-sealing").stdout.strip()
    assert run("tenant", "create", "Acme SA", more={"GATEWAY_SEALING_KEYS": old}).returncode == 0
    both = {"GATEWAY_SEALING_KEYS": f"{sealing_key},{old}"}
    assert "still wraps 3" in " ".join(run("doctor", more=both).stdout.split())
    assert json.loads(run("key", "rotate", "--json", more=both).stdout) == {"rewrapped": 3}
    assert json.loads(run("key", "rotate", "--json", more=both).stdout) == {"rewrapped": 0}
    assert "may be taken away" in " ".join(run("doctor", more=both).stdout.split())
    assert run("tenant", "list", more={"GATEWAY_SEALING_KEYS": sealing_key}).returncode == 0


def test_names_do_not_paint_the_screen(run: Run) -> None:
    """A tenant's name is somebody else's text (security.md §7)."""
    run("tenant", "create", "\x1b[2JA\u202eB\x07[b]x[/b]\nC")
    shown = run("tenant", "list").stdout
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "[2JAB[b]x[/b] C" in " ".join(shown.split())


def test_clean_keeps_what_people_write() -> None:
    assert clean("Zoé Müller — Señor 王 🙂") == "Zoé Müller — Señor 王 🙂"


def test_an_error_of_ours_is_class_and_place_only() -> None:
    line, code = told(RuntimeError("Jean Dupont"))
    assert (code, "RuntimeError" in line, "Dupont" in line) == (1, True, False)
    assert told(Problem("x"))[1] == 1
