"""Search: behind the writes, by text as it stands, rationed.

`exact_match` compares whole values without case; without it a value may hold the term anywhere. Nothing reads a number:
"+41 44 668 18 00" is not found by "+41446681800". Only some types of fields are searched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from connectors.sandbox.pipedrive.ask import Ask, Routes, ok
from connectors.sandbox.pipedrive.company import Company, lead_uuid
from connectors.sandbox.pipedrive.errors import invalid
from connectors.sandbox.pipedrive.shapes import KINDS, SEARCHABLE
from connectors.sandbox.store import Entry

_FIELDS = {
    "person": ("custom_fields", "email", "name", "notes", "phone"),
    "organization": ("address", "custom_fields", "name", "notes"),
    "deal": ("custom_fields", "notes", "title"),
    "lead": ("custom_fields", "notes", "title"),
}
_MOST_RELATED = 100


def add_routes(routes: Routes) -> None:
    contacts = ("contacts:read", "contacts:full", "search:read")
    routes.add("GET", "/api/v2/itemSearch", _items, cost=20, scopes=("search:read",), searches=True)
    for plural, entity, scopes in (
        ("persons", "person", contacts),
        ("organizations", "organization", contacts),
        ("deals", "deal", ("deals:read", "deals:full", "search:read")),
        ("leads", "lead", ("leads:read", "leads:full", "search:read")),
    ):
        path = f"/api/v2/{plural}/search"
        routes.add("GET", path, partial(_of_one_kind, entity), cost=20, scopes=scopes, searches=True)


def _items(ask: Ask) -> tuple[int, Any]:
    wanted = ask.many("item_types") or list(_FIELDS)
    unknown = set(wanted) - {*_FIELDS, "product", "file", "mail_attachment", "project"}
    if unknown:
        raise invalid("Parameter validation failed: item_types")
    entities = [entity for entity in wanted if entity in _FIELDS]
    found = _found(ask, entities, most=100)
    related = _related(ask, found) if ask.flag("search_for_related_items") else []
    return _answer(found, related if ask.flag("search_for_related_items") else None)


def _of_one_kind(entity: str, ask: Ask) -> tuple[int, Any]:
    found = _found(ask, [entity], most=500)
    for name, of in (("organization_id", "organization"), ("person_id", "person")):
        wanted = ask.one(name)
        if wanted is not None:
            found = [item for item in found if str((item.get(of) or {}).get("id")) == wanted]
    return _answer(found, None)


def _answer(found: list[dict[str, Any]], related: list[dict[str, Any]] | None) -> tuple[int, Any]:
    data: dict[str, Any] = {"items": [{"result_score": 0.5, "item": item} for item in found]}
    if related is not None:
        data["related_items"] = [{"result_score": 0, "item": item} for item in related]
    return ok(data, additional_data={"next_cursor": None})


def _found(ask: Ask, entities: list[str], *, most: int) -> list[dict[str, Any]]:
    company, term = ask.company, (ask.one("term") or "").strip().lower()
    exact = ask.flag("exact_match")
    if len(term) < (1 if exact else 2):
        raise invalid("Parameter validation failed: term is too short")
    limit = ask.number("limit", 100, most=most)
    company.index.advance(ask.now)
    found = []
    for entity in entities:
        fields = ask.many("fields") or list(_FIELDS[entity])
        if not set(fields) & set(_FIELDS[entity]):
            continue
        for entry in _indexed(company, entity):
            values = {text.lower() for text in _texts(company, entity, entry, fields)}
            if term in values if exact else any(term in text for text in values):
                found.append(_item(company, entity, entry))
    return found[:limit]


def _indexed(company: Company, entity: str) -> Iterator[Entry]:
    for kind in KINDS[entity]:
        yield from company.index.all(kind)


def _texts(company: Company, entity: str, entry: Entry, fields: list[str]) -> Iterator[str]:
    values = company.values(entry, entity)
    for name in fields:
        match name:
            case "phone" | "email":
                yield from (each["value"].strip() for each in values.get(f"{name}s") or ())
            case "name" | "title":
                yield str(values.get(name) or "")
            case "address":
                yield str((values.get("address") or {}).get("value", ""))
            case "custom_fields":
                yield from _custom_texts(company, entity, values)


def _custom_texts(company: Company, entity: str, values: Mapping[str, Any]) -> Iterator[str]:
    for code, definition in company.custom(entity).items():
        value = values.get(code)
        if value is not None and definition.type in SEARCHABLE:
            yield str(value.get("value") if isinstance(value, dict) else value)


def _item(company: Company, entity: str, entry: Entry) -> dict[str, Any]:
    """As OpenAPI's examples have them; a person's own fields are texts without names here."""
    values = company.values(entry, entity)
    base = {
        "id": lead_uuid(entry.id) if entity == "lead" else int(entry.id),
        "type": entity,
        "visible_to": 3,
        "owner": {"id": values.get("owner_id", company.installer.id)},
        "custom_fields": list(_custom_texts(company, entity, values)),
        "notes": [],
    }
    organization = _named(company, "organization", values.get("org_id") or values.get("organization_id"))
    person = _named(company, "person", values.get("person_id"))
    match entity:
        case "person":
            return {
                **base,
                "name": values.get("name"),
                "phones": [each["value"] for each in values.get("phones") or ()],
                "emails": [each["value"] for each in values.get("emails") or ()],
                "organization": organization,
            }
        case "organization":
            return {**base, "name": values.get("name"), "address": (values.get("address") or {}).get("value")}
        case "deal":
            return {
                **base,
                "title": values.get("title"),
                "value": values.get("value", 0),
                "currency": values.get("currency", company.currency),
                "status": values.get("status", "open"),
                "stage": {"id": values.get("stage_id"), "name": _stage(company, values.get("stage_id"))},
                "person": person,
                "organization": organization,
                "is_archived": False,
            }
        case _:
            amount = values.get("value") or {}
            return {
                **base,
                "title": values.get("title"),
                "person": person,
                "organization": organization,
                "phones": [],
                "emails": [],
                "value": amount.get("amount"),
                "currency": amount.get("currency"),
                "is_archived": values.get("is_archived", False),
            }


def _related(ask: Ask, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The newest leads and deals of the persons and organizations found."""
    company = ask.company
    persons = {item["id"] for item in found if item["type"] == "person"}
    organizations = {item["id"] for item in found if item["type"] == "organization"}
    related: list[dict[str, Any]] = []
    for entity, key in (("lead", "organization_id"), ("deal", "org_id")):
        theirs = []
        for entry in _indexed(company, entity):
            values = company.values(entry, entity)
            if values.get("is_archived"):
                continue
            if values.get("person_id") in persons or values.get(key) in organizations:
                theirs.append(_item(company, entity, entry))
        related += theirs[-_MOST_RELATED:]
    return related


def _named(company: Company, entity: str, id: Any) -> dict[str, Any] | None:
    other = company.get(entity, str(id)) if id is not None else None
    if other is None:
        return None
    named = {"id": int(other.id), "name": company.value(other, entity, "name")}
    return {**named, "address": None} if entity == "organization" else named


def _stage(company: Company, id: Any) -> str | None:
    return next((stage.name for stage in company.stages if stage.id == id), None)
