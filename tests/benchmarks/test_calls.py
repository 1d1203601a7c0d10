"""How often a CRM is asked for one call: their limits are counted in requests, and each of them is a wait."""

from __future__ import annotations

import pytest

from connectors.crm.catalog import CATALOG
from connectors.sandbox.serve import SHOWN
from tests.benchmarks.calls import FEWEST, count


@pytest.mark.parametrize("provider", sorted(SHOWN.keys() & CATALOG.keys()))
async def test_a_crm_is_asked_within_one_request_of_the_fewest(provider: str) -> None:
    counted, fewest = await count(provider), FEWEST[provider]
    assert counted.lookup <= fewest.lookup + 1
    assert counted.write <= fewest.write + 1
    assert counted.opened == 0, "connections are kept"
