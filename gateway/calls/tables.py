"""Voice endpoints, events as they came, and the calls they add up to."""

from __future__ import annotations

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from gateway.db.base import Base, Bytes, Document, Id, Text, When


class VoiceEndpoint(Base):
    """One address of a tenant for one voice platform. The key in the address is hashed to find, sealed to show."""

    __tablename__ = "voice_endpoints"

    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[Id] = mapped_column(primary_key=True)
    platform: Mapped[Text]
    name: Mapped[Text]
    key_sha256: Mapped[Bytes] = mapped_column(unique=True)
    key: Mapped[Bytes]
    secret: Mapped[Bytes]
    previous_key_sha256: Mapped[Bytes | None] = mapped_column(unique=True)  # both are valid until `previous_until`
    previous_secret: Mapped[Bytes | None]
    previous_until: Mapped[When | None]
    assurance: Mapped[Text]  # what the endpoint requires: signed | secret | url
    settings: Mapped[Document]  # names of headers and the like, per platform
    fallback: Mapped[Document]  # the stored reply, in the platform's own shape
    created_at: Mapped[When]
    deleted_at: Mapped[When | None]


class Call(Base):
    """One call: (tenant, source, external id). `news` is the merged `CallNews`, sealed at (calls, news, id).

    source      the endpoint's id, or "api" for our own contract.
    state       received | planned | done | attention; a test event's call is done from the start.
    person      the lane's person: keyed hash of the customer's number, else of the call; the first replaces the second.
    plan_at     when the relay rings for planning; None when there is nothing to plan.
    subject_index   keyed hash of the customer's number, for export and erasure.
    """

    __tablename__ = "calls"

    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[Id] = mapped_column(primary_key=True)
    source: Mapped[Text]
    external_id: Mapped[Text]
    state: Mapped[Text]
    direction: Mapped[Text | None]
    ended: Mapped[bool] = mapped_column(default=False)
    complete: Mapped[bool] = mapped_column(default=False)
    news: Mapped[Bytes]
    person: Mapped[Bytes | None]
    subject_index: Mapped[Bytes | None]
    index_version: Mapped[int] = mapped_column(default=1)
    lookup_id: Mapped[Id | None]
    received_at: Mapped[When]
    updated_at: Mapped[When]
    started_at: Mapped[When | None]
    grace_until: Mapped[When | None]
    plan_at: Mapped[When | None]
    planned_at: Mapped[When | None]
    ruleset_version: Mapped[int | None]
    transcript_until: Mapped[When | None]  # retention: then the transcript goes; None: it has
    people_until: Mapped[When | None]  # then everything about people goes; None: it has
    kept_until: Mapped[When]  # then the row goes

    __table_args__ = (
        UniqueConstraint("tenant_id", "external_id", "source"),  # in this order, to be found by the external id alone
        Index(
            "ix_calls_lookup_id",
            "tenant_id",
            "lookup_id",
            postgresql_where=text("lookup_id IS NOT NULL"),
            sqlite_where=text("lookup_id IS NOT NULL"),
        ),
        Index(
            "ix_calls_plan_at",
            "plan_at",
            postgresql_where=text("plan_at IS NOT NULL"),
            sqlite_where=text("plan_at IS NOT NULL"),
        ),
        Index("ix_calls_subject", "tenant_id", "subject_index"),
        Index("ix_calls_transcript_until", "transcript_until"),
        Index("ix_calls_people_until", "people_until"),
        Index("ix_calls_kept_until", "kept_until"),
    )


class CallAlias(Base):
    """Another id that stands for a call at the same source ("carrier:CA…"). Of two calls that claim one, the first has it."""

    __tablename__ = "call_aliases"

    tenant_id: Mapped[Id] = mapped_column(primary_key=True)
    alias: Mapped[Text] = mapped_column(primary_key=True)
    source: Mapped[Text] = mapped_column(primary_key=True)
    call_id: Mapped[Id]

    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "call_id"], ["calls.tenant_id", "calls.id"], ondelete="CASCADE"),
    )


class CallEvent(Base):
    """One event as it came, stored once per (tenant, source, dedupe). `raw` is sealed at (call_events, raw, id).

    became   stored (a new call) | merged (it added to one) | nothing new | lookup | tools | ignored | unreadable | test.
    call_id  None: it belongs to no call we know, and goes when its time is up; the others go with their call.
    """

    __tablename__ = "call_events"

    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[Id] = mapped_column(primary_key=True)
    source: Mapped[Text]
    dedupe: Mapped[Bytes]  # SHA-256 of the platform's own dedupe key
    name: Mapped[Text]
    became: Mapped[Text]
    call_id: Mapped[Id | None]
    raw: Mapped[Bytes | None]
    received_at: Mapped[When]
    raw_until: Mapped[When | None]
    subject_index: Mapped[Bytes | None]

    __table_args__ = (
        UniqueConstraint("tenant_id", "source", "dedupe"),
        Index("ix_call_events_recent", "tenant_id", "source", "id"),
        Index("ix_call_events_call", "tenant_id", "call_id"),
        Index("ix_call_events_raw_until", "raw_until"),
    )


class Tombstone(Base):
    """What a pruned call was, so that the platform's late repeat does not write it again: a hash, no person, 400 days."""

    __tablename__ = "tombstones"

    tenant_id: Mapped[Id] = mapped_column(primary_key=True)
    hash: Mapped[Bytes] = mapped_column(primary_key=True)  # SHA-256 of source and external id
    until: Mapped[When] = mapped_column(index=True)
