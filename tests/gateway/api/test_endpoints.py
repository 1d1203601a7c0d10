"""A tenant's voice endpoints: made, shown, rotated with two valid at once, tried out, ended."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from connectors.voice.catalog import PLATFORMS
from connectors.voice.trial import TRIALS
from gateway.calls import endpoints
from gateway.calls.tables import VoiceEndpoint
from gateway.db.engine import utc_now
from tests.lines import RETELL_KEY, new_line, vapi_report
from tests.web import Web


async def test_an_endpoint_is_made_with_what_to_paste(web: Web) -> None:
    key = await web.key(await web.tenant())
    wanted = {"platform": "vapi", "name": "Reception", "fallback": {"assistantId": "as_1"}}
    made = await web.client.post("/v1/endpoints", json=wanted, headers={"Authorization": f"Bearer {key}"})
    assert made.status_code == 201
    shown = made.json()
    assert shown["url"].startswith(f"{web.origin}/v1/voice/vapi/")
    assert len(shown["url"].rsplit("/", 1)[1]) >= 43
    assert any(shown["url"] in step for step in shown["steps"])
    listed = (await web.client.get("/v1/endpoints", headers={"Authorization": f"Bearer {key}"})).json()
    (again,) = listed["items"]
    assert (again["url"], again["fallback"]) == (shown["url"], {"assistantId": "as_1"})
    assert shown["secret"] not in str(listed)


NOT_RIGHT: list[tuple[dict[str, Any], str]] = [
    ({}, "body.platform"),
    ({"platform": "skype"}, "body.platform"),
    ({"platform": "vapi", "nmae": "x"}, "body.nmae"),
    ({"platform": "vapi", "name": ""}, "body.name"),
    ({"platform": "vapi", "name": "two\nlines"}, "body.name"),
    ({"platform": "vapi", "fallback": []}, "body.fallback"),
    ({"platform": "vapi", "fallback": {"text": "x" * 20_000}}, "body.fallback"),
    ({"platform": "vapi", "secret": "of my own making"}, "body.secret"),
    ({"platform": "retell"}, "body.secret"),
    ({"platform": "vapi", "assurance": "url"}, "body.assurance"),
    ({"platform": "vapi", "settings": {"colour": "red"}}, "body.settings.colour"),
    ({"platform": "vapi", "settings": {"auth": 1}}, "body.settings.auth"),
]


async def test_what_is_not_right_is_named(web: Web) -> None:
    bearer = {"Authorization": f"Bearer {await web.key(await web.tenant(), 'admin')}"}
    for wanted, field in NOT_RIGHT:
        answer = await web.client.post("/v1/endpoints", json=wanted, headers=bearer)
        assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])
    assert (await web.client.get("/v1/endpoints", headers=bearer)).json()["items"] == []


async def test_an_endpoint_is_changed_where_it_is(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another fallback must not cost a person another address to paste."""
    monkeypatch.setattr(endpoints, "BELIEVED", timedelta())
    line = await new_line(web, "vapi", fallback={"assistantId": "as_1"})
    path = f"/v1/endpoints/{line.id}"
    (before,) = (await web.client.get("/v1/endpoints", headers=line.bearer)).json()["items"]
    changed = await web.client.patch(path, json={"fallback": {"assistantId": "as_2"}}, headers=line.bearer)
    assert changed.json() == before | {"fallback": {"assistantId": "as_2"}}
    named = await web.client.patch(path, json={"name": "Night", "settings": {"auth": "bearer"}}, headers=line.bearer)
    assert named.json() == changed.json() | {"name": "Night", "settings": {"auth": "bearer"}}
    assert (await web.client.get("/v1/endpoints", headers=line.bearer)).json()["items"] == [named.json()]
    ask = {"message": {"type": "assistant-request", "call": {"id": "c-1"}}}
    assert (await line.send(ask)).status_code == 401, "it asks for a bearer token now"
    answer = await web.client.post(line.path, json=ask, headers={"Authorization": f"Bearer {line.secret}"})
    assert answer.json()["assistantId"] == "as_2"


async def test_a_change_that_is_not_right_is_named_and_changes_nothing(web: Web) -> None:
    line = await new_line(web, "vapi")
    before = (await web.client.get("/v1/endpoints", headers=line.bearer)).json()
    for wanted, field in [
        *((wanted, field) for given, field in NOT_RIGHT if (wanted := _without_platform(given))),
        ({"platform": "retell"}, "body.platform"),
        ({"name": "A", "settings": {"colour": "red"}}, "body.settings.colour"),
    ]:
        answer = await web.client.patch(f"/v1/endpoints/{line.id}", json=wanted, headers=line.bearer)
        assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])
    assert (await web.client.get("/v1/endpoints", headers=line.bearer)).json() == before


def _without_platform(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name != "platform"}


async def test_another_tenants_endpoint_is_not_there_to_be_changed(web: Web) -> None:
    line, other = await new_line(web, "vapi"), await new_line(web, "vapi")
    answer = await web.client.patch(f"/v1/endpoints/{line.id}", json={"name": "Mine"}, headers=other.bearer)
    assert answer.status_code == 404


async def test_only_an_admin_key_may(web: Web) -> None:
    key = await web.key(await web.tenant(), "events", "read")
    bearer = {"Authorization": f"Bearer {key}"}
    assert (await web.client.get("/v1/endpoints", headers=bearer)).status_code == 403
    assert (await web.client.post("/v1/endpoints", json={"platform": "vapi"}, headers=bearer)).status_code == 403
    assert (await web.client.patch("/v1/endpoints/ve_1", json={"name": "A"}, headers=bearer)).status_code == 403


async def test_old_and_new_address_and_secret_are_valid_together_for_a_day(
    web_on: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person pastes the address first and the secret later, while calls come in."""
    web = web_on
    monkeypatch.setattr(endpoints, "BELIEVED", timedelta())
    line = await new_line(web, "vapi")
    rotated = await web.client.post(f"/v1/endpoints/{line.id}/rotate", headers=line.bearer)
    assert rotated.status_code == 200
    new_path, new_secret = rotated.json()["url"].removeprefix(web.origin), rotated.json()["secret"]
    assert (new_path, new_secret) != (line.path, line.secret)

    async def statuses() -> list[int]:
        return [
            (await web.client.post(path, json=vapi_report(), headers={"x-vapi-secret": secret})).status_code
            for path in (line.path, new_path)
            for secret in (line.secret, new_secret, "another")
        ]

    assert await statuses() == [200, 200, 401, 200, 200, 401]
    async with web.parts.db.transaction(line.tenant_id) as session:
        await session.execute(update(VoiceEndpoint).values(previous_until=utc_now()))
    assert await statuses() == [404, 404, 404, 401, 200, 401]


async def test_a_platforms_own_key_is_rotated_when_it_is_given(web: Web) -> None:
    line = await new_line(web, "retell")
    kept = await web.client.post(f"/v1/endpoints/{line.id}/rotate", headers=line.bearer)
    assert kept.json()["secret"] == RETELL_KEY
    replaced = await web.client.post(
        f"/v1/endpoints/{line.id}/rotate", json={"secret": "key_newer_0123456789"}, headers=line.bearer
    )
    assert replaced.json()["secret"] == "key_newer_0123456789"
    made_here = await new_line(web, "vapi", line.tenant_id)
    refused = await web.client.post(
        f"/v1/endpoints/{made_here.id}/rotate", json={"secret": "of my own making"}, headers=line.bearer
    )
    assert refused.status_code == 422


async def test_an_ended_endpoint_is_unknown(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "BELIEVED", timedelta())
    line = await new_line(web, "vapi")
    assert (await line.send(vapi_report())).status_code == 200
    assert (await web.client.delete(f"/v1/endpoints/{line.id}", headers=line.bearer)).status_code == 204
    assert (await line.send(vapi_report())).status_code == 404
    assert (await web.client.delete(f"/v1/endpoints/{line.id}", headers=line.bearer)).status_code == 404
    assert (await web.client.get("/v1/calls/c-1", headers=line.bearer)).status_code == 200


@pytest.mark.parametrize("platform", sorted(PLATFORMS))
async def test_a_test_event_goes_the_whole_way_and_is_never_planned(web: Web, platform: str) -> None:
    line = await new_line(web, platform)
    answer = await web.client.post(f"/v1/endpoints/{line.id}/test", headers=line.bearer)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["became"], told["status"]) == ("test", 200)
    ((call, news),) = await line.calls()
    assert (call.id, call.state, call.plan_at, call.subject_index) == (told["call_id"], "done", None, None)
    assert news.summary is not None
    listed = await web.client.get(f"/v1/endpoints/{line.id}/events", headers=line.bearer)
    assert [(one["became"], one["call_id"]) for one in listed.json()["items"]] == [("test", call.id)]


def test_every_platform_has_a_test_event() -> None:
    assert TRIALS.keys() == PLATFORMS.keys()


@pytest.mark.parametrize("auth", ["secret", "bearer", "hmac"])
async def test_a_test_event_is_proven_the_way_the_endpoint_asks_for(web: Web, auth: str) -> None:
    line = await new_line(web, "vapi", settings={"auth": auth}, assurance="signed" if auth == "hmac" else "secret")
    answer = await web.client.post(f"/v1/endpoints/{line.id}/test", headers=line.bearer)
    assert answer.json()["assurance"] == ("signed" if auth == "hmac" else "secret")


async def test_a_test_says_when_settings_and_assurance_do_not_fit(web: Web) -> None:
    line = await new_line(web, "vapi", settings={"auth": "bearer"}, assurance="signed")
    answer = await web.client.post(f"/v1/endpoints/{line.id}/test", headers=line.bearer)
    assert answer.status_code == 409
    assert await line.events() == []


async def test_events_are_paged_newest_first(web_on: Web) -> None:
    web = web_on
    line = await new_line(web, "vapi")
    for number in range(3):
        await line.send(vapi_report(f"c-{number}"))
    path = f"/v1/endpoints/{line.id}/events"
    first = (await web.client.get(f"{path}?limit=2", headers=line.bearer)).json()
    rest = (await web.client.get(f"{path}?limit=2&cursor={first['next']}", headers=line.bearer)).json()
    assert (len(first["items"]), len(rest["items"]), rest["next"]) == (2, 1, None)
    assert first["items"][0]["event"] == "end-of-call-report"
    assert (await web.client.get(f"{path}?cursor=xx", headers=line.bearer)).status_code == 422
    assert (await web.client.get(f"{path}?limit=201", headers=line.bearer)).status_code == 422
