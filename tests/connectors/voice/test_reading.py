"""Foreign values read as ours, or as nothing; never an error."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.voice import reading
from connectors.voice.port import BadEvent

FIVE_PAST = datetime(2026, 3, 2, 17, 4, 13, 300000, tzinfo=UTC)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (1772471053300, FIVE_PAST),
        (1772471053.3, FIVE_PAST),
        ("1772471053300", FIVE_PAST),
        ("2026-03-02T17:04:13.300Z", FIVE_PAST),
        ("2026-03-02T18:04:13.300+01:00", FIVE_PAST),
        ("2026-03-02T17:04:13.300", FIVE_PAST),
        (" 2026-03-02T17:04:13.300Z ", FIVE_PAST),
        (0, None),
        (-5, None),
        (10**17, None),
        (float("nan"), None),
        (True, None),
        ("yesterday", None),
        ("0001-01-01T00:00:00+14:00", None),
        (None, None),
        ({}, None),
    ],
)
def test_a_time_in_any_unit_is_one_moment(given_: object, expected: datetime | None) -> None:
    assert reading.moment(given_) == expected


@pytest.mark.parametrize(
    ("given_", "expected"),
    [("18.8", 18.8), (18, 18.0), ("", None), ("eighteen", None), ("inf", None), (True, None), (None, None), ([], None)],
)
def test_a_number_may_be_a_string_and_is_always_finite(given_: object, expected: float | None) -> None:
    assert reading.number(given_) == expected


@pytest.mark.parametrize(
    ("given_", "expected"),
    [(" Jean ", "Jean"), (41446681800, "41446681800"), ("  ", None), (True, None), (1.5, None), (10**18, None)],
)
def test_text_is_a_string_with_something_in_it(given_: object, expected: str | None) -> None:
    assert reading.text(given_) == expected


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://storage.example.invalid/a.wav?x=1", True),
        ("http://storage.example.invalid/a.wav", False),
        ("https://user:pass@storage.example.invalid/a.wav", False),
        ("https:///a.wav", False),
        ("https://storage.example.invalid:port/a.wav", False),
        ("https://storage.example.invalid/a b.wav", False),
        ("https://storage.example.invalid/\n", False),
        ("https://[::1/a.wav", False),
        ("https://storage.example.invalid/" + "a" * 2048, False),
        ("javascript:alert(1)", False),
        (None, False),
    ],
)
def test_a_recording_address_is_https_or_nothing(url: str | None, kept: bool) -> None:
    assert reading.https_url(url) == (url if kept else None)


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("end-of-call-report", "end-of-call-report"),
        ('transcript[transcriptType="final"]', 'transcript[transcriptType="final"]'),
        ("call +41446681800 now", "unknown"),
        ("a\nb", "unknown"),
        ("x" * 65, "unknown"),
        (None, "unknown"),
    ],
)
def test_the_name_of_an_event_can_be_logged(given_: object, expected: str) -> None:
    assert reading.label(given_) == expected


def test_only_our_own_lookup_id_is_believed() -> None:
    foreign = ({"gateway_lookup_id": "ca_01"}, {"gateway_lookup_id": 7}, None, {"gateway_lookup_id": "lk_01 or 1=1"})
    assert reading.lookup_id(*foreign) is None
    assert reading.lookup_id(*foreign, {"gateway_lookup_id": "lk_01"}) == "lk_01"


def test_no_line_break_of_any_kind_survives() -> None:
    """Vapi drops a tool's answer with a line break in it, and the caller hears silence."""
    assert reading.one_line(" Jean\r\nDupont\u2028gold\x85\t1\x0bdeal\x00 ") == "Jean Dupont gold 1 deal"


def test_variables_are_strings() -> None:
    flat = reading.flat_strings({"known": True, "new": False, "deals": 2, "name": "Jean", "tier": None, "list": [1]})
    assert flat == {"known": "true", "new": "false", "deals": "2", "name": "Jean", "tier": ""}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"null", b"\xff", b"[" * 100_000, b'{"a": NaN}'])
def test_what_is_no_object_is_a_bad_event(body: bytes) -> None:
    with pytest.raises(BadEvent):
        reading.read_object(body)


@given(value=JSON)
def test_no_value_is_too_strange_to_read(value: object) -> None:
    for read in (
        reading.mapping,
        reading.items,
        reading.text,
        reading.number,
        reading.moment,
        reading.ident,
        reading.label,
        reading.lookup_id,
        reading.https_url,
    ):
        read(value)
