"""What each kind of record is made of: members, their types in v2's JSON, and the store's name for the kind."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from connectors.sandbox.pipedrive.errors import invalid

PERSON: Mapping[str, str] = {
    "name": "str",
    "owner_id": "int",
    "org_id": "int",
    "emails": "entries",
    "phones": "entries",
    "visible_to": "int",
    "label_ids": "ints",
    "marketing_status": "str",
    "add_time": "str",
}
CONTACT_SYNC = frozenset({"im", "postal_address", "notes", "birthday", "job_title"})
ORGANIZATION: Mapping[str, str] = {
    "name": "str",
    "owner_id": "int",
    "add_time": "str",
    "address": "object",
    "visible_to": "int",
    "label_ids": "ints",
    "website": "str",
    "linkedin": "str",
    "industry": "int",
    "annual_revenue": "int",
    "employee_count": "int",
}
DEAL: Mapping[str, str] = {
    "title": "str",
    "owner_id": "int",
    "person_id": "int",
    "org_id": "int",
    "pipeline_id": "int",
    "stage_id": "int",
    "value": "number",
    "currency": "str",
    "status": "str",
    "probability": "number",
    "lost_reason": "str",
    "visible_to": "int",
    "expected_close_date": "str",
    "label_ids": "ints",
    "is_archived": "bool",
}
ACTIVITY: Mapping[str, str] = {
    "subject": "str",
    "type": "str",
    "owner_id": "int",
    "deal_id": "int",
    "lead_id": "str",
    "person_id": "int",
    "org_id": "int",
    "due_date": "str",
    "due_time": "str",
    "duration": "str",
    "busy": "bool",
    "done": "bool",
    "location": "object",
    "participants": "objects",
    "attendees": "objects",
    "public_description": "str",
    "priority": "int",
    "note": "str",
}
LEAD: Mapping[str, str] = {
    "title": "str",
    "owner_id": "int",
    "label_ids": "strs",
    "person_id": "int",
    "organization_id": "int",
    "value": "object",
    "expected_close_date": "str",
    "visible_to": "str",
    "was_seen": "bool",
    "is_archived": "bool",
    "origin_id": "str",
    "channel": "int",
    "channel_id": "str",
}
NOTE: Mapping[str, str] = {
    "content": "str",
    "person_id": "int",
    "org_id": "int",
    "deal_id": "int",
    "lead_id": "str",
    "user_id": "int",
    "add_time": "str",
    "pinned_to_person_flag": "int",
    "pinned_to_deal_flag": "int",
    "pinned_to_organization_flag": "int",
    "pinned_to_lead_flag": "int",
}
SHAPES: Mapping[str, Mapping[str, str]] = {
    "person": PERSON,
    "organization": ORGANIZATION,
    "deal": DEAL,
    "activity": ACTIVITY,
    "lead": LEAD,
    "note": NOTE,
}
KINDS: Mapping[str, tuple[str, ...]] = {  # the store's names; an activity is what it was made as
    "person": ("contact",),
    "organization": ("company",),
    "deal": ("deal",),
    "activity": ("call", "task", "event"),
    "lead": ("lead",),
    "note": ("note",),
}
PLURALS: Mapping[str, str] = {
    "persons": "person",
    "organizations": "organization",
    "deals": "deal",
    "activities": "activity",
}
FIELD_TYPES = frozenset(
    (
        *("varchar", "text", "double", "phone", "date", "daterange", "time", "timerange", "set", "enum"),
        *("varchar_auto", "address", "monetary", "org", "people", "user"),
    )
)
SEARCHABLE = frozenset({"address", "varchar", "text", "varchar_auto", "double", "monetary", "phone"})

_TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "number": (int, float),
    "bool": (bool,),
    "object": (dict,),
    "ints": (list,),
    "strs": (list,),
    "objects": (list,),
    "entries": (list,),
}
_ITEMS: Mapping[str, type] = {"ints": int, "strs": str, "objects": dict, "entries": dict}


class Definition(msgspec.Struct):
    """One field of one kind of record."""

    code: str
    name: str
    type: str
    custom: bool = False
    options: list[dict[str, Any]] | None = None


def check(name: str, wanted: str, value: Any) -> None:
    """Strict types: no text for a number, no number for a flag. Raises the 400."""
    if value is None:
        return
    right = isinstance(value, _TYPES[wanted]) and not (isinstance(value, bool) and wanted != "bool")
    item = _ITEMS.get(wanted)
    if right and item is not None:
        right = all(isinstance(each, item) and not isinstance(each, bool) for each in value)
    if right and wanted == "entries":
        right = all(isinstance(each.get("value"), str) for each in value)
    if not right:
        raise invalid(f"Parameter validation failed: {name} has the wrong type")


def check_custom(definition: Definition, value: Any) -> None:
    """A value of a company's own field, as v2 wants it; null clears. Raises the 400."""
    if value is None:
        return
    options = {option["id"] for option in definition.options or ()}
    match definition.type:
        case "double":
            right = isinstance(value, int | float) and not isinstance(value, bool)
        case "enum":
            right = value in options
        case "set":
            right = isinstance(value, list) and bool(value) and set(value) <= options
        case "monetary":
            right = isinstance(value, dict) and isinstance(value.get("value"), int | float)
        case "address" | "time" | "daterange" | "timerange":
            right = isinstance(value, dict)
        case "org" | "people" | "user":
            right = isinstance(value, int)
        case _:
            right = isinstance(value, str) and (definition.type == "text" or len(value) <= 255)
    if not right:
        raise invalid(f"Parameter validation failed: custom_fields.{definition.code} is not valid")


def written(value: Any) -> str:
    """A value as the store keeps it."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def read(wanted: str, text: str | None) -> Any:
    """The value again; `wanted` is "str" or anything else."""
    if text is None:
        return None
    return text if wanted == "str" else json.loads(text)


def custom_shape(definition: Definition) -> str:
    """Whether a company's own field is kept as it is."""
    structured = ("double", "enum", "set", "monetary", "address", "time", "daterange", "timerange")
    return "json" if definition.type in (*structured, "org", "people", "user") else "str"


def hash_for(company: int, entity: str, name: str, at: int) -> str:
    """The 40 hex digits that name a field in one company and nowhere else."""
    return hashlib.sha1(f"{company}/{entity}/{name}/{at}".encode()).hexdigest()  # noqa: S324 - looks like theirs
