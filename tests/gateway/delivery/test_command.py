"""`gateway deliveries …`: dead letters at a terminal, in 80 columns."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from sqlalchemy import update

from gateway.cli import main
from gateway.crypto import read_kek
from gateway.db.base import TenantId
from gateway.db.engine import Database
from gateway.outbox.plan import plan
from gateway.outbox.tables import Delivery
from gateway.tenants.keys import Keyring, check_keks
from tests.factories import WEEK, make_connection, make_tenant, promise


@pytest.fixture
def tenant(monkeypatch: pytest.MonkeyPatch, sqlite_url: str, sealing_key: str) -> Iterator[str]:
    """A tenant with one dead delivery and one that needs it."""
    monkeypatch.setenv("GATEWAY_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("GATEWAY_SEALING_KEYS", sealing_key)

    async def prepare() -> TenantId:
        db = Database(sqlite_url)
        keks = [read_kek(sealing_key)]
        await check_keks(db, keks)
        keyring = Keyring(db, keks)
        tenant_id = await make_tenant(db, keyring)
        connection_id = await make_connection(db, tenant_id)
        keys = await keyring.of(tenant_id)
        async with db.transaction(tenant_id) as session:
            promises = [promise("dl_a"), promise("dl_b", needs=("dl_a",))]
            await plan(session, tenant_id, connection_id, b"who", promises, keys=keys, call_id=None, lifetime=WEEK)
            reason = "The CRM wants an e-mail address. (field email)"
            await session.execute(
                update(Delivery).where(Delivery.id == "dl_a").values(state="dead", code="rejected", reason=reason)
            )
        await db.close()
        return tenant_id

    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield asyncio.run(prepare())
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


def test_dead_letters_say_why_and_what_to_do(tenant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deliveries", "list", tenant]) == 0
    told = capsys.readouterr().out
    assert "dl_a" in told
    assert "dl_b" not in told
    assert max(map(len, told.splitlines())) <= 80
    assert main(["deliveries", "list", tenant, "--state", "all", "--json"]) == 0
    assert {one["id"]: one["state"] for one in json.loads(capsys.readouterr().out)} == {
        "dl_a": "dead",
        "dl_b": "waiting",
    }


def test_one_is_replayed_or_all_of_a_reason(tenant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deliveries", "replay", tenant, "--reason", "rejected", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"replayed": 1}
    assert main(["deliveries", "replay", tenant, "dl_a"]) == 1
    assert "nothing to replay" in capsys.readouterr().err


def test_one_is_given_up(tenant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deliveries", "cancel", tenant, "dl_a", "--json"]) == 0
    capsys.readouterr()
    assert main(["deliveries", "list", tenant, "--state", "held", "--json"]) == 0
    assert [one["id"] for one in json.loads(capsys.readouterr().out)] == ["dl_b"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["replay"], 2),
        (["replay", "dl_a", "--reason", "gone"], 2),
        (["replay", "dl_none"], 1),
        (["cancel", "dl_none"], 1),
        (["list", "--state", "lost"], 2),
    ],
)
def test_asked_wrongly_is_one_line(
    tenant: str, arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *rest = arguments
    assert main(["deliveries", name, tenant, *rest]) == code
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
