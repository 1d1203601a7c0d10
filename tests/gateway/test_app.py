"""The shell of the application: what is refused before anything else, what operators see, what pages may load."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from html.parser import HTMLParser
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict
from sqlalchemy import text

from gateway import app as gateway_app
from gateway import metrics
from gateway.api import docs
from gateway.bodies import Message, Scope
from gateway.db.requests import Reading
from gateway.settings import Settings
from gateway.tenants.access import Principal, needs
from tests.web import Web, no_work, running

router = APIRouter()


class Thing(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    size: float = 0


@router.post("/v1/probe/{thing_id}")
async def probe(thing_id: str, thing: Thing, who: Annotated[Principal, needs("events")]) -> dict[str, Any]:
    return {"name": thing.name, "size": thing.size}


@router.get("/v1/broken/{number}")
async def broken(number: str) -> None:
    raise RuntimeError(f"Jean Dupont, {number}")


@router.get("/v1/forgetful")
async def forgetful(session: Reading) -> None:
    """A route that forgot to ask who is calling."""


@router.get("/v1/whoever")
async def whoever(request: Request) -> str:
    return metrics.seen(request.scope).client


@router.get("/console/page")
async def hello() -> HTMLResponse:
    return HTMLResponse("<p>hello")


@pytest.fixture
async def shell(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Web]:
    monkeypatch.setattr(gateway_app, "ROUTERS", (*gateway_app.ROUTERS, router))
    proxied = Settings(database_url=sqlite_url, trusted_proxies=("10.0.0.0/8",))
    async with running(proxied, beside=no_work) as web:
        yield web


JSON = {"Content-Type": "application/json"}
BIG = 5 * 1024 * 1024
BAD: list[tuple[str, str, Mapping[str, str], bytes, int, str]] = [
    ("not JSON", "POST", JSON, b"{", 400, "body"),
    ("no value", "POST", JSON, b"   ", 400, "body"),
    ("too deep", "POST", JSON, b"[" * 5000, 400, "body"),
    ("a NaN", "POST", JSON, b'{"name": "x", "size": NaN}', 400, "body"),
    ("a huge number", "POST", JSON, b'{"name": "x", "size": ' + b"9" * 5000 + b"}", 400, "body"),
    ("UTF-16", "POST", JSON, '{"name": "x"}'.encode("utf-16"), 400, "body"),
    ("a list", "POST", JSON, b"[]", 422, "body"),
    ("empty", "POST", JSON, b"", 422, "body"),
    ("a field missing", "POST", JSON, b"{}", 422, "body.name"),
    ("a wrong type", "POST", JSON, b'{"name": 1}', 422, "body.name"),
    ("an unknown field", "POST", JSON, b'{"name": "x", "nmae": "y"}', 422, "body.nmae"),
    ("no content type", "POST", {}, b"{}", 415, "header.content-type"),
    ("a form", "POST", {"Content-Type": "application/x-www-form-urlencoded"}, b"a=b", 415, "header.content-type"),
    ("text", "POST", {"Content-Type": "text/plain"}, b"{}", 415, "header.content-type"),
    ("compressed", "POST", {**JSON, "Content-Encoding": "gzip"}, b"x", 415, "header.content-encoding"),
    ("5 MB", "POST", JSON, b" " * BIG, 413, "body"),
    ("a byte too many", "POST", JSON, b" " * (64 * 1024 + 1), 413, "body"),
]


@pytest.mark.parametrize(
    ("method", "headers", "body", "status", "field"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD]
)
async def test_a_bad_request_is_told_its_field(
    shell: Web, method: str, headers: Mapping[str, str], body: bytes, status: int, field: str
) -> None:
    key = await shell.key(await shell.tenant(), "events")
    answer = await shell.client.request(
        method, "/v1/probe/1", content=body, headers={**headers, "Authorization": f"Bearer {key}"}
    )
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert field in [error["field"] for error in answer.json()["errors"]]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/../../etc/passwd", 404),
        ("GET", "/v1/%00", 404),
        ("DELETE", "/v1/settings", 405),
        ("BREW", "/v1/settings", 405),
        ("GET", "/v1/settings", 401),
    ],
)
async def test_every_refusal_is_a_problem(shell: Web, method: str, path: str, status: int) -> None:
    answer = await shell.client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"].startswith("/docs#")


async def test_a_body_without_a_length_is_counted(shell: Web) -> None:
    """Chunks have no length to believe."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 1024

    answer = await shell.client.post("/v1/probe/1", content=chunks(), headers=JSON)
    assert answer.status_code == 413


async def test_a_body_too_large_is_refused_before_who_asks(shell: Web) -> None:
    assert (await shell.client.post("/v1/probe/1", content=b" " * BIG, headers=JSON)).status_code == 413


async def test_strange_text_arrives_as_it_can_be_stored(shell: Web) -> None:
    """PostgreSQL takes no NUL, and no encoder a lone surrogate: both were a 500 somewhere once."""
    key = await shell.key(await shell.tenant(), "events")
    body = b'{"name": "a\\u0000b\\ud800c \xc3\xa9 \xff", "size": 1.5}'
    answer = await shell.client.post("/v1/probe/1", content=body, headers={**JSON, "Authorization": f"Bearer {key}"})
    assert answer.json() == {"name": "ab\ufffdc é \ufffd", "size": 1.5}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(
    body=st.binary(max_size=300) | st.recursive(st.none() | st.text() | st.floats(), st.lists).map(repr).map(str.encode)
)
async def test_no_body_is_a_500(shell: Web, body: bytes) -> None:
    async with shell.anyone(f"10.1.{len(body) // 256}.{len(body) % 256}") as client:
        answer = await client.post("/v1/probe/1", content=body, headers=JSON)
    assert 400 <= answer.status_code < 500


async def test_what_breaks_is_a_500_without_a_word_about_it(shell: Web, capsys: pytest.CaptureFixture[str]) -> None:
    answer = await shell.client.get("/v1/broken/+41446681800")
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] in answer.json()["detail"]
    written = "".join(capsys.readouterr())
    assert "RuntimeError" in written
    for secret in ("Dupont", "446681800", "Traceback"):
        assert secret not in answer.text + written


async def test_a_route_that_forgot_to_ask_who_it_is_serves_nobody(shell: Web) -> None:
    assert (await shell.client.get("/v1/forgetful")).status_code == 500


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost:9999", 200),
        ("LOCALHOST", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
    ],
)
async def test_only_our_own_name_is_served(shell: Web, host: str, status: int) -> None:
    """A name that points at us from elsewhere must not reach the console of a laptop."""
    assert (await shell.client.get("/openapi.json", headers={"Host": host})).status_code == status
    assert (await shell.client.get("/healthz", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("gateway.example.com", 200),
        ("Gateway.Example.com", 200),
        ("gateway.example.com:443", 200),
        ("gateway.example.com:8080", 200),
        ("localhost", 421),
        ("127.0.0.1:8000", 421),
        ("xgateway.example.com", 421),
    ],
)
async def test_in_public_no_other_name_is(sqlite_url: str, host: str, status: int) -> None:
    public = Settings(database_url=sqlite_url, public_url="https://gateway.example.com")
    async with running(public, beside=no_work) as web:
        assert (await web.client.get("/openapi.json", headers={"Host": host})).status_code == status


@pytest.mark.parametrize(
    ("peer", "forwarded", "seen"),
    [
        ("198.51.100.1", None, "198.51.100.1"),
        ("198.51.100.1", "203.0.113.9", "198.51.100.1"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "1.2.3.4, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "nonsense, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9, nonsense", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
    ],
)
async def test_only_our_proxies_say_who_is_behind_them(shell: Web, peer: str, forwarded: str | None, seen: str) -> None:
    async with shell.anyone(peer) as client:
        headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
        assert (await client.get("/v1/whoever", headers=headers)).json() == seen


async def test_operators_addresses_are_for_operators(sqlite_url: str) -> None:
    guarded = Settings.model_validate({"database_url": sqlite_url, "operator_token": "open-sesame"})
    async with running(guarded, beside=no_work) as web, web.anyone("203.0.113.7") as stranger:
        token = {"Authorization": "Bearer open-sesame"}
        assert (await stranger.get("/healthz")).json() == {"alive": True}
        assert (await stranger.get("/readyz")).json() == {"ready": True}
        assert (await stranger.get("/metrics")).status_code == 404
        assert (await stranger.get("/metrics", headers={"Authorization": "Bearer no"})).status_code == 404
        assert "gateway_requests_total" in (await stranger.get("/metrics", headers=token)).text
        assert (await stranger.get("/readyz", headers=token)).json()["database"] == "ok"
        assert "gateway_requests_total" in (await web.client.get("/metrics")).text
        forwarded = await web.client.get("/metrics", headers={"X-Forwarded-For": "203.0.113.7"})
        assert forwarded.status_code == 404, "a proxy on this machine asks for the world"


async def test_without_a_token_nobody_elsewhere_is_an_operator(shell: Web) -> None:
    async with shell.anyone("203.0.113.7") as stranger:
        assert (await stranger.get("/metrics", headers={"Authorization": "Bearer "})).status_code == 404


async def test_not_ready_at_another_revision(web: Web) -> None:
    """A machine that still runs the old code must be taken out of service, and say why."""
    async with web.parts.db.transaction() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = 'older'"))
    answer = await web.client.get("/readyz")
    assert answer.status_code == 503
    assert "gateway migrate" in answer.json()["database"]


async def test_metrics_count_templates_never_paths(shell: Web) -> None:
    """Paths hold ids and keys, and there is no end of them."""
    before = counted((await shell.client.get("/metrics")).text)
    for number in range(3):
        await shell.client.post(f"/v1/probe/secret-{number}", json={})
    await shell.client.get("/nowhere/secret")
    told = (await shell.client.get("/metrics")).text
    assert counted(told) == before + 3  # the process counts for all tests that ran in it
    assert 'route="unmatched"' in told
    assert "secret-" not in told
    assert "nowhere" not in told


def counted(told: str) -> int:
    """Requests to the probe by its template."""
    lines = re.findall(
        r'gateway_requests_total\{method="POST",route="/v1/probe/\{thing_id\}",status="\d+"\} (\d+)', told
    )
    return sum(map(int, lines))


async def test_a_request_leaves_one_line_with_its_template(shell: Web, capsys: pytest.CaptureFixture[str]) -> None:
    key = await shell.key(await shell.tenant(), "events")
    answer = await shell.client.post(
        "/v1/probe/secret?code=secret",
        json={"name": "secret"},
        headers={"Authorization": f"Bearer {key}", "X-Request-Id": "secret"},
    )
    await asyncio.sleep(0)
    (line,) = capsys.readouterr().err.splitlines()
    read = json.loads(line)
    assert (read["route"], read["method"], read["status"]) == ("/v1/probe/{thing_id}", "POST", 200)
    assert read["request_id"] == answer.headers["x-request-id"]
    assert read["tenant_id"].startswith("tn_")
    assert "secret" not in line


async def test_pages_load_nothing_from_elsewhere(shell: Web) -> None:
    headers = (await shell.client.get("/console/page")).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "img-src", "form-action")} == {"'self'"}
    assert {policy[name] for name in ("base-uri", "frame-ancestors")} == {"'none'"}
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert "strict-transport-security" not in headers


async def test_over_https_browsers_are_told_to_stay(sqlite_url: str) -> None:
    public = Settings(database_url=sqlite_url, public_url="https://gateway.example.com")
    async with running(public, beside=no_work) as web:
        assert "max-age" in (await web.client.get("/docs")).headers["strict-transport-security"]


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.tags: list[str] = []
        self.ids: set[str] = set()
        self.fragments: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert name != "style"
            assert not name.startswith("on")
            if name == "id":
                self.ids.add(value or "")
            elif name in ("src", "href") and (value or "").startswith("#"):
                self.fragments.add((value or "")[1:])
            elif name in ("src", "href"):
                self.loaded.append(value or "")


async def test_the_docs_work_offline_and_under_our_policy(web: Web) -> None:
    """The usual page loads a third party's script, and is empty without the internet."""
    read = _Links()
    read.feed((await web.client.get("/docs")).text)
    assert not {"script", "iframe", "object"} & set(read.tags)
    assert read.fragments <= read.ids
    for address in set(read.loaded):
        assert (await web.client.get(address)).status_code == 200, address
    assert "invalid" in read.ids, "problems point here"


async def test_every_operation_is_in_the_docs(web: Web) -> None:
    document = (await web.client.get("/openapi.json")).json()
    page = (await web.client.get("/docs")).text
    for path in document["paths"]:
        assert f"<code>{path}</code>" in page


def test_prose_of_docstrings_is_escaped() -> None:
    assert str(docs.prose("Send `a<b>` <i>\n\nthen")) == "Send <code>a&lt;b&gt;</code> &lt;i&gt;</p><p>then"


async def test_hot_paths_have_a_documented_twin() -> None:
    """What is answered before FastAPI must still be in the document."""
    document = FastAPI()
    for one in gateway_app.ROUTERS:
        document.include_router(one)
    paths = document.openapi()["paths"]
    for method, path in gateway_app.HOT:
        assert method.lower() in paths[path]


async def test_a_websocket_is_closed(shell: Web) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    scope: Scope = {"type": "websocket", "path": "/", "headers": []}
    await shell.app(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]
