"""A sign-in at a CRM, from our link to the vendor's callback, as values and rows (security.md §4).

```text
start      POST /v1/connections, or a button          → a row, and a link of ours with a one-use secret, for 10 minutes
claim      POST on that link                          → state, verifier and cookie are minted; on to the vendor
take       the vendor's callback                      → the row is consumed before anything else is believed
```

A cookie binds a browser, not a person: without the page in between, a sent link would attach somebody else's CRM to the
sender's tenant. Secrets stand in the rows as SHA-256; the verifier is sealed. Nothing here goes to the network.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.connections.tables import OauthFlow
from gateway.db.base import TenantId, new_id
from gateway.tenants.keys import TenantKeys

LINK_LIVES = timedelta(minutes=10)
CONSENT_LIVES = timedelta(minutes=10)  # from Approve to the callback: people read what they are asked to grant
_KEPT = timedelta(days=1)  # then an old flow's row goes
_LONGEST = 4096  # of a code or a state in a callback
_DENIED = frozenset({"access_denied", "consent_required", "interaction_required", "user_denied"})


class Outcome(StrEnum):
    """What became of a sign-in, for the page its browser is shown."""

    CONNECTED = "connected"
    RECONNECTED = "reconnected"
    DENIED = "denied"
    WRONG_ACCOUNT = "wrong-account"
    ALREADY_CONNECTED = "already-connected"
    USED_ELSEWHERE = "used-elsewhere"
    FOREIGN_HOST = "foreign-host"  # the callback, or the token's answer, named a host that is not the vendor's
    GONE = "gone"  # the connection to be renewed was disconnected meanwhile
    REFUSED = "refused"  # the vendor took neither the code nor, at once, the new grant
    NO_ANSWER = "no-answer"


class Refusal(StrEnum):
    """Why a link or a callback is not acted upon at all."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    USED = "used"
    OTHER_BROWSER = "other-browser"


@dataclass(frozen=True)
class Started:
    flow_id: str
    secret: str = field(repr=False)
    expires_at: datetime

    def authorize_url(self, public_url: str) -> str:
        """The address of ours that a person opens."""
        return f"{public_url}/connect/{self.secret}"


@dataclass(frozen=True)
class Claimed:
    """A flow bound to the browser that approved it."""

    flow: OauthFlow
    state: str = field(repr=False)
    cookie: str = field(repr=False)
    verifier: str = field(repr=False)


@dataclass(frozen=True)
class Callback:
    """What a browser brought back from the vendor. Empty strings where nothing came.

    server  what it names as the server that codes become tokens at, where the vendor does (`manifest.callback_host`).
    """

    code: str = field(repr=False)
    state: str = field(repr=False)
    error: str
    issuer: str
    server: str = ""


async def start(
    session: AsyncSession,
    tenant_id: TenantId,
    *,
    provider: str,
    auth_origin: str,
    token_origin: str,
    redirect_uri: str,
    initiator: str,
    now: datetime,
    connection_id: str | None = None,
    expected_account: str | None = None,
) -> Started:
    """Write down that somebody wants to connect.

    initiator         who asked, in words for the Approve page.
    connection_id     the connection whose grant is renewed.
    expected_account  the vendor's id of the only account that will do.
    """
    await session.execute(delete(OauthFlow).where(OauthFlow.tenant_id == tenant_id, OauthFlow.expires_at < now - _KEPT))
    secret = secrets.token_urlsafe(32)
    flow = OauthFlow(
        tenant_id=tenant_id,
        id=new_id("fl"),
        provider=provider,
        link_sha256=digest(secret),
        initiator=initiator,
        connection_id=connection_id,
        expected_account=expected_account,
        auth_origin=auth_origin,
        token_origin=token_origin,
        redirect_uri=redirect_uri,
        created_at=now,
        expires_at=now + LINK_LIVES,
    )
    session.add(flow)
    await session.flush()
    return Started(flow.id, secret, flow.expires_at)


async def find_link(session: AsyncSession, secret: str, *, now: datetime) -> OauthFlow | Refusal:
    """The flow a link stands for; changes nothing, however often it is opened. Sees every tenant: the secret is the right."""
    flow = await session.scalar(select(OauthFlow).where(OauthFlow.link_sha256 == digest(secret)))
    if flow is None:
        return Refusal.UNKNOWN
    if flow.claimed_at is not None or flow.used_at is not None:
        return Refusal.USED
    return Refusal.EXPIRED if flow.expires_at <= now else flow


async def claim(session: AsyncSession, flow: OauthFlow, keys: TenantKeys, *, now: datetime) -> Claimed | None:
    """Bind a flow to the browser that approves it; None if another one was faster."""
    state, cookie, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48)
    won = await session.execute(
        update(OauthFlow)
        .where(
            OauthFlow.tenant_id == flow.tenant_id,
            OauthFlow.id == flow.id,
            OauthFlow.claimed_at.is_(None),
            OauthFlow.used_at.is_(None),
            OauthFlow.expires_at > now,
        )
        .values(
            state_sha256=digest(state),
            cookie_sha256=digest(cookie),
            verifier=keys.seal(verifier.encode(), "oauth_flows", "verifier", flow.id),
            claimed_at=now,
            expires_at=now + CONSENT_LIVES,
        )
        .returning(OauthFlow.id)
    )
    return None if won.scalar_one_or_none() is None else Claimed(flow, state, cookie, verifier)


async def take(
    session: AsyncSession, callback: Callback, *, provider: str, cookies: Mapping[str, str], now: datetime
) -> OauthFlow | Refusal:
    """Consume the flow that a callback belongs to, once, whatever the callback says.

    Without its state nothing of a callback is read, not even an error. A state that was shown in another browser, or
    at another provider's address, is burnt: whoever has it should not have it. Sees every tenant: state is the right.
    """
    if not callback.state or len(callback.state) > _LONGEST:
        return Refusal.UNKNOWN
    consumed = await session.execute(
        update(OauthFlow)
        .where(OauthFlow.state_sha256 == digest(callback.state), OauthFlow.used_at.is_(None))
        .values(used_at=now)
        .returning(OauthFlow)
    )
    flow = consumed.scalar_one_or_none()
    if flow is None:
        return await _why_not(session, callback)
    if flow.provider != provider:
        return Refusal.UNKNOWN
    if flow.expires_at <= now:
        return Refusal.EXPIRED
    return flow if is_own_browser(flow, cookies) else Refusal.OTHER_BROWSER


def refused_by_vendor(callback: Callback, flow: OauthFlow) -> Outcome | None:
    """What a callback says when it brings no code that may be used; the vendor's own words are read but never shown."""
    if callback.issuer and callback.issuer.rstrip("/") != flow.auth_origin:
        return Outcome.REFUSED  # an answer of another server mixed into this sign-in (RFC 9207)
    if callback.error:
        return Outcome.DENIED if callback.error in _DENIED else Outcome.REFUSED
    if not callback.code or len(callback.code) > _LONGEST:
        return Outcome.REFUSED
    return None


def open_verifier(flow: OauthFlow, keys: TenantKeys) -> str:
    """The PKCE verifier of a claimed flow."""
    return keys.open(flow.verifier or b"", "oauth_flows", "verifier", flow.id).decode()


async def finish(
    session: AsyncSession,
    tenant_id: TenantId,
    flow_id: str,
    outcome: Outcome,
    *,
    account: str | None,
    connection_id: str | None,
) -> None:
    """Write down what became of a flow, for its page; `connection_id`: of the connection that it made or renewed."""
    await session.execute(
        update(OauthFlow)
        .where(OauthFlow.tenant_id == tenant_id, OauthFlow.id == flow_id)
        .values(outcome=outcome, account=account, connection_id=connection_id)
    )


async def find_result(session: AsyncSession, flow_id: str, cookies: Mapping[str, str]) -> OauthFlow | None:
    """A flow that has an outcome, for the browser that holds its cookie. Sees every tenant: the cookie is the right."""
    flow = await session.scalar(select(OauthFlow).where(OauthFlow.id == flow_id, OauthFlow.outcome.is_not(None)))
    return flow if flow is not None and is_own_browser(flow, cookies) else None


def cookie_name(flow_id: str, *, secure: bool) -> str:
    """One cookie per flow, so that two tabs do not disturb each other."""
    return f"__Host-gw_flow_{flow_id}" if secure else f"gw_flow_{flow_id}"


def is_own_browser(flow: OauthFlow, cookies: Mapping[str, str]) -> bool:
    """Whether the browser that approved this flow is the one that sent `cookies`."""
    secure = flow.redirect_uri.startswith("https://")
    shown = cookies.get(cookie_name(flow.id, secure=secure), "")
    return flow.cookie_sha256 is not None and hmac.compare_digest(digest(shown), flow.cookie_sha256)


def digest(secret: str) -> bytes:
    """What is kept of a secret with 256 bits."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


async def _why_not(session: AsyncSession, callback: Callback) -> Refusal:
    known = select(OauthFlow.id).where(OauthFlow.state_sha256 == digest(callback.state))
    return Refusal.UNKNOWN if await session.scalar(known) is None else Refusal.USED
