"""What a HubSpot account is called."""

from typing import Any

import pytest

from connectors.crm.hubspot.wire_account import name_account
from connectors.crm.records import Account

ACCOUNT = Account(id="62515", name="HubSpot 62515")


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"hub_id": 62515, "hub_domain": "acme.com"}, "acme.com (62515)"),
        ({"hub_id": "62515", "hub_domain": "acme-sa.co.uk"}, "acme-sa.co.uk (62515)"),
        ({"hub_id": 62516, "hub_domain": "acme.com"}, "HubSpot 62515"),  # somebody else's token
        ({"hub_domain": "acme.com"}, "HubSpot 62515"),
        ({"hub_id": 62515}, "HubSpot 62515"),
        ({"hub_id": 62515, "hub_domain": None}, "HubSpot 62515"),
        ({"hub_id": 62515, "hub_domain": ""}, "HubSpot 62515"),
        ({"hub_id": 62515, "hub_domain": "<b>acme.com</b>"}, "HubSpot 62515"),
        ({"hub_id": 62515, "hub_domain": ["acme.com"]}, "HubSpot 62515"),
    ],
)
def test_an_account_is_called_by_its_domain_where_it_has_one(said: dict[str, Any], name: str) -> None:
    assert name_account(ACCOUNT, said).name == name
