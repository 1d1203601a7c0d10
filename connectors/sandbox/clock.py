"""The time a sandbox lives in: the system's, or one that a test moves by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class Clock:
    """Answers the current time when called.

    start  when given, time stands still there until `advance`; when not, it is the system's, plus what was advanced.
    """

    def __init__(self, start: datetime | None = None) -> None:
        self._frozen = start
        self._ahead = timedelta(0)

    def __call__(self) -> datetime:
        return (self._frozen or datetime.now(UTC)) + self._ahead

    def advance(self, by: timedelta) -> None:
        """Move on: tokens age, search indexes catch up, rate limits refill."""
        self._ahead += by
