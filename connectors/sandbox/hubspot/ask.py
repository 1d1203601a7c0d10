"""A request to the API as its handlers see it: who asks, about which portal, with what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from connectors.sandbox.hubspot.errors import Refusal, error, invalid, page_not_found
from connectors.sandbox.hubspot.kinds import ObjectType
from connectors.sandbox.hubspot.portal import Portal, type_of

DATED = frozenset({"2026-03", "2026-09"})
MERGED_ERRORS = frozenset({"2026-09"})  # batches answer 200 with `errors` inside; older versions 207


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """`version` is "2026-09", "2026-03", "v3" or "v4"; `path` the values of the pattern's names."""

    portal: Portal
    now: datetime
    version: str
    method: str
    url: str
    path: Mapping[str, str]
    query: Mapping[str, list[str]]
    body: bytes

    def type(self, name: str = "type") -> ObjectType:
        """The kind of object named in the path. Raises the 400 for an unknown one."""
        found = type_of(self.path[name])
        if found is None:
            raise error(400, f"Unable to infer object type from: {self.path[name]}", "VALIDATION_ERROR")
        return found

    def one(self, name: str) -> str | None:
        values = self.query.get(name)
        return values[-1] if values else None

    def many(self, name: str) -> list[str]:
        """A list given as repeated names or separated by commas; both are in use."""
        return [part for value in self.query.get(name, []) for part in value.split(",") if part]

    def flag(self, name: str) -> bool:
        return (self.one(name) or "").lower() == "true"

    def number(self, name: str, default: int, *, most: int) -> int:
        raw = self.one(name)
        if raw is None or raw == "":
            return default
        if not raw.isdigit() or not 1 <= int(raw) <= most:
            raise invalid(f"limit must be between 1 and {most}: {raw}")
        return int(raw)

    def json(self) -> Any:
        """The body. Raises the 400 for what is not JSON."""
        try:
            return msgspec.json.decode(self.body)
        except msgspec.DecodeError as wrong:
            raise error(400, f"Invalid input JSON on line 1, column 1: {wrong}", None) from None

    def document(self) -> dict[str, Any]:
        """The body, which must be an object."""
        read = self.json()
        if not isinstance(read, dict):
            raise error(400, "Invalid input JSON on line 1, column 1: Cannot deserialize value from this token", None)
        return read

    def inputs(self, *, most: int) -> list[dict[str, Any]]:
        """The `inputs` of a batch. Raises the 400 for none, or too many."""
        given = self.document().get("inputs")
        if not isinstance(given, list) or any(not isinstance(item, dict) for item in given):
            raise invalid("Invalid input JSON on line 1, column 1: Some required fields were not set: [inputs]")
        if len(given) > most:
            raise invalid(f"The maximum number of inputs supported in a batch request is {most}")
        return given


Handler = Callable[[Ask], tuple[int, Any]]
Need = Callable[[Ask], tuple[str, ...]]


class Routes:
    """Patterns to handlers: a tree of path segments, literal before named."""

    def __init__(self) -> None:
        self._root: dict[str, Any] = {}

    def add(self, method: str, pattern: str, handler: Handler, need: Need) -> None:
        """`{name}` takes one segment. Segments of a pattern may not be empty."""
        node, names = self._root, []
        for segment in pattern.strip("/").split("/"):
            if segment.startswith("{"):
                names.append(segment[1:-1])
                segment = "{}"
            node = node.setdefault(segment, {})
        node.setdefault("", {})[method] = (tuple(names), handler, need)

    def find(self, method: str, path: str) -> tuple[Mapping[str, str], Handler, Need]:
        """The handler and the values of its names. Raises the 404 page, or 405 where only the method is wrong."""
        found = _match(self._root, path.strip("/").split("/"), 0, [], method)
        if found is None:
            raise page_not_found()
        methods, values = found
        if method not in methods:
            raise Refusal(
                405, b"<html><head><title>Error 405</title></head><body>HTTP method not allowed</body></html>"
            )
        names, handler, need = methods[method]
        return dict(zip(names, values, strict=True)), handler, need


def _match(
    node: dict[str, Any], segments: list[str], at: int, values: list[str], method: str
) -> tuple[dict[str, Any], list[str]] | None:
    """The best leaf: one that has the method, else any that has the path."""
    if at == len(segments):
        return (node[""], values) if "" in node else None
    other = None
    literal = node.get(segments[at]) if segments[at] not in ("", "{}") else None
    if literal is not None:
        found = _match(literal, segments, at + 1, values, method)
        if found is not None and method in found[0]:
            return found
        other = found
    named = node.get("{}")
    if named is not None and segments[at]:
        found = _match(named, segments, at + 1, [*values, segments[at]], method)
        if found is not None and (method in found[0] or other is None):
            return found
    return other


def reads(ask: Ask) -> tuple[str, ...]:
    return ask.type().read


def writes(ask: Ask) -> tuple[str, ...]:
    return ask.type().write
