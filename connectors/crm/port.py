"""What we ask of any CRM. The contract suite (tests/contract) runs against every connector in the catalogue."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

import msgspec
from phonenumbers import PhoneNumber

from connectors.crm.changes import Change, Subscription
from connectors.crm.records import (
    Account,
    Contact,
    Context,
    Field,
    Kind,
    Owner,
    Page,
    Pipeline,
    Record,
    Ref,
    Write,
)
from connectors.errors import ConnectorError
from connectors.request import Reply, Request


class Stick(StrEnum):
    """How a repeated write is kept from doubling (delivery.md §4)."""

    ENFORCED = "enforced"  # the CRM refuses or merges the second
    FOUND = "found"  # we look in a read-after-write store first
    BLIND = "blind"  # cannot be found again: an unknown outcome is for a person to decide
    REPEATABLE = "repeatable"  # the same write twice has one effect


class Sticking(msgspec.Struct, frozen=True, kw_only=True):
    """What one kind of write gets, at best or as probed.

    where   where the key lies at the CRM, in words a tenant understands.
    settle  how long after a send "not found" is not believed.
    """

    stick: Stick
    where: str
    settle: timedelta


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """One rate limit of an account: `limit` (requests, tokens, credits) per `per`, of which `reserve` only lookup may spend.

    `per` of a day or more: a budget that is kept as a row. `per` of zero: how many requests may be under way at once.

    by_cost   a request takes `Request.cost` of it, instead of one. Budgets are always spent by cost, slots never.
    spent_by  the buckets whose requests spend this one too. Left empty, a budget is spent by every request, and any
              other bucket only by requests that name it.
    """

    limit: int
    per: timedelta
    reserve: int = 0
    by_cost: bool = False
    spent_by: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a CRM that is data.

    can      names of writes (`records.name_of`) and reads it supports; what is missing is `Unsupported`, shown beforehand.
    sticks   per name of write, best level first; the probe picks the first that holds.
    run      the most writes `Crm.write` takes in one request, links among them included; 1: it sends one at a time, and
             deliveries that need an earlier one's record wait for it to be recorded.
    people   kinds of records that hold phone numbers and are lists of their own here; another kind that the port takes for
             them is one of these under another name (HubSpot: a lead is a contact).
    login_hosts, region_hosts  where both have a group `region`, a token of one region's server comes with an address of
             the same region, and the client secret may be the region's own.
    """

    slug: str
    name: str
    api_origin: str  # the vendor's default; an override or the account's own replaces it
    auth_origin: str
    token_origin: str
    authorize_path: str
    token_path: str
    revoke_path: str | None
    introspect_path: str | None = None
    scopes: tuple[str, ...]
    optional_scopes: tuple[str, ...]
    pkce: bool
    client_auth: str  # "body" | "basic"
    can: frozenset[str]
    sticks: Mapping[str, tuple[Sticking, ...]]
    buckets: Mapping[str, Bucket]
    refresh_ahead: timedelta  # how long before its end a token is renewed
    opt_out_limits: str = ""
    substitutes: Mapping[str, str] = {}  # per name of write: what is written instead of what this CRM does not have
    scope_words: Mapping[str, str] = {}  # a scope as a person would say what it is for; pages name missing ones by it
    keys_fields: Mapping[Kind, str] = {}  # the field of ours that carries keys, per kind, where one is made
    region_hosts: str = ""  # regular expression for hosts the vendor hands out; empty: none is accepted
    login_hosts: str = (
        ""  # regular expression, matched whole: sign-in hosts a tenant or a callback may name; empty: none
    )
    login_words: str = ""  # what `login_host` means at this vendor, for the page and for refusals
    callback_host: str = (
        ""  # parameter of the callback that names the server codes become tokens at ("accounts-server")
    )
    origin_field: str = (
        ""  # where a token's answer says which origin the API has ("instance_url"); held to `region_hosts`
    )
    consent_hosts: tuple[str, ...] = ()  # "https://*.zoho.eu": where else its consent pages may pass a browser on to
    scope_field: str = "scope"  # empty: the app's own settings at the vendor say what is asked for, we cannot
    scope_separator: str = " "
    optional_scope_field: str = "optional_scope"  # empty: optional scopes are asked for together with the others
    authorize_extra: Mapping[str, str] = {}  # parameters this vendor's consent page wants besides the standard's
    run: int = 1
    people: tuple[Kind, ...] = (Kind.CONTACT, Kind.LEAD, Kind.COMPANY)
    auth_scheme: str = "Bearer"  # in front of the access token
    assumed_life: timedelta | None = None  # of an access token, where the vendor does not say
    idle_life: timedelta | None = None  # a grant that is not used for so long is gone: renewed well before
    refresh_floor: timedelta = timedelta(seconds=5)  # the least time between two renewals of one grant
    grants_apart: bool = False  # each sign-in makes a grant of its own: one that is replaced or not kept is revoked
    notices: str = (
        ""  # how its change notifications are set up: "subscribed" by us, "app" by the operator; empty: polling only
    )
    guide: str = ""  # docs/… that says how an operator registers the app


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer's headers say about one bucket: `remaining` of `limit` requests until `per` has passed."""

    bucket: str
    limit: int
    remaining: int
    per: timedelta


class Done(msgspec.Struct, frozen=True, kw_only=True):
    record: Record | None  # None for writes that leave no record of their own (owner, opt-out)
    status: int | None = None


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    error: ConnectorError


Outcome = Done | Failed


class Sender(Protocol):
    """Sends a request of this connection: authorised, throttled, watched. `connectors.http.Http` is the real one."""

    async def send(self, request: Request) -> Reply: ...


class Crm(Protocol):
    """One account at one CRM, already authorised. Raises `ConnectorError` subclasses, nothing else.

    A read never raises `OutcomeUnknown`; a write never raises: it answers `Failed` per item.
    """

    manifest: Manifest

    async def who_am_i(self) -> Account:
        """Which account this grant belongs to. The first call after connecting."""

    async def find_contacts(self, number: PhoneNumber, *, limit: int = 5) -> list[Contact]:
        """People and companies holding this number in any spelling, in any phone field; best match first; empty if none.

        Uses the CRM's search: late after writes, rationed, never a guard against duplicates.
        """

    async def read_contact(self, ref: Ref, *, fields: Sequence[str] = ()) -> Contact | None:
        """One contact, lead or company as it is now, from a read-after-write store; None if it is gone."""

    async def context(self, ref: Ref, *, recent: int = 5) -> Context:
        """Company, owner, open deals and tickets, last activities, in the fewest round trips."""

    async def write(self, run: Sequence[Write]) -> Sequence[Outcome]:
        """Write a run of one lane, in one request where the vendor can; one outcome each, in order.

        A repeat of a key adds nothing where the probed `Stick` is enforced. Links are `Ref`s, or `Earlier` ones that
        point back into the run. After a failure that may pass, what comes later is not sent and says so
        (`connectors.crm.runs`); an unreadable answer makes everything in it `OutcomeUnknown`.
        """

    async def find(self, write: Write) -> Record | None:
        """What an earlier try of this write left, from a read-after-write store, never from search; None if nothing.

        Raises `Unsupported` for blind kinds.
        """

    def preview(self, write: Write) -> list[Request]:
        """The requests `write` would send, ids not yet known as placeholders (for the dry run)."""

    async def owners(self) -> list[Owner]:
        """All active owners, by name."""

    async def owner_by_email(self, email: str) -> Owner | None: ...

    async def pipelines(self, kind: Kind) -> list[Pipeline]:
        """Pipelines of deals or tickets with their stages, in the CRM's order."""

    async def fields(self, kind: Kind) -> list[Field]: ...

    async def create_field(self, kind: Kind, field: Field) -> Field:
        """Make a custom field; one that exists already with the same type is success."""

    async def list_contacts(self, kind: Kind, *, after: str | None = None, limit: int = 100) -> Page:
        """Everyone of one kind, in a stable order, resumable by `after`; not search."""

    def changes_since(self, kind: Kind, since: datetime) -> AsyncIterator[Page]:
        """Pages of records changed at or after `since`, oldest change first. Deletions are not among them."""

    async def deleted_since(self, kind: Kind, since: datetime) -> Sequence[Change]:
        """What was deleted, merged away or converted since then, as far as this CRM tells. Raises `Unsupported`."""

    async def subscribe(self, *, address: str, secret: str) -> Sequence[Subscription]:
        """Ask for change notifications of everything that holds phone numbers, to `address`; those that exist are kept.

        Raises `Unsupported` where `manifest.notices` is not "subscribed".
        """

    async def renew(self, subscription: Subscription) -> Subscription:
        """Prolong one; one that is gone at the vendor raises `Rejected` with `gone`: subscribe anew."""

    async def unsubscribe(self, subscription: Subscription) -> None:
        """End one; one that is gone already is success."""

    async def probe(self) -> Mapping[str, Sticking]:
        """Which sticking each kind of write gets on this account: makes our key fields where allowed, writes, reads back.

        Ran once at connect time. Leaves no records behind but the fields.
        """


Open = Callable[..., Crm]
