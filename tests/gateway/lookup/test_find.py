"""Who is calling, with the cache, the CRMs and the clock in play. A caller is on the line in every one of these."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from connectors.crm.records import Context, Deal, Phone
from connectors.errors import RateLimited, ReconnectNeeded, Unavailable, Unsupported
from connectors.voice.events import Analysis, CallNews
from gateway.calls.tables import Call
from gateway.crypto import Purpose, new_kek_text
from gateway.db.base import TenantId
from gateway.db.engine import utc_now
from gateway.directory.cache import value_key
from gateway.errors import Unauthenticated
from gateway.lookup import find
from gateway.lookup.answer import Found
from gateway.lookup.tables import Lookup
from gateway.tenants.tables import TenantSettings
from tests.gateway.lookup.crms import CONTEXT, MAIN, Accounts, House, ScriptedCrm, house, person
from tests.processes import until_async

LONG = timedelta(seconds=20)  # a budget that is not what the test is about
SHORT = timedelta(milliseconds=30)


@pytest.fixture
async def here(sqlite_url: str, redis_url: str) -> AsyncIterator[House]:
    async with house(sqlite_url, redis_url) as built:
        yield built


async def ask(here: House, tenant_id: TenantId, number: str = MAIN, **more: Any) -> Found:
    wish: dict[str, Any] = {"region": "CH", "asked_by": "ak_1", "assurance": "key", "budget": LONG, **more}
    return await here.finder.find(tenant_id, number, **wish)


async def age(here: House, tenant_id: TenantId, by: timedelta, number: str = MAIN) -> None:
    """Make the cached answer older than it is, as time would."""
    keys = await here.keyring.of(tenant_id)
    key = value_key(tenant_id, keys.index(number))
    stored = await here.redis.get(key)
    assert isinstance(stored, bytes)
    shift = int(by.total_seconds() * 1000)
    times = [int.from_bytes(stored[:8]) - shift, int.from_bytes(stored[8:16]) - shift]
    plain = keys.open(stored[16:], "caller", key, stored[:16].hex(), purpose=Purpose.CACHE)
    aged = b"".join(one.to_bytes(8) for one in times)
    await here.redis.set(key, aged + keys.seal(plain, "caller", key, aged.hex(), purpose=Purpose.CACHE))


# ── warm and cold ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_first_ask_searches_the_second_is_warm(here: House) -> None:
    crm = ScriptedCrm(person("Jean Dupont"), contexts={"c-jean-dupont": CONTEXT})
    tenant_id = await here.tenant(crm)
    cold, warm = await ask(here, tenant_id), await ask(here, tenant_id, "044 668 18 00")
    assert (cold.status, cold.source, cold.complete) == ("known", "crm", True)
    assert (warm.status, warm.source, warm.complete) == ("known", "cache", True)
    assert cold.lookup_id != warm.lookup_id
    assert warm.fields()["contact"] == cold.fields()["contact"]
    assert warm.fields()["contact"]["company"]["name"] == "Exemple SA"
    assert (crm.searches, crm.context_reads) == (1, 1)


async def test_what_a_crm_said_is_not_said_any_more_once_it_was_taken_away(here: House) -> None:
    crm = ScriptedCrm(person("Jean Dupont"))
    tenant_id = await here.tenant(crm)
    assert (await ask(here, tenant_id)).status == "known"
    crm.contacts.clear()
    await here.finder.forget_everyone(tenant_id)
    assert (await ask(here, tenant_id)).status == "unknown"


async def test_nobody_is_remembered_too_but_not_for_long(here: House) -> None:
    crm = ScriptedCrm()
    tenant_id = await here.tenant(crm)
    assert [(await ask(here, tenant_id)).source for _ in range(3)] == ["crm", "cache", "cache"]
    keys = await here.keyring.of(tenant_id)
    left = await here.redis.pttl(value_key(tenant_id, keys.index(MAIN)))
    assert 0 < left <= 120_000
    assert crm.searches == 1


async def test_two_hundred_askers_are_one_search(sqlite_url: str, redis_url: str) -> None:
    """HubSpot allows five searches a second for the whole account. In one process or in several, it is one."""
    crm = ScriptedCrm(person("Jean Dupont"))
    crm.hang()
    async with AsyncExitStack() as stack:
        keys, accounts = new_kek_text(), Accounts()
        processes = [
            await stack.enter_async_context(house(sqlite_url, redis_url, connections=accounts, keys=keys))
            for _ in range(4)
        ]
        tenant_id = await processes[0].tenant(crm)
        asking = [asyncio.create_task(ask(processes[n % 4], tenant_id)) for n in range(200)]

        async def searching() -> bool:
            return crm.searches > 0

        await until_async("the search has begun", searching)
        crm.answer()
        found = await asyncio.gather(*asking)
    assert {one.status for one in found} == {"known"}
    assert crm.searches == 1


async def test_a_hanging_crm_makes_it_pending_and_the_next_ask_warm(here: House) -> None:
    crm = ScriptedCrm(person("Jean Dupont"))
    crm.hang()
    tenant_id = await here.tenant(crm)
    first = await ask(here, tenant_id, budget=SHORT)
    assert (first.status, first.complete, first.source) == ("pending", False, "none")
    assert first.fields()["phone"] == MAIN
    crm.answer()

    async def warm() -> bool:
        return (await ask(here, tenant_id, budget=SHORT)).source == "cache"

    await until_async("the fetch that went on has filled the cache", warm)
    assert crm.searches == 1


async def test_beyond_the_cap_of_cold_searches_it_is_pending_at_once(sqlite_url: str, redis_url: str) -> None:
    """500 at once made everybody late: only so many start, the others are answered without any waiting."""
    crm = ScriptedCrm()
    crm.hang()
    few = {"cold_searches": 2, "lookup_budget": LONG}
    async with house(sqlite_url, redis_url, change=lambda s: s.model_copy(update=few)) as here:
        tenant_id = await here.tenant(crm)
        first = [asyncio.create_task(ask(here, tenant_id, f"+4144668000{n}")) for n in range(2)]

        async def both() -> bool:
            return crm.searches == 2

        await until_async("both are searched", both)
        others = await asyncio.gather(*(ask(here, tenant_id, f"+414466801{n:02}") for n in range(48)))
        assert {one.status for one in others} == {"pending"}
        assert all(one.took < LONG.total_seconds() / 2 for one in others)
        crm.answer()
        assert [(await one).status for one in first] == ["unknown", "unknown"]
        assert crm.searches == 2


async def test_one_hanging_crm_leaves_the_other_tenants_alone(sqlite_url: str, redis_url: str) -> None:
    hanging, well = ScriptedCrm(), ScriptedCrm(person("Jean Dupont"))
    hanging.hang()
    few = {"cold_searches": 2, "lookup_budget": SHORT}
    async with house(sqlite_url, redis_url, change=lambda s: s.model_copy(update=few)) as here:
        stuck, fine = await here.tenant(hanging, prefix="stuck"), await here.tenant(well)
        for n in range(6):
            assert (await ask(here, stuck, f"+4144668{n:04}", budget=None)).status == "pending"

        async def answered() -> bool:
            return (await ask(here, fine)).status == "known"

        await until_async("the other tenant is answered", answered)
        assert hanging.searches == 2  # and the CRM that hangs is not buried under more of it


async def test_context_that_is_late_follows_later(here: House) -> None:
    crm = ScriptedCrm(person("Jean Dupont"), contexts={"c-jean-dupont": CONTEXT})
    crm.hang_context()
    tenant_id = await here.tenant(crm)
    first = await ask(here, tenant_id, budget=timedelta(milliseconds=500))
    assert (first.status, first.complete) == ("known", False)
    assert first.fields()["contact"]["name"] == "Jean Dupont"
    assert first.fields()["contact"]["company"] is None
    crm.answer()

    async def whole() -> bool:
        again = await ask(here, tenant_id, budget=SHORT)
        return again.complete and again.fields()["contact"]["company"]["name"] == "Exemple SA"

    await until_async("the whole answer is in the cache", whole)
    assert crm.searches == 1


async def test_the_quick_crm_answers_while_the_slow_one_hangs(here: House) -> None:
    quick, slow = ScriptedCrm(person("Jean Dupont")), ScriptedCrm(person("Jean Dupont", id="2", email="jd@example.com"))
    slow.hang()
    tenant_id = await here.tenant(slow, quick)
    first = await ask(here, tenant_id, budget=timedelta(milliseconds=300))
    assert (first.status, first.complete) == ("known", False)
    assert first.fields()["contact"]["connection_id"] == "cn_1"
    slow.answer()

    async def both() -> bool:
        return len((await ask(here, tenant_id)).fields()["matches"]) == 2

    await until_async("both are in the answer", both)
    assert (await ask(here, tenant_id)).fields()["contact"]["email"] == "jd@example.com"


async def test_an_open_deal_decides_between_duplicates(here: House) -> None:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    fresh = person("Jean Dupont", id="fresh", updated_at=at)
    busy = person("Jean Dupont", id="busy", updated_at=at - timedelta(days=9))
    crm = ScriptedCrm(fresh, busy, contexts={"busy": Context(open_deals=(Deal(id="1", name="Renewal"),))})
    found = await ask(here, await here.tenant(crm))
    assert found.fields()["contact"]["id"] == "busy"
    assert found.fields()["variables"]["open_deals"] == "1"


# ── stale, failing, away ────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_old_answer_is_given_with_its_age_and_asked_for_again(here: House) -> None:
    crm = ScriptedCrm(person("Jean Dupont"))
    tenant_id = await here.tenant(crm)
    await ask(here, tenant_id)
    await age(here, tenant_id, timedelta(minutes=5))
    crm.contacts = [person("Jean Durand")]
    crm.hang()
    stale = await ask(here, tenant_id)
    assert (stale.source, stale.fields()["contact"]["name"]) == ("cache", "Jean Dupont")
    assert stale.age == pytest.approx(300, abs=5)
    crm.answer()

    async def renewed() -> bool:
        return bool((await ask(here, tenant_id)).fields()["contact"]["name"] == "Jean Durand")

    await until_async("the new name is there", renewed)
    assert crm.searches == 2


async def test_an_old_answer_outlives_a_crm_that_fails(here: House) -> None:
    crm = ScriptedCrm(person("Jean Dupont"))
    tenant_id = await here.tenant(crm)
    await ask(here, tenant_id)
    await age(here, tenant_id, timedelta(minutes=5))
    crm.fails = Unavailable("away")
    for _ in range(20):
        assert (await ask(here, tenant_id)).status == "known"
        await asyncio.sleep(0)
    assert crm.searches <= 3  # and is not asked at each ring


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("away"),
        RateLimited("slow down", retry_after=timedelta(minutes=1)),
        ReconnectNeeded("revoked"),
        Unsupported("no"),
        ValueError("a bug"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_is_no_unknown_caller(here: House, error: Any) -> None:
    """It is answered, as not complete, and forgotten at once."""
    crm = ScriptedCrm(person("Jean Dupont"))
    crm.fails = error
    tenant_id = await here.tenant(crm)
    failed = await ask(here, tenant_id)
    assert (failed.status, failed.complete) == ("unknown", False)
    crm.fails = None
    assert (await ask(here, tenant_id)).status == "known"


async def test_a_rate_limit_is_waited_for_behind_the_answer(here: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five searches a second is little: the ask that comes too soon is `pending`, and warm a moment later."""
    crm = ScriptedCrm(person("Jean Dupont"))
    tenant_id = await here.tenant(crm)
    limits = [RateLimited("five a second", retry_after=timedelta(milliseconds=100))] * 2
    search = crm.find_contacts

    async def limited(*asked: Any, **more: Any) -> Any:
        if limits:
            raise limits.pop()
        return await search(*asked, **more)

    monkeypatch.setattr(crm, "find_contacts", limited)
    assert (await ask(here, tenant_id, budget=SHORT)).status == "pending"

    async def warm() -> bool:
        return (await ask(here, tenant_id, budget=SHORT)).source == "cache"

    await until_async("the search had its turn", warm)
    assert crm.searches == 1


async def test_a_crm_that_is_down_makes_nobody_a_stranger(sqlite_url: str, redis_url: str) -> None:
    """An outage must not use up what a key may ask in an hour."""
    crm = ScriptedCrm(person("Jean Dupont"))
    crm.fails = Unavailable("away")
    few = {"unknown_numbers_per_hour": 2}
    async with house(sqlite_url, redis_url, change=lambda s: s.model_copy(update=few)) as here:
        tenant_id = await here.tenant(crm)
        for n in range(5):
            await ask(here, tenant_id, f"+4144668000{n}")
        crm.fails = None
        assert (await ask(here, tenant_id)).status == "known"


async def test_one_crm_that_fails_leaves_the_other_ones_answer_incomplete(here: House) -> None:
    broken, well = ScriptedCrm(), ScriptedCrm(person("Jean Dupont"))
    broken.fails = Unavailable("away")
    tenant_id = await here.tenant(broken, well)
    assert [(one.status, one.complete, one.source) for one in [await ask(here, tenant_id) for _ in range(2)]] == [
        ("known", False, "crm"),
        ("known", False, "cache"),
    ]


async def test_context_that_fails_leaves_the_contact(here: House) -> None:
    crm = ScriptedCrm(person("Jean Dupont"))
    crm.context_fails = Unavailable("away")
    found = await ask(here, await here.tenant(crm))
    assert (found.status, found.complete) == ("known", False)


async def test_a_kind_of_record_without_context_is_complete(here: House) -> None:
    crm = ScriptedCrm(person("Jean Dupont"))
    crm.context_fails = Unsupported("no such thing")
    assert (await ask(here, await here.tenant(crm))).complete


async def test_a_tenant_without_a_crm_knows_nobody_and_says_that_nobody_was_asked(here: House) -> None:
    found = await ask(here, await here.tenant())
    assert (found.status, found.complete) == ("unknown", False)


async def test_a_database_that_fails_is_not_the_callers_trouble(here: House) -> None:
    tenant_id = await here.tenant(ScriptedCrm())
    here.connections.fails = OSError("away")
    found = await ask(here, tenant_id)
    assert (found.status, found.complete) == ("unknown", False)


async def test_without_redis_the_crm_answers(sqlite_url: str) -> None:
    crm = ScriptedCrm(person("Jean Dupont"))
    async with house(sqlite_url, "redis://127.0.0.1:1/0") as here:
        tenant_id = await here.tenant(crm)
        assert [(await ask(here, tenant_id)).source for _ in range(2)] == ["crm", "crm"]


async def test_the_embedded_form_caches_as_well(sqlite_url: str) -> None:
    crm = ScriptedCrm(person("Jean Dupont"))
    async with house(sqlite_url) as here:
        tenant_id = await here.tenant(crm)
        assert [(await ask(here, tenant_id)).source for _ in range(2)] == ["crm", "cache"]


async def test_a_tenants_keys_are_read_once_for_all_who_ask(here: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are forgotten every minute; the callers of that moment must not queue for the database."""
    tenant_id = await here.tenant(ScriptedCrm(person("Jean Dupont")))
    await ask(here, tenant_id)
    opened: list[TenantId] = []
    of, here.keyring._open = here.keyring.of, {}

    async def counted(asked: TenantId) -> Any:
        opened.append(asked)
        return await of(asked)

    monkeypatch.setattr(here.keyring, "of", counted)
    found = await asyncio.gather(*(ask(here, tenant_id) for _ in range(50)))
    assert {one.status for one in found} == {"known"}
    assert len(opened) == 1


# ── what we know better ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_we_wrote_is_found_at_once(here: House) -> None:
    """The caller was unknown, the call made a contact, and the CRM's search does not show it for a minute."""
    crm = ScriptedCrm()
    tenant_id = await here.tenant(crm)
    assert (await ask(here, tenant_id)).status == "unknown"
    crm.stored["77"] = person("Jean Dupont", id="77", match=None, reason=None)
    await here.finder.remember_written(tenant_id, MAIN, connection_id="cn_0", kind="contact", record_id="77")
    found = await ask(here, tenant_id)
    assert (found.status, found.complete) == ("known", True)
    assert found.fields()["contact"]["id"] == "77"
    assert found.fields()["matches"][0]["match"] == "exact"


async def test_what_we_wrote_is_found_though_a_search_was_under_way(here: House) -> None:
    crm = ScriptedCrm()
    crm.hang()
    tenant_id = await here.tenant(crm)
    waiting = asyncio.create_task(ask(here, tenant_id))

    async def searching() -> bool:
        return crm.searches > 0

    await until_async("the search has begun", searching)
    crm.stored["77"] = person("Jean Dupont", id="77")
    await here.finder.remember_written(tenant_id, MAIN, connection_id="cn_0", kind="contact", record_id="77")
    later = asyncio.create_task(ask(here, tenant_id))
    crm.answer()
    assert (await later).status == "known"
    assert (await waiting).status == "known"  # it was overtaken, and looked once more
    assert (await ask(here, tenant_id)).status == "known"


async def test_a_number_that_was_taken_from_the_record_again_is_not_believed(here: House) -> None:
    crm = ScriptedCrm()
    other = (Phone(raw="+41446681899", label="mobile", e164="+41446681899"),)
    crm.stored["77"] = person("Jean Dupont", id="77", phones=other)
    tenant_id = await here.tenant(crm)
    await here.finder.remember_written(tenant_id, MAIN, connection_id="cn_0", kind="contact", record_id="77")
    assert (await ask(here, tenant_id)).status == "unknown"


async def test_what_was_asked_for_lately_is_read_again_when_we_write(here: House) -> None:
    crm = ScriptedCrm(person("Jean Dupont"))
    tenant_id = await here.tenant(crm)
    await ask(here, tenant_id)
    crm.contacts = [person("Jean Durand")]
    await here.finder.remember_written(tenant_id, MAIN, connection_id="cn_0", kind="contact", record_id="c-jean-dupont")

    async def warm() -> bool:
        return crm.searches == 2 and (await ask(here, tenant_id)).source == "cache"

    await until_async("the new answer is warm", warm)
    assert (await ask(here, tenant_id)).fields()["contact"]["name"] == "Jean Durand"


async def test_a_forgotten_number_is_asked_for_again(here: House) -> None:
    crm = ScriptedCrm(person("Jean Dupont"))
    tenant_id = await here.tenant(crm)
    await ask(here, tenant_id)
    await here.finder.forget(tenant_id, MAIN)
    assert (await ask(here, tenant_id)).source == "crm"


async def test_tenants_never_meet(here: House) -> None:
    """The same number is somebody else for another company."""
    one = await here.tenant(ScriptedCrm(person("Jean Dupont")))
    two = await here.tenant(ScriptedCrm(person("Marie Martin")))
    names = [(await ask(here, who)).fields()["contact"]["name"] for who in (one, two, one, two)]
    assert names == ["Jean Dupont", "Marie Martin", "Jean Dupont", "Marie Martin"]


# ── what is never searched ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "status", "number"),
    [
        ("", "withheld", None),
        ("anonymous", "withheld", None),
        ("sip:anonymous@anonymous.invalid", "withheld", None),
        ("+266696687", "withheld", None),
        ("no number at all", "unknown", None),
        ("112", "unknown", None),
        ("144", "unknown", None),
        ("0" * 300, "unknown", None),
        ("9" * 300, "unknown", None),
        ("\x00", "withheld", None),
        ("+41 44 XXX XX 00", "unknown", None),
        ("\ud800", "withheld", None),
        ("+1" + "\U0001f4de" * 200, "unknown", None),
    ],
)
async def test_what_is_no_number_is_never_searched(here: House, text: str, status: str, number: None) -> None:
    crm = ScriptedCrm(person("Jean Dupont"))
    found = await ask(here, await here.tenant(crm), text)
    assert (found.status, found.complete, found.source) == (status, True, "none")
    assert found.fields()["phone"] is number
    assert crm.searches == 0


@pytest.mark.parametrize(
    "text",
    [
        "+41 44 668 18 00",
        "044 668 18 00",
        "0041446681800",
        "sip:+41446681800@203.0.113.7;user=phone",
        "tel:+41-44-668-18-00",
        "+41446681800\x00",
        "  +41446681800  ",
    ],
)
async def test_every_spelling_is_one_number(here: House, text: str) -> None:
    crm = ScriptedCrm(person("Jean Dupont"))
    found = await ask(here, await here.tenant(crm), text)
    assert (found.status, found.fields()["phone"]) == ("known", MAIN)


async def test_the_tenants_own_line_is_nobody(here: House) -> None:
    """A transferred call comes from our own number; the company itself is not the customer."""
    crm = ScriptedCrm(person("Jean Dupont"))
    tenant_id = await here.tenant(crm)
    await settings_of(here, tenant_id, own_numbers=[MAIN])
    found = await ask(here, tenant_id)
    assert (found.status, found.complete) == ("unknown", True)
    assert crm.searches == 0


async def settings_of(here: House, tenant_id: TenantId, **document: Any) -> None:
    async with here.db.transaction(tenant_id) as session:
        session.add(TenantSettings(tenant_id=tenant_id, version=1, document=document, at=utc_now(), by="test"))


# ── our last call ───────────────────────────────────────────────────────────────────────────────────────────────────


async def called(here: House, tenant_id: TenantId, ago: timedelta, news: CallNews, *, ended: bool = True) -> None:
    keys = await here.keyring.of(tenant_id)
    at = utc_now() - ago
    call_id = f"ca_{int(ago.total_seconds())}"
    async with here.db.transaction(tenant_id) as session:
        session.add(
            Call(
                tenant_id=tenant_id,
                id=call_id,
                source="api",
                external_id=call_id,
                state="done",
                ended=ended,
                news=keys.seal(msgspec.json.encode(news), "calls", "news", call_id),
                subject_index=keys.index(MAIN),
                received_at=at,
                updated_at=at,
                started_at=at,
                people_until=at + timedelta(days=180),
                kept_until=at + timedelta(days=396),
            )
        )


@pytest.mark.parametrize("profiling", [True, False])
async def test_our_last_call_is_told(here: House, profiling: bool) -> None:
    tenant_id = await here.tenant(ScriptedCrm(person("Jean Dupont")))
    if profiling:
        await settings_of(here, tenant_id, profiling_purpose="to call back who complained")
    analysis = Analysis(sentiment="negative")
    await called(here, tenant_id, timedelta(hours=3), CallNews(summary="An older call"))
    await called(here, tenant_id, timedelta(hours=2), CallNews(summary="Asked for an offer", analysis=analysis))
    await called(here, tenant_id, timedelta(hours=1), CallNews())
    await called(here, tenant_id, timedelta(minutes=1), CallNews(summary="the call of this moment"), ended=False)
    last = (await ask(here, tenant_id)).fields()["contact"]["last_call"]
    assert last["summary"] == "Asked for an offer"
    assert last["sentiment"] == ("negative" if profiling else None)
    assert datetime.fromisoformat(last["at"]) == pytest.approx(utc_now() - timedelta(hours=1), abs=timedelta(minutes=1))


async def test_a_call_that_cannot_be_read_costs_only_itself(here: House) -> None:
    tenant_id = await here.tenant(ScriptedCrm(person("Jean Dupont")))
    await called(here, tenant_id, timedelta(hours=1), CallNews(summary="x"))
    async with here.db.transaction(tenant_id) as session:
        (await session.scalars(select(Call))).one().news = b"not sealed by us"
    found = await ask(here, tenant_id)
    assert (found.status, found.complete) == ("known", False)


# ── who may ask ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_leaked_key_is_no_reverse_phone_book(sqlite_url: str, redis_url: str) -> None:
    """After so many different unknown numbers in an hour a key gets nothing new; other keys do, and so do old numbers."""
    crm = ScriptedCrm(person("Jean Dupont"))
    async with house(
        sqlite_url, redis_url, change=lambda s: s.model_copy(update={"unknown_numbers_per_hour": 3})
    ) as here:
        tenant_id = await here.tenant(crm)
        for n in range(3):
            assert (await ask(here, tenant_id, f"+4144668000{n}")).complete
        searched = crm.searches
        refused = await ask(here, tenant_id)
        assert (refused.status, refused.complete, refused.source, refused.over_cap) == ("unknown", False, "none", True)
        assert crm.searches == searched
        await here.finder.forget(tenant_id, "+41446680000")
        assert (await ask(here, tenant_id, "+41446680000")).complete  # tried before: not one more
        assert (await ask(here, tenant_id, asked_by="ak_2")).status == "known"


async def test_numbers_of_a_slow_crm_count_as_well(sqlite_url: str, redis_url: str) -> None:
    """The first ask is `pending`, the second finds "unknown" in the cache: the cap must not be slept around."""
    crm = ScriptedCrm()
    async with house(
        sqlite_url, redis_url, change=lambda s: s.model_copy(update={"unknown_numbers_per_hour": 1})
    ) as here:
        tenant_id = await here.tenant(crm)
        crm.hang()
        assert (await ask(here, tenant_id, "+41446680000", budget=SHORT)).status == "pending"
        crm.answer()

        others = iter(range(1, 1000))

        async def refused() -> bool:
            return (await ask(here, tenant_id, f"+4144668{next(others):04}")).over_cap

        await until_async("the key is refused", refused)


async def test_an_unsigned_endpoint_is_answered_little_and_not_endlessly(
    here: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "URL_NUMBERS_PER_HOUR", 3)
    tenant_id = await here.tenant(ScriptedCrm(person("Jean Dupont", language="fr")))
    told = await ask(here, tenant_id, assurance="url", asked_by="ve_1")
    assert (told.status, told.fields()["contact"], told.fields()["matches"]) == ("known", None, [])
    assert told.variables["customer_known"] == "true"
    assert told.variables["customer_name"] == ""
    for n in range(2):
        assert not (await ask(here, tenant_id, f"+4144669000{n}", assurance="url", asked_by="ve_1")).over_cap
    assert not (await ask(here, tenant_id, assurance="url", asked_by="ve_1")).over_cap
    assert (await ask(here, tenant_id, "+41446680000", assurance="url", asked_by="ve_1")).over_cap
    assert not (await ask(here, tenant_id, "+41446680000", assurance="url", asked_by="ve_2")).over_cap


@pytest.mark.parametrize("number", [MAIN, "anonymous"])
async def test_a_key_revoked_a_moment_ago_is_refused(here: House, number: str) -> None:
    tenant_id = await here.tenant(ScriptedCrm(person("Jean Dupont")))
    await ask(here, tenant_id, number, unless="gw:revoked:ak_1")
    await here.redis.set("gw:revoked:ak_1", b"1")
    with pytest.raises(Unauthenticated):
        await ask(here, tenant_id, number, unless="gw:revoked:ak_1")
    here.keyring._open = {}
    with pytest.raises(Unauthenticated):
        await ask(here, tenant_id, number, unless="gw:revoked:ak_1")


# ── who looked whom up ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_every_lookup_leaves_a_row_without_the_number(database_url: str, redis_url: str) -> None:
    async with house(database_url, redis_url) as here:
        tenant_id = await here.tenant(ScriptedCrm(person("Jean Dupont")))
        found = [await ask(here, tenant_id), await ask(here, tenant_id), await ask(here, tenant_id, "anonymous")]
        await here.finder.close()
        async with here.db.reading(tenant_id) as session:
            rows = {row.id: row for row in (await session.scalars(select(Lookup))).all()}
        index = (await here.keyring.of(tenant_id)).index(MAIN)
    assert rows.keys() == {one.lookup_id for one in found}
    first, second, third = (rows[one.lookup_id] for one in found)
    assert (first.status, first.source, first.records) == ("known", "crm", ["cn_0/contact/c-jean-dupont"])
    assert (second.source, second.asked_by, second.assurance) == ("cache", "ak_1", "key")
    assert (third.status, third.records, third.subject_index) == ("withheld", [], None)
    assert first.subject_index == second.subject_index == index
    assert first.kept_until - first.at == timedelta(days=396)
    assert first.took_us > 0


async def test_the_same_answer_twice_differs_only_in_what_belongs_to_one_lookup(here: House) -> None:
    tenant_id = await here.tenant(ScriptedCrm(person("Jean Dupont")))
    one, two = [json.loads((await ask(here, tenant_id)).to_json()) for _ in range(2)]
    for answer in (one, two):
        answer["variables"].pop("gateway_lookup_id")
        for field in ("lookup_id", "took_ms", "age_s", "source"):
            answer.pop(field)
    assert one == two
