"""Who asks: the value that a request becomes once it is known whose it is. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gateway.db.base import TenantId

SCOPES = ("lookup", "events", "read", "operate", "admin", "privacy", "tools")


@dataclass(frozen=True)
class Principal:
    """A key or a session of one tenant.

    id            the key's id (`ak_…`), or who opened the session.
    region, zone  the tenant's: how national spellings are read, where due dates fall.
    """

    tenant_id: TenantId
    id: str
    scopes: frozenset[str]
    via: Literal["key", "session"]
    region: str
    zone: str


class UnknownScope(ValueError):
    """A word that is no scope. The text names the known ones."""


def scopes_of(words: Iterable[str]) -> tuple[str, ...]:
    """The scopes in `words`, in our order, each once. Raises `UnknownScope`."""
    wanted = {word.strip() for word in words} - {""}
    if unknown := sorted(wanted - set(SCOPES)):
        raise UnknownScope(f"unknown scope {unknown[0][:40]}; the scopes are {', '.join(SCOPES)}")
    if not wanted:
        raise UnknownScope(f"no scope given; the scopes are {', '.join(SCOPES)}")
    return tuple(scope for scope in SCOPES if scope in wanted)
