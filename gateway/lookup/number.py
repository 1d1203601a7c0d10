"""What the asker's text says about the caller's number. Pure."""

from __future__ import annotations

from functools import lru_cache

import msgspec
from phonenumbers import PhoneNumber

from connectors import phone


class Asked(msgspec.Struct, frozen=True):
    """A number somebody could have, or why there is none: `status` is then "withheld" or "unknown" (unreadable).

    Emergency and short codes belong to no person: they are read as nothing.
    """

    status: str
    number: PhoneNumber | None = None
    e164: str | None = None

    def __repr__(self) -> str:
        return "<Asked>"


def read_number(text: str, region: str | None) -> Asked:
    """`text` in any spelling, national ones with `region` (ISO 3166); of an endless text the first 250 characters."""
    return _read(text[: phone.LONGEST_TEXT], region)


@lru_cache(maxsize=8192)  # a voice agent asks again and again while one call lasts
def _read(text: str, region: str | None) -> Asked:
    number = phone.read(text, region)
    if number is None:
        return Asked("withheld" if phone.withheld(text) else "unknown")
    return Asked("known", number, phone.e164(number))
