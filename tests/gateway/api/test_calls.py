"""Our own contract: what `POST /v1/calls` takes, and what can be read of calls afterwards."""

import itertools
from datetime import timedelta
from typing import Any

from sqlalchemy import update

from gateway.calls import queries
from gateway.calls.tables import Call
from gateway.db.engine import utc_now
from gateway.outbox.plan import plan
from gateway.outbox.tables import Attempt, Delivery
from gateway.rulesets import queries as rulesets
from rules.decide import Decided, Outcome
from tests.factories import make_connection, promise
from tests.lines import NUMBER, OURS, Line, new_line
from tests.web import Web

CALL: dict[str, Any] = {
    "call_id": "c-123", "direction": "inbound", "from": NUMBER, "to": OURS,
    "started_at": "2026-11-21T10:30:00+01:00", "ended_at": "2026-11-21T09:31:35Z", "end_reason": "caller_hung_up",
    "summary": "Wants to be called back.", "transcript": [{"role": "caller", "text": "Call me back.", "at_s": 3.2}],
    "lookup_id": "lk_01", "complete": True,
    "analysis": {
        "type": "Complaint", "sentiment": "negative", "intents": ["purchase"], "products": ["X"], "score": 85,
        "promises": [{"what": "call back", "due": "2026-11-23"}], "data": {"the tenant's own": "fields"},
    },
}  # fmt: skip


async def post(line: Line, call: dict[str, Any], **headers: str) -> Any:
    return await line.web.client.post("/v1/calls", json=call, headers={**line.bearer, **headers})


async def test_a_call_is_taken_and_can_be_read(web_on: Web) -> None:
    line = await new_line(web_on, "vapi")
    answer = await post(line, CALL)
    assert answer.status_code == 202, answer.text
    taken = answer.json()
    assert taken == {"id": taken["id"], "call_id": "c-123", "duplicate": False}
    for name in ("c-123", taken["id"], "lk_01"):
        shown = (await web_on.client.get(f"/v1/calls/{name}", headers=line.bearer)).json()
        assert (shown["id"], shown["call_id"], shown["state"]) == (taken["id"], "c-123", "received")
    assert shown["known"] == {
        **{
            name: CALL[name] for name in ("direction", "from", "to", "end_reason", "summary", "transcript", "lookup_id")
        },
        "started_at": "2026-11-21T09:30:00Z",
        "ended_at": "2026-11-21T09:31:35Z",
        "duration_s": 95.0,
        "withheld": False,
        "analysis": {**CALL["analysis"], "type": "complaint", "score": 85.0},
    }
    assert (shown["decision"], shown["deliveries"]) == ({"rules": []}, [])
    async with web_on.parts.db.reading() as session:
        assert list(await queries.due(session)) == [taken["id"]]


async def test_sending_it_again_changes_nothing(web_on: Web) -> None:
    line = await new_line(web_on, "vapi")
    await post(line, CALL)
    again = await post(line, dict(reversed(CALL.items())))
    assert (again.status_code, again.json()["duplicate"]) == (202, True)
    poorer = await post(line, {"call_id": "c-123", "direction": "inbound", "from": NUMBER, "summary": "Less."})
    assert poorer.json()["duplicate"] is True
    richer = await post(line, {**CALL, "analysis": {"data": {"more": 1}}})
    assert richer.json()["duplicate"] is False
    ((_, news),) = await line.calls()
    assert news.summary == CALL["summary"]
    assert news.analysis is not None
    assert news.analysis.data == {"the tenant's own": "fields", "more": 1}


async def test_parts_of_a_call_may_come_in_any_order(web: Web) -> None:
    line = await new_line(web, "vapi")
    who = {name: CALL[name] for name in ("call_id", "direction", "from", "to")}
    parts = (
        {**who, "started_at": CALL["started_at"], "ended_at": CALL["ended_at"]},
        {**who, "summary": CALL["summary"], "transcript": CALL["transcript"]},
        {**who, "analysis": CALL["analysis"], "complete": True},
    )
    for order in itertools.permutations(parts):
        for part in order:
            assert (
                await post(line, {**part, "call_id": f"c-{order.index(parts[0])}{order.index(parts[1])}"})
            ).is_success
    calls = await line.calls()
    assert len(calls) == 6
    for call, news in calls:
        assert (call.ended, call.complete, news.duration_s, news.summary) == (True, True, 95, CALL["summary"])


async def test_an_idempotency_key_gives_the_first_answer_again(web_on: Web) -> None:
    line = await new_line(web_on, "vapi")
    first = await post(line, CALL, **{"Idempotency-Key": "k-1"})
    again = await post(line, CALL, **{"Idempotency-Key": "k-1"})
    other = await post(line, {**CALL, "summary": "Another."}, **{"Idempotency-Key": "k-1"})
    assert (first.json(), first.status_code) == (again.json(), again.status_code)
    assert again.headers["idempotency-replayed"] == "true"
    assert other.status_code == 422
    assert len(await line.events()) == 1


BARE = {"call_id": "c-1", "direction": "inbound", "from": NUMBER}


NOT_RIGHT: list[tuple[dict[str, Any], str]] = [
    ({"call_id": None}, "body.call_id"),
    ({"call_id": "has spaces"}, "body.call_id"),
    ({"call_id": "x" * 201}, "body.call_id"),
    ({"call_id": 7}, "body.call_id"),
    ({"direction": "sideways"}, "body.direction"),
    ({"from": 41446681800}, "body.from"),
    ({"from": "4" * 300}, "body.from"),
    ({"started_at": 1732181400}, "body.started_at"),
    ({"started_at": "2026-11-21T09:30:00"}, "body.started_at"),
    ({"started_at": "yesterday"}, "body.started_at"),
    ({"complete": "yes"}, "body.complete"),
    ({"transcript": "Caller: hello"}, "body.transcript"),
    ({"transcript": [{"role": "robot", "text": "x"}]}, "body.transcript.0.role"),
    ({"analysis": {"score": "85"}}, "body.analysis.score"),
    ({"analysis": {"mood": "bad"}}, "body.analysis.mood"),
    ({"analysis": {"promises": [{"due": "2026-11-23"}]}}, "body.analysis.promises.0.what"),
    ({"recording_url": "http://recordings.example/1.mp3"}, "body.recording_url"),
    ({"lookup_id": "nothing of ours"}, "body.lookup_id"),
    ({"sumary": "x"}, "body.sumary"),
]


async def test_what_is_not_right_is_named(web: Web) -> None:
    line = await new_line(web, "vapi")
    for change, field in NOT_RIGHT:
        answer = await post(line, {**BARE, **change})
        assert answer.status_code == 422, change
        assert answer.headers["content-type"] == "application/problem+json"
        assert field in [error["field"] for error in answer.json()["errors"]], change
    assert await line.events() == []


async def test_a_call_needs_an_id_a_direction_and_a_number(web: Web) -> None:
    line = await new_line(web, "vapi")
    assert {error["field"] for error in (await post(line, {})).json()["errors"]} == {"body.call_id", "body.direction"}
    assert (await post(line, {"call_id": "c-1", "direction": "inbound"})).status_code == 422
    assert (await post(line, {"call_id": "c-1", "direction": "web"})).status_code == 202


async def test_a_withheld_number_is_nobodys(web: Web) -> None:
    line = await new_line(web, "vapi")
    for place, hidden in enumerate((None, "", "anonymous", "+266696687", "sip:anonymous@anonymous.invalid")):
        assert (await post(line, {**BARE, "from": hidden, "call_id": f"c-{place}"})).status_code == 202
    seen = {(call.subject_index, news.withheld, news.from_number) for call, news in await line.calls()}
    assert (len(await line.calls()), seen) == (5, {(None, True, None)})


async def test_an_odd_number_is_taken_and_belongs_to_nobody(web: Web) -> None:
    line = await new_line(web, "vapi")
    for place, number in enumerate(("144", "no number", "+1 xx", "\u202e1", "4" * 250)):
        assert (await post(line, {**BARE, "from": number, "call_id": f"c-{place}"})).status_code == 202
    assert {call.subject_index for call, _ in await line.calls()} == {None}


async def test_only_a_key_with_the_scope_may(web: Web) -> None:
    line = await new_line(web, "vapi")
    lookups = {"Authorization": f"Bearer {await web.key(line.tenant_id, 'lookup')}"}
    assert (await web.client.post("/v1/calls", json=BARE, headers=lookups)).status_code == 403
    assert (await web.client.get("/v1/calls", headers=lookups)).status_code == 403
    assert (await web.client.get("/v1/calls/c-1", headers=lookups)).status_code == 403
    assert (await web.client.post("/v1/calls", json=BARE)).status_code == 401


async def test_calls_are_listed_newest_first_and_without_people(web_on: Web) -> None:
    line = await new_line(web_on, "vapi")
    for number in range(3):
        await post(line, {**CALL, "call_id": f"c-{number}"})
    first = (await web_on.client.get("/v1/calls?limit=2", headers=line.bearer)).json()
    rest = (await web_on.client.get(f"/v1/calls?limit=2&cursor={first['next']}", headers=line.bearer)).json()
    assert [one["call_id"] for one in (*first["items"], *rest["items"])] == ["c-2", "c-1", "c-0"]
    assert rest["next"] is None
    assert NUMBER not in str(first)
    done = (await web_on.client.get("/v1/calls?state=done", headers=line.bearer)).json()
    assert done["items"] == []
    assert (await web_on.client.get("/v1/calls?state=odd", headers=line.bearer)).status_code == 422


async def test_decisions_and_deliveries_are_shown_and_make_the_state(web_on: Web) -> None:
    web = web_on
    line = await new_line(web, "vapi")
    call_id = (await post(line, CALL)).json()["id"]
    keys = await web.parts.keyring.of(line.tenant_id)
    connection_id = await make_connection(web.parts.db, line.tenant_id)
    decided = Decided(rule_id="ru_1", name="hot-lead", outcome=Outcome.FIRED, because="score was 85", fresh=True)
    async with web.parts.db.transaction(line.tenant_id) as session:
        await session.execute(update(Call).values(state="planned", plan_at=None, planned_at=utc_now()))
        await rulesets.keep(session, line.tenant_id, call_id, [decided], keys=keys, now=utc_now())
        (delivery_id,) = await plan(
            session, line.tenant_id, connection_id, b"somebody", [promise()], keys=keys, call_id=call_id,
            lifetime=timedelta(days=7),
        )  # fmt: skip
        session.add(
            Attempt(
                tenant_id=line.tenant_id, id="at_1", delivery_id=delivery_id, at=utc_now(), outcome="delivered",
                status=201, took_ms=84,
            )
        )  # fmt: skip

    async def read() -> Any:
        return (await web.client.get("/v1/calls/c-123", headers=line.bearer)).json()

    shown = await read()
    assert shown["state"] == "planned"
    assert shown["decision"]["rules"] == [
        {"id": "ru_1", "name": "hot-lead", "matched": True, "outcome": "fired", "because": "score was 85"}
    ]
    (delivery,) = shown["deliveries"]
    assert (delivery["rule"], delivery["action"], delivery["record"]) == ("log every call", "log_call", None)
    assert [(one["outcome"], one["status"], one["took_ms"]) for one in delivery["attempts"]] == [("delivered", 201, 84)]

    for state, of_call in (
        ("dead", "attention"),
        ("uncertain", "attention"),
        ("delivered", "done"),
        ("waiting", "planned"),
    ):
        async with web.parts.db.transaction(line.tenant_id) as session:
            await session.execute(update(Delivery).values(state=state, record_kind="call", record_id="77"))
        shown = await read()
        assert shown["state"] == of_call
        listed = (await web.client.get(f"/v1/calls?state={of_call}", headers=line.bearer)).json()["items"]
        assert [one["id"] for one in listed] == [call_id]
    assert shown["deliveries"][0]["record"] == {"crm": "hubspot", "kind": "call", "id": "77", "url": None}


async def test_the_contract_is_in_the_docs(web: Web) -> None:
    document = (await web.client.get("/openapi.json")).json()
    for path in ("/v1/calls", "/v1/calls/{id}", "/v1/endpoints", "/v1/voice/{platform}/{endpoint_key}"):
        assert path in document["paths"]
