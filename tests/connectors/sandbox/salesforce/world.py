"""A simulated Salesforce, the clock that moves it, and a way to ask it without a network."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote

import msgspec

from connectors.sandbox.clock import Clock
from connectors.sandbox.face import Call, Face
from connectors.sandbox.salesforce import Org, Salesforce, create_app
from connectors.sandbox.salesforce.grants import Grant
from tests.connectors.sandbox.world import Told

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOME = "/services/data/v66.0"


@dataclass
class World:
    """A face, its clock, and a session in its first org."""

    app: Face
    clock: Clock
    org: Org
    token: str
    origin: str = ""

    @property
    def vendor(self) -> Salesforce:
        assert isinstance(self.app.vendor, Salesforce)
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
        """Straight to the vendor. `path` below the version, or from the root with a slash; its query quoted."""
        url, _, query = path.partition("?")
        url = url if url.startswith("/") else f"{HOME}/{url}"
        sent = {"authorization": f"Bearer {self.token if token is None else token}"} if token != "" else {}
        sent |= {"content-type": "application/x-www-form-urlencoded" if form is not None else "application/json"}
        raw = form.encode() if form is not None else b"" if body is None else msgspec.json.encode(body)
        call = Call(
            method=method,
            path=url,
            query=parse_qs(query, keep_blank_values=True),
            raw_query=query,
            headers={"host": "127.0.0.1:9001", **sent, **(headers or {})},
            body=raw,
            now=self.clock(),
        )
        return Told(self.vendor.answer(call))

    def query(self, soql: str, *, deleted: bool = False) -> Told:
        return self.ask("GET", f"{'queryAll' if deleted else 'query'}?q={quote(soql)}")

    def search(self, sosl: str) -> Told:
        return self.ask("GET", f"search?q={quote(sosl)}")

    def create(self, type: str, **fields: Any) -> str:
        told = self.ask("POST", f"sobjects/{type}", fields)
        assert told.status == 201, told.body
        return str(told.body["id"])

    def composite(self, *parts: tuple[str, str, str, Any], all_or_none: bool = False) -> list[dict[str, Any]]:
        """(reference, method, path below the version, body) each; what became of them."""
        asked = [
            {
                "referenceId": ref,
                "method": method,
                "url": f"{HOME}/{url}",
                **({"body": body} if body is not None else {}),
            }
            for ref, method, url, body in parts
        ]
        told = self.ask("POST", "composite", {"allOrNone": all_or_none, "compositeRequest": asked})
        assert told.status == 200, told.body
        answers: list[dict[str, Any]] = told.body["compositeResponse"]
        return answers

    def later(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))


def make_world(*orgs: Org, limits: bool = False, **more: Any) -> World:
    """An app whose clock stands still, with a session in its first org."""
    clock = Clock(START)
    orgs = orgs or (Org(), Org(2, "Borealis Test GmbH", domain="borealis-test"))
    app = create_app(*orgs, clock=clock, limits=limits, **more)
    assert isinstance(app.vendor, Salesforce)
    grant = Grant(orgs[0].id, orgs[0].user, ("api", "refresh_token"), clock())
    app.vendor.grants.all.append(grant)
    return World(app=app, clock=clock, org=orgs[0], token=app.vendor.grants.issue_access(grant, clock()))
