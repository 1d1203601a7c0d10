"""Imports on both databases: everything once, in order, goes on where it stopped, and drops who is gone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from connectors.crm.records import Kind
from connectors.errors import RateLimited, ReconnectNeeded, Rejected, Unavailable
from gateway.db.engine import utc_now
from gateway.directory.numbers import Reading
from gateway.directory.progress import progress
from gateway.directory.tables import DirectoryRecord, Mirror
from tests.gateway.directory.listing import Import, importing
from tests.gateway.directory.people import everything, hashes, owners, somebody, store

MAIN = "+41446681800"
PEOPLE = [somebody(str(n), f"044 668 18 {n:02d}") for n in range(5)]
FIRM = somebody("f", MAIN, kind=Kind.COMPANY)


@pytest.fixture
async def job(database_url: str) -> AsyncIterator[Import]:
    async with importing(database_url, *PEOPLE, FIRM) as made:
        yield made


async def test_everybody_with_a_number_is_found_afterwards(job: Import) -> None:
    await job.run()
    assert await owners(job.book, "+41446681804") == {("4", "exact")}
    assert await owners(job.book, MAIN) == {("0", "exact"), ("f", "exact")}
    rows = await job.rows()
    assert [(row.kind, row.state, row.done, row.total) for row in rows] == [
        ("contact", "done", 5, 5),
        ("company", "done", 1, 1),
    ]
    assert all(row.complete_at and row.due_at is None for row in rows)
    assert set(job.ways.purposes) == {"import"}  # the reserve for lookups is left alone
    assert set(job.forgotten) == hashes(job.book, *(f"+4144668180{n}" for n in range(5)))
    assert await job.due() == []


async def test_a_kind_the_crm_does_not_have_is_no_failure(job: Import) -> None:
    await job.run()
    assert progress(await job.rows(), utc_now()).state == "done"
    assert "lead" not in {row.kind for row in await job.rows()}


async def test_running_twice_at_once_reads_everything_once(job: Import) -> None:
    await asyncio.gather(job.run(), job.run())
    assert sorted(after or "" for kind, after in job.crm.asked if kind is Kind.CONTACT) == ["", "2", "4"]


async def test_what_a_later_run_does_not_meet_is_dropped(job: Import) -> None:
    await job.run()
    gone = job.crm.contacts.pop(0)
    job.forgotten.clear()
    await job.again()
    assert await owners(job.book, MAIN) == {("f", "exact")}
    assert set(job.forgotten) == hashes(job.book, MAIN)
    assert gone.id == "0"


async def test_who_came_through_a_webhook_meanwhile_is_not_dropped(job: Import) -> None:
    async def between(number: int) -> None:
        if number == 2:
            await store(job.book, somebody("new", "+41446681899"), at=utc_now())

    job.crm.between = between
    await job.run()
    assert await owners(job.book, "+41446681899") == {("new", "exact")}


async def test_a_dry_run_counts_and_keeps_nothing(job: Import) -> None:
    job.crm.contacts.append(somebody("odd", "no number", "078 nach 5"))
    await job.again(dry=True)
    assert await everything(job.book) == []
    seen = progress(await job.rows(), utc_now())
    assert (seen.state, seen.done, seen.unreadable_numbers, seen.dry_run) == ("done", 7, 2, True)
    assert seen.unreadable_examples[0] == "contact odd, phone: x x"
    assert all(row.complete_at is None for row in await job.rows())


async def test_a_dry_run_leaves_the_mirror_as_it_was(job: Import) -> None:
    await job.run()
    before = await everything(job.book)
    job.crm.contacts.clear()
    await job.again(dry=True)
    assert await everything(job.book) == before
    assert all(row.complete_at for row in await job.rows())


async def test_an_outage_is_waited_for_and_the_import_goes_on_where_it_was(job: Import) -> None:
    job.crm.fails[1] = Unavailable("away")
    await job.run()
    (contact, *_) = await job.rows()
    assert (contact.state, contact.done, contact.reason, contact.lease_until) == ("running", 2, "away", None)
    await _soon(job)
    await job.run()
    assert progress(await job.rows(), utc_now()).state == "done"
    assert [after for kind, after in job.crm.asked if kind is Kind.CONTACT] == [None, "2", "2", "4"]


async def test_a_long_rate_limit_gives_the_row_back(job: Import) -> None:
    job.crm.fails[1] = RateLimited("slow down", retry_after=timedelta(hours=1))
    await job.run()
    (contact, *_) = await job.rows()
    assert contact.due_at is not None
    assert contact.due_at > utc_now() + timedelta(minutes=59)
    assert contact.failures == 0


async def test_a_bulk_job_is_waited_for_without_holding_anything(job: Import) -> None:
    job.crm.wait = timedelta(minutes=5)
    await job.run()
    (contact, *_) = await job.rows()
    assert (contact.done, contact.cursor, contact.lease_until) == (2, "2", None)


async def test_a_grant_that_is_gone_is_waited_for(job: Import) -> None:
    job.ways.fails = ReconnectNeeded("sign in again")
    await job.run()
    (contact, *_) = await job.rows()
    assert (contact.state, contact.reason) == ("running", "sign in again")


async def test_a_cursor_the_crm_takes_no_more_begins_anew(job: Import) -> None:
    job.crm.fails[1] = Rejected("unknown cursor")
    await job.run()
    assert progress(await job.rows(), utc_now()).state == "done"
    assert [(row.kind, row.done) for row in await job.rows()] == [("contact", 5), ("company", 1)]


async def test_a_refusal_ends_in_words_and_other_kinds_go_on(job: Import) -> None:
    job.crm.fails[0] = Rejected("the scope is missing")
    await job.run()
    contact, company = await job.rows()
    assert (contact.state, contact.reason, company.state) == ("failed", "the scope is missing", "done")
    assert progress(await job.rows(), utc_now()).state == "failed"


async def test_one_who_was_fenced_off_writes_nothing(job: Import) -> None:
    """A worker that was frozen wakes up after another has taken over."""

    async def between(number: int) -> None:
        if number == 1:
            async with job.book.db.transaction() as session:
                await session.execute(update(Mirror).values(fence=Mirror.fence + 1))

    job.crm.between = between
    await job.run()
    async with job.book.db.reading() as session:
        assert set(await session.scalars(select(DirectoryRecord.record_id))) <= {"0", "1"}


@pytest.mark.parametrize("seed", range(3))
async def test_abandoned_ten_times_at_any_await_it_ends_the_same(seed: int, sqlite_url: str) -> None:
    """Cancelled while it asks for a page and stores another. Processes are killed in test_import_killed.py."""
    people = [somebody(str(n), f"044 668 18 {n:02d}", f"+4179{6680000 + n}") for n in range(60)]
    rolled = random.Random(seed)
    async with importing(sqlite_url, *people, FIRM, per_page=3) as job:
        for _ in range(10):
            await _abandoned_after(job, rolled.randrange(1, 5))
            await _soon(job)
        await job.run()
        assert progress(await job.rows(), utc_now()).state == "done"
        assert [(row.kind, row.done) for row in await job.rows()] == [("contact", 60), ("company", 1)]
        found = {row[4] for row in await everything(job.book) if row[0] == "record"}
        assert found == {one.id for one in (*people, FIRM)}
        asked = [after for kind, after in job.crm.asked if kind is Kind.CONTACT]
        stored = [int(after) for after in asked if after]
        assert asked.count(None) + len(stored) <= 20 + 20  # a page lost for each time, and none read anew


async def test_progress_says_how_long_it_takes(job: Import) -> None:
    now = utc_now()
    row = Mirror(kind="contact", state="running", dry=False, done=100, total=300, unreadable=1, examples=["x"])
    row.started_at = now - timedelta(seconds=10)
    seen = progress([row], now)
    assert (seen.rate_per_s, seen.remaining_s, seen.total) == (10.0, 20, 300)


async def test_regions_are_the_tenants(job: Import) -> None:
    job.crm.contacts.append(somebody("de", "030 901820"))
    await job.run()
    assert await owners(job.book, "+4930901820") == set()  # nobody said Germany
    await store(job.book, somebody("de2", "030 901820"), reading=Reading(("CH", "DE")))
    assert await owners(job.book, "+4930901820") == {("de2", "national")}


async def _soon(job: Import) -> None:
    """As if leases and pauses were over."""
    async with job.book.db.transaction() as session:
        past = utc_now() - timedelta(seconds=1)
        await session.execute(update(Mirror).where(Mirror.lease_until.is_not(None)).values(lease_until=past))
        await session.execute(update(Mirror).where(Mirror.due_at.is_not(None)).values(due_at=past))


async def _abandoned_after(job: Import, requests: int) -> None:
    """Run until it has asked for so many more pages, and then never again."""
    reached, never = asyncio.Event(), asyncio.Event()
    until = len(job.crm.asked) + requests

    async def between(number: int) -> None:
        if number + 1 >= until:
            reached.set()
            await never.wait()

    job.crm.between = between
    importer = job.importer()
    task = asyncio.create_task(importer.run(job.book.connection_id))
    await asyncio.wait({task, asyncio.create_task(reached.wait())}, return_when=asyncio.FIRST_COMPLETED)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    job.crm.between = None
