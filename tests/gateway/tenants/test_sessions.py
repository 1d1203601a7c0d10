"""Signed-in browsers: links used once, sessions that end, forms that must come from our own pages."""

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Request
from sqlalchemy import func, select

from gateway import app as gateway_app
from gateway.db.base import TenantId
from gateway.db.engine import utc_now
from gateway.db.requests import Reading
from gateway.settings import Settings
from gateway.tenants import sessions
from gateway.tenants.access import Principal, check_csrf, csrf_token, exchange_link, page_session
from gateway.tenants.tables import ConsoleLink, Session
from tests.web import Web, no_work, running

router = APIRouter()


@router.get("/console/probe")
async def probe(request: Request, who: Annotated[Principal, page_session("admin")], session: Reading) -> dict[str, Any]:
    return {"tenant": who.tenant_id, "via": who.via, "csrf": csrf_token(request)}


@router.post("/console/probe")
async def change(request: Request, who: Annotated[Principal, page_session("admin")]) -> dict[str, str]:
    check_csrf(request, await request.form())
    return {"changed": who.tenant_id}


@pytest.fixture
async def pages(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Web]:
    monkeypatch.setattr(gateway_app, "ROUTERS", (*gateway_app.ROUTERS, router))
    async with running(Settings(database_url=sqlite_url), beside=no_work) as web:
        yield web


def with_cookie(value: str) -> dict[str, str]:
    return {"Cookie": f"gateway={value}"}


async def sign_in(web: Web, tenant: TenantId, *scopes: str) -> str:
    path = await web.console_link(tenant, *scopes)
    async with web.parts.db.transaction() as session:
        cookie = await exchange_link(session, path.rsplit("/", 1)[1], utc_now())
    assert cookie is not None
    return cookie


async def test_a_link_opens_one_session(pages: Web) -> None:
    path = await pages.console_link(await pages.tenant())
    secret = path.rsplit("/", 1)[1]
    async with pages.parts.db.transaction() as session:
        first = await exchange_link(session, secret, utc_now())
        again = await exchange_link(session, secret, utc_now())
        unknown = await exchange_link(session, "x" * 43, utc_now())
    assert first is not None
    assert (again, unknown) == (None, None)


async def test_a_link_ends_after_ten_minutes(pages: Web) -> None:
    path = await pages.console_link(await pages.tenant())
    async with pages.parts.db.transaction() as session:
        late = utc_now() + timedelta(minutes=10, seconds=1)
        assert await exchange_link(session, path.rsplit("/", 1)[1], late) is None


async def test_secrets_are_stored_hashed(pages: Web) -> None:
    tenant = await pages.tenant()
    path = await pages.console_link(tenant)
    cookie = await sign_in(pages, tenant)
    async with pages.parts.db.reading() as session:
        kept = {*(await session.scalars(select(ConsoleLink.link_sha256))).all()}
        kept |= {*(await session.scalars(select(Session.cookie_sha256))).all()}
    assert {len(one) for one in kept} == {32}
    assert path.rsplit("/", 1)[1].encode() not in kept
    assert cookie.encode() not in kept


async def test_a_page_knows_its_session(pages: Web) -> None:
    tenant = await pages.tenant()
    cookie = await sign_in(pages, tenant)
    answer = await pages.client.get("/console/probe", headers=with_cookie(cookie))
    assert answer.json() == {"tenant": tenant, "via": "session", "csrf": answer.json()["csrf"]}
    assert len(answer.json()["csrf"]) == 43


@pytest.mark.parametrize("cookie", [None, "", "x", "x" * 43, "é", "a" * 5000])
async def test_without_a_session_a_page_leads_to_the_sign_in(pages: Web, cookie: str | None) -> None:
    headers = {} if cookie is None else {"Cookie": b"gateway=" + cookie.encode()}
    answer = await pages.client.get("/console/probe", headers=headers)  # type: ignore[arg-type]
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/sign-in")


async def test_a_key_does_not_open_a_page(pages: Web) -> None:
    key = await pages.key(await pages.tenant())
    answer = await pages.client.get("/console/probe", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 303


async def test_a_session_without_the_scope_is_refused(pages: Web) -> None:
    cookie = await sign_in(pages, await pages.tenant(), "read")
    assert (await pages.client.get("/console/probe", headers=with_cookie(cookie))).status_code == 403


@pytest.mark.parametrize(
    ("later", "alive"),
    [
        (timedelta(minutes=29), True),
        (timedelta(minutes=31), False),
        (timedelta(hours=12, seconds=1), False),
    ],
    ids=str,
)
async def test_a_session_ends_when_idle(pages: Web, later: timedelta, alive: bool) -> None:
    cookie = await sign_in(pages, await pages.tenant())
    async with pages.parts.db.reading() as session:
        found = await sessions.find_session(session, cookie, utc_now() + later)
    assert (found is not None) is alive


async def test_a_busy_session_ends_after_twelve_hours(pages: Web) -> None:
    cookie = await sign_in(pages, await pages.tenant())
    start = utc_now()
    async with pages.parts.db.transaction() as session:
        for minutes in range(20, 12 * 60, 20):
            now = start + timedelta(minutes=minutes)
            assert await sessions.find_session(session, cookie, now) is not None
            await sessions.note_seen(session, cookie, now)
        assert await sessions.find_session(session, cookie, start + timedelta(hours=12, seconds=1)) is None


async def test_a_visit_keeps_the_session_alive_at_the_cost_of_a_write_a_minute(pages: Web) -> None:
    cookie = await sign_in(pages, await pages.tenant())
    async with pages.parts.db.transaction() as session:
        await sessions.note_seen(session, cookie, utc_now() - timedelta(minutes=20))
    for _ in range(2):
        await pages.client.get("/console/probe", headers=with_cookie(cookie))
    async with pages.parts.db.reading() as session:
        found = await sessions.find_session(session, cookie, utc_now() + timedelta(minutes=25))
        assert found is not None
        assert not (await sessions.find_session(session, cookie, utc_now())).stale  # type: ignore[union-attr]


async def test_what_has_ended_is_deleted_with_the_next_sign_in(pages: Web) -> None:
    tenant = await pages.tenant()
    await sign_in(pages, tenant)
    later = utc_now() + timedelta(hours=13)
    async with pages.parts.db.transaction() as session:
        await sessions.open_session(session, tenant, principal="x", scopes=["read"], now=later)
    async with pages.parts.db.reading() as session:
        assert await session.scalar(select(func.count()).select_from(Session)) == 1
        assert await session.scalar(select(func.count()).select_from(ConsoleLink)) == 0


OWN, OTHER = "http://127.0.0.1:8000", "https://evil.example"
POSTS: list[tuple[str, Mapping[str, str], bool, int]] = [
    ("a form of ours", {"Sec-Fetch-Site": "same-origin"}, True, 200),
    ("of an older browser", {"Origin": OWN}, True, 200),
    ("without the token", {"Sec-Fetch-Site": "same-origin"}, False, 403),
    ("from another site", {"Sec-Fetch-Site": "cross-site", "Origin": OWN}, True, 403),
    ("from a sister site", {"Sec-Fetch-Site": "same-site"}, True, 403),
    ("from another origin", {"Origin": OTHER}, True, 403),
    ("from a sandboxed frame", {"Origin": "null"}, True, 403),
    ("that says nothing", {}, True, 403),
]


@pytest.mark.parametrize(("headers", "with_token", "status"), [p[1:] for p in POSTS], ids=[p[0] for p in POSTS])
async def test_a_post_is_believed_when_it_is(
    pages: Web, headers: Mapping[str, str], with_token: bool, status: int
) -> None:
    """A page elsewhere must not disconnect a CRM with somebody's cookie."""
    cookie = await sign_in(pages, await pages.tenant())
    token = (await pages.client.get("/console/probe", headers=with_cookie(cookie))).json()["csrf"]
    answer = await pages.client.post(
        "/console/probe", headers={**with_cookie(cookie), **headers}, data={"csrf": token if with_token else "x"}
    )
    assert answer.status_code == status


async def test_anothers_token_is_no_token(pages: Web) -> None:
    mine, theirs = await sign_in(pages, await pages.tenant()), await sign_in(pages, await pages.tenant("Other"))
    token = (await pages.client.get("/console/probe", headers=with_cookie(theirs))).json()["csrf"]
    answer = await pages.client.post(
        "/console/probe",
        headers={**with_cookie(mine), "Sec-Fetch-Site": "same-origin"},
        data={"csrf": token},
    )
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("public_url", "starts", "secure"),
    [("http://127.0.0.1:8000", "gateway=", False), ("https://gateway.example.com", "__Host-gateway=", True)],
)
def test_cookies_are_as_tight_as_the_address_allows(public_url: str, starts: str, secure: bool) -> None:
    header = sessions.cookie_of(Settings(public_url=public_url)).header("v")
    assert header.startswith(starts)
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(header.split("; "))
    assert ("Secure" in header.split("; ")) is secure
    assert "Domain" not in header
