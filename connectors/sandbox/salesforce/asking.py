"""A parsed query answered from an org: which records, in which order, shown how."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from connectors.sandbox.salesforce import ids, soql
from connectors.sandbox.salesforce.errors import cannot_be_asked, error, malformed_query, no_such_object
from connectors.sandbox.salesforce.objects import CHILDREN, Field, Type
from connectors.sandbox.salesforce.org import Org, Row
from connectors.sandbox.salesforce.values import shown

Test = Callable[[Row], bool]
_MOST_DEEP = 5  # parents of parents


def records(org: Org, query: soql.Query, *, deleted: bool = False, rows: Iterable[Row] | None = None) -> list[Row]:
    """The records a query means, ordered and cut. `rows` in place of all of the object's.

    Raises INVALID_TYPE and INVALID_FIELD for what the user may not see.
    """
    type = _type(org, query.of, query.text)
    test = _test(org, type, query.where, query.text, deleted=deleted) if query.where else None
    found = list(_few(org, type, query, deleted=deleted) if rows is None else rows)
    if test is not None:
        found = [row for row in found if test(row)]
    for order in reversed(query.order):
        _path(org, type, order.field, query.text)
        found = _sorted(org, found, order)
    end = None if query.limit is None else query.offset + query.limit
    return found[query.offset : end]


def columns(org: Org, query: soql.Query) -> list[str]:
    """Its plain fields, each known to be one. Raises INVALID_FIELD."""
    type = _type(org, query.of, query.text)
    names = [item for item in query.fields if isinstance(item, str)]
    for name in names:
        _path(org, type, name, query.text)
    return names


def show(org: Org, query: soql.Query, rows: Sequence[Row], *, version: str) -> list[dict[str, Any]]:
    """Records as the API shows them: parents nested, children as query answers, null where there are none."""
    type = _type(org, query.of, query.text)
    columns(org, query)
    return [_shown(org, type, query, row, version) for row in rows]


def answer(org: Org, query: soql.Query, rows: Sequence[Row], *, version: str) -> dict[str, Any]:
    shown_rows = show(org, query, rows, version=version)
    return {"totalSize": len(rows), "done": True, "records": shown_rows}


def attributes(type: str, id: str, version: str) -> dict[str, str]:
    return {"type": type, "url": f"/services/data/v{version}/sobjects/{type}/{id}"}


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _type(org: Org, name: str, text: str) -> Type:
    type = org.type(name)
    if type is None:
        raise no_such_object(name, text)
    return type


def _few(org: Org, type: Type, query: soql.Query, *, deleted: bool) -> Iterable[Row]:
    """Fewer than all, where an equality says which: by id, by a reference, by a unique value."""
    conditions = query.where.of if isinstance(query.where, soql.Both) else (query.where,)
    for one in conditions:
        if not isinstance(one, soql.Compare) or one.op not in ("=", "IN") or "." in one.field:
            continue
        field = org.field(type, one.field)
        wanted = (one.value,) if one.op == "=" else one.value
        if field is None or not isinstance(wanted, tuple) or not all(isinstance(value, str) for value in wanted):
            continue
        if field.type == "id":
            found = (org.get(type.name, value) for value in dict.fromkeys(wanted))
            return [row for row in found if row is not None and (deleted or not row.is_deleted)]
        if field.type == "reference":
            pointing = (
                org.referring(type.name, field.name, ids.whole(value), deleted=deleted)
                for value in wanted
                if ids.is_id(value)
            )
            return [row for rows in pointing for row in rows]
        if field.unique and not deleted:
            held = (org.holder(type.name, field.name, value) for value in wanted)
            return [row for row in held if row is not None]
    return org.all(type.name, deleted=deleted)


def _path(org: Org, type: Type, path: str, text: str) -> Field:
    """The field at the end of a path. Raises INVALID_FIELD."""
    *steps, last = path.split(".")
    if steps and steps[0].lower() == type.name.lower():
        steps = steps[1:]
    if len(steps) > _MOST_DEEP:
        raise error(400, "INVALID_FIELD", "too many parents")
    for step in steps:
        parent = _parent_field(org, type, step)
        if parent is None:
            raise error(400, "INVALID_FIELD", f"Didn't understand relationship '{step}' in field path.")
        type = org.types[parent.to[0] or type.name]
    field = org.field(type, last)
    if field is None:
        raise cannot_be_asked(last, type.name, text)
    return field


def _parent_field(org: Org, type: Type, step: str) -> Field | None:
    return next(
        (field for field in org.fields(type) if field.relationship and field.relationship.lower() == step.lower()), None
    )


def _value(org: Org, row: Row, path: str) -> Any:
    *steps, last = path.split(".")
    here: Row | None = row
    for step in steps:
        if here is None:
            return None
        if step.lower() == here.type.lower() and here is row:
            continue
        field = _parent_field(org, org.types[here.type], step)
        here = org.anywhere(here.get(field.name)) if field and here.get(field.name) else None
    if here is None:
        return None
    field = org.field(org.types[here.type], last)
    return here.get(field.name) if field else None


def _test(org: Org, type: Type, condition: soql.Condition, text: str, *, deleted: bool) -> Test:
    match condition:
        case soql.Both(of=parts):
            tests = [_test(org, type, part, text, deleted=deleted) for part in parts]
            return lambda row: all(test(row) for test in tests)
        case soql.Either(of=parts):
            tests = [_test(org, type, part, text, deleted=deleted) for part in parts]
            return lambda row: any(test(row) for test in tests)
        case soql.Not(of=part):
            inner = _test(org, type, part, text, deleted=deleted)
            return lambda row: not inner(row)
        case soql.Compare(field=path, op=op, value=value):
            return _comparison(org, type, path, op, value, text)


def _comparison(org: Org, type: Type, path: str, op: str, value: Any, text: str) -> Test:
    field = _path(org, type, path, text)
    if not field.filterable:
        message = f"field '{path}' can not be filtered in a query call"
        raise error(400, "INVALID_FIELD", message)
    if isinstance(value, soql.Query):
        inner = [item for item in value.fields if isinstance(item, str)]
        value = tuple(_value(org, row, inner[0]) for row in records(org, value)) if inner else ()
    wanted = tuple(_comparable(field, one) for one in value) if isinstance(value, tuple) else _comparable(field, value)
    if op == "LIKE":
        pattern = re.compile(_like(str(value)), re.IGNORECASE | re.DOTALL)
        return lambda row: bool(pattern.fullmatch(str(_value(org, row, path) or "")))
    if op in ("IN", "NOT IN"):
        among = set(wanted)
        return lambda row: (_comparable(field, _value(org, row, path)) in among) == (op == "IN")
    if op in ("=", "!="):
        return lambda row: (_comparable(field, _value(org, row, path)) == wanted) == (op == "=")
    return lambda row: _is(op, _comparable(field, _value(org, row, path)), wanted)


def _is(op: str, have: Any, wanted: Any) -> bool:
    if have is None or wanted is None:
        return False
    return bool({"<": have < wanted, "<=": have <= wanted, ">": have > wanted, ">=": have >= wanted}[op])


def _comparable(field: Field, value: Any) -> Any:
    """Texts without case, ids as eighteen characters, dates as dates. Raises INVALID_FIELD for the wrong kind of value."""
    if value is None:
        return False if field.type == "boolean" else None
    match field.type:
        case "id" | "reference":
            return ids.whole(value) if isinstance(value, str) and ids.is_id(value) else str(value)
        case "boolean":
            return value if isinstance(value, bool) else _wrong(field, value)
        case "int" | "double" | "currency" | "percent":
            return float(value) if isinstance(value, int | float) else _wrong(field, value)
        case "datetime":
            if isinstance(value, datetime):
                return value
            if isinstance(value, date):
                return datetime.combine(value, datetime.min.time(), UTC)
            return _wrong(field, value)
        case "date":
            return value if isinstance(value, date) and not isinstance(value, datetime) else _wrong(field, value)
        case _:
            return str(value).lower() if isinstance(value, str) else _wrong(field, value)


def _wrong(field: Field, value: Any) -> Any:
    message = f"value of filter criterion for field '{field.name}' must be of type {field.type} and should not be enclosed in quotes"
    raise error(400, "INVALID_FIELD", message)


def _like(pattern: str) -> str:
    return "".join({"%": ".*", "_": "."}.get(sign, re.escape(sign)) for sign in pattern)


def _sorted(org: Org, rows: list[Row], order: soql.Order) -> list[Row]:
    """Nothing sorts before everything, unless it is told to sort last."""
    keyed = [(row, _value(org, row, order.field)) for row in rows]
    having = sorted(
        (pair for pair in keyed if pair[1] is not None), key=lambda pair: _key(pair[1]), reverse=order.descending
    )
    lacking = [pair for pair in keyed if pair[1] is None]
    parts = [having, lacking] if order.nulls_last or order.descending else [lacking, having]
    return [row for part in parts for row, _ in part]


def _key(value: Any) -> Any:
    return value.lower() if isinstance(value, str) and not ids.is_id(value) else value


def _shown(org: Org, type: Type, query: soql.Query, row: Row, version: str) -> dict[str, Any]:
    told: dict[str, Any] = {"attributes": attributes(type.name, row.id, version)}
    for item in query.fields:
        if isinstance(item, soql.Query):
            told[item.of] = _children(org, type, row, item, version)
        else:
            _place(org, told, row, item.split("."), version)
    return told


def _place(org: Org, told: dict[str, Any], row: Row, path: Sequence[str], version: str) -> None:
    step, *rest = path
    if not rest:
        field = org.field(org.types[row.type], step)
        told[field.name if field else step] = shown(row.get(field.name)) if field else None
        return None
    if step.lower() == row.type.lower() and _parent_field(org, org.types[row.type], step) is None:
        return _place(org, told, row, rest, version)
    field = _parent_field(org, org.types[row.type], step)
    parent = org.anywhere(row.get(field.name)) if field and row.get(field.name) else None
    name = field.relationship if field and field.relationship else step
    if parent is None:
        told.setdefault(name, None)
        return None
    inner = told.get(name)
    if not isinstance(inner, dict):
        inner = told[name] = {"attributes": attributes(parent.type, parent.id, version)}
    return _place(org, inner, parent, rest, version)


def _children(org: Org, type: Type, row: Row, query: soql.Query, version: str) -> Mapping[str, Any] | None:
    found = next(
        (kept for (parent, name), kept in CHILDREN.items() if (parent, name.lower()) == (type.name, query.of.lower())),
        None,
    )
    if found is None:
        raise malformed_query(f"Didn't understand relationship '{query.of}' in FROM part of query call.")
    child, field = found
    inner = soql.Query(query.fields, child, query.where, query.order, query.limit, query.offset, query.text)
    rows = records(org, inner, rows=list(org.referring(child, field, row.id)))
    return answer(org, inner, rows, version=version) if rows else None
