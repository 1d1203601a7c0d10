"""README.md followed word for word: its blocks are typed into a shell in their order, in a folder of their own.

What is changed on the way: ports (those of the README may be taken here), and names of servers that are not ours.
"""

import asyncio
import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from fastapi import FastAPI
from starlette.routing import Match

from connectors.crm.catalog import CATALOG
from connectors.crm.port import Manifest
from gateway.app import ROUTERS
from tests import servers
from tests.architecture.test_settings import DOCUMENTED
from tests.flows.test_connect import Browser
from tests.processes import PROJECT, Process, free_port, gateway_environment, program, until
from tests.servers import Where

README = (PROJECT / "README.md").read_text()
CALLER = "Aline Voisard"  # 076 555 12 34 at the sandbox's account 62515


def blocks(heading: str, language: str = "bash") -> list[str]:
    """The fenced blocks of one section, in order."""
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert section, f"README.md has no section {heading!r}"
    return re.findall(rf"^```{language}\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL)


def documents(text: str) -> list[Any]:
    """The JSON documents that stand one after the other in `text`."""
    found, rest = [], text.strip()
    while rest:
        value, end = json.JSONDecoder().raw_decode(rest)
        found.append(value)
        rest = rest[end:].strip()
    return found


class Reader:
    """Somebody who follows the README: a folder with the gateway installed, and terminals in it.

    changes  text that is replaced in whatever is typed.
    """

    def __init__(self, folder: Path, changes: Mapping[str, str], settings: Mapping[str, str] | None = None) -> None:
        bin_ = folder / ".venv" / "bin"
        bin_.mkdir(parents=True)
        (bin_ / "gateway").symlink_to(program("gateway"))
        self.folder = folder
        self.changes = changes
        self.env = gateway_environment({"PYTHONPATH": str(PROJECT), **(settings or {})})
        self.started: list[Process] = []

    def typed(self, block: str) -> str:
        for old, new in self.changes.items():
            block = block.replace(old, new)
        return "".join(line + "\n" for line in block.splitlines() if not line.startswith("make "))  # see test_make.py

    def type(self, block: str) -> str:
        """Type a block, wait until it is done, answer what it printed. What it exports lasts for the next ones."""
        kept = self.folder / "environment"
        script = f"set -euo pipefail -o allexport\n{self.typed(block)}\nenv -0 > {kept}\n"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        self.env = dict(line.split("=", 1) for line in kept.read_text().split("\0") if line)
        return done.stdout

    def start(self, block: str, ready: str) -> Process:
        """Type a block whose last line keeps running, in a terminal of its own, and wait for the line `ready`."""
        *before, last = self.typed(block).strip().splitlines()
        log = self.folder / f"terminal-{len(self.started)}.log"
        script = "\n".join(["set -euo pipefail", *before, f"exec {last}"])
        process = Process(["bash", "-c", script], log, self.env, cwd=self.folder).start()
        self.started.append(process)
        process.wait_for_line(ready)
        return process

    def close(self) -> None:
        for process in reversed(self.started):
            process.stop()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    if shutil.which("curl") is None:
        pytest.skip("curl is not on PATH: what README.md asks with curl was not checked")
    gateway, sandbox = free_port(), free_port()
    changes = {
        "127.0.0.1:8000": f"127.0.0.1:{gateway}",
        "127.0.0.1:9001": f"127.0.0.1:{sandbox}",
        "gateway serve": f"gateway serve --port {gateway}",
        "gateway sandbox hubspot": f"gateway sandbox hubspot --port {sandbox}",
        "gateway console": f"GATEWAY_PUBLIC_URL=http://127.0.0.1:{gateway} gateway console",
        "gateway endpoint": f"GATEWAY_PUBLIC_URL=http://127.0.0.1:{gateway} gateway endpoint",
        "curl ": "curl -sS ",
    }
    someone = Reader(tmp_path, changes)
    try:
        yield someone
    finally:
        someone.close()


def test_the_secrets_it_makes_are_not_committed() -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not on PATH: what .gitignore leaves out was not checked")
    for name in ("gateway.key", "gateway.db", "sealing-keys", "retell.key", ".env"):
        asked = ["git", "check-ignore", "--quiet", "--no-index", name]
        done = subprocess.run(asked, cwd=PROJECT, capture_output=True, check=False)
        assert done.returncode in (0, 128), f"{name} is not in .gitignore"  # 128: not a repository


def test_by_hand_in_one_process(reader: Reader) -> None:
    """From nothing to a call in the CRM, a platform's endpoint, and a dead letter replayed: all that the README types."""
    first, second, third, lookup, mirror, post, read = blocks("By hand, in one process")
    reader.start(first, r"http://127\.0\.0\.1:\d+")
    reader.start(second, r"ready at http://127\.0\.0\.1:\d+")
    assert (reader.folder / "gateway.key").stat().st_mode & 0o777 == 0o600
    link = reader.type(third).strip().splitlines()[-1]
    asyncio.run(_connect_in_the_browser(link))

    answer: dict[str, Any] = {}

    def known() -> bool:
        (found,) = documents(reader.type(lookup))
        assert found["status"] in ("known", "pending"), found
        answer.update(found)
        return bool(found["status"] == "known")

    until("the caller is known", known)
    assert answer["contact"]["name"] == CALLER
    assert answer["variables"]["customer_name"] == CALLER

    (connection,) = json.loads(reader.type('gateway connection list "Acme SA" --json'))
    reader.env["CONNECTION"] = connection["id"]
    assert re.search(r"\b[1-9]\d+ records read", reader.type(mirror))

    (receipt,) = documents(reader.type(post))
    assert (receipt["call_id"], receipt["duplicate"]) == ("c-123", False)
    call = _until_over(reader, read)
    assert {one["action"]: one["state"] for one in call["deliveries"]} == dict.fromkeys(
        ("upsert_contact", "log_call", "create_task", "create_deal"), "delivered"
    )

    _platforms(reader)
    _dead_letters(reader, post, read)


def _platforms(reader: Reader) -> None:
    vapi, retell, look = blocks("Pointing a voice platform at it")
    made = reader.type(vapi)
    assert "Server URL" in made
    assert f"{reader.changes['127.0.0.1:8000']}/v1/voice/vapi/" in made
    (reader.folder / "retell.key").write_text("key_0123456789abcdef0123\n")
    assert "Inbound Webhook URL" in reader.type(retell)
    reader.env["ENDPOINT"] = made.split()[0]
    listed, answers = reader.type(look).split("{", 1)
    assert "Vapi" in listed
    trial, events = documents("{" + answers)
    assert trial["became"] == "test"
    assert [one["became"] for one in events["items"]] == ["test"]


def _dead_letters(reader: Reader, post: str, read: str) -> None:
    health, dead, lists = blocks("Looking after it")
    assert '"ready":true' in reader.type(health).replace(" ", "")

    origin = f"http://{reader.changes['127.0.0.1:9001']}"
    refusing = {"kind": "error", "status": 400, "method": "POST", "path": "/crm/objects/*/calls*"}
    with httpx2.Client(base_url=origin, trust_env=False) as sandbox:
        assert sandbox.post("/_sandbox/faults", json=refusing).is_success
        reader.type(post.replace("c-123", "c-124"))
        call = _until_over(reader, read.replace("c-123", "c-124"))
        (refused,) = (one for one in call["deliveries"] if one["action"] == "log_call")
        assert refused["state"] == "dead"
        assert sandbox.delete("/_sandbox/faults").is_success
    reader.env["DELIVERY"] = refused["id"]
    listed, replayed, others = documents(reader.type(dead))
    assert refused["id"] in [one["id"] for one in listed["items"]]
    assert replayed["id"] == refused["id"]
    assert others == {"replayed": len(listed["items"]) - 1}
    call = _until_over(reader, read.replace("c-123", "c-124"))
    assert {one["state"] for one in call["deliveries"]} == {"delivered"}

    shown = reader.type(lists)
    assert "active" in shown
    assert "lookup, events" in " ".join(shown.split())


def _until_over(reader: Reader, read: str) -> dict[str, Any]:
    """Ask for the call, as the README does, until nothing is open."""
    seen: dict[str, Any] = {}

    def over() -> bool:
        (call,) = documents(reader.type(read))
        seen.update(call)
        ended = {"delivered", "dead", "held", "cancelled", "uncertain"}
        return bool(call["deliveries"]) and all(one["state"] in ended for one in call["deliveries"])

    until("every delivery of the call has ended", over)
    return seen


async def _connect_in_the_browser(link: str) -> None:
    """What a person does: Continue, Connect, and allow it at the CRM."""
    origin = re.match(r"http://[^/]+", link)
    assert origin, link
    async with httpx2.AsyncClient(base_url=origin[0], trust_env=False, timeout=30) as client:
        browser = Browser(client)
        await browser.get(link)
        await browser.press("Continue")
        await browser.follow()
        await browser.press("Connect")
        await browser.get(await browser.at_vendor(account=62515))
        assert "is connected" in html.unescape(browser.page), browser.page


@pytest.fixture
def production(tmp_path: Path, own_postgres: servers.Postgres, redis_url: str) -> Iterator[Reader]:
    """The README's two roles and its environment, with our servers in the places of its own."""
    (sql,) = blocks("On PostgreSQL and Redis, on several machines", "sql")
    asyncio.run(_roles(own_postgres.where, sql))
    (environment,) = blocks("On PostgreSQL and Redis, on several machines", "ini")
    settings = dict(line.split("=", 1) for line in environment.splitlines())
    host = f"127.0.0.1:{own_postgres.where.address[1]}"
    settings["GATEWAY_DATABASE_URL"] = settings["GATEWAY_DATABASE_URL"].replace("db.example.com", host)
    settings["GATEWAY_REDIS_URL"] = redis_url
    settings["GATEWAY_SEALING_KEYS_FILE"] = str(tmp_path / "sealing-keys")
    settings["GATEWAY_OPERATOR_TOKEN"] = "a-token"
    owner = settings["GATEWAY_DATABASE_URL"].replace("gateway:choose-another", "gateway_owner:choose-one")
    changes = {
        "gateway serve --host 0.0.0.0 --port 8000": "gateway serve --host 127.0.0.1 --port 0",
        "gateway migrate": f"GATEWAY_OWNER_DATABASE_URL={owner} gateway migrate",
        "gateway doctor": f"GATEWAY_OWNER_DATABASE_URL={owner} gateway doctor",
    }
    someone = Reader(tmp_path, changes, settings)
    someone.env["PATH"] = os.pathsep.join((str(tmp_path / ".venv" / "bin"), someone.env["PATH"]))
    try:
        yield someone
    finally:
        someone.close()


async def _roles(where: Where, sql: str) -> None:
    statements = [one.strip() for one in sql.split(";") if one.strip()]
    first = await asyncpg.connect(where.url.replace("+asyncpg", ""))
    for statement in statements[:3]:
        await first.execute(statement)
    await first.close()
    inside = await asyncpg.connect(where.database("gateway").replace("+asyncpg", ""))
    for statement in statements[3:]:
        await inside.execute(statement)
    await inside.close()


def test_on_several_machines(production: Reader) -> None:
    """Roles, migration, the three processes, doctor, and a rotation of the sealing key."""
    prepare, processes, doctor, rotate, _compose = blocks("On PostgreSQL and Redis, on several machines")
    production.type(prepare)
    assert (production.folder / "sealing-keys").stat().st_mode & 0o777 == 0o600
    serve, worker, relay = processes.splitlines()
    address = production.start(serve, r"ready at http://127\.0\.0\.1:\d+").output().split("ready at ")[1].split()[0]
    production.start(worker, r"\bready\b")
    production.start(relay, r"\bready\b")
    operator = {"authorization": "Bearer a-token"}
    with httpx2.Client(base_url=address, headers=operator, trust_env=False) as client:
        assert client.get("/readyz").json() | {"version": ""} == {
            "ready": True,
            "database": "ok",
            "redis": "ok",
            "version": "",
        }
        assert "gateway_requests" in client.get("/metrics").text
    said = production.type(doctor)
    assert "owns the tables" not in said
    production.type('gateway tenant create "Acme SA"')

    keys = production.folder / "sealing-keys"
    old = keys.read_text()
    keys.write_text(production.type("gateway key new-sealing") + old)
    assert "may be taken away" in " ".join(production.type(rotate).split())
    for process in reversed(production.started):
        assert process.stop() == 0


@pytest.mark.parametrize("crm", sorted(CATALOG))
def test_a_crm_has_a_guide_that_names_the_scopes_asked_for(crm: str) -> None:
    """An app that lacks one cannot be installed, or does less than was promised."""
    manifest = CATALOG[crm].manifest
    assert f"({manifest.guide})" in README
    guide = (PROJECT / manifest.guide).read_text(encoding="utf-8")
    words = set(re.findall(r"[A-Za-z_]+", guide))  # tables write "`….read`, `.write`" and leave out what is the same
    assert {word for one in _scopes(manifest) for word in re.findall(r"[A-Za-z_]+", one)} <= words


def _scopes(manifest: Manifest) -> tuple[str, ...]:
    return (*manifest.scopes, *manifest.optional_scopes)


def test_the_table_of_crms_is_what_they_are() -> None:
    rows = dict(re.findall(r"^\| (\w+)(?: CRM)? \| [^|]* \| \[docs[^|]* \| ([^|]*) \|", README, re.MULTILINE))
    said = {name.lower(): words for name, words in rows.items()}
    in_words = {1: "one at a time"}
    assert said == {slug: in_words.get(one.manifest.run, f"up to {one.manifest.run}") for slug, one in CATALOG.items()}


def test_every_setting_it_names_exists() -> None:
    assert set(re.findall(r"\bGATEWAY_[A-Z_]+[A-Z]\b", README)) <= set(DOCUMENTED)


def test_every_address_it_names_exists() -> None:
    app = FastAPI()
    for router in ROUTERS:
        app.include_router(router)
    named = {re.sub(r"[?`].*", "", one) for one in re.findall(r"(?<=[\s`0])/(?:v1|console|oauth)/[^\s\"|]+", README)}
    assert named
    assert [path for path in sorted(named) if not _routed(app, path)] == []


def _routed(app: FastAPI, path: str) -> bool:
    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    return any(route.matches(scope)[0] is not Match.NONE for route in app.routes)


def test_its_links_and_pictures_are_there() -> None:
    local = [one for one in re.findall(r"\]\(([^)]+)\)", README) if "://" not in one]
    assert local
    assert [one for one in local if not (PROJECT / one).exists()] == []
