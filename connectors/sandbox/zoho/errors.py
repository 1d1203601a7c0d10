"""Zoho's refusals, in its words. Source: oas-3.1's enumerations and examples; none is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Refusal(Exception):
    """An answer that is no success; `body` is a JSON value, or a page."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = dict(headers or {})


class BadRecord(Exception):
    """One record of a write is not accepted. `entry` is what the answer says of it."""

    def __init__(self, code: str, message: str, details: Mapping[str, Any]) -> None:
        super().__init__(code)
        self.entry = said(code, message, details)


def said(code: str, message: str, details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"code": code, "details": dict(details or {}), "message": message, "status": "error"}


def refusal(status: int, code: str, message: str, details: Mapping[str, Any] | None = None) -> Refusal:
    return Refusal(status, said(code, message, details))


def invalid_token() -> Refusal:
    return refusal(401, "INVALID_TOKEN", "invalid oauth token")


def no_token() -> Refusal:
    return refusal(401, "AUTHENTICATION_FAILURE", "Authentication failed")


def lacks_scope() -> Refusal:
    return refusal(401, "OAUTH_SCOPE_MISMATCH", "invalid oauth scope to access this URL")


def no_such_page() -> Refusal:
    return refusal(404, "INVALID_URL_PATTERN", "Please check if the URL trying to access is a correct one")


def no_such_module() -> Refusal:
    return refusal(400, "INVALID_MODULE", "the module name given seems to be invalid", {"resource_path_index": 0})


def too_many() -> Refusal:
    return refusal(429, "TOO_MANY_REQUESTS", "Too many requests fired in concurrent.")


def out_of_credits() -> Refusal:
    return refusal(429, "TOO_MANY_REQUESTS", "The API credits allowed for 24 hours are used up.")


def no_such_record(id: str) -> BadRecord:
    return BadRecord("INVALID_DATA", "the id given seems to be invalid", {"id": id})


def invalid(field: str, kind: str, *, at: int = 0, **more: Any) -> BadRecord:
    where = {"api_name": field, "json_path": f"$.data[{at}].{field}"}
    return BadRecord("INVALID_DATA", "invalid data", {**where, "expected_data_type": kind, **more})


def too_long(field: str, most: int, *, at: int = 0) -> BadRecord:
    where = {"api_name": field, "json_path": f"$.data[{at}].{field}"}
    return BadRecord("INVALID_DATA", "invalid data", {**where, "maximum_length": most})


def missing(field: str, *, at: int = 0) -> BadRecord:
    return BadRecord(
        "MANDATORY_NOT_FOUND", "required field not found", {"api_name": field, "json_path": f"$.data[{at}].{field}"}
    )


def duplicate(field: str, id: str, module: str, *, at: int = 0) -> BadRecord:
    record = {"id": id, "module": {"api_name": module, "id": "1"}}
    where = {"api_name": field, "json_path": f"$.data[{at}].{field}"}
    return BadRecord("DUPLICATE_DATA", "duplicate data", {**where, "duplicate_record": record})
