"""What we send to Salesforce and what its sandbox answers, checked against what the vendor publishes of itself.

There is no OpenAPI document (SOURCE.md in `../shared/specs/salesforce`), so the checks are: the resources of the REST API
by name; every field that is written, asked for or filtered by against describes of a real org and the standard field lists;
lengths, types, what may be written on creation and on change; codes of refusals against the partner WSDL; shapes of answers
as recorded. Composite requests are taken apart and every part is checked like a request of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote

from connectors.crm.salesforce.manifest import KEY, VERSION
from connectors.request import Reply, Request
from connectors.sandbox.salesforce import searching, soql
from tests.closing import note_operation
from tests.shared import FOLDER

_SPECS = FOLDER / "specs" / "salesforce"
_OURS = {KEY, "gateway_score__c", "gateway_mood__c"}
_FEATURES = {("Opportunity", "RecordTypeId"), ("Opportunity", "CurrencyIsoCode")}  # where an org has switched them on
_HIDDEN = {"HasOptedOutOfEmail", "DoNotCall"}  # standard on contacts and leads; that org's security hides them
_REST_CODES = {  # of the REST API, which the WSDL of the SOAP API does not list
    "NOT_FOUND", "PROCESSING_HALTED", "METHOD_NOT_ALLOWED", "INVALIDJOB", "INVALIDJOBSTATE", "INVALIDLOCATOR",
}  # fmt: skip
_UNDESCRIBED = {  # objects of the API whose fields nothing at hand lists, as developer.salesforce.com has them
    "Organization": {"Id", "Name", "InstanceName", "IsSandbox", "TimeZoneSidKey"},
    "CurrencyType": {"Id", "IsoCode", "IsCorporate"},
    "TaskStatus": {"Id", "ApiName", "MasterLabel", "IsClosed", "IsDefault", "SortOrder"},
    "CaseStatus": {"Id", "ApiName", "MasterLabel", "IsClosed", "IsDefault", "SortOrder"},
    "TaskPriority": {"Id", "ApiName", "MasterLabel", "IsHighPriority", "IsDefault", "SortOrder"},
    "ContentNote": {"Id", "Title", "Content", "OwnerId", "CreatedDate"},
    "PermissionSet": {"Id", "Name", "Label", "Description"},
    "PermissionSetAssignment": {"Id", "PermissionSetId", "AssigneeId"},
    "FieldPermissions": {"Id", "ParentId", "SobjectType", "Field", "PermissionsRead", "PermissionsEdit"},
}
_PARENTS = {"Account": "Account", "Owner": "User", "Opportunity": "Opportunity", "MasterRecord": "Contact"}
_RESOURCES = (  # (method, path below the version, name in the count)
    ("GET", r"", "GET /"),
    ("GET", r"query/?", "GET /query"),
    ("GET", r"queryAll/?", "GET /queryAll"),
    ("GET", r"query(?:All)?/[\w-]+", "GET /query/{locator}"),
    ("GET", r"search/?", "GET /search"),
    ("POST", r"composite", "POST /composite"),
    ("GET", r"sobjects/(?P<of>\w+)/describe", "GET /sobjects/{object}/describe"),
    ("GET", r"sobjects/(?P<of>\w+)/deleted/", "GET /sobjects/{object}/deleted"),
    ("POST", r"sobjects/(?P<of>\w+)", "POST /sobjects/{object}"),
    ("PATCH", r"sobjects/(?P<of>\w+)/[\w@{}.]+", "PATCH /sobjects/{object}/{id}"),
    ("POST", r"tooling/sobjects/CustomField", "POST /tooling/sobjects/CustomField"),
    ("POST", r"jobs/query", "POST /jobs/query"),
    ("GET", r"jobs/query/\w+", "GET /jobs/query/{job}"),
    ("GET", r"jobs/query/\w+/results", "GET /jobs/query/{job}/results"),
    ("GET", r"ui-api/object-info/Opportunity/picklist-values/\w+/StageName", "GET /ui-api/…/picklist-values/…"),
)
_QUERIES = {
    "GET /query": {"q"},
    "GET /queryAll": {"q"},
    "GET /search": {"q"},
    "GET /sobjects/{object}/deleted": {"start", "end"},
    "GET /jobs/query/{job}/results": {"maxRecords", "locator"},
}


def check_salesforce(request: Request, reply: Reply) -> None:
    """Fails on an unknown resource, parameter or field, on a value the field cannot hold, and on an answer of another shape."""
    if not _SPECS.exists():
        return
    answer = _parsed(reply.body)
    operation = _check(request.method, request.path, dict(request.query), request.json)
    if answer is None and "csv" not in reply.headers.get("content-type", "csv"):
        return  # a fault on purpose is no answer of Salesforce's
    if operation == "POST /composite" and reply.status == 200 and isinstance(answer, dict):
        _check_composite(request, answer)
    elif isinstance(answer, (dict, list)):
        _check_answer(operation, reply.status, answer)
    note_operation("salesforce", operation)


def _check(method: str, path: str, query: Mapping[str, str], body: Any) -> str:
    """The name of the operation."""
    found = re.fullmatch(rf"/services/data/v{re.escape(VERSION)}/(.*)", path)
    assert found, f"not below the one version we speak: {path}"
    for known, pattern, name in _RESOURCES:
        match = re.fullmatch(pattern, unquote(found[1]))
        if known == method and match:
            unknown = set(query) - _QUERIES.get(name, set())
            assert not unknown, f"{name} takes no {unknown}"
            if "q" in query:
                _check_question(name, query["q"])
            if name in ("POST /sobjects/{object}", "PATCH /sobjects/{object}/{id}"):
                _check_record(match["of"], body, creating=method == "POST")
            if name == "POST /jobs/query":
                assert set(body) <= {"operation", "query", "columnDelimiter", "lineEnding"}
                _check_question("GET /query", body["query"])
            return name
    raise AssertionError(f"Salesforce publishes no {method} {re.sub('[0-9]', '0', found[1])}")


def _check_composite(request: Request, answer: Mapping[str, Any]) -> None:
    asked = request.json["compositeRequest"]
    assert set(request.json) <= {"allOrNone", "compositeRequest", "collateSubrequests"}
    assert len(asked) <= 25
    assert sum("/query" in part["url"] for part in asked) <= 5, "at most five queries in one composite request"
    assert [part["referenceId"] for part in asked] == [part["referenceId"] for part in answer["compositeResponse"]]
    for part, told in zip(asked, answer["compositeResponse"], strict=True):
        assert set(part) <= {"method", "url", "referenceId", "body", "httpHeaders"}
        assert re.fullmatch(r"[A-Za-z]\w*", part["referenceId"])
        assert not {"accept", "authorization", "content-type"} & {name.lower() for name in part.get("httpHeaders", {})}
        path, _, raw = part["url"].partition("?")
        query = {name: values[-1] for name, values in parse_qs(raw).items()}
        operation = _check(part["method"], path, query, part.get("body"))
        assert set(told) == {"body", "httpHeaders", "httpStatusCode", "referenceId"}
        _check_answer(operation, told["httpStatusCode"], told["body"])
        note_operation("salesforce", f"{operation} (in a composite)")


def _check_answer(operation: str, status: int, body: Any) -> None:
    if status >= 400:
        assert isinstance(body, list), "a refusal is a list"
        for entry in body:
            assert {"message", "errorCode"} <= set(entry) <= {"message", "errorCode", "fields", "duplicateResut"}
            assert entry["errorCode"] in _codes() | _REST_CODES, entry["errorCode"]
        return
    if operation in ("GET /query", "GET /queryAll", "GET /query/{locator}"):
        assert {"totalSize", "done", "records"} <= set(body) <= {"totalSize", "done", "records", "nextRecordsUrl"}
        assert body["done"] is ("nextRecordsUrl" not in body)
        for row in body["records"]:
            _check_row(row)
    elif operation == "GET /search":
        assert set(body) == {"searchRecords"}
        for row in body["searchRecords"]:
            _check_row(row)
    elif operation == "POST /sobjects/{object}":
        assert set(body) == {"id", "success", "errors"}
        assert re.fullmatch(r"[A-Za-z0-9]{18}", body["id"])


def _check_row(row: Mapping[str, Any]) -> None:
    type = row["attributes"]["type"]
    assert row["attributes"]["url"].startswith(f"/services/data/v{VERSION}/sobjects/{type}/")
    known = _fields(type)
    for name, value in row.items():
        if name == "attributes":
            continue
        if isinstance(value, dict):
            _check_row(value) if "attributes" in value else None
            continue
        assert name in known or name in _OURS or (value is None and name in _PARENTS), f"{type} has no {name}"
        described = known.get(name)
        if described and value is not None:
            _check_value(type, described, value, shown=True)


# ── records that are written ────────────────────────────────────────────────────────────────────────────────────────


def _check_record(of: str, body: Mapping[str, Any], *, creating: bool) -> None:
    known = _fields(of)
    for name, value in body.items():
        if name in _OURS or (of, name) in _FEATURES or (name in _HIDDEN and of in ("Contact", "Lead")):
            continue
        assert name in known, f"{of} has no field {name}"
        described = known[name]
        if described is None:
            continue
        assert described["createable" if creating else "updateable"], f"{of}.{name} cannot be written"
        if value is not None:
            _check_value(of, described, value)
    if creating:
        lacking = {
            name
            for name, one in known.items()
            if one
            and one["createable"]
            and not one["nillable"]
            and not one["defaultedOnCreate"]
            and one["type"] != "boolean"
        }
        assert lacking <= set(body), f"{of} is made without {lacking - set(body)}"


def _check_value(of: str, field: Mapping[str, Any], value: Any, *, shown: bool = False) -> None:
    kind, name = field["type"], f"{of}.{field['name']}"
    if isinstance(value, str) and "@{" in value and not shown:
        assert kind in ("reference", "id"), f"{name} holds a reference"
        return
    if kind == "boolean":
        assert isinstance(value, bool), name
    elif kind in ("double", "currency", "percent", "int"):
        assert isinstance(value, int | float), name
        assert not isinstance(value, bool), name
    elif kind == "date":
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", value), name
    elif kind == "datetime":
        ending = r"\+0000" if shown else "Z"
        assert re.fullmatch(rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.000{ending}", value), name
    else:
        assert isinstance(value, str), name
        assert not field["length"] or len(value) <= field["length"], f"{name} is longer than {field['length']}"
        if kind in ("reference", "id"):
            assert re.fullmatch(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?", value), name


# ── questions ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _check_question(operation: str, text: str) -> None:
    if operation == "GET /search":
        for query in searching._returning(searching._FIND.fullmatch(text)["returning"]):  # type: ignore[index]
            _check_query(query)
    else:
        _check_query(soql.parse(text))


def _check_query(query: soql.Query) -> None:
    for item in query.fields:
        assert isinstance(item, str), "no subqueries are asked"
        _field_of(query.of, item)
    for path in _filtered(query.where):
        field = _field_of(query.of, path)
        assert field is None or field["filterable"], f"{query.of}.{path} cannot be filtered by"
    for order in query.order:
        _field_of(query.of, order.field)


def _filtered(condition: soql.Condition | None) -> Iterator[str]:
    match condition:
        case soql.Compare(field=path):
            yield path
        case soql.Both(of=parts) | soql.Either(of=parts):
            for part in parts:
                yield from _filtered(part)
        case soql.Not(of=part):
            yield from _filtered(part)


def _field_of(of: str, path: str) -> Mapping[str, Any] | None:
    """What is known of the field at the end of a path; None where its name is all there is. Fails if there is none."""
    *steps, last = path.split(".")
    for step in steps:
        assert step in _PARENTS, f"{of} has no parent {step}"
        of = _PARENTS[step]
    known = _fields(of)
    assert last in known or last in _OURS, f"{of} has no field {last}"
    return known.get(last)


@cache
def _fields(of: str) -> Mapping[str, Mapping[str, Any] | None]:
    """Name → its describe, or None where only names are published."""
    described = _SPECS / "sobjects" / f"{of}.json"
    if described.exists():
        return {field["name"]: field for field in json.loads(described.read_text())["fields"]}
    listed = json.loads((_SPECS / "standard-fields-jsforce.json").read_text())["objects"].get(of)
    if listed is not None:
        return dict.fromkeys(listed)
    assert of in _UNDESCRIBED, f"nothing is known of the object {of}"
    return dict.fromkeys(_UNDESCRIBED[of])


@cache
def _codes() -> frozenset[str]:
    enums = json.loads((_SPECS / "soap-status-codes.json").read_text())["enums"]
    return frozenset({*enums["StatusCode"], *enums["ExceptionCode"]})


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
