"""Zoho CRM's account in the contract suite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from connectors.crm.catalog import CATALOG
from connectors.crm.port import Stick
from connectors.crm.records import Kind, Ref, Write, name_of
from connectors.http import make_client
from connectors.sandbox import zoho
from connectors.sandbox.clock import Clock
from connectors.sandbox.faults import Faults
from connectors.sandbox.serve import running
from connectors.sandbox.store import Entry
from connectors.sandbox.zoho.grants import Grant
from connectors.sandbox.zoho.modules import MODULES, Module
from tests.contract.accounts import START, Account, open_account, ready

_MODULES = {
    Kind.CONTACT: "contacts",
    Kind.LEAD: "leads",
    Kind.COMPANY: "accounts",
    Kind.DEAL: "deals",
    Kind.TICKET: "cases",
    Kind.CALL: "calls",
    Kind.TASK: "tasks",
    Kind.NOTE: "notes",
    Kind.EVENT: "events",
}
_PERSON = {
    "first_name": "First_Name",
    "last_name": "Last_Name",
    "email": "Email",
    "phone": "Phone",
    "mobile": "Mobile",
    "language": "Language",
}
_FIELDS = {
    **_PERSON,
    "job_title": "Title",
    "owner": "Owner",
    "subject_of_task": "Subject",
    "amount": "Amount",
    "stage_of_deal": "Stage",
}


class ZohoAccount(Account):
    org: zoho.Org
    vendor: zoho.Zoho
    access: Grant

    follows_merges: ClassVar[bool] = False
    opts_out_by_address: ClassVar[bool] = False
    reads_deals_at: ClassVar[str] = "*/coql/Deals"

    def _now(self) -> datetime:
        self.clock.advance(timedelta(seconds=1))  # Zoho's times are whole seconds
        return self.clock()

    def _create(self, kind: Kind, **values: Any) -> Ref:
        given = {name: value for name, value in values.items() if value}
        return Ref(kind, self.org.create(_module(kind), given, self._now()).id)

    def _entry(self, ref: Ref) -> Entry:
        found = self.org.get(_module(ref.kind), ref.id)
        assert found is not None, f"no {ref.kind} {ref.id}"
        return found

    def add_person(self, **values: str) -> Ref:
        known: dict[str, Any] = {_PERSON[name]: value for name, value in values.items() if name in _PERSON}
        if owner := values.get("owner"):
            known["Owner"] = {"id": owner}
        if company := values.get("company_id"):
            known["Account_Name"] = {"id": company}
        return self._create(Kind.CONTACT, **known)

    def add_company(self, name: str, phone: str = "") -> Ref:
        return self._create(Kind.COMPANY, Account_Name=name, Phone=phone)

    def add_deal(self, name: str, about: Ref, *, closed: bool = False) -> Ref:
        stage = "Closed Won" if closed else "Proposal/Price Quote"
        pipeline = self.org.layouts["Deals"][0].pipelines[0].name
        known = {"Stage": stage, "Pipeline": pipeline, "Amount": 1200.0, "Closing_Date": "2026-12-31"}
        return self._create(Kind.DEAL, Deal_Name=name, Contact_Name={"id": about.id}, **known)

    def add_ticket(self, subject: str, about: Ref, *, closed: bool = False) -> Ref:
        known = {"Status": "Closed" if closed else "New", "Case_Origin": "Phone", "Related_To": {"id": about.id}}
        return self._create(Kind.TICKET, Subject=subject, **known)

    def add_owner(self, first_name: str, last_name: str, email: str) -> str:
        return self.org.add_user(first_name, last_name, email, datetime(2024, 1, 9, tzinfo=UTC)).id

    def delete(self, ref: Ref) -> None:
        self.org.crm.archive(self._entry(ref), self._now())

    def merge(self, winner: Ref, loser: Ref) -> None:
        self.org.merge(_module(winner.kind), self._entry(winner), self._entry(loser), self._now())

    def require(self, kind: Kind, name: str) -> None:
        self.org.required[_module(kind).name] = (name,)

    def revoke(self) -> None:
        self.access.alive = False

    def narrow(self, *scopes: str) -> None:
        self.access.scopes = scopes

    def read_only(self) -> None:
        self.narrow(*(scope for scope in self.access.scopes if not scope.endswith(("CREATE", "UPDATE"))))

    def count(self, kind: Kind) -> int:
        return len(list(self.org.crm.all(_module(kind).kind)))

    def values(self, ref: Ref) -> Mapping[str, str]:
        return self._entry(ref).properties

    def linked(self, ref: Ref, kind: Kind) -> set[str]:
        return set(self.org.crm.linked(_module(ref.kind).kind, ref.id, _module(kind).kind))

    def opted_out(self, email: str) -> bool:
        people = [*self.org.crm.all("contact"), *self.org.crm.all("lead")]
        return any(
            one.properties.get("Email_Opt_Out") == "true" for one in people if one.properties.get("Email") == email
        )

    def add_list(self, name: str) -> str:
        return self.org.tag_id(_module(Kind.CONTACT), name)

    def members(self, list_id: str) -> set[str]:
        (name,) = (name for name, id in self.org.tags["Contacts"].items() if id == list_id)
        return {one.id for one in self.org.crm.all("contact") if name in one.properties.get("Tag", "").split("\n")}

    def name_of(self, what: str) -> str:
        return _FIELDS[what]

    def html(self, ref: Ref) -> str:
        return self.values(ref).get("Description") or self.values(ref).get("Note_Content", "")

    def creation_path(self, write: Write) -> str:
        kinds = {"log_call": "Calls", "create_task": "Tasks", "add_note": "Notes", "create_event": "Events"}
        return f"*/{kinds.get(name_of(write)) or {'create_deal': 'Deals', 'create_ticket': 'Cases'}[name_of(write)]}"


def _module(kind: Kind) -> Module:
    return MODULES[_MODULES[kind]]


@asynccontextmanager
async def zoho_account(level: Stick) -> AsyncIterator[Account]:
    """At the level "found" the account lets us make no fields, so keys stand in texts."""
    provider = CATALOG["zoho"]
    clock, faults = Clock(START), Faults()
    org = zoho.Org("20097655001", "Aurora Demo SA", activities_unique=level is Stick.ENFORCED)
    face = zoho.create_app(org, clock=clock, faults=faults, limits=False)
    vendor = face.vendor
    assert isinstance(vendor, zoho.Zoho)
    scopes = (*provider.manifest.scopes, *provider.manifest.optional_scopes)
    if level is not Stick.ENFORCED:
        scopes = tuple(scope for scope in scopes if scope != "ZohoCRM.settings.fields.CREATE")
    granted = vendor.grants.admit(Grant(org.zgid, org.installer.id, scopes))

    async def token(refused: bool) -> str:
        return vendor.grants.issue_access(granted, clock())

    async with running(face) as origin, make_client() as client:
        account = open_account(ZohoAccount, provider, origin, client, token, faults, clock)
        account.org, account.vendor, account.access = org, vendor, granted
        await ready(account, level)
        yield account
