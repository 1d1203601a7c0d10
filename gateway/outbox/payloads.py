"""What stands in a delivery's payload: a write, frozen at planning, sealed. Readers accept this version and the one before.

Version 1: the connector's `Write` as JSON, its kind in `do`; links that do not exist yet are `later` and `person`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from connectors.crm.records import (
    AddToList,
    AssignOwner,
    Earlier,
    Later,
    Link,
    MoveStage,
    OptOut,
    Person,
    Ref,
    SetFields,
    UpsertContact,
    Write,
)
from gateway.tenants.keys import TenantKeys

VERSION = 1
_decoder: msgspec.json.Decoder[Write] = msgspec.json.Decoder(Write)


class Unreadable(Exception):
    """The payload is of a version this release cannot read."""


def seal(keys: TenantKeys, delivery_id: str, write: Write) -> bytes:
    return keys.seal(msgspec.json.encode(write), "deliveries", "payload", delivery_id)


def read(keys: TenantKeys, delivery_id: str, v: int, sealed: bytes) -> Write:
    """The write. Raises `Unreadable`, or `CannotOpen` when it was not sealed for this delivery."""
    if v != VERSION:
        raise Unreadable(f"payload version {v}; this release reads {VERSION}")
    try:
        return _decoder.decode(keys.open(sealed, "deliveries", "payload", delivery_id))
    except msgspec.MsgspecError as error:
        raise Unreadable(f"payload version {v} does not read: {error}") from None


def resolved(
    write: Write, *, left: Mapping[str, Ref], person: Ref | Earlier | None, earlier: Mapping[str, int] | None = None
) -> Write | None:
    """`write` with every link as it is sent; None when it would change a record that nobody knows.

    left     delivery id → the record it left. person: who the lane's person is at this CRM, if known.
    earlier  delivery id → its place in the run that this write is sent in.
    A link to a person nobody knows is dropped: the call is logged without one.
    """

    def ref(link: Link) -> Ref | Earlier | None:
        match link:
            case Ref():
                return link
            case Later(kind=kind, delivery=name):
                place = (earlier or {}).get(name)
                return left.get(name) or (None if place is None else Earlier(kind, place))
            case Person():
                return person
            case Earlier():  # made right before sending, never stored
                return None

    return _with_links(write, ref)


def _with_links(write: Write, ref: Callable[[Link], Ref | Earlier | None]) -> Write | None:
    if isinstance(write, UpsertContact):
        return msgspec.structs.replace(write, target=ref(write.target) if write.target is not None else None)
    if isinstance(write, SetFields | AssignOwner | MoveStage | AddToList | OptOut):
        target = ref(write.target)
        return None if target is None else msgspec.structs.replace(write, target=target)
    return msgspec.structs.replace(
        write, about=tuple(found for link in write.about if (found := ref(link)) is not None)
    )
