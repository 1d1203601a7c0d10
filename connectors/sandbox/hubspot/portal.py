"""One HubSpot account ("portal"): its records, property definitions, pipelines, people and the rules its admin set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from connectors.sandbox.hubspot.definitions import GROUPS, STANDARD, Definition
from connectors.sandbox.hubspot.errors import (
    BadValue,
    Refusal,
    bad_values,
    contact_exists,
    invalid,
    missing_required,
    stamp,
)
from connectors.sandbox.hubspot.kinds import (
    ASSOCIATIONS,
    BY_SEGMENT,
    DEFAULTS,
    PRIMARIES,
    AssociationType,
    ObjectType,
)
from connectors.sandbox.hubspot.values import Complaint, calculate, check, short_stamp, text_of
from connectors.sandbox.index import Index
from connectors.sandbox.store import Crm, Entry, Person, Taken

ENFORCING = frozenset({"2026-09"})  # API versions on which the portal admin's required properties bind API writes
_STAGE_OF = {"deal": ("pipeline", "dealstage"), "ticket": ("hs_pipeline", "hs_pipeline_stage")}


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    label: str
    closed: bool = False
    probability: float | None = None  # of deals; tickets have none


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """Stages in the order the portal shows them."""

    id: str
    label: str
    stages: tuple[Stage, ...]


def _stages(*rows: tuple[str, str, float | None, bool]) -> tuple[Stage, ...]:
    return tuple(Stage(id=id, label=label, probability=share, closed=closed) for id, label, share, closed in rows)


SALES = Pipeline(  # as recorded in pipelines_deals_200.json, and what every new portal has
    id="default",
    label="Sales Pipeline",
    stages=_stages(
        ("appointmentscheduled", "Appointment Scheduled", 0.2, False),
        ("qualifiedtobuy", "Qualified To Buy", 0.4, False),
        ("presentationscheduled", "Presentation Scheduled", 0.6, False),
        ("decisionmakerboughtin", "Decision Maker Bought-In", 0.8, False),
        ("contractsent", "Contract Sent", 0.9, False),
        ("closedwon", "Closed Won", 1.0, True),
        ("closedlost", "Closed Lost", 0.0, True),
    ),
)
SUPPORT = Pipeline(
    id="0",
    label="Support Pipeline",
    stages=_stages(
        ("1", "New", None, False),
        ("2", "Waiting on contact", None, False),
        ("3", "Waiting on us", None, False),
        ("4", "Closed", None, True),
    ),
)


class Portal:
    """One account.

    required           properties its admin made required, per kind ("contact"); binds creates on `ENFORCING` versions.
    activities_unique  whether calls, tasks, notes and meetings may have properties with unique values.
    lacks              scopes its subscription has no use for: silently dropped when optional, else the install fails.
    region             the country in which numbers without a country code are read.
    """

    def __init__(
        self,
        hub_id: int,
        name: str,
        *,
        domain: str = "aurora.example",
        region: str = "CH",
        currency: str = "CHF",
        time_zone: str = "Europe/Zurich",
        lag: timedelta = timedelta(seconds=2),
        required: Mapping[str, Sequence[str]] | None = None,
        activities_unique: bool = True,
        lacks: frozenset[str] = frozenset(),
        first_id: int = 1001,
    ) -> None:
        self.hub_id, self.name, self.domain = hub_id, name, domain
        self.region, self.currency, self.time_zone = region, currency, time_zone
        self.required = {kind: tuple(names) for kind, names in (required or {}).items()}
        self.activities_unique = activities_unique
        self.lacks = lacks
        self.crm = Crm(first_id=first_id)
        self.index = Index(self.crm, lag=lag)
        self.definitions: dict[str, dict[str, Definition]] = {kind: dict(known) for kind, known in STANDARD.items()}
        self.groups: dict[str, dict[str, str]] = {kind: {group: group.title()} for kind, group in GROUPS.items()}
        self.pipelines: dict[str, dict[str, Pipeline]] = {"deal": {SALES.id: SALES}, "ticket": {SUPPORT.id: SUPPORT}}
        self.lists: dict[str, StaticList] = {}
        self.opted_out: dict[str, dict[int, datetime]] = {}  # e-mail → subscription id (0: all) → since
        self.crm.make_unique("contact", "email")
        self.installer = Person(
            id="88842095",
            user_id=51647443,
            email=f"admin@{domain}",
            first_name="Admin",
            last_name="Istrator",
            since=datetime(2024, 1, 9, 8, 0, tzinfo=UTC),
        )
        self.crm.people[self.installer.id] = self.installer

    # ── properties ──────────────────────────────────────────────────────────────────────────────────────────────────

    def define(self, kind: str, definition: Definition) -> None:
        """Add or replace a property."""
        self.definitions[kind][definition.name] = definition
        if definition.unique:
            self.crm.make_unique(kind, definition.name)

    def options_of(self, kind: str, definition: Definition) -> Sequence[tuple[str, str]]:
        match definition.reference:
            case "OWNER":
                return [
                    (person.id, f"{person.first_name} {person.last_name}") for person in self.crm.people.values()
                ] or [("", "")]
            case "PIPELINE":
                return [(pipeline.id, pipeline.label) for pipeline in self.pipelines[kind].values()]
            case "STAGE":
                return [
                    (stage.id, stage.label) for pipeline in self.pipelines[kind].values() for stage in pipeline.stages
                ]
            case _:
                return definition.options

    def accept(self, type: ObjectType, given: Any, *, before: Entry | None) -> dict[str, str]:
        """Property values as they will be kept. Raises the 400 that names all that are not acceptable."""
        if not isinstance(given, Mapping):
            raise invalid("Invalid input JSON on line 1, column 1: Some required fields were not set: [properties]")
        complaints: list[BadValue] = []
        accepted: dict[str, str] = {}
        known = self.definitions[type.name]
        for name, raw in given.items():
            definition = known.get(name.lower())
            if definition is None or definition.archived:
                message = f'Property "{name}" does not exist'
                complaints.append(BadValue(name=name, code="PROPERTY_DOESNT_EXIST", message=message))
                continue
            if definition.read_only:
                message = f'"{name}" is a read only property; its value cannot be set.'
                complaints.append(BadValue(name=name, code="READ_ONLY_VALUE", message=message))
                continue
            try:
                options = self.options_of(type.name, definition) if definition.type == "enumeration" else ()
                accepted[definition.name] = check(definition, text_of(raw), options)
            except Complaint as complaint:
                complaints.append(complaint.bad)
            except TypeError:
                raise invalid(f"Invalid input JSON: the value of properties.{name} is not a string") from None
        if complaints:
            raise bad_values(complaints, self.hub_id)
        return accepted | self._staged(type, accepted, before)

    def _staged(self, type: ObjectType, accepted: Mapping[str, str], before: Entry | None) -> dict[str, str]:
        """Pipeline, and what follows from the stage, for deals and tickets."""
        if type.name not in _STAGE_OF or not accepted.keys() & {*_STAGE_OF[type.name], "amount"}:
            return {}
        in_pipeline, in_stage = _STAGE_OF[type.name]
        values = {**(before.properties if before else {}), **accepted}
        stage_id = values.get(in_stage, "")
        if not stage_id:
            return {}
        found: dict[str, str] = {}
        pipelines = self.pipelines[type.name]
        pipeline = pipelines.get(values.get(in_pipeline, "")) or next(iter(pipelines.values()))
        stage = next((stage for stage in pipeline.stages if stage.id == stage_id), None)
        if stage is None:
            raise bad_values([_not_in(in_stage, stage_id, pipeline)], self.hub_id)
        found[in_pipeline] = pipeline.id
        found["hs_is_closed"] = text_of(stage.closed)
        if type.name == "deal":
            share = stage.probability or 0.0
            found["hs_is_closed_won"] = text_of(stage.closed and share == 1.0)
            found["hs_is_closed_lost"] = text_of(stage.closed and share == 0.0)
            found["hs_deal_stage_probability"] = str(share)
            if values.get("amount"):
                found["hs_projected_amount"] = str(float(values["amount"]) * share)
        return found

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def create(
        self, type: ObjectType, given: Any, now: datetime, *, associations: Any = None, version: str = "v3"
    ) -> Entry:
        """A new record, linked as asked; all of it or nothing. Raises `Refusal`."""
        accepted = self.accept(type, given, before=None)
        if type.name == "contact" and not any(accepted.get(name) for name in ("email", "firstname", "lastname")):
            raise invalid("At least one of the properties email, firstname and lastname must be set.")
        needed = [*type.required, *(self.required.get(type.name, ()) if version in ENFORCING else ())]
        missing = [name for name in needed if not accepted.get(name)]
        if missing:
            raise missing_required(type.name, missing)
        links = self.read_links(type, associations or [])
        id = self.crm.new_id()
        born = stamp(now)
        values = {
            **accepted,
            **calculate(type.name, {}, accepted, self.region),
            **self._born_with(type, accepted, id, now),
            "hs_object_id": id,
            "hs_object_source": "INTEGRATION",
            "hs_object_source_id": "18221010",
            "hs_object_source_label": "INTEGRATION",
            type.born: born,
            type.stamp: born,
        }
        try:
            entry = self.crm.create(type.name, values, now, id=id)
        except Taken as taken:
            raise self._taken(type, taken, id) from None
        for other, kinds in links:
            for kind in kinds:
                self.associate(entry, other, kind, now)
        self._follow_company(entry, accepted, now)
        return entry

    def update(self, type: ObjectType, entry: Entry, given: Any, now: datetime) -> tuple[Entry, dict[str, str]]:
        """The record with new values, and the values a PATCH answers with: what was sent, and what followed from it."""
        accepted = self.accept(type, given, before=entry)
        written = {**accepted, **calculate(type.name, entry.properties, accepted, self.region)}
        if "hubspot_owner_id" in accepted:
            written["hubspot_owner_assigneddate"] = stamp(now) if accepted["hubspot_owner_id"] else ""
        if accepted.get("hs_task_status"):
            done = accepted["hs_task_status"] == "COMPLETED"
            written |= {"hs_task_is_completed": "1" if done else "0"}
            written |= {"hs_task_completion_date": stamp(now) if done else ""}
        written[type.stamp] = stamp(now)
        try:
            changed = self.crm.update(entry, written, now)
        except Taken as taken:
            raise self._taken(type, taken, entry.id) from None
        self._follow_company(changed, accepted, now)
        return changed, written

    def _born_with(self, type: ObjectType, accepted: Mapping[str, str], id: str, now: datetime) -> dict[str, str]:
        values: dict[str, str] = {}
        if accepted.get("hubspot_owner_id"):
            owner = self.crm.people[accepted["hubspot_owner_id"]]
            values |= {"hubspot_owner_assigneddate": stamp(now), "hs_all_owner_ids": owner.id}
        if type.name in ("contact", "company"):
            values |= {"hs_pipeline": f"{type.plural}-lifecycle-pipeline"}
            values |= {} if accepted.get("lifecyclestage") else {"lifecyclestage": "lead"}
        if type.name == "contact":
            values |= {"hs_all_contact_vids": id, "hs_is_contact": "true", "hs_is_unworked": "true", "num_notes": "0"}
        if type.name == "deal":
            values |= {"hs_createdate": stamp(now), "num_notes": "0"}
            values |= {} if accepted.get("dealstage") else {"hs_is_closed_won": "false", "hs_is_closed_lost": "false"}
        if type.name == "ticket":
            values |= {"hs_ticket_id": id, "num_notes": "0"}
        if type.activity:
            values |= {"hs_obj_coords": f"{type.id}-{id}"}
        if type.name == "task":
            done = accepted.get("hs_task_status") == "COMPLETED"
            values |= {"hs_task_is_completed": "1" if done else "0"}
            values |= {"hs_task_completion_date": short_stamp(now)} if done else {}
        return values

    def _taken(self, type: ObjectType, taken: Taken, id: str) -> Refusal:
        if (type.name, taken.name) == ("contact", "email"):
            return contact_exists(taken.holder)
        return invalid(
            f"Cannot set PropertyValueCoordinates{{portalId={self.hub_id}, objectTypeId={type.id}, "
            f"propertyName={taken.name}, value={taken.value}}} on {id}. {taken.holder} already has that value."
        )

    # ── associations ────────────────────────────────────────────────────────────────────────────────────────────────

    def read_links(self, type: ObjectType, given: Any) -> list[tuple[Entry, list[AssociationType]]]:
        """Inline associations: records that exist, joined by types that go from this kind to theirs."""
        links = []
        for wanted in given:
            try:
                to, specs = str(wanted["to"]["id"]), [int(spec["associationTypeId"]) for spec in wanted["types"]]
            except (TypeError, KeyError, ValueError):
                raise invalid("Invalid input JSON: associations must each have to.id and types[]") from None
            kinds = [ASSOCIATIONS.get(spec) for spec in specs]
            if not kinds or any(kind is None or kind.source != type.name for kind in kinds):
                raise invalid("one or more associations are not valid")
            known = [kind for kind in kinds if kind is not None]
            other = self.crm.get(known[0].target, to)
            if other is None or any(kind.target != known[0].target for kind in known):
                raise invalid("one or more associations are not valid")
            links.append((other, known))
        return links

    def associate(self, one: Entry, other: Entry, kind: AssociationType, now: datetime) -> None:
        """Join two records. A labelled association brings the plain one along; the first company is the primary one."""
        self.crm.link(one, other, forward=kind.id, backward=kind.inverse, now=now)
        plain = DEFAULTS[(kind.source, kind.target)]
        self.crm.link(one, other, forward=plain.id, backward=plain.inverse, now=now)
        primary = PRIMARIES.get((kind.source, kind.target))
        if primary is None:
            return
        record, company, label = (
            (one, other, primary)
            if primary.target == "company"
            else (
                other,
                one,
                ASSOCIATIONS[primary.inverse],
            )
        )
        holders = [
            id for id, labels in self.crm.linked(record.kind, record.id, "company").items() if label.id in labels
        ]
        if kind.label == "Primary":
            for id in holders:
                former = self.crm.get("company", id)
                if former is not None and id != company.id:
                    self.crm.unlink(record, former, forward=label.id, backward=label.inverse)
        elif holders:
            return
        self.crm.link(record, company, forward=label.id, backward=label.inverse, now=now)
        current = self.crm.get(record.kind, record.id)
        if record.kind == "contact" and current and current.properties.get("associatedcompanyid") != company.id:
            self.crm.update(current, {"associatedcompanyid": company.id}, now)

    def _follow_company(self, entry: Entry, accepted: Mapping[str, str], now: datetime) -> None:
        company = self.crm.get("company", accepted.get("associatedcompanyid", ""))
        if entry.kind == "contact" and company is not None:
            self.associate(entry, company, PRIMARIES[("contact", "company")], now)

    # ── finding ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def find(self, type: ObjectType, ref: str, id_property: str | None) -> Entry | None:
        """A living record by id, or by the value of a property whose values are unique. Raises the 400 for one that is not."""
        if id_property is None or id_property == "hs_object_id":
            return self.crm.get(type.name, ref)
        if not self.crm.is_unique(type.name, id_property):
            raise invalid(
                f"Unable to perform update/upsert by non-unique {type.id} property {id_property} "
                f"in portal ID {self.hub_id}"
            )
        return self.crm.holder(type.name, id_property, ref)


class StaticList:
    """A contact list. Only MANUAL and SNAPSHOT ones take members by hand."""

    def __init__(self, id: str, name: str, *, processing: str = "MANUAL", kind: str = "0-1") -> None:
        self.id, self.name, self.processing, self.kind = id, name, processing, kind
        self.members: dict[str, datetime] = {}


def _not_in(name: str, stage: str, pipeline: Pipeline) -> BadValue:
    allowed = ", ".join(known.id for known in pipeline.stages)
    return BadValue(
        name=name, code="INVALID_OPTION", message=f"{stage} was not one of the allowed options: [{allowed}]"
    )


def type_of(segment: str) -> ObjectType | None:
    """The kind of object a path segment names, in any of its spellings."""
    return BY_SEGMENT.get(segment.lower())
