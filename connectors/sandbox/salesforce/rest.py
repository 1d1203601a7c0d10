"""The REST API of one org: records, queries, searches, collections, composite requests, what changed, limits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

from connectors.sandbox.salesforce import asking, bulk, describing, ids, saving, searching, soql, tooling
from connectors.sandbox.salesforce.errors import Refusal, bad_json, error, malformed_query, not_found
from connectors.sandbox.salesforce.objects import Type
from connectors.sandbox.salesforce.org import Org, Row
from connectors.sandbox.salesforce.values import shown

_BATCH = 2_000
_FORGOTTEN = timedelta(days=30)  # deletions and changes are told of no longer
_MOST_TOGETHER = 200  # records of a collection

Answered = tuple[int, Any, Mapping[str, str]]


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One request below /services/data/v66.0/: `path` in segments, unquoted; `body` as bytes, read when it is needed."""

    now: datetime
    version: str
    method: str
    path: tuple[str, ...]
    query: Mapping[str, list[str]]
    body: Any = None
    headers: Mapping[str, str] = {}

    def one(self, name: str) -> str:
        values = self.query.get(name)
        return values[-1] if values else ""

    def document(self) -> dict[str, Any]:
        """The body, which must be an object. Raises the 400."""
        if not isinstance(self.body, dict):
            raise bad_json("The HTTP entity body is required, but this request has no entity body.")
        return self.body


class Rest:
    """Answers requests about one org. `strikes` says whether a fault on command hits a subrequest."""

    def __init__(self, org: Org, strikes: Callable[[str, str], Refusal | None] = lambda method, url: None) -> None:
        self.org = org
        self.jobs = bulk.Jobs(org)
        self._index = searching.Index(org)
        self._strikes = strikes
        self._pages: dict[str, tuple[soql.Query, list[Row], int, int]] = {}

    def answer(self, ask: Ask) -> Answered:
        """Raises `Refusal`."""
        org, version = self.org, ask.version
        match ask.method, *ask.path:
            case ("GET",):
                return 200, self._resources(version), {}
            case "GET", "query" | "queryAll" as which:
                return self._query(ask, deleted=which == "queryAll")
            case "GET", "query" | "queryAll", locator:
                return self._more(locator, version)
            case "GET", "search":
                return 200, searching.search(org, self._index, ask.one("q"), ask.now, version=version), {}
            case "GET" | "POST", "parameterizedSearch":
                return 200, self._parameterized(ask), {}
            case "GET", "limits":
                left = max(0, org.limit - org.used)
                return 200, {
                    "DailyApiRequests": {"Max": org.limit, "Remaining": left},
                    "DailyBulkV2QueryJobs": {"Max": 10_000, "Remaining": 10_000 - len(self.jobs.all)},
                }, {}  # fmt: skip
            case "GET", "sobjects":
                return 200, describing.everything(org, version), {}
            case "GET", "sobjects", name, "describe":
                return 200, describing.describe(org, self._type(name), version), {}
            case "GET", "sobjects", name, "deleted":
                return 200, self._deleted(ask, self._type(name)), {}
            case "GET", "sobjects", name, "updated":
                return 200, self._updated(ask, self._type(name)), {}
            case "GET", "sobjects", name:
                return 200, {"objectDescribe": describing.basic(org, self._type(name), version), "recentItems": []}, {}
            case "POST", "sobjects", name:
                row = self._create(ask, self._type(name), ask.document())
                return 201, _saved(row.id), {"Location": f"/services/data/v{version}/sobjects/{row.type}/{row.id}"}
            case method, "sobjects", name, id:
                return self._record(ask, method, self._type(name), id)
            case method, "sobjects", name, field, value:
                return self._external(ask, method, self._type(name), field, value)
            case "POST", "composite":
                return 200, {"compositeResponse": self._composite(ask)}, {}
            case method, "composite", "sobjects", *rest:
                return 200, self._collection(ask, method, rest), {}
            case "POST", "tooling", "sobjects", "CustomField":
                return 201, tooling.create_field(org, ask.document()), {}
            case "GET", "ui-api", "object-info", "Opportunity", "picklist-values", record_type, "StageName":
                return 200, describing.stages_of(org, record_type), {}
            case _:
                raise not_found()

    def bulk(self, ask: Ask) -> tuple[int, bytes | Any, Mapping[str, str]]:
        return self.jobs.answer(ask.method, ask.path[2:], ask.query, ask.body, ask.now, ask.version)

    def _type(self, name: str) -> Type:
        type = self.org.type(name)
        if type is None:
            raise not_found()
        return type

    def _resources(self, version: str) -> dict[str, str]:
        home = f"/services/data/v{version}"
        names = (
            "sobjects",
            "query",
            "queryAll",
            "search",
            "parameterizedSearch",
            "composite",
            "limits",
            "tooling",
            "jobs",
        )
        identity = f"{self.org.origin}/id/{self.org.id}/{self.org.user}"
        return {**{name: f"{home}/{name}" for name in names}, "identity": identity}

    # ── questions ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _query(self, ask: Ask, *, deleted: bool) -> Answered:
        text = ask.one("q")
        if not text:
            raise malformed_query("unexpected token: '<EOF>'")
        query = soql.parse(text)
        rows = asking.records(self.org, query, deleted=deleted)
        if not query.fields:
            return 200, {"totalSize": len(rows), "done": True, "records": []}, {}
        wanted = re.search(r"batchSize=(\d+)", ask.headers.get("sforce-query-options", ""))
        size = min(max(int(wanted[1]), 200), _BATCH) if wanted else _BATCH
        return 200, self._paged(query, rows, 0, size, ask.version), {}

    def _more(self, locator: str, version: str) -> Answered:
        known = self._pages.get(locator)
        if known is None:
            raise error(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        query, rows, at, size = known
        return 200, self._paged(query, rows, at, size, version), {}

    def _paged(self, query: soql.Query, rows: list[Row], at: int, size: int, version: str) -> dict[str, Any]:
        page = asking.show(self.org, query, rows[at : at + size], version=version)
        told: dict[str, Any] = {"totalSize": len(rows), "done": at + size >= len(rows), "records": page}
        if not told["done"]:
            locator = f"01ggw{len(self._pages):010d}-{at + size}"
            self._pages[locator] = (query, rows, at + size, size)
            told["nextRecordsUrl"] = f"/services/data/v{version}/query/{locator}"
        return told

    def _parameterized(self, ask: Ask) -> dict[str, Any]:
        of = {"name": ask.one("sobject") or ask.one("sObject")}
        told: dict[str, Any] = ask.body if isinstance(ask.body, dict) else {"q": ask.one("q"), "sobjects": [of]}
        words = re.sub(r"[{}]", " ", str(told.get("q", "")))
        phrase = '"' + words.replace("\\", " ").replace('"', " ") + '"'
        returning = ",".join(
            f"{one['name']}({','.join(one.get('fields', ['Id']))} LIMIT {int(one.get('limit', 20))})"
            for one in told.get("sobjects", [])
            if one.get("name")
        )
        where = str(told.get("in", "ALL")).upper()
        text = f"FIND {{{phrase}}} IN {where} FIELDS" + (f" RETURNING {returning}" if returning else "")
        return searching.search(self.org, self._index, text, ask.now, version=ask.version)

    def _deleted(self, ask: Ask, type: Type) -> dict[str, Any]:
        start, end = _span(ask)
        gone = [
            row
            for row in self.org.all(type.name, deleted=True)
            if row.is_deleted and start <= row.get("SystemModstamp") < end
        ]
        return {
            "deletedRecords": [{"id": row.id, "deletedDate": shown(row.get("SystemModstamp"))} for row in gone],
            "earliestDateAvailable": shown(ask.now - _FORGOTTEN),
            "latestDateCovered": shown(min(end, ask.now)),
        }

    def _updated(self, ask: Ask, type: Type) -> dict[str, Any]:
        start, end = _span(ask)
        changed = [row.id for row in self.org.all(type.name) if start <= row.get("SystemModstamp") < end]
        return {"ids": changed, "latestDateCovered": shown(min(end, ask.now))}

    # ── records ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _create(self, ask: Ask, type: Type, given: Mapping[str, Any]) -> Row:
        allow = "allowsave=true" in ask.headers.get("sforce-duplicate-rule-header", "").lower().replace(" ", "")
        return saving.create(self.org, type, given, ask.now, allow_duplicates=allow, version=ask.version)

    def _record(self, ask: Ask, method: str, type: Type, id: str) -> Answered:
        if not ids.is_id(id):
            raise error(404, "NOT_FOUND", f"Provided external ID field does not exist or is not accessible: {id}")
        row = saving.living(self.org, type, id)
        match method:
            case "GET":
                return 200, self._shown(ask, row), {}
            case "PATCH":
                saving.update(self.org, row, ask.document(), ask.now, version=ask.version)
                return 204, None, {}
            case "DELETE":
                saving.delete(self.org, row, ask.now)
                return 204, None, {}
        raise error(405, "METHOD_NOT_ALLOWED", f"HTTP Method '{method}' not allowed. Allowed are GET,PATCH,DELETE")

    def _shown(self, ask: Ask, row: Row) -> dict[str, Any]:
        type = self.org.types[row.type]
        named = [name for name in ask.one("fields").split(",") if name] or [
            field.name for field in self.org.fields(type)
        ]
        return asking.show(self.org, soql.Query(tuple(named), type.name, text=""), [row], version=ask.version)[0]

    def _external(self, ask: Ask, method: str, type: Type, named: str, value: str) -> Answered:
        field = self.org.field(type, named)
        if field is None or not (field.id_lookup or field.external_id):
            raise error(404, "NOT_FOUND", f"Provided external ID field does not exist or is not accessible: {named}")
        rows = [row for row in self.org.all(type.name) if str(row.get(field.name) or "").lower() == value.lower()]
        if len(rows) > 1:
            raise Refusal(300, [f"/services/data/v{ask.version}/sobjects/{type.name}/{row.id}" for row in rows])
        if method != "PATCH":
            if not rows:
                raise not_found()
            return self._record(ask, method, type, rows[0].id)
        given = ask.document()
        if any(name.lower() == field.name.lower() for name in given):
            message = f"The {field.name} field should not be specified in the sobject data."
            raise error(400, "INVALID_FIELD", message, fields=[field.name])
        if rows:
            saving.update(self.org, rows[0], given, ask.now, version=ask.version)
            return 200, {**_saved(rows[0].id), "created": False}, {}
        if ask.one("updateOnly") == "true":
            raise not_found()
        row = self._create(ask, type, {**given, field.name: value})
        return (
            201,
            {**_saved(row.id), "created": True},
            {"Location": f"/services/data/v{ask.version}/sobjects/{type.name}/{row.id}"},
        )

    # ── several at once ─────────────────────────────────────────────────────────────────────────────────────────────

    def _collection(self, ask: Ask, method: str, rest: Sequence[str]) -> list[dict[str, Any]]:
        """POST, PATCH (also by external id), DELETE of up to 200; errors have `statusCode` here."""
        given: Any = [{"id": id} for id in ask.one("ids").split(",") if id]
        whole = ask.one("allOrNone") == "true"
        if method != "DELETE":
            told = ask.document()
            given, whole = told.get("records"), bool(told.get("allOrNone"))
        if not isinstance(given, list) or len(given) > _MOST_TOGETHER:
            message = f"record limit reached. cannot submit more than {_MOST_TOGETHER} records"
            raise error(400, "EXCEEDED_ID_LIMIT", message)
        mark = len(self.org.changes)
        answers = [self._one_of(ask, method, record, rest) for record in given]
        if whole and any(not answer["success"] for answer in answers):
            self.org.revert(mark)
            rolled = {"statusCode": "ALL_OR_NONE_OPERATION_ROLLED_BACK", "message": "Record rolled back", "fields": []}
            answers = [
                answer if not answer["success"] else {"success": False, "errors": [rolled]} for answer in answers
            ]
        return answers

    def _one_of(self, ask: Ask, method: str, record: Mapping[str, Any], rest: Sequence[str]) -> dict[str, Any]:
        fields = {name: value for name, value in record.items() if name.lower() not in ("attributes", "id")}
        id = str(record.get("id") or record.get("Id") or "")
        try:
            if method == "DELETE":
                row = self.org.anywhere(id)
                if row is None:
                    raise error(400, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", fields=[])
                saving.delete(self.org, row, ask.now)
                return _saved(id)
            if len(rest) == 2:
                value = str(fields.pop(rest[1], ""))
                inner = msgspec.structs.replace(ask, body=fields)
                status, told, _ = self._external(inner, "PATCH", self._type(rest[0]), rest[1], value)
                return {**told, "created": status == 201}
            type = self._type(str(record.get("attributes", {}).get("type")))
            if method == "POST":
                return _saved(self._create(ask, type, fields).id)
            found = self.org.get(type.name, id)
            if found is None:
                raise error(400, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", fields=[])
            saving.update(self.org, found, fields, ask.now, version=ask.version)
            return _saved(id)
        except Refusal as refused:
            return {"success": False, "errors": refused.as_saved()}

    def _composite(self, ask: Ask) -> list[dict[str, Any]]:
        told = ask.document()
        asked = told.get("compositeRequest")
        if not isinstance(asked, list) or not asked or not all(isinstance(one, dict) for one in asked):
            raise bad_json("compositeRequest is required")
        if len(asked) > 25:
            raise error(400, "PROCESSING_HALTED", "Composite limit of 25 subrequests exceeded")
        if sum("/query" in str(one.get("url")) or "/composite/sobjects" in str(one.get("url")) for one in asked) > 5:
            raise error(400, "PROCESSING_HALTED", "Composite limit of 5 query or collection subrequests exceeded")
        names = [one.get("referenceId") for one in asked]
        if not all(isinstance(name, str) and re.fullmatch(r"[A-Za-z]\w*", name) for name in names) or len(
            set(names)
        ) < len(names):
            raise error(400, "JSON_PARSER_ERROR", "Every subrequest needs a referenceId of its own")
        mark = len(self.org.changes)
        known: dict[str, Any] = {}
        answers: list[dict[str, Any]] = []
        for one in _gathered(asked) if told.get("collateSubrequests", True) else asked:
            status, body, headers = self._subrequest(ask, one, known)
            known[str(one["referenceId"])] = body if status < 300 else None
            answers.append(
                {
                    "body": body,
                    "httpHeaders": dict(headers),
                    "httpStatusCode": status,
                    "referenceId": one["referenceId"],
                }
            )
        answers.sort(key=lambda answer: names.index(answer["referenceId"]))
        if told.get("allOrNone") and any(answer["httpStatusCode"] >= 300 for answer in answers):
            self.org.revert(mark)
            message = "The transaction was rolled back since another operation in the same transaction failed."
            rolled = [{"errorCode": "PROCESSING_HALTED", "message": message}]
            for answer in answers:
                if answer["httpStatusCode"] < 300:
                    answer |= {"body": rolled, "httpHeaders": {}, "httpStatusCode": 400}
        return answers

    def _subrequest(self, ask: Ask, one: Mapping[str, Any], known: Mapping[str, Any]) -> Answered:
        method, url = str(one.get("method", "")).upper(), str(one.get("url", ""))
        mark = len(self.org.changes)
        try:
            url = str(_resolved(url, known))
            body = _resolved(one.get("body"), known)
            if struck := self._strikes(method, f"/composite{unquote(url)}"):
                raise struck
            path, _, raw = url.partition("?")
            found = re.fullmatch(r"/services/data/v(\d+\.\d)/(.+?)/?", path)
            if (
                found is None
                or found[1] != ask.version
                or found[2].startswith(("composite/graph", "jobs"))
                or found[2] == "composite"
            ):
                raise error(400, "NOT_FOUND", "The requested resource does not exist or cannot be used here")
            return self.answer(
                Ask(
                    now=ask.now,
                    version=ask.version,
                    method=method,
                    path=tuple(unquote(segment) for segment in found[2].split("/")),
                    query=parse_qs(raw, keep_blank_values=True),
                    body=body,
                    headers={
                        **ask.headers,
                        **{name.lower(): str(value) for name, value in (one.get("httpHeaders") or {}).items()},
                    },
                )
            )
        except Refusal as refused:
            self.org.revert(mark)
            return refused.status, refused.body, {}


def _gathered(asked: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """In an order of Salesforce's own, as since v49 unless it is told otherwise: what refers to nothing comes by method and
    object, the last first; what refers to something, and questions, after it."""
    free = [one for one in asked if one.get("method") != "GET" and "@{" not in str(one)]
    rest = [one for one in asked if one not in free]
    backwards = list(reversed(free))
    return [*sorted(backwards, key=lambda one: (str(one.get("method")), str(one.get("url")))), *rest]


def _saved(id: str) -> dict[str, Any]:
    return {"id": id, "success": True, "errors": []}


_REFERENCE = re.compile(r"@\{([A-Za-z]\w*)\.([\w.\[\]]+)\}")


def _resolved(value: Any, known: Mapping[str, Any]) -> Any:
    """`@{ref.id}` replaced wherever it stands in a text. Raises PROCESSING_HALTED for one that names nothing."""
    if isinstance(value, dict):
        return {name: _resolved(inner, known) for name, inner in value.items()}
    if isinstance(value, list):
        return [_resolved(inner, known) for inner in value]
    if not isinstance(value, str):
        return value
    return _REFERENCE.sub(lambda found: _named(found[1], found[2], known), value)


def _named(ref: str, path: str, known: Mapping[str, Any]) -> str:
    here = known.get(ref)
    for step in re.findall(r"\w+", path):
        if isinstance(here, list):
            here = here[int(step)] if step.isdigit() and int(step) < len(here) else None
        else:
            here = here.get(step) if isinstance(here, dict) else None
    if here is None:
        raise error(400, "PROCESSING_HALTED", f"Invalid reference specified. No value for {ref}.{path} found in {ref}.")
    return str(here)


def _span(ask: Ask) -> tuple[datetime, datetime]:
    try:
        start, end = (datetime.fromisoformat(ask.one(name).replace(" ", "+")) for name in ("start", "end"))
        if end - start < timedelta(minutes=1):
            raise error(
                400, "INVALID_REPLICATION_DATE", "endDate must be at least one minute greater than the startDate"
            )
    except (ValueError, TypeError):
        raise error(400, "INVALID_REPLICATION_DATE", "start and end must be dates") from None
    if start < ask.now - _FORGOTTEN:
        raise error(400, "INVALID_REPLICATION_DATE", "startDate cannot be more than 30 days ago")
    return start, end
