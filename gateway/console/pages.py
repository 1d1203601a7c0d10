"""What all pages share: how one is rendered, who is signed in, what a problem looks like to a person."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException

from gateway.connections import queries
from gateway.console import texts
from gateway.errors import NotFound, Problem
from gateway.metrics import content_policy
from gateway.parts import Parts
from gateway.tenants.access import csrf_token, session_of

_HERE = Path(__file__).parent
HOME = "/console/connections"

NAVIGATION: tuple[tuple[str, str], ...] = (("Connections", HOME),)
"""Pages a signed-in person finds at the top, in order: name, address."""


def when(at: datetime, zone: str) -> str:
    """ "21 November 2026, 10:04", where the tenant is."""
    there = at.astimezone(ZoneInfo(zone))
    return f"{there.day} {there:%B %Y, %H:%M}"


_pages = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_pages.filters["when"] = when


def parts_of(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


async def page(
    request: Request,
    template: str,
    *,
    status: int = 200,
    form_targets: tuple[str, ...] = (),
    **values: Any,
) -> HTMLResponse:
    """Render a page of ours.

    form_targets  origins beyond ours that its forms may lead to: Chromium checks redirects after a POST as well.
    """
    who = await session_of(request)
    tenant_name = None
    if who is not None:
        async with parts_of(request).db.reading(who.tenant_id) as session:
            tenant_name = await queries.tenant_name(session, who.tenant_id)
    html = _pages.get_template(template).render(
        language=texts.LANGUAGE,
        who=who,
        tenant_name=tenant_name,
        csrf=csrf_token(request) if who is not None else "",
        navigation=NAVIGATION if who is not None else (),
        path=request.url.path,
        **values,
    )
    headers = {"Content-Security-Policy": content_policy(*form_targets)} if form_targets else None
    return HTMLResponse(html, status, headers=headers)


def see_other(address: str, *cookies: str) -> Response:
    """On to another page, with a GET. `cookies` are whole `Set-Cookie` values."""
    response = RedirectResponse(address, 303)
    for cookie in cookies:
        response.headers.append("set-cookie", cookie)
    return response


class PageRoute(APIRoute):
    """A route whose problems are pages too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except Problem as problem:
                return await _sorry(request, problem)
            except (RequestValidationError, HTTPException):
                return await _sorry(request, NotFound())

        return handle


def new_router() -> APIRouter:
    return APIRouter(route_class=PageRoute, include_in_schema=False)


async def _sorry(request: Request, problem: Problem) -> Response:
    response = await page(
        request, "sorry.html", status=problem.status, title=problem.title, text=problem.detail, home=HOME
    )
    response.headers.update(problem.headers)
    return response


router = new_router()


@router.get("/")
@router.get("/console")
async def home() -> Response:
    """Whoever opens the address that `gateway serve` prints is led to the pages."""
    return see_other(HOME)


@router.get("/console/static/{name}")
async def static(name: str) -> Response:
    """Style sheet and script, which our content policy takes from here only."""
    kinds = {"console.css": "text/css", "onward.js": "text/javascript", "mark.svg": "image/svg+xml"}
    if name not in kinds:
        raise NotFound
    return FileResponse(
        _HERE / "static" / name, media_type=kinds[name], headers={"Cache-Control": "public, max-age=3600"}
    )
