"""A tenant's document: validated, versioned, one tenant's own."""

from typing import Any

import pytest
from sqlalchemy import func, select

from gateway.tenants import queries
from gateway.tenants.settings import TenantDocument, changed
from gateway.tenants.tables import TenantSettings
from tests.web import Web

DOCUMENT = {"region": "CH", "zone": "Europe/Zurich"}


async def _headers(web: Web, name: str = "Acme SA") -> dict[str, str]:
    return {"Authorization": f"Bearer {await web.key(await web.tenant(name), 'admin')}"}


async def test_a_put_document_is_in_force(web_on: Web) -> None:
    headers = await _headers(web_on)
    wanted = {**DOCUMENT, "zone": "Europe/Paris", "languages": ["fr", "de-CH"], "retention": {"raw_days": 2}}
    put = await web_on.client.put("/v1/settings", headers=headers, json=wanted)
    got = await web_on.client.get("/v1/settings", headers=headers)
    assert put.status_code == 200
    assert put.json() == got.json()
    assert got.json()["version"] == 1
    assert got.json()["retention"] | {"raw_days": 2, "transcript_days": 30} == got.json()["retention"]
    assert got.json()["zone"] == "Europe/Paris"


async def test_what_was_read_can_be_put_back_once(web: Web) -> None:
    """Two people at one document: the second is told, not overwritten."""
    headers = await _headers(web)
    read = (await web.client.get("/v1/settings", headers=headers)).json()
    assert (await web.client.put("/v1/settings", headers=headers, json=read)).status_code == 200
    second = await web.client.put("/v1/settings", headers=headers, json=read)
    assert second.status_code == 409
    assert "Version 1 is in force" in second.json()["detail"]


async def test_every_version_stays(web: Web) -> None:
    headers = await _headers(web)
    for languages in (["fr"], ["de"], []):
        await web.client.put("/v1/settings", headers=headers, json={**DOCUMENT, "languages": languages})
    async with web.parts.db.reading() as session:
        assert await session.scalar(select(func.count()).select_from(TenantSettings)) == 3


async def test_tenants_have_their_own(web: Web) -> None:
    mine, theirs = await _headers(web), await _headers(web, "Other SA")
    await web.client.put("/v1/settings", headers=mine, json={**DOCUMENT, "languages": ["fr"]})
    assert (await web.client.get("/v1/settings", headers=theirs)).json()["languages"] == []


BAD: list[tuple[dict[str, Any], str]] = [
    ({"zone": "Europe/Zurich"}, "body.region"),
    ({**DOCUMENT, "region": "XX"}, "body.region"),
    ({**DOCUMENT, "zone": "../../etc/passwd"}, "body.zone"),
    ({**DOCUMENT, "zone": "Mars/Olympus"}, "body.zone"),
    ({**DOCUMENT, "zone": ""}, "body.zone"),
    ({**DOCUMENT, "languages": ["french"]}, "body.languages.0"),
    ({**DOCUMENT, "languages": "fr"}, "body.languages"),
    ({**DOCUMENT, "own_numbers": ["117"]}, "body.own_numbers.0"),
    ({**DOCUMENT, "own_numbers": ["+41 43 555 01 00", "x"]}, "body.own_numbers.1"),
    ({**DOCUMENT, "retention": {"transcript_days": 31}}, "body.retention.transcript_days"),
    ({**DOCUMENT, "retention": {"forever": True}}, "body.retention.forever"),
    ({**DOCUMENT, "colour": "red"}, "body.colour"),
    ({**DOCUMENT, "version": -1}, "body.version"),
]


@pytest.mark.parametrize(("document", "field"), BAD, ids=[f"{n}-{field}" for n, (_, field) in enumerate(BAD)])
async def test_a_bad_document_is_refused_by_field(web: Web, document: dict[str, Any], field: str) -> None:
    answer = await web.client.put("/v1/settings", headers=await _headers(web), json=document)
    assert answer.status_code == 422
    assert field in [error["field"] for error in answer.json()["errors"]]


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("retention.transcript_days", 14, lambda d: d.retention.transcript_days == 14),
        ("languages", ["fr"], lambda d: d.languages == ("fr",)),
        ("own_numbers", ["+41 43 555 01 00"], lambda d: d.own_numbers == ("+41435550100",)),
    ],
)
def test_a_single_setting_is_changed_by_its_name(name: str, value: Any, read: Any) -> None:
    before = TenantDocument(region="CH", zone="Europe/Zurich")
    assert read(changed(before, [(name, value)]))


@pytest.mark.parametrize(("region", "zone"), [("CH", "Europe/Zurich"), ("FR", "Europe/Paris"), ("LI", "Europe/Vaduz")])
def test_a_country_of_one_zone_needs_no_zone(region: str, zone: str) -> None:
    assert queries.zone_of(region) == zone


def test_nobody_guesses_the_zone_of_a_wide_country() -> None:
    with pytest.raises(ValueError, match="29 time zones"):
        queries.zone_of("US")
