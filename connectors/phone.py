"""Telephone numbers: E.164, and the spellings worth searching. Pure; the knowledge is libphonenumber's.

Numbers reach us as people, phones and platforms write them: "+41 44 668 18 00", "044 668 18 00", "0041446681800",
"41446681800", "sip:+41446681800@10.0.0.1;user=phone", "tel:+41-44-668-18-00", "1-800-FLOWERS", "+41446681800 ext. 12".
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal
from urllib.parse import unquote

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberFormat, ValidationResult

LONGEST_TEXT = 250  # security.md §9; nothing that is a number is longer, libphonenumber's own bound is the same

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")

# What platforms send instead of a number when the caller withholds it: words, and words dialled on a keypad
# (ANONYMOUS, RESTRICTED, UNAVAILABLE, BLOCKED, UNKNOWN). Source: vendors' documents as of 2026-11.
_WITHHELD_WORDS = re.compile(
    r"(?i)(?:anonymous|restricted|unavailable|unknown|private|blocked|withheld)(?:caller|number|id)?|nocallerid|none|null"
)
_WITHHELD_DIGITS = frozenset({"266696687", "7378742833", "86282452253", "2562533", "8656696"})

_SIP = re.compile(r"(?is)^.*?<?\s*sips?:(?://)?(?P<user>[^@;?>]*)(?:[;][^@>]*)?(?:@(?P<host>[^;?>]*))?")
_TEL = re.compile(r"(?is)^.*?<?\s*(?P<tel>tel:[^?>]*)")
_EXTENSION = re.compile(r"(?i)(?<=\d)[\s.,;-]*(?:x|ext\.?|#)[\s.:=-]*\d{1,7}\s*$")
_MASKED = re.compile(r"(?i)[*•]|(?<![a-z])x+(?![a-z])")


def read(raw: str | None, region: str | None = None) -> PhoneNumber | None:
    """The number `raw` spells, or None if it spells none that could belong to someone.

    region  ISO 3166 code whose national spellings are understood ("CH"); without it only international ones are.

    An extension is kept apart in `.extension`. None is the answer for emergency and short codes (they belong to no
    person), masked digits ("+41 44 XXX XX 00"), withheld callers, SIP user names, and anything else.
    The answer is shared between callers: do not change it.
    """
    if raw is None or withheld(raw):
        return None
    return _read(raw[:LONGEST_TEXT], region.upper() if region else None)


@lru_cache(maxsize=8192)
def _read(raw: str, region: str | None) -> PhoneNumber | None:
    if _E164.fullmatch(raw) and (number := _as_it_stands(raw)) is not None:
        return number
    text = _dialled(raw)
    masked = _MASKED.search(_EXTENSION.sub("", text))
    if masked or not any(character.isdigit() for character in text):
        return None
    national = _parsed(text, region)
    if national is not None and phonenumbers.is_valid_number(national):
        return national
    digits = re.sub(r"\D", "", text).removeprefix("00")
    if (
        not text.lstrip("( ").startswith("+") and 8 <= len(digits) <= 15
    ):  # international, its plus or its region lost on the way
        plain = _parsed(f"+{digits}", None)
        if plain is not None and phonenumbers.is_valid_number(plain):
            return plain
    return national


@lru_cache(maxsize=8192)
def withheld(raw: str | None) -> bool:
    """Whether the caller hides the number: nothing at all, a word that says so, or its keypad spelling.

    Such a caller is never looked up, and never becomes a contact. A text that is merely unreadable is not withheld.
    """
    if raw is not None and _E164.fullmatch(raw):
        return raw[1:] in _WITHHELD_DIGITS
    text = _dialled(raw or "").strip()
    if not text:
        return not _is_sip_with_user(raw or "")
    if _WITHHELD_WORDS.fullmatch(re.sub(r"[\W_]+", "", text)):
        return True
    return re.sub(r"\D", "", text) in _WITHHELD_DIGITS and not re.search(r"[A-Za-z]", text)


def e164(number: PhoneNumber) -> str:
    """ "+41446681800", without an extension."""
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)


def national_digits(number: PhoneNumber) -> str:
    """The number inside its country, without trunk prefix: "446681800"."""
    return phonenumbers.national_significant_number(number)


def region_of(number: PhoneNumber) -> str | None:
    """The region to read neighbouring national spellings with, "CH"; None for world-wide services."""
    region = phonenumbers.region_code_for_country_code(number.country_code or 0)
    return None if region in ("001", "ZZ") else region


def spellings(number: PhoneNumber) -> tuple[str, ...]:
    """How people write this number into a CRM, the most telling first, without repeats.

    For CRMs that compare text: E.164, international with spaces, national with spaces, national digits with trunk
    prefix, with 00, and without any prefix.
    """
    national = phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)
    plain = e164(number)
    candidates = (
        plain,
        phonenumbers.format_number(number, PhoneNumberFormat.INTERNATIONAL),
        national,
        re.sub(r"\D", "", national),
        f"00{plain[1:]}",
        plain[1:],
        national_digits(number),
    )
    return tuple(dict.fromkeys(candidates))


def same(number: PhoneNumber, raw: str | None, region: str | None = None) -> Literal["exact", "national"] | None:
    """How `raw`, as it stands in a CRM, agrees with `number`.

    "exact"     read as a number it is the same one, extensions apart.
    "national"  only the national digits agree: another country's number, or one whose country nobody wrote down.
    """
    if raw is None:
        return None
    digits = national_digits(number)
    theirs = read(raw, region)
    if theirs is not None:
        if e164(theirs) == e164(number):
            return "exact"
        return "national" if national_digits(theirs) == digits else None
    written = re.sub(r"\D", "", _EXTENSION.sub("", _dialled(raw))).lstrip("0")
    return "national" if written and written == digits.lstrip("0") else None


def _dialled(raw: str) -> str:
    """The part of `raw` that is dialled: out of its SIP or tel URI, without control characters, cut to `LONGEST_TEXT`."""
    text = raw[:LONGEST_TEXT]
    if ":" in text:
        if tel := _TEL.match(text):
            return tel["tel"]
        if sip := _SIP.match(text):
            text = unquote(sip["user"])
    if not text.isprintable():
        text = "".join(character for character in text if character.isprintable())
    return text.strip()


def _is_sip_with_user(raw: str) -> bool:
    sip = _SIP.match(raw[:LONGEST_TEXT])
    return bool(sip and sip["user"])


def _as_it_stands(e164: str) -> PhoneNumber | None:
    """A valid number that is E.164 already, at a quarter of the parser's price; None where the parser has to look.

    The parser would come to the same: it changes nothing of what has no trunk prefix to be taken away.
    """
    for length in (1, 2, 3):
        regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(e164[1 : 1 + length]))
        if regions is None:
            continue
        national = e164[1 + length :]
        about = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(int(e164[1 : 1 + length]), regions[0])
        if about is None or national.startswith("0"):
            return None
        trunk = about.national_prefix_for_parsing
        if trunk is not None and _trunk(trunk).match(national):
            return None
        number = PhoneNumber(country_code=int(e164[1 : 1 + length]), national_number=int(national))
        return number if phonenumbers.is_valid_number(number) and _is_possible(number) else None
    return None


@lru_cache(maxsize=512)
def _trunk(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _parsed(text: str, region: str | None) -> PhoneNumber | None:
    """Parsed and of a possible length for its country, short and local-only numbers excluded."""
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    return number if _is_possible(number) else None


def _is_possible(number: PhoneNumber) -> bool:
    return phonenumbers.is_possible_number_with_reason(number) == ValidationResult.IS_POSSIBLE
