"""What a sandbox's account holds, as a person who opens the CRM would see it: whoever that is at this vendor.

For those who look from outside (the demo): they ask the CRM, not us, and know no vendor's store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from connectors.sandbox.store import Crm


class Somebody(msgspec.Struct, frozen=True, kw_only=True):
    """A person. `numbers` are as somebody typed them."""

    id: str
    name: str
    numbers: tuple[str, ...]


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A call, a task or a deal. `people`: ids of those it hangs on."""

    id: str
    title: str
    people: frozenset[str]


class Shown(Protocol):
    """The account that is connected when nobody chooses another."""

    def people(self) -> Sequence[Somebody]:
        """Everybody, oldest first."""

    def items(self, kind: str) -> Sequence[Item]:
        """All of one kind ("call", "task", "deal"), oldest first."""


@dataclass(frozen=True)
class InStore:
    """`Shown` for an account that is kept in a `store.Crm`.

    person   the kind of its people. names, numbers: fields of theirs. titles: per kind, the field that names it.
    """

    crm: Crm
    person: str
    names: tuple[str, ...]
    numbers: tuple[str, ...]
    titles: Mapping[str, str]

    def people(self) -> Sequence[Somebody]:
        def values(of: Mapping[str, str], fields: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(value for name in fields if (value := of.get(name)))

        return [
            Somebody(
                id=one.id,
                name=" ".join(values(one.properties, self.names)),
                numbers=values(one.properties, self.numbers),
            )
            for one in self.crm.all(self.person)
        ]

    def items(self, kind: str) -> Sequence[Item]:
        return [
            Item(
                id=one.id,
                title=one.properties.get(self.titles[kind], ""),
                people=frozenset(self.crm.linked(kind, one.id, self.person)),
            )
            for one in self.crm.all(kind)
        ]
