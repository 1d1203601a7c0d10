"""What the API has an address for and this release does not do yet: 501 with a sentence, behind the scope it will need.

An address that is known and does nothing can be told from one that was misspelt, and a key that will not do is found
out today. What gets built takes its line out of `PROMISED`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import APIRouter

from gateway.errors import Forbidden, NotYet, Unauthenticated, documented
from gateway.tenants.access import needs

TAG = "not built yet"


@dataclass(frozen=True)
class Promised:
    """One operation. `scope` None: who calls it has no key of ours. `does`: what it is for. `until`: what helps today."""

    method: str
    path: str
    scope: str | None
    does: str
    until: str

    @property
    def name(self) -> str:
        """For the OpenAPI document: "post_v1_privacy_export"."""
        words = "".join(c if c.isalnum() else " " for c in f"{self.method.lower()} {self.path}")
        return "_".join(words.split())


_MAPPING = "The mapping that comes with each connector is in force."
_PERSON = "Until then the retention times in `/v1/settings` are what ends what is kept."

PROMISED = (
    Promised(
        "GET",
        "/v1/connections/{connection_id}/mapping",
        "admin",
        "Read which of our fields is which of the CRM's.",
        _MAPPING,
    ),
    Promised(
        "PUT",
        "/v1/connections/{connection_id}/mapping",
        "admin",
        "Say which of our fields is which of the CRM's.",
        _MAPPING,
    ),
    Promised(
        "POST",
        "/v1/rules/dry-run",
        "admin",
        "What a rule set would have done to past calls.",
        "`GET /v1/calls/{id}` says of each call which rules matched, and why.",
    ),
    Promised("POST", "/v1/privacy/export", "privacy", "Everything that is kept about one person.", _PERSON),
    Promised("POST", "/v1/privacy/erase", "privacy", "Erase everything that is kept about one person.", _PERSON),
    Promised(
        "POST", "/mcp", "tools", "The tools, as an MCP server.", "Voice platforms reach them at their voice endpoint."
    ),
)


def _refusing(promised: Promised) -> Callable[[], Awaitable[None]]:
    async def refuse() -> None:
        raise NotYet(f"{promised.does} This comes in a later release. {promised.until}")

    return refuse


def _routed() -> APIRouter:
    router = APIRouter(tags=[TAG])
    for one in PROMISED:
        router.add_api_route(
            one.path,
            _refusing(one),
            methods=[one.method],
            name=one.name,
            operation_id=one.name,
            summary=one.does,
            description=f"{one.does} Answered 501 until it is built. {one.until}",
            dependencies=[needs(one.scope)] if one.scope else [],
            status_code=NotYet.status,
            response_model=None,
            responses=documented(NotYet, *((Unauthenticated, Forbidden) if one.scope else ())),
        )
    return router


router = _routed()
