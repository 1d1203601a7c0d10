"""First events of new calls, which most events are, in one trip to PostgreSQL: a function of the connection's own.

`store` asks five times (begin, calls, tombstones, events, commit), and where few connections wait for their answers that
is most of the time there is. The function takes what is new and leaves the rest alone, for `store`. It lives in the
session's temporary schema: it is always this release's, and needs no migration.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec
from asyncpg.exceptions import InvalidSchemaNameError, UndefinedFunctionError
from sqlalchemy import LargeBinary, Table
from sqlalchemy.dialects import postgresql

from gateway.calls.store import CALL_COLUMNS, EVENT_COLUMNS, Prepared, Taken, tombstone
from gateway.calls.tables import Call, CallEvent
from gateway.db.base import TenantId
from gateway.db.engine import Database

STORED = "stored"
_TAKE = "SELECT taken FROM pg_temp.take_fresh_calls($1, $2, $3) AS taken"


def may_be_fresh(one: Prepared) -> bool:
    """Whether the function can take it: news with a call's own id, that brings no other names for the call."""
    return bool(one.event.call_id) and not one.event.aliases


async def take(db: Database, tenant_id: TenantId, events: Sequence[Prepared]) -> dict[str, Taken]:
    """Store those of `events` that are the first of their calls; committed on return. Answers those only, by event id.

    Each of another call, all `may_be_fresh`. Raises `DBAPIError`: then none is stored.
    """
    ordered = sorted(events, key=lambda one: (one.event.call_id, one.source))  # rows are locked in one order everywhere
    calls = [{**one.call, "external_id": one.event.call_id} for one in ordered]
    rows = [
        {
            **one.row,
            "call_id": one.call["id"],
            "became": one.became or STORED,
            "buried_as": base64.b64encode(tombstone(one.source, one.event.call_id)).decode(),
        }
        for one in ordered
    ]
    given = (tenant_id, msgspec.json.encode(calls).decode(), msgspec.json.encode(rows).decode())
    async with db.driver() as driver:
        try:
            taken = await driver.fetch(_TAKE, *given)
        except (UndefinedFunctionError, InvalidSchemaNameError):  # the connection's first time
            await driver.execute(FUNCTION)
            taken = await driver.fetch(_TAKE, *given)
    kept = {row["taken"] for row in taken}
    return {
        one.row["id"]: Taken(one.call["id"], one.event.call_id, False, one.became or STORED)
        for one in ordered
        if one.call["id"] in kept
    }


def _columns(table: Table, names: Sequence[str]) -> tuple[str, str, str]:
    """The columns as an INSERT names them, as JSON brings them, and as they are put in."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    shape, values = [], []
    for name in names:
        binary = isinstance(table.c[name].type, LargeBinary)
        shape.append(f"{name} {'text' if binary else table.c[name].type.compile(dialect)}")
        values.append(f"decode(given.{name}, 'base64')" if binary else f"given.{name}")
    return ", ".join(names), ", ".join(shape), ", ".join(values)


def _function() -> str:
    tables: tuple[Any, Any] = (Call.__table__, CallEvent.__table__)
    calls, call_shape, call_values = _columns(tables[0], CALL_COLUMNS)
    events, event_shape, event_values = _columns(tables[1], EVENT_COLUMNS)
    # Statements of their own, in this order, as in `store`: whether a call was pruned is asked after its row is made,
    # so that pruning has committed, whether before or in between.
    return f"""
        CREATE OR REPLACE FUNCTION pg_temp.take_fresh_calls(tenant text, given_calls json, given_events json)
        RETURNS SETOF text LANGUAGE plpgsql AS $take$
        DECLARE
            made varchar[];
            kept varchar[];
        BEGIN
            PERFORM set_config('app.tenant', tenant, true);
            WITH put AS (
                INSERT INTO calls ({calls})
                SELECT {call_values} FROM json_to_recordset(given_calls) AS given ({call_shape})
                ON CONFLICT (tenant_id, external_id, source) DO NOTHING RETURNING id
            ) SELECT array_agg(id) INTO made FROM put;
            WITH put AS (
                INSERT INTO call_events ({events})
                SELECT {event_values} FROM json_to_recordset(given_events) AS given ({event_shape}, buried_as text)
                WHERE given.call_id = ANY (made) AND NOT EXISTS (
                    SELECT FROM tombstones
                    WHERE tombstones.tenant_id = tenant AND tombstones.hash = decode(given.buried_as, 'base64')
                )
                ON CONFLICT (tenant_id, source, dedupe) DO NOTHING RETURNING call_id
            ) SELECT array_agg(call_id) INTO kept FROM put;
            IF cardinality(made) > coalesce(cardinality(kept), 0) THEN  -- outlived by its event, or pruned before
                DELETE FROM calls WHERE tenant_id = tenant AND id = ANY (made) AND NOT id = ANY (coalesce(kept, '{{}}'));
            END IF;
            RETURN QUERY SELECT unnest(kept)::text;
        END $take$
    """  # noqa: S608 - the columns are ours


FUNCTION = _function()
