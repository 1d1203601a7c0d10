"""The people in the sandbox's CRM: who has a number, how it is spelled there, what hangs on them."""

from __future__ import annotations

import re

from connectors import phone
from connectors.sandbox.shown import Item, Shown, Somebody

KINDS = ("call", "task", "deal")


def hanging_on(crm: Shown, person: Somebody | None, kind: str) -> list[Item]:
    """What of one kind hangs on a person, oldest first."""
    return [item for item in crm.items(kind) if person is not None and person.id in item.people]


def held(crm: Shown, caller: str) -> dict[str, int]:
    person = person_of(crm, caller)
    return {kind: len(hanging_on(crm, person, kind)) for kind in KINDS}


def person_of(crm: Shown, caller: str) -> Somebody | None:
    """Who has this number, in whatever spelling."""
    return next((person for person in crm.people() if caller in numbers_of(person)), None)


def spelling(person: Somebody, caller: str) -> str:
    """How the CRM spells the number and whose it is."""
    spelt = next(text for text in person.numbers if (number := phone.read(text, "CH")) and phone.e164(number) == caller)
    return f"“{spelt}”, {person.name}".rstrip(", ")


def numbers_of(person: Somebody) -> set[str]:
    """As E.164, those that can be read."""
    read = (phone.read(text, "CH") for text in person.numbers)
    return {phone.e164(number) for number in read if number is not None}


def somebody(crm: Shown, *, skip: int = 0) -> str:
    """The number of a person whose CRM spells it the Swiss way ("079 …"), which no CRM search finds by E.164."""
    found = [
        person
        for person in crm.people()
        if person.name and any(re.match(r"0\d\d ", text) for text in person.numbers[:1]) and numbers_of(person)
    ]
    numbers = [min(numbers_of(person)) for person in found]
    alone = [number for number in numbers if numbers.count(number) == 1]
    return alone[skip]
