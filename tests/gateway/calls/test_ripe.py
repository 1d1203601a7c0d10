"""When a call is planned: at once when it is complete, after a grace time when it is not, again when something is added."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.calls.ripe import NEVER_ENDED, Ripeness, after_event

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
GRACE = timedelta(minutes=5)
LATER = NOW + timedelta(minutes=1)

STARTED = Ripeness(ended=False, complete=False, grace_until=NOW + NEVER_ENDED, plan_at=NOW + NEVER_ENDED)
OVER = Ripeness(ended=True, complete=False, grace_until=NOW + GRACE, plan_at=NOW + GRACE)
WHOLE = Ripeness(ended=True, complete=True, grace_until=NOW + GRACE, plan_at=NOW)
PLANNED = Ripeness(ended=True, complete=False, grace_until=NOW + GRACE, plan_at=None)


@pytest.mark.parametrize(
    ("before", "event", "after"),
    [
        (None, {}, STARTED),
        (None, {"ended": True}, OVER),
        (None, {"ended": True, "final": True}, WHOLE),
        (None, {"final": True}, WHOLE),
        (STARTED, {"ended": True, "now": LATER},
         Ripeness(ended=True, complete=False, grace_until=LATER + GRACE, plan_at=LATER + GRACE)),
        (STARTED, {"changed": False, "now": LATER}, STARTED),
        (STARTED, {"now": LATER}, STARTED),
        (OVER, {"ended": True, "now": LATER}, OVER),
        (OVER, {"final": True, "now": LATER},
         Ripeness(ended=True, complete=True, grace_until=NOW + GRACE, plan_at=LATER)),
        (WHOLE, {"ended": True, "now": LATER}, WHOLE),
        (PLANNED, {"changed": False, "planned": True, "now": LATER}, PLANNED),
        (PLANNED, {"planned": True, "now": LATER},
         Ripeness(ended=True, complete=False, grace_until=NOW + GRACE, plan_at=LATER)),
    ],
)  # fmt: skip
def test_ripeness(before: Ripeness | None, event: dict[str, Any], after: Ripeness) -> None:
    given = {"ended": False, "final": False, "changed": True, "planned": False, "grace": GRACE, "now": NOW, **event}
    assert after_event(before, **given) == after
