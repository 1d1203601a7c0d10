"""Rows of connections: the ones that may be asked, pausing, resuming. What to do about them is decided elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.connections.health import State
from gateway.connections.tables import Connection, CrmAccount
from gateway.db.base import TenantId
from gateway.db.engine import clock
from gateway.tenants.tables import Tenant


async def connection(session: AsyncSession, tenant_id: TenantId, connection_id: str) -> Connection | None:
    """One connection of the tenant, whatever its state; None for anybody else's."""
    return (await session.scalars(_mine(tenant_id, connection_id))).one_or_none()


async def locked(session: AsyncSession, tenant_id: TenantId, connection_id: str) -> Connection | None:
    """The same, held against other writers until the transaction ends."""
    return (await session.scalars(_mine(tenant_id, connection_id).with_for_update())).one_or_none()


async def live(session: AsyncSession, tenant_id: TenantId) -> Sequence[Connection]:
    """Connections whose grant is good, in the tenant's order of preference. Ones being probed (`paused_at`) are among them."""
    mine = select(Connection).where(Connection.tenant_id == tenant_id, Connection.state == State.ACTIVE)
    return (await session.scalars(mine.order_by(Connection.preference, Connection.id))).all()


async def openable(
    session: AsyncSession, tenant_id: TenantId, connection_id: str | None = None
) -> Sequence[tuple[Connection, CrmAccount, str]]:
    """What opening takes: connection, account, and the tenant's region for national numbers.

    connection_id  that one, whatever its state; without it all whose grant is good, in the tenant's order of preference.
    """
    mine = (
        select(Connection, CrmAccount, Tenant.region)
        .join(CrmAccount, CrmAccount.id == Connection.crm_account_id)
        .join(Tenant, Tenant.id == Connection.tenant_id)
        .where(Connection.tenant_id == tenant_id)
    )
    if connection_id is not None:
        mine = mine.where(Connection.id == connection_id)
    else:
        mine = mine.where(Connection.state == State.ACTIVE).order_by(Connection.preference, Connection.id)
    return [(row[0], row[1], row[2]) for row in await session.execute(mine)]


async def live_on_account(session: AsyncSession, tenant_id: TenantId, account_id: str) -> Connection | None:
    """The tenant's connection to this account that was not disconnected; there is at most one."""
    mine = select(Connection).where(
        Connection.tenant_id == tenant_id,
        Connection.crm_account_id == account_id,
        Connection.disconnected_at.is_(None),
    )
    return await session.scalar(mine.with_for_update())


async def live_at(session: AsyncSession, tenant_id: TenantId, provider: str) -> bool:
    """Whether the tenant has a connection at this provider that was not disconnected."""
    mine = select(Connection.id).where(
        Connection.tenant_id == tenant_id, Connection.provider == provider, Connection.disconnected_at.is_(None)
    )
    return bool(await session.scalar(select(exists(mine))))


async def writable(session: AsyncSession, tenant_id: TenantId) -> Sequence[Connection]:
    """Connections that may be promised to, paused ones included, in the tenant's order of preference."""
    mine = select(Connection).where(Connection.tenant_id == tenant_id, Connection.disconnected_at.is_(None))
    return (await session.scalars(mine.order_by(Connection.preference, Connection.id))).all()


async def with_account(
    session: AsyncSession, tenant_id: TenantId, connection_id: str
) -> tuple[Connection, CrmAccount] | None:
    """One connection and the CRM account behind it."""
    both = select(Connection, CrmAccount).join(CrmAccount, CrmAccount.id == Connection.crm_account_id)
    found = await session.execute(both.where(Connection.tenant_id == tenant_id, Connection.id == connection_id))
    row = found.one_or_none()
    return None if row is None else (row[0], row[1])


async def listed(
    session: AsyncSession, tenant_id: TenantId, *, before: str | None = None, limit: int = 50
) -> Sequence[tuple[Connection, CrmAccount]]:
    """A page of the tenant's connections with their accounts, newest first; `before`: the last id of the page before."""
    mine = (
        select(Connection, CrmAccount)
        .join(CrmAccount, CrmAccount.id == Connection.crm_account_id)
        .where(Connection.tenant_id == tenant_id)
    )
    if before is not None:
        mine = mine.where(Connection.id < before)
    rows = await session.execute(mine.order_by(Connection.id.desc()).limit(limit))
    return [(row[0], row[1]) for row in rows]


async def pause(
    session: AsyncSession,
    tenant_id: TenantId,
    connection_id: str,
    *,
    reason: str,
    now: datetime,
    seen: int | None = None,
) -> bool:
    """Hold everything until the tenant signs in again; whether this call did it. A second call changes nothing.

    reason  in words, for the tenant.
    seen    the `token_version` that was refused: a grant renewed since is not touched.
    """
    which = _active(tenant_id, connection_id)
    if seen is not None:
        which = and_(which, Connection.token_version == seen)
    paused = await session.execute(
        update(Connection)
        .where(which)
        .values(state=State.RECONNECT_NEEDED, paused_at=now, reason=reason, refresh_due_at=None)
        .returning(Connection.id)
    )
    return paused.scalar_one_or_none() is not None


async def resume(session: AsyncSession, tenant_id: TenantId, connection_id: str) -> bool:
    """Let deliveries flow again; whether there was anything to resume. The relay finds them by itself."""
    resumed = await session.execute(
        update(Connection)
        .where(
            Connection.tenant_id == tenant_id,
            Connection.id == connection_id,
            Connection.disconnected_at.is_(None),
            Connection.probed_at.is_not(None),
            Connection.paused_at.is_not(None),
        )
        .values(state=State.ACTIVE, paused_at=None, reason=None)
        .returning(Connection.id)
    )
    return resumed.scalar_one_or_none() is not None


async def note(session: AsyncSession, tenant_id: TenantId, connection_id: str, *, ok: bool, now: datetime) -> None:
    """Remember when the CRM last answered, or last failed to."""
    values = {"last_success_at": now} if ok else {"last_error_at": now}
    await session.execute(
        update(Connection).where(Connection.tenant_id == tenant_id, Connection.id == connection_id).values(**values)
    )


async def forget_grant(session: AsyncSession, tenant_id: TenantId, connection_id: str) -> None:
    """Remove the tokens of a disconnected connection."""
    await session.execute(
        update(Connection)
        .where(
            Connection.tenant_id == tenant_id,
            Connection.id == connection_id,
            Connection.disconnected_at.is_not(None),
        )
        .values(access_token=None, refresh_token=None, grant_extra=None, token_expires_at=None, refresh_due_at=None)
    )


async def due_refreshes(session: AsyncSession, *, limit: int = 1000) -> Sequence[str]:
    """Connections the relay rings "refresh" for: a grant to renew, a probe to repeat, a revocation still owed; longest
    due first. One that somebody is at already is left out. Sees every tenant."""
    now = clock(session)
    due = (
        select(Connection.id)
        .where(
            Connection.refresh_due_at <= now,
            or_(Connection.refresh_lease_until.is_(None), Connection.refresh_lease_until < now),
        )
        .order_by(Connection.refresh_due_at)
        .limit(limit)
    )
    return (await session.scalars(due)).all()


async def tenant_of(session: AsyncSession, connection_id: str) -> TenantId | None:
    """Whose connection this is, for a ring that carries only its id. Sees every tenant."""
    found = await session.scalar(select(Connection.tenant_id).where(Connection.id == connection_id))
    return None if found is None else TenantId(found)


async def tenant_name(session: AsyncSession, tenant_id: TenantId) -> str:
    """What the tenant calls itself."""
    return str(await session.scalar(select(Tenant.name).where(Tenant.id == tenant_id)) or tenant_id)


def _mine(tenant_id: TenantId, connection_id: str) -> Select[Connection]:
    return select(Connection).where(Connection.tenant_id == tenant_id, Connection.id == connection_id)


def _active(tenant_id: TenantId, connection_id: str) -> ColumnElement[bool]:
    return and_(Connection.tenant_id == tenant_id, Connection.id == connection_id, Connection.state == State.ACTIVE)
