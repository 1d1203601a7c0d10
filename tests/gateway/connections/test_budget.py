"""A vendor's daily allowance."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.crm.port import Bucket, Left
from connectors.crm.records import Account
from connectors.errors import RateLimited, Unavailable
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
    budgets: DailyBudgets, account_id: str, times: int, purpose: str = "delivery", at: datetime = NOON, n: int = 1
) -> int:
    through = 0
    for _ in range(times):
        try:
            await budgets.spend(account_id, "api", ALLOWANCE, n, purpose=purpose, now=at)  # type: ignore[arg-type]
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
        await there.spend(account_id, "api", ALLOWANCE, purpose="lookup", now=NOON)
    assert (full.value.retry_after, full.value.policy) == (timedelta(hours=12), "DAILY")
    assert await spent(there, account_id, 7, at=NOON + timedelta(days=1)) == 7
    await db.close()


def said(remaining: int, limit: int = 50) -> Left:
    return Left(bucket="api", limit=limit, remaining=remaining, per=timedelta(days=1))


async def test_what_a_request_costs_is_what_it_takes(database_url: str, account_id: str) -> None:
    """A search at Pipedrive costs twenty of what reading a person costs one of."""
    db = Database(database_url)
    assert await spent(DailyBudgets(db), account_id, 9, n=20) == 2
    assert await spent(DailyBudgets(db), account_id, 9, n=0) == 9  # free
    await db.close()


async def test_without_our_own_books_nothing_is_sent(account_id: str) -> None:
    """Somebody else's budget is not spent blindly; whoever asks hears it in the family of a connector's errors."""
    db = Database("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    with pytest.raises(Unavailable, match="nothing was sent"):
        await DailyBudgets(db).spend(account_id, "api", ALLOWANCE, now=NOON)
    await db.close()


async def test_dear_requests_do_not_write_the_row_each_time(
    database_url: str, account_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, written = Database(database_url), 0
    take = accounts.spend_of_day

    async def counted(*given: Any, **more: Any) -> int | None:
        nonlocal written
        written += 1
        return await take(*given, **more)

    monkeypatch.setattr(accounts, "spend_of_day", counted)
    budgets, large = DailyBudgets(db), Bucket(limit=30_000, per=timedelta(days=1))
    for _ in range(10):
        await budgets.spend(account_id, "tokens", large, 20, now=NOON)
    assert written == 1
    await db.close()


async def test_allowances_of_one_account_do_not_touch_each_other(database_url: str, account_id: str) -> None:
    db = Database(database_url)
    budgets = DailyBudgets(db)
    assert await spent(budgets, account_id, 80) == 40
    await budgets.spend(account_id, "bulk", ALLOWANCE, 40, now=NOON)
    await db.close()


async def test_what_others_spent_counts_once_the_vendor_has_told_us(database_url: str, account_id: str) -> None:
    """Salesforce counts the whole org: another app's import must not use up what deliveries believe they have."""
    db = Database(database_url)
    here, there = DailyBudgets(db), DailyBudgets(db)
    assert here.is_news(account_id, said(remaining=25), now=NOON)
    await here.observe(account_id, said(remaining=25), now=NOON)
    assert not here.is_news(account_id, said(remaining=25), now=NOON)
    assert await spent(there, account_id, 80) == 15
    await here.observe(account_id, said(remaining=45), now=NOON)  # an older answer gives nothing back
    assert await spent(there, account_id, 80) == 0
    assert await there.remaining([(account_id, "api", ALLOWANCE)], now=NOON) == {(account_id, "api"): (50, 10)}
    await db.close()


async def test_the_true_allowance_replaces_what_we_assumed_and_is_remembered_over_night(
    database_url: str, account_id: str
) -> None:
    db = Database(database_url)
    await DailyBudgets(db).observe(account_id, said(remaining=100, limit=100), now=NOON)
    assert await spent(DailyBudgets(db), account_id, 200) == 80  # a fifth is the caller's, of whatever it is
    tomorrow = NOON + timedelta(days=1)
    assert await spent(DailyBudgets(db), account_id, 200, at=tomorrow) == 80
    assert await spent(DailyBudgets(db), account_id, 200, purpose="lookup", at=tomorrow) == 20
    await db.close()


async def test_a_busy_process_writes_down_what_it_hears_only_when_it_matters(
    database_url: str, account_id: str
) -> None:
    db = Database(database_url)
    budgets = DailyBudgets(db)
    await budgets.observe(account_id, said(remaining=1000, limit=1000), now=NOON)
    assert not budgets.is_news(account_id, said(remaining=990, limit=1000), now=NOON)
    assert budgets.is_news(account_id, said(remaining=970, limit=1000), now=NOON)
    assert budgets.is_news(account_id, said(remaining=999, limit=2000), now=NOON)
    await db.close()
