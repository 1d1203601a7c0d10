"""When a call is ripe to be planned. Pure (delivery.md §5)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

NEVER_ENDED = timedelta(hours=2)  # a call of which we only heard the beginning is planned with that


@dataclass(frozen=True, kw_only=True)
class Ripeness:
    """What is known about a call's end.

    complete     its last event came: nothing can add what is missing.
    grace_until  then what is undecided counts as "did not match".
    plan_at      when it is to be planned (again); None: it is planned, and nothing has come since.
    """

    ended: bool
    complete: bool
    grace_until: datetime | None
    plan_at: datetime | None


def after_event(
    before: Ripeness | None,
    *,
    ended: bool,
    final: bool,
    changed: bool,
    planned: bool,
    grace: timedelta,
    now: datetime,
) -> Ripeness:
    """How ripe a call is after an event.

    before   None: it is the call's first. planned: it was planned before.
    changed  the event added something. A planned call is then due again at once: planning decides what that is worth.
    grace    how long an ended call waits for its last event.
    """
    complete = final or (before is not None and before.complete)
    is_over = ended or final or (before is not None and before.ended)
    waits_until = now + (grace if is_over else NEVER_ENDED)
    if before is not None and before.grace_until is not None:
        waits_until = min(waits_until, before.grace_until) if is_over != before.ended else before.grace_until
    plan_at = before.plan_at if before is not None else None
    if before is None or changed:
        wanted = now if complete or planned else waits_until
        plan_at = wanted if plan_at is None else min(plan_at, wanted)
    return Ripeness(ended=is_over, complete=complete, grace_until=waits_until, plan_at=plan_at)
