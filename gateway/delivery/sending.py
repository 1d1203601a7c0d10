"""A delivery on its way, and with it those behind it that the CRM takes in the same request."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile

import msgspec
import phonenumbers

from connectors.crm import runs
from connectors.crm.port import Crm, Done, Failed, Outcome
from connectors.crm.records import AssignOwner, Contact, Earlier, Kind, Person, Ref, UpsertContact, Write
from connectors.errors import ConnectorError, OutcomeUnknown, RateLimited, Rejected
from gateway.crypto import CannotOpen
from gateway.delivery import policy
from gateway.delivery.outcomes import Claim, after, delivered, learn, lifetime_left, nobody, untried, waits_again
from gateway.outbox import payloads
from gateway.outbox.claim import PERSON_KINDS, HeldDelivery
from gateway.outbox.record import Result
from gateway.outbox.states import State
from gateway.tenants.keys import TenantKeys

SHORT = timedelta(seconds=2)  # a rate limit shorter than this is waited out inside the claim
JUST_ASKED = timedelta(minutes=2)  # an answer of "nobody" that young is not asked for again before somebody is created


@dataclass(frozen=True)
class Going:
    """One of a run: its links are records, or point back into the run."""

    held: HeldDelivery
    write: Write


def opened(claim: Claim, held: HeldDelivery, keys: TenantKeys, *, going: Collection[str] = ()) -> Write | Result:
    """What it is to write, or what becomes of it untried. `going`: what goes out in the same request before it."""
    if held.claims >= policy.MOST_CLAIMS:
        return Result(
            delivery_id=held.id,
            state=State.HELD,
            looking=held.looking,
            code="crashes",
            reason="workers stop while they work on this; nothing is tried until somebody replays it",
        )
    if not held.looking and not claim.lacks(held).keys() <= set(going):
        return waits_again(held)
    try:
        write = payloads.read(keys, held.id, held.v, held.payload)
    except (payloads.Unreadable, CannotOpen) as error:
        return Result(delivery_id=held.id, state=State.DEAD, looking=held.looking, code="payload", reason=str(error))
    if not held.looking and lifetime_left(held) <= timedelta(0):
        return Result(
            delivery_id=held.id, state=State.DEAD, code="expired", reason="its time ran out before it could be sent"
        )
    return write


async def send(
    claim: Claim, held: HeldDelivery, write: Write, crm: Crm, keys: TenantKeys, behind: deque[HeldDelivery]
) -> None:
    """Send it, and as many of those `behind` as may go with it; what became of them is noted in the claim."""
    run: list[Going] = []
    while True:
        await _prepare(claim, run, held, write, crm)
        if claim.ended or held.looking or held.blind or len(run) >= crm.manifest.run:
            break
        following = _following(claim, run, keys, behind)
        if following is None:
            break
        held, write = following
    if not run:
        return
    outcomes = await _written(claim, [one.write for one in run], crm)
    _learn(claim, outcomes)
    for one, outcome in zip(run, outcomes, strict=True):
        claim.note(_result(claim, one, outcome))


async def _prepare(claim: Claim, run: list[Going], held: HeldDelivery, write: Write, crm: Crm) -> None:
    """Put it into the run with its links resolved; or note why not: nothing was written, we only asked."""
    try:
        await _meet(claim, write, crm)
        whole = _resolved(claim, run, write)
        if whole is None:
            claim.note(nobody(held))
            return
        run.append(Going(held, await _owned(whole, crm)))
    except ConnectorError as error:
        step = policy.after_failure(
            error,
            attempt=held.attempts + 1,
            waits=held.waits,
            blind=held.blind,
            person_known=False,
            left=lifetime_left(held),
        )
        claim.note(after(claim, held, step, error))


def _following(
    claim: Claim, run: Sequence[Going], keys: TenantKeys, behind: deque[HeldDelivery]
) -> tuple[HeldDelivery, Write] | None:
    """The next that may go in the same request, taken from `behind`; those that cannot be tried at all are noted."""
    while behind and not (behind[0].looking or behind[0].blind):
        ready = opened(claim, behind[0], keys, going={one.held.id for one in run})
        if isinstance(ready, UpsertContact) and any(isinstance(one.write, UpsertContact) for one in run):
            return None  # about the same person: it needs to know what became of the first
        held = behind.popleft()
        if not isinstance(ready, Result):
            return held, ready
        claim.note(ready)
    return None


def _resolved(claim: Claim, run: Sequence[Going], write: Write) -> Write | None:
    earlier = {one.held.id: place for place, one in enumerate(run)}
    made = next((place for place, one in enumerate(run) if isinstance(one.write, UpsertContact)), None)
    person: Ref | Earlier | None = claim.person
    if person is None and made is not None:
        person = Earlier(Kind.CONTACT, made)
    return payloads.resolved(write, left=claim.left, person=person, earlier=earlier)


def _result(claim: Claim, one: Going, outcome: Outcome) -> Result:
    held = one.held
    if isinstance(outcome, Done):
        return delivered(claim, held, one.write, outcome.record, status=outcome.status)
    error = outcome.error
    if runs.not_sent(error):
        return untried(held)
    if claim.lacks(held) and not isinstance(error, OutcomeUnknown):
        return waits_again(held)  # it failed with what it points at, and that is where the reason stands
    step = policy.after_failure(
        error,
        attempt=held.attempts + 1,
        waits=held.waits,
        blind=held.blind,
        person_known=claim.lane.person is not None,
        left=lifetime_left(held),
    )
    return after(claim, held, step, error)


def _learn(claim: Claim, outcomes: Sequence[Outcome]) -> None:
    """A run is one request: the breaker hears of it once."""
    if any(isinstance(one, Done) for one in outcomes):
        claim.healthy.append(True)
        return
    errors = [one.error for one in outcomes if isinstance(one, Failed) and not runs.not_sent(one.error)]
    for error in errors[:1]:
        learn(claim, error)


async def _written(claim: Claim, run: Sequence[Write], crm: Crm) -> list[Outcome]:
    """Send it; a short rate limit is waited out here, while the claim lasts."""
    done: list[Outcome] = []
    while True:
        outcomes = list(await crm.write(run))
        wait = _short_limit(outcomes)
        arrived = list(takewhile(lambda one: isinstance(one, Done), outcomes))
        rest = runs.rest(run, arrived)
        if wait is None or rest is None or time.monotonic() + wait.total_seconds() >= claim.until:
            return [*done, *outcomes]
        await asyncio.sleep(wait.total_seconds())
        run, done = rest, [*done, *arrived]


def _short_limit(outcomes: Sequence[Outcome]) -> timedelta | None:
    """How long to wait, if all that keeps the rest of a run from arriving is a short rate limit."""
    errors = [one.error for one in outcomes if isinstance(one, Failed)]
    waits = [error.retry_after for error in errors if isinstance(error, RateLimited)]
    unsent = sum(runs.not_sent(error) for error in errors)
    if not waits or len(waits) + unsent < len(errors) or max(waits) > SHORT:
        return None
    tail = outcomes[-len(errors) :]
    return max(waits) if all(isinstance(one, Failed) for one in tail) else None


async def _meet(claim: Claim, write: Write, crm: Crm) -> None:
    """Find out who the lane's person is before they are created: somebody may have them in the CRM already.

    The CRM's search is late and rationed; it is asked once per person, and guards against people the CRM has had for
    longer than its search lags. Against our own repeats the key does (port.py). Whoever decided may have asked just now.
    """
    if not (
        isinstance(write, UpsertContact) and isinstance(write.target, Person) and claim.person is None and write.phone
    ):
        return
    asked = write.target.nobody_at
    if asked is not None and datetime.now(UTC) - asked < JUST_ASKED:
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
