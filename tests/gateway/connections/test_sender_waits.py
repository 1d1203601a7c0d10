"""An import or a poll waits for its share of the account's limits; nobody else waits, and nobody waits for long."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from connectors.crm.catalog import CATALOG
from connectors.errors import RateLimited
from connectors.request import Reply, Request
from gateway.connections import sender as module
from gateway.connections.sender import Sender
from gateway.connections.throttle import Purpose

REQUEST = Request(method="GET", path="/x")


class Full:
    """Limits that are used up for the first `times`."""

    def __init__(self, times: int, wait: timedelta, status: int | None = None) -> None:
        self.left, self.wait, self.status, self.asked = times, wait, status, 0

    async def send(self, request: Request) -> Reply:
        self.asked += 1
        if self.left:
            self.left -= 1
            raise RateLimited("full", retry_after=self.wait, status=self.status)
        return Reply(status=200, headers={}, body=b"{}")


class Calm:
    async def allows(self, account_id: str) -> bool:
        return True

    async def record(self, account_id: str, ok: bool) -> None: ...

    async def pause(self, *_: Any) -> None: ...


@asynccontextmanager
async def sending(full: Full, purpose: Purpose) -> AsyncIterator[Sender]:
    calm: Any = Calm()
    nothing: Any = None
    sender = Sender(
        tenant_id=nothing, connection_id="cn_1", account_id="ac_1", provider=CATALOG["hubspot"], purpose=purpose,
        client=lambda: nothing, total=timedelta(seconds=1), tokens=nothing, throttle=calm, breakers=calm,
        budgets=nothing, note=lambda ok: None, spawn=lambda work: work.close(),
    )  # fmt: skip
    sender._http = full  # type: ignore[assignment]
    yield sender


async def test_an_import_waits_for_its_turn() -> None:
    full = Full(3, timedelta(milliseconds=5))
    async with sending(full, "import") as sender:
        assert (await sender.send(REQUEST)).status == 200
    assert full.asked == 4


@pytest.mark.parametrize("purpose", ["lookup", "delivery", "connect"])
async def test_whoever_has_somebody_waiting_is_told_at_once(purpose: Purpose) -> None:
    full = Full(1, timedelta(milliseconds=5))
    async with sending(full, purpose) as sender:
        with pytest.raises(RateLimited):
            await sender.send(REQUEST)
    assert full.asked == 1


@pytest.mark.parametrize(("wait", "status"), [(timedelta(minutes=1), None), (timedelta(milliseconds=5), 429)])
async def test_what_takes_long_or_is_the_vendors_word_is_not_waited_for(wait: timedelta, status: int | None) -> None:
    """Its lease would end; and whoever goes on after a vendor's refusal is shut out."""
    full = Full(1, wait, status)
    async with sending(full, "import") as sender:
        with pytest.raises(RateLimited):
            await sender.send(REQUEST)
    assert full.asked == 1


async def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", timedelta(milliseconds=60))
    full = Full(1000, timedelta(milliseconds=5))
    async with sending(full, "import") as sender:
        with pytest.raises(RateLimited):
            await sender.send(REQUEST)
    assert 2 <= full.asked <= 6
