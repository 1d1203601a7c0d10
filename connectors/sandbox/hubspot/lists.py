"""Contact lists: finding them, and who is in them. Only those kept by hand take members."""

from __future__ import annotations

from typing import Any

from connectors.sandbox.hubspot.ask import Ask, Routes
from connectors.sandbox.hubspot.errors import error, not_found, stamp
from connectors.sandbox.hubspot.portal import StaticList, type_of


def add_routes(routes: Routes) -> None:
    for base in ("/crm/lists/{version}", "/crm/v3/lists", "/crm/lists/v3"):
        routes.add("POST", f"{base}/search", search, _read)
        routes.add("GET", f"{base}/{{list}}", read, _read)
        routes.add("GET", f"{base}/{{list}}/memberships", members, _read)
        routes.add("PUT", f"{base}/{{list}}/memberships/add", add, _write)
        routes.add("PUT", f"{base}/{{list}}/memberships/remove", remove, _write)


def _read(ask: Ask) -> tuple[str, ...]:
    return ("crm.lists.read", "crm.lists.write")


def _write(ask: Ask) -> tuple[str, ...]:
    return ("crm.lists.write",)


def search(ask: Ask) -> tuple[int, Any]:
    body = ask.document()
    words, kinds = str(body.get("query") or "").lower(), body.get("processingTypes") or []
    ids, of = body.get("listIds") or [], body.get("objectTypeId")
    found = [
        known
        for known in ask.portal.lists.values()
        if words in known.name.lower()
        and (not kinds or known.processing in kinds)
        and (not ids or known.id in ids)
        and of in (None, known.kind)
    ]
    offset, count = int(body.get("offset") or 0), int(body.get("count") or 20)
    page = found[offset : offset + count]
    return 200, {
        "offset": offset + len(page),
        "hasMore": offset + len(page) < len(found),
        "lists": [_shown(known) for known in page],
        "total": len(found),
    }


def read(ask: Ask) -> tuple[int, Any]:
    return 200, {"list": _shown(_list(ask))}


def members(ask: Ask) -> tuple[int, Any]:
    known = _list(ask)
    ids = sorted(known.members, key=int)
    rows = [{"recordId": id, "membershipTimestamp": stamp(known.members[id])} for id in ids]
    return 200, {"results": rows, "total": len(rows)}


def add(ask: Ask) -> tuple[int, Any]:
    """The body is a bare array of ids. "recordsIdsAdded" is spelled so in the real answer."""
    known, ids = _by_hand(ask), _ids(ask)
    kind = type_of(known.kind)
    there = [id for id in ids if kind is not None and ask.portal.crm.get(kind.name, id) is not None]
    new = [id for id in there if id not in known.members]
    known.members |= dict.fromkeys(new, ask.now)
    gone = [id for id in ids if id not in there]
    return 200, {"recordsIdsAdded": new, "recordIdsRemoved": [], "recordIdsMissing": gone}


def remove(ask: Ask) -> tuple[int, Any]:
    known, ids = _by_hand(ask), _ids(ask)
    gone = [id for id in ids if known.members.pop(id, None) is not None]
    return 200, {"recordIdsRemoved": gone, "recordsIdsAdded": [], "recordIdsMissing": []}


def _list(ask: Ask) -> StaticList:
    known = ask.portal.lists.get(ask.path["list"])
    if known is None:
        raise not_found(f"List does not exist with ID {ask.path['list']}.")
    return known


def _by_hand(ask: Ask) -> StaticList:
    known = _list(ask)
    if known.processing not in ("MANUAL", "SNAPSHOT"):
        raise error(400, f"List {known.id} has processing type {known.processing}: members cannot be set.", None)
    return known


def _ids(ask: Ask) -> list[str]:
    given = ask.json()
    if not isinstance(given, list) or any(isinstance(id, dict | list) for id in given):
        # recorded: list_membership_add_dynamic_400.json, without a category
        message = (
            "Cannot deserialize value of type `java.lang.String` from Object value (token `JsonToken.START_OBJECT`)"
        )
        raise error(400, f"Invalid input JSON on line 1, column 2: {message}", None)
    return [str(id) for id in given]


def _shown(known: StaticList) -> dict[str, Any]:
    return {
        "listId": known.id,
        "listVersion": 1,
        "name": known.name,
        "objectTypeId": known.kind,
        "processingStatus": "COMPLETE",
        "processingType": known.processing,
        "additionalProperties": {"hs_list_size": str(len(known.members))},
    }
