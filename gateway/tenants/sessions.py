"""Signed-in browsers: one-use links, sessions behind a cookie, and what a form must bring to be believed.

Of links and cookies only the SHA-256 is stored. A session ends after 30 idle minutes, and after 12 hours anyway.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.db.base import TenantId
from gateway.errors import Forbidden
from gateway.settings import Settings
from gateway.tenants.principal import Principal
from gateway.tenants.tables import ConsoleLink, Session, Tenant

if TYPE_CHECKING:  # the worker, which forgets old sessions, loads no web framework
    from fastapi import Request

LINK_LIVES = timedelta(minutes=10)
IDLE = timedelta(minutes=30)
AT_MOST = timedelta(hours=12)
SEEN_EVERY = timedelta(minutes=1)  # how exactly `seen_at` is kept: a page must not cost a write
CSRF_FIELD = "csrf"


@dataclass(frozen=True)
class Cookie:
    """How the cookie is called and set. `__Host-` pins it to our host and to https; browsers refuse it on plain http."""

    name: str
    secure: bool

    def header(self, value: str, *, lives: timedelta = AT_MOST) -> str:
        """For `Set-Cookie`. Lax, not Strict: the vendor's redirect back to us is cross-site."""
        parts = [
            f"{self.name}={value}",
            "Path=/",
            f"Max-Age={int(lives.total_seconds())}",
            "HttpOnly",
            "SameSite=Lax",
        ]
        return "; ".join([*parts, "Secure"] if self.secure else parts)

    def forgotten(self) -> str:
        return self.header("", lives=timedelta(0))


def cookie_of(settings: Settings) -> Cookie:
    return Cookie("__Host-gateway", True) if settings.secure else Cookie("gateway", False)


def link_path(secret: str) -> str:
    """Where a link leads: a page with one button, whose POST exchanges it. Mail scanners open links; GET changes nothing."""
    return f"/console/enter/{secret}"


async def make_console_link(session: AsyncSession, tenant_id: TenantId, scopes: Sequence[str], now: datetime) -> str:
    """A link of 10 minutes that opens one session with `scopes`: a path, to be put behind PUBLIC_URL."""
    secret = _secret()
    session.add(
        ConsoleLink(link_sha256=_digest(secret), tenant_id=tenant_id, scopes=list(scopes), expires_at=now + LINK_LIVES)
    )
    await session.flush()
    return link_path(secret)


async def exchange_link(session: AsyncSession, secret: str, now: datetime) -> str | None:
    """Use the link up and open its session: the cookie's value; None for an unknown, used or expired link.

    Sees every tenant: the link says whose it is.
    """
    used = await session.execute(
        update(ConsoleLink)
        .where(ConsoleLink.link_sha256 == _digest(secret), ConsoleLink.used_at.is_(None), ConsoleLink.expires_at > now)
        .values(used_at=now)
        .returning(ConsoleLink.tenant_id, ConsoleLink.scopes)
    )
    row = used.one_or_none()
    if row is None:
        return None
    return await open_session(session, TenantId(row.tenant_id), principal="console link", scopes=row.scopes, now=now)


async def open_session(
    session: AsyncSession, tenant_id: TenantId, *, principal: str, scopes: Sequence[str], now: datetime
) -> str:
    """A new session; the cookie's value. `principal`: a link, or the id of the key that was typed."""
    await prune(session, now)
    value = _secret()
    session.add(
        Session(
            cookie_sha256=_digest(value),
            tenant_id=tenant_id,
            principal=principal,
            scopes=list(scopes),
            created_at=now,
            seen_at=now,
            ends_at=now + AT_MOST,
        )
    )
    await session.flush()
    return value


@dataclass(frozen=True)
class Found:
    """A live session. `stale`: its last sign of life should be written again."""

    principal: Principal
    stale: bool


async def find_session(session: AsyncSession, value: str, now: datetime) -> Found | None:
    """The live session behind a cookie's value. Sees every tenant: the cookie says whose it is."""
    row = (
        await session.execute(
            select(Session, Tenant.region, Tenant.zone)
            .join(Tenant, Tenant.id == Session.tenant_id)
            .where(
                Session.cookie_sha256 == _digest(value),
                Session.ends_at > now,
                Session.seen_at > now - IDLE,
                Tenant.disabled_at.is_(None),
            )
        )
    ).one_or_none()
    if row is None:
        return None
    found, region, zone = row
    principal = Principal(TenantId(found.tenant_id), found.principal, frozenset(found.scopes), "session", region, zone)
    return Found(principal, stale=found.seen_at < now - SEEN_EVERY)


async def note_seen(session: AsyncSession, value: str, now: datetime) -> None:
    await session.execute(update(Session).where(Session.cookie_sha256 == _digest(value)).values(seen_at=now))


async def close_session(session: AsyncSession, value: str) -> None:
    """Sign out."""
    await session.execute(delete(Session).where(Session.cookie_sha256 == _digest(value)))


async def prune(session: AsyncSession, now: datetime) -> int:
    """Delete sessions and links that have ended; how many. Sees every tenant."""
    ended = await session.execute(
        delete(Session).where((Session.ends_at <= now) | (Session.seen_at <= now - IDLE)).returning(Session.tenant_id)
    )
    links = await session.execute(
        delete(ConsoleLink).where(ConsoleLink.expires_at <= now).returning(ConsoleLink.tenant_id)
    )
    return len(ended.all()) + len(links.all())


def cookie_value(request: Request) -> str | None:
    return request.cookies.get(cookie_of(_settings(request)).name) or None


def csrf_token(request: Request) -> str:
    """What each form of this browser's session carries in its hidden field `csrf`; empty without a session."""
    value = cookie_value(request)
    if value is None:
        return ""
    return _text(hmac.digest(value.encode(), b"gateway form", "sha256"))


def check_csrf(request: Request, form: Mapping[str, Any]) -> None:
    """Raise `Forbidden` unless the form comes from a page of ours, in this session."""
    check_same_site(request)
    expected = csrf_token(request)
    if not expected or not hmac.compare_digest(str(form.get(CSRF_FIELD, "")).encode(), expected.encode()):
        raise Forbidden(detail="This form has expired. Open the page again.")


def check_same_site(request: Request) -> None:
    """Raise `Forbidden` unless the browser says that the POST comes from a page of ours.

    `Sec-Fetch-Site` cannot be set by pages; browsers without it send `Origin` with every POST.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        same = site == "same-origin"
    else:  # the middleware has checked that the host is ours
        scheme = urlsplit(_settings(request).public_url).scheme
        same = request.headers.get("origin", "").lower() == f"{scheme}://{request.headers.get('host', '')}".lower()
    if not same:
        raise Forbidden(detail="This form was not sent from a page of this gateway.")


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.parts.settings
    return settings


def _secret() -> str:
    return _text(os.urandom(32))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
