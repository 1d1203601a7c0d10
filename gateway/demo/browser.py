"""A person who signs in: our page, the vendor's consent page (follows where it leads, reads its form, says yes), back to us."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin

import httpx2

MOST_STEPS = 6  # pages and redirects between us and us


class NoWayBack(Exception):
    """The pages did not lead back to us; the text says where they ended."""


@dataclass
class _Form(HTMLParser):
    """The first form of a page, filled in as it stands there and sent by the first button that does not refuse."""

    action: str = ""
    values: dict[str, str] = field(default_factory=dict)
    pressed: bool = False
    inside: bool = False

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and not self.action:
            self.inside, self.action = True, given.get("action", ".")
        if not self.inside or tag not in ("input", "button"):
            return
        kind, name = given.get("type", "submit" if tag == "button" else "text"), given.get("name", "")
        if kind == "submit":
            if not self.pressed and "no" not in given.get("class", "").split():
                self.pressed = True
                self.values |= {name: given.get("value", "")} if name else {}
        elif name and (kind not in ("radio", "checkbox") or "checked" in given):
            self.values.setdefault(name, given.get("value", ""))

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "form"


async def agree(browser: httpx2.AsyncClient, address: str, *, ours: str) -> str:
    """Walk from a vendor's authorize address until it sends us back; the address it sends us to, not opened yet.

    ours  the origin that is our own. Raises `NoWayBack`.
    """
    reply = await browser.get(address)
    for _ in range(MOST_STEPS):
        if reply.is_redirect:
            address = urljoin(address, reply.headers["location"])
            if address.startswith(f"{ours}/"):
                return address
            reply = await browser.get(address)
            continue
        form = _Form()
        form.feed(reply.text)
        if reply.status_code != 200 or not form.pressed:
            raise NoWayBack(f"the vendor's page answered {reply.status_code} and has nothing to agree to")
        address = urljoin(address, form.action)
        headers = {"content-type": "application/x-www-form-urlencoded"}
        reply = await browser.post(address, content=urlencode(form.values), headers=headers)
    raise NoWayBack("the vendor's pages lead in a circle")


async def sign_in(browser: httpx2.AsyncClient, authorize_url: str, *, ours: str) -> str:
    """Walk a sign-in from our page that says who asks for what to our page that says what became of it; its headline.

    Raises `NoWayBack`.
    """
    await browser.get(authorize_url)
    approved = await browser.post(authorize_url, headers={"sec-fetch-site": "same-origin", "origin": ours})
    cookie = {"cookie": approved.headers["set-cookie"].partition(";")[0]}  # what ties the sign-in to this browser
    called_back = await agree(browser, approved.headers["location"], ours=ours)
    back = await browser.get(called_back, headers=cookie)
    page = await browser.get(urljoin(called_back, back.headers.get("location", "")), headers=cookie)
    if page.status_code != 200:
        raise NoWayBack(f"the sign-in ended on a page with status {page.status_code}")
    told = re.search(r"<h1[^>]*>([^<]+)", page.text)
    return told[1].strip() if told else "no page says why"
