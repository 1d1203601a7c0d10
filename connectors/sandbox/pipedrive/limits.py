"""Pipedrive's limits: a burst per token in two seconds, ten searches in the same, tokens per company and day; and what comes
to those who do not stop.

Headers as recorded in 2026-05 (nango-*). The day ends at midnight UTC here; in which zone it does in truth nobody says.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

from connectors.sandbox.pipedrive.errors import blocked, over_limit

_BURST = timedelta(seconds=2)
_PATIENCE = (20, timedelta(seconds=60))  # refusals, and within how long, before the front door shuts
_BLOCKED = timedelta(minutes=5)


class Limits:
    """One company's. `on=False` counts and refuses nothing, but the headers stay."""

    def __init__(self, *, on: bool, daily: int, burst: int = 80, searches: int = 10) -> None:
        self.on = on
        self.daily = daily
        self.burst = burst
        self.searches = searches
        self.spent = 0
        self._day = ""
        self._taken: dict[tuple[str, bool], deque[datetime]] = {}
        self._refused: deque[datetime] = deque()
        self._blocked_until: datetime | None = None

    def spend(self, token: str, cost: int, now: datetime, *, searches: bool) -> dict[str, str]:
        """The headers of an answer. Raises the 429, or the page of a blocked account."""
        if self._blocked_until is not None and now < self._blocked_until:
            raise blocked()
        day = now.date().isoformat()
        if day != self._day:
            self._day, self.spent = day, 0
        if not self.on:
            return self._headers(self.burst, self.burst - 1, self.daily)
        most = self.searches if searches else self.burst
        taken = self._taken.setdefault((token, searches), deque())
        while taken and taken[0] <= now - _BURST:
            taken.popleft()
        if len(taken) >= most or self.spent + cost > self.daily:
            self._refuse(now)
            raise over_limit(self._headers(most, most - len(taken), self.daily - self.spent))
        taken.append(now)
        self.spent += cost
        return self._headers(most, most - len(taken), self.daily - self.spent)

    def _refuse(self, now: datetime) -> None:
        self._refused.append(now)
        while self._refused[0] <= now - _PATIENCE[1]:
            self._refused.popleft()
        if len(self._refused) >= _PATIENCE[0]:
            self._blocked_until = now + _BLOCKED
            self._refused.clear()

    def _headers(self, most: int, left: int, tokens: int) -> dict[str, str]:
        return {
            "x-ratelimit-limit": str(most),
            "x-ratelimit-remaining": str(left),
            "x-ratelimit-reset": "2",
            "x-daily-ratelimit-token-limit": str(self.daily),
            "x-daily-ratelimit-token-remaining": str(tokens),
        }
