"""Notifications: believed only with the secret they were subscribed with, read whatever is in them."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.crm.changes import Change, Forged, Happened, Notice
from connectors.crm.pipedrive.wire_changes import read_changes
from connectors.crm.records import Kind, Ref

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
SECRET = "a-long-secret"


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def read(body: bytes, authorization: str | None = None) -> list[Change]:
    given = basic("gateway", SECRET) if authorization is None else authorization
    headers = {"authorization": given} if given else {}
    return list(read_changes(Notice(method="POST", url="https://g.example/x", headers=headers, body=body), SECRET, NOW))


def notice(**meta: Any) -> bytes:
    told = {"action": "change", "entity": "person", "entity_id": "7", "company_id": "15043420"}
    return json.dumps({"meta": {**told, "timestamp": "2026-11-23T08:59:59.123Z", **meta}, "data": {}}).encode()


AT = datetime(2026, 11, 23, 8, 59, 59, 123000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({}, Change(kind=Kind.CONTACT, id="7", at=AT, account="15043420")),
        ({"action": "create"}, Change(kind=Kind.CONTACT, id="7", at=AT, account="15043420")),
        (
            {"action": "delete", "entity": "organization"},
            Change(kind=Kind.COMPANY, id="7", happened=Happened.DELETED, at=AT, account="15043420"),
        ),
        (
            {"action": "delete", "merged_to_id": "8"},
            Change(
                kind=Kind.CONTACT,
                id="7",
                happened=Happened.MERGED,
                at=AT,
                account="15043420",
                into=Ref(Kind.CONTACT, "8"),
            ),
        ),
        ({"merged_from_id": "6"}, Change(kind=Kind.CONTACT, id="7", at=AT, account="15043420")),
        ({"entity": "lead", "entity_id": "u-1"}, Change(kind=Kind.LEAD, id="u-1", at=AT, account="15043420")),
        ({"timestamp": "soon", "company_id": None}, Change(kind=Kind.CONTACT, id="7")),
        ({"entity": "deal"}, None),
        ({"entity": "activity"}, None),
        ({"action": "added"}, None),
        ({"entity_id": None}, None),
        ({"entity": ["person"]}, None),
    ],
)
def test_a_notice_says_what_changed(meta: dict[str, Any], expected: Change | None) -> None:
    assert read(notice(**meta)) == ([expected] if expected else [])


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic !!!",
        basic("gateway", "another"),
        basic("gateway", ""),
        basic("admin", SECRET),
        f"Bearer {SECRET}",
        basic("gateway", SECRET).replace("Basic", "Bearer"),
        basic("gateway", SECRET) + "x",
    ],
)
def test_a_notice_without_the_secret_is_forged(authorization: str) -> None:
    """Whoever knows the address must not be able to have records deleted from the mirror."""
    with pytest.raises(Forged):
        read(notice(action="delete"), authorization)


@given(
    st.binary(max_size=300) | st.dictionaries(st.text(), st.integers()).map(lambda value: json.dumps(value).encode())
)
def test_whatever_comes_breaks_nothing(body: bytes) -> None:
    assert read(body) == []
