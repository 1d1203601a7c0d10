"""A search that lags does not bring back whom the mirror knows to have gone, or to have another number."""

from datetime import datetime, timedelta

import pytest

from connectors.crm.records import Contact, Kind, Ref
from gateway.directory.outdated import outdated
from tests.factories import books
from tests.gateway.directory.people import NOON, begin, remove, somebody, store

OLD, NEW = "+41446681800", "+41446681801"
JEAN = Ref(Kind.CONTACT, "1")


@pytest.mark.parametrize(
    ("mirrored", "gone", "found_at", "expected"),
    [
        ((NEW,), False, NOON - timedelta(minutes=1), True),
        ((NEW,), False, NOON, True),
        ((NEW,), False, None, True),
        ((NEW,), False, NOON + timedelta(minutes=1), False),  # changed back, and we have not heard yet
        ((OLD,), False, NOON - timedelta(minutes=1), False),
        ((OLD,), True, NOON - timedelta(minutes=1), True),
        ((OLD,), True, NOON + timedelta(minutes=1), False),  # restored
        ((), False, NOON - timedelta(minutes=1), False),  # new to us
    ],
    ids=["older", "same time", "no time", "newer", "still holds it", "gone", "restored", "unknown"],
)
async def test_what_a_search_still_says(
    database_url: str, mirrored: tuple[str, ...], gone: bool, found_at: datetime | None, expected: bool
) -> None:
    async with books(database_url) as book:
        await begin(book)
        await store(book, somebody("1", *mirrored))
        if gone:
            await remove(book, JEAN)
        found: list[Contact] = [somebody("1", OLD, updated_at=found_at), somebody("2", OLD)]
        async with book.db.reading(book.tenant_id) as session:
            known = await outdated(session, book.tenant_id, book.connection_id, book.keys.index(OLD), found)
            elsewhere = await outdated(session, book.tenant_id, "cn_other", book.keys.index(OLD), found)
        assert known == ({JEAN} if expected else set())
        assert elsewhere == set()
