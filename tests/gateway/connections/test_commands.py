"""`gateway connection …`: what an operator can see and allow."""

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from gateway.cli import main
from gateway.parts import parts as opened_parts
from tests.gateway.connections.connecting import AURORA, connected, make_tenant, served_crm, settings_for


@pytest.fixture
def connected_tenant(monkeypatch: pytest.MonkeyPatch, sqlite_url: str, sealing_key: str) -> Iterator[tuple[str, str]]:
    """The ids of a tenant and of its connection; commands find the same database, and leave the logs as they were."""
    monkeypatch.setenv("GATEWAY_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("GATEWAY_SEALING_KEYS", sealing_key)

    async def prepare() -> tuple[str, str]:
        async with served_crm() as crm:
            for name, value in crm.environment().items():
                monkeypatch.setenv(name, value)
            async with opened_parts(settings_for(sqlite_url, sealing_key)) as parts:
                tenant_id = await make_tenant(parts)
                return tenant_id, await connected(parts, tenant_id)

    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield asyncio.run(prepare())
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


def test_a_tenant_s_connections_are_listed(
    connected_tenant: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    tenant_id, connection_id = connected_tenant
    assert main(["connection", "list", tenant_id, "--json"]) == 0
    (item,) = json.loads(capsys.readouterr().out)
    assert (item["id"], item["account"]["id"], item["state"]) == (connection_id, str(AURORA), "active")
    assert main(["connection", "list", tenant_id]) == 0
    assert str(AURORA) in capsys.readouterr().out


def test_sharing_an_account_is_allowed_and_taken_back(
    connected_tenant: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["connection", "allow-shared", "hubspot", str(AURORA)]) == 0
    assert "may be connected by several tenants" in capsys.readouterr().out
    assert main(["connection", "allow-shared", "hubspot", str(AURORA), "--no", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["allow_shared"] is False


def test_an_account_nobody_connected_cannot_be_shared(
    connected_tenant: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["connection", "allow-shared", "hubspot", "1"]) == 1
    assert "no tenant has ever connected" in capsys.readouterr().err
