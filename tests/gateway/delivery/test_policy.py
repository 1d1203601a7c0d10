"""What comes after a try: one table, since every row is somebody's call that is lost, doubled or stuck if it is wrong."""

from datetime import timedelta
from typing import Any

import pytest

from connectors.errors import (
    ConnectorError,
    OutcomeUnknown,
    RateLimited,
    ReconnectNeeded,
    Rejected,
    Unavailable,
    UnexpectedReply,
    Unsupported,
)
from gateway.delivery.policy import (
    MOST_ATTEMPTS,
    DeadLetter,
    FindPersonAgain,
    Look,
    Pause,
    Retry,
    Step,
    Uncertain,
    after_failure,
    after_look,
    backoff,
)

S = timedelta(seconds=1)
DAY = timedelta(days=1)


def code(step: Step) -> str:
    assert isinstance(step, DeadLetter)
    return step.code


@pytest.mark.parametrize(
    ("error", "given", "expected"),
    [
        (ReconnectNeeded("gone"), {}, Pause()),
        (OutcomeUnknown("?", settle=5 * S), {}, Look(5 * S)),
        (OutcomeUnknown("?", settle=5 * S), {"blind": True}, Uncertain()),
        (RateLimited("slow", retry_after=10 * S), {"attempt": 99}, Retry(10 * S)),
        (Rejected("gone", gone=True), {"person_known": True}, FindPersonAgain()),
    ],
)
def test_the_next_step(error: ConnectorError, given: dict[str, Any], expected: Step) -> None:
    assert (
        after_failure(error, **{"attempt": 1, "waits": 0, "blind": False, "person_known": False, "left": DAY, **given})
        == expected
    )


@pytest.mark.parametrize(
    ("error", "given", "expected"),
    [
        (Rejected("no", field="email"), {}, "rejected"),
        (Rejected("no", scopes=("tickets",)), {}, "scope"),
        (Rejected("gone", gone=True), {}, "gone"),
        (Rejected("gone", gone=True), {"person_known": True, "attempt": MOST_ATTEMPTS}, "gone"),
        (Unsupported("no such thing"), {}, "unsupported"),
        (UnexpectedReply("what?"), {"attempt": MOST_ATTEMPTS}, "unreadable"),
        (RateLimited("slow", retry_after=2 * DAY), {}, "expired"),
        (Unavailable("down"), {"left": timedelta(0)}, "expired"),
    ],
)
def test_dead_letters_say_why(error: ConnectorError, given: dict[str, Any], expected: str) -> None:
    given = {"attempt": 1, "waits": 0, "blind": False, "person_known": False, "left": DAY, **given}
    assert code(after_failure(error, **given)) == expected


@pytest.mark.parametrize("waits", [0, 1, 5, 500])
def test_an_outage_never_uses_up_attempts(waits: int) -> None:
    """A CRM that is down for a day must not cost the tenant its calls."""
    step = after_failure(Unavailable("down"), attempt=99, waits=waits, blind=True, person_known=False, left=DAY)
    assert isinstance(step, Retry)
    assert not step.counts


def test_a_vendors_own_wish_to_wait_is_honoured() -> None:
    step = after_failure(
        Unavailable("down", retry_after=600 * S), attempt=1, waits=0, blind=False, person_known=False, left=DAY
    )
    assert isinstance(step, Retry)
    assert step.wait >= 600 * S


@pytest.mark.parametrize(
    "error", [Unavailable("x"), RateLimited("x", retry_after=S), UnexpectedReply("x"), Rejected("x")]
)
def test_while_looking_fails_the_key_is_still_to_be_looked_for(error: ConnectorError) -> None:
    """Sending again because the look failed would double the write."""
    assert isinstance(after_look(error, attempt=1, waits=3, settle=5 * S, left=DAY), Look)


def test_what_cannot_be_looked_for_is_uncertain() -> None:
    assert after_look(Unsupported("blind"), attempt=1, waits=0, settle=S, left=DAY) == Uncertain()


def test_back_off_is_jittered_and_bounded() -> None:
    waits = {backoff(8) for _ in range(50)}
    assert len(waits) > 40
    assert max(backoff(n) for n in range(60)) <= timedelta(minutes=2)
    assert min(waits) >= timedelta(milliseconds=250)
