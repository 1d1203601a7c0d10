"""Field mappings by version, per connection."""

from __future__ import annotations

from sqlalchemy import ForeignKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from gateway.db.base import Base, Document, Id, Text, When


class MappingVersion(Base):
    """A connection's mapping, a row a version; the newest is in force."""

    __tablename__ = "mappings"

    tenant_id: Mapped[Id] = mapped_column(primary_key=True)
    connection_id: Mapped[Id] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    document: Mapped[Document]
    at: Mapped[When]
    by: Mapped[Text]

    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "connection_id"], ["connections.tenant_id", "connections.id"], ondelete="CASCADE"
        ),
    )
