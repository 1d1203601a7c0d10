"""A vendor's daily allowance per account, kept as a row: it must survive Redis, and a day is long.

Each process takes requests in lumps, so that the row is not written for every one; what a process had left when it
ended counts as spent. The day is UTC's: vendors reset at various midnights, and their own 429 pauses what we misjudge.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from connectors.crm.port import Bucket
from connectors.errors import RateLimited
from gateway.connections import accounts
from gateway.connections.throttle import Purpose
from gateway.db.engine import Database, utc_now

DAY = timedelta(days=1)
LUMP = 20


class DailyBudgets:
    """Spends the daily allowances of accounts. One per process."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._left: dict[tuple[str, datetime], int] = {}

    async def spend(self, account_id: str, bucket: Bucket, *, purpose: Purpose, now: datetime | None = None) -> None:
        """Take one request of the day's allowance; `bucket.reserve` of them only for "lookup".

        Raises `RateLimited` until the day ends.
        """
        at = now or utc_now()
        day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        which = (account_id, day)
        if self._left.get(which, 0) > 0:
            self._left[which] -= 1
            return
        allowed = bucket.limit if purpose == "lookup" else bucket.limit - bucket.reserve
        for lump in (LUMP, 1):
            async with self._db.transaction() as session:
                taken = await accounts.spend_of_day(session, account_id, day.date(), n=lump, allowed=allowed)
            if taken:
                self._left = {one: left for one, left in self._left.items() if one[1] == day}
                self._left[which] = self._left.get(which, 0) + lump - 1
                return
        raise RateLimited("this CRM account's daily limit is used up", retry_after=day + DAY - at, policy="DAILY")
