"""Requests of voice platforms, as the gateway would hand them to an adapter."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from connectors.voice.port import Incoming
from tests.shared import shared

NOW = datetime(2026, 3, 2, 17, 5, tzinfo=UTC)
URL = "https://gateway.example.invalid/v1/voice/x/key"


def request(
    body: bytes | Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "POST",
    query: Mapping[str, str] | None = None,
) -> Incoming:
    """A request with `body` (an object is written as JSON). Header names in any case."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lower = {name.lower(): value for name, value in (headers or {}).items()}
    return Incoming(method=method, url=URL, headers=lower, body=raw, query=query or {})


def sample(path: str) -> bytes:
    """The bytes of one sample payload, or a skip."""
    return shared(f"payloads/{path}", what=f"the sample {path}").read_bytes()


def vectors(platform: str) -> list[dict[str, Any]]:
    """The signed requests of one platform, or a skip."""
    read = json.loads(shared("payloads/signature-vectors.json", what=f"{platform}'s signed requests").read_bytes())
    return [vector for vector in read["vectors"] if vector["platform"] == platform]


def verdict(adapter: Any, vector: Mapping[str, Any], settings: Mapping[str, str]) -> Any:
    """What `adapter` makes of a signed request: its assurance. Raises what `verify` raises."""
    incoming = Incoming(
        method=vector["method"],
        url=vector["url"],
        headers={name.lower(): value for name, value in vector["headers"].items()},
        body=vector["body"].encode(),
    )
    now = datetime.fromtimestamp(vector["now"], tz=UTC)
    return adapter.verify(incoming, secret=vector["secret"], settings=settings, now=now)
