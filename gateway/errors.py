"""What clients are told when something is wrong: `application/problem+json` (RFC 9457), one class per instruction.

```text
Problem
├─ BadRequest       400  cannot be read at all
├─ Unauthenticated  401  no key, or not a good one: always the same text
├─ Forbidden        403  a good key without the scope
├─ NotFound         404  not there, or another tenant's
├─ WrongMethod      405
├─ Conflict         409  the state of things does not allow it
├─ TooLarge         413
├─ WrongMediaType   415
├─ Misdirected      421  another host's name
├─ Invalid          422  readable, but a field is not right; names field and reason, never the value
├─ TooMany          429  again after `retry_after`
├─ Broken           500  ours to fix; the log has the same request id
├─ NotYet           501
└─ Unavailable      503  again after `retry_after`
```

Nothing here carries what the client sent: a number in an error text ends in somebody's log.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

if TYPE_CHECKING:  # a worker answers nobody, and starts sooner and smaller without
    from fastapi import FastAPI, Request, Response
    from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class FieldError:
    """`field` as a path from where it came ("body.phone", "query.limit"); `reason` for a person."""

    field: str
    reason: str


class Problem(Exception):
    """Base of the family. `detail` is for a person; `errors` name fields."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something broke here"
    slug: ClassVar[str] = "broken"

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = {"type": f"/docs#{self.slug}", "title": self.title, "status": self.status}
        if self.detail is not None:
            found["detail"] = self.detail
        if self.errors:
            found["errors"] = [{"field": error.field, "reason": error.reason} for error in self.errors]
        return found


class BadRequest(Problem):
    status, title, slug = 400, "The request cannot be read", "bad-request"


class Unauthenticated(Problem):
    """One text for every cause, so that nobody learns which keys exist."""

    status, title, slug = 401, "A valid API key is needed", "unauthenticated"

    def __init__(self) -> None:
        super().__init__("Send `Authorization: Bearer gwk_…` with a key that is in force.", headers=_BEARER)


class BadSignature(Problem):
    status, title, slug = 401, "The signature or secret does not hold", "bad-signature"


class Forbidden(Problem):
    """`scope`: what the key or session lacks."""

    status, title, slug = 403, "Not allowed", "forbidden"

    def __init__(self, scope: str | None = None, detail: str | None = None) -> None:
        super().__init__(detail or (f"This needs the scope `{scope}`." if scope else None))
        self.scope = scope


class NotFound(Problem):
    status, title, slug = 404, "Not found", "not-found"


class WrongMethod(Problem):
    status, title, slug = 405, "This address does not take that method", "wrong-method"


class Conflict(Problem):
    status, title, slug = 409, "The state of things does not allow it", "conflict"


class TooLarge(Problem):
    """`most`: bytes taken at this address."""

    status, title, slug = 413, "The body is too large", "too-large"

    def __init__(self, most: int) -> None:
        super().__init__(errors=[FieldError("body", f"longer than the {most} bytes taken here")])


class WrongMediaType(Problem):
    status, title, slug = 415, "The body is not in a form taken here", "wrong-media-type"


class Misdirected(Problem):
    status, title, slug = 421, "This host name is not served here", "misdirected"


class Invalid(Problem):
    """`Invalid("body.zone", "is not an IANA time zone")`, or several through `errors`."""

    status, title, slug = 422, "Some fields are not valid", "invalid"

    def __init__(
        self, field: str | None = None, reason: str = "is not valid", *, errors: Sequence[FieldError] = ()
    ) -> None:
        super().__init__(errors=[*([FieldError(field, reason)] if field else []), *errors])


class TooMany(Problem):
    status, title, slug = 429, "Too many requests", "too-many"

    def __init__(self, retry_after: timedelta, detail: str | None = None) -> None:
        super().__init__(detail, headers=_retry(retry_after))
        self.retry_after = retry_after


class Broken(Problem):
    def __init__(self, request_id: str) -> None:
        super().__init__(f"It is in our log as {request_id}.")


class NotYet(Problem):
    status, title, slug = 501, "Not built yet", "not-yet"


class Unavailable(Problem):
    status, title, slug = 503, "Not able to work right now", "unavailable"

    def __init__(self, retry_after: timedelta = timedelta(seconds=1), detail: str | None = None) -> None:
        super().__init__(detail, headers=_retry(retry_after))
        self.retry_after = retry_after


_BEARER = {"WWW-Authenticate": "Bearer"}


def _retry(after: timedelta) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(after.total_seconds())))}


def problem_response(problem: Problem) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body, for those who answer in ASGI messages themselves."""
    body = msgspec.json.encode(problem.body())
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in problem.headers.items()]
    return (
        problem.status,
        [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode()), *headers],
        body,
    )


def answer(problem: Problem) -> Response:
    """The same as a Starlette response."""
    from fastapi import Response

    return Response(msgspec.json.encode(problem.body()), problem.status, media_type=MEDIA_TYPE, headers=problem.headers)


_BY_STATUS: dict[int, type[Problem]] = {
    kind.status: kind for kind in (BadRequest, NotFound, WrongMethod, Conflict, WrongMediaType, Misdirected)
}


def handle(app: FastAPI) -> None:
    """Make every error that leaves `app` a problem."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    async def ours(_request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return answer(error)

    async def validation(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return answer(from_validation(error.errors()))

    async def framework(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return answer(_from_framework(error))

    async def broken(request: Request, _error: Exception) -> Response:
        return answer(Broken(str(getattr(request.scope.get("gateway"), "request_id", "unknown"))))

    app.add_exception_handler(Problem, ours)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(HTTPException, framework)
    app.add_exception_handler(Exception, broken)  # answered here, logged by the middleware it is raised on to


def from_validation(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """A validation that failed, told by field and reason. JSON that cannot be read is a 400."""
    if any(error["type"] == "json_invalid" for error in errors):
        return BadRequest(errors=[FieldError("body", "is not JSON")])
    return Invalid(errors=[FieldError(field_path(error["loc"]), _reason(error)) for error in errors[:50]])


def field_path(location: Sequence[str | int]) -> str:
    """`body.analysis.score`. Names of unknown fields are the client's own words: cut, and without anything odd."""
    return ".".join(_ODD.sub("?", str(part))[:64] for part in location) or "body"


_ODD = re.compile(r"[^\w\-\[\]]")

# Texts of pydantic that quote a piece of the input, or a parser that may.
_QUOTING = frozenset({"error", "tag", "encoding_error", "attribute", "method_name"})
_OURS = frozenset({"value_error", "assertion_error"})


def _reason(error: Mapping[str, Any]) -> str:
    kind, context = error["type"], error.get("ctx") or {}
    if kind in _OURS:  # raised by our own validators, which quote nothing
        return str(error["msg"]).split(", ", 1)[-1]
    if kind == "extra_forbidden":
        return "is not known here"
    if kind == "missing":
        return "is missing"
    if _QUOTING & set(context):
        return "is not valid (" + str(kind).replace("_", " ") + ")"
    return str(error["msg"])


def _from_framework(error: HTTPException) -> Problem:
    kind = _BY_STATUS.get(error.status_code)
    if kind is not None:
        return kind(headers=error.headers)
    problem = Problem(headers=error.headers)
    problem.__dict__.update(status=error.status_code, title=str(error.detail)[:100], slug=f"status-{error.status_code}")
    return problem


def documented(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """What a route may answer instead, for OpenAPI: `responses=documented(NotFound, Conflict)`."""
    found: dict[int | str, dict[str, Any]] = {}
    for kind in problems:
        example = {"type": f"/docs#{kind.slug}", "title": kind.title, "status": kind.status}
        if kind is Invalid:
            example["errors"] = [{"field": "body.name", "reason": "is missing"}]
        described = found.setdefault(
            kind.status,
            {"description": kind.title, "content": {MEDIA_TYPE: {"schema": SCHEMA, "examples": {}}}},
        )
        if kind.title not in described["description"]:
            described["description"] += f", or: {kind.title}"
        described["content"][MEDIA_TYPE]["examples"][kind.slug] = {"summary": kind.title, "value": example}
    return found


SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "reason"],
                "properties": {"field": {"type": "string"}, "reason": {"type": "string"}},
            },
        },
    },
}


def family() -> list[type[Problem]]:
    """Every problem there is, by status: the list at the end of `/docs`."""

    def below(kind: type[Problem]) -> list[type[Problem]]:
        return [kind, *(leaf for child in kind.__subclasses__() for leaf in below(child))]

    return sorted({kind.slug: kind for kind in below(Problem)}.values(), key=lambda kind: (kind.status, kind.slug))
