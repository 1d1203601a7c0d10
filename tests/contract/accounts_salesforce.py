"""One org at Salesforce's sandbox, in the words of the contract suite.

At the level "found" the connected user may not customise the org, so none of our fields can be made.
"""

from __future__ import annotations

import base64
import html
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from connectors.crm.catalog import CATALOG
from connectors.crm.port import Stick
from connectors.crm.records import CreateDeal, CreateTicket, Kind, MoveStage, Ref, Write
from connectors.http import make_client
from connectors.sandbox import salesforce
from connectors.sandbox.clock import Clock
from connectors.sandbox.faults import Faults
from connectors.sandbox.faults import Kind as Fault
from connectors.sandbox.salesforce import saving
from connectors.sandbox.salesforce.books import TYPES, Books, kind_of
from connectors.sandbox.salesforce.grants import Grant
from connectors.sandbox.salesforce.org import Row
from connectors.sandbox.salesforce.values import plain
from connectors.sandbox.serve import running
from tests.contract.accounts import START, Account, open_account

_PERSON = {
    "first_name": "FirstName",
    "last_name": "LastName",
    "email": "Email",
    "phone": "Phone",
    "mobile": "MobilePhone",
    "owner": "OwnerId",
    "company_id": "AccountId",
}
_FIELDS = {
    **_PERSON,
    "job_title": "Title",
    "subject_of_task": "Subject",
    "amount": "Amount",
    "stage_of_deal": "StageName",
}


class SalesforceAccount(Account):
    org: salesforce.Org
    signed_in: Grant

    opts_out_by_address = False
    names_fields = False
    finds_anybody = True
    rights_are_scopes = False
    reads_deals_at = "/composite/*OpportunityContactRole*"

    def _now(self) -> datetime:
        self.clock.advance(timedelta(milliseconds=7))
        return self.clock()

    def _create(self, type: str, **values: Any) -> Row:
        given = {name: value for name, value in values.items() if value not in (None, "")}
        return saving.create(self.org, self.org.types[type], given, self._now(), allow_duplicates=True)

    def _row(self, ref: Ref) -> Row:
        found = self.org.get(TYPES[ref.kind.value], ref.id)
        assert found is not None, f"no {ref.kind} {ref.id}"
        return found

    def add_person(self, **values: str) -> Ref:
        given = {_PERSON[name]: value for name, value in values.items() if name in _PERSON}
        return Ref(Kind.CONTACT, self._create("Contact", **given).id)

    def add_company(self, name: str, phone: str = "") -> Ref:
        return Ref(Kind.COMPANY, self._create("Account", Name=name, Phone=phone).id)

    def add_deal(self, name: str, about: Ref, *, closed: bool = False) -> Ref:
        stage = "Closed Won" if closed else "Needs Analysis"
        made = self._create(
            "Opportunity", Name=name, StageName=stage, Amount=1200, CloseDate="2026-12-31", ContactId=about.id
        )
        return Ref(Kind.DEAL, made.id)

    def add_ticket(self, subject: str, about: Ref, *, closed: bool = False) -> Ref:
        status = "Closed" if closed else "Working"
        return Ref(Kind.TICKET, self._create("Case", Subject=subject, Status=status, ContactId=about.id).id)

    def add_owner(self, first_name: str, last_name: str, email: str) -> str:
        return self.org.add_user(first_name, last_name, email)

    def delete(self, ref: Ref) -> None:
        saving.delete(self.org, self._row(ref), self._now())

    def merge(self, winner: Ref, loser: Ref) -> None:
        saving.merge(self.org, self._row(winner), self._row(loser), self._now())

    def require(self, kind: Kind, name: str) -> None:
        self.org.demanded[TYPES[kind.value]] = (name,)

    def revoke(self) -> None:
        self.signed_in.alive = False

    def narrow(self, *scopes: str) -> None:
        """Scopes say nothing of objects here; the user's profile does."""
        self.read_only()

    def read_only(self) -> None:
        self.org.forbidden |= set(self.org.types)

    def count(self, kind: Kind) -> int:
        return sum(1 for row in self.org.all(TYPES[kind.value]) if kind_of(row) == kind.value)

    def values(self, ref: Ref) -> Mapping[str, str]:
        return {name: plain(value) for name, value in self._row(ref).values.items() if value is not None}

    def text(self, ref: Ref) -> str:
        shown = dict(self.values(ref))
        if ref.kind is Kind.NOTE:
            shown["Content"] = base64.b64decode(shown["Content"]).decode()
        return "\n".join(shown.values())

    def html(self, ref: Ref) -> str:
        """Descriptions are text, and shown as such."""
        return html.escape(self.values(ref)["Description"])

    def linked(self, ref: Ref, kind: Kind) -> set[str]:
        return set(Books(self.org).linked(ref.kind.value, ref.id, kind.value))

    def opted_out(self, email: str) -> bool:
        return any(
            row.get("HasOptedOutOfEmail") and row.get("DoNotCall")
            for row in self.org.all("Contact")
            if row.get("Email") == email
        )

    def add_list(self, name: str) -> str:
        return self._create("Campaign", Name=name, IsActive=True).id

    def members(self, list_id: str) -> set[str]:
        return {row.get("ContactId") for row in self.org.referring("CampaignMember", "CampaignId", list_id)}

    def name_of(self, what: str) -> str:
        return _FIELDS[what]

    def lose_answer(self, write: Write, fault: Fault) -> None:
        """Everything goes through one address; a deal and a case are preceded by a look at the contact's company."""
        skip = 1 if isinstance(write, CreateDeal | CreateTicket) else 0
        self.hurt(kind=fault, method="POST", path="*/composite", skip=skip, count=1, commits=True)


@asynccontextmanager
async def salesforce_account(level: Stick) -> AsyncIterator[Account]:
    provider = CATALOG["salesforce"]
    clock, faults = Clock(START), Faults()
    org = salesforce.Org()
    org.customizable = level is Stick.ENFORCED
    face = salesforce.create_app(org, clock=clock, faults=faults, limits=False)
    vendor = face.vendor
    assert isinstance(vendor, salesforce.Salesforce)
    grant = Grant(org.id, org.user, provider.manifest.scopes, clock())
    vendor.grants.all.append(grant)

    async def token(refused: bool) -> str:
        return vendor.grants.issue_access(grant, clock())

    async with running(face) as origin, make_client() as client:
        account = open_account(SalesforceAccount, provider, origin, client, token, faults, clock)
        account.org, account.signed_in = org, grant
        await account.crm.who_am_i()
        account.sticks = await account.crm.probe()
        for name, sticking in account.sticks.items():
            offered = {one.stick for one in provider.manifest.sticks[name]}
            assert sticking.stick is level or level not in offered, "the sandbox does not offer this level"
        await _warm(account)
        account.sent.clear()
        yield account


async def _warm(account: SalesforceAccount) -> None:
    """Have the org's stages and words known, so that the next request for a write is the write."""
    mark = len(account.org.changes)
    deal = account.add_deal("Warm", account.add_person(last_name="Warm"))
    await account.crm.write([MoveStage(key="warm", target=deal, stage="Prospecting")])
    account.org.revert(mark)
