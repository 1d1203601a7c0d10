"""Who looked whom up."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from gateway.db.base import Base, Bytes, Id, Strings, Text, When


class Lookup(Base):
    """One question "who is calling?", written in batches behind the answer. No number: only its keyed hash."""

    __tablename__ = "lookups"

    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[Id] = mapped_column(primary_key=True)
    asked_by: Mapped[Text]  # API key or voice endpoint
    assurance: Mapped[Text]  # key | signed | secret | url
    subject_index: Mapped[Bytes | None]
    index_version: Mapped[int] = mapped_column(default=1)
    status: Mapped[Text]
    source: Mapped[Text]
    records: Mapped[Strings]  # "connection/kind/id" answered
    took_us: Mapped[int]
    at: Mapped[When]
    kept_until: Mapped[When]

    __table_args__ = (
        Index("ix_lookups_subject", "tenant_id", "subject_index"),
        Index("ix_lookups_kept_until", "kept_until"),
    )
