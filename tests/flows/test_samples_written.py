"""Every sample call of Vapi and Retell that ended is in the CRM afterwards: once, with who it was about."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from connectors.voice.catalog import PLATFORMS
from connectors.voice.events import CallEvent
from connectors.voice.port import Incoming
from gateway.calls.merge import customer_of
from tests.connectors.voice.test_retell import sign
from tests.flows.product import Product, installed
from tests.flows.test_voice_samples import STORED, TABLE, sample
from tests.processes import Gateway
from tests.shared import needs_shared

pytestmark = needs_shared("payloads", what="that the platforms' real formats end up in a CRM")

RETELL_KEY = "key_retell_of_this_test"


async def test_every_sample_call_that_ended_is_written_once(embedded_gateway: Gateway) -> None:
    embedded_gateway.settings["GATEWAY_CALL_GRACE"] = "1"  # two samples have no last event
    async with installed(embedded_gateway, embedded=True) as product:
        expected: dict[str, bool] = {}  # call → whether there is somebody it is about
        for name in (name for name, became in TABLE.items() if became == STORED):
            platform = name.split("/")[0]
            event = PLATFORMS[platform].parse(Incoming(method="POST", url="/", headers={}, body=sample(name)))
            assert isinstance(event, CallEvent)
            await post(product, platform, sample(name))
            if event.ended:
                expected[event.call_id] = (
                    expected.get(event.call_id, False) or customer_of(event.news, region="CH") is not None
                )
        assert len(expected) >= 6
        for call_id, about_somebody in expected.items():
            call = await product.delivered(call_id)
            actions = {one["action"]: one for one in call["deliveries"]}
            assert {one["state"] for one in call["deliveries"]} == {"delivered"}, call
            assert ("upsert_contact" in actions) == about_somebody
            record = actions["log_call"]["record"]
            assert product.crm.get("call", record["id"]) is not None
            assert bool(product.crm.linked("call", record["id"], "contact")) == about_somebody


async def post(product: Product, platform: str, body: bytes) -> None:
    if platform == "vapi":
        reply = await product.vapi(json.loads(body)["message"])
    else:
        url, _ = await product.endpoint("retell", secret=RETELL_KEY)
        headers = {**sign(body, RETELL_KEY, at=datetime.now(UTC)), "content-type": "application/json"}
        reply = await product.client.post(url, content=body, headers=headers)
    assert reply.status_code < 300, reply.text
