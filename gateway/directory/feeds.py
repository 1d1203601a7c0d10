"""Rows of feeds and hints: what is due, who works at it, what was hinted at. What to do about them is decided elsewhere.

Whoever changes a feed's hints holds the feed's row first, so that notices, turns and our own writes take turns.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Interval, and_, case, delete, exists, func, literal, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from connectors.crm.records import Kind, Ref
from gateway.connections.health import State
from gateway.connections.tables import Connection, CrmAccount
from gateway.db.base import TenantId, UtcTime
from gateway.db.engine import among, clock, inserting, utc_now
from gateway.db.rows import insert_many, parameters
from gateway.directory.change_tables import ChangeFeed, ChangeHint, ChangeSubscription
from gateway.directory.mirror import KINDS
from gateway.directory.tables import DirectoryRecord, Mirror

LONGEST_ID = 64  # the longest id of any vendor is a UUID; more is nobody's record
CLOCKS_APART = timedelta(minutes=1)  # of our machines: a hint is due at once, by the database's clock too
_AT_ONCE = 2000  # hints of one statement
_HINT = ("tenant_id", "connection_id", "kind", "record_id", "version", "tries", "due_at")

Whose = tuple[TenantId, str]
"""A feed: its tenant and its connection."""


@dataclass(frozen=True)
class Held:
    """A feed that this process follows for now."""

    tenant_id: TenantId
    connection_id: str
    fence: int
    poll: bool
    sweep: bool
    polled_at: datetime | None
    failures: int


@dataclass(frozen=True)
class Hint:
    ref: Ref
    version: int
    tries: int


@dataclass(frozen=True)
class Mirrored:
    """One kind of record that is kept of a connection."""

    kind: Kind
    changed_until: datetime | None


async def ensure(session: AsyncSession, tenant_id: TenantId, connection_id: str) -> None:
    """Make the feed of a connection that has none: due at once, and swept tomorrow."""
    now = clock(session)
    row: dict[str, Any] = {
        "tenant_id": tenant_id, "connection_id": connection_id, "due_at": now, "poll_at": now,
        "sweep_at": in_(session, timedelta(days=1)), "renew_at": now, "fence": 0, "failures": 0, "renew_fence": 0,
        "renew_failures": 0,
    }  # fmt: skip
    await session.execute(inserting(session, ChangeFeed).values(**row).on_conflict_do_nothing())


async def end(session: AsyncSession, tenant_id: TenantId, connection_id: str) -> None:
    """Forget a feed, its hints and its subscriptions."""
    mine = and_(ChangeFeed.tenant_id == tenant_id, ChangeFeed.connection_id == connection_id)
    await session.execute(delete(ChangeFeed).where(mine))


async def forget_address(session: AsyncSession, tenant_id: TenantId, connection_id: str, *, until: timedelta) -> None:
    """From now on a feed has no address and no secret; whoever sees to its subscriptions right now has lost them."""
    values: dict[str, Any] = {
        "key_sha256": None, "key": None, "secret": None, "renew_lease_until": None, "renew_at": in_(session, until),
        "renew_fence": ChangeFeed.renew_fence + 1,
    }  # fmt: skip
    await session.execute(update(ChangeFeed).where(_mine(tenant_id, connection_id)).values(**values))


async def look_soon(session: AsyncSession, tenant_id: TenantId, connection_id: str) -> None:
    """Its subscriptions may have gone with a grant: they are seen to at once, and until they can be."""
    now = clock(session)
    which = and_(_mine(tenant_id, connection_id), ChangeFeed.renew_at > in_(session, timedelta(minutes=15)))
    await session.execute(update(ChangeFeed).where(which).values(renew_at=now))


async def due_polls(session: AsyncSession, *, limit: int = 1000) -> Sequence[str]:
    """Connections the relay rings "poll" for, those that have no feed yet among them. Sees every tenant."""
    now = clock(session)
    due = (
        select(ChangeFeed.connection_id)
        .where(
            ChangeFeed.due_at <= now,
            or_(ChangeFeed.lease_until.is_(None), ChangeFeed.lease_until < now),
            or_(ChangeFeed.not_before.is_(None), ChangeFeed.not_before <= now),
        )
        .order_by(ChangeFeed.due_at)
        .limit(limit)
    )
    fed = exists().where(ChangeFeed.tenant_id == Connection.tenant_id, ChangeFeed.connection_id == Connection.id)
    new = select(Connection.id).where(Connection.state == State.ACTIVE, Connection.probed_at.is_not(None), ~fed)
    return [*(await session.scalars(due)).all(), *(await session.scalars(new.limit(limit))).all()]


async def due_renewals(session: AsyncSession, *, limit: int = 1000) -> Sequence[str]:
    """Connections the relay rings "renew" for. Sees every tenant."""
    now = clock(session)
    due = (
        select(ChangeFeed.connection_id)
        .where(
            ChangeFeed.renew_at <= now,
            or_(ChangeFeed.renew_lease_until.is_(None), ChangeFeed.renew_lease_until < now),
        )
        .order_by(ChangeFeed.renew_at)
        .limit(limit)
    )
    return (await session.scalars(due)).all()


async def claim(session: AsyncSession, tenant_id: TenantId, connection_id: str, *, lease: timedelta) -> Held | None:
    """Follow a feed that is due and that nobody follows; None: it is not."""
    now = clock(session)
    claimed = (
        update(ChangeFeed)
        .where(
            _mine(tenant_id, connection_id),
            ChangeFeed.due_at <= now,
            or_(ChangeFeed.lease_until.is_(None), ChangeFeed.lease_until < now),
            or_(ChangeFeed.not_before.is_(None), ChangeFeed.not_before <= now),
        )
        .values(lease_until=in_(session, lease), fence=ChangeFeed.fence + 1)
        .returning(ChangeFeed.fence, ChangeFeed.poll_at <= now, ChangeFeed.sweep_at <= now, ChangeFeed.polled_at,
                   ChangeFeed.failures)
    )  # fmt: skip
    row = (await session.execute(claimed)).one_or_none()
    if row is None:
        return None
    fence, poll, sweep, polled_at, failures = row
    return Held(tenant_id, connection_id, fence, bool(poll), bool(sweep), polled_at, failures)


async def hold(session: AsyncSession, tenant_id: TenantId, held: Held, *, lease: timedelta) -> bool:
    """Lock the feed's row and prolong the lease; False: somebody else follows it by now, and nothing may be written."""
    mine = and_(_mine(tenant_id, held.connection_id), ChangeFeed.fence == held.fence)
    prolonged = update(ChangeFeed).where(mine).values(lease_until=in_(session, lease)).returning(ChangeFeed.fence)
    return (await session.execute(prolonged)).one_or_none() is not None


async def finish(
    session: AsyncSession,
    tenant_id: TenantId,
    held: Held,
    *,
    poll_in: timedelta | None = None,
    polled_at: datetime | None = None,
    sweep_in: timedelta | None = None,
    wait: timedelta | None = None,
) -> None:
    """Give the feed back.

    poll_in, sweep_in  until the next poll, the next sweep; None: as before.
    wait  the CRM wants to be left alone for so long: this turn came to no end.
    """
    values: dict[str, Any] = {
        "lease_until": None,
        "failures": 0 if wait is None else ChangeFeed.failures + 1,
        "not_before": None if wait is None else in_(session, wait),
    }
    if poll_in is not None:
        values["poll_at"] = in_(session, poll_in)
    if polled_at is not None:
        values["polled_at"] = polled_at
    if sweep_in is not None:
        values["sweep_at"] = in_(session, sweep_in)
    mine = and_(_mine(tenant_id, held.connection_id), ChangeFeed.fence == held.fence)
    given_back = await session.execute(update(ChangeFeed).where(mine).values(**values).returning(ChangeFeed.fence))
    if given_back.one_or_none() is None:
        return
    hinted = select(func.min(ChangeHint.due_at)).where(_hints_of(tenant_id, held.connection_id))
    first = await session.scalar(hinted)
    earlier = case((ChangeFeed.poll_at < ChangeFeed.sweep_at, ChangeFeed.poll_at), else_=ChangeFeed.sweep_at)
    due = earlier if first is None else case((earlier < first, earlier), else_=literal(first, UtcTime()))
    await session.execute(update(ChangeFeed).where(mine).values(due_at=due))


async def note(
    session: AsyncSession, noted: Mapping[Whose, Collection[Ref]], *, now: datetime, by_crm: bool
) -> Mapping[Whose, int]:
    """Remember that these records may have changed; how many of each feed's are of a kind that is mirrored.

    by_crm  the CRM told us itself. Repeats cost nothing. Sees every tenant: one notice may be about several.
    """
    taken: dict[Whose, int] = {}
    rows: list[dict[str, Any]] = []
    for tenant_id, connection_id in sorted(noted):
        kinds = {one.kind for one in await mirrored(session, tenant_id, connection_id)}
        refs = {ref for ref in noted[tenant_id, connection_id] if ref.kind in kinds and 0 < len(ref.id) <= LONGEST_ID}
        values: dict[str, Any] = {"noticed_at": now} if by_crm else {}
        if refs:
            values["due_at"] = case((ChangeFeed.due_at < clock(session), ChangeFeed.due_at), else_=clock(session))
        if not values:
            continue
        told = update(ChangeFeed).where(_mine(tenant_id, connection_id)).values(**values).returning(ChangeFeed.fence)
        if (await session.execute(told)).one_or_none() is None:
            continue
        taken[tenant_id, connection_id] = len(refs)
        rows += [
            {"tenant_id": tenant_id, "connection_id": connection_id, "kind": ref.kind.value, "record_id": ref.id,
             "version": 1, "tries": 0, "due_at": now - CLOCKS_APART}
            for ref in sorted(refs, key=lambda ref: (ref.kind, ref.id))
        ]  # fmt: skip
    dialect = session.get_bind().dialect.name
    for start in range(0, len(rows), _AT_ONCE):
        hint = insert_many(dialect, ChangeHint.__table__, _HINT)  # type: ignore[arg-type]
        again = hint.on_conflict_do_update(
            index_elements=["tenant_id", "connection_id", "kind", "record_id"],
            set_={"version": ChangeHint.version + 1, "tries": 0, "due_at": hint.excluded.due_at},
        )
        await session.execute(again, parameters(dialect, rows[start : start + _AT_ONCE]))
    return taken


async def hints(session: AsyncSession, tenant_id: TenantId, connection_id: str, *, limit: int) -> Sequence[Hint]:
    """What is hinted at and due, longest due first."""
    due = (
        select(ChangeHint.kind, ChangeHint.record_id, ChangeHint.version, ChangeHint.tries)
        .where(_hints_of(tenant_id, connection_id), ChangeHint.due_at <= clock(session))
        .order_by(ChangeHint.due_at, ChangeHint.kind, ChangeHint.record_id)
        .limit(limit)
    )
    rows = await session.execute(due)
    return [Hint(Ref(Kind(kind), record_id), version, tries) for kind, record_id, version, tries in rows]


async def settle(session: AsyncSession, tenant_id: TenantId, connection_id: str, read: Collection[Hint]) -> None:
    """Forget hints whose records have been read; one that was given again meanwhile stays."""
    which = [(hint.ref.kind.value, hint.ref.id, hint.version) for hint in read]
    if which:
        mine = _hints_of(tenant_id, connection_id)
        of_these = tuple_(ChangeHint.kind, ChangeHint.record_id, ChangeHint.version).in_(which)
        await session.execute(delete(ChangeHint).where(mine, of_these).execution_options(synchronize_session=False))


async def put_off(
    session: AsyncSession, tenant_id: TenantId, connection_id: str, hint: Hint, *, wait: timedelta
) -> None:
    """Read this one later: its record could not be understood."""
    mine = and_(
        _hints_of(tenant_id, connection_id),
        ChangeHint.kind == hint.ref.kind.value,
        ChangeHint.record_id == hint.ref.id,
    )
    await session.execute(update(ChangeHint).where(mine).values(tries=hint.tries + 1, due_at=in_(session, wait)))


async def mirrored(session: AsyncSession, tenant_id: TenantId, connection_id: str) -> Sequence[Mirrored]:
    """The kinds of records kept of a connection, or being imported, contacts first; those only counted by a dry run are not."""
    rows = await session.execute(
        select(Mirror.kind, Mirror.changed_until).where(
            Mirror.tenant_id == tenant_id,
            Mirror.connection_id == connection_id,
            or_(Mirror.complete_at.is_not(None), and_(Mirror.dry.is_(False), Mirror.started_at.is_not(None))),
        )
    )
    found = [Mirrored(Kind(kind), changed_until) for kind, changed_until in rows]
    return sorted(found, key=lambda one: KINDS.index(one.kind))


async def read_until(
    session: AsyncSession, tenant_id: TenantId, connection_id: str, kind: Kind, until: datetime
) -> None:
    """Changes of this kind have been read up to `until`; never set back."""
    later = or_(Mirror.changed_until.is_(None), Mirror.changed_until < until)
    which = and_(Mirror.tenant_id == tenant_id, Mirror.connection_id == connection_id, Mirror.kind == kind.value)
    await session.execute(update(Mirror).where(which, later).values(changed_until=until))


async def changed_after(
    session: AsyncSession, tenant_id: TenantId, connection_id: str, times: Mapping[Ref, datetime]
) -> set[Ref]:
    """Which of these records the mirror has as the CRM changed them later than the time given with each."""
    rows = await session.execute(
        select(DirectoryRecord.kind, DirectoryRecord.record_id, DirectoryRecord.updated_at).where(
            DirectoryRecord.tenant_id == tenant_id,
            DirectoryRecord.connection_id == connection_id,
            DirectoryRecord.kind.in_(sorted({ref.kind.value for ref in times})),
            among(session, DirectoryRecord.record_id, sorted({ref.id for ref in times})),
        )
    )
    known = {Ref(Kind(kind), record_id): at for kind, record_id, at in rows if at is not None}
    return {ref for ref, at in times.items() if ref in known and known[ref] > at}


async def swept(session: AsyncSession, tenant_id: TenantId, connection_id: str, kind: Kind, now: datetime) -> None:
    which = and_(Mirror.tenant_id == tenant_id, Mirror.connection_id == connection_id, Mirror.kind == kind.value)
    await session.execute(update(Mirror).where(which).values(swept_at=now))


async def by_key(session: AsyncSession, digest: bytes) -> tuple[ChangeFeed, Connection, str] | None:
    """The feed with this key in its address, its connection, and the account's id at the vendor. Sees every tenant: whose
    it is follows from the key."""
    found = await session.execute(
        select(ChangeFeed, Connection, CrmAccount.external_id)
        .join(Connection, and_(Connection.tenant_id == ChangeFeed.tenant_id, Connection.id == ChangeFeed.connection_id))
        .join(CrmAccount, CrmAccount.id == Connection.crm_account_id)
        .where(ChangeFeed.key_sha256 == digest, Connection.disconnected_at.is_(None))
    )
    row = found.one_or_none()
    return None if row is None else (row[0], row[1], row[2])


async def of_accounts(
    session: AsyncSession, provider: str, accounts: Collection[str]
) -> Sequence[tuple[str, TenantId, str]]:
    """(account, tenant, connection) of every living connection to these accounts. Sees every tenant: accounts are shared."""
    rows = await session.execute(
        select(CrmAccount.external_id, Connection.tenant_id, Connection.id)
        .join(Connection, Connection.crm_account_id == CrmAccount.id)
        .where(
            CrmAccount.provider == provider,
            CrmAccount.external_id.in_(sorted(accounts)),
            Connection.disconnected_at.is_(None),
        )
        .order_by(Connection.tenant_id, Connection.id)
    )
    return [(account, TenantId(tenant_id), connection_id) for account, tenant_id, connection_id in rows]


async def is_told(session: AsyncSession, tenant_id: TenantId, connection_id: str, *, since: datetime) -> bool:
    """Whether this CRM tells of changes by itself: it is subscribed to, or has told us something since then."""
    asked = exists().where(ChangeSubscription.tenant_id == tenant_id, ChangeSubscription.connection_id == connection_id)
    told = exists().where(_mine(tenant_id, connection_id), ChangeFeed.noticed_at >= since)
    return bool(await session.scalar(select(or_(asked, told))))


async def feed(session: AsyncSession, tenant_id: TenantId, connection_id: str) -> ChangeFeed | None:
    return await session.scalar(select(ChangeFeed).where(_mine(tenant_id, connection_id)))


def in_(session: AsyncSession, wait: timedelta) -> ColumnElement[datetime]:
    """The database's clock, `wait` from now."""
    if session.get_bind().dialect.name == "sqlite":
        return literal(utc_now() + wait, UtcTime())
    return clock(session) + literal(wait, Interval())


def _mine(tenant_id: TenantId, connection_id: str) -> ColumnElement[bool]:
    return and_(ChangeFeed.tenant_id == tenant_id, ChangeFeed.connection_id == connection_id)


def _hints_of(tenant_id: TenantId, connection_id: str) -> ColumnElement[bool]:
    return and_(ChangeHint.tenant_id == tenant_id, ChangeHint.connection_id == connection_id)
