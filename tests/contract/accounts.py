"""One account at each vendor's sandbox, in the words of the contract suite.

A new CRM adds one class here and one line in `ACCOUNTS`; the suite itself knows no vendor.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any, ClassVar, TypeVar

import httpx2

from connectors.crm.catalog import CATALOG, Provider
from connectors.crm.port import Crm, Stick, Sticking
from connectors.crm.records import Kind, Ref, Write, name_of
from connectors.http import Http, make_client
from connectors.request import Reply, Request
from connectors.sandbox import hubspot
from connectors.sandbox.clock import Clock
from connectors.sandbox.face import Face
from connectors.sandbox.faults import Fault, Faults
from connectors.sandbox.faults import Kind as FaultKind
from connectors.sandbox.hubspot.grants import Grant
from connectors.sandbox.hubspot.kinds import BY_SEGMENT, DEFAULTS
from connectors.sandbox.serve import running
from connectors.sandbox.store import Entry, Person
from tests.contract.schemas import check_exchange

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
LEVELS: Mapping[str, Sequence[Stick]] = {"pipedrive": (Stick.FOUND, Stick.BLIND)}
"""How well the best-kept kinds of writes stick on the accounts a vendor is tried with; two levels for most."""
_MOST_LEVELS = (Stick.ENFORCED, Stick.FOUND)
AnAccount = TypeVar("AnAccount", bound="Account")


@dataclass
class Account(ABC):
    """A signed-in account, as its CRM and as the connector sees it."""

    provider: Provider
    crm: Crm
    faults: Faults
    clock: Clock
    sent: list[Request] = field(default_factory=list)
    sticks: Mapping[str, Sticking] = field(default_factory=dict)

    follows_merges: ClassVar[bool] = True
    """Whether the id of a merged person leads to the one that stayed."""
    admins_demand: ClassVar[bool] = True
    """Whether the API refuses records that lack what an admin demands."""
    opts_out_by_address: ClassVar[bool] = True
    """Whether only an e-mail address can be opted out."""
    names_fields: ClassVar[bool] = True
    """Whether a new field gets the name we ask for, and options the values; else the CRM gives its own."""
    finds_anybody: ClassVar[bool] = False
    """Whether a new person without an address is found again where nothing is enforced."""
    rights_are_scopes: ClassVar[bool] = True
    """Whether what we may do is decided by the grant's scopes; else by the rights of the user who signed in."""
    reads_deals_at: ClassVar[str] = "*/deals/batch/read"
    """Where the deals of a context come from."""

    @abstractmethod
    def add_person(self, **values: str) -> Ref:
        """first_name, last_name, email, phone, mobile, tier, language, owner, company_id"""

    @abstractmethod
    def add_company(self, name: str, phone: str = "") -> Ref: ...

    @abstractmethod
    def add_deal(self, name: str, about: Ref, *, closed: bool = False) -> Ref: ...

    @abstractmethod
    def add_ticket(self, subject: str, about: Ref, *, closed: bool = False) -> Ref: ...

    @abstractmethod
    def add_owner(self, first_name: str, last_name: str, email: str) -> str: ...

    @abstractmethod
    def delete(self, ref: Ref) -> None: ...

    @abstractmethod
    def merge(self, winner: Ref, loser: Ref) -> None: ...

    @abstractmethod
    def require(self, kind: Kind, name: str) -> None:
        """The account's admin demands a value for this field from now on."""

    @abstractmethod
    def revoke(self) -> None:
        """The tenant removes us from the account."""

    @abstractmethod
    def narrow(self, *scopes: str) -> None:
        """Leave only these of the granted scopes."""

    @abstractmethod
    def count(self, kind: Kind) -> int: ...

    @abstractmethod
    def values(self, ref: Ref) -> Mapping[str, str]:
        """A record as the CRM has it, by the CRM's own field names."""

    @abstractmethod
    def linked(self, ref: Ref, kind: Kind) -> set[str]: ...

    @abstractmethod
    def opted_out(self, email: str) -> bool: ...

    def add_list(self, name: str) -> str:
        """A list (campaign, tag, label) of people, as `AddToList` means it; its id."""
        raise NotImplementedError(f"{type(self).__name__} does not say how lists are made")

    def members(self, list_id: str) -> set[str]:
        """Ids of the records in it."""
        raise NotImplementedError(f"{type(self).__name__} does not say who is in a list")

    @abstractmethod
    def name_of(self, what: str) -> str:
        """The CRM's own name for: first_name, last_name, job_title, phone, owner, email, subject_of_task."""

    def text(self, ref: Ref) -> str:
        """All of a record in one string."""
        return "\n".join(self.values(ref).values())

    def html(self, ref: Ref) -> str:
        """The text of an activity as the CRM will show it to a browser."""
        return "\n".join(value for name, value in self.values(ref).items() if name.endswith("body"))

    def read_only(self) -> None:
        """Leave only rights to read."""
        self.narrow("oauth", *(scope for scope in self.provider.manifest.scopes if "write" not in scope))

    def creation_path(self, write: Write) -> str:
        """Pattern of the address that a write's record is created at."""
        kinds = {"log_call": "calls", "create_task": "tasks", "add_note": "notes", "create_event": "meetings"}
        return f"*/{kinds.get(name_of(write), name_of(write).removeprefix('create_') + 's')}"

    def lose_answer(self, write: Write, fault: FaultKind) -> None:
        """Let the CRM do what `write` asks, and its answer be lost."""
        self.hurt(kind=fault, method="POST", path=self.creation_path(write), count=1, commits=True)

    def settle(self) -> None:
        """Let search catch up."""
        self.clock.advance(timedelta(minutes=5))

    def hurt(self, **fault: Any) -> None:
        """Let something go wrong; see `connectors.sandbox.faults.Fault`."""
        self.faults.add(Fault(**fault))


class HubSpotAccount(Account):
    portal: hubspot.Portal
    grant: Grant

    def _now(self) -> datetime:
        self.clock.advance(timedelta(milliseconds=7))  # no two changes in one millisecond, unless meant
        return self.clock()

    def _create(self, kind: str, about: Ref | None = None, **values: str) -> Ref:
        type = BY_SEGMENT[kind]
        links = []
        if about is not None:
            number = DEFAULTS[(kind, about.kind.value)].id
            link = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": number}
            links = [{"to": {"id": about.id}, "types": [link]}]
        given = {name: value for name, value in values.items() if value}
        entry = self.portal.create(type, given, self._now(), associations=links)
        return Ref(Kind.EVENT if kind == "meeting" else Kind(kind), entry.id)

    def _entry(self, ref: Ref) -> Entry:
        found = self.portal.crm.get(_name(ref.kind), ref.id)
        assert found is not None, f"no {ref.kind} {ref.id}"
        return found

    def add_person(self, **values: str) -> Ref:
        return self._create("contact", None, **{_PERSON.get(name, name): value for name, value in values.items()})

    def add_company(self, name: str, phone: str = "") -> Ref:
        return self._create("company", None, name=name, phone=phone)

    def add_deal(self, name: str, about: Ref, *, closed: bool = False) -> Ref:
        stage = "closedwon" if closed else "contractsent"
        return self._create(
            "deal", about, dealname=name, dealstage=stage, pipeline="default", amount="1200", closedate="2026-12-31"
        )

    def add_ticket(self, subject: str, about: Ref, *, closed: bool = False) -> Ref:
        stage = "4" if closed else "2"
        return self._create("ticket", about, subject=subject, hs_pipeline="0", hs_pipeline_stage=stage)

    def add_owner(self, first_name: str, last_name: str, email: str) -> str:
        id = self.portal.crm.new_id()
        self.portal.crm.people[id] = Person(
            id=id, user_id=int(id) + 7, email=email, first_name=first_name, last_name=last_name, since=START
        )
        return id

    def delete(self, ref: Ref) -> None:
        self.portal.crm.archive(self._entry(ref), self._now())

    def merge(self, winner: Ref, loser: Ref) -> None:
        self.portal.crm.merge(self._entry(winner), self._entry(loser), self._now())

    def require(self, kind: Kind, name: str) -> None:
        self.portal.required[_name(kind)] = (name,)

    def revoke(self) -> None:
        self.grant.installed = False

    def narrow(self, *scopes: str) -> None:
        self.grant.scopes = scopes

    def count(self, kind: Kind) -> int:
        return len(list(self.portal.crm.all(_name(kind))))

    def values(self, ref: Ref) -> Mapping[str, str]:
        return self._entry(ref).properties

    def linked(self, ref: Ref, kind: Kind) -> set[str]:
        return set(self.portal.crm.linked(_name(ref.kind), ref.id, _name(kind)))

    def opted_out(self, email: str) -> bool:
        return email in self.portal.opted_out

    def add_list(self, name: str) -> str:
        made = hubspot.StaticList(str(len(self.portal.lists) + 1), name)
        self.portal.lists[made.id] = made
        return made.id

    def members(self, list_id: str) -> set[str]:
        return set(self.portal.lists[list_id].members)

    def name_of(self, what: str) -> str:
        return _FIELDS[what]


_PERSON = {
    "first_name": "firstname",
    "last_name": "lastname",
    "mobile": "mobilephone",
    "tier": "lifecyclestage",
    "language": "hs_language",
    "owner": "hubspot_owner_id",
    "company_id": "associatedcompanyid",
}
_FIELDS = {
    "first_name": "firstname",
    "last_name": "lastname",
    "job_title": "jobtitle",
    "phone": "phone",
    "mobile": "mobilephone",
    "email": "email",
    "owner": "hubspot_owner_id",
    "subject_of_task": "hs_task_subject",
    "amount": "amount",
    "stage_of_deal": "dealstage",
}


def _name(kind: Kind) -> str:
    return {Kind.EVENT: "meeting", Kind.LEAD: "contact"}.get(kind, kind.value)


@asynccontextmanager
async def hubspot_account(level: Stick) -> AsyncIterator[Account]:
    """At the level "found" the account lets us make no property with unique values."""
    provider = CATALOG["hubspot"]
    clock, faults = Clock(START), Faults()
    portal = hubspot.Portal(62515, "Aurora Demo SA", activities_unique=level is Stick.ENFORCED)
    face: Face = hubspot.create_app(portal, clock=clock, faults=faults, limits=False)
    vendor = face.vendor
    assert isinstance(vendor, hubspot.HubSpot)
    scopes = (*provider.manifest.scopes, *provider.manifest.optional_scopes)
    if level is not Stick.ENFORCED:
        scopes = tuple(scope for scope in scopes if ".schemas." not in scope and scope != "tickets")
        scopes += ("crm.schemas.contacts.read",)
    grant = Grant(portal.hub_id, portal.installer.user_id, scopes)

    async def token(refused: bool) -> str:
        return vendor.grants.issue_access(grant, clock())

    async with running(face) as origin, make_client() as client:
        account = open_account(HubSpotAccount, provider, origin, client, token, faults, clock)
        account.portal, account.grant = portal, grant
        await ready(account, level)
        yield account


def open_account(
    kind: type[AnAccount],
    provider: Provider,
    origin: str,
    client: httpx2.AsyncClient,
    token: Callable[[bool], Any],
    faults: Faults,
    clock: Clock,
) -> AnAccount:
    sent: list[Request] = []

    def observe(request: Request, reply: Reply) -> None:
        sent.append(request)
        check_exchange(provider.manifest.slug, request, reply)

    http = Http(
        origin=origin, client=client, token=token, read_error=provider.read_error, observe=observe,
        auth_scheme=provider.manifest.auth_scheme, total=timedelta(seconds=5),
    )  # fmt: skip
    crm = provider.open(http, sticks={}, account=None, region="CH")
    return kind(provider=provider, crm=crm, faults=faults, clock=clock, sent=sent)


async def ready(account: Account, level: Stick) -> None:
    await account.crm.who_am_i()
    account.sticks = await account.crm.probe()
    assert account.sticks["log_call"].stick is level, "the sandbox does not offer this level"
    account.sent.clear()


def _elsewhere(slug: str) -> Callable[[Stick], AbstractAsyncContextManager[Account]]:
    """A vendor's account from its own module, loaded when it is asked for: those modules build on this one."""

    def opened(level: Stick) -> AbstractAsyncContextManager[Account]:
        module = import_module(f"tests.contract.accounts_{slug}")
        account: AbstractAsyncContextManager[Account] = getattr(module, f"{slug}_account")(level)
        return account

    return opened


ACCOUNTS: Mapping[str, Callable[[Stick], AbstractAsyncContextManager[Account]]] = {
    "hubspot": hubspot_account,
    "pipedrive": _elsewhere("pipedrive"),
    "salesforce": _elsewhere("salesforce"),
    "zoho": _elsewhere("zoho"),
}
CASES: Sequence[tuple[str, Stick]] = [(slug, level) for slug in CATALOG for level in LEVELS.get(slug, _MOST_LEVELS)]
