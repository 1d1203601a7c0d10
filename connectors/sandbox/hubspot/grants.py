"""What portals granted to the app, and the codes and tokens that stand for it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

# Scopes that can be asked for. There is none for calls, notes, tasks or meetings: asking for one breaks the install page.
KNOWN_SCOPES = frozenset(
    f"crm.{level}.{kind}.{right}"
    for level in ("objects", "schemas")
    for kind in ("contacts", "companies", "deals", "leads", "custom")
    for right in ("read", "write")
) | frozenset(
    (
        *("oauth", "tickets", "timeline", "automation", "files", "e-commerce", "settings.users.read"),
        *("crm.objects.owners.read", "crm.lists.read", "crm.lists.write"),
        *(f"communication_preferences.{right}" for right in ("read", "write", "read_write")),
    )
)

CODE_LIFE = timedelta(minutes=5)
ACCESS_LIFE = timedelta(seconds=1800)


class Grant:
    """One install of the app in one portal. It ends by uninstalling; its refresh token can also be revoked alone."""

    def __init__(self, hub_id: int, user_id: int, scopes: Sequence[str]) -> None:
        self.hub_id = hub_id
        self.user_id = user_id
        self.scopes = tuple(scopes)
        self.refresh_token = f"na1-{secrets.token_hex(4)}-{secrets.token_urlsafe(24)}"
        self.refresh_revoked = False
        self.installed = True


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """An access token. `private` ones belong to a private app: they never expire and see other error shapes."""

    grant: Grant
    expires_at: datetime
    private: bool = False


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """An authorization code, good once, for the address it was sent to."""

    grant: Grant
    redirect_uri: str
    expires_at: datetime
    challenge: str | None


class Grants:
    """Everything granted to one app, over all portals. Tokens are random and long: some of the real ones pass 300 characters."""

    def __init__(self) -> None:
        self._codes: dict[str, Code] = {}
        self._by_refresh: dict[str, Grant] = {}
        self._access: dict[str, Access] = {}
        self._dead: set[str] = set()

    def issue_code(
        self,
        *,
        hub_id: int,
        user_id: int,
        scopes: Sequence[str],
        redirect_uri: str,
        challenge: str | None,
        now: datetime,
    ) -> str:
        code = f"na1-{secrets.token_hex(4)}-{secrets.token_hex(8)}"
        grant = Grant(hub_id, user_id, scopes)
        self._codes[code] = Code(
            grant=grant, redirect_uri=redirect_uri, expires_at=now + CODE_LIFE, challenge=challenge
        )
        return code

    def take_code(self, code: str, now: datetime) -> Code | None:
        """The code, once; None when unknown, used or too old."""
        known = self._codes.pop(code, None)
        if known is None or known.expires_at <= now:
            return None
        self._by_refresh[known.grant.refresh_token] = known.grant
        return known

    def by_refresh(self, token: str) -> Grant | None:
        """The grant behind a refresh token that still works."""
        grant = self._by_refresh.get(token)
        return grant if grant is not None and grant.installed and not grant.refresh_revoked else None

    def issue_access(self, grant: Grant, now: datetime) -> str:
        token = f"CLo{secrets.token_urlsafe(240)}"
        self._access[token] = Access(grant=grant, expires_at=now + ACCESS_LIFE)
        return token

    def issue_private(self, hub_id: int, user_id: int, scopes: Sequence[str], now: datetime) -> str:
        """The static token of a private app."""
        token = f"pat-eu1-{secrets.token_hex(18)}"
        grant = Grant(hub_id, user_id, scopes)
        self._access[token] = Access(grant=grant, expires_at=now + timedelta(days=36500), private=True)
        return token

    def by_access(self, token: str) -> Access | None:
        """The token, expired or not; None for one we never issued."""
        return self._access.get(token)

    def is_dead(self, token: str, access: Access) -> bool:
        """Revoked by itself, or its app uninstalled. Revoking the refresh token leaves issued access tokens alive."""
        return token in self._dead or not access.grant.installed

    def revoke(self, token: str) -> None:
        """One token, of either kind. Unknown ones are no error."""
        grant = self._by_refresh.get(token)
        if grant is not None:
            grant.refresh_revoked = True
        elif token in self._access:
            self._dead.add(token)

    def uninstall(self, hub_id: int) -> int:
        """End every grant of one portal; answers how many there were."""
        ended = {
            grant
            for grant in (*self._by_refresh.values(), *(access.grant for access in self._access.values()))
            if grant.hub_id == hub_id and grant.installed
        }
        for grant in ended:
            grant.installed = False
        return len(ended)

    def expire_access(self, hub_id: int | None, now: datetime) -> int:
        """Make access tokens end now, of one portal or of all; answers how many."""
        ended = {
            token: msgspec.structs.replace(access, expires_at=now)
            for token, access in self._access.items()
            if access.expires_at > now and not access.private and hub_id in (None, access.grant.hub_id)
        }
        self._access |= ended
        return len(ended)


def verifies(challenge: str, verifier: str) -> bool:
    """PKCE with S256 (RFC 7636 §4.6)."""
    digest = hashlib.sha256(verifier.encode("ascii", "replace")).digest()
    return hmac.compare_digest(base64.urlsafe_b64encode(digest).rstrip(b"=").decode(), challenge)


def granted(asked: Sequence[str], optional: Sequence[str], lacks: frozenset[str]) -> tuple[str, ...]:
    """What a portal grants: all that is required, and of the optional what its subscription has."""
    return tuple(dict.fromkeys(("oauth", *asked, *(scope for scope in optional if scope not in lacks))))
