"""A Pipedrive sandbox, and the clock that moves it. Every successful answer is held to Pipedrive's own documents."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode

from connectors.request import Reply, Request
from connectors.sandbox.clock import Clock
from connectors.sandbox.face import Call, Face
from connectors.sandbox.pipedrive import Company, Pipedrive, create_app
from connectors.sandbox.pipedrive.grants import APP_SCOPES, Grant
from tests.connectors.sandbox.world import Told
from tests.contract.schemas_pipedrive import check_answer

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@dataclass
class World:
    """A face, its clock, and a token for its first company."""

    app: Face
    clock: Clock
    company: Company
    grant: Grant
    token: str
    origin: str = ""

    @property
    def vendor(self) -> Pipedrive:
        assert isinstance(self.app.vendor, Pipedrive)
        return self.app.vendor

    def ask(self, method: str, path: str, body: Any = None, *, token: str | None = None, **query: Any) -> Told:
        """Straight to the vendor, without a network. Paths are those of the API ("v2/persons")."""
        asked = {name: str(value) for name, value in query.items() if value is not None}
        raw = b"" if body is None else json.dumps(body).encode()
        told = Told(self.vendor.answer(self._call(method, f"/api/{path}", raw, urlencode(asked), token)))
        if told.status < 300:
            request = Request(method=method, path=f"/api/{path}")
            check_answer(request, Reply(status=told.status, headers={}, body=json.dumps(told.body).encode()))
        return told

    def _call(self, method: str, path: str, body: bytes, query: str, token: str | None) -> Call:
        used = self.token if token is None else token
        return Call(
            method=method,
            path=path,
            query=parse_qs(query, keep_blank_values=True),
            raw_query=query,
            headers={"authorization": f"Bearer {used}", "content-type": "application/json"} if used else {},
            body=body,
            now=self.clock(),
        )

    def oauth(self, path: str, *, authorization: str = "", host: str = "", **form: str) -> Told:
        headers = {"content-type": "application/x-www-form-urlencoded"}
        headers |= {"authorization": authorization} if authorization else {}
        headers |= {"host": host} if host else {}
        call = Call(
            method="POST",
            path=f"/oauth/{path}",
            query={},
            raw_query="",
            headers=headers,
            body=urlencode(form).encode(),
            now=self.clock(),
        )
        return Told(self.vendor.answer(call))

    def make(self, kind: str, **values: Any) -> int:
        """A record's id, made over the API."""
        told = self.ask("POST", kind, values)
        assert told.status in (200, 201), told.body
        made: int = told.body["data"]["id"]
        return made

    def later(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))


def make_world(*, limits: bool = False, **more: Any) -> World:
    """An app whose clock stands still, with an access token for its first company."""
    clock = Clock(START)
    companies = Company(15043420, "Aurora Demo SA"), Company(15043421, "Borealis Test GmbH")
    app = create_app(*companies, clock=clock, limits=limits, **more)
    assert isinstance(app.vendor, Pipedrive)
    grant = Grant(companies[0].id, companies[0].installer.id, APP_SCOPES)
    token = app.vendor.grants.issue_access(grant, clock())
    return World(app=app, clock=clock, company=companies[0], grant=grant, token=token)
