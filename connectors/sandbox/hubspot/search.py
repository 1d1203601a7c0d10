"""Search: behind the writes, national digits only, and rationed.

Filter groups are ORed, filters inside one ANDed; at most 5 groups, 6 filters each, 18 in all, 10,000 results
(developer docs, "Search the CRM", 2026-03-30). Recorded bodies leave most fields out, put filters at the top level and
give numbers as values; all of that is accepted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

from connectors.sandbox.hubspot.ask import Ask, Routes, reads
from connectors.sandbox.hubspot.definitions import Definition
from connectors.sandbox.hubspot.errors import Refusal, invalid
from connectors.sandbox.hubspot.kinds import ObjectType
from connectors.sandbox.hubspot.objects import BASES, document
from connectors.sandbox.hubspot.portal import Portal, type_of
from connectors.sandbox.hubspot.values import text_of
from connectors.sandbox.store import Entry

_GROUPS, _FILTERS, _FILTERS_IN_ALL, _PAGE, _WINDOW, _BODY = 5, 6, 18, 200, 10_000, 3_000
_QUERIED = {
    "contact": (
        "firstname",
        "lastname",
        "email",
        "phone",
        "mobilephone",
        "company",
        "fax",
        "hs_additional_emails",
        "hs_searchable_calculated_phone_number",
        "hs_searchable_calculated_mobile_number",
    ),
    "company": ("name", "domain", "website", "phone", "hs_searchable_calculated_phone_number"),
    "deal": ("dealname", "description", "dealtype"),
    "ticket": ("subject", "content"),
    "call": ("hs_call_title", "hs_body_preview"),
    "task": ("hs_task_subject", "hs_body_preview"),
    "note": ("hs_body_preview",),
    "meeting": ("hs_meeting_title", "hs_body_preview"),
}
Test = Callable[[Entry], bool]


def add_routes(routes: Routes) -> None:
    for base in BASES:
        routes.add("POST", f"{base}/search", search, reads)


def search(ask: Ask) -> tuple[int, Any]:
    type, body = ask.type(), ask.document()
    portal = ask.portal
    if len(ask.body) > _BODY:
        raise invalid(f"The request body must not be longer than {_BODY} characters")
    limit, offset = _whole(body, "limit", 10), _whole(body, "after", 0)
    if not 0 < limit <= _PAGE:
        raise invalid(f"limit must be between 1 and {_PAGE}: {limit}")
    if offset + limit > _WINDOW:
        raise invalid(f"Paging through more than {_WINDOW} results is not supported")
    portal.index.advance(ask.now)
    found = list(_found(ask, type, _groups(body)))
    query = text_of(body.get("query")).lower().split()
    if query:
        found = [entry for entry in found if _mentions(entry, query)]
    _sort(portal, type, found, body.get("sorts") or [])
    page = found[offset : offset + limit]
    names = [str(name) for name in body.get("properties") or []]
    answer: dict[str, Any] = {
        "total": len(found),
        "results": [document(portal, type, entry, names) for entry in page],
    }
    if offset + limit < min(len(found), _WINDOW):
        answer["paging"] = {"next": {"after": str(offset + limit)}}
    return 200, answer


def _groups(body: Mapping[str, Any]) -> list[list[Mapping[str, Any]]]:
    groups = [group.get("filters") or [] for group in body.get("filterGroups") or []]
    if not groups and body.get("filters"):
        groups = [body["filters"]]
    if len(groups) > _GROUPS:
        raise invalid(f"The maximum number of filterGroups is {_GROUPS}: {len(groups)}")
    if any(len(filters) > _FILTERS for filters in groups):
        raise invalid(f"The maximum number of filters in a filterGroup is {_FILTERS}")
    if sum(map(len, groups)) > _FILTERS_IN_ALL:
        raise invalid(f"The maximum number of filters in all filterGroups is {_FILTERS_IN_ALL}")
    return groups


def _found(ask: Ask, type: ObjectType, groups: list[list[Mapping[str, Any]]]) -> Iterator[Entry]:
    """Records of any group, each once, by id."""
    index = ask.portal.index
    if not groups:
        yield from index.all(type.name)
        return
    matching: dict[str, Entry] = {}
    for filters in groups:
        tests = [_test(ask, type, wanted) for wanted in filters]
        for entry in _candidates(ask.portal, type, filters):
            if all(test(entry) for test in tests):
                matching[entry.id] = entry
    yield from sorted(matching.values(), key=lambda entry: int(entry.id))


def _candidates(portal: Portal, type: ObjectType, filters: list[Mapping[str, Any]]) -> Iterable[Entry]:
    """All records, or the few that an equality leaves."""
    for wanted in filters:
        name = str(wanted.get("propertyName", "")).lower()
        definition = portal.definitions[type.name].get(name)
        if wanted.get("operator") == "EQ" and definition is not None and definition.type == "string":
            return portal.index.holding(type.name, name, text_of(wanted.get("value")))
    return portal.index.all(type.name)


def _test(ask: Ask, type: ObjectType, wanted: Mapping[str, Any]) -> Test:
    """One filter as a test of an entry. Raises the 400 for an unknown property or operator."""
    name, operator = str(wanted.get("propertyName", "")).lower(), str(wanted.get("operator", ""))
    if name.startswith("associations."):
        return _linked_test(ask, type, name, operator, wanted)
    definition = ask.portal.definitions[type.name].get(name)
    if definition is None:
        raise _problem(f"Property '{name}' does not exist")
    read = _reader(definition)
    value, values = text_of(wanted.get("value")), [text_of(each) for each in wanted.get("values") or []]
    if (
        operator in ("EQ", "NEQ", "GT", "GTE", "LT", "LTE", "BETWEEN", "CONTAINS_TOKEN", "NOT_CONTAINS_TOKEN")
        and not value
    ):
        raise _problem(f"A value is required for operator {operator}")
    if operator in ("IN", "NOT_IN"):
        if not values:
            raise _problem(f"values are required for operator {operator}")
        allowed = set(values)  # as they are: lower case is the caller's duty, and forgetting it finds nothing
        return lambda entry: (entry.properties.get(name, "").lower() in allowed) == (operator == "IN")
    match operator:
        case "HAS_PROPERTY":
            return lambda entry: name in entry.properties
        case "NOT_HAS_PROPERTY":
            return lambda entry: name not in entry.properties
        case "CONTAINS_TOKEN" | "NOT_CONTAINS_TOKEN":
            pattern = re.compile(".*".join(map(re.escape, value.lower().split("*"))))
            return lambda entry: _has_token(entry.properties.get(name, ""), pattern) == (operator == "CONTAINS_TOKEN")
        case "EQ" | "NEQ" | "GT" | "GTE" | "LT" | "LTE":
            bound, compare = read(value), _COMPARE[operator]
            return lambda entry: name in entry.properties and compare(read(entry.properties[name]), bound)
        case "BETWEEN":
            low, high = read(value), read(text_of(wanted.get("highValue")))
            return lambda entry: name in entry.properties and low <= read(entry.properties[name]) <= high
        case _:
            raise _problem(f'Cannot deserialize value of type `Operator` from String "{operator}"')


def _linked_test(ask: Ask, type: ObjectType, name: str, operator: str, wanted: Mapping[str, Any]) -> Test:
    """The pseudo-property `associations.contact`: records linked to one of these."""
    target = type_of(name.partition(".")[2])
    if target is None or operator not in ("EQ", "IN"):
        raise _problem(f"Property '{name}' cannot be searched with operator {operator}")
    ids = [text_of(each) for each in (wanted.get("values") or [wanted.get("value")])]
    index, now = ask.portal.index, ask.now
    linked = {id for other in ids for id in index.linked(target.name, other, type.name, now)}
    return lambda entry: entry.id in linked


def _reader(definition: Definition) -> Callable[[str], Any]:
    match definition.type:
        case "number":
            return _number
        case "date" | "datetime":
            return _milliseconds
        case _:
            return str.lower


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise _problem(f"{value} is not a number") from None


def _milliseconds(value: str) -> float:
    if re.fullmatch(r"-?\d+", value):
        return float(value)
    try:
        if len(value) == len("2026-11-21"):
            return datetime.combine(date.fromisoformat(value), datetime.min.time(), UTC).timestamp() * 1000
        return datetime.fromisoformat(value).timestamp() * 1000
    except ValueError:
        raise _problem(f"{value} is not a date") from None


_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "EQ": lambda a, b: bool(a == b),
    "NEQ": lambda a, b: bool(a != b),
    "GT": lambda a, b: bool(a > b),
    "GTE": lambda a, b: bool(a >= b),
    "LT": lambda a, b: bool(a < b),
    "LTE": lambda a, b: bool(a <= b),
}


def _has_token(value: str, pattern: re.Pattern[str]) -> bool:
    lowered = value.lower()
    return bool(pattern.fullmatch(lowered)) or any(
        pattern.fullmatch(token) for token in re.split(r"[\s,;/@.]+", lowered)
    )


def _mentions(entry: Entry, words: list[str]) -> bool:
    """Full-text: every word begins a token of one of the kind's searched properties, or its digits are in a number."""
    texts = [entry.properties.get(name, "").lower() for name in _QUERIED[entry.kind]]
    tokens = [token for text in texts for token in (text, *re.split(r"[\s,;/@.]+", text)) if token]
    numbers = [digits for text in texts if (digits := re.sub(r"\D", "", text))]
    return all(
        any(token.startswith(word) for token in tokens)
        or (word.lstrip("+").isdigit() and any(word.lstrip("+") in number for number in numbers))
        for word in words
    )


def _sort(portal: Portal, type: ObjectType, found: list[Entry], sorts: list[Any]) -> None:
    """Stable, least important first. A sort may be a name, "-name", or an object; without one it is by creation."""
    for sort in reversed(sorts):
        if isinstance(sort, Mapping):
            name, down = str(sort.get("propertyName", "")), sort.get("direction") == "DESCENDING"
        else:
            name, down = str(sort).lstrip("-"), str(sort).startswith("-")
        definition = portal.definitions[type.name].get(name.lower())
        if definition is None:
            raise _problem(f"Property '{name}' does not exist")
        read = _reader(definition)

        def key(entry: Entry, name: str = definition.name, read: Callable[[str], Any] = read) -> tuple[bool, Any]:
            value = entry.properties.get(name)
            return (value is not None, read(value) if value is not None else 0)

        found.sort(key=key, reverse=down)


def _whole(body: Mapping[str, Any], name: str, default: int) -> int:
    try:
        return int(body.get(name) or default)
    except (TypeError, ValueError):
        raise invalid(f"{name} must be a whole number: {body[name]}") from None


def _problem(message: str) -> Refusal:
    return invalid("There was a problem with the request.", errors=[{"message": message}])
