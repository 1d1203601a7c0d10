"""What came of a call, as facts: what is known, what may still come, what never will."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from connectors.voice.events import Analysis, CallNews, Promise
from gateway.calls.merge import customer_of
from gateway.rulesets.facts import facts_of, seconds
from rules.facts import MISSING

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def facts(news: CallNews, **more: Any) -> Any:
    given: dict[str, Any] = {
        "customer": "+41446681800", "contact": None, "caller_settled": False, "previous_calls": 0, "complete": False,
        "profiling": True, "zone": "Europe/Zurich", "now": NOW, **more,
    }  # fmt: skip
    return facts_of(news, **given)


def test_what_was_not_said_may_still_come_until_the_last_event() -> None:
    """A rule about the summary waits for the analysis, and does not wait for ever."""
    assert "call.summary" in facts(CallNews(direction="inbound")).missing
    assert "call.summary" not in facts(CallNews(direction="inbound"), complete=True).missing
    assert facts(CallNews(), complete=True).get(("call", "intents")) == ()


def test_who_is_calling_may_still_come_while_the_crms_are_silent() -> None:
    assert facts(CallNews()).get(("caller", "known")) is MISSING
    assert facts(CallNews(), caller_settled=True).get(("caller", "known")) is False
    known = facts(CallNews(), contact={"name": "Jean Dupont", "owner": {"id": "7"}, "open_deals": [{}, {}]})
    assert (known.get(("caller", "known")), known.get(("caller", "open_deals"))) == (True, 2)


@pytest.mark.parametrize(
    ("said", "mood"),
    [("Positive", "positive"), ("négatif", "negative"), ("NEUTRE", "neutral"), ("furious", "other"), (None, MISSING)],
)
def test_moods_in_the_languages_of_our_tenants(said: str | None, mood: Any) -> None:
    assert facts(CallNews(analysis=Analysis(sentiment=said))).get(("call", "sentiment")) == mood


def test_moods_and_scores_are_absent_until_the_tenant_states_a_purpose() -> None:
    made = facts(CallNews(analysis=Analysis(sentiment="negative", score=90)), profiling=False)
    assert made.get(("call", "sentiment")) is MISSING
    assert made.is_settled(("call", "sentiment"))
    assert made.is_settled(("call", "score"))


@pytest.mark.parametrize(
    ("due", "expected"),
    [
        ("2026-11-23", date(2026, 11, 23)),
        ("2026-11-23T10:00+01:00", datetime.fromisoformat("2026-11-23T10:00+01:00")),
        ("soon", None),
    ],
)
def test_promises_keep_a_day_or_a_time_and_leave_prose_alone(due: str, expected: Any) -> None:
    made = facts(CallNews(analysis=Analysis(promises=(Promise(what="call back", due=due),))))
    assert made.call.promises[0].due == expected


def test_the_tenants_clock() -> None:
    late = facts(CallNews(ended_at=datetime(2026, 11, 21, 23, 30, tzinfo=UTC)))
    assert (late.get(("local", "date")), late.get(("local", "hour"))) == ("2026-11-22", 0)


def test_end_minus_start_wins_over_what_the_platform_counted() -> None:
    began = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
    assert seconds(CallNews(started_at=began, ended_at=began.replace(minute=2), duration_s=5)) == 120
    assert seconds(CallNews(started_at=began, duration_s=5)) == 5


@pytest.mark.parametrize(
    ("news", "expected"),
    [
        (CallNews(direction="inbound", from_number="044 668 18 00", to_number="+41435550100"), "+41446681800"),
        (CallNews(direction="outbound", from_number="+41435550100", to_number="+41446681800"), "+41446681800"),
        (CallNews(customer_number="+41446681800", from_number="+1"), "+41446681800"),
        (CallNews(from_number="anonymous"), None),
        (CallNews(from_number="+41446681800", withheld=True), None),
        (CallNews(direction="web", from_number="+41446681800"), None),
        (CallNews(from_number="letters"), None),
        (CallNews(), None),
    ],
)
def test_direction_decides_who_the_customer_is(news: CallNews, expected: str | None) -> None:
    assert customer_of(news, region="CH") == expected
