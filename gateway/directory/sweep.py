"""Does the mirror still show what is at the CRM? A random sample of it, and what became of each record read again."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import prometheus_client
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from connectors.crm.records import Contact, Kind, Ref
from gateway.db.base import TenantId
from gateway.directory.tables import DirectoryPhone
from gateway.logs import log

SAMPLE = 50  # records a day
FEW = 20  # of fewer than this nothing is concluded
TOO_MUCH = 0.1  # of a sample: then the mirror is not to be mended one by one

SWEPT = prometheus_client.Counter(
    "gateway_directory_swept", "Mirrored records that were read again to see whether they still hold.",
    ["provider", "verdict"],
)  # fmt: skip


class Verdict(StrEnum):
    SAME = "same"
    NEWS = "news"  # changed so lately that no poll has asked yet
    DRIFTED = "drifted"  # changed, and nobody told us
    GONE = "gone"  # deleted or merged away, and nobody told us


class Tally(Counter[Verdict]):
    """What a sweep found."""

    def add(self, verdict: Verdict) -> None:
        self[verdict] += 1

    @property
    def is_too_much(self) -> bool:
        drifted = self[Verdict.DRIFTED] + self[Verdict.GONE]
        return self.total() >= FEW and drifted > TOO_MUCH * self.total()

    def report(self, provider: str, connection_id: str) -> None:
        for verdict, count in self.items():
            SWEPT.labels(provider, verdict).inc(count)
        log.info("mirror swept", connection_id=connection_id, **{one.value: self[one] for one in Verdict})


def verdict(ref: Ref, found: Contact | None, changed_until: datetime | None, *, changed: bool) -> Verdict:
    """What reading `ref` again says of the mirror. Pure.

    changed  whether the mirror had to be mended for it. changed_until: how far changes of its kind have been read.
    """
    if not changed:
        return Verdict.SAME
    if found is None or Ref(found.kind, found.id) != ref:
        return Verdict.GONE
    if found.updated_at is not None and changed_until is not None and found.updated_at > changed_until:
        return Verdict.NEWS
    return Verdict.DRIFTED


async def draw(
    session: AsyncSession, tenant_id: TenantId, connection_id: str, *, most: int = SAMPLE, start: bytes | None = None
) -> Sequence[Ref]:
    """Records at random: those whose numbers' hashes come next after `start`, by default a random one. Keyed hashes lie
    as if thrown, so this is one short range of an index, however many records there are."""
    begin = os.urandom(16) if start is None else start
    numbers = select(DirectoryPhone.kind, DirectoryPhone.record_id).where(
        DirectoryPhone.tenant_id == tenant_id, DirectoryPhone.connection_id == connection_id
    )
    drawn: dict[Ref, None] = {}
    for some in (DirectoryPhone.phone_hash >= begin, DirectoryPhone.phone_hash < begin):
        rows = await session.execute(numbers.where(some).order_by(DirectoryPhone.phone_hash).limit(most))
        drawn |= {Ref(Kind(kind), record_id): None for kind, record_id in rows}
        if len(drawn) >= most:
            break
    return list(drawn)[:most]
