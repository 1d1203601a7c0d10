"""HubSpot's published schemas, to check answers against. Read in place from ../shared/specs/hubspot.

The documents were generated from HubSpot's official SDK. Three of their habits are undone here: deals go by "0-3", some
names in nested types are in snake case, and property values are said to be strings although real ones are often null
(recorded: contacts_list_200.json).
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from tests.closing import note_operation
from tests.shared import shared

_VERSION = re.compile(r"/2026-0[39](?=/|$)")
_RENAMED = {"association_category": "associationCategory", "association_type_id": "associationTypeId"}


def check_answer(method: str, path: str, status: int, body: Any) -> str:
    """Hold one successful answer against the schema of its operation, and count it. Answers the operation's template."""
    operation = _operation(method, path)
    assert operation is not None, f"HubSpot publishes no {method} {path}"
    template, schema, components = operation
    if schema is None:
        assert status == 204 or body in (None, "", {}), f"{method} {template} answers no body"
    else:
        document = {**schema, "components": components}
        jsonschema.Draft202012Validator(document).validate(_without_nulls(body))
    note_operation("hubspot", f"{method} {template}")
    return template


def _operation(method: str, path: str) -> tuple[str, Any, Any] | None:
    plain = _VERSION.sub("/2026-03", path).rstrip("/")
    plain = plain.replace("/objects/2026-03/deals", "/objects/2026-03/0-3")
    matching = [known for known in _operations() if known[0] == method and known[1].fullmatch(plain)]
    if not matching:
        return None
    _, _, template, schema, components = max(matching, key=lambda known: (-known[2].count("{"), known[2]))
    return _VERSION.sub("/{version}", template), schema, components


@cache
def _operations() -> list[tuple[str, re.Pattern[str], str, Any, Any]]:
    folder: Path = shared("specs/hubspot", what="the sandbox's answers against HubSpot's schemas")
    found = []
    for file in sorted(folder.glob("*.json")):
        if file.name.startswith("routes"):
            continue
        document = json.loads(file.read_text())
        components = {"schemas": {name: _camel(each) for name, each in document["components"]["schemas"].items()}}
        for template, methods in document["paths"].items():
            pattern = re.compile(re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(template)))
            for method, operation in methods.items():
                content = operation["responses"]["2XX"].get("content", {})
                schema = content.get("application/json", {}).get("schema")
                found.append((method.upper(), pattern, template, schema, components))
    return found


def _camel(schema: Any) -> Any:
    match schema:
        case dict():
            return {_RENAMED.get(name, name): _camel(each) for name, each in schema.items()}
        case list():
            return [_camel(each) for each in schema]
        case str():
            return _RENAMED.get(schema, schema)
        case _:
            return schema


def _without_nulls(body: Any) -> Any:
    match body:
        case dict():
            return {
                name: {key: value for key, value in each.items() if value is not None}
                if name == "properties" and isinstance(each, dict)
                else _without_nulls(each)
                for name, each in body.items()
            }
        case list():
            return [_without_nulls(each) for each in body]
        case _:
            return body
