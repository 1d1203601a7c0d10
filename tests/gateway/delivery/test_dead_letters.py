"""Deliveries a person looks after: replay, decide, cancel; and what that means for those that wait behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import update

from connectors.errors import OutcomeUnknown, Rejected
from gateway.db.base import TenantId
from gateway.delivery import dead_letters
from gateway.delivery.dead_letters import MENDS, NotNow
from gateway.outbox.states import State
from gateway.outbox.tables import Delivery
from tests.factories import WEEK, Books, books, make_tenant, promise, upsert_contact
from tests.gateway.delivery.crm import MemoryCrm
from tests.gateway.delivery.test_drain import drain, rows, states

LOST = OutcomeUnknown("no answer came", settle=timedelta(0))


@pytest.fixture
async def book(database_url: str) -> AsyncIterator[Books]:
    async with books(database_url) as made:
        yield made


async def replay(book: Books, name: str, resend: bool | None = None) -> Delivery | None:
    async with book.db.transaction(book.tenant_id) as session:
        return await dead_letters.replay(session, book.tenant_id, name, lifetime=WEEK, resend=resend)


async def refused(book: Books) -> MemoryCrm:
    """A contact the CRM refuses, a call that needs it, a note that needs the call."""
    crm = MemoryCrm(refuse=lambda write: Rejected("no", field="email") if write.key == "pe_1" else None)
    await book.plan(
        promise("dl_a", upsert_contact("pe_1"), record_key="person"),
        promise("dl_b", needs=("dl_a",)),
        promise("dl_c", needs=("dl_b",)),
    )
    await drain(book, crm)
    assert await states(book) == {"dl_a": "dead", "dl_b": "held", "dl_c": "held"}
    return crm


async def test_replaying_the_first_releases_everything_behind_it(book: Books) -> None:
    crm = await refused(book)
    crm.refuse = lambda _: None
    await replay(book, "dl_a")
    assert await states(book) == {"dl_a": "pending", "dl_b": "waiting", "dl_c": "waiting"}
    await drain(book, crm)
    assert set((await states(book)).values()) == {"delivered"}
    assert crm.doubled == []


async def test_replaying_one_that_is_held_because_of_another_changes_nothing(book: Books) -> None:
    await refused(book)
    await replay(book, "dl_b")
    assert (await states(book))["dl_b"] == "held"


async def test_by_reason(book: Books) -> None:
    crm = await refused(book)
    crm.refuse = lambda _: None
    async with book.db.transaction(book.tenant_id) as session:
        assert await dead_letters.replay_by_code(session, book.tenant_id, "rejected", lifetime=WEEK) == 1
        assert await dead_letters.replay_by_code(session, book.tenant_id, "no such reason", lifetime=WEEK) == 0
    await drain(book, crm)
    assert set((await states(book)).values()) == {"delivered"}


async def test_what_was_delivered_is_not_replayed(book: Books) -> None:
    await book.plan(promise("dl_a"))
    await drain(book, MemoryCrm())
    with pytest.raises(NotNow, match="delivered"):
        await replay(book, "dl_a")


@pytest.mark.parametrize(("resend", "sent", "state"), [(True, 2, "delivered"), (False, 1, "delivered")])
async def test_a_person_decides_what_is_uncertain(book: Books, resend: bool, sent: int, state: str) -> None:
    crm = MemoryCrm(swallow=lambda _: LOST)
    await book.plan(promise("dl_a", blind=True), promise("dl_b", needs=("dl_a",)))
    await drain(book, crm)
    assert await states(book) == {"dl_a": "uncertain", "dl_b": "waiting"}
    crm.swallow = lambda _: None
    with pytest.raises(NotNow, match="resend"):
        await replay(book, "dl_a")
    await replay(book, "dl_a", resend=resend)
    await drain(book, crm)
    assert len(crm.held["dl_a"]) == sent
    assert await states(book) == {"dl_a": state, "dl_b": "delivered"}


async def test_what_may_have_been_sent_is_looked_for_when_it_is_replayed(book: Books) -> None:
    """A worker kept dying on it, but it did arrive: a replay must not write it twice."""
    crm = MemoryCrm()
    await book.plan(promise("dl_a"))
    await crm.write([promise("dl_a").write])
    async with book.db.transaction() as session:
        await session.execute(update(Delivery).values(state=State.HELD, code="crashes", looking=True, claims=6))
    await replay(book, "dl_a")
    await drain(book, crm)
    assert crm.doubled == []
    assert await states(book) == {"dl_a": "delivered"}


async def test_cancelling_holds_what_needs_it(book: Books) -> None:
    await book.plan(promise("dl_a"), promise("dl_b", needs=("dl_a",)))
    async with book.db.transaction(book.tenant_id) as session:
        await dead_letters.cancel(session, book.tenant_id, "dl_a")
    assert await states(book) == {"dl_a": "cancelled", "dl_b": "held"}
    crm = MemoryCrm()
    await drain(book, crm)
    assert crm.calls == []


async def test_another_tenants_delivery_is_not_found(book: Books) -> None:
    await book.plan(promise("dl_a"))
    stranger: TenantId = await make_tenant(book.db, book.keyring, "Somebody else")
    async with book.db.transaction(stranger) as session:
        assert await dead_letters.replay(session, stranger, "dl_a", lifetime=WEEK) is None
        assert await dead_letters.cancel(session, stranger, "dl_a") is None
        assert await dead_letters.delivery(session, stranger, "dl_a") is None
        assert await dead_letters.listed(session, stranger) == []


async def test_pages_are_newest_first(book: Books) -> None:
    for name in ("dl_a", "dl_b", "dl_c"):
        await book.plan(promise(name))
    async with book.db.reading() as session:
        first = await dead_letters.listed(session, book.tenant_id, limit=2)
        rest = await dead_letters.listed(session, book.tenant_id, before=first[-1].id, limit=2)
    assert [one.id for one in (*first, *rest)] == ["dl_c", "dl_b", "dl_a"]


async def test_every_reason_to_ask_a_person_says_what_to_do(book: Books) -> None:
    await refused(book)
    for row in (await rows(book)).values():
        assert row.code in MENDS
        assert row.reason
