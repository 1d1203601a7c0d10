"""A request to the API as its handlers see it: who asks, about which organisation, with what; and which handler it gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from connectors.sandbox.store import Entry
from connectors.sandbox.zoho.errors import no_such_module, no_such_page, refusal
from connectors.sandbox.zoho.modules import MODULES, Module
from connectors.sandbox.zoho.org import Org

VERSIONS = frozenset({"v2", "v2.1", "v3", "v4", "v5", "v6", "v7", "v8"})


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """`path` holds the values of the pattern's names. `inside` is true for a part of a composite request."""

    org: Org
    now: datetime
    method: str
    url: str
    path: Mapping[str, str]
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    by: str
    origin: str
    inside: bool = False

    def module(self) -> Module:
        """The module named in the path. Raises the 400 for an unknown one."""
        found = MODULES.get(self.path["module"].lower())
        if found is None:
            raise no_such_module()
        return found

    def entry(self) -> Entry | None:
        """The record named in the path; None if there is none. Raises the 400 for what is no id."""
        if not self.path["id"].isdigit():
            raise refusal(400, "INVALID_DATA", "the id given seems to be invalid", {"resource_path_index": 1})
        return self.org.get(self.module(), self.path["id"])

    def one(self, name: str) -> str | None:
        values = self.query.get(name)
        return values[-1] if values else None

    def many(self, name: str) -> list[str]:
        return [part.strip() for value in self.query.get(name, []) for part in value.split(",") if part.strip()]

    def number(self, name: str, default: int, *, most: int) -> int:
        raw = self.one(name)
        if raw is None or raw == "":
            return default
        if not raw.isdigit() or int(raw) < 1:
            raise refusal(400, "INVALID_DATA", "invalid data", {"param_name": name, "expected_data_type": "integer"})
        return min(int(raw), most)

    def needed(self, name: str) -> str:
        """A parameter that must be there. Raises the 400 without it."""
        found = self.one(name)
        if not found:
            raise refusal(
                400, "REQUIRED_PARAM_MISSING", "One of the expected parameter is missing", {"param_name": name}
            )
        return found

    def document(self) -> dict[str, Any]:
        """The body, which must be an object."""
        try:
            read = msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            read = None
        if not isinstance(read, dict):
            raise refusal(400, "INVALID_DATA", "body", {"expected_data_type": "jsonobject"})
        return read

    def listed(self, name: str, *, most: int) -> list[dict[str, Any]]:
        """An array of objects in the body. Raises the 400 for none, or too many."""
        given = self.document().get(name)
        where = {"api_name": name, "json_path": f"$.{name}"}
        if given is None:
            raise refusal(400, "MANDATORY_NOT_FOUND", "required field not found", where)
        if not isinstance(given, list) or any(not isinstance(item, dict) for item in given):
            raise refusal(400, "INVALID_DATA", "invalid data", {**where, "expected_data_type": "jsonarray"})
        most = 1 if self.inside else most
        if not given or len(given) > most:
            raise refusal(400, "INVALID_DATA", "invalid data", {**where, "maximum_length": most})
        return given

    def since(self) -> datetime | None:
        """If-Modified-Since, in ISO 8601 as Zoho wants it."""
        raw = self.headers.get("if-modified-since")
        if raw is None:
            return None
        try:
            at = datetime.fromisoformat(raw)
        except ValueError:
            raise refusal(400, "INVALID_DATA", "invalid data", {"header_name": "If-Modified-Since"}) from None
        if at.tzinfo is None:
            raise refusal(400, "INVALID_DATA", "invalid data", {"header_name": "If-Modified-Since"})
        return at


Answered = tuple[int, Any]
Handler = Callable[[Ask], Answered]
Need = Callable[[Ask], tuple[tuple[str, ...], ...]]
"""Scopes: all of the groups are needed, of each group one."""


class Route(msgspec.Struct, frozen=True):
    method: str
    pattern: tuple[str, ...]
    handler: Handler
    need: Need
    cost: Callable[[Ask], int]

    def values(self, segments: list[str]) -> dict[str, str] | None:
        if len(segments) != len(self.pattern):
            return None
        found = {}
        for wanted, segment in zip(self.pattern, segments, strict=True):
            if wanted.startswith("{"):
                found[wanted[1:-1]] = segment
            elif wanted != segment:
                return None
        return found


class Routes:
    """Patterns under /crm/{version}; of several that fit, the one with the most literal words."""

    def __init__(self) -> None:
        self._routes: list[Route] = []

    def add(
        self, method: str, pattern: str, handler: Handler, need: Need, cost: Callable[[Ask], int] = lambda _: 1
    ) -> None:
        self._routes.append(Route(method, tuple(pattern.strip("/").split("/")), handler, need, cost))

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """Raises the 404, or the 400 where only the method is wrong."""
        segments = path.strip("/").split("/")
        if len(segments) < 3 or segments[0] != "crm" or segments[1] not in VERSIONS:
            raise no_such_page()
        fitting = [(route, found) for route in self._routes if (found := route.values(segments[2:])) is not None]
        if not fitting:
            raise no_such_page()
        able = [one for one in fitting if one[0].method == method]
        if able:
            return min(able, key=lambda one: len(one[1]))
        raise refusal(400, "INVALID_REQUEST_METHOD", "The http request method type is not a valid one")


def nothing() -> Answered:
    """What Zoho answers for "none": 204 without a body."""
    return 204, None


def reads(ask: Ask) -> tuple[tuple[str, ...], ...]:
    return (scopes_of(ask.path["module"], "READ"),)


def creates(ask: Ask) -> tuple[tuple[str, ...], ...]:
    return (scopes_of(ask.path["module"], "CREATE"),)


def updates(ask: Ask) -> tuple[tuple[str, ...], ...]:
    return (scopes_of(ask.path["module"], "UPDATE"),)


def deletes(ask: Ask) -> tuple[tuple[str, ...], ...]:
    return (scopes_of(ask.path["module"], "DELETE"),)


def scopes_of(module: str, right: str) -> tuple[str, ...]:
    """Those that let one work on a module, in the lower case they are compared in."""
    name = module.lower()
    whole = ("zohocrm.modules.all", f"zohocrm.modules.{right.lower()}")
    return (f"zohocrm.modules.{name}.{right.lower()}", f"zohocrm.modules.{name}.all", *whole)


def settings_scope(area: str, right: str) -> Need:
    names = (f"zohocrm.settings.{area}.{right.lower()}", f"zohocrm.settings.{area}.all", "zohocrm.settings.all")
    return lambda ask: (names,)


def plain_scope(area: str, right: str) -> Need:
    names = (f"zohocrm.{area}.{right.lower()}", f"zohocrm.{area}.all")
    return lambda ask: (names,)
