"""A connector in front of its sandbox, without a network between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode

import msgspec

from connectors.crm.port import Done, Failed, Outcome
from connectors.crm.records import CallLog, LogCall, Ref
from connectors.crm.zoho.client import Zoho
from connectors.crm.zoho.manifest import MANIFEST
from connectors.crm.zoho.wire_errors import read_error
from connectors.errors import Rejected
from connectors.request import Reply, Request
from connectors.sandbox import zoho
from connectors.sandbox.clock import Clock
from connectors.sandbox.face import Answer, Call
from connectors.sandbox.zoho.grants import Grant
from connectors.sandbox.zoho.modules import MODULES

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
AT = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)
CALL = CallLog(direction="inbound", started_at=AT)
SCOPES = (*MANIFEST.scopes, *MANIFEST.optional_scopes)


@dataclass
class World:
    """An organisation, a grant for it, and every request so far. It is a `Sender`; `strange` answers before the sandbox."""

    vendor: zoho.Zoho
    org: zoho.Org
    clock: Clock
    grant: Grant
    token: str
    sent: list[Request] = field(default_factory=list)
    strange: dict[str, Reply] = field(default_factory=dict)

    async def send(self, request: Request) -> Reply:
        self.sent.append(request)
        reply = self.strange.get(f"{request.method} {request.path}") or self.ask(request)
        if 200 <= reply.status < 300:
            return reply
        raise read_error(request, reply)

    def ask(self, request: Request) -> Reply:
        answer = self.answered(request)
        return Reply(
            status=answer.status, headers={name.lower(): value for name, value in answer.headers}, body=answer.body
        )

    def answered(self, request: Request, *, token: str | None = None) -> Answer:
        query = urlencode(request.query)
        scheme = {"authorization": f"Zoho-oauthtoken {self.token if token is None else token}"}
        return self.vendor.answer(
            Call(
                method=request.method,
                path=request.path,
                query=parse_qs(query, keep_blank_values=True),
                raw_query=query,
                headers={**scheme, **{name.lower(): value for name, value in request.headers.items()}},
                body=b"" if request.json is None else msgspec.json.encode(request.json),
                now=self.clock(),
            )
        )

    def told(self, method: str, path: str, body: Any = None, **query: str) -> tuple[int, Any]:
        """Straight to the vendor: the status, and the body read."""
        answer = self.answered(Request(method=method, path=f"/crm/v8/{path}", query=tuple(query.items()), json=body))
        return answer.status, msgspec.json.decode(answer.body) if answer.body else None

    def add(self, module: str, **values: Any) -> str:
        """A record's id."""
        self.clock.advance(timedelta(seconds=1))
        return self.org.create(MODULES[module.lower()], values, self.clock()).id

    def held(self, module: str, id: str) -> dict[str, str]:
        found = self.org.get(MODULES[module.lower()], id)
        assert found is not None
        return dict(found.properties)

    def delete(self, module: str, id: str) -> None:
        found = self.org.get(MODULES[module.lower()], id)
        assert found is not None
        self.org.crm.archive(found, self.clock())

    def count(self, module: str) -> int:
        return len(list(self.org.crm.all(MODULES[module.lower()].kind)))

    def settle(self) -> None:
        self.clock.advance(timedelta(minutes=1))


def make_world(*, scopes: Sequence[str] = SCOPES, limits: bool = False, **more: Any) -> World:
    clock = Clock(START)
    org = zoho.Org("20097655001", "Aurora Demo SA", **more)
    face = zoho.create_app(org, clock=clock, limits=limits)
    assert isinstance(face.vendor, zoho.Zoho)
    grant = face.vendor.grants.admit(Grant(org.zgid, org.installer.id, scopes))
    return World(face.vendor, org, clock, grant, face.vendor.grants.issue_access(grant, clock()))


async def connected(world: World) -> Zoho:
    """As after connecting: the account is known, keys are probed; what was asked for that is forgotten."""
    crm = Zoho(world, sticks={}, region="CH")
    await crm.who_am_i()
    await crm.probe()
    world.sent.clear()
    return crm


def call(about: Ref, key: str = "call-1") -> LogCall:
    return LogCall(key=key, subject="Offer", call=CALL, about=(about,))


def done(outcomes: Sequence[Outcome]) -> Any:
    (outcome,) = outcomes
    assert isinstance(outcome, Done), outcome
    assert outcome.record is not None
    return outcome.record


def refused(outcomes: Sequence[Outcome]) -> Rejected:
    (outcome,) = outcomes
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, Rejected), outcome.error
    return outcome.error
