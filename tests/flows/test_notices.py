"""HubSpot's notice comes in at one process, another reads the record again, and the phone is answered accordingly."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from connectors import phone
from connectors.sandbox.hubspot.kinds import BY_SEGMENT
from connectors.sandbox.store import Entry
from gateway.connections.providers import Providers
from gateway.directory.notices import app_address
from gateway.settings import App
from tests.chaos.story import CLIENT
from tests.flows.product import Product, installed
from tests.gateway.connections.connecting import AURORA
from tests.gateway.directory.test_notices import hubspot_signed
from tests.leaks import assert_no_leaks
from tests.processes import Gateway, until_async

NEW = "+41446681877"


async def test_a_number_changed_in_the_crm_is_found_and_the_old_one_is_not(gateway: Gateway) -> None:
    async with installed(gateway, embedded=False) as product:
        await mirrored(product)
        person, old = somebody(product)
        assert await caller(product, old) == person.id

        portal = product.vendor.portals[AURORA]
        changed = {"phone": NEW, "mobilephone": ""}
        person, _ = portal.update(BY_SEGMENT["contacts"], person, changed, datetime.now(UTC))
        assert await notify(product, event(person.id, "contact.propertyChange")) == 204
        await until(product, NEW, person.id)
        await until(product, old, None)

        portal.crm.archive(person, datetime.now(UTC))
        assert await notify(product, event(person.id, "contact.deletion")) == 204
        await until(product, NEW, None)

        assert await notify(product, event(person.id, "contact.creation"), secret="forged") == 401
        assert_no_leaks(
            [NEW, old, product.key], texts=[gateway.output()], redis_url=gateway.settings["GATEWAY_REDIS_URL"]
        )


def somebody(product: Product) -> tuple[Entry, str]:
    """A contact who alone has their number, and that number."""
    numbers: dict[str, list[Entry]] = {}
    for entry in product.crm.all("contact"):
        number = phone.read(entry.properties.get("phone") or "", "CH")
        if number is not None:
            numbers.setdefault(phone.e164(number), []).append(entry)
    return next((entries[0], number) for number, entries in numbers.items() if len(entries) == 1)


async def mirrored(product: Product) -> None:
    (connection,) = (await product.api("GET", "/v1/connections"))["items"]

    async def done() -> bool:
        reply = await product.client.get(
            f"{product.origin}/v1/connections/{connection['id']}/import",
            headers={"authorization": f"Bearer {product.key}"},
        )
        return reply.status_code == 200 and reply.json()["state"] == "done"

    await until_async("the CRM is mirrored", done)


async def caller(product: Product, number: str) -> str | None:
    found = await product.api("POST", "/v1/lookup", {"phone": number})
    return found["contact"]["id"] if found["status"] == "known" else None


async def until(product: Product, number: str, whom: str | None) -> None:
    async def so() -> bool:
        return await caller(product, number) == whom

    await until_async(f"the answer is {whom}", so)


def event(id: str, news: str) -> list[dict[str, Any]]:
    return [{"subscriptionType": news, "objectId": int(id), "portalId": AURORA, "occurredAt": 1764000000000}]


async def notify(product: Product, events: list[dict[str, Any]], *, secret: str = CLIENT["CLIENT_SECRET"]) -> int:
    """As HubSpot would: to the app's one address, signed for what the gateway is called."""
    registered = Providers(registration=lambda _: App(client_id=CLIENT["CLIENT_ID"])).of("hubspot")
    url, body = app_address(product.origin, registered), json.dumps(events).encode()
    headers = hubspot_signed(url, body, datetime.now(UTC), secret)
    return (await product.client.post(url, content=body, headers=headers)).status_code
