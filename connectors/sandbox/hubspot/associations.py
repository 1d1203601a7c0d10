"""Links between objects: typed, untyped, in batches, and which types there are.

Three generations live side by side: the dated routes (ids are strings), v4 (ids are numbers in answers) and v3 (types by
name). Recorded: assoc_v4_*.json.
"""

from __future__ import annotations

from typing import Any

from connectors.sandbox.hubspot.ask import DATED, Ask, Routes
from connectors.sandbox.hubspot.errors import Refusal, error, invalid, not_found, stamp
from connectors.sandbox.hubspot.kinds import ASSOCIATIONS, BY_SEGMENT, DEFAULTS, AssociationType, ObjectType, between
from connectors.sandbox.store import Entry

_CREATES, _READS = 2_000, 1_000  # inputs of a batch


def add_routes(routes: Routes) -> None:
    for base in ("/crm/objects/{version}", "/crm/v4/objects", "/crm/v3/objects"):
        one = f"{base}/{{from}}/{{id}}/associations"
        routes.add("GET", f"{one}/{{to}}", listed, _reads)
        routes.add("PUT", f"{one}/{{to}}/{{to_id}}", put, _writes)
        routes.add("DELETE", f"{one}/{{to}}/{{to_id}}", delete, _writes)
        routes.add("PUT", f"{one}/default/{{to}}/{{to_id}}", put_default, _writes)
        routes.add("PUT", f"{one}/{{to}}/{{to_id}}/{{name}}", put_named, _writes)
        routes.add("DELETE", f"{one}/{{to}}/{{to_id}}/{{name}}", delete, _writes)
    for base in ("/crm/associations/{version}", "/crm/v4/associations", "/crm/v3/associations"):
        pair = f"{base}/{{from}}/{{to}}"
        routes.add("GET", f"{pair}/labels", labels, _reads)
        routes.add("GET", f"{pair}/types", labels, _reads)
        routes.add("POST", f"{pair}/batch/create", batch_create, _writes)
        routes.add("POST", f"{pair}/batch/associate/default", batch_default, _writes)
        routes.add("POST", f"{pair}/batch/read", batch_read, _reads)
        routes.add("POST", f"{pair}/batch/archive", batch_archive, _writes)


def _reads(ask: Ask) -> tuple[str, ...]:
    return ask.type("from").read


def _writes(ask: Ask) -> tuple[str, ...]:
    return ask.type("from").write


# ── one record's links ──────────────────────────────────────────────────────────────────────────────────────────────


def listed(ask: Ask) -> tuple[int, Any]:
    one, target = _record(ask), ask.type("to")
    if ask.version == "v3":
        results: list[dict[str, Any]] = [
            {"id": id, "type": ASSOCIATIONS[label].name}
            for id, known in ask.portal.crm.linked(one.kind, one.id, target.name).items()
            for label in sorted(known)
        ]
    else:
        results = _many(ask, one, target)
    limit, after = ask.number("limit", 500, most=500), ask.one("after") or "0"
    ids = [int(each["id"] if ask.version == "v3" else each["toObjectId"]) for each in results]
    rest = [each for id, each in sorted(zip(ids, results, strict=True), key=lambda pair: pair[0]) if id >= int(after)]
    body: dict[str, Any] = {"results": rest[:limit]}
    if len(rest) > limit:
        last = rest[limit - 1]
        cursor = str(int(last["id"] if ask.version == "v3" else last["toObjectId"]) + 1)
        body["paging"] = {"next": {"after": cursor, "link": f"https://api.hubapi.com{ask.url}?after={cursor}"}}
    return 200, body


def put(ask: Ask) -> tuple[int, Any]:
    one, other = _record(ask), _record(ask, "to", "to_id")
    kinds = _kinds(ask.json(), one.kind, other.kind)
    for kind in kinds:
        ask.portal.associate(one, other, kind, ask.now)
    return 201, _pair(ask, one, other, [kind.label for kind in kinds if kind.label])


def put_default(ask: Ask) -> tuple[int, Any]:
    one, other = _record(ask), _record(ask, "to", "to_id")
    results = _join_plainly(ask, one, other)
    return 200, _complete(ask, results)


def put_named(ask: Ask) -> tuple[int, Any]:
    """v3: the type by its name or number; answers the object."""
    one, other = _record(ask), _record(ask, "to", "to_id")
    name = ask.path["name"]
    known = [kind for kind in between(one.kind, other.kind) if name in (str(kind.id), kind.name)]
    if not known:
        raise invalid(f"{name} is not a valid association type between {one.kind} and {other.kind}")
    ask.portal.associate(one, other, known[0], ask.now)
    return 200, {
        "id": one.id,
        "properties": {},
        "createdAt": stamp(one.created_at),
        "updatedAt": stamp(one.updated_at),
        "archived": False,
    }


def delete(ask: Ask) -> tuple[int, Any]:
    one = _record(ask)
    other = ask.portal.crm.get(ask.type("to").name, ask.path["to_id"])
    if other is not None:
        ask.portal.crm.unlink(one, other)
    return 204, None


# ── many at once ────────────────────────────────────────────────────────────────────────────────────────────────────


def batch_create(ask: Ask) -> tuple[int, Any]:
    source, target = ask.type("from"), ask.type("to")
    results, errors = [], []
    for given in ask.inputs(most=_CREATES):
        try:
            one, other = _ends(ask, given, source, target)
            if ask.version == "v3":
                named = [kind for kind in between(source.name, target.name) if kind.name == given.get("type")]
                kinds = named or [DEFAULTS[(source.name, target.name)]]
            else:
                kinds = _kinds(given.get("types"), source.name, target.name)
        except Refusal as refusal:
            if not isinstance(refusal.body, dict):
                raise
            errors.append(refusal.body)
            continue
        for kind in kinds:
            ask.portal.associate(one, other, kind, ask.now)
        if ask.version == "v3":
            results.append({"from": {"id": one.id}, "to": {"id": other.id}, "type": kinds[0].name})
        else:
            results.append(_pair(ask, one, other, [kind.label for kind in kinds if kind.label]))
    return (207 if errors else 200 if ask.version in DATED else 201), _complete(ask, results, errors)


def batch_default(ask: Ask) -> tuple[int, Any]:
    source, target = ask.type("from"), ask.type("to")
    results, errors = [], []
    for given in ask.inputs(most=_CREATES):
        try:
            results += _join_plainly(ask, *_ends(ask, given, source, target))
        except Refusal as refusal:
            if not isinstance(refusal.body, dict):
                raise
            errors.append(refusal.body)
    return (207 if errors else 200), _complete(ask, results, errors)


def batch_read(ask: Ask) -> tuple[int, Any]:
    source, target = ask.type("from"), ask.type("to")
    results, errors = [], []
    for given in ask.inputs(most=_READS):
        one = ask.portal.crm.get(source.name, str(given.get("id", "")))
        links = _many(ask, one, target) if one is not None else []
        if one is None or not links:
            message = f"No {target.name} is associated with {source.name} {given.get('id')}."
            errors.append(
                {
                    "status": "error",
                    "category": "OBJECT_NOT_FOUND",
                    "subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND",
                    "message": message,
                    "context": {"fromObjectId": [str(given.get("id"))]},
                }
            )
        elif ask.version == "v3":
            ends = [
                {"id": str(link["toObjectId"]), "type": ASSOCIATIONS[spec["typeId"]].name}
                for link in links
                for spec in link["associationTypes"]
            ]
            results.append({"from": {"id": one.id}, "to": ends})
        else:
            results.append({"from": {"id": one.id}, "to": links})
    return (207 if errors else 200), _complete(ask, results, errors)


def batch_archive(ask: Ask) -> tuple[int, Any]:
    source, target = ask.type("from"), ask.type("to")
    for given in ask.inputs(most=_CREATES):
        one = ask.portal.crm.get(source.name, _id(given.get("from")))
        to = given.get("to")
        for end in to if isinstance(to, list) else [to]:
            other = ask.portal.crm.get(target.name, _id(end))
            if one is not None and other is not None:
                ask.portal.crm.unlink(one, other)
    return 204, None


def labels(ask: Ask) -> tuple[int, Any]:
    source, target = ask.type("from"), ask.type("to")
    if ask.version == "v3":
        return 200, {"results": [{"id": str(kind.id), "name": kind.name} for kind in between(source.name, target.name)]}
    return 200, {"results": [_spec(kind) for kind in between(source.name, target.name)]}


# ── how they look ───────────────────────────────────────────────────────────────────────────────────────────────────


def _record(ask: Ask, kind: str = "from", id: str = "id") -> Entry:
    found = ask.portal.crm.get(ask.type(kind).name, ask.path[id])
    if found is None:
        raise not_found()
    return found


def _kinds(given: Any, source: str, target: str) -> list[AssociationType]:
    """The wanted types. Raises the 400 for one that does not go from this kind to that."""
    try:
        wanted = [ASSOCIATIONS.get(int(spec["associationTypeId"])) for spec in given]
    except (TypeError, KeyError, ValueError):
        raise invalid("Invalid input JSON: a list of {associationCategory, associationTypeId} is required") from None
    known = [kind for kind in wanted if kind is not None and (kind.source, kind.target) == (source, target)]
    if not wanted or len(known) < len(wanted):
        allowed = ", ".join(str(kind.id) for kind in between(source, target))
        raise invalid(f"Association type is not valid between {source} and {target}; valid ids: {allowed}")
    return known


def _ends(ask: Ask, given: dict[str, Any], source: ObjectType, target: ObjectType) -> tuple[Entry, Entry]:
    ends = []
    for kind, end in ((source, given.get("from")), (target, given.get("to"))):
        found = ask.portal.crm.get(kind.name, _id(end))
        if found is None:  # recorded: assoc_v4_batch_create_207.json
            raise error(400, f"{kind.name.upper()}={_id(end)} is not valid", "VALIDATION_ERROR")
        ends.append(found)
    return ends[0], ends[1]


def _id(end: Any) -> str:
    return str(end.get("id", "")) if isinstance(end, dict) else ""


def _join_plainly(ask: Ask, one: Entry, other: Entry) -> list[dict[str, Any]]:
    kind = DEFAULTS.get((one.kind, other.kind))
    if kind is None:
        raise invalid(f"{one.kind} and {other.kind} cannot be associated")
    ask.portal.associate(one, other, kind, ask.now)
    ends = ((one, other, kind.id), (other, one, kind.inverse))
    return [
        {
            "from": {"id": a.id},
            "to": {"id": b.id},
            "associationSpec": {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": id},
        }
        for a, b, id in ends
    ]


def _many(ask: Ask, one: Entry, target: ObjectType) -> list[dict[str, Any]]:
    return [
        {
            "toObjectId": _number_or_text(ask, id),
            "associationTypes": [_spec(ASSOCIATIONS[label]) for label in sorted(known)],
        }
        for id, known in ask.portal.crm.linked(one.kind, one.id, target.name).items()
    ]


def _spec(kind: AssociationType) -> dict[str, Any]:
    return {"category": "HUBSPOT_DEFINED", "typeId": kind.id, "label": kind.label}


def _pair(ask: Ask, one: Entry, other: Entry, named: list[str]) -> dict[str, Any]:
    return {
        "fromObjectTypeId": BY_SEGMENT[one.kind].id,
        "fromObjectId": _number_or_text(ask, one.id),
        "toObjectTypeId": BY_SEGMENT[other.kind].id,
        "toObjectId": _number_or_text(ask, other.id),
        "labels": named,
    }


def _number_or_text(ask: Ask, id: str) -> int | str:
    return id if ask.version in DATED else int(id)


def _complete(ask: Ask, results: list[dict[str, Any]], errors: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    body: dict[str, Any] = {"status": "COMPLETE", "results": results}
    if errors:
        body |= {"numErrors": len(errors), "errors": errors}
    return body | {"startedAt": stamp(ask.now), "completedAt": stamp(ask.now)}
