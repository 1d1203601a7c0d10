"""The people in the sandbox's CRM: who has a number, how it is spelled there, what is linked to them."""

from __future__ import annotations

import re

from connectors import phone
from connectors.sandbox.store import Crm, Entry


def held(crm: Crm, caller: str) -> dict[str, int]:
    person = entry_of(crm, caller)
    return {kind: len(crm.linked("contact", person.id, kind)) if person else 0 for kind in ("call", "task", "deal")}


def entry_of(crm: Crm, caller: str) -> Entry | None:
    """The contact who has this number, in whatever spelling."""
    return next((entry for entry in crm.all("contact") if caller in _numbers(entry)), None)


def spelling(entry: Entry, caller: str) -> str:
    """How the CRM spells the number and whose it is."""
    fields = (entry.properties.get(name) or "" for name in ("phone", "mobilephone"))
    spelt = next(text for text in fields if (number := phone.read(text, "CH")) and phone.e164(number) == caller)
    return f"“{spelt}”, {entry.properties.get('firstname', '')} {entry.properties.get('lastname', '')}".rstrip(", ")


def _numbers(entry: Entry) -> set[str]:
    read = (phone.read(entry.properties.get(name), "CH") for name in ("phone", "mobilephone"))
    return {phone.e164(number) for number in read if number is not None}


def somebody(crm: Crm, *, skip: int = 0) -> str:
    """The number of a contact whose CRM spells it the Swiss way ("079 …"), which no CRM search finds by E.164."""
    found = [
        entry
        for entry in crm.all("contact")
        if re.match(r"0\d\d ", entry.properties.get("phone") or "") and entry.properties.get("firstname")
    ]
    numbers = [min(_numbers(entry)) for entry in found if _numbers(entry)]
    alone = [number for number in numbers if numbers.count(number) == 1]
    return alone[skip]
