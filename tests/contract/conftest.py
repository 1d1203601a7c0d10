"""The account under test: every CRM of the catalogue, once per level of sticking."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from connectors.crm.port import Stick
from tests.contract.accounts import ACCOUNTS, CASES, Account


@pytest.fixture(params=CASES, ids=[f"{slug}-{level.value}" for slug, level in CASES])
def level(request: pytest.FixtureRequest) -> tuple[str, Stick]:
    case: tuple[str, Stick] = request.param
    return case


@pytest.fixture
async def account(level: tuple[str, Stick]) -> AsyncIterator[Account]:
    slug, stick = level
    async with ACCOUNTS[slug](stick) as opened:
        yield opened
