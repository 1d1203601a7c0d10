"""Exchanges with Pipedrive against its OpenAPI files (`../shared/specs/pipedrive`, OpenAPI 3.0, as of 2026-08).

Known limits of those files, worked around here: nothing is said to be nullable that is null in recorded answers (`org_id`,
`custom_fields`, …); comma-separated parameters are shown as one of their values; some integers are shown as "number" with
the numbers 0 and 1; v1's answers 200 are recorded as 201. Made stricter: a member of a request that is not in the document
is a failure, but for fields of a company's own where those are allowed (`custom_fields`, and beside the rest in leads).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema
import yaml

from connectors.crm.pipedrive.manifest import V1, V2
from connectors.request import Reply, Request
from tests.closing import note_operation
from tests.shared import FOLDER

_FILES = {V1: "openapi-v1.yaml", V2: "openapi-v2.yaml"}
_OWN_FIELD = re.compile(r"[0-9a-f]{40}")


def check_pipedrive(request: Request, reply: Reply) -> None:
    """Fails if the request or its 2xx answer is not what Pipedrive publishes. Does nothing where nothing is at hand."""
    if not (FOLDER / "specs" / "pipedrive").exists():
        return
    version, template, operation = _operation(request.method, request.path)
    assert operation is not None, f"Pipedrive publishes no {request.method} {request.path}"
    where = f"{request.method} {version}{template}"
    _check_query(operation, request, where)
    assert request.cost == operation.get("x-token-cost"), f"{where} costs {operation.get('x-token-cost')}"
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if request.json is not None:
        assert body is not None, f"{where} takes no body"
        _validate(body, request.json, where, forbids=True)
    check_answer(request, reply)


def check_answer(request: Request, reply: Reply) -> None:
    """The same for an answer alone: what the sandbox says to others than our connector."""
    if not (FOLDER / "specs" / "pipedrive").exists():
        return
    version, template, operation = _operation(request.method, request.path)
    where = f"{request.method} {version}{template}"
    assert operation is not None, f"Pipedrive publishes no {request.method} {request.path}"
    if 200 <= reply.status < 300 and (answer := _parsed(reply.body)) is not None:
        _validate(_answer_schema(operation), answer, where, forbids=False)
    note_operation("pipedrive", where)


def price_of(method: str, path: str) -> tuple[int, set[str]]:
    """What an operation costs and which scopes open it, each of them alone. Raises where there is no such operation."""
    operation = _operation(method, path)[2]
    assert operation is not None, f"Pipedrive publishes no {method} {path}"
    scopes = {scope for way in operation["security"] for scope in way.get("oauth2", [])}
    return operation["x-token-cost"], scopes


def _answer_schema(operation: Mapping[str, Any]) -> Any:
    """Of the first success: whether that is 200 or 201 is not what recordings say."""
    success = next(code for code in operation["responses"] if code.startswith("2"))
    return operation["responses"][success].get("content", {}).get("application/json", {}).get("schema", {})


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None  # a fault on purpose is no answer of Pipedrive's


@cache
def _paths(version: str) -> Mapping[str, str]:
    """Template → its part of the file, unread: reading the whole takes seconds, and everything stands in place there."""
    text = (FOLDER / "specs" / "pipedrive" / _FILES[version]).read_text()
    parts = re.split(
        r"^  '?(/[^\s:']+)'?:\n", text.partition("\npaths:\n")[2].partition("\ncomponents:\n")[0], flags=re.MULTILINE
    )
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@cache
def _operations(version: str, template: str) -> Mapping[str, Any]:
    """By method, null allowed wherever a type is named."""
    read: Any = yaml.load(_paths(version)[template], Loader=yaml.CSafeLoader)
    fixed: Mapping[str, Any] = _nullable(read)
    return fixed


@cache
def _operation(method: str, path: str) -> tuple[str, str, Any]:
    """(version, template, operation); None for what is not published."""
    version = next((one for one in _FILES if path.startswith(one + "/")), "")
    if not version:
        return "", "", None
    rest = path.removeprefix(version)
    fitting = [template for template in _paths(version) if _fits(template, rest)]
    offered = [template for template in fitting if method.lower() in _operations(version, template)]
    if not offered:
        return version, "", None
    best = min(offered, key=lambda template: template.count("{"))
    return version, best, _operations(version, best)[method.lower()]


def _nullable(node: Any) -> Any:
    if isinstance(node, list):
        return [_nullable(item) for item in node]
    if not isinstance(node, dict):
        return node
    assert "$ref" not in node, "the files have everything in place"
    fixed = {key: _nullable(value) for key, value in node.items()}
    if isinstance(fixed.get("type"), str):
        fixed["type"] = [fixed["type"], "null"]
        if isinstance(fixed.get("enum"), list):
            fixed["enum"] = [*fixed["enum"], None]
    return fixed


@cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(template)))


def _fits(template: str, path: str) -> bool:
    return _pattern(template).fullmatch(path) is not None


def _check_query(operation: Mapping[str, Any], request: Request, where: str) -> None:
    known = {one["name"]: one for one in operation.get("parameters", []) if one["in"] == "query"}
    for name, value in request.query:
        assert name in known, f"{where} has no parameter {name}"
        schema = known[name]["schema"]
        allowed = {part for each in schema.get("enum", []) if each is not None for part in str(each).split(",")}
        given = {each.strip().partition(" ")[0] for each in value.split(",")}  # "update_time ASC": described, not shown
        assert not allowed or given <= allowed, f"{where}: {name}={value} is none of {sorted(allowed)}"
        kinds = schema.get("type", [])
        assert "integer" not in kinds or value.isdigit(), f"{where}: {name}={value} is no number"
        assert "boolean" not in kinds or value in ("true", "false"), f"{where}: {name}={value} is no flag"
    missing = {name for name, one in known.items() if one.get("required")} - {name for name, _ in request.query}
    assert not missing - {"cursor"}, f"{where} needs {missing}"


def _validate(schema: Any, value: Any, where: str, *, forbids: bool) -> None:
    try:
        jsonschema.Draft202012Validator(schema).validate(value)
    except jsonschema.ValidationError as wrong:
        place = "/".join(str(step) for step in wrong.absolute_path)
        raise AssertionError(f"{where}: {place}: {wrong.message[:300]}") from None
    if forbids:
        _check_members(schema, value, where)


def _check_members(schema: Any, value: Any, where: str) -> None:
    """No member that the document does not know. Leads have fields of the company's own beside the rest."""
    members = _members(schema)
    if isinstance(value, list):
        for each in value:
            _check_members(schema.get("items", {}), each, where)
    if not isinstance(value, dict) or not members:
        return
    for name, each in value.items():
        if name not in members:
            own = "/leads" in where and _OWN_FIELD.fullmatch(name)
            assert own, f"{where}: the document has no member {name}"
            continue
        if name != "custom_fields":
            _check_members(members[name], each, where)


def _members(schema: Any) -> dict[str, Any]:
    """The properties of a schema, those of its parts together."""
    if not isinstance(schema, dict):
        return {}
    found = dict(schema.get("properties", {}))
    for part in (*schema.get("allOf", []), *schema.get("anyOf", []), *schema.get("oneOf", [])):
        found |= _members(part)
    return found
