"""What companies granted to the app, and the codes and tokens that stand for it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

CODE_LIFE = timedelta(minutes=5)
ACCESS_LIFE = timedelta(seconds=3599)
IDLE_LIFE = timedelta(days=60)

APP_SCOPES = (
    "base",
    "deals:full",
    "activities:full",
    "contacts:full",
    "leads:full",
    "search:read",
    "users:read",
    "recents:read",
    "contact-fields:full",
    "deal-fields:full",
    "admin",
)
"""What the app's settings at the Developer Hub ask for: all of it or nothing, whatever an address says."""


class Grant:
    """One install of the app in one company by one user."""

    def __init__(self, company_id: int, user_id: int, scopes: Sequence[str]) -> None:
        self.company_id = company_id
        self.user_id = user_id
        self.scopes = tuple(scopes)
        self.refresh_token = _refresh_token(company_id)
        self.used_at: datetime | None = None
        self.installed = True


class Code(msgspec.Struct, frozen=True):
    grant: Grant
    redirect_uri: str
    until: datetime


class Grants:
    """Everything that was ever handed out. Tokens look like Pipedrive's and say nothing.

    rotates  whether a refresh answers with another refresh token. Pipedrive's does not; a client must stand both.
    """

    def __init__(self, *, rotates: bool = False) -> None:
        self.rotates = rotates
        self._codes: dict[str, Code] = {}
        self._refresh: dict[str, Grant] = {}
        self._access: dict[str, tuple[Grant, datetime]] = {}

    def issue_code(self, company_id: int, user_id: int, scopes: Sequence[str], redirect_uri: str, now: datetime) -> str:
        code = secrets.token_hex(20)
        self._codes[code] = Code(Grant(company_id, user_id, scopes), redirect_uri, now + CODE_LIFE)
        return code

    def code(self, code: str) -> Code | None:
        """Used up by asking."""
        return self._codes.pop(code, None)

    def by_refresh(self, token: str, now: datetime) -> Grant | None:
        """None for one that is unknown, uninstalled, or was not used for sixty days."""
        grant = self._refresh.get(token)
        if grant is None or not grant.installed:
            return None
        if grant.used_at is not None and now - grant.used_at > IDLE_LIFE:
            return None
        return grant

    def issue_access(self, grant: Grant, now: datetime) -> str:
        """A new access token; using the grant restarts its sixty days."""
        if self.rotates and grant.used_at is not None:
            self._refresh.pop(grant.refresh_token, None)
            grant.refresh_token = _refresh_token(grant.company_id)
        grant.used_at = now
        self._refresh[grant.refresh_token] = grant
        token = f"v1u:{secrets.token_urlsafe(120)}"
        self._access[token] = (grant, now + ACCESS_LIFE)
        return token

    def by_access(self, token: str, now: datetime) -> Grant | None:
        found = self._access.get(token)
        if found is None or not found[0].installed or found[1] <= now:
            return None
        return found[0]

    def revoke(self, token: str) -> None:
        """A refresh token uninstalls the app for that user; an access token ends alone."""
        if token in self._refresh:
            self._refresh[token].installed = False
        self._access.pop(token, None)

    def uninstall(self, company_id: int) -> int:
        ended = {
            id(grant): grant for grant in self._refresh.values() if grant.company_id == company_id and grant.installed
        }
        for grant in ended.values():
            grant.installed = False
        return len(ended)

    def expire_access(self, now: datetime) -> int:
        living = [token for token, (_, until) in self._access.items() if until > now]
        for token in living:
            self._access[token] = (self._access[token][0], now)
        return len(living)


def _refresh_token(company_id: int) -> str:
    return f"1:{company_id}:{secrets.token_hex(20)}"
