"""Which of several records is calling: one caller, several, or nobody. Pure.

Records come from every connection of the tenant, duplicates and namesakes among them. What is decided here is whether
the voice agent may say a name: a wrong one is worse than none, so two people on one number are never settled by rank.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from connectors.crm.records import Contact, Kind

Status = Literal["known", "several", "unknown"]

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, repr=False)
class Candidate:
    """A record that one connection answered for the number.

    place       the connection's place in the tenant's order of preference, 0 first.
    open_deal   whether the record is known to have one; it is not known before its context was read.
    """

    connection_id: str
    provider: str
    place: int
    contact: Contact
    open_deal: bool = False

    @property
    def record(self) -> str:
        """ "connection/kind/id", as `lookups.records` has it."""
        return f"{self.connection_id}/{self.contact.kind}/{self.contact.id}"

    @property
    def exact(self) -> bool:
        return self.contact.match == "exact"


@dataclass(frozen=True, repr=False)
class Match:
    """Who it is.

    status  known: `same[0]` is the caller. several: at least two people hold the number. unknown: nobody does.
    same    all records of the one caller, best first, across connections; empty unless known.
    ranked  every record, best first.
    """

    status: Status
    same: tuple[Candidate, ...] = ()
    ranked: tuple[Candidate, ...] = ()

    @property
    def best(self) -> Candidate | None:
        return self.same[0] if self.same else None


def decide(candidates: Iterable[Candidate], *, e164: str) -> Match:
    """Choose among `candidates` for a call from `e164`.

    Rank: exact number over national digits, person over company, contact over lead, an open deal, the latest update,
    the tenant's order of connections. Only records of the best exactness take part in the decision; a record whose
    number is provably another country's is no match at all and left out.
    Several people on one number: a company that holds it too comes first, for the number is then its switchboard.
    """
    possible = [one for one in _without_repeats(candidates) if not _elsewhere(one.contact, e164)]
    if len(possible) == 1:
        return Match("known", same=(possible[0],), ranked=(possible[0],))
    ranked = tuple(sorted(possible, key=_rank))
    deciding = [one for one in ranked if one.exact] or ranked
    people = _people([one for one in deciding if one.contact.kind is not Kind.COMPANY])
    companies = [one for one in deciding if one.contact.kind is Kind.COMPANY]
    if not people:
        groups = _people(companies)
        if len(groups) > 1:
            return Match("several", ranked=ranked)
        return Match("known", same=groups[0], ranked=ranked) if groups else Match("unknown")
    if len(people) == 1:
        return Match("known", same=people[0], ranked=ranked)
    return Match("several", ranked=(*companies, *(one for one in ranked if one not in companies)))


def _rank(one: Candidate) -> tuple[bool, bool, bool, bool, float, int, str]:
    contact = one.contact
    return (
        not one.exact,
        contact.kind is Kind.COMPANY,
        contact.kind is Kind.LEAD,
        not one.open_deal,
        -(contact.updated_at or _LONG_AGO).timestamp(),
        one.place,
        contact.id,
    )


def _elsewhere(contact: Contact, e164: str) -> bool:
    """Whether the record's number only looks alike: its national digits agree, but it is written with another country.

    "044 668 18 00" may be the caller; "+33 4 46 68 18 00" is not +41 44 668 18 00, though their digits are the same.
    """
    if contact.match != "national":
        return False
    held = [phone for phone in contact.phones if phone.label == contact.reason] or list(contact.phones)
    return bool(held) and all(phone.e164 is not None and phone.e164 != e164 for phone in held)


def _without_repeats(candidates: Iterable[Candidate]) -> list[Candidate]:
    """One entry per record: found by search and read by us after a write, it comes twice; the later one is fresher."""
    return list({one.record: one for one in candidates}.values())


def _people(ranked: Sequence[Candidate]) -> list[tuple[Candidate, ...]]:
    """The records of each person (or company), both in order of rank.

    A record without a name could be anybody's: it joins the one person there is, and says nothing among several.
    """
    named: list[list[Candidate]] = []
    nameless: list[Candidate] = []
    for one in ranked:
        if not _words(one.contact.name):
            nameless.append(one)
            continue
        for person in named:
            if any(_same_person(one.contact, other.contact) for other in person):
                person.append(one)
                break
        else:
            named.append([one])
    if not named:
        return [tuple(nameless)] if nameless else []
    if len(named) == 1:
        named[0].extend(nameless)  # after the named ones: a name is worth more than rank
    return [tuple(person) for person in named]


def _same_person(one: Contact, other: Contact) -> bool:
    """Same name in any order, or same e-mail under names of which one is part of the other ("J. Dupont" is not)."""
    mine, theirs = _words(one.name), _words(other.name)
    if mine == theirs:
        return True
    email = (one.email or "").strip().casefold()
    return bool(email) and email == (other.email or "").strip().casefold() and (mine <= theirs or theirs <= mine)


def _words(name: str) -> frozenset[str]:
    """A name's words without case and accents, in no order: "DUPONT Jérôme" and "Jerome Dupont" are one."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(c))
    return frozenset("".join(c if c.isalnum() else " " for c in plain).split())
