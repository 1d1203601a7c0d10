"""`gateway doctor`: what is wrong, in words, and nothing that is secret."""

import pytest

from gateway.doctor import Finding, Level, examine
from gateway.settings import Settings
from tests.servers import Redis


def _settings(**values: object) -> Settings:
    return Settings.model_validate(values)


def _of(findings: list[Finding], about: str) -> dict[Level, str]:
    return {finding.level: finding.text for finding in findings if finding.about == about}


async def test_an_embedded_installation_has_no_problem(sqlite_url: str) -> None:
    findings = await examine(_settings(database_url=sqlite_url))
    assert not [finding for finding in findings if finding.level is Level.PROBLEM]
    assert "newest revision" in _of(findings, "database")[Level.OK]
    assert "GATEWAY_HUBSPOT_CLIENT_ID" in _of(findings, "hubspot")[Level.WARNING]
    assert Level.NOTE in _of(findings, "public url")


async def test_a_large_installation_in_good_order(
    postgres_url: str, redis_url: str, sealing_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_HUBSPOT_CLIENT_ID", "id")
    monkeypatch.setenv("GATEWAY_HUBSPOT_CLIENT_SECRET", "hunter2")
    monkeypatch.setenv("GATEWAY_HUBSPOT_API_URL", "http://127.0.0.1:9001")
    findings = await examine(
        _settings(
            database_url=postgres_url,
            owner_database_url=postgres_url.replace("/gateway", "/owner"),
            redis_url=redis_url,
            sealing_keys=sealing_key,
            public_url="https://gateway.example.com",
        )
    )
    levels = {finding.level for finding in findings}
    assert Level.PROBLEM not in levels
    assert _of(findings, "redis")[Level.OK] == "answers"
    assert "http://127.0.0.1:9001" in _of(findings, "hubspot")[Level.NOTE]
    assert "https://gateway.example.com/crm/hubspot/" in _of(findings, "hubspot")[Level.OK]
    assert "hunter2" not in str(findings)


async def test_one_role_for_everything_is_warned_about(postgres_url: str, sealing_key: str) -> None:
    findings = await examine(_settings(database_url=postgres_url, sealing_keys=sealing_key))
    assert "GATEWAY_OWNER_DATABASE_URL" in _of(findings, "database")[Level.WARNING]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://gateway:hunter2@127.0.0.1:1/gateway", "does not answer"),
        ("sqlite+aiosqlite:////nowhere/gateway.db", "does not answer"),
    ],
)
async def test_a_database_that_is_away_is_a_problem(url: str, says: str, sealing_key: str) -> None:
    findings = await examine(_settings(database_url=url, sealing_keys=sealing_key))
    assert says in _of(findings, "database")[Level.PROBLEM]
    assert "hunter2" not in str(findings)


async def test_a_database_without_tables_is_a_problem(empty_sqlite_url: str) -> None:
    findings = await examine(_settings(database_url=empty_sqlite_url))
    assert "gateway migrate" in _of(findings, "database")[Level.PROBLEM]


async def test_a_wrong_sealing_key_is_a_problem(sqlite_url: str) -> None:
    findings = await examine(_settings(database_url=sqlite_url, sealing_keys="abc"))
    assert "32 bytes" in _of(findings, "sealing")[Level.PROBLEM]


async def test_redis_away_is_a_problem(sqlite_url: str, sealing_key: str) -> None:
    findings = await examine(
        _settings(database_url=sqlite_url, sealing_keys=sealing_key, redis_url="redis://127.0.0.1:1")
    )
    assert "does not answer" in _of(findings, "redis")[Level.PROBLEM]


async def test_a_redis_that_evicts_is_warned_about(sqlite_url: str, sealing_key: str, own_redis: Redis) -> None:
    import redis

    with redis.Redis.from_url(own_redis.url) as server:
        server.config_set("maxmemory-policy", "allkeys-lru")
    findings = await examine(_settings(database_url=sqlite_url, sealing_keys=sealing_key, redis_url=own_redis.url))
    assert "noeviction" in _of(findings, "redis")[Level.WARNING]
