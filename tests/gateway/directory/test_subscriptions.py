"""CRMs are asked to tell us, once, for as long as we are connected; what got lost is asked for again."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import select

from connectors.crm.changes import Subscription
from connectors.crm.records import Kind
from connectors.errors import Rejected, Unavailable
from gateway.connections import disconnect
from gateway.db.engine import utc_now
from gateway.directory import feeds
from gateway.directory.change_tables import ChangeSubscription
from gateway.directory.subscriptions import LOOKED_AT, Subscriptions, next_look, reachable
from tests.gateway.directory.feeding import PUBLIC, House, house


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[House]:
    async with house(database_url) as here:
        yield here


async def kept(here: House) -> list[ChangeSubscription]:
    async with here.book.db.reading() as session:
        return list(await session.scalars(select(ChangeSubscription).order_by(ChangeSubscription.id)))


async def renewed(here: House, subscriptions: Subscriptions | None = None) -> None:
    """A renewal is due, and done."""
    await here.change_feed(renew_at=utc_now() - timedelta(seconds=1), renew_lease_until=None)
    await (subscriptions or here.subscriptions).renew(here.book.connection_id)


async def test_a_new_connection_is_subscribed_for_once(here: House) -> None:
    async with here.book.db.reading() as session:
        assert here.book.connection_id in await feeds.due_renewals(session)
    await here.subscriptions.renew(here.book.connection_id)
    await here.subscriptions.renew(here.book.connection_id)
    ((address, secret),) = set(here.crm.hooks.values())
    assert address.startswith(f"{PUBLIC}/crm/pipedrive/")
    assert len(address.rpartition("/")[2]) >= 43
    assert len(secret) >= 43
    assert {row.id for row in await kept(here)} == set(here.crm.hooks)
    async with here.book.db.reading() as session:
        assert here.book.connection_id not in await feeds.due_renewals(session)


async def test_address_and_secret_are_nowhere_in_clear(here: House) -> None:
    await here.subscriptions.renew(here.book.connection_id)
    ((address, secret),) = set(here.crm.hooks.values())
    feed = await here.feed()
    stored = b"".join([feed.key or b"", feed.secret or b"", *(row.sealed for row in await kept(here))])
    assert address.rpartition("/")[2].encode() not in stored
    assert secret.encode() not in stored


async def test_those_that_end_are_prolonged_in_time(here: House) -> None:
    here.crm.life = timedelta(hours=1)
    await here.subscriptions.renew(here.book.connection_id)
    first = (await kept(here))[0].expires_at
    assert first is not None
    due = (await here.feed()).renew_at
    assert due is not None
    assert due < first - timedelta(minutes=25)
    here.crm.life = timedelta(hours=2)
    await renewed(here)
    again = (await kept(here))[0].expires_at
    assert again is not None
    assert again > first + timedelta(minutes=50)


async def test_one_that_went_missing_is_made_again(here: House) -> None:
    """Pipedrive removes what was not answered for three days."""
    await here.subscriptions.renew(here.book.connection_id)
    there = dict(here.crm.hooks)
    here.crm.hooks.popitem()
    await renewed(here)
    assert here.crm.hooks == there, "at the same address, with the same secret"


async def test_after_a_move_the_old_address_is_given_up(here: House) -> None:
    await here.subscriptions.renew(here.book.connection_id)
    moved = here.settings.model_copy(update={"public_url": "https://elsewhere.example.com"})
    there = Subscriptions(settings=moved, db=here.book.db, keyring=here.book.keyring, connections=here.connections)
    await renewed(here, there)
    assert {address.split("/crm")[0] for address, _ in here.crm.hooks.values()} == {"https://elsewhere.example.com"}


async def test_a_crm_that_is_away_is_asked_again_soon(here: House) -> None:
    here.crm.hook_fails = Unavailable("away")
    await here.subscriptions.renew(here.book.connection_id)
    feed = await here.feed()
    assert feed.renew_failures == 1
    assert feed.renew_at is not None
    assert feed.renew_at < utc_now() + timedelta(minutes=2)
    here.crm.hook_fails = None
    await renewed(here)
    assert here.crm.hooks
    assert (await here.feed()).renew_failures == 0


async def test_a_grant_that_may_not_subscribe_is_polled(here: House) -> None:
    """Pipedrive wants the scope `admin` for it, which a tenant may well refuse."""
    here.crm.hook_fails = Rejected("scope", scopes=("admin",), status=403)
    await here.subscriptions.renew(here.book.connection_id)
    feed = await here.feed()
    assert feed.renew_at is not None
    assert feed.renew_at > utc_now() + timedelta(hours=8)
    async with here.book.db.reading() as session:
        assert not await feeds.is_told(session, *here.whose, since=utc_now() - timedelta(days=1))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000", "https://localhost", "https://10.0.0.4", "https://gw.internal"]
)
async def test_nobody_is_asked_to_call_where_nobody_can(database_url: str, url: str) -> None:
    async with house(database_url, public_url=url) as here:
        await here.subscriptions.renew(here.book.connection_id)
        assert here.crm.hooks == {}


async def test_an_app_with_one_address_subscribes_to_nothing(database_url: str) -> None:
    async with house(database_url, slug="hubspot") as here:
        await here.subscriptions.renew(here.book.connection_id)
        assert here.crm.hooks == {}


async def test_whoever_disconnects_is_not_told_of_any_more(here: House) -> None:
    """Asked for before the grant is revoked: afterwards we may not."""
    await here.subscriptions.renew(here.book.connection_id)
    seen: list[int] = []
    here.connections.when_ending(here.subscriptions.end)

    async def ended(_: object) -> None:
        seen.append(len(here.crm.hooks))

    here.connections.when_ended(ended)
    assert await disconnect.end(here.connections, *here.whose)
    assert seen[0] == 0
    assert await kept(here) == []


async def test_a_vendor_that_is_away_keeps_nobody_from_disconnecting(here: House) -> None:
    await here.subscriptions.renew(here.book.connection_id)
    here.crm.hook_fails = Unavailable("away")
    here.connections.when_ending(here.subscriptions.end)
    assert await disconnect.end(here.connections, *here.whose)
    assert (await here.feed()).key_sha256 is None, "its notices come to nobody"


async def test_two_that_are_rung_at_once_subscribe_once(here: House) -> None:
    await here.change_feed(renew_lease_until=utc_now() + timedelta(minutes=1))
    await here.subscriptions.renew(here.book.connection_id)
    assert here.crm.hooks == {}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://gateway.example.com", True), ("https://8.8.8.8", True), ("http://gateway.example.com", False),
        ("https://127.0.0.1", False), ("https://192.168.1.4:8443", False), ("https://gateway", False),
        ("https://box.local", False), ("https://[fd00::1]", False),
    ],
)  # fmt: skip
def test_where_vendors_can_call(url: str, expected: bool) -> None:
    assert reachable(url) is expected


def test_when_they_are_seen_to_again() -> None:
    now = utc_now()
    endless = Subscription(id="1", kinds=(Kind.CONTACT,))
    ends = Subscription(id="2", kinds=(Kind.CONTACT,), expires_at=now + timedelta(hours=2))
    over = Subscription(id="3", kinds=(Kind.CONTACT,), expires_at=now - timedelta(hours=2))
    assert next_look([], now=now) == next_look([endless], now=now) == LOOKED_AT
    assert next_look([endless, ends], now=now) == timedelta(hours=1)
    assert next_look([over], now=now) == timedelta(minutes=1)
