"""Runs of writes that are sent one by one, or in parts: links into the run become records."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from connectors.crm import runs
from connectors.crm.port import Done, Failed, Outcome
from connectors.crm.records import CreateTask, Earlier, Kind, Record, Ref, SetFields, UpsertContact, Write
from connectors.errors import RateLimited, Rejected, Unavailable

DUE = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
ANNA = Earlier(Kind.CONTACT, 0)


def task(key: str, *about: Ref | Earlier) -> CreateTask:
    return CreateTask(key=key, subject="s", due=DUE, about=about)


def done(id: str, kind: Kind = Kind.CONTACT) -> Done:
    return Done(record=Record(kind=kind, id=id), status=201)


RUN: list[Write] = [
    UpsertContact(key="anna", phone="+41446681800"),
    task("t-1", ANNA),
    task("t-2", ANNA, Earlier(Kind.TASK, 1)),
    SetFields(key="f", fields={"a": "b"}, target=ANNA),
]


async def test_links_become_the_records_that_came_before() -> None:
    sent: list[Write] = []

    async def send(write: Write) -> Outcome:
        sent.append(write)
        return done(f"r{len(sent)}", Kind.CONTACT if len(sent) == 1 else Kind.TASK)

    outcomes = await runs.one_by_one(RUN, send)
    assert all(isinstance(one, Done) for one in outcomes)
    assert [runs.links_of(write) for write in sent] == [
        (), (Ref(Kind.CONTACT, "r1"),), (Ref(Kind.CONTACT, "r1"), Ref(Kind.TASK, "r2")), (Ref(Kind.CONTACT, "r1"),),
    ]  # fmt: skip


async def test_what_points_at_a_refused_one_is_kept_back_and_says_so() -> None:
    async def send(write: Write) -> Outcome:
        return Failed(error=Rejected("no")) if write.key == "anna" else done("9", Kind.TASK)

    refused, *others, alone = await runs.one_by_one([*RUN, task("t-3")], send)
    assert isinstance(refused, Failed)
    assert not runs.not_sent(refused.error)
    assert all(isinstance(one, Failed) and runs.not_sent(one.error) for one in others)
    assert alone == done("9", Kind.TASK)


async def test_after_a_failure_that_may_pass_nothing_is_sent() -> None:
    async def send(write: Write) -> Outcome:
        return Failed(error=RateLimited("slow", retry_after=timedelta(seconds=1)))

    outcomes = await runs.one_by_one([task("t-1"), task("t-2")], send)
    errors = [one.error for one in outcomes if isinstance(one, Failed)]
    assert [runs.not_sent(error) for error in errors] == [False, True]
    assert isinstance(errors[1], Unavailable)


def test_the_rest_of_a_run_counts_anew() -> None:
    rest = runs.rest(RUN, [done("77")])
    assert rest is not None
    assert [runs.links_of(write) for write in rest] == [
        (Ref(Kind.CONTACT, "77"),), (Ref(Kind.CONTACT, "77"), Earlier(Kind.TASK, 0)), (Ref(Kind.CONTACT, "77"),),
    ]  # fmt: skip
    assert runs.rest(RUN, []) == RUN
    assert runs.rest(RUN, [Done(record=None)]) is None
