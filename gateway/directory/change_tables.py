"""How the mirror stays true: each connection's feed of changes, what was hinted at, and what we asked to be told."""

from __future__ import annotations

from sqlalchemy import ForeignKeyConstraint, Index, Integer
from sqlalchemy.orm import Mapped, mapped_column

from gateway.db.base import Base, Bytes, Id, Text, When


class ChangeFeed(Base):
    """How one connection's changes reach us; made once its account has been probed, gone with the connection.

    key_sha256     finds it by the key in its address; key, secret: sealed at (change_feeds, column, connection).
                   None where nothing was subscribed to.
    due_at         when the relay rings "poll": the earliest of what is hinted at, poll_at and sweep_at.
    not_before     the CRM, or our limits there, want to be left alone until then.
    lease_until, fence   one process follows a feed at a time; what it writes it writes under its fence.
    polled_at      when the last poll that reached its end began; deletions are asked for from there.
    noticed_at     when the CRM last told us something by itself: while it does, polls are rarer.
    renew_at       when the relay rings "renew"; with a lease and a fence of its own.
    """

    __tablename__ = "change_feeds"

    tenant_id: Mapped[Id] = mapped_column(primary_key=True)
    connection_id: Mapped[Id] = mapped_column(primary_key=True)
    key_sha256: Mapped[Bytes | None] = mapped_column(unique=True)
    key: Mapped[Bytes | None]
    secret: Mapped[Bytes | None]
    due_at: Mapped[When] = mapped_column(index=True)
    not_before: Mapped[When | None]
    lease_until: Mapped[When | None]
    fence: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(default=0)  # in a row
    poll_at: Mapped[When]
    polled_at: Mapped[When | None]
    sweep_at: Mapped[When]
    noticed_at: Mapped[When | None]
    renew_at: Mapped[When | None] = mapped_column(index=True)
    renew_lease_until: Mapped[When | None]
    renew_fence: Mapped[int] = mapped_column(default=0)
    renew_failures: Mapped[int] = mapped_column(default=0)

    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "connection_id"], ["connections.tenant_id", "connections.id"]),
    )


_OF_FEED = (["tenant_id", "connection_id"], ["change_feeds.tenant_id", "change_feeds.connection_id"])


class ChangeHint(Base):
    """A record that may have changed: to be read again. However often it is hinted at, it is one row.

    version  goes up with every hint: one that came while the record was being read is not taken for read.
    tries    readings that could not be understood; they end.
    """

    __tablename__ = "change_hints"

    tenant_id: Mapped[Id] = mapped_column(primary_key=True)
    connection_id: Mapped[Id] = mapped_column(primary_key=True)
    kind: Mapped[Text] = mapped_column(primary_key=True)
    record_id: Mapped[Text] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(Integer, default=1)
    tries: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[When]

    __table_args__ = (
        ForeignKeyConstraint(*_OF_FEED, ondelete="CASCADE"),
        Index("ix_change_hints_due_at", "tenant_id", "connection_id", "due_at"),
    )


class ChangeSubscription(Base):
    """A notification we asked a CRM for. What the connector needs to renew or end it, the address among it, is sealed at
    (change_subscriptions, sealed, connection, id)."""

    __tablename__ = "change_subscriptions"

    tenant_id: Mapped[Id] = mapped_column(primary_key=True)
    connection_id: Mapped[Id] = mapped_column(primary_key=True)
    id: Mapped[Text] = mapped_column(primary_key=True)
    sealed: Mapped[Bytes]
    expires_at: Mapped[When | None]
    made_at: Mapped[When]

    __table_args__ = (ForeignKeyConstraint(*_OF_FEED, ondelete="CASCADE"),)
