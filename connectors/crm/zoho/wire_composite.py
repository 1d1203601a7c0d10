"""Several requests in one: Zoho's composite API. Pure.

Parts run one after the other when `parallel_execution` is false, and may then point at what earlier ones answered:
`@{w0:$.data[0].details.id}`. A part may write one record and read twenty-five. Nothing is rolled back.
Source: zoho.com/crm/developer, "Composite API", read 2026-11; oas-3.1/composite-requests.json. Not recorded: how a part
that its own API refused is wrapped; both ways are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from connectors.crm.zoho import wire
from connectors.crm.zoho.manifest import PER_REQUEST
from connectors.crm.zoho.wire_errors import error_of, errors_in
from connectors.errors import ConnectorError, UnexpectedReply
from connectors.request import Reply, Request


def reference(index: int) -> str:
    """The id of the record that the part at `index` writes."""
    return f"@{{w{index}:$.data[0].details.id}}"


def together(requests: Sequence[Request], *, in_order: bool = False) -> Request:
    """At most five requests as one. `in_order` for writes: one after the other, with references."""
    assert 0 < len(requests) <= PER_REQUEST
    body: dict[str, Any] = {"__composite_requests": [_part(at, one) for at, one in enumerate(requests)]}
    if in_order:
        body = {"rollback_on_fail": False, "parallel_execution": False, **body}
    return Request(
        method="POST",
        path=wire.path("__composite_requests"),
        json=body,
        bucket="composite",
        writes=any(one.writes for one in requests),
    )


def _part(index: int, request: Request) -> dict[str, Any]:
    """Parameters go beside the address, bodies as they are; references stay readable in addresses."""
    part: dict[str, Any] = {
        "sub_request_id": f"w{index}",
        "method": request.method,
        "uri": request.path.replace("%40%7B", "@{")
        .replace("%7D", "}")
        .replace("%3A%24", ":$")
        .replace("%5B0%5D", "[0]"),
    }
    if request.query:
        part["params"] = dict(request.query)
    if request.headers:
        part["headers"] = dict(request.headers)
    if request.json is not None:
        part["body"] = request.json
    return part


class _Response(msgspec.Struct):
    status_code: int
    body: Any = None
    headers: dict[str, Any] = {}


class _Parts(msgspec.Struct):
    parts: list[dict[str, Any]] = msgspec.field(name="__composite_requests")


def read_parts(requests: Sequence[Request], reply: Reply) -> list[Reply | ConnectorError]:
    """What each part answered, in order: its reply, or what its refusal asks us to do.

    Raises `UnexpectedReply` for an answer that is none, or not one for each.
    """
    parts = wire.read(reply, _Parts).parts
    if len(parts) != len(requests):
        raise UnexpectedReply("Zoho did not answer each part of the request", status=reply.status)
    return [_read_part(request, part) for request, part in zip(requests, parts, strict=True)]


def _read_part(request: Request, part: Mapping[str, Any]) -> Reply | ConnectorError:
    details = part.get("details")
    wrapped = details.get("response") if isinstance(details, dict) else None
    if wrapped is None:
        if part.get("code") == "NO_CONTENT":  # as one client has seen an empty search
            return Reply(status=204, headers={}, body=b"")
        return error_of(request, 400, part)
    try:
        response = msgspec.convert(wrapped, _Response)
    except msgspec.ValidationError:
        return UnexpectedReply("Zoho's answer has a shape it does not document")
    headers = {name.lower(): str(value) for name, value in response.headers.items()}
    if 200 <= response.status_code < 300:
        body = b"" if response.status_code == 204 or response.body is None else msgspec.json.encode(response.body)
        return Reply(status=response.status_code, headers=headers, body=body)
    said = next(errors_in(response.body if isinstance(response.body, dict) else {}), {})
    return error_of(request, response.status_code, said, headers=headers)
