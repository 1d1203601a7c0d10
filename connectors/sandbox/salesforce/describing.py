"""What an org says of its objects: the describe of each, the list of all, stages per record type."""

from __future__ import annotations

from typing import Any

from connectors.sandbox.salesforce.objects import STAGES, Field, Type
from connectors.sandbox.salesforce.org import Org


def describe(org: Org, type: Type, version: str) -> dict[str, Any]:
    """All fields the user may see; no others exist for this user."""
    told = basic(org, type, version)
    told["urls"] |= {
        "uiDetailTemplate": f"{org.origin}/{{ID}}",
        "uiEditTemplate": f"{org.origin}/{{ID}}/e",
        "uiNewRecord": f"{org.origin}/{type.prefix}/e",
    }
    fields = [_field(org, type, field) for field in org.fields(type)]
    kinds = [row for row in org.all("RecordType") if row.get("SobjectType") == type.name]
    infos = [
        {
            "active": True,
            "available": row.id not in org.unavailable,
            "defaultRecordTypeMapping": at == len(kinds) - 1,
            "developerName": row.get("DeveloperName"),
            "master": False,
            "name": row.get("Name"),
            "recordTypeId": row.id,
        }
        for at, row in enumerate(kinds)
    ]
    return {**told, "fields": fields, "childRelationships": [], "recordTypeInfos": infos}


def basic(org: Org, type: Type, version: str) -> dict[str, Any]:
    """Recorded: n_sobject_info_200."""
    home = f"/services/data/v{version}/sobjects/{type.name}"
    may = type.writable and type.name not in org.forbidden
    return {
        "activateable": False,
        "createable": may,
        "custom": False,
        "customSetting": False,
        "deletable": may,
        "deprecatedAndHidden": False,
        "feedEnabled": type.searchable,
        "keyPrefix": type.prefix,
        "label": type.name,
        "labelPlural": f"{type.name}s",
        "layoutable": True,
        "mergeable": type.searchable,
        "mruEnabled": type.searchable,
        "name": type.name,
        "queryable": True,
        "replicateable": True,
        "retrieveable": True,
        "searchable": type.searchable,
        "triggerable": True,
        "undeletable": type.searchable,
        "updateable": may,
        "urls": {"sobject": home, "describe": f"{home}/describe", "rowTemplate": f"{home}/{{ID}}"},
    }


def everything(org: Org, version: str) -> dict[str, Any]:
    return {
        "encoding": "UTF-8",
        "maxBatchSize": 200,
        "sobjects": [basic(org, type, version) for type in org.types.values()],
    }


def stages_of(org: Org, record_type: str) -> dict[str, Any]:
    """The user interface's word on which stages a record type has: here all of them but the first."""
    chosen = [stage[0] for stage in STAGES[1:]]
    return {
        "controllerValues": {},
        "defaultValue": None,
        "eTag": "0",
        "url": f"/services/data/v66.0/ui-api/object-info/Opportunity/picklist-values/{record_type}/StageName",
        "values": [{"attributes": None, "label": name, "validFor": [], "value": name} for name in chosen],
    }


def _field(org: Org, type: Type, field: Field) -> dict[str, Any]:
    may = type.writable and type.name not in org.forbidden
    return {
        "name": field.name,
        "label": field.label or field.name,
        "type": field.type,
        "length": field.length if field.type not in ("boolean", "date", "datetime", "int", "double", "currency") else 0,
        "nillable": not field.required and field.type != "boolean",
        "createable": field.create and may,
        "updateable": field.update and may,
        "unique": field.unique,
        "externalId": field.external_id,
        "idLookup": field.id_lookup or field.external_id,
        "filterable": field.filterable,
        "custom": field.custom,
        "calculated": False,
        "deprecatedAndHidden": False,
        "defaultedOnCreate": field.default is not None or field.name == "OwnerId",
        "restrictedPicklist": field.restricted,
        "referenceTo": [name for name in field.to if name],
        "relationshipName": field.relationship,
        "picklistValues": [
            {"active": True, "defaultValue": value == field.default, "label": label, "validFor": None, "value": value}
            for value, label in zip(field.picklist, field.labels or field.picklist, strict=True)
        ],
    }
