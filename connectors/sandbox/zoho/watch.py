"""Change notifications: channels, how long they live, and what is on its way out.

Nothing is sent from here: what would be is kept in `Channels.outgoing`, for whoever delivers it in a test.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec

from connectors.sandbox.store import Change
from connectors.sandbox.zoho.ask import Answered, Ask, Routes, nothing, plain_scope
from connectors.sandbox.zoho.errors import BadRecord, refusal, said
from connectors.sandbox.zoho.modules import BY_KIND, MODULES
from connectors.sandbox.zoho.org import Org

_MOST = timedelta(days=7)
_SHORT = timedelta(hours=1)  # for who asks for too much, or for nothing
_LONGEST_TOKEN = 50


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    url: str
    events: tuple[str, ...]
    until: datetime
    token: str | None = None


class Notification(msgspec.Struct, frozen=True):
    """A POST that Zoho would make: where to, and with what."""

    url: str
    body: bytes


class Channels:
    """Of one organisation."""

    def __init__(self, org: Org) -> None:
        self._org = org
        self._seen = 0
        self.open: dict[str, Channel] = {}
        self._outgoing: list[Notification] = []

    def outgoing(self, now: datetime) -> list[Notification]:
        """Takes what is to be sent by now, oldest first."""
        self.collect(now)
        taken, self._outgoing = self._outgoing, []
        return taken

    def collect(self, now: datetime) -> None:
        """Turn what has happened since the last time into notifications, for the channels open now."""
        changes = self._org.crm.changes
        for change in changes[self._seen :]:
            for channel in self.open.values():
                if channel.until > now and (said := _told(self._org, channel, change)) is not None:
                    self._outgoing.append(Notification(channel.url, msgspec.json.encode(said)))
        self._seen = len(changes)


def _told(org: Org, channel: Channel, change: Change) -> dict[str, Any] | None:
    module = BY_KIND[change.entry.kind].name
    what, operation = {"created": ("create", "insert"), "updated": ("edit", "update")}.get(
        change.what, ("delete", "delete")
    )
    if not {f"{module}.{what}", f"{module}.all"} & set(channel.events):
        return None
    return {
        "server_time": int(change.at.timestamp() * 1000),
        "query_params": {},
        "module": module,
        "resource_uri": f"https://www.zohoapis.eu/crm/v8/{module}",
        "ids": [change.entry.id],
        "affected_fields": [{change.entry.id: list(change.changed)}],
        "operation": operation,
        "channel_id": channel.id,
        "token": channel.token,
    }


class Watching:
    """The handlers; each organisation's channels by its id."""

    def __init__(self) -> None:
        self.channels: dict[str, Channels] = {}

    def of(self, org: Org) -> Channels:
        if org.zgid not in self.channels:
            self.channels[org.zgid] = Channels(org)
        return self.channels[org.zgid]

    def add_routes(self, routes: Routes) -> None:
        routes.add("GET", "actions/watch", self.listed, plain_scope("notifications", "READ"))
        routes.add("POST", "actions/watch", self.enable, plain_scope("notifications", "CREATE"))
        routes.add("PUT", "actions/watch", self.change, plain_scope("notifications", "UPDATE"))
        routes.add("PATCH", "actions/watch", self.change, plain_scope("notifications", "UPDATE"))
        routes.add("DELETE", "actions/watch", self.end, plain_scope("notifications", "DELETE"))

    def listed(self, ask: Ask) -> Answered:
        wanted, module = ask.one("channel_id"), ask.one("module")
        found = [
            (channel, event)
            for channel in self._living(ask).values()
            for event in channel.events
            if wanted in (None, channel.id) and (module is None or event.startswith(f"{module}."))
        ]
        if not found:
            return nothing()
        watch = [
            {**_event(ask, channel, event), "notify_url": channel.url, "events": [event], "token": channel.token}
            for channel, event in found
        ]
        info = {"per_page": 200, "count": len(watch), "page": 1, "more_records": False}
        return 200, {"watch": watch, "info": info}

    def enable(self, ask: Ask) -> Answered:
        return self._all(ask, 201, "Successfully subscribed for actions-watch of the given module", new=True)

    def change(self, ask: Ask) -> Answered:
        return self._all(ask, 200, "Successfully updated the subscribe details", new=False)

    def end(self, ask: Ask) -> Answered:
        ids = ask.many("channel_ids")
        if not ids:
            ask.needed("channel_ids")
        channels, entries = self.of(ask.org), []
        for id in ids:
            channel = self._living(ask).get(id)
            if channel is None:
                entries.append(said("NOT_SUBSCRIBED", "not subscribed", {}))
                continue
            channels.collect(ask.now)
            del channels.open[id]
            event = _event(ask, channel, channel.events[0])
            details = {name: event[name] for name in ("resource_uri", "resource_id", "channel_id")}
            message = "Successfully un-subscribed from actions-watch"
            entries.append({"code": "SUCCESS", "details": details, "message": message, "status": "success"})
        bad = sum(entry["status"] == "error" for entry in entries)
        return (400 if bad == len(entries) else 207 if bad else 200), {"watch": entries}

    def _all(self, ask: Ask, good: int, message: str, *, new: bool) -> Answered:
        entries = []
        channels = self.of(ask.org)
        channels.collect(ask.now)
        for at, given in enumerate(ask.listed("watch", most=50)):
            try:
                channel = self._read(ask, given, at, new)
            except BadRecord as wrong:
                entries.append(wrong.entry)
                continue
            channels.open[channel.id] = channel
            details = {"events": [_event(ask, channel, event) for event in channel.events]}
            entries.append({"code": "SUCCESS", "details": details, "message": message, "status": "success"})
        bad = sum(entry["status"] == "error" for entry in entries)
        return (400 if bad == len(entries) else 207 if bad else good), {"watch": entries}

    def _read(self, ask: Ask, given: dict[str, Any], at: int, new: bool) -> Channel:
        def wrong(code: str, name: str) -> BadRecord:
            return BadRecord(code, "invalid data", {"api_name": name, "json_path": f"$.watch[{at}].{name}"})

        id = str(given.get("channel_id") or "")
        if not id.isdigit():
            raise wrong("INVALID_DATA", "channel_id")
        before = self._living(ask).get(id)
        if before is None and not new:
            raise BadRecord("NOT_SUBSCRIBED", "not subscribed", {})
        events = given.get("events") or (before.events if before else ())
        known = {f"{module.name}.{what}" for module in MODULES.values() for what in ("create", "edit", "delete", "all")}
        if not events or not set(events) <= known:
            raise wrong("INVALID_DATA", "events")
        url = given.get("notify_url") or (before.url if before else None)
        if not isinstance(url, str) or not url.startswith(("https://", "http://127.0.0.1")):
            raise wrong("INVALID_DATA", "notify_url")
        token = given.get("token", before.token if before else None)
        if token is not None and len(str(token)) > _LONGEST_TOKEN:
            raise wrong("INVALID_DATA", "token")
        return Channel(id=id, url=url, events=tuple(events), until=_until(ask, given), token=token)

    def _living(self, ask: Ask) -> dict[str, Channel]:
        return {id: one for id, one in self.of(ask.org).open.items() if one.until > ask.now}


def _until(ask: Ask, given: dict[str, Any]) -> datetime:
    """A week at most; more, or nothing said, is an hour."""
    try:
        wanted = datetime.fromisoformat(str(given.get("channel_expiry")))
    except ValueError:
        return ask.now + _SHORT
    if wanted.tzinfo is None:
        raise refusal(400, "INVALID_DATA", "invalid data", {"api_name": "channel_expiry"})
    return wanted if ask.now < wanted <= ask.now + _MOST else ask.now + _SHORT


def _event(ask: Ask, channel: Channel, event: str) -> dict[str, Any]:
    module = event.partition(".")[0]
    return {
        "channel_expiry": ask.org.stamp(channel.until),
        "resource_uri": f"{ask.origin}/crm/v8/{module}",
        "resource_id": str(7328395000000002000 + list(MODULES).index(module.lower())),
        "resource_name": module,
        "channel_id": channel.id,
    }
