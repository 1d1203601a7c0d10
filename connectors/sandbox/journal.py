"""What was asked of a sandbox, in order: kept for whoever counts at the end.

In memory, and line by line in a file when one is given: each line is flushed before the answer leaves, so it
outlives everything but the sandbox itself, and a harness that kills other processes may trust it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec


class Asked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request and what became of it.

    n          counts from 1.
    status     what was answered; None when no answer was given (reset, hang).
    committed  whether the request took effect, answered or not.
    keys       the callers' own keys found in the body (unique property values).
    body       first 16 hex digits of the SHA-256 of the body; equal bodies have equal ones.
    fault      the kind of fault that struck it.
    client     the caller's port: the same for all that came over one connection.
    """

    n: int
    at: datetime
    method: str
    path: str
    status: int | None
    committed: bool = True
    query: str = ""
    account: str = ""
    keys: Sequence[str] = ()
    body: str = ""
    fault: str = ""
    client: int = 0


class Journal:
    """Append only. `path` may be shared with readers; `forget` clears memory, never the file."""

    def __init__(self, path: Path | None = None) -> None:
        self.asked: list[Asked] = []
        self._count = 0
        self._file = path.open("ab", buffering=0) if path is not None else None

    def next(self) -> int:
        self._count += 1
        return self._count

    def append(self, asked: Asked) -> None:
        self.asked.append(asked)
        if self._file is not None:
            self._file.write(msgspec.json.encode(asked) + b"\n")

    def forget(self) -> None:
        self.asked.clear()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
