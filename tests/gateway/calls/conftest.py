from collections.abc import AsyncIterator

import pytest

from tests.gateway.calls.house import House, opened


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[House]:
    async with opened(database_url) as here:
        yield here
