"""What we send and what the sandbox answers, checked against the vendors' published schemas where they are at hand.

HubSpot: `../shared/specs/hubspot` (OpenAPI 3.1, made from its official SDK). Known limits of those files, worked around
here: paths say 2026-03 where we say 2026-09 (the same routes); inputs of batches point at unrelated schemas; search
requests are shown with every field required and sorts as plain text; some names are in Python's spelling; property
values are shown as never null; some bodies are shown with what the path says already.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema

from connectors.crm.hubspot.manifest import VERSION
from connectors.request import Reply, Request
from tests.closing import note_operation
from tests.contract.schemas_pipedrive import check_pipedrive
from tests.contract.schemas_salesforce import check_salesforce
from tests.contract.schemas_zoho import check_zoho
from tests.shared import FOLDER

_SPEC_VERSION = "2026-03"
_LOOSENED = {"inputs", "sorts"}  # shown with other shapes than the API has


def check_exchange(vendor: str, request: Request, reply: Reply) -> None:
    """Fails if the request or its 2xx answer is not what the vendor publishes. Does nothing where nothing is published."""
    if vendor == "pipedrive":
        check_pipedrive(request, reply)
    if vendor == "salesforce":
        check_salesforce(request, reply)
    if vendor == "zoho":
        check_zoho(request, reply)
    if vendor != "hubspot" or not (FOLDER / "specs" / "hubspot").exists():
        return
    template, operation = _operation(request)
    assert operation is not None, f"HubSpot publishes no {request.method} {_placeholders(request.path)}"
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        _validate(_without_path(content["application/json"]["schema"], template), request.json, template)
    _check_query(operation, request)
    if 200 <= reply.status < 300 and reply.body:
        schema = operation["responses"]["2XX"].get("content", {}).get("application/json", {}).get("schema")
        answer = _parsed(reply.body)
        if schema and answer is not None:  # a fault on purpose is no answer of HubSpot's
            _validate(schema, answer, template)
        if schema and answer is None:
            return
    note_operation("hubspot", f"{request.method} {template.replace(_SPEC_VERSION, '{version}')}")


def _without_path(schema: Any, template: str) -> Any:
    """A body's schema without what the path says already ("objectType"): the files ask for it in both."""
    said = {_camel(name) for name in re.findall(r"\{(\w+)\}", template)}
    return {**schema, "required": [name for name in schema.get("required", []) if name not in said]}


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


@cache
def _paths() -> Mapping[str, Mapping[str, tuple[Any, Mapping[str, Any]]]]:
    """path template → method → (operation, the schemas it refers to)"""
    found: dict[str, dict[str, tuple[Any, Mapping[str, Any]]]] = {}
    for file in sorted((FOLDER / "specs" / "hubspot").glob("*.json")):
        document = json.loads(file.read_text())
        schemas = document.get("components", {}).get("schemas", {})
        for path, methods in document.get("paths", {}).items():
            for method, operation in methods.items():
                found.setdefault(path, {}).setdefault(method.upper(), (operation, schemas))
    return found


@cache
def _resolved_operation(template: str, method: str) -> Any:
    operation, schemas = _paths()[template][method]
    return _resolved(operation, schemas, ())


def _resolved(node: Any, schemas: Mapping[str, Any], inside: tuple[str, ...]) -> Any:
    """References replaced by what they mean, and the known mistakes of the files taken out."""
    if isinstance(node, list):
        return [_resolved(item, schemas, inside) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        name = node["$ref"].rsplit("/", 1)[-1]
        return {} if name in inside else _resolved(schemas[name], schemas, (*inside, name))
    fields = node.get("properties")
    if not isinstance(fields, dict) or node.get("type") != "object":
        return {key: _resolved(value, schemas, inside) for key, value in node.items()}
    known = {
        _camel(name): {} if name in _LOOSENED else _resolved(schema, schemas, inside) for name, schema in fields.items()
    }
    values = known.get("properties")
    if isinstance(values, dict) and "additionalProperties" in values:
        values["additionalProperties"] = {"type": ["string", "null"]}
    needed = [] if {"filterGroups", "sorts"} <= known.keys() else node.get("required", [])
    fixed = {**node, "properties": known, "required": [_camel(name) for name in needed if name != "associations"]}
    if inside and inside[-1].endswith(("Params", "Param")) and not inside[-1].startswith("Batch"):
        fixed["additionalProperties"] = False
    return fixed


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


def _operation(request: Request) -> tuple[str, Any]:
    path = request.path.replace(VERSION, _SPEC_VERSION)
    fitting = [
        template for template, methods in _paths().items() if request.method in methods and _fits(template, path)
    ]
    if not fitting:
        return "", None
    best = min(fitting, key=lambda template: template.count("{"))
    return best, _resolved_operation(best, request.method)


@cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(template)))


def _fits(template: str, path: str) -> bool:
    return _pattern(template).fullmatch(path) is not None


def _validate(schema: Any, value: Any, template: str) -> None:
    try:
        jsonschema.Draft202012Validator(schema).validate(value)
    except jsonschema.ValidationError as wrong:
        place = "/".join(str(step) for step in wrong.absolute_path)
        raise AssertionError(f"{template}: {place}: {wrong.message[:200]}") from None


def _check_query(operation: Any, request: Request) -> None:
    known = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "query"}
    unknown = {name for name, _ in request.query} - known
    assert not unknown, f"HubSpot publishes no query {unknown} for {request.method} {_placeholders(request.path)}"


def _placeholders(path: str) -> str:
    return re.sub(r"/\d+(?=/|$)", "/{id}", path)
