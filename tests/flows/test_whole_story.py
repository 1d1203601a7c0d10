"""The main job through real processes: the caller is recognised, the call ends, HubSpot is written; and nothing leaks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from connectors import phone
from connectors.sandbox.faults import Fault, Kind
from connectors.sandbox.store import Entry
from tests.flows.product import Product, installed
from tests.leaks import assert_no_leaks
from tests.processes import Gateway, until_async

SUMMARY = "Wants two heat pumps; was promised a call back by Zacharias Quellwasser."


def somebody(product: Product) -> tuple[Entry, str]:
    """A contact whose number the CRM has in a national spelling, and that number."""
    for entry in product.crm.all("contact"):
        raw = entry.properties.get("phone") or ""
        number = phone.read(raw, "CH")
        if raw.startswith("07") and number is not None:
            return entry, phone.e164(number)
    raise AssertionError("the sandbox has no such contact")


def report(caller: str, call_id: str, **analysis: Any) -> dict[str, Any]:
    ended = datetime.now(UTC)
    return {
        "type": "end-of-call-report", "timestamp": int(ended.timestamp() * 1000), "endedReason": "customer-ended-call",
        "call": {"id": call_id, "type": "inboundPhoneCall", "customer": {"number": caller}}, "customer": {"number": caller},
        "phoneNumber": {"number": "+41435550100"},
        "startedAt": (ended - timedelta(seconds=74)).isoformat(), "endedAt": ended.isoformat(),
        "analysis": {"summary": SUMMARY, "structuredData": analysis},
        "artifact": {"transcript": "AI: Grüezi.\nUser: Zwei Wärmepumpen, bitte. Quellwasser am Apparat."},
    }  # fmt: skip


async def test_a_call_is_recognised_and_written_by_separate_processes(gateway: Gateway) -> None:
    async with installed(gateway, embedded=False) as product:
        await tell(product)
        secrets = [SUMMARY, "Quellwasser", product.key, *await personal(product)]
        assert_no_leaks(secrets, texts=[gateway.output()], redis_url=gateway.settings["GATEWAY_REDIS_URL"])


async def test_the_same_in_one_process_with_nothing_beside_it(embedded_gateway: Gateway) -> None:
    async with installed(embedded_gateway, embedded=True) as product:
        await tell(product)
        secrets = [SUMMARY, "Quellwasser", product.key, *await personal(product)]
    assert_no_leaks(secrets, texts=[embedded_gateway.output()], files=[embedded_gateway.folder])


async def personal(product: Product) -> list[str]:
    """What must stand nowhere in clear: the person, the voice secret, the grant."""
    entry, number = somebody(product)
    _, secret = await product.endpoint("vapi")
    names = (
        entry.properties["firstname"] or "",
        entry.properties["lastname"] or "",
        entry.properties.get("email") or "",
    )
    return [*(name for name in names if len(name) > 4), number, secret]


async def tell(product: Product) -> None:
    entry, number = somebody(product)
    found: dict[str, Any] = {}

    async def known() -> bool:
        found.update(await product.api("POST", "/v1/lookup", {"phone": number}))
        return bool(found["status"] == "known")

    await until_async("the caller is known", known)
    assert found["contact"]["id"] == entry.id
    assert found["contact"]["last_name"] == entry.properties["lastname"]

    before = {kind: set(product.crm.linked("contact", entry.id, kind)) for kind in ("call", "task", "deal")}
    reply = await product.vapi(report(number, "vapi-1", intents=["purchase"], promises=[{"what": "call back"}]))
    assert reply.status_code < 300
    call = await product.delivered("vapi-1")
    assert {one["action"]: one["state"] for one in call["deliveries"]} == {
        "upsert_contact": "delivered", "log_call": "delivered", "create_task": "delivered", "create_deal": "delivered",
    }  # fmt: skip
    grown = {kind: set(product.crm.linked("contact", entry.id, kind)) - ids for kind, ids in before.items()}
    assert {kind: len(ids) for kind, ids in grown.items()} == {"call": 1, "task": 1, "deal": 1}
    logged = product.crm.get("call", next(iter(grown["call"])))
    assert logged is not None
    assert SUMMARY in (logged.properties["hs_call_body"] or "")
    assert logged.properties["hs_call_duration"] == "74000"

    again = await product.vapi(report(number, "vapi-1", intents=["purchase"], promises=[{"what": "call back"}]))
    assert again.status_code < 300
    await newcomer(product)
    assert set(product.crm.linked("contact", entry.id, "call")) - before["call"] == grown["call"]


async def newcomer(product: Product) -> None:
    """Somebody nobody knows calls while the CRM is down: afterwards they are there, once, and found at once."""
    product.face.faults.add(Fault(kind=Kind.OUTAGE, path="/crm/*"))
    await product.vapi(report("+41445550177", "vapi-2", first_name="Ruth", last_name="Obermatten"))
    await product.vapi(report("+41445550177", "vapi-3"))

    async def promised() -> bool:
        calls = [await product.api("GET", f"/v1/calls/{call_id}") for call_id in ("vapi-2", "vapi-3")]
        return all(call["deliveries"] for call in calls)

    await until_async("both calls are planned", promised, timedelta(seconds=60))
    for call_id in ("vapi-2", "vapi-3"):
        states = {one["state"] for one in (await product.api("GET", f"/v1/calls/{call_id}"))["deliveries"]}
        assert states <= {"waiting", "pending", "in_flight"}, "an outage is waited out"
    product.face.faults.clear()
    for call_id in ("vapi-2", "vapi-3"):
        call = await product.delivered(call_id)
        assert {one["state"] for one in call["deliveries"]} == {"delivered"}
    made = [one for one in product.crm.all("contact") if one.properties.get("lastname") == "Obermatten"]
    assert len(made) == 1
    assert len(product.crm.linked("contact", made[0].id, "call")) == 2

    async def found() -> bool:
        answer = await product.api("POST", "/v1/lookup", {"phone": "044 555 01 77"})
        return bool(answer["status"] == "known" and answer["contact"]["id"] == made[0].id)

    await until_async("the newcomer is found", found)
