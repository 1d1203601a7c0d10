"""One Salesforce org in memory: records of its objects, what was changed when, its users and its settings.

Rows are frozen and replaced on every write, so the search index and a rollback may keep old ones. One request is one step.
Rules about what may be saved stand in `saving.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from connectors.sandbox.salesforce import ids
from connectors.sandbox.salesforce.objects import (
    CASE_STATUSES,
    STAGES,
    STANDARD,
    TASK_STATUSES,
    Field,
    Type,
)

BORN = datetime(2024, 1, 9, 8, 30, tzinfo=UTC)


class Row(msgspec.Struct, frozen=True):
    """A record as it is now; deleted ones stay, with IsDeleted true. `values` has every field that ever had a value."""

    type: str
    id: str
    values: Mapping[str, Any]

    def get(self, name: str) -> Any:
        return self.values.get(name)

    @property
    def is_deleted(self) -> bool:
        return bool(self.values.get("IsDeleted"))


class Change(msgspec.Struct, frozen=True):
    """One committed write: what was (None for a new record) and what is."""

    at: datetime
    before: Row | None
    after: Row


class DuplicateRule(msgspec.Struct, frozen=True):
    """Takes two records of an object for the same when one of `fields` is equal. `allow`: it only warns."""

    name: str
    fields: tuple[str, ...]
    allow: bool = True


class Org:
    """`number` tells orgs apart in ids; `user` is who signs in and owns what nobody else does.

    customizable   the user may make fields (Customize Application).
    hidden         (object, field) pairs that field-level security keeps from the user.
    forbidden      objects the user may not write.
    unavailable    record types the user may not use.
    demanded       fields an admin's validation rules want, per object.
    rules          duplicate rules, per object.
    limit          API requests in 24 hours; `used` of them so far.
    lag            how far search is behind.
    """

    def __init__(self, number: int = 1, name: str = "Aurora Demo SA", *, domain: str = "aurora-demo") -> None:
        self.name = name
        self.domain = domain
        self.types: dict[str, Type] = dict(STANDARD)
        self.customizable = True
        self.hidden: set[tuple[str, str]] = set()
        self.forbidden: set[str] = set()
        self.unavailable: set[str] = set()
        self.demanded: dict[str, tuple[str, ...]] = {}
        self.rules: dict[str, DuplicateRule] = {
            "Contact": DuplicateRule("Standard_Contact_Duplicate_Rule", ("Email",)),
            "Lead": DuplicateRule("Standard_Lead_Duplicate_Rule", ("Email",)),
        }
        self.limit = 15_000
        self.used = 0
        self.lag = timedelta(seconds=20)
        self.changes: list[Change] = []
        self._tables: dict[str, dict[str, Row]] = {}
        self._count = 0
        self._unique: dict[tuple[str, str], dict[str, str]] = {}
        self._refers: dict[tuple[str, str], dict[str, dict[str, None]]] = {}
        self.id = self._fixed("Organization", number, Name=name, InstanceName="EU45", TimeZoneSidKey="Europe/Zurich",
                              OrganizationType="Developer Edition", IsSandbox=False)  # fmt: skip
        self.user = self.add_user("Integration", "User", f"integration@{domain}.example")
        for at, (stage, closed, won, probability) in enumerate(STAGES, 1):
            self._fixed("OpportunityStage", at, MasterLabel=stage, ApiName=stage, IsActive=True, IsClosed=closed,
                        IsWon=won, SortOrder=at, DefaultProbability=float(probability))  # fmt: skip
        for type, statuses in (("CaseStatus", CASE_STATUSES), ("TaskStatus", TASK_STATUSES)):
            for at, (status, closed) in enumerate(statuses, 1):
                self._fixed(
                    type, at, MasterLabel=status, ApiName=status, IsClosed=closed, IsDefault=at == 1, SortOrder=at
                )
        for at, priority in enumerate(("High", "Normal", "Low"), 1):
            self._fixed("TaskPriority", at, MasterLabel=priority, ApiName=priority, IsHighPriority=at == 1,
                        IsDefault=at == 2, SortOrder=at)  # fmt: skip

    @property
    def origin(self) -> str:
        """Where people open it."""
        return f"https://{self.domain}-dev-ed.develop.my.salesforce.com"

    # ── people who work here ────────────────────────────────────────────────────────────────────────────────────────

    def add_user(self, first: str, last: str, email: str, *, active: bool = True) -> str:
        self._count += 1
        return self._fixed("User", self._count, FirstName=first, LastName=last, Name=f"{first} {last}", Email=email,
                           Username=email, IsActive=active, UserType="Standard", TimeZoneSidKey="Europe/Zurich")  # fmt: skip

    def add_record_type(self, name: str) -> str:
        self._count += 1
        return self._fixed("RecordType", self._count, Name=name, DeveloperName=name.replace(" ", "_"),
                           SobjectType="Opportunity", IsActive=True)  # fmt: skip

    def _fixed(self, type: str, number: int, **values: Any) -> str:
        id = ids.make(self.types[type].prefix, number)
        times = dict.fromkeys(("CreatedDate", "LastModifiedDate", "SystemModstamp"), BORN)
        self._tables.setdefault(type, {})[id] = Row(type, id, {"Id": id, **times, **values})
        return id

    # ── fields ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def type(self, name: str) -> Type | None:
        """By name, which is compared without case."""
        found = self.types.get(name)
        return found or next((one for known, one in self.types.items() if known.lower() == name.lower()), None)

    def fields(self, type: Type) -> Iterator[Field]:
        """Those the user may see: a custom one needs a permission set that names it, and the user in it."""
        return (field for field in type.fields.values() if self._visible(type.name, field))

    def field(self, type: Type, name: str) -> Field | None:
        found = type.fields.get(name)
        found = found or next((one for known, one in type.fields.items() if known.lower() == name.lower()), None)
        return found if found is not None and self._visible(type.name, found) else None

    def add_field(self, of: str, field: Field) -> None:
        """Also on tasks and events, when it is the activity's. Seen by nobody yet."""
        for name in ("Task", "Event") if of == "Activity" else (of,):
            type = self.types[name]
            self.types[name] = Type(
                name, type.prefix, {**type.fields, field.name: field}, type.searchable, type.writable
            )
            if field.unique:
                self._unique.setdefault((name, field.name), {})

    def _visible(self, of: str, field: Field) -> bool:
        if (of, field.name) in self.hidden:
            return False
        if not field.custom:
            return True
        holder = "Activity" if of in ("Task", "Event") else of
        mine = {
            row.get("PermissionSetId")
            for row in self.all("PermissionSetAssignment")
            if row.get("AssigneeId") == self.user
        }
        return any(
            row.get("Field") in (f"{of}.{field.name}", f"{holder}.{field.name}") and row.get("PermissionsRead")
            for row in self.all("FieldPermissions")
            if row.get("ParentId") in mine
        )

    # ── records ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def next_id(self, type: str) -> str:
        self._count += 1
        return ids.make(self.types[type].prefix, self._count)

    def put(self, row: Row, now: datetime) -> Row:
        """Keep a record, new or changed."""
        before = self._tables.setdefault(row.type, {}).get(row.id)
        self._tables[row.type][row.id] = row
        self._index(before, row)
        self.changes.append(Change(now, before, row))
        return row

    def revert(self, mark: int) -> None:
        """Undo everything after the first `mark` changes, newest first."""
        while len(self.changes) > mark:
            change = self.changes.pop()
            table = self._tables[change.after.type]
            if change.before is None:
                del table[change.after.id]
            else:
                table[change.after.id] = change.before
            self._index(change.after, change.before)

    def get(self, type: str, id: str) -> Row | None:
        """A record by its id of 15 or 18 characters, deleted or not."""
        return self._tables.get(type, {}).get(ids.whole(id)) if ids.is_id(id) else None

    def anywhere(self, id: str) -> Row | None:
        """A record of whatever object its id belongs to."""
        for type in self.types.values():
            if type.prefix == id[:3] and (found := self.get(type.name, id)):
                return found
        return None

    def all(self, type: str, *, deleted: bool = False) -> Iterator[Row]:
        """Oldest first."""
        return (row for row in self._tables.get(type, {}).values() if deleted or not row.is_deleted)

    def referring(self, type: str, field: str, id: str, *, deleted: bool = False) -> Iterator[Row]:
        """Records of `type` whose `field` points at this one, oldest first."""
        table = self._tables.get(type, {})
        found = (table[one] for one in self._refers.get((type, field), {}).get(id, ()) if one in table)
        return (row for row in found if deleted or not row.is_deleted)

    def holder(self, type: str, field: str, value: str) -> Row | None:
        """Who has this value of a unique field."""
        id = self._unique.get((type, field), {}).get(value.lower())
        return self._tables[type].get(id) if id else None

    def is_unique(self, type: str, field: str) -> bool:
        return (type, field) in self._unique

    def _index(self, before: Row | None, after: Row | None) -> None:
        of = (after or before).type  # type: ignore[union-attr]
        for field in self.types[of].fields.values():
            if field.unique:
                held = self._unique.setdefault((of, field.name), {})
                if before and before.get(field.name) and held.get(str(before.get(field.name)).lower()) == before.id:
                    del held[str(before.get(field.name)).lower()]
                if after and after.get(field.name) and not after.is_deleted:
                    held[str(after.get(field.name)).lower()] = after.id
            elif field.type == "reference":
                known = self._refers.setdefault((of, field.name), {})
                if before and before.get(field.name):
                    known.get(before.get(field.name), {}).pop(before.id, None)
                if after and after.get(field.name):
                    known.setdefault(after.get(field.name), {})[after.id] = None

    def linked(self, id: str, type: str) -> Iterable[Row]:
        """Living records of `type` that point at this one through any field."""
        found: dict[str, Row] = {}
        for field in self.types[type].fields.values():
            if field.type == "reference" and field.name not in ("OwnerId", "CreatedById", "LastModifiedById"):
                found |= {row.id: row for row in self.referring(type, field.name, id)}
        return found.values()
