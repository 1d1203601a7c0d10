"""Single objects: create, read, change, archive, list, merge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from connectors.sandbox.hubspot.ask import Ask, Routes, reads, writes
from connectors.sandbox.hubspot.errors import invalid, not_found, page_not_found, stamp
from connectors.sandbox.hubspot.kinds import ASSOCIATIONS, ObjectType
from connectors.sandbox.hubspot.portal import Portal, type_of
from connectors.sandbox.store import Entry

BASES = ("/crm/objects/{version}/{type}", "/crm/v3/objects/{type}", "/crm/objects/v3/{type}")
_PAGE = 100


def add_routes(routes: Routes) -> None:
    for base in BASES:
        routes.add("GET", base, list_page, reads)
        routes.add("POST", base, create, writes)
        routes.add("GET", f"{base}/{{id}}", read, reads)
        routes.add("PATCH", f"{base}/{{id}}", update, writes)
        routes.add("DELETE", f"{base}/{{id}}", archive, writes)
        routes.add("POST", f"{base}/merge", merge, writes)
        routes.add("POST", f"{base}/gdpr-delete", forget, writes)


def create(ask: Ask) -> tuple[int, Any]:
    type, body = ask.type(), ask.document()
    if type.name == "company" and not body:
        body = {"properties": {}}  # observed live in 2026-10: an empty body makes an empty company
    entry = ask.portal.create(
        type, body.get("properties"), ask.now, associations=body.get("associations"), version=ask.version
    )
    shown = document(ask.portal, type, entry, None)
    if body.get("objectWriteTraceId"):
        shown["objectWriteTraceId"] = body["objectWriteTraceId"]
    return 201, shown


def read(ask: Ask) -> tuple[int, Any]:
    type, ref, id_property = ask.type(), ask.path["id"], ask.one("idProperty")
    if ask.flag("archived"):
        entry = ask.portal.crm.get(type.name, ref, archived=True)
    else:
        entry = ask.portal.find(type, ref, id_property)
    if entry is None:
        raise page_not_found()
    shown = document(ask.portal, type, entry, ask.many("properties") + ask.many("propertiesWithHistory"))
    _with_associations(ask.portal, entry, ask.many("associations"), shown)
    return 200, shown


def update(ask: Ask) -> tuple[int, Any]:
    type, body = ask.type(), ask.document()
    entry = ask.portal.find(type, ask.path["id"], ask.one("idProperty") or body.get("idProperty"))
    if entry is None:
        raise not_found()
    changed, written = ask.portal.update(type, entry, body.get("properties"), ask.now)
    shown = document(ask.portal, type, changed, None)
    shown["properties"] = answered(type, changed, written)
    return 200, shown


def archive(ask: Ask) -> tuple[int, Any]:
    type = ask.type()
    entry = ask.portal.crm.get(type.name, ask.path["id"])
    if entry is not None:  # archiving what is gone already is no error
        ask.portal.crm.archive(entry, ask.now)
    return 204, None


def list_page(ask: Ask) -> tuple[int, Any]:
    """By id, ascending. `after` is the next id to start from, not an offset (recorded: contacts_list_page_200.json)."""
    type, limit, after = ask.type(), ask.number("limit", 10, most=_PAGE), ask.one("after") or "0"
    if not after.isdigit():
        raise invalid(f"Invalid paging cursor: {after}")
    archived = ask.flag("archived")
    entries = ask.portal.crm.page(type.name, start=int(after), limit=limit + 1, archived=archived)
    names, wanted = ask.many("properties") + ask.many("propertiesWithHistory"), ask.many("associations")
    results = []
    for entry in entries[:limit]:
        shown = document(ask.portal, type, entry, names)
        _with_associations(ask.portal, entry, wanted, shown)
        results.append(shown)
    body: dict[str, Any] = {"results": results}
    if len(entries) > limit:
        cursor = str(int(entries[limit - 1].id) + 1)
        query = {name: ",".join(values) for name, values in ask.query.items()} | {"after": cursor}
        body["paging"] = {"next": {"after": cursor, "link": f"https://api.hubapi.com{ask.url}?{urlencode(query)}"}}
    return 200, body


def merge(ask: Ask) -> tuple[int, Any]:
    type, body = ask.type(), ask.document()
    crm = ask.portal.crm
    winner = crm.get(type.name, str(body.get("primaryObjectId", "")))
    loser = crm.get(type.name, str(body.get("objectIdToMerge", "")))
    if winner is None or loser is None:
        raise not_found()
    if winner.id == loser.id:
        raise invalid("Cannot merge an object with itself")
    merged = crm.merge(winner, loser, ask.now)
    ids = [*filter(None, merged.properties.get("hs_merged_object_ids", "").split(";")), loser.id]
    values = {"hs_merged_object_ids": ";".join(ids), type.stamp: stamp(ask.now)}
    email, other = merged.properties.get("email"), loser.properties.get("email")
    if type.name == "contact" and other and email != other:
        others = [*filter(None, merged.properties.get("hs_additional_emails", "").split(";")), other]
        values["hs_additional_emails"] = ";".join(others)
        crm.also_known(merged, "email", other)
    return 200, document(ask.portal, type, crm.update(merged, values, ask.now), None)


def forget(ask: Ask) -> tuple[int, Any]:
    """GDPR delete: gone without a trace, archived listings included."""
    type, body = ask.type(), ask.document()
    entry = ask.portal.find(type, str(body.get("objectId", "")), body.get("idProperty"))
    if entry is not None:
        blank = ask.portal.crm.update(entry, dict.fromkeys(entry.properties, ""), ask.now)
        ask.portal.crm.archive(blank, ask.now)
    return 204, None


# ── how objects look ────────────────────────────────────────────────────────────────────────────────────────────────


def document(portal: Portal, type: ObjectType, entry: Entry, names: Sequence[str] | None) -> dict[str, Any]:
    """An object as the API shows it.

    names  properties asked for: those and the three that always come, null where unset, unknown ones left out without a
           word; [] for the kind's own choice; None for all that have a value (answers to writes).
    """
    shown = {
        "id": entry.id,
        "properties": dict(sorted(entry.properties.items())) if names is None else select(portal, type, entry, names),
        "createdAt": stamp(entry.created_at),
        "updatedAt": stamp(entry.updated_at),
        "archived": entry.archived_at is not None,
        "url": f"https://app-eu1.hubspot.com/contacts/{portal.hub_id}/record/{type.id}/{entry.id}",
    }
    if entry.archived_at is not None:
        shown["archivedAt"] = stamp(entry.archived_at)
    return shown


def select(portal: Portal, type: ObjectType, entry: Entry, names: Iterable[str]) -> dict[str, str | None]:
    known = portal.definitions[type.name]
    wanted = {name.lower() for name in names} & known.keys()
    if wanted:
        wanted |= {type.born, type.stamp, "hs_object_id"}
    return {name: entry.properties.get(name) for name in sorted(wanted or type.shown)}


def answered(type: ObjectType, entry: Entry, written: Mapping[str, str]) -> dict[str, str]:
    """What a PATCH answers with: the values written and what followed from them, not the whole object.

    Recorded: contact_update_clear_200.json; a cleared value comes back as "".
    """
    always = {name: entry.properties[name] for name in (type.born, "hs_object_id") if name in entry.properties}
    return dict(sorted({**always, **written}.items()))


def _with_associations(portal: Portal, entry: Entry, wanted: Iterable[str], shown: dict[str, Any]) -> None:
    """Ids only, one result per type of association, so a primary company comes twice."""
    found: dict[str, Any] = {}
    for segment in wanted:
        target = type_of(segment)
        if target is None:
            raise invalid(f"Unable to infer object type from: {segment}")
        results = [
            {"id": id, "type": ASSOCIATIONS[label].name}
            for id, labels in portal.crm.linked(entry.kind, entry.id, target.name).items()
            for label in sorted(labels)
        ]
        if results:
            found[target.plural] = {"results": results}
    if found:
        shown["associations"] = found
