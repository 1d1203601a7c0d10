"""The pages of a sign-in at a CRM: Approve, the vendor's way back to us, and what became of it (security.md §4)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Path, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.connections import attach, authorize, queries
from gateway.connections.authorize import CONSENT_LIVES, LINK_LIVES, Callback, Claimed, Outcome, Refusal
from gateway.connections.providers import Registered
from gateway.connections.tables import OauthFlow
from gateway.console import texts
from gateway.console.pages import HOME, new_router, page, parts_of, see_other
from gateway.db.base import TenantId
from gateway.db.requests import Now
from gateway.errors import NotFound
from gateway.parts import Parts
from gateway.tenants.access import check_same_site, session_of
from gateway.tenants.tables import Tenant

router = new_router()

_STATUS = {Refusal.UNKNOWN: 404, Refusal.EXPIRED: 410, Refusal.USED: 410, Refusal.OTHER_BROWSER: 400}
FlowId = Annotated[str, Path(max_length=40, pattern=r"^\w+$")]


@router.get("/connect/{secret}")
async def approve_page(request: Request, secret: str, now: Now) -> Response:
    """Who asks for what, and one button. Changes nothing, however often it is opened.

    A browser signed in for the same tenant goes on by itself: a script of ours presses the button.
    """
    parts = parts_of(request)
    async with parts.db.reading() as session:
        flow = await authorize.find_link(session, secret, now=now)
        if isinstance(flow, Refusal):
            return await _refused(request, flow)
        tenant = await session.get_one(Tenant, flow.tenant_id)
    registered = parts.connections.providers.of(flow.provider)
    who = await session_of(request)
    return await page(
        request,
        "approve.html",
        form_targets=targets(registered, flow.auth_origin),
        crm=registered.manifest.name,
        tenant=tenant,
        flow=flow,
        elsewhere=urlsplit(flow.auth_origin).hostname if flow.auth_origin != registered.auth_origin else None,
        secret=secret,
        onward=who is not None and who.tenant_id == flow.tenant_id and "admin" in who.scopes,
    )


@router.post("/connect/{secret}")
async def approve(request: Request, secret: str, now: Now) -> Response:
    """Bind the flow to this browser, and on to the vendor."""
    check_same_site(request)
    parts = parts_of(request)
    async with parts.db.reading() as session:
        flow = await authorize.find_link(session, secret, now=now)
    if isinstance(flow, Refusal):
        return await _refused(request, flow)
    async with parts.db.transaction(TenantId(flow.tenant_id)) as session:
        claimed = await claim(parts, session, flow, now)
    if claimed is None:
        return await _refused(request, Refusal.USED)
    return to_vendor(parts, claimed)


@router.get("/oauth/callback/{provider}")
async def callback(request: Request, provider: str, now: Now) -> Response:
    """The vendor sends the browser back. What it says is believed only for the flow that this browser approved."""
    parts = parts_of(request)
    known = parts.connections.providers.get(provider)
    names_server = known.manifest.callback_host if known is not None else ""
    said = Callback(
        code=_once(request, "code"),
        state=_once(request, "state"),
        error=_once(request, "error"),
        issuer=_once(request, "iss"),
        server=_once(request, names_server) if names_server else "",
    )
    async with parts.db.transaction() as session:
        taken = await authorize.take(session, said, provider=provider, cookies=request.cookies, now=now)
    if isinstance(taken, Refusal):
        return see_other(f"/connect/problem/{taken}")
    attached = await attach.complete(parts.connections, taken, said)
    if attached.connection_id is not None:
        await parts.connections.probed(attached.connection_id)
    return see_other(f"/connect/result/{taken.id}")


@router.get("/connect/problem/{refusal}")
async def problem_page(request: Request, refusal: str) -> Response:
    """A callback that belonged to nothing: what it may have been, and what to do."""
    if refusal not in set(Refusal):
        raise NotFound
    return await _refused(request, Refusal(refusal))


@router.get("/connect/result/{flow_id}")
async def result_page(request: Request, flow_id: FlowId) -> Response:
    """What became of a sign-in, for the browser that made it. Can be opened again; has no code or state in its address."""
    parts = parts_of(request)
    async with parts.db.reading() as session:
        flow = await authorize.find_result(session, flow_id, request.cookies)
        if flow is None or flow.outcome is None:
            raise NotFound
        tenant_id = TenantId(flow.tenant_id)
        tenant_name = await queries.tenant_name(session, tenant_id)
        connection = await queries.connection(session, tenant_id, flow.connection_id or "")
    registered = parts.connections.providers.of(flow.provider)
    outcome = Outcome(flow.outcome)
    result = texts.RESULTS[outcome]
    names = {"crm": registered.manifest.name, "tenant": tenant_name, "account": flow.account or "the account"}
    return await page(
        request,
        "result.html",
        result=result,
        names=names,
        missing=words(registered, connection.missing_scopes) if connection is not None else [],
        preparing=connection is not None and connection.paused_at is not None,
        home=HOME,
    )


async def claim(parts: Parts, session: AsyncSession, flow: OauthFlow, now: datetime) -> Claimed | None:
    """Claim a flow for the browser that is asking; None if it is too late."""
    keys = await parts.keyring.in_session(session, TenantId(flow.tenant_id))
    return await authorize.claim(session, flow, keys, now=now)


def to_vendor(parts: Parts, claimed: Claimed) -> Response:
    """Off to the vendor's consent page, with the cookie that this flow will be recognised by."""
    flow = claimed.flow
    oauth = parts.connections.providers.of(flow.provider).oauth(auth_origin=flow.auth_origin)
    address = oauth.authorize_url(redirect_uri=flow.redirect_uri, state=claimed.state, verifier=claimed.verifier)
    secure = parts.settings.secure
    lives = int((LINK_LIVES + CONSENT_LIVES).total_seconds())
    cookie = f"{authorize.cookie_name(flow.id, secure=secure)}={claimed.cookie}; Path=/; Max-Age={lives}; HttpOnly; SameSite=Lax"
    return see_other(address, f"{cookie}; Secure" if secure else cookie)


def targets(registered: Registered | None, auth_origin: str) -> tuple[str, ...]:
    """Where a form that leads to `auth_origin` may end: vendors pass people on to regional hosts of the same family, and
    to the others that the manifest names."""
    host = urlsplit(auth_origin).hostname or ""
    labels = host.split(".")
    if len(labels) < 3 or labels[-1].isdigit():
        return (auth_origin,)
    family = f"https://*.{'.'.join(labels[1:])}"
    return auth_origin, family, *(registered.manifest.consent_hosts if registered is not None else ())


def words(registered: Registered, scopes: list[str]) -> list[str]:
    """Scopes as a person would say them; one that has no words is shown as it is."""
    said = registered.manifest.scope_words
    return list(dict.fromkeys(said.get(scope, scope) for scope in scopes))


async def _refused(request: Request, refusal: Refusal) -> Response:
    return await page(
        request,
        "result.html",
        status=_STATUS[refusal],
        result=texts.REFUSALS[refusal],
        names={},
        missing=[],
        preparing=False,
        home=HOME,
    )


def _once(request: Request, name: str) -> str:
    """A query parameter; empty when it is not there, or there twice."""
    values = request.query_params.getlist(name)
    return values[0] if len(values) == 1 else ""
