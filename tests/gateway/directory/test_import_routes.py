"""`/v1/connections/{id}/import` and `gateway import`: start, watch, and what is refused."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select

from connectors.sandbox.hubspot.kinds import BY_SEGMENT
from gateway.db.base import TenantId
from gateway.directory.tables import DirectoryRecord
from gateway.parts import parts as opened_parts
from gateway.settings import Settings
from tests.factories import make_connection
from tests.gateway.connections.connecting import AURORA, connected, make_tenant, served_crm
from tests.processes import Gateway, ProcessFailed
from tests.web import Web


async def _ask(web: Web, tenant_id: TenantId, method: str, connection_id: str, *scopes: str, **more: Any) -> Any:
    auth = {"authorization": f"Bearer {await web.key(tenant_id, *scopes)}"}
    return await web.client.request(method, f"/v1/connections/{connection_id}/import", headers=auth, **more)


async def test_started_and_watched(web: Web) -> None:
    tenant_id = await web.tenant()
    connection_id = await make_connection(web.parts.db, tenant_id)
    assert (await _ask(web, tenant_id, "GET", connection_id)).status_code == 404
    started = await _ask(web, tenant_id, "POST", connection_id)
    assert started.status_code == 202
    told = started.json()
    wanted = {"state": "queued", "done": 0, "total": None, "unreadable_numbers": 0, "rate_per_s": 0.0}
    assert {name: told[name] for name in wanted} == wanted
    assert told["remaining_s"] is None
    assert (await _ask(web, tenant_id, "GET", connection_id)).json() == told
    assert (await _ask(web, tenant_id, "POST", connection_id)).status_code == 202  # the one under way goes on


async def test_a_dry_run_does_not_mix_with_a_real_one(web: Web) -> None:
    tenant_id = await web.tenant()
    connection_id = await make_connection(web.parts.db, tenant_id)
    started = await _ask(web, tenant_id, "POST", connection_id, json={"dry_run": True})
    assert (started.status_code, started.json()["dry_run"]) == (202, True)
    assert (await _ask(web, tenant_id, "POST", connection_id, json={"dry_run": False})).status_code == 409


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_another_tenants_connection_is_not_found(web: Web, method: str) -> None:
    tenant_id, other = await web.tenant("One"), await web.tenant("Two")
    connection_id = await make_connection(web.parts.db, other)
    assert (await _ask(web, tenant_id, method, connection_id)).status_code == 404
    assert (await _ask(web, other, method, connection_id, "read")).status_code == 403


@pytest.mark.parametrize("state", ["reconnect_needed", "disconnected"])
async def test_a_connection_without_a_grant_is_refused_in_words(web: Web, state: str) -> None:
    tenant_id = await web.tenant()
    connection_id = await make_connection(web.parts.db, tenant_id, state=state, reason="sign in again")
    refused = await _ask(web, tenant_id, "POST", connection_id)
    assert (refused.status_code, "sign in again" in refused.json()["detail"]) == (409, True)


@pytest.mark.parametrize("body", [{"dry": True}, {"dry_run": "perhaps"}, []])
async def test_a_body_of_another_shape_is_refused(web: Web, body: Any) -> None:
    tenant_id = await web.tenant()
    connection_id = await make_connection(web.parts.db, tenant_id)
    assert (await _ask(web, tenant_id, "POST", connection_id, json=body)).status_code == 422


async def test_the_command_imports_by_itself_when_no_worker_is_there(
    embedded_gateway: Gateway, sealing_key: str, monkeypatch: Any
) -> None:
    gateway = embedded_gateway
    gateway.settings["GATEWAY_SEALING_KEYS"] = sealing_key
    async with served_crm() as crm:
        for name, value in crm.environment().items():
            monkeypatch.setenv(name, value)
            gateway.settings[name] = value
        settings = Settings(
            database_url=gateway.settings["GATEWAY_DATABASE_URL"], sealing_keys=(SecretStr(sealing_key),)
        )
        await asyncio.to_thread(gateway.run, "migrate")
        async with opened_parts(settings) as parts:
            tenant_id = await make_tenant(parts, "Import AG")
            connection_id = await connected(parts, tenant_id, account=AURORA)
            for n in range(3):
                values = {"firstname": f"F{n}", "phone": "oops" if n == 2 else f"+4144668180{n}"}
                crm.vendor.portals[AURORA].create(BY_SEGMENT["contacts"], values, datetime(2026, 11, 1, tzinfo=UTC))
            command = ("import", "Import AG", connection_id, "--json")
            dry = json.loads(await asyncio.to_thread(gateway.run, *command, "--dry-run"))
            assert (dry["state"], dry["done"], dry["dry_run"]) == ("done", 3, True)
            assert dry["unreadable_examples"][0].endswith("phone: x")
            async with parts.db.reading() as session:
                assert await session.scalar(select(func.count()).select_from(DirectoryRecord)) == 0
            told = json.loads(await asyncio.to_thread(gateway.run, *command))
            assert (told["state"], told["done"], told["unreadable_numbers"]) == ("done", 3, 1)
            async with parts.db.reading() as session:
                assert await session.scalar(select(func.count()).select_from(DirectoryRecord)) == 2
            people = await asyncio.to_thread(gateway.run, *command[:3])
            assert "3 records read" in people
            with pytest.raises(ProcessFailed, match="no such connection"):
                await asyncio.to_thread(gateway.run, "import", "Import AG", "cn_nobody")
