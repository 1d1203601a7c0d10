"""Records: insert, update, upsert, read, list, delete, what was deleted; leads into contacts; two into one."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from connectors.sandbox.store import Entry
from connectors.sandbox.zoho.ask import Answered, Ask, Routes, creates, deletes, nothing, reads, scopes_of, updates
from connectors.sandbox.zoho.errors import BadRecord, Refusal, no_such_record, refusal
from connectors.sandbox.zoho.modules import MODULES, Module

_MOST_PER_PAGE = 200
_DISCRETE = 2000  # records that page numbers reach
_TOKEN_LIFE = timedelta(hours=24)


def add_routes(routes: Routes) -> None:
    routes.add("GET", "{module}", list_records, reads)
    routes.add("POST", "{module}", insert, creates, _per_ten)
    routes.add("PUT", "{module}", update_many, updates, _per_ten)
    routes.add("POST", "{module}/upsert", upsert, creates, _per_ten)
    routes.add("GET", "{module}/deleted", list_deleted, reads, lambda _: 2)
    routes.add("GET", "{module}/{id}", read_one, reads)
    routes.add("PUT", "{module}/{id}", update_one, updates)
    routes.add("DELETE", "{module}/{id}", delete_one, deletes)
    routes.add("POST", "Leads/{id}/actions/convert", convert, lambda _: (scopes_of("leads", "UPDATE"),), lambda _: 5)
    routes.add("POST", "{module}/{id}/actions/merge", merge, updates)


def _per_ten(ask: Ask) -> int:
    data = ask.document().get("data")
    return max(1, -(-len(data) // 10)) if isinstance(data, list) else 1


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def insert(ask: Ask) -> Answered:
    module = ask.module()
    given = ask.listed("data", most=100)
    return _each(given, 201, lambda at, one: _added(ask, ask.org.create(module, one, ask.now, by=ask.by, at=at)))


def update_one(ask: Ask) -> Answered:
    module = ask.module()
    ask.entry()  # for the id's form
    given = ask.listed("data", most=1)
    return _each(given, 200, lambda at, one: _changed(ask, module, ask.path["id"], one, at))


def update_many(ask: Ask) -> Answered:
    module = ask.module()
    given = ask.listed("data", most=100)
    return _each(given, 200, lambda at, one: _changed(ask, module, str(one.get("id", "")), one, at))


def upsert(ask: Ask) -> Answered:
    """By fields whose values are unique, or the e-mail address; others are passed over, and a double is made."""
    module = ask.module()
    given = ask.listed("data", most=100)
    fields = ask.document().get("duplicate_check_fields") or ["Email"]

    def one_of(at: int, one: dict[str, Any]) -> dict[str, Any]:
        for name in fields:
            known = _holder(ask, module, str(name), one.get(name))
            if known is not None:
                return {**_changed(ask, module, known.id, one, at), "action": "update", "duplicate_field": name}
        made = _added(ask, ask.org.create(module, one, ask.now, by=ask.by, at=at))
        return {**made, "action": "insert", "duplicate_field": None}

    return _each(given, 200, one_of)


def _holder(ask: Ask, module: Module, name: str, value: Any) -> Entry | None:
    if not isinstance(value, str) or not value:
        return None
    if ask.org.crm.is_unique(module.kind, name):
        return ask.org.crm.holder(module.kind, name, value)
    if name != "Email":
        return None
    held = (one for one in ask.org.crm.all(module.kind) if one.properties.get("Email", "").lower() == value.lower())
    return next(held, None)


def delete_one(ask: Ask) -> Answered:
    entry = ask.entry()
    if entry is None:
        return _each([{}], 200, lambda at, one: _fail(no_such_record(ask.path["id"])))
    ask.org.crm.archive(entry, ask.now)
    return 200, {"data": [_success({"id": entry.id}, "record deleted")]}


def convert(ask: Ask) -> Answered:
    entry = ask.org.get(MODULES["leads"], ask.path["id"])
    if entry is None:
        raise refusal(400, "INVALID_DATA", "invalid data", {"resource_path_index": 1})
    if entry.properties.get("Converted__s") == "true":
        raise refusal(400, "ID_ALREADY_CONVERTED", "id already converted", {"resource_path_index": 1})
    ask.listed("data", most=1)
    made = ask.org.convert(entry, ask.now, by=ask.by)
    details: dict[str, Any] = {name: {"name": ask.org.title(one), "id": one.id} for name, one in made.items()}
    return 200, {"data": [_success({**details, "Deals": None}, "The record has been converted successfully")]}


def merge(ask: Ask) -> Answered:
    master = ask.entry()
    others = ask.listed("merge", most=1)[0].get("data") or []
    found = [ask.org.get(ask.module(), str(one.get("id"))) for one in others]
    if master is None or not found or None in found:
        raise refusal(400, "INVALID_DATA", "the id given seems to be invalid", {"resource_path_index": 1})
    for other in found:
        if other is not None:
            master = ask.org.merge(ask.module(), master, other, ask.now)
    return 200, {"merge": [_success({"id": master.id}, "merged")]}


def _changed(ask: Ask, module: Module, id: str, given: dict[str, Any], at: int) -> dict[str, Any]:
    unmodified = ask.headers.get("if-unmodified-since")
    entry = ask.org.get(module, id)
    if unmodified and entry and _whole(entry.updated_at) > datetime.fromisoformat(unmodified):
        details = {"Modified_Time": ask.org.stamp(entry.updated_at), "id": id}
        body = {
            "data": [{"code": "ALREADY_MODIFIED", "message": "already modified", "status": "error", "details": details}]
        }
        raise Refusal(412, body)
    return _success(_written(ask, ask.org.update(module, id, given, ask.now, by=ask.by, at=at)), "record updated")


def _added(ask: Ask, entry: Entry) -> dict[str, Any]:
    return _success(_written(ask, entry), "record added")


def _written(ask: Ask, entry: Entry) -> dict[str, Any]:
    names = ("id", "Created_Time", "Modified_Time", "Created_By", "Modified_By")
    more = {} if entry.kind == "note" else {"$approval_state": "approved"}
    return {**ask.org.shown(entry, names), **more}


def _success(details: dict[str, Any], message: str) -> dict[str, Any]:
    return {"code": "SUCCESS", "details": details, "message": message, "status": "success"}


def _fail(wrong: BadRecord) -> dict[str, Any]:
    raise wrong


def _each(given: Sequence[dict[str, Any]], good: int, act: Callable[[int, dict[str, Any]], dict[str, Any]]) -> Answered:
    """One entry for each record: all good, all bad (400), or some of both (207)."""
    entries, bad = [], 0
    for at, one in enumerate(given):
        try:
            entries.append(act(at, one))
        except BadRecord as wrong:
            entries.append(wrong.entry)
            bad += 1
    return (400 if bad == len(entries) else 207 if bad else good), {"data": entries}


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_one(ask: Ask) -> Answered:
    """A converted lead is read by its id like any other; nothing else shows it."""
    entry = ask.entry()
    if entry is None:
        return nothing()
    return 200, {"data": [ask.org.shown(entry, ask.many("fields") or None)]}


class _Place(msgspec.Struct, frozen=True):
    """What a page token stands for: how far one is, since when, and in which question."""

    offset: int
    until: datetime
    question: str


def list_records(ask: Ask) -> Answered:
    """Page numbers reach 2,000 records, page tokens further; a token belongs to one question and lives a day."""
    module, fields = ask.module(), ask.many("fields")
    if not fields:
        ask.needed("fields")
    if len(fields) > 50:
        raise refusal(400, "LIMIT_EXCEEDED", "limit exceeded", {"limit": 50, "param_name": "fields"})
    by, down = ask.one("sort_by") or "id", (ask.one("sort_order") or "desc") == "desc"
    if by not in ("id", "Created_Time", "Modified_Time"):
        raise refusal(400, "INVALID_DATA", "invalid data", {"param_name": "sort_by"})
    per_page = ask.number("per_page", _MOST_PER_PAGE, most=_MOST_PER_PAGE)
    per_page = min(per_page, 25) if ask.inside else per_page
    question = "|".join((module.name, ",".join(fields), by, str(down), ask.one("converted") or "", str(per_page)))
    token = ask.one("page_token")
    page = ask.number("page", 1, most=10**6)
    offset = _offset(ask, token, question) if token else (page - 1) * per_page
    if not token and offset + per_page > _DISCRETE:
        raise refusal(
            400, "DISCRETE_PAGINATION_LIMIT_EXCEEDED", "discrete pagination limit exceeded", {"limit": _DISCRETE}
        )
    found = _chosen(ask, module)
    since = ask.since()
    if since is not None:
        found = [entry for entry in found if entry.updated_at > since]
        if not found:
            return 304, None
    if not found[offset:]:
        return nothing()
    keys: dict[str, Callable[[Entry], Any]] = {
        "id": lambda entry: int(entry.id),
        "Created_Time": lambda entry: (entry.created_at, int(entry.id)),
        "Modified_Time": lambda entry: (entry.updated_at, int(entry.id)),
    }
    found.sort(key=keys[by], reverse=down)
    shown = found[offset : offset + per_page]
    more = len(found) > offset + per_page
    info: dict[str, Any] = {"per_page": per_page, "count": len(shown), "page": page, "more_records": more}
    info |= {"sort_by": by, "sort_order": "desc" if down else "asc"}
    if more:
        until = ask.now + _TOKEN_LIFE
        info |= {"next_page_token": _token(_Place(offset + per_page, until, question))}
        info |= {"page_token_expiry": ask.org.stamp(until)}
    return 200, {"data": [ask.org.shown(entry, fields) for entry in shown], "info": info}


def _chosen(ask: Ask, module: Module) -> list[Entry]:
    wanted = ask.many("ids")
    converted = ask.one("converted") or "false"
    found = [one for one in ask.org.crm.all(module.kind) if not wanted or one.id in wanted]
    if converted == "both":
        return found
    return [one for one in found if ask.org.visible(one) is (converted != "true")]


def _token(place: _Place) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode()


def _offset(ask: Ask, token: str, question: str) -> int:
    try:
        place = msgspec.json.decode(base64.urlsafe_b64decode(token), type=_Place)
    except (ValueError, msgspec.DecodeError):
        raise refusal(400, "INVALID_DATA", "invalid data", {"param_name": "page_token"}) from None
    if place.until <= ask.now:
        raise refusal(400, "EXPIRED_VALUE", "the page token has expired", {"param_name": "page_token"})
    if place.question != question:
        raise refusal(400, "TOKEN_BOUND_DATA_MISMATCH", "the parameters differ", {"param_name": "page_token"})
    return place.offset


def list_deleted(ask: Ask) -> Answered:
    module, since = ask.module(), ask.since()
    per_page = ask.number("per_page", _MOST_PER_PAGE, most=_MOST_PER_PAGE)
    page = ask.number("page", 1, most=10**6)
    gone = [one for one in ask.org.crm.changes if one.what == "archived" and one.entry.kind == module.kind]
    if since is not None:
        gone = [one for one in gone if one.at > since]
        if not gone:
            return 304, None
    shown = gone[(page - 1) * per_page : page * per_page]
    if not shown:
        return nothing()
    person = ask.org.installer
    who = {"id": person.id, "name": f"{person.first_name} {person.last_name}"}
    data = [
        {
            "id": one.entry.id,
            "display_name": ask.org.title(one.entry),
            "type": "recycle",
            "deleted_time": ask.org.stamp(one.at),
            "deleted_by": who,
            "created_by": who,
        }
        for one in shown
    ]
    info = {"per_page": per_page, "count": len(data), "page": page, "more_records": len(gone) > page * per_page}
    return 200, {"data": data, "info": info}


def _whole(at: datetime) -> datetime:
    return at.replace(microsecond=0)
