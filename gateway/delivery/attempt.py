"""One claim's try: a held lane in, what became of each delivery out. No transaction is open here; the network is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import msgspec
import phonenumbers

from connectors.crm.port import Crm, Done, Failed
from connectors.crm.records import (
    AssignOwner,
    Contact,
    Kind,
    Person,
    Record,
    Ref,
    UpsertContact,
    Write,
)
from connectors.errors import ConnectorError, RateLimited, Rejected, Unavailable
from connectors.http import no_sending_after
from gateway.crypto import CannotOpen
from gateway.delivery import policy
from gateway.delivery.policy import DeadLetter, FindPersonAgain, Look, Pause, Retry, Step, Uncertain
from gateway.outbox import payloads
from gateway.outbox.claim import PERSON_KINDS, HeldDelivery, HeldLane
from gateway.outbox.record import LaneResult, Result
from gateway.outbox.states import State
from gateway.tenants.keys import TenantKeys

SHORT = timedelta(seconds=2)  # a rate limit shorter than this is waited out inside the claim
_MARGIN = timedelta(milliseconds=300)


@dataclass
class Claim:
    """A held lane being worked on. `until`: `time.monotonic()` after which nothing is sent (lease − one request − margin)."""

    lane: HeldLane
    until: float
    met: Ref | None = None
    ended: bool = False  # the rest of the lane is handed back untried
    healthy: list[bool] = field(default_factory=list)  # what the account's breaker learns
    wrote: list[tuple[Write, Record]] = field(default_factory=list)

    @property
    def person(self) -> Ref | None:
        return self.met or self.lane.person


def send_until(claimed: float, *, lease: timedelta, request: timedelta) -> float:
    """`time.monotonic()` after which a claim made at `claimed` sends nothing more: a whole request must fit in the lease."""
    return claimed + (lease - request - _MARGIN).total_seconds()


async def work(claim: Claim, crm: Crm, keys: TenantKeys, *, stopping: Callable[[], bool]) -> LaneResult:
    """Send (or look for) each delivery of the claim in order; what cannot be tried any more is handed back as it was.

    Never raises for anything a CRM does.
    """
    results: list[Result] = []
    with no_sending_after(claim.until):
        for held in claim.lane.deliveries:
            if claim.ended or stopping() or time.monotonic() >= claim.until:
                results.append(untried(held))
                continue
            results.append(await _one(claim, held, crm, keys))
    return LaneResult(lane=claim.lane, results=tuple(results), met=claim.met)


def untried(held: HeldDelivery) -> Result:
    """Hand it back as it was found: to be looked for if an earlier try's outcome is unknown, else to be sent."""
    if held.looking:
        return Result(delivery_id=held.id, state=State.IN_FLIGHT, looking=True, wait=held.settle)
    return Result(delivery_id=held.id, state=State.PENDING)


async def _one(claim: Claim, held: HeldDelivery, crm: Crm, keys: TenantKeys) -> Result:
    began = time.monotonic()
    if held.claims >= policy.MOST_CLAIMS:
        return Result(
            delivery_id=held.id,
            state=State.HELD,
            looking=held.looking,
            code="crashes",
            reason="workers stop while they work on this; nothing is tried until somebody replays it",
        )
    try:
        write = payloads.read(keys, held.id, held.v, held.payload)
    except (payloads.Unreadable, CannotOpen) as error:
        return Result(delivery_id=held.id, state=State.DEAD, looking=held.looking, code="payload", reason=str(error))
    left = held.expires_at - datetime.now(UTC)
    if left <= timedelta(0) and not held.looking:
        return Result(
            delivery_id=held.id, state=State.DEAD, code="expired", reason="its time ran out before it could be sent"
        )
    try:
        if held.looking:
            result = await _look(claim, held, write, crm, left=left)
        else:
            result = await _send(claim, held, write, crm, left=left)
    except ConnectorError as error:  # while finding out who the person is: nothing was written
        result = _after(
            claim,
            held,
            policy.after_failure(
                error, attempt=held.attempts + 1, waits=held.waits, blind=held.blind, person_known=False, left=left
            ),
            error,
        )
    took = timedelta(seconds=time.monotonic() - began)
    return replace(result, took=took)


async def _send(claim: Claim, held: HeldDelivery, write: Write, crm: Crm, *, left: timedelta) -> Result:
    await _meet(claim, write, crm)
    whole = payloads.resolved(write, left=claim.lane.left, person=claim.person)
    if whole is None:
        return _nobody(held)
    whole = await _owned(whole, crm)
    outcome = await _write(claim, whole, crm)
    if isinstance(outcome, Done):
        claim.healthy.append(True)
        return _delivered(claim, held, whole, outcome.record, status=outcome.status)
    error = outcome.error
    _learn(claim, error)
    step = policy.after_failure(
        error,
        attempt=held.attempts + 1,
        waits=held.waits,
        blind=held.blind,
        person_known=claim.lane.person is not None,
        left=left,
    )
    return _after(claim, held, step, error)


def _nobody(held: HeldDelivery) -> Result:
    return Result(
        delivery_id=held.id,
        state=State.DEAD,
        looking=held.looking,
        code="no-person",
        reason="nobody in the CRM has the caller's number, so there is no record to change",
    )


async def _write(claim: Claim, write: Write, crm: Crm) -> Done | Failed:
    """Send it; a short rate limit is waited out here, while the claim lasts."""
    while True:
        (outcome,) = await crm.write([write])
        if isinstance(outcome, Failed) and isinstance(outcome.error, RateLimited):
            wait = outcome.error.retry_after
            if wait <= SHORT and time.monotonic() + wait.total_seconds() < claim.until:
                await asyncio.sleep(wait.total_seconds())
                continue
        return outcome


async def _look(claim: Claim, held: HeldDelivery, write: Write, crm: Crm, *, left: timedelta) -> Result:
    """An earlier try's outcome is unknown: is its key there? Nothing is sent before that is settled."""
    if held.blind:
        return _after(claim, held, Uncertain(), None)
    whole = payloads.resolved(write, left=claim.lane.left, person=claim.person)
    if whole is None:
        return _nobody(held)
    try:
        found = await crm.find(whole)
    except ConnectorError as error:
        _learn(claim, error)
        step = policy.after_look(error, attempt=held.attempts + 1, waits=held.waits, settle=held.settle, left=left)
        return _after(claim, held, step, error)
    claim.healthy.append(True)
    if found is not None:
        return _delivered(claim, held, whole, found, outcome="found")
    # Claimed again only after lease + settle (or settle, after a lost answer): "not there" can be believed now.
    return await _send(claim, held, write, crm, left=left)


async def _meet(claim: Claim, write: Write, crm: Crm) -> None:
    """Find out who the lane's person is before they are created: somebody may have them in the CRM already.

    The CRM's search is late and rationed; it is asked once per person, and guards against people the CRM has had for
    longer than its search lags. Against our own repeats the key does (port.py).
    """
    if not (
        isinstance(write, UpsertContact) and isinstance(write.target, Person) and claim.person is None and write.phone
    ):
        return
    number = phonenumbers.parse(write.phone)
    found = [one for one in await crm.find_contacts(number) if one.match == "exact"]
    best = best_person(found)
    if best is not None:
        claim.met = Ref(best.kind, best.id)


async def _owned(write: Write, crm: Crm) -> Write:
    """Rules name colleagues by e-mail address; the CRM wants its own id. One it does not know is left out, and a write
    that is about nothing else is refused."""
    if write.owner is None or "@" not in write.owner:
        return write
    owner = await crm.owner_by_email(write.owner)
    if owner is None and isinstance(write, AssignOwner):
        raise Rejected("The CRM has no user with this e-mail address.", field="owner")
    return msgspec.structs.replace(write, owner=owner.id if owner is not None else None)


def best_person(found: list[Contact]) -> Contact | None:
    """Who to write about: a contact before a lead; never a company, whose number is everybody's. First found wins."""
    people = [one for one in found if one.kind in (Kind.CONTACT, Kind.LEAD)]
    return min(people, key=lambda one: PERSON_KINDS.index(one.kind), default=None)


def _delivered(
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
            claim.met = Ref(record.kind, record.id)
        claim.wrote.append((write, record))
    return Result(
        delivery_id=held.id, state=State.DELIVERED, counts=True, record=record, outcome=outcome, status=status
    )


def _learn(claim: Claim, error: ConnectorError) -> None:
    """What the account's breaker hears: a refusal is an answer; silence and outages are not; a rate limit says nothing."""
    if isinstance(error, RateLimited):
        return
    claim.healthy.append(not isinstance(error, Unavailable) and error.status is not None and error.status < 500)


def _after(claim: Claim, held: HeldDelivery, step: Step, error: ConnectorError | None) -> Result:
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
