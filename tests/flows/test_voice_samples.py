"""Every sample of Vapi and Retell, sent to the real application as the platform would, ends as the table says."""

import json
from typing import Any

import pytest

from gateway.settings import Settings
from tests.lines import Line, new_line
from tests.processes import until_async
from tests.shared import FOLDER, needs_shared, present, shared
from tests.web import no_work, running

pytestmark = needs_shared("payloads", what="what the gateway does with each platform's real formats")

FALLBACKS = {"vapi": {"assistantId": "as_1"}, "retell": {"override_agent_id": "ag_1"}}

LOOKUP, TOOLS = "lookup answered", "tool answered"
STORED = "stored"
IGNORED, UNSEEN = "recorded and ignored", "acknowledged unrecorded"

TABLE = {
    "vapi/assistant-request.json": LOOKUP,
    "vapi/tool-calls.json": TOOLS,
    "vapi/tool-calls.flat.json": TOOLS,
    "vapi/tool-calls.string-arguments.json": TOOLS,
    "vapi/status-update.in-progress.json": STORED,
    "vapi/status-update.ended.json": STORED,
    "vapi/end-of-call-report.inbound.json": STORED,
    "vapi/end-of-call-report.artifact-only.json": STORED,
    "vapi/end-of-call-report.outbound-no-answer.json": STORED,
    "vapi/end-of-call-report.transferred.json": STORED,
    "vapi/end-of-call-report.web.json": STORED,
    "vapi/hang.json": IGNORED,
    "vapi/transfer-destination-request.json": IGNORED,
    "vapi/conversation-update.json": UNSEEN,
    "retell/call_inbound.json": LOOKUP,
    "retell/custom_function.json": TOOLS,
    "retell/custom_function.args_at_root.json": TOOLS,
    "retell/call_started.json": STORED,
    "retell/call_ended.json": STORED,
    "retell/call_analyzed.json": STORED,
    "retell/call_analyzed.web.json": STORED,
    "retell/call_ended.outbound-busy.json": STORED,
    "retell/transfer_started.json": STORED,
}


def samples() -> list[str]:
    found = [
        path for platform in ("vapi", "retell") for path in sorted((FOLDER / "payloads" / platform).glob("*.json"))
    ]
    return [f"{path.parent.name}/{path.name}" for path in found if ".reply" not in path.name]


def sample(name: str) -> bytes:
    return shared(f"payloads/{name}", what=f"the sample {name}").read_bytes()


def test_the_table_has_every_sample() -> None:
    assert sorted(TABLE) == sorted(samples())


@pytest.mark.parametrize("name", samples() if present("payloads") else [])
async def test_a_sample_becomes_what_the_table_says(name: str, sqlite_url: str) -> None:
    settings = Settings(database_url=sqlite_url)
    async with running(settings, beside=no_work) as web:
        line = await new_line(web, name.split("/")[0], fallback=FALLBACKS[name.split("/")[0]])
        body = sample(name)
        answer = await line.send(body)
        assert answer.status_code == 200, answer.text
        await CHECKS[TABLE[name]](line, json.loads(body), answer.json())


async def lookup_answered(line: Line, sent: dict[str, Any], answered: dict[str, Any]) -> None:
    if line.platform == "vapi":
        assert answered["assistantId"] == "as_1"
        variables = answered["assistantOverrides"]["variableValues"]
    else:
        assert answered["call_inbound"]["override_agent_id"] == "ag_1"
        variables = answered["call_inbound"]["dynamic_variables"]
        assert answered["call_inbound"]["metadata"]["gateway_lookup_id"].startswith("lk_")
    assert variables["customer_known"] == "false"
    assert all(isinstance(value, str) for value in variables.values())
    await until_async("the lookup is written down", lambda: became(line, ["lookup"]))


async def tool_answered(line: Line, sent: dict[str, Any], answered: dict[str, Any]) -> None:
    if line.platform == "retell":
        assert answered["result"] or answered["error"]
    else:
        asked = {call["id"] for call in sent["message"]["toolCallList"]}
        assert {result["toolCallId"] for result in answered["results"]} == asked
        for result in answered["results"]:
            said = result.get("result") or result["error"]
            assert isinstance(said, str)
            assert "\n" not in said
    await until_async("the tool call is written down", lambda: became(line, ["tools"]))


async def stored(line: Line, sent: dict[str, Any], answered: dict[str, Any]) -> None:
    ((call, news),) = await line.calls()
    assert call.external_id == (sent.get("message") or sent)["call"].get("id", (sent.get("call") or {}).get("call_id"))
    assert call.plan_at is not None
    assert news.direction == call.direction
    assert await became(line, ["stored"])
    shown = await line.web.client.get(f"/v1/calls/{call.external_id}", headers=line.bearer)
    assert shown.status_code == 200
    assert shown.json()["id"] == call.id


async def recorded_and_ignored(line: Line, sent: dict[str, Any], answered: dict[str, Any]) -> None:
    assert await became(line, ["ignored"])
    assert await line.calls() == []


async def unrecorded(line: Line, sent: dict[str, Any], answered: dict[str, Any]) -> None:
    """Many of them come each second of each call."""
    assert answered == {}
    assert await line.events() == []


async def became(line: Line, expected: list[str]) -> bool:
    return [event.became for event in await line.events()] == expected


CHECKS = {
    LOOKUP: lookup_answered,
    TOOLS: tool_answered,
    STORED: stored,
    IGNORED: recorded_and_ignored,
    UNSEEN: unrecorded,
}


async def test_all_events_of_one_call_are_one_call(sqlite_url: str) -> None:
    """Vapi's whole story of one call, in the order it would come."""
    async with running(Settings(database_url=sqlite_url), beside=no_work) as web:
        line = await new_line(web, "vapi")
        for name in ("status-update.in-progress", "status-update.ended", "end-of-call-report.inbound"):
            assert (await line.send(sample(f"vapi/{name}.json"))).status_code == 200
        ((call, news),) = await line.calls()
        assert call.complete
        assert news.summary == "Maya Ortiz moved her Tuesday cleaning to Thursday at 10."
        by_carrier = await web.client.get("/v1/calls/CA00000000000000000000000000000001", headers=line.bearer)
        assert by_carrier.json()["id"] == call.id
