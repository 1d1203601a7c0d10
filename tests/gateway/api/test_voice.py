"""What voice platforms meet: an answer in their shape while somebody waits, 2xx after the commit, 401 without a trace."""

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from gateway.calls import endpoints
from gateway.lookup.answer import NEUTRAL
from tests.lines import NUMBER, OURS, RETELL_KEY, new_line, vapi_report, vapi_status
from tests.processes import until_async
from tests.web import Web

ASKED = {
    "message": {
        "type": "assistant-request",
        "call": {"id": "c-1", "type": "inboundPhoneCall"},
        "customer": {"number": NUMBER},
        "phoneNumber": {"number": OURS},
    }
}
RINGS = {"event": "call_inbound", "call_inbound": {"from_number": NUMBER, "to_number": OURS}}


def tools(*names: str, customer: str | None = NUMBER, **arguments: Any) -> dict[str, Any]:
    return {
        "message": {
            "type": "tool-calls",
            "call": {"id": "c-1", "type": "inboundPhoneCall"},
            "customer": {"number": customer},
            "toolCallList": [
                {"id": f"t-{place}", "function": {"name": name, "arguments": arguments}}
                for place, name in enumerate(names)
            ],
        }
    }


class Away:
    """A transaction on a database that does not answer."""

    def __init__(self, *_: Any) -> None: ...

    async def __aenter__(self) -> None:
        raise OperationalError("SELECT", {}, ConnectionRefusedError())

    async def __aexit__(self, *_: object) -> None: ...


async def test_an_unknown_address_says_so_and_no_more(web: Web) -> None:
    line = await new_line(web, "vapi")
    unknown = await web.client.post("/v1/voice/vapi/nobody", json=vapi_report())
    elsewhere = await web.client.post(line.path.replace("vapi", "retell"), json=vapi_report())
    no_platform = await web.client.post(line.path.replace("vapi", "other"), json=vapi_report())
    assert [one.status_code for one in (unknown, elsewhere, no_platform)] == [404, 404, 404]
    assert unknown.content == elsewhere.content == no_platform.content
    assert unknown.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("platform", ["vapi", "retell"])
async def test_a_bad_secret_is_refused_and_nothing_is_stored(web: Web, platform: str) -> None:
    line = await new_line(web, platform)
    body = vapi_report() if platform == "vapi" else {"event": "call_ended", "call": {"call_id": "c-1"}}
    wrong = await line.send(body, secret="another")
    bare = await web.client.post(line.path, json=body)
    assert (wrong.status_code, bare.status_code) == (401, 401)
    assert wrong.json()["type"] == "/docs#bad-signature"
    assert await line.events() == []
    assert await line.calls() == []


async def test_an_old_signature_is_refused_and_nothing_is_stored(web: Web) -> None:
    line = await new_line(web, "retell")
    body = {"event": "call_ended", "call": {"call_id": "c-1"}}
    assert (await line.send(body, age=timedelta(minutes=6))).status_code == 401
    assert (await line.send(body, age=timedelta(minutes=-6))).status_code == 401
    assert await line.events() == []


async def test_the_signature_covers_the_bytes_as_they_came(web: Web) -> None:
    line = await new_line(web, "retell")
    odd = '{ "event":"call_ended",\n "call":{"call_id":"c-1", "note":"caf\u00e9 \\u2014"} }'.encode()
    assert (await line.send(odd)).status_code == 200
    tampered = await web.client.post(line.path, content=odd.replace(b"c-1", b"c-2"), headers=line.signed(odd))
    assert tampered.status_code == 401
    assert [call.external_id for call, _ in await line.calls()] == ["c-1"]


async def test_an_endpoint_that_wants_signatures_takes_no_secret(web: Web) -> None:
    line = await new_line(web, "vapi", assurance="signed")
    assert (await line.send(vapi_report())).status_code == 401


async def test_an_event_is_acknowledged_when_it_is_stored_and_a_repeat_changes_nothing(web_on: Web) -> None:
    web = web_on
    line = await new_line(web, "vapi")
    assert (await line.send(vapi_report())).status_code == 200
    ((call, news),) = await line.calls()
    assert (call.source, call.complete, news.summary) == (line.id, True, "Asked for the opening hours.")
    assert (await line.send(vapi_report())).status_code == 200
    assert [(again.updated_at, again.id) for again, _ in await line.calls()] == [(call.updated_at, call.id)]
    assert [event.became for event in await line.events()] == ["stored"]


async def test_news_that_cannot_be_stored_is_not_acknowledged(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 2xx here would be a lost call; the platform sends it again."""
    line = await new_line(web, "vapi")
    await line.send(vapi_status("in-progress"))
    with monkeypatch.context() as broken:
        broken.setattr(web.parts.db, "transaction", Away)
        answer = await line.send(vapi_report())
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert (await line.send(vapi_report())).status_code == 200
    ((call, _),) = await line.calls()
    assert call.complete


@pytest.mark.parametrize("platform", ["vapi", "retell"])
async def test_a_lookup_is_answered_while_the_database_is_away(
    web: Web, monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    """Somebody is on the line: the stored reply with neutral variables, and 200."""
    stored = {"assistantId": "as_1"} if platform == "vapi" else {"override_agent_id": "ag_1"}
    line = await new_line(web, platform, fallback=stored)
    body = ASKED if platform == "vapi" else RINGS
    assert (await line.send(body)).status_code == 200
    await until_async("the lookup is written down", lambda: _has_events(line))
    monkeypatch.setattr(endpoints, "BELIEVED", timedelta())
    monkeypatch.setattr(web.parts.db, "transaction", Away)
    monkeypatch.setattr(web.parts.db, "reading", Away)
    monkeypatch.setattr(web.parts.keyring, "at_hand", lambda _: None)
    answer = await line.send(body)
    assert answer.status_code == 200
    if platform == "vapi":
        assert answer.json()["assistantId"] == "as_1"
        variables = answer.json()["assistantOverrides"]["variableValues"]
    else:
        assert answer.json()["call_inbound"]["override_agent_id"] == "ag_1"
        variables = answer.json()["call_inbound"]["dynamic_variables"]
    assert {name: variables[name] for name in NEUTRAL} == dict(NEUTRAL)


async def _has_events(line: Any) -> bool:
    return bool(await line.events())


async def test_an_address_nobody_can_check_is_asked_for_again(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web.parts.db, "reading", Away)
    assert (await web.client.post("/v1/voice/vapi/never-seen", json=ASKED)).status_code == 503


async def test_whatever_breaks_behind_a_lookup_the_caller_is_answered(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError

    line = await new_line(web, "retell")
    monkeypatch.setattr(web.parts.finder, "find", broken)
    answer = await line.send(RINGS)
    assert answer.status_code == 200
    assert answer.json()["call_inbound"]["dynamic_variables"]["customer_known"] == "false"


async def test_a_lookup_with_a_call_id_is_the_first_news_of_that_call(web_on: Web) -> None:
    web = web_on
    line = await new_line(web, "vapi")
    answered = (await line.send(ASKED)).json()
    lookup_id = answered["assistantOverrides"]["variableValues"]["gateway_lookup_id"]
    await until_async("the lookup is written down", lambda: _has_events(line))
    await line.send(vapi_report())
    ((call, _),) = await line.calls()
    assert call.lookup_id == lookup_id
    assert [event.became for event in await line.events()] == ["lookup", "merged"]
    found = await web.client.get(f"/v1/calls/{lookup_id}", headers=line.bearer)
    assert found.json()["call_id"] == "c-1"


async def test_a_lookup_without_a_call_id_is_tied_by_what_the_platform_echoes(web: Web) -> None:
    line = await new_line(web, "retell")
    metadata = (await line.send(RINGS)).json()["call_inbound"]["metadata"]
    await line.send({"event": "call_ended", "call": {"call_id": "c-1", "metadata": metadata}})
    ((call, _),) = await line.calls()
    assert call.lookup_id == metadata["gateway_lookup_id"]


class Asked:
    """Stands before the finder and remembers who was asked for."""

    def __init__(self, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
        self.numbers: list[str] = []
        find = web.parts.finder.find

        async def remembering(tenant_id: Any, number: str, **how: Any) -> Any:
            self.numbers.append(number)
            return await find(tenant_id, number, **how)

        monkeypatch.setattr(web.parts.finder, "find", remembering)


async def test_tools_look_up_the_number_of_the_call_and_never_the_models(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model can be talked into typing somebody else's number."""
    line = await new_line(web, "vapi")
    asked = Asked(web, monkeypatch)
    answer = await line.send(tools("lookup_customer", "find_customer", phone="+41791234567"))
    assert [one["result"] for one in answer.json()["results"]] == ["The caller is not known."] * 2
    assert asked.numbers == [NUMBER]


async def test_a_caller_who_hides_the_number_is_not_looked_up(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    line = await new_line(web, "vapi")
    asked = Asked(web, monkeypatch)
    answer = await line.send(tools("lookup_customer", customer="anonymous", phone=NUMBER))
    assert answer.json()["results"][0]["result"] == "The caller hides the number."
    assert asked.numbers == [""]


async def test_a_tool_we_do_not_have_is_declined_politely(web: Web) -> None:
    line = await new_line(web, "vapi")
    answer = await line.send(tools("lookup_customer", "book_appointment"))
    assert answer.status_code == 200
    looked, declined = answer.json()["results"]
    assert looked["result"]
    assert declined == {"toolCallId": "t-1", "error": "This tool is not available."}


async def test_a_function_asked_with_get_is_answered(web: Web) -> None:
    """Retell's functions may be GET, with nothing but a query."""
    line = await new_line(web, "retell", settings={"function_header": "x-function"})
    from connectors.voice.retell import function_secret

    proof = {"x-function": function_secret(RETELL_KEY)}
    answer = await web.client.get(f"{line.path}?tool=lookup_customer&phone={NUMBER}", headers=proof)
    assert answer.status_code == 200
    assert answer.json()["result"] == "The caller's number is not known here."


async def test_what_cannot_be_read_is_recorded_and_acknowledged(web: Web) -> None:
    line = await new_line(web, "vapi")
    odd = (b"", b"not json", b"[]", b"\xff\xfe", b"{" * 5000, b'{"message": NaN}')
    assert [(await line.send(body)).status_code for body in odd] == [200] * len(odd)
    became = {(event.became, event.raw, event.call_id) for event in await line.events()}
    assert (len(await line.events()), became) == (len(odd), {("unreadable", None, None)})


async def test_a_body_of_5_mb_is_refused(web: Web) -> None:
    line = await new_line(web, "vapi")
    answer = await line.send(json.dumps(vapi_report(pad="x" * 5_000_000)).encode())
    assert answer.status_code == 413


async def test_one_tenants_call_is_not_found_by_another(web_on: Web) -> None:
    web = web_on
    mine, theirs = await new_line(web, "vapi"), await new_line(web, "vapi")
    await mine.send(vapi_report())
    ((call, _),) = await mine.calls()
    for name in (call.id, "c-1"):
        assert (await web.client.get(f"/v1/calls/{name}", headers=theirs.bearer)).status_code == 404
    assert (await web.client.get("/v1/calls", headers=theirs.bearer)).json() == {"items": [], "next": None}
    for path in (f"/v1/endpoints/{mine.id}/events", f"/v1/endpoints/{mine.id}/nothing"):
        assert (await web.client.get(path, headers=theirs.bearer)).status_code == 404
    for action in ("rotate", "test"):
        answer = await web.client.post(f"/v1/endpoints/{mine.id}/{action}", headers=theirs.bearer)
        assert answer.status_code == 404
    assert (await web.client.delete(f"/v1/endpoints/{mine.id}", headers=theirs.bearer)).status_code == 404
