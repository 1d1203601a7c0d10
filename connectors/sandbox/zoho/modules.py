"""Which modules and fields an organisation starts with, as Zoho describes them.

Source: oas-3.1/fields.json for the shape, recorded v2 records for the members of each module (2026-05).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class FieldDef(msgspec.Struct, frozen=True, kw_only=True):
    """One field. `type` is Zoho's data type; `to` the module a lookup points at ("" for several); `shown` how its options
    are displayed, where that differs from their values."""

    name: str
    label: str
    type: str = "text"
    length: int = 255
    options: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    to: str = ""
    required: bool = False
    read_only: bool = False
    unique: bool = False
    custom: bool = False
    id: str = ""


class Module(msgspec.Struct, frozen=True, kw_only=True):
    """`kind` is what its records are called in the store; `title` the field with a record's name."""

    name: str
    kind: str
    title: str
    fields: tuple[FieldDef, ...]
    plural: str = ""


def _field(name: str, type: str = "text", **more: Any) -> FieldDef:
    label = {"What_Id": "Related To", "Who_Id": "Contact Name"}.get(name, name.replace("__s", "").replace("_", " "))
    length = {"text": 255, "textarea": 32000, "phone": 30, "email": 100, "picklist": 120}.get(type, 0)
    return FieldDef(name=name, label=label, type=type, **{"length": length, **more})


def _several(type: str, names: str) -> tuple[FieldDef, ...]:
    return tuple(_field(name, type) for name in names.split())


_EVERYWHERE = (
    _field("id", "bigint", read_only=True),
    _field("Owner", "ownerlookup"),
    _field("Created_By", "ownerlookup", read_only=True),
    _field("Modified_By", "ownerlookup", read_only=True),
    _field("Created_Time", "datetime", read_only=True),
    _field("Modified_Time", "datetime", read_only=True),
    _field("Description", "textarea"),
    _field("Tag", "text", read_only=True),
)
_SALUTATIONS = ("Mr.", "Mrs.", "Ms.", "Dr.", "Prof.")
_SOURCES = ("Advertisement", "Cold Call", "Employee Referral", "External Referral", "Web Download", "Chat")
_PERSON = (
    *_several("text", "First_Name"),
    _field("Last_Name", required=True, length=80),
    _field("Full_Name", read_only=True),
    _field("Salutation", "picklist", options=_SALUTATIONS),
    *_several("email", "Email Secondary_Email"),
    *_several("phone", "Phone Mobile Fax"),
    _field("Email_Opt_Out", "boolean"),
    _field("Lead_Source", "picklist", options=_SOURCES),
    *_several("text", "Street City State Zip_Code Country Language"),
    _field("Unsubscribed_Mode", "picklist", options=("Consent form", "Manual", "Unsubscribe link"), read_only=True),
    _field("Unsubscribed_Time", "datetime", read_only=True),
)
_ABOUT = (_field("Who_Id", "lookup", to="Contacts"), _field("What_Id", "lookup"))

STAGES = (  # name, forecast type, probability
    ("Qualification", "Open", 10),
    ("Needs Analysis", "Open", 20),
    ("Value Proposition", "Open", 40),
    ("Proposal/Price Quote", "Open", 75),
    ("Negotiation/Review", "Open", 90),
    ("Closed Won", "Closed Won", 100),
    ("Closed Lost", "Closed Lost", 0),
)

_ALL = (
    Module(
        name="Leads",
        kind="lead",
        title="Full_Name",
        fields=(
            *_PERSON,
            _field("Company", required=True, length=100),
            *_several("text", "Designation"),
            _field(
                "Lead_Status",
                "picklist",
                options=("Attempted to Contact", "Contact in Future", "Contacted", "Junk Lead", "Not Contacted"),
            ),
            _field("Rating", "picklist", options=("Acquired", "Active", "Market Failed", "Project Cancelled")),
            _field("Converted__s", "boolean", read_only=True),
            _field("Converted_Contact", "lookup", to="Contacts", read_only=True),
            _field("Converted_Account", "lookup", to="Accounts", read_only=True),
            _field("Converted_Deal", "lookup", to="Deals", read_only=True),
        ),
    ),
    Module(
        name="Contacts",
        kind="contact",
        title="Full_Name",
        fields=(
            *_PERSON,
            *_several("text", "Title Department"),
            *_several("phone", "Home_Phone Other_Phone Asst_Phone"),
            _field("Account_Name", "lookup", to="Accounts"),
        ),
    ),
    Module(
        name="Accounts",
        kind="company",
        title="Account_Name",
        fields=(
            _field("Account_Name", required=True),
            *_several("phone", "Phone Fax"),
            *_several("website", "Website"),
            *_several("text", "Billing_City Billing_Country"),
            _field("Account_Type", "picklist", options=("Analyst", "Competitor", "Customer", "Partner", "Vendor")),
        ),
    ),
    Module(
        name="Deals",
        kind="deal",
        title="Deal_Name",
        fields=(
            _field("Deal_Name", required=True, length=120),
            _field("Stage", "picklist", options=tuple(name for name, _, _ in STAGES), required=True),
            _field("Pipeline", "picklist", options=("Standard (Standard)",)),
            _field("Closing_Date", "date", required=True),
            _field("Amount", "currency", length=16),
            _field("Probability", "integer", read_only=True),
            _field("Account_Name", "lookup", to="Accounts"),
            _field("Contact_Name", "lookup", to="Contacts"),
            _field("Layout", "lookup", to="layout"),
        ),
    ),
    Module(
        name="Cases",
        kind="ticket",
        title="Subject",
        fields=(
            _field("Subject", required=True),
            _field("Status", "picklist", options=("New", "On Hold", "Escalated", "Closed"), required=True),
            _field("Case_Origin", "picklist", options=("Email", "Phone", "Web", "Twitter", "Facebook"), required=True),
            _field("Priority", "picklist", options=("High", "Medium", "Low")),
            _field("Type", "picklist", options=("Problem", "Feature Request", "Question")),
            _field("Account_Name", "lookup", to="Accounts"),
            _field("Deal_Name", "lookup", to="Deals"),
            _field("Related_To", "lookup", to="Contacts"),
            *_several("email", "Email"),
            *_several("phone", "Phone"),
        ),
    ),
    Module(
        name="Calls",
        kind="call",
        title="Subject",
        fields=(
            _field("Subject", required=True),
            _field("Call_Type", "picklist", options=("Outbound", "Inbound", "Missed"), required=True),
            _field("Call_Start_Time", "datetime", required=True),
            _field("Call_Duration", "text", length=10),
            _field("Call_Duration_in_seconds", "integer", read_only=True),
            _field("Call_Status", "picklist", options=("Scheduled", "Completed", "Received", "Missed"), read_only=True),
            _field("Outbound_Call_Status", "picklist", options=("Scheduled", "Completed", "Overdue", "Cancelled")),
            _field("Call_Purpose", "picklist", options=("Prospecting", "Administrative", "Negotiation", "Demo")),
            _field("Call_Result", "picklist", options=("Interested", "Not interested", "No response/Busy")),
            *_ABOUT,
        ),
    ),
    Module(
        name="Tasks",
        kind="task",
        title="Subject",
        fields=(
            _field("Subject", required=True),
            _field("Due_Date", "date"),
            _field(
                "Status",
                "picklist",
                options=("Not Started", "Deferred", "In Progress", "Completed", "Waiting for input"),
            ),
            _field("Priority", "picklist", options=("High", "Highest", "Low", "Lowest", "Normal")),
            _field("Remind_At", "reminder"),
            *_ABOUT,
        ),
    ),
    Module(
        name="Events",
        kind="event",
        title="Event_Title",
        fields=(
            _field("Event_Title", required=True),
            _field("Start_DateTime", "datetime", required=True),
            _field("End_DateTime", "datetime", required=True),
            *_several("text", "Venue"),
            *_ABOUT,
        ),
    ),
    Module(
        name="Notes",
        kind="note",
        title="Note_Title",
        fields=(
            _field("Note_Title", length=120),
            _field("Note_Content", "textarea"),
            _field("Parent_Id", "lookup", required=True),
        ),
    ),
)
MODULES: Mapping[str, Module] = {
    module.name.lower(): msgspec.structs.replace(module, fields=(*module.fields, *_EVERYWHERE), plural=module.name)
    for module in _ALL
}
BY_KIND: Mapping[str, Module] = {module.kind: module for module in MODULES.values()}
NO_CUSTOM_FIELDS = frozenset({"Notes"})
ACTIVITIES = frozenset({"Calls", "Tasks", "Events"})


def described(field: FieldDef) -> dict[str, Any]:
    """A field's metadata, with every member Zoho's own description requires."""
    return {
        "id": field.id,
        "api_name": field.name,
        "field_label": field.label,
        "display_label": field.label,
        "data_type": field.type,
        "type": "used",
        "json_type": _JSON.get(field.type, "string"),
        "length": field.length,
        "system_mandatory": field.required and not field.custom,
        "custom_field": field.custom,
        "read_only": False,
        "field_read_only": field.read_only,
        "visible": True,
        "unique": {"case_sensitive": False} if field.unique else {},
        "pick_list_values": _values(field) if field.type in ("picklist", "multiselectpicklist") else None,
        "lookup": None,
        "webhook": True,
        "operation_type": dict.fromkeys(("web_update", "api_create", "web_create", "api_update"), not field.read_only),
        "colour_code_enabled_by_system": False,
        "association_details": None,
        "businesscard_supported": True,
        "multi_module_lookup": None,
        "filterable": True,
        "profiles": [],
        "view_type": {"view": True, "edit": not field.read_only, "quick_create": False, "create": not field.read_only},
        "separator": False,
        "searchable": True,
        "history_tracking_enabled": False,
        "external": None,
        "enable_colour_code": False,
        "virtual_field": False,
        "range": None,
        "created_source": "custom" if field.custom else "default",
        "display_type": -1,
        "ui_type": 1,
        "public": False,
        "email_parser": {"fields_update_supported": True, "record_operations_supported": True},
        "currency": {},
        "convert_mapping": {},
        "rollup_summary": None,
        "display_field": False,
        "pick_list_values_sorted_lexically": False,
        "sortable": field.type != "textarea",
        "formula": None,
        "mass_update": True,
        "multiselectlookup": None,
        "auto_number": None,
    }


_JSON = {
    "boolean": "boolean",
    "integer": "integer",
    "currency": "double",
    "lookup": "jsonobject",
    "ownerlookup": "jsonobject",
}


def _values(field: FieldDef) -> list[dict[str, Any]]:
    listed = field.options if field.type == "multiselectpicklist" else ("-None-", *field.options)
    return [
        {
            "display_value": dict(zip(field.options, field.shown, strict=False)).get(value, value),
            "actual_value": value,
            "reference_value": value,
            "sequence_number": at + 1,
            "type": "used",
            "id": f"{field.id}{at:02}",
        }
        for at, value in enumerate(listed)
    ]
