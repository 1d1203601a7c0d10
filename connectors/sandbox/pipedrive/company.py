"""One company's account at Pipedrive: its records, users, fields, pipelines, labels and webhooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from connectors.sandbox.index import Index
from connectors.sandbox.pipedrive.errors import not_found
from connectors.sandbox.pipedrive.shapes import (
    KINDS,
    SHAPES,
    Definition,
    custom_shape,
    hash_for,
    read,
    written,
)
from connectors.sandbox.store import Crm, Entry

LAG = timedelta(seconds=3)  # of search; how long it is in truth nobody says
_LINKED = {"person_id": "contact", "org_id": "company", "organization_id": "company", "deal_id": "deal"}
_STANDARD: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "person": (
        ("name", "Name", "varchar"),
        ("first_name", "First name", "varchar"),
        ("last_name", "Last name", "varchar"),
        ("phone", "Phone", "phone"),
        ("email", "Email", "varchar"),
        ("owner_id", "Owner", "user"),
        ("org_id", "Organization", "org"),
        ("label_ids", "Labels", "set"),
        ("add_time", "Person created", "date"),
        ("update_time", "Update time", "date"),
        ("open_deals_count", "Open deals", "int"),
    ),
    "organization": (
        ("name", "Name", "varchar"),
        ("owner_id", "Owner", "user"),
        ("address", "Address", "address"),
        ("label_ids", "Labels", "set"),
    ),
    "deal": (
        ("title", "Title", "varchar"),
        ("value", "Value", "monetary"),
        ("owner_id", "Owner", "user"),
        ("person_id", "Contact person", "people"),
        ("org_id", "Organization", "org"),
        ("pipeline_id", "Pipeline", "double"),
        ("stage_id", "Stage", "stage"),
        ("expected_close_date", "Expected close date", "date"),
        ("status", "Status", "status"),
        ("label_ids", "Label", "set"),
    ),
}


class User(msgspec.Struct):
    id: int
    name: str
    email: str
    active: bool = True
    admin: bool = False


class Stage(msgspec.Struct):
    id: int
    name: str
    pipeline_id: int
    order: int
    probability: int = 100
    deleted: bool = False


class Pipeline(msgspec.Struct):
    id: int
    name: str
    order: int


class Webhook(msgspec.Struct):
    id: int
    address: str
    action: str
    object: str
    name: str
    user: str | None
    password: str | None
    added_at: datetime
    active: bool = True


class Sent(msgspec.Struct, frozen=True):
    """One delivery as it would go out: nothing here calls anybody."""

    address: str
    user: str | None
    password: str | None
    body: dict[str, Any]


class Company:
    """campaigns        whether it has the product that marketing statuses come with.
    contact_sync     whether persons have job titles, birthdays and the like.
    fields_allowed   whether the user who connected us may make fields.
    seats, factor    of the plan: what the day's tokens are counted from.
    """

    def __init__(
        self,
        id: int,
        name: str,
        *,
        domain: str | None = None,
        campaigns: bool = True,
        contact_sync: bool = False,
        fields_allowed: bool = True,
        currency: str = "CHF",
        seats: int = 5,
        factor: int = 1,
    ) -> None:
        self.id = id
        self.name = name
        self.domain = domain or "".join(sign for sign in name.lower() if sign.isalnum() or sign == "-")
        self.campaigns = campaigns
        self.contact_sync = contact_sync
        self.fields_allowed = fields_allowed
        self.currency = currency
        self.daily_tokens = 30_000 * factor * seats
        self.crm = Crm(first_id=1)
        self.index = Index(self.crm, lag=LAG)
        self.installer = User(25760681, "Sam Verwalter", f"admin@{self.domain}.example", admin=True)
        self.users = {self.installer.id: self.installer}
        self.pipelines = [Pipeline(1, "Verkauf", 1), Pipeline(2, "Service", 2)]
        names = ("Anfrage", "Kontakt", "Offerte", "Verhandlung")
        self.stages = [Stage(at, name, 1, at) for at, name in enumerate(names, 1)]
        self.stages += [Stage(5, "Eingang", 2, 1), Stage(6, "In Arbeit", 2, 2)]
        self.activity_types = [
            ("call", "Anruf", "call", True),
            ("meeting", "Sitzung", "meeting", True),
            ("task", "Aufgabe", "task", True),
            ("deadline", "Frist", "deadline", True),
            ("email", "E-Mail", "email", True),
            ("lunch", "Mittagessen", "lunch", False),
        ]
        self.definitions = {
            entity: [Definition(code, name, type) for code, name, type in listed]
            for entity, listed in _STANDARD.items()
        }
        for entity in self.definitions:
            self._field(entity, "label_ids").options = [{"id": 1, "label": "Hot"}, {"id": 2, "label": "VIP"}]
        self.lead_labels = {"f08b42a0-4e75-11ea-9643-03698ef1cfd6": "Hot"}
        self.webhooks: list[Webhook] = []
        self.outgoing: list[Sent] = []
        self.merged_into: dict[str, str] = {}
        self.statuses_changed: set[str] = set()
        self._counts: dict[str, int] = {}
        self._made = 0
        self._activities: dict[str, str] = {}
        self._read: dict[tuple[str, str], tuple[Entry, int, Mapping[str, Any]]] = {}
        self._gone: dict[tuple[str, str], Entry] = {}  # deleted and merged ones as they were last

    # ── what it is made of ──────────────────────────────────────────────────────────────────────────────────────────

    def number(self, what: str) -> int:
        """The next id: each kind of thing counts for itself."""
        self._counts[what] = self._counts.get(what, 0) + 1
        return self._counts[what]

    def add_user(self, name: str, email: str) -> User:
        user = User(25760681 + 7 * len(self.users), name, email)
        self.users[user.id] = user
        return user

    def add_field(self, entity: str, name: str, type: str, options: list[str] | None = None) -> Definition:
        """A field of the company's own. Two may have one name."""
        self._made += 1
        made = Definition(hash_for(self.id, entity, name, self._made), name, type, custom=True)
        if options is not None:
            made.options = [{"id": self.number("option") + 10, "label": label} for label in options]
        self.definitions[entity].append(made)
        return made

    def add_label(self, entity: str, label: str) -> int:
        options = self._field(entity, "label_ids").options
        assert options is not None
        options.append({"id": self.number("label") + 2, "label": label})
        return int(options[-1]["id"])

    def custom(self, entity: str) -> dict[str, Definition]:
        """The company's own fields by code; leads inherit those of deals."""
        listed = self.definitions.get("deal" if entity == "lead" else entity, [])
        return {one.code: one for one in listed if one.custom}

    def _field(self, entity: str, code: str) -> Definition:
        return next(one for one in self.definitions[entity] if one.code == code)

    # ── records ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def create(self, entity: str, values: Mapping[str, Any], now: datetime) -> Entry:
        """Add a record, linked as its members say."""
        id = str(self.number(entity))
        kind = _kind(entity, values)
        added = _time(values.get("add_time")) or now
        kept = {name: written(value) for name, value in values.items() if name != "add_time"}
        entry = self.crm.create(kind, {**kept, "_added": added.isoformat()}, now, id=id)
        if entity == "activity":
            self._activities[id] = kind
        self._link(entry, values, now)
        return entry

    def update(self, entry: Entry, values: Mapping[str, Any], now: datetime) -> Entry:
        changed = self.crm.update(entry, {name: written(value) for name, value in values.items()}, now)
        self._link(changed, values, now)
        return changed

    def get(self, entity: str, id: str, *, deleted: bool = False) -> Entry | None:
        """A record; a deleted one, for thirty days, if those are wanted. A merged one is deleted."""
        kinds = KINDS[entity] if entity != "activity" else (self._activities.get(id, "task"),)
        for kind in kinds:
            if (kind, id) not in self._gone:
                found = self.crm.get(kind, id)
                if found is not None:
                    return found
            elif deleted:
                return self._gone[(kind, id)]
        return None

    def need(self, entity: str, id: str) -> Entry:
        """Raises the 404."""
        found = self.get(entity, id)
        if found is None:
            raise not_found(entity)
        return found

    def delete(self, entry: Entry, now: datetime) -> None:
        self.crm.archive(entry, now)
        self._gone[(entry.kind, entry.id)] = self.crm.changes[-1].entry

    def merge(self, winner: Entry, loser: Entry, now: datetime) -> Entry:
        """Fold `loser` into `winner`; its own id is a deleted person's from then on."""
        self.merged_into[loser.id] = winner.id
        phones = [*self.value(winner, "person", "phones"), *self.value(loser, "person", "phones")]
        kept = self.crm.merge(winner, loser, now)
        self._gone[(loser.kind, loser.id)] = msgspec.structs.replace(loser, archived_at=now, updated_at=now)
        return self.update(kept, {"phones": phones}, now)

    def all(self, entity: str) -> Iterator[Entry]:
        """The living ones, by id."""
        found = [entry for kind in KINDS[entity] for entry in self.crm.all(kind)]
        return iter(sorted(found, key=lambda entry: int(entry.id)))

    def deleted(self, entity: str) -> list[Entry]:
        return [entry for (kind, _), entry in self._gone.items() if kind in KINDS[entity]]

    def values(self, entry: Entry, entity: str) -> Mapping[str, Any]:
        """All members that have a value, standard and of the company's own, typed. Not to be changed: read once per entry."""
        key, own = (entry.kind, entry.id), self.custom(entity)
        kept = self._read.get(key)
        if kept is not None and kept[0] is entry and kept[1] == len(own):
            return kept[2]
        found = {}
        for name, text in entry.properties.items():
            if name in SHAPES[entity]:
                found[name] = read(SHAPES[entity][name], text)
            elif name in own:
                found[name] = read(custom_shape(own[name]), text)
        self._read[key] = (entry, len(own), found)
        return found

    def value(self, entry: Entry, entity: str, name: str) -> Any:
        found = self.values(entry, entity).get(name)
        return [] if found is None and SHAPES[entity].get(name) == "entries" else found

    def added(self, entry: Entry) -> datetime:
        return datetime.fromisoformat(entry.properties["_added"])

    def _link(self, entry: Entry, values: Mapping[str, Any], now: datetime) -> None:
        for name, id in self._links(values):
            other = self.crm.get(_LINKED.get(name, "lead"), id)
            if other is not None and (other.kind, other.id) != (entry.kind, entry.id):
                self.crm.link(entry, other, forward=1, backward=1, now=now)

    def _links(self, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for name in _LINKED:
            if values.get(name) is not None:
                yield name, str(values[name])
        if values.get("lead_id") is not None:
            yield "lead_id", str(lead_number(values["lead_id"]))
        for each in values.get("participants") or ():
            yield "person_id", str(each.get("person_id"))


def lead_uuid(id: str) -> str:
    """Leads have UUIDs; the store counts."""
    return f"{int(id):08x}-5048-11f1-bc07-9325c0fa40f5"


def lead_number(uuid: str) -> int:
    """0 for what is no lead's."""
    head = str(uuid).partition("-")[0]
    return int(head, 16) if len(head) == 8 and all(sign in "0123456789abcdef" for sign in head) else 0


def entity_of(kind: str) -> str:
    return next(entity for entity, kinds in KINDS.items() if kind in kinds)


def _kind(entity: str, values: Mapping[str, Any]) -> str:
    if entity != "activity":
        return KINDS[entity][0]
    if values.get("type") == "call" and values.get("done"):
        return "call"
    return "event" if values.get("type") in ("meeting", "lunch") else "task"


def _time(text: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
