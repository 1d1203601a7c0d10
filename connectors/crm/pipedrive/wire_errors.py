"""Pipedrive's refusals, limits and tokens → ours. Pure.

Five envelopes are in use (fact sheet as of 2026-11): `{"success": false, "error", "error_info"}` (recorded), the same
with `errorCode` or `code`, webhooks' `{"status": "error", "errors": {field: […]}}` (recorded), `{"success": false,
"message"}` (recorded), and HTML. Nothing here relies on any of them. Reasons are sentences of ours: the vendor's quote
numbers, names and addresses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from connectors.crm.pipedrive.manifest import V1, V2
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
from connectors.request import Reply, Request
from connectors.tokens import Token, read_object, token_in

SETTLE = timedelta(seconds=60)
BLOCKED = timedelta(minutes=10)
"""How long an account is left alone after Cloudflare's page: going on against it lengthens the block."""
_BURST = timedelta(seconds=2)
_DAY_OVER = timedelta(hours=1)  # the day's tokens come back at midnight of a zone nobody names: asked again hourly
_LONGEST_BURST = 60  # seconds; leads answer with a point in time instead (recorded: nango-create-lead)

_CODE = re.compile(r"[A-Za-z_]{3,60}")
_HASH = re.compile(r"\b[0-9a-f]{40}\b")
_NUMBER = re.compile(r"\d{1,12}", re.ASCII)
_NAME = re.compile(r"\w{1,60}", re.ASCII)
_NAMED = re.compile(  # members of what we write that Pipedrive's sentences name ("Deal title must be given.")
    r"\b(title|subject|name|owner_id|person_id|org_id|deal_id|lead_id|stage_id|pipeline_id|value|currency|emails?|phones?|"
    r"label_ids|due_date|due_time|duration|type|content|expected_close_date|updated_since|marketing_status|job_title|"
    r"birthday|postal_address|subscription_url)\b",
    re.IGNORECASE,
)

# Which of the scopes we ask for opens what, reading and writing. Source: `security` of each operation in OpenAPI v1, v2.
_SCOPES: Sequence[tuple[str, str, str]] = (
    (f"{V2}/persons", "contacts:full", "contacts:full"),
    (f"{V2}/organizations", "contacts:full", "contacts:full"),
    (f"{V2}/personFields", "contacts:full", "contact-fields:full"),
    (f"{V2}/organizationFields", "contacts:full", "contact-fields:full"),
    (f"{V2}/deals", "deals:full", "deals:full"),
    (f"{V2}/dealFields", "deals:full", "deal-fields:full"),
    (f"{V2}/pipelines", "deals:full", "deals:full"),
    (f"{V2}/stages", "deals:full", "deals:full"),
    (f"{V2}/activities", "activities:full", "activities:full"),
    (f"{V2}/itemSearch", "search:read", "search:read"),
    (f"{V1}/activityTypes", "activities:full", "activities:full"),
    (f"{V1}/activityFields", "activities:full", "activities:full"),
    (f"{V1}/notes", "contacts:full", "contacts:full"),
    (f"{V1}/leads", "leads:full", "leads:full"),
    (f"{V1}/leadLabels", "leads:full", "leads:full"),
    (f"{V1}/recents", "search:read", "search:read"),
    (f"{V1}/users/me", "base", "base"),
    (f"{V1}/users", "users:read", "users:read"),
    (f"{V1}/webhooks", "admin", "admin"),
)


def read_error(request: Request, reply: Reply) -> ConnectorError:
    """What an answer that is no 2xx asks us to do."""
    said = read_object(reply.body)
    status = reply.status
    match status:
        case 401:
            return ReconnectNeeded("Pipedrive no longer accepts this connection", status=status)
        case 402:
            return ReconnectNeeded("this Pipedrive account is closed or unpaid", status=status)
        case 403 if not said:
            reason = "Pipedrive's front door has shut this account out for a while, after too many requests"
            return RateLimited(reason, retry_after=retry_after(reply.headers) or BLOCKED, status=status)
        case 403:
            return _forbidden(request, said, status)
        case 404 if "unknown method" in _text(said.get("error")).lower():  # v1 routes may go without notice
            reason = "Pipedrive has no such route any more"
            return Rejected(reason, status=status) if request.writes else UnexpectedReply(reason, status=status)
        case 404 | 410:  # a 410 may say `success` (recorded: nango-delete-person): the status counts
            return Rejected("Pipedrive has no such record", gone=True, status=status)
        case 429:
            return _rate_limited(request, reply)
        case 501:
            return Rejected("Pipedrive does not offer this", status=status)
        case 408 | _ if status >= 500 or status == 408:
            reason = f"Pipedrive had a problem of its own (status {status})"
            if request.writes:  # it may have been written before that
                return OutcomeUnknown(reason, settle=SETTLE, status=status)
            return Unavailable(reason, status=status, retry_after=retry_after(reply.headers))
        case _ if 400 <= status < 500:
            return _invalid(said, status)
    reason = f"Pipedrive answered with status {status}, which it does not document"
    if request.writes:
        return OutcomeUnknown(reason, settle=SETTLE, status=status)
    return UnexpectedReply(reason, status=status)


def read_limits(request: Request, reply: Reply) -> tuple[Left, ...]:
    """What the headers say is left: of the burst, and of the day's tokens (recorded 2026: nango-*; undocumented)."""
    left = []
    limit, remaining = _header(reply, "x-ratelimit-limit"), _header(reply, "x-ratelimit-remaining")
    reset = _header(reply, "x-ratelimit-reset")
    if limit is not None and remaining is not None and (reset is None or reset <= _LONGEST_BURST):
        bucket = "search" if request.bucket == "search" and limit <= 10 else "api"
        per = timedelta(seconds=reset) if reset else _BURST
        left.append(Left(bucket=bucket, limit=limit, remaining=remaining, per=per))
    limit = _header(reply, "x-daily-ratelimit-token-limit")
    remaining = _header(reply, "x-daily-ratelimit-token-remaining")
    if limit is not None and remaining is not None:
        left.append(Left(bucket="daily", limit=limit, remaining=remaining, per=timedelta(days=1)))
    return tuple(left)


def read_token(status: int, headers: Mapping[str, str], body: bytes) -> Token:
    """The token in an answer of `/oauth/token`.

    Refusals are not RFC 6749's: 400 with a sentence as documented, 401 with `message` as recorded in 2018, and which
    member holds the sentence is not sure. Only a sentence about the grant ends a connection.
    """
    answer = read_object(body)
    token = token_in(answer) if status == 200 else None
    if token is not None:
        return token
    told = " ".join(_text(answer.get(name)) for name in ("error", "error_description", "message")).lower()
    if status in (400, 401, 403):
        if "invalid client" in told or "invalid_client" in told or "unauthorized_client" in told:
            raise Unavailable("Pipedrive does not know our app: check the client id and secret", status=status)
        if "invalid grant" in told or "invalid_grant" in told or "access_denied" in told or "user_denied" in told:
            raise ReconnectNeeded("Pipedrive says the permission given to us has ended", status=status)
        if "redirect_uri" in told:
            raise Unavailable("Pipedrive does not know our callback address: check the app's settings", status=status)
    raise Unavailable("Pipedrive's sign-in gave no token", status=status, retry_after=retry_after(headers))


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Seconds, at most a day. Not documented for Pipedrive, but whatever stands in front of it may send it."""
    text = headers.get("retry-after", "").strip()
    return timedelta(seconds=min(int(text), 86_400)) if _NUMBER.fullmatch(text) else None


def scopes_for(request: Request) -> tuple[str, ...]:
    """The scope this request needs; refusals do not name it."""
    reads = request.method == "GET"
    for prefix, reading, writing in _SCOPES:
        if request.path == prefix or request.path.startswith(prefix + "/"):
            return (reading if reads else writing,)
    return ()


def _rate_limited(request: Request, reply: Reply) -> RateLimited:
    """Burst or day: the headers tell, where they are (the body's shape is not sure)."""
    wished = retry_after(reply.headers)
    tokens = _header(reply, "x-daily-ratelimit-token-remaining")
    if tokens is not None and tokens < request.cost:
        reason = "the tokens Pipedrive gives this company for a day are used up"
        return RateLimited(reason, retry_after=wished or _DAY_OVER, policy="DAILY", status=reply.status)
    reset = _header(reply, "x-ratelimit-reset")
    wait = timedelta(seconds=reset) if reset and reset <= _LONGEST_BURST else _BURST
    reason = "Pipedrive's request limit is used up"
    return RateLimited(reason, retry_after=wished or wait, policy=request.bucket, status=reply.status)


def _forbidden(request: Request, said: Mapping[str, Any], status: int) -> Rejected:
    code = _text(said.get("code"))
    if code.startswith("feature_capping"):
        return Rejected("this Pipedrive plan takes no more of these", status=status)
    told = " ".join(_text(said.get(name)) for name in ("error", "message", "error_info")).lower()
    scopes = scopes_for(request) if "scope" in told else ()
    lacking = f" (it takes {' or '.join(scopes)})" if scopes else ""
    named = _named(told)
    return Rejected(f"the connection may not do this in Pipedrive{lacking}", field=named, scopes=scopes, status=status)


def _invalid(said: Mapping[str, Any], status: int) -> Rejected:
    errors = said.get("errors")
    listed = [name for name in errors if _NAME.fullmatch(name)] if isinstance(errors, dict) else []
    field = listed[0] if listed else _named(_text(said.get("error")) or _text(said.get("message")))
    code = said.get("code")
    shown = f" ({code})" if isinstance(code, str) and _CODE.fullmatch(code) else ""
    about = f"“{field}” as it is" if field else "the request"
    return Rejected(f"Pipedrive did not accept {about}{shown}", field=field, status=status)


def _named(sentence: str) -> str | None:
    """The field a sentence is about, if it names one of those we know."""
    found = _HASH.search(sentence) or _NAMED.search(sentence)
    return found[0].lower() if found else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _header(reply: Reply, name: str) -> int | None:
    text = reply.headers.get(name, "").strip()
    return int(text) if _NUMBER.fullmatch(text) else None
