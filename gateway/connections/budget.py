"""A vendor's daily allowances per account, kept as rows: they must survive Redis, and a day is long.

Each process takes of them in lumps, so that the row is not written for every request; what a process had left when it
ended counts as spent. The day is UTC's: vendors reset at various midnights or count the last 24 hours, and what their
answers say corrects the row upwards (others spend from the same allowance), their 429 pauses what we still misjudge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from connectors.crm.port import Bucket, Left
from connectors.errors import RateLimited, Unavailable
from gateway.connections import accounts
from gateway.connections.throttle import Purpose
from gateway.db.engine import Database, utc_now

DAY = timedelta(days=1)
LUMP = 20
LUMPS = 10  # requests that cost more are taken this many at a time, up to a hundredth of the day


@dataclass(frozen=True)
class _Which:
    """A process's part of one allowance; whoever may take the reserve keeps a part of his own."""

    account_id: str
    name: str
    day: datetime
    first: bool


class DailyBudgets:
    """Spends the daily allowances of accounts. One per process."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._left: dict[_Which, int] = {}
        self._seen: dict[tuple[str, str, datetime], tuple[int | None, int]] = {}  # (allowed, spent) as last known

    async def spend(
        self,
        account_id: str,
        name: str,
        bucket: Bucket,
        n: int = 1,
        *,
        purpose: Purpose = "delivery",
        now: datetime | None = None,
    ) -> None:
        """Take `n` of the day's allowance `name`; `bucket.reserve` of it only for "lookup".

        Raises `RateLimited` until the day ends, `Unavailable` while our own database is away.
        """
        at = now or utc_now()
        day = _day_of(at)
        which = _Which(account_id, name, day, purpose == "lookup")
        if (left := self._left.get(which, 0)) >= n:
            self._left[which] = left - n
            return
        at_once = max(LUMP, n, min(LUMPS * n, bucket.limit // 100))
        try:
            if await self._take(which, bucket, at_once, n) or await self._take(which, bucket, n, n):
                return
        except (SQLAlchemyError, OSError) as error:
            raise Unavailable(f"our own books are away ({type(error).__name__}); nothing was sent") from None
        raise RateLimited("this CRM account's daily limit is used up", retry_after=day + DAY - at, policy="DAILY")

    async def _take(self, which: _Which, bucket: Bucket, lump: int, n: int) -> bool:
        """Take `lump` of the row, of which `n` are spent at once; False if it does not hold so much."""
        account_id, name, day = which.account_id, which.name, which.day
        async with self._db.transaction() as session:
            allowed = await accounts.allowed_of_day(session, account_id, name, day.date())
            most = _most(bucket, allowed, first=which.first)
            spent = await accounts.spend_of_day(session, account_id, name, day.date(), n=lump, most=most)
        if spent is None:
            return False
        self._left = {one: left for one, left in self._left.items() if one.day == day}
        self._left[which] = self._left.get(which, 0) + lump - n
        self._see(account_id, name, day, allowed, spent)
        return True

    def is_news(self, account_id: str, left: Left, *, now: datetime | None = None) -> bool:
        """Whether `observe` would learn from this: another allowance than we know, or many requests of others."""
        allowed, spent = self._seen.get((account_id, left.bucket, _day_of(now or utc_now())), (None, 0))
        used, nearly = left.limit - left.remaining, left.remaining * 10 < left.limit
        return allowed != left.limit or used > spent + (0 if nearly else LUMP)

    async def observe(self, account_id: str, left: Left, *, now: datetime | None = None) -> None:
        """Believe what an answer's headers said: the account's true allowance, and what others have spent of it."""
        day, used = _day_of(now or utc_now()), max(0, left.limit - left.remaining)
        async with self._db.transaction() as session:
            spent = await accounts.note_of_day(
                session, account_id, left.bucket, day.date(), used=used, allowed=left.limit
            )
        if spent == used:  # what we have in hand is not in the vendor's count: it has to be taken anew
            for first in (True, False):
                self._left.pop(_Which(account_id, left.bucket, day, first), None)
        self._see(account_id, left.bucket, day, left.limit, spent)

    async def remaining(
        self, asked: Sequence[tuple[str, str, Bucket]], *, now: datetime | None = None
    ) -> Mapping[tuple[str, str], tuple[int, int]]:
        """(allowance, what is left of it today) by (account, name)."""
        day = _day_of(now or utc_now())
        async with self._db.reading() as session:
            rows = await accounts.spent_of_day(session, {account_id for account_id, _, _ in asked}, day.date())
        found = {}
        for account_id, name, bucket in asked:
            allowed, spent = rows.get((account_id, name), (None, 0))
            limit = allowed or bucket.limit
            found[account_id, name] = limit, max(0, limit - spent)
        return found

    def _see(self, account_id: str, name: str, day: datetime, allowed: int | None, spent: int) -> None:
        self._seen = {one: seen for one, seen in self._seen.items() if one[2] == day}
        self._seen[account_id, name, day] = allowed, spent


def _most(bucket: Bucket, allowed: int | None, *, first: bool) -> int:
    """How far an allowance may be spent; the reserve is a part of it, however large it turned out to be."""
    limit = allowed or bucket.limit
    return limit if first else limit - math.floor(bucket.reserve * limit / bucket.limit)


def _day_of(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
