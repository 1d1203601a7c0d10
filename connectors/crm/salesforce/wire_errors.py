"""Salesforce's refusals, limits and tokens → ours. Pure.

A refusal is a list of `{message, errorCode, fields}` (recorded: query_400_invalid_field, q_403_request_limit_exceeded), in
collections with `statusCode` instead (recorded: g_collections_…), at the sign-in an object, at the edge a page. Messages
are in the user's language: codes alone decide. Reasons are sentences of ours with Salesforce's field names and codes.
Codes: ../shared/specs/salesforce/soap-status-codes.json and "Status Codes and Error Responses", 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec

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
DAY = timedelta(days=1)
_LATE, _SOON = timedelta(hours=1), timedelta(seconds=5)  # the day's allowance is spent; too many slow calls at once

_CODE = re.compile(r"[A-Z][A-Z0-9_]{2,80}")
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,120}", re.ASCII)
_QUOTED = re.compile(r"'([A-Za-z][A-Za-z0-9_]{0,79})'", re.ASCII)
_ID = re.compile(r"\b([A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?)\b\s*$", re.ASCII)
_USAGE = re.compile(r"(?:^|[;,]\s*)api-usage=(\d{1,9})/(\d{1,9})", re.ASCII)

_PASSING = {  # the same may succeed in a moment; of a write nothing was kept
    "UNABLE_TO_LOCK_ROW": "the record is locked in Salesforce",
    "QUERY_TIMEOUT": "Salesforce took too long to answer",
    "REQUEST_RUNNING_TOO_LONG": "Salesforce took too long to answer",
    "SERVER_UNAVAILABLE": "Salesforce is not available at the moment",
    "ORG_IN_MAINTENANCE": "this Salesforce org is being maintained",
    "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE": "this Salesforce org is being maintained",
    "FUNCTIONALITY_TEMPORARILY_UNAVAILABLE": "Salesforce is not available at the moment",
}
_UNSURE = frozenset({"UNKNOWN_EXCEPTION", "INTERNAL_ERROR", "INTERNAL_SERVER_ERROR"})
_GONE = frozenset({"NOT_FOUND", "ENTITY_IS_DELETED", "RECORD_NOT_FOUND"})
MOVED = frozenset({"ENTITY_IS_DELETED", "CANNOT_UPDATE_CONVERTED_LEAD", "INVALID_CROSS_REFERENCE_KEY", "NOT_FOUND"})
"""Codes behind which a merge or a conversion may stand: the record may live on under another id."""

_COMPLAINTS = {
    "REQUIRED_FIELD_MISSING": "this Salesforce org requires a value for",
    "INVALID_EMAIL_ADDRESS": "Salesforce does not accept this as an e-mail address:",
    "STRING_TOO_LONG": "the text is too long for",
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST": "this Salesforce org has no such value for",
    "FIELD_CUSTOM_VALIDATION_EXCEPTION": "a validation rule of this Salesforce org refused",
    "FIELD_INTEGRITY_EXCEPTION": "the value does not fit",
    "INVALID_FIELD": "this Salesforce org has no such field, or the connected user may not see it:",
    "INVALID_FIELD_FOR_INSERT_UPDATE": "the connected user may not write",
    "INVALID_CROSS_REFERENCE_KEY": "what it should be linked to is not there, or the connected user may not see it:",
    "INACTIVE_OWNER_OR_USER": "the owner is not active in Salesforce:",
    "NUMBER_OUTSIDE_VALID_RANGE": "the number is out of range for",
    "MALFORMED_ID": "this is no id of a Salesforce record:",
    "DUPLICATE_VALUE": "another record in Salesforce has this value of",
}
_SENTENCES = {
    "API_DISABLED_FOR_ORG": "this Salesforce edition has no API, or the connected user may not use it",
    "API_CURRENTLY_DISABLED": "this Salesforce edition has no API, or the connected user may not use it",
    "INSUFFICIENT_ACCESS_OR_READONLY": "the connected user may not do this in Salesforce",
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY": "the connected user may not use a record this is linked to",
    "INSUFFICIENT_ACCESS": "the connected user may not do this in Salesforce",
    "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY": "an automation of this Salesforce org refused it",
    "CANNOT_UPDATE_CONVERTED_LEAD": "this lead has been converted in Salesforce",
    "DUPLICATES_DETECTED": "a duplicate rule of this Salesforce org knows this person already",
    "INVALID_TYPE": "this Salesforce org has no such object, or the connected user may not see it",
    "UNSUPPORTED_API_VERSION": "Salesforce has retired the API version we speak",
    "STORAGE_LIMIT_EXCEEDED": "this Salesforce org has no storage left",
}


_SEVERAL = "a duplicate rule of this Salesforce org takes several people for this one: a person has to say which"


class Denied(Rejected):
    """Something in the org is the reason; `code` is Salesforce's word for it."""

    def __init__(
        self, reason: str, *, code: str, field: str | None = None, gone: bool = False, status: int | None = None
    ) -> None:
        super().__init__(reason, field=field, gone=gone, status=status)
        self.code = code


class AlreadyExists(Denied):
    """A record that must be unique, or that a duplicate rule takes for the same, is there. `existing`: its id, if said."""

    def __init__(self, reason: str, *, code: str, field: str | None, existing: str | None, status: int | None) -> None:
        super().__init__(reason, code=code, field=field, status=status)
        self.existing = existing


class Halted(Unavailable):
    """A subrequest that was not carried out because one it refers to, or one of its all-or-none, failed."""


class Complaint(msgspec.Struct, frozen=True):
    """One entry of a refusal. `existing`: ids of the records a duplicate rule found, best match first."""

    code: str
    message: str = ""
    fields: tuple[str, ...] = ()
    existing: tuple[str, ...] = ()


def complaints(said: Any) -> list[Complaint]:
    """The entries of a refusal in any of its shapes; none for anything else."""
    entries = said if isinstance(said, list) else [said]
    found = []
    for entry in entries:
        if not isinstance(entry, Mapping):
            continue
        nested = entry.get("errors")
        if isinstance(nested, list) and nested:
            found += complaints(nested)
            continue
        code = entry.get("errorCode") or entry.get("statusCode")
        if isinstance(code, str) and _CODE.fullmatch(code):
            listed = entry.get("fields")
            named = listed if isinstance(listed, list) else []
            fields = tuple(name for name in named if isinstance(name, str) and _FIELD.fullmatch(name))
            message = entry.get("message") if isinstance(entry.get("message"), str) else ""
            found.append(Complaint(code, str(message), fields, tuple(_matches(entry))))
    return found


def read_error(request: Request, reply: Reply) -> ConnectorError:
    """What an answer that is no 2xx asks us to do."""
    try:
        said = parse_json(reply.body)
    except BadJson:
        said = None
    return classified(reply.status, said, writes=request.writes, headers=reply.headers, bucket=request.bucket)


def classified(
    status: int, said: Any, *, writes: bool, headers: Mapping[str, str] | None = None, bucket: str = "api"
) -> ConnectorError:
    """The same for a body that is read already: a whole answer's, or a subrequest's."""
    told = complaints(said)
    for complaint in told:
        if error := _by_code(complaint, status, writes=writes, headers=headers or {}, bucket=bucket):
            return error
    if status == 300:
        reason = "several records in Salesforce have this key: they have to be merged first"
        return Denied(reason, code="MULTIPLE_RECORDS_FOUND", status=status)
    if status == 401:
        return ReconnectNeeded("Salesforce no longer accepts this connection", status=status)
    if status == 404 and told:
        return Denied("Salesforce has no such record", code=told[0].code, gone=True, status=status)
    if status == 410:
        return Denied(_SENTENCES["UNSUPPORTED_API_VERSION"], code="UNSUPPORTED_API_VERSION", status=status)
    if told and 400 <= status < 500 and status != 420:
        return _rejected(told[0], status)
    if status >= 500 or status in (408, 420):
        reason = f"Salesforce had a problem of its own (status {status})"
        if writes:  # it may have been written before that
            return OutcomeUnknown(reason, settle=SETTLE, status=status)
        return Unavailable(reason, status=status, retry_after=retry_after(headers or {}))
    if status in (403, 429):  # a page of whatever stands in front of Salesforce
        return Unavailable("something in front of Salesforce refused the request", status=status)
    if 400 <= status < 500:
        return Denied("Salesforce did not accept the request", code="", status=status)
    reason = f"Salesforce answered with status {status}, which it does not document"
    if writes:
        return OutcomeUnknown(reason, settle=SETTLE, status=status)
    return UnexpectedReply(reason, status=status)


def _by_code(
    complaint: Complaint, status: int, *, writes: bool, headers: Mapping[str, str], bucket: str
) -> ConnectorError | None:
    """What a code means whatever the status beside it is; None where the status decides."""
    code = complaint.code
    if code in ("INVALID_SESSION_ID", "INVALID_AUTH_HEADER"):
        return ReconnectNeeded("Salesforce no longer accepts this connection", status=status)
    if code in ("REQUEST_LIMIT_EXCEEDED", "LIMIT_EXCEEDED", "TOO_MANY_APEX_REQUESTS"):
        return _limited(complaint, status, headers)
    if code == "PROCESSING_HALTED":
        return Halted("not carried out: what it belongs to was refused", status=status)
    if code in _PASSING:
        if status >= 500 and writes:
            return OutcomeUnknown(_PASSING[code], settle=SETTLE, status=status)
        return Unavailable(_PASSING[code], status=status, retry_after=retry_after(headers))
    if code in _UNSURE:
        reason = "Salesforce had a problem of its own"
        return OutcomeUnknown(reason, settle=SETTLE, status=status) if writes else Unavailable(reason, status=status)
    return None


def _limited(complaint: Complaint, status: int, headers: Mapping[str, str]) -> RateLimited:
    """One code for two things. The word in the message is a class name of theirs, the same in every language; where it is
    missing, what the header says of the day's allowance decides."""
    usage = _usage(headers)
    concurrent = "Concurrent" in complaint.message or (
        "TotalRequests" not in complaint.message and usage is not None and usage[0] < usage[1]
    )
    wait = retry_after(headers) or (_SOON if concurrent else _LATE)
    if concurrent:
        reason = "too many slow requests are under way in this Salesforce org"
        return RateLimited(reason, retry_after=wait, policy="concurrent", status=status)
    reason = "this Salesforce org has used up its API requests of the last 24 hours"
    return RateLimited(reason, retry_after=wait, policy="DAILY", status=status)


def _rejected(complaint: Complaint, status: int) -> Denied:
    code, field = complaint.code, complaint.fields[0] if complaint.fields else None
    if code == "DUPLICATES_DETECTED":  # of several it is not for us to choose
        found = list(dict.fromkeys(complaint.existing))
        reason = _SEVERAL if len(found) > 1 else _SENTENCES[code]
        existing = found[0] if len(found) == 1 else None
        return AlreadyExists(reason, code=code, field=None, existing=existing, status=status)
    if code == "DUPLICATE_VALUE":
        at_end = _ID.search(complaint.message)
        reason = _sentence(code, complaint.fields, "a field that must be unique")
        return AlreadyExists(reason, code=code, field=field, existing=at_end[1] if at_end else None, status=status)
    if code in ("INVALID_FIELD", "JSON_PARSER_ERROR") and field is None:  # their text quotes the column's name
        quoted = _QUOTED.search(complaint.message)
        field = quoted[1] if quoted else None
    if code in _COMPLAINTS:
        reason = _sentence(code, complaint.fields or ((field,) if field else ()), "the record")
    else:
        reason = _SENTENCES.get(code, f"Salesforce did not accept the request ({code})")
    return Denied(reason, code=code, field=field, gone=code in _GONE, status=status)


def _sentence(code: str, fields: Sequence[str], otherwise: str) -> str:
    named = ", ".join(f"“{name}”" for name in fields) or otherwise
    return f"{_COMPLAINTS[code]} {named}"


def _matches(entry: Mapping[str, Any]) -> Iterator[str]:
    """Ids a duplicate rule found. The key is misspelt at the vendor since v50 (recorded: q_400_duplicates_detected)."""
    result = entry.get("duplicateResut") or entry.get("duplicateResult")
    for match in _listed(result, "matchResults"):
        for record in _listed(match, "matchRecords"):
            found = record.get("record")
            id = found.get("Id") if isinstance(found, Mapping) else None
            if isinstance(id, str) and re.fullmatch(r"[A-Za-z0-9]{15,18}", id):
                yield id


def _listed(holder: Any, name: str) -> list[Mapping[str, Any]]:
    listed = holder.get(name) if isinstance(holder, Mapping) else None
    return [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []


# ── limits ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_limits(request: Request, reply: Reply) -> tuple[Left, ...]:
    """What is left of the org's day, from `Sforce-Limit-Info: api-usage=101/15000[; per-app-api-usage=…]`."""
    usage = _usage(reply.headers)
    if usage is None or usage[1] == 0:
        return ()
    used, limit = usage
    return (Left(bucket="api", limit=limit, remaining=max(0, limit - used), per=DAY),)


def _usage(headers: Mapping[str, str]) -> tuple[int, int] | None:
    found = _USAGE.search(headers.get("sforce-limit-info", ""))
    return (int(found[1]), int(found[2])) if found else None


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Salesforce sends none; what stands in front of it may. At most a day."""
    text = headers.get("retry-after", "").strip()
    return min(timedelta(seconds=int(text)), DAY) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else None


# ── tokens ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_MEANS = {"offline_access": ("refresh_token",), "full": ("full", "api")}  # other names of the scopes we ask for
_ENDED = frozenset({"invalid_grant", "inactive_user", "inactive_org", "access_denied"})
_OURS = frozenset({"invalid_client", "invalid_client_id", "redirect_uri_mismatch", "unsupported_grant_type"})


def read_token(status: int, headers: Mapping[str, str], body: bytes) -> Token:
    """The token in an answer of the sign-in (recorded: o_token_200, refresh_success). It never says how long it lives.

    A failed refresh is 400 with `invalid_grant` also where a parallel one has taken the place: who asks reads the stored
    grant again before it believes this.
    """
    answer = read_object(body)
    token = token_in(answer) if status == 200 else None
    if token is not None:
        meant = (scope for given in token.scopes for scope in _MEANS.get(given, (given,)))
        return msgspec.structs.replace(token, scopes=tuple(dict.fromkeys(meant)))
    error = answer.get("error")
    if status in (400, 401, 403) and error in _ENDED:
        raise ReconnectNeeded("Salesforce says the permission given to us has ended", status=status)
    if status in (400, 401, 403) and error in _OURS:
        reason = "Salesforce does not know our app: check the consumer key and secret, and the callback address"
        raise Unavailable(reason, status=status)
    raise Unavailable("Salesforce's sign-in gave no token", status=status, retry_after=retry_after(headers))
