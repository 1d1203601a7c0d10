"""A search index that lags behind the CRM's writes, as vendors' do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from connectors.sandbox.store import Crm, Entry


class Index:
    """What search sees: the CRM as it was `lag` ago. Archived and merged records never appear."""

    def __init__(self, crm: Crm, *, lag: timedelta) -> None:
        self.crm = crm
        self.lag = lag
        self._seen = 0
        self._entries: dict[str, dict[str, Entry]] = {}
        self._by_value: dict[tuple[str, str], dict[str, dict[str, None]]] = {}  # ids in order of arrival

    def advance(self, now: datetime) -> None:
        """Take in all writes that are at least `lag` old. Writes of a day the clock was set back to wait their turn."""
        changes, until = self.crm.changes, now - self.lag
        while self._seen < len(changes) and changes[self._seen].at <= until:
            self._take(changes[self._seen].entry)
            self._seen += 1

    def all(self, kind: str) -> Iterable[Entry]:
        """Every indexed record of one kind, oldest first."""
        return self._entries.get(kind, {}).values()

    def holding(self, kind: str, name: str, value: str) -> Iterator[Entry]:
        """Indexed records whose property has this value, compared without case; what makes equality cheap."""
        known = self._by_value.get((kind, name))
        if known is None:
            known = self._by_value[(kind, name)] = {}
            for entry in self.all(kind):
                known.setdefault(entry.properties.get(name, "").lower(), {})[entry.id] = None
        entries = self._entries.get(kind, {})
        return (entries[id] for id in known.get(value.lower(), ()))

    def linked(self, kind: str, id: str, to: str, now: datetime) -> Mapping[str, object]:
        """Links as search knows them: those set at least `lag` ago."""
        until = now - self.lag
        links = self.crm.linked(kind, id, to)
        return {other: None for other, labels in links.items() if min(labels.values(), default=now) <= until}

    def _take(self, entry: Entry) -> None:
        kind = self._entries.setdefault(entry.kind, {})
        before = kind.pop(entry.id, None) if entry.archived_at is not None else kind.get(entry.id)
        if entry.archived_at is None:
            kind[entry.id] = entry
        for (of, name), known in self._by_value.items():
            if of != entry.kind:
                continue
            if before is not None:
                known.get(before.properties.get(name, "").lower(), {}).pop(entry.id, None)
            if entry.archived_at is None:
                known.setdefault(entry.properties.get(name, "").lower(), {})[entry.id] = None
