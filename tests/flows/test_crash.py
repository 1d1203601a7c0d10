"""The short form of `make chaos`: workers killed and frozen, answers lost, Redis flushed; then counted at the CRM."""

from __future__ import annotations

import pytest

from tests.chaos.story import SHORT, run
from tests.servers import Postgres, Redis


@pytest.mark.parametrize("crm", ["hubspot", "salesforce"])  # a write at a time, a whole call in one request
async def test_nothing_is_lost_and_nothing_is_written_twice(crm: str, own_postgres: Postgres, own_redis: Redis) -> None:
    """A tenant's call is in its CRM once, whatever breaks on the way."""
    verdict = await run(7, SHORT, own_postgres, own_redis, crm=crm)
    assert verdict.good, f"{verdict}\n" + "\n".join(
        (*verdict.lost, *verdict.doubled, *verdict.out_of_order, *verdict.unfinished)
    )
    assert verdict.promised > 100
    assert verdict.troubles.total() >= 5, "nothing was broken, so nothing was shown"
