"""Who looked whom up is written behind the answer, whatever the database does meanwhile."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from gateway.db.base import TenantId, new_id
from gateway.lookup import journal
from gateway.lookup.journal import DROPPED, Journal, Row
from gateway.lookup.tables import Lookup
from tests.gateway.lookup.crms import House, house
from tests.processes import until_async


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[House]:
    async with house(database_url) as built:
        yield built


def row(tenant_id: TenantId) -> Row:
    return Row(
        tenant_id, new_id("lk"), "ak_1", "key", b"x" * 16, 1, "known", "cache", ("cn/contact/1",), 0.001, time.time()
    )


async def kept(here: House) -> int:
    async with here.db.reading() as session:
        return int(await session.scalar(select(func.count()).select_from(Lookup)) or 0)


def dropped() -> float:
    return float(DROPPED._value.get())


async def test_rows_are_written_without_being_asked_to(here: House) -> None:
    tenant_id = await here.tenant()
    rows = Journal(here.db)
    for _ in range(700):
        rows.note(row(tenant_id))

    async def written() -> bool:
        return await kept(here) == 700

    await until_async("all rows are there", written)
    await rows.close()


async def test_rows_wait_while_the_database_is_away(here: House, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant_id = await here.tenant()
    rows, before = Journal(here.db), dropped()

    class Away(contextlib.AbstractAsyncContextManager[Any]):
        async def __aenter__(self) -> Any:
            raise OperationalError("INSERT", {}, Exception("the connection is gone"))

        async def __aexit__(self, *_: object) -> None: ...

    with monkeypatch.context() as patch:
        patch.setattr(here.db, "statements", Away)
        rows.note(row(tenant_id))
        await rows.flush()
    assert await kept(here) == 0
    await rows.close()
    assert (await kept(here), dropped()) == (1, before)


async def test_what_the_database_refuses_does_not_block_the_rest(here: House) -> None:
    tenant_id = await here.tenant()
    rows, before = Journal(here.db), dropped()
    rows.note(row(TenantId("tn_nobody")))
    await rows.flush()
    rows.note(row(tenant_id))
    await rows.close()
    assert (await kept(here), dropped()) == (1, before + 1)


async def test_more_than_the_database_takes_is_counted_and_nobody_waits(
    here: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant_id = await here.tenant()
    monkeypatch.setattr(journal, "MOST", 3)
    rows, before = Journal(here.db), dropped()
    for _ in range(5):
        rows.note(row(tenant_id))
    await rows.close()
    assert (await kept(here), dropped()) == (3, before + 2)
