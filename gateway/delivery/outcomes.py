"""What became of a delivery, as its row will have it; and what its claim learns from it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from connectors.crm.records import Record, Ref, UpsertContact, Write
from connectors.errors import ConnectorError, RateLimited, Unavailable
from gateway.delivery.policy import DeadLetter, FindPersonAgain, Look, Pause, Retry, Step, Uncertain
from gateway.outbox.claim import HeldDelivery, HeldLane
from gateway.outbox.record import Result
from gateway.outbox.states import State


@dataclass
class Claim:
    """A held lane being worked on. `until`: `time.monotonic()` after which nothing is sent (lease − one request − margin)."""

    lane: HeldLane
    until: float
    met: Ref | None = None
    ended: bool = False  # the rest of the lane is handed back untried
    healthy: list[bool] = field(default_factory=list)  # what the account's breaker learns
    wrote: list[tuple[Write, Record]] = field(default_factory=list)
    results: dict[str, Result] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)  # what is being tried now
    left: dict[str, Ref] = field(init=False)  # records of deliveries, from before and from this claim

    def __post_init__(self) -> None:
        self.left = dict(self.lane.left)

    @property
    def person(self) -> Ref | None:
        return self.met or self.lane.person

    def note(self, result: Result) -> None:
        took = timedelta(seconds=time.monotonic() - self.began)
        self.results[result.delivery_id] = replace(result, took=took)

    def lacks(self, held: HeldDelivery) -> dict[str, State]:
        """What it needs and has not arrived, as that stands by now."""
        stand = {need: one.state for need in held.needs if (one := self.results.get(need)) is not None}
        stand = {need: self.lane.lacking[need] for need in held.needs if need in self.lane.lacking} | stand
        return {need: state for need, state in stand.items() if state is not State.DELIVERED}


def lifetime_left(held: HeldDelivery) -> timedelta:
    return held.expires_at - datetime.now(UTC)


def untried(held: HeldDelivery) -> Result:
    """Hand it back as it was found: to be looked for if an earlier try's outcome is unknown, to wait, or to be sent."""
    if held.looking:
        return Result(delivery_id=held.id, state=State.IN_FLIGHT, looking=True, wait=held.settle)
    return Result(delivery_id=held.id, state=State.WAITING if held.waiting else State.PENDING)


def waits_again(held: HeldDelivery) -> Result:
    """It is not at the CRM, and neither is what it needs: it waits for that, or is held if that cannot come any more."""
    return Result(delivery_id=held.id, state=State.WAITING)


def nobody(held: HeldDelivery) -> Result:
    return Result(
        delivery_id=held.id,
        state=State.DEAD,
        looking=held.looking,
        code="no-person",
        reason="nobody in the CRM has the caller's number, so there is no record to change",
    )


def delivered(
    claim: Claim,
    held: HeldDelivery,
    write: Write,
    record: Record | None,
    *,
    outcome: str = "delivered",
    status: int | None = None,
) -> Result:
    if record is not None:
        if isinstance(write, UpsertContact):
            claim.met = record.ref
        claim.left[held.id] = record.ref
        claim.wrote.append((write, record))
    return Result(
        delivery_id=held.id, state=State.DELIVERED, counts=True, record=record, outcome=outcome, status=status
    )


def learn(claim: Claim, error: ConnectorError) -> None:
    """What the account's breaker hears: a refusal is an answer; silence and outages are not; a rate limit says nothing."""
    if isinstance(error, RateLimited):
        return
    claim.healthy.append(not isinstance(error, Unavailable) and error.status is not None and error.status < 500)


def after(claim: Claim, held: HeldDelivery, step: Step, error: ConnectorError | None) -> Result:
    """The step as the row will have it."""
    reason = error.reason if error is not None else None
    status = error.status if error is not None else None
    word = _word(error) if error is not None else None
    match step:
        case Retry(wait=wait, counts=counts):
            claim.ended = claim.ended or isinstance(error, RateLimited | Unavailable)
            return Result(
                delivery_id=held.id,
                state=State.PENDING,
                wait=wait,
                counts=counts,
                waited=not counts,
                code=word,
                reason=reason,
                outcome=word,
                status=status,
            )
        case Look(wait=wait):
            return Result(
                delivery_id=held.id,
                state=State.IN_FLIGHT,
                wait=wait,
                looking=True,
                waited=True,
                code=word,
                reason=reason,
                outcome=word,
                status=status,
            )
        case FindPersonAgain():
            claim.met = None
            claim.ended = True
            return Result(
                delivery_id=held.id,
                state=State.PENDING,
                counts=True,
                forget_person=True,
                code="gone",
                reason=reason,
                outcome=word,
                status=status,
            )
        case Pause():
            claim.ended = True
            kept = State.IN_FLIGHT if held.looking else State.PENDING
            return Result(
                delivery_id=held.id,
                state=kept,
                looking=held.looking,
                waited=True,
                code="reconnect",
                reason=reason,
                outcome=word,
                status=status,
            )
        case Uncertain():
            return Result(
                delivery_id=held.id,
                state=State.UNCERTAIN,
                counts=True,
                looking=True,
                code="uncertain",
                reason="it was sent and no answer came; this CRM cannot tell whether it arrived",
                outcome="uncertain",
                status=status,
            )
        case DeadLetter(code=code, reason=text):
            return Result(
                delivery_id=held.id,
                state=State.DEAD,
                counts=True,
                looking=held.looking,
                code=code,
                reason=text,
                outcome=word or "dead",
                status=status,
            )


def _word(error: ConnectorError) -> str:
    """ "rate_limited" from RateLimited: how attempts are listed."""
    name = type(error).__name__
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
