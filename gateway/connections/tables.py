"""CRM accounts, tenants' connections to them, and sign-ins under way."""

from __future__ import annotations

from datetime import date

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from gateway.db.base import Base, Bytes, Document, Id, Strings, Text, When


class CrmAccount(Base):
    """An account at a CRM, whoever connects to it: limits, breaker and notifications belong to it. Sees every tenant."""

    __tablename__ = "crm_accounts"

    id: Mapped[Id] = mapped_column(primary_key=True)
    provider: Mapped[Text]
    external_id: Mapped[Text]
    name: Mapped[Text]
    region: Mapped[Text | None]
    timezone: Mapped[Text | None]
    currency: Mapped[Text | None]
    ui_origin: Mapped[Text | None]
    allow_shared: Mapped[bool] = mapped_column(default=False)  # a second tenant may connect to it
    created_at: Mapped[When]

    __table_args__ = (UniqueConstraint("provider", "external_id"),)


class DailyBudget(Base):
    """What is spent of one of a vendor's daily allowances. `allowed`: its size, once the vendor has said it."""

    __tablename__ = "daily_budgets"

    account_id: Mapped[Id] = mapped_column(ForeignKey("crm_accounts.id"), primary_key=True)
    name: Mapped[Text] = mapped_column(primary_key=True)  # of the bucket in the manifest
    day: Mapped[date] = mapped_column(primary_key=True)
    spent: Mapped[int] = mapped_column(default=0)
    allowed: Mapped[int | None]


class Connection(Base):
    """A tenant's account at a CRM. Tokens are sealed at (connections, column, id).

    state            active | reconnect_needed | disconnected. "degraded" is what health.py makes of the last two times.
    token_version    goes up with every stored grant; a refresh writes `WHERE token_version = :seen`.
    refresh_lease_until, refresh_fence   one process refreshes at a time.
    refresh_due_at   when the relay rings for a refresh (and for whatever else is owed: a probe, a revocation);
                     None when there is nothing to keep warm.
    refresh_not_before, refresh_failures   the token endpoint is in trouble: nobody asks it before.
    sticks           probed sticking per kind of write; `probed_at` is None while the account was not probed, and
                     nothing is sent until then (`paused_at`): a key that changes its place between two tries is lost.
    disconnected_at  with tokens still there: the vendor has not confirmed the revocation yet.
    """

    __tablename__ = "connections"

    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[Id] = mapped_column(primary_key=True)
    provider: Mapped[Text]
    crm_account_id: Mapped[Id] = mapped_column(ForeignKey("crm_accounts.id"), index=True)
    state: Mapped[Text]
    preference: Mapped[int] = mapped_column(default=0)  # lower first
    scopes: Mapped[Strings]
    missing_scopes: Mapped[Strings]
    api_origin: Mapped[Text]
    auth_origin: Mapped[Text]
    token_origin: Mapped[Text]
    access_token: Mapped[Bytes | None]
    refresh_token: Mapped[Bytes | None]
    grant_extra: Mapped[Bytes | None]  # what else the vendor's token answer said, sealed JSON
    token_expires_at: Mapped[When | None]
    token_version: Mapped[int] = mapped_column(default=1)
    refresh_due_at: Mapped[When | None] = mapped_column(index=True)
    refresh_lease_until: Mapped[When | None]
    refresh_fence: Mapped[int] = mapped_column(default=0)
    refresh_failures: Mapped[int] = mapped_column(default=0)
    refresh_not_before: Mapped[When | None]
    sticks: Mapped[Document]
    probed_at: Mapped[When | None]
    paused_at: Mapped[When | None]  # nothing is claimed while it is set
    reason: Mapped[Text | None]  # why it is not active, for a person
    last_error_at: Mapped[When | None]
    last_success_at: Mapped[When | None]
    connected_at: Mapped[When]
    disconnected_at: Mapped[When | None]

    __table_args__ = (
        Index("ix_connections_id", "id", unique=True),
        Index(
            "uq_connections_live_account",
            "tenant_id",
            "crm_account_id",
            unique=True,
            postgresql_where=text("disconnected_at IS NULL"),
            sqlite_where=text("disconnected_at IS NULL"),
        ),
    )


class OauthFlow(Base):
    """A sign-in under way (security.md §4). Everything secret is a SHA-256; the verifier is sealed.

    outcome  what became of it (authorize.Outcome), for the page that the same browser is shown.
    account  the name of the CRM account that was signed in to, for that page.
    """

    __tablename__ = "oauth_flows"

    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[Id] = mapped_column(primary_key=True)
    provider: Mapped[Text]
    link_sha256: Mapped[Bytes] = mapped_column(unique=True)  # the secret in `authorize_url`
    state_sha256: Mapped[Bytes | None] = mapped_column(unique=True)  # set when the link is claimed
    cookie_sha256: Mapped[Bytes | None]
    verifier: Mapped[Bytes | None]
    initiator: Mapped[Text]
    connection_id: Mapped[Id | None]  # to be renewed; once it has ended, the one it made or renewed
    expected_account: Mapped[Text | None]
    auth_origin: Mapped[Text]
    token_origin: Mapped[Text]
    redirect_uri: Mapped[Text]
    created_at: Mapped[When]
    expires_at: Mapped[When]
    claimed_at: Mapped[When | None]
    used_at: Mapped[When | None]
    outcome: Mapped[Text | None]
    account: Mapped[Text | None]

    __table_args__ = (
        Index("ix_oauth_flows_id", "id", unique=True),
        Index("ix_oauth_flows_expires_at", "expires_at"),
    )
