"""HubSpot's rate limits, per portal: so many requests in ten seconds, and so many searches in one.

Recorded on normal answers with OAuth tokens: Max 110, Interval 10000, Secondly 11. Search answers carry no such headers,
and a refused search has neither a policy name nor a Retry-After (search_429_secondly_company.json).
"""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

from connectors.sandbox.hubspot.errors import Refusal, error

_TEN_SECONDS, _SECOND = timedelta(seconds=10), timedelta(seconds=1)


class _Window:
    """A rolling window: at most `most` in the last `per`."""

    def __init__(self, most: int, per: timedelta) -> None:
        self.most, self.per = most, per
        self._taken: deque[datetime] = deque()

    def take(self, now: datetime) -> bool:
        while self._taken and self._taken[0] <= now - self.per:
            self._taken.popleft()
        if len(self._taken) >= self.most:
            return False
        self._taken.append(now)
        return True

    def left(self) -> int:
        return self.most - len(self._taken)


class Limits:
    """One portal's. `on=False` counts nothing and refuses nothing, but the headers stay."""

    def __init__(self, *, on: bool = True, most: int = 110, searches: int = 5) -> None:
        self.on = on
        self.most = most
        self._calls = _Window(most, _TEN_SECONDS)
        self._secondly = _Window(max(1, most // 10), _SECOND)
        self._searches = _Window(searches, _SECOND)

    def spend(self, now: datetime, *, search: bool) -> dict[str, str]:
        """The headers of an answer. Raises the 429."""
        if search:
            if self.on and not self._searches.take(now):
                raise error(429, "You have reached your secondly limit.", "RATE_LIMITS")
            return {}
        refused = self.on and not self._calls.take(now)
        if self.on and not refused:
            self._secondly.take(now)
        headers = {
            "X-HubSpot-RateLimit-Max": str(self.most),
            "X-HubSpot-RateLimit-Remaining": str(self._calls.left()),
            "X-HubSpot-RateLimit-Interval-Milliseconds": "10000",
            "X-HubSpot-RateLimit-Secondly": str(self._secondly.most),
            "X-HubSpot-RateLimit-Secondly-Remaining": str(self._secondly.left()),
        }
        if refused:
            refusal = out_of("TEN_SECONDLY_ROLLING")
            refusal.headers |= headers
            raise refusal
        return headers


def out_of(policy: str) -> Refusal:
    """The 429 of everything but search."""
    return error(
        429,
        f"You have reached your {policy.lower()} limit.",
        "RATE_LIMITS",
        errorType="RATE_LIMIT",
        policyName=policy,
    )
