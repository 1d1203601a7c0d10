"""What a failed request may have done, decided on real sockets that hang, break, lie and dawdle."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta

import httpx2
import pytest

from connectors.errors import (
    ConnectorError,
    OutcomeUnknown,
    RateLimited,
    ReconnectNeeded,
    Rejected,
    Unavailable,
    UnexpectedReply,
)
from connectors.http import Http, make_client, no_sending_after, tls
from connectors.request import Reply, Request
from tests.connectors.servers import Exchange, Script, answering, hanging, resetting, sending, serving

READ = Request(method="GET", path="/things", query=[("q", "Zürich & Bern"), ("q", "2")])
WRITE = Request(method="POST", path="/things", json={"name": "Aurélie"}, writes=True)
SHORT = timedelta(milliseconds=300)
SETTLE = timedelta(seconds=7)


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with make_client(connect=SHORT) as made:
        yield made


def read_error(request: Request, reply: Reply) -> ConnectorError:
    if reply.status == 401 and b"scope" not in reply.body:
        return ReconnectNeeded("the token is not accepted", status=401)
    return Rejected(f"status {reply.status}", status=reply.status)


def http(
    client: httpx2.AsyncClient,
    origin: str | Callable[[], str],
    *,
    token: Callable[[bool], Awaitable[str]] | None = None,
    gate: Callable[[Request], AbstractAsyncContextManager[None]] | None = None,
    observe: Callable[[Request, Reply], None] | None = None,
    most: int = 8 * 1024 * 1024,
    auth_scheme: str = "Bearer",
) -> Http:
    async def plain(refused: bool) -> str:
        return "fresh" if refused else "stale"

    return Http(
        origin=origin, client=client, token=token or plain, read_error=read_error,
        gate=gate, observe=observe, settle=SETTLE, total=SHORT, most=most,
        auth_scheme=auth_scheme,
    )  # fmt: skip


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


async def test_a_request_arrives_as_it_was_written(client: httpx2.AsyncClient) -> None:
    async with serving(answering(200, b'{"ok":true}', X_Left="7")) as server:
        reply = await http(client, server.origin).send(READ)
        await http(client, server.origin).send(WRITE)
        await http(client, server.origin).send(Request(method="POST", path="/form", form=[("a", "b c"), ("a", "ü")]))
    assert (reply.status, reply.body, reply.headers["x-left"]) == (200, b'{"ok":true}', "7")
    get, post, form = server.seen
    assert get.line == "GET /things?q=Z%C3%BCrich+%26+Bern&q=2 HTTP/1.1"
    assert get.header("authorization") == "Bearer stale"
    assert (post.body, post.header("content-type")) == ('{"name":"Aurélie"}'.encode(), "application/json")
    assert (form.body, form.header("content-type")) == (b"a=b+c&a=%C3%BC", "application/x-www-form-urlencoded")


async def test_a_broken_character_does_not_stop_the_rest(client: httpx2.AsyncClient) -> None:
    async with serving(answering(200)) as server:
        await http(client, server.origin).send(Request(method="POST", path="/", json={"text": "half \ud83d"}))
    assert server.seen[0].body == b'{"text":"half ?"}'


@pytest.mark.parametrize(
    ("script", "for_a_read", "for_a_write"),
    [
        pytest.param(hanging, Unavailable, OutcomeUnknown, id="hangs"),
        pytest.param(resetting, Unavailable, OutcomeUnknown, id="reset"),
        pytest.param(sending(b"", then_close=True), Unavailable, OutcomeUnknown, id="closed"),
        pytest.param(sending(b"HTTP/1.1 201"), Unavailable, OutcomeUnknown, id="hangs in the status line"),
        pytest.param(sending(b"+OK POP3 ready\r\n"), Unavailable, OutcomeUnknown, id="no HTTP"),
        pytest.param(
            sending(b'HTTP/1.1 201 X\r\nContent-Length: 90\r\n\r\n{"id":', then_close=True),
            Unavailable, OutcomeUnknown, id="truncated",
        ),
        pytest.param(
            sending(b"HTTP/1.1 201 X\r\nContent-Length: 90\r\n\r\n{", then_reset=True),
            Unavailable, OutcomeUnknown, id="reset in the body",
        ),
        pytest.param(
            sending(b"HTTP/1.1 201 X\r\nContent-Length: 90\r\n\r\n{"), Unavailable, OutcomeUnknown, id="hangs in the body",
        ),
        pytest.param(
            answering(201, b"no gzip at all", Content_Encoding="gzip"), UnexpectedReply, OutcomeUnknown, id="garbled",
        ),
    ],
)  # fmt: skip
async def test_once_sent_a_lost_answer_leaves_a_write_unknown(
    client: httpx2.AsyncClient, script: Script, for_a_read: type[ConnectorError], for_a_write: type[ConnectorError]
) -> None:
    """Believing "it failed" here is how one call becomes two activities."""
    async with serving(script) as server:
        with pytest.raises(for_a_read):
            await http(client, server.origin).send(READ)
        with pytest.raises(for_a_write) as lost:
            await http(client, server.origin).send(WRITE)
    assert len(server.seen) == 2  # nothing was repeated behind the caller's back
    assert isinstance(lost.value, OutcomeUnknown)
    assert lost.value.settle == SETTLE
    assert server.origin not in str(lost.value)


async def test_what_cannot_be_reached_was_not_written_to(client: httpx2.AsyncClient) -> None:
    for origin in (closed_port(), "http://nobody.invalid"):
        with pytest.raises(Unavailable, match="nothing was sent"):
            await http(client, origin).send(WRITE)


async def test_a_connection_that_never_opens_was_not_written_to(client: httpx2.AsyncClient) -> None:
    """A full backlog swallows the handshake, as a firewall that drops packets does."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        fill = [socket.socket() for _ in range(4)]
        for filler in fill:
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        origin = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        try:
            with pytest.raises(Unavailable, match="nothing was sent"):
                await http(client, origin).send(WRITE)
        finally:
            for filler in fill:
                filler.close()


async def test_a_failed_tls_handshake_was_not_written_to(client: httpx2.AsyncClient) -> None:
    async with serving(answering(200)) as server:
        with pytest.raises(Unavailable, match="nothing was sent"):
            await http(client, server.origin.replace("http://", "https://")).send(WRITE)
    assert server.seen == []


async def test_nothing_leaves_after_the_deadline_not_even_on_a_fresh_connection(client: httpx2.AsyncClient) -> None:
    """The check sits behind connecting: a frozen process wakes up past its lease and must not write then."""
    async with serving(answering(200)) as server:
        with pytest.raises(Unavailable, match="too late"):
            await http(client, server.origin).send(WRITE, stop_sending_at=time.monotonic() - 1)
        with no_sending_after(time.monotonic() - 1), pytest.raises(Unavailable, match="too late"):
            await http(client, server.origin).send(WRITE)
        await http(client, server.origin).send(WRITE)  # the deadline ended with its block
    assert len(server.seen) == 1


async def test_the_deadline_is_checked_right_before_the_first_byte(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time passes while connecting; only a check after it keeps the promise."""
    moments = iter([10.0, 30.0])  # before connecting, after it
    monkeypatch.setattr("connectors.http.monotonic", lambda: next(moments))
    async with serving(answering(200)) as server:
        with no_sending_after(20.0), pytest.raises(Unavailable, match="too late"):
            await http(client, server.origin).send(WRITE)
    assert server.seen == []
    assert next(moments, None) is None  # both checks were made


async def test_the_deadline_holds_for_a_token_that_took_too_long(client: httpx2.AsyncClient) -> None:
    async def slow(refused: bool) -> str:
        await asyncio.to_thread(time.sleep, 0.05)
        return "late"

    async with serving(answering(200)) as server:
        with pytest.raises(Unavailable, match="too late"):
            await http(client, server.origin, token=slow).send(WRITE, stop_sending_at=time.monotonic() + 0.01)
    assert server.seen == []


async def test_a_refused_token_is_replaced_once(client: httpx2.AsyncClient) -> None:
    """A 401 wrote nothing, so the repeat is safe for writes too."""
    async with serving(answering(401), answering(201)) as server:
        assert (await http(client, server.origin).send(WRITE)).status == 201
    assert [exchange.header("authorization") for exchange in server.seen] == ["Bearer stale", "Bearer fresh"]
    async with serving(answering(401)) as server:
        with pytest.raises(ReconnectNeeded) as refused:
            await http(client, server.origin).send(WRITE)
    assert refused.value.status == 401
    assert len(server.seen) == 2


async def test_a_lost_grant_stops_before_sending(client: httpx2.AsyncClient) -> None:
    async def gone(refused: bool) -> str:
        raise ReconnectNeeded("revoked")

    async with serving(answering(200)) as server:
        with pytest.raises(ReconnectNeeded):
            await http(client, server.origin, token=gone).send(READ)
    assert server.seen == []


async def test_the_gate_comes_before_and_the_watcher_after_each_try(client: httpx2.AsyncClient) -> None:
    passed: list[str] = []
    seen: list[tuple[str, int]] = []

    @asynccontextmanager
    async def gate(request: Request) -> AsyncIterator[None]:
        if len(passed) == 4:
            raise RateLimited("spent", retry_after=timedelta(seconds=1))
        passed.append(request.bucket)
        try:
            yield
        finally:
            passed.append(f"left after {len(seen)}")

    async with serving(answering(401), answering(200)) as server:
        limited = http(
            client, server.origin, gate=gate, observe=lambda request, reply: seen.append((request.path, reply.status))
        )
        await limited.send(READ)
        with pytest.raises(RateLimited):
            await limited.send(READ)
    assert passed == ["api", "left after 1", "api", "left after 2"]
    assert seen == [("/things", 401), ("/things", 200)]
    assert len(server.seen) == 2


async def test_the_gate_is_left_however_it_ends(client: httpx2.AsyncClient) -> None:
    """A slot that is kept by a request nobody waits for any more is lost to all others."""
    inside, entered = 0, asyncio.Event()

    @asynccontextmanager
    async def gate(request: Request) -> AsyncIterator[None]:
        nonlocal inside
        inside += 1
        entered.set()
        try:
            yield
        finally:
            inside -= 1

    async with serving(hanging) as server:
        with pytest.raises(OutcomeUnknown):
            await http(client, server.origin, gate=gate).send(WRITE)
        entered.clear()
        given_up = asyncio.create_task(http(client, server.origin, gate=gate).send(READ, total=timedelta(minutes=1)))
        await entered.wait()
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
    assert inside == 0


async def test_a_vendor_s_own_scheme_stands_before_the_token(client: httpx2.AsyncClient) -> None:
    async with serving(answering(200)) as server:
        await http(client, server.origin, auth_scheme="Zoho-oauthtoken").send(READ)
    assert server.seen[0].header("authorization") == "Zoho-oauthtoken stale"


async def test_a_401_about_something_else_than_the_token_costs_no_token(client: httpx2.AsyncClient) -> None:
    """Zoho answers 401 to a missing scope, and hands out ten tokens in ten minutes."""
    asked: list[bool] = []

    async def token(refused: bool) -> str:
        asked.append(refused)
        return "good"

    async with serving(answering(401, b'{"code":"OAUTH_SCOPE_MISMATCH"}'.lower())) as server:
        with pytest.raises(Rejected):
            await http(client, server.origin, token=token).send(READ)
    assert (asked, len(server.seen)) == ([False], 1)


async def test_an_account_that_moved_is_asked_where_it_is_now(client: httpx2.AsyncClient) -> None:
    """The fresh token came with another address (Salesforce's `instance_url`): at the old one it would be refused too."""
    async with serving(answering(200)) as new, serving(answering(401)) as old:
        where = [old.origin]

        async def token(refused: bool) -> str:
            if refused:
                where.append(new.origin)
            return "fresh" if refused else "stale"

        assert (await http(client, lambda: where[-1], token=token).send(WRITE)).status == 200
    assert [seen.header("authorization") for seen in (*old.seen, *new.seen)] == ["Bearer stale", "Bearer fresh"]


async def test_a_redirect_is_never_followed(client: httpx2.AsyncClient) -> None:
    """It would carry the token to a host of somebody else's choosing."""
    async with serving(answering(200)) as other, serving(answering(307, Location=f"{other.origin}/things")) as server:
        with pytest.raises(Rejected) as refused:
            await http(client, server.origin).send(WRITE)
    assert refused.value.status == 307
    assert other.seen == []


async def test_no_content_is_an_answer(client: httpx2.AsyncClient) -> None:
    async with serving(answering(204)) as server:
        assert (await http(client, server.origin).send(WRITE)).body == b""


async def test_a_bomb_is_not_unpacked(client: httpx2.AsyncClient) -> None:
    """300 KB of gzip that become 300 MB; we stop at the cap and give up no memory for the rest."""
    bomb = gzip.compress(bytes(100 * 1024 * 1024))
    most = 1024 * 1024
    async with serving(answering(200, bomb, Content_Encoding="gzip")) as server:
        tracemalloc.start()
        with pytest.raises(UnexpectedReply, match="too large"):
            await http(client, server.origin, most=most).send(READ, total=timedelta(seconds=20))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        with pytest.raises(OutcomeUnknown, match="too large"):
            await http(client, server.origin, most=most).send(WRITE, total=timedelta(seconds=20))
    assert peak < 12 * 1024 * 1024


async def test_an_answer_at_the_cap_is_read(client: httpx2.AsyncClient) -> None:
    body = bytes(1000)
    async with serving(answering(200, gzip.compress(body), Content_Encoding="gzip")) as server:
        assert (await http(client, server.origin, most=1000).send(READ)).body == body


async def test_one_hanging_server_does_not_delay_the_others() -> None:
    """No shared limit of connections: 150 hung requests leave the 151st free to go."""
    arrived, all_there = [0], asyncio.Event()

    async def hold(exchange: Exchange) -> None:
        arrived[0] += 1
        if arrived[0] == 150:
            all_there.set()
        await hanging(exchange)

    async with make_client() as client, serving(hold) as stuck, serving(answering(200)) as server:
        long = timedelta(seconds=60)
        waiting = [asyncio.create_task(http(client, stuck.origin).send(READ, total=long)) for _ in range(150)]
        try:
            await all_there.wait()
            assert (await http(client, server.origin).send(READ)).status == 200
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


async def test_cookies_are_not_kept(client: httpx2.AsyncClient) -> None:
    async with serving(answering(200, Set_Cookie="__cf=1; Path=/")) as server:
        await http(client, server.origin).send(READ)
        await http(client, server.origin).send(READ)
    assert server.seen[1].header("cookie") is None


async def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy variable on the machine must not reroute tokens."""
    monkeypatch.setenv("HTTP_PROXY", closed_port())
    monkeypatch.setenv("ALL_PROXY", closed_port())
    async with make_client(connect=SHORT) as client, serving(answering(200)) as server:
        assert (await http(client, server.origin).send(READ)).status == 200


async def test_a_transport_that_does_not_report_is_never_taken_for_silent() -> None:
    """Without trace events we cannot know that nothing was sent, so we do not claim it."""

    async def broken(scope: object, receive: object, send: object) -> None:
        raise httpx2.ReadError("lost")

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=broken)) as client:
        with pytest.raises(OutcomeUnknown):
            await http(client, "http://app").send(WRITE)


def test_one_tls_context_serves_the_process() -> None:
    assert tls() is tls()
