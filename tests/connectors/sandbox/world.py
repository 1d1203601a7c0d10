"""A sandbox on a real port, and the clock that moves it; for tests whose clients are synchronous."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import msgspec

from connectors.sandbox.clock import Clock
from connectors.sandbox.face import Answer, Call, Face
from connectors.sandbox.hubspot import HubSpot, Portal, create_app
from connectors.sandbox.serve import running

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SCOPES = (
    *(f"crm.objects.{kind}.{right}" for kind in ("contacts", "companies", "deals") for right in ("read", "write")),
    *("oauth", "tickets", "crm.objects.owners.read", "crm.schemas.contacts.write", "crm.schemas.deals.write"),
    *("crm.lists.read", "crm.lists.write", "communication_preferences.read_write"),
)


@dataclass
class World:
    """A face, its clock, and a token for its first portal."""

    app: Face
    clock: Clock
    portal: Portal
    token: str
    origin: str = ""

    @property
    def vendor(self) -> HubSpot:
        assert isinstance(self.app.vendor, HubSpot)
        return self.app.vendor

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        form: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Told:
        """Straight to the vendor, without a network."""
        url, _, query = path.partition("?")
        sent = {"authorization": f"Bearer {self.token if token is None else token}"} if token != "" else {}
        sent |= {"content-type": "application/x-www-form-urlencoded" if form is not None else "application/json"}
        raw = form.encode() if form is not None else b"" if body is None else msgspec.json.encode(body)
        call = Call(
            method=method,
            path=url,
            query=parse_qs(query, keep_blank_values=True),
            raw_query=query,
            headers=sent | (headers or {}),
            body=raw,
            now=self.clock(),
        )
        return Told(self.vendor.answer(call))

    def create(self, kind: str, associations: Sequence[tuple[str, int]] = (), **properties: str) -> str:
        """A record's id, made over the dated API."""
        links = [
            {"to": {"id": id}, "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": number}]}
            for id, number in associations
        ]
        told = self.ask("POST", f"/crm/objects/2026-09/{kind}", {"properties": properties, "associations": links})
        assert told.status == 201, told.body
        return str(told.body["id"])

    def later(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))


class Told:
    """An answer, read."""

    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        self.headers = {name.lower(): value for name, value in answer.headers}
        is_json = "json" in self.headers.get("content-type", "")
        self.body: Any = msgspec.json.decode(answer.body) if is_json and answer.body else answer.body.decode()


def make_world(*portals: Portal, limits: bool = False, scopes: Sequence[str] = SCOPES, **more: Any) -> World:
    """An app whose clock stands still, with an OAuth access token for its first portal."""
    clock = Clock(START)
    portals = portals or (Portal(62515, "Aurora Demo SA"), Portal(62516, "Borealis Test GmbH"))
    app = create_app(*portals, clock=clock, limits=limits, **more)
    assert isinstance(app.vendor, HubSpot)
    return World(app=app, clock=clock, portal=portals[0], token=grant(app.vendor, portals[0], scopes, clock))


def grant(vendor: HubSpot, portal: Portal, scopes: Sequence[str], clock: Clock) -> str:
    """An access token as the OAuth dance would leave it."""
    grants = vendor.grants
    code = grants.issue_code(
        hub_id=portal.hub_id, user_id=1, scopes=scopes, redirect_uri="http://127.0.0.1/", challenge=None, now=clock()
    )
    taken = grants.take_code(code, clock())
    assert taken is not None
    return grants.issue_access(taken.grant, clock())


@contextmanager
def served(app: Face) -> Iterator[str]:
    """The app on a free port, on a loop in a thread of its own."""
    ready, stop, where = threading.Event(), asyncio.Event(), []
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with running(app) as origin:
            where.append(origin)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(10), "the sandbox did not start"
    try:
        yield where[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
