from __future__ import annotations

import pytest

from tests.connectors.crm.zoho.world import World, make_world

SCOPES = (
    *("ZohoCRM.coql.READ", "ZohoCRM.composite_requests.CUSTOM", "ZohoSearch.securesearch.READ", "ZohoCRM.org.READ"),
    *("ZohoCRM.users.READ", *(f"ZohoCRM.notifications.{right}" for right in ("CREATE", "READ", "UPDATE", "DELETE"))),
)


@pytest.fixture
def world() -> World:
    """An empty organisation, no network, no limits, every scope of the connector's and to delete."""
    return make_world(scopes=["ZohoCRM.modules.ALL", "ZohoCRM.settings.ALL", *SCOPES])
