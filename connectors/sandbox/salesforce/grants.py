"""What orgs granted to the app, and the codes and tokens that stand for it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

CODE_LIFE = timedelta(minutes=15)
SESSION = timedelta(hours=2)
IDLE = timedelta(days=30)


class Grant:
    """One user's approval of the app in one org. With rotation its refresh token is another after each use."""

    def __init__(self, org: str, user: str, scopes: Sequence[str], now: datetime) -> None:
        self.org = org
        self.user = user
        self.scopes = tuple(scopes)
        self.alive = True
        self.used_at = now
        self.refresh_token = ""
        self.rotate()

    def rotate(self) -> None:
        """A new refresh token; the old one is dead from now on."""
        self.refresh_token = f"5Aep861{secrets.token_urlsafe(48)}"


class Access(msgspec.Struct, frozen=True):
    grant: Grant
    expires_at: datetime


class Code(msgspec.Struct, frozen=True):
    grant: Grant
    redirect_uri: str
    challenge: str
    expires_at: datetime


class Grants:
    """Everything granted to one app, over all orgs."""

    def __init__(self) -> None:
        self.all: list[Grant] = []
        self._codes: dict[str, Code] = {}
        self._access: dict[str, Access] = {}

    def issue_code(self, grant: Grant, *, redirect_uri: str, challenge: str, now: datetime) -> str:
        code = f"aPrx{secrets.token_urlsafe(40)}=="
        self._codes[code] = Code(grant, redirect_uri, challenge, now + CODE_LIFE)
        return code

    def take_code(self, code: str, now: datetime) -> Code | None:
        """The code, once; None when unknown or used. One that is too old is answered, for its own refusal."""
        known = self._codes.pop(code, None)
        if known is not None and known.expires_at > now:
            self.all.append(known.grant)
        return known

    def by_refresh(self, token: str, now: datetime) -> Grant | None:
        """The grant whose refresh token this is now, unless it ended or lay idle for too long."""
        for grant in self.all:
            if grant.alive and hmac.compare_digest(grant.refresh_token, token) and grant.used_at + IDLE > now:
                return grant
        return None

    def issue_access(self, grant: Grant, now: datetime) -> str:
        token = f"{grant.org[:15]}!AQ{secrets.token_urlsafe(64)}"
        self._access[token] = Access(grant, now + SESSION)
        grant.used_at = now
        return token

    def by_access(self, token: str) -> Access | None:
        """The token, expired or not; None for one we never issued."""
        return self._access.get(token)

    def revoke(self, token: str) -> bool:
        """End the grant behind a token of either kind; whether there was one."""
        access = self._access.get(token)
        if access is not None and access.grant.alive:
            del self._access[token]
            return True
        for grant in self.all:
            if grant.alive and grant.refresh_token == token:
                grant.alive = False
                return True
        return False

    def expire_access(self, org: str | None, now: datetime) -> int:
        """Make sessions end now, of one org or of all; answers how many."""
        ended = {
            token: Access(access.grant, now)
            for token, access in self._access.items()
            if access.expires_at > now and org in (None, access.grant.org)
        }
        self._access |= ended
        return len(ended)


def verifies(challenge: str, verifier: str) -> bool:
    """PKCE with S256 (RFC 7636 §4.6)."""
    digest = hashlib.sha256(verifier.encode("ascii", "replace")).digest()
    return hmac.compare_digest(base64.urlsafe_b64encode(digest).rstrip(b"=").decode(), challenge)
