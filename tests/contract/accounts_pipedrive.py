"""One company at Pipedrive's sandbox, in the words of the contract suite.

Its two levels: "found", where our fields could be made, and "blind" for deals, where they could not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from connectors.crm.catalog import CATALOG
from connectors.crm.pipedrive.manifest import NO_MARKETING, TICKET
from connectors.crm.port import Crm, Sender, Stick
from connectors.crm.records import CreateEvent, CreateTask, CreateTicket, Kind, LogCall, Ref, Write
from connectors.http import make_client
from connectors.sandbox import pipedrive
from connectors.sandbox.clock import Clock
from connectors.sandbox.faults import Faults
from connectors.sandbox.pipedrive.company import lead_number, lead_uuid
from connectors.sandbox.pipedrive.documents import SHOWN
from connectors.sandbox.pipedrive.grants import APP_SCOPES, Grant
from connectors.sandbox.pipedrive.shapes import written
from connectors.sandbox.serve import running
from connectors.sandbox.store import Entry
from tests.contract.accounts import START, Account, open_account

_ENTITIES = {
    Kind.CONTACT: "person",
    Kind.COMPANY: "organization",
    Kind.LEAD: "lead",
    Kind.DEAL: "deal",
    Kind.NOTE: "note",
    **dict.fromkeys((Kind.CALL, Kind.TASK, Kind.EVENT, Kind.TICKET), "activity"),
}
_STORED = {Kind.CONTACT: "contact", Kind.COMPANY: "company", Kind.TICKET: "task"}


class PipedriveAccount(Account):
    company: pipedrive.Company
    signed_in: Grant
    codes: dict[str, str]
    telephone: str
    http: Sender

    follows_merges = False
    admins_demand = False
    opts_out_by_address = False
    names_fields = False
    finds_anybody = True
    reads_deals_at = "*/deals"

    def reopened(self) -> Crm:
        """The connector anew, with nothing remembered: a day later, or in another process."""
        return self.provider.open(self.http, sticks=self.sticks, account=None, region="CH")

    def _now(self) -> Any:
        self.clock.advance(timedelta(milliseconds=7))
        return self.clock()

    def _create(self, entity: str, **values: Any) -> Entry:
        return self.company.create(
            entity, {name: value for name, value in values.items() if value is not None}, self._now()
        )

    def _entry(self, ref: Ref) -> Entry:
        number = str(lead_number(ref.id)) if ref.kind is Kind.LEAD else ref.id
        found = self.company.get(_ENTITIES[ref.kind], number)
        assert found is not None, f"no {ref.kind} {ref.id}"
        return found

    def add_person(self, **values: str) -> Ref:
        name = " ".join(values[part] for part in ("first_name", "last_name") if values.get(part))
        numbers = [(values.get("phone"), "work"), (values.get("mobile"), "mobile")]
        phones = [{"value": value, "label": label, "primary": True} for value, label in numbers if value]
        email = values.get("email")
        entry = self._create(
            "person",
            name=name,
            phones=phones,
            emails=[{"value": email, "label": "work", "primary": True}] if email else [],
            org_id=int(values["company_id"]) if values.get("company_id") else None,
            owner_id=int(values["owner"]) if values.get("owner") else None,
        )
        return Ref(Kind.CONTACT, entry.id)

    def add_company(self, name: str, phone: str = "") -> Ref:
        return Ref(Kind.COMPANY, self._create("organization", name=name, **{self.telephone: phone or None}).id)

    def add_lead(self, title: str, about: Ref) -> Ref:
        return Ref(Kind.LEAD, lead_uuid(self._create("lead", title=title, person_id=int(about.id)).id))

    def add_deal(self, name: str, about: Ref, *, closed: bool = False) -> Ref:
        entry = self._create(
            "deal",
            title=name,
            person_id=int(about.id),
            pipeline_id=1,
            stage_id=3,
            value=1200,
            expected_close_date="2026-12-31",
            status="won" if closed else "open",
        )
        return Ref(Kind.DEAL, entry.id)

    def add_ticket(self, subject: str, about: Ref, *, closed: bool = False) -> Ref:
        taking_part = [{"person_id": int(about.id), "primary": True}]
        entry = self._create("activity", subject=TICKET + subject, type="task", done=closed, participants=taking_part)
        return Ref(Kind.TICKET, entry.id)

    def add_owner(self, first_name: str, last_name: str, email: str) -> str:
        return str(self.company.add_user(f"{first_name} {last_name}", email).id)

    def delete(self, ref: Ref) -> None:
        self.company.delete(self._entry(ref), self._now())

    def merge(self, winner: Ref, loser: Ref) -> None:
        self.company.merge(self._entry(winner), self._entry(loser), self._now())

    def require(self, kind: Kind, name: str) -> None:
        raise NotImplementedError("Pipedrive's API does not hold writers to what admins demand of people")

    def revoke(self) -> None:
        self.signed_in.installed = False

    def narrow(self, *scopes: str) -> None:
        self.signed_in.scopes = scopes

    def read_only(self) -> None:
        self.narrow("base", "contacts:read", "activities:read", "deals:read", "users:read", "search:read")

    def count(self, kind: Kind) -> int:
        entries = self.company.crm.all(_STORED.get(kind, kind.value))
        return sum(1 for entry in entries if _is(entry, kind))

    def values(self, ref: Ref) -> Mapping[str, str]:
        entity, entry = _ENTITIES[ref.kind], self._entry(ref)
        shown = SHOWN[entity](self.company, entry)
        return {name: written(value) for name, value in {**shown, **(shown.get("custom_fields") or {})}.items()}

    def html(self, ref: Ref) -> str:
        values = self.values(ref)
        return values.get("note", "") + values.get("content", "")

    def linked(self, ref: Ref, kind: Kind) -> set[str]:
        stored = _STORED.get(kind, kind.value)
        ids = self.company.crm.linked(_STORED[ref.kind], ref.id, stored)
        found = [self.company.crm.get(stored, id) for id in ids]
        return {entry.id for entry in found if entry is not None and _is(entry, kind)}

    def opted_out(self, email: str) -> bool:
        for entry in self.company.all("person"):
            shown = SHOWN["person"](self.company, entry)
            if email not in [each["value"] for each in shown["emails"]]:
                continue
            said = [one.code for one in self.company.custom("person").values() if one.name == NO_MARKETING]
            return shown.get("marketing_status") == "unsubscribed" or any(shown["custom_fields"][code] for code in said)
        return False

    def add_list(self, name: str) -> str:
        return str(self.company.add_label("person", name))

    def members(self, list_id: str) -> set[str]:
        return {
            entry.id
            for entry in self.company.all("person")
            if int(list_id) in (self.company.value(entry, "person", "label_ids") or [])
        }

    def name_of(self, what: str) -> str:
        return self.codes[what]

    def creation_path(self, write: Write) -> str:
        activities = isinstance(write, LogCall | CreateTask | CreateEvent | CreateTicket)
        return "*/activities" if activities else super().creation_path(write)


def _is(entry: Entry, kind: Kind) -> bool:
    ticket = entry.properties.get("subject", "").startswith(TICKET)
    return ticket if kind is Kind.TICKET else not ticket or entry.kind != "task"


@asynccontextmanager
async def pipedrive_account(level: Stick) -> AsyncIterator[Account]:
    """At the level "blind" we may make no fields, and the company has no Campaigns."""
    provider = CATALOG["pipedrive"]
    clock, faults = Clock(START), Faults()
    company = pipedrive.Company(15043420, "Aurora Demo SA", campaigns=level is Stick.FOUND)
    face = pipedrive.create_app(company, clock=clock, faults=faults, limits=False)
    vendor = face.vendor
    assert isinstance(vendor, pipedrive.Pipedrive)
    ours = ("contact-fields:full", "deal-fields:full", "admin")
    scopes = tuple(scope for scope in APP_SCOPES if level is Stick.FOUND or scope not in ours)
    grant = Grant(company.id, company.installer.id, scopes)
    job = company.add_field("person", "Funktion", "varchar").code
    company.add_field("person", "Branche", "enum", ["Handel", "Bau"])
    no_marketing = company.add_field("person", NO_MARKETING, "varchar").code if level is Stick.BLIND else ""
    telephone = company.add_field("organization", "Telefon", "phone").code

    async def token(refused: bool) -> str:
        return vendor.grants.issue_access(grant, clock())

    async with running(face) as origin, make_client() as client:
        account = open_account(PipedriveAccount, provider, origin, client, token, faults, clock)
        account.company, account.signed_in, account.telephone = company, grant, telephone
        account.codes = {
            "first_name": "first_name",
            "last_name": "last_name",
            "job_title": job,
            "phone": "phone",
            "email": "email",
            "owner": "owner_id",
            "amount": "value",
            "subject_of_task": "subject",
            "stage_of_deal": "stage_id",
            "no_marketing": no_marketing,
        }
        account.http = account.crm._http  # type: ignore[attr-defined]
        await account.crm.who_am_i()
        account.sticks = await account.crm.probe()
        assert account.sticks["create_deal"].stick is level, "the sandbox does not offer this level"
        account.sent.clear()
        yield account
