"""A sandbox HubSpot, the parts of one process using it, and a tenant."""

import functools
from collections.abc import AsyncIterator

import httpx2
import pytest

from connectors.oauth import OAuth
from gateway.db.base import TenantId
from gateway.parts import Parts
from gateway.parts import parts as opened_parts
from tests.gateway.connections.connecting import Crm, make_tenant, served_crm, settings_for
from tests.gateway.connections.vendors import Internet


@pytest.fixture
async def crm(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Crm]:
    async with served_crm() as crm:
        for name, value in crm.environment().items():
            monkeypatch.setenv(name, value)
        yield crm


@pytest.fixture
async def parts(crm: Crm, database_url: str, sealing_key: str) -> AsyncIterator[Parts]:
    """Once on SQLite, once on PostgreSQL."""
    async with opened_parts(settings_for(database_url, sealing_key)) as parts:
        await parts.redis.flushall()
        yield parts


@pytest.fixture
async def tenant_id(parts: Parts) -> TenantId:
    return await make_tenant(parts)


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> Internet:
    """Instead of the network: whatever is dialled is answered, and written down."""
    net = Internet()
    monkeypatch.setattr("gateway.connections.providers.OAuth", functools.partial(OAuth, transport=net))
    monkeypatch.setattr("gateway.connections.open.make_client", lambda: httpx2.AsyncClient(transport=net))
    return net
