"""Events committed together: nobody waits for company, and nobody suffers for another's event."""

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from sqlalchemy.exc import DBAPIError, OperationalError

from gateway.calls import batches, fresh
from gateway.calls.batches import MOST, next_batch
from gateway.calls.store import Prepared, store
from tests.factories import make_tenant
from tests.gateway.calls.house import ENDED, House, event


def waits(call_id: str, source: str = "ve_1") -> Any:
    """Stands for an event in the line: all that choosing a batch looks at."""
    return SimpleNamespace(prepared=SimpleNamespace(of_call=(call_id, source), event=event("e", call_id)))


def test_a_batch_has_the_oldest_event_of_each_call() -> None:
    a1, b1, a2, c1 = waiting = [waits("a"), waits("b"), waits("a"), waits("c")]
    assert next_batch(waiting) == ([a1, b1, c1], [a2])


def test_the_same_id_at_two_sources_is_two_calls() -> None:
    waiting = [waits("a", "ve_1"), waits("a", "ve_2")]
    assert next_batch(waiting) == (waiting, [])


def test_news_without_a_calls_id_goes_alone() -> None:
    """Which call it belongs to is only known inside the transaction: it may be one of the others."""
    a, nameless, b = waiting = [waits("a"), waits(""), waits("b")]
    assert next_batch(waiting) == ([a, b], [nameless])
    assert next_batch([nameless, a]) == ([nameless], [a])


def test_a_batch_is_bounded() -> None:
    waiting = [waits(f"c-{number}") for number in range(MOST + 3)]
    batch, rest = next_batch(waiting)
    assert (len(batch), len(rest)) == (MOST, 3)


async def test_events_of_one_moment_share_a_transaction(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    async def counting(run: Any, events: Any) -> Any:
        sizes.append(len(events))
        return await store(run, events)

    async def counting_fresh(db: Any, tenant_id: Any, events: Any) -> Any:
        known = await fresh.take(db, tenant_id, events)
        sizes.append(len(known))
        return known

    monkeypatch.setattr(batches, "store", counting)
    monkeypatch.setattr(batches, "fresh", SimpleNamespace(take=counting_fresh, may_be_fresh=fresh.may_be_fresh))
    other = await make_tenant(house.db, house.keyring, "Other SA")
    mine = [house.take(event("ended", f"c-{number}", ended=True)) for number in range(20)]
    theirs = house.intake.take(other, "ve_1", ENDED, raw=b"{}")
    taken = await asyncio.gather(*mine, theirs)
    assert not any(one.duplicate for one in taken)
    assert len({one.call_id for one in taken}) == 21
    assert sum(sizes) == 21
    assert len(sizes) < 21


async def test_an_event_that_cannot_be_stored_does_not_take_others_with_it(house: House) -> None:
    good = [
        await house.intake.prepare(house.tenant_id, "ve_1", event("ended", f"c-{n}", ended=True), raw=b"{}")
        for n in range(3)
    ]
    bad = await house.intake.prepare(house.tenant_id, "ve_1", event("ended", "c-bad", ended=True), raw=b"{}")
    bad.call["news"] = None
    taken = await asyncio.gather(*(house.intake.commit(one) for one in (*good, bad)), return_exceptions=True)
    assert [isinstance(one, DBAPIError) for one in taken] == [False, False, False, True]
    assert sorted(call.external_id for call, _ in await house.calls()) == ["c-0", "c-1", "c-2"]


async def test_whoever_gives_up_waiting_harms_nobody(house: House) -> None:
    prepared = [await house.intake.prepare(house.tenant_id, "ve_1", _of(n), raw=b"{}") for n in range(2)]
    impatient, patient = (asyncio.create_task(house.intake.commit(one)) for one in prepared)
    await asyncio.sleep(0)
    impatient.cancel()
    assert not (await patient).duplicate
    assert (await house.take(_of(2))).became == "stored"


async def test_a_database_that_is_away_is_told_to_everybody_who_waits(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away:
        async def __aenter__(self) -> None:
            raise OperationalError("BEGIN", {}, ConnectionRefusedError(), connection_invalidated=True)

        async def __aexit__(self, *_: object) -> None: ...

    prepared: list[Prepared] = [
        await house.intake.prepare(house.tenant_id, "ve_1", _of(n), raw=b"{}") for n in range(3)
    ]
    with monkeypatch.context() as away:
        away.setattr(house.db, "quick", lambda *_: Away())
        away.setattr(house.db, "driver", lambda *_: Away())
        taken = await asyncio.gather(*(house.intake.commit(one) for one in prepared), return_exceptions=True)
    assert [type(one) for one in taken] == [OperationalError] * 3
    assert not (await house.intake.commit(prepared[0])).duplicate


def _of(number: int) -> Any:
    return msgspec.structs.replace(ENDED, call_id=f"c-{number}", dedupe=f"c-{number}")


async def test_events_of_one_call_in_several_batches_are_one_call(house: House) -> None:
    events = [event(f"e-{n}", f"c-{n % 20}", news={"summary": f"{n:03}"}, ended=True) for n in range(200)]
    await asyncio.gather(*(house.take(one) for one in events))
    calls = await house.calls()
    assert {call.external_id: news.summary for call, news in calls} == {f"c-{n}": f"{180 + n:03}" for n in range(20)}
