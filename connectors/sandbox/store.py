"""One small CRM in memory: records, links between them, unique values, people who own them.

Knows no vendor and no wire format. Records are frozen values that are replaced on every write, so an index or a log
may keep an old one. All of it is plain synchronous code: one request is one step, as in a database transaction.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from datetime import datetime

import msgspec


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A record as it is now. `properties` holds only what has a value."""

    kind: str
    id: str
    properties: Mapping[str, str]
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One committed write. `changed` holds the values that were set by it ("" where one was cleared)."""

    at: datetime
    entry: Entry
    changed: Mapping[str, str]
    what: str  # created | updated | archived | merged
    before: Entry | None = None


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Someone who may own records. `id` is what records refer to; the user behind it has another number."""

    id: str
    user_id: int
    email: str
    first_name: str
    last_name: str
    since: datetime
    active: bool = True


class Taken(Exception):
    """A value that must be unique belongs to another record already."""

    def __init__(self, name: str, value: str, holder: str) -> None:
        super().__init__(name)
        self.name = name
        self.value = value
        self.holder = holder


class Crm:
    """One customer's account. Ids count up from `first_id` over all kinds, so that a story told twice has the same ids."""

    def __init__(self, *, first_id: int = 1001) -> None:
        self._next_id = first_id
        self._entries: dict[str, dict[str, Entry]] = {}
        self._order: dict[str, list[int]] = {}
        self._merged: dict[tuple[str, str], str] = {}
        self._unique: dict[tuple[str, str], dict[str, str]] = {}
        self._aliases: dict[tuple[str, str, str], list[str]] = {}
        self._links: dict[tuple[str, str], dict[str, dict[str, dict[int, datetime]]]] = {}
        self.people: dict[str, Person] = {}
        self.changes: list[Change] = []

    # ── records ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def new_id(self) -> str:
        """The next id, used up whether or not a record follows."""
        taken, self._next_id = self._next_id, self._next_id + 1
        return str(taken)

    def create(self, kind: str, properties: Mapping[str, str], now: datetime, *, id: str | None = None) -> Entry:
        """Add a record. `Taken` when a unique value is held by another one, and then nothing was added."""
        self._refuse_taken(kind, properties, holder=None)
        entry = Entry(
            kind=kind,
            id=id or self.new_id(),
            properties={name: value for name, value in properties.items() if value != ""},
            created_at=now,
            updated_at=now,
        )
        self._order.setdefault(kind, []).append(int(entry.id))
        self._keep(entry, properties, "created", now)
        return entry

    def update(self, entry: Entry, properties: Mapping[str, str], now: datetime) -> Entry:
        """Set values; "" clears. `Taken` as in `create`."""
        self._refuse_taken(entry.kind, properties, holder=entry.id)
        merged = {**entry.properties, **properties}
        kept = {name: value for name, value in merged.items() if value != ""}
        changed = msgspec.structs.replace(entry, properties=kept, updated_at=now)
        self._keep(changed, properties, "updated", now, before=entry)
        return changed

    def archive(self, entry: Entry, now: datetime) -> None:
        """Take a record away. Its unique values are free again; its links are gone."""
        self._forget(entry)
        self._keep(msgspec.structs.replace(entry, archived_at=now, updated_at=now), {}, "archived", now)

    def merge(self, winner: Entry, loser: Entry, now: datetime) -> Entry:
        """Fold `loser` into `winner`: empty fields are filled, links move, the old id resolves to the winner for ever."""
        moved = [
            (other, dict(labels), dict(self.linked(*other, loser.kind).get(loser.id, {})))
            for kind, ids in self._links.get((loser.kind, loser.id), {}).items()
            for other, labels in (((kind, id), labels) for id, labels in ids.items())
            if other != (winner.kind, winner.id)
        ]
        self._forget(loser)
        self._keep(msgspec.structs.replace(loser, archived_at=now, updated_at=now), {}, "merged", now)
        self._merged[(loser.kind, loser.id)] = winner.id
        for other, forward, backward in moved:
            for label, at in forward.items():
                self._one_way((winner.kind, winner.id), other, label, at)
            for label, at in backward.items():
                self._one_way(other, (winner.kind, winner.id), label, at)
        filled = {name: value for name, value in loser.properties.items() if name not in winner.properties}
        return self.update(winner, filled, now)

    def revert(self, mark: int) -> None:
        """Undo creates and updates after the first `mark` changes, newest first: a batch that failed left nothing."""
        while len(self.changes) > mark:
            change = self.changes.pop()
            entry, before = change.entry, change.before
            if before is None:
                self._forget(entry)
                del self._entries[entry.kind][entry.id]
                self._order[entry.kind].remove(int(entry.id))
            else:
                self._keep(
                    before,
                    {name: before.properties.get(name, "") for name in change.changed},
                    "",
                    before.updated_at,
                    before=entry,
                )
                self.changes.pop()

    def get(self, kind: str, id: str, *, archived: bool = False) -> Entry | None:
        """A record by id, or the one it was merged into; None if there is none (or it is archived, unless asked for)."""
        while (kind, id) in self._merged:
            id = self._merged[(kind, id)]
        entry = self._entries.get(kind, {}).get(id)
        if entry is None or (entry.archived_at is not None) != archived:
            return None
        return entry

    def page(self, kind: str, *, start: int, limit: int, archived: bool = False) -> list[Entry]:
        """Records with an id of at least `start`, by id, at most `limit`."""
        order, entries, found = self._order.get(kind, []), self._entries.get(kind, {}), []
        for position in range(bisect_left(order, start), len(order)):
            entry = entries[str(order[position])]
            gone = entry.archived_at is not None
            if gone == archived and (kind, entry.id) not in self._merged:
                found.append(entry)
                if len(found) == limit:
                    break
        return found

    def all(self, kind: str) -> Iterator[Entry]:
        """Every living record of one kind, oldest first."""
        return (entry for entry in self._entries.get(kind, {}).values() if entry.archived_at is None)

    def kinds(self) -> list[str]:
        return list(self._entries)

    # ── unique values ───────────────────────────────────────────────────────────────────────────────────────────────

    def make_unique(self, kind: str, name: str) -> None:
        """From now on no two records of this kind share a value of this property (compared without case)."""
        self._unique.setdefault((kind, name), {})

    def is_unique(self, kind: str, name: str) -> bool:
        return (kind, name) in self._unique

    def holder(self, kind: str, name: str, value: str) -> Entry | None:
        """Who holds a unique value."""
        id = self._unique.get((kind, name), {}).get(value.strip().lower())
        return self.get(kind, id) if id is not None else None

    def also_known(self, entry: Entry, name: str, value: str) -> None:
        """Let a record answer to a second value of a unique property (a merged person's other e-mail address)."""
        self._unique[(entry.kind, name)][value.strip().lower()] = entry.id
        self._aliases.setdefault((entry.kind, name, entry.id), []).append(value)

    # ── links ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def link(self, one: Entry, other: Entry, *, forward: int, backward: int, now: datetime) -> None:
        """Join two records under the labels each direction has. Joining twice changes nothing."""
        self._one_way((one.kind, one.id), (other.kind, other.id), forward, now)
        self._one_way((other.kind, other.id), (one.kind, one.id), backward, now)

    def unlink(self, one: Entry, other: Entry, *, forward: int | None = None, backward: int | None = None) -> None:
        """Part two records, wholly or under one label."""
        for a, b, label in ((one, other, forward), (other, one, backward)):
            labels = self._links.get((a.kind, a.id), {}).get(b.kind, {})
            if label is None:
                labels.pop(b.id, None)
            elif b.id in labels:
                labels[b.id].pop(label, None)
                if not labels[b.id]:
                    del labels[b.id]

    def linked(self, kind: str, id: str, to: str) -> Mapping[str, Mapping[int, datetime]]:
        """Ids of another kind this record is linked to, with the labels and when each was set; oldest first."""
        return self._links.get((kind, id), {}).get(to, {})

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _one_way(self, one: tuple[str, str], other: tuple[str, str], label: int, now: datetime) -> None:
        self._links.setdefault(one, {}).setdefault(other[0], {}).setdefault(other[1], {}).setdefault(label, now)

    def _refuse_taken(self, kind: str, properties: Mapping[str, str], *, holder: str | None) -> None:
        for name, value in properties.items():
            held = self._unique.get((kind, name))
            if held and value != "" and held.get(value.strip().lower(), holder) != holder:
                raise Taken(name, value, held[value.strip().lower()])

    def _keep(
        self, entry: Entry, changed: Mapping[str, str], what: str, now: datetime, *, before: Entry | None = None
    ) -> None:
        self._entries.setdefault(entry.kind, {})[entry.id] = entry
        for name, value in changed.items():
            held = self._unique.get((entry.kind, name))
            if held is None:
                continue
            if before is not None and name in before.properties:
                held.pop(before.properties[name].strip().lower(), None)
            if value != "":
                held[value.strip().lower()] = entry.id
        self.changes.append(Change(at=now, entry=entry, changed=dict(changed), what=what, before=before))

    def _forget(self, entry: Entry) -> None:
        for (kind, name), held in self._unique.items():
            known = (entry.properties.get(name, ""), *self._aliases.get((kind, name, entry.id), ()))
            for value in known if kind == entry.kind else ():
                if held.get(value.strip().lower()) == entry.id:
                    del held[value.strip().lower()]
        for kind, ids in self._links.pop((entry.kind, entry.id), {}).items():
            for id in ids:
                self._links.get((kind, id), {}).get(entry.kind, {}).pop(entry.id, None)
