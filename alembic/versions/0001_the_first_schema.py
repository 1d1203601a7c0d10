"""the first schema

Revision: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "crm_accounts",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("external_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=True),
        sa.Column("timezone", sa.String(), nullable=True),
        sa.Column("currency", sa.String(), nullable=True),
        sa.Column("ui_origin", sa.String(), nullable=True),
        sa.Column("allow_shared", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_crm_accounts")),
        sa.UniqueConstraint("provider", "external_id", name=op.f("uq_crm_accounts_provider_external_id")),
    )
    op.create_table(
        "idempotent_answers",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("principal", sa.String(), nullable=False),
        sa.Column("route", sa.String(), nullable=False),
        sa.Column("key_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("body_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "principal", "route", "key_sha256", name=op.f("pk_idempotent_answers")),
    )
    op.create_index(op.f("ix_idempotent_answers_expires_at"), "idempotent_answers", ["expires_at"], unique=False)
    op.create_table(
        "sealing_checks",
        sa.Column("kek_id", sa.String(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("kek_id", name=op.f("pk_sealing_checks")),
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("zone", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
    )
    op.create_table(
        "tombstones",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "hash", name=op.f("pk_tombstones")),
    )
    op.create_index(op.f("ix_tombstones_until"), "tombstones", ["until"], unique=False)
    op.create_table(
        "api_keys",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("networks", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_api_keys_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_api_keys")),
    )
    op.create_index("ix_api_keys_id", "api_keys", ["id"], unique=True)
    op.create_table(
        "call_events",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("dedupe", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("became", sa.String(), nullable=False),
        sa.Column("call_id", sa.String(length=40), nullable=True),
        sa.Column("raw", sa.LargeBinary(), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("raw_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("subject_index", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_call_events_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_call_events")),
        sa.UniqueConstraint("tenant_id", "source", "dedupe", name=op.f("uq_call_events_tenant_id_source_dedupe")),
    )
    op.create_index("ix_call_events_call", "call_events", ["tenant_id", "call_id"], unique=False)
    op.create_index("ix_call_events_raw_until", "call_events", ["raw_until"], unique=False)
    op.create_index("ix_call_events_recent", "call_events", ["tenant_id", "source", "id"], unique=False)
    op.create_table(
        "calls",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("external_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("direction", sa.String(), nullable=True),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("news", sa.LargeBinary(), nullable=False),
        sa.Column("person", sa.LargeBinary(), nullable=True),
        sa.Column("subject_index", sa.LargeBinary(), nullable=True),
        sa.Column("index_version", sa.Integer(), nullable=False),
        sa.Column("lookup_id", sa.String(length=40), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("grace_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("plan_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ruleset_version", sa.Integer(), nullable=True),
        sa.Column("transcript_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("people_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("kept_until", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_calls_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_calls")),
        sa.UniqueConstraint("tenant_id", "external_id", "source", name=op.f("uq_calls_tenant_id_external_id_source")),
    )
    op.create_index("ix_calls_kept_until", "calls", ["kept_until"], unique=False)
    op.create_index(
        "ix_calls_lookup_id",
        "calls",
        ["tenant_id", "lookup_id"],
        unique=False,
        postgresql_where=sa.text("lookup_id IS NOT NULL"),
        sqlite_where=sa.text("lookup_id IS NOT NULL"),
    )
    op.create_index("ix_calls_people_until", "calls", ["people_until"], unique=False)
    op.create_index(
        "ix_calls_plan_at",
        "calls",
        ["plan_at"],
        unique=False,
        postgresql_where=sa.text("plan_at IS NOT NULL"),
        sqlite_where=sa.text("plan_at IS NOT NULL"),
    )
    op.create_index("ix_calls_subject", "calls", ["tenant_id", "subject_index"], unique=False)
    op.create_index("ix_calls_transcript_until", "calls", ["transcript_until"], unique=False)
    op.create_table(
        "connections",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("crm_account_id", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("preference", sa.Integer(), nullable=False),
        sa.Column("scopes", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("missing_scopes", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("api_origin", sa.String(), nullable=False),
        sa.Column("auth_origin", sa.String(), nullable=False),
        sa.Column("token_origin", sa.String(), nullable=False),
        sa.Column("access_token", sa.LargeBinary(), nullable=True),
        sa.Column("refresh_token", sa.LargeBinary(), nullable=True),
        sa.Column("grant_extra", sa.LargeBinary(), nullable=True),
        sa.Column("token_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("token_version", sa.Integer(), nullable=False),
        sa.Column("refresh_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("refresh_lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("refresh_fence", sa.Integer(), nullable=False),
        sa.Column("refresh_failures", sa.Integer(), nullable=False),
        sa.Column("refresh_not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sticks", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("probed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("last_error_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_success_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("connected_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("disconnected_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["crm_account_id"], ["crm_accounts.id"], name=op.f("fk_connections_crm_account_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_connections_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_connections")),
    )
    op.create_index(op.f("ix_connections_crm_account_id"), "connections", ["crm_account_id"], unique=False)
    op.create_index("ix_connections_id", "connections", ["id"], unique=True)
    op.create_index(op.f("ix_connections_refresh_due_at"), "connections", ["refresh_due_at"], unique=False)
    op.create_index(
        "uq_connections_live_account",
        "connections",
        ["tenant_id", "crm_account_id"],
        unique=True,
        postgresql_where=sa.text("disconnected_at IS NULL"),
        sqlite_where=sa.text("disconnected_at IS NULL"),
    )
    op.create_table(
        "console_links",
        sa.Column("link_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("scopes", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_console_links_tenant_id")),
        sa.PrimaryKeyConstraint("link_sha256", name=op.f("pk_console_links")),
    )
    op.create_table(
        "daily_budgets",
        sa.Column("account_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("spent", sa.Integer(), nullable=False),
        sa.Column("allowed", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["crm_accounts.id"], name=op.f("fk_daily_budgets_account_id")),
        sa.PrimaryKeyConstraint("account_id", "name", "day", name=op.f("pk_daily_budgets")),
    )
    op.create_table(
        "lookups",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("asked_by", sa.String(), nullable=False),
        sa.Column("assurance", sa.String(), nullable=False),
        sa.Column("subject_index", sa.LargeBinary(), nullable=True),
        sa.Column("index_version", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("records", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("took_us", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kept_until", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_lookups_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_lookups")),
    )
    op.create_index("ix_lookups_kept_until", "lookups", ["kept_until"], unique=False)
    op.create_index("ix_lookups_subject", "lookups", ["tenant_id", "subject_index"], unique=False)
    op.create_table(
        "oauth_flows",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("link_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("state_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("cookie_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("verifier", sa.LargeBinary(), nullable=True),
        sa.Column("initiator", sa.String(), nullable=False),
        sa.Column("connection_id", sa.String(length=40), nullable=True),
        sa.Column("expected_account", sa.String(), nullable=True),
        sa.Column("auth_origin", sa.String(), nullable=False),
        sa.Column("token_origin", sa.String(), nullable=False),
        sa.Column("redirect_uri", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("account", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_oauth_flows_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_oauth_flows")),
        sa.UniqueConstraint("link_sha256", name=op.f("uq_oauth_flows_link_sha256")),
        sa.UniqueConstraint("state_sha256", name=op.f("uq_oauth_flows_state_sha256")),
    )
    op.create_index("ix_oauth_flows_expires_at", "oauth_flows", ["expires_at"], unique=False)
    op.create_index("ix_oauth_flows_id", "oauth_flows", ["id"], unique=True)
    op.create_table(
        "rulesets",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_rulesets_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "version", name=op.f("pk_rulesets")),
    )
    op.create_table(
        "sessions",
        sa.Column("cookie_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("principal", sa.String(), nullable=False),
        sa.Column("scopes", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_sessions_tenant_id")),
        sa.PrimaryKeyConstraint("cookie_sha256", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_tenant_id"), "sessions", ["tenant_id"], unique=False)
    op.create_table(
        "tenant_keys",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("kek_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_tenant_keys_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "purpose", "version", name=op.f("pk_tenant_keys")),
    )
    op.create_index(op.f("ix_tenant_keys_kek_id"), "tenant_keys", ["kek_id"], unique=False)
    op.create_table(
        "tenant_settings",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_tenant_settings_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "version", name=op.f("pk_tenant_settings")),
    )
    op.create_table(
        "voice_endpoints",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("platform", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("key_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("previous_key_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("previous_secret", sa.LargeBinary(), nullable=True),
        sa.Column("previous_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("assurance", sa.String(), nullable=False),
        sa.Column("settings", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("fallback", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_voice_endpoints_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_voice_endpoints")),
        sa.UniqueConstraint("key_sha256", name=op.f("uq_voice_endpoints_key_sha256")),
        sa.UniqueConstraint("previous_key_sha256", name=op.f("uq_voice_endpoints_previous_key_sha256")),
    )
    op.create_table(
        "call_aliases",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("call_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "call_id"],
            ["calls.tenant_id", "calls.id"],
            name=op.f("fk_call_aliases_tenant_id_call_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "alias", "source", name=op.f("pk_call_aliases")),
    )
    op.create_table(
        "call_decisions",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("call_id", sa.String(length=40), nullable=False),
        sa.Column("rule_id", sa.String(length=40), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("because", sa.LargeBinary(), nullable=True),
        sa.Column("because_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "call_id"],
            ["calls.tenant_id", "calls.id"],
            name=op.f("fk_call_decisions_tenant_id_call_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "call_id", "rule_id", name=op.f("pk_call_decisions")),
    )
    op.create_index("ix_call_decisions_because_until", "call_decisions", ["because_until"], unique=False)
    op.create_table(
        "change_feeds",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("connection_id", sa.String(length=40), nullable=False),
        sa.Column("key_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("secret", sa.LargeBinary(), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("poll_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("polled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sweep_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("noticed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("renew_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("renew_lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("renew_fence", sa.Integer(), nullable=False),
        sa.Column("renew_failures", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "connection_id"],
            ["connections.tenant_id", "connections.id"],
            name=op.f("fk_change_feeds_tenant_id_connection_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", name=op.f("pk_change_feeds")),
        sa.UniqueConstraint("key_sha256", name=op.f("uq_change_feeds_key_sha256")),
    )
    op.create_index(op.f("ix_change_feeds_due_at"), "change_feeds", ["due_at"], unique=False)
    op.create_index(op.f("ix_change_feeds_renew_at"), "change_feeds", ["renew_at"], unique=False)
    op.create_table(
        "lanes",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("connection_id", sa.String(length=40), nullable=False),
        sa.Column("person", sa.LargeBinary(), nullable=False),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("next_seq", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "connection_id"],
            ["connections.tenant_id", "connections.id"],
            name=op.f("fk_lanes_tenant_id_connection_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_lanes")),
        sa.UniqueConstraint("connection_id", "person", name=op.f("uq_lanes_connection_id_person")),
        postgresql_with={"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.01},
    )
    op.create_index(
        "lanes_ready",
        "lanes",
        ["connection_id", "ready_at"],
        unique=False,
        postgresql_where=sa.text("ready_at IS NOT NULL"),
        sqlite_where=sa.text("ready_at IS NOT NULL"),
    )
    op.create_table(
        "mappings",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("connection_id", sa.String(length=40), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "connection_id"],
            ["connections.tenant_id", "connections.id"],
            name=op.f("fk_mappings_tenant_id_connection_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", "version", name=op.f("pk_mappings")),
    )
    op.create_table(
        "mirrors",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("connection_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("dry", sa.Boolean(), nullable=False),
        sa.Column("cursor", sa.String(), nullable=True),
        sa.Column("listed", sa.Boolean(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=True),
        sa.Column("unreadable", sa.Integer(), nullable=False),
        sa.Column("examples", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("complete_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("changed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("swept_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "connection_id"],
            ["connections.tenant_id", "connections.id"],
            name=op.f("fk_mirrors_tenant_id_connection_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", "kind", name=op.f("pk_mirrors")),
    )
    op.create_index(
        "ix_mirrors_due_at",
        "mirrors",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_table(
        "change_hints",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("connection_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("record_id", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "connection_id"],
            ["change_feeds.tenant_id", "change_feeds.connection_id"],
            name=op.f("fk_change_hints_tenant_id_connection_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", "kind", "record_id", name=op.f("pk_change_hints")),
    )
    op.create_index("ix_change_hints_due_at", "change_hints", ["tenant_id", "connection_id", "due_at"], unique=False)
    op.create_table(
        "change_subscriptions",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("connection_id", sa.String(length=40), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "connection_id"],
            ["change_feeds.tenant_id", "change_feeds.connection_id"],
            name=op.f("fk_change_subscriptions_tenant_id_connection_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", "id", name=op.f("pk_change_subscriptions")),
    )
    op.create_table(
        "deliveries",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("connection_id", sa.String(length=40), nullable=False),
        sa.Column("lane_id", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("call_id", sa.String(length=40), nullable=True),
        sa.Column("rule_id", sa.String(), nullable=False),
        sa.Column("rule", sa.String(), nullable=False),
        sa.Column("action_id", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("needs", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("record_key", sa.String(), nullable=False),
        sa.Column("v", sa.Integer(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("claims", sa.Integer(), nullable=False),
        sa.Column("waits", sa.Integer(), nullable=False),
        sa.Column("looking", sa.Boolean(), nullable=False),
        sa.Column("settle_ms", sa.Integer(), nullable=False),
        sa.Column("blind", sa.Boolean(), nullable=False),
        sa.Column("code", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("record_kind", sa.String(), nullable=True),
        sa.Column("record_id", sa.String(), nullable=True),
        sa.Column("record_url", sa.String(), nullable=True),
        sa.Column("subject_index", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("people_until", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "lane_id"], ["lanes.tenant_id", "lanes.id"], name=op.f("fk_deliveries_tenant_id_lane_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_deliveries")),
        postgresql_with={"fillfactor": 80, "autovacuum_vacuum_scale_factor": 0.01},
    )
    op.create_index(
        "deliveries_open",
        "deliveries",
        ["lane_id", "seq"],
        unique=False,
        postgresql_where=sa.text("state IN ('pending', 'in_flight')"),
        sqlite_where=sa.text("state IN ('pending', 'in_flight')"),
    )
    op.create_index("ix_deliveries_call", "deliveries", ["tenant_id", "call_id"], unique=False)
    op.create_index("ix_deliveries_lane", "deliveries", ["lane_id", "state", "seq"], unique=False)
    op.create_index("ix_deliveries_people_until", "deliveries", ["people_until"], unique=False)
    op.create_index("ix_deliveries_state", "deliveries", ["tenant_id", "state", "created_at", "id"], unique=False)
    op.create_index("ix_deliveries_subject", "deliveries", ["tenant_id", "subject_index"], unique=False)
    op.create_table(
        "directory_records",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("connection_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("record_id", sa.String(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("gone_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "connection_id", "kind"],
            ["mirrors.tenant_id", "mirrors.connection_id", "mirrors.kind"],
            name=op.f("fk_directory_records_tenant_id_connection_id_kind"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", "kind", "record_id", name=op.f("pk_directory_records")),
    )
    op.create_index(
        "ix_directory_records_gone_at",
        "directory_records",
        ["gone_at"],
        unique=False,
        postgresql_where=sa.text("gone_at IS NOT NULL"),
        sqlite_where=sa.text("gone_at IS NOT NULL"),
    )
    op.create_table(
        "lane_records",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("lane_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("record_id", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "lane_id"],
            ["lanes.tenant_id", "lanes.id"],
            name=op.f("fk_lane_records_tenant_id_lane_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "lane_id", "kind", name=op.f("pk_lane_records")),
    )
    op.create_table(
        "attempts",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("delivery_id", sa.String(length=40), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("took_ms", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "delivery_id"],
            ["deliveries.tenant_id", "deliveries.id"],
            name=op.f("fk_attempts_tenant_id_delivery_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_attempts")),
    )
    op.create_index("ix_attempts_at", "attempts", ["at"], unique=False)
    op.create_index("ix_attempts_delivery", "attempts", ["tenant_id", "delivery_id"], unique=False)
    op.create_table(
        "directory_phones",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("phone_hash", sa.LargeBinary(), nullable=False),
        sa.Column("connection_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("record_id", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("match", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "connection_id", "kind", "record_id"],
            [
                "directory_records.tenant_id",
                "directory_records.connection_id",
                "directory_records.kind",
                "directory_records.record_id",
            ],
            name=op.f("fk_directory_phones_tenant_id_connection_id_kind_record_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id", "phone_hash", "connection_id", "kind", "record_id", name=op.f("pk_directory_phones")
        ),
    )
    op.create_index(
        "ix_directory_phones_record",
        "directory_phones",
        ["tenant_id", "connection_id", "kind", "record_id"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_index("ix_directory_phones_record", table_name="directory_phones")
    op.drop_table("directory_phones")
    op.drop_index("ix_attempts_delivery", table_name="attempts")
    op.drop_index("ix_attempts_at", table_name="attempts")
    op.drop_table("attempts")
    op.drop_table("lane_records")
    op.drop_index(
        "ix_directory_records_gone_at",
        table_name="directory_records",
        postgresql_where=sa.text("gone_at IS NOT NULL"),
        sqlite_where=sa.text("gone_at IS NOT NULL"),
    )
    op.drop_table("directory_records")
    op.drop_index("ix_deliveries_subject", table_name="deliveries")
    op.drop_index("ix_deliveries_state", table_name="deliveries")
    op.drop_index("ix_deliveries_people_until", table_name="deliveries")
    op.drop_index("ix_deliveries_lane", table_name="deliveries")
    op.drop_index("ix_deliveries_call", table_name="deliveries")
    op.drop_index(
        "deliveries_open",
        table_name="deliveries",
        postgresql_where=sa.text("state IN ('pending', 'in_flight')"),
        sqlite_where=sa.text("state IN ('pending', 'in_flight')"),
    )
    op.drop_table("deliveries")
    op.drop_table("change_subscriptions")
    op.drop_index("ix_change_hints_due_at", table_name="change_hints")
    op.drop_table("change_hints")
    op.drop_index(
        "ix_mirrors_due_at",
        table_name="mirrors",
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.drop_table("mirrors")
    op.drop_table("mappings")
    op.drop_index(
        "lanes_ready",
        table_name="lanes",
        postgresql_where=sa.text("ready_at IS NOT NULL"),
        sqlite_where=sa.text("ready_at IS NOT NULL"),
    )
    op.drop_table("lanes")
    op.drop_index(op.f("ix_change_feeds_renew_at"), table_name="change_feeds")
    op.drop_index(op.f("ix_change_feeds_due_at"), table_name="change_feeds")
    op.drop_table("change_feeds")
    op.drop_index("ix_call_decisions_because_until", table_name="call_decisions")
    op.drop_table("call_decisions")
    op.drop_table("call_aliases")
    op.drop_table("voice_endpoints")
    op.drop_table("tenant_settings")
    op.drop_index(op.f("ix_tenant_keys_kek_id"), table_name="tenant_keys")
    op.drop_table("tenant_keys")
    op.drop_index(op.f("ix_sessions_tenant_id"), table_name="sessions")
    op.drop_table("sessions")
    op.drop_table("rulesets")
    op.drop_index("ix_oauth_flows_id", table_name="oauth_flows")
    op.drop_index("ix_oauth_flows_expires_at", table_name="oauth_flows")
    op.drop_table("oauth_flows")
    op.drop_index("ix_lookups_subject", table_name="lookups")
    op.drop_index("ix_lookups_kept_until", table_name="lookups")
    op.drop_table("lookups")
    op.drop_table("daily_budgets")
    op.drop_table("console_links")
    op.drop_index(
        "uq_connections_live_account",
        table_name="connections",
        postgresql_where=sa.text("disconnected_at IS NULL"),
        sqlite_where=sa.text("disconnected_at IS NULL"),
    )
    op.drop_index(op.f("ix_connections_refresh_due_at"), table_name="connections")
    op.drop_index("ix_connections_id", table_name="connections")
    op.drop_index(op.f("ix_connections_crm_account_id"), table_name="connections")
    op.drop_table("connections")
    op.drop_index("ix_calls_transcript_until", table_name="calls")
    op.drop_index("ix_calls_subject", table_name="calls")
    op.drop_index(
        "ix_calls_plan_at",
        table_name="calls",
        postgresql_where=sa.text("plan_at IS NOT NULL"),
        sqlite_where=sa.text("plan_at IS NOT NULL"),
    )
    op.drop_index("ix_calls_people_until", table_name="calls")
    op.drop_index(
        "ix_calls_lookup_id",
        table_name="calls",
        postgresql_where=sa.text("lookup_id IS NOT NULL"),
        sqlite_where=sa.text("lookup_id IS NOT NULL"),
    )
    op.drop_index("ix_calls_kept_until", table_name="calls")
    op.drop_table("calls")
    op.drop_index("ix_call_events_recent", table_name="call_events")
    op.drop_index("ix_call_events_raw_until", table_name="call_events")
    op.drop_index("ix_call_events_call", table_name="call_events")
    op.drop_table("call_events")
    op.drop_index("ix_api_keys_id", table_name="api_keys")
    op.drop_table("api_keys")
    op.drop_index(op.f("ix_tombstones_until"), table_name="tombstones")
    op.drop_table("tombstones")
    op.drop_table("tenants")
    op.drop_table("sealing_checks")
    op.drop_index(op.f("ix_idempotent_answers_expires_at"), table_name="idempotent_answers")
    op.drop_table("idempotent_answers")
    op.drop_table("crm_accounts")
