"""Communication preferences: who wants no e-mail. By e-mail address only; there is no other channel."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from connectors.sandbox.hubspot.ask import Ask, Routes
from connectors.sandbox.hubspot.errors import invalid, stamp

_DEFINITIONS = {1: "Marketing Information", 2: "Customer Service Communication", 3: "One to One"}
_ALL = 0


def add_routes(routes: Routes) -> None:
    for base in ("/communication-preferences/{version}", "/communication-preferences/v4"):
        routes.add("GET", f"{base}/definitions", definitions, _read)
        routes.add("GET", f"{base}/statuses/{{email}}", statuses, _read)
        routes.add("POST", f"{base}/statuses/{{email}}", set_status, _write)
        routes.add("GET", f"{base}/statuses/{{email}}/unsubscribe-all", is_out, _read)
        routes.add("POST", f"{base}/statuses/{{email}}/unsubscribe-all", opt_out, _write)


def _read(ask: Ask) -> tuple[str, ...]:
    return ("communication_preferences.read", "communication_preferences.read_write")


def _write(ask: Ask) -> tuple[str, ...]:
    return ("communication_preferences.read_write", "communication_preferences.write")


def definitions(ask: Ask) -> tuple[int, Any]:
    born = stamp(ask.portal.installer.since)
    return 200, _envelope(
        ask,
        [
            {
                "id": str(id),
                "name": name,
                "description": f"{name}.",
                "isActive": True,
                "isDefault": True,
                "isInternal": id == 3,
                "communicationMethod": "Email",
                "createdAt": born,
                "updatedAt": born,
            }
            for id, name in _DEFINITIONS.items()
        ],
    )


def statuses(ask: Ask) -> tuple[int, Any]:
    email = _email(ask)
    return 200, _envelope(ask, [_status(ask, email, id) for id in _DEFINITIONS])


def set_status(ask: Ask) -> tuple[int, Any]:
    email, body = _email(ask), ask.document()
    id, state = body.get("subscriptionId"), body.get("statusState")
    if id not in _DEFINITIONS or state not in ("SUBSCRIBED", "UNSUBSCRIBED", "NOT_SPECIFIED"):
        raise invalid("subscriptionId and statusState must name a known subscription and state")
    if body.get("channel") != "EMAIL":
        raise invalid("The only channel is EMAIL")
    out = ask.portal.opted_out.setdefault(email, {})
    if state == "UNSUBSCRIBED":
        out.setdefault(int(id), ask.now)
    elif _ALL in out:
        raise invalid(f"{email} has unsubscribed from all email and can only be resubscribed by the contact")
    else:
        out.pop(int(id), None)
    return 200, _envelope(ask, [_status(ask, email, int(id))])


def is_out(ask: Ask) -> tuple[int, Any]:
    email = _email(ask)
    since = ask.portal.opted_out.get(email, {}).get(_ALL)
    return 200, _envelope(
        ask,
        [
            {
                "channel": "EMAIL",
                "status": "UNSUBSCRIBED" if since else "NOT_SPECIFIED",
                "subscriberIdString": email,
                "timestamp": stamp(since or ask.now),
                "wideStatusType": "PORTAL_WIDE",
            }
        ],
    )


def opt_out(ask: Ask) -> tuple[int, Any]:
    """Out of everything. Saying it twice changes nothing; the contact's own read-only flag follows."""
    email = _email(ask)
    ask.portal.opted_out.setdefault(email, {}).setdefault(_ALL, ask.now)
    holder = ask.portal.crm.holder("contact", "email", email)
    if holder is not None and holder.properties.get("hs_email_optout") != "true":
        ask.portal.crm.update(holder, {"hs_email_optout": "true", "lastmodifieddate": stamp(ask.now)}, ask.now)
    verbose = ask.flag("verbose")
    return 200, _envelope(ask, [_status(ask, email, id) for id in _DEFINITIONS] if verbose else [])


def _email(ask: Ask) -> str:
    """Whose preferences. The channel is a required query parameter, except where the body carries it."""
    in_body = ask.method == "POST" and not ask.url.endswith("/unsubscribe-all")
    if not in_body and ask.one("channel") != "EMAIL":
        raise invalid("The query parameter channel is required and must be EMAIL")
    email = ask.path["email"].strip().lower()
    if "@" not in email:
        raise invalid(f"{email} is not a valid email address")
    return email


def _status(ask: Ask, email: str, id: int) -> dict[str, Any]:
    out = ask.portal.opted_out.get(email, {})
    since: datetime | None = out.get(_ALL) or out.get(id)
    return {
        "channel": "EMAIL",
        "source": "API",
        "status": "UNSUBSCRIBED" if since else "NOT_SPECIFIED",
        "subscriberIdString": email,
        "subscriptionId": id,
        "subscriptionName": _DEFINITIONS[id],
        "timestamp": stamp(since or ask.now),
    }


def _envelope(ask: Ask, results: list[dict[str, Any]]) -> dict[str, Any]:
    return {"status": "COMPLETE", "results": results, "startedAt": stamp(ask.now), "completedAt": stamp(ask.now)}
