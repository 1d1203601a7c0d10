"""What people granted to the app: codes, refresh tokens (twenty a user), access tokens (ten in ten minutes)."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

CODE_LIFE = timedelta(minutes=2)
ACCESS_LIFE = timedelta(hours=1)
MOST_REFRESH_TOKENS = 20  # of one user and app; the next one ends the oldest
MOST_ACCESS_TOKENS, _PER = 10, timedelta(minutes=10)  # of one refresh token


class Grant:
    """One consent. It ends when its refresh token is revoked or pushed out, and its access tokens with it."""

    def __init__(self, zgid: str, user_id: str, scopes: Sequence[str], *, offline: bool = True) -> None:
        self.zgid = zgid
        self.user_id = user_id
        self.scopes = tuple(scopes)
        self.refresh_token = _secret() if offline else None
        self.alive = True
        self.given: deque[datetime] = deque()

    def allows(self, names: Sequence[str]) -> bool:
        """Whether one of these scopes was granted; case does not count."""
        return bool({scope.lower() for scope in self.scopes} & {name.lower() for name in names})


class Access(msgspec.Struct, frozen=True):
    grant: Grant
    expires_at: datetime


class Code(msgspec.Struct, frozen=True):
    """Good once, for the address it was sent to."""

    grant: Grant
    redirect_uri: str
    expires_at: datetime


class TooOften(Exception):
    """Ten access tokens in ten minutes; no more until the rest of them has passed."""


class Grants:
    """Everything granted to one app, over all organisations."""

    def __init__(self, *, limited: bool = True) -> None:
        self.limited = limited
        self._codes: dict[str, Code] = {}
        self._by_refresh: dict[str, Grant] = {}
        self._access: dict[str, Access] = {}
        self._blocked: dict[str, datetime] = {}

    def issue_code(
        self, *, zgid: str, user_id: str, scopes: Sequence[str], redirect_uri: str, offline: bool, now: datetime
    ) -> str:
        code = _secret()
        grant = Grant(zgid, user_id, scopes, offline=offline)
        self._codes[code] = Code(grant, redirect_uri, now + CODE_LIFE)
        return code

    def take_code(self, code: str, now: datetime) -> Code | None:
        """The code, once; None when unknown, used or too old. Its grant lives from now on."""
        known = self._codes.pop(code, None)
        if known is None or known.expires_at <= now:
            return None
        self.admit(known.grant)
        return known

    def admit(self, grant: Grant) -> Grant:
        """Let a grant's refresh token work; the user's oldest stops working when there are too many."""
        if grant.refresh_token is None:
            return grant
        mine = [one for one in self._by_refresh.values() if (one.user_id, one.alive) == (grant.user_id, True)]
        if self.limited and len(mine) >= MOST_REFRESH_TOKENS:
            mine[0].alive = False
        self._by_refresh[grant.refresh_token] = grant
        return grant

    def by_refresh(self, token: str) -> Grant | None:
        grant = self._by_refresh.get(token)
        return grant if grant is not None and grant.alive else None

    def issue_access(self, grant: Grant, now: datetime) -> str:
        """Raises `TooOften`."""
        while grant.given and grant.given[0] <= now - _PER:
            grant.given.popleft()
        if self.limited and len(grant.given) >= MOST_ACCESS_TOKENS:
            raise TooOften
        grant.given.append(now)
        token = _secret()
        self._access[token] = Access(grant, now + ACCESS_LIFE)
        return token

    def by_access(self, token: str) -> Access | None:
        """The token, expired or not; None for one we never issued."""
        return self._access.get(token)

    def revoke(self, token: str) -> bool:
        """End a grant by its refresh token, or one access token. False for one that is not known."""
        grant = self.by_refresh(token)
        if grant is not None:
            grant.alive = False
            return True
        return self._access.pop(token, None) is not None

    def end(self, zgid: str) -> int:
        """The user deactivated, or the app removed: every grant of an organisation; answers how many."""
        ended = {one.grant for one in self._access.values()} | set(self._by_refresh.values())
        ended = {grant for grant in ended if grant.zgid == zgid and grant.alive}
        for grant in ended:
            grant.alive = False
        return len(ended)

    def expire_access(self, zgid: str | None, now: datetime) -> int:
        """Make access tokens end now, of one organisation or of all; answers how many."""
        ended = {
            token: Access(one.grant, now)
            for token, one in self._access.items()
            if one.expires_at > now and zgid in (None, one.grant.zgid)
        }
        self._access |= ended
        return len(ended)


def _secret() -> str:
    return f"1000.{secrets.token_hex(16)}.{secrets.token_hex(16)}"
