"""The invented clientele: the same every time, messy on purpose, and readable."""

from __future__ import annotations

import phonenumbers
import pytest

from connectors.sandbox.clock import Clock
from connectors.sandbox.hubspot import Portal
from connectors.sandbox.hubspot.demo import fill
from connectors.sandbox.seed import KNOWN, SPELLINGS, invent, plain
from tests.connectors.sandbox.world import START


def test_a_story_told_twice_is_the_same() -> None:
    assert invent(seed=3) == invent(seed=3)
    assert invent(seed=3) != invent(seed=4)


def test_everybody_has_a_number_that_means_something() -> None:
    people = invent(people=400).people
    assert len(people) == 400
    assert people[: len(KNOWN)] == KNOWN
    for person in people:
        assert person.e164
        assert person.phone or person.mobile
        assert all(phonenumbers.is_valid_number(phonenumbers.parse(e164)) for e164 in person.e164)


def test_the_caller_of_the_demo_is_alone_with_his_number() -> None:
    people = invent(people=1000).people
    assert [person.last_name for person in people if "+41446681800" in person.e164] == ["Dupont"]


def test_all_languages_and_many_spellings_are_there() -> None:
    people = invent().people
    assert {person.language[:2] for person in people} >= {"de", "fr", "it", "en"}
    assert {person.tier for person in people} >= {"lead", "customer", "opportunity"}
    number = phonenumbers.parse("+41446681800")
    assert len({spell(number) for spell in SPELLINGS}) == len(SPELLINGS) - 1  # the usual one is there twice
    assert any(" / " in person.phone for person in people)  # two in one field


def test_a_filled_portal_has_the_same_ids_every_time() -> None:
    one, two = Portal(1, "A"), Portal(1, "A")
    for portal in (one, two):
        fill(portal, now=START)
    assert [*one.crm.all("contact")] == [*two.crm.all("contact")]
    counts = {kind: len(list(one.crm.all(kind))) for kind in one.crm.kinds()}
    assert counts["contact"] == 220
    assert min(counts[kind] for kind in ("company", "call", "deal", "ticket")) >= 20
    dupont = one.crm.holder("contact", "email", "jean.dupont@atelier-dupont.example")
    assert dupont is not None
    assert dupont.properties["hs_calculated_phone_number"] == "+41446681800"
    assert one.crm.linked("contact", dupont.id, "company")


@pytest.mark.parametrize(
    ("text", "folded"), [("Étienne & Söhne", "etienne-soehne"), ("Noémie", "noemie"), ("Brülisacher", "bruelisacher")]
)
def test_names_become_addresses(text: str, folded: str) -> None:
    assert plain(text) == folded


def test_time_stands_still_until_it_is_moved() -> None:
    clock = Clock(START)
    assert clock() == clock() == START
