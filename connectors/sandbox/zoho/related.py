"""What hangs on a record: its related lists, its notes, its tags."""

from __future__ import annotations

from typing import Any

import msgspec

from connectors.sandbox.store import Entry
from connectors.sandbox.zoho.ask import Answered, Ask, Routes, nothing, scopes_of
from connectors.sandbox.zoho.errors import refusal
from connectors.sandbox.zoho.modules import MODULES
from connectors.sandbox.zoho.records import insert

LISTS = {  # api name → module, and whether of activities those that are over
    "Deals": ("deals", None),
    "Cases": ("cases", None),
    "Contacts": ("contacts", None),
    "Notes": ("notes", None),
    "Calls": ("calls", False),
    "Tasks": ("tasks", False),
    "Events": ("events", False),
    "Calls_History": ("calls", True),
    "Tasks_History": ("tasks", True),
    "Events_History": ("events", True),
}
_MOST_TAGS = 10


def add_routes(routes: Routes) -> None:
    routes.add("GET", "{module}/{id}/{list}", related, _reads)
    routes.add("POST", "{module}/{id}/Notes", add_note, lambda _: (scopes_of("notes", "CREATE"),))
    for action, act in (("add_tags", add_tags), ("remove_tags", remove_tags)):
        routes.add("POST", f"{{module}}/{{id}}/actions/{action}", act, _tags)


def _tags(ask: Ask) -> tuple[tuple[str, ...], ...]:
    return (("zohocrm.settings.tags.all", "zohocrm.settings.tags.create", "zohocrm.settings.all"),)


def _reads(ask: Ask) -> tuple[tuple[str, ...], ...]:
    name = LISTS.get(ask.path["list"], ("", None))[0]
    return (scopes_of(name or ask.path["module"], "READ"),)


def related(ask: Ask) -> Answered:
    parent, found = ask.entry(), LISTS.get(ask.path["list"])
    if found is None:
        raise refusal(400, "INVALID_DATA", "the relation name given seems to be invalid", {"resource_path_index": 2})
    if parent is None:
        raise refusal(400, "INVALID_DATA", "the related id given seems to be invalid", {"resource_path_index": 1})
    fields = ask.many("fields")
    if not fields:
        ask.needed("fields")
    module, over = MODULES[found[0]], found[1]
    ids = ask.org.crm.linked(parent.kind, parent.id, module.kind)
    entries = [entry for id in ids if (entry := ask.org.crm.get(module.kind, id))]
    if over is not None:
        entries = [entry for entry in entries if _is_over(entry) is over]
    if not entries:
        return nothing()
    down = (ask.one("sort_order") or "desc") == "desc"
    entries.sort(key=lambda entry: (entry.created_at, int(entry.id)), reverse=down)
    per_page, page = ask.number("per_page", 200, most=25 if ask.inside else 200), ask.number("page", 1, most=10**6)
    shown = entries[(page - 1) * per_page : page * per_page]
    if not shown:
        return nothing()
    info: dict[str, Any] = {"per_page": per_page, "count": len(shown), "page": page}
    info |= {"more_records": len(entries) > page * per_page}
    info |= dict.fromkeys(("next_page_token", "previous_page_token", "page_token_expiry"))
    return 200, {"data": [ask.org.shown(entry, fields) for entry in shown], "info": info}


def _is_over(entry: Entry) -> bool:
    """Logged calls, done tasks: they stand in the lists called history."""
    held = entry.properties
    return held.get("Call_Status") in ("Completed", "Received", "Missed") or held.get("Status") == "Completed"


def add_note(ask: Ask) -> Answered:
    """The same as an insert into Notes, with the parent in the address."""
    parent = ask.entry()
    if parent is None:
        raise refusal(400, "INVALID_DATA", "the related id given seems to be invalid", {"resource_path_index": 1})
    parent_id = {"id": parent.id, "module": {"api_name": ask.module().name}}
    given = [{**one, "Parent_Id": parent_id} for one in ask.listed("data", most=100)]
    body = msgspec.json.encode({"data": given})
    return insert(msgspec.structs.replace(ask, path={"module": "Notes"}, body=body))


def add_tags(ask: Ask) -> Answered:
    return _tagged(ask, lambda held, named: [*held, *(one for one in named if one.lower() not in _lower(held))])


def remove_tags(ask: Ask) -> Answered:
    return _tagged(ask, lambda held, named: [one for one in held if one.lower() not in _lower(named)])


def _tagged(ask: Ask, change: Any) -> Answered:
    entry = ask.entry()
    named = [str(one.get("name") or "") for one in ask.listed("tags", most=100)]
    if entry is None:
        entries = [_entry("INVALID_DATA", {"id": ask.path["id"]}, "the id given seems to be invalid", "error")]
        return 400, {"data": entries}
    if any(not 1 <= len(name) <= 25 for name in named):
        details = {"maximum_length": 25, "api_name": "name", "json_path": "$.tags[0].name"}
        raise refusal(400, "INVALID_DATA", "invalid data", details)
    held = [name for name in entry.properties.get("Tag", "").split("\n") if name]
    kept = change(held, named)
    if len(kept) > _MOST_TAGS:
        raise refusal(400, "LIMIT_EXCEEDED", "a record takes ten tags", {"limit": _MOST_TAGS})
    if kept != held:
        ask.org.crm.update(entry, {"Tag": "\n".join(kept)}, ask.now)
    tags = [{"name": name, "id": ask.org.tag_id(ask.module(), name), "color_code": None} for name in kept]
    details = {"id": entry.id, "tags": tags, "modifiedTime": ask.org.stamp(ask.now)}
    return 200, {"data": [_entry("SUCCESS", details, "tags updated successfully", "success")]}


def _lower(names: list[str]) -> set[str]:
    return {name.lower() for name in names}


def _entry(code: str, details: dict[str, Any], message: str, status: str) -> dict[str, Any]:
    return {"code": code, "details": details, "message": message, "status": status}
