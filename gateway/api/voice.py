"""`/v1/voice/{platform}/{endpoint_key}`: what voice platforms call. Raw bytes in, the platform's own shape out.

Signatures cover the bytes and sometimes the address, so neither is touched before `verify`; the address is the public
one of the settings, not what a proxy made of it.
"""

from __future__ import annotations

from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response

from connectors.voice.port import BadSignature as NotProven
from connectors.voice.port import Incoming
from gateway.api.desk import Desk
from gateway.errors import BadSignature, NotFound, TooLarge, Unavailable, documented
from gateway.tenants.access import acts_for

router = APIRouter(tags=["voice platforms"])

_PATH = "/v1/voice/{platform}/{endpoint_key}"
_ANSWERS = {
    200: {"description": "In the platform's own shape: always, for a known address and a good signature."},
    **documented(BadSignature, NotFound, TooLarge, Unavailable),
}


@router.post(_PATH, response_model=None, responses=_ANSWERS, operation_id="take_voice_event")
async def take(platform: str, endpoint_key: str, request: Request) -> Response:
    """Every event, lookup and tool call of a voice platform. Sending one again changes nothing."""
    return await _answer(platform, endpoint_key, request)


@router.get(_PATH, response_model=None, responses=_ANSWERS, operation_id="take_voice_question")
async def ask(platform: str, endpoint_key: str, request: Request) -> Response:
    """The same, for platforms' tools that ask with GET."""
    return await _answer(platform, endpoint_key, request)


async def _answer(platform: str, endpoint_key: str, request: Request) -> Response:
    desk: Desk = request.app.state.desk
    endpoint = await desk.endpoint(platform, endpoint_key)
    if endpoint is None:
        raise NotFound
    acts_for(request.scope, endpoint.tenant_id, endpoint.id)
    incoming = await read_request(request, request.app.state.parts.settings.public_url)
    try:
        reply = await desk.answer(endpoint, incoming)
    except NotProven:
        raise BadSignature from None
    answer = reply.answer
    return Response(answer.body, answer.status, media_type=answer.content_type)


async def read_request(request: Request, public_url: str) -> Incoming:
    """The request as it came, under our public address."""
    scope = request.scope
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    try:
        asked = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=100))
    except ValueError:
        asked = {}
    return Incoming(
        method=request.method,
        url=public_url + path.decode("latin-1") + (f"?{query.decode('latin-1')}" if query else ""),
        headers={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]},
        body=await request.body(),
        query=asked,
    )
