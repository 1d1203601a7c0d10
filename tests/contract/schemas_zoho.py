"""What we send Zoho and what its sandbox answers, checked against Zoho's own OpenAPI files (`../shared/specs/zoho`).

The newer descriptions (oas-3.1) are used throughout; each part of a composite request is checked like a request of its
own. Known limits of those files, worked around here: patterns in a syntax of Java's; the body of an empty part, which is
null and shown as an object; `perPage`, which the API and the older files spell `per_page`; renewing a channel (PATCH),
which is shown as a flat object where the older file and the prose have `watch`; bounds on the number of rows that are
half of what the prose says; `fields` of a single record, which the older file and the prose have; headers, which they
mostly leave out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote

import jsonschema

from connectors.request import Reply, Request
from tests.closing import note_operation
from tests.shared import FOLDER

_FILES = FOLDER / "specs" / "zoho" / "oas-3.1"
_WATCH = "/crm/v8/actions/watch"
_JAVA = re.compile(r"\\p\{|\(\?<|\]\*\+")
_HELD: set[tuple[str, str, str, str]] = set()
_WATCH_MEMBERS = {"channel_id", "events", "channel_expiry", "notify_url", "token", "return_affected_field_values"}


def check_zoho(request: Request, reply: Reply) -> None:
    """Fails if the request or its 2xx answer is not what Zoho publishes. Does nothing where its files are not at hand."""
    if _FILES.exists():
        body = _parsed(reply.body)
        _check(request.method, unquote(request.path), dict(request.query), request.json, reply.status, body)


def _check(method: str, path: str, query: Mapping[str, str], sent: Any, status: int, answer: Any) -> None:
    template, operation = _operation(method, path)
    _check_query(template, operation, query)
    if (method, template) == ("PATCH", _WATCH):
        assert set(sent) == {"watch"}
        assert all(set(one) <= _WATCH_MEMBERS for one in sent["watch"])
    else:
        _validate(template, method, "body", sent)
    if 200 <= status < 300 and answer is not None:  # a fault on purpose is no answer of Zoho's
        _validate(template, method, str(status), answer)
    if template.endswith("/__composite_requests"):
        for part, entry in zip(sent["__composite_requests"], _entries(answer), strict=False):
            response = (entry.get("details") or {}).get("response") or {}
            _check(
                part["method"], _without_references(part["uri"]), part.get("params", {}), part.get("body"),
                response.get("status_code", 0), response.get("body"),
            )  # fmt: skip
    note_operation("zoho", f"{method} {template}")


def _entries(answer: Any) -> list[Any]:
    found = answer.get("__composite_requests") if isinstance(answer, dict) else None
    return found if isinstance(found, list) else []


def _without_references(uri: str) -> str:
    return re.sub(r"@\{[^}]*\}", "1", uri)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return None


@cache
def _documents() -> Mapping[str, Mapping[str, tuple[Any, Any]]]:
    """path template → method → (operation, the components it refers to)"""
    found: dict[str, dict[str, tuple[Any, Any]]] = {}
    for file in sorted(_FILES.glob("*.json")):
        document = _mended(json.loads(file.read_text()))
        prefix = "/crm/bulk/v8" if "/bulk/" in document["servers"][0]["url"] else "/crm/v8"
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if isinstance(operation, dict):
                    shared = methods.get("parameters", [])
                    whole = {**operation, "parameters": [*shared, *operation.get("parameters", [])]}
                    found.setdefault(prefix + path, {})[method.upper()] = (whole, document.get("components", {}))
    return found


def _mended(node: Any) -> Any:
    if isinstance(node, list):
        return [_mended(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {name: _mended(value) for name, value in node.items()}
    if isinstance(kept.get("pattern"), str) and _JAVA.search(kept["pattern"]):
        del kept["pattern"]
    if kept.get("type") == "array":
        kept.pop("maxItems", None)
    members = kept.get("properties")
    if isinstance(members, dict) and {"headers", "body", "status_code"} == members.keys():
        members["body"] = {"type": ["object", "null"]}
    return kept


@cache
def _operation(method: str, path: str) -> tuple[str, Any]:
    fitting = [template for template, found in _documents().items() if method in found and _fits(template, path)]
    assert fitting, f"Zoho publishes no {method} {re.sub(r'/[0-9]+(?=/|$)', '/{id}', path)}"
    best = min(fitting, key=lambda template: (template.count("{"), template))
    return best, _documents()[best][method][0]


def _fits(template: str, path: str) -> bool:
    return re.fullmatch(re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(template)), path) is not None


def _check_query(template: str, operation: Any, query: Mapping[str, str]) -> None:
    known = {parameter["name"] for parameter in _parameters(template, operation)}
    known |= {"per_page"} if "perPage" in known else set()
    if template == "/crm/v8/{module}/{recordID}":
        known |= {"fields"}
    assert not set(query) - known, f"Zoho publishes no query {set(query) - known} for {template}"


def _parameters(template: str, operation: Any) -> Iterator[Mapping[str, Any]]:
    components = next(iter(_documents()[template].values()))[1]
    for parameter in operation.get("parameters", []):
        named = parameter.get("$ref", "").rsplit("/", 1)[-1]
        found = components["parameters"][named] if named else parameter
        if found["in"] == "query":
            yield found


@cache
def _validator(template: str, method: str, part: str) -> Any:
    """Of the request's body, or of the answer with one status; None where none is published."""
    operation, components = _documents()[template][method]
    root = operation.get("requestBody") if part == "body" else operation["responses"].get(part)
    if part != "body":
        assert root is not None, f"Zoho publishes no answer {part} of {method} {template}"
    if root and "$ref" in root:
        _, kind, name = root["$ref"].rsplit("/", 2)
        root = components[kind][name]
    schema = ((root or {}).get("content") or {}).get("application/json", {}).get("schema")
    return jsonschema.Draft202012Validator({**schema, "components": components}) if schema else None


def _validate(template: str, method: str, part: str, value: Any) -> None:
    validator = _validator(template, method, part)
    if validator is None:
        assert part != "body" or value is None, f"Zoho publishes no body for {method} {template}"
        return
    seen = (template, method, part, json.dumps(value, sort_keys=True))
    if seen in _HELD:  # the metadata of a sandbox is the same in every test, and long
        return
    wrong = jsonschema.exceptions.best_match(validator.iter_errors(value))
    if wrong is None:
        _HELD.add(seen)
    else:
        place = "/".join(str(step) for step in wrong.absolute_path)
        raise AssertionError(f"{method} {template} ({part}): {place}: {wrong.message[:300]}")
