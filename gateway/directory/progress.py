"""How far a mirror is, as people and programs are told. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

_STATES = ("running", "queued", "failed", "done")
SHOWN = 20


class Row(Protocol):
    """What of a mirror's row this needs (`tables.Mirror`)."""

    kind: str
    state: str
    dry: bool
    done: int
    total: int | None
    unreadable: int
    examples: list[str]
    reason: str | None
    started_at: datetime | None
    finished_at: datetime | None


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """An import of all kinds together.

    total          as far as the CRM says how many there are; None while it does not.
    remaining_s    None while nobody can know. rate_per_s: records a second since the run began.
    unreadable_examples  "contact 17, mobile: 079 •••": which record, which field, what it looks like; no names.
    """

    state: str
    done: int
    total: int | None
    unreadable_numbers: int
    rate_per_s: float
    remaining_s: int | None
    dry_run: bool
    reason: str | None
    unreadable_examples: tuple[str, ...]
    kinds: dict[str, int]


def progress(rows: Sequence[Row], now: datetime) -> Progress:
    """`rows` of one connection, at least one."""
    states = {row.state for row in rows}
    state = next((one for one in _STATES if one in states), "queued")
    if state == "queued" and "done" in states:
        state = "running"  # between two kinds
    done = sum(row.done for row in rows)
    finished = state in ("done", "failed")
    total = done if state == "done" else _total(rows)
    began = min((row.started_at for row in rows if row.started_at), default=now)
    ended = max((row.finished_at for row in rows if row.finished_at), default=now) if finished else now
    seconds = (ended - began).total_seconds()
    rate = done / seconds if seconds > 0 else 0.0
    left = None if total is None or rate <= 0 else max(0, round((total - done) / rate))
    return Progress(
        state=state,
        done=done,
        total=total,
        unreadable_numbers=sum(row.unreadable for row in rows),
        rate_per_s=round(rate, 1),
        remaining_s=0 if state == "done" else left,
        dry_run=any(row.dry for row in rows),
        reason=next((row.reason for row in rows if row.reason), None),
        unreadable_examples=tuple(one for row in rows for one in row.examples)[:SHOWN],
        kinds={row.kind: row.done for row in rows},
    )


def _total(rows: Sequence[Row]) -> int | None:
    """Of kinds that are done it is what was read; of a kind nobody has begun, nobody knows."""
    totals = [row.done if row.state == "done" else row.total for row in rows]
    return None if None in totals else sum(one for one in totals if one is not None)
