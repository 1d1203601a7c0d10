"""The mirror: how far each kind of record was copied, whom it holds, and the numbers they are found by."""

from __future__ import annotations

from sqlalchemy import ForeignKeyConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from gateway.db.base import Base, Bytes, Id, Strings, Text, When


class Mirror(Base):
    """One kind of record of one connection. Whoever changes what is mirrored holds this row (`mirror.py`).

    state        queued | running | done | failed, of the latest run.
    run          counts runs from 1: a record carries the run that saw it last.
    dry          the run reads and counts, and keeps nothing.
    cursor       where the run goes on (the port's opaque `after`); None at its beginning. Moves with the rows it brought.
    listed       every page of the run is in; what it has not seen is being dropped.
    done, total  records read in this run, and how many there are, where the CRM says so.
    unreadable   fields of this run that hold something no number can be read from; `examples` are some of them, masked.
    complete_at  when a run first reached its end: since then who is not here is not at the CRM either, but for news.
    due_at       when the relay rings "import", while a run is queued or running.
    lease_until, fence   one process works on the row at a time; what it writes it writes under its fence.
    changed_until   how far changes at the CRM have been read. swept_at: when the mirror was last compared with it.
    """

    __tablename__ = "mirrors"

    tenant_id: Mapped[Id] = mapped_column(primary_key=True)
    connection_id: Mapped[Id] = mapped_column(primary_key=True)
    kind: Mapped[Text] = mapped_column(primary_key=True)
    state: Mapped[Text]
    run: Mapped[int] = mapped_column(default=1)
    dry: Mapped[bool] = mapped_column(default=False)
    cursor: Mapped[Text | None]
    listed: Mapped[bool] = mapped_column(default=False)
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int | None]
    unreadable: Mapped[int] = mapped_column(default=0)
    examples: Mapped[Strings]  # JSON each
    failures: Mapped[int] = mapped_column(default=0)  # in a row; they make the pauses longer
    reason: Mapped[Text | None]
    queued_at: Mapped[When]
    started_at: Mapped[When | None]
    finished_at: Mapped[When | None]
    complete_at: Mapped[When | None]
    due_at: Mapped[When | None]
    lease_until: Mapped[When | None]
    fence: Mapped[int] = mapped_column(default=0)
    changed_until: Mapped[When | None]
    swept_at: Mapped[When | None]

    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "connection_id"], ["connections.tenant_id", "connections.id"]),
        Index(
            "ix_mirrors_due_at",
            "due_at",
            postgresql_where=text("due_at IS NOT NULL"),
            sqlite_where=text("due_at IS NOT NULL"),
        ),
    )


class DirectoryRecord(Base):
    """A contact, lead or company with a number: what an answer uses of it, sealed at (directory_records, sealed,
    connection, kind, record).

    digest      keyed hash of what is sealed: whether a record has changed is seen without opening it.
    updated_at  the CRM's own time. read_at: when the CRM was asked for what stands here.
    gone_at     the CRM deleted it, then; kept for a while without its content, so that what was read before and comes
                later does not bring it back.
    """

    __tablename__ = "directory_records"

    tenant_id: Mapped[Id] = mapped_column(primary_key=True)
    connection_id: Mapped[Id] = mapped_column(primary_key=True)
    kind: Mapped[Text] = mapped_column(primary_key=True)
    record_id: Mapped[Text] = mapped_column(primary_key=True)
    sealed: Mapped[Bytes | None]
    digest: Mapped[Bytes | None]
    updated_at: Mapped[When | None]
    run: Mapped[int]
    read_at: Mapped[When]
    gone_at: Mapped[When | None]

    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "connection_id", "kind"], ["mirrors.tenant_id", "mirrors.connection_id", "mirrors.kind"]
        ),
        Index(
            "ix_directory_records_gone_at",
            "gone_at",
            postgresql_where=text("gone_at IS NOT NULL"),
            sqlite_where=text("gone_at IS NOT NULL"),
        ),
    )


class DirectoryPhone(Base):
    """A number of a record, as the keyed hash of its E.164. In this order a lookup is one range of the primary key, with
    companies before contacts before leads.

    label  which field it stood in. match: exact, or national where the country had to be guessed.
    """

    __tablename__ = "directory_phones"

    tenant_id: Mapped[Id] = mapped_column(primary_key=True)
    phone_hash: Mapped[Bytes] = mapped_column(primary_key=True)
    connection_id: Mapped[Id] = mapped_column(primary_key=True)
    kind: Mapped[Text] = mapped_column(primary_key=True)
    record_id: Mapped[Text] = mapped_column(primary_key=True)
    label: Mapped[Text]
    match: Mapped[Text]

    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "connection_id", "kind", "record_id"],
            [
                "directory_records.tenant_id",
                "directory_records.connection_id",
                "directory_records.kind",
                "directory_records.record_id",
            ],
            ondelete="CASCADE",
        ),
        Index("ix_directory_phones_record", "tenant_id", "connection_id", "kind", "record_id"),
    )
