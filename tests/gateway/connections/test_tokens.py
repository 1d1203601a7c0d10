"""A token that works now, renewed by one process at a time."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from connectors.crm.hubspot.manifest import MANIFEST
from connectors.errors import ReconnectNeeded, Unavailable
from connectors.sandbox.faults import Kind
from gateway.connections import queries
from gateway.connections import tokens as module
from gateway.connections.health import State
from gateway.connections.tokens import MARGIN, Access, Tokens, cool_down, renew_after
from gateway.db.base import TenantId
from gateway.db.engine import utc_now
from gateway.parts import Parts
from gateway.parts import parts as opened_parts
from tests.gateway.connections.connecting import (
    AURORA,
    Crm,
    another_process,
    change,
    connect,
    connected,
    make_tenant,
    row_of,
    settings_for,
)
from tests.processes import PROJECT, until_async

TOKEN = "/oauth/2026-09/token"


@pytest.fixture
async def connection_id(parts: Parts, tenant_id: TenantId, crm: Crm) -> str:
    found = await connected(parts, tenant_id)
    crm.face.journal.forget()
    return found


async def about_to_end(parts: Parts, connection_id: str) -> None:
    """What a clock does: the access token has no time left."""
    now = utc_now()
    await change(parts, connection_id, token_expires_at=now, refresh_due_at=now)


def fresh(parts: Parts) -> Tokens:
    """As another process has it."""
    return another_process(parts).tokens


async def test_a_good_token_is_handed_out_without_asking_anybody(
    parts: Parts, tenant_id: TenantId, connection_id: str, crm: Crm
) -> None:
    tokens = fresh(parts)
    assert await tokens.token(tenant_id, connection_id) == await tokens.token(tenant_id, connection_id)
    assert crm.exchanges == 0


async def test_a_token_about_to_end_is_renewed_before_it_is_handed_out(
    parts: Parts, tenant_id: TenantId, connection_id: str, crm: Crm
) -> None:
    old = await fresh(parts).token(tenant_id, connection_id)
    await change(parts, connection_id, token_expires_at=utc_now() + MARGIN / 2)
    new = await fresh(parts).token(tenant_id, connection_id)
    assert new != old
    assert crm.exchanges == 1
    row = await row_of(parts, connection_id)
    assert row.token_version == 2
    assert row.refresh_lease_until is None
    assert row.token_expires_at is not None
    assert row.token_expires_at > utc_now() + timedelta(minutes=29)


async def test_fifty_callers_of_one_process_make_one_exchange(
    parts: Parts, tenant_id: TenantId, connection_id: str, crm: Crm
) -> None:
    await about_to_end(parts, connection_id)
    crm.break_down(kind=Kind.LATENCY, path=TOKEN, delay=timedelta(milliseconds=300))
    tokens = fresh(parts)
    found = await asyncio.gather(*(tokens.token(tenant_id, connection_id) for _ in range(50)))
    assert len(set(found)) == 1
    assert crm.exchanges == 1


async def test_a_caller_that_gives_up_does_not_take_the_others_with_it(
    parts: Parts, tenant_id: TenantId, connection_id: str, crm: Crm
) -> None:
    """The first asker may be a lookup whose budget ran out."""
    await about_to_end(parts, connection_id)
    crm.break_down(kind=Kind.LATENCY, path=TOKEN, delay=timedelta(milliseconds=300))
    tokens = fresh(parts)
    impatient = asyncio.create_task(tokens.token(tenant_id, connection_id))
    await asyncio.sleep(0)
    patient = asyncio.create_task(tokens.token(tenant_id, connection_id))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient
    assert crm.exchanges == 1


async def test_a_refused_token_is_renewed_once_for_all_who_had_it(
    parts: Parts, tenant_id: TenantId, connection_id: str, crm: Crm
) -> None:
    tokens = fresh(parts)
    refused = await tokens.token(tenant_id, connection_id)
    found = await asyncio.gather(*(tokens.token(tenant_id, connection_id, refused=refused) for _ in range(20)))
    assert set(found) != {refused}
    assert len(set(found)) == 1
    assert crm.exchanges == 1
    assert await tokens.token(tenant_id, connection_id, refused=refused) == found[0]  # late, with the same old 401
    assert crm.exchanges == 1


async def test_what_another_process_renewed_is_used(
    parts: Parts, tenant_id: TenantId, connection_id: str, crm: Crm
) -> None:
    here, there = fresh(parts), fresh(parts)
    old = await here.token(tenant_id, connection_id)
    new = await there.token(tenant_id, connection_id, refused=old)
    assert await here.token(tenant_id, connection_id, refused=old) == new
    assert crm.exchanges == 1


async def test_another_tenant_gets_no_token(parts: Parts, connection_id: str) -> None:
    stranger = await make_tenant(parts, "Other AG")
    with pytest.raises(ReconnectNeeded):
        await fresh(parts).token(stranger, connection_id)


async def test_a_renewal_that_is_due_happens_with_nobody_waiting(
    parts: Parts, tenant_id: TenantId, connection_id: str, crm: Crm
) -> None:
    await change(parts, connection_id, refresh_due_at=utc_now())
    async with parts.db.reading() as session:
        assert await queries.due_refreshes(session) == [connection_id]
    await another_process(parts).refresh_due(connection_id)
    await another_process(parts).refresh_due(connection_id)  # a second ring renews nothing
    assert crm.exchanges == 1
    async with parts.db.reading() as session:
        assert await queries.due_refreshes(session) == []


async def test_the_old_refresh_token_stays_where_the_answer_brings_none(
    parts: Parts, tenant_id: TenantId, connection_id: str, crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A null in an answer must not end a connection half an hour later."""
    answer = crm.vendor.tokens.token
    monkeypatch.setattr(crm.vendor.tokens, "token", lambda form, now: {**answer(form, now), "refresh_token": None})
    before = (await row_of(parts, connection_id)).refresh_token
    await about_to_end(parts, connection_id)
    await fresh(parts).token(tenant_id, connection_id)
    assert (await row_of(parts, connection_id)).refresh_token == before


async def test_other_fields_of_the_grant_survive_an_answer_without_them(
    parts: Parts, tenant_id: TenantId, connection_id: str, crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Salesforce leaves `instance_url` out of renewals; others lost it for good."""
    answer = crm.vendor.tokens.token

    def shorter(form: dict[str, str], now: object) -> dict[str, object]:
        return {name: value for name, value in answer(form, now).items() if name != "hub_id"}  # type: ignore[arg-type]

    monkeypatch.setattr(crm.vendor.tokens, "token", shorter)
    await about_to_end(parts, connection_id)
    await fresh(parts).token(tenant_id, connection_id)
    row = await row_of(parts, connection_id)
    keys = await parts.keyring.of(tenant_id)
    assert json.loads(keys.open(row.grant_extra or b"", "connections", "grant_extra", row.id))["hub_id"] == AURORA


async def test_a_rotated_refresh_token_is_committed_before_the_access_token_is_used(
    parts: Parts, tenant_id: TenantId, connection_id: str, crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = crm.vendor.tokens.token
    monkeypatch.setattr(
        crm.vendor.tokens, "token", lambda form, now: {**answer(form, now), "refresh_token": "na1-rotated"}
    )
    await about_to_end(parts, connection_id)
    token = await fresh(parts).token(tenant_id, connection_id)
    row = await row_of(parts, connection_id)
    keys = await parts.keyring.of(tenant_id)
    assert keys.open(row.refresh_token or b"", "connections", "refresh_token", row.id) == b"na1-rotated"
    assert keys.open(row.access_token or b"", "connections", "access_token", row.id).decode() == token


async def test_a_new_grant_outlives_a_moment_without_database(
    parts: Parts, tenant_id: TenantId, connection_id: str, crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where refresh tokens rotate, the one in our hand is the only good one: it is not dropped for a lost connection."""
    monkeypatch.setattr(module, "STORE_AGAIN", (timedelta(milliseconds=1),))
    tokens = fresh(parts)
    store, tries = tokens._store, 0

    async def away_once(*given: Any) -> Access | None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OperationalError("UPDATE", {}, ConnectionError())
        return await store(*given)

    monkeypatch.setattr(tokens, "_store", away_once)
    await about_to_end(parts, connection_id)
    assert await tokens.token(tenant_id, connection_id)
    assert (tries, crm.exchanges) == (2, 1)


# ── when it fails ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": Kind.OUTAGE},
        {"kind": Kind.ERROR, "status": 500},
        {"kind": Kind.RATE_LIMIT},
        {"kind": Kind.ERROR, "status": 423},
        {"kind": Kind.ERROR, "status": 477},
        {"kind": Kind.HTML},
        {"kind": Kind.TRUNCATED},
        {"kind": Kind.REDIRECT},
        {"kind": Kind.RESET},
        {"kind": Kind.EMPTY},
    ],
    ids=lambda fault: "-".join(str(part) for part in fault.values()),
)
async def test_trouble_at_the_token_endpoint_is_never_a_revocation(
    parts: Parts, tenant_id: TenantId, connection_id: str, crm: Crm, fault: dict[str, object]
) -> None:
    crm.break_down(path=TOKEN, **fault)
    await about_to_end(parts, connection_id)
    tokens = fresh(parts)
    with pytest.raises(Unavailable):
        await tokens.token(tenant_id, connection_id)
    row = await row_of(parts, connection_id)
    assert (row.state, row.paused_at) == (State.ACTIVE, None)
    assert row.refresh_not_before is not None
    assert row.refresh_due_at is not None
    with pytest.raises(Unavailable) as cooling:
        await tokens.token(tenant_id, connection_id)
    assert cooling.value.retry_after is not None
    assert crm.exchanges == 1  # nobody asks again while it cools down


async def test_it_is_renewed_as_soon_as_the_endpoint_has_cooled_down(
    parts: Parts, tenant_id: TenantId, connection_id: str, crm: Crm
) -> None:
    crm.break_down(kind=Kind.OUTAGE, path=TOKEN, count=1)
    await about_to_end(parts, connection_id)
    tokens = fresh(parts)
    with pytest.raises(Unavailable):
        await tokens.token(tenant_id, connection_id)
    await change(parts, connection_id, refresh_not_before=utc_now())
    assert await tokens.token(tenant_id, connection_id)
    assert (await row_of(parts, connection_id)).refresh_failures == 0


async def test_the_last_seconds_of_a_token_bridge_an_outage(
    parts: Parts, tenant_id: TenantId, connection_id: str, crm: Crm
) -> None:
    token = await fresh(parts).token(tenant_id, connection_id)
    crm.break_down(kind=Kind.OUTAGE, path=TOKEN)
    await change(parts, connection_id, token_expires_at=utc_now() + MARGIN / 2)
    assert await fresh(parts).token(tenant_id, connection_id) == token


async def test_a_revoked_grant_holds_the_connection_and_says_so(
    parts: Parts, tenant_id: TenantId, connection_id: str, crm: Crm
) -> None:
    crm.vendor.grants.uninstall(AURORA)
    await about_to_end(parts, connection_id)
    with pytest.raises(ReconnectNeeded):
        await fresh(parts).token(tenant_id, connection_id)
    row = await row_of(parts, connection_id)
    assert row.state == State.RECONNECT_NEEDED
    assert row.paused_at is not None
    assert row.refresh_due_at is None
    assert row.reason
    assert "invalid_grant" not in row.reason
    with pytest.raises(ReconnectNeeded):
        await fresh(parts).token(tenant_id, connection_id)
    assert crm.exchanges == 1


async def test_a_lost_race_is_not_a_revocation(
    parts: Parts, tenant_id: TenantId, connection_id: str, crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else rotated the token while we asked with the old one: theirs is used, nobody is signed out."""
    answer = crm.vendor.tokens.token
    theirs = await parts.keyring.of(tenant_id)
    raced = asyncio.Event()

    def refused(form: dict[str, str], now: object) -> dict[str, object]:
        raced.set()
        return answer({**form, "refresh_token": "used-up"}, now)  # type: ignore[arg-type]

    monkeypatch.setattr(crm.vendor.tokens, "token", refused)
    crm.break_down(kind=Kind.LATENCY, path=TOKEN, delay=timedelta(milliseconds=400))
    await about_to_end(parts, connection_id)
    asking = asyncio.create_task(fresh(parts).token(tenant_id, connection_id))

    async def leased() -> bool:
        return (await row_of(parts, connection_id)).refresh_lease_until is not None

    await until_async("the lease is taken", leased)
    await change(
        parts,
        connection_id,
        token_version=2,
        access_token=theirs.seal(b"theirs", "connections", "access_token", connection_id),
        token_expires_at=utc_now() + timedelta(minutes=30),
    )
    assert await asking == "theirs"
    assert raced.is_set()
    assert (await row_of(parts, connection_id)).state == State.ACTIVE


async def test_a_holder_that_was_fenced_off_declares_nothing_gone(
    parts: Parts, tenant_id: TenantId, connection_id: str, crm: Crm
) -> None:
    """It was frozen past its lease; who renews now must not find the connection paused under its hands."""
    crm.break_down(kind=Kind.LATENCY, path=TOKEN, delay=timedelta(milliseconds=400))
    crm.vendor.grants.uninstall(AURORA)
    await about_to_end(parts, connection_id)
    asking = asyncio.create_task(fresh(parts).token(tenant_id, connection_id))

    async def leased() -> bool:
        return (await row_of(parts, connection_id)).refresh_lease_until is not None

    await until_async("the lease is taken", leased)
    somebody_else_until = utc_now() + timedelta(milliseconds=900)
    await change(parts, connection_id, refresh_fence=99, refresh_lease_until=somebody_else_until)
    with pytest.raises(ReconnectNeeded):
        await asking
    assert crm.exchanges == 2  # its own try counted for nothing; only under a lease of its own it may say so
    assert (await row_of(parts, connection_id)).refresh_fence == 100


async def test_a_grant_that_arrives_late_revives_a_connection_declared_gone(
    parts: Parts, tenant_id: TenantId, connection_id: str, crm: Crm
) -> None:
    """Frozen between exchange and commit, with a rotated token in hand: the only good one there is."""
    crm.break_down(kind=Kind.LATENCY, path=TOKEN, delay=timedelta(milliseconds=400))
    await about_to_end(parts, connection_id)
    asking = asyncio.create_task(fresh(parts).token(tenant_id, connection_id))

    async def leased() -> bool:
        return (await row_of(parts, connection_id)).refresh_lease_until is not None

    await until_async("the lease is taken", leased)
    async with parts.db.transaction(tenant_id) as session:
        await queries.pause(session, tenant_id, connection_id, reason="declared gone", now=utc_now())
    assert await asking
    row = await row_of(parts, connection_id)
    assert (row.state, row.paused_at, row.reason) == (State.ACTIVE, None, None)


async def test_a_lease_whose_holder_died_is_taken_over(
    parts: Parts, tenant_id: TenantId, connection_id: str, crm: Crm
) -> None:
    await about_to_end(parts, connection_id)
    await change(parts, connection_id, refresh_lease_until=utc_now() + timedelta(milliseconds=300), refresh_fence=7)
    assert await fresh(parts).token(tenant_id, connection_id)
    assert crm.exchanges == 1
    assert (await row_of(parts, connection_id)).refresh_fence == 8


async def test_a_waiting_process_never_asks_the_vendor(
    parts: Parts, tenant_id: TenantId, connection_id: str, crm: Crm
) -> None:
    crm.break_down(kind=Kind.LATENCY, path=TOKEN, delay=timedelta(milliseconds=500))
    await about_to_end(parts, connection_id)
    found = await asyncio.gather(*(fresh(parts).token(tenant_id, connection_id) for _ in range(8)))
    assert len(set(found)) == 1
    assert crm.exchanges == 1


async def test_a_reconnect_wins_over_a_renewal_under_way(
    parts: Parts, tenant_id: TenantId, connection_id: str, crm: Crm
) -> None:
    crm.break_down(kind=Kind.LATENCY, path=TOKEN, delay=timedelta(milliseconds=700), count=1)
    await about_to_end(parts, connection_id)
    asking = asyncio.create_task(fresh(parts).token(tenant_id, connection_id))

    async def leased() -> bool:
        return (await row_of(parts, connection_id)).refresh_lease_until is not None

    await until_async("the lease is taken", leased)
    await connect(parts, tenant_id, connection_id=connection_id)
    stored = await fresh(parts).token(tenant_id, connection_id)
    assert await asking == stored


# ── four processes ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def on_postgres(crm: Crm, postgres_url: str, sealing_key: str) -> AsyncIterator[Parts]:
    async with opened_parts(settings_for(postgres_url, sealing_key)) as parts:
        yield parts


async def test_fifty_callers_in_four_processes_make_one_exchange(
    on_postgres: Parts, crm: Crm, postgres_url: str, sealing_key: str
) -> None:
    """Two exchanges at once have cost others whole token families (HQBase #41). The endpoint takes 1.5 s here, and the
    lease is scaled with it; in the product 12 s fit into 30."""
    tenant_id = await make_tenant(on_postgres)
    connection_id = await connected(on_postgres, tenant_id)
    await about_to_end(on_postgres, connection_id)
    crm.face.journal.forget()
    crm.break_down(kind=Kind.LATENCY, path=TOKEN, delay=timedelta(seconds=1.5))
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.gateway.connections.asker"),
            json.dumps(
                {
                    "database_url": postgres_url,
                    "sealing_key": sealing_key,
                    "tenant_id": tenant_id,
                    "connection_id": connection_id,
                    "callers": callers,
                    "lease_s": 3.75,
                }
            ),
            cwd=PROJECT,
            env={**os.environ, **crm.environment()},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for callers in (13, 13, 12, 12)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
        answers = [await process.communicate() for process in processes]
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
    handed_out = [token for out, _ in answers for token in json.loads(out.splitlines()[-1])]
    assert len(handed_out) == 50
    assert len(set(handed_out)) == 1
    assert crm.exchanges == 1


# ── pure ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.floats(0, 1), st.integers(1, 86_400), st.integers(0, 7_200))
def test_a_token_is_renewed_in_its_second_half_and_before_its_end(roll: float, lifetime_s: int, ahead_s: int) -> None:
    lifetime, ahead = timedelta(seconds=lifetime_s), timedelta(seconds=ahead_s)
    after = renew_after(lifetime, msgspec.structs.replace(MANIFEST, refresh_ahead=ahead), roll=roll)
    assert lifetime / 2 <= after <= lifetime


def test_a_grant_that_ends_of_idleness_is_renewed_long_before_however_long_its_token_lasts() -> None:
    """Pipedrive: sixty days without use, and the tenant has to sign in again."""
    idle = msgspec.structs.replace(MANIFEST, idle_life=timedelta(days=60))
    for roll in (0.0, 1.0):
        assert renew_after(timedelta(days=3650), idle, roll=roll) == timedelta(days=15)
        assert renew_after(timedelta(hours=1), idle, roll=roll) < timedelta(hours=1)


@pytest.mark.parametrize(
    ("failures", "wish", "least", "most"),
    [
        (0, None, 0.5, 1),
        (3, None, 4, 8),
        (50, None, 30, 60),
        (0, timedelta(seconds=20), 20, 20),
        (0, timedelta(days=1), 3600, 3600),
        (0, timedelta(0), 0.5, 1),
    ],
)
def test_a_token_endpoint_in_trouble_is_left_alone_for_longer_each_time(
    failures: int, wish: timedelta | None, least: float, most: float
) -> None:
    for roll in (0.0, 1.0):
        assert least <= cool_down(failures, wish=wish, roll=roll).total_seconds() <= most
