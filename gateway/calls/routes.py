"""`/v1/endpoints`: a tenant's voice endpoints, and what came in through them. The test event is in `api/trial.py`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, cast

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from connectors.voice.catalog import PLATFORMS
from connectors.voice.port import Assurance, Platform
from gateway.calls import endpoints, queries
from gateway.calls.endpoints import Made
from gateway.calls.tables import CallEvent, VoiceEndpoint
from gateway.db.base import TenantId
from gateway.db.pages import Page
from gateway.db.requests import Now, Reading, Transaction
from gateway.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated, documented
from gateway.settings import Settings
from gateway.tenants.access import Principal, needs
from gateway.tenants.keys import Keyring, TenantKeys

router = APIRouter(tags=["voice endpoints"])

LARGEST_FALLBACK = 16 * 1024  # bytes, as JSON


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _small(value: dict[str, Any]) -> dict[str, Any]:
    if len(msgspec.json.encode(value)) > LARGEST_FALLBACK:
        raise ValueError(f"is longer than {LARGEST_FALLBACK} bytes")
    return value


def _printable(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("must be printable text on one line")
    return text.strip()


_Name = Annotated[str, AfterValidator(_printable)]
_Assurance = Literal["secret", "signed"]
_Fallback = Annotated[dict[str, Any], AfterValidator(_small)]
_ABOUT_ASSURANCE = "What a request must prove: that it knows the secret, or that it signed its bytes."
_ABOUT_SETTINGS = "Names of headers and the like, where yours differ."
_ABOUT_FALLBACK = "The reply in the platform's own shape, served under ours and when nothing is known."


class NewEndpoint(_Shape):
    """An address for one voice platform."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"platform": "vapi", "name": "Reception", "fallback": {"assistantId": "the one that always answers"}}
            ]
        },
    )

    platform: str = Field(max_length=40, description=f"One of: {', '.join(PLATFORMS)}.")
    name: _Name | None = Field(
        default=None, max_length=100, description="What people call it. Default: the platform's name."
    )
    secret: str | None = Field(
        default=None,
        min_length=8,
        max_length=500,
        description="Only where the platform signs with your own key of it (Retell: the API key with the Webhook badge).",
    )
    assurance: _Assurance = Field(default="secret", description=_ABOUT_ASSURANCE)
    settings: dict[str, str] = Field(default={}, description=_ABOUT_SETTINGS)
    fallback: _Fallback = Field(default={}, description=_ABOUT_FALLBACK)


class EndpointChange(_Shape):
    """What is to be another; what is left out stays. `settings` and `fallback` are replaced whole."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"fallback": {"assistantId": "the one for holidays"}}]}
    )

    name: _Name | None = Field(default=None, max_length=100, description="What people call it.")
    assurance: _Assurance | None = Field(default=None, description=_ABOUT_ASSURANCE)
    settings: dict[str, str] | None = Field(default=None, description=_ABOUT_SETTINGS)
    fallback: _Fallback | None = Field(default=None, description=_ABOUT_FALLBACK)


class Rotation(_Shape):
    secret: str | None = Field(
        default=None,
        min_length=8,
        max_length=500,
        description="Your new key of the platform, where it signs with that. Left out: the one in use stays.",
    )


class EndpointAnswer(_Shape):
    id: str
    platform: str
    name: str
    url: str = Field(
        description="Paste it at the platform. Whoever has it can send events, if they know the secret too."
    )
    assurance: Literal["url", "secret", "signed"]
    settings: dict[str, str]
    fallback: dict[str, Any]
    created_at: datetime
    previous_until: datetime | None = Field(description="The address and secret before this one are taken until then.")


class MadeEndpoint(EndpointAnswer):
    """With what is shown once."""

    secret: str
    steps: list[str] = Field(description="What to paste where at the platform.")


class EndpointPage(_Shape):
    items: list[EndpointAnswer]
    next: str | None


Became = Literal["stored", "merged", "nothing new", "lookup", "tools", "ignored", "unreadable", "test"]


class EventAnswer(_Shape):
    """One event as it came. Its body is kept sealed, for days, and shown to nobody."""

    id: str
    at: datetime
    event: str
    became: Became
    call_id: str | None


class EventPage(_Shape):
    items: list[EventAnswer]
    next: str | None


_Admin = Annotated[Principal, needs("admin")]


@router.get("/v1/endpoints", responses=documented(Unauthenticated, Forbidden, Invalid))
async def list_endpoints(who: _Admin, request: Request, session: Reading, page: Page) -> EndpointPage:
    """The tenant's endpoints, newest first."""
    keys = await _keys(request, session, who.tenant_id)
    rows = await endpoints.page(session, who.tenant_id, before=page.before, limit=page.limit + 1)
    rows, cursor = page.of(rows, lambda row: row.id)
    settings: Settings = request.app.state.parts.settings
    return EndpointPage(items=[_answer(settings, keys, row) for row in rows], next=cursor)


@router.post("/v1/endpoints", status_code=201, responses=documented(Unauthenticated, Forbidden, Invalid))
async def create_endpoint(
    who: _Admin, request: Request, wanted: NewEndpoint, session: Transaction, now: Now
) -> MadeEndpoint:
    """A new address and, where it is made here, a secret. Both are shown once; the address also in the list."""
    platform = platform_of(wanted.platform)
    check(platform, secret=wanted.secret, settings=wanted.settings)
    keys = await _keys(request, session, who.tenant_id)
    made = await endpoints.create(
        session,
        who.tenant_id,
        platform=platform,
        name=wanted.name or platform.name,
        theirs=wanted.secret,
        assurance=Assurance(wanted.assurance),
        settings=wanted.settings,
        fallback=wanted.fallback,
        keys=keys,
        now=now,
    )
    return _made(request.app.state.parts.settings, keys, made)


@router.patch("/v1/endpoints/{id}", responses=documented(Unauthenticated, Forbidden, NotFound, Invalid))
async def change_endpoint(
    who: _Admin, request: Request, id: str, wanted: EndpointChange, session: Transaction
) -> EndpointAnswer:
    """Change an endpoint's name, assurance, settings or fallback, within a second. Address and secret stay: see rotate."""
    row = await endpoints.live(session, who.tenant_id, id)
    if row is None:
        raise NotFound
    check_settings(PLATFORMS[row.platform], wanted.settings or {})
    changed = await endpoints.change(
        session,
        who.tenant_id,
        id,
        name=wanted.name,
        assurance=Assurance(wanted.assurance) if wanted.assurance else None,
        settings=wanted.settings,
        fallback=wanted.fallback,
    )
    if changed is None:
        raise NotFound
    return _answer(request.app.state.parts.settings, await _keys(request, session, who.tenant_id), changed)


@router.delete("/v1/endpoints/{id}", status_code=204, responses=documented(Unauthenticated, Forbidden, NotFound))
async def delete_endpoint(who: _Admin, id: str, session: Transaction, now: Now) -> Response:
    """End an endpoint. Its address is unknown within a second; what it brought stays."""
    if not await endpoints.delete(session, who.tenant_id, id, now=now):
        raise NotFound
    return Response(status_code=204)


@router.post("/v1/endpoints/{id}/rotate", responses=documented(Unauthenticated, Forbidden, NotFound, Invalid, Conflict))
async def rotate_endpoint(
    who: _Admin, request: Request, id: str, session: Transaction, now: Now, wanted: Rotation | None = None
) -> MadeEndpoint:
    """A new address and secret. The old ones are taken for 24 more hours, in any combination."""
    row = await endpoints.live(session, who.tenant_id, id)
    if row is None:
        raise NotFound
    theirs = wanted.secret if wanted is not None else None
    if theirs is not None and not PLATFORMS[row.platform].secret_is_theirs:
        raise Invalid("body.secret", _MADE_HERE)
    keys = await _keys(request, session, who.tenant_id)
    made = await endpoints.rotate(session, who.tenant_id, id, theirs=theirs, keys=keys, now=now)
    if made is None:
        raise NotFound
    return _made(request.app.state.parts.settings, keys, made)


@router.get("/v1/endpoints/{id}/events", responses=documented(Unauthenticated, Forbidden, NotFound, Invalid))
async def list_events(who: _Admin, id: str, session: Reading, page: Page) -> EventPage:
    """What came in last, newest first, and what became of it."""
    if await endpoints.live(session, who.tenant_id, id) is None:
        raise NotFound
    rows = await queries.events_of(session, who.tenant_id, id, before=page.before, limit=page.limit + 1)
    rows, cursor = page.of(rows, lambda row: row.id)
    return EventPage(items=[_event(row) for row in rows], next=cursor)


_MADE_HERE = "is made here for this platform; leave it out"


def platform_of(slug: str) -> Platform:
    """Raises `Invalid`."""
    platform = PLATFORMS.get(slug)
    if platform is None:
        raise Invalid("body.platform", f"is not one of {', '.join(PLATFORMS)}")
    return platform


def check(platform: Platform, *, secret: str | None, settings: dict[str, str]) -> None:
    """What an endpoint of `platform` may be made with. Raises `Invalid`."""
    if platform.secret_is_theirs and secret is None:
        raise Invalid("body.secret", f"is missing: {platform.name} signs with your own API key")
    if not platform.secret_is_theirs and secret is not None:
        raise Invalid("body.secret", _MADE_HERE)
    check_settings(platform, settings)


def check_settings(platform: Platform, settings: dict[str, str]) -> None:
    """What may be set at `platform`. Raises `Invalid`."""
    for name, value in settings.items():
        if name not in platform.settings:
            raise Invalid(f"body.settings.{name[:64]}", f"is not known here; known are {', '.join(platform.settings)}")
        if len(value) > 200:
            raise Invalid(f"body.settings.{name}", "is longer than 200 characters")


async def _keys(request: Request, session: AsyncSession, tenant_id: TenantId) -> TenantKeys:
    keyring: Keyring = request.app.state.parts.keyring
    return await keyring.in_session(session, tenant_id)


def _answer(settings: Settings, keys: TenantKeys, row: VoiceEndpoint) -> EndpointAnswer:
    return EndpointAnswer(
        id=row.id,
        platform=row.platform,
        name=row.name,
        url=endpoints.url_of(settings.public_url, row.platform, endpoints.opened_key(keys, row)),
        assurance=Assurance(row.assurance).value,
        settings=row.settings,
        fallback=row.fallback,
        created_at=row.created_at,
        previous_until=row.previous_until,
    )


def _made(settings: Settings, keys: TenantKeys, made: Made) -> MadeEndpoint:
    shown = _answer(settings, keys, made.row)
    steps = PLATFORMS[made.row.platform].steps(url=shown.url, secret=made.secret)
    return MadeEndpoint(**shown.model_dump(), secret=made.secret, steps=list(steps))


def _event(row: CallEvent) -> EventAnswer:
    return EventAnswer(
        id=row.id, at=row.received_at, event=row.name, became=cast(Became, row.became), call_id=row.call_id
    )
