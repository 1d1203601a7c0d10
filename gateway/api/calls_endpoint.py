"""`POST /v1/calls` before FastAPI: bytes in, bytes out. `calls.py` keeps the documented twin, which serves repeats by key.

A FastAPI route costs as much as storing the event does. Both keep the call with `keep`, and `NewCall` says what is wrong;
problems are raised, and the middleware around us answers them as FastAPI's handlers do for the twin.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from gateway import bodies
from gateway.api.call_reading import SaidCall, event_of, read_at_once, said_in
from gateway.api.call_shapes import NewCall
from gateway.bodies import Receive, Scope, Send
from gateway.calls.intake import OUR_API, Intake
from gateway.calls.store import Taken, store
from gateway.db import idempotency
from gateway.db.driver import InSession
from gateway.errors import Forbidden, Invalid, Unavailable, from_validation
from gateway.logs import log
from gateway.metrics import seen
from gateway.tenants import access
from gateway.tenants.access import Principal

PATH = "/v1/calls"
SCOPE = "events"
_MOST = bodies.most(PATH)


class Rooms(access.Rooms, Protocol):
    """What of `gateway.parts.Parts` this needs."""

    @property
    def intake(self) -> Intake: ...


async def take(scope: Scope, receive: Receive, send: Send, parts: Rooms) -> None:
    """The ASGI application for `POST /v1/calls` without an `Idempotency-Key`, inside `gateway.metrics.Middleware`."""
    authorization = next((value for name, value in scope["headers"] if name == b"authorization"), None)
    # Believed for a second, and no longer: reading Redis for its marker as well costs as much as reading the call.
    who = access.at_hand(authorization) or await access.authenticate(parts, authorization, seen(scope).client)
    access.acts_for(scope, who.tenant_id, who.id)
    if SCOPE not in who.scopes:
        raise Forbidden(SCOPE)
    body = await bodies.read(receive, _MOST)
    if not body:
        raise Invalid("body", "is missing")
    plain = next((value for name, value in scope["headers"] if name == b"content-type"), b"") == b"application/json"
    call = read_at_once(body) if plain else None
    if call is None:
        call = said_in(read_call(bodies.read_json(scope["headers"], body)))
    taken = await keep(parts, who, call, body, scope)
    answered = msgspec.json.encode(answer(taken))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answered))]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": answered})


def read_call(said: Any) -> NewCall:
    """The call in `said`, as `bodies.read_json` answers it. Raises `Invalid`, which names every field that is not right."""
    try:
        return NewCall.model_validate(said)
    except ValidationError as wrong:
        errors = wrong.errors(include_url=False, include_input=False)
        raise from_validation([{**error, "loc": ("body", *error["loc"])} for error in errors]) from None


async def keep(parts: Rooms, who: Principal, call: SaidCall, raw: bytes, scope: Scope) -> Taken:
    """Store the call that was read in `raw`; committed on return.

    Raises `Unavailable` while the database does not take it.
    """
    try:
        prepared = await parts.intake.prepare(who.tenant_id, OUR_API, event_of(call), raw=raw)
        if scope.get("idempotency") is None:
            return await parts.intake.commit(prepared)
        # The key is marked in the transaction that has the effect, so this one goes alone.
        async with parts.db.transaction(who.tenant_id) as session:
            await idempotency.carried_out(session, scope)
            (taken,) = await store(InSession(session), [prepared])
            return taken
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        log.error("call could not be stored", error=type(error).__name__)
        raise Unavailable from None


def answer(taken: Taken) -> dict[str, Any]:
    return {"id": taken.call_id, "call_id": taken.external_id, "duplicate": taken.duplicate}
