"""How a connection is, as a table."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.connections.health import State, state_of

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("stored", "connected", "success", "error", "shown"),
    [
        ("active", 60, None, None, State.ACTIVE),
        ("active", 60, 1, None, State.ACTIVE),
        ("active", 60, 1, 30, State.ACTIVE),  # it has answered since
        ("active", 60, 5, 4.5, State.ACTIVE),  # a hiccup
        ("active", 60, 5, 1, State.DEGRADED),
        ("active", 60, None, 1, State.DEGRADED),  # never an answer since it was connected
        ("active", 0.5, 90, 0.2, State.ACTIVE),  # connected anew after the trouble
        ("active", 300, 200, 31, State.ACTIVE),  # long ago, and nobody has asked since
        ("reconnect_needed", 60, 1, None, State.RECONNECT_NEEDED),
        ("reconnect_needed", 60, 5, 1, State.RECONNECT_NEEDED),
        ("disconnected", 60, 5, 1, State.DISCONNECTED),
    ],
)
def test_what_happened_last_decides(
    stored: str, connected: float, success: float | None, error: float | None, shown: State
) -> None:
    found = state_of(
        stored,
        connected_at=ago(connected),
        last_success_at=None if success is None else ago(success),
        last_error_at=None if error is None else ago(error),
        now=NOW,
    )
    assert found is shown
