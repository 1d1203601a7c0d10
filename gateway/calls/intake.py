"""News of calls comes in: each event stored once, tied to its call, merged under the call's lock.

A platform is told 2xx after the commit, never before: what we have acknowledged is kept. What an event says is merged
by `merge.py`, so that order, repeats and two events at once do not matter.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec
from sqlalchemy import Table, bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from connectors.json_text import BadJson, parse_json
from connectors.voice.events import CallEvent, CallNews
from connectors.voice.scrub import strip_secrets
from gateway.calls import merge, ripe
from gateway.calls.merge import Merged, Standing
from gateway.calls.tables import Call, CallAlias
from gateway.calls.tables import CallEvent as EventRow
from gateway.calls.terms import Terms, TermsOf
from gateway.db.base import TenantId, new_id
from gateway.db.engine import Database, utc_now
from gateway.settings import Settings
from gateway.tenants.keys import Keyring, TenantKeys

CALL_KEPT = timedelta(days=396)  # without people: 13 months (security.md §10)
EVENT_KEPT = timedelta(days=30)  # of no call: only that it came, and what became of it
OUR_API = "api"  # the source of `POST /v1/calls`

_MERGED = msgspec.json.Decoder(Merged)


class Rooms(Protocol):
    """What of `gateway.parts.Parts` this needs."""

    @property
    def settings(self) -> Settings: ...
    @property
    def db(self) -> Database: ...
    @property
    def keyring(self) -> Keyring: ...


@dataclass(frozen=True)
class Taken:
    """What became of an event. `call_id` is our own id, `external_id` the source's. `duplicate`: it changed nothing."""

    call_id: str
    external_id: str
    duplicate: bool
    became: str


@dataclass(frozen=True, repr=False)
class Prepared:
    """An event ready to be stored: read, sealed and hashed before the transaction, as the first one of a new call."""

    tenant_id: TenantId
    source: str
    event: CallEvent
    news: CallNews
    standing: Standing
    keys: TenantKeys
    terms: Terms
    now: datetime
    call: dict[str, Any]
    row: dict[str, Any]
    became: str | None


class Intake:
    """Takes events for every tenant. One per process."""

    def __init__(self, parts: Rooms) -> None:
        self._parts = parts
        self._terms = TermsOf(parts.db)

    async def take(
        self,
        tenant_id: TenantId,
        source: str,
        event: CallEvent,
        *,
        raw: bytes,
        became: str | None = None,
        trial: bool = False,
    ) -> Taken:
        """Store one event and merge it into its call; committed on return.

        raw     the body as it came: scrubbed and sealed, kept for days.
        became  said instead of stored or merged ("lookup").
        trial   a test: stored like any other, and never planned.
        """
        prepared = await self.prepare(tenant_id, source, event, raw=raw, became=became, trial=trial)
        async with self._parts.db.transaction(tenant_id) as session:
            return await self.store(session, prepared)

    async def prepare(
        self,
        tenant_id: TenantId,
        source: str,
        event: CallEvent,
        *,
        raw: bytes,
        became: str | None = None,
        trial: bool = False,
    ) -> Prepared:
        """Everything that needs no transaction."""
        keys = await self._parts.keyring.of(tenant_id)
        terms = await self._terms.tenant(tenant_id)
        now, standing = utc_now(), merge.standing_of(event)
        news = event.news if terms.recording_links else msgspec.structs.replace(event.news, recording_url=None)
        call_id = new_id("ca")
        merged = merge.join(None, news, standing)
        ripeness = ripe.after_event(
            None,
            ended=event.ended,
            final=event.final,
            changed=True,
            planned=False,
            grace=self._parts.settings.call_grace,
            now=now,
        )
        call = {
            "tenant_id": tenant_id,
            "id": call_id,
            "source": source,
            "external_id": event.call_id,
            "state": "received",
            "received_at": now,
            "planned_at": None,
            "transcript_until": now + terms.transcripts,
            "people_until": now + terms.people,
            "kept_until": now + CALL_KEPT,
            **_columns(keys, terms, call_id, merged, ripeness, now),
        }
        if trial:
            call |= {"state": "done", "plan_at": None}
        row = _event_row(
            keys, terms, tenant_id, source, name=event.name, dedupe=event.dedupe, became="", raw=raw, now=now
        )
        row["subject_index"] = call["subject_index"]
        return Prepared(
            tenant_id, source, event, news, standing, keys, terms, now, call, row, "test" if trial else became
        )

    async def store(self, session: AsyncSession, prepared: Prepared) -> Taken:
        """Put a prepared event into its call, inside the caller's transaction.

        The call's row is made, or locked, by one statement; a repeat of the event changes nothing after that.
        """
        event, tenant_id = prepared.event, prepared.tenant_id
        statements = _statements(session.get_bind().dialect.name)
        external_id = event.call_id or await _by_alias(session, prepared)
        standing = (await session.execute(statements.call, {**prepared.call, "external_id": external_id})).one()
        is_new = standing.id == prepared.call["id"]
        changes = {} if is_new else self._changes(prepared, standing)
        became = prepared.became or ("stored" if is_new else "merged" if changes else "nothing new")
        row = {**prepared.row, "call_id": standing.id, "became": became}
        if (await session.execute(statements.event, row)).scalar_one_or_none() is None:
            if is_new:  # the event outlived its call: somebody had it erased, and it stays erased
                await session.execute(delete(Call).where(Call.tenant_id == tenant_id, Call.id == standing.id))
            return Taken(standing.id, external_id, True, "duplicate")
        if event.aliases:
            await session.execute(statements.aliases, _aliases(prepared, standing.id))
        if changes:
            await session.execute(statements.changes, {**changes, "of_tenant": tenant_id, "of_call": standing.id})
        return Taken(standing.id, external_id, not is_new and not changes, became)

    def _changes(self, prepared: Prepared, standing: Any) -> dict[str, Any]:
        """The columns of a known call that this event changes; empty when it adds nothing."""
        keys, event, now = prepared.keys, prepared.event, prepared.now
        known = read_merged(keys, standing.id, standing.news)
        merged = merge.join(known, prepared.news, prepared.standing)
        before = ripe.Ripeness(
            ended=standing.ended,
            complete=standing.complete,
            grace_until=standing.grace_until,
            plan_at=standing.plan_at,
        )
        changed = (
            merged != known
            or (event.ended and not before.ended)
            or (event.final and not before.complete)
            or (event.news.lookup_id is not None and standing.lookup_id is None)
        )
        if not changed:
            return {}
        ripeness = ripe.after_event(
            before,
            ended=event.ended,
            final=event.final,
            changed=True,
            planned=standing.planned_at is not None,
            grace=self._parts.settings.call_grace,
            now=now,
        )
        columns = _columns(keys, prepared.terms, standing.id, merged, ripeness, now)
        if standing.transcript_until is None:  # forgotten before this late event: what it brings is forgotten too
            columns["transcript_until"] = now + prepared.terms.transcripts
        if standing.people_until is None:
            columns["people_until"] = now + prepared.terms.people
        return columns if standing.state != "done" or standing.planned_at else {**columns, "plan_at": None}

    async def note(
        self, tenant_id: TenantId, source: str, *, name: str, dedupe: str, became: str, raw: bytes | None
    ) -> None:
        """Keep that an event of no call came, and what became of it. Sending it again changes nothing."""
        keys = await self._parts.keyring.of(tenant_id)
        terms = await self._terms.tenant(tenant_id)
        row = _event_row(
            keys, terms, tenant_id, source, name=name, dedupe=dedupe, became=became, raw=raw, now=utc_now()
        )
        row |= {"raw_until": row["raw_until"] or row["received_at"] + EVENT_KEPT, "call_id": None}
        async with self._parts.db.transaction(tenant_id) as session:
            await session.execute(_statements(self._parts.db.dialect).event, row)


def read_merged(keys: TenantKeys, call_id: str, sealed: bytes) -> Merged:
    """The merged news of a call. Raises `CannotOpen`."""
    return _MERGED.decode(keys.open(sealed, "calls", "news", call_id))


def seal_merged(keys: TenantKeys, call_id: str, merged: Merged) -> bytes:
    return keys.seal(msgspec.json.encode(merged), "calls", "news", call_id)


def _columns(
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


def _event_row(
    keys: TenantKeys,
    terms: Terms,
    tenant_id: TenantId,
    source: str,
    *,
    name: str,
    dedupe: str,
    became: str,
    raw: bytes | None,
    now: datetime,
) -> dict[str, Any]:
    event_id = new_id("ev")
    kept = scrubbed(raw) if raw and terms.raw else None
    return {
        "tenant_id": tenant_id,
        "id": event_id,
        "source": source,
        "dedupe": hashlib.sha256(dedupe.encode()).digest(),
        "name": name,
        "became": became,
        "call_id": None,
        "raw": keys.seal(kept, "call_events", "raw", event_id) if kept else None,
        "received_at": now,
        "raw_until": now + terms.raw if kept else None,
        "subject_index": None,
    }


def scrubbed(raw: bytes) -> bytes | None:
    """A raw body without other people's secrets. None where it is no JSON: then they could not be found in it."""
    try:
        return msgspec.json.encode(strip_secrets(parse_json(raw)))
    except BadJson:
        return None


async def _by_alias(session: AsyncSession, prepared: Prepared) -> str:
    """The external id of the call that news without a platform's own id belongs to; else its first alias stands for one.

    Only such news is tied by an alias: carriers' ids come back, so two platform ids are two calls.
    """
    aliases = prepared.event.aliases
    if not aliases:
        raise ValueError("an event needs the id of a call, or an alias of one")
    mine = (
        select(Call.external_id)
        .join(CallAlias, (CallAlias.tenant_id == Call.tenant_id) & (CallAlias.call_id == Call.id))
        .where(
            CallAlias.tenant_id == prepared.tenant_id,
            CallAlias.source == prepared.source,
            CallAlias.alias.in_(aliases),
        )
    )
    return await session.scalar(mine.order_by(Call.id).limit(1)) or aliases[0]


def _aliases(prepared: Prepared, call_id: str) -> Sequence[dict[str, Any]]:
    return [
        {"tenant_id": prepared.tenant_id, "alias": alias, "source": prepared.source, "call_id": call_id}
        for alias in dict.fromkeys(prepared.event.aliases)
    ]


@dataclass(frozen=True)
class _Statements:
    """Built once: building them anew costs more than sending them."""

    call: Any
    event: Any
    aliases: Any
    changes: Any


_READ_BACK = (
    "id",
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
def _statements(dialect: str) -> _Statements:
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    calls, events, aliases = (_table(one) for one in (Call, EventRow, CallAlias))
    call = insert(calls)
    return _Statements(
        call=call.on_conflict_do_update(
            index_elements=["tenant_id", "external_id", "source"],
            set_={
                "external_id": call.excluded.external_id
            },  # changes nothing, locks the row, and answers what is in it
        ).returning(*(calls.c[name] for name in _READ_BACK)),
        event=insert(events)
        .on_conflict_do_nothing(index_elements=["tenant_id", "source", "dedupe"])
        .returning(events.c.id),
        aliases=insert(aliases).on_conflict_do_nothing(),
        changes=update(calls).where(calls.c.tenant_id == bindparam("of_tenant"), calls.c.id == bindparam("of_call")),
    )


def _table(row: Any) -> Table:
    table: Table = row.__table__
    return table
