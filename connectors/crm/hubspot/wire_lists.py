"""Contact lists ↔ HubSpot's JSON: finding one by name, and putting somebody into it. Pure.

Only lists that are kept by hand take members; those with filters keep theirs themselves.
Facts: specs of the official client (lists), vendors' notes as of 2026-11; recorded: list_membership_add_dynamic_400.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from connectors.crm.hubspot.manifest import VERSION
from connectors.crm.hubspot.wire import TYPE_IDS, path
from connectors.request import Request

PER_PAGE = 100
_BY_HAND = frozenset({"MANUAL", "SNAPSHOT"})


class Listed(msgspec.Struct, rename="camel"):
    list_id: str | int
    name: str
    processing_type: str

    @property
    def id(self) -> str:
        return str(self.list_id)

    @property
    def by_hand(self) -> bool:
        return self.processing_type in _BY_HAND


class Lists(msgspec.Struct, rename="camel"):
    """A page of lists. `offset` is where the next one starts."""

    lists: list[Listed] = []
    has_more: bool = False
    offset: int = 0


class Joined(msgspec.Struct, rename="camel"):
    """What became of new members: those that are no records, or of another kind, are `missing`."""

    record_ids_missing: list[str | int] = []

    def missing(self, id: str) -> bool:
        return id in map(str, self.record_ids_missing)


def search(type: str, name: str, *, offset: int = 0) -> Request:
    """Lists of one type of record whose names contain `name`. Empty filters filter nothing."""
    body = {
        "query": name,
        "objectTypeId": TYPE_IDS[type],
        "listIds": [],
        "processingTypes": [],
        "offset": offset,
        "count": PER_PAGE,
    }
    return Request(method="POST", path=path("crm", "lists", VERSION, "search"), json=body)


def add(list_id: str, id: str) -> Request:
    """Make a record a member. One that is a member already stays one. The body is a bare array."""
    return Request(
        method="PUT", path=path("crm", "lists", VERSION, list_id, "memberships", "add"), json=[id], writes=True
    )


def named(lists: Iterable[Listed], name: str) -> Listed | None:
    """The one of this name, case aside; of several, one that takes members."""
    fitting = [one for one in lists if one.name.casefold() == name.casefold()]
    return next((one for one in fitting if one.by_hand), fitting[0] if fitting else None)
