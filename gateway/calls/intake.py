"""News of calls comes in: each event stored once, tied to its call, merged under the call's lock.

A platform is told 2xx after the commit, never before: what we have acknowledged is kept. Events that come at the same
time are committed together: the commit is what takes long, and one does for all of them.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

import msgspec

from connectors.json_text import BadJson, is_json, parse_json
from connectors.voice.events import CallEvent
from connectors.voice.scrub import names_no_secret, strip_secrets
from gateway.calls import merge, ripe
from gateway.calls.batches import Batches
from gateway.calls.store import Prepared, Taken, columns_of, statements_of
from gateway.calls.terms import Terms, TermsOf
from gateway.db.base import TenantId, new_id
from gateway.db.driver import InSession
from gateway.db.engine import Database, utc_now
from gateway.db.rows import parameters
from gateway.settings import Settings
from gateway.tenants.keys import Keyring, TenantKeys

CALL_KEPT = timedelta(days=396)  # without people: 13 months (security.md §10)
EVENT_KEPT = timedelta(days=30)  # of no call: only that it came, and what became of it
OUR_API = "api"  # the source of `POST /v1/calls`


class Intake:
    """Takes events for every tenant. One per process."""

    def __init__(self, *, settings: Settings, db: Database, keyring: Keyring) -> None:
        self._grace = settings.call_grace
        self._db = db
        self._keyring = keyring
        self._terms = TermsOf(db)
        self._batches = Batches(db)

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
        return await self.commit(await self.prepare(tenant_id, source, event, raw=raw, became=became, trial=trial))

    async def commit(self, prepared: Prepared) -> Taken:
        """Store a prepared event; committed on return, together with others that came meanwhile."""
        return await self._batches.put(prepared)

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
        keys = await self._keyring.of(tenant_id)
        terms = await self._terms.tenant(tenant_id)
        now, standing, grace = utc_now(), merge.standing_of(event), self._grace
        news = event.news if terms.recording_links else msgspec.structs.replace(event.news, recording_url=None)
        call_id = new_id("ca")
        merged = merge.join(None, news, standing)
        ripeness = ripe.after_event(
            None,
            ended=event.ended,
            final=event.final,
            changed=True,
            planned=False,
            grace=grace,
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
            **columns_of(keys, terms, call_id, merged, ripeness, now),
        }
        if trial:
            call |= {"state": "done", "plan_at": None}
        row = _event_row(
            keys, terms, tenant_id, source, name=event.name, dedupe=event.dedupe, became="", raw=raw, now=now
        )
        row["subject_index"] = call["subject_index"]
        return Prepared(
            tenant_id=tenant_id,
            source=source,
            event=event,
            news=news,
            standing=standing,
            keys=keys,
            terms=terms,
            now=now,
            grace=grace,
            call=call,
            row=row,
            became="test" if trial else became,
        )

    async def note(
        self, tenant_id: TenantId, source: str, *, name: str, dedupe: str, became: str, raw: bytes | None
    ) -> None:
        """Keep that an event of no call came, and what became of it. Sending it again changes nothing."""
        keys = await self._keyring.of(tenant_id)
        terms = await self._terms.tenant(tenant_id)
        row = _event_row(
            keys, terms, tenant_id, source, name=name, dedupe=dedupe, became=became, raw=raw, now=utc_now()
        )
        row |= {"raw_until": row["raw_until"] or row["received_at"] + EVENT_KEPT, "call_id": None}
        async with self._db.transaction(tenant_id) as session:
            run = InSession(session)
            await run.rows(statements_of(run.dialect).event, parameters(run.dialect, [row]))


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
    if is_json(raw) and names_no_secret(raw):
        return raw
    try:
        return msgspec.json.encode(strip_secrets(parse_json(raw)))
    except BadJson:
        return None
