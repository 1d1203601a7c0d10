from __future__ import annotations

import pytest

from connectors.crm.zoho.client import Zoho
from tests.connectors.crm.zoho.world import World, connected, make_world


@pytest.fixture
def world() -> World:
    """An empty organisation where activities take unique fields."""
    return make_world(activities_unique=True)


@pytest.fixture
async def crm(world: World) -> Zoho:
    return await connected(world)
