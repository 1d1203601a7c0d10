"""A tenant's own document: validated, versioned, a row a version. The newest is in force."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from connectors import phone
from gateway.db.base import TenantId
from gateway.errors import Conflict
from gateway.tenants.queries import known_region, known_zone
from gateway.tenants.queries import tenant as tenant_row
from gateway.tenants.tables import Tenant, TenantSettings


def _number(text: str) -> str:
    found = phone.read(text)
    if found is None:
        raise ValueError("is not a telephone number in international form")
    return phone.e164(found)


Number = Annotated[str, Field(max_length=40), AfterValidator(_number)]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Z]{2})?$")]


class Retention(BaseModel):
    """Days that things about people are kept; shorter than the defaults at will, never longer (security.md §10)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    raw_days: int = Field(default=7, ge=0, le=7, description="Raw bodies from voice platforms.")
    transcript_days: int = Field(default=30, ge=0, le=30)
    summary_days: int = Field(default=180, ge=1, le=180, description="Summaries and analysis.")
    attempt_days: int = Field(default=90, ge=1, le=90, description="Attempts of deliveries.")
    recording_links: bool = Field(default=False, description="Whether links to recordings are kept at all.")


class PromptFields(BaseModel):
    """What may stand in a voice agent's prompt beyond names, language, counts and the like (security.md §7)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    last_call_summary: Literal["always", "verified", "never"] = Field(
        default="never", description="The summary of our last call: free text, which a caller spoke."
    )
    name_when_unsigned: bool = Field(
        default=False, description="Salutation and last name also at endpoints that only their address protects."
    )


class TenantDocument(BaseModel):
    """What a tenant decides for itself. A PUT replaces the whole document."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "version": 3,
                    "region": "CH",
                    "zone": "Europe/Zurich",
                    "languages": ["fr", "de"],
                    "own_numbers": ["+41435550100"],
                    "retention": {"transcript_days": 14},
                    "profiling_purpose": "to call customers back who complained",
                }
            ]
        },
    )

    version: int | None = Field(
        default=None,
        ge=0,
        description="Answered by GET. In a PUT: the version that is replaced, else 409. May be left out.",
    )
    region: Annotated[str, AfterValidator(known_region)] = Field(description="How national numbers are read: ISO 3166.")
    zone: Annotated[str, AfterValidator(known_zone)] = Field(description="Where due dates fall: an IANA time zone.")
    languages: tuple[Language, ...] = Field(default=(), max_length=10, description="In order of preference.")
    own_numbers: tuple[Number, ...] = Field(default=(), max_length=200, description="The tenant's own numbers, E.164.")
    retention: Retention = Retention()
    prompt_fields: PromptFields = PromptFields()
    profiling_purpose: str | None = Field(
        default=None, max_length=300, description="Why mood and scores are worked out. Without one they are not."
    )


async def current(session: AsyncSession, tenant_id: TenantId) -> TenantDocument:
    """The document in force; version 0 is the defaults, with the tenant's region and zone."""
    row = await _newest(session, tenant_id)
    tenant = await tenant_row(session, tenant_id)
    stored = dict(row.document) if row else {}
    return TenantDocument.model_validate(
        {**stored, "version": row.version if row else 0, "region": tenant.region, "zone": tenant.zone}
    )


async def replace(
    session: AsyncSession, tenant_id: TenantId, document: TenantDocument, *, by: str, now: datetime
) -> TenantDocument:
    """Put `document` in force as the next version. Raises `Conflict` when it replaces another version than it says.

    region and zone are columns of the tenant too: whoever signs in or looks up has them at hand with the key.
    """
    row = await _newest(session, tenant_id)
    version = row.version if row else 0
    if document.version is not None and document.version != version:
        raise Conflict(f"Version {version} is in force, not {document.version}. Read it and change that one.")
    stored = document.model_dump(mode="json", exclude={"version", "region", "zone"})
    try:
        async with session.begin_nested():
            session.add(TenantSettings(tenant_id=tenant_id, version=version + 1, document=stored, at=now, by=by))
    except IntegrityError:
        raise Conflict("Somebody else has just changed the settings. Read them and try again.") from None
    await session.execute(
        update(Tenant).where(Tenant.id == tenant_id).values(region=document.region, zone=document.zone)
    )
    return document.model_copy(update={"version": version + 1})


def changed(document: TenantDocument, changes: Sequence[tuple[str, Any]]) -> TenantDocument:
    """`document` with ("retention.transcript_days", 14) and the like set. Raises pydantic's ValidationError."""
    values = document.model_dump(mode="json")
    for name, value in changes:
        *path, last = name.split(".")
        inner = values
        for part in path:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                inner = {}
        inner[last] = value
    return TenantDocument.model_validate(values)


async def _newest(session: AsyncSession, tenant_id: TenantId) -> TenantSettings | None:
    mine = select(TenantSettings).where(TenantSettings.tenant_id == tenant_id)
    return (await session.scalars(mine.order_by(TenantSettings.version.desc()).limit(1))).one_or_none()
