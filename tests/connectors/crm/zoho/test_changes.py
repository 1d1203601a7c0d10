"""Change notifications: asked for, prolonged, ended; and what is believed of what comes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.crm.changes import Change, Forged, Happened, Notice, Subscription
from connectors.crm.records import Kind
from connectors.crm.zoho.client import Zoho
from connectors.crm.zoho.wire_changes import channel_for, read_changes, word_for
from connectors.errors import Rejected
from connectors.sandbox.clock import Clock
from tests.connectors.crm.zoho.world import World

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
ADDRESS, SECRET = "https://gateway.example/crm/zoho/abc", "s" * 40
TOLD = {
    "server_time": 1795424400000,
    "query_params": {},
    "module": "Contacts",
    "resource_uri": "https://www.zohoapis.com/crm/v8/Contacts",
    "ids": ["7328395000000680001", "7328395000000680002"],
    "affected_fields": [{"7328395000000680001": ["Phone"]}],
    "operation": "update",
    "channel_id": "1000000068001",
    "token": SECRET,
}


def notice(told: Any) -> Notice:
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    return Notice(method="POST", url=ADDRESS, headers={}, body=body)


def test_ids_are_read_and_nothing_else() -> None:
    first, second = read_changes(notice(TOLD), SECRET, NOW)
    assert first == Change(kind=Kind.CONTACT, id="7328395000000680001", at=NOW)
    assert second.id == "7328395000000680002"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"operation": "insert"}, Happened.CHANGED),
        ({"operation": "delete"}, Happened.DELETED),
        ({"module": "Leads"}, Happened.CHANGED),
        ({"module": "Accounts"}, Happened.CHANGED),
        ({"module": "Deals"}, None),
        ({"module": None}, None),
        ({"operation": "merged"}, None),
        ({"ids": "7328395000000680001"}, None),
        ({"ids": [7, None, "x", "../1", "\u0661"]}, None),
    ],
)
def test_what_is_not_mirrored_tells_nothing(more: Mapping[str, Any], expected: Happened | None) -> None:
    changes = read_changes(notice({**TOLD, **more}), SECRET, NOW)
    assert {change.happened for change in changes} == ({expected} if expected else set())


@pytest.mark.parametrize("token", [None, "", "S" * 40, SECRET + " ", 7, ["s"], {"token": SECRET}])
def test_without_our_word_nothing_is_believed(token: Any) -> None:
    with pytest.raises(Forged):
        read_changes(notice({**TOLD, "token": token}), SECRET, NOW)
    with pytest.raises(Forged):
        read_changes(notice({name: value for name, value in TOLD.items() if name != "token"}), SECRET, NOW)


@given(st.one_of(st.binary(max_size=50), st.sampled_from([b"[]", b"null", b'"x"', b"{" * 200, b"{}"])))
def test_what_is_no_notification_is_forged(body: bytes) -> None:
    with pytest.raises(Forged):
        read_changes(notice(body), SECRET, NOW)


@pytest.mark.parametrize("server_time", [None, True, "soon", -(10**18), 1e300, 99_999_999_999_999])
def test_an_odd_time_is_now(server_time: Any) -> None:
    (change, _) = read_changes(notice({**TOLD, "server_time": server_time}), SECRET, NOW)
    assert change.at is not None
    assert change.at <= NOW


def test_a_long_secret_is_shortened_the_same_way_on_both_sides() -> None:
    secret = "x" * 64
    assert len(word_for(secret)) <= 50
    assert read_changes(notice({**TOLD, "token": word_for(secret)}), secret, NOW)
    with pytest.raises(Forged):
        read_changes(notice({**TOLD, "token": secret}), secret, NOW)


def test_a_channel_is_digits_and_the_same_for_the_same_address() -> None:
    assert channel_for(ADDRESS) == channel_for(ADDRESS) != channel_for(ADDRESS + "x")
    assert channel_for(ADDRESS).isdigit()
    assert len(channel_for(ADDRESS)) == 15


@pytest.fixture
def living(world: World) -> World:
    """At the real time, in which the connector asks for expiry."""
    world.clock = world.vendor.shared.clock = Clock()
    world.token = world.vendor.grants.issue_access(world.grant, world.clock())
    return world


async def test_a_channel_lives_from_asking_to_ending(living: World, crm: Zoho) -> None:
    (one,) = await crm.subscribe(address=ADDRESS, secret=SECRET)
    assert set(one.kinds) == {Kind.CONTACT, Kind.LEAD, Kind.COMPANY}
    assert one.expires_at is not None
    assert timedelta(days=6, hours=23) < one.expires_at - living.clock() < timedelta(days=7)
    living.vendor.outgoing(living.org)
    person = living.add("Contacts", Last_Name="Perrochon", Phone="044 668 18 00")
    (sent,) = living.vendor.outgoing(living.org)
    assert sent.url == ADDRESS
    (change,) = read_changes(notice(sent.body), SECRET, living.clock())
    assert (change.kind, change.id, change.happened) == (Kind.CONTACT, person, Happened.CHANGED)
    living.clock.advance(timedelta(days=6))
    renewed = await _later(living, crm, one)
    assert renewed.expires_at is not None
    assert renewed.expires_at >= one.expires_at
    living.add("Leads", Last_Name="Lead", Company="X")
    assert read_changes(notice(living.vendor.outgoing(living.org)[-1].body), SECRET, living.clock())  # the word stayed
    for _ in range(2):
        await crm.unsubscribe(one)
    living.add("Contacts", Last_Name="Unseen")
    assert living.vendor.outgoing(living.org) == []


async def _later(living: World, crm: Zoho, one: Subscription) -> Subscription:
    living.token = living.vendor.grants.issue_access(living.grant, living.clock())
    return await crm.renew(one)


async def test_asking_twice_leaves_one_channel(living: World, crm: Zoho) -> None:
    (first,) = await crm.subscribe(address=ADDRESS, secret="another")
    (second,) = await crm.subscribe(address=ADDRESS, secret=SECRET)
    assert first.id == second.id
    assert len(living.vendor.watching.of(living.org).open) == 1
    living.vendor.outgoing(living.org)
    living.add("Contacts", Last_Name="Perrochon")
    (sent,) = living.vendor.outgoing(living.org)
    assert read_changes(notice(sent.body), SECRET, living.clock())


async def test_a_channel_that_ended_is_gone(living: World, crm: Zoho) -> None:
    (one,) = await crm.subscribe(address=ADDRESS, secret=SECRET)
    living.clock.advance(timedelta(days=8))
    with pytest.raises(Rejected) as refused:
        await _later(living, crm, one)
    assert refused.value.gone


async def test_who_asks_for_more_than_a_week_gets_an_hour(living: World) -> None:
    """The answered end counts, not the wished one."""
    until = (living.clock() + timedelta(days=30)).isoformat(timespec="seconds")
    watch = {"channel_id": "1", "events": ["Leads.all"], "channel_expiry": until, "notify_url": ADDRESS, "token": "t"}
    status, told = living.told("POST", "actions/watch", {"watch": [watch]})
    assert status == 201
    at = datetime.fromisoformat(told["watch"][0]["details"]["events"][0]["channel_expiry"])
    assert at - living.clock() <= timedelta(hours=1)
