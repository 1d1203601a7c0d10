"""HubSpot's refusals, limits and tokens → ours. Pure.

Every field of the envelope is optional (developers.hubspot.com, "Error handling", 2026-11), so nothing here relies on
one. Recorded: q_401, q_403 (with and without a category), q_409, meeting_create_400, search_429, task_get_404 (HTML).
Reasons are sentences of ours with HubSpot's field and error names: its messages quote numbers, names and addresses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from connectors.crm.port import Left
from connectors.errors import (
    ConnectorError,
    OutcomeUnknown,
    RateLimited,
    ReconnectNeeded,
    Rejected,
    Unavailable,
    UnexpectedReply,
)
from connectors.json_text import BadJson, parse_json
from connectors.request import Reply, Request
from connectors.tokens import Token, read_object, token_in

SETTLE = timedelta(seconds=60)
_LONGEST_WAIT = timedelta(days=1)
_WAITS = {"TEN_SECONDLY_ROLLING": timedelta(seconds=10), "DAILY": timedelta(hours=1)}  # where no Retry-After came

_EMBEDDED = re.compile(r"\[\{.*\}\]", re.DOTALL)
_EXISTING_ID = re.compile(r"Existing ID: (\d+)")
_TAKEN = re.compile(r"propertyName=(\w+).*?(\d+) already has that value", re.DOTALL)
_REQUIRES = re.compile(r"requires (?:one|all) of \[([^\]]*)\]")
_SCOPE = re.compile(r"[a-z0-9_.-]{2,80}")
_NAME = re.compile(r"\w{1,100}", re.ASCII)
_CODE = re.compile(r"[A-Z_]{3,60}")

_COMPLAINTS = {
    "INVALID_EMAIL": "is not an e-mail address HubSpot accepts",
    "PROPERTY_DOESNT_EXIST": "does not exist in this HubSpot account",
    "INVALID_OPTION": "has no such option in this HubSpot account",
    "INVALID_LONG": "must be a number",
    "INVALID_INTEGER": "must be a whole number",
    "INVALID_NUMBER": "must be a number",
    "INVALID_DATE": "must be a date",
    "READ_ONLY_VALUE": "cannot be written",
    "PROPERTY_VALUE_TOO_LONG": "is too long",
    "CONFLICTING_UNIQUE_VALUE": "must be unique, and another record has this value",
}


class AlreadyExists(Rejected):
    """A record that must be unique is there already. `existing` is its id, if HubSpot said so."""

    def __init__(self, reason: str, *, field: str | None, existing: str | None, status: int) -> None:
        super().__init__(reason, field=field, status=status)
        self.existing = existing


def read_error(request: Request, reply: Reply) -> ConnectorError:
    """What an answer that is no 2xx asks us to do."""
    said = read_object(reply.body)
    status = reply.status
    match status:
        case 401 if said.get("category") == "EXPIRED_AUTHENTICATION":  # the token, not the grant
            return Unavailable("HubSpot says that even the fresh access token has expired", status=status)
        case 401:
            return ReconnectNeeded("HubSpot no longer accepts this connection", status=status)
        case 403 if not said:  # a page of whatever stands in front of HubSpot
            return Unavailable("something in front of HubSpot refused the request", status=status)
        case 403:
            return _forbidden(said, status)
        case 404:
            return Rejected("HubSpot has no such record", gone=True, status=status)
        case 423 | 477:
            wait = retry_after(reply.headers) or timedelta(seconds=2 if status == 423 else 600)
            reason = "the record is locked in HubSpot" if status == 423 else "HubSpot is moving this account"
            return Unavailable(reason, status=status, retry_after=wait)
        case 429:
            return _rate_limited(request, reply, said)
        case 408 | 499 | _ if status >= 500 or status in (408, 499):
            reason = f"HubSpot had a problem of its own (status {status})"
            if request.writes:  # it may have been written before that
                return OutcomeUnknown(reason, settle=SETTLE, status=status)
            return Unavailable(reason, status=status, retry_after=retry_after(reply.headers))
        case _ if 400 <= status < 500:
            return _invalid(said, status)
    reason = f"HubSpot answered with status {status}, which it does not document"
    return (
        OutcomeUnknown(reason, settle=SETTLE, status=status)
        if request.writes
        else UnexpectedReply(reason, status=status)
    )


def read_limits(request: Request, reply: Reply) -> tuple[Left, ...]:
    """What the headers say is left. Search answers say nothing about the ten seconds (recorded: contact_search_200)."""
    interval = _number(reply.headers, "interval-milliseconds")
    found = (
        ("api", "max", "remaining", timedelta(milliseconds=interval) if interval else None),
        ("daily", "daily", "daily-remaining", timedelta(days=1)),
    )
    left = []
    for bucket, limit_name, remaining_name, per in found:
        limit, remaining = _number(reply.headers, limit_name), _number(reply.headers, remaining_name)
        if limit is not None and remaining is not None and per is not None:
            left.append(Left(bucket=bucket, limit=limit, remaining=remaining, per=per))
    return tuple(left)


def read_token(status: int, headers: Mapping[str, str], body: bytes) -> Token:
    """The token in an answer of HubSpot's token endpoint.

    The endpoint answers 429, 423, 477 and 5xx with JSON objects too: none of them is a token, or a lost grant.
    """
    answer = read_object(body)
    token = token_in(answer) if status == 200 else None
    if token is not None:
        return token
    if status in (400, 401, 403):
        error, detail = answer.get("error"), answer.get("status")
        if error in ("invalid_grant", "access_denied") or detail in ("BAD_REFRESH_TOKEN", "BAD_AUTH_CODE", "BAD_HUB"):
            raise ReconnectNeeded("HubSpot says the permission given to us has ended", status=status)
        if error == "invalid_client" or detail in ("BAD_CLIENT_ID", "BAD_CLIENT_SECRET"):
            raise Unavailable("HubSpot does not know our app: check the client id and secret", status=status)
        if detail == "BAD_REDIRECT_URI":
            raise Unavailable(
                "HubSpot does not know our callback address: check the app's redirect URLs", status=status
            )
    raise Unavailable("HubSpot's sign-in gave no token", status=status, retry_after=retry_after(headers))


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """The vendor's wish in seconds, at most a day; dates are not read, HubSpot sends none."""
    text = headers.get("retry-after", "").strip()
    return min(timedelta(seconds=int(text)), _LONGEST_WAIT) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else None


def _rate_limited(request: Request, reply: Reply, said: Mapping[str, Any]) -> RateLimited:
    """Search says neither which limit nor how long (recorded: search_429_secondly_company); the rest names a policy."""
    policy = said.get("policyName") if isinstance(said.get("policyName"), str) else None
    name = policy if policy and _CODE.fullmatch(policy) else None
    wait = retry_after(reply.headers) or _WAITS.get(name or "", timedelta(seconds=1))
    return RateLimited(
        "HubSpot's request limit is used up", retry_after=wait, policy=name or request.bucket, status=reply.status
    )


def _forbidden(said: Mapping[str, Any], status: int) -> Rejected:
    named = [scope for details in _details(said) for scope in _listed(details.get("context"), "requiredGranularScopes")]
    if written := _REQUIRES.search(_text(said.get("message"))):
        named += [scope.strip() for scope in written[1].split(",")]
    scopes = tuple(scope for scope in dict.fromkeys(named) if _SCOPE.fullmatch(scope))
    lacking = f" (it takes {' or '.join(scopes)})" if scopes else ""
    return Rejected(f"the connection may not do this in HubSpot{lacking}", scopes=scopes, status=status)


def _invalid(said: Mapping[str, Any], status: int) -> Rejected:
    message = _text(said.get("message"))
    if taken := _TAKEN.search(message):
        reason = f"another record in HubSpot has this value of “{taken[1]}”"
        return AlreadyExists(reason, field=taken[1], existing=taken[2], status=status)
    existing = _EXISTING_ID.search(message)
    if status == 409 or existing:
        found = existing[1] if existing else None
        return AlreadyExists("HubSpot has this record already", field=None, existing=found, status=status)
    required = _listed(said.get("context"), "properties")
    if required:
        names = [name for name in required if _NAME.fullmatch(name)]
        reason = f"this HubSpot account requires a value for: {', '.join(names)}"
        return Rejected(reason, field=names[0] if names else None, status=status)
    for name, code in _complaints(said, message):
        if code == "CONFLICTING_UNIQUE_VALUE":
            return AlreadyExists(f"“{name}” {_COMPLAINTS[code]}", field=name, existing=None, status=status)
        return Rejected(f"“{name}” {_COMPLAINTS.get(code, f'was not accepted ({code})')}", field=name, status=status)
    category = _text(said.get("category"))
    shown = f" ({category})" if _CODE.fullmatch(category) else ""
    return Rejected(f"HubSpot did not accept the request{shown}", status=status)


def _complaints(said: Mapping[str, Any], message: str) -> Iterator[tuple[str, str]]:
    """(property, code) of each complaint: from JSON hidden inside the message, else from `errors`."""
    hidden = _EMBEDDED.search(message)
    try:
        listed = parse_json(hidden[0].encode()) if hidden else []
    except BadJson:
        listed = []
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, dict):
            yield from _named(entry.get("name"), entry.get("error"))
    for details in _details(said):
        for name in _listed(details.get("context"), "propertyName"):
            yield from _named(name, details.get("code"))


def _named(name: object, code: object) -> Iterator[tuple[str, str]]:
    if isinstance(name, str) and _NAME.fullmatch(name):
        yield name, code if isinstance(code, str) and _CODE.fullmatch(code) else "UNKNOWN"


def _details(said: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    errors = said.get("errors")
    return [entry for entry in errors if isinstance(entry, dict)] if isinstance(errors, list) else []


def _listed(context: object, name: str) -> list[str]:
    values = context.get(name) if isinstance(context, dict) else None
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(f"x-hubspot-ratelimit-{name}", "")
    return int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else None
