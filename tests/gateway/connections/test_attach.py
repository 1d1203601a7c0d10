"""What a granted code becomes: a connection, or a grant that is handed back."""

import pytest

from connectors.sandbox.faults import Kind
from gateway.connections import accounts, disconnect, queries
from gateway.connections.authorize import Outcome
from gateway.connections.health import State
from gateway.db.base import TenantId
from gateway.db.engine import utc_now
from gateway.parts import Parts
from tests.gateway.connections.connecting import (
    AURORA,
    BOREALIS,
    Crm,
    approve,
    change,
    come_back,
    connect,
    connected,
    consent,
    make_tenant,
    row_of,
)


async def test_a_good_sign_in_becomes_a_connection_that_was_probed(parts: Parts, tenant_id: TenantId) -> None:
    attached = await connect(parts, tenant_id)
    assert attached.outcome == Outcome.CONNECTED
    assert str(AURORA) in (attached.account or "")
    assert attached.connection_id is not None
    row = await row_of(parts, attached.connection_id)
    assert (row.state, row.paused_at, row.reason, row.missing_scopes) == (State.ACTIVE, None, None, [])
    assert row.probed_at is not None
    assert row.sticks["log_call"]["stick"] == "enforced"
    assert row.refresh_due_at is not None
    assert row.token_expires_at is not None
    assert utc_now() < row.refresh_due_at < row.token_expires_at


async def test_an_account_is_called_as_its_people_call_it(parts: Parts, tenant_id: TenantId) -> None:
    """The number of a HubSpot account is known to nobody; its domain stands in the token's description."""
    attached = await connect(parts, tenant_id)
    assert attached.account == f"aurora.example ({AURORA})"


@pytest.mark.parametrize("kind", [Kind.OUTAGE, Kind.HTML, Kind.RESET])
async def test_a_token_that_is_not_described_connects_all_the_same(
    parts: Parts, tenant_id: TenantId, crm: Crm, kind: Kind
) -> None:
    crm.break_down(kind=kind, path="/oauth/2026-09/token/introspect")
    attached = await connect(parts, tenant_id)
    assert (attached.outcome, attached.account) == (Outcome.CONNECTED, f"HubSpot {AURORA}")


async def test_tokens_stand_sealed_in_the_row_and_open_only_there(parts: Parts, tenant_id: TenantId) -> None:
    """Whoever copies the database, or swaps two rows in it, gets no grant."""
    first = await row_of(parts, await connected(parts, tenant_id))
    second = await row_of(parts, await connected(parts, tenant_id, account=BOREALIS))
    keys = await parts.keyring.of(tenant_id)
    assert first.refresh_token is not None
    assert b"na1-" not in first.refresh_token
    assert keys.open(first.refresh_token, "connections", "refresh_token", first.id).startswith(b"na1-")
    with pytest.raises(Exception, match="sealed elsewhere"):
        keys.open(first.refresh_token, "connections", "refresh_token", second.id)


async def test_one_account_is_attached_once_per_tenant(parts: Parts, tenant_id: TenantId, crm: Crm) -> None:
    """Every call would be logged twice; and the first connection must survive the second sign-in."""
    connection_id = await connected(parts, tenant_id)
    again = await connect(parts, tenant_id)
    assert (again.outcome, again.connection_id) == (Outcome.ALREADY_CONNECTED, None)
    assert crm.revocations == 0
    opened = await parts.connections.open(tenant_id, connection_id)
    assert (await opened.crm.who_am_i()).id == str(AURORA)


async def test_another_account_than_expected_is_not_stored_and_its_grant_revoked(
    parts: Parts, tenant_id: TenantId, crm: Crm
) -> None:
    attached = await connect(parts, tenant_id, account=BOREALIS, expected=str(AURORA))
    assert (attached.outcome, attached.connection_id) == (Outcome.WRONG_ACCOUNT, None)
    assert crm.revocations == 1
    async with parts.db.reading() as session:
        assert await queries.listed(session, tenant_id) == []


async def test_a_reconnect_with_another_account_changes_nothing(parts: Parts, tenant_id: TenantId, crm: Crm) -> None:
    connection_id = await connected(parts, tenant_id)
    before = await row_of(parts, connection_id)
    attached = await connect(parts, tenant_id, account=BOREALIS, connection_id=connection_id)
    assert attached.outcome == Outcome.WRONG_ACCOUNT
    assert crm.revocations == 1
    after = await row_of(parts, connection_id)
    assert (after.token_version, after.access_token) == (before.token_version, before.access_token)


async def test_a_wrong_account_that_somebody_uses_keeps_its_grant(parts: Parts, tenant_id: TenantId, crm: Crm) -> None:
    """Some vendors keep one grant per app and account: revoking the stray one would end the good one."""
    theirs = await make_tenant(parts, "Other AG")
    await connected(parts, theirs, account=BOREALIS)
    await connect(parts, tenant_id, account=BOREALIS, expected=str(AURORA))
    assert crm.revocations == 0


async def test_a_second_tenant_needs_the_operator_s_word(parts: Parts, tenant_id: TenantId, crm: Crm) -> None:
    theirs = await make_tenant(parts, "Other AG")
    await connected(parts, theirs)
    attached = await connect(parts, tenant_id)
    assert (attached.outcome, attached.connection_id) == (Outcome.USED_ELSEWHERE, None)
    assert crm.revocations == 0
    async with parts.db.transaction() as session:
        assert await accounts.allow_shared(session, "hubspot", str(AURORA))
    assert (await connect(parts, tenant_id)).outcome == Outcome.CONNECTED


async def test_two_tenants_on_one_account_share_its_limits(parts: Parts, tenant_id: TenantId) -> None:
    theirs = await make_tenant(parts, "Other AG")
    first = await parts.connections.open(theirs, await connected(parts, theirs))
    async with parts.db.transaction() as session:
        await accounts.allow_shared(session, "hubspot", str(AURORA))
    second = await parts.connections.open(tenant_id, await connected(parts, tenant_id))
    assert first.account_id == second.account_id
    assert first.id != second.id


async def test_a_reconnect_lets_a_paused_connection_flow_again(parts: Parts, tenant_id: TenantId) -> None:
    connection_id = await connected(parts, tenant_id)
    async with parts.db.transaction() as session:
        assert await queries.pause(session, tenant_id, connection_id, reason="revoked", now=utc_now())
    attached = await connect(parts, tenant_id, connection_id=connection_id)
    assert (attached.outcome, attached.connection_id) == (Outcome.RECONNECTED, connection_id)
    row = await row_of(parts, connection_id)
    assert (row.state, row.paused_at, row.reason) == (State.ACTIVE, None, None)


async def test_connecting_where_the_grant_has_ended_is_a_reconnect(parts: Parts, tenant_id: TenantId) -> None:
    """A person presses the button they find; deleting and recreating would lose what waits in the outbox."""
    connection_id = await connected(parts, tenant_id)
    async with parts.db.transaction() as session:
        await queries.pause(session, tenant_id, connection_id, reason="revoked", now=utc_now())
    attached = await connect(parts, tenant_id)
    assert (attached.outcome, attached.connection_id) == (Outcome.RECONNECTED, connection_id)


async def test_a_connection_that_was_disconnected_meanwhile_is_not_brought_back(
    parts: Parts, tenant_id: TenantId, crm: Crm
) -> None:
    connection_id = await connected(parts, tenant_id)
    claimed = await approve(parts, tenant_id, connection_id=connection_id)
    callback = await consent(parts, claimed)
    await disconnect.end(parts.connections, tenant_id, connection_id)
    attached = await come_back(parts, claimed, callback)
    assert getattr(attached, "outcome", None) == Outcome.GONE
    assert (await row_of(parts, connection_id)).state == State.DISCONNECTED


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"kind": Kind.OUTAGE, "path": "/oauth/2026-09/token"}, Outcome.NO_ANSWER),
        ({"kind": Kind.RATE_LIMIT, "path": "/oauth/2026-09/token"}, Outcome.NO_ANSWER),
        ({"kind": Kind.HTML, "path": "/oauth/2026-09/token"}, Outcome.NO_ANSWER),
        ({"kind": Kind.RESET, "path": "/oauth/2026-09/token"}, Outcome.NO_ANSWER),
        ({"kind": Kind.OUTAGE, "path": "/account-info/*"}, Outcome.NO_ANSWER),
        ({"kind": Kind.HTML, "path": "/account-info/*"}, Outcome.REFUSED),
        ({"kind": Kind.REVOKED, "path": "/account-info/*"}, Outcome.REFUSED),
    ],
)
async def test_trouble_at_the_vendor_stores_nothing(
    parts: Parts, tenant_id: TenantId, crm: Crm, fault: dict[str, object], outcome: Outcome
) -> None:
    crm.break_down(**fault)
    attached = await connect(parts, tenant_id)
    assert (attached.outcome, attached.connection_id) == (outcome, None)
    async with parts.db.reading() as session:
        assert await queries.listed(session, tenant_id) == []


async def test_one_lost_answer_does_not_send_a_person_back_to_the_start(
    parts: Parts, tenant_id: TenantId, crm: Crm
) -> None:
    crm.break_down(kind=Kind.RESET, path="/account-info/*", count=1)
    assert (await connect(parts, tenant_id)).outcome == Outcome.CONNECTED


async def test_a_code_that_the_vendor_does_not_take_stores_nothing(parts: Parts, tenant_id: TenantId) -> None:
    claimed = await approve(parts, tenant_id)
    callback = await consent(parts, claimed)
    attached = await come_back(
        parts, claimed, type(callback)(code="na1-forged", state=callback.state, error="", issuer="")
    )
    assert getattr(attached, "outcome", None) == Outcome.REFUSED


async def test_what_was_not_granted_is_named(parts: Parts, tenant_id: TenantId, crm: Crm) -> None:
    crm.vendor.portals[AURORA].lacks = frozenset({"tickets"})
    row = await row_of(parts, await connected(parts, tenant_id))
    assert row.missing_scopes == ["tickets"]
    assert "tickets" not in row.scopes


async def test_nothing_is_sent_before_the_account_was_probed(parts: Parts, tenant_id: TenantId, crm: Crm) -> None:
    """A key that changes its place between two tries cannot be found again: the write would be doubled."""
    fault = crm.break_down(kind=Kind.OUTAGE, path="/crm/*", count=1)
    connection_id = await connected(parts, tenant_id)
    row = await row_of(parts, connection_id)
    assert row.paused_at is not None
    assert row.reason is not None
    assert row.probed_at is None
    assert row.refresh_due_at is not None
    crm.face.faults.clear(fault)
    await parts.connections.refresh_due(connection_id)  # as the relay's ring does when the time has come
    row = await row_of(parts, connection_id)
    assert (row.paused_at, row.reason) == (None, None)
    assert row.sticks["log_call"]["stick"] == "enforced"


async def test_disconnecting_revokes_and_forgets(parts: Parts, tenant_id: TenantId, crm: Crm) -> None:
    connection_id = await connected(parts, tenant_id)
    assert await disconnect.end(parts.connections, tenant_id, connection_id)
    row = await row_of(parts, connection_id)
    assert (row.state, row.access_token, row.refresh_token, row.grant_extra) == (State.DISCONNECTED, None, None, None)
    assert crm.revocations == 2  # the refresh token, and the access token that would live on
    assert not await disconnect.end(parts.connections, tenant_id, connection_id)
    assert await parts.connections.of(tenant_id) == []


async def test_disconnecting_another_tenant_s_connection_does_nothing(parts: Parts, tenant_id: TenantId) -> None:
    theirs = await make_tenant(parts, "Other AG")
    connection_id = await connected(parts, theirs)
    assert not await disconnect.end(parts.connections, tenant_id, connection_id)
    assert (await row_of(parts, connection_id)).state == State.ACTIVE


async def test_disconnecting_a_shared_account_only_forgets(parts: Parts, tenant_id: TenantId, crm: Crm) -> None:
    theirs = await make_tenant(parts, "Other AG")
    await connected(parts, theirs)
    async with parts.db.transaction() as session:
        await accounts.allow_shared(session, "hubspot", str(AURORA))
    mine = await connected(parts, tenant_id)
    await disconnect.end(parts.connections, tenant_id, mine)
    assert crm.revocations == 0
    assert (await row_of(parts, mine)).refresh_token is None


async def test_a_revocation_the_vendor_did_not_take_is_still_owed(parts: Parts, tenant_id: TenantId, crm: Crm) -> None:
    connection_id = await connected(parts, tenant_id)
    fault = crm.break_down(kind=Kind.OUTAGE, path="/oauth/2026-09/token/revoke")
    await disconnect.end(parts.connections, tenant_id, connection_id)
    row = await row_of(parts, connection_id)
    assert row.state == State.DISCONNECTED
    assert row.refresh_token is not None
    assert row.refresh_due_at is not None
    crm.face.faults.clear(fault)
    await change(parts, connection_id, refresh_due_at=utc_now())
    async with parts.db.reading() as session:
        assert connection_id in await queries.due_refreshes(session)
    await parts.connections.refresh_due(connection_id)
    row = await row_of(parts, connection_id)
    assert (row.refresh_token, row.refresh_due_at) == (None, None)


async def test_a_disconnected_account_can_be_connected_again(parts: Parts, tenant_id: TenantId) -> None:
    first = await connected(parts, tenant_id)
    await disconnect.end(parts.connections, tenant_id, first)
    second = await connect(parts, tenant_id)
    assert second.outcome == Outcome.CONNECTED
    assert second.connection_id != first
