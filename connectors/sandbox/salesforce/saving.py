"""What may be saved and what happens then: required fields, types, references, unique values, duplicate and validation
rules, names and flags that follow from others, and what saving a deal or an activity does beside."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from connectors.sandbox.salesforce import values
from connectors.sandbox.salesforce.errors import (
    duplicate_value,
    duplicates,
    error,
    is_deleted,
    no_access,
    no_such_column,
    not_found,
)
from connectors.sandbox.salesforce.objects import CASE_STATUSES, STAGES, TASK_STATUSES, Type
from connectors.sandbox.salesforce.org import Org, Row

_CLOSED = {
    "Opportunity": ("StageName", {stage[0] for stage in STAGES if stage[1]}),
    "Case": ("Status", {status for status, closed in CASE_STATUSES if closed}),
    "Task": ("Status", {status for status, closed in TASK_STATUSES if closed}),
}
_WON = {stage[0] for stage in STAGES if stage[2]}


def create(
    org: Org,
    type: Type,
    given: Mapping[str, Any],
    now: datetime,
    *,
    allow_duplicates: bool = False,
    version: str = "66.0",
) -> Row:
    """Save a new record. Raises the refusal, and then nothing was saved."""
    _may_write(org, type)
    taken = _taken_in(org, type, given, "create")
    filled = {field.name: field.default for field in type.fields.values() if field.default is not None}
    told = {**filled, **{name: value for name, value in taken.items() if value is not None}}
    lacking = [field.name for field in type.fields.values() if field.required and told.get(field.name) is None]
    if lacking:
        raise error(
            400, "REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(lacking)}]", fields=lacking
        )
    if "OwnerId" in type.fields:
        told.setdefault("OwnerId", org.user)
    _check(org, type, told, taken, None, allow_duplicates=allow_duplicates, version=version)
    moment = now.replace(microsecond=0)
    id = org.next_id(type.name)
    stamps = {
        "CreatedDate": moment, "CreatedById": org.user, "LastModifiedDate": moment, "LastModifiedById": org.user,
        "SystemModstamp": moment,
    }  # fmt: skip
    if type.name == "Case":
        told["CaseNumber"] = str(1000 + len(list(org.all("Case", deleted=True)))).rjust(8, "0")
    row = org.put(Row(type.name, id, _followed(org, type, {"Id": id, **told, **stamps})), now)
    if type.name == "Opportunity" and row.get("ContactId"):
        role = {"OpportunityId": id, "ContactId": row.get("ContactId"), "IsPrimary": True}
        create(org, org.types["OpportunityContactRole"], role, now)
    return row


def update(org: Org, row: Row, given: Mapping[str, Any], now: datetime, *, version: str = "66.0") -> Row:
    """Save changes. Raises the refusal, and then nothing was saved."""
    type = org.types[row.type]
    _may_write(org, type)
    if row.is_deleted:
        raise is_deleted()
    if row.get("IsConverted"):
        raise error(400, "CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead", fields=[])
    taken = _taken_in(org, type, given, "update")
    told = {**row.values, **taken}
    lacking = [name for name, value in taken.items() if value is None and type.fields[name].required]
    if lacking:
        raise error(
            400, "REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(lacking)}]", fields=lacking
        )
    _check(org, type, told, taken, row, allow_duplicates=True, version=version)
    moment = now.replace(microsecond=0)
    stamps = {"LastModifiedDate": moment, "LastModifiedById": org.user, "SystemModstamp": moment}
    return org.put(Row(row.type, row.id, _followed(org, type, {**told, **stamps})), now)


def delete(org: Org, row: Row, now: datetime, *, master: str | None = None) -> None:
    """Into the recycle bin, with what belongs to it alone. `master`: it was merged into that record."""
    if row.is_deleted:
        raise is_deleted()
    ended = {"IsDeleted": True, "SystemModstamp": now.replace(microsecond=0), "MasterRecordId": master}
    org.put(Row(row.type, row.id, {**row.values, **ended}), now)


def merge(org: Org, winner: Row, loser: Row, now: datetime) -> None:
    """Fold `loser` into `winner`: what pointed at it points at the winner, and it lies in the bin with its master's id."""
    for type in list(org.types.values()):
        for field in type.fields.values():
            if field.type == "reference" and winner.type in field.to:
                for row in list(org.referring(type.name, field.name, loser.id)):
                    org.put(Row(row.type, row.id, {**row.values, field.name: winner.id}), now)
    delete(org, loser, now, master=winner.id)


def convert(org: Org, lead: Row, contact: Row, now: datetime) -> None:
    """Make a lead a contact that is there already."""
    for child in ("Task", "Event"):
        for row in list(org.referring(child, "WhoId", lead.id)):
            org.put(Row(row.type, row.id, {**row.values, "WhoId": contact.id}), now)
    told = {"IsConverted": True, "ConvertedDate": now.date(), "ConvertedContactId": contact.id,
            "Status": "Closed - Converted", "SystemModstamp": now.replace(microsecond=0)}  # fmt: skip
    org.put(Row(lead.type, lead.id, {**lead.values, **told}), now)


def living(org: Org, type: Type, id: str) -> Row:
    """The record of this id. Raises the 404 for none, and for a deleted one."""
    row = org.get(type.name, id)
    if row is None:
        raise not_found("Provided external ID field does not exist or is not accessible: " + id)
    if row.is_deleted:
        raise is_deleted()
    return row


# ── rules ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _may_write(org: Org, type: Type) -> None:
    if not type.writable or type.name in org.forbidden:
        raise no_access(f"entity type cannot be written: {type.name}")


def _taken_in(org: Org, type: Type, given: Mapping[str, Any], doing: str) -> dict[str, Any]:
    taken: dict[str, Any] = {}
    refused: list[str] = []
    for name, value in given.items():
        if name == "attributes":
            continue
        field = org.field(type, name)
        if field is None:
            raise no_such_column(name, type.name)
        if not (field.create if doing == "create" else field.update):
            refused.append(field.name)
            continue
        taken[field.name] = values.taken_in(field, value)
    if refused:
        message = (
            f"Unable to create/update fields: {', '.join(refused)}. Please check the security settings of this field."
        )
        raise error(400, "INVALID_FIELD_FOR_INSERT_UPDATE", message, fields=refused)
    return taken


def _check(
    org: Org,
    type: Type,
    told: Mapping[str, Any],
    changed: Mapping[str, Any],
    before: Row | None,
    *,
    allow_duplicates: bool,
    version: str,
) -> None:
    for name in changed:
        _points_at_something(org, type, name, changed[name])
    _may_hang_together(org, type, told)
    demanded = [name for name in org.demanded.get(type.name, ()) if told.get(name) is None]
    if demanded:
        message = "Bitte ausfüllen / À remplir"  # an admin's own words
        raise error(400, "FIELD_CUSTOM_VALIDATION_EXCEPTION", message, fields=demanded[:1])
    for name, value in changed.items():
        if value is not None and type.fields[name].unique:
            held = org.holder(type.name, name, str(value))
            if held is not None and (before is None or held.id != before.id):
                raise duplicate_value(name, held.id)
    if before is None:
        _refuse_duplicates(org, type, told, allow_duplicates=allow_duplicates, version=version)
        _refuse_twins(org, type, told)


def _points_at_something(org: Org, type: Type, name: str, value: Any) -> None:
    field = type.fields[name]
    if field.type != "reference" or value is None:
        return
    if name == "OwnerId" and value[:3] != "00G":
        owner = org.get("User", value)
        if owner is None:
            raise error(400, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", fields=["OwnerId"])
        if not owner.get("IsActive"):
            message = "operation performed with inactive user [" + value + "] as owner of " + type.name.lower()
            raise error(400, "INACTIVE_OWNER_OR_USER", message, fields=["OwnerId"])
        return
    found = org.anywhere(value)
    if found is None or (field.to != ("",) and found.type not in field.to):
        code = "INVALID_CROSS_REFERENCE_KEY" if found is None else "FIELD_INTEGRITY_EXCEPTION"
        raise error(400, code, "invalid cross reference id", fields=[name] if found else [])
    if found.is_deleted:
        raise error(400, "ENTITY_IS_DELETED", "entity is deleted", fields=[])
    if found.get("IsConverted"):
        raise error(400, "CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead", fields=[])


def _may_hang_together(org: Org, type: Type, told: Mapping[str, Any]) -> None:
    if type.name in ("Task", "Event") and told.get("WhatId") and str(told.get("WhoId") or "").startswith("00Q"):
        message = "If Who ID is a Lead, Related To must be blank"
        raise error(400, "FIELD_INTEGRITY_EXCEPTION", message, fields=["WhatId"])
    if type.name == "Event":
        if told.get("StartDateTime") is None and told.get("ActivityDateTime") is None:
            raise error(
                400, "REQUIRED_FIELD_MISSING", "Required fields are missing: [StartDateTime]", fields=["StartDateTime"]
            )
        if told.get("EndDateTime") is None and told.get("DurationInMinutes") is None:
            message = "Required fields are missing: [EndDateTime, DurationInMinutes]"
            raise error(400, "REQUIRED_FIELD_MISSING", message, fields=["EndDateTime"])
    if told.get("RecordTypeId") in org.unavailable:
        message = "Record Type ID: this ID value isn't valid for the user"
        raise error(400, "INVALID_CROSS_REFERENCE_KEY", message, fields=["RecordTypeId"])
    if type.name == "CampaignMember" and not (told.get("ContactId") or told.get("LeadId")):
        message = "Required fields are missing: [ContactId, LeadId]"
        raise error(400, "REQUIRED_FIELD_MISSING", message, fields=["ContactId"])


def _refuse_duplicates(org: Org, type: Type, told: Mapping[str, Any], *, allow_duplicates: bool, version: str) -> None:
    """An alerting rule lets a record pass whose sender says so (`allowSave=true`); a blocking one lets none."""
    rule = org.rules.get(type.name)
    if rule is None or (rule.allow and allow_duplicates):
        return
    wanted = {name: str(told[name]).lower() for name in rule.fields if told.get(name)}
    found = [
        (row.type, row.id)
        for row in org.all(type.name)
        if any(str(row.get(name) or "").lower() == value for name, value in wanted.items())
    ]
    if found:
        raise duplicates(rule.name, type.name, found, version=version, allow=rule.allow)


_TWINS = {
    "CampaignMember": (("CampaignId", "ContactId", "LeadId"), "Already a campaign member."),
    "PermissionSetAssignment": (("PermissionSetId", "AssigneeId"), "Duplicate PermissionSetAssignment."),
    "FieldPermissions": (("ParentId", "Field"), "Field permission exists already."),
    "ContentDocumentLink": (("ContentDocumentId", "LinkedEntityId"), "is already linked with the entity"),
}


def _refuse_twins(org: Org, type: Type, told: Mapping[str, Any]) -> None:
    if type.name not in _TWINS:
        return
    names, message = _TWINS[type.name]
    for row in org.all(type.name):
        if all(row.get(name) == told.get(name) for name in names):
            raise error(400, "DUPLICATE_VALUE", message, fields=[])


# ── what follows ────────────────────────────────────────────────────────────────────────────────────────────────────


def _followed(org: Org, type: Type, told: dict[str, Any]) -> dict[str, Any]:
    if type.name in ("Contact", "Lead"):
        told["Name"] = " ".join(part for part in (told.get("FirstName"), told.get("LastName")) if part)
    if type.name in _CLOSED:
        name, closed = _CLOSED[type.name]
        told["IsClosed"] = told.get(name) in closed
    if type.name == "Opportunity":
        told["IsWon"] = told.get("StageName") in _WON
    if type.name in ("Task", "Event"):
        who = org.get("Contact", told.get("WhoId") or "")
        what = org.anywhere(told["WhatId"]) if told.get("WhatId") else None
        account = what.id if what and what.type == "Account" else what.get("AccountId") if what else None
        told["AccountId"] = account or (who.get("AccountId") if who else None)
    if type.name == "Case" and told.get("ContactId") and not told.get("AccountId"):
        contact = org.get("Contact", told["ContactId"])
        told["AccountId"] = contact.get("AccountId") if contact else None
    if type.name == "Event" and told.get("StartDateTime"):
        start: datetime = told["StartDateTime"]
        told |= {"ActivityDateTime": start, "ActivityDate": start.date()}
    return told
