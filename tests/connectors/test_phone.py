"""Numbers as people, platforms and CRMs write them."""

import random
from collections.abc import Iterator

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import phone

SWISS = "+41446681800"


@pytest.mark.parametrize(
    ("raw", "region", "expected"),
    [
        ("+41 44 668 18 00", None, SWISS),
        ("  +41446681800\t", None, SWISS),
        ("044 668 18 00", "CH", SWISS),
        ("044 668 18 00", "ch", SWISS),
        ("044/668.18.00", "CH", SWISS),
        ("+41 (0)44 668 18 00", None, SWISS),
        ("0041446681800", "CH", SWISS),
        ("0041446681800", None, SWISS),
        ("0041446681800", "US", SWISS),
        ("41446681800", None, SWISS),
        ("41446681800", "FR", SWISS),
        ("（044）６６８１８００", "CH", SWISS),
        ("\x00+41446681800\x00", None, SWISS),
        ("sip:+41446681800@10.0.0.1;user=phone", None, SWISS),
        ("sips:%2B41446681800@pbx.example", None, SWISS),
        ("sip:0446681800@pbx.example", "CH", SWISS),
        ('"Reception" <sip:+41446681800;ext=12@pbx.example>', None, SWISS),
        ("tel:+41-44-668-18-00", None, SWISS),
        ("tel:044-668-18-00;phone-context=+41", None, SWISS),
        ("+1-800-FLOWERS", None, "+18003569377"),
        ("1-800-FLOWERS", "US", "+18003569377"),
        ("044 668 18 00", None, None),  # whose 044?
        ("044 668 18 00", "XX", None),
        ("668 18 00", "CH", None),  # local only
        ("+41 44 668 XX 00", None, None),
        ("+4144668****", None, None),
        ("+4144668••••", None, None),
        ("112", "CH", None),
        ("911", "US", None),
        ("144", "CH", None),
        ("0", "CH", None),
        ("sip:alice@pbx.example", "CH", None),
        ("tel:", "CH", None),
        ("not a number", "CH", None),
        ("9" * 300, "CH", None),
        ("anonymous", "CH", None),
        ("+266696687", "CH", None),
        ("", "CH", None),
        (None, "CH", None),
    ],
)
def test_a_number_is_read_however_it_is_written(raw: str | None, region: str | None, expected: str | None) -> None:
    number = phone.read(raw, region)
    assert (phone.e164(number) if number else None) == expected


@pytest.mark.parametrize(
    "raw", ["+41446681800x12", "+41446681800 ext. 12", "+41446681800 #12", "tel:+41446681800;ext=12"]
)
def test_an_extension_is_kept_apart(raw: str) -> None:
    """Glued to the number it would make the caller a stranger."""
    number = phone.read(raw)
    assert number is not None
    assert (phone.e164(number), number.extension) == (SWISS, "12")


@pytest.mark.parametrize(
    "raw",
    [
        None, "", "  ", "anonymous", "Anonymous", "RESTRICTED", "unavailable", "unknown", "private", "Private Number",
        "blocked", "withheld", "No Caller ID", "sip:anonymous@anonymous.invalid", '"Anonymous" <sip:anonymous@anonymous.invalid>',
        "+266696687", "266696687", "+7378742833", "+86282452253", "+2562533", "+8656696",
    ],
)  # fmt: skip
def test_a_withheld_number_is_told_from_an_unreadable_one(raw: str | None) -> None:
    assert phone.withheld(raw)
    assert phone.read(raw, "CH") is None


@pytest.mark.parametrize(
    "raw", ["+41446681800", "112", "sip:alice@pbx.example", "x", "Mr Unknown Smith", "+86 28 8245 2253"]
)
def test_what_is_no_withheld_number(raw: str) -> None:
    assert not phone.withheld(raw)


def test_spellings_are_those_people_type_into_a_crm() -> None:
    number = phone.read(SWISS)
    assert number is not None
    assert phone.spellings(number) == (
        "+41446681800",
        "+41 44 668 18 00",
        "044 668 18 00",
        "0446681800",
        "0041446681800",
        "41446681800",
        "446681800",
    )
    assert all(phone.same(number, spelling, "CH") == "exact" for spelling in phone.spellings(number))


@pytest.mark.parametrize(
    ("raw", "region", "expected"),
    [
        ("+41 44 668 18 00", None, "exact"),
        ("+41446681800 x7", None, "exact"),
        ("044 668 18 00", "CH", "exact"),
        ("044 668 18 00", None, "national"),
        ("+49 44 6681800", None, "national"),  # Germany's, with the same national digits
        ("+41 44 668 18 01", None, None),
        ("call the office", None, None),
        (None, None, None),
        ("", None, None),
    ],
)
def test_same_says_how_two_numbers_agree(raw: str | None, region: str | None, expected: str | None) -> None:
    number = phone.read(SWISS)
    assert number is not None
    assert phone.same(number, raw, region) == expected


@given(st.text(max_size=400), st.sampled_from([None, "CH", "FR", "US", "XX", ""]))
def test_any_text_gets_an_answer(raw: str, region: str | None) -> None:
    number = phone.read(raw, region)
    if number is None:
        return
    assert not phone.withheld(raw)
    again = phone.read(phone.e164(number))
    assert again is not None
    assert phone.e164(again) == phone.e164(number)


@given(st.integers(200000000, 999999999), st.sampled_from(["", " ", "-", "."]))
def test_possible_numbers_survive_any_grouping(digits: int, gap: str) -> None:
    text = str(digits)
    grouped = "+41" + gap + gap.join((text[:2], text[2:5], text[5:7], text[7:]))
    number = phone.read(grouped)
    assert number is not None
    assert phone.e164(number) == f"+41{digits}"


def _of_every_region() -> Iterator[str]:
    """libphonenumber's example of every type in every region, and each with some of its digits changed."""
    chance = random.Random(20261122)
    for country, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items():
        for region in regions:
            for type in phonenumbers.PhoneNumberType.values():
                example = phonenumbers.example_number_for_type(region, type) if region != "001" else None
                example = example or phonenumbers.example_number_for_non_geo_entity(country)
                if example is None:
                    continue
                text = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
                start = 1 + len(str(country))
                yield text
                yield text[:start] + chance.choice("0189") + text[start:]
                for _ in range(4):
                    at = chance.randrange(start, len(text))
                    text = text[:at] + chance.choice("0123456789") + text[at + 1 :]
                    yield text


def test_a_number_in_e164_is_read_as_the_parser_reads_it() -> None:
    """What is E.164 already skips the parser; a space makes it take the long way."""
    quick = 0
    for text in _of_every_region():
        if not 8 <= len(text) <= 16:
            continue
        assert phone.read(text) == phone.read(f"{text[:2]} {text[2:]}"), text
        quick += phone._as_it_stands(text) is not None
    assert quick > 3_000
