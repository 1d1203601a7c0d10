"""A request to the API as its handlers see it, and the table that says what each route costs and which scope opens it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from connectors.sandbox.pipedrive.company import Company
from connectors.sandbox.pipedrive.errors import invalid, refused, unknown_method


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """`path` holds the values of the pattern's names."""

    company: Company
    now: datetime
    method: str
    path: Mapping[str, str]
    query: Mapping[str, list[str]]
    body: bytes

    def one(self, name: str) -> str | None:
        values = self.query.get(name)
        return values[-1] if values else None

    def many(self, name: str) -> list[str]:
        return [part.strip() for part in (self.one(name) or "").split(",") if part.strip()]

    def flag(self, name: str) -> bool:
        return (self.one(name) or "").lower() in ("true", "1")

    def number(self, name: str, default: int, *, most: int | None = None) -> int:
        raw = self.one(name)
        if raw is None or raw == "":
            return default
        if not raw.isdigit() or (most is not None and not 1 <= int(raw) <= most):
            raise invalid(f"Parameter validation failed: {name} must be a number of at most {most}")
        return int(raw)

    def time(self, name: str) -> datetime | None:
        """RFC 3339 without fractions of seconds; with them it is refused."""
        raw = self.one(name)
        if raw is None:
            return None
        try:
            return datetime.strptime(raw, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except ValueError:
            raise invalid(f"Parameter validation failed: {name} must be in RFC3339 format") from None

    def document(self) -> dict[str, Any]:
        try:
            read = msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            raise refused(400, "Bad request") from None
        if not isinstance(read, dict):
            raise refused(400, "Bad request")
        return read


Handler = Callable[[Ask], tuple[int, Any]]


class Route(msgspec.Struct, frozen=True):
    handler: Handler
    cost: int
    scopes: tuple[str, ...]
    searches: bool = False


class Routes:
    """Patterns to routes. `{name}` takes one segment; literal segments come first."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], list[tuple[tuple[str, ...], Route]]] = {}

    def add(
        self, method: str, pattern: str, handler: Handler, *, cost: int, scopes: Sequence[str], searches: bool = False
    ) -> None:
        segments = tuple(pattern.strip("/").split("/"))
        listed = self._found.setdefault((method, len(segments)), [])
        listed.append((segments, Route(handler, cost, tuple(scopes), searches)))
        listed.sort(key=lambda entry: [segment.startswith("{") for segment in entry[0]])

    def all(self) -> Iterator[tuple[str, str, Route]]:
        """Method, pattern, route."""
        for (method, _), listed in self._found.items():
            for segments, route in listed:
                yield method, "/" + "/".join(segments), route

    def find(self, method: str, path: str) -> tuple[Mapping[str, str], Route]:
        """Raises the 404 that is said of every route that does not exist, or no longer."""
        segments = path.strip("/").split("/")
        for pattern, route in self._found.get((method, len(segments)), []):
            names = {}
            for wanted, given in zip(pattern, segments, strict=True):
                if wanted.startswith("{"):
                    names[wanted[1:-1]] = given
                elif wanted != given:
                    break
            else:
                return names, route
        raise unknown_method()


def ok(data: Any, **more: Any) -> tuple[int, Any]:
    return 200, {"success": True, "data": data, **more}


def made(data: Any) -> tuple[int, Any]:
    """v1's creates."""
    return 201, {"success": True, "data": data}


def cursor_page(
    ask: Ask, rows: Iterable[dict[str, Any]], *, by: str = "id", down: bool = False, most: int = 500
) -> tuple[int, Any]:
    """A page of v2's: `rows` ordered by the member `by` and their ids, continued behind the cursor's place."""
    limit = ask.number("limit", 100, most=most)
    cursor = ask.one("cursor")
    last = _read_cursor(cursor) if cursor else None
    page: list[dict[str, Any]] = []
    for row in rows:
        if last is not None and not (_place(row, by) < last if down else _place(row, by) > last):
            continue
        if len(page) == limit:
            return ok(page, additional_data={"next_cursor": _cursor(by, page[-1], down)})
        page.append(row)
    return ok(page, additional_data={"next_cursor": None})


def offset_page(ask: Ask, rows: list[dict[str, Any]], *, default: int = 100) -> tuple[int, Any]:
    """A page of v1's."""
    start, limit = ask.number("start", 0), ask.number("limit", default, most=500)
    more = start + limit < len(rows)
    page = {"start": start, "limit": limit, "more_items_in_collection": more}
    page |= {"next_start": start + limit} if more else {}
    return ok(rows[start : start + limit], additional_data={"pagination": page})


def _place(row: Mapping[str, Any], by: str) -> tuple[str, Any]:
    return ("" if by == "id" else str(row[by] or ""), row["id"])


def _cursor(by: str, row: Mapping[str, Any], down: bool) -> str:
    direction = "desc" if down else "asc"
    read = {"field": by, "fieldValue": _place(row, by)[0], "sortDirection": direction, "id": row["id"]}
    return base64.urlsafe_b64encode(msgspec.json.encode(read)).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[str, Any]:
    try:
        read = msgspec.json.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return str(read["fieldValue"]), read["id"]
    except (ValueError, KeyError, TypeError, msgspec.DecodeError):
        raise invalid("Parameter validation failed: cursor is not valid") from None
