"""Prepared events into their calls: rows, locks and merging, many events in one transaction.

The rows of all their calls are made, or locked, by one statement, the events are put beside them by a second; where a
call was known before, what the event adds to it goes into a third. An event that came before changes nothing.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import String, Table, bindparam, delete, exists, select, update
from sqlalchemy.dialects import postgresql, sqlite

from connectors.voice.events import CallEvent, CallNews
from gateway.calls import merge, ripe
from gateway.calls.merge import Merged, Standing
from gateway.calls.tables import Call, CallAlias, Tombstone
from gateway.calls.tables import CallEvent as EventRow
from gateway.calls.terms import Terms
from gateway.db.base import TenantId
from gateway.db.driver import Runs
from gateway.db.rows import any_of, insert_many, parameters
from gateway.tenants.keys import TenantKeys

_MERGED = msgspec.json.Decoder(Merged)


@dataclass(frozen=True)
class Taken:
    """What became of an event. `call_id` is our own id, `external_id` the source's. `duplicate`: it changed nothing."""

    call_id: str
    external_id: str
    duplicate: bool
    became: str


@dataclass(frozen=True, repr=False)
class Prepared:
    """An event ready to be stored: read, sealed and hashed before the transaction, as the first one of a new call.

    call, row  the columns of its call if that is new, and of the event. became: said instead of what the store finds.
    """

    tenant_id: TenantId
    source: str
    event: CallEvent
    news: CallNews
    standing: Standing
    keys: TenantKeys
    terms: Terms
    now: datetime
    grace: timedelta
    call: dict[str, Any]
    row: dict[str, Any]
    became: str | None

    @property
    def of_call(self) -> tuple[str, str]:
        """Which call it is news of, as its source says; the id is empty for news that only has an alias of one."""
        return self.event.call_id, self.source


async def store(run: Runs, events: Sequence[Prepared]) -> list[Taken]:
    """Put events of one tenant, each of another call, into their calls, inside the caller's transaction.

    Answers in the same order. Rows are locked in one order everywhere, so two of these never wait for each other.
    """
    statements = statements_of(run.dialect)
    ids = [one.event.call_id or await _by_alias(run, statements, one) for one in events]
    rows = [{**one.call, "external_id": external_id} for one, external_id in zip(events, ids, strict=True)]
    rows.sort(key=lambda row: (row["external_id"], row["source"]))
    found = await run.rows(statements.call, parameters(run.dialect, rows))
    standing = {(row["external_id"], row["source"]): row for row in found}
    befores = [standing[external_id, one.source] for one, external_id in zip(events, ids, strict=True)]

    fresh = [before["id"] == one.call["id"] for one, before in zip(events, befores, strict=True)]
    changes = [{} if new else _changes(one, before) for one, before, new in zip(events, befores, fresh, strict=True)]
    became = [
        one.became or ("stored" if new else "merged" if change else "nothing new")
        for one, new, change in zip(events, fresh, changes, strict=True)
    ]
    made = [(external_id, one.source) for one, external_id, new in zip(events, ids, fresh, strict=True) if new]
    buried = await _buried(run, statements, events[0].tenant_id, made) if made else frozenset()
    rows = [
        {**one.row, "call_id": before["id"], "became": word}
        for one, external_id, before, word in zip(events, ids, befores, became, strict=True)
        if (external_id, one.source) not in buried
    ]
    first: set[str] = set()  # the others came before
    if rows:
        kept = await run.rows(statements.event, parameters(run.dialect, rows))
        first.update(row["id"] for row in kept)

    aliases: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    taken: list[Taken] = []
    for one, before, new, change, word in zip(events, befores, fresh, changes, became, strict=True):
        if one.row["id"] not in first:
            if new:  # the event outlived its call, which was erased, or pruned in time: it stays away
                await run.rows(statements.unmade, {"of_tenant": one.tenant_id, "of_call": before["id"]})
            taken.append(Taken(before["id"], before["external_id"], True, "duplicate"))
            continue
        aliases += _aliases(one, before["id"])
        if change:
            changed.append({**change, "of_tenant": one.tenant_id, "of_call": before["id"]})
        taken.append(Taken(before["id"], before["external_id"], not new and not change, word))
    if aliases:
        aliases.sort(key=lambda row: (row["alias"], row["source"]))  # rows are locked in one order everywhere
        await run.rows(statements.aliases, aliases)
    if changed:
        await run.rows(statements.changes, changed)
    return taken


def tombstone(source: str, external_id: str) -> bytes:
    """What stays of a call that was pruned."""
    return hashlib.sha256(f"{source}\0{external_id}".encode()).digest()


async def _buried(
    run: Runs, statements: Statements, tenant_id: TenantId, calls: Collection[tuple[str, str]]
) -> frozenset[tuple[str, str]]:
    """Those of `calls` (external id, source) that were known once and pruned.

    Asked after their rows are made: then pruning has committed, whether before or in between.
    """
    hashes = {tombstone(source, external_id): (external_id, source) for external_id, source in calls}
    found = await run.rows(statements.buried, {"of_tenant": tenant_id, "hashes": list(hashes)})
    return frozenset(hashes[row["hash"]] for row in found)


def _changes(one: Prepared, before: Any) -> dict[str, Any]:
    """The columns of a known call that this event changes; empty when it adds nothing."""
    event = one.event
    known = read_merged(one.keys, before["id"], before["news"])
    merged = merge.join(known, one.news, one.standing)
    changed = (
        merged != known
        or (event.ended and not before["ended"])
        or (event.final and not before["complete"])
        or (one.news.lookup_id is not None and before["lookup_id"] is None)
    )
    if not changed:
        return {}
    ripeness = ripe.after_event(
        ripe.Ripeness(
            ended=before["ended"],
            complete=before["complete"],
            grace_until=before["grace_until"],
            plan_at=before["plan_at"],
        ),
        ended=event.ended,
        final=event.final,
        changed=True,
        planned=before["planned_at"] is not None,
        grace=one.grace,
        now=one.now,
    )
    never_planned = before["state"] == "done" and before["planned_at"] is None  # a test's call
    columns = columns_of(one.keys, one.terms, before["id"], merged, ripeness, one.now)
    return {
        **columns,
        "plan_at": None if never_planned else ripeness.plan_at,
        # None: forgotten before this late event came. What it brings is forgotten in its turn.
        "transcript_until": before["transcript_until"] or one.now + one.terms.transcripts,
        "people_until": before["people_until"] or one.now + one.terms.people,
    }


def columns_of(
    keys: TenantKeys, terms: Terms, call_id: str, merged: Merged, ripeness: ripe.Ripeness, now: datetime
) -> dict[str, Any]:
    """What of a call's row follows from its merged news."""
    customer = merge.customer_of(merged, region=terms.region)
    subject = keys.index(customer) if customer is not None else None
    return {
        "news": seal_merged(keys, call_id, merged),
        "direction": merged.direction,
        "started_at": merged.started_at,
        "lookup_id": merged.lookup_id,
        "person": subject or keys.index(f"call:{call_id}"),
        "subject_index": subject,
        "index_version": keys.index_version,
        "ended": ripeness.ended,
        "complete": ripeness.complete,
        "grace_until": ripeness.grace_until,
        "plan_at": ripeness.plan_at,
        "updated_at": now,
    }


def read_merged(keys: TenantKeys, call_id: str, sealed: bytes) -> Merged:
    """The merged news of a call. Raises `CannotOpen`."""
    return _MERGED.decode(keys.open(sealed, "calls", "news", call_id))


def seal_merged(keys: TenantKeys, call_id: str, merged: Merged) -> bytes:
    return keys.seal(msgspec.json.encode(merged), "calls", "news", call_id)


async def _by_alias(run: Runs, statements: Statements, one: Prepared) -> str:
    """The external id of the call that news without a platform's own id belongs to; else its first alias stands for one.

    Only such news is tied by an alias: carriers' ids come back, so two platform ids are two calls.
    """
    aliases = one.event.aliases
    if not aliases:
        raise ValueError("an event needs the id of a call, or an alias of one")
    given = {"of_tenant": one.tenant_id, "of_source": one.source, "aliases": list(aliases)}
    found = await run.rows(statements.by_alias, given)
    return str(found[0]["external_id"]) if found else aliases[0]


def _aliases(one: Prepared, call_id: str) -> Sequence[dict[str, Any]]:
    return [
        {"tenant_id": one.tenant_id, "alias": alias, "source": one.source, "call_id": call_id}
        for alias in dict.fromkeys(one.event.aliases)
    ]


@dataclass(frozen=True)
class Statements:
    """Built once: building them anew costs more than sending them. `call` and `event` take `parameters` of their columns.

    The others take `of_tenant` and: by_alias `of_source`, `aliases`; buried `hashes`; unmade and changes `of_call`.
    """

    call: Any
    event: Any
    aliases: Any
    changes: Any
    unmade: Any
    by_alias: Any
    buried: Any


CALL_COLUMNS = (
    "tenant_id",
    "id",
    "source",
    "external_id",
    "state",
    "direction",
    "ended",
    "complete",
    "news",
    "person",
    "subject_index",
    "index_version",
    "lookup_id",
    "received_at",
    "updated_at",
    "started_at",
    "grace_until",
    "plan_at",
    "planned_at",
    "transcript_until",
    "people_until",
    "kept_until",
)
EVENT_COLUMNS = (
    "tenant_id",
    "id",
    "source",
    "dedupe",
    "name",
    "became",
    "call_id",
    "raw",
    "received_at",
    "raw_until",
    "subject_index",
)
_CHANGED = (  # what an event may change of a call: `columns_of`, and its times of retention
    "news",
    "direction",
    "started_at",
    "lookup_id",
    "person",
    "subject_index",
    "index_version",
    "ended",
    "complete",
    "grace_until",
    "plan_at",
    "updated_at",
    "transcript_until",
    "people_until",
)
_READ_BACK = (
    "id",
    "external_id",
    "source",
    "news",
    "state",
    "ended",
    "complete",
    "grace_until",
    "plan_at",
    "planned_at",
    "lookup_id",
    "transcript_until",
    "people_until",
)


@functools.cache
def statements_of(dialect: str) -> Statements:
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    calls, events, aliases, tombstones = (_table(one) for one in (Call, EventRow, CallAlias, Tombstone))
    call = insert_many(dialect, calls, CALL_COLUMNS)
    mine = (calls.c.tenant_id == bindparam("of_tenant", type_=String()), calls.c.id == bindparam("of_call"))
    return Statements(
        call=call.on_conflict_do_update(
            index_elements=["tenant_id", "external_id", "source"],
            set_={
                "external_id": call.excluded.external_id
            },  # changes nothing, locks the row, and answers what is in it
        ).returning(*(calls.c[name] for name in _READ_BACK)),
        event=insert_many(dialect, events, EVENT_COLUMNS)
        .on_conflict_do_nothing(index_elements=["tenant_id", "source", "dedupe"])
        .returning(events.c.id),
        aliases=insert(aliases)
        .values({name: bindparam(name) for name in aliases.c.keys()})  # noqa: SIM118 - a collection of columns
        .on_conflict_do_nothing(),
        changes=update(calls).where(*mine).values({name: bindparam(name) for name in _CHANGED}),
        unmade=delete(calls).where(
            *mine,
            ~exists().where(events.c.tenant_id == calls.c.tenant_id, events.c.call_id == calls.c.id),
        ),
        by_alias=select(calls.c.external_id)
        .join(aliases, (aliases.c.tenant_id == calls.c.tenant_id) & (aliases.c.call_id == calls.c.id))
        .where(
            aliases.c.tenant_id == bindparam("of_tenant"),
            aliases.c.source == bindparam("of_source"),
            any_of(dialect, aliases.c.alias, "aliases"),
        )
        .order_by(calls.c.id)
        .limit(1),
        buried=select(tombstones.c.hash).where(
            tombstones.c.tenant_id == bindparam("of_tenant"), any_of(dialect, tombstones.c.hash, "hashes")
        ),
    )


def _table(row: Any) -> Table:
    table: Table = row.__table__
    return table
