"""Search at a CRM lags: what it still says of a record, and the mirror knows better."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import and_, exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from connectors.crm.records import Contact, Kind, Ref
from gateway.db.base import TenantId
from gateway.db.engine import among
from gateway.directory.tables import DirectoryPhone, DirectoryRecord


async def outdated(
    session: AsyncSession, tenant_id: TenantId, connection_id: str, index: bytes, found: Sequence[Contact]
) -> set[Ref]:
    """Which of `found`, that a search for the number with this hash gave, do not have it any more, or are gone."""
    holds = exists().where(
        DirectoryPhone.tenant_id == DirectoryRecord.tenant_id,
        DirectoryPhone.phone_hash == index,
        DirectoryPhone.connection_id == DirectoryRecord.connection_id,
        DirectoryPhone.kind == DirectoryRecord.kind,
        DirectoryPhone.record_id == DirectoryRecord.record_id,
    )
    mine = and_(
        DirectoryRecord.tenant_id == tenant_id,
        DirectoryRecord.connection_id == connection_id,
        DirectoryRecord.kind.in_(sorted({one.kind.value for one in found})),
        among(session, DirectoryRecord.record_id, sorted({one.id for one in found})),
    )
    columns = (DirectoryRecord.kind, DirectoryRecord.record_id, DirectoryRecord.updated_at, DirectoryRecord.gone_at)
    rows = await session.execute(select(*columns).where(mine, ~holds))
    known = {Ref(Kind(kind), record_id): gone_at or updated_at for kind, record_id, updated_at, gone_at in rows}
    return {ref for one in found if (ref := Ref(one.kind, one.id)) in known and _is_older(one, known[ref])}


def _is_older(found: Contact, known: datetime | None) -> bool:
    """Whether what was found is no later than what is known of the same record: also where nobody can say."""
    return found.updated_at is None or known is None or found.updated_at <= known
