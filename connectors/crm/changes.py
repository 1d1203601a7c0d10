"""What a CRM tells us by itself: change notifications as values. They are hints, the record is read again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from connectors.crm.records import Kind, Ref


class Happened(StrEnum):
    CHANGED = "changed"  # created or updated
    DELETED = "deleted"
    MERGED = "merged"  # into another record
    CONVERTED = "converted"  # a lead into a contact


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One record that is not what it was.

    into     what a merged or converted one became, where the CRM says so.
    account  `Account.id`, where one address serves several accounts.
    """

    kind: Kind
    id: str
    happened: Happened = Happened.CHANGED
    at: datetime | None = None
    into: Ref | None = None
    account: str | None = None


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """A notification we asked for. `expires_at` None: until it is ended. `extra` is the connector's own."""

    id: str
    kinds: tuple[Kind, ...]
    expires_at: datetime | None = None
    extra: Mapping[str, str] = {}


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """A request a CRM sent us, as it came. `url` is the public one it was sent to; header names are lower case."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


class Forged(Exception):
    """A notice whose signature or secret is wrong or too old. Nothing of it is believed."""


ReadChanges = Callable[[Notice, str, datetime], Sequence[Change]]
"""A provider's reading of a notice: (notice, secret, now) → the changes it speaks of, none for what we do not mirror.
`secret` is the one given to `subscribe`, or the app's own where `manifest.notices` is "app". Pure, compares in constant
time. Raises `Forged`."""
