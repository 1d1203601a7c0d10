"""What a request spends of its account's limits, and what everybody can see of them."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx2
import msgspec
import pytest

from connectors.crm.port import Bucket, Left
from connectors.errors import ConnectorError, RateLimited, Rejected
from connectors.request import Reply, Request
from gateway.connections.limits import standing
from gateway.connections.open import Opened
from gateway.connections.routes import view
from gateway.connections.sender import limits_of
from gateway.connections.throttle import Standing
from gateway.console import texts
from gateway.db.base import TenantId
from gateway.db.engine import utc_now
from gateway.parts import Parts
from gateway.parts import parts as opened_parts
from tests.gateway.connections.connecting import approve, come_back, make_tenant, row_of, settings_for
from tests.gateway.connections.test_vendors import back_with
from tests.gateway.connections.vendors import GRANTS, MANIFESTS, Internet, provider, providers
from tests.processes import until_async

DAY, TWO_SECONDS = timedelta(days=1), timedelta(seconds=2)
PIPEDRIVE = {
    "burst": Bucket(limit=80, per=timedelta(minutes=2), spent_by=("search",)),
    "search": Bucket(limit=10, per=timedelta(minutes=2)),
    "tokens": Bucket(limit=1000, per=DAY),
}
ZOHO = {
    "api": Bucket(limit=5, per=timedelta(0), spent_by=("coql",)),
    "coql": Bucket(limit=2, per=timedelta(0)),
    "credits": Bucket(limit=500, per=DAY),
    "bulk": Bucket(limit=10, per=DAY, spent_by=("jobs",)),
}
SALESFORCE = {"api": Bucket(limit=100, per=DAY, reserve=20)}


@pytest.mark.parametrize(
    ("buckets", "request_of", "spent"),
    [
        (PIPEDRIVE, "burst", ["burst", "tokens"]),
        (PIPEDRIVE, "search", ["burst", "search", "tokens"]),
        (ZOHO, "api", ["api", "credits"]),
        (ZOHO, "coql", ["api", "coql", "credits"]),
        (ZOHO, "jobs", ["credits", "bulk"]),
        (SALESFORCE, "api", ["api"]),
        (SALESFORCE, "unknown", ["api"]),
        ({}, "api", []),
    ],
)
def test_a_request_spends_the_limits_it_belongs_to(
    buckets: dict[str, Bucket], request_of: str, spent: list[str]
) -> None:
    """What can be given back comes first: a request that is refused later has not spent of the day."""
    manifest = msgspec.structs.replace(MANIFESTS["zoho"], buckets=buckets)
    assert [name for name, _ in limits_of(manifest, request_of)] == spent


# ── in use ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_error(request: Request, reply: Reply) -> ConnectorError:
    if b"<html" in reply.body:  # of whoever stands before the vendor, after too many 429s
        return RateLimited("blocked", retry_after=timedelta(minutes=5), status=reply.status)
    if reply.status == 429:
        policy = reply.headers.get("x-policy")
        return RateLimited("slow down", retry_after=timedelta(seconds=30), policy=policy, status=429)
    return Rejected("refused", status=reply.status)


def read_limits(request: Request, reply: Reply) -> tuple[Left, ...]:
    used, _, limit = reply.headers.get("x-day", "").partition("/")
    name = "api" if reply.headers.get("x-of") is None else reply.headers["x-of"]
    return (Left(bucket=name, limit=int(limit), remaining=int(limit) - int(used), per=DAY),) if used else ()


@pytest.fixture
async def parts(
    request: pytest.FixtureRequest, internet: Internet, sqlite_url: str, sealing_key: str
) -> AsyncIterator[Parts]:
    """With buckets as the parameter says, at a vendor that is otherwise like HubSpot."""
    manifest = msgspec.structs.replace(MANIFESTS["hubspot"], buckets=request.param)
    fake = provider(manifest, read_error=read_error, read_limits=read_limits)
    known = providers({"hubspot": fake})
    async with opened_parts(settings_for(sqlite_url, sealing_key), providers=known) as parts:
        await parts.redis.flushall()
        yield parts


@pytest.fixture
async def opened(parts: Parts, internet: Internet) -> Opened:
    tenant_id = await make_tenant(parts)
    internet.tokens = [(200, GRANTS["hubspot"])]
    claimed = await approve(parts, tenant_id)
    attached = await come_back(parts, claimed, back_with(claimed))
    connection_id = getattr(attached, "connection_id", None) or ""
    await parts.connections.probed(connection_id, within=timedelta(seconds=20))
    internet.api = lambda _: (200, {})
    return await parts.connections.open(tenant_id, connection_id)


async def send(opened: Opened, **more: Any) -> Reply:
    crm: Any = opened.crm
    reply: Reply = await crm.http.send(Request(method="GET", path="/things", **more))
    return reply


async def left(parts: Parts, opened: Opened) -> dict[str, int]:
    found = await standing(parts.connections, [(opened.account_id, "hubspot")])
    return {one.name: one.remaining for one in found[opened.account_id]}


@pytest.mark.parametrize("parts", [PIPEDRIVE], indirect=True)
async def test_a_budget_is_spent_by_cost_and_a_window_by_request(parts: Parts, opened: Opened) -> None:
    """Eighty requests in two seconds, thirty thousand tokens a day: a search is one of the first, twenty of the second."""
    before = await left(parts, opened)
    for _ in range(3):
        await send(opened, bucket="search", cost=20)
    after = await left(parts, opened)
    assert (before["burst"] - after["burst"], before["search"] - after["search"]) == (3, 3)
    assert before["tokens"] - after["tokens"] >= 60
    for _ in range(7):
        await send(opened, bucket="search", cost=20)
    with pytest.raises(RateLimited) as full:
        await send(opened, bucket="search")
    assert (full.value.policy, full.value.status) == ("search", None)
    await send(opened, bucket="burst")


@pytest.mark.parametrize("parts", [ZOHO], indirect=True)
async def test_slots_are_given_back_however_a_request_ends(parts: Parts, opened: Opened, internet: Internet) -> None:
    for status in (200, 200, 200, 404, 404, 404):
        internet.api = lambda _, status=status: (status, {})  # type: ignore[misc]
        try:
            await send(opened, bucket="coql")
        except Rejected:
            assert status == 404

    async def all_back() -> bool:
        now = await left(parts, opened)
        return (now["api"], now["coql"]) == (5, 2)

    await until_async("all slots are free", all_back)


@pytest.mark.parametrize("parts", [PIPEDRIVE], indirect=True)
async def test_a_ban_stops_the_whole_account_before_it_gets_longer(
    parts: Parts, opened: Opened, internet: Internet
) -> None:
    """Pipedrive's front door answers HTML and 403 to those who went on after 429."""
    internet.api = lambda _: (403, httpx2.Response(403, text="<html>Sorry, you have been blocked</html>"))
    with pytest.raises(RateLimited):
        await send(opened, bucket="search")
    asked = len(internet.dialled)
    for bucket in ("search", "burst"):
        with pytest.raises(RateLimited) as held:
            await send(opened, bucket=bucket)
        assert held.value.retry_after > timedelta(minutes=4)
    assert len(internet.dialled) == asked
    assert set((await left(parts, opened)).values()) == {0}


@pytest.mark.parametrize("parts", [PIPEDRIVE], indirect=True)
async def test_a_429_holds_the_limit_that_it_names(parts: Parts, opened: Opened, internet: Internet) -> None:
    internet.api = lambda _: (429, httpx2.Response(429, headers={"x-policy": "search"}, json={}))
    with pytest.raises(RateLimited):
        await send(opened, bucket="burst")
    internet.api = lambda _: (200, {})
    with pytest.raises(RateLimited):
        await send(opened, bucket="search")
    await send(opened, bucket="burst")


@pytest.mark.parametrize("parts", [SALESFORCE], indirect=True)
async def test_a_day_s_budget_learns_from_each_answer_and_keeps_the_caller_s_part(
    parts: Parts, opened: Opened, internet: Internet
) -> None:
    """`Sforce-Limit-Info: api-usage=…`: the org's other apps spend from the same budget."""
    internet.api = lambda _: (200, httpx2.Response(200, headers={"x-day": "160/200"}, json={}))
    await send(opened)

    async def learned() -> bool:
        return (await left(parts, opened))["api"] == 40

    await until_async("the row says so", learned)
    with pytest.raises(RateLimited) as spent:
        await send(opened)
    assert spent.value.policy == "DAILY"
    by_phone = await parts.connections.open(opened.tenant_id, opened.id, purpose="lookup")
    await send(by_phone)


@pytest.mark.parametrize("parts", [ZOHO], indirect=True)
async def test_the_api_shows_how_limits_stand(parts: Parts, opened: Opened) -> None:
    row = await row_of(parts, opened.id)
    known = await standing(parts.connections, [(opened.account_id, "hubspot"), ("ac_other", "gone")])
    async with parts.db.reading() as session:
        from gateway.connections import queries

        found = await queries.with_account(session, TenantId(row.tenant_id), row.id)
    assert found is not None
    shown = view(*found, utc_now(), known[opened.account_id])
    assert [one.model_dump() for one in shown.limits if one.name == "api"] == [
        {"name": "api", "limit": 5, "remaining": 5, "per_s": 0.0, "resumes_in_s": None}
    ]
    assert {one.name for one in shown.limits} == set(ZOHO)
    row.disconnected_at = utc_now()
    assert view(row, found[1], utc_now(), known[opened.account_id]).limits == []


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (Standing("api", 15_000, 12_345, DAY), "api: 12,345 of 15,000 left, today"),
        (Standing("search", 5, 4, timedelta(seconds=1)), "search: 4 of 5 left, per second"),
        (Standing("api", 110, 9, timedelta(seconds=10)), "api: 9 of 110 left, per 10 seconds"),
        (Standing("coql", 10, 7, timedelta(0)), "coql: 3 of 10 under way at once"),
        (
            Standing("api", 80, 0, TWO_SECONDS, timedelta(minutes=5)),
            "api: paused for 5 minutes, because the CRM asked for it",
        ),
        (
            Standing("api", 80, 0, TWO_SECONDS, timedelta(hours=3)),
            "api: paused for 3 hours, because the CRM asked for it",
        ),
    ],
)
def test_a_limit_is_said_in_words(one: Standing, said: str) -> None:
    assert texts.how_it_stands(one) == said
