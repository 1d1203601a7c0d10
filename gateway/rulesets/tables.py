"""Rule sets by version, and what they decided for each call."""

from __future__ import annotations

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from gateway.db.base import Base, Bytes, Document, Id, Text, When


class RuleSetVersion(Base):
    """A tenant's rule set, a row a version; the newest is in force. Calls pin the version they were first planned with."""

    __tablename__ = "rulesets"

    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    document: Mapped[Document]
    at: Mapped[When]
    by: Mapped[Text]


class RuleDecision(Base):
    """What one rule decided for one call. Fired and declined are final (delivery.md §5).

    because  why, in words; it may quote the call, so it is sealed at (call_decisions, because, call id, rule id).
    because_until   then it is forgotten, with its call's people; None: it has been.
    """

    __tablename__ = "call_decisions"

    tenant_id: Mapped[Id] = mapped_column(primary_key=True)
    call_id: Mapped[Id] = mapped_column(primary_key=True)
    rule_id: Mapped[Id] = mapped_column(primary_key=True)
    position: Mapped[int]
    name: Mapped[Text]
    outcome: Mapped[Text]  # fired | declined | undecided
    because: Mapped[Bytes | None]
    because_until: Mapped[When | None]
    decided_at: Mapped[When]

    __table_args__ = (
        Index("ix_call_decisions_because_until", "because_until"),
        ForeignKeyConstraint(["tenant_id", "call_id"], ["calls.tenant_id", "calls.id"], ondelete="CASCADE"),
    )
