"""JSON from strangers cannot crash us, and cannot plant what our stores refuse."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.json_text import BadJson, parse_json

DEEP = 64


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": [1, 2.5, null, true, "x"]}', {"a": [1, 2.5, None, True, "x"]}),
        (b"\xef\xbb\xbf[]", []),
        (b'"a\\u0000b"', "ab"),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'"\\ud83d"', "�"),
        (b'{"\\udc00": "\\u0000"}', {"�": ""}),
        (b'"\xff"', "�"),
        (b'"\xed\xa0\x80"', "�" * 3),  # a surrogate as bytes
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'"12345678901234567890123"', "12345678901234567890123"),
        (b"18446744073709551615", 2**64 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b'{"x": "' + b"[" * 200 + b'"}', {"x": "[" * 200}),
        (b"[" * DEEP + b"]" * DEEP, None),
    ],
)
def test_what_is_read(body: bytes, expected: Any) -> None:
    value = parse_json(body)
    if expected is not None:
        assert value == expected


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"nul", b"[1,]", b"{'a': 1}", b"<html></html>", b'"a\nb"', b"[] []",
        b"NaN", b"Infinity", b"[-Infinity]", b"1e999", b'["\\u0041", 1e999]', b'["\\u0041", NaN]',
        b"18446744073709551616", b"-9223372036854775809", b"9" * 5000, b'["\\u0041", ' + b"9" * 5000 + b"]",
        b"[" * (DEEP + 1) + b"]" * (DEEP + 1), b'{"a":' * 70 + b"1" + b"}" * 70, b"[" * 200_000, b"{" * 200_000,
        b"[{" * 100_000, b'{"a":[' * 100_000,
    ],
)  # fmt: skip
def test_what_is_refused(body: bytes) -> None:
    with pytest.raises(BadJson):
        parse_json(body)


def test_size_is_bounded_before_anything_is_read() -> None:
    assert parse_json(b"[1]", most=3) == [1]
    with pytest.raises(BadJson, match="longer than 2 bytes"):
        parse_json(b"[1]", most=2)


def test_errors_quote_nothing() -> None:
    with pytest.raises(BadJson) as caught:
        parse_json(b'{"token": "very-secret" oops}')
    assert "very-secret" not in str(caught.value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=40,
)  # fmt: skip


@given(VALUES, st.booleans())
def test_clean_values_come_back_as_they_were(value: Any, ascii_only: bool) -> None:
    if "\\u0000" in json.dumps(value):
        return
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    again = parse_json(body)
    assert json.dumps(again, sort_keys=True) == json.dumps(value, sort_keys=True)


@given(st.binary(max_size=400) | st.text(alphabet='[]{}",:\\u0d8e1-.', max_size=400).map(str.encode))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        value = parse_json(body)
    except BadJson:
        return
    _check(value)


def _check(value: Any) -> None:
    if isinstance(value, str):
        assert "\x00" not in value
        value.encode()
    elif isinstance(value, float):
        assert math.isfinite(value)
    elif isinstance(value, list):
        for item in value:
            _check(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check(key)
            _check(item)
