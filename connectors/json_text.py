"""JSON from strangers: one function, bounded before the parser sees it (security.md §9). Pure."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import msgspec

DEPTH = 64
SIZE = 8 * 1024 * 1024
_LOWEST_INTEGER, _HIGHEST_INTEGER = -(2**63), 2**64 - 1

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_LONG_NUMBER = re.compile(rb'(?<!["\d])\d{19}')
_NINETEEN_DIGITS = b"0" * 19
_DIGITS_AS_ONE = bytes.maketrans(b"123456789", b"000000000")  # one pass in C: the pattern alone takes 20 µs for a call
_SURROGATE = re.compile("[\ud800-\udfff]")
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_ALL_BUT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


class BadJson(ValueError):
    """Not JSON, or JSON outside the bounds. The text says which, and quotes nothing of it."""


def parse_json(body: bytes, *, most: int = SIZE) -> Any:
    """Read one JSON value from at most `most` bytes.

    Strings come out free of NUL and of lone surrogates (U+FFFD instead), also as keys; bytes that are no UTF-8 become
    U+FFFD too. Nesting ends at 64. Integers are those of 64 bits, numbers are finite. Of equal keys the last one wins.
    Raises `BadJson` and nothing else.
    """
    if len(body) > most:
        raise BadJson(f"longer than {most} bytes")
    body = body.removeprefix(b"\xef\xbb\xbf")
    if _too_deep(body):
        raise BadJson(f"nested deeper than {DEPTH}")
    if _is_clean(body):
        try:
            return msgspec.json.decode(body)
        except UnicodeDecodeError:
            pass  # the lenient reading below replaces what is no UTF-8
        except msgspec.ValidationError:
            raise BadJson("a number is out of range") from None
        except (msgspec.DecodeError, RecursionError):
            raise BadJson("not JSON") from None
    try:
        value = json.loads(
            body.decode("utf-8", "replace"), parse_constant=_no_constant, parse_int=_integer, parse_float=_float
        )
    except BadJson:
        raise
    except (ValueError, RecursionError):
        raise BadJson("not JSON") from None
    return _cleaned(value)


def is_plain(body: bytes) -> bool:
    """Whether any parser may read `body` and answer what `parse_json` would: bounded, and nothing in it to clean."""
    return len(body) <= SIZE and _is_clean(body) and not _too_deep(body)


def is_json(body: bytes) -> bool:
    """Whether `body` is plain (`is_plain`) and JSON; False may also mean that somebody has to look more closely."""
    if not is_plain(body):
        return False
    try:
        _SKIP.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


_SKIP = msgspec.json.Decoder(msgspec.Raw)  # reads to the end, makes nothing of it


def _is_clean(body: bytes) -> bool:
    """No escaped NUL or surrogate, and no number that may be out of range: nineteen digits outside a string's beginning."""
    if b"\\u" in body:
        return False
    return _NINETEEN_DIGITS not in body.translate(_DIGITS_AS_ONE) or not _LONG_NUMBER.search(body)


def clean(text: str) -> str:
    """`text` without NUL, lone surrogates replaced: fit for every store and every encoder."""
    return _SURROGATE.sub("�", text.replace("\x00", ""))


def _too_deep(body: bytes) -> bool:
    """Whether brackets outside strings nest deeper than `DEPTH`: decided without recursion, by peeling off pairs."""
    if body.count(b"[") + body.count(b"{") <= DEPTH:
        return False
    brackets = _STRING.sub(b"", body).translate(_ONE_KIND, _ALL_BUT_BRACKETS)
    for _ in range(DEPTH):
        outer = brackets.replace(b"[]", b"")
        if len(outer) == len(brackets):
            break
        brackets = outer
    return bool(brackets)


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return clean(value)
        case list():
            return [_cleaned(item) for item in value]
        case dict():
            return {clean(key): _cleaned(item) for key, item in value.items()}
        case _:
            return value


def _no_constant(name: str) -> Any:
    raise BadJson(f"{name} is not JSON")


def _integer(digits: str) -> int:
    value = int(digits) if len(digits) <= 20 else 2**64
    if not _LOWEST_INTEGER <= value <= _HIGHEST_INTEGER:
        raise BadJson("a number is out of range")
    return value


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise BadJson("a number is out of range")
    return value
