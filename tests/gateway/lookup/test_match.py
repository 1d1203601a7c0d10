"""Who is calling, decided on values: a wrong name on the phone is worse than none."""

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.crm.records import Contact, Kind, Phone
from gateway.lookup.match import Candidate, decide
from tests.gateway.lookup.crms import MAIN, company, person

OLD, NEW = datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 11, 20, tzinfo=UTC)


def candidate(contact: Contact, *, place: int = 0, open_deal: bool = False) -> Candidate:
    return Candidate(f"cn_{place}", "hubspot", place, contact, open_deal)


def national(name: str, *, number: str | None = None, raw: str = "44 668 18 00", **more: Any) -> Contact:
    """Only the national digits agree; `number` is what the CRM's text reads as, if it reads as a number."""
    held = (Phone(raw=raw, label="phone", e164=number),)
    return person(name, **{"match": "national", "reason": "phone", "phones": held, **more})


@dataclass(frozen=True)
class Case:
    what: str
    given: tuple[Candidate, ...]
    status: str
    best: str | None = None
    ranked: tuple[str, ...] | None = None


CASES = [
    Case("nobody holds the number", (), "unknown"),
    Case("one person", (candidate(person("Jean Dupont")),), "known", "Jean Dupont"),
    Case("only a company", (candidate(company("Acme SA")),), "known", "Acme SA"),
    Case(
        "exact over national",
        (candidate(national("Anna Muster", updated_at=NEW)), candidate(person("Jean Dupont", updated_at=OLD))),
        "known",
        "Jean Dupont",
        ("Jean Dupont", "Anna Muster"),
    ),
    Case(
        "person over company",
        (candidate(company("Acme SA", updated_at=NEW)), candidate(person("Jean Dupont", updated_at=OLD))),
        "known",
        "Jean Dupont",
        ("Jean Dupont", "Acme SA"),
    ),
    Case(
        "an exact company over a person whose country nobody wrote down",
        (candidate(national("Jean Dupont")), candidate(company("Acme SA"))),
        "known",
        "Acme SA",
    ),
    Case(
        "contact over lead of the same name",
        (
            candidate(person("Jean Dupont", id="lead", kind=Kind.LEAD, updated_at=NEW)),
            candidate(person("Jean Dupont", id="contact", updated_at=OLD)),
        ),
        "known",
        "contact",
        ("contact", "lead"),
    ),
    Case(
        "the duplicate with an open deal",
        (
            candidate(person("Jean Dupont", id="fresh", updated_at=NEW)),
            candidate(person("Jean Dupont", id="busy", updated_at=OLD), open_deal=True),
        ),
        "known",
        "busy",
    ),
    Case(
        "the duplicate that was updated last",
        (
            candidate(person("Jean Dupont", id="old", updated_at=OLD)),
            candidate(person("DUPONT Jean", id="new", updated_at=NEW)),
        ),
        "known",
        "new",
    ),
    Case(
        "the tenant's first connection when all else is equal",
        (candidate(person("Jean Dupont", id="second"), place=1), candidate(person("Jean Dupont", id="first"))),
        "known",
        "first",
    ),
    Case(
        "two people on one number are never settled by rank",
        (
            candidate(person("Jean Dupont", updated_at=NEW), open_deal=True),
            candidate(person("Marie Martin", updated_at=OLD)),
        ),
        "several",
        None,
        ("Jean Dupont", "Marie Martin"),
    ),
    Case(
        "a switchboard: the company first",
        (candidate(person("Jean Dupont")), candidate(person("Marie Martin")), candidate(company("Acme SA"))),
        "several",
        None,
        ("Acme SA", "Jean Dupont", "Marie Martin"),
    ),
    Case("two companies", (candidate(company("Acme SA")), candidate(company("Beta AG"))), "several"),
    Case(
        "a shared mailbox does not make two people one",
        (
            candidate(person("Jean Dupont", email="info@example.com")),
            candidate(person("Marie Martin", email="info@example.com")),
        ),
        "several",
    ),
    Case(
        "same mailbox, part of the name",
        (
            candidate(person("Jean Dupont", email="jd@example.com")),
            candidate(person("Dupont", email="JD@example.com", updated_at=OLD), place=1),
        ),
        "known",
        "Jean Dupont",
    ),
    Case(
        "accents and order do not make two people of one",
        (candidate(person("Jérôme Müller", updated_at=NEW)), candidate(person("MULLER, Jerome"), place=1)),
        "known",
        "Jérôme Müller",
    ),
    Case(
        "a record without a name joins the one person there is",
        (candidate(person("", id="nameless", updated_at=NEW)), candidate(person("Jean Dupont", updated_at=OLD))),
        "known",
        "Jean Dupont",
    ),
    Case(
        "a record without a name is better than nothing", (candidate(person("", id="nameless")),), "known", "nameless"
    ),
    Case(
        "a national spelling without a country, and nobody else",
        (candidate(national("Jean Dupont")),),
        "known",
        "Jean Dupont",
    ),
    Case(
        "the same digits in another country are somebody else",
        (candidate(national("Jeanne Durand", raw="+33 4 46 68 18 00", number="+33446681800")),),
        "unknown",
    ),
    Case(
        "somebody else abroad does not hide the caller",
        (
            candidate(national("Jeanne Durand", raw="+33 4 46 68 18 00", number="+33446681800")),
            candidate(person("Jean Dupont")),
        ),
        "known",
        "Jean Dupont",
        ("Jean Dupont",),
    ),
]


def named(one: Candidate) -> tuple[str, str]:
    return one.contact.name, one.contact.id


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_the_caller_is_chosen(case: Case) -> None:
    """In whatever order the CRMs answered."""
    for given_order in permutations(case.given):
        match = decide(given_order, e164=MAIN)
        assert match.status == case.status
        if case.best is None:
            assert match.best is None
        else:
            assert match.best is not None
            assert case.best in named(match.best)
        if case.ranked is not None:
            assert len(match.ranked) == len(case.ranked)
            assert all(want in named(one) for want, one in zip(case.ranked, match.ranked, strict=True))


def test_one_record_found_twice_is_one() -> None:
    """Search found an old copy, the read by id the fresh one: the customer is not called twice, nor by the old name."""
    stale, fresh = person("Jean Dupond", id="1"), person("Jean Dupont", id="1")
    match = decide([candidate(stale), candidate(fresh)], e164=MAIN)
    assert [one.contact.name for one in match.ranked] == ["Jean Dupont"]


CONTACTS = st.builds(
    lambda name, kind, match, seconds, place, deal, number: Candidate(
        f"cn_{place}",
        "hubspot",
        place,
        person(
            name,
            id=f"{name}-{seconds}",
            kind=kind,
            match=match,
            updated_at=datetime.fromtimestamp(seconds, UTC) if seconds else None,
            phones=(Phone(raw="x", label="mobile", e164=MAIN if match == "exact" else number),),
        ),
        deal,
    ),
    st.sampled_from(["", "Jean Dupont", "dupont jean", "Marie Martin", "Acme SA"]),
    st.sampled_from([Kind.CONTACT, Kind.LEAD, Kind.COMPANY]),
    st.sampled_from(["exact", "national"]),
    st.integers(0, 3),
    st.integers(0, 2),
    st.booleans(),
    st.sampled_from([None, "+33446681800"]),
)


@given(st.lists(CONTACTS, max_size=6, unique_by=lambda one: one.record))
def test_a_decision_holds_together(candidates: list[Candidate]) -> None:
    """Whatever CRMs answer: nobody is invented, a known caller is one of the best matches, order does not matter."""
    match = decide(candidates, e164=MAIN)
    assert all(one in candidates for one in match.ranked)
    assert all(one in match.ranked for one in match.same)
    assert (match.best is None) == (match.status != "known")
    if match.best is not None:
        assert match.best.exact == any(one.exact for one in match.ranked)
    if match.status == "several":
        assert len(match.ranked) > 1
    again = decide(list(reversed(candidates)), e164=MAIN)
    assert (again.status, again.ranked) == (match.status, match.ranked)
