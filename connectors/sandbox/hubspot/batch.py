"""Many objects in one request: read, create, update, upsert, archive, up to 100 each.

What happens when some fail depends on the version. Before 2026-09 a failing write fails the whole batch, with nothing
written, unless every input carries an `objectWriteTraceId`: then it answers 207 and names the failed by that id. From
2026-09 on the good ones are written and the errors stand in the normal answer. Missing ids never fail a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from connectors.sandbox.hubspot.ask import MERGED_ERRORS, Ask, Routes, reads, writes
from connectors.sandbox.hubspot.errors import Refusal, invalid, stamp
from connectors.sandbox.hubspot.kinds import ObjectType
from connectors.sandbox.hubspot.objects import BASES, answered, document
from connectors.sandbox.store import Entry

_MOST = 100
Errors = list[dict[str, Any]]
Write = Callable[[dict[str, Any]], dict[str, Any] | None]


def add_routes(routes: Routes) -> None:
    for base in BASES:
        routes.add("POST", f"{base}/batch/read", read, reads)
        routes.add("POST", f"{base}/batch/create", create, writes)
        routes.add("POST", f"{base}/batch/update", update, writes)
        routes.add("POST", f"{base}/batch/upsert", upsert, writes)
        routes.add("POST", f"{base}/batch/archive", archive, writes)


def read(ask: Ask) -> tuple[int, Any]:
    type, body, inputs = ask.type(), ask.document(), ask.inputs(most=_MOST)
    names, id_property = _names(body), body.get("idProperty")
    archived = ask.flag("archived")
    results, missing = [], []
    for given in inputs:
        ref = str(given.get("id", ""))
        if archived:
            entry = ask.portal.crm.get(type.name, ref, archived=True)
        else:
            entry = ask.portal.find(type, ref, id_property)
        if entry is None:
            missing.append(ref)
        else:
            results.append(document(ask.portal, type, entry, names))
    return _answer(ask, results, _gone(type, missing))


def create(ask: Ask) -> tuple[int, Any]:
    type = ask.type()

    def write(given: dict[str, Any]) -> dict[str, Any]:
        entry = ask.portal.create(
            type, given.get("properties"), ask.now, associations=given.get("associations"), version=ask.version
        )
        return document(ask.portal, type, entry, None)

    return _written(ask, write, success=201)


def update(ask: Ask) -> tuple[int, Any]:
    type, missing = ask.type(), []

    def write(given: dict[str, Any]) -> dict[str, Any] | None:
        entry = ask.portal.find(type, str(given.get("id", "")), given.get("idProperty"))
        if entry is None:
            missing.append(str(given.get("id", "")))
            return None
        return _updated(ask, type, entry, given)

    return _written(ask, write, missing=lambda: _gone(type, missing))


def upsert(ask: Ask) -> tuple[int, Any]:
    """By a unique property, or by e-mail. An input that names a record twice in one batch is refused, all of it."""
    type = ask.type()
    refs = [(given.get("idProperty"), str(given.get("id", "")).strip().lower()) for given in ask.inputs(most=_MOST)]
    if len(set(refs)) < len(refs):
        raise invalid("Duplicate IDs found in batch input: each id may appear once")

    def write(given: dict[str, Any]) -> dict[str, Any]:
        ref, id_property = str(given.get("id", "")), given.get("idProperty")
        entry = ask.portal.find(type, ref, id_property)
        if entry is not None:
            return _updated(ask, type, entry, given) | {"new": False}
        if id_property is None or id_property == "hs_object_id":
            raise invalid(f"Unable to perform upsert: no {type.name} with id {ref}")
        properties = {**(given.get("properties") or {}), id_property: ref}
        entry = ask.portal.create(type, properties, ask.now, version=ask.version)
        return document(ask.portal, type, entry, None) | {"new": True}

    return _written(ask, write)


def archive(ask: Ask) -> tuple[int, Any]:
    type = ask.type()
    for given in ask.inputs(most=_MOST):
        entry = ask.portal.crm.get(type.name, str(given.get("id", "")))
        if entry is not None:
            ask.portal.crm.archive(entry, ask.now)
    return 204, None


def _updated(ask: Ask, type: ObjectType, entry: Entry, given: dict[str, Any]) -> dict[str, Any]:
    changed, written = ask.portal.update(type, entry, given.get("properties"), ask.now)
    return document(ask.portal, type, changed, None) | {"properties": answered(type, changed, written)}


def _written(ask: Ask, write: Write, *, success: int = 200, missing: Callable[[], Errors] = list) -> tuple[int, Any]:
    inputs = ask.inputs(most=_MOST)
    apart = ask.version in MERGED_ERRORS or all(given.get("objectWriteTraceId") for given in inputs)
    results: list[dict[str, Any]] = []
    errors: Errors = []
    mark = len(ask.portal.crm.changes)
    for given in inputs:
        trace = given.get("objectWriteTraceId")
        try:
            shown = write(given)
        except Refusal as refusal:
            if not apart or not isinstance(refusal.body, dict):
                ask.portal.crm.revert(mark)
                raise
            named = {**refusal.body.get("context", {}), **({"objectWriteTraceId": [trace]} if trace else {})}
            errors.append({**refusal.body, "context": named})
            continue
        if shown is not None:
            results.append(shown | ({"objectWriteTraceId": trace} if trace else {}))
    return _answer(ask, results, errors + missing(), success=success)


def _gone(type: ObjectType, missing: list[str]) -> Errors:
    if not missing:
        return []
    message = (
        f"Could not get some {type.name.upper()} objects, they may be deleted or not exist. Check that ids are valid."
    )
    return [{"status": "error", "category": "OBJECT_NOT_FOUND", "message": message, "context": {"ids": missing}}]


def _answer(ask: Ask, results: list[dict[str, Any]], errors: Errors, *, success: int = 200) -> tuple[int, Any]:
    body: dict[str, Any] = {"status": "COMPLETE", "results": results}
    if errors:
        body |= {"numErrors": len(errors), "errors": errors}
    body |= {"startedAt": stamp(ask.now), "completedAt": stamp(ask.now)}
    return (207 if errors and ask.version not in MERGED_ERRORS else success), body


def _names(body: dict[str, Any]) -> list[str]:
    names = [*(body.get("properties") or []), *(body.get("propertiesWithHistory") or [])]
    return [str(name) for name in names]
