"""What HubSpot answers when it refuses. Each builder gives the exception that carries the whole answer.

Shapes: recorded answers q_401, q_403, q_409, meeting_create_400, task_get_404, search_429 (2022-2026) and the developer
docs' page on error handling; every field of the envelope is optional there, and several are missing here on purpose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

HTML_404 = (
    b'<html>\n<head>\n<meta http-equiv="Content-Type" content="text/html;charset=utf-8"/>\n'
    b"<title>Error 404 Not Found</title>\n</head>\n<body><h2>HTTP ERROR 404</h2>\n<p>Resource not found</p>\n"
    b"</body>\n</html>\n"
)


class Refusal(Exception):
    """An answer that is not the one hoped for. `body` is JSON when a mapping, a page when bytes."""

    def __init__(self, status: int, body: Mapping[str, Any] | bytes, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = dict(headers or {})


def error(status: int, message: str, category: str | None, **more: Any) -> Refusal:
    """The usual envelope; the correlation id is added when it is sent."""
    body = {"status": "error", "message": message, **more}
    if category is not None:
        body["category"] = category
    return Refusal(status, body)


def invalid(message: str, **more: Any) -> Refusal:
    return error(400, message, "VALIDATION_ERROR", **more)


class BadValue(msgspec.Struct, frozen=True, kw_only=True):
    """One complaint about one property. HubSpot hides these as JSON inside the message."""

    name: str
    code: str
    message: str


def bad_values(complaints: Sequence[BadValue], portal: int) -> Refusal:
    """400 with the complaints as JSON inside `message`, and beside it in `errors` (recorded: meeting_create_400.json)."""
    listed = [
        {
            "isValid": False,
            "message": complaint.message,
            "error": complaint.code,
            "name": complaint.name,
            "localizedErrorMessage": complaint.message,
            "portalId": portal,
        }
        for complaint in complaints
    ]
    details = [
        {"message": complaint.message, "code": complaint.code, "context": {"propertyName": [complaint.name]}}
        for complaint in complaints
    ]
    return invalid(f"Property values were not valid: {msgspec.json.encode(listed).decode()}", errors=details)


def missing_required(kind: str, names: Sequence[str]) -> Refusal:
    return invalid(
        f"Error creating {kind.upper()}. Some required properties were not set.", context={"properties": list(names)}
    )


def conflict(message: str) -> Refusal:
    return error(409, message, "CONFLICT")


def contact_exists(id: str) -> Refusal:
    return conflict(f"Contact already exists. Existing ID: {id}")


def page_not_found() -> Refusal:
    """A missing object is an HTML page, not JSON (recorded: task_get_404.json, ticket_get_404.json)."""
    return Refusal(404, HTML_404, {"content-type": "text/html;charset=iso-8859-1", "X-Hubspot-NotFound": "true"})


def not_found(message: str = "resource not found", **more: Any) -> Refusal:
    refusal = error(404, message, "OBJECT_NOT_FOUND", **more)
    refusal.headers["X-Hubspot-NotFound"] = "true"
    return refusal


def no_credentials() -> Refusal:
    return error(
        401,
        "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find more "
        "details at https://developers.hubspot.com/docs/methods/auth/oauth-overview",
        "INVALID_AUTHENTICATION",
    )


def not_authentic() -> Refusal:
    """The token was ours once: revoked, or the app was uninstalled."""
    return error(401, "The access token is not valid: it was revoked or its app uninstalled.", "INVALID_AUTHENTICATION")


def expired(since: datetime, now: datetime) -> Refusal:
    """As recorded (q_401_expired_authentication.json). A token HubSpot cannot read "expired" in 1970."""
    gone = now - since
    amount = f"{gone.days} day(s)" if gone.days else f"{int(gone.total_seconds())} second(s)"
    return error(
        401,
        f"The OAuth token used to make this call expired {amount} ago.",
        "EXPIRED_AUTHENTICATION",
        context={"expire time": [stamp(since)]},
    )


def unreadable_token(now: datetime) -> Refusal:
    return expired(datetime(1970, 1, 1, tzinfo=UTC), now)


def lacks_scopes(scopes: Sequence[str], *, private: bool, action: str, kind: str, portal: int) -> Refusal:
    """Private apps get MISSING_SCOPES; OAuth tokens get no category at all (recorded: q_403_*.json)."""
    if private:
        return error(
            403,
            "This app hasn't been granted all required scopes to make this call. Read more about required scopes here: "
            "https://developers.hubspot.com/scopes.",
            "MISSING_SCOPES",
            errors=[
                {
                    "message": "One or more of the following scopes are required.",
                    "context": {"requiredGranularScopes": list(scopes)},
                }
            ],
            links={"scopes": "https://developers.hubspot.com/scopes"},
        )
    return error(
        403,
        f"You do not have permissions to {action} object type ObjectTypeId{{legacyObjectType={kind.upper()}}} "
        f"in portal {portal} (requires one of [{', '.join(scopes)}])",
        None,
    )


def stamp(at: datetime) -> str:
    """2026-03-12T07:33:46.615Z: milliseconds, always."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
