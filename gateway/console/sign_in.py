"""Signing in and out: a one-use link exchanged by a button, or an admin key typed once."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request, Response

from gateway.console.pages import HOME, new_router, page, parts_of, see_other
from gateway.db.engine import utc_now
from gateway.errors import TooMany, Unauthenticated
from gateway.metrics import seen
from gateway.tenants import sessions
from gateway.tenants.access import (
    SIGN_IN,
    authenticate,
    check_csrf,
    check_same_site,
    exchange_link,
    open_session,
    session_of,
)

router = new_router()


@router.get(SIGN_IN)
async def sign_in_page(request: Request) -> Response:
    if await session_of(request) is not None:
        return see_other(HOME)
    return await page(request, "sign_in.html", failed=None)


@router.post(SIGN_IN)
async def sign_in(request: Request, key: Annotated[str, Form(max_length=200)] = "") -> Response:
    """An admin key, typed once; the browser gets a session, the key is kept nowhere."""
    check_same_site(request)
    parts = parts_of(request)
    try:
        who = await authenticate(parts, f"Bearer {key.strip()}", seen(request.scope).client)
    except Unauthenticated:
        return await page(request, "sign_in.html", status=401, failed="That key is not in force here.")
    except TooMany:
        return await page(request, "sign_in.html", status=429, failed="Too many tries. Wait a minute.")
    if "admin" not in who.scopes:
        return await page(
            request, "sign_in.html", status=403, failed="That key may not open these pages (scope admin)."
        )
    async with parts.db.transaction(who.tenant_id) as session:
        cookie = await open_session(session, who.tenant_id, principal=who.id, scopes=sorted(who.scopes), now=utc_now())
    return see_other(HOME, sessions.cookie_of(parts.settings).header(cookie))


@router.get("/console/enter/{secret}")
async def link_page(request: Request, secret: str) -> Response:
    """One button. Opening a link changes nothing: mail scanners open links too."""
    return await page(request, "enter.html", secret=secret)


@router.post("/console/enter/{secret}")
async def enter(request: Request, secret: str) -> Response:
    check_same_site(request)
    parts = parts_of(request)
    async with parts.db.transaction() as session:
        cookie = await exchange_link(session, secret, utc_now())
    if cookie is None:
        return await page(
            request,
            "sorry.html",
            status=410,
            title="This link does not work any more",
            text="Links into these pages work once, for ten minutes. `gateway console` prints a new one.",
            home=SIGN_IN,
        )
    return see_other(HOME, sessions.cookie_of(parts.settings).header(cookie))


@router.post("/console/sign-out")
async def sign_out(request: Request) -> Response:
    check_csrf(request, await request.form())
    parts = parts_of(request)
    value = sessions.cookie_value(request)
    if value is not None:
        async with parts.db.transaction() as session:
            await sessions.close_session(session, value)
    return see_other(SIGN_IN, sessions.cookie_of(parts.settings).forgotten())
