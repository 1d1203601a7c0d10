"""The Tooling API's custom fields: made for the whole org, and seen by nobody until a permission set names them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from connectors.sandbox.salesforce.errors import bad_json, error
from connectors.sandbox.salesforce.objects import Field
from connectors.sandbox.salesforce.org import Org

_NAME = re.compile(r"(?P<of>\w+)\.(?P<field>[A-Za-z](?:[A-Za-z0-9]|_(?!_))*__c)", re.ASCII)
_TYPES = {
    "Text": ("string", 255),
    "LongTextArea": ("textarea", 32_768),
    "Number": ("double", 0),
    "Date": ("date", 0),
    "DateTime": ("datetime", 0),
    "Checkbox": ("boolean", 0),
    "Picklist": ("picklist", 255),
    "MultiselectPicklist": ("multipicklist", 4_099),
    "Phone": ("phone", 40),
}


def create_field(org: Org, told: Mapping[str, Any]) -> dict[str, Any]:
    """`{"FullName": "Contact.Score__c", "Metadata": {"type": "Number", …}}`. Raises the refusal."""
    if not org.customizable:
        raise error(403, "INSUFFICIENT_ACCESS", "insufficient access rights: Customize Application is needed")
    named, metadata = _NAME.fullmatch(str(told.get("FullName", ""))), told.get("Metadata")
    if named is None or not isinstance(metadata, Mapping):
        raise error(400, "FIELD_INTEGRITY_EXCEPTION", "The field name you provided is not valid", fields=["FullName"])
    holder = "Task" if named["of"] == "Activity" else named["of"]
    type = org.type(holder)
    if type is None:
        raise error(400, "INVALID_TYPE", f"no such entity: {named['of']}")
    if type.fields.get(named["field"]) is not None:
        message = f"There is already a field named {named['field'].removesuffix('__c')} on {named['of']}."
        raise error(400, "DUPLICATE_DEVELOPER_NAME", message, fields=["DeveloperName"])
    org.add_field(named["of"], _field(named["field"], metadata, named["of"]))
    number = len([field for one in org.types.values() for field in one.fields.values() if field.custom])
    return {"id": f"00Ngw{number:010d}AAA", "success": True, "errors": [], "warnings": [], "infos": []}


def _field(name: str, metadata: Mapping[str, Any], of: str) -> Field:
    kind = str(metadata.get("type"))
    if kind not in _TYPES:
        raise bad_json(f"Cannot deserialize instance of FieldType from VALUE_STRING value {kind}")
    type, length = _TYPES[kind]
    if kind == "Text" and not isinstance(metadata.get("length"), int):
        raise error(
            400,
            "FIELD_INTEGRITY_EXCEPTION",
            "Must specify 'length' for a CustomField of type Text",
            fields=["FullName"],
        )
    if kind == "Number" and not isinstance(metadata.get("precision"), int):
        raise error(
            400,
            "FIELD_INTEGRITY_EXCEPTION",
            "Must specify 'precision' for a CustomField of type Number",
            fields=["FullName"],
        )
    if kind in ("LongTextArea", "MultiselectPicklist") and not isinstance(metadata.get("visibleLines"), int):
        raise error(
            400,
            "FIELD_INTEGRITY_EXCEPTION",
            f"Must specify 'visibleLines' for a CustomField of type {kind}",
            fields=["FullName"],
        )
    unique = bool(metadata.get("unique"))
    if unique and of == "Activity":
        raise error(
            400,
            "FIELD_INTEGRITY_EXCEPTION",
            "Can not specify 'unique' for a CustomField on Activity",
            fields=["FullName"],
        )
    values = metadata.get("valueSet", {}).get("valueSetDefinition", {}).get("value", [])
    return Field(
        name=name,
        label=str(metadata.get("label", name)),
        type=type,
        length=int(metadata.get("length", length)),
        unique=unique,
        external_id=bool(metadata.get("externalId")),
        id_lookup=bool(metadata.get("externalId")),
        filterable=type != "textarea",
        picklist=tuple(str(one.get("valueName")) for one in values),
        labels=tuple(str(one.get("label") or one.get("valueName")) for one in values),
        restricted=bool(metadata.get("valueSet", {}).get("restricted")),
        default=False if type == "boolean" else None,
        custom=True,
    )
