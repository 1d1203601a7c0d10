"""Salesforce's ids: fifteen characters in which case matters, and three more that say which of them are upper case."""

from __future__ import annotations

import re

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # in the order ids are sorted
_CHECK = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
SHAPE = re.compile(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?", re.ASCII)


def make(prefix: str, number: int) -> str:
    """The `number`-th id of the objects with this prefix; ids made later sort later."""
    digits = ""
    while number:
        number, rest = divmod(number, 62)
        digits = _DIGITS[rest] + digits
    return whole(f"{prefix}gw{digits.rjust(10, '0')}")


def whole(id: str) -> str:
    """Eighteen characters from fifteen or eighteen."""
    fifteen = id[:15]
    groups = (fifteen[start : start + 5] for start in (0, 5, 10))
    return fifteen + "".join(
        _CHECK[sum(1 << at for at, sign in enumerate(group) if sign.isascii() and sign.isupper())] for group in groups
    )


def is_id(text: str) -> bool:
    return SHAPE.fullmatch(text) is not None
