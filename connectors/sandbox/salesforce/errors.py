"""What Salesforce answers when it refuses. Each builder gives the exception that carries the whole answer.

Shapes: recorded answers query_400_invalid_field, write_400_invalid_field, q_403_request_limit_exceeded,
q_400_duplicates_detected, c_composite_partial_400, search_400_malformed; codes as in soap-status-codes.json. Texts are the
ones seen in public; nobody should rely on them, they are in the user's language.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class Refusal(Exception):
    """An answer that is not the one hoped for. `body` is JSON, or a page when bytes."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = dict(headers or {})

    def as_saved(self) -> list[dict[str, Any]]:
        """The same as errors of one record in a collection: `statusCode` instead of `errorCode`."""
        return [
            {"statusCode": one.get("errorCode"), "message": one.get("message"), "fields": one.get("fields", [])}
            for one in self.body
        ]


def error(status: int, code: str, message: str, *, fields: Sequence[str] | None = None, **more: Any) -> Refusal:
    """The usual list of one. `fields` stands only where a record was refused."""
    told: dict[str, Any] = {**more, "message": message, "errorCode": code}
    if fields is not None:
        told["fields"] = list(fields)
    return Refusal(status, [told])


def session_gone() -> Refusal:
    """Expired or revoked: Salesforce makes no difference."""
    return error(401, "INVALID_SESSION_ID", "Session expired or invalid")


def not_found(message: str = "The requested resource does not exist") -> Refusal:
    return error(404, "NOT_FOUND", message)


def is_deleted() -> Refusal:
    return error(404, "ENTITY_IS_DELETED", "entity is deleted", fields=[])


def no_such_column(name: str, of: str) -> Refusal:
    """In a record that is written."""
    return error(400, "INVALID_FIELD", f"No such column '{name}' on sobject of type {of}")


def cannot_be_asked(name: str, of: str, query: str) -> Refusal:
    """In a query."""
    at = query.lower().find(name.lower())
    message = (
        f"\n{query[:80]}\n{' ' * max(0, min(at, 79))}^\nERROR at Row:1:Column:{at + 1}\n"
        f"No such column '{name}' on entity '{of}'. If you are attempting to use a custom field, be sure to append the "
        "'__c' after the custom field name. Please reference your WSDL or the describe call for the appropriate names."
    )
    return error(400, "INVALID_FIELD", message)


def no_such_object(name: str, query: str = "") -> Refusal:
    message = (
        f"\n{query[:80]}\n^\nERROR at Row:1:Column:1\nsObject type '{name}' is not supported. If you are attempting to use a "
        "custom object, be sure to append the '__c' after the entity name. Please reference your WSDL or the describe "
        "call for the appropriate names."
    )
    return error(400, "INVALID_TYPE", message)


def malformed_query(message: str) -> Refusal:
    return error(400, "MALFORMED_QUERY", message)


def malformed_search(message: str) -> Refusal:
    return error(400, "MALFORMED_SEARCH", message)


def no_access(message: str = "insufficient access rights on cross-reference id") -> Refusal:
    return error(403, "INSUFFICIENT_ACCESS_OR_READONLY", message, fields=[])


def bad_json(message: str) -> Refusal:
    return error(400, "JSON_PARSER_ERROR", message)


def used_up(which: str = "TotalRequests") -> Refusal:
    return error(403, "REQUEST_LIMIT_EXCEEDED", f"{which} Limit exceeded.")


def duplicate_value(field: str, holder: str) -> Refusal:
    message = f"duplicate value found: {field} duplicates value on record with id: {holder[:15]}"
    return error(400, "DUPLICATE_VALUE", message, fields=[])


def duplicates(rule: str, of: str, found: Sequence[tuple[str, str]], *, version: str, allow: bool) -> Refusal:
    """Recorded: q_400_duplicates_detected_v56_account; the key is misspelt there as it is here. `found`: (object, id)."""
    records = [
        {
            "additionalInformation": [],
            "fieldDiffs": [],
            "matchConfidence": 100.0,
            "record": {
                "attributes": {"type": type, "url": f"/services/data/v{version}/sobjects/{type}/{id}"},
                "Id": id,
            },
        }
        for type, id in found
    ]
    result = {
        "allowSave": allow,
        "duplicateRule": rule,
        "duplicateRuleEntityType": of,
        "errorMessage": "Use one of these records?",
        "matchResults": [
            {
                "entityType": of,
                "errors": [],
                "matchEngine": "ExactMatchEngine",
                "matchRecords": records,
                "rule": f"{rule}_matching",
                "size": len(records),
                "success": True,
            }
        ],
    }
    return Refusal(
        400,
        [{"duplicateResut": result, "errorCode": "DUPLICATES_DETECTED", "message": "Use one of these records?"}],
    )
