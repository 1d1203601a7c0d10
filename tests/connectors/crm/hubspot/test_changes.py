"""HubSpot's change notifications: whose they are, how old, and what they say. Signatures below were made with openssl."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.crm.changes import Change, Forged, Happened, Notice
from connectors.crm.hubspot.wire_changes import OLDEST, read_changes, signature
from connectors.crm.records import Kind, Ref

SECRET = "hs-secret-7f3e"
SENT = "1795512600000"
NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
URL = "https://gateway.example/v1/crm/hubspot/changes"
PHONE = (
    b'[{"eventId":1,"subscriptionId":12345,"portalId":62515,"appId":54321,"occurredAt":1795512599000,'
    b'"subscriptionType":"contact.propertyChange","attemptNumber":0,"objectId":123,"propertyName":"phone",'
    b'"propertyValue":"+41446681800","changeSource":"CRM"}]'
)
# printf '%s' "POST$URL$BODY$SENT" | openssl dgst -sha256 -hmac "$SECRET" -binary | base64
SIGNED = [
    pytest.param(URL, PHONE, "mBfKfp/SkrbbDFY4Alxvu4slu8iKSn8uBdxEOrShzRQ=", id="plain"),
    pytest.param(
        "https://gateway.example/v1/crm/changes?next=https%3A%2Fx%2fy&q=a%20b%2b%2Cc%3Bd",
        b"[]",
        "LRaYICT2rehU5JfgNRTy1MGP7BMgFf6lYUSnNgQwHhg=",
        id="some of the address decoded",  # what was signed: …?next=https:/x/y&q=a%20b%2b,c;d
    ),
    pytest.param(
        URL, '[{"name":"Zoë"}]'.encode(), "AwTaSrNddxHYoVAj/cFiQZ67dbOUKHSW2y09ciJgsyg=", id="bytes, not text"
    ),
]


def notice(body: bytes, signed: str, *, url: str = URL, sent: str = SENT, method: str = "POST") -> Notice:
    headers = {"x-hubspot-signature-v3": signed, "x-hubspot-request-timestamp": sent}
    return Notice(method=method, url=url, headers=headers, body=body)


def told(*events: dict[str, Any]) -> list[Change]:
    body = json.dumps(list(events)).encode()
    unsigned = notice(body, "")
    return list(read_changes(notice(body, signature(unsigned, SECRET, SENT)), SECRET, NOW))


def event(news: str, **more: Any) -> dict[str, Any]:
    return {"subscriptionType": news, "portalId": 62515, "occurredAt": 1795512599000, "objectId": 123, **more}


@pytest.mark.parametrize(("url", "body", "signed"), SIGNED)
def test_what_hubspot_signed_is_believed(url: str, body: bytes, signed: str) -> None:
    read_changes(notice(body, signed, url=url), SECRET, NOW)


GOOD = "mBfKfp/SkrbbDFY4Alxvu4slu8iKSn8uBdxEOrShzRQ="


@pytest.mark.parametrize(
    ("forged", "secret"),
    [
        pytest.param(notice(PHONE, GOOD), "another-secret", id="another app's secret"),
        pytest.param(notice(PHONE, GOOD), "", id="no secret at all"),
        pytest.param(notice(PHONE + b" ", GOOD), SECRET, id="another body"),
        pytest.param(notice(PHONE, GOOD, url=URL + "?x=1"), SECRET, id="another address"),
        pytest.param(notice(PHONE, GOOD, method="PUT"), SECRET, id="another method"),
        pytest.param(notice(PHONE, GOOD, sent="1795512600001"), SECRET, id="another time"),
        pytest.param(notice(PHONE, ""), SECRET, id="an empty signature"),
        pytest.param(notice(PHONE, "\u00e9"), SECRET, id="a signature that is no base64"),
        pytest.param(Notice(method="POST", url=URL, headers={}, body=PHONE), SECRET, id="no headers"),
    ],
)
def test_what_hubspot_did_not_sign_is_not_believed(forged: Notice, secret: str) -> None:
    with pytest.raises(Forged):
        read_changes(forged, secret, NOW)


@pytest.mark.parametrize("moved", [OLDEST, -OLDEST])
def test_a_signed_notice_is_believed_for_five_minutes(moved: timedelta) -> None:
    """Whoever recorded one must not be able to play it back tomorrow."""
    assert read_changes(notice(PHONE, GOOD), SECRET, NOW + moved)
    with pytest.raises(Forged):
        read_changes(notice(PHONE, GOOD), SECRET, NOW + moved * 1.001)


@pytest.mark.parametrize("sent", ["", "soon", "-1", "1e9", "9" * 40, "１７９５５１２６０００００"])
def test_a_signed_time_that_is_none_is_not_believed(sent: str) -> None:
    signed = signature(notice(PHONE, ""), SECRET, sent)
    with pytest.raises(Forged):
        read_changes(notice(PHONE, signed, sent=sent), SECRET, NOW)


@pytest.mark.parametrize(
    ("news", "kind", "happened"),
    [
        (event("contact.propertyChange", propertyName="phone"), Kind.CONTACT, Happened.CHANGED),
        (event("contact.creation"), Kind.CONTACT, Happened.CHANGED),
        (event("contact.restore"), Kind.CONTACT, Happened.CHANGED),
        (event("contact.deletion"), Kind.CONTACT, Happened.DELETED),
        (event("contact.privacyDeletion"), Kind.CONTACT, Happened.DELETED),
        (event("company.propertyChange"), Kind.COMPANY, Happened.CHANGED),
        (event("object.propertyChange", objectTypeId="0-1"), Kind.CONTACT, Happened.CHANGED),
        (event("object.deletion", objectTypeId="0-2"), Kind.COMPANY, Happened.DELETED),
        (event("contact.creation", objectId="123"), Kind.CONTACT, Happened.CHANGED),
    ],
)
def test_each_kind_of_news_is_read(news: dict[str, Any], kind: Kind, happened: Happened) -> None:
    (change,) = told(news)
    assert (change.kind, change.id, change.happened, change.account) == (kind, "123", happened, "62515")
    assert change.at == datetime(2026, 11, 24, 9, 29, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    "news",
    [
        event("contact.associationChange", fromObjectId=1, toObjectId=2, associationType="CONTACT_TO_COMPANY"),
        event("deal.propertyChange"),
        event("object.propertyChange", objectTypeId="0-3"),
        event("contact.somethingNew"),
        event("contact.creation", objectId=None),
        event("contact.creation", objectId="12a"),
        event("contact.creation", portalId=None),
        event("contact.merge"),
        {},
    ],
)
def test_what_is_not_mirrored_or_not_documented_is_left_out(news: dict[str, Any]) -> None:
    assert told(news) == []


def test_a_merge_says_who_became_whom() -> None:
    """Whoever was looked up under the old number must be found under the new record."""
    changes = told(event("contact.merge", primaryObjectId=1, mergedObjectIds=[2, 3], newObjectId=9))
    assert {(one.id, one.happened, one.into) for one in changes} == {
        ("1", Happened.MERGED, Ref(Kind.CONTACT, "9")), ("2", Happened.MERGED, Ref(Kind.CONTACT, "9")),
        ("3", Happened.MERGED, Ref(Kind.CONTACT, "9")), ("9", Happened.CHANGED, None),
    }  # fmt: skip
    kept = told(event("contact.merge", primaryObjectId=1, mergedObjectIds=[2], newObjectId=1))
    assert {(one.id, one.happened) for one in kept} == {("1", Happened.CHANGED), ("2", Happened.MERGED)}


def test_unordered_and_repeated_news_comes_once_and_oldest_first() -> None:
    changes = told(
        event("contact.propertyChange", occurredAt=3000),
        event("contact.creation", occurredAt=1000),
        event("contact.deletion", occurredAt=4000),
        event("contact.propertyChange", objectId=7, occurredAt=2000),
        event("contact.propertyChange", objectId=7, occurredAt=2000, portalId=62516),
    )
    assert [(one.account, one.id, one.happened) for one in changes] == [
        ("62515", "7", Happened.CHANGED), ("62516", "7", Happened.CHANGED),
        ("62515", "123", Happened.CHANGED), ("62515", "123", Happened.DELETED),
    ]  # fmt: skip


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.integers() | st.text(max_size=20), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["subscriptionType", "objectId", "portalId", "occurredAt", "mergedObjectIds", "objectTypeId"]), inner
    ), max_leaves=12,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_nothing_that_is_signed_breaks_the_reading(body: bytes) -> None:
    signed = signature(notice(body, ""), SECRET, SENT)
    for change in read_changes(notice(body, signed), SECRET, NOW):
        assert change.id.isdecimal()
