"""A company at Pipedrive's sandbox, over real HTTP; every exchange is held to Pipedrive's documents."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from connectors.crm.port import Stick
from tests.contract.accounts_pipedrive import PipedriveAccount, pipedrive_account


@pytest.fixture
async def account() -> AsyncIterator[PipedriveAccount]:
    async with pipedrive_account(Stick.FOUND) as opened:
        assert isinstance(opened, PipedriveAccount)
        yield opened


@pytest.fixture
async def plain() -> AsyncIterator[PipedriveAccount]:
    """We may make no fields here, and the company has no Campaigns."""
    async with pipedrive_account(Stick.BLIND) as opened:
        assert isinstance(opened, PipedriveAccount)
        yield opened
