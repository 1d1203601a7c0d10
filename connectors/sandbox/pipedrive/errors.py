"""Pipedrive's refusals, in the envelopes it uses. Recorded ones (2017, 2018) are named; the rest is documented or likely."""

from __future__ import annotations

from typing import Any

_INFO = "Please check developers.pipedrive.com for more information about Pipedrive API."
CLOUDFLARE = (
    b"<!DOCTYPE html>\n<html><head><title>Attention Required! | Cloudflare</title></head>\n"
    b"<body><h1>Sorry, you have been blocked</h1><p>Error 1015</p></body></html>\n"
)


class Refusal(Exception):
    """An answer that is no success. `body` is JSON, or bytes for a page."""

    def __init__(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = headers or {}


def refused(status: int, error: str, **more: Any) -> Refusal:
    """Recorded: vcr-deals-find-when-fails, vcr-deals-create-when-fails."""
    body = {"success": False, "error": error, "error_info": _INFO, "data": None, "additional_data": None}
    return Refusal(status, {**body, **more})


def invalid(error: str) -> Refusal:
    """v2's own validation."""
    return Refusal(400, {"success": False, "error": error, "code": "ERR_SCHEMA_VALIDATION_FAILED", "data": None})


def not_found(what: str) -> Refusal:
    return refused(404, f"{what.capitalize()} not found")


def unknown_method() -> Refusal:
    """Recorded: vcr-deals-files-when-fails. Also what is left of the v1 routes that have a v2 twin."""
    return Refusal(404, {"status": False, "error": "Unknown method ."})


def unauthorized() -> Refusal:
    return Refusal(401, _gateway("unauthorized access", 401))


def out_of_scope() -> Refusal:
    return Refusal(403, _gateway("Scope and URL mismatch", 403))


def over_limit(headers: dict[str, str] | None = None) -> Refusal:
    """The text is documented, the envelope likely."""
    return Refusal(429, _gateway("Request over limit", 429), headers)


def blocked() -> Refusal:
    """What comes to those who go on after 429s."""
    return Refusal(403, CLOUDFLARE, {"content-type": "text/html; charset=UTF-8"})


def webhook_refused(status: int, **errors: str) -> Refusal:
    """Recorded: vcr-webhooks-delete-when-fails."""
    body = {"status": "error", "success": False, "errors": {name: [text] for name, text in errors.items()}}
    return Refusal(status, body)


def _gateway(error: str, code: int) -> dict[str, Any]:
    return {
        "success": False,
        "error": error,
        "errorCode": code,
        "error_info": "Please check developers.pipedrive.com",
    }
