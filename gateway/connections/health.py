"""How a connection is, from what happened last. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

FAILING_FOR = timedelta(minutes=1)  # errors this long without one success: more than a hiccup
REMEMBERED = timedelta(minutes=30)  # an error this old with nothing since says nothing about now


class State(StrEnum):
    """What the API and the console show. DEGRADED is never stored: it is made here, from two times."""

    ACTIVE = "active"
    DEGRADED = "degraded"
    RECONNECT_NEEDED = "reconnect_needed"
    DISCONNECTED = "disconnected"


def state_of(
    stored: str,
    *,
    connected_at: datetime,
    last_success_at: datetime | None,
    last_error_at: datetime | None,
    now: datetime,
) -> State:
    """The state to show: a stored end of the grant wins; else errors that outlasted the last success are DEGRADED.

    last_error_at  the last answer or silence that was the CRM's fault; a refused record is none.
    """
    state = State(stored)
    if state is not State.ACTIVE or last_error_at is None:
        return state
    good = max(last_success_at or connected_at, connected_at)
    if last_error_at - good >= FAILING_FOR and now - last_error_at < REMEMBERED:
        return State.DEGRADED
    return state
