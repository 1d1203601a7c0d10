"""What numbers a field of a CRM holds, whatever somebody typed into it. Pure; the knowledge is libphonenumber's."""

from __future__ import annotations

import functools
import importlib.resources
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import phonenumbers
from phonenumbers import Leniency, PhoneNumber, PhoneNumberMatcher

from connectors import phone
from connectors.crm.records import Phone

PER_FIELD = 5
PER_RECORD = 20
_TRIES = 20  # places in a field where a number might begin
_SHORTEST = 6  # digits of what may be a number of its own between two separators

_BETWEEN = re.compile(r"(?i)[/;,|&\r\n\t]|\b(?:oder|ou|or|und|et|and|bzw|resp|e|o)\b\.?")
_LETTERS = re.compile(r"[^\W\d_]+")
_DIGIT = re.compile(r"\d")
_SHOWN_DIGITS = 3
_LONGEST_EXAMPLE = 40


@dataclass(frozen=True)
class Reading:
    """How a tenant's fields are read.

    regions  ISO 3166, the tenant's own first: whose national spellings are tried, one after the other.
    own      the tenant's own numbers, E.164: they are nobody's.
    """

    regions: tuple[str, ...]
    own: frozenset[str] = frozenset()


@dataclass(frozen=True, repr=False)
class Number:
    """A number a record holds. `match`: exact, or national where the country was guessed from another region than the
    tenant's own. `label`: which field."""

    e164: str
    label: str
    match: str


def held(phones: Iterable[Phone], reading: Reading) -> tuple[list[Number], list[Phone]]:
    """The numbers of a record, each once, and the fields that hold something that cannot be read as one.

    Of a number in two fields the exact reading counts, then the first field. Bounded: five of a field, twenty in all.
    """
    found: dict[str, Number] = {}
    unreadable: list[Phone] = []
    for one in phones:
        if not _DIGIT.search(one.raw[: phone.LONGEST_TEXT]):
            if one.raw.strip():
                unreadable.append(one)
            continue
        numbers = in_field(one.raw, reading.regions)
        if not numbers:
            unreadable.append(one)
        for e164, match in numbers:
            known = found.get(e164)
            if e164 in reading.own or (known is not None and (known.match == "exact" or match != "exact")):
                continue
            if known is not None or len(found) < PER_RECORD:
                found[e164] = Number(e164, one.label, match)
    return list(found.values()), unreadable


@functools.lru_cache(maxsize=4096)
def in_field(raw: str, regions: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """(E.164, "exact" | "national") of every number in one field, in its order; none if there is none.

    "044 668 18 00 / 079 668 18 01" are two, "privat: 079 668 18 01, nur abends" is one, "089/12345678" is one.
    Of an endless text the first 250 characters are read.
    """
    text = raw[: phone.LONGEST_TEXT]
    parts = [part for part in _BETWEEN.split(text) if len(_DIGIT.findall(part)) >= _SHORTEST]
    if len(parts) > 1:
        several = _without_repeats(one for part in parts for one in _valid(part, regions) or _in_prose(part, regions))
        if len(several) > 1:
            return several
    found = _valid(text, regions) or _in_prose(text, regions)
    if not found and regions and (number := phone.read(text, regions[0])) is not None:
        found = ((phone.e164(number), "exact"),)  # of a length that is possible: no plan of numbers is ever up to date
    return _without_repeats(found)


def _valid(text: str, regions: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The one number that `text` spells as a whole, in the first region where there is such a number."""
    for place, region in enumerate(regions or ("",)):
        number = phone.read(text, region or None)
        if number is not None and phonenumbers.is_valid_number(number):
            return ((phone.e164(number), _match(number, text, place, region)),)
    return ()


def _in_prose(text: str, regions: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    for place, region in enumerate(regions or ("",)):
        matches = PhoneNumberMatcher(text, region or None, leniency=Leniency.VALID, max_tries=_TRIES)
        found = [(phone.e164(one.number), _match(one.number, one.raw_string, place, region)) for one in matches]
        if found:
            return tuple(found)
    return ()


def _match(number: PhoneNumber, text: str, place: int, region: str) -> str:
    """Nobody wrote the country down, and the tenant's own has no such number: a guess, and said to be one."""
    guessed = place > 0 and number.country_code == phonenumbers.country_code_for_region(region)
    written = text.lstrip("( \t").startswith(("+", "00")) or str(number.country_code) in text[:4]
    return "national" if guessed and not written else "exact"


def _without_repeats(found: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    numbers: dict[str, str] = {}
    for e164, match in found:
        if len(numbers) < PER_FIELD or e164 in numbers:
            numbers[e164] = "exact" if "exact" in (match, numbers.get(e164)) else match
    return tuple(numbers.items())


def example(one: Phone) -> str:
    """What an unreadable field looks like, without who it belongs to: "mobile: 079 ••• •• x"."""
    shown = iter(_shape(one.raw[:_LONGEST_EXAMPLE]))
    return f"{one.label[:60]}: {''.join(shown)}"


def _shape(raw: str) -> Iterator[str]:
    digits = 0
    for character in _LETTERS.sub("x", raw):
        if character.isdigit():
            digits += 1
            yield character if digits <= _SHOWN_DIGITS else "•"
        elif character.isprintable():
            yield character


@functools.cache
def _countries() -> Mapping[str, str]:
    table = (importlib.resources.files("tzdata") / "zoneinfo" / "zone.tab").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in table.splitlines() if line and not line.startswith("#"))
    return {row[2]: row[0] for row in rows}


def country_of(zone: str | None) -> str | None:
    """The country an IANA time zone is named for: "Europe/Zurich" → "CH". None for one that is of no country."""
    return _countries().get(zone or "")
