"""What CRMs send us: nothing is believed that is not proven, nothing proven is lost, and no rubbish breaks anything."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import func, select

from connectors.crm.changes import Forged, Notice
from connectors.crm.records import Kind, Ref
from gateway.connections.providers import Providers
from gateway.db.engine import utc_now
from gateway.directory.change_tables import ChangeHint
from gateway.directory.notices import Known, app_key, proven
from gateway.settings import App, Settings
from tests.factories import make_connection
from tests.gateway.directory.feeding import PUBLIC, House, house
from tests.web import no_work, running

SECRET = "our-secret"


@pytest.fixture
async def pipedrive(database_url: str) -> AsyncIterator[House]:
    async with house(database_url) as here:
        await here.subscriptions.renew(here.book.connection_id)
        yield here


@pytest.fixture
async def hubspot(database_url: str) -> AsyncIterator[House]:
    async with house(database_url, slug="hubspot", account="62515") as here:
        yield here


def address_of(here: House) -> tuple[str, str]:
    """Where the CRM was told to send to, and with what secret."""
    ((address, secret),) = set(here.crm.hooks.values())
    return address, secret


def basic(secret: str) -> str:
    return "Basic " + base64.b64encode(f"gateway:{secret}".encode()).decode()


def pipedrive_body(id: str = "7", *, action: str = "change", entity: str = "person", company: str = "4711") -> bytes:
    meta = {"action": action, "entity": entity, "entity_id": id, "company_id": company, "version": "2.0"}
    return json.dumps({"meta": meta, "data": None, "previous": None}).encode()


async def sent(here: House, url: str, body: bytes, headers: Mapping[str, str]) -> int:
    """As the route does it: how many records are to be read again. Raises `Forged`; LookupError for no such address."""
    slug, key = url.removeprefix(f"{PUBLIC}/crm/").split("/")
    known = await here.notices.find(slug, key)
    if known is None:
        raise LookupError
    notice = Notice(method="POST", url=url, headers=headers, body=body)
    return await here.notices.take(known, notice, now=utc_now())


def hubspot_signed(url: str, body: bytes, at: datetime, secret: str = SECRET) -> dict[str, str]:
    """Computed here, from HubSpot's own description: base64 of HMAC-SHA256 over method, address, body, milliseconds."""
    stamp = str(int(at.timestamp() * 1000))
    digest = hmac.new(secret.encode(), b"POST" + url.encode() + body + stamp.encode(), hashlib.sha256).digest()
    return {"x-hubspot-signature-v3": base64.b64encode(digest).decode(), "x-hubspot-request-timestamp": stamp}


def hubspot_url(here: House) -> str:
    registered = here.connections.providers.get("hubspot")
    assert registered is not None
    return f"{PUBLIC}/crm/hubspot/{app_key(registered)}"


def event(id: int, *, portal: int = 62515, news: str = "contact.propertyChange", **more: Any) -> dict[str, Any]:
    return {"subscriptionType": news, "objectId": id, "portalId": portal, "occurredAt": 1764000000000, **more}


async def hinted(here: House) -> set[tuple[str, str]]:
    return {(row.kind, row.record_id) for row in await here.hints()}


# ── one address per connection ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_notice_with_our_secret_is_kept_as_a_hint(pipedrive: House) -> None:
    url, secret = address_of(pipedrive)
    assert await sent(pipedrive, url, pipedrive_body("7"), {"authorization": basic(secret)}) == 1
    assert await hinted(pipedrive) == {("contact", "7")}
    feed = await pipedrive.feed()
    assert feed.noticed_at is not None
    assert feed.due_at <= utc_now(), "the relay rings at once"


async def test_a_forged_notice_leaves_nothing(pipedrive: House) -> None:
    url, _ = address_of(pipedrive)
    for headers in ({}, {"authorization": basic("guess")}, {"authorization": "Basic x"}):
        with pytest.raises(Forged):
            await sent(pipedrive, url, pipedrive_body(), headers)
    assert await hinted(pipedrive) == set()
    assert (await pipedrive.feed()).noticed_at is None


async def test_an_unknown_address_is_nobodys(pipedrive: House) -> None:
    url, secret = address_of(pipedrive)
    key = url.rpartition("/")[2]
    for wrong in (f"{PUBLIC}/crm/pipedrive/{key[:-1]}", f"{PUBLIC}/crm/zoho/{key}", f"{PUBLIC}/crm/nobody/{key}"):
        with pytest.raises(LookupError):
            await sent(pipedrive, wrong, pipedrive_body(), {"authorization": basic(secret)})


async def test_a_notice_about_another_company_is_not_believed(pipedrive: House) -> None:
    url, secret = address_of(pipedrive)
    body = pipedrive_body("7", company="666")
    assert await sent(pipedrive, url, body, {"authorization": basic(secret)}) == 0
    assert await hinted(pipedrive) == set()


async def test_a_merge_hints_at_both(pipedrive: House) -> None:
    url, secret = address_of(pipedrive)
    body = json.loads(pipedrive_body("7", action="delete"))
    body["meta"]["merged_to_id"] = "8"
    await sent(pipedrive, url, json.dumps(body).encode(), {"authorization": basic(secret)})
    assert await hinted(pipedrive) == {("contact", "7"), ("contact", "8")}


async def test_a_zoho_notice_carries_our_word(database_url: str) -> None:
    async with house(database_url, slug="zoho") as here:
        await here.subscriptions.renew(here.book.connection_id)
        url, secret = address_of(here)
        body = {"module": "Contacts", "ids": ["1", "2"], "operation": "update", "token": secret}
        assert await sent(here, url, json.dumps(body).encode(), {}) == 2
        with pytest.raises(Forged):
            await sent(here, url, json.dumps({**body, "token": "guess"}).encode(), {})
        assert await hinted(here) == {("contact", "1"), ("contact", "2")}


async def test_a_disconnected_crm_has_no_address_any_more(pipedrive: House) -> None:
    url, secret = address_of(pipedrive)
    await pipedrive.subscriptions.end(*pipedrive.whose)
    with pytest.raises(LookupError):
        await sent(pipedrive, url, pipedrive_body(), {"authorization": basic(secret)})


# ── one address for all accounts of an app ──────────────────────────────────────────────────────────────────────────


async def test_a_signed_notice_reaches_every_connection_of_its_account(hubspot: House) -> None:
    book, url = hubspot.book, hubspot_url(hubspot)
    await make_connection(book.db, book.tenant_id)  # of another account
    body = json.dumps(
        [event(7), event(7, propertyName="phone"), event(8, news="contact.deletion"), event(9, portal=1),
         event(4, news="company.creation"), event(5, news="deal.creation")]
    ).encode()  # fmt: skip
    assert await sent(hubspot, url, body, hubspot_signed(url, body, utc_now())) == 3
    assert await hinted(hubspot) == {("contact", "7"), ("contact", "8"), ("company", "4")}


async def test_an_account_of_two_tenants_is_told_to_both(database_url: str) -> None:
    async with house(database_url, slug="hubspot", account="62515") as here:
        other = await second_tenant(here)
        url = hubspot_url(here)
        body = json.dumps([event(7)]).encode()
        assert await sent(here, url, body, hubspot_signed(url, body, utc_now())) == 2
        assert {(row.tenant_id, row.connection_id) for row in await here.hints()} == {here.whose, other}


@pytest.mark.parametrize("how", ["secret", "body", "address", "method", "old", "future", "unsigned", "other header"])
async def test_what_hubspot_did_not_sign_is_refused(hubspot: House, how: str) -> None:
    url, now = hubspot_url(hubspot), utc_now()
    body = json.dumps([event(7)]).encode()
    headers = hubspot_signed(url, body, now)
    if how == "secret":
        headers = hubspot_signed(url, body, now, secret="another")
    elif how == "body":
        headers = hubspot_signed(url, body + b" ", now)
    elif how == "address":
        headers = hubspot_signed(url + "?x=1", body, now)
    elif how in ("old", "future"):
        away = timedelta(minutes=6)
        headers = hubspot_signed(url, body, now - away if how == "old" else now + away)
    elif how == "unsigned":
        headers = {}
    elif how == "other header":  # version 1, which has no time in it
        headers = {"x-hubspot-signature": hashlib.sha256(SECRET.encode() + body).hexdigest()}
    elif how == "method":
        stamp = headers["x-hubspot-request-timestamp"]
        digest = hmac.new(SECRET.encode(), b"PUT" + url.encode() + body + stamp.encode(), hashlib.sha256).digest()
        headers["x-hubspot-signature-v3"] = base64.b64encode(digest).decode()
    with pytest.raises(Forged):
        await sent(hubspot, url, body, headers)
    assert await hinted(hubspot) == set()


async def test_a_hundred_events_about_one_person_are_one_row(hubspot: House) -> None:
    url = hubspot_url(hubspot)
    body = json.dumps([event(7, propertyName=f"p{n}", occurredAt=1764000000000 + n) for n in range(100)]).encode()
    for _ in range(2):
        await sent(hubspot, url, body, hubspot_signed(url, body, utc_now()))
    (hint,) = await hubspot.hints()
    assert hint.version == 2


async def test_ten_thousand_records_in_one_notice_are_kept(hubspot: House) -> None:
    url = hubspot_url(hubspot)
    body = json.dumps([event(n) for n in range(1, 10_001)]).encode()
    assert await sent(hubspot, url, body, hubspot_signed(url, body, utc_now())) == 10_000
    async with hubspot.book.db.reading() as session:
        assert await session.scalar(select(func.count()).select_from(ChangeHint)) == 10_000


def test_the_address_is_the_apps_own_and_lasts() -> None:
    def key(client_id: str, secret: str) -> str:
        app = App(client_id=client_id, client_secret=SecretStr(secret))
        registered = Providers(registration=lambda _: app).get("hubspot")
        assert registered is not None
        return app_key(registered)

    assert key("a", "one") == key("a", "two") != key("b", "one")
    assert len(key("a", "one")) == 32


# ── over HTTP ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_over_http_known_forged_and_unknown(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_HUBSPOT_CLIENT_ID", "our-app")
    monkeypatch.setenv("GATEWAY_HUBSPOT_CLIENT_SECRET", SECRET)
    async with running(Settings(database_url=sqlite_url, public_url=PUBLIC), beside=no_work) as web:
        registered = web.parts.connections.providers.get("hubspot")
        assert registered is not None
        path = f"/crm/hubspot/{app_key(registered)}"
        body = json.dumps([event(7)]).encode()
        signed = hubspot_signed(PUBLIC + path, body, utc_now())
        assert (await web.client.post(path, content=body, headers=signed)).status_code == 204
        forged = await web.client.post(path, content=body, headers={**signed, "x-hubspot-signature-v3": "x"})
        assert (forged.status_code, forged.json()["type"]) == (401, "/docs#bad-signature")
        unknown = [
            await web.client.post(elsewhere, content=body, headers=signed)
            for elsewhere in ("/crm/hubspot/nobody", "/crm/pipedrive/nobody", "/crm/salesforce/x", "/crm/other/x")
        ]
        assert {one.status_code for one in unknown} == {404}
        assert len({one.content for one in unknown}) == 1
        huge = await web.client.post(path, content=b"x" * (2 * 1024 * 1024 + 1), headers=signed)
        assert huge.status_code == 413


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
EVENT = st.dictionaries(
    st.sampled_from(
        ["subscriptionType", "objectId", "portalId", "occurredAt", "primaryObjectId", "mergedObjectIds", "objectTypeId",
         "newObjectId", "meta", "module", "ids", "operation", "token", "server_time"]
    ),
    JSON | st.sampled_from(["contact.merge", "contact.propertyChange", "object.creation", "0-1", "Contacts", "update"]),
    max_size=8,
)  # fmt: skip
META = st.fixed_dictionaries(
    {"meta": st.dictionaries(st.sampled_from(["action", "entity", "entity_id", "company_id", "timestamp"]), JSON)}
)
RUBBISH = st.binary(max_size=200) | (JSON | EVENT | META | st.lists(EVENT, max_size=5)).map(
    lambda value: json.dumps(value).encode()
)


@given(
    body=RUBBISH,
    slug=st.sampled_from(["hubspot", "pipedrive", "zoho"]),
    right=st.booleans(),
    header=st.text(max_size=30),
)
@settings(deadline=None)
def test_rubbish_is_read_or_refused(body: bytes, slug: str, right: bool, header: str) -> None:
    """Signed or not: what a CRM, or somebody who found its address, sends must never be an error of ours."""
    registered = Providers().get(slug)
    assert registered is not None
    url = f"{PUBLIC}/crm/{slug}/k"
    now = utc_now()
    headers = {"authorization": header, "x-hubspot-signature-v3": header, "x-hubspot-request-timestamp": header}
    if right:
        headers = {"authorization": basic(SECRET), **hubspot_signed(url, body, now)}
    known = Known(registered.provider, None, None, (SECRET,))
    try:
        changes = proven(known, Notice(method="POST", url=url, headers=headers, body=body), now)
    except Forged:
        return
    assert right or slug == "zoho"
    for change in changes:
        assert isinstance(Ref(change.kind, change.id), Ref)
        assert change.kind in (Kind.CONTACT, Kind.LEAD, Kind.COMPANY)
        assert change.at is None or change.at.tzinfo is not None


@given(bodies=st.lists(RUBBISH, min_size=1, max_size=4))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
async def test_signed_rubbish_is_answered_and_stored_or_dropped(pipedrive: House, bodies: list[bytes]) -> None:
    url, secret = address_of(pipedrive)
    for body in bodies:
        assert await sent(pipedrive, url, body, {"authorization": basic(secret)}) in (0, 1, 2)


async def second_tenant(here: House) -> tuple[str, str]:
    """Another tenant at the same account, mirrored too."""
    from dataclasses import replace

    from gateway.connections import queries
    from gateway.directory import feeds
    from tests.factories import make_tenant
    from tests.gateway.directory.feeding import imported
    from tests.gateway.directory.people import begin

    book = here.book
    tenant_id = await make_tenant(book.db, book.keyring, "Borealis")
    connection_id = await make_connection(book.db, tenant_id)
    async with book.db.transaction() as session:
        mine = await queries.connection(session, book.tenant_id, book.connection_id)
        theirs = await queries.connection(session, tenant_id, connection_id)
        assert mine is not None
        assert theirs is not None
        theirs.crm_account_id = mine.crm_account_id
    other = replace(book, tenant_id=tenant_id, connection_id=connection_id)
    await begin(other)
    await imported(other)
    async with book.db.transaction() as session:
        await feeds.ensure(session, tenant_id, connection_id)
    return tenant_id, connection_id
