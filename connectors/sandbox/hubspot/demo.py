"""The sandbox as it runs by itself: two portals, the first full of invented people, the second empty."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.sandbox.clock import Clock
from connectors.sandbox.face import Face
from connectors.sandbox.faults import Faults
from connectors.sandbox.hubspot.app import HubSpot, create_app
from connectors.sandbox.hubspot.kinds import BY_SEGMENT, DEFAULTS
from connectors.sandbox.hubspot.portal import Portal, StaticList
from connectors.sandbox.journal import Journal
from connectors.sandbox.seed import invent
from connectors.sandbox.shown import InStore, Shown
from connectors.sandbox.store import Entry, Person

_OWNERS = (("Sarah", "Brunnental"), ("Marc", "Perrochon"), ("Livia", "Tomasetti"), ("Jonas", "Hochuli"))
_DEALS = ("Wartungsvertrag", "Renouvellement annuel", "Offerte Umbau", "Abonnement premium", "Nuova fornitura")
_TICKETS = ("Rechnung unklar", "Livraison en retard", "Gerät defekt", "Mot de passe oublié")
_CALLS = ("Rückfrage zur Offerte", "Question sur la facture", "Terminvereinbarung", "Demande de rappel")
_CONNECTED, _VOICEMAIL = "f240bbac-87c9-4f6e-bf70-924b57d47db7", "b2cf5968-551e-4856-9783-52b3da59a7d0"


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
    """`create_app` with a filled and an empty portal; the same records with the same ids every time."""
    clock = clock or Clock()
    first, second = Portal(62515, "Aurora Demo SA"), Portal(62516, "Borealis Test GmbH", domain="borealis.example")
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
    """The first portal, as the consent page offers it."""
    assert isinstance(face.vendor, HubSpot)
    portal = next(iter(face.vendor.portals.values()))
    titles = {"call": "hs_call_title", "task": "hs_task_subject", "deal": "dealname"}
    return InStore(portal.crm, "contact", ("firstname", "lastname"), ("phone", "mobilephone"), titles)


def fill(portal: Portal, *, now: datetime, people: int = 220, seed: int = 1) -> None:
    """Owners, companies, contacts, deals, tickets, past calls and a list. `now` ends the past they were made in."""
    chance, clientele = random.Random(seed), invent(people=people, seed=seed)
    owners = [_owner(portal, at, *name) for at, name in enumerate(_OWNERS)]
    begun = now - timedelta(days=400)
    houses: dict[str, Entry] = {}
    for house in clientele.houses:
        houses[house.name] = _make(
            portal, "company", begun, None, name=house.name, domain=house.domain, phone=house.phone, city=house.city
        )
    contacts = []
    for at, person in enumerate(clientele.people):
        values = {
            "firstname": person.first_name,
            "lastname": person.last_name,
            "salutation": person.salutation,
            "email": person.email,
            "phone": person.phone,
            "mobilephone": person.mobile,
            "jobtitle": person.role,
            "company": person.company,
            "city": person.city,
            "country": person.country,
            "hs_language": person.language,
            "lifecyclestage": person.tier,
            "hubspot_owner_id": chance.choice(owners).id,
        }
        company = houses.get(person.company)
        values |= {"associatedcompanyid": company.id} if company is not None else {}
        contacts.append(_make(portal, "contact", begun + timedelta(hours=at), None, **values))
    regulars = contacts[:1] + [contact for contact in contacts if chance.random() < 0.3]
    for at, contact in enumerate(regulars):
        _history(portal, chance, contact, owners[at % len(owners)], now - timedelta(days=1 + at % 90))
    callback = StaticList("1", "Rückrufe / À rappeler")
    callback.members = {contact.id: begun for contact in contacts[:5]}
    portal.lists = {"1": callback, "2": StaticList("2", "Newsletter", processing="DYNAMIC")}
    portal.index.advance(now + portal.index.lag)


def _history(portal: Portal, chance: random.Random, contact: Entry, owner: Person, at: datetime) -> None:
    """A past call for everyone, and a deal or a ticket for some."""
    _make(
        portal,
        "call",
        at,
        contact,
        hs_timestamp=str(int(at.timestamp() * 1000)),
        hs_call_title=chance.choice(_CALLS),
        hs_call_body="<p>Besprochen. / Discuté.</p>",
        hs_call_direction=chance.choice(("INBOUND", "OUTBOUND")),
        hs_call_duration=str(1000 * chance.randint(20, 900)),
        hs_call_status="COMPLETED",
        hs_call_disposition=chance.choice((_CONNECTED, _CONNECTED, _VOICEMAIL)),
        hubspot_owner_id=owner.id,
    )
    if chance.random() < 0.6:
        stage = chance.choice(portal.pipelines["deal"]["default"].stages)
        _make(
            portal,
            "deal",
            at,
            contact,
            dealname=chance.choice(_DEALS),
            dealstage=stage.id,
            pipeline="default",
            amount=str(chance.randint(4, 400) * 100),
            closedate=(at + timedelta(days=45)).date().isoformat(),
            hubspot_owner_id=owner.id,
        )
    if chance.random() < 0.35:
        _make(
            portal,
            "ticket",
            at,
            contact,
            subject=chance.choice(_TICKETS),
            hs_pipeline="0",
            hs_pipeline_stage=chance.choice("1234"),
            hs_ticket_priority=chance.choice(("LOW", "MEDIUM", "HIGH")),
        )


def _make(portal: Portal, kind: str, at: datetime, contact: Entry | None, **values: str) -> Entry:
    entry = portal.create(BY_SEGMENT[kind], values, at)
    if contact is not None:
        portal.associate(entry, contact, DEFAULTS[(kind, "contact")], at)
    return entry


def _owner(portal: Portal, at: int, first: str, last: str) -> Person:
    person = Person(
        id=str(31871817 + 83 * at),
        user_id=2506672 + 7 * at,
        email=f"{first}.{last}@{portal.domain}".lower(),
        first_name=first,
        last_name=last,
        since=datetime(2024, 1, 9, 8, 30 + at, tzinfo=UTC),
    )
    portal.crm.people[person.id] = person
    return person
