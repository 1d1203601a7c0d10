"""How many requests each CRM is asked with for one call, counted at its sandbox, beside the fewest its API allows.

A caller is looked up cold; then somebody new calls, is looked up while it rings, and what the call led to is delivered.
What is asked once in a while (pipelines, owners, fields) was asked before the counting begins.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rich.console import Console
from sqlalchemy import func, select

from connectors import phone
from connectors.crm.catalog import CATALOG
from connectors.crm.records import CallLog, CreateDeal, CreateTask, LogCall, Person, UpsertContact, Write
from connectors.sandbox.journal import Asked
from connectors.sandbox.serve import SHOWN
from gateway.connections import queries as connection_queries
from gateway.db.engine import utc_now
from gateway.delivery.drain import Drains
from gateway.demo.acts import connect
from gateway.demo.people import KINDS, hanging_on, numbers_of
from gateway.demo.stage import Ground, grounded, staged, until
from gateway.outbox.plan import plan
from gateway.outbox.tables import Delivery
from gateway.parts import Parts
from gateway.parts import parts as opened_parts
from gateway.worker import run_on_loop
from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.stage import Stage
from tests.factories import promise

TIMES = 3  # the first warms up; of the others the fewest count, so that housekeeping in between does not


@dataclass(frozen=True)
class Fewest:
    """The fewest requests with which a vendor's API can do the job, and why.

    lookup  find somebody by number wherever numbers are, then company, open deals and what happened last.
    write   a new contact, and a call, a task and a deal linked to it.
    """

    lookup: int
    write: int
    why: str


FEWEST = {
    "hubspot": Fewest(
        lookup=6,
        write=4,
        why="no search over two kinds of record, then the record with ids around it, then a batch for each kind (company, "
        "deals, calls); a request makes records of one kind, with links to what exists inside",
    ),
    "salesforce": Fewest(
        lookup=2, write=1, why="one search over all kinds, then everything else in a composite request"
    ),
    "pipedrive": Fewest(
        lookup=9,
        write=4,
        why="numbers are compared as text, hence a search for each of five spellings, then person, organisation, deals and "
        "activities each by itself; a request makes one record",
    ),
    "zoho": Fewest(lookup=2, write=1, why="composite requests of five parts, for reading and for writing"),
}


@dataclass(frozen=True)
class Counted:
    """Requests for one lookup and one written call, and connections that were opened for the latter."""

    provider: str
    lookup: int
    write: int
    opened: int


def run(stage: Stage) -> Iterator[Figure]:
    """Two figures for each connector, and one for its connections."""
    for provider in CATALOG:
        if provider not in SHOWN:
            continue
        counted, fewest = run_on_loop(count(provider)), FEWEST[provider]
        name = CATALOG[provider].manifest.name
        yield _figure(f"{name}: requests for a cold lookup", counted.lookup, fewest.lookup)
        yield _figure(f"{name}: requests for contact, call, task, deal", counted.write, fewest.write)
        yield Figure(
            f"{name}: connections opened for them when warm", counted.opened, "", target=Target("value", "<=", 0)
        )


def _figure(name: str, value: int, fewest: int) -> Figure:
    return Figure(name, value, "", fewest, value / fewest, Target("value", "<=", fewest + 1))


async def count(provider: str, *, times: int = TIMES) -> Counted:
    async with connected(provider) as (ground, parts):
        lookups = [await looked_up(ground, parts, caller) for caller in _regulars(ground, times)]
        written = [await delivered(ground, parts, f"+4144555{n:04}") for n in range(101, 101 + times)]
    known = {asked.client for several in (*lookups, written[0]) for asked in several}
    opened = {asked.client for several in written[1:] for asked in several} - known
    return Counted(provider, min(map(len, lookups[1:])), min(map(len, written[1:])), len(opened))


@asynccontextmanager
async def connected(provider: str) -> AsyncIterator[tuple[Ground, Parts]]:
    """A tenant that has connected this CRM's sandbox, as a person would; then nobody is at work but who is counted."""
    async with grounded(provider, limits=False) as ground:  # a request refused and sent again is another figure
        async with staged(ground, Console(quiet=True)) as scene:
            await connect(scene)
            (connection,) = (await scene.api("GET", "/v1/connections"))["items"]
        async with opened_parts(ground.settings, providers=ground.providers) as parts:
            if not await parts.connections.probed(connection["id"], within=timedelta(seconds=30)):
                raise RuntimeError(f"{provider} was not probed in time")
            await _left_alone(ground)
            yield ground, parts


def _regulars(ground: Ground, count: int) -> Sequence[str]:
    """Numbers of people on whom a call and a deal hang, each held by one person only, and written as people write them."""
    people = ground.crm.people()
    everybodys = Counter(number for person in people for number in numbers_of(person))
    found = []
    for person in people:
        alone = all(everybodys[number] == 1 for number in numbers_of(person))
        if alone and all(hanging_on(ground.crm, person, kind) for kind in ("call", "deal")):
            found += [number for text in person.numbers[:1] if (number := _usual(text))]
    return found[:count]


def _usual(text: str) -> str | None:
    """A number as E.164 if it stands in a spelling that is searched for where a CRM compares numbers as text."""
    number = phone.read(text, "CH")
    return phone.e164(number) if number is not None and text in phone.spellings(number) else None


async def looked_up(ground: Ground, parts: Parts, caller: str, *, status: str = "known") -> list[Asked]:
    """What was asked of the CRM until everything about a caller was known."""
    mark = len(ground.journal.asked)

    async def known() -> bool | None:
        budget = timedelta(seconds=20)
        found = await parts.finder.find(
            ground.tenant_id, caller, region="CH", asked_by="bench", assurance="key", budget=budget
        )
        return True if found.status == status and found.complete else None

    await until(f"{caller} is {status}", known)
    await _left_alone(ground)
    return ground.journal.asked[mark:]


async def delivered(ground: Ground, parts: Parts, caller: str) -> list[Asked]:
    """What was asked to write a call of somebody new, who was looked up while it rang."""
    await looked_up(ground, parts, caller, status="unknown")
    async with parts.db.reading(ground.tenant_id) as session:
        (connection,) = await connection_queries.writable(session, ground.tenant_id)
    mark, before = len(ground.journal.asked), {kind: len(ground.crm.items(kind)) for kind in KINDS}
    contact, *others = (promise(write.key, write) for write in _writes(caller))
    async with parts.db.transaction(ground.tenant_id) as session:
        await plan(
            session, ground.tenant_id, connection.id, caller.encode(),
            [contact, *(promise(one.id, one.write, needs=(contact.id,)) for one in others)],
            keys=await parts.keyring.of(ground.tenant_id), call_id=None, lifetime=timedelta(days=7),
        )  # fmt: skip
    drains = Drains(parts)

    async def arrived() -> bool | None:
        drains.start(connection.id)
        await drains.idle()
        async with parts.db.reading() as session:
            return None if await session.scalar(select(func.count()).where(Delivery.state != "delivered")) else True

    await until("all of it is delivered", arrived)
    assert {kind: len(ground.crm.items(kind)) - count for kind, count in before.items()} == dict.fromkeys(KINDS, 1)
    return ground.journal.asked[mark:]


def _writes(caller: str) -> list[Write]:
    """A person, a call, a task and a deal, as one call of somebody new leads to."""
    now, name = datetime.now(UTC), os.urandom(6).hex()
    log = CallLog(direction="inbound", started_at=now, duration=timedelta(seconds=74), customer_number=caller)
    about = (Person(),)
    return [
        UpsertContact(
            key=f"pe_{name}", phone=caller, first_name="Ruth", last_name=f"Obermatten {name}", target=Person(utc_now())
        ),
        LogCall(key=f"dl_l{name}", subject="Incoming call", call=log, body="Wants an offer.", about=about),
        CreateTask(key=f"dl_t{name}", subject="Call back", due=now + timedelta(days=1), about=about),
        CreateDeal(key=f"dl_d{name}", name=f"Offer for {name}", about=about),
    ]


async def _left_alone(ground: Ground) -> None:
    """Until nothing has been asked of the CRM for a moment."""
    seen: list[int] = []

    async def look() -> bool | None:
        seen.append(len(ground.journal.asked))
        return True if len(seen) > 3 and len(set(seen[-4:])) == 1 else None

    await until("the CRM is left alone", look)
