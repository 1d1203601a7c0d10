"""Values brought into shape for a CRM, or left out with a reason."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.shapes import MAX_BODY, Shape, Unfit, as_text, due, fit, one_line

FRIDAY = date(2026, 11, 20)


def fitted(value: Any, shape: Shape, choices: tuple[str, ...] = ()) -> Any:
    return fit(value, shape, choices=choices, today=FRIDAY, max_amount=1_000.0)


@pytest.mark.parametrize(
    ("words", "day"),
    [
        ("today", "2026-11-20"),
        ("Tomorrow", "2026-11-21"),
        ("+2 days", "2026-11-22"),
        ("+1 week", "2026-11-27"),
        ("next business day", "2026-11-23"),
        ("+3 business days", "2026-11-25"),
        ("+0 business days", "2026-11-20"),
        ("2026-12-24", "2026-12-24"),
        (" 2026-12-24 ", "2026-12-24"),
        ("2026-12-24T10:00+01:00", "2026-12-24T10:00+01:00"),
        (datetime(2026, 12, 24, 9, tzinfo=UTC), "2026-12-24T09:00+00:00"),
    ],
)
def test_due_is_a_day_or_a_time(words: Any, day: str) -> None:
    """A task on the wrong day is a promise to a customer broken."""
    assert due(words, today=FRIDAY) == day


@pytest.mark.parametrize(
    "words",
    ["soon", "", "-2 days", "+400 days", "+60 weeks", "+2 business weeks", "2026-13-01", "2026-12-24T10:00", 5, True],
)
def test_what_is_no_day_is_left_out(words: Any) -> None:
    with pytest.raises(Unfit):
        due(words, today=FRIDAY)


@pytest.mark.parametrize(
    ("value", "shape", "result"),
    [
        ("  a\r\nb\u202e\u200b c\x07 ", Shape.LINE, "a b c"),
        ("e\u0301", Shape.LINE, "é"),
        ("a\r\nb\x00", Shape.BODY, "a\nb"),
        ("x" * (MAX_BODY + 1), Shape.BODY, "x" * MAX_BODY),
        ("a" * 300, Shape.LINE, "a" * 255),
        (" Qualified ", Shape.NAME, "Qualified"),
        ("mara@example.ch", Shape.EMAIL, "mara@example.ch"),
        ("CHF", Shape.CURRENCY, "CHF"),
        (1_000, Shape.AMOUNT, 1_000),
        ("99.5", Shape.AMOUNT, 99.5),
        (True, Shape.FIELDS, True),
        (["a", "b"], Shape.FIELDS, ["a", "b"]),
        (datetime(2026, 11, 20, tzinfo=UTC), Shape.FIELDS, "2026-11-20T00:00:00+00:00"),
    ],
)
def test_what_fits(value: Any, shape: Shape, result: Any) -> None:
    assert fitted(value, shape) == result


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ("  ", Shape.NAME),
        ("mara@example.ch, eve@example.net", Shape.EMAIL),
        ("Mara <mara@example.ch>", Shape.EMAIL),
        ("mara@example", Shape.EMAIL),
        ("mara@example.ch\nbcc: eve@example.net", Shape.EMAIL),
        ("chf", Shape.CURRENCY),
        (1_001, Shape.AMOUNT),
        (-1, Shape.AMOUNT),
        (True, Shape.AMOUNT),
        ("much", Shape.AMOUNT),
        ("nan", Shape.AMOUNT),
        (float("inf"), Shape.AMOUNT),
        ("immediately", Shape.CHOICE),
    ],
)
def test_what_does_not_fit_is_refused(value: Any, shape: Shape) -> None:
    """A second recipient, a guessed amount or an unknown word must not reach a CRM."""
    with pytest.raises(Unfit):
        fitted(value, shape, choices=("low", "high"))


def test_reasons_do_not_repeat_the_value() -> None:
    """What did not fit was often spoken; notes are kept longer than transcripts."""
    with pytest.raises(Unfit) as refused:
        fitted("call Odile at home", Shape.EMAIL)
    assert "Odile" not in str(refused.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (85.0, "85"),
        (0.5, "0.5"),
        (["a", 1.0], "a, 1"),
        (datetime(2026, 11, 20, 9, tzinfo=UTC), "2026-11-20 09:00+00:00"),
        (timedelta(seconds=90), "90 s"),
        ({"what": "call back", "due": "2026-11-23"}, "call back (2026-11-23)"),
        ({"what": "call back"}, "call back"),
        ({"rooms": 3.0}, "rooms: 3"),
    ],
)
def test_values_read_as_a_person_writes_them(value: Any, text: str) -> None:
    assert as_text(value) == text


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    """A subject with a line break is a header injection somewhere."""
    line = one_line(text, 50)
    assert len(line) <= 50
    assert len(line.splitlines()) <= 1
    assert one_line(line, 50) == line


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(json_values, st.sampled_from(list(Shape)))
def test_any_value_fits_or_is_unfit(value: Any, shape: Shape) -> None:
    """The tenant's own data can hold anything; a decision must not fail on it."""
    try:
        fitted(value, shape, choices=("low", "high"))
    except Unfit as unfit:
        assert str(unfit)  # noqa: PT017 - either answer is right
