"""One write to Pipedrive, and what it left."""

from __future__ import annotations

from datetime import timedelta

from connectors.crm.pipedrive import wire
from connectors.crm.port import Sender
from connectors.crm.records import Link, Ref
from connectors.errors import OutcomeUnknown, Rejected, UnexpectedReply
from connectors.request import Request


async def sent(http: Sender, request: Request) -> tuple[wire.Row, int]:
    """Send a write; the record as it is now, and the status. An answer we cannot read does not mean that nothing was
    written."""
    reply = await http.send(request)
    try:
        return wire.read_row(reply), reply.status
    except UnexpectedReply as unreadable:
        settle = timedelta(0)  # replaced by what this kind of write needs, in `client`
        raise OutcomeUnknown(unreadable.reason, settle=settle, status=reply.status) from None


def known(link: Link) -> Ref:
    """Raises `Rejected` for what no record stands for yet."""
    if not isinstance(link, Ref):
        raise Rejected("the record this is about is not known yet")
    return link


def gone(what: str) -> Rejected:
    return Rejected(f"this {what} is no longer in Pipedrive", gone=True, status=404)
