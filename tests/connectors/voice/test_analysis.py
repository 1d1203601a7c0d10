"""Tenants name their fields as they like; a few names are understood, and all fields are kept."""

from typing import Any

import pytest

from connectors.voice.analysis import flag, read_analysis
from connectors.voice.events import Promise


@pytest.mark.parametrize(
    ("data", "field", "expected"),
    [
        ({"type": "Complaint"}, "type", "complaint"),
        ({"callType": "sales"}, "type", "sales"),
        ({"Call Type": "sales"}, "type", "sales"),
        ({"sentiment": "Positive"}, "sentiment", "positive"),
        ({"sentiment": "unknown"}, "sentiment", None),
        ({"sentiment": 3}, "sentiment", None),
        ({"intent": "Purchase"}, "intents", ("purchase",)),
        ({"intents": ["Purchase", "purchase", None, ""]}, "intents", ("purchase",)),
        ({"intents": "purchase, support; refund"}, "intents", ("purchase", "support", "refund")),
        ({"products": ["X 200"]}, "products", ("X 200",)),
        ({"questions": "When, and where?"}, "questions", ("When, and where?",)),
        ({"score": "85%"}, "score", 85.0),
        ({"leadScore": 85}, "score", 85.0),
        ({"score": "high"}, "score", None),
        ({"success": "yes"}, "success", True),
        ({"promises": "call back"}, "promises", (Promise(what="call back"),)),
        (
            {"promises": [{"what": "call back", "due": "2026-11-23"}, "send a quote", {"due": "soon"}, 7.5, None]},
            "promises",
            (Promise(what="call back", due="2026-11-23"), Promise(what="send a quote")),
        ),
        (
            {"promise": {"Action": "call back", "When": "tomorrow"}},
            "promises",
            (Promise(what="call back", due="tomorrow"),),
        ),
    ],
)
def test_understood_names(data: dict[str, Any], field: str, expected: object) -> None:
    read = read_analysis(data)
    assert read is not None
    assert getattr(read, field) == expected
    assert read.data == data


def test_the_platforms_own_judgement_wins() -> None:
    read = read_analysis(
        {"sentiment": "angry", "success": False, "score": 1}, sentiment="Positive", success=True, score=9
    )
    assert read is not None
    assert (read.sentiment, read.success, read.score) == ("positive", True, 9.0)


def test_nothing_said_is_nothing() -> None:
    """An empty analysis must not look like one, or a later one could not fill it."""
    assert read_analysis({}, sentiment="Unknown", success=None) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        ("true", True),
        (" Pass ", True),
        ("false", False),
        ("FAIL", False),
        ("8", None),
        ("Good", None),
        (1, None),
    ],
)
def test_success_only_where_it_is_clear(value: object, expected: bool | None) -> None:
    assert flag(value) is expected
