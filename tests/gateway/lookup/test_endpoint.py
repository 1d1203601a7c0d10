"""`POST /v1/lookup` over HTTP: every input has a defined answer, before FastAPI and in its documented twin alike."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import app as gateway_app
from gateway.lookup.routes import LookupAnswer
from gateway.settings import Settings
from gateway.tenants import api_keys
from tests.gateway.lookup.crms import CONTEXT, MAIN, Account, Accounts, ScriptedCrm, person
from tests.web import Web, no_work, running

JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Case:
    """One request, and what it gets. `field`: the one named in the problem."""

    what: str
    body: bytes
    status: int
    headers: dict[str, str] = field(default_factory=lambda: JSON)
    field: str | None = None
    phone: str | None = None
    answer: str | None = None


def asked(**body: Any) -> bytes:
    return json.dumps(body).encode()


CASES = [
    Case("a number", asked(phone=MAIN), 200, phone=MAIN, answer="known"),
    Case("a national number", asked(phone="044 668 18 00"), 200, phone=MAIN, answer="known"),
    Case("another region's", asked(phone="01 42 68 53 00", region="FR"), 200, phone="+33142685300", answer="unknown"),
    Case("a region in small letters", asked(phone="01 42 68 53 00", region="fr"), 200, phone="+33142685300"),
    Case("no region", asked(phone=MAIN, region=None), 200, phone=MAIN),
    Case("an empty region", asked(phone=MAIN, region=""), 200, phone=MAIN),
    Case("nothing", asked(phone=""), 200, answer="withheld"),
    Case("a withheld number", asked(phone="anonymous"), 200, answer="withheld"),
    Case("letters", asked(phone="hello world"), 200, answer="unknown"),
    Case("300 digits", asked(phone="4" * 300), 200, answer="unknown"),
    Case("NUL in a number", b'{"phone":"+41446\\u0000681800"}', 200, phone=MAIN, answer="known"),
    Case("only NUL", b'{"phone":"\\u0000"}', 200, answer="withheld"),
    Case("a raw NUL", b'{"phone":"+4144\x00"}', 400, field="body"),
    Case("half a surrogate", b'{"phone":"\\ud800 12"}', 200, answer="unknown"),
    Case("no UTF-8", b'{"phone":"\xff\xfe"}', 200, answer="unknown"),
    Case("an emergency number", asked(phone="112"), 200, answer="unknown"),
    Case("a short code", asked(phone="144", region="CH"), 200, answer="unknown"),
    Case("4,000 characters", asked(phone="9" * 4000), 200, answer="unknown"),
    Case("an unknown region", asked(phone=MAIN, region="Switzerland"), 422, field="body.region"),
    Case("a region that is none", asked(phone=MAIN, region="XX"), 422, field="body.region"),
    Case("a region that is no text", asked(phone=MAIN, region=41), 422, field="body.region"),
    Case("no phone", asked(region="CH"), 422, field="body.phone"),
    Case("null", asked(phone=None), 422, field="body.phone"),
    Case("a number as a number", asked(phone=41446681800), 422, field="body.phone"),
    Case("a list", asked(phone=[MAIN]), 422, field="body.phone"),
    Case("an unknown field", asked(phone=MAIN, tenant="tn_x"), 422, field="body.tenant"),
    Case("an unknown field with an odd name", asked(**{"phone": MAIN, '"><script>': 1}), 422, field="body.???script?"),
    Case("no object", b"[]", 422, field="body"),
    Case("a bare text", b'"+41446681800"', 422, field="body"),
    Case("no JSON", b"phone=+41446681800", 400, field="body"),
    Case("half of it", b'{"phone": "+4144', 400, field="body"),
    Case("no body", b"", 422, field="body"),
    Case("deep nesting", b'{"phone":' + b"[" * 1500 + b"]" * 1500 + b"}", 400, field="body"),
    Case("NaN", b'{"phone": NaN}', 400, field="body"),
    Case("a huge integer", b'{"phone": ' + b"9" * 400 + b"}", 400, field="body"),
    Case("5 KB", asked(phone="9" * 5000), 413, field="body"),
    Case("5 MB", asked(phone="9" * 5_000_000), 413, field="body"),
    Case("a form", asked(phone=MAIN), 415, {"content-type": "text/plain"}, "header.content-type"),
    Case("no content type", asked(phone=MAIN), 415, {}, "header.content-type"),
    Case(
        "JSON with its charset", asked(phone=MAIN), 200, {"content-type": "application/json; charset=utf-8"}, phone=MAIN
    ),
    Case("compressed", asked(phone=MAIN), 415, {**JSON, "content-encoding": "gzip"}, "header.content-encoding"),
]


@pytest.fixture
async def web(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Web]:
    """The application with one CRM that knows one person, whoever's tenant asks."""
    crm = ScriptedCrm(person("Jean Dupont"), contexts={"c-jean-dupont": CONTEXT})

    class Everybodys(Accounts):
        async def of(self, tenant_id: str) -> list[Account]:
            return [Account("cn_0", "hubspot", crm)]

    async with running(Settings(database_url=sqlite_url), beside=no_work) as found:
        monkeypatch.setattr(found.parts.connections, "of", Everybodys().of)
        monkeypatch.setattr(found.parts.finder, "_fresh", 3600.0)
        yield found


async def post(web: Web, case: Case, key: str) -> Any:
    headers = {"authorization": f"Bearer {key}", **case.headers}
    return await web.client.post("/v1/lookup", content=case.body, headers=headers)


def lasting(response: Any) -> tuple[int, dict[str, Any], dict[str, str]]:
    """What of an answer does not belong to this one request."""
    body = response.json()
    for name in ("lookup_id", "age_s", "took_ms", "source"):
        body.pop(name, None)
    if "variables" in body:
        assert body["variables"].pop("gateway_lookup_id").startswith("lk_")
    headers = {
        name: value for name, value in response.headers.items() if name not in ("x-request-id", "content-length")
    }
    return response.status_code, body, headers


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
async def test_every_question_has_a_defined_answer(web: Web, case: Case) -> None:
    key = await web.key(await web.tenant(), "lookup")
    response = await post(web, case, key)
    assert response.status_code == case.status
    body = response.json()
    if case.status == 200:
        assert response.headers["content-type"] == "application/json"
        assert body["phone"] == case.phone
        LookupAnswer.model_validate(body)
        if case.answer is not None:
            assert body["status"] == case.answer
    else:
        assert response.headers["content-type"] == "application/problem+json"
        assert [error["field"] for error in body["errors"]] == [case.field]
        assert MAIN not in response.text


async def test_the_documented_twin_answers_the_same(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `/docs` says is what the hot path does, for good questions and bad ones."""
    key = await web.key(await web.tenant(), "lookup")
    other = await web.key(await web.tenant(), "events")
    keys = [(case, key) for case in CASES] + [(CASES[0], other), (CASES[0], "gwk_wrong"), (CASES[0], "")]
    hot = [lasting(await post(web, case, text)) for case, text in keys]
    monkeypatch.setattr(gateway_app, "HOT", {})
    twin = [lasting(await post(web, case, text)) for case, text in keys]
    for (case, _), one, two in zip(keys, hot, twin, strict=True):
        assert (case.what, *one) == (case.what, *two)


async def test_only_a_key_with_the_scope_may_ask(web: Web) -> None:
    tenant_id = await web.tenant()
    refused = await post(web, CASES[0], await web.key(tenant_id, "events", "admin"))
    assert (refused.status_code, refused.json()["title"]) == (403, "Not allowed")
    texts = set()
    for key in ("", "gwk_wrong", "gwk_" + "0" * 26 + "_" + "A" * 43 + "00000000"):
        response = await post(web, CASES[0], key)
        assert response.status_code == 401
        texts.add(response.text)
    assert len(texts) == 1


async def test_a_revoked_key_is_refused_at_once(web: Web) -> None:
    """Also while this process still believes in it: the marker is read with the caller."""
    tenant_id = await web.tenant()
    key = await web.key(tenant_id, "lookup")
    assert (await post(web, CASES[0], key)).status_code == 200
    read = api_keys.read(key)
    assert read is not None
    await web.parts.redis.set(api_keys.marker(read.id), b"1", ex=60)
    assert (await post(web, CASES[0], key)).status_code == 401


async def test_other_methods_are_told(web: Web) -> None:
    key = await web.key(await web.tenant(), "lookup")
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        response = await web.client.request(method, "/v1/lookup", headers={"authorization": f"Bearer {key}"})
        assert response.status_code == 405


async def test_the_second_ask_is_warm_and_counted_by_its_template(web: Web) -> None:
    key = await web.key(await web.tenant(), "lookup")
    sources = [(await post(web, CASES[0], key)).json()["source"] for _ in range(2)]
    assert sources == ["crm", "cache"]
    metrics = (await web.client.get("/metrics")).text
    assert 'gateway_requests_total{method="POST",route="/v1/lookup",status="200"}' in metrics
    assert 'gateway_lookups_total{source="cache",status="known"}' in metrics
    assert MAIN not in metrics


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(body=st.binary(max_size=600) | st.text(max_size=300).map(lambda text: json.dumps({"phone": text}).encode()))
async def test_no_input_breaks_it(web: Web, body: bytes) -> None:
    if not hasattr(web, "some_key"):
        web.some_key = await web.key(await web.tenant(), "lookup")  # type: ignore[attr-defined]  # one for all examples
    response = await post(web, Case("anything", body, 0), web.some_key)  # type: ignore[attr-defined]
    assert response.status_code in (200, 400, 422)


async def test_it_is_documented_with_examples(web: Web) -> None:
    document = (await web.client.get("/openapi.json")).json()
    stated = document["paths"]["/v1/lookup"]["post"]
    assert stated["requestBody"]["content"]["application/json"]["examples"]
    assert {"200", "400", "401", "403", "413", "415", "422", "429"} <= set(stated["responses"])
    example = document["components"]["schemas"]["LookupAnswer"]["examples"][0]
    LookupAnswer.model_validate(example)
