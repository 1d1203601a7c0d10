"""A good callback becomes a connection, or is handed back: exchange, ask the CRM who we are, attach, revoke what is not kept.

Nothing is stored before the account is known and found to be the right one. Grants that are won but not attached are
revoked, unless a live connection of anybody shares the account: there a revocation may end the good grant too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from connectors.crm.port import Crm, Manifest, Sticking
from connectors.crm.records import Account
from connectors.errors import ConnectorError, RateLimited, Unavailable
from connectors.oauth import OAuth
from connectors.tokens import Token
from gateway.connections import accounts, authorize, queries
from gateway.connections.authorize import Outcome
from gateway.connections.health import State
from gateway.connections.hosts import ForeignHost
from gateway.connections.open import PROBE_AGAIN, Connections
from gateway.connections.providers import Registered
from gateway.connections.tables import Connection, CrmAccount, OauthFlow
from gateway.connections.tokens import grant_values, missing
from gateway.db.base import TenantId, new_id
from gateway.db.engine import utc_now
from gateway.logs import log
from gateway.tenants.keys import TenantKeys

PREPARING = "We are finding out how this CRM keeps writes from doubling; deliveries start in a moment."


@dataclass(frozen=True)
class Attached:
    """What became of a sign-in. `account`: the name of whoever signed in, where the CRM told us."""

    outcome: Outcome
    account: str | None = None
    connection_id: str | None = None


async def complete(connections: Connections, flow: OauthFlow, callback: authorize.Callback) -> Attached:
    """Take a consumed flow to its end and write the outcome down. Raises nothing that a vendor can cause."""
    tenant_id = TenantId(flow.tenant_id)
    outcome = authorize.refused_by_vendor(callback, flow)
    attached = Attached(outcome) if outcome is not None else await _granted(connections, tenant_id, flow, callback)
    async with connections.db.transaction(tenant_id) as session:
        await authorize.finish(
            session,
            tenant_id,
            flow.id,
            attached.outcome,
            account=attached.account,
            connection_id=attached.connection_id,
        )
    log.info("sign-in ended", provider=flow.provider, outcome=attached.outcome, connection_id=attached.connection_id)
    if attached.connection_id is not None:
        connections.renewed(tenant_id, attached.connection_id)
    return attached


@dataclass(frozen=True)
class _Won:
    """A grant that was just won: from which server, and where its API is. None of it is stored yet."""

    token: Token
    token_origin: str
    api_origin: str
    asked_at: datetime


async def _granted(
    connections: Connections, tenant_id: TenantId, flow: OauthFlow, callback: authorize.Callback
) -> Attached:
    registered = connections.providers.of(flow.provider)
    keys = await connections.keyring.of(tenant_id)
    asked_at = utc_now()
    try:
        token_origin = registered.exchange_at(callback.server, otherwise=flow.token_origin)
        oauth = registered.oauth(token_origin=token_origin)
        granted = await oauth.exchange(
            code=callback.code, redirect_uri=flow.redirect_uri, verifier=authorize.open_verifier(flow, keys)
        )
    except (ConnectorError, ForeignHost) as error:
        return Attached(_why(error, flow))
    try:
        api_origin = registered.api_origin_of(granted, token_origin=token_origin)
        async with connections.with_token(registered, granted, api_origin) as crm:
            account = await _described(registered, oauth, granted, await _whose(crm))
    except (ConnectorError, ForeignHost) as error:
        await _hand_back(connections, registered, flow, oauth, granted, account=None)
        return Attached(_why(error, flow))
    won = _Won(granted, token_origin, api_origin, asked_at)
    async with connections.db.transaction(tenant_id) as session:
        attached, replaced = await _attach(session, tenant_id, flow, registered, keys, won, account)
    if attached.connection_id is None:
        await _hand_back(connections, registered, flow, oauth, granted, account=account)
    elif replaced is not None:
        connections.spawn(_revoked(registered.oauth_of(replaced.token_origin), replaced.refresh_token, flow.provider))
    return attached


async def _whose(crm: Crm) -> Account:
    """Ask once more before a person, who has just agreed to everything, is sent back to the start."""
    try:
        return await crm.who_am_i()
    except Unavailable:
        return await crm.who_am_i()


async def _described(registered: Registered, oauth: OAuth, granted: Token, account: Account) -> Account:
    """The account with what the token's own description adds, a name above all. Nobody is sent back for want of it."""
    add = registered.provider.name_account
    if add is None:
        return account
    try:
        return add(account, await oauth.introspect(granted.access_token))
    except ConnectorError as error:
        log.info("token not described", provider=registered.manifest.slug, error=type(error).__name__)
        return account


@dataclass(frozen=True)
class _Replaced:
    """The grant that a renewed connection had before."""

    token_origin: str
    refresh_token: str = field(repr=False)


async def _attach(
    session: AsyncSession,
    tenant_id: TenantId,
    flow: OauthFlow,
    registered: Registered,
    keys: TenantKeys,
    won: _Won,
    account: Account,
) -> tuple[Attached, _Replaced | None]:
    """Decide under the account's row lock, and store the grant if it may stay. Sealing here costs microseconds.

    Answers also the grant that was replaced, where it is one to be revoked.
    """
    name = account.name or account.id
    row = await accounts.known(session, registered.manifest.slug, account, now=won.asked_at)
    mine = await queries.live_on_account(session, tenant_id, row.id)
    if flow.connection_id is not None:
        renewed = await queries.locked(session, tenant_id, flow.connection_id)
        if renewed is None or renewed.disconnected_at is not None:
            return Attached(Outcome.GONE, name), None
        if renewed.crm_account_id != row.id:
            return Attached(Outcome.WRONG_ACCOUNT, name), None
    elif flow.expected_account not in (None, account.id):
        return Attached(Outcome.WRONG_ACCOUNT, name), None
    else:  # who presses Connect where a grant has ended means Reconnect
        renewed = mine if mine is not None and mine.state == State.RECONNECT_NEEDED else None
    if renewed is None and mine is not None:
        return Attached(Outcome.ALREADY_CONNECTED, name), None
    if renewed is None and not row.allow_shared and await accounts.used_by_another(session, row.id, tenant_id):
        return Attached(Outcome.USED_ELSEWHERE, name), None
    outcome = Outcome.CONNECTED if renewed is None else Outcome.RECONNECTED
    connection = renewed or await _new(session, tenant_id, registered, row)
    replaced = _replaced(keys, connection, registered, won.token) if renewed is not None else None
    connection.auth_origin = flow.auth_origin
    for column, value in _of_grant(keys, connection, registered, won).items():
        setattr(connection, column, value)
    await session.flush()
    return Attached(outcome, name, connection.id), replaced


def _replaced(keys: TenantKeys, connection: Connection, registered: Registered, granted: Token) -> _Replaced | None:
    """The connection's grant of before, if it is another one that would live on: Zoho counts twenty per person."""
    if not registered.manifest.grants_apart or connection.refresh_token is None:
        return None
    old = keys.open(connection.refresh_token, "connections", "refresh_token", connection.id).decode()
    return None if old == granted.refresh_token else _Replaced(connection.token_origin, old)


async def _new(session: AsyncSession, tenant_id: TenantId, registered: Registered, account: CrmAccount) -> Connection:
    last = await session.scalar(select(func.max(Connection.preference)).where(Connection.tenant_id == tenant_id))
    connection = Connection(
        tenant_id=tenant_id,
        id=new_id("cn"),
        provider=registered.manifest.slug,
        crm_account_id=account.id,
        preference=0 if last is None else last + 1,
        token_version=0,
        sticks=weakest(registered.manifest),
    )
    session.add(connection)
    return connection


def _of_grant(keys: TenantKeys, connection: Connection, registered: Registered, won: _Won) -> Mapping[str, Any]:
    """Columns that a new grant sets, on a new connection and on a renewed one. Deliveries wait for the probe that follows."""
    granted, asked_at = won.token, won.asked_at
    scopes = granted.scopes or registered.wanted_scopes  # a vendor that does not say has granted what was asked
    return {
        "refresh_token": None,  # of an earlier grant: it ends with it
        **grant_values(keys, connection.id, granted, registered.manifest, asked_at),
        "token_version": connection.token_version + 1,
        "refresh_fence": (connection.refresh_fence or 0) + 1,
        "refresh_due_at": asked_at + PROBE_AGAIN,
        "token_origin": won.token_origin,
        "api_origin": won.api_origin,
        "state": State.ACTIVE,
        "scopes": list(scopes),
        "missing_scopes": missing(registered, tuple(scopes)),
        "probed_at": None,
        "paused_at": asked_at,
        "reason": PREPARING,
        "last_error_at": None,
        "connected_at": asked_at,
    }


def weakest(manifest: Manifest) -> dict[str, Any]:
    """What each kind of write gets while the account has not been probed: the level that needs nothing of it."""
    levels: dict[str, Sticking] = {name: levels[-1] for name, levels in manifest.sticks.items()}
    return dict(msgspec.to_builtins(levels))


async def _hand_back(
    connections: Connections,
    registered: Registered,
    flow: OauthFlow,
    oauth: OAuth,
    granted: Token,
    *,
    account: Account | None,
) -> None:
    """Revoke a grant that is not kept. `account` None: whose it is could not be found out, so any of the tenant's
    connections at this provider may share it; unless every sign-in makes a grant of its own there."""
    if not registered.manifest.grants_apart:
        async with connections.db.reading() as session:
            if account is not None:
                shared = await accounts.has_live_connection(session, flow.provider, account.id)
            else:
                shared = await queries.live_at(session, TenantId(flow.tenant_id), flow.provider)
        if shared:
            return
    token, hint = _revocable(granted)
    await _revoked(oauth, token, flow.provider, hint=hint)


async def _revoked(oauth: OAuth, token: str, provider: str, *, hint: str = "refresh_token") -> None:
    try:
        await oauth.revoke(token, hint=hint)
    except ConnectorError as error:
        log.warning("a grant that is not used could not be revoked", provider=provider, error=type(error).__name__)


def _revocable(granted: Token) -> tuple[str, str]:
    if granted.refresh_token:
        return granted.refresh_token, "refresh_token"
    return granted.access_token, "access_token"


def _why(error: ConnectorError | ForeignHost, flow: OauthFlow) -> Outcome:
    status = error.status if isinstance(error, ConnectorError) else None
    log.warning("sign-in failed", provider=flow.provider, error=type(error).__name__, why=str(error), status=status)
    if isinstance(error, ForeignHost):
        return Outcome.FOREIGN_HOST
    return Outcome.NO_ANSWER if isinstance(error, Unavailable | RateLimited) else Outcome.REFUSED
