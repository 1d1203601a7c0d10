"""What we promised: lanes, deliveries, attempts (delivery.md §§2-4)."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, ForeignKeyConstraint, Index, Integer, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from gateway.db.base import Base, Bytes, Id, Strings, Text, When

_OPEN = text("state IN ('pending', 'in_flight')")
_READY = text("ready_at IS NOT NULL")


class Lane(Base):
    """One person at one connection: the mutex of everything written about them.

    ready_at     when its next delivery is due, or the lease's end while it is held; None: nothing open.
    fence        goes up with every claim; a record with an older fence writes nothing.
    next_seq     `seq` order is commit order, because the planner locks the row first.
    """

    __tablename__ = "lanes"

    tenant_id: Mapped[Id] = mapped_column(primary_key=True)
    id: Mapped[Id] = mapped_column(primary_key=True)
    connection_id: Mapped[Id]
    person: Mapped[Bytes]
    ready_at: Mapped[When | None]
    lease_until: Mapped[When | None]
    fence: Mapped[int] = mapped_column(BigInteger, default=0)
    next_seq: Mapped[int] = mapped_column(BigInteger, default=1)

    __table_args__ = (
        UniqueConstraint("connection_id", "person"),
        ForeignKeyConstraint(["tenant_id", "connection_id"], ["connections.tenant_id", "connections.id"]),
        Index("lanes_ready", "connection_id", "ready_at", postgresql_where=_READY, sqlite_where=_READY),
        {"postgresql_with": {"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.01}},
    )


class LaneRecord(Base):
    """The lane's id map: which record the person is at this CRM, per kind. Read at send, written by the recorder."""

    __tablename__ = "lane_records"

    tenant_id: Mapped[Id] = mapped_column(primary_key=True)
    lane_id: Mapped[Id] = mapped_column(primary_key=True)
    kind: Mapped[Text] = mapped_column(primary_key=True)
    record_id: Mapped[Text]
    at: Mapped[When]

    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "lane_id"], ["lanes.tenant_id", "lanes.id"], ondelete="CASCADE"),
    )


class Delivery(Base):
    """A promise with a key. `id` is derived from (tenant, call, rule, action, connection): planning twice plans nothing new.

    state       waiting | pending | in_flight | delivered | uncertain | held | dead | cancelled.
    needs       deliveries whose records this one refers to.
    record_key  which record it writes; earlier open ones of the same record come first.
    payload     version `v` of the write, frozen at planning, sealed at (deliveries, payload, id). None: forgotten.
    people_until   then the payload of an ended one is forgotten, with its call's people; None: it has been.
    due_at      not before; while `in_flight`: when an unknown outcome may be looked for (last send + settle).
    attempts    tries that count; claims: times it was claimed since the last record of it.
    waits       times it was put off (rate, outage): only for the back-off.
    looking     an earlier try's outcome is unknown: look for the key before anything is sent.
    settle_ms   how long after a send "not found" is not believed. blind: it cannot be looked for, so it is sent alone.
    code        short reason for lists and replay ("rate-limit", "rejected", "reconnect"); reason says it in words.
    """

    __tablename__ = "deliveries"

    tenant_id: Mapped[Id] = mapped_column(primary_key=True)
    id: Mapped[Id] = mapped_column(primary_key=True)
    connection_id: Mapped[Id]
    lane_id: Mapped[Id]
    seq: Mapped[int] = mapped_column(BigInteger)
    call_id: Mapped[Id | None]
    rule_id: Mapped[Text]
    rule: Mapped[Text]
    action_id: Mapped[Text]
    action: Mapped[Text]
    state: Mapped[Text]
    due_at: Mapped[When]
    expires_at: Mapped[When]
    needs: Mapped[Strings]
    record_key: Mapped[Text]
    v: Mapped[int] = mapped_column(Integer, default=1)
    payload: Mapped[Bytes | None]
    attempts: Mapped[int] = mapped_column(default=0)
    claims: Mapped[int] = mapped_column(default=0)
    waits: Mapped[int] = mapped_column(default=0)
    looking: Mapped[bool] = mapped_column(Boolean, default=False)
    settle_ms: Mapped[int]
    blind: Mapped[bool] = mapped_column(Boolean, default=False)
    code: Mapped[Text | None]
    reason: Mapped[Text | None]
    record_kind: Mapped[Text | None]
    record_id: Mapped[Text | None]
    record_url: Mapped[Text | None]
    subject_index: Mapped[Bytes | None]
    created_at: Mapped[When]
    sent_at: Mapped[When | None]
    ended_at: Mapped[When | None]
    people_until: Mapped[When | None]

    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "lane_id"], ["lanes.tenant_id", "lanes.id"]),
        Index("deliveries_open", "lane_id", "seq", postgresql_where=_OPEN, sqlite_where=_OPEN),
        Index("ix_deliveries_lane", "lane_id", "state", "seq"),
        Index("ix_deliveries_call", "tenant_id", "call_id"),
        Index("ix_deliveries_state", "tenant_id", "state", "created_at", "id"),
        Index("ix_deliveries_subject", "tenant_id", "subject_index"),
        Index("ix_deliveries_people_until", "people_until"),
        {"postgresql_with": {"fillfactor": 80, "autovacuum_vacuum_scale_factor": 0.01}},
    )


class Attempt(Base):
    """One try at a delivery, or one look for its key. Kept 90 days."""

    __tablename__ = "attempts"

    tenant_id: Mapped[Id] = mapped_column(primary_key=True)
    id: Mapped[Id] = mapped_column(primary_key=True)
    delivery_id: Mapped[Id]
    at: Mapped[When]
    outcome: Mapped[Text]
    status: Mapped[int | None]
    took_ms: Mapped[int]
    reason: Mapped[Text | None]

    __table_args__ = (
        Index("ix_attempts_delivery", "tenant_id", "delivery_id"),
        Index("ix_attempts_at", "at"),
        ForeignKeyConstraint(
            ["tenant_id", "delivery_id"], ["deliveries.tenant_id", "deliveries.id"], ondelete="CASCADE"
        ),
    )
