"""What an authorisation server hands out, as a value. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import msgspec

from connectors.json_text import BadJson, parse_json

_LONGEST_ANSWER = 64 * 1024


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """One grant. Its repr shows nothing of it.

    refresh_token  None when the answer had none (absent, null or empty): the stored one stays valid.
    expires_in     None when the vendor did not say.
    scopes         what was granted, which may be less than what was asked for.
    extra          what else came ("hub_id", "instance_url", …).
    """

    access_token: str
    refresh_token: str | None = None
    expires_in: timedelta | None = None
    scopes: tuple[str, ...] = ()
    extra: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        return "<Token>"


ReadToken = Callable[[int, Mapping[str, str], bytes], Token]
"""A provider's reading of its token endpoint: (status, headers with lower-case names, body) → the token. Pure.
Raises `ReconnectNeeded` if the grant is gone and `Unavailable` for everything else that is no token."""


def read_object(body: bytes) -> Mapping[str, Any]:
    """The JSON object in `body`; empty if it holds anything else."""
    try:
        value = parse_json(body, most=_LONGEST_ANSWER)
    except BadJson:
        return {}
    return value if isinstance(value, dict) else {}


def token_in(answer: Mapping[str, Any]) -> Token | None:
    """The token in an answer of status 200, or None if that is no token: a non-empty `access_token` makes one.

    Scopes are read from a `scopes` array or a `scope` string (spaces or commas); an unreadable lifetime is unknown.
    """
    access = answer.get("access_token")
    if not isinstance(access, str) or not access:
        return None
    refresh = answer.get("refresh_token")
    known = {"access_token", "refresh_token", "expires_in", "scope", "scopes", "id_token"}
    return Token(
        access_token=access,
        refresh_token=refresh if isinstance(refresh, str) and refresh else None,
        expires_in=_lifetime(answer.get("expires_in")),
        scopes=_scopes(answer),
        extra={name: value for name, value in answer.items() if name not in known},
    )


def _scopes(answer: Mapping[str, Any]) -> tuple[str, ...]:
    listed = answer.get("scopes")
    if isinstance(listed, list):
        return tuple(scope for scope in listed if isinstance(scope, str))
    written = answer.get("scope")
    return tuple(written.replace(",", " ").split()) if isinstance(written, str) else ()


def _lifetime(seconds: object) -> timedelta | None:
    """Seconds, also as text; anything not between a second and ten years is unknown."""
    try:
        number = float(seconds) if isinstance(seconds, int | float | str) and seconds is not True else 0.0
    except ValueError:
        return None
    return timedelta(seconds=number) if 1 <= number <= 315_360_000 else None
