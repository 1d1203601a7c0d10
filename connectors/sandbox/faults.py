"""Faults on command, as values: what goes wrong, for which requests, how often.

Set from Python (`Faults.add`) or over HTTP (`POST /_sandbox/faults`). Each lasts until its count is used up or it is
cleared. The first that matches a request strikes; the rest wait.
"""

from __future__ import annotations

import random
import re
from datetime import timedelta
from enum import StrEnum
from fnmatch import translate
from typing import Any

import msgspec


class Kind(StrEnum):
    """What happens. In brackets: whether the request takes effect, unless the fault says otherwise."""

    OUTAGE = "outage"  # 503, as the vendor words it (no)
    ERROR = "error"  # 500, or `status` (no)
    RATE_LIMIT = "rate_limit"  # 429 in the vendor's shape, with Retry-After when `retry_after` is given (no)
    EXPIRED = "expired"  # 401: the access token has expired (no)
    REVOKED = "revoked"  # 401: the access token is not valid (no)
    REDIRECT = "redirect"  # 302 to somewhere else (no)
    HTML = "html"  # a page where JSON was promised, with `status` or 200 (no)
    EMPTY = "empty"  # 204 and nothing (yes)
    TRUNCATED = "truncated"  # half of the JSON, in a well-formed HTTP answer (yes)
    CUT = "cut"  # half of the announced body, then a reset (yes)
    TRICKLE = "trickle"  # the right answer, spread evenly over `delay` (yes)
    LATENCY = "latency"  # the right answer, after `delay` (yes)
    HANG = "hang"  # no answer, for as long as the client stays (no)
    RESET = "reset"  # the connection is reset before anything is done (no)
    RESET_AFTER = "reset_after"  # it is done, then the connection is reset (yes)
    LATE = "late"  # the connection is reset at once, and it is done `delay` later (later)


_TAKES_EFFECT = frozenset(
    {Kind.EMPTY, Kind.TRUNCATED, Kind.CUT, Kind.TRICKLE, Kind.LATENCY, Kind.RESET_AFTER, Kind.LATE}
)


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One thing that goes wrong.

    method, path  shell patterns ("*", "POST", "/crm/objects/*/contacts"); the path is matched whole, without query.
    count         how many requests it strikes; None: until cleared.
    skip          how many matching requests pass before the first is struck.
    probability   of striking a request that matches, drawn from the faults' own seeded generator.
    delay         for latency, trickle and late; with any other kind it is waited before the answer.
    retry_after   header of a 429 or 503; None: no header, as HubSpot mostly does.
    commits       overrides whether the request takes effect (an error answered after the write was done).
    """

    kind: Kind
    method: str = "*"
    path: str = "*"
    count: int | None = None
    skip: int = 0
    probability: float = 1.0
    delay: timedelta = timedelta(0)
    status: int | None = None
    retry_after: timedelta | None = None
    commits: bool | None = None

    @property
    def takes_effect(self) -> bool:
        return self.kind in _TAKES_EFFECT if self.commits is None else self.commits


def read_fault(document: Any) -> Fault:
    """A fault from JSON, durations in seconds. Raises `msgspec.ValidationError` with the reason."""
    return msgspec.convert(document, Fault, strict=False)


class _Armed:
    def __init__(self, id: int, fault: Fault) -> None:
        self.id, self.fault = id, fault
        self.left, self.skip, self.struck = fault.count, fault.skip, 0
        self.method = re.compile(translate(fault.method.upper()))
        self.path = re.compile(translate(fault.path))


class Faults:
    """All that is set to go wrong, in the order it was added."""

    def __init__(self, *faults: Fault, seed: int = 0) -> None:
        self._armed: list[_Armed] = []
        self._random = random.Random(seed)
        self._added = 0
        for fault in faults:
            self.add(fault)

    def add(self, fault: Fault) -> int:
        """Arm a fault; answers the number that `clear` takes."""
        self._added += 1
        self._armed.append(_Armed(self._added, fault))
        return self._added

    def clear(self, id: int | None = None) -> None:
        """Disarm one, or all."""
        self._armed = [armed for armed in self._armed if id is not None and armed.id != id]

    def strike(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets, used up by one; None when all is well."""
        for armed in self._armed:
            if not (armed.method.match(method) and armed.path.match(path)):
                continue
            if armed.skip > 0:
                armed.skip -= 1
                continue
            if armed.fault.probability < 1.0 and self._random.random() >= armed.fault.probability:
                continue
            armed.struck += 1
            if armed.left is not None:
                armed.left -= 1
                if armed.left <= 0:
                    self._armed.remove(armed)
            return armed.fault
        return None

    def armed(self) -> list[tuple[int, Fault, int]]:
        """What is armed: number, fault, how many requests it has struck so far."""
        return [(armed.id, armed.fault, armed.struck) for armed in self._armed]
