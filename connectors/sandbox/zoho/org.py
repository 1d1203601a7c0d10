"""One Zoho organisation: its records with the rules that hold for them, its fields, users, pipelines and channels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from connectors.sandbox.index import Index
from connectors.sandbox.store import Crm, Entry, Person, Taken
from connectors.sandbox.zoho import values
from connectors.sandbox.zoho.errors import BadRecord, duplicate, invalid, missing, no_such_record
from connectors.sandbox.zoho.modules import ACTIVITIES, BY_KIND, MODULES, STAGES, FieldDef, Module

FIRST_ID = 7328395000000680001
_LABEL = 0  # records are linked or not; Zoho has no kinds of links


class Stage(msgspec.Struct, frozen=True):
    name: str
    forecast: str  # Open | Closed Won | Closed Lost
    id: str = ""


class Pipeline(msgspec.Struct, frozen=True):
    name: str
    stages: tuple[Stage, ...]
    id: str = ""


class Layout(msgspec.Struct, frozen=True):
    name: str
    id: str
    pipelines: tuple[Pipeline, ...] = ()


class Org:
    """`lag` is how far search is behind. `activities_unique` whether calls, tasks and events take unique fields.

    phone_search  "digits": search by phone ignores punctuation; "typed": it compares what is written. Zoho does not say.
    """

    def __init__(
        self,
        zgid: str,
        name: str,
        *,
        domain: str = "aurora.example",
        lag: timedelta = timedelta(seconds=20),
        activities_unique: bool = False,
        timezone: str = "Europe/Zurich",
        currency: str = "CHF",
    ) -> None:
        self.zgid, self.name, self.domain = zgid, name, domain
        self.timezone, self.currency = timezone, currency
        self.activities_unique = activities_unique
        self.phone_search = "digits"
        self.crm = Crm(first_id=FIRST_ID)
        self.index = Index(self.crm, lag=lag)
        self.required: dict[str, tuple[str, ...]] = {}
        self.locked: set[str] = set()
        self.tags: dict[str, dict[str, str]] = {}  # module → name → id
        self._next_meta = 7328395000000091001
        self.fields: dict[str, dict[str, FieldDef]] = {}
        for module in MODULES.values():
            known = (msgspec.structs.replace(field, id=self.meta_id()) for field in module.fields)
            self.fields[module.name] = {field.name: field for field in known}
        stages = tuple(Stage(name, forecast, self.meta_id()) for name, forecast, _ in STAGES)
        pipeline = Pipeline("Standard (Standard)", stages, self.meta_id())
        self.layouts: dict[str, list[Layout]] = {"Deals": [Layout("Standard", self.meta_id(), (pipeline,))]}
        self.installer = self.add_user(
            "Nina", "Installer", f"nina.installer@{domain}", datetime(2024, 1, 8, tzinfo=UTC)
        )

    def meta_id(self) -> str:
        self._next_meta += 1
        return str(self._next_meta)

    def add_user(self, first: str, last: str, email: str, since: datetime) -> Person:
        id = self.meta_id()
        person = Person(id=id, user_id=int(id[-9:]), email=email, first_name=first, last_name=last, since=since)
        self.crm.people[id] = person
        return person

    # ── fields ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def field(self, module: Module, name: str) -> FieldDef | None:
        return self.fields[module.name].get(name)

    def add_field(self, module: Module, field: FieldDef) -> FieldDef:
        """A custom one. Whatever is unique is so from now on."""
        made = msgspec.structs.replace(field, id=self.meta_id(), custom=True)
        self.fields[module.name][made.name] = made
        if made.unique:
            self.crm.make_unique(module.kind, made.name)
        return made

    def add_layout(self, layout: Layout) -> None:
        """A further layout of deals; its pipelines and their stages are values of those fields from now on."""
        self.layouts["Deals"].append(layout)
        stages = tuple(stage.name for pipeline in layout.pipelines for stage in pipeline.stages)
        for name, more in (("Stage", stages), ("Pipeline", tuple(one.name for one in layout.pipelines))):
            field = self.fields["Deals"][name]
            known = tuple(dict.fromkeys((*field.options, *more)))
            self.fields["Deals"][name] = msgspec.structs.replace(field, options=known)

    # ── records ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def get(self, module: Module, id: str) -> Entry | None:
        return self.crm.get(module.kind, id)

    def create(self, module: Module, given: Mapping[str, Any], now: datetime, *, by: str = "", at: int = 0) -> Entry:
        """Add a record as Zoho's insert does. Raises `BadRecord`."""
        written = self._read(module, given, at)
        for field in self._demanded(module):
            if not written.get(field):
                raise missing(field, at=at)
        written.setdefault("Owner", by or self.installer.id)
        written |= values.derived(module, {}, written)
        self._check(module, written, {}, at)
        try:
            entry = self.crm.create(module.kind, {**written, "Created_By": by or self.installer.id}, now)
        except Taken as taken:
            raise duplicate(taken.name, taken.holder, module.name, at=at) from None
        self._relink(module, entry, written, now)
        return entry

    def update(
        self, module: Module, id: str, given: Mapping[str, Any], now: datetime, *, by: str = "", at: int = 0
    ) -> Entry:
        """Change what is given. Raises `BadRecord`."""
        entry = self.get(module, id)
        if entry is None:
            raise no_such_record(id)
        if entry.properties.get("Converted__s") == "true":
            raise BadRecord("ID_ALREADY_CONVERTED", "id already converted", {"resource_path_index": 1})
        if id in self.locked:
            raise BadRecord("RECORD_LOCKED", "the record is locked", {"id": id})
        written = self._read(module, given, at)
        for field in self._demanded(module):
            if field in written and not written[field]:
                raise missing(field, at=at)
        written |= values.derived(module, entry.properties, written)
        self._check(module, written, entry.properties, at)
        try:
            changed = self.crm.update(entry, {**written, "Modified_By": by or self.installer.id}, now)
        except Taken as taken:
            raise duplicate(taken.name, taken.holder, module.name, at=at) from None
        for name, target in self._links(module, entry.properties).items():
            before = entry.properties.get(name)
            former = self.get(target, before) if target and before and name in written else None
            if former is not None and before != written.get(name):
                self.crm.unlink(changed, former)
        self._relink(module, changed, written, now)
        return changed

    def convert(self, lead: Entry, now: datetime, *, by: str = "") -> dict[str, Entry]:
        """Make a contact and an account of a lead; the lead stays, hidden."""
        held = lead.properties
        accounts = MODULES["accounts"]
        account = next(
            (one for one in self.crm.all("company") if one.properties["Account_Name"] == held.get("Company")), None
        )
        account = account or self.create(accounts, {"Account_Name": held.get("Company", "?")}, now, by=by)
        names = ("First_Name", "Last_Name", "Email", "Phone", "Mobile", "Salutation")
        person = {name: held[name] for name in names if name in held}
        contact = self.create(MODULES["contacts"], {**person, "Account_Name": {"id": account.id}}, now, by=by)
        into = {"Converted__s": "true", "Converted_Contact": contact.id, "Converted_Account": account.id}
        self.crm.update(lead, into, now)
        for kind in ("call", "task", "event", "note"):
            for id in list(self.crm.linked("lead", lead.id, kind)):
                other = self.crm.get(kind, id)
                if other is not None:
                    name = "Parent_Id" if kind == "note" else "Who_Id"
                    moved = {name: contact.id, "What_Id": "", "$se_module": "Contacts" if kind == "note" else ""}
                    self.crm.unlink(other, lead)
                    self._link(self.crm.update(other, moved, now), contact, now)
        return {"Contacts": contact, "Accounts": account}

    def merge(self, module: Module, master: Entry, other: Entry, now: datetime) -> Entry:
        """Fold one record into another. The other's id is gone: Zoho does not lead from it to the master."""
        held = {name: value for name, value in other.properties.items() if not master.properties.get(name)}
        linked = [(kind, id) for kind in self.crm.kinds() for id in list(self.crm.linked(module.kind, other.id, kind))]
        self.crm.archive(other, now)
        master = self.crm.update(master, held, now)
        for kind, id in linked:
            entry = self.crm.get(kind, id)
            if entry is not None:
                moved = {name: master.id for name, value in entry.properties.items() if value == other.id}
                self._link(self.crm.update(entry, moved, now), master, now)
        return master

    def visible(self, entry: Entry) -> bool:
        """Whether lists, queries and searches show it: a converted lead they do not."""
        return entry.properties.get("Converted__s") != "true"

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _demanded(self, module: Module) -> list[str]:
        own = [field.name for field in self.fields[module.name].values() if field.required]
        return [*own, *self.required.get(module.name, ())]

    def _read(self, module: Module, given: Mapping[str, Any], at: int) -> dict[str, str]:
        """The values that are kept, as texts. Members Zoho does not know are dropped without a word."""
        read: dict[str, str] = {}
        for name, value in (_with_module(given) if module.name == "Notes" else given).items():
            field = self.fields[module.name].get(name)
            if name == "$se_module":
                read[name] = str(value or "")
            elif field is not None and not field.read_only:
                read[name] = values.read(field, value, at)
        return read

    def _check(self, module: Module, written: Mapping[str, str], held: Mapping[str, str], at: int) -> None:
        """Links must point at what is there, an owner must be a user, a stage must be one of its pipeline."""
        after = {**held, **written}
        if written.get("Owner") and written["Owner"] not in self.crm.people:
            raise invalid("Owner", "ownerlookup", at=at)
        for name, target in self._links(module, after).items():
            if written.get(name) and (target is None or not self._points(target, written[name])):
                raise invalid(name, "bigint" if target else "text", at=at)
        if module.name == "Deals" and ("Stage" in written or "Pipeline" in written):
            layout = next(
                (one for one in self.layouts["Deals"] if one.id == after.get("Layout")), self.layouts["Deals"][0]
            )
            known = {pipeline.name: pipeline for pipeline in layout.pipelines}
            pipeline = (
                known.get(after.get("Pipeline", "")) if after.get("Pipeline") else next(iter(known.values()), None)
            )
            if known and pipeline is None:
                raise invalid("Pipeline", "picklist", at=at)
            if pipeline is not None and after.get("Stage") not in {stage.name for stage in pipeline.stages}:
                details = {"api_name": "Stage", "json_path": f"$.data[{at}].Stage", "mapped_field": "Pipeline"}
                raise BadRecord("MAPPING_MISMATCH", "mapping mismatch", details)

    def _points(self, module: Module, id: str) -> bool:
        entry = self.get(module, id)
        return entry is not None and self.visible(entry)

    def _links(self, module: Module, properties: Mapping[str, str]) -> dict[str, Module | None]:
        """Which of its fields link to which module; None where that is not said."""
        several = MODULES.get(properties.get("$se_module", "").lower())
        found: dict[str, Module | None] = {}
        for field in self.fields[module.name].values():
            if field.type == "lookup" and field.to != "layout":
                found[field.name] = MODULES.get(field.to.lower()) if field.to else several
        return found

    def _relink(self, module: Module, entry: Entry, written: Mapping[str, str], now: datetime) -> None:
        for name, target in self._links(module, entry.properties).items():
            if written.get(name) and target is not None:
                other = self.get(target, written[name])
                if other is not None:
                    self._link(entry, other, now)

    def _link(self, one: Entry, other: Entry, now: datetime) -> None:
        self.crm.link(one, other, forward=_LABEL, backward=_LABEL, now=now)

    # ── as Zoho shows it ────────────────────────────────────────────────────────────────────────────────────────────

    def shown(self, entry: Entry, names: Sequence[str] | None = None) -> dict[str, Any]:
        """A record: `names` of its fields, or all. Unknown names are left out."""
        module = BY_KIND[entry.kind]
        known = self.fields[module.name]
        row: dict[str, Any] = {"id": entry.id}
        for name in names if names is not None else known:
            if name in known:
                row[name] = self.value(module, entry, known[name])
        if names is None and module.name in ACTIVITIES | {"Notes"}:
            row["$se_module"] = entry.properties.get("$se_module") or None
        return row

    def value(self, module: Module, entry: Entry, field: FieldDef) -> Any:
        match field.name:
            case "id":
                return entry.id
            case "Created_Time":
                return self.stamp(entry.created_at)
            case "Modified_Time":
                return self.stamp(entry.updated_at)
            case "Full_Name":
                held = entry.properties
                return " ".join(filter(None, (held.get("First_Name"), held.get("Last_Name")))) or None
            case "Created_By" | "Modified_By":
                person = self.crm.people[
                    entry.properties.get(field.name) or entry.properties.get("Created_By") or self.installer.id
                ]
                return {"name": f"{person.first_name} {person.last_name}", "id": person.id}
            case "Tag":
                names = [name for name in entry.properties.get("Tag", "").split("\n") if name]
                return [{"name": name, "id": self.tag_id(module, name), "color_code": None} for name in names]
        held_value = entry.properties.get(field.name)
        if not held_value:
            return False if field.type == "boolean" else None
        if field.type == "ownerlookup":
            person = self.crm.people[held_value]
            return {"name": f"{person.first_name} {person.last_name}", "id": person.id, "email": person.email}
        if field.type == "lookup":
            return self._lookup(module, entry, field, held_value)
        return values.show(field, held_value, self.stamp)

    def _lookup(self, module: Module, entry: Entry, field: FieldDef, id: str) -> dict[str, Any]:
        if field.to == "layout":
            return {"name": next((one.name for one in self.layouts["Deals"] if one.id == id), ""), "id": id}
        target = self._links(module, entry.properties).get(field.name)
        other = self.get(target, id) if target else None
        shown: dict[str, Any] = {"name": self.title(other) if other else None, "id": id}
        if field.name == "Parent_Id" and target is not None:
            shown["module"] = {"api_name": target.name, "id": "1"}
            shown["name"] = shown["name"] or ""
        return shown

    def title(self, entry: Entry) -> str:
        module = BY_KIND[entry.kind]
        shown = self.value(module, entry, self.fields[module.name][module.title])
        return str(shown or "")

    def stamp(self, at: datetime) -> str:
        """Whole seconds, with the organisation's offset (recorded: +03:00)."""
        return at.astimezone(values.zone(self.timezone)).isoformat(timespec="seconds")

    def tag_id(self, module: Module, name: str) -> str:
        """Of a tag of one module; one that is not there yet is made."""
        known = self.tags.setdefault(module.name, {})
        same = next((one for one in known if one.lower() == name.lower()), None)
        if same is None:
            known[name] = self.meta_id()
        return known[same or name]


def digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _with_module(note: Mapping[str, Any]) -> dict[str, Any]:
    """A note with its parent's module where links are read from. Older versions wrote `se_module` beside a plain id."""
    parent = note.get("Parent_Id")
    module = parent.get("module") if isinstance(parent, dict) else None
    name = module.get("api_name") if isinstance(module, dict) else note.get("$se_module") or note.get("se_module")
    return {**note, "$se_module": name}
