"""Who may start a sign-in, at which of the vendor's hosts, and for which account."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.connections import authorize, queries
from gateway.connections.authorize import Started
from gateway.connections.hosts import ForeignHost
from gateway.connections.open import Connections
from gateway.connections.providers import Registered
from gateway.errors import Conflict, Invalid, NotFound
from gateway.tenants.principal import Principal
from gateway.tenants.tables import ApiKey


async def start(
    connections: Connections,
    session: AsyncSession,
    who: Principal,
    *,
    provider: str,
    now: datetime,
    connection_id: str | None = None,
    expected_account: str | None = None,
    login_host: str | None = None,
) -> Started:
    """Start connecting, or renewing `connection_id`. Raises `Invalid`, `NotFound`, `Conflict`."""
    registered = connections.providers.get(provider)
    if registered is None:
        raise Invalid("body.provider", "is not a CRM this gateway knows")
    if not registered.ready:
        missing = " and ".join(registered.lacking)
        guide = f"; see {registered.manifest.guide}" if registered.manifest.guide else ""
        raise Invalid("body.provider", f"is not set up here: its operator has to set {missing}{guide}")
    auth_origin, token_origin = _hosts(registered, login_host)
    if connection_id is not None:
        found = await queries.with_account(session, who.tenant_id, connection_id)
        if found is None:
            raise NotFound("There is no such connection.")
        row, account = found
        if row.disconnected_at is not None:
            raise Conflict("This connection was disconnected. Connect the CRM anew, without `connection_id`.")
        if row.provider != provider:
            raise Invalid("body.provider", f"is not the connection's: that is {row.provider}")
        if expected_account not in (None, account.external_id):
            raise Invalid("body.expected_account", "is not the account of this connection")
        expected_account = account.external_id
        if login_host is None and not registered.app.overridden:
            auth_origin, token_origin = row.auth_origin, row.token_origin
    return await authorize.start(
        session,
        who.tenant_id,
        provider=provider,
        auth_origin=auth_origin,
        token_origin=token_origin,
        redirect_uri=f"{connections.settings.public_url}/oauth/callback/{provider}",
        initiator=await _in_words(session, who),
        now=now,
        connection_id=connection_id,
        expected_account=expected_account,
    )


def _hosts(registered: Registered, login_host: str | None) -> tuple[str, str]:
    """Where people sign in, and where codes become tokens: with a host of the tenant's own, both are there."""
    if login_host is None:
        return registered.auth_origin, registered.token_origin
    try:
        own = registered.sign_in_at(login_host)
    except ForeignHost as wrong:
        raise Invalid("body.login_host", str(wrong)) from None
    return own, own


async def _in_words(session: AsyncSession, who: Principal) -> str:
    """Who started it, as the Approve page says it."""
    if who.via == "session":
        return "somebody signed in to these pages"
    name = await session.scalar(select(ApiKey.name).where(ApiKey.tenant_id == who.tenant_id, ApiKey.id == who.id))
    return f"the API key “{name}”" if name else f"the API key {who.id}"
