"""Hosts that a tenant or a vendor names: matched whole, and rebuilt from the match (security.md §5). Pure.

A suffix check lets `https://evil.com/.my.salesforce.com` through, with the client secret. A pattern of a manifest is
therefore never alone: what it matches must look like a host by itself, in ASCII and lower case, with nothing around it.
"""

from __future__ import annotations

import re

_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){1,8}[a-z]{2,24}")
_LONGEST = 253
_SCHEME = "https://"


class ForeignHost(ValueError):
    """A host was named that is not the vendor's. Its text is for people and does not repeat the host."""


def at_host(pattern: str, host: str) -> str | None:
    """The origin of `host` ("acme.my.salesforce.com"), if `pattern` matches all of it; an empty one matches nothing."""
    if not pattern or len(host) > _LONGEST or _HOST.fullmatch(host) is None:
        return None
    found = re.fullmatch(pattern, host, re.ASCII)
    return None if found is None else _SCHEME + found.group()


def at_origin(pattern: str, origin: object) -> str | None:
    """The same of an origin as vendors write it ("https://www.zohoapis.eu"): https, no port, user or path."""
    if not isinstance(origin, str) or not origin.startswith(_SCHEME):
        return None
    return at_host(pattern, origin.removeprefix(_SCHEME))


def region_of(pattern: str, origin: str) -> str:
    """Which of a vendor's data centres `origin` is in: what the group `region` of `pattern` says; empty if it has none."""
    found = re.fullmatch(pattern, origin.removeprefix(_SCHEME), re.ASCII) if pattern else None
    return "" if found is None else found.groupdict().get("region") or ""


def as_typed(text: str) -> str:
    """The host in what a person typed or copied from their browser. It is matched afterwards like any other."""
    return text.strip().lower().removeprefix(_SCHEME).partition("/")[0]
