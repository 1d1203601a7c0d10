"""Fields of persons, organizations and deals: v2's lists, and new ones of the company's own with a hash for a name."""

from __future__ import annotations

from functools import partial
from typing import Any

from connectors.sandbox.pipedrive.ask import Ask, Routes, ok
from connectors.sandbox.pipedrive.errors import invalid, not_found, refused
from connectors.sandbox.pipedrive.shapes import FIELD_TYPES, Definition

_LISTS = {
    "personFields": ("person", "contacts", "contact-fields:full"),
    "organizationFields": ("organization", "contacts", "contact-fields:full"),
    "dealFields": ("deal", "deals", "deal-fields:full"),
}
_MOST = 100  # custom fields of one kind


def add_routes(routes: Routes) -> None:
    for name, (entity, of, makes) in _LISTS.items():
        reads = (f"{of}:read", f"{of}:full", "admin", makes)
        routes.add("GET", f"/api/v2/{name}", partial(_list, entity), cost=10, scopes=reads)
        routes.add("POST", f"/api/v2/{name}", partial(_create, entity), cost=5, scopes=("admin", makes))
        routes.add("GET", f"/api/v2/{name}/{{code}}", partial(_one, entity), cost=1, scopes=reads)


def _list(entity: str, ask: Ask) -> tuple[int, Any]:
    """In the order they were made; the cursor counts."""
    start, limit = int(ask.one("cursor") or 0), ask.number("limit", 100, most=500)
    listed = ask.company.definitions[entity]
    following = str(start + limit) if start + limit < len(listed) else None
    page = [_shown(one) for one in listed[start : start + limit]]
    return ok(page, additional_data={"next_cursor": following})


def _one(entity: str, ask: Ask) -> tuple[int, Any]:
    for one in ask.company.definitions[entity]:
        if one.code == ask.path["code"]:
            return ok(_shown(one))
    raise not_found("field")


def _create(entity: str, ask: Ask) -> tuple[int, Any]:
    given, company = ask.document(), ask.company
    if not company.fields_allowed:
        raise refused(403, "You do not have permission to add custom fields")
    name, type, options = given.get("field_name"), given.get("field_type"), given.get("options")
    if not isinstance(name, str) or not name or type not in FIELD_TYPES:
        raise invalid("Parameter validation failed: field_name and field_type must be given")
    if type in ("enum", "set") and not options:
        raise invalid("Parameter validation failed: options must be given for enum and set")
    if len(company.custom(entity)) >= _MOST:
        raise refused(403, "Custom fields limit reached", code="feature_capping_custom_fields_limit")
    labels = [str(option["label"]) for option in options] if options else None
    return ok(_shown(company.add_field(entity, name, str(type), labels)))


def _shown(one: Definition) -> dict[str, Any]:
    return {
        "field_name": one.name,
        "field_code": one.code,
        "description": None,
        "field_type": one.type,
        "options": one.options,
        "subfields": None,
        "is_custom_field": one.custom,
        "is_optional_response_field": False,
    }
