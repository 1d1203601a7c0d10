"""The sandbox as it runs by itself: two organisations, the first full of invented people, the second empty."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.sandbox.clock import Clock
from connectors.sandbox.face import Face
from connectors.sandbox.faults import Faults
from connectors.sandbox.journal import Journal
from connectors.sandbox.seed import invent
from connectors.sandbox.shown import InStore, Shown
from connectors.sandbox.store import Entry, Person
from connectors.sandbox.zoho.app import Zoho, create_app
from connectors.sandbox.zoho.modules import MODULES
from connectors.sandbox.zoho.org import Org

_OWNERS = (("Sarah", "Brunnental"), ("Marc", "Perrochon"), ("Livia", "Tomasetti"), ("Jonas", "Hochuli"))
_DEALS = ("Wartungsvertrag", "Renouvellement annuel", "Offerte Umbau", "Abonnement premium", "Nuova fornitura")
_CASES = ("Rechnung unklar", "Livraison en retard", "Gerät defekt", "Mot de passe oublié")
_CALLS = ("Rückfrage zur Offerte", "Question sur la facture", "Terminvereinbarung", "Demande de rappel")


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
    """`create_app` with a filled and an empty organisation; the same records with the same ids every time."""
    clock = clock or Clock()
    first, second = (
        Org("20097655001", "Aurora Demo SA"),
        Org("20097655002", "Borealis Test GmbH", domain="borealis.example"),
    )
    fill(first, now=clock(), people=people)
    return create_app(
        first,
        second,
        clock=clock,
        faults=faults,
        journal=journal,
        redirect_uris=redirect_uris,
        limits=limits,
        **names,
    )


def shown(face: Face) -> Shown:
    """The first organisation, as the consent page offers it."""
    assert isinstance(face.vendor, Zoho)
    org = next(iter(face.vendor.orgs.values()))
    titles = {"call": "Subject", "task": "Subject", "deal": "Deal_Name"}
    return InStore(org.crm, "contact", ("First_Name", "Last_Name"), ("Phone", "Mobile"), titles)


def fill(org: Org, *, now: datetime, people: int = 220, seed: int = 1) -> None:
    """Users, accounts, contacts, leads, deals, cases and past calls. `now` ends the past they were made in."""
    chance, clientele = random.Random(seed), invent(people=people, seed=seed)
    owners = [_owner(org, *name) for name in _OWNERS]
    begun = now - timedelta(days=400)
    houses: dict[str, Entry] = {}
    for house in clientele.houses:
        known = {"Account_Name": house.name, "Website": house.domain, "Phone": house.phone, "Billing_City": house.city}
        houses[house.name] = _make(org, "accounts", begun, **known)
    contacts = []
    for at, person in enumerate(clientele.people):
        values: dict[str, Any] = {
            "First_Name": person.first_name,
            "Last_Name": person.last_name,
            "Email": person.email,
            "Phone": person.phone.strip()[:30],
            "Mobile": person.mobile.strip()[:30],
            "City": person.city,
            "Country": person.country,
            "Language": person.language,
            "Owner": {"id": chance.choice(owners).id},
        }
        employer = houses.get(person.company)
        module = "leads" if person.tier == "lead" and at > 2 and chance.random() < 0.4 else "contacts"
        if module == "leads":
            values |= {"Company": person.company or person.last_name, "Designation": person.role}
        else:
            values |= {"Title": person.role} | ({"Account_Name": {"id": employer.id}} if employer else {})
        made = _make(org, module, begun + timedelta(hours=at), **values)
        if module == "contacts":
            contacts.append(made)
    regulars = contacts[:1] + [contact for contact in contacts if chance.random() < 0.3]
    for at, contact in enumerate(regulars):
        _history(org, chance, contact, owners[at % len(owners)], now - timedelta(days=1 + at % 90))
    org.index.advance(now + org.index.lag)


def _history(org: Org, chance: random.Random, contact: Entry, owner: Person, at: datetime) -> None:
    """A past call for everyone, and a deal or a case for some."""
    direction = chance.choice(("Inbound", "Outbound"))
    who = {"id": contact.id}
    _make(
        org,
        "calls",
        at,
        Subject=chance.choice(_CALLS),
        Description="Besprochen. / Discuté.",
        Call_Type=direction,
        Call_Start_Time=at.astimezone(UTC).isoformat(timespec="seconds"),
        Call_Duration=f"{chance.randint(0, 15):02}:{chance.randint(0, 59):02}",
        **({} if direction == "Inbound" else {"Outbound_Call_Status": "Completed"}),
        Who_Id=who,
        Owner={"id": owner.id},
    )
    if chance.random() < 0.6:
        stage = chance.choice(org.layouts["Deals"][0].pipelines[0].stages)
        _make(
            org,
            "deals",
            at,
            Deal_Name=chance.choice(_DEALS),
            Stage=stage.name,
            Pipeline=org.layouts["Deals"][0].pipelines[0].name,
            Amount=float(chance.randint(4, 400) * 100),
            Closing_Date=(at + timedelta(days=45)).date().isoformat(),
            Contact_Name=who,
            Owner={"id": owner.id},
        )
    if chance.random() < 0.35:
        _make(
            org,
            "cases",
            at,
            Subject=chance.choice(_CASES),
            Status=chance.choice(("New", "On Hold", "Escalated", "Closed")),
            Case_Origin="Phone",
            Priority=chance.choice(("Low", "Medium", "High")),
            Related_To=who,
        )


def _make(org: Org, module: str, at: datetime, **values: Any) -> Entry:
    return org.create(MODULES[module], values, at)


def _owner(org: Org, first: str, last: str) -> Person:
    return org.add_user(first, last, f"{first}.{last}@{org.domain}".lower(), datetime(2024, 1, 9, 8, 30, tzinfo=UTC))
