"""What comes after a try at a delivery. Pure: the error, what was tried before and the time left in; the next step out.

Waiting never uses up attempts: only the lifetime ends a delivery that a CRM's outage, limits or a revoked grant holds
up. What is counted is what can only be our mistake: an answer nobody can read, a worker that dies on it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta

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

MOST_ATTEMPTS = 8  # answers in no documented shape before a person is asked
MOST_CLAIMS = (
    6  # claims without a record: a worker dies on it. Frozen ones brought innocent rows to four (delivery.md §3)
)
_FIRST = timedelta(seconds=2)
_LONGEST = timedelta(minutes=2)  # then a CRM that is back is noticed by the last delivery too
_NEVER_SOONER = timedelta(milliseconds=250)


@dataclass(frozen=True)
class Retry:
    """Send it after `wait`. `counts`: it used up an attempt."""

    wait: timedelta
    counts: bool = False


@dataclass(frozen=True)
class Look:
    """Look for its key after `wait`, before anything is sent again."""

    wait: timedelta


@dataclass(frozen=True)
class FindPersonAgain:
    """The record of the lane's person is gone at the CRM: forget it, and try with whoever is found."""


@dataclass(frozen=True)
class Pause:
    """The grant is gone: the delivery stays as it is, the connection waits for the tenant."""


@dataclass(frozen=True)
class Uncertain:
    """It may or may not have been written, and cannot be looked for: a person decides."""


@dataclass(frozen=True)
class DeadLetter:
    """Nothing more is tried. `code` groups like with like, `reason` says it to a person."""

    code: str
    reason: str


Step = Retry | Look | FindPersonAgain | Pause | Uncertain | DeadLetter


def after_failure(
    error: ConnectorError, *, attempt: int, waits: int, blind: bool, person_known: bool, left: timedelta
) -> Step:
    """The next step after a try that ended in `error`.

    attempt       this try's number among those that count, from 1. waits: how often it was put off before.
    person_known  the write was about a record we had noted for the lane's person.
    left          lifetime left; a wait beyond it is a dead letter.
    """
    match error:
        case ReconnectNeeded():
            return Pause()
        case OutcomeUnknown(settle=settle):
            return Uncertain() if blind else Look(settle)
        case RateLimited(retry_after=wait):
            return _wait(max(wait, _NEVER_SOONER), left, "rate-limit", error)
        case Unavailable(retry_after=wait):
            return _wait(max(wait or timedelta(0), backoff(waits)), left, "unavailable", error)
        case Rejected(gone=True) if person_known and attempt < MOST_ATTEMPTS:
            return FindPersonAgain()
        case Rejected(scopes=scopes) if scopes:
            return DeadLetter("scope", f"{error.reason} (missing: {', '.join(scopes)})")
        case Rejected(gone=True):
            return DeadLetter("gone", error.reason)
        case Rejected(field=field):
            return DeadLetter("rejected", f"{error.reason} (field {field})" if field else error.reason)
        case Unsupported():
            return DeadLetter("unsupported", error.reason)
        case UnexpectedReply() if attempt < MOST_ATTEMPTS:
            return _wait(backoff(attempt), left, "unreadable", error, counts=True)
        case _:
            return DeadLetter("unreadable", error.reason)


def after_look(error: ConnectorError, *, attempt: int, waits: int, settle: timedelta, left: timedelta) -> Step:
    """The next step when looking for the key itself failed: it is still to be looked for, whatever the reason."""
    match error:
        case ReconnectNeeded():
            return Pause()
        case Unsupported():
            return Uncertain()
        case UnexpectedReply() | Rejected() if attempt >= MOST_ATTEMPTS:
            return DeadLetter("unreadable", f"it may have been written; looking for it failed: {error.reason}")
        case RateLimited(retry_after=wait):
            pass
        case _:
            wait = backoff(waits)
    if wait > left:
        return DeadLetter(
            "expired", f"it may have been written; looking for it failed until its time ran out: {error.reason}"
        )
    return Look(max(wait, _NEVER_SOONER))


def backoff(times: int) -> timedelta:
    """Full jitter: anywhere between a moment and 2 s · 2^times, at most two minutes."""
    ceiling = min(_FIRST * float(1 << min(max(times, 0), 12)), _LONGEST)
    return max(_NEVER_SOONER, ceiling * random.random())


def _wait(wait: timedelta, left: timedelta, code: str, error: ConnectorError, *, counts: bool = False) -> Step:
    if wait > left:
        return DeadLetter("expired", f"its time ran out while it waited ({code}): {error.reason}")
    return Retry(wait, counts)
