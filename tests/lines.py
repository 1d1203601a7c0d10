"""Voice platforms as tests speak for them: an endpoint, and requests signed as its platform would."""

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx2
from sqlalchemy import select

from gateway.calls.merge import Merged
from gateway.calls.store import read_merged
from gateway.calls.tables import Call, CallEvent
from gateway.db.base import TenantId
from tests.web import Web

RETELL_KEY = "key_of_the_tenant_at_retell_0123456789"
NUMBER, OURS = "+41446681800", "+41435550100"


@dataclass(frozen=True)
class Line:
    """One voice endpoint of one tenant, and the platform behind it."""

    web: Web
    tenant_id: TenantId
    key: str  # an API key with every scope
    platform: str
    id: str
    path: str
    secret: str

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def signed(self, body: bytes, *, age: timedelta = timedelta(), secret: str | None = None) -> dict[str, str]:
        """The headers with which the platform proves `body`, `age` ago."""
        secret = self.secret if secret is None else secret
        if self.platform == "vapi":
            return {"x-vapi-secret": secret}
        stamp = str(int((time.time() - age.total_seconds()) * 1000))
        digest = hmac.new(secret.encode(), body + stamp.encode(), hashlib.sha256).hexdigest()
        return {"x-retell-signature": f"v={stamp},d={digest}"}

    async def send(self, body: bytes | Mapping[str, Any], **how: Any) -> httpx2.Response:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.web.client.post(self.path, content=raw, headers=self.signed(raw, **how))

    async def calls(self) -> list[tuple[Call, Merged]]:
        """The tenant's calls as they are stored, oldest first."""
        keys = await self.web.parts.keyring.of(self.tenant_id)
        async with self.web.parts.db.reading(self.tenant_id) as session:
            rows = (await session.scalars(select(Call).where(Call.tenant_id == self.tenant_id).order_by(Call.id))).all()
        return [(row, read_merged(keys, row.id, row.news)) for row in rows]

    async def events(self) -> list[CallEvent]:
        async with self.web.parts.db.reading(self.tenant_id) as session:
            mine = select(CallEvent).where(CallEvent.tenant_id == self.tenant_id).order_by(CallEvent.id)
            return list((await session.scalars(mine)).all())


async def new_line(web: Web, platform: str, tenant_id: TenantId | None = None, **more: Any) -> Line:
    """A tenant with an endpoint for `platform`, made through the API."""
    tenant_id = tenant_id or await web.tenant()
    key = await web.key(tenant_id)
    wanted = {"platform": platform, **({"secret": RETELL_KEY} if platform == "retell" else {}), **more}
    made = await web.client.post("/v1/endpoints", json=wanted, headers={"Authorization": f"Bearer {key}"})
    assert made.status_code == 201, made.text
    found = made.json()
    return Line(web, tenant_id, key, platform, found["id"], found["url"].removeprefix(web.origin), found["secret"])


def vapi_report(call_id: str = "c-1", **message: Any) -> dict[str, Any]:
    """Vapi's end-of-call report of an inbound call."""
    return {
        "message": {
            "type": "end-of-call-report",
            "call": {"id": call_id, "type": "inboundPhoneCall"},
            "customer": {"number": NUMBER},
            "phoneNumber": {"number": OURS},
            "startedAt": "2026-11-21T09:30:00Z",
            "endedAt": "2026-11-21T09:31:35Z",
            "endedReason": "customer-ended-call",
            "analysis": {"summary": "Asked for the opening hours."},
            **message,
        }
    }


def vapi_status(status: str, call_id: str = "c-1") -> dict[str, Any]:
    return {
        "message": {
            "type": "status-update",
            "status": status,
            "call": {"id": call_id, "type": "inboundPhoneCall"},
            "customer": {"number": NUMBER},
        }
    }
