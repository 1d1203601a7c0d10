"""Zoho's search: behind what was written, over all phone fields of one module, a 204 when nothing is found."""

from __future__ import annotations

import re
from collections.abc import Callable

from connectors.sandbox.store import Entry
from connectors.sandbox.zoho.ask import Answered, Ask, Routes, nothing, reads
from connectors.sandbox.zoho.errors import refusal
from connectors.sandbox.zoho.modules import Module
from connectors.sandbox.zoho.org import digits

_PHONE = re.compile(r"[+]?[0-9\s\-().]+")
_CRITERION = re.compile(r"\((?P<field>\w+):(?P<operator>equals|starts_with|in):(?P<value>(?:\\.|[^()\\])*)\)")
_MOST_HITS = 2000


def add_routes(routes: Routes) -> None:
    routes.add("GET", "{module}/search", search, lambda ask: (*reads(ask), ("zohosearch.securesearch.read",)))


def search(ask: Ask) -> Answered:
    """Of several conditions the first counts: criteria, email, phone, word."""
    module = ask.module()
    ask.org.index.advance(ask.now)
    holds = _condition(ask, module)
    per_page = ask.number("per_page", 200, most=25 if ask.inside else 200)
    page = ask.number("page", 1, most=10**6)
    if page * per_page > _MOST_HITS:
        raise refusal(400, "LIMIT_REACHED", "search results beyond 2000 are not given", {"limit": _MOST_HITS})
    converted = ask.one("converted") or "false"
    found = [
        entry
        for entry in ask.org.index.all(module.kind)
        if holds(entry) and (converted == "both" or ask.org.visible(entry) is (converted != "true"))
    ]
    shown = found[(page - 1) * per_page : page * per_page]
    if not shown:
        return nothing()
    info = {"per_page": per_page, "count": len(shown), "page": page, "more_records": len(found) > page * per_page}
    return 200, {"data": [ask.org.shown(entry, ask.many("fields") or None) for entry in shown], "info": info}


def _condition(ask: Ask, module: Module) -> Callable[[Entry], bool]:
    if criteria := ask.one("criteria"):
        return _by_criteria(ask, module, criteria)
    if email := ask.one("email"):
        return lambda entry: entry.properties.get("Email", "").lower() == email.lower()
    if phone := ask.one("phone"):
        if not _PHONE.fullmatch(phone) or not 3 <= len(phone) <= 50:
            raise refusal(400, "INVALID_DATA", "invalid data", {"param_name": "phone"})
        return _by_phone(ask, module, phone)
    if word := ask.one("word"):
        if len(word) < 2:
            raise refusal(400, "INVALID_DATA", "invalid data", {"param_name": "word"})
        return lambda entry: any(word.lower() in value.lower() for value in entry.properties.values())
    names = ["criteria", "email", "phone", "word"]
    raise refusal(400, "EXPECTED_PARAM_MISSING", "One of the expected parameter is missing", {"param_names": names})


def _by_phone(ask: Ask, module: Module, phone: str) -> Callable[[Entry], bool]:
    """In any field of the type "phone", also as a part of it."""
    fields = [field.name for field in ask.org.fields[module.name].values() if field.type == "phone"]
    if ask.org.phone_search == "typed":
        return lambda entry: any(phone in entry.properties.get(name, "") for name in fields)
    wanted = digits(phone)
    return lambda entry: any(wanted in digits(entry.properties.get(name, "")) for name in fields)


def _by_criteria(ask: Ask, module: Module, criteria: str) -> Callable[[Entry], bool]:
    """((A)or(B)) or ((A)and(B)), at most ten; of numbers "equals" is "contains"."""
    parts = list(_CRITERION.finditer(criteria))
    rest = _CRITERION.sub("", criteria).strip("()")
    if not parts or len(parts) > 10 or not re.fullmatch(r"(and|or)*", rest):
        raise refusal(400, "INVALID_QUERY", "Invalid query formed", {"reason": "criteria"})
    tests: list[Callable[[Entry], bool]] = []
    for part in parts:
        field, value = ask.org.field(module, part["field"]), re.sub(r"\\(.)", r"\1", part["value"])
        if field is None:
            raise refusal(400, "INVALID_QUERY", "Invalid query formed", {"reason": f"column {part['field']}"})
        tests.append(_test(field.name, field.type, part["operator"], value))
    together = all if "and" in rest else any
    return lambda entry: together(test(entry) for test in tests)


def _test(name: str, kind: str, operator: str, value: str) -> Callable[[Entry], bool]:
    if kind == "phone":
        return lambda entry: digits(value) in digits(entry.properties.get(name, ""))
    if operator == "starts_with":
        return lambda entry: entry.properties.get(name, "").lower().startswith(value.lower())
    wanted = {one.strip().lower() for one in value.split(",")} if operator == "in" else {value.lower()}
    return lambda entry: entry.properties.get(name, "").lower() in wanted
