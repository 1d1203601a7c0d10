"""Other people's secrets out of a raw event, before it is kept (security.md §9).

Platforms send carrier tokens, server secrets and live-call credentials inside their events: public captures of Vapi
show `phoneNumber.twilioAuthToken`, `serverUrlSecret` and a tool's `server.secret`. (voice-platforms.md §2.13, 2026-11-21)
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

_SECRET_KEY = re.compile(r"secret|token|password|authorization|api_?key", re.IGNORECASE)


_SECRET_WORDS = ("secret", "token", "password", "authorization", "apikey", "api_key")


def names_no_secret(body: bytes) -> bool:
    """Whether `body`, which is JSON, surely has no key that names a secret: none of the words is anywhere in it.

    Hundred times cheaper than `strip_secrets`, and enough for most. False means: look.
    """
    try:
        text = body.decode().casefold()
    except UnicodeDecodeError:
        return False
    return "\\u" not in text and not any(word in text for word in _SECRET_WORDS)  # an escape may spell anything


@lru_cache(maxsize=4096)  # the same few hundred keys in every event of every call
def _names_a_secret(key: str) -> bool:
    return _SECRET_KEY.search(key) is not None


def strip_secrets(value: Any) -> Any:
    """A copy of a JSON value without any key, at any depth, that names a secret.

    value  as `parse_json` answers it, so at most 64 deep; it is not changed. Values are not searched, only keys.
    """
    if isinstance(value, dict):
        return {key: strip_secrets(inner) for key, inner in value.items() if not _names_a_secret(key)}
    if isinstance(value, list):
        return [strip_secrets(inner) for inner in value]
    return value
