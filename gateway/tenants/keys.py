"""Tenants' sealing keys: made with the tenant, opened when needed, re-wrapped when the sealing key changes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.crypto import (
    BadSealingKey,
    CannotOpen,
    Kek,
    Purpose,
    SealingKey,
    check_value,
    checks_out,
    new_kek_text,
    read_kek,
    unwrap,
    version_of,
    wrap,
)
from gateway.crypto import new_key as new_sealing_key
from gateway.db.base import TenantId
from gateway.db.engine import Database, utc_now
from gateway.settings import Settings
from gateway.tenants.tables import SealingCheck, TenantKey

OPEN_FOR = timedelta(seconds=60)  # an opened key stays in memory this long at most


@dataclass(frozen=True, repr=False)
class TenantKeys:
    """One tenant's keys, ready to use. The newest version seals, all of them open."""

    tenant_id: TenantId
    keys: dict[Purpose, dict[int, SealingKey]]

    def seal(self, plain: bytes, *place: str, purpose: Purpose = Purpose.DATA) -> bytes:
        """Seal for `place` = (table, column, natural key…)."""
        versions = self.keys[purpose]
        return versions[max(versions)].seal(plain, *place)

    def open(self, sealed: bytes, *place: str, purpose: Purpose = Purpose.DATA) -> bytes:
        """Raises `CannotOpen`."""
        key = self.keys[purpose].get(version_of(sealed))
        if key is None:
            raise CannotOpen("sealed with a key this tenant does not have")
        return key.open(sealed, *place)

    def index(self, value: str) -> bytes:
        """The keyed hash `value` is found by (`index_version` is the newest version of the index key)."""
        versions = self.keys[Purpose.INDEX]
        return versions[max(versions)].index(value)

    @property
    def index_version(self) -> int:
        return max(self.keys[Purpose.INDEX])


class Keyring:
    """Opens tenants' keys and keeps them for a minute. One per process."""

    def __init__(self, db: Database, keks: Sequence[Kek]) -> None:
        self._db = db
        self._keks = tuple(keks)
        self._open: dict[TenantId, tuple[float, TenantKeys]] = {}

    def at_hand(self, tenant_id: TenantId) -> TenantKeys | None:
        """The keys if they are in memory; for paths that must not wait."""
        held = self._open.get(tenant_id)
        return held[1] if held is not None and held[0] > time.monotonic() else None

    async def of(self, tenant_id: TenantId) -> TenantKeys:
        """The tenant's keys. Raises `CannotOpen` when the sealing key is not here."""
        if (held := self.at_hand(tenant_id)) is not None:
            return held
        async with self._db.reading(tenant_id) as session:
            rows = (await session.scalars(select(TenantKey).where(TenantKey.tenant_id == tenant_id))).all()
        return self._keep(tenant_id, rows)

    async def in_session(self, session: AsyncSession, tenant_id: TenantId) -> TenantKeys:
        """The same inside a transaction that is open already."""
        if (held := self.at_hand(tenant_id)) is not None:
            return held
        rows = (await session.scalars(select(TenantKey).where(TenantKey.tenant_id == tenant_id))).all()
        return self._keep(tenant_id, rows)

    def _keep(self, tenant_id: TenantId, rows: Iterable[TenantKey]) -> TenantKeys:
        keys: dict[Purpose, dict[int, SealingKey]] = {}
        for row in rows:
            purpose = Purpose(row.purpose)
            key = unwrap(
                self._keks, row.wrapped, kek_id=row.kek_id, tenant=tenant_id, purpose=purpose, version=row.version
            )
            keys.setdefault(purpose, {})[row.version] = key
        if set(keys) != set(Purpose):
            raise CannotOpen("this tenant has no keys")
        now = time.monotonic()
        for other in [t for t, (until, _) in self._open.items() if until <= now]:
            del self._open[other]
        opened = TenantKeys(tenant_id, keys)
        self._open[tenant_id] = (now + OPEN_FOR.total_seconds(), opened)
        return opened

    async def make_for(self, session: AsyncSession, tenant_id: TenantId) -> None:
        """Give a new tenant its keys."""
        for purpose in Purpose:
            key = new_sealing_key(tenant_id, purpose)
            session.add(
                TenantKey(
                    tenant_id=tenant_id,
                    purpose=purpose.value,
                    version=key.version,
                    wrapped=wrap(self._keks[0], key),
                    kek_id=self._keks[0].id,
                    created_at=utc_now(),
                )
            )

    async def rewrap(self, *, page: int = 200) -> int:
        """Wrap every tenant's keys with the newest sealing key; how many were. Resumable: done ones are not found again.

        Sees every tenant: it is the operator's `gateway key rotate`.
        """
        newest, done = self._keks[0], 0
        while True:
            async with self._db.transaction() as session:
                rows = (await session.scalars(select(TenantKey).where(TenantKey.kek_id != newest.id).limit(page))).all()
                for row in rows:
                    purpose = Purpose(row.purpose)
                    key = unwrap(
                        self._keks,
                        row.wrapped,
                        kek_id=row.kek_id,
                        tenant=row.tenant_id,
                        purpose=purpose,
                        version=row.version,
                    )
                    row.wrapped, row.kek_id = wrap(newest, key), newest.id
            done += len(rows)
            if len(rows) < page:
                return done


async def keys_per_kek(session: AsyncSession) -> dict[str, int]:
    """How many tenants' keys each sealing key wraps: an old one may go when it counts zero. Sees every tenant."""
    rows = await session.execute(select(TenantKey.kek_id, func.count()).group_by(TenantKey.kek_id))
    return dict(row._tuple() for row in rows)


async def check_keks(db: Database, keks: Sequence[Kek]) -> None:
    """Find a wrong sealing key at start. Raises `BadSealingKey` with one clear sentence. Sees every tenant."""
    async with db.transaction() as session:
        known = {row.kek_id: row.sealed for row in (await session.scalars(select(SealingCheck))).all()}
        used = set((await session.scalars(select(TenantKey.kek_id).distinct())).all())
        for missing in sorted(used - {kek.id for kek in keks}):
            raise BadSealingKey(
                f"data in this database is sealed with key {missing}, which is not in GATEWAY_SEALING_KEYS"
            )
        for kek in keks:
            if kek.id not in known:
                await session.execute(insert(SealingCheck).values(kek_id=kek.id, sealed=check_value(kek)))
            elif not checks_out(kek, known[kek.id]):
                raise BadSealingKey(f"sealing key {kek.id} does not open what this database sealed with it")


def load_keks(settings: Settings) -> tuple[Kek, ...]:
    """The sealing keys, newest first. Raises `BadSealingKey` with one clear sentence.

    Embedded without any: `gateway.key` (mode 600) beside the database is made once and used from then on.
    """
    texts = [secret.get_secret_value() for secret in settings.sealing_keys]
    if not texts and settings.sealing_keys_file is not None:
        try:
            texts = settings.sealing_keys_file.read_text().split()
        except OSError as error:
            raise BadSealingKey(f"cannot read GATEWAY_SEALING_KEYS_FILE: {error.strerror}") from None
    if not texts and settings.embedded and settings.database_url.startswith("sqlite"):
        texts = [_own_key_file(settings.database_url)]
    if not texts:
        raise BadSealingKey(
            "GATEWAY_SEALING_KEYS is not set; `gateway key new-sealing` makes a key: keep it safe, data without it is lost"
        )
    return tuple(read_kek(text) for text in texts)


def key_file(database_url: str) -> Path:
    """Where the embedded form keeps its sealing key."""
    return Path(database_url.split("///", 1)[-1]).resolve().parent / "gateway.key"


def _own_key_file(database_url: str) -> str:
    path = key_file(database_url)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        file.write(new_kek_text() + "\n")
    return path.read_text().strip()
