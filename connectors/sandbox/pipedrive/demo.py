"""The sandbox as it runs by itself: two companies, the first full of invented people, the second empty."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from connectors.sandbox.clock import Clock
from connectors.sandbox.face import Face
from connectors.sandbox.faults import Faults
from connectors.sandbox.journal import Journal
from connectors.sandbox.pipedrive.app import Pipedrive, create_app
from connectors.sandbox.pipedrive.company import Company, User
from connectors.sandbox.seed import Invented, invent
from connectors.sandbox.shown import Item, Shown, Somebody
from connectors.sandbox.store import Entry

_OWNERS = (("Sarah", "Brunnental"), ("Marc", "Perrochon"), ("Livia", "Tomasetti"), ("Jonas", "Hochuli"))
_DEALS = ("Wartungsvertrag", "Renouvellement annuel", "Offerte Umbau", "Abonnement premium", "Nuova fornitura")
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
    """`create_app` with a filled and an empty company; the same records with the same ids every time."""
    clock = clock or Clock()
    first = Company(15043420, "Aurora Demo SA", domain="aurora-demo")
    second = Company(15043421, "Borealis Test GmbH", domain="borealis")
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


class _Shown:
    """See `connectors.sandbox.shown.Shown`."""

    def __init__(self, company: Company) -> None:
        self._company = company

    def people(self) -> Sequence[Somebody]:
        found = []
        for entry in self._company.all("person"):
            values = self._company.values(entry, "person")
            numbers = tuple(each["value"] for each in values.get("phones") or ())
            found.append(Somebody(id=entry.id, name=values.get("name", ""), numbers=numbers))
        return found

    def items(self, kind: str) -> Sequence[Item]:
        title = "title" if kind == "deal" else "subject"
        crm = self._company.crm
        return [
            Item(
                id=entry.id,
                title=entry.properties.get(title, ""),
                people=frozenset(crm.linked(kind, entry.id, "contact")),
            )
            for entry in crm.all(kind)
        ]


def shown(face: Face) -> Shown:
    """The first company, as the consent page offers it."""
    assert isinstance(face.vendor, Pipedrive)
    return _Shown(next(iter(face.vendor.companies.values())))


def fill(company: Company, *, now: datetime, people: int = 220, seed: int = 1) -> None:
    """Users, organizations with a number in a field of their own, persons, deals, leads and past calls. `now` ends the past."""
    chance, clientele = random.Random(seed), invent(people=people, seed=seed)
    owners = [
        company.add_user(f"{first} {last}", f"{first}.{last}@{company.domain}.example".lower())
        for first, last in _OWNERS
    ]
    telephone = company.add_field("organization", "Telefon", "phone").code
    begun = now - timedelta(days=400)
    houses = {
        house.name: company.create(
            "organization", {"name": house.name, "owner_id": owners[0].id, telephone: house.phone}, begun
        )
        for house in clientele.houses
    }
    persons = []
    for at, person in enumerate(clientele.people):
        house = houses.get(person.company)
        values = {**_person(person), "owner_id": chance.choice(owners).id}
        values |= {"org_id": int(house.id)} if house is not None else {}
        persons.append(company.create("person", values, begun + timedelta(hours=at)))
    regulars = persons[:1] + [person for person in persons if chance.random() < 0.3]
    for at, regular in enumerate(regulars):
        _history(company, chance, regular, owners[at % len(owners)], now - timedelta(days=1 + at % 90))
    company.add_label("person", "Rückrufe / À rappeler")
    company.index.advance(now + company.index.lag)


def _person(person: Invented) -> dict[str, Any]:
    phones = [(person.phone, "work"), (person.mobile, "mobile")]
    written = [(value, label) for value, label in phones if value]
    return {
        "name": f"{person.first_name} {person.last_name}",
        "phones": [{"value": value, "label": label, "primary": at == 0} for at, (value, label) in enumerate(written)],
        "emails": [{"value": person.email, "label": "work", "primary": True}] if person.email else [],
    }


def _history(company: Company, chance: random.Random, person: Entry, owner: User, at: datetime) -> None:
    """A past call for everyone, and a deal or a lead for some."""
    linked = {"participants": [{"person_id": int(person.id), "primary": True}]}
    company.create(
        "activity",
        {
            "subject": chance.choice(_CALLS),
            "type": "call",
            "done": True,
            "due_date": at.date().isoformat(),
            "due_time": at.strftime("%H:%M"),
            "duration": f"00:{chance.randint(1, 14):02d}",
            "note": "<p>Besprochen. / Discuté.</p>",
            "owner_id": owner.id,
            **linked,
        },
        at,
    )
    if chance.random() < 0.6:
        stage = chance.choice(company.stages[:4])
        company.create(
            "deal",
            {
                "title": chance.choice(_DEALS),
                "person_id": int(person.id),
                "pipeline_id": stage.pipeline_id,
                "stage_id": stage.id,
                "value": chance.randint(4, 400) * 100,
                "currency": company.currency,
                "expected_close_date": (at + timedelta(days=45)).date().isoformat(),
                "owner_id": owner.id,
            },
            at,
        )
    elif chance.random() < 0.3:
        name = company.value(person, "person", "name")
        company.create("lead", {"title": f"{name}: {chance.choice(_DEALS)}", "person_id": int(person.id)}, at)
