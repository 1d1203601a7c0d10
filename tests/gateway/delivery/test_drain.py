"""Draining with a CRM that fails on command: nothing lost, nothing twice, everything explained."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from connectors.crm.records import AssignOwner, Contact, CreateTask, Kind, Person, Ref, SetFields, Write
from connectors.errors import OutcomeUnknown, RateLimited, ReconnectNeeded, Rejected, Unavailable
from gateway.db.engine import utc_now
from gateway.outbox.claim import claim
from gateway.outbox.tables import Attempt, Delivery, Lane
from tests.factories import Books, books, promise, upsert_contact
from tests.gateway.delivery.crm import MemoryCrm, drains

LOST = OutcomeUnknown("no answer came", settle=timedelta(0))


@pytest.fixture
async def book(database_url: str) -> AsyncIterator[Books]:
    async with books(database_url) as made:
        yield made


async def drain(book: Books, crm: MemoryCrm, times: int = 1) -> None:
    for _ in range(times):
        await make_due(book)
        async with drains(book, crm) as made:
            made.start(book.connection_id)
            await made.idle()


async def make_due(book: Books) -> None:
    """As if all waits had passed."""
    past = utc_now() - timedelta(seconds=1)
    async with book.db.transaction() as session:
        await session.execute(update(Delivery).where(Delivery.due_at > past).values(due_at=past))
        await session.execute(update(Lane).where(Lane.ready_at.is_not(None)).values(ready_at=past, lease_until=None))


async def rows(book: Books) -> dict[str, Delivery]:
    async with book.db.reading() as session:
        return {row.id: row for row in await session.scalars(select(Delivery).order_by(Delivery.seq))}


async def states(book: Books) -> dict[str, str]:
    return {name: row.state for name, row in (await rows(book)).items()}


async def test_everything_planned_arrives_once_and_in_order(book: Books) -> None:
    crm = MemoryCrm()
    for n in range(5):
        await book.plan(
            promise(f"dl_c{n}", upsert_contact(f"pe_{n}"), record_key="person"),
            promise(f"dl_l{n}", needs=(f"dl_c{n}",)),
            person=b"%d" % n,
        )
    await drain(book, crm)
    assert set((await states(book)).values()) == {"delivered"}
    assert crm.doubled == []
    assert all(crm.calls.index(f"upsert_contact pe_{n}") < crm.calls.index(f"log_call dl_l{n}") for n in range(5))
    assert all(crm.about[f"dl_l{n}"] == (Ref(Kind.CONTACT, crm.held[f"pe_{n}"][0].id),) for n in range(5))


async def test_a_lost_answer_is_looked_for_and_not_sent_again(book: Books) -> None:
    """A lost answer must not become a second activity in the customer's CRM."""
    crm = MemoryCrm(swallow=lambda _: LOST)
    await book.plan(promise("dl_a"))
    await drain(book, crm, times=2)
    assert crm.calls == ["log_call dl_a", "find dl_a"]
    assert await states(book) == {"dl_a": "delivered"}


async def test_what_was_not_written_is_sent_again_after_looking(book: Books) -> None:
    tries = iter([LOST, None])
    crm = MemoryCrm(refuse=lambda _: next(tries))
    await book.plan(promise("dl_a"))
    await drain(book, crm, times=2)
    assert crm.calls == ["log_call dl_a", "find dl_a", "log_call dl_a"]
    assert await states(book) == {"dl_a": "delivered"}


async def test_a_blind_write_with_a_lost_answer_is_for_a_person_to_decide(book: Books) -> None:
    crm = MemoryCrm(swallow=lambda _: LOST)
    await book.plan(promise("dl_a", blind=True))
    await drain(book, crm, times=3)
    assert crm.calls == ["log_call dl_a"]
    assert await states(book) == {"dl_a": "uncertain"}


async def test_an_outage_costs_no_attempts(book: Books) -> None:
    crm = MemoryCrm(refuse=lambda _: Unavailable("down", status=503))
    await book.plan(promise("dl_a"))
    await drain(book, crm, times=12)
    row = (await rows(book))["dl_a"]
    assert (row.state, row.attempts, row.waits) == ("pending", 0, 12)
    crm.refuse = lambda _: None
    await drain(book, crm)
    assert await states(book) == {"dl_a": "delivered"}


async def test_a_refusal_is_a_dead_letter_with_a_reason_and_holds_what_needs_it(book: Books) -> None:
    crm = MemoryCrm(
        refuse=lambda w: Rejected("The CRM wants an e-mail address.", field="email") if w.key == "pe_1" else None
    )
    await book.plan(
        promise("dl_a", upsert_contact("pe_1"), record_key="person"), promise("dl_b", needs=("dl_a",)), promise("dl_c")
    )
    await drain(book, crm)
    found = await rows(book)
    assert {name: (row.state, row.code) for name, row in found.items()} == {
        "dl_a": ("dead", "rejected"), "dl_b": ("held", "needs"), "dl_c": ("delivered", None),
    }  # fmt: skip
    assert found["dl_a"].reason == "The CRM wants an e-mail address. (field email)"


async def test_when_the_grant_is_gone_nothing_more_is_tried_and_nothing_is_given_up(book: Books) -> None:
    """The connection is paused by whoever sent (connections/sender.py); the rows wait for the tenant."""
    crm = MemoryCrm(refuse=lambda _: ReconnectNeeded("revoked"))
    await book.plan(promise("dl_a"), promise("dl_b"))
    await drain(book, crm)
    assert crm.calls == ["log_call dl_a"]
    assert set((await states(book)).values()) == {"pending"}
    assert {row.attempts for row in (await rows(book)).values()} == {0}


async def test_a_short_rate_limit_is_waited_out_inside_the_claim(book: Books) -> None:
    answers = iter([RateLimited("slow", retry_after=timedelta(milliseconds=5)), None])
    crm = MemoryCrm(refuse=lambda _: next(answers))
    await book.plan(promise("dl_a"))
    await drain(book, crm)
    assert crm.calls == ["log_call dl_a", "log_call dl_a"]
    assert (await rows(book))["dl_a"].waits == 0


async def test_a_long_rate_limit_puts_it_off_and_costs_no_attempt(book: Books) -> None:
    crm = MemoryCrm(refuse=lambda _: RateLimited("slow", retry_after=timedelta(minutes=5)))
    await book.plan(promise("dl_a"), promise("dl_b"))
    await drain(book, crm)
    found = await rows(book)
    assert (found["dl_a"].attempts, found["dl_a"].waits, found["dl_a"].code) == (0, 1, "rate_limited")
    assert found["dl_a"].due_at > utc_now() + timedelta(minutes=4)
    assert crm.calls == ["log_call dl_a"]


async def test_somebody_the_crm_has_already_is_written_about_and_not_created(book: Books) -> None:
    there = Contact(kind=Kind.CONTACT, id="286101", name="Jean Dupont", match="exact")
    crm = MemoryCrm(found=[there])
    await book.plan(promise("dl_a", upsert_contact("pe_1"), record_key="person"), promise("dl_b", needs=("dl_a",)))
    await drain(book, crm)
    assert crm.held["pe_1"][0].id == "286101"
    assert crm.about["dl_b"] == (Ref(Kind.CONTACT, "286101"),)


async def test_a_person_who_is_gone_at_the_crm_is_found_or_made_again(book: Books) -> None:
    """Somebody merged or deleted the contact: the next call must not die of it."""

    def refuse(write: Write) -> Rejected | None:
        target = getattr(write, "target", None)
        return Rejected("no such record", gone=True) if isinstance(target, Ref) and target.id == "old" else None

    crm = MemoryCrm(refuse=refuse)
    await book.plan(promise("dl_a", upsert_contact("pe_1"), record_key="person"), known_as=Ref(Kind.CONTACT, "old"))
    await drain(book, crm, times=2)
    assert await states(book) == {"dl_a": "delivered"}
    assert crm.held["pe_1"][0].id != "old"


async def test_what_a_killed_worker_held_is_looked_for_before_it_is_sent(book: Books) -> None:
    """The worker died between its write and our record of it."""
    crm = MemoryCrm()
    await book.plan(promise("dl_a"), promise("dl_b"))
    async with book.db.transaction(book.tenant_id) as session:
        await claim(session, book.tenant_id, book.connection_id, most=1, lease=timedelta(seconds=30))
    await crm.write([promise("dl_a").write])
    await drain(book, crm)
    assert crm.doubled == []
    assert sorted(crm.calls[1:]) == ["find dl_a", "find dl_b", "log_call dl_b"]
    assert set((await states(book)).values()) == {"delivered"}


async def test_what_workers_keep_dying_on_is_held(book: Books) -> None:
    crm = MemoryCrm()
    await book.plan(promise("dl_a"))
    async with book.db.transaction() as session:
        await session.execute(update(Delivery).values(claims=6, state="in_flight", looking=True))
    await drain(book, crm)
    row = (await rows(book))["dl_a"]
    assert (row.state, row.code) == ("held", "crashes")
    assert crm.calls == []


async def test_what_lived_too_long_is_a_dead_letter_and_is_not_sent(book: Books) -> None:
    crm = MemoryCrm()
    await book.plan(promise("dl_a"), lifetime=timedelta(seconds=-1))
    await drain(book, crm)
    row = (await rows(book))["dl_a"]
    assert (row.state, row.code) == ("dead", "expired")
    assert crm.calls == []


async def test_stopping_hands_back_what_was_not_sent(book: Books) -> None:
    """A rolling restart delays nothing by a lease."""
    crm = MemoryCrm()
    await book.plan(*(promise(f"dl_{n}") for n in range(6)))
    async with drains(book, crm) as made:

        def stop_after_two() -> None:
            made._stopping = len(crm.calls) >= 1

        crm.on_write = stop_after_two
        made.start(book.connection_id)
        await made.idle()
    found = await states(book)
    assert sorted(found.values()) == ["delivered"] * 2 + ["pending"] * 4
    async with book.db.reading() as session:
        lane = (await session.scalars(select(Lane))).one()
        assert lane.lease_until is None
        assert lane.ready_at is not None


async def test_attempts_tell_the_story(book: Books) -> None:
    tries = iter([Unavailable("HubSpot does not answer.", status=503), LOST, None])
    crm = MemoryCrm(refuse=lambda _: next(tries))
    await book.plan(promise("dl_a"))
    await drain(book, crm, times=3)
    async with book.db.reading() as session:
        told = (await session.scalars(select(Attempt).order_by(Attempt.id))).all()
        assert [(one.outcome, one.status) for one in told] == [
            ("unavailable", 503),
            ("outcome_unknown", None),
            ("delivered", 201),
        ]


async def test_a_colleague_is_named_by_e_mail_and_written_by_id(book: Books) -> None:
    crm = MemoryCrm(owners={"sarah@example.com": "88"})
    due = utc_now()
    await book.plan(
        promise("dl_a", CreateTask(key="dl_a", subject="s", due=due, owner="sarah@example.com")),
        promise("dl_b", CreateTask(key="dl_b", subject="s", due=due, owner="left@example.com")),
        promise("dl_c", AssignOwner(key="dl_c", owner="left@example.com", target=Ref(Kind.CONTACT, "1"))),
    )
    await drain(book, crm)
    assert {key: write.owner for key, write in crm.wrote.items()} == {"dl_a": "88", "dl_b": None}
    assert (await rows(book))["dl_c"].code == "rejected"


async def test_a_change_of_nobodys_record_says_so(book: Books) -> None:
    await book.plan(promise("dl_a", SetFields(key="dl_a", fields={"x": "1"}, target=Person())))
    await drain(book, MemoryCrm())
    assert (await rows(book))["dl_a"].code == "no-person"
