"""What a Salesforce org is made of → our records: who it is, its users, stages, words and fields. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from connectors.crm.records import Account, Field, Kind, Option, Owner, Pipeline, Stage
from connectors.crm.salesforce import wire_soql as soql
from connectors.crm.salesforce.manifest import MANIFEST
from connectors.crm.salesforce.wire import TYPES, Part, Row, path, value
from connectors.errors import Rejected, UnexpectedReply, Unsupported
from connectors.request import Request

ORGANIZATION = "SELECT Id,Name,InstanceName,IsSandbox,TimeZoneSidKey FROM Organization LIMIT 1"
CORPORATE_CURRENCY = "SELECT IsoCode FROM CurrencyType WHERE IsCorporate=true LIMIT 1"  # INVALID_TYPE with one currency
_USER = ("Id", "Name", "Email", "IsActive")
_PEOPLE_OWN = "IsActive=true AND UserType='Standard'"
STAGES = (
    "SELECT MasterLabel,ApiName,IsClosed,IsWon,SortOrder FROM OpportunityStage WHERE IsActive=true ORDER BY SortOrder"
)
CASE_STATUSES = "SELECT MasterLabel,ApiName,IsClosed,SortOrder FROM CaseStatus ORDER BY SortOrder"
RECORD_TYPES = "SELECT Id,Name FROM RecordType WHERE SobjectType='Opportunity' AND IsActive=true ORDER BY Name"
CLOSED_TASK = "SELECT ApiName FROM TaskStatus WHERE IsClosed=true ORDER BY SortOrder LIMIT 1"
TASK_PRIORITIES = "SELECT ApiName,IsDefault,IsHighPriority,SortOrder FROM TaskPriority ORDER BY SortOrder"


def read_account(organization: Row, described: Described, currency: Sequence[Row]) -> Account:
    """`currency` is known only where the org has several; which one it has alone is told nowhere."""
    id = value(organization, "Id")
    if not id:
        raise UnexpectedReply("Salesforce did not say which org this is")
    return Account(
        id=id,
        name=value(organization, "Name") or f"Salesforce {id}",
        region=value(organization, "InstanceName") or None,
        timezone=value(organization, "TimeZoneSidKey") or None,
        currency=(value(currency[0], "IsoCode") or None) if currency else None,
        ui_origin=described.ui_origin,
    )


# ── users ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def users() -> str:
    return soql.select(_USER, "User", _PEOPLE_OWN, order="Name,Id")


def user_by_email(email: str) -> str:
    """Text is compared without case."""
    return soql.select(_USER, "User", f"Email={soql.text(email)} AND {_PEOPLE_OWN}", order="CreatedDate", limit=1)


def read_owner(row: Row) -> Owner:
    email = value(row, "Email") or None
    return Owner(id=value(row, "Id"), name=value(row, "Name") or email or "", email=email)


# ── stages ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_stages(rows: Sequence[Row]) -> tuple[Stage, ...]:
    """`ApiName` is what records hold, `MasterLabel` what people see; orgs made long ago have the label alone."""
    return tuple(
        Stage(
            id=value(row, "ApiName") or value(row, "MasterLabel"),
            label=value(row, "MasterLabel"),
            closed=value(row, "IsClosed") == "true",
            won=value(row, "IsWon") == "true",
        )
        for row in rows
    )


def stages_of_record_type(id: str) -> Request:
    """Which stages a record type's sales process has; nothing but the user interface's API says it."""
    return Request(method="GET", path=path("ui-api", "object-info", "Opportunity", "picklist-values", id, "StageName"))


class _Choice(msgspec.Struct):
    value: str


class Choices(msgspec.Struct):
    """A picklist as one record type has it, in order."""

    values: list[_Choice]


def pipelines_of(stages: Sequence[Stage], record_types: Sequence[tuple[Row, Sequence[str] | None]]) -> list[Pipeline]:
    """A pipeline per record type with the stages it has (None: all); without record types the org has one."""
    if not record_types:
        return [Pipeline(id="", label="Opportunity", stages=tuple(stages))]
    by_id = {stage.id: stage for stage in stages}
    return [
        Pipeline(
            id=value(row, "Id"),
            label=value(row, "Name"),
            stages=tuple(stages) if names is None else tuple(by_id[name] for name in names if name in by_id),
        )
        for row, names in record_types
    ]


class Words(msgspec.Struct, frozen=True):
    """What the org calls a finished task, and its priorities; by default what a new org does."""

    closed: str = "Completed"
    high: str = "High"
    low: str = "Low"


def read_words(closed: Sequence[Row], priorities: Sequence[Row]) -> Words:
    """`closed`: the statuses that finish a task. What the user may not see stays as in a new org."""
    plain = Words()
    high = [value(row, "ApiName") for row in priorities if value(row, "IsHighPriority") == "true"]
    others = [value(row, "ApiName") for row in priorities if value(row, "IsHighPriority") != "true"]
    low = [name for name in others if name.casefold() == "low"] or others[-1:]
    finished = [value(row, "ApiName") for row in closed]
    return Words((finished or [plain.closed])[0], (high or [plain.high])[0], (low or [plain.low])[0])


# ── fields ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Choosable(msgspec.Struct, rename="camel"):
    value: str | None = None
    label: str | None = None
    active: bool = True


class FieldObject(msgspec.Struct, rename="camel"):
    """A field in a describe. Only those the connected user may see are listed."""

    name: str
    label: str | None = None
    type: str = ""
    length: int = 0
    nillable: bool = True
    createable: bool = False
    updateable: bool = False
    unique: bool = False
    external_id: bool = False
    custom: bool = False
    defaulted_on_create: bool = False
    calculated: bool = False
    deprecated_and_hidden: bool = False
    picklist_values: list[_Choosable] = []

    def field(self) -> Field:
        options = tuple(
            Option(value=one.value, label=one.label or one.value)
            for one in self.picklist_values
            if one.active and one.value is not None
        )
        return Field(
            name=self.name,
            label=self.label or self.name,
            type=_our_type(self.type, self.length),
            options=options,
            writable=self.createable or self.updateable,
            unique=self.unique,
            required=self.createable and not self.nillable and not self.defaulted_on_create and self.type != "boolean",
            custom=self.custom,
        )


_UI = re.compile(rf"(https://(?:{MANIFEST.region_hosts}))/\{{ID\}}", re.ASCII)


class _RecordType(msgspec.Struct, rename="camel"):
    record_type_id: str
    available: bool = True
    default_record_type_mapping: bool = False


class Described(msgspec.Struct, rename="camel"):
    """An object's describe."""

    name: str
    fields: list[FieldObject] = []
    record_type_infos: list[_RecordType] = []
    urls: dict[str, str | None] = {}

    @property
    def ui_origin(self) -> str | None:
        found = _UI.fullmatch(self.urls.get("uiDetailTemplate") or "")
        return found[1] if found else None

    def field(self, name: str) -> FieldObject | None:
        """By name, which is compared without case as Salesforce does."""
        return next((one for one in self.fields if one.name.lower() == name.lower()), None)

    def usable(self, record_types: Sequence[Row]) -> list[Row]:
        """Those this user may give to a record, the default first; all where the describe says nothing."""
        infos = {one.record_type_id[:15]: one for one in self.record_type_infos}
        known = [(row, infos.get(value(row, "Id")[:15])) for row in record_types]
        usable = [(row, info) for row, info in known if info is None or info.available]
        return [row for row, _ in sorted(usable, key=lambda one: not (one[1] and one[1].default_record_type_mapping))]

    def types(self) -> dict[str, str]:
        return {one.name: one.type for one in self.fields}


def read_fields(described: Described) -> list[Field]:
    """By label."""
    shown = [one.field() for one in described.fields if not one.deprecated_and_hidden]
    return sorted(shown, key=lambda field: (field.label.casefold(), field.name))


def _our_type(type: str, length: int) -> str:
    match type:
        case "picklist" | "combobox":
            return "choice"
        case "multipicklist":
            return "choices"
        case "boolean":
            return "bool"
        case "int" | "long" | "double" | "currency" | "percent":
            return "number"
        case "date" | "datetime" | "phone":
            return type
        case "textarea":
            return "longtext"
        case _:
            return "longtext" if length > 255 and type == "string" else "text"


# ── a new field, and who may see it ─────────────────────────────────────────────────────────────────────────────────

_METADATA: Mapping[str, Mapping[str, Any]] = {
    "text": {"type": "Text", "length": 255},
    "longtext": {"type": "LongTextArea", "length": 32_768, "visibleLines": 5},
    "number": {"type": "Number", "precision": 18, "scale": 4},
    "date": {"type": "Date"},
    "datetime": {"type": "DateTime"},
    "bool": {"type": "Checkbox", "defaultValue": "false"},
    "choice": {"type": "Picklist"},
    "choices": {"type": "MultiselectPicklist", "visibleLines": 4},
    "phone": {"type": "Phone"},
}
_API_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9]|_(?!_)){0,38}[A-Za-z0-9]", re.ASCII)


def holder(kind: Kind) -> str:
    """The object a field is made on: those of tasks and events belong to the activity behind both."""
    of = TYPES[kind]
    if of in ("ContentNote",):
        raise Unsupported("Salesforce's notes take no fields of their own")
    return "Activity" if of in ("Task", "Event") else of


def api_name(name: str) -> str:
    """What a field of this name is called at Salesforce: custom ones end in __c. Raises `Rejected`."""
    base = name.removesuffix("__c")
    if not _API_NAME.fullmatch(base):
        raise Rejected(
            "a Salesforce field's name has letters, digits and single underscores, and starts with a letter",
            field=name[:80],
        )
    return f"{base}__c"


def create_field(of: str, made: Field, *, description: str = "", external_id: bool = False) -> Request:
    """Not marked as a write: one that exists already is refused, so a lost answer is simply asked again."""
    metadata: dict[str, Any] = {**_METADATA[made.type], "label": made.label[:40]}
    if description:
        metadata["description"] = description
    if made.options:
        values = [{"valueName": option.value, "label": option.label, "default": False} for option in made.options]
        metadata["valueSet"] = {"valueSetDefinition": {"sorted": False, "value": values}}
    if made.unique:
        metadata |= {"unique": True, "caseSensitive": True}
    if external_id:
        metadata["externalId"] = True
    body = {"FullName": f"{of}.{api_name(made.name)}", "Metadata": metadata}
    return Request(method="POST", path=path("tooling", "sobjects", "CustomField"), json=body)


def takes(type: str) -> bool:
    return type in _METADATA


def permission_set(name: str) -> str:
    return soql.select(("Id",), "PermissionSet", f"Name={soql.text(name)}", limit=1)


def create_permission_set(name: str) -> Request:
    body = {"Name": name, "Label": "Voice gateway", "Description": "Lets the voice gateway's fields be seen."}
    return Request(method="POST", path=path("sobjects", "PermissionSet"), json=body)


def permissions(permission_set: str, of: str, fields: Sequence[str]) -> list[Part]:
    """Lets whoever has the permission set read and edit these fields. A second time is refused as a duplicate."""
    return [
        Part(
            ref=f"p{at}",
            method="POST",
            url="sobjects/FieldPermissions",
            body={
                "ParentId": permission_set,
                "SobjectType": of,
                "Field": f"{of}.{field}",
                "PermissionsRead": True,
                "PermissionsEdit": True,
            },
        )
        for at, field in enumerate(fields)
    ]


def assignment(permission_set: str, user: str) -> Part:
    body = {"PermissionSetId": permission_set, "AssigneeId": user}
    return Part(ref="a", method="POST", url="sobjects/PermissionSetAssignment", body=body)


class Resources(msgspec.Struct):
    """What an API version offers; `identity` names who asks (https://…/id/{org}/{user})."""

    identity: str | None = None

    @property
    def user(self) -> str | None:
        found = re.search(r"/id/00D[A-Za-z0-9]{12,15}/(005[A-Za-z0-9]{12,15})$", self.identity or "", re.ASCII)
        return found[1] if found else None


def campaign(named: str) -> str:
    return soql.select(("Id",), "Campaign", f"Name={soql.text(named)}", order="CreatedDate", limit=2)
