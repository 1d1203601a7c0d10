"""The CRM account behind connections: limits, breaker and notifications belong to it, whoever connects.

All of these see every tenant: an account is one thing at the vendor however many of our tenants are connected to it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, datetime

from sqlalchemy import ColumnElement, and_, case, exists, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from connectors.crm.records import Account
from gateway.connections.tables import Connection, CrmAccount, DailyBudget
from gateway.db.base import TenantId, new_id


async def known(session: AsyncSession, provider: str, account: Account, *, now: datetime) -> CrmAccount:
    """The row of this account, made or brought up to date, and locked: two tenants attaching at once take turns."""
    insert = _insert(session)(CrmAccount).values(
        id=new_id("ac"),
        provider=provider,
        external_id=account.id,
        allow_shared=False,
        created_at=now,
        **_said(account),
    )
    made = insert.on_conflict_do_update(index_elements=["provider", "external_id"], set_=_said(account))
    return (
        await session.execute(made.returning(CrmAccount), execution_options={"populate_existing": True})
    ).scalar_one()


async def has_live_connection(
    session: AsyncSession, provider: str, external_id: str, *, but: str | None = None
) -> bool:
    """Whether any tenant's live connection, `but` this one, holds a grant of this account: revoking could hurt it."""
    live = (
        select(Connection.id)
        .join(CrmAccount, CrmAccount.id == Connection.crm_account_id)
        .where(
            CrmAccount.provider == provider,
            CrmAccount.external_id == external_id,
            Connection.disconnected_at.is_(None),
        )
    )
    if but is not None:
        live = live.where(Connection.id != but)
    return bool(await session.scalar(select(exists(live))))


async def used_by_another(session: AsyncSession, account_id: str, tenant_id: TenantId) -> bool:
    """Whether another tenant is connected to it now."""
    theirs = select(Connection.id).where(
        Connection.crm_account_id == account_id,
        Connection.tenant_id != tenant_id,
        Connection.disconnected_at.is_(None),
    )
    return bool(await session.scalar(select(exists(theirs))))


async def allow_shared(session: AsyncSession, provider: str, external_id: str, *, allowed: bool = True) -> bool:
    """Let several tenants connect to one account (agencies; production and staging); False if nobody ever connected it."""
    changed = await session.execute(
        update(CrmAccount)
        .where(CrmAccount.provider == provider, CrmAccount.external_id == external_id)
        .values(allow_shared=allowed)
        .returning(CrmAccount.id)
    )
    return changed.scalar_one_or_none() is not None


async def allowed_of_day(session: AsyncSession, account_id: str, name: str, day: date) -> int | None:
    """What the vendor last said the daily allowance `name` is; None while it has not. Makes the day's row."""
    last = (
        select(DailyBudget.allowed)
        .where(DailyBudget.account_id == account_id, DailyBudget.name == name, DailyBudget.day < day)
        .order_by(DailyBudget.day.desc())
        .limit(1)
    )
    insert = _insert(session)(DailyBudget).values(
        account_id=account_id, name=name, day=day, spent=0, allowed=last.scalar_subquery()
    )
    await session.execute(insert.on_conflict_do_nothing(index_elements=["account_id", "name", "day"]))
    return await session.scalar(select(DailyBudget.allowed).where(_of_day(account_id, name, day)))


async def spend_of_day(
    session: AsyncSession, account_id: str, name: str, day: date, *, n: int, most: int
) -> int | None:
    """Take `n` of a daily allowance of which `most` may be spent; what is spent then. None, and nothing taken, when it
    does not hold them any more."""
    taken = await session.execute(
        update(DailyBudget)
        .where(_of_day(account_id, name, day), DailyBudget.spent + n <= most)
        .values(spent=DailyBudget.spent + n)
        .returning(DailyBudget.spent)
    )
    return taken.scalar_one_or_none()


async def note_of_day(session: AsyncSession, account_id: str, name: str, day: date, *, used: int, allowed: int) -> int:
    """Write down the vendor's own count; never below ours. What is spent then."""
    insert = _insert(session)(DailyBudget).values(
        account_id=account_id, name=name, day=day, spent=used, allowed=allowed
    )
    more = case((DailyBudget.spent < used, used), else_=DailyBudget.spent)
    noted = insert.on_conflict_do_update(
        index_elements=["account_id", "name", "day"], set_={"spent": more, "allowed": allowed}
    )
    return int((await session.execute(noted.returning(DailyBudget.spent))).scalar_one())


async def spent_of_day(
    session: AsyncSession, account_ids: Collection[str], day: date
) -> Mapping[tuple[str, str], tuple[int | None, int]]:
    """(allowance as the vendor said it, what is spent) by (account, name) of one day."""
    rows = await session.execute(
        select(DailyBudget.account_id, DailyBudget.name, DailyBudget.allowed, DailyBudget.spent).where(
            DailyBudget.account_id.in_(account_ids), DailyBudget.day == day
        )
    )
    return {(account_id, name): (allowed, spent) for account_id, name, allowed, spent in rows}


def _of_day(account_id: str, name: str, day: date) -> ColumnElement[bool]:
    return and_(DailyBudget.account_id == account_id, DailyBudget.name == name, DailyBudget.day == day)


def _said(account: Account) -> dict[str, str | None]:
    return {
        "name": account.name or account.id,
        "region": account.region,
        "timezone": account.timezone,
        "currency": account.currency,
        "ui_origin": account.ui_origin,
    }


def _insert(session: AsyncSession) -> type[postgresql.Insert] | type[sqlite.Insert]:
    return sqlite.Insert if session.get_bind().dialect.name == "sqlite" else postgresql.Insert
