"""Property definitions: what fields a kind of object has, and making new ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from connectors.sandbox.hubspot.ask import Ask, Routes
from connectors.sandbox.hubspot.definitions import FIELD_TYPES, Definition
from connectors.sandbox.hubspot.errors import conflict, error, invalid, not_found, stamp

_MOST_UNIQUE = 10  # unique properties per kind of object (developer docs, properties guide)
_NEEDED = ("groupName", "name", "label", "type", "fieldType")
_CHANGEABLE = {"label": "label", "description": "description", "groupName": "group", "hidden": "hidden"}


def add_routes(routes: Routes) -> None:
    for base in ("/crm/properties/{version}/{type}", "/crm/v3/properties/{type}", "/crm/properties/v3/{type}"):
        routes.add("GET", base, listed, _reads)
        routes.add("POST", base, create, _writes)
        routes.add("GET", f"{base}/{{name}}", read, _reads)
        routes.add("PATCH", f"{base}/{{name}}", update, _writes)
        routes.add("DELETE", f"{base}/{{name}}", archive, _writes)
        routes.add("GET", f"{base}/groups", groups, _reads)
        routes.add("POST", f"{base}/groups", create_group, _writes)
        routes.add("GET", f"{base}/groups/{{name}}", group, _reads)
        routes.add("POST", f"{base}/batch/read", batch_read, _reads)
        routes.add("POST", f"{base}/batch/create", batch_create, _writes)
        routes.add("POST", f"{base}/batch/archive", batch_archive, _writes)


def _reads(ask: Ask) -> tuple[str, ...]:
    type = ask.type()
    return (*type.read, f"crm.schemas.{type.plural}.read", *_writes(ask))


def _writes(ask: Ask) -> tuple[str, ...]:
    """Activities and tickets have no schema scope of their own; the contacts' serves (any of the listed, per the spec)."""
    type = ask.type()
    if type.name == "ticket":
        return ("tickets", "crm.schemas.tickets.write")
    return ("crm.schemas.contacts.write",) if type.activity else (f"crm.schemas.{type.plural}.write",)


def listed(ask: Ask) -> tuple[int, Any]:
    archived = ask.flag("archived")
    known = ask.portal.definitions[ask.type().name].values()
    return 200, {"results": [_shown(ask, definition) for definition in known if definition.archived == archived]}


def read(ask: Ask) -> tuple[int, Any]:
    return 200, _shown(ask, _known(ask, ask.path["name"]))


def create(ask: Ask) -> tuple[int, Any]:
    return 201, _shown(ask, _create(ask, ask.document()))


def batch_create(ask: Ask) -> tuple[int, Any]:
    made = [_shown(ask, _create(ask, given)) for given in ask.inputs(most=100)]
    return 201, {"status": "COMPLETE", "results": made, "startedAt": stamp(ask.now), "completedAt": stamp(ask.now)}


def batch_read(ask: Ask) -> tuple[int, Any]:
    found, errors = [], []
    for given in ask.inputs(most=100):
        definition = ask.portal.definitions[ask.type().name].get(str(given.get("name", "")))
        if definition is None or definition.archived:
            message = f"Property {given.get('name')} does not exist"
            errors.append({"status": "error", "category": "OBJECT_NOT_FOUND", "message": message})
        else:
            found.append(_shown(ask, definition))
    body: dict[str, Any] = {"status": "COMPLETE", "results": found}
    if errors:
        body |= {"numErrors": len(errors), "errors": errors}
    return (207 if errors else 200), body | {"startedAt": stamp(ask.now), "completedAt": stamp(ask.now)}


def update(ask: Ask) -> tuple[int, Any]:
    """Label, description, group, options. Uniqueness is fixed at creation and silently left as it is."""
    type, definition, body = ask.type(), _known(ask, ask.path["name"]), ask.document()
    if not definition.custom and "options" not in body:
        raise invalid(f"{definition.name} is defined by HubSpot and cannot be changed")
    changes: dict[str, Any] = {ours: body[theirs] for theirs, ours in _CHANGEABLE.items() if theirs in body}
    if "options" in body:
        changes["options"] = _options(body["options"])
    changed = msgspec.structs.replace(definition, **changes, updated_at=stamp(ask.now))
    ask.portal.define(type.name, changed)
    return 200, _shown(ask, changed)


def archive(ask: Ask) -> tuple[int, Any]:
    _archive(ask, _known(ask, ask.path["name"]))
    return 204, None


def batch_archive(ask: Ask) -> tuple[int, Any]:
    for definition in [_known(ask, str(given.get("name", ""))) for given in ask.inputs(most=100)]:
        _archive(ask, definition)
    return 204, None


def groups(ask: Ask) -> tuple[int, Any]:
    known = ask.portal.groups[ask.type().name]
    return 200, {"results": [_group(name, label) for name, label in known.items()]}


def group(ask: Ask) -> tuple[int, Any]:
    label = ask.portal.groups[ask.type().name].get(ask.path["name"])
    if label is None:
        raise not_found(f"Property group {ask.path['name']} does not exist")
    return 200, _group(ask.path["name"], label)


def create_group(ask: Ask) -> tuple[int, Any]:
    body, known = ask.document(), ask.portal.groups[ask.type().name]
    name, label = str(body.get("name", "")), str(body.get("label", ""))
    if not name or not label:
        raise invalid("Some required fields were not set: [name, label]")
    if name in known:
        raise conflict(f"Property group {name} already exists")
    known[name] = label
    return 201, _group(name, label)


def _create(ask: Ask, given: Mapping[str, Any]) -> Definition:
    type, known = ask.type(), ask.portal.definitions[ask.type().name]
    missing = [field for field in _NEEDED if not given.get(field)]
    if missing:
        raise invalid(f"Invalid input JSON on line 1, column 1: Some required fields were not set: {missing}")
    name, unique = str(given["name"]), bool(given.get("hasUniqueValue"))
    if name != name.lower() or not name.replace("_", "").isalnum() or not name[0].isalpha():
        raise invalid(f"{name} is not a valid property name: lower case letters, digits and _ only")
    if name in known and not known[name].archived:
        message = f"Property named {name} already exists."
        raise error(409, message, "OBJECT_ALREADY_EXISTS", subCategory="Properties.PROPERTY_EXISTS")
    if given["type"] not in FIELD_TYPES:
        raise invalid(f'Cannot deserialize value of type `PropertyType` from String "{given["type"]}"')
    if given["groupName"] not in ask.portal.groups[type.name]:
        raise invalid(f"The property group {given['groupName']} does not exist")
    if unique and type.activity and not ask.portal.activities_unique:
        raise invalid(f"Unique properties are not supported for object type {type.id}")
    if unique and sum(each.unique and each.custom for each in known.values()) >= _MOST_UNIQUE:
        raise invalid(f"The limit of {_MOST_UNIQUE} unique value properties for {type.id} has been reached")
    definition = Definition(
        name=name,
        label=str(given["label"]),
        type=str(given["type"]),
        field_type=str(given["fieldType"]),
        group=str(given["groupName"]),
        options=_options(given.get("options") or []),
        description=str(given.get("description") or ""),
        unique=unique,
        custom=True,
        hidden=bool(given.get("hidden")),
        form_field=bool(given.get("formField")),
        created_at=stamp(ask.now),
        updated_at=stamp(ask.now),
    )
    ask.portal.define(type.name, definition)
    return definition


def _archive(ask: Ask, definition: Definition) -> None:
    if not definition.custom:
        raise invalid(f"{definition.name} is defined by HubSpot and cannot be archived")
    archived = msgspec.structs.replace(definition, archived=True)
    ask.portal.definitions[ask.type().name][definition.name] = archived


def _known(ask: Ask, name: str) -> Definition:
    definition = ask.portal.definitions[ask.type().name].get(name)
    if definition is None or definition.archived != ask.flag("archived"):
        raise not_found(f"Property {name} does not exist", subCategory="Properties.PROPERTY_NOT_FOUND")
    return definition


def _options(given: Any) -> tuple[tuple[str, str], ...]:
    try:
        return tuple((str(option["value"]), str(option["label"])) for option in given)
    except (TypeError, KeyError):
        raise invalid("Invalid input JSON: options must each have a label and a value") from None


def _shown(ask: Ask, definition: Definition) -> dict[str, Any]:
    shown = definition.document(ask.portal.installer.id)
    if definition.reference:
        shown["options"] = [
            {"label": label, "value": value, "displayOrder": order, "hidden": False}
            for order, (value, label) in enumerate(ask.portal.options_of(ask.type().name, definition))
        ]
    return shown


def _group(name: str, label: str) -> dict[str, Any]:
    return {"name": name, "label": label, "displayOrder": -1, "archived": False}
