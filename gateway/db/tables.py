"""Kept answers to POSTs with an `Idempotency-Key`."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from gateway.db.base import Base, Bytes, Id, Text, When


class IdempotentAnswer(Base):
    """One POST under one `Idempotency-Key`: 24 hours per key and route. `status` is None while it is being worked on."""

    __tablename__ = "idempotent_answers"

    tenant_id: Mapped[Id] = mapped_column(primary_key=True)
    principal: Mapped[Text] = mapped_column(primary_key=True)  # the API key
    route: Mapped[Text] = mapped_column(primary_key=True)
    key_sha256: Mapped[Bytes] = mapped_column(primary_key=True)
    body_sha256: Mapped[Bytes]
    status: Mapped[int | None]
    answer: Mapped[Bytes | None]  # sealed
    at: Mapped[When]
    expires_at: Mapped[When] = mapped_column(index=True)
