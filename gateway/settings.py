"""The only reader of the environment. Every variable is `GATEWAY_…` and is explained in `.env.example`."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _seconds(value: Any) -> Any:
    return timedelta(seconds=float(value)) if isinstance(value, str | int | float) else value


def _commas(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Seconds = Annotated[timedelta, BeforeValidator(_seconds), PlainSerializer(lambda d: d.total_seconds())]
"""A duration; seconds in the environment (`0.15`)."""

Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_commas)]
"""A list; comma-separated in the environment."""


def _pairs(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    pairs = [part.strip().partition("=") for part in value.split(",") if part.strip()]
    if not all(name.strip() and secret.strip() for name, _, secret in pairs):
        raise ValueError("must be a list such as eu=…,com=…")
    return {name.strip(): secret.strip() for name, _, secret in pairs}


Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_commas)]


class App(BaseSettings):
    """Our registration at one CRM vendor, and where the vendor is. Read from `GATEWAY_<PROVIDER>_…` (see `app_of`)."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    client_id: str = ""
    client_secret: SecretStr = SecretStr("")
    client_secrets: Annotated[Mapping[str, SecretStr], NoDecode, BeforeValidator(_pairs)] = {}  # per data centre
    auth_url: str = ""  # origins that replace the vendor's hosts; the vendor's paths stay
    token_url: str = ""
    api_url: str = ""

    @field_validator("auth_url", "token_url", "api_url")
    @classmethod
    def _an_origin(cls, value: str) -> str:
        """Plain http is for loopback and dot-less compose names only (security.md §5)."""
        if not value:
            return value
        return origin(value)

    @property
    def overridden(self) -> bool:
        return bool(self.auth_url or self.token_url or self.api_url)


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="GATEWAY_", frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: str = "sqlite+aiosqlite:///gateway.db"  # embedded default; PostgreSQL in production
    owner_database_url: str = ""  # the role that owns the tables, for `gateway migrate`; default: database_url
    redis_url: str = ""  # empty: an in-process Redis, and relay and worker beside the API
    sealing_keys: Secrets = ()  # 32 bytes base64url each, newest first: the first seals, all of them open
    sealing_keys_file: Path | None = None  # the same, one a line

    public_url: str = "http://127.0.0.1:8000"  # what the world calls us; signatures and redirects are built from it
    trusted_proxies: Words = ()  # addresses or networks whose X-Forwarded-… we believe
    operator_token: SecretStr = SecretStr("")  # opens /metrics and the long /readyz from elsewhere than loopback
    smtp_url: SecretStr = SecretStr("")  # the operator's own mail

    lookup_budget: Seconds = timedelta(milliseconds=150)  # leaves 50 ms of the promised 200 to the network
    cold_searches: int = Field(default=16, ge=1)  # CRM searches at once per process; beyond it the answer is `pending`
    caller_fresh: Seconds = timedelta(seconds=60)  # a cached caller younger than this is not asked for again
    caller_kept: Seconds = timedelta(minutes=15)  # then it is forgotten
    unknown_kept: Seconds = timedelta(minutes=2)  # "nobody has this number" is believed this long
    unknown_numbers_per_hour: int = 1000  # distinct unknown numbers per key: a leaked key is a reverse phone book

    lease: Seconds = timedelta(seconds=60)  # how long a worker may hold a lane without a word
    request_timeout: Seconds = timedelta(seconds=15)  # one request to a CRM, everything included; at most lease / 3
    worker_connections: int = Field(default=200, ge=1)  # connections one worker drains at once
    connection_senders: int = Field(default=8, ge=1)  # lanes of one connection one worker sends at once
    delivery_lifetime: Seconds = timedelta(days=7)  # then a waiting delivery is a dead letter
    call_grace: Seconds = timedelta(minutes=5)  # how long an ended call waits for its last event
    relay_interval: Seconds = timedelta(milliseconds=500)

    poll_interval: Seconds = timedelta(minutes=5)  # a CRM that tells us nothing is asked for changes this often
    poll_interval_told: Seconds = timedelta(minutes=30)  # one that does is asked for what it may have missed

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"

    @field_validator("public_url")
    @classmethod
    def _public(cls, value: str) -> str:
        return origin(value)

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            ipaddress.ip_network(one, strict=False)
        return value

    @property
    def embedded(self) -> bool:
        return not self.redis_url

    @property
    def secure(self) -> bool:
        """Whether browsers reach us over https."""
        return self.public_url.startswith("https://")


def app_of(provider: str) -> App:
    """Our registration at `provider`, from `GATEWAY_<PROVIDER>_CLIENT_ID` and its neighbours."""
    return App(_env_prefix=f"GATEWAY_{provider.upper()}_")  # type: ignore[call-arg]  # pydantic-settings takes it


def origin(value: str) -> str:
    """`value` as a bare origin, or ValueError. Plain http only where nothing leaves the machine or the compose network."""
    from urllib.parse import urlsplit

    parts = urlsplit(value.rstrip("/"))
    host = parts.hostname or ""
    if (
        parts.scheme not in ("http", "https")
        or not host
        or parts.path
        or parts.query
        or parts.fragment
        or parts.username
    ):
        raise ValueError("must be an origin such as https://gateway.example.com, without a path")
    if parts.scheme == "http" and not is_local(host):
        raise ValueError("plain http is for loopback and dot-less names only; use https")
    return f"{parts.scheme}://{parts.netloc}"


def is_local(host: str) -> bool:
    """Loopback, or a dot-less name (compose services)."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return "." not in host and ":" not in host
