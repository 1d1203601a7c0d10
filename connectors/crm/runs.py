"""A run sent one write at a time: for CRMs that take no several in one request, and for what does not fit into one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from connectors.crm.port import Done, Failed, Outcome
from connectors.crm.records import (
    AddToList,
    AssignOwner,
    Earlier,
    Link,
    MoveStage,
    OptOut,
    Ref,
    SetFields,
    UpsertContact,
    Write,
)
from connectors.errors import ConnectorError, OutcomeUnknown, RateLimited, ReconnectNeeded, Unavailable

NOT_SENT = "not sent: an earlier write of this person has to come first"
_TARGETED = SetFields | AssignOwner | OptOut | MoveStage | AddToList


async def one_by_one(run: Sequence[Write], send: Callable[[Write], Awaitable[Outcome]]) -> list[Outcome]:
    """Send each with `send`, `Earlier` links resolved from what came before.

    After a failure that may pass, the rest is not sent: it would overtake what has to come before. Neither is a write
    that points at one that was refused.
    """
    outcomes: list[Outcome] = []
    stopped = False
    for write in run:
        ready = None if stopped else resolved(write, outcomes)
        if ready is None:
            outcomes.append(Failed(error=Unavailable(NOT_SENT)))
            continue
        outcome = await send(ready)
        stopped = isinstance(outcome, Failed) and may_pass(outcome.error)
        outcomes.append(outcome)
    return outcomes


def may_pass(error: ConnectorError) -> bool:
    """Whether the same write may arrive later, or has arrived already."""
    return isinstance(error, Unavailable | RateLimited | OutcomeUnknown | ReconnectNeeded)


def links_of(write: Write) -> tuple[Link, ...]:
    """All links of a write, its target first."""
    if isinstance(write, UpsertContact | _TARGETED):
        return () if write.target is None else (write.target,)
    return write.about


def not_sent(error: ConnectorError) -> bool:
    """Whether this says only that the write was kept back: why, stands with an earlier one of its run."""
    return isinstance(error, Unavailable) and error.reason == NOT_SENT


def resolved(write: Write, outcomes: Sequence[Outcome]) -> Write | None:
    """`write` with its `Earlier` links as records; None if one of them left none."""

    def ref(link: Link) -> Link | None:
        return _record(outcomes, link.index) if isinstance(link, Earlier) else link

    return _relinked(write, ref)


def rest(run: Sequence[Write], arrived: Sequence[Outcome]) -> list[Write] | None:
    """A run without its first ones, which have `arrived`: links to those are records, all others count anew.

    None if one points at what left no record.
    """

    def ref(link: Link) -> Link | None:
        if not isinstance(link, Earlier):
            return link
        if link.index < len(arrived):
            return _record(arrived, link.index)
        return Earlier(link.kind, link.index - len(arrived))

    left = [_relinked(write, ref) for write in run[len(arrived) :]]
    known = [write for write in left if write is not None]
    return known if len(known) == len(left) else None


def _record(outcomes: Sequence[Outcome], index: int) -> Ref | None:
    outcome = outcomes[index] if index < len(outcomes) else None
    record = outcome.record if isinstance(outcome, Done) else None
    return None if record is None else record.ref


def _relinked(write: Write, to: Callable[[Link], Link | None]) -> Write | None:
    """`write` with each link as `to` says; None if it says None of one."""
    links = [to(link) for link in links_of(write)]
    known = [link for link in links if link is not None]
    if len(known) < len(links):
        return None
    if isinstance(write, UpsertContact | _TARGETED):
        return msgspec.structs.replace(write, target=known[0]) if known else write
    return msgspec.structs.replace(write, about=tuple(known))
