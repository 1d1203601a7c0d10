"""The sandbox as it runs by itself: two orgs, the first full of invented people, the second empty."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from connectors.sandbox.clock import Clock
from connectors.sandbox.face import Face
from connectors.sandbox.faults import Faults
from connectors.sandbox.journal import Journal
from connectors.sandbox.salesforce import saving
from connectors.sandbox.salesforce.app import Salesforce, create_app
from connectors.sandbox.salesforce.books import TYPES, kind_of
from connectors.sandbox.salesforce.org import Org, Row
from connectors.sandbox.seed import Invented, invent
from connectors.sandbox.shown import Item, Shown, Somebody

_OWNERS = (("Sarah", "Brunnental"), ("Marc", "Perrochon"), ("Livia", "Tomasetti"), ("Jonas", "Hochuli"))
_DEALS = ("Wartungsvertrag", "Renouvellement annuel", "Offerte Umbau", "Abonnement premium", "Nuova fornitura")
_CASES = ("Rechnung unklar", "Livraison en retard", "Gerät defekt", "Mot de passe oublié")
_CALLS = ("Rückfrage zur Offerte", "Question sur la facture", "Terminvereinbarung", "Demande de rappel")
_STAGES = ("Prospecting", "Qualification", "Needs Analysis", "Negotiation/Review", "Closed Won", "Closed Lost")
_RATINGS = {"customer": "Hot", "evangelist": "Hot", "opportunity": "Warm"}


def demo_app(
    *,
    clock: Clock | None = None,
    faults: Faults | None = None,
    journal: Journal | None = None,
    redirect_uris: Sequence[str] = (),
    limits: bool = True,
    people: int = 220,
    **names: Any,
) -> Face:
    """`create_app` with a filled and an empty org; the same records with the same ids every time."""
    clock = clock or Clock()
    first, second = Org(), Org(2, "Borealis Test GmbH", domain="borealis-test")
    fill(first, now=clock(), people=people)
    return create_app(
        first, second, clock=clock, faults=faults, journal=journal, redirect_uris=redirect_uris, limits=limits, **names
    )


class InOrg:
    """`Shown` for an org: contacts and leads are its people."""

    def __init__(self, org: Org) -> None:
        self._org = org

    def people(self) -> Sequence[Somebody]:
        rows = sorted((*self._org.all("Contact"), *self._org.all("Lead")), key=lambda row: str(row.get("CreatedDate")))
        return [
            Somebody(
                id=row.id,
                name=row.get("Name") or "",
                numbers=tuple(row.get(field) for field in ("Phone", "MobilePhone") if row.get(field)),
            )
            for row in rows
        ]

    def items(self, kind: str) -> Sequence[Item]:
        rows = (row for row in self._org.all(TYPES[kind]) if kind_of(row) == kind)
        return [
            Item(id=row.id, title=row.get("Subject") or row.get("Name") or "", people=self._people(row)) for row in rows
        ]

    def _people(self, row: Row) -> frozenset[str]:
        held = [row.get(field) for field in ("WhoId", "ContactId")]
        held += [
            role.get("ContactId") for role in self._org.referring("OpportunityContactRole", "OpportunityId", row.id)
        ]
        return frozenset(id for id in held if id)


def shown(face: Face) -> Shown:
    """The filled org."""
    assert isinstance(face.vendor, Salesforce)
    return InOrg(next(iter(face.vendor.orgs.values())))


def fill(org: Org, *, now: datetime, people: int = 220, seed: int = 1) -> None:
    """Users, accounts, contacts, deals, cases, past calls and a campaign. `now` ends the past they were made in.

    People nobody sold to yet, and who belong to no company, are leads; everyone else is a contact.
    """
    chance, clientele = random.Random(seed), invent(people=people, seed=seed)
    rules, org.rules = org.rules, {}  # the past had none
    owners = [org.add_user(first, last, f"{first}.{last}@{org.domain}.example".lower()) for first, last in _OWNERS]
    begun = now - timedelta(days=400)
    houses = {
        house.name: _make(
            org, "Account", begun, Name=house.name, Phone=house.phone, Website=house.domain, BillingCity=house.city
        )
        for house in clientele.houses
    }
    contacts: list[Row] = []
    for at, person in enumerate(clientele.people):
        made = _person(org, person, houses.get(person.company), chance.choice(owners), begun + timedelta(hours=at))
        if made.type == "Contact":
            contacts.append(made)
    for at, contact in enumerate(contacts[:1] + [one for one in contacts if chance.random() < 0.3]):
        _history(org, chance, contact, owners[at % len(owners)], now - timedelta(days=1 + at % 90))
    campaign = _make(org, "Campaign", begun, Name="Rückrufe / À rappeler", IsActive=True)
    for contact in contacts[:5]:
        _make(org, "CampaignMember", begun, CampaignId=campaign.id, ContactId=contact.id)
    org.rules = rules


def _person(org: Org, person: Invented, house: Row | None, owner: str, at: datetime) -> Row:
    common = {
        "FirstName": person.first_name,
        "LastName": person.last_name,
        "Salutation": person.salutation,
        "Email": person.email,
        "Phone": person.phone[:40],
        "MobilePhone": person.mobile[:40],
        "Title": person.role,
        "OwnerId": owner,
    }
    if house is None and person.tier in ("lead", "subscriber") and not person.company:
        return _make(
            org,
            "Lead",
            at,
            **common,
            Company="[not provided]",
            City=person.city,
            Country=person.country,
            Rating=_RATINGS.get(person.tier, "Cold"),
        )
    where = {"MailingCity": person.city, "MailingCountry": person.country}
    return _make(org, "Contact", at, **common, **where, AccountId=house.id if house else None)


def _history(org: Org, chance: random.Random, contact: Row, owner: str, at: datetime) -> None:
    """A past call for everyone, and a deal or a case for some."""
    _make(
        org,
        "Task",
        at,
        Subject=chance.choice(_CALLS),
        TaskSubtype="Call",
        CallType=chance.choice(("Inbound", "Outbound")),
        CallDurationInSeconds=chance.randint(20, 900),
        Status="Completed",
        ActivityDate=at.date().isoformat(),
        Description="Besprochen. / Discuté.",
        WhoId=contact.id,
        OwnerId=owner,
    )
    if chance.random() < 0.6:
        _make(
            org,
            "Opportunity",
            at,
            Name=chance.choice(_DEALS),
            StageName=chance.choice(_STAGES),
            Amount=chance.randint(4, 400) * 100,
            CloseDate=(at + timedelta(days=45)).date().isoformat(),
            ContactId=contact.id,
            AccountId=contact.get("AccountId"),
            OwnerId=owner,
        )
    if chance.random() < 0.35:
        status = chance.choice(("New", "Working", "Escalated", "Closed"))
        _make(
            org,
            "Case",
            at,
            Subject=chance.choice(_CASES),
            Status=status,
            Origin="Phone",
            ContactId=contact.id,
            OwnerId=owner,
        )


def _make(org: Org, type: str, at: datetime, **values: Any) -> Row:
    given = {name: value for name, value in values.items() if value not in (None, "")}
    return saving.create(org, org.types[type], given, at)
