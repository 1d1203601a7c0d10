"""A vendor's daily allowance."""

from datetime import UTC, datetime, timedelta

import pytest

from connectors.crm.port import Bucket
from connectors.crm.records import Account
from connectors.errors import RateLimited
from gateway.connections import accounts
from gateway.connections.budget import DailyBudgets
from gateway.db.engine import Database

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
ALLOWANCE = Bucket(limit=50, per=timedelta(days=1), reserve=10)


@pytest.fixture
async def account_id(database_url: str) -> str:
    db = Database(database_url)
    async with db.transaction() as session:
        row = await accounts.known(session, "hubspot", Account(id="1", name="One"), now=NOON)
    await db.close()
    return row.id


async def spent(
    budgets: DailyBudgets, account_id: str, times: int, purpose: str = "delivery", at: datetime = NOON
) -> int:
    through = 0
    for _ in range(times):
        try:
            await budgets.spend(account_id, ALLOWANCE, purpose=purpose, now=at)  # type: ignore[arg-type]
        except RateLimited:
            continue
        through += 1
    return through


async def test_a_day_holds_its_allowance_over_all_processes_and_the_caller_has_a_reserve(
    database_url: str, account_id: str
) -> None:
    db = Database(database_url)
    here, there = DailyBudgets(db), DailyBudgets(db)
    assert await spent(here, account_id, 15) + await spent(there, account_id, 80) == 35  # 5 are in the other's hand
    assert await spent(here, account_id, 80) == 5
    assert await spent(there, account_id, 80, purpose="lookup") == 10
    with pytest.raises(RateLimited) as full:
        await there.spend(account_id, ALLOWANCE, purpose="lookup", now=NOON)
    assert (full.value.retry_after, full.value.policy) == (timedelta(hours=12), "DAILY")
    assert await spent(there, account_id, 7, at=NOON + timedelta(days=1)) == 7
    await db.close()
