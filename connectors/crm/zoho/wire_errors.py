"""Zoho's refusals, limits and tokens → ours. Pure.

An error is {"code", "details", "message", "status": "error"}: the whole answer, or one entry of `data`, `watch`, `fields`,
`tags` or `__composite_requests`, the latter also in answers of status 200 and 207. Codes: oas-3.1 and
zoho.com/crm/developer, read 2026-11; none is recorded. Reasons are sentences of ours with Zoho's field and error names:
its messages quote what people wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from connectors.crm.port import Left
from connectors.crm.zoho.manifest import MANIFEST
from connectors.crm.zoho.wire_scopes import scopes_for
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
BLOCKED = timedelta(minutes=10)  # how long the token endpoint answers nobody who asked it too often
_PARKED = timedelta(hours=1)  # when the day's credits are spent
_LOCKED = timedelta(seconds=30)

_PARTS = ("data", "watch", "fields", "tags", "users", "__composite_requests")
_NAME = re.compile(r"\$?\w{1,100}", re.ASCII)
_CODE = re.compile(r"[A-Z][A-Z_]{2,60}")
_DIGITS = re.compile(r"\d{1,19}", re.ASCII)
_OF_CREDITS = re.compile(r"(?i)credit|per day|24 ?h|daily")

_COMPLAINTS = {
    "MANDATORY_NOT_FOUND": "must have a value in this Zoho account",
    "REQUIRED_PARAM_MISSING": "must have a value in this Zoho account",
    "EXPECTED_FIELD_MISSING": "must have a value in this Zoho account",
    "DEPENDENT_FIELD_MISSING": "needs another field beside it in this Zoho account",
    "DEPENDENT_MISMATCH": "does not fit another field in this Zoho account",
    "MAPPING_MISMATCH": "does not fit another field in this Zoho account",
    "PATTERN_NOT_MATCHED": "has a form Zoho does not accept",
    "NOT_ALLOWED": "cannot be written",
    "LIMIT_EXCEEDED": "is more than Zoho takes",
}


class AlreadyExists(Rejected):
    """A value that must be unique is another record's. `existing` is its id, if Zoho said so."""

    def __init__(self, reason: str, *, field: str | None, existing: str | None, status: int) -> None:
        super().__init__(reason, field=field, status=status)
        self.existing = existing


class Converted(Rejected):
    """The lead is a contact by now."""


class ChangedMeanwhile(Unavailable):
    """Somebody wrote to the record after we had read it. Nothing was written: read again, compare again."""


class NotModified(Rejected):
    """Nothing is newer than what was asked about (304): an answer, and where that was the question a good one."""


class PlaceLost(Unavailable):
    """The token of a page has expired, or belongs to another question: begin at the first page."""


class NotExecuted(Unavailable):
    """Part of a composite request that pointed at a part which left nothing: it was not carried out."""


def read_error(request: Request, reply: Reply) -> ConnectorError:
    """What an answer that is no 2xx asks us to do."""
    said = next(errors_in(read_object(reply.body)), {})
    return error_of(request, reply.status, said, headers=reply.headers)


def errors_in(answer: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The errors an answer carries, whatever its status; none in a plain success."""
    if answer.get("status") in ("error", "failure") or (isinstance(answer.get("code"), str) and "data" not in answer):
        yield answer
    for part in _PARTS:
        listed = answer.get(part)
        for entry in listed if isinstance(listed, list) else []:
            if isinstance(entry, dict) and entry.get("status") == "error":
                yield entry


def error_of(
    request: Request, status: int, said: Mapping[str, Any], *, headers: Mapping[str, str] | None = None
) -> ConnectorError:
    """What one error asks us to do: of a whole answer, of one record in it, or of a part of a composite request.

    status  as answered; of a record inside a 207 or 200 the code alone decides.
    """
    code, details = str(said.get("code") or ""), said.get("details")
    details = details if isinstance(details, dict) else {}
    if status == 304:
        return NotModified("nothing has changed since then in Zoho", status=status)
    if status == 429 or code in ("TOO_MANY_REQUESTS", "RATE_LIMIT_EXCEEDED"):
        return _rate_limited(request, status, said, headers or {})
    match code:
        case "OAUTH_SCOPE_MISMATCH":
            return _lacking(request, status)
        case "INVALID_TOKEN" | "AUTHENTICATION_FAILURE":
            return ReconnectNeeded("Zoho no longer accepts this connection", status=status)
        case "RECORD_LOCKED":
            return Unavailable("the record is locked in Zoho", status=status, retry_after=_LOCKED)
        case "EXPIRED_VALUE" | "TOKEN_BOUND_DATA_MISMATCH":
            return PlaceLost("Zoho has lost our place in a list; it is read again from its start", status=status)
        case "ALREADY_MODIFIED":
            return ChangedMeanwhile("the record was changed in Zoho at the same moment", status=status)
        case "INVALID_REFERENCE" | "PROCESSING_STOPPED" | "ROLLBACK_PERFORMED":
            return NotExecuted("not carried out: an earlier write of the same request left nothing", status=status)
        case "ID_ALREADY_CONVERTED":
            return Converted("the lead has become a contact in Zoho", field=None, status=status)
        case "NOT_SUBSCRIBED":
            return Rejected("Zoho sends no such notifications any more", gone=True, status=status)
        case "INTERNAL_ERROR" | "SERVICE_UNAVAILABLE" | "REQUEST_TIMEOUT" | "DEPENDENT_SERVICE_ERROR":
            return _their_problem(request, status)
    if status >= 500 or status == 408:
        return _their_problem(request, status)
    if status == 401:
        return ReconnectNeeded("Zoho no longer accepts this connection", status=status)
    if status == 412:
        return ChangedMeanwhile("the record was changed in Zoho at the same moment", status=status)
    if status == 403 and not code:  # a page of whatever stands in front of Zoho
        return Unavailable("something in front of Zoho refused the request", status=status)
    if code or 400 <= status < 500:
        return _refused(request, status, code, details, said)
    reason = f"Zoho answered with status {status}, which it does not document"
    return (
        OutcomeUnknown(reason, settle=SETTLE, status=status)
        if request.writes
        else UnexpectedReply(reason, status=status)
    )


def read_limits(request: Request, reply: Reply) -> tuple[Left, ...]:
    """What is left of the day's credits. Zoho says so only once half of them are spent, and never how many there were."""
    remaining = reply.headers.get("x-api-credits-remaining", "")
    if not _DIGITS.fullmatch(remaining):
        return ()
    daily = MANIFEST.buckets["credits"]
    left = int(remaining)
    return (Left(bucket="credits", limit=max(daily.limit, left), remaining=left, per=daily.per),)


def read_token(status: int, headers: Mapping[str, str], body: bytes) -> Token:
    """The token in an answer of Zoho's token endpoint, which refuses with status 200 and an `error`."""
    answer = read_object(body)
    token = token_in(answer) if status == 200 else None
    if token is not None:
        return token
    error = answer.get("error")
    match error:
        case "invalid_code" | "access_denied":  # of a refresh: the grant was revoked, or pushed out by a twenty-first
            raise ReconnectNeeded("Zoho says the permission given to us has ended", status=status)
        case "invalid_client" | "invalid_client_secret":
            raise Unavailable(
                "Zoho does not know our app in this data centre: check the client id and secret", status=status
            )
        case "invalid_redirect_uri":
            raise Unavailable(
                "Zoho does not know our callback address: check the app's redirect addresses", status=status
            )
        case "Access Denied":
            raise Unavailable("Zoho's sign-in was asked too often", status=status, retry_after=BLOCKED)
    raise Unavailable("Zoho's sign-in gave no token", status=status)


def _rate_limited(request: Request, status: int, said: Mapping[str, Any], headers: Mapping[str, str]) -> RateLimited:
    """One code for calls under way at once and for spent credits; only its text differs, or the header that says zero."""
    text = said.get("message")
    spent = headers.get("x-api-credits-remaining") == "0" or (isinstance(text, str) and _OF_CREDITS.search(text))
    wait = headers.get("retry-after", "").strip()  # never seen, obeyed all the same
    named = timedelta(seconds=int(wait)) if re.fullmatch(r"\d{1,6}", wait, re.ASCII) else None
    if spent:
        reason = "the day's API credits of this Zoho account are used up"
        return RateLimited(reason, retry_after=named or _PARKED, policy="DAILY", status=status)
    reason = "too many requests to this Zoho account are under way at once"
    return RateLimited(reason, retry_after=named or timedelta(seconds=2), policy=request.bucket, status=status)


def _lacking(request: Request, status: int) -> Rejected:
    scopes = scopes_for(request)
    lacking = f" (it takes {' and '.join(scopes)})" if scopes else ""
    return Rejected(f"the connection may not do this in Zoho{lacking}", scopes=scopes, status=status)


def _their_problem(request: Request, status: int) -> ConnectorError:
    reason = f"Zoho had a problem of its own (status {status})"
    if request.writes:  # it may have been written before that
        return OutcomeUnknown(reason, settle=SETTLE, status=status)
    return Unavailable(reason, status=status)


def _refused(request: Request, status: int, code: str, details: Mapping[str, Any], said: Mapping[str, Any]) -> Rejected:
    if code == "MULTIPLE_OR_MULTI_ERRORS":
        inner = [entry for entry in _listed(details.get("errors")) if entry.get("code") != code]
        if inner:  # the first that can be mended by itself, else the first
            first = next((entry for entry in inner if entry.get("code") == "DUPLICATE_DATA"), inner[0])
            found = error_of(request, 400, first)
            return found if isinstance(found, Rejected) else Rejected(found.reason, status=status)
    field = _name(details.get("api_name")) or _name(details.get("param_name"))
    if code == "DUPLICATE_DATA":
        reason = f"another record in Zoho has this value of “{field}”" if field else "Zoho has this record already"
        return AlreadyExists(reason, field=field, existing=_existing(details), status=status)
    if code == "INVALID_DATA":
        if _about_the_id(request, field, details, said):
            return Rejected("Zoho has no such record", gone=True, status=status)
        return Rejected(_invalid(field, details), field=field, status=status)
    if code in ("RESOURCE_NOT_FOUND", "NO_CONTENT"):
        return Rejected("Zoho has no such record", gone=True, status=status)
    if code == "NO_PERMISSION":
        return Rejected("the user who connected Zoho may not do this there", status=status)
    if field is None:
        expected = [_name(entry.get("api_name")) for entry in _listed(details.get("expected_fields"))]
        field = next((one for one in expected if one), None)
    if field is not None and code in _COMPLAINTS:
        return Rejected(f"“{field}” {_COMPLAINTS[code]}", field=field, status=status)
    shown = f" ({code})" if _CODE.fullmatch(code) else ""
    return Rejected(
        f"Zoho did not accept the request{shown}", field=field, gone=status == 404 and not code, status=status
    )


def _invalid(field: str | None, details: Mapping[str, Any]) -> str:
    name = f"“{field}”" if field else "a value"
    longest, wanted = details.get("maximum_length"), details.get("expected_data_type")
    if isinstance(longest, int):
        return f"{name} is too long (Zoho takes {longest})"
    if isinstance(details.get("supported_values") or details.get("allowed_values"), list):
        return f"{name} has no such option in this Zoho account"
    if isinstance(wanted, str) and _NAME.fullmatch(wanted):
        return f"{name} must be of the type {wanted}, with a value this Zoho account knows"
    return f"{name} has a value this Zoho account does not accept"


def _about_the_id(request: Request, field: str | None, details: Mapping[str, Any], said: Mapping[str, Any]) -> bool:
    """Whether the record itself is missing, and not some value in it: Zoho has one code for both."""
    if field == "id" or "resource_path_index" in details:
        return True
    text = said.get("message")
    return field is None and isinstance(text, str) and "id given" in text


def _existing(details: Mapping[str, Any]) -> str | None:
    """Since version 8 in `duplicate_record`, before that in `id`."""
    record = details.get("duplicate_record")
    for found in (record.get("id") if isinstance(record, dict) else None, details.get("id")):
        if isinstance(found, str) and _DIGITS.fullmatch(found):
            return found
    return None


def _listed(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None
