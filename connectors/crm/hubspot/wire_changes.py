"""HubSpot's change notifications → changes. Pure.

An app has one address for all accounts that installed it; `portalId` says whose an event is. Events come in arrays of up
to a hundred, unordered, and more than once.
Facts: the official client's signature check and developers.hubspot.com's "Validating requests" as of 2026-11.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.crm.changes import Change, Forged, Happened, Notice
from connectors.crm.records import Kind, Ref
from connectors.json_text import BadJson, parse_json

OLDEST = timedelta(minutes=5)
_SIGNATURE, _TIMESTAMP = "x-hubspot-signature-v3", "x-hubspot-request-timestamp"

# What HubSpot decodes in an address before it signs it, and nothing else.
_DECODED = {f"%{ord(sign):02X}": sign for sign in ":/?@!$'()*,;"}
_ENCODED = re.compile("|".join(_DECODED), re.IGNORECASE)

_KINDS = {"contact": Kind.CONTACT, "company": Kind.COMPANY}
_TYPE_IDS = {"0-1": Kind.CONTACT, "0-2": Kind.COMPANY}
_HAPPENED = {
    "creation": Happened.CHANGED,
    "propertyChange": Happened.CHANGED,
    "restore": Happened.CHANGED,
    "deletion": Happened.DELETED,
    "privacyDeletion": Happened.DELETED,
}
_ID = re.compile(r"\d{1,20}", re.ASCII)


def read_changes(notice: Notice, secret: str, now: datetime) -> Sequence[Change]:
    """See `connectors.crm.changes.ReadChanges`. Oldest first; of the same news about a record only the latest.

    What is not about people or companies, or only about their links, is left out; so is what has no documented shape.
    """
    _check(notice, secret, now)
    try:
        events = parse_json(notice.body)
    except BadJson:
        return ()
    found = [change for event in _objects(events) for change in _changes(event)]
    found.sort(key=lambda one: one.at or now)
    latest = {(one.account, one.kind, one.id, one.happened): one for one in found}
    return tuple(sorted(latest.values(), key=lambda one: one.at or now))


def signature(notice: Notice, secret: str, timestamp: str) -> str:
    """Version 3: base64 of HMAC-SHA256 over method, address, raw body and the timestamp as it was sent."""
    address = _ENCODED.sub(lambda match: _DECODED[match[0].upper()], notice.url)
    said = notice.method.upper().encode() + address.encode() + notice.body + timestamp.encode()
    return base64.b64encode(hmac.new(secret.encode(), said, hashlib.sha256).digest()).decode()


def _check(notice: Notice, secret: str, now: datetime) -> None:
    timestamp = notice.headers.get(_TIMESTAMP, "")
    expected = signature(notice, secret, timestamp)
    if not secret or not hmac.compare_digest(expected.encode(), notice.headers.get(_SIGNATURE, "").encode()):
        raise Forged("the signature is not HubSpot's")
    sent = re.fullmatch(r"\d{1,15}", timestamp, re.ASCII)
    if sent is None or abs(now - _moment(int(timestamp))) > OLDEST:
        raise Forged("the notice is too old, or from the future")


def _changes(event: Mapping[str, Any]) -> Iterator[Change]:
    subject, _, news = str(event.get("subscriptionType", "")).partition(".")
    kind = _TYPE_IDS.get(str(event.get("objectTypeId", ""))) if subject == "object" else _KINDS.get(subject)
    at = event.get("occurredAt")
    when = _moment(at) if isinstance(at, int) and 0 < at < 10**15 else None
    account = _id(event.get("portalId"))
    if kind is None or account is None:
        return
    if news == "merge":
        yield from _merged(event, kind, when, account)
    elif news in _HAPPENED and (id := _id(event.get("objectId"))) is not None:
        yield Change(kind=kind, id=id, happened=_HAPPENED[news], at=when, account=account)


def _merged(event: Mapping[str, Any], kind: Kind, when: datetime | None, account: str) -> Iterator[Change]:
    """The winner may keep its id or get a new one; everybody else has become the winner."""
    primary = _id(event.get("primaryObjectId"))
    winner = _id(event.get("newObjectId")) or primary
    if winner is None:
        return
    others = event.get("mergedObjectIds")
    ids = [primary, *(_id(other) for other in (others if isinstance(others, list) else []))]
    for id in dict.fromkeys(ids):
        if id is not None and id != winner:
            into = Ref(kind, winner)
            yield Change(kind=kind, id=id, happened=Happened.MERGED, at=when, into=into, account=account)
    yield Change(kind=kind, id=winner, at=when, account=account)


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    for entry in value if isinstance(value, list) else [value]:
        if isinstance(entry, dict):
            yield entry


def _id(value: object) -> str | None:
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if _ID.fullmatch(text) else None


def _moment(milliseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
