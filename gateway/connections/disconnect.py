"""The end of a connection: nothing is read or written any more, the grant is revoked, the tokens are forgotten."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from connectors.errors import ConnectorError, RateLimited, Unavailable
from gateway.connections import accounts, queries
from gateway.connections.health import State
from gateway.connections.tables import Connection
from gateway.connections.tokens import cool_down
from gateway.db.base import TenantId
from gateway.db.engine import utc_now
from gateway.logs import log

if TYPE_CHECKING:
    from gateway.connections.open import Connections

OWED_FOR = timedelta(days=1)  # then a revocation the vendor never confirmed is given up, and the tokens forgotten
AGAIN = timedelta(minutes=1)  # when the relay rings for it, should this process not get to it


async def end(connections: Connections, tenant_id: TenantId, connection_id: str) -> bool:
    """Disconnect. False if the tenant has no such connection, or it was disconnected before.

    The vendor may be away: then the revocation is still owed, and asked for in the background for a day.
    """
    async with connections.db.reading(tenant_id) as session:
        there = await queries.connection(session, tenant_id, connection_id)
    if there is None or there.disconnected_at is not None:
        return False
    await connections.ending(tenant_id, connection_id)
    now = utc_now()
    async with connections.db.transaction(tenant_id) as session:
        row = await queries.locked(session, tenant_id, connection_id)
        if row is None or row.disconnected_at is not None:
            return False
        row.state, row.disconnected_at, row.paused_at = State.DISCONNECTED, now, now
        row.reason, row.refresh_due_at, row.refresh_failures = "this CRM was disconnected", now + AGAIN, 0
    connections.forget(tenant_id, connection_id)
    await connections.ended(tenant_id)
    log.info("connection ended", connection_id=connection_id)
    await revoke(connections, tenant_id, connection_id)
    return True


async def revoke(connections: Connections, tenant_id: TenantId, connection_id: str) -> None:
    """Revoke the grant of a disconnected connection and forget its tokens; only forget them where a live connection of
    anybody shares the account. Repeatable."""
    async with connections.db.reading(tenant_id) as session:
        found = await queries.with_account(session, tenant_id, connection_id)
        if found is None or found[0].disconnected_at is None:
            return
        row, account = found
        shared = await accounts.has_live_connection(session, row.provider, account.external_id, but=row.id)
    if not shared:
        try:
            await _revoke_at_vendor(connections, row)
        except (Unavailable, RateLimited) as error:
            if row.disconnected_at is not None and utc_now() < row.disconnected_at + OWED_FOR:
                await _owe(connections, row, wish=error.retry_after)
                return
            log.warning("a grant was forgotten that the vendor never revoked", connection_id=connection_id)
        except ConnectorError as error:  # this vendor has no revocation, or knows nothing of the grant any more
            log.info("grant not revoked", connection_id=connection_id, error=type(error).__name__)
    async with connections.db.transaction(tenant_id) as session:
        await queries.forget_grant(session, tenant_id, connection_id)


async def _revoke_at_vendor(connections: Connections, row: Connection) -> None:
    """Both tokens: some vendors leave issued access tokens alive when the refresh token ends."""
    keys = await connections.keyring.of(TenantId(row.tenant_id))
    oauth = connections.providers.of(row.provider).oauth_of(row.token_origin)
    for column, sealed in (("refresh_token", row.refresh_token), ("access_token", row.access_token)):
        if sealed is not None:
            await oauth.revoke(keys.open(sealed, "connections", column, row.id).decode(), hint=column)


async def _owe(connections: Connections, row: Connection, *, wish: timedelta | None) -> None:
    async with connections.db.transaction(TenantId(row.tenant_id)) as session:
        again = await queries.locked(session, TenantId(row.tenant_id), row.id)
        if again is not None:
            again.refresh_failures += 1
            wait = cool_down(again.refresh_failures + 5, wish=wish, roll=1.0)
            again.refresh_due_at = utc_now() + wait
