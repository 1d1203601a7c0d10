"""Runs: what a CRM takes in one request goes out in one, and everything else stays as it is one by one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import select

from connectors.crm.records import AddNote, Contact, CreateTask, Kind, Later, LogCall, Person, Ref, SetFields, Write
from connectors.errors import OutcomeUnknown, RateLimited, Rejected, Unavailable
from gateway.db.engine import utc_now
from gateway.outbox.claim import claim
from gateway.outbox.plan import Promise
from gateway.outbox.tables import Attempt
from tests.factories import BEGAN, Books, books, log_call, promise, upsert_contact
from tests.gateway.delivery.crm import MemoryCrm, drains
from tests.gateway.delivery.test_drain import drain, make_due, rows, states

LOST = OutcomeUnknown("no answer came", settle=timedelta(minutes=1))


@pytest.fixture
async def book(database_url: str) -> AsyncIterator[Books]:
    async with books(database_url) as made:
        yield made


def call_of(name: str) -> list[Promise]:
    """What one call leads to: the person, and a call, a task and a note about them."""
    contact = promise(f"dl_c{name}", upsert_contact("pe_1"), record_key="person")
    needs = (contact.id,)
    task = CreateTask(key=f"dl_t{name}", subject="s", due=BEGAN, about=(Person(),))
    note = AddNote(key=f"dl_n{name}", body="b", at=BEGAN, about=(Person(), Later(Kind.TASK, task.key)))
    return [
        contact,
        promise(f"dl_l{name}", needs=needs),
        promise(task.key, task, needs=needs),
        promise(note.key, note, needs=(*needs, task.key)),
    ]


def together(*, takes: int = 5, **more: object) -> MemoryCrm:
    return MemoryCrm(takes=takes, **more)  # type: ignore[arg-type]


async def test_a_whole_call_goes_out_in_one_request(book: Books) -> None:
    """The person, and what is about them, though the person is known to nobody before."""
    crm = together()
    await book.plan(*call_of("1"))
    assert await states(book) == {"dl_c1": "pending", "dl_l1": "waiting", "dl_t1": "waiting", "dl_n1": "waiting"}
    await drain(book, crm)
    assert crm.requests == [["pe_1", "dl_l1", "dl_t1", "dl_n1"]]
    assert crm.calls[0] == "find_contacts", "somebody may have them already"
    assert set((await states(book)).values()) == {"delivered"}
    (anna,), (task,) = crm.held["pe_1"], crm.held["dl_t1"]
    assert crm.about["dl_l1"] == (Ref(Kind.CONTACT, anna.id),)
    assert crm.about["dl_n1"] == (Ref(Kind.CONTACT, anna.id), Ref(Kind.CALL, task.id))


async def test_a_crm_that_takes_one_gets_one_at_a_time(book: Books) -> None:
    crm = together(takes=1)
    await book.plan(*call_of("1"))
    await drain(book, crm)
    assert crm.requests == [["pe_1"], ["dl_l1"], ["dl_t1"], ["dl_n1"]]


async def test_no_request_is_longer_than_the_crm_takes(book: Books) -> None:
    crm = together(takes=3)
    await book.plan(*call_of("1"))
    await drain(book, crm)
    assert crm.requests == [["pe_1", "dl_l1", "dl_t1"], ["dl_n1"]]
    assert crm.about["dl_n1"] == (Ref(Kind.CONTACT, "1"), Ref(Kind.CALL, "3")), "from the request before"


async def test_the_second_call_of_a_person_waits_for_the_first(book: Books) -> None:
    """Two writes of one record in one request: the older value could end over the newer."""
    crm = together()
    await book.plan(*call_of("1"), *call_of("2"))
    await drain(book, crm)
    assert crm.requests == [["pe_1", "dl_l1", "dl_t1", "dl_n1"], ["pe_1", "dl_l2", "dl_t2", "dl_n2"]]
    assert crm.about["dl_l2"] == crm.about["dl_l1"]


async def test_somebody_the_crm_has_already_is_pointed_at_and_not_made(book: Books) -> None:
    crm = together(found=[Contact(kind=Kind.LEAD, id="00Q1", name="Jean Dupont", match="exact")])
    await book.plan(*call_of("1"))
    await drain(book, crm)
    assert len(crm.requests) == 1
    assert crm.about["dl_l1"] == (Ref(Kind.LEAD, "00Q1"),)


@pytest.mark.parametrize(("minutes", "asks"), [(0, 0), (1, 0), (3, 1), (None, 1)])
async def test_nobody_is_searched_for_who_was_just_now_said_to_be_nobody(
    book: Books, minutes: int | None, asks: int
) -> None:
    """Searches are rationed, and whoever decided has just made one."""
    asked = None if minutes is None else utc_now() - timedelta(minutes=minutes)
    write = msgspec.structs.replace(upsert_contact("pe_1"), target=Person(asked))
    crm = together()
    await book.plan(promise("dl_c", write, record_key="person"))
    await drain(book, crm)
    assert crm.calls.count("find_contacts") == asks
    assert await states(book) == {"dl_c": "delivered"}


async def test_a_lost_answer_makes_all_of_it_unknown_and_each_is_looked_for(book: Books) -> None:
    """Half of it could be there: nothing is sent again before each was looked for, and found ones are pointed at."""
    tries = iter([LOST])
    crm = together(swallow=lambda write: next(tries, None) if write.key == "dl_t1" else None)
    await book.plan(*call_of("1"))
    await drain(book, crm)
    assert set((await states(book)).values()) == {"in_flight"}
    assert {one.looking for one in (await rows(book)).values()} == {True}
    assert crm.held.keys() == {"pe_1", "dl_l1", "dl_t1"}
    del crm.held["dl_l1"]
    await drain(book, crm)
    assert crm.doubled == []
    assert crm.requests[1:] == [["dl_l1"], ["dl_n1"]]
    assert crm.about["dl_n1"] == (Ref(Kind.CONTACT, "1"), Ref(Kind.CALL, "3")), "found ones, not new ones"
    assert set((await states(book)).values()) == {"delivered"}


async def test_what_a_killed_worker_held_is_looked_for_in_order(book: Books) -> None:
    crm = together()
    await book.plan(*call_of("1"))
    async with book.db.transaction(book.tenant_id) as session:
        (lane,) = await claim(
            session, book.tenant_id, book.connection_id, most=1, lease=timedelta(seconds=30), run=crm.takes
        )
    assert [one.id for one in lane.deliveries] == ["dl_c1", "dl_l1", "dl_t1", "dl_n1"]
    await crm.write([upsert_contact("pe_1"), log_call("dl_l1")])
    await drain(book, crm)
    assert [one for one in crm.calls if one.startswith("find ")] == [
        "find pe_1", "find dl_l1", "find dl_t1", "find dl_n1",
    ]  # fmt: skip
    assert crm.doubled == []
    assert set((await states(book)).values()) == {"delivered"}


async def test_what_points_at_somebody_who_cannot_be_looked_for_now_is_looked_for_after_them(book: Books) -> None:
    """Nothing is about a person who may or may not be there."""
    lost = iter([LOST])
    crm = together(refuse=lambda _: next(lost, None))
    await book.plan(*call_of("1"))
    await drain(book, crm)
    crm.blind_to = {"pe_1"}
    await drain(book, crm)
    assert [one for one in crm.calls if one.startswith("find ")] == ["find pe_1"]
    assert set((await states(book)).values()) == {"in_flight"}
    crm.blind_to = set()
    await drain(book, crm, times=2)
    assert set((await states(book)).values()) == {"delivered"}
    assert crm.doubled == []


async def test_a_refused_person_holds_what_was_sent_with_them(book: Books) -> None:
    crm = together(refuse=lambda w: Rejected("The CRM wants an e-mail address.") if w.key == "pe_1" else None)
    await book.plan(*call_of("1"))
    await drain(book, crm)
    assert {name: (row.state, row.code) for name, row in (await rows(book)).items()} == {
        "dl_c1": ("dead", "rejected"), "dl_l1": ("held", "needs"), "dl_t1": ("held", "needs"), "dl_n1": ("held", "needs"),
    }  # fmt: skip
    assert len(crm.requests) == 1


async def test_a_refused_one_in_the_middle_holds_only_what_needs_it(book: Books) -> None:
    crm = together(refuse=lambda w: Rejected("no tasks here") if w.key == "dl_t1" else None)
    await book.plan(*call_of("1"))
    await drain(book, crm)
    assert await states(book) == {"dl_c1": "delivered", "dl_l1": "delivered", "dl_t1": "dead", "dl_n1": "held"}


async def test_what_was_lost_with_somebody_who_is_refused_then_is_held_too(book: Books) -> None:
    """First no answer, then a refusal: what was sent with them is looked for, is not there, and waits for a person."""
    answers = iter([LOST])

    def refuse(write: Write) -> Exception | None:
        return next(answers, Rejected("no")) if write.key == "pe_1" else None

    crm = together(refuse=refuse)
    await book.plan(*call_of("1"))
    await drain(book, crm)
    crm.held.clear()
    await drain(book, crm, times=2)
    assert await states(book) == {"dl_c1": "dead", "dl_l1": "held", "dl_t1": "held", "dl_n1": "held"}
    assert crm.held == {}


async def test_an_outage_puts_all_of_it_off_as_it_was(book: Books) -> None:
    crm = together(refuse=lambda _: Unavailable("down", status=503))
    await book.plan(*call_of("1"))
    await drain(book, crm, times=4)
    found = await rows(book)
    assert {name: row.state for name, row in found.items()} == {
        "dl_c1": "pending", "dl_l1": "waiting", "dl_t1": "waiting", "dl_n1": "waiting",
    }  # fmt: skip
    assert {(row.attempts, row.claims) for row in found.values()} == {(0, 0)}
    assert found["dl_c1"].waits == 4
    crm.refuse = lambda _: None
    await drain(book, crm)
    assert set((await states(book)).values()) == {"delivered"}


async def test_a_person_who_is_gone_is_made_again_and_the_rest_is_about_the_new_one(book: Books) -> None:
    def refuse(write: Write) -> Rejected | None:
        old = Ref(Kind.CONTACT, "old")
        return Rejected("no such record", gone=True) if old in links_of(write) else None

    crm = together(refuse=refuse)
    await book.plan(*call_of("1"), known_as=Ref(Kind.CONTACT, "old"))
    await drain(book, crm, times=2)
    assert set((await states(book)).values()) == {"delivered"}
    assert crm.about["dl_l1"] == (Ref(Kind.CONTACT, crm.held["pe_1"][0].id),)


async def test_a_short_rate_limit_in_the_middle_is_waited_out_for_the_rest(book: Books) -> None:
    answers = iter([RateLimited("slow", retry_after=timedelta(milliseconds=5))])
    crm = together(refuse=lambda w: next(answers, None) if w.key == "dl_t1" else None, halts=True)
    await book.plan(*call_of("1"))
    await drain(book, crm)
    assert crm.requests == [["pe_1", "dl_l1", "dl_t1", "dl_n1"], ["dl_t1", "dl_n1"]]
    assert crm.about["dl_n1"] == (Ref(Kind.CONTACT, "1"), Ref(Kind.CALL, "3"))
    assert set((await states(book)).values()) == {"delivered"}
    assert {row.waits for row in (await rows(book)).values()} == {0}


async def test_a_long_rate_limit_in_the_middle_keeps_what_arrived(book: Books) -> None:
    crm = together(
        refuse=lambda w: RateLimited("slow", retry_after=timedelta(minutes=5)) if w.key == "dl_t1" else None, halts=True
    )
    await book.plan(*call_of("1"))
    await drain(book, crm)
    found = await rows(book)
    assert await states(book) == {"dl_c1": "delivered", "dl_l1": "delivered", "dl_t1": "pending", "dl_n1": "waiting"}
    assert found["dl_t1"].due_at > utc_now() + timedelta(minutes=4)
    async with book.db.reading() as session:
        told = (await session.scalars(select(Attempt.delivery_id))).all()
    assert "dl_n1" not in told, "it was not tried"


async def test_blind_ones_go_alone(book: Books) -> None:
    """After a crash all we know of a blind one is that it was meant to go out: the fewer, the better."""
    crm = together()
    contact, call, task, note = call_of("1")
    await book.plan(contact, call, promise(task.id, task.write, needs=task.needs, blind=True), note)
    await drain(book, crm)
    assert crm.requests == [["pe_1", "dl_l1"], ["dl_t1"], ["dl_n1"]]


async def test_a_change_of_the_person_goes_with_whoever_makes_them(book: Books) -> None:
    crm = together()
    change = SetFields(key="dl_f", fields={"tier": "gold"}, target=Person())
    await book.plan(*call_of("1"), promise("dl_f", change, needs=("dl_c1",), record_key="person"))
    await drain(book, crm)
    assert crm.requests == [["pe_1", "dl_l1", "dl_t1", "dl_n1", "dl_f"]]
    assert crm.held["dl_f"][0].id == crm.held["pe_1"][0].id


async def test_calls_of_one_person_that_need_nobody_go_together(book: Books) -> None:
    crm = together(takes=3)
    await book.plan(*(promise(f"dl_{n}") for n in range(4)), known_as=Ref(Kind.CONTACT, "7"))
    await drain(book, crm)
    assert crm.requests == [["dl_0", "dl_1", "dl_2"], ["dl_3"]]


async def test_stopping_hands_back_a_chain_as_it_was(book: Books) -> None:
    crm = together(takes=2)
    await book.plan(*call_of("1"))
    async with drains(book, crm) as made:
        crm.on_write = lambda: setattr(made, "_stopping", True)
        await make_due(book)
        made.start(book.connection_id)
        await made.idle()
    assert await states(book) == {"dl_c1": "delivered", "dl_l1": "delivered", "dl_t1": "pending", "dl_n1": "waiting"}


def links_of(write: Write) -> tuple[object, ...]:
    return write.about if isinstance(write, LogCall | CreateTask | AddNote) else (getattr(write, "target", None),)
