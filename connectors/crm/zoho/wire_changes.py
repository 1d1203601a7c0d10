"""Zoho's change notifications: asking for them, and reading what it sends. Pure.

One channel tells of everything that holds numbers. It lives a week at most; Zoho answers how long. What comes is not
signed: it carries the word we gave when asking, and ids only.
Source: zoho.com/crm/developer, "Notification APIs", read 2026-11; oas-3.1/notifications.json.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from connectors.crm.changes import Change, Forged, Happened, Notice, Subscription
from connectors.crm.records import Kind
from connectors.crm.zoho.wire import KINDS, PEOPLE, moment, path, read, stamp
from connectors.crm.zoho.wire_errors import error_of, errors_in
from connectors.errors import ConnectorError, UnexpectedReply
from connectors.json_text import BadJson, parse_json
from connectors.request import Reply, Request
from connectors.tokens import read_object

EVENTS = tuple(f"{module}.all" for module, kind in KINDS.items() if kind in PEOPLE)
_LIFE = timedelta(days=7) - timedelta(minutes=10)  # beyond a week Zoho takes it for an hour
_LONGEST_WORD = 50
_HAPPENED = {"insert": Happened.CHANGED, "update": Happened.CHANGED, "delete": Happened.DELETED}


def channel_for(address: str) -> str:
    """Ours to choose: digits, the same for the same address, so that asking twice leaves one channel."""
    return str(10**14 + int.from_bytes(hashlib.sha256(address.encode()).digest()[:6], "big"))


def word_for(secret: str) -> str:
    """What Zoho echoes: the secret, or as much of its digest as fits."""
    return secret if len(secret) <= _LONGEST_WORD else hashlib.sha256(secret.encode()).hexdigest()[:_LONGEST_WORD]


def look(channel: str) -> Request:
    return Request(method="GET", path=path("actions", "watch"), query=[("channel_id", channel)])


def enable(channel: str, *, address: str, secret: str, now: datetime, exists: bool) -> Request:
    """Begin a channel, or set an existing one to this address and word. Doing it again changes nothing, hence no write."""
    watch = {**_watch(channel, address, now), "token": word_for(secret)}
    return Request(method="PUT" if exists else "POST", path=path("actions", "watch"), json={"watch": [watch]})


def prolong(channel: str, *, address: str, now: datetime) -> Request:
    """Another week. What is not named, the word among it, stays."""
    return Request(method="PATCH", path=path("actions", "watch"), json={"watch": [_watch(channel, address, now)]})


def end(channel: str) -> Request:
    return Request(method="DELETE", path=path("actions", "watch"), query=[("channel_ids", channel)])


def _watch(channel: str, address: str, now: datetime) -> dict[str, Any]:
    return {
        "channel_id": channel,
        "events": list(EVENTS),
        "channel_expiry": stamp(now + _LIFE),
        "notify_url": address,
    }


class _Event(msgspec.Struct):
    channel_expiry: str = ""


class _Details(msgspec.Struct):
    events: list[_Event] = []


class _Watch(msgspec.Struct):
    status: str = ""
    details: _Details = msgspec.field(default_factory=_Details)


class _Watches(msgspec.Struct):
    watch: list[_Watch]


def read_subscription(reply: Reply, channel: str, *, address: str) -> Subscription:
    """The channel with the end Zoho gave it, the earliest of its events'."""
    found = read(reply, _Watches).watch
    ends = [at for one in found for event in one.details.events if (at := moment(event.channel_expiry))]
    if not ends:
        raise UnexpectedReply("Zoho did not say how long it sends notifications", status=reply.status)
    return Subscription(id=channel, kinds=PEOPLE, expires_at=min(ends), extra={"address": address})


def refusal_in(request: Request, reply: Reply) -> ConnectorError | None:
    """What a 2xx refuses all the same: this part of Zoho answers 202 and 207 with errors inside."""
    said = next(errors_in(read_object(reply.body)), None)
    return error_of(request, 400, said) if said else None


def read_changes(notice: Notice, secret: str, now: datetime) -> Sequence[Change]:
    """What a notification tells. Raises `Forged` without our word in it: nothing else shows where it comes from."""
    try:
        told = parse_json(notice.body, most=1024 * 1024)
    except BadJson:
        raise Forged("no notification of Zoho's") from None
    if not isinstance(told, dict):
        raise Forged("no notification of Zoho's")
    token = told.get("token")
    given = token if isinstance(token, str) else ""
    if not hmac.compare_digest(given.encode(), word_for(secret).encode()):
        raise Forged("the notification does not carry our word")
    kind = KINDS.get(str(told.get("module")))
    happened = _HAPPENED.get(str(told.get("operation")))
    ids = told.get("ids")
    if kind not in PEOPLE or happened is None or not isinstance(ids, list):
        return ()
    assert isinstance(kind, Kind)
    at = _sent_at(told.get("server_time"), now)
    named = dict.fromkeys(id for id in ids if isinstance(id, str) and id.isascii() and id.isdigit())
    return [Change(kind=kind, id=id, happened=happened, at=at) for id in named]


def _sent_at(milliseconds: object, now: datetime) -> datetime:
    """Zoho's time, unless it is none; never later than ours, since what follows is read from there on."""
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        return now
    try:
        return min(datetime.fromtimestamp(milliseconds / 1000, UTC), now)
    except (ValueError, OverflowError, OSError):
        return now
