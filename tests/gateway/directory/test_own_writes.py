"""What we write ourselves is in the mirror before anybody asks."""

from collections.abc import AsyncIterator

import pytest

from connectors.crm.records import Kind, Ref
from gateway.db.engine import Database, utc_now
from gateway.directory.own_writes import OwnWrites
from tests.gateway.directory.feeding import House, house
from tests.gateway.directory.people import somebody

NUMBER = "+41446681800"


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[House]:
    async with house(database_url) as here:
        yield here


async def test_what_was_written_is_read_back_once(here: House) -> None:
    own = OwnWrites(here.book.db)
    here.crm.set(somebody("1", NUMBER, updated_at=utc_now()))
    for _ in range(5):
        own.note(*here.whose, Ref(Kind.CONTACT, "1"))
    own.note(*here.whose, Ref(Kind.CALL, "9"))
    await own.close()
    await here.follow()
    assert here.crm.reads == [Ref(Kind.CONTACT, "1")]
    assert await here.found(NUMBER) == {"1"}
    assert (await here.feed()).noticed_at is None, "the CRM has told us nothing"


async def test_with_the_database_away_a_delivery_is_not_held_up() -> None:
    own = OwnWrites(Database("postgresql://nobody@127.0.0.1:1/none"))
    own.note("tn_1", "cn_1", Ref(Kind.CONTACT, "1"))  # type: ignore[arg-type]
    await own.close()
