"""Composite requests: up to five requests in one, each with an answer of its own.

In order they may point at earlier answers ("@{id:$.data[0].details.id}"); one that points at nothing is not carried out.
How Zoho wraps a part that its own API refused is not documented by an example: here it is an answer like any other, with
its status inside, and the whole is a 207.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from connectors.sandbox.zoho.ask import Answered, Ask
from connectors.sandbox.zoho.errors import refusal, said

_MOST = 5
_URI = re.compile(r"/crm(/.*)?/v[0-9]+([.][0-9]+)?/.*")
_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_]*")
_REFERENCE = re.compile(r"@\{(?P<id>\w+):\$\.(?P<path>[\w.\[\]$]+)\}")
_STEP = re.compile(r"(?P<name>\w+)|\[(?P<index>\d+)\]")
_RESTRICTED = frozenset({"authorization", "x-crm-org"})
_HEADERS = {
    "content-type": "application/json;charset=UTF-8",
    "Content-Disposition": "attachment; filename=response.json",
}

Perform = Callable[[Ask, str, str, Mapping[str, list[str]], Mapping[str, str], bytes], tuple[int, Any]]
"""(the whole request, method, path, query, headers, body) → what the part answers"""


class _Unresolved(Exception):
    """A reference to what is not there."""


def composite(ask: Ask, perform: Perform) -> Answered:
    document = ask.document()
    given = document.get("__composite_requests")
    where = {"api_name": "__composite_requests", "json_path": "$.__composite_requests"}
    if given is None:
        raise refusal(400, "MANDATORY_NOT_FOUND", "required field not found", where)
    if not isinstance(given, list) or not given or not all(isinstance(part, dict) for part in given):
        raise refusal(400, "INVALID_DATA", "invalid data", {**where, "expected_data_type": "jsonarray"})
    if len(given) > _MOST:
        raise refusal(400, "INVALID_DATA", "invalid data", {**where, "maximum_length": _MOST})
    rollback = document.get("rollback_on_fail", False)
    parallel = document.get("parallel_execution", not rollback)
    if rollback and parallel:
        raise refusal(400, "AMBIGUITY_DURING_PROCESSING", "ambiguity during processing", {"ambiguity_due_to": []})
    wrong = [_wrong(part, at) for at, part in enumerate(given)]
    if any(wrong):
        return 400, {"__composite_requests": [one for one in wrong if one]}
    return _carried_out(ask, given, perform, rollback=bool(rollback))


def _carried_out(ask: Ask, given: list[dict[str, Any]], perform: Perform, *, rollback: bool) -> Answered:
    mark = len(ask.org.crm.changes)
    answers: dict[str, Any] = {}
    entries: list[dict[str, Any]] = []
    for at, part in enumerate(given):
        try:
            resolved = _resolved(part, answers)
        except _Unresolved as nowhere:
            details = {"api_name": "body", "json_path": f"$.__composite_requests[{at}]", "reference": str(nowhere)}
            entries.append(said("INVALID_REFERENCE", "invalid reference", details))
            continue
        status, body = _performed(ask, resolved, perform)
        if body is not None:
            answers[str(part.get("sub_request_id", at + 1))] = body
        response = {"headers": _HEADERS if body is not None else {}, "body": body, "status_code": status}
        message = "composite sub request executed successfully"
        entries.append({"code": "SUCCESS", "details": {"response": response}, "message": message, "status": "success"})
        if rollback and status >= 400:
            ask.org.crm.revert(mark)
            by = {"rollbacked_by_sub_request_index": at}
            rolled = [said("ROLLBACK_PERFORMED", "rollback performed", by) for _ in given]
            rolled[at] = entries[-1]
            return 207, {"__composite_requests": rolled}
    bad = sum(_is_bad(entry) for entry in entries)
    return (207 if bad else 200), {"__composite_requests": entries}


def _performed(ask: Ask, part: Mapping[str, Any], perform: Perform) -> tuple[int, Any]:
    path, _, query = str(part["uri"]).partition("?")
    params: dict[str, list[str]] = {name: [value] for name, value in parse_qsl(query)}
    params |= {str(name): [str(value)] for name, value in (part.get("params") or {}).items()}
    headers = {str(name).lower(): str(value) for name, value in (part.get("headers") or {}).items()}
    body = msgspec.json.encode(part["body"]) if part.get("body") is not None else b""
    return perform(ask, str(part["method"]), path, params, headers, body)


def _is_bad(entry: Mapping[str, Any]) -> bool:
    return bool(entry["status"] == "error" or entry["details"]["response"]["status_code"] >= 400)


def _wrong(part: Mapping[str, Any], at: int) -> dict[str, Any] | None:
    where = f"$.__composite_requests[{at}]"
    uri, id = part.get("uri"), part.get("sub_request_id")
    if not isinstance(uri, str) or not _URI.fullmatch(uri):
        details = {"expected_data_type": "text", "regex": _URI.pattern, "api_name": "uri", "json_path": f"{where}.uri"}
        return said("INVALID_DATA", "invalid data", details)
    if id is not None and not (isinstance(id, str) and _ID.fullmatch(id)):
        return said(
            "INVALID_DATA", "invalid data", {"api_name": "sub_request_id", "json_path": f"{where}.sub_request_id"}
        )
    if part.get("method") not in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        return said("INVALID_DATA", "invalid data", {"api_name": "method", "json_path": f"{where}.method"})
    restricted = [name for name in part.get("headers") or {} if str(name).lower() in _RESTRICTED]
    if restricted:
        place = {"api_name": "headers", "json_path": f"{where}.headers", "restricted_headers": restricted}
        return said("INVALID_DATA", "invalid data", place)
    if "__composite_requests" in uri or "/bulk/" in uri:
        return said("NOT_SUPPORTED", "not supported", {"allowed_services": []})
    return None


def _resolved(value: Any, answers: Mapping[str, Any]) -> Any:
    """`value` with its references replaced, in keys' values, lists and inside texts. Raises `_Unresolved`."""
    match value:
        case str():
            return _REFERENCE.sub(lambda found: _reached(found, answers), value)
        case list():
            return [_resolved(item, answers) for item in value]
        case dict():
            return {name: _resolved(item, answers) for name, item in value.items()}
        case _:
            return value


def _reached(reference: re.Match[str], answers: Mapping[str, Any]) -> str:
    at: Any = answers.get(reference["id"])
    for step in _STEP.finditer(reference["path"]):
        try:
            at = at[step["name"]] if step["name"] else at[int(step["index"])]
        except (KeyError, IndexError, TypeError):
            raise _Unresolved(reference[0]) from None
    if not isinstance(at, str | int) or isinstance(at, bool):
        raise _Unresolved(reference[0])
    return str(at)
