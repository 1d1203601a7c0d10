"""From a call to its promises, on both databases: once, in order, and with what comes later."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, update

from connectors.crm.records import AddNote, CreateDeal, CreateTask, LogCall, Person, UpsertContact, Write, name_of
from connectors.voice.events import Analysis, CallNews, Promise
from gateway.calls.tables import Call
from gateway.connections.tables import Connection
from gateway.db.base import new_id
from gateway.db.engine import utc_now
from gateway.outbox import payloads
from gateway.outbox.tables import Delivery, LaneRecord
from gateway.rulesets import queries
from gateway.rulesets.run import plan_call
from gateway.settings import Settings
from rules.rule import parse, with_ids
from tests.factories import BEGAN, Books, books, make_connection

NUMBER = "+41446681800"
TALKED = CallNews(
    direction="inbound", from_number=NUMBER, to_number="+41435550100", started_at=BEGAN, ended_at=BEGAN + timedelta(seconds=90),
    outcome="completed",
)  # fmt: skip
SAID = Analysis(intents=("purchase",), promises=(Promise(what="call back", due="2026-11-23"),))


@pytest.fixture
async def book(database_url: str) -> AsyncIterator[Books]:
    async with books(database_url) as made:
        yield made


class Finder:
    """Answers as the lookup would: nobody, or the contact it was given."""

    def __init__(
        self,
        contact: dict[str, Any] | None = None,
        records: tuple[str, ...] = (),
        *,
        pending: bool = False,
        source: str = "none",
        age: float = 0.0,
    ) -> None:
        self.contact, self.records, self.pending, self.source, self.age = contact, records, pending, source, age

    async def find(self, *_: Any, **__: Any) -> Any:
        status = "pending" if self.pending else "known" if self.contact else "unknown"
        kept = SimpleNamespace(records=self.records)
        return SimpleNamespace(
            status=status, complete=not self.pending, kept=kept, fields=lambda: {"contact": self.contact},
            source=self.source, age=self.age,
        )  # fmt: skip


async def call(
    book: Books, news: CallNews, *, complete: bool = True, grace: timedelta = timedelta(minutes=5), person: str = NUMBER
) -> str:
    """A call as intake leaves it, due to be planned."""
    call_id, now = new_id("ca"), utc_now()
    index = book.keys.index(person)
    async with book.db.transaction(book.tenant_id) as session:
        session.add(
            Call(
                tenant_id=book.tenant_id, id=call_id, source="api", external_id=call_id, state="received", direction=news.direction,
                ended=True, complete=complete, news=b"", person=index, subject_index=index, received_at=now, updated_at=now,
                grace_until=now + grace, plan_at=now, people_until=now + timedelta(days=180), kept_until=now + timedelta(days=400),
            )
        )  # fmt: skip
    await tell(book, call_id, news, complete=complete)
    return call_id


async def tell(book: Books, call_id: str, news: CallNews, *, complete: bool = True) -> None:
    """What a later event leaves on the call's row."""
    sealed = book.keys.seal(msgspec.json.encode(news), "calls", "news", call_id)
    now = utc_now()
    async with book.db.transaction() as session:
        await session.execute(
            update(Call).where(Call.id == call_id).values(news=sealed, complete=complete, updated_at=now, plan_at=now)
        )


async def go(book: Books, call_id: str, finder: Finder | None = None) -> list[str]:
    parts = SimpleNamespace(settings=Settings(), db=book.db, keyring=book.keyring)
    return await plan_call(parts, call_id, finder=finder or Finder())  # type: ignore[arg-type]


async def writes(book: Books) -> list[Write]:
    async with book.db.reading() as session:
        rows = await session.scalars(select(Delivery).order_by(Delivery.seq))
        return [payloads.read(book.keys, row.id, row.v, row.payload or b"") for row in rows]


async def test_the_starter_rules_log_know_call_back_and_open_a_deal(book: Books) -> None:
    call_id = await call(book, msgspec.structs.replace(TALKED, summary="Wants two.", analysis=SAID))
    assert await go(book, call_id) == [book.connection_id]
    made = await writes(book)
    assert [name_of(one) for one in made] == ["upsert_contact", "log_call", "create_task", "create_deal"]
    contact, log, task, deal = made
    assert isinstance(contact, UpsertContact)
    assert contact.phone == NUMBER
    assert isinstance(log, LogCall)
    assert (log.unchecked, log.call.duration) == ("Wants two.", timedelta(seconds=90))
    assert isinstance(task, CreateTask)
    assert task.due.date() == datetime(2026, 11, 23).date()  # noqa: DTZ001
    assert isinstance(deal, CreateDeal)


async def test_planning_twice_plans_nothing_new(book: Books) -> None:
    call_id = await call(book, TALKED)
    await go(book, call_id)
    before = await writes(book)
    async with book.db.transaction() as session:
        await session.execute(update(Call).values(plan_at=utc_now()))
    assert await go(book, call_id) == []
    assert await writes(book) == before


async def test_known_callers_are_written_about_as_who_they_are(book: Books) -> None:
    call_id = await call(book, TALKED)
    finder = Finder(
        {"name": "Jean Dupont", "kind": "contact", "id": "286101"}, (f"{book.connection_id}/contact/286101",)
    )
    await go(book, call_id, finder)
    async with book.db.reading() as session:
        row = (await session.scalars(select(LaneRecord))).one()
        assert (row.kind, row.record_id) == ("contact", "286101")


@pytest.mark.parametrize(
    ("finder", "asked"),
    [
        pytest.param(Finder(source="crm"), 0.0, id="asked now"),
        pytest.param(Finder(source="cache", age=30.0), 30.0, id="asked while it rang"),
        pytest.param(Finder(source="cache", age=7200.0), None, id="asked before this CRM was connected"),
        pytest.param(Finder(source="none"), None, id="nobody was asked"),
        pytest.param(Finder(source="crm", pending=True), None, id="not all have answered"),
    ],
)
async def test_whoever_nobody_knows_is_noted_with_the_time(book: Books, finder: Finder, asked: float | None) -> None:
    """So that the same question is not asked again a second later; a CRM that was not asked is."""
    async with book.db.transaction() as session:
        await session.execute(update(Connection).values(connected_at=utc_now() - timedelta(hours=1)))
    call_id = await call(book, TALKED)
    await go(book, call_id, finder)
    person = (await writes(book))[0]
    assert isinstance(person, UpsertContact)
    assert isinstance(person.target, Person)
    if asked is None:
        assert person.target.nobody_at is None
    else:
        assert person.target.nobody_at is not None
        assert abs((utc_now() - person.target.nobody_at).total_seconds() - asked) < 20


async def test_an_analysis_that_comes_later_decides_what_was_open_and_repeats_nothing(book: Books) -> None:
    call_id = await call(book, TALKED, complete=False)
    await go(book, call_id)
    assert [name_of(one) for one in await writes(book)] == ["upsert_contact", "log_call"]
    await tell(book, call_id, msgspec.structs.replace(TALKED, summary="Wants two.", analysis=SAID))
    await go(book, call_id)
    made = await writes(book)
    assert [name_of(one) for one in made] == ["upsert_contact", "log_call", "create_task", "create_deal"]
    assert isinstance(made[1], LogCall)
    assert made[1].unchecked == "Wants two.", "an unsent log is refreshed in place"


async def test_a_summary_after_the_call_was_logged_becomes_a_note(book: Books) -> None:
    call_id = await call(book, TALKED, complete=False)
    await go(book, call_id)
    async with book.db.transaction() as session:
        await session.execute(update(Delivery).values(state="delivered"))
    for _ in range(2):
        await tell(book, call_id, msgspec.structs.replace(TALKED, summary="Wants two."))
        await go(book, call_id)
    made = await writes(book)
    assert [name_of(one) for one in made] == ["upsert_contact", "log_call", "add_note"]
    assert isinstance(made[2], AddNote)
    assert made[2].unchecked == "Wants two."


async def test_when_the_grace_time_is_over_nothing_is_waited_for(book: Books) -> None:
    call_id = await call(book, TALKED, complete=False, grace=timedelta(seconds=-1))
    await go(book, call_id, Finder(pending=True))
    async with book.db.reading() as session:
        row = (await session.scalars(select(Call))).one()
        assert (row.state, row.plan_at) == ("planned", None)


async def test_rules_are_pinned_when_a_call_is_first_planned(book: Books) -> None:
    call_id = await call(book, TALKED, complete=False)
    await go(book, call_id)
    rules = with_ids(
        parse({"rules": [{"name": "note", "when": "true", "then": [{"do": "add_note", "with": {"body": "x"}}]}]})
    )
    async with book.db.transaction(book.tenant_id) as session:
        await queries.save(session, book.tenant_id, rules.document(), by="test", now=utc_now())
    await tell(book, call_id, msgspec.structs.replace(TALKED, analysis=SAID))
    await go(book, call_id)
    assert "add_note" not in [name_of(one) for one in await writes(book)]
    later = await call(book, TALKED)
    await go(book, later)
    assert "add_note" in [name_of(one) for one in await writes(book)]


async def test_once_a_day_for_one_person(book: Books) -> None:
    """Three calls about one purchase are one deal."""
    for _ in range(3):
        await go(book, await call(book, msgspec.structs.replace(TALKED, analysis=SAID)))
    made = [name_of(one) for one in await writes(book)]
    assert made.count("create_deal") == 1
    assert made.count("log_call") == 3


async def test_a_call_of_a_tenant_without_a_crm_waits_for_one(book: Books) -> None:
    async with book.db.transaction() as session:
        await session.execute(update(Connection).values(disconnected_at=utc_now()))
    call_id = await call(book, TALKED)
    assert await go(book, call_id) == []
    async with book.db.reading() as session:
        row = (await session.scalars(select(Call))).one()
        assert row.state == "received"
        assert row.plan_at is not None
    async with book.db.transaction() as session:
        await session.execute(update(Call).values(plan_at=utc_now()))
    await make_connection(book.db, book.tenant_id)
    assert len(await go(book, call_id)) == 1


async def test_a_withheld_caller_is_logged_and_nobody_is_created(book: Books) -> None:
    call_id = await call(
        book, CallNews(direction="inbound", withheld=True, outcome="completed", started_at=BEGAN), person="call"
    )
    await go(book, call_id)
    assert [name_of(one) for one in await writes(book)] == ["log_call"]


async def test_decisions_say_why(book: Books) -> None:
    call_id = await call(book, TALKED)
    await go(book, call_id)
    async with book.db.reading() as session:
        told = await queries.decisions(session, book.tenant_id, call_id, keys=book.keys)
    assert [(one["name"], one["matched"]) for one in told][:3] == [
        ("Know the caller", True), ("Log every call", True), ("Ticket for an urgent complaint", False),
    ]  # fmt: skip
    assert all(one["because"] for one in told)
