"""The page of a tenant's connections: connect, see how they are, reconnect, disconnect."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Path, Request, Response

from gateway.connections import disconnect, queries
from gateway.connections.health import State
from gateway.connections.hosts import as_typed
from gateway.connections.limits import standing
from gateway.connections.routes import is_live, view
from gateway.connections.start import start
from gateway.connections.tables import Connection, CrmAccount, OauthFlow
from gateway.console import texts
from gateway.console.connect import claim, targets, to_vendor, words
from gateway.console.pages import HOME, new_router, page, parts_of, see_other
from gateway.db.requests import Now
from gateway.errors import Conflict, Invalid, NotFound
from gateway.tenants.access import Principal, check_csrf, page_session

router = new_router()

Admin = Annotated[Principal, page_session("admin")]
ConnectionId = Annotated[str, Path(max_length=40, pattern=r"^\w+$")]
_MOST = 200  # connections on the page


@router.get(HOME)
async def connections_page(request: Request, who: Admin, now: Now) -> Response:
    parts = parts_of(request)
    async with parts.db.reading(who.tenant_id) as session:
        rows = await queries.listed(session, who.tenant_id, limit=_MOST)
    providers = parts.connections.providers.all()
    providers_of = parts.connections.providers.get
    origins = {origin for one in providers for origin in targets(one, one.auth_origin)}
    origins |= {origin for row, _ in rows for origin in targets(providers_of(row.provider), row.auth_origin)}
    limits = await standing(parts.connections, [(row.crm_account_id, row.provider) for row, _ in rows if is_live(row)])
    cards = []
    for row, account in rows:
        if not is_live(row):
            continue
        registered = parts.connections.providers.get(row.provider)
        shown = view(row, account, now)
        state = State(shown.state)
        preparing = state is State.ACTIVE and shown.paused
        said, look = texts.PREPARING if preparing else texts.STATES[state]
        cards.append(
            {
                "id": row.id,
                "crm": parts.connections.providers.name_of(row.provider),
                "account": account.name,
                "state": said,
                "look": look,
                "reason": shown.reason,
                "since": row.connected_at,
                "limits": [texts.how_it_stands(one) for one in limits.get(account.id, ())],
                "missing": words(registered, row.missing_scopes) if registered is not None else row.missing_scopes,
                "reconnect": state is State.RECONNECT_NEEDED or bool(row.missing_scopes),
                "urgent": state is State.RECONNECT_NEEDED,
            }
        )
    return await page(
        request,
        "connections.html",
        form_targets=tuple(sorted(origins)),
        cards=cards,
        providers=[
            {
                "slug": one.manifest.slug,
                "name": one.manifest.name,
                "lacking": one.lacking,
                "guide": one.manifest.guide,
                "login_words": one.manifest.login_words if one.own_sign_in else "",
            }
            for one in providers
        ],
    )


@router.post(HOME)
async def connect(
    request: Request,
    who: Admin,
    now: Now,
    provider: Annotated[str, Form(max_length=40)] = "",
    login_host: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Start and approve in one: this browser is signed in, so nobody needs to be told who asks.

    login_host  as people copy it from their browser: an address is taken for its host.
    """
    host = as_typed(login_host) or None
    return await _onward(request, who, now, provider=provider, connection_id=None, login_host=host)


@router.post(HOME + "/{connection_id}/reconnect")
async def reconnect(request: Request, who: Admin, now: Now, connection_id: ConnectionId) -> Response:
    row, _ = await _mine(request, who, connection_id)
    return await _onward(request, who, now, provider=row.provider, connection_id=connection_id)


@router.get(HOME + "/{connection_id}/disconnect")
async def disconnect_page(request: Request, who: Admin, connection_id: ConnectionId) -> Response:
    """Ask once more."""
    row, account = await _mine(request, who, connection_id)
    crm = parts_of(request).connections.providers.name_of(row.provider)
    return await page(request, "disconnect.html", id=row.id, crm=crm, account=account.name, home=HOME)


@router.post(HOME + "/{connection_id}/disconnect")
async def end(request: Request, who: Admin, connection_id: ConnectionId) -> Response:
    check_csrf(request, await request.form())
    if not await disconnect.end(parts_of(request).connections, who.tenant_id, connection_id):
        raise NotFound
    return see_other(HOME)


async def _onward(
    request: Request,
    who: Principal,
    now: Now,
    *,
    provider: str,
    connection_id: str | None,
    login_host: str | None = None,
) -> Response:
    check_csrf(request, await request.form())
    parts = parts_of(request)
    async with parts.db.transaction(who.tenant_id) as session:
        try:
            started = await start(
                parts.connections,
                session,
                who,
                provider=provider,
                connection_id=connection_id,
                login_host=login_host,
                now=now,
            )
        except Invalid as wrong:  # pages show sentences, not fields
            raise Conflict(texts.cannot_start(parts.connections.providers.name_of(provider), wrong)) from None
        flow = await session.get_one(OauthFlow, (who.tenant_id, started.flow_id))
        claimed = await claim(parts, session, flow, now)
    if claimed is None:
        raise Conflict
    return to_vendor(parts, claimed)


async def _mine(request: Request, who: Principal, connection_id: str) -> tuple[Connection, CrmAccount]:
    async with parts_of(request).db.reading(who.tenant_id) as session:
        found = await queries.with_account(session, who.tenant_id, connection_id)
    if found is None or found[0].disconnected_at is not None:
        raise NotFound
    return found
