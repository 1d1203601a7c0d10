"""`/crm/{provider}/{key}`: where CRMs tell us that records have changed. Raw bytes: what is signed is bytes and address."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from connectors.crm.changes import Forged, Notice
from gateway.api.voice import read_request
from gateway.db.engine import utc_now
from gateway.directory.notices import Notices
from gateway.errors import BadSignature, NotFound, TooLarge, documented
from gateway.parts import Parts
from gateway.tenants.access import acts_for

router = APIRouter(tags=["CRMs"])


@router.post(
    "/crm/{provider}/{key}",
    status_code=204,
    response_model=None,
    responses={
        204: {"description": "Taken: what has changed is read again. The same answer when it was nothing of ours."},
        **documented(BadSignature, NotFound, TooLarge),
    },
    operation_id="take_crm_notice",
    summary="A CRM says that records have changed.",
)
async def take(provider: str, key: str, request: Request) -> Response:
    """A CRM's change notification, in its own form and proven its own way. It is a hint: the records are read again, so
    sending one twice, late or out of order changes nothing."""
    parts: Parts = request.app.state.parts
    notices = Notices(parts.db, parts.keyring, parts.connections.providers)
    known = await notices.find(provider, key)
    if known is None:
        raise NotFound
    if known.feed is not None:
        acts_for(request.scope, *known.feed)
    came = await read_request(request, parts.settings.public_url)
    notice = Notice(method=came.method, url=came.url, headers=came.headers, body=came.body)
    try:
        await notices.take(known, notice, now=utc_now())
    except Forged:
        raise BadSignature from None
    return Response(status_code=204)
