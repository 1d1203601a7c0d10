"""The demo's person at a vendor's consent page, whatever the page looks like."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qsl

import httpx2
import pytest

from gateway.demo.browser import NoWayBack, agree

OURS = "http://127.0.0.1:8000"
FORM = """<html><body><h1>Connect?</h1><form method="post" action="{action}">
  <input type="hidden" name="state" value="s&amp;1"><input name="note">
  <input type="radio" name="account" value="1"><input type="radio" name="account" value="2" checked>
  <input type="checkbox" name="mail" value="yes"><button class="no" name="decision" value="deny">No</button>
  <button class="yes" name="decision" value="approve">Yes</button><input type="submit" name="other" value="x">
</form><form action="/elsewhere"><button name="logout">Log out</button></form></body></html>"""


def at(pages: Callable[[httpx2.Request], httpx2.Response]) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.MockTransport(pages))


def leads(to: str) -> httpx2.Response:
    return httpx2.Response(302, headers={"location": to})


async def test_the_form_is_sent_as_it_stands_by_the_button_that_agrees() -> None:
    sent: list[tuple[str, str, dict[str, str]]] = []

    def pages(request: httpx2.Request) -> httpx2.Response:
        sent.append(
            (request.method, str(request.url), dict(parse_qsl(request.content.decode(), keep_blank_values=True)))
        )
        match request.url.path:
            case "/authorize":
                return leads("/login")
            case "/login":
                return httpx2.Response(200, text=FORM.format(action="decide?step=2"))
            case _:
                return leads(f"{OURS}/oauth/callback/x?code=1")

    async with at(pages) as browser:
        back = await agree(browser, "https://crm.example/authorize?client_id=1", ours=OURS)
    assert back == f"{OURS}/oauth/callback/x?code=1"
    assert [method for method, *_ in sent] == ["GET", "GET", "POST"]
    _, address, values = sent[-1]
    assert address == "https://crm.example/decide?step=2"
    assert values == {"state": "s&1", "note": "", "account": "2", "decision": "approve"}


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (httpx2.Response(200, text="<h1>Unknown app</h1>"), "nothing to agree to"),
        (httpx2.Response(400, text=FORM.format(action="/x")), "answered 400"),
        (leads("/authorize"), "in a circle"),
    ],
)
async def test_pages_that_lead_nowhere_are_said_so(page: httpx2.Response, words: str) -> None:
    async with at(lambda _: page) as browser:
        with pytest.raises(NoWayBack, match=words):
            await agree(browser, "https://crm.example/authorize", ours=OURS)


async def test_another_origin_that_begins_like_ours_is_not_ours() -> None:
    def pages(request: httpx2.Request) -> httpx2.Response:
        return leads(f"{OURS}1/oauth/callback/x?code=1")

    async with at(pages) as browser:
        with pytest.raises(NoWayBack):
            await agree(browser, "https://crm.example/authorize", ours=OURS)
