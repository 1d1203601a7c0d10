"""Who a request is: by key under /v1, by session on pages, and nobody else's."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import select, update

from gateway.db.engine import utc_now
from gateway.errors import Unauthenticated
from gateway.settings import Settings
from gateway.tenants import access, api_keys
from gateway.tenants.tables import ApiKey, Tenant
from tests.servers import Redis
from tests.web import Web, no_work, running


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(autouse=True)
def _nobody_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins as a process that has seen no key and no failure."""
    monkeypatch.setattr(access, "_known", {})
    monkeypatch.setattr(access, "_uses", {})
    monkeypatch.setattr(access, "_failures", {})


def _clock(monkeypatch: pytest.MonkeyPatch, *, monotonic: float | None = None, wall: float | None = None) -> None:
    """What access.py reads as the time, and nobody else."""
    stopped = SimpleNamespace(
        monotonic=time.monotonic if monotonic is None else lambda: monotonic,
        time=time.time if wall is None else lambda: wall,
    )
    monkeypatch.setattr(access, "time", stopped)


async def test_every_bad_key_gets_the_same_text(web: Web) -> None:
    """Who can tell an unknown key from a revoked one learns which keys exist."""
    tenant = await web.tenant()
    good, revoked, expired, elsewhere, disabled = [await web.key(tenant, "admin") for _ in range(5)]
    now = utc_now()
    await _change(web, revoked, revoked_at=now)
    await _change(web, expired, expires_at=now - timedelta(seconds=1))
    await _change(web, elsewhere, networks=["198.51.100.0/24"])
    other = await web.tenant("Gone SA")
    disabled = await web.key(other, "admin")
    async with web.parts.db.transaction() as session:
        await session.execute(update(Tenant).where(Tenant.id == other).values(disabled_at=now))
    stranger = api_keys.new_text("ak_" + "0" * 26)
    wrong_secret = api_keys.new_text("ak_" + good[4:30])
    headers = [
        {},
        {"Authorization": ""},
        {"Authorization": good},
        {"Authorization": f"Basic {good}"},
        *(
            bearer(key)
            for key in (revoked, expired, elsewhere, disabled, stranger, wrong_secret, good[:-1], "x" * 9000)
        ),
    ]
    answers = [await web.client.get("/v1/settings", headers=header) for header in headers]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].headers["www-authenticate"] == "Bearer"
    assert (await web.client.get("/v1/settings", headers=bearer(good))).status_code == 200


async def test_a_key_without_the_scope_is_told_which(web: Web) -> None:
    key = await web.key(await web.tenant(), "lookup", "events")
    answer = await web.client.get("/v1/settings", headers=bearer(key))
    assert answer.status_code == 403
    assert "`admin`" in answer.json()["detail"]


async def test_a_revoked_key_ends_at_once_where_redis_is(web_on: Web) -> None:
    """A leaked key is being used right now, on every machine."""
    tenant = await web_on.tenant()
    key = await web_on.key(tenant, "admin")
    assert (await web_on.client.get("/v1/settings", headers=bearer(key))).status_code == 200
    who = access.at_hand(f"Bearer {key}")
    assert who is not None, "this process believes the key"
    async with web_on.parts.db.transaction(tenant) as session:
        assert await api_keys.revoke(session, tenant, who.id, now=utc_now())
    await api_keys.announce(web_on.parts.redis, who.id)
    assert (await web_on.client.get("/v1/settings", headers=bearer(key))).status_code == 401
    assert access.at_hand(f"Bearer {key}") is None


async def test_a_revoked_key_ends_within_two_seconds_without_redis(
    sqlite_url: str, own_redis: Redis, sealing_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.model_validate(
        {"database_url": sqlite_url, "redis_url": own_redis.url, "sealing_keys": sealing_key}
    )
    async with running(settings, beside=no_work) as web:
        tenant = await web.tenant()
        key = await web.key(tenant, "admin")
        own_redis.stop()
        assert (await web.client.get("/v1/settings", headers=bearer(key))).status_code == 200
        who = access.at_hand(f"Bearer {key}")
        assert who is not None
        async with web.parts.db.transaction(tenant) as session:
            await api_keys.revoke(session, tenant, who.id, now=utc_now())
        assert timedelta(seconds=2) >= access.BELIEVED
        later = time.monotonic() + access.BELIEVED.total_seconds()
        _clock(monkeypatch, monotonic=later)
        assert access.at_hand(f"Bearer {key}") is None
        assert (await web.client.get("/v1/settings", headers=bearer(key))).status_code == 401


async def test_a_key_is_not_believed_beyond_its_end(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = utc_now() + timedelta(hours=1)
    key = await web.key(await web.tenant(), "admin", expires_at=ends)
    asked = time.monotonic()
    _clock(monkeypatch, monotonic=asked)
    monkeypatch.setattr(access, "utc_now", lambda: ends - timedelta(milliseconds=300))
    assert (await web.client.get("/v1/settings", headers=bearer(key))).status_code == 200
    assert access.at_hand(f"Bearer {key}") is not None
    _clock(monkeypatch, monotonic=asked + 0.3)
    assert access.at_hand(f"Bearer {key}") is None


async def test_a_key_bound_to_networks_is_checked_each_time(web: Web) -> None:
    key = await web.key(await web.tenant(), "admin", networks=["203.0.113.0/24"])
    async with web.anyone("203.0.113.7") as inside, web.anyone("198.51.100.7") as outside:
        assert (await inside.get("/v1/settings", headers=bearer(key))).status_code == 200
        assert access.at_hand(f"Bearer {key}") is None, "the fast path knows no addresses"
        assert (await outside.get("/v1/settings", headers=bearer(key))).status_code == 401


@pytest.fixture(params=["with Redis", "without"])
async def shop(
    request: pytest.FixtureRequest, sqlite_url: str, own_redis: Redis, sealing_key: str
) -> AsyncIterator[Web]:
    settings = Settings.model_validate(
        {"database_url": sqlite_url, "redis_url": own_redis.url, "sealing_keys": sealing_key}
    )
    async with running(settings, beside=no_work) as web:
        if request.param == "without":
            own_redis.stop()
        yield web


async def test_twenty_bad_keys_a_minute_then_429(shop: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guessing must not be free, and one who guesses must not shut out others behind his address."""
    minute = 60 * 1_000_000.0
    _clock(monkeypatch, wall=minute + 45)
    good = await shop.key(await shop.tenant(), "admin")
    bad = bearer(api_keys.new_text("ak_" + "0" * 26))
    async with shop.anyone("203.0.113.7") as guesser, shop.anyone("203.0.113.8") as neighbour:
        statuses = [(await guesser.get("/v1/settings", headers=bad)).status_code for _ in range(22)]
        assert statuses == [401] * 20 + [429] * 2
        assert (await guesser.get("/v1/settings", headers=bad)).headers["retry-after"] == "15"
        assert (await neighbour.get("/v1/settings", headers=bad)).status_code == 401
        assert (await guesser.get("/v1/settings", headers=bearer(good))).status_code == 200
        _clock(monkeypatch, wall=minute + 60)
        assert (await guesser.get("/v1/settings", headers=bad)).status_code == 401


async def test_addresses_of_one_ipv6_network_count_together(web: Web) -> None:
    """One machine holds a /64 and would otherwise have 2⁶⁴ first tries."""
    statuses = []
    for host in range(21):
        async with web.anyone(f"2001:db8:0:1::{host:x}") as guesser:
            statuses.append((await guesser.get("/v1/settings")).status_code)
    assert statuses[-1] == 429


async def test_the_last_use_is_kept_to_the_minute(web: Web) -> None:
    tenant = await web.tenant()
    key = await web.key(tenant, "admin")
    await web.client.get("/v1/settings", headers=bearer(key))
    await access.write_uses(web.parts)
    async with web.parts.db.reading() as session:
        used = (await session.scalars(select(ApiKey.last_used_at).where(ApiKey.tenant_id == tenant))).one()
    assert used is not None
    assert (used.second, used.microsecond) == (0, 0)
    assert timedelta(0) <= utc_now() - used < timedelta(minutes=2)


async def test_a_session_does_not_open_the_api(web: Web) -> None:
    """A page of somebody else's could otherwise drive the API with the browser's cookie."""
    tenant = await web.tenant()
    async with web.parts.db.transaction(tenant) as session:
        cookie = await access.open_session(session, tenant, principal="test", scopes=["admin"], now=utc_now())
    assert (await web.client.get("/v1/settings", headers={"Cookie": f"gateway={cookie}"})).status_code == 401


async def test_fifty_requests_at_once_with_a_new_key_are_all_let_in(web: Web) -> None:
    key = await web.key(await web.tenant(), "admin")
    answers = await asyncio.gather(*(web.client.get("/v1/settings", headers=bearer(key)) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}


async def test_no_key_stays_in_memory_in_clear(web: Web) -> None:
    key = await web.key(await web.tenant(), "admin")
    await web.client.get("/v1/settings", headers=bearer(key))
    assert access._known
    assert key[31:74] not in repr(access._known)


async def test_what_is_no_text_is_no_key(web: Web) -> None:
    for header in (b"Bearer \xff\xfe\x00", b"\xff" * 5000, b""):
        with pytest.raises(Unauthenticated):
            await access.authenticate(web.parts, header, "203.0.113.200")


async def _change(web: Web, key: str, **values: object) -> None:
    async with web.parts.db.transaction() as session:
        await session.execute(update(ApiKey).where(ApiKey.id == "ak_" + key[4:30]).values(**values))
