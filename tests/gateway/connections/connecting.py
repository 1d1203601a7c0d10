"""Tenants, a sandbox HubSpot and connections for tests: each step walked as the product walks it, without pages."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
from pydantic import SecretStr

from connectors.sandbox import hubspot
from connectors.sandbox.face import Face
from connectors.sandbox.faults import Fault
from connectors.sandbox.hubspot import Portal
from connectors.sandbox.serve import running
from gateway.connections import attach, authorize
from gateway.connections.attach import Attached
from gateway.connections.authorize import Callback, Claimed, Refusal
from gateway.connections.open import Connections
from gateway.connections.tables import Connection, OauthFlow
from gateway.db.base import TenantId, new_id
from gateway.db.engine import utc_now
from gateway.parts import Parts
from gateway.settings import Settings
from gateway.tenants.tables import Tenant

AURORA, BOREALIS = 62515, 62516
REDIRECT = "http://127.0.0.1:8000/oauth/callback/"


@dataclass
class Crm:
    """A sandbox HubSpot that is being served, with two accounts."""

    origin: str
    face: Face = field(repr=False)

    @property
    def vendor(self) -> hubspot.HubSpot:
        assert isinstance(self.face.vendor, hubspot.HubSpot)
        return self.face.vendor

    def break_down(self, **fault: object) -> int:
        """Arm a fault (`connectors.sandbox.faults.Fault`); answers its number."""
        return self.face.faults.add(Fault(**fault))  # type: ignore[arg-type]

    def asked(self, path: str, *, method: str = "POST") -> int:
        """How many requests for exactly this path came in."""
        return sum(one.path == path and one.method == method for one in self.face.journal.asked)

    @property
    def exchanges(self) -> int:
        return self.asked("/oauth/2026-09/token")

    @property
    def revocations(self) -> int:
        return self.asked("/oauth/2026-09/token/revoke")

    def environment(self) -> Mapping[str, str]:
        """What makes a gateway use this sandbox."""
        return {
            "GATEWAY_HUBSPOT_CLIENT_ID": "sandbox-client",
            "GATEWAY_HUBSPOT_CLIENT_SECRET": "sandbox-secret",
            "GATEWAY_HUBSPOT_AUTH_URL": self.origin,
            "GATEWAY_HUBSPOT_TOKEN_URL": self.origin,
            "GATEWAY_HUBSPOT_API_URL": self.origin,
        }


@contextlib.asynccontextmanager
async def served_crm() -> AsyncIterator[Crm]:
    portals = Portal(AURORA, "Aurora Demo SA"), Portal(BOREALIS, "Borealis Test GmbH", domain="borealis.example")
    face = hubspot.create_app(*portals)
    async with running(face) as origin:
        yield Crm(origin, face)


def settings_for(database_url: str, sealing_key: str, **more: object) -> Settings:
    """The embedded form, whatever the database."""
    return Settings(
        database_url=database_url,
        sealing_keys=(SecretStr(sealing_key),),
        public_url="http://127.0.0.1:8000",
        **more,  # type: ignore[arg-type]
    )


async def make_tenant(parts: Parts, name: str = "ACME SA") -> TenantId:
    tenant_id = TenantId(new_id("tn"))
    async with parts.db.transaction() as session:
        session.add(Tenant(id=tenant_id, name=name, created_at=utc_now()))
        await session.flush()
        await parts.keyring.make_for(session, tenant_id)
    return tenant_id


async def approve(
    parts: Parts,
    tenant_id: TenantId,
    *,
    provider: str = "hubspot",
    connection_id: str | None = None,
    expected: str | None = None,
) -> Claimed:
    """A flow that was started and approved; what the browser holds then."""
    registered = parts.connections.providers.of(provider)
    async with parts.db.transaction(tenant_id) as session:
        started = await authorize.start(
            session,
            tenant_id,
            provider=provider,
            auth_origin=registered.auth_origin,
            token_origin=registered.token_origin,
            redirect_uri=REDIRECT + provider,
            initiator="a test",
            now=utc_now(),
            connection_id=connection_id,
            expected_account=expected,
        )
    keys = await parts.keyring.of(tenant_id)
    async with parts.db.transaction(tenant_id) as session:
        flow = await authorize.find_link(session, started.secret, now=utc_now())
        assert isinstance(flow, OauthFlow)
        claimed = await authorize.claim(session, flow, keys, now=utc_now())
    assert claimed is not None
    return claimed


async def consent(parts: Parts, claimed: Claimed, *, account: int = AURORA, decision: str = "approve") -> Callback:
    """What the vendor sends the browser back with."""
    registered = parts.connections.providers.of("hubspot")
    url = registered.oauth(auth_origin=claimed.flow.auth_origin).authorize_url(
        redirect_uri=claimed.flow.redirect_uri, state=claimed.state, verifier=claimed.verifier
    )
    async with httpx2.AsyncClient(trust_env=False) as browser:
        reply = await browser.get(f"{url}&{urlencode({'auto': decision, 'hub_id': account})}")
    assert reply.status_code == 302, reply.text
    back = {name: values[0] for name, values in parse_qs(urlsplit(reply.headers["location"]).query).items()}
    return Callback(
        code=back.get("code", ""), state=back.get("state", ""), error=back.get("error", ""), issuer=back.get("iss", "")
    )


def cookies_of(claimed: Claimed) -> dict[str, str]:
    return {authorize.cookie_name(claimed.flow.id, secure=False): claimed.cookie}


async def come_back(parts: Parts, claimed: Claimed, callback: Callback) -> Attached | Refusal:
    """The callback, as the page handles it."""
    provider, cookies = claimed.flow.provider, cookies_of(claimed)
    async with parts.db.transaction() as session:
        taken = await authorize.take(session, callback, provider=provider, cookies=cookies, now=utc_now())
    if isinstance(taken, Refusal):
        return taken
    return await attach.complete(parts.connections, taken, callback)


async def connect(
    parts: Parts,
    tenant_id: TenantId,
    *,
    account: int = AURORA,
    connection_id: str | None = None,
    expected: str | None = None,
) -> Attached:
    """From the button to the row, and until the account has been probed."""
    claimed = await approve(parts, tenant_id, connection_id=connection_id, expected=expected)
    attached = await come_back(parts, claimed, await consent(parts, claimed, account=account))
    assert isinstance(attached, Attached)
    if attached.connection_id is not None:
        assert await parts.connections.probed(attached.connection_id, within=timedelta(seconds=20))
    return attached


async def connected(parts: Parts, tenant_id: TenantId, *, account: int = AURORA) -> str:
    """The id of a good connection."""
    attached = await connect(parts, tenant_id, account=account)
    assert attached.connection_id is not None, attached
    return attached.connection_id


async def row_of(parts: Parts, connection_id: str) -> Connection:
    async with parts.db.reading() as session:
        return await session.get_one(Connection, await _key(parts, connection_id))


async def _key(parts: Parts, connection_id: str) -> tuple[str, str]:
    from gateway.connections import queries

    async with parts.db.reading() as session:
        tenant_id = await queries.tenant_of(session, connection_id)
    assert tenant_id is not None
    return tenant_id, connection_id


async def change(parts: Parts, connection_id: str, **values: object) -> None:
    """Set columns of a connection's row, as time or another process would."""
    key = await _key(parts, connection_id)
    async with parts.db.transaction() as session:
        row = await session.get_one(Connection, key)
        for name, value in values.items():
            setattr(row, name, value)


def another_process(parts: Parts) -> Connections:
    """The same database and Redis, as another process sees them: nothing remembered."""
    return Connections(settings=parts.settings, db=parts.db, keyring=parts.keyring, redis=parts.redis)
