"""Everything that is due now, of every kind: what the relay rings for, and what a worker nobody rings asks itself."""

from __future__ import annotations

from collections.abc import Sequence

from connectors.crm.catalog import CATALOG
from gateway.calls import queries as call_queries
from gateway.connections import queries as connection_queries
from gateway.db.engine import Database
from gateway.directory import feeds
from gateway.directory import queries as directory_queries
from gateway.outbox import queries as outbox_queries

DRAIN, PLAN, REFRESH, IMPORT, POLL, RENEW = "drain", "plan", "refresh", "import", "poll", "renew"
_MIRRORED = frozenset(slug for slug, provider in CATALOG.items() if "list_contacts" in provider.manifest.can)


async def due(db: Database, *, limit: int = 1000) -> Sequence[tuple[str, str]]:
    """(kind of ring, id), at most `limit` of each kind. Sees every tenant."""
    async with db.reading() as session:
        connections = await outbox_queries.due_connections(session, limit=limit)
        calls = await call_queries.due(session, limit=limit)
        refreshes = await connection_queries.due_refreshes(session, limit=limit)
        imports = await directory_queries.due_imports(session, limit=limit)
        new = await directory_queries.unmirrored(session, _MIRRORED, limit=limit)
        polls = await feeds.due_polls(session, limit=limit)
        renewals = await feeds.due_renewals(session, limit=limit)
    return [
        *((DRAIN, one) for one in connections),
        *((PLAN, one) for one in calls),
        *((REFRESH, one) for one in refreshes),
        *((IMPORT, one) for one in (*imports, *new)),
        *((POLL, one) for one in polls),
        *((RENEW, one) for one in renewals),
    ]
