"""`POST /v1/endpoints/{id}/test`: a test event, sent the way the platform would, and what became of it."""

from __future__ import annotations

import secrets
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from connectors.voice.port import BadSignature
from connectors.voice.trial import TRIALS
from gateway.api.desk import Desk
from gateway.calls import endpoints
from gateway.db.requests import Now
from gateway.errors import Conflict, Forbidden, NotFound, Unauthenticated, Unavailable, documented
from gateway.parts import Parts
from gateway.tenants.access import Principal, needs

router = APIRouter(tags=["voice endpoints"])


class TrialAnswer(BaseModel):
    """What the test event became. Its call is kept like any other, and nothing is planned for it."""

    event: str = Field(description="The platform's name of the event that was sent.")
    became: Literal["test"]
    assurance: Literal["url", "secret", "signed"] = Field(description="How the event was proven.")
    call_id: str
    status: int = Field(description="What the platform would have got.")


@router.post(
    "/v1/endpoints/{id}/test", responses=documented(Unauthenticated, Forbidden, NotFound, Conflict, Unavailable)
)
async def test_endpoint(who: Annotated[Principal, needs("admin")], request: Request, id: str, now: Now) -> TrialAnswer:
    """Sign an end-of-call event with the endpoint's own secret, and take it: verified, read, stored, merged.

    It says that the endpoint works here. Whether the platform has the address and secret, only its first event tells.
    """
    parts: Parts = request.app.state.parts
    desk: Desk = request.app.state.desk
    async with parts.db.reading(who.tenant_id) as session:
        row = await endpoints.live(session, who.tenant_id, id)
        if row is None:
            raise NotFound
        keys = await parts.keyring.in_session(session, who.tenant_id)
    key, secret = endpoints.opened_key(keys, row), endpoints.opened_secret(keys, row)
    known = await desk.endpoint(row.platform, key)
    if known is None:
        raise NotFound
    event = TRIALS[row.platform](
        url=endpoints.url_of(parts.settings.public_url, row.platform, key),
        secret=secret,
        settings=row.settings,
        call_id=f"test-{secrets.token_hex(8)}",
        now=now,
    )
    try:
        reply = await desk.answer(known, event, trial=True)
    except BadSignature:
        raise Conflict(
            "A request signed with this endpoint's secret is refused: its settings or its assurance do not fit the platform."
        ) from None
    assert reply.call_id is not None
    return TrialAnswer(
        event=reply.event,
        became="test",
        assurance=reply.assurance.value,
        call_id=reply.call_id,
        status=reply.answer.status,
    )
