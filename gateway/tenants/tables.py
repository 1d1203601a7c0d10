"""Tenants, their keys, their API keys, their settings, their sessions."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from gateway.db.base import Base, Bytes, Document, Id, Strings, Text, When


class Tenant(Base):
    __tablename__ = "tenants"

    id: Mapped[Id] = mapped_column(primary_key=True)
    name: Mapped[Text]
    region: Mapped[Text] = mapped_column(default="CH")  # ISO 3166 country, for national spellings
    zone: Mapped[Text] = mapped_column(default="Europe/Zurich")  # IANA, for due dates
    created_at: Mapped[When]
    disabled_at: Mapped[When | None]


class TenantKey(Base):
    """One sealing key of one tenant, wrapped by the sealing key `kek_id` (crypto.py)."""

    __tablename__ = "tenant_keys"

    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    purpose: Mapped[Text] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    wrapped: Mapped[Bytes]
    kek_id: Mapped[Text] = mapped_column(index=True)
    created_at: Mapped[When]


class SealingCheck(Base):
    """One sealed constant per sealing key, so that a wrong key is found at start and not by a caller. Sees every tenant."""

    __tablename__ = "sealing_checks"

    kek_id: Mapped[Text] = mapped_column(primary_key=True)
    sealed: Mapped[Bytes]


class ApiKey(Base):
    """`gwk_<id>_<secret><crc32>`: only the secret's SHA-256 is kept."""

    __tablename__ = "api_keys"

    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[Id] = mapped_column(primary_key=True)
    name: Mapped[Text] = mapped_column(default="")
    secret_sha256: Mapped[Bytes]
    scopes: Mapped[Strings]
    networks: Mapped[Strings] = mapped_column(default=list)  # empty: from anywhere
    created_at: Mapped[When]
    expires_at: Mapped[When | None]
    revoked_at: Mapped[When | None]
    last_used_at: Mapped[When | None]  # to the minute, written behind the answer

    __table_args__ = (Index("ix_api_keys_id", "id", unique=True),)


class TenantSettings(Base):
    """The tenant's own document, a row a version; the newest is in force."""

    __tablename__ = "tenant_settings"

    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    document: Mapped[Document]
    at: Mapped[When]
    by: Mapped[Text]


class ConsoleLink(Base):
    """A one-use link into the console; a button's POST exchanges it for a session."""

    __tablename__ = "console_links"

    link_sha256: Mapped[Bytes] = mapped_column(primary_key=True)
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"))
    scopes: Mapped[Strings]
    expires_at: Mapped[When]
    used_at: Mapped[When | None]


class Session(Base):
    """A browser that is signed in: SHA-256 of its cookie. Idle 30 minutes, 12 hours in all."""

    __tablename__ = "sessions"

    cookie_sha256: Mapped[Bytes] = mapped_column(primary_key=True)
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"), index=True)
    principal: Mapped[Text]
    scopes: Mapped[Strings]
    created_at: Mapped[When]
    seen_at: Mapped[When]
    ends_at: Mapped[When]
