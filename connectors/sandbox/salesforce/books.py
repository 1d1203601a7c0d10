"""An org as the sandbox's own doors see any CRM: records by kind in plain text, and what was changed when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from connectors.sandbox.salesforce.org import BORN, Org, Row
from connectors.sandbox.salesforce.values import plain
from connectors.sandbox.store import Change, Crm, Entry

TYPES = {
    "contact": "Contact",
    "lead": "Lead",
    "company": "Account",
    "deal": "Opportunity",
    "ticket": "Case",
    "call": "Task",
    "task": "Task",
    "note": "ContentNote",
    "event": "Event",
    "member": "CampaignMember",
}
_KINDS = {type: kind for kind, type in TYPES.items() if kind != "call"}


def kind_of(row: Row) -> str:
    """Our word for what a record is; Salesforce's own for what we have none for. A call is a task of a subtype."""
    return "call" if row.type == "Task" and row.get("TaskSubtype") == "Call" else _KINDS.get(row.type, row.type)


class Books(Crm):
    """A view, to be read only: `all`, `get`, `linked` and `changes` of a store, answered from the org."""

    def __init__(self, org: Org) -> None:
        self.org = org
        super().__init__()

    def all(self, kind: str) -> Iterator[Entry]:
        type = TYPES.get(kind, kind)
        rows = self.org.all(type) if type in self.org.types else iter(())
        return (_entry(row) for row in rows if type != "Task" or kind_of(row) == kind)

    def get(self, kind: str, id: str, *, archived: bool = False) -> Entry | None:
        row = self.org.get(TYPES.get(kind, kind), id)
        return _entry(row) if row is not None and row.is_deleted == archived else None

    def linked(self, kind: str, id: str, to: str) -> Mapping[str, Mapping[int, datetime]]:
        """Also through what joins two: the role of a deal, the link of a note."""
        type = TYPES.get(to, to)
        joins = {
            "deal": ("OpportunityContactRole", "OpportunityId"),
            "note": ("ContentDocumentLink", "ContentDocumentId"),
        }
        found = [row.id for row in self.org.linked(id, type) if kind_of(row) == to]
        if to in joins:
            join, field = joins[to]
            found += [row.get(field) for row in self.org.linked(id, join)]
        return {one: {} for one in dict.fromkeys(found)}

    @property
    def changes(self) -> list[Change]:
        return [_change(each.at, each.before, each.after) for each in self.org.changes]

    @changes.setter
    def changes(self, value: list[Change]) -> None:
        """A view keeps nothing of its own."""


def _change(at: datetime, before: Row | None, after: Row) -> Change:
    was = before.values if before else {}
    changed = {name: plain(value) for name, value in after.values.items() if was.get(name) != value}
    what = "created" if before is None else "archived" if after.is_deleted else "updated"
    return Change(at=at, entry=_entry(after), changed=changed, what=what, before=_entry(before) if before else None)


def _entry(row: Row) -> Entry:
    return Entry(
        kind=kind_of(row),
        id=row.id,
        properties={name: plain(value) for name, value in row.values.items() if value is not None},
        created_at=row.get("CreatedDate") or BORN,
        updated_at=row.get("SystemModstamp") or BORN,
    )
