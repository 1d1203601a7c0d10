"""What numbers a field holds: spellings of six countries, prose, and what cannot be read."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import PhoneNumber, PhoneNumberFormat, PhoneNumberType

from connectors import phone
from connectors.crm.records import Phone
from gateway.directory.numbers import PER_FIELD, PER_RECORD, Reading, country_of, example, held, in_field

SWISS = Reading(("CH", "DE"))
CASES: Sequence[tuple[str, list[str]]] = [
    ("044 668 18 00", ["+41446681800"]),
    ("+41 (0)44 668 18 00", ["+41446681800"]),
    ("0041446681800", ["+41446681800"]),
    ("41446681800", ["+41446681800"]),
    ("044/668.18.00", ["+41446681800"]),
    ("044 668 18 00 int. 12", ["+41446681800"]),
    ("+41 44 668 18 00 ext. 12", ["+41446681800"]),
    ("privat: 079 668 18 01, nur abends", ["+41796681801"]),
    ("044 668 18 00 / 079 668 18 01", ["+41446681800", "+41796681801"]),
    ("044 668 18 00 oder 079 668 18 01", ["+41446681800", "+41796681801"]),
    ("Tel. 044 668 18 00; Fax 044 668 18 09", ["+41446681800", "+41446681809"]),
    ("bureau 044 668 18 00\n+39 06 6982 0001", ["+41446681800", "+390669820001"]),
    ("030 901820", ["+4930901820"]),
    ("089/12345678", ["+498912345678"]),
    ("+39 02 1234 5678", ["+390212345678"]),
    ("tel:+41-44-668-18-00", ["+41446681800"]),
    ("117", []),
    ("keine", []),
    ("", []),
    ("+41 44 XXX XX 00", []),
    ("on request", []),
    ("99999999999999999999", []),
    ("x" * 10_000, []),
    ("044 668 18 00 " + "x" * 10_000, ["+41446681800"]),
]


@pytest.mark.parametrize(("raw", "numbers"), CASES, ids=[repr(raw)[:40] for raw, _ in CASES])
def test_a_field(raw: str, numbers: list[str]) -> None:
    found, unreadable = held([Phone(raw=raw, label="phone")], SWISS)
    assert [one.e164 for one in found] == numbers
    assert bool(unreadable) == bool(raw and not numbers)


def test_a_guessed_country_is_said_to_be_guessed() -> None:
    found, _ = held([Phone(raw="030 901820", label="a"), Phone(raw="+49 30 901821", label="b")], SWISS)
    assert [(one.e164, one.match) for one in found] == [("+4930901820", "national"), ("+4930901821", "exact")]


def test_of_a_number_in_two_fields_the_surer_reading_counts() -> None:
    found, _ = held([Phone(raw="030 901820", label="a"), Phone(raw="+49 30 901820", label="b")], SWISS)
    assert [(one.label, one.match) for one in found] == [("b", "exact")]


def test_the_tenants_own_numbers_are_nobodys_and_not_unreadable() -> None:
    reading = Reading(("CH",), frozenset({"+41446681800"}))
    assert held([Phone(raw="044 668 18 00", label="a")], reading) == ([], [])


def test_numbers_are_bounded() -> None:
    field = " / ".join(f"+4144668180{n}" for n in range(9))
    assert len(in_field(field, ("CH",))) == PER_FIELD
    many = [Phone(raw=f"+4144668{n:04d}", label="x") for n in range(100)]
    assert len(held(many, SWISS)[0]) == PER_RECORD


def test_examples_name_nobody() -> None:
    shown = example(Phone(raw="Jean Dupont 079 668 18", label="mobile"))
    assert shown == "mobile: x x 079 ••• ••"


def test_countries_of_zones() -> None:
    assert [country_of(zone) for zone in ("Europe/Zurich", "Europe/Berlin", "UTC", None)] == ["CH", "DE", None, None]


@given(st.text(max_size=400))
def test_any_text_is_read_in_bounded_time(raw: str) -> None:
    began = time.process_time()
    found, _ = held([Phone(raw=raw, label="x")], SWISS)
    assert time.process_time() - began < 1
    assert all(phonenumbers.is_possible_number(phonenumbers.parse(one.e164)) for one in found)


# ── 2,000 contacts in six countries ─────────────────────────────────────────────────────────────────────────────────

COUNTRIES = ("CH", "FR", "DE", "IT", "GB", "US")
SEPARATORS = ("", " ", "-", ".", "/", "  ")


def _national(number: PhoneNumber, rolled: random.Random) -> str:
    """As people write it at home, with separators of all sorts at the usual places."""
    text = phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)
    return rolled.choice(SEPARATORS).join(text.replace("(", "").replace(")", "").replace("-", " ").split())


def _international(number: PhoneNumber, rolled: random.Random) -> str:
    return phonenumbers.format_number(number, PhoneNumberFormat.INTERNATIONAL)


def _spellings(number: PhoneNumber, home: bool, rolled: random.Random) -> list[str]:
    plain = phone.e164(number)
    code = str(number.country_code)
    international = _international(number, rolled)
    spelt = [
        plain,
        international,
        international.replace(" ", rolled.choice((".", "-", "\u00a0"))),
        f"00{plain[1:]}",
        f"tel:{plain}",
        f" {international} ",
        f"{international} ext. {rolled.randrange(10, 99)}",
        f"privat: {international}, nur abends",
        f"({plain[: len(code) + 1]}) {plain[len(code) + 1 :]}",
    ]
    if number.country_code in (41, 44, 49, 33):
        spelt.append(f"+{code} (0){international.removeprefix(f'+{code}').strip()}")
    if home:
        spelt += [
            phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL),
            _national(number, rolled),
            f"Tel. {_national(number, rolled)}",
        ]
    return spelt


def _number(region: str, taken: set[str], rolled: random.Random) -> PhoneNumber:
    """A valid number nobody else has, made by changing digits of the country's example."""
    kinds = (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE)
    while True:
        model = phonenumbers.example_number_for_type(region, rolled.choice(kinds))
        assert model is not None
        digits = phonenumbers.national_significant_number(model)
        tail = "".join(rolled.choice("0123456789") for _ in range(6))
        text = f"+{model.country_code}{digits[:-6]}{tail}"
        number = phonenumbers.parse(text)
        if phonenumbers.is_valid_number(number) and text not in taken and phone.e164(number) == text:
            taken.add(text)
            return number


@pytest.mark.parametrize("home", COUNTRIES)
def test_every_spelling_of_every_number_finds_its_owner_and_no_number_finds_a_stranger(home: str) -> None:
    """2,004 contacts, 334 for a tenant of each country, in all six countries' numbers and every spelling in turn."""
    rolled = random.Random(7)
    taken: set[str] = set()
    reading = Reading((home,))
    owner: dict[str, int] = {}
    wrong: list[tuple[str, str, list[str]]] = []
    for contact in range(334):
        region = COUNTRIES[contact % len(COUNTRIES)]
        number = _number(region, taken, rolled)
        owner[phone.e164(number)] = contact
        for spelt in _spellings(number, region == home, rolled):
            found, _ = held([Phone(raw=spelt, label="phone")], reading)
            said = [one.e164 for one in found]
            if said != [phone.e164(number)]:
                wrong.append((spelt, phone.e164(number), said))
    assert len(owner) == 334
    assert wrong == []
