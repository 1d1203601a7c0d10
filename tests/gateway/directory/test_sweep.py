"""A mirror that has drifted is noticed, mended, and imported again where mending is not enough."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from connectors.crm.records import Contact, Kind, Ref
from connectors.errors import Unavailable
from gateway.db.engine import utc_now
from gateway.directory import sweep
from gateway.directory.sweep import SWEPT, Tally, Verdict, draw, verdict
from tests.gateway.directory.feeding import House, house
from tests.gateway.directory.people import NOON, somebody, store

LONG_AGO = NOON - timedelta(days=9)


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[House]:
    async with house(database_url) as here:
        here.crm.gone = None  # nobody tells
        people = [somebody(str(n), number(n), updated_at=LONG_AGO) for n in range(30)]
        here.crm.set(*people)
        await store(here.book, *people, at=LONG_AGO)
        yield here


def number(n: int) -> str:
    return f"+4144668{n:04}"


def counted(what: Verdict) -> float:
    return SWEPT.labels("pipedrive", what)._value.get()  # type: ignore[no-any-return]


async def test_what_drifted_is_mended_and_counted(here: House) -> None:
    before = {one: counted(one) for one in Verdict}
    here.crm.set(somebody("3", number(333), updated_at=LONG_AGO))  # changed without a trace
    here.crm.delete(Ref(Kind.CONTACT, "4"), told=False)
    here.crm.set(
        somebody("5", number(5), name="Someone Else", updated_at=utc_now())
    )  # a poll would have found this one
    await here.change_feed(poll_at=utc_now() + timedelta(hours=1))
    await here.sweep()
    assert (await here.found(number(3)), await here.found(number(333))) == (set(), {"3"})
    assert await here.found(number(4)) == set()
    assert {one: counted(one) - before[one] for one in Verdict} == {"same": 27, "news": 1, "drifted": 1, "gone": 1}
    assert (await here.mirror()).state == "done"
    assert (await here.mirror()).swept_at is not None
    assert (await here.feed()).sweep_at > utc_now() + timedelta(hours=18)


async def test_too_much_drift_is_imported_again(here: House) -> None:
    for n in range(6):
        here.crm.delete(Ref(Kind.CONTACT, str(n)), told=False)
    await here.sweep()
    assert (await here.mirror()).state == "queued"


async def test_a_crm_that_is_away_is_no_drift(here: House) -> None:
    here.crm.fails = Unavailable("away")
    await here.sweep()
    assert (await here.mirror()).state == "done"
    assert await here.found(number(7)) == {"7"}
    assert (await here.feed()).sweep_at < utc_now(), "still owed"


async def test_the_sample_is_bounded_and_wraps_around(here: House) -> None:
    async with here.book.db.reading() as session:
        some = await draw(session, *here.whose, most=10, start=b"\x80" + bytes(15))
        everybody = await draw(session, *here.whose, most=100, start=b"\x80" + bytes(15))
        nobody = await draw(session, here.whose[0], "cn_other")
    assert (len(some), len(set(everybody)), list(nobody)) == (10, 30, [])
    assert everybody[:10] == some


@pytest.mark.parametrize(
    ("found", "changed", "expected"),
    [
        (somebody("1", number(1), updated_at=NOON - timedelta(hours=1)), False, Verdict.SAME),
        (somebody("1", number(1), updated_at=NOON - timedelta(hours=1)), True, Verdict.DRIFTED),
        (somebody("1", number(1), updated_at=NOON + timedelta(hours=1)), True, Verdict.NEWS),
        (somebody("1", number(1), updated_at=None), True, Verdict.DRIFTED),
        (somebody("2", number(1)), True, Verdict.GONE),
        (None, True, Verdict.GONE),
        (None, False, Verdict.SAME),  # it was known to be gone
    ],
    ids=["same", "drifted", "news", "no time", "merged", "gone", "known to be gone"],
)
def test_what_a_reading_says_of_the_mirror(found: Contact | None, changed: bool, expected: Verdict) -> None:
    assert verdict(Ref(Kind.CONTACT, "1"), found, NOON, changed=changed) is expected


@pytest.mark.parametrize(
    ("same", "drifted", "expected"), [(19, 0, False), (0, 19, False), (18, 2, False), (17, 3, True), (46, 4, False)]
)
def test_when_it_is_too_much(same: int, drifted: int, expected: bool) -> None:
    tally = Tally()
    tally[Verdict.SAME], tally[Verdict.GONE] = same, drifted
    assert tally.is_too_much is expected
    assert sweep.SAMPLE >= sweep.FEW
