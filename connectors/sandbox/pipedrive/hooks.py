"""Webhooks v2: who wants to be told, and what would be sent. Nothing here calls anybody: deliveries wait in a queue.

Shape: webhooks v2 guide of 2026-07; recorded: webhook-v2-lead-change-application. Ids in `meta` are texts, `visible_to` is
one too; a change names only what changed; a merge is a delete and a change.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from connectors.sandbox.pipedrive.ask import Ask, Routes, ok
from connectors.sandbox.pipedrive.company import Company, Sent, Webhook, lead_uuid
from connectors.sandbox.pipedrive.documents import SHOWN, lead_time
from connectors.sandbox.pipedrive.errors import webhook_refused
from connectors.sandbox.store import Entry

_ACTIONS = frozenset({"create", "change", "delete", "*"})
_OBJECTS = frozenset(
    {"activity", "deal", "lead", "note", "organization", "person", "pipeline", "product", "stage", "user", "*"}
)
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_MOST = 40  # of one user


def add_routes(routes: Routes) -> None:
    routes.add("GET", "/api/v1/webhooks", _list, cost=10, scopes=("admin",))
    routes.add("POST", "/api/v1/webhooks", _create, cost=10, scopes=("admin",))
    routes.add("DELETE", "/api/v1/webhooks/{id}", _delete, cost=6, scopes=("admin",))


def _list(ask: Ask) -> tuple[int, Any]:
    status, body = ok([_shown(ask.company, hook) for hook in ask.company.webhooks if hook.active])
    return status, {"status": "ok", **body}


def _create(ask: Ask) -> tuple[int, Any]:
    """The address must be on https, but for those on this very machine."""
    given, company = ask.document(), ask.company
    for name in ("subscription_url", "event_action", "event_object", "name"):
        if not given.get(name):
            raise webhook_refused(400, **{name: "is required"})
    address = str(given["subscription_url"])
    parts = urlsplit(address)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise webhook_refused(400, subscription_url="invalid or non-reachable URL")
    if given["event_action"] not in _ACTIONS or given["event_object"] not in _OBJECTS:
        raise webhook_refused(400, event_object="is not supported")
    if sum(hook.active for hook in company.webhooks) >= _MOST:
        raise webhook_refused(422, user_id="too many webhooks")
    hook = Webhook(
        company.number("webhook"),
        address,
        str(given["event_action"]),
        str(given["event_object"]),
        str(given["name"]),
        given.get("http_auth_user"),
        given.get("http_auth_password"),
        ask.now,
    )
    company.webhooks.append(hook)
    return 201, {"status": "ok", "success": True, "data": _shown(company, hook)}


def _delete(ask: Ask) -> tuple[int, Any]:
    for hook in ask.company.webhooks:
        if str(hook.id) == ask.path["id"] and hook.active:
            hook.active = False
            return 200, {"status": "ok", "success": True}
    raise webhook_refused(404, id="not found")


def _shown(company: Company, hook: Webhook) -> dict[str, Any]:
    return {
        "id": hook.id,
        "company_id": company.id,
        "owner_id": company.installer.id,
        "user_id": company.installer.id,
        "event_action": hook.action,
        "event_object": hook.object,
        "subscription_url": hook.address,
        "version": "2.0",
        "is_active": int(hook.active),
        "add_time": lead_time(hook.added_at),
        "remove_time": None,
        "type": "application",
        "http_auth_user": hook.user,
        "http_auth_password": hook.password,
        "remove_reason": None,
        "last_delivery_time": None,
        "last_http_status": None,
        "admin_id": company.installer.id,
        "name": hook.name,
    }


def tell(
    company: Company,
    entity: str,
    action: str,
    now: datetime,
    after: Entry | None,
    *,
    before: Entry | None = None,
    **merged: str,
) -> None:
    """Queue what the company's webhooks would be sent about one write."""
    about = after or before
    if about is None or not company.webhooks:
        return
    data = _data(company, entity, after)
    was = _data(company, entity, before)
    changed = {name: value for name, value in (was or {}).items() if data is None or data.get(name) != value}
    id = lead_uuid(about.id) if entity == "lead" else about.id
    for hook in company.webhooks:
        if not hook.active or hook.object not in (entity, "*") or hook.action not in (action, "*"):
            continue
        number = company.number("delivery")
        meta = {
            "action": action,
            "entity": entity,
            "entity_id": id,
            "company_id": str(company.id),
            "id": f"{number:08x}-1234-4234-8234-123456789012",
            "correlation_id": f"{number:08x}-4321-4321-8321-123456789012",
            "timestamp": lead_time(now),
            "type": "application",
            "user_id": str(company.installer.id),
            "version": "2.0",
            "webhook_id": str(hook.id),
            "webhook_owner_id": str(company.installer.id),
            "change_source": "api",
            "permitted_user_ids": [str(company.installer.id)],
            "is_bulk_edit": False,
            "attempt": 1,
            "host": f"{company.domain}.pipedrive.com",
            **merged,
        }
        previous = changed if before is not None else None
        body = {"meta": meta, "data": data, "previous": previous}
        company.outgoing.append(Sent(hook.address, hook.user, hook.password, body))


def _data(company: Company, entity: str, entry: Entry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    shown = SHOWN[entity](company, entry)
    return {**shown, **({"visible_to": str(shown["visible_to"])} if "visible_to" in shown else {})}
