"""`POST /v1/lookup` before FastAPI: bytes in, bytes out.

A FastAPI route costs 150 µs more than everything else a warm lookup does (performance.md §2). `routes.py` keeps the
documented twin; both read the question with `read_question` and answer with `Found.to_json`. Problems are raised: the
middleware around us answers them, as FastAPI's handlers do for the twin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import phonenumbers

from connectors.json_text import parse_json
from gateway import bodies
from gateway.bodies import Receive, Scope, Send
from gateway.errors import FieldError, Forbidden, Invalid, field_path
from gateway.lookup.find import Finder
from gateway.metrics import seen
from gateway.tenants import access

PATH = "/v1/lookup"
SCOPE = "lookup"
_MOST = bodies.most(PATH)
_JSON = (b"content-type", b"application/json")


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is `phone`? `region`: how national spellings are read; the tenant's own where it is left out."""

    phone: str
    region: str | None = None

    def __repr__(self) -> str:
        return "<Question>"


_QUESTION = msgspec.json.Decoder(Question)


class Rooms(access.Rooms, Protocol):
    """What of `gateway.parts.Parts` this needs; that module stands above this one."""

    @property
    def finder(self) -> Finder: ...


async def look_up(scope: Scope, receive: Receive, send: Send, parts: Rooms) -> None:
    """The ASGI application for `POST /v1/lookup`, inside `gateway.metrics.Middleware`."""
    headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
    authorization = next((value for name, value in headers if name == b"authorization"), None)
    about = seen(scope)
    unless: str | None = None
    if (who := access.at_hand(authorization)) is not None:
        unless = access.revocation_key(who)  # read in the same MGET as the caller
    else:
        who = await access.authenticate(parts, authorization, about.client)
    about.tenant_id = who.tenant_id
    if SCOPE not in who.scopes:
        raise Forbidden(SCOPE)
    question = read_question(headers, await bodies.read(receive, _MOST))
    found = await parts.finder.find(
        who.tenant_id,
        question.phone,
        region=question.region or who.region,
        asked_by=who.id,
        assurance="key",
        unless=unless,
    )
    body = found.to_json()
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [_JSON, length]})
    await send({"type": "http.response.body", "body": body})


def read_question(headers: Sequence[tuple[bytes, bytes]], body: bytes) -> Question:
    """The question in `body`. Any text may be asked for. Raises `WrongMediaType`, `BadRequest`, `Invalid`."""
    if _JSON in headers:
        try:
            question = _QUESTION.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # why is found out below, where there is time
        else:
            return question if question.region is None else _in_known_region(question)
    body = bodies.safe_json(list(headers), body)
    if not body:
        raise Invalid("body", "is missing")
    return _in_known_region(_explained(parse_json(body)))


def _explained(value: Any) -> Question:
    """The question in `value`, or everything that is wrong with it, field by field."""
    if not isinstance(value, dict):
        raise Invalid("body", "must be an object")
    wrong = [
        FieldError(field_path(("body", name)), "is not known here") for name in value if name not in ("phone", "region")
    ][:50]
    if "phone" not in value:
        wrong.append(FieldError("body.phone", "is missing"))
    elif not isinstance(value["phone"], str):
        wrong.append(FieldError("body.phone", "must be a string"))
    if not isinstance(value.get("region"), str | None):
        wrong.append(FieldError("body.region", "must be a string"))
    if wrong:
        raise Invalid(errors=wrong)
    return Question(value["phone"], value.get("region"))


def _in_known_region(question: Question) -> Question:
    region = (question.region or "").strip().upper()
    if region and region not in phonenumbers.SUPPORTED_REGIONS:
        raise Invalid("body.region", "is not an ISO 3166 country code such as CH")
    return Question(question.phone, region or None)
