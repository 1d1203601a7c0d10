"""What the contract names is served, and what is not built says so, to those who will be let in."""

from collections import Counter

import pytest
from fastapi.routing import APIRoute

from gateway.api import docs
from gateway.api.promised import PROMISED, TAG, Promised
from gateway.app import ROUTERS
from gateway.tenants.access import SCOPES
from tests.web import Web

# design.md §5, "The contract with the outside", without the operator's addresses and the pages.
CONTRACT = """
POST /v1/lookup
POST /v1/calls
GET POST /v1/voice/{}/{}
GET POST /v1/endpoints
PATCH DELETE /v1/endpoints/{}
POST /v1/endpoints/{}/rotate
POST /v1/endpoints/{}/test
GET /v1/endpoints/{}/events
POST /mcp
GET PUT /v1/settings
GET /v1/calls
GET /v1/calls/{}
GET /v1/deliveries
POST /v1/deliveries/{}/replay
POST /v1/deliveries/{}/cancel
POST /v1/deliveries/replay
GET POST /v1/connections
DELETE /v1/connections/{}
GET PUT /v1/connections/{}/mapping
GET /v1/connections/{}/fields
GET PUT /v1/rules
POST /v1/rules/dry-run
GET POST /v1/connections/{}/import
POST /crm/{}/{}
POST /v1/privacy/export
POST /v1/privacy/erase
"""


def shape(path: str) -> str:
    """`/v1/calls/{}` for `/v1/calls/{id}`."""
    return "/".join("{}" if part.startswith("{") else part for part in path.split("/"))


def served() -> Counter[tuple[str, str]]:
    """How many routes of the API there are for each method and path."""
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    return Counter((method, shape(route.path)) for route in routes for method in route.methods or ())


def test_every_address_of_the_contract_is_served() -> None:
    contract = {
        (method, path)
        for line in CONTRACT.split("\n")
        if line
        for *methods, path in [line.split()]
        for method in methods
    }
    assert contract - set(served()) == set()


def test_what_is_built_is_no_longer_promised() -> None:
    """A route that was built hides the promise, or is hidden by it."""
    assert [one for one in PROMISED if served()[one.method, shape(one.path)] != 1] == []


def address(promised: Promised) -> str:
    return promised.path.replace("{connection_id}", "cn_1").replace("{provider}", "hubspot").replace("{key}", "k")


@pytest.mark.parametrize("promised", PROMISED, ids=lambda one: one.name)
async def test_what_is_promised_says_so_to_whoever_will_be_let_in(web: Web, promised: Promised) -> None:
    tenant_id = await web.tenant()

    async def asked(*scopes: str) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {await web.key(tenant_id, *scopes)}"} if scopes else {}
        answer = await web.client.request(
            promised.method, address(promised), json={"phone": "+41446681800"}, headers=headers
        )
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code
        return answer.status_code, answer.json().get("detail", "")

    if promised.scope is None:
        status, detail = await asked()
    else:
        assert (await asked())[0] == 401
        assert (await asked(*(scope for scope in SCOPES if scope != promised.scope)))[0] == 403
        status, detail = await asked(promised.scope)
    assert (status, detail) == (501, f"{promised.does} This comes in a later release. {promised.until}")


async def test_the_docs_lead_a_newcomer_from_the_call_to_the_settings(web: Web) -> None:
    """In the order of the tree, connecting a CRM came before asking who is calling."""
    groups = docs.operations((await web.client.get("/openapi.json")).json())
    assert list(groups) == [tag["name"] for tag in docs.TAGS]
    assert list(groups)[:2] == ["lookup", "calls"]
    assert {(one.method, one.path) for one in groups[TAG]} == {(one.method, one.path) for one in PROMISED}
