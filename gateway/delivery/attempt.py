"""One claim's try: a held lane in, what became of each delivery out. No transaction is open here; the network is."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from connectors.crm.port import Crm
from connectors.crm.records import Write
from connectors.errors import ConnectorError
from connectors.http import no_sending_after
from gateway.delivery import policy
from gateway.delivery.outcomes import Claim, after, delivered, learn, lifetime_left, nobody, untried, waits_again
from gateway.delivery.policy import Uncertain
from gateway.delivery.sending import opened, send
from gateway.outbox import payloads
from gateway.outbox.claim import HeldDelivery
from gateway.outbox.record import LaneResult, Result
from gateway.outbox.states import OPEN
from gateway.tenants.keys import TenantKeys

_MARGIN = timedelta(milliseconds=300)


def send_until(claimed: float, *, lease: timedelta, request: timedelta) -> float:
    """`time.monotonic()` after which a claim made at `claimed` sends nothing more: a whole request must fit in the lease."""
    return claimed + (lease - request - _MARGIN).total_seconds()


async def work(claim: Claim, crm: Crm, keys: TenantKeys, *, stopping: Callable[[], bool]) -> LaneResult:
    """Send (or look for) each delivery of the claim in order; what cannot be tried any more is handed back as it was.

    Never raises for anything a CRM does.
    """
    behind = deque(claim.lane.deliveries)
    with no_sending_after(claim.until):
        while behind and not (claim.ended or stopping() or time.monotonic() >= claim.until):
            claim.began = time.monotonic()
            held = behind.popleft()
            write = opened(claim, held, keys)
            if isinstance(write, Result):
                claim.note(write)
            elif held.looking:
                await _look(claim, held, write, crm, keys)
            else:
                await send(claim, held, write, crm, keys, behind)
    results = tuple(claim.results.get(held.id) or untried(held) for held in claim.lane.deliveries)
    return LaneResult(lane=claim.lane, results=results, met=claim.met)


async def _look(claim: Claim, held: HeldDelivery, write: Write, crm: Crm, keys: TenantKeys) -> None:
    """An earlier try's outcome is unknown: is its key there? Nothing is sent before that is settled.

    What went out in one request with something it needs is looked for after that one: its record may be the way to it.
    """
    lacking = claim.lacks(held)
    if lacking and all(state in OPEN for state in lacking.values()):
        waits = [claim.results[need].wait for need in lacking if need in claim.results]
        claim.note(replace(untried(held), wait=max(waits, default=held.settle)))
        return
    if held.blind:
        claim.note(after(claim, held, Uncertain(), None))
        return
    whole = payloads.resolved(write, left=claim.left, person=claim.person)
    if whole is None:
        claim.note(waits_again(held) if lacking else nobody(held))
        return
    try:
        found = await crm.find(whole)
    except ConnectorError as error:
        learn(claim, error)
        step = policy.after_look(
            error, attempt=held.attempts + 1, waits=held.waits, settle=held.settle, left=lifetime_left(held)
        )
        claim.note(after(claim, held, step, error))
        return
    claim.healthy.append(True)
    if found is not None:
        claim.note(delivered(claim, held, whole, found, outcome="found"))
    elif lacking:
        claim.note(waits_again(held))
    else:
        # Claimed again only after lease + settle (or settle, after a lost answer): "not there" can be believed now.
        await send(claim, held, write, crm, keys, deque())
