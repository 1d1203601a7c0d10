"""A connection that is ready to be used, and what its use teaches."""

import asyncio
from datetime import timedelta

import phonenumbers
import pytest

from connectors.errors import ConnectorError, RateLimited, Unavailable
from connectors.sandbox.faults import Kind
from gateway.connections import disconnect, queries
from gateway.connections.breaker import IN_A_ROW
from gateway.db.base import TenantId
from gateway.db.engine import utc_now
from gateway.errors import NotFound
from gateway.parts import Parts
from tests.gateway.connections.connecting import (
    AURORA,
    BOREALIS,
    Crm,
    another_process,
    change,
    connected,
    make_tenant,
    row_of,
)
from tests.processes import until_async

SEARCH = "/crm/objects/2026-09/*/search"
NUMBER = phonenumbers.parse("+41446681800")


async def test_connections_are_offered_in_the_tenant_s_order(parts: Parts, tenant_id: TenantId) -> None:
    first, second = await connected(parts, tenant_id), await connected(parts, tenant_id, account=BOREALIS)
    assert [one.id for one in await parts.connections.of(tenant_id)] == [first, second]
    await change(parts, first, preference=9)
    assert [one.id for one in await another_process(parts).of(tenant_id)] == [second, first]


async def test_another_tenant_s_connection_is_not_found(parts: Parts, tenant_id: TenantId) -> None:
    connection_id = await connected(parts, tenant_id)
    stranger = await make_tenant(parts, "Other AG")
    assert await parts.connections.of(stranger) == []
    with pytest.raises(NotFound):
        await parts.connections.open(stranger, connection_id)


async def test_a_disconnect_is_obeyed_by_other_processes_within_a_second(parts: Parts, tenant_id: TenantId) -> None:
    connection_id = await connected(parts, tenant_id)
    there = another_process(parts)
    assert len(await there.of(tenant_id)) == 1
    await disconnect.end(parts.connections, tenant_id, connection_id)

    async def obeyed() -> bool:
        return await there.of(tenant_id) == []

    await until_async("the other process has heard", obeyed, timedelta(seconds=2))


async def test_deliveries_wait_while_a_connection_is_held(parts: Parts, tenant_id: TenantId) -> None:
    """Also those that do not ask the relay's question: a call that was planned just now drains at once."""
    connection_id = await connected(parts, tenant_id)
    await change(parts, connection_id, paused_at=utc_now(), reason="being prepared")
    there = another_process(parts)
    with pytest.raises(Unavailable, match="being prepared"):
        await there.open(tenant_id, connection_id, purpose="delivery")
    assert (await there.open(tenant_id, connection_id, purpose="lookup")).id == connection_id


async def test_records_have_addresses_a_person_can_open(parts: Parts, tenant_id: TenantId, crm: Crm) -> None:
    connection_id = await connected(parts, tenant_id)
    opened = await parts.connections.open(tenant_id, connection_id)
    assert opened.origin == crm.origin
    assert opened.ui_origin is not None
    assert opened.ui_origin.startswith("https://")


async def test_a_429_of_search_stops_search_and_nothing_else(parts: Parts, tenant_id: TenantId, crm: Crm) -> None:
    connection_id = await connected(parts, tenant_id)
    opened = await parts.connections.open(tenant_id, connection_id, purpose="lookup")
    crm.break_down(kind=Kind.RATE_LIMIT, path=SEARCH, retry_after=timedelta(seconds=30), count=2)
    for _ in range(2):
        with pytest.raises(RateLimited):
            await opened.crm.find_contacts(NUMBER)
    with pytest.raises(RateLimited) as ours:
        await opened.crm.find_contacts(NUMBER)
    assert ours.value.status is None  # not asked again
    assert (await opened.crm.who_am_i()).id == str(AURORA)


async def test_what_the_vendor_says_is_left_is_believed(parts: Parts, tenant_id: TenantId, crm: Crm) -> None:
    connection_id = await connected(parts, tenant_id)
    opened = await parts.connections.open(tenant_id, connection_id)
    await opened.crm.who_am_i()
    limit = await parts.redis.hget(f"gw:limit:{{{opened.account_id}}}:api", "limit")
    assert int(limit or 0) > 0


async def test_an_account_that_is_down_is_left_alone_by_lookups(parts: Parts, tenant_id: TenantId, crm: Crm) -> None:
    connection_id = await connected(parts, tenant_id)
    opened = await parts.connections.open(tenant_id, connection_id, purpose="lookup")
    crm.break_down(kind=Kind.OUTAGE, path="/account-info/*")
    for _ in range(IN_A_ROW):
        with pytest.raises(Unavailable):
            await opened.crm.who_am_i()
    before = len(crm.face.journal.asked)
    with pytest.raises(Unavailable, match="has not answered"):
        await opened.crm.who_am_i()
    assert len(crm.face.journal.asked) == before


async def test_a_refusal_is_an_answer_and_opens_nothing(parts: Parts, tenant_id: TenantId, crm: Crm) -> None:
    connection_id = await connected(parts, tenant_id)
    opened = await parts.connections.open(tenant_id, connection_id, purpose="lookup")
    crm.break_down(kind=Kind.ERROR, status=400, path="/account-info/*")
    for _ in range(2 * IN_A_ROW):
        with pytest.raises(ConnectorError):
            await opened.crm.who_am_i()
    assert await parts.connections.breakers.allows(opened.account_id)


async def test_the_last_answer_and_the_last_silence_stand_in_the_row(
    parts: Parts, tenant_id: TenantId, crm: Crm
) -> None:
    connection_id = await connected(parts, tenant_id)
    opened = await parts.connections.open(tenant_id, connection_id)
    crm.break_down(kind=Kind.OUTAGE, path="/account-info/*", count=1)
    with pytest.raises(Unavailable):
        await opened.crm.who_am_i()

    async def noted() -> bool:
        row = await row_of(parts, connection_id)
        return row.last_error_at is not None and row.last_success_at is not None

    await until_async("both are noted", noted)


async def test_many_requests_at_once_with_an_ended_token_renew_it_once(
    parts: Parts, tenant_id: TenantId, crm: Crm
) -> None:
    """The vendor ended it early: every request gets a 401, and each tries again with the same new token."""
    connection_id = await connected(parts, tenant_id)
    opened = await parts.connections.open(tenant_id, connection_id)
    crm.face.journal.forget()
    crm.vendor.grants.expire_access(AURORA, crm.face.clock())
    found = await asyncio.gather(*(opened.crm.who_am_i() for _ in range(20)))
    assert {one.id for one in found} == {str(AURORA)}
    assert crm.exchanges == 1


async def test_a_refused_token_that_was_replaced_meanwhile_pauses_nothing(
    parts: Parts, tenant_id: TenantId, crm: Crm
) -> None:
    """A 401 that arrives after somebody has signed in again is about the old grant."""
    connection_id = await connected(parts, tenant_id)
    await parts.connections.tokens.gone(tenant_id, connection_id, "an older token", reason="refused")
    async with parts.db.reading() as session:
        assert [row.id for row in await queries.live(session, tenant_id)] == [connection_id]
