"""The base of all tables: names of constraints, UTC times, ids, tenant columns."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import Annotated, Any, NewType

from sqlalchemy import JSON, DateTime, LargeBinary, MetaData, String, TypeDecorator
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, mapped_column

TenantId = NewType("TenantId", str)
"""`tn_…`. Made in one place only (tenants/access.py), so that a function taking one cannot be called with a guess."""


class UtcTime(TypeDecorator[datetime]):
    """Aware times, UTC at rest. SQLite would hand them back naive, and compare them as text: both are taken care of."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone is not a time")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Json = JSON().with_variant(JSONB(), "postgresql")

Id = Annotated[str, mapped_column(String(40))]
Text = Annotated[str, mapped_column(String)]
Bytes = Annotated[bytes, mapped_column(LargeBinary)]
When = Annotated[datetime, mapped_column(UtcTime)]
Document = Annotated[dict[str, Any], mapped_column(Json)]
Strings = Annotated[list[str], mapped_column(Json)]


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: sorts like the number, reads well aloud


def new_id(prefix: str) -> str:
    """A new id such as `ca_…`: 48 bits of milliseconds and 78 random bits, like UUIDv7; sorts by time of making."""
    return f"{prefix}_{_base32((time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10)))}"


def derived_id(prefix: str, digest: bytes) -> str:
    """An id that says the same thing twice for the same digest (128 bits are kept)."""
    return f"{prefix}_{_base32(int.from_bytes(digest[:16]))}"


_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)  # ten bits at a time: each lookup makes an id


def _base32(number: int) -> str:
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])
