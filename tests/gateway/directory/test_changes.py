"""Hints and polls end in the mirror the CRM has, whatever order they come in, and nothing else is written."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from connectors.crm.changes import Change
from connectors.crm.records import Kind, Ref
from connectors.errors import RateLimited, ReconnectNeeded, Rejected, Unavailable, UnexpectedReply
from gateway.db.engine import utc_now
from gateway.directory import changes, feeds
from gateway.directory.changes import MOST_TRIES, pause
from tests.gateway.directory.feeding import House, disconnected, house
from tests.gateway.directory.people import hashes, somebody

FIRST, SECOND = "+41446681800", "+41446681801"
JEAN = Ref(Kind.CONTACT, "1")


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[House]:
    async with house(database_url) as here:
        yield here


async def test_a_record_we_never_saw_is_read_and_found(here: House) -> None:
    here.crm.set(somebody("1", FIRST, updated_at=utc_now()))
    assert await here.hint(JEAN) == 1
    await here.follow()
    assert await here.found(FIRST) == {"1"}
    assert await here.hints() == []
    assert set(here.forgotten) == hashes(here.book, FIRST), "the number's cached answer was nobody"


async def test_a_changed_number_moves_and_both_answers_are_forgotten(here: House) -> None:
    here.crm.set(somebody("1", FIRST, updated_at=utc_now() - timedelta(minutes=2)))
    await here.poll()
    here.forgotten.clear()
    here.crm.set(somebody("1", SECOND, updated_at=utc_now()))
    await here.hint(JEAN)
    await here.follow()
    assert (await here.found(FIRST), await here.found(SECOND)) == (set(), {"1"})
    assert set(here.forgotten) == hashes(here.book, FIRST, SECOND)


async def test_news_that_comes_late_twice_and_out_of_order_ends_in_what_is_true(here: House) -> None:
    """A deletion's notice may come before the creation's; what counts is what the CRM answers now."""
    here.crm.set(somebody("1", FIRST, updated_at=utc_now()))
    for _ in range(3):
        await here.hint(JEAN, JEAN)
    assert [row.version for row in await here.hints()] == [3], "one row, however often"
    await here.follow()
    assert here.crm.reads == [JEAN]
    here.crm.delete(JEAN)
    await here.hint(JEAN)
    await here.follow()
    await here.hint(JEAN)
    await here.follow()
    assert await here.found(FIRST) == set()


async def test_what_is_hinted_at_while_it_is_read_is_read_again(here: House) -> None:
    """The answer may have left the CRM before the change that the second notice is about."""
    await here.poll()
    here.crm.set(somebody("1", FIRST, updated_at=utc_now()))

    async def again(ref: Ref) -> None:
        here.crm.before_read = None
        await here.hint(ref)

    here.crm.before_read = again
    await here.hint(JEAN)
    await here.follow()
    assert len(await here.hints()) == 1
    await here.follow()
    assert (here.crm.reads, await here.hints()) == ([JEAN, JEAN], [])


async def test_one_that_was_merged_is_answered_as_the_one_that_stayed(here: House) -> None:
    here.crm.set(somebody("1", FIRST, updated_at=utc_now()), somebody("2", SECOND, updated_at=utc_now()))
    await here.poll()
    here.crm.delete(JEAN, into=Ref(Kind.CONTACT, "2"), told=False)
    here.crm.set(somebody("2", SECOND, FIRST, updated_at=utc_now()))
    await here.hint(JEAN)
    await here.follow()
    assert await here.found(FIRST) == {"2"}


async def test_a_converted_lead_is_a_contact_from_then_on(here: House) -> None:
    lead, contact = Ref(Kind.LEAD, "7"), Ref(Kind.CONTACT, "8")
    here.crm.set(somebody("7", FIRST, kind=Kind.LEAD, updated_at=utc_now()))
    await here.poll()
    here.crm.set(somebody("8", FIRST, updated_at=utc_now() - timedelta(days=1)))  # no poll would show it
    here.crm.delete(lead, into=contact)
    await here.poll()
    await here.follow()
    assert await here.found(FIRST) == {"8"}


async def test_a_record_without_its_number_is_nobodys(here: House) -> None:
    here.crm.set(somebody("1", FIRST, updated_at=utc_now() - timedelta(minutes=1)))
    await here.poll()
    here.crm.set(somebody("1", updated_at=utc_now()))
    await here.poll()
    assert await here.found(FIRST) == set()


async def test_a_poll_asks_again_for_what_lies_a_little_before(here: House) -> None:
    """Searches lag, and a transaction that began earlier may end later."""
    until = (await here.mirror()).changed_until
    await here.poll()
    assert until is not None
    assert here.crm.polls[0] == (Kind.CONTACT, until - changes.OVERLAP)
    assert [kind for kind, _ in here.crm.polls] == [Kind.CONTACT, Kind.LEAD, Kind.COMPANY]
    reached = (await here.mirror()).changed_until
    assert reached is not None
    assert reached < utc_now() - changes.CLOCKS_APART + timedelta(seconds=1), "whoever's clock is slow is not missed"


async def test_a_poll_that_breaks_off_goes_on_where_it_was(here: House) -> None:
    begin = utc_now() - timedelta(minutes=50)
    people = [somebody(str(n), f"+4144668{n:04}", updated_at=begin + timedelta(minutes=6 * n)) for n in range(8)]
    here.crm.set(*people)

    async def break_down() -> None:
        raise Unavailable("away")

    here.crm.after_page = break_down
    await here.poll()
    assert await here.found("+41446680001") == {"1"}
    assert await here.found("+41446680002") == set()
    assert (await here.mirror()).changed_until == people[1].updated_at
    here.crm.after_page = None
    here.crm.polls.clear()
    await here.poll()
    assert here.crm.polls[0] == (Kind.CONTACT, people[1].updated_at - changes.OVERLAP)  # type: ignore[operator]
    assert await here.found("+41446680007") == {"7"}


async def test_what_was_deleted_while_nobody_looked_is_gone(here: House) -> None:
    here.crm.set(somebody("1", FIRST, updated_at=utc_now()))
    await here.poll()
    here.forgotten.clear()
    here.crm.delete(JEAN)
    await here.poll()
    assert await here.found(FIRST) == set()
    assert set(here.forgotten) == hashes(here.book, FIRST)


async def test_what_was_deleted_and_came_back_is_there(here: House) -> None:
    """Vendors go on listing a deletion after the record was restored."""
    here.crm.set(somebody("1", FIRST, updated_at=utc_now() - timedelta(minutes=3)))
    await here.poll()
    here.crm.delete(JEAN, at=utc_now() - timedelta(minutes=2))
    here.crm.set(somebody("1", FIRST, updated_at=utc_now() - timedelta(minutes=1)))
    for _ in range(2):
        await here.poll()
        assert await here.found(FIRST) == {"1"}


async def test_a_crm_that_tells_no_deletions_is_polled_all_the_same(here: House) -> None:
    here.crm.gone = None
    here.crm.set(somebody("1", FIRST, updated_at=utc_now()))
    await here.poll()
    assert await here.found(FIRST) == {"1"}


@pytest.mark.parametrize("error", [Unavailable("away"), RateLimited("slowly", retry_after=timedelta(minutes=3))])
async def test_a_crm_that_cannot_be_asked_is_left_alone_and_nothing_is_lost(here: House, error: Exception) -> None:
    here.crm.set(somebody("1", FIRST, updated_at=utc_now()))
    here.crm.fails = error  # type: ignore[assignment]
    await here.hint(JEAN)
    await here.follow()
    feed = await here.feed()
    assert (feed.lease_until, feed.failures) == (None, 1)
    assert feed.not_before is not None
    assert feed.not_before > utc_now()
    async with here.book.db.reading() as session:
        assert here.book.connection_id not in await feeds.due_polls(session), "no relay rings before that"
    here.crm.fails = None
    await here.change_feed(not_before=None)
    await here.follow()
    assert await here.found(FIRST) == {"1"}
    assert (await here.feed()).failures == 0


async def test_a_record_that_cannot_be_understood_holds_up_no_other_and_is_given_up_in_the_end(here: House) -> None:
    other = Ref(Kind.CONTACT, "2")
    here.crm.set(somebody("2", SECOND, updated_at=utc_now()))
    here.crm.fails_for[JEAN] = UnexpectedReply("in no shape")
    await here.hint(JEAN, other)
    await here.follow()
    assert await here.found(SECOND) == {"2"}
    for n in range(1, MOST_TRIES):
        (hint,) = await here.hints()
        assert (hint.tries, hint.due_at > utc_now()) == (n, True)
        async with here.book.db.transaction() as session:
            row = await session.get_one(type(hint), (*here.whose, hint.kind, hint.record_id))
            row.due_at = utc_now()
        await here.change_feed(due_at=utc_now())
        await here.follow()
    assert await here.hints() == []


async def test_a_record_we_may_not_read_is_given_up_at_once(here: House) -> None:
    here.crm.fails_for[JEAN] = Rejected("not for you", status=403)
    await here.hint(JEAN)
    await here.follow()
    assert await here.hints() == []


async def test_whoever_was_overtaken_writes_nothing(here: House) -> None:
    """A process that was frozen through its lease would put back what another has read since."""
    here.crm.set(somebody("1", FIRST, updated_at=utc_now()))

    async def overtaken(ref: Ref) -> None:
        here.crm.before_read = None
        await here.change_feed(lease_until=utc_now() - timedelta(seconds=1))
        async with here.book.db.transaction() as session:
            assert await feeds.claim(session, *here.whose, lease=timedelta(minutes=1)) is not None

    here.crm.before_read = overtaken
    await here.hint(JEAN)
    await here.follow()
    assert await here.found(FIRST) == set()
    assert len(await here.hints()) == 1
    assert (await here.feed()).lease_until is not None, "the other one's"


async def test_two_that_are_rung_at_once_follow_once(here: House) -> None:
    async with here.book.db.transaction() as session:
        assert await feeds.claim(session, *here.whose, lease=timedelta(minutes=1)) is not None
    async with here.book.db.transaction() as session:
        assert await feeds.claim(session, *here.whose, lease=timedelta(minutes=1)) is None
    await here.follow()
    assert here.crm.polls == []


async def test_what_is_not_mirrored_is_not_hinted_at(database_url: str) -> None:
    async with house(database_url, mirrored=False) as here:
        assert await here.hint(JEAN) == 0
        assert await here.hints() == []
        await here.follow()
        assert here.crm.polls == []


async def test_ids_no_vendor_gives_are_not_kept(here: House) -> None:
    assert await here.hint(Ref(Kind.CONTACT, "x" * 65), Ref(Kind.CONTACT, ""), Ref(Kind.DEAL, "1")) == 0


async def test_a_grant_that_is_gone_is_waited_for(here: House) -> None:
    here.crm.fails = ReconnectNeeded("revoked")
    await here.hint(JEAN)
    await here.follow()
    feed = await here.feed()
    assert feed.not_before is not None
    assert feed.not_before > utc_now() + timedelta(minutes=3)
    assert len(await here.hints()) == 1


async def test_polls_are_rarer_where_the_crm_tells_us_itself(here: House) -> None:
    await here.poll()
    quiet = (await here.feed()).poll_at - utc_now()
    await here.hint(JEAN)
    await here.poll()
    told = (await here.feed()).poll_at - utc_now()
    assert quiet < timedelta(minutes=7)
    assert told > timedelta(minutes=20)


async def test_one_that_was_not_asked_for_too_long_is_imported_again(here: House) -> None:
    """Vendors forget what was deleted: only a listing of everybody shows who is gone."""
    async with here.book.db.transaction() as session:
        row = await session.get_one(type(await here.mirror()), (*here.whose, "contact"))
        row.changed_until = utc_now() - timedelta(days=20)
    await here.poll()
    assert (await here.mirror()).state == "queued"


async def test_a_connection_without_a_feed_gets_one_and_an_ended_one_loses_it(here: House) -> None:
    async with here.book.db.transaction() as session:
        await feeds.end(session, *here.whose)
    async with here.book.db.reading() as session:
        assert here.book.connection_id in await feeds.due_polls(session)
    await here.follow()
    assert (await here.feed()).polled_at is not None
    await disconnected(here)
    await here.follow()
    async with here.book.db.reading() as session:
        assert await feeds.feed(session, *here.whose) is None
        assert here.book.connection_id not in await feeds.due_polls(session)


async def test_what_a_merge_left_is_read_too(here: House) -> None:
    """The one that stayed has the other's number now, whether or not the CRM says that it changed."""
    winner = Ref(Kind.CONTACT, "2")
    here.crm.set(somebody("1", FIRST, updated_at=utc_now()), somebody("2", SECOND, updated_at=utc_now()))
    await here.poll()
    here.crm.delete(JEAN, into=winner)
    here.crm.set(somebody("2", SECOND, FIRST, updated_at=utc_now() - timedelta(days=1)))
    assert here.crm.gone == [Change(kind=Kind.CONTACT, id="1", at=here.crm.gone[0].at, into=winner)]  # type: ignore[index]
    await here.poll()
    await here.follow()
    assert winner in here.crm.reads


@pytest.mark.parametrize(
    ("error", "failures", "least", "most"),
    [
        (RateLimited("", retry_after=timedelta(seconds=40)), 9, 40, 50),
        (Unavailable("", retry_after=timedelta(minutes=9)), 0, 540, 540),
        (Unavailable(""), 0, 5, 10),
        (Unavailable(""), 3, 40, 80),
        (Unavailable(""), 99, 450, 900),
        (UnexpectedReply(""), 1, 10, 20),
    ],
)
def test_how_long_a_crm_is_left_alone(error: Exception, failures: int, least: int, most: int) -> None:
    for roll in (0.0, 1.0):
        assert least <= pause(error, failures, roll=roll).total_seconds() <= most  # type: ignore[arg-type]
