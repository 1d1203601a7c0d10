"""Which state may follow which, and what an ended delivery means for those that waited for it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    WAITING = "waiting"  # behind something it needs, or an earlier write of the same record
    PENDING = "pending"  # may be sent when it is due
    IN_FLIGHT = "in_flight"  # was sent, or may have been; nothing is known yet
    DELIVERED = "delivered"
    UNCERTAIN = "uncertain"  # blind, and the answer was lost: a person decides
    HELD = "held"  # what it needs died, or a worker died on it: a person decides
    DEAD = "dead"  # the CRM will not have it, or its time ran out
    CANCELLED = "cancelled"


OPEN = frozenset({State.WAITING, State.PENDING, State.IN_FLIGHT})
ENDED = frozenset({State.DELIVERED, State.CANCELLED, State.DEAD})

_NEXT: Mapping[State, frozenset[State]] = {
    # Straight into flight: together with what it needs, where the CRM takes both in one request; and back with it.
    State.WAITING: frozenset({State.PENDING, State.IN_FLIGHT, State.HELD, State.CANCELLED, State.DEAD}),
    State.PENDING: frozenset({State.IN_FLIGHT, State.CANCELLED, State.HELD, State.DEAD}),
    State.IN_FLIGHT: frozenset(
        {State.WAITING, State.PENDING, State.IN_FLIGHT, State.DELIVERED, State.UNCERTAIN, State.HELD, State.DEAD}
    ),
    State.DELIVERED: frozenset(),
    State.UNCERTAIN: frozenset({State.PENDING, State.DELIVERED, State.CANCELLED}),
    State.HELD: frozenset({State.PENDING, State.WAITING, State.CANCELLED}),
    State.DEAD: frozenset({State.PENDING, State.WAITING, State.CANCELLED}),
    State.CANCELLED: frozenset(),
}


def may_follow(before: State, after: State) -> bool:
    """Whether `after` may come right after `before`."""
    return after in _NEXT[before]


@dataclass(frozen=True)
class Waiting:
    """A delivery that waits: what it needs, which record it writes, and its place in the lane."""

    id: str
    seq: int
    needs: tuple[str, ...]
    record_key: str


@dataclass(frozen=True)
class Standing:
    """Another delivery of the same lane, as it is now."""

    id: str
    seq: int
    record_key: str
    state: State


@dataclass(frozen=True)
class Release:
    """What becomes of a waiting delivery, and why."""

    id: str
    state: State
    reason: str | None = None


def released(waiting: Sequence[Waiting], standing: Sequence[Standing]) -> list[Release]:
    """Which of `waiting` may go on, and which are held, in lane order.

    One goes on when everything it needs is delivered and no earlier delivery of its record is open. It is held when
    something it needs died, was cancelled or is held itself; it stays (and is not listed) otherwise.
    """
    states = {one.id: State.WAITING for one in waiting} | {one.id: one.state for one in standing}
    asked = {one.id: one for one in waiting}
    busy: set[str] = set()  # records with an earlier open write
    answer: list[Release] = []
    places = {(one.seq, one.id, one.record_key) for one in standing} | {
        (one.seq, one.id, one.record_key) for one in waiting
    }
    for _, name, record_key in sorted(places):
        one = asked.get(name)
        if one is None:
            if states[name] in OPEN:
                busy.add(record_key)
            continue
        needed = [states.get(need, State.DEAD) for need in one.needs]  # gone from the books: it cannot come any more
        if any(state in _GIVEN_UP for state in needed):
            states[name] = State.HELD
            answer.append(Release(name, State.HELD, "something it needs was not delivered"))
            continue
        if record_key not in busy and all(state is State.DELIVERED for state in needed):
            answer.append(Release(name, State.PENDING))
        busy.add(record_key)
    return answer


def together(waiting: Sequence[Waiting], standing: Sequence[Standing], going: Collection[str]) -> list[str]:
    """Which of `waiting` may go out in one request with those that are `going`, in lane order.

    Whatever one of them needs was delivered or goes out before it, at least one thing in the same request; and no earlier
    write of its record is open but what it needs: in one request, one that only stands before it may fail and be overtaken.
    """
    places = {one.id: one.seq for one in standing if one.id in going}
    states = {one.id: one.state for one in standing}
    joined: list[str] = []
    for one in sorted(waiting, key=lambda each: each.seq):
        before = {need for need in one.needs if places.get(need, one.seq) < one.seq}
        delivered = {need for need in one.needs if states.get(need) is State.DELIVERED}
        same = {other.id for other in waiting if _is_before(other, one)}
        same |= {other.id for other in standing if other.state in OPEN and _is_before(other, one)}
        if before and before | delivered == set(one.needs) and same <= before:
            places[one.id] = one.seq
            joined.append(one.id)
    return joined


def _is_before(other: Waiting | Standing, one: Waiting) -> bool:
    return other.record_key == one.record_key and other.seq < one.seq


_GIVEN_UP = frozenset({State.DEAD, State.CANCELLED, State.HELD})
