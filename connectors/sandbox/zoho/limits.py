"""Zoho's two limits, per organisation: credits of a rolling day, and calls under way at once. Neither says when to return."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

from connectors.sandbox.zoho.errors import out_of_credits

_DAY = timedelta(days=1)


class Credits:
    """`on=False` counts nothing and refuses nothing."""

    def __init__(self, *, on: bool = True, most: int = 50_000) -> None:
        self.on = on
        self.most = most
        self._taken: deque[tuple[datetime, int]] = deque()
        self._sum = 0

    def spend(self, now: datetime, credits: int) -> dict[str, str]:
        """The headers of an answer: none until half of the credits is spent. Raises the 429."""
        if not self.on:
            return {}
        while self._taken and self._taken[0][0] <= now - _DAY:
            self._sum -= self._taken.popleft()[1]
        if self._sum + credits > self.most:
            raised = out_of_credits()
            raised.headers["X-API-CREDITS-REMAINING"] = str(self.most - self._sum)
            raise raised
        self._taken.append((now, credits))
        self._sum += credits
        left = self.most - self._sum
        return {"X-API-CREDITS-REMAINING": str(left)} if left * 2 < self.most else {}


class UnderWay:
    """Calls of one organisation that are being answered. A composite request weighs five."""

    def __init__(self, *, on: bool = True, most: int = 10) -> None:
        self.on = on
        self.most = most
        self.now = 0

    def enter(self, weight: int) -> bool:
        """False when there is no room."""
        if self.on and self.now + weight > self.most:
            return False
        self.now += weight
        return True

    def leave(self, weight: int) -> None:
        self.now -= weight
