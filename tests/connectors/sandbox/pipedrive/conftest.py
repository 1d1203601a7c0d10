"""A world per test: nothing is shared but the code."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.connectors.sandbox.pipedrive.world import World, make_world
from tests.connectors.sandbox.world import served


@pytest.fixture
def world() -> World:
    """Two empty companies, no network, no limits."""
    return make_world()


@pytest.fixture
def live() -> Iterator[World]:
    """The same on a real port."""
    made = make_world()
    with served(made.app) as origin:
        made.origin = origin
        yield made
