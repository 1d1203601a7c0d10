"""A POST sent again with its `Idempotency-Key` is carried out once and answered the same."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated, Any

import pytest
from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import delete, select, update

from gateway import app as gateway_app
from gateway.db import idempotency
from gateway.db.base import TenantId, new_id
from gateway.db.idempotency import Claim
from gateway.db.requests import Now, Transaction
from gateway.db.tables import IdempotentAnswer
from gateway.errors import Conflict
from gateway.settings import Settings
from gateway.tenants import settings as documents
from gateway.tenants.access import Principal, needs
from gateway.tenants.tables import TenantSettings
from tests.web import Web, no_work, running

router = APIRouter()


class Slow:
    """Lets a test stand between a route's transaction and its end."""

    entered: asyncio.Event
    gate: asyncio.Event


class Order(BaseModel):
    wanted: str = "ok"


@router.post("/v1/orders/{where}", status_code=201)
async def order(
    where: str, order: Order, who: Annotated[Principal, needs("admin")], session: Transaction, now: Now
) -> dict[str, Any]:
    """Each run leaves a new version of the tenant's document: what must happen once."""
    document = await documents.current(session, who.tenant_id)
    kept = await documents.replace(session, who.tenant_id, document, by=who.id, now=now)
    if order.wanted == "slow":
        Slow.entered.set()
        await Slow.gate.wait()
    if order.wanted == "refused":
        raise Conflict("no")
    if order.wanted == "broken":
        raise RuntimeError
    return {"id": new_id("or"), "version": kept.version, "name": "Jean Dupont"}


@pytest.fixture(autouse=True)
def _closed_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    Slow.entered, Slow.gate = asyncio.Event(), asyncio.Event()
    monkeypatch.setattr(gateway_app, "ROUTERS", (*gateway_app.ROUTERS, router))


@pytest.fixture
async def shop(database_url: str, sealing_key: str) -> AsyncIterator[Web]:
    settings = Settings.model_validate({"database_url": database_url, "sealing_keys": sealing_key})
    async with running(settings, beside=no_work) as web:
        yield web


class Buyer:
    """One tenant's client."""

    def __init__(self, web: Web, key: str) -> None:
        self._web = web
        self._headers = {"Authorization": f"Bearer {key}"}

    async def order(self, key: str | None = "k-1", wanted: str = "ok", where: str = "here") -> Any:
        headers = self._headers if key is None else {**self._headers, "Idempotency-Key": key}
        return await self._web.client.post(f"/v1/orders/{where}", json={"wanted": wanted}, headers=headers)

    async def times(self) -> int:
        """How often something happened."""
        return int((await self._web.client.get("/v1/settings", headers=self._headers)).json()["version"])


@pytest.fixture
async def buyer(shop: Web) -> Buyer:
    return Buyer(shop, await shop.key(await shop.tenant(), "admin"))


async def test_sent_again_it_answers_the_same_and_does_nothing(buyer: Buyer) -> None:
    first, again = await buyer.order(), await buyer.order()
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert first.headers["x-request-id"] != again.headers["x-request-id"]
    assert await buyer.times() == 1


async def test_without_a_key_each_is_a_new_one(buyer: Buyer) -> None:
    assert (await buyer.order(None)).json()["id"] != (await buyer.order(None)).json()["id"]
    assert await buyer.times() == 2


async def test_a_key_belongs_to_one_address_and_one_client(shop: Web, buyer: Buyer) -> None:
    other = Buyer(shop, await shop.key(await shop.tenant("Other SA"), "admin"))
    answers = [await buyer.order(), await buyer.order(where="there"), await other.order()]
    assert len({answer.json()["id"] for answer in answers}) == 3


async def test_another_body_under_the_same_key_is_refused(buyer: Buyer) -> None:
    """The client has mixed something up; answering the first would hide it."""
    await buyer.order()
    answer = await buyer.order(wanted="other")
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": "header.idempotency-key", "reason": "was used with another body"}]
    assert await buyer.times() == 1


async def test_a_second_at_the_same_time_is_told_to_wait(buyer: Buyer) -> None:
    first = asyncio.create_task(buyer.order(wanted="slow"))
    await Slow.entered.wait()
    second = asyncio.create_task(buyer.order(wanted="slow"))
    if buyer._web.parts.db.dialect == "postgresql":  # SQLite's second waits for the first's transaction
        answer = await second
        assert (answer.status_code, answer.headers["retry-after"]) == (409, "1")
    Slow.gate.set()
    assert (await first).status_code == 201
    assert (await second).status_code in (201, 409)
    assert await buyer.times() == 1


async def test_ten_at_once_are_one(buyer: Buyer) -> None:
    answers = await asyncio.gather(*(buyer.order() for _ in range(10)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
    assert await buyer.times() == 1


@pytest.mark.parametrize(("wanted", "status"), [("refused", 409), ("broken", 500)])
async def test_after_a_refusal_the_key_is_free(buyer: Buyer, wanted: str, status: int) -> None:
    """Nothing has changed, and the client may mend its body."""
    assert (await buyer.order(wanted=wanted)).status_code == status
    assert await buyer.times() == 0
    assert (await buyer.order()).status_code == 201


async def test_a_bad_body_leaves_the_key_free(shop: Web, buyer: Buyer) -> None:
    bad = await shop.client.post(
        "/v1/orders/here", json={"wanted": 1}, headers={**buyer._headers, "Idempotency-Key": "k-1"}
    )
    assert bad.status_code == 422
    assert (await buyer.order()).status_code == 201


async def test_a_key_without_a_good_api_key_stores_nothing(shop: Web) -> None:
    answer = await shop.client.post("/v1/orders/here", json={}, headers={"Idempotency-Key": "k-1"})
    assert answer.status_code == 401
    assert await _rows(shop) == []


@pytest.mark.parametrize("key", ["", "x" * 256, "a\x7fb", "é"])
async def test_a_strange_key_is_refused(shop: Web, buyer: Buyer, key: str) -> None:
    headers = [
        (b"authorization", buyer._headers["Authorization"].encode()),
        (b"idempotency-key", key.encode("latin-1")),
    ]
    answer = await shop.client.post("/v1/orders/here", json={}, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "header.idempotency-key"


async def test_kept_answers_are_sealed(shop: Web, buyer: Buyer) -> None:
    await buyer.order("my-own-key")
    (row,) = await _rows(shop)
    assert row.answer is not None
    assert b"Dupont" not in row.answer
    assert b"my-own-key" not in row.key_sha256


async def test_after_a_day_the_key_is_free(shop: Web, buyer: Buyer) -> None:
    await buyer.order()
    (row,) = await _rows(shop)
    assert row.expires_at - row.at == timedelta(hours=24)
    await _shift(shop, timedelta(hours=25))
    assert "idempotency-replayed" not in (await buyer.order()).headers
    assert await buyer.times() == 2


async def test_what_a_dead_process_left_before_its_commit_is_done_again(shop: Web, buyer: Buyer) -> None:
    await _abandon(shop, buyer, committed=False)
    assert (await buyer.order()).status_code == 409, "it may still be alive"
    await _shift(shop, timedelta(seconds=61))
    assert (await buyer.order()).status_code == 201
    assert await buyer.times() == 1


async def test_what_a_dead_process_left_after_its_commit_is_not_done_again(shop: Web, buyer: Buyer) -> None:
    """A lost answer must not become a second order."""
    await _abandon(shop, buyer, committed=True)
    await _shift(shop, timedelta(seconds=61))
    answer = await buyer.order()
    assert answer.status_code == 409
    assert "carried out" in answer.json()["detail"]
    assert await buyer.times() == 1


async def test_who_was_fenced_off_commits_nothing(shop: Web, buyer: Buyer) -> None:
    """A process that was held up wakes after another has taken its key over: its transaction must not be kept."""
    await buyer.order()
    (row,) = await _rows(shop)
    await _shift(shop, timedelta(seconds=61))
    late = Claim(TenantId(row.tenant_id), row.principal, row.route, row.key_sha256, row.at)
    with pytest.raises(Conflict):
        async with shop.parts.db.transaction(late.tenant_id) as session:
            await idempotency.carried_out(session, {"idempotency": late})


async def _abandon(shop: Web, buyer: Buyer, *, committed: bool) -> None:
    """Leave the row as a process does that was killed before, or after, its transaction."""
    await buyer.order()
    values: dict[str, Any] = {"answer": None, "status": 0 if committed else None}
    async with shop.parts.db.transaction() as session:
        if not committed:
            row = (await session.scalars(select(IdempotentAnswer))).one()
            values["expires_at"] = row.at + timedelta(seconds=60)
            await session.execute(delete(TenantSettings))
        await session.execute(update(IdempotentAnswer).values(**values))


async def _shift(shop: Web, by: timedelta) -> None:
    """Let time pass for what is kept."""
    async with shop.parts.db.transaction() as session:
        for row in (await session.scalars(select(IdempotentAnswer))).all():
            row.at, row.expires_at = row.at - by, row.expires_at - by


async def _rows(shop: Web) -> list[IdempotentAnswer]:
    async with shop.parts.db.reading() as session:
        return list((await session.scalars(select(IdempotentAnswer))).all())
