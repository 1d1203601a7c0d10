"""The objects of a Salesforce org and their fields, as an org has them before anybody changed it.

Names, types, lengths and flags follow describes of a real org and the standard field lists (../shared/specs/salesforce);
only what an integration like ours meets is here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One field. `to` and `relationship` where it holds another record's id; `restricted`: only values of the picklist."""

    name: str
    label: str = ""
    type: str = "string"
    length: int = 255
    required: bool = False
    create: bool = True
    update: bool = True
    unique: bool = False
    external_id: bool = False
    id_lookup: bool = False
    filterable: bool = True
    picklist: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()  # of the values above, where they differ
    restricted: bool = False
    default: object = None
    to: tuple[str, ...] = ()
    relationship: str | None = None
    custom: bool = False


class Type(msgspec.Struct, frozen=True):
    """An object. `prefix` begins the ids of its records; `hidden` ones take no writes over the API."""

    name: str
    prefix: str
    fields: Mapping[str, Field]
    searchable: bool = False
    writable: bool = True


def _text(*names: str, **more: object) -> Iterable[Field]:
    return (Field(name=name, **more) for name in names)  # type: ignore[arg-type]


def _read_only(type: str, *names: str, **more: object) -> Iterable[Field]:
    return (Field(name=name, type=type, create=False, update=False, **more) for name in names)  # type: ignore[arg-type]


def _reference(name: str, *to: str, relationship: str | None = None, **more: object) -> Field:
    given = relationship or name.removesuffix("Id")
    return Field(name=name, type="reference", length=18, to=to, relationship=given, **more)  # type: ignore[arg-type]


def _phones(*names: str) -> Iterable[Field]:
    return (Field(name=name, type="phone", length=40) for name in names)


def _picklist(name: str, *values: str, **more: object) -> Field:
    return Field(name=name, type="picklist", picklist=values, **more)  # type: ignore[arg-type]


_SYSTEM = (
    Field(name="Id", type="id", length=18, create=False, update=False, id_lookup=True),
    Field(name="IsDeleted", type="boolean", create=False, update=False, default=False),
    *_read_only("datetime", "CreatedDate", "LastModifiedDate", "SystemModstamp"),
    _reference("CreatedById", "User", create=False, update=False),
    _reference("LastModifiedById", "User", create=False, update=False),
)
_SET_UP = tuple(field for field in _SYSTEM if field.name != "IsDeleted")
_OWNER = _reference("OwnerId", "User")
_MASTER = _reference("MasterRecordId", "", relationship="MasterRecord", create=False, update=False)
_DESCRIPTION = Field(name="Description", type="textarea", length=32_000, filterable=False)
_NAMES = (
    Field(name="LastName", length=80, required=True),
    Field(name="FirstName", length=40),
    _picklist("Salutation", "Mr.", "Ms.", "Mrs.", "Dr.", "Prof."),
    Field(name="Name", length=121, create=False, update=False),
)
_EMAIL = Field(name="Email", type="email", length=80, id_lookup=True)
_OPT_OUTS = (
    Field(name="HasOptedOutOfEmail", label="Email Opt Out", type="boolean", default=False),
    Field(name="DoNotCall", label="Do Not Call", type="boolean", default=False),
)
_RATING = _picklist("Rating", "Hot", "Warm", "Cold")
_SOURCE = _picklist("LeadSource", "Web", "Phone Inquiry", "Partner Referral", "Purchased List", "Other")
STAGES = (  # name, closed, won, probability
    ("Prospecting", False, False, 10),
    ("Qualification", False, False, 10),
    ("Needs Analysis", False, False, 20),
    ("Value Proposition", False, False, 50),
    ("Id. Decision Makers", False, False, 60),
    ("Perception Analysis", False, False, 70),
    ("Proposal/Price Quote", False, False, 75),
    ("Negotiation/Review", False, False, 90),
    ("Closed Won", True, True, 100),
    ("Closed Lost", True, False, 0),
)
CASE_STATUSES = (("New", False), ("Working", False), ("Escalated", False), ("Closed", True))
TASK_STATUSES = (
    ("Not Started", False),
    ("In Progress", False),
    ("Completed", True),
    ("Waiting on someone else", False),
    ("Deferred", False),
)
_WHO_AND_WHAT = (
    _reference("WhoId", "Contact", "Lead"),
    _reference("WhatId", "Account", "Opportunity", "Case", "Campaign"),
    _reference("AccountId", "Account", create=False, update=False),
)


def _type(name: str, prefix: str, *fields: Field, searchable: bool = False, writable: bool = True) -> Type:
    known = (*(_SYSTEM if any(one.name == "OwnerId" for one in fields) or searchable else _SET_UP), *fields)
    if name in ("OpportunityContactRole", "CampaignMember", "ContentDocumentLink"):
        known = (*_SYSTEM, *fields)
    return Type(name, prefix, {one.name: one for one in known}, searchable, writable)


STANDARD: Mapping[str, Type] = {
    one.name: one
    for one in (
        _type(
            "Account",
            "001",
            Field(name="Name", length=255, required=True),
            *_phones("Phone", "Fax"),
            *_text("Website", "AccountNumber", "BillingCity", "BillingCountry", "Industry"),
            _RATING,
            _MASTER,
            _OWNER,
            _DESCRIPTION,
            searchable=True,
        ),
        _type(
            "Contact",
            "003",
            *_NAMES,
            _EMAIL,
            *_phones("Phone", "MobilePhone", "HomePhone", "OtherPhone", "AssistantPhone", "Fax"),
            Field(name="Title", length=128),
            Field(name="Department", length=80),
            *_text("MailingCity", "MailingCountry"),
            Field(name="Birthdate", type="date"),
            _SOURCE,
            _reference("AccountId", "Account"),
            _reference("ReportsToId", "Contact"),
            _MASTER,
            _OWNER,
            _DESCRIPTION,
            *_OPT_OUTS,
            searchable=True,
        ),
        _type(
            "Lead",
            "00Q",
            *_NAMES,
            Field(name="Company", length=255, required=True),
            _EMAIL,
            *_phones("Phone", "MobilePhone", "Fax"),
            Field(name="Title", length=128),
            *_text("City", "Country", "Website"),
            _picklist(
                "Status",
                *("Open - Not Contacted", "Working - Contacted", "Closed - Converted", "Closed - Not Converted"),
                default="Open - Not Contacted",
            ),
            _SOURCE,
            _RATING,
            Field(name="IsConverted", type="boolean", create=False, update=False, default=False),
            Field(name="ConvertedDate", type="date", create=False, update=False),
            _reference("ConvertedContactId", "Contact", create=False, update=False),
            _reference("ConvertedAccountId", "Account", create=False, update=False),
            _MASTER,
            _OWNER,
            _DESCRIPTION,
            *_OPT_OUTS,
            searchable=True,
        ),
        _type(
            "Opportunity",
            "006",
            Field(name="Name", length=120, required=True),
            _picklist("StageName", *(stage[0] for stage in STAGES), required=True),
            Field(name="CloseDate", type="date", required=True),
            Field(name="Amount", type="currency"),
            Field(name="Probability", type="percent"),
            *_read_only("boolean", "IsClosed", "IsWon"),
            *_text("NextStep", "Type"),
            _SOURCE,
            _reference("AccountId", "Account"),
            _reference("ContactId", "Contact", update=False),
            _reference("RecordTypeId", "RecordType"),
            _OWNER,
            _DESCRIPTION,
        ),
        _type(
            "OpportunityContactRole",
            "00K",
            _reference("OpportunityId", "Opportunity", required=True, update=False),
            _reference("ContactId", "Contact", required=True),
            Field(name="Role", type="picklist"),
            Field(name="IsPrimary", type="boolean", default=False),
        ),
        _type(
            "Case",
            "500",
            Field(name="CaseNumber", length=30, create=False, update=False, id_lookup=True),
            _reference("ContactId", "Contact"),
            _reference("AccountId", "Account"),
            *_text("SuppliedName", "SuppliedPhone", "Subject"),
            Field(name="SuppliedEmail", type="email", length=80),
            _picklist("Status", *(status[0] for status in CASE_STATUSES), default="New"),
            _picklist("Origin", "Phone", "Email", "Web"),
            _picklist("Priority", "High", "Medium", "Low", default="Medium"),
            _picklist("Reason", "Installation", "Performance", "Breakdown", "Other"),
            Field(name="IsClosed", type="boolean", create=False, update=False),
            _MASTER,
            _OWNER,
            _DESCRIPTION,
        ),
        _type(
            "Task",
            "00T",
            Field(name="Subject", type="combobox"),
            *_WHO_AND_WHAT,
            _picklist("Status", *(status[0] for status in TASK_STATUSES), default="Not Started"),
            _picklist("Priority", "High", "Normal", "Low", default="Normal"),
            _picklist(
                "TaskSubtype", "Task", "Call", "Email", "List Email", update=False, restricted=True, default="Task"
            ),
            _picklist("CallType", "Internal", "Inbound", "Outbound", restricted=True),
            Field(name="CallDurationInSeconds", type="int"),
            *_text("CallDisposition", "CallObject"),
            Field(name="ActivityDate", type="date"),
            Field(name="IsReminderSet", type="boolean", default=False),
            Field(name="ReminderDateTime", type="datetime"),
            *_read_only("boolean", "IsClosed", "IsHighPriority"),
            _OWNER,
            _DESCRIPTION,
        ),
        _type(
            "Event",
            "00U",
            Field(name="Subject", type="combobox"),
            *_WHO_AND_WHAT,
            Field(name="StartDateTime", type="datetime"),
            Field(name="EndDateTime", type="datetime"),
            Field(name="ActivityDateTime", type="datetime"),
            Field(name="ActivityDate", type="date"),
            Field(name="DurationInMinutes", type="int"),
            Field(name="Location"),
            Field(name="IsAllDayEvent", type="boolean", default=False),
            _OWNER,
            _DESCRIPTION,
        ),
        _type(
            "Campaign",
            "701",
            Field(name="Name", length=80, required=True),
            *_text("Status", "Type"),
            Field(name="IsActive", type="boolean", default=False),
            _OWNER,
            _DESCRIPTION,
        ),
        _type(
            "CampaignMember",
            "00v",
            _reference("CampaignId", "Campaign", required=True, update=False),
            _reference("ContactId", "Contact", update=False),
            _reference("LeadId", "Lead", update=False),
            Field(name="Status", type="picklist", default="Sent"),
        ),
        _type(
            "ContentNote",
            "069",
            Field(name="Title", required=True),
            Field(name="Content", type="base64", length=0, filterable=False),
            _OWNER,
        ),
        _type(
            "ContentDocumentLink",
            "06A",
            _reference("ContentDocumentId", "ContentNote", required=True, update=False, relationship="ContentDocument"),
            _reference(
                "LinkedEntityId", *("Contact", "Lead", "Account", "Opportunity", "Case"), required=True, update=False
            ),
            _picklist("ShareType", "V", "C", "I", restricted=True, required=True),
            _picklist("Visibility", "AllUsers", "InternalUsers", "SharedUsers", restricted=True, default="AllUsers"),
        ),
        _type(
            "User",
            "005",
            *_text("Username", "FirstName", "LastName", "Name", "TimeZoneSidKey", "UserType"),
            Field(name="Email", type="email"),
            Field(name="IsActive", type="boolean"),
            writable=False,
        ),
        _type(
            "Organization",
            "00D",
            *_text("Name", "InstanceName", "TimeZoneSidKey", "OrganizationType"),
            Field(name="IsSandbox", type="boolean"),
            writable=False,
        ),
        _type(
            "OpportunityStage",
            "01J",
            *_text("MasterLabel", "ApiName"),
            *(Field(name=name, type="boolean") for name in ("IsActive", "IsClosed", "IsWon")),
            Field(name="SortOrder", type="int"),
            Field(name="DefaultProbability", type="percent"),
            writable=False,
        ),
        *(
            _type(
                name,
                prefix,
                *_text("MasterLabel", "ApiName"),
                *(Field(name=flag, type="boolean") for flag in ("IsClosed", "IsDefault", "IsHighPriority")),
                Field(name="SortOrder", type="int"),
                writable=False,
            )
            for name, prefix in (("CaseStatus", "01K"), ("TaskStatus", "01T"), ("TaskPriority", "01L"))
        ),
        _type(
            "RecordType",
            "012",
            *_text("Name", "DeveloperName", "SobjectType"),
            Field(name="IsActive", type="boolean"),
            writable=False,
        ),
        _type(
            "PermissionSet",
            "0PS",
            Field(name="Name", length=80, unique=True, required=True),
            *_text("Label", "Description"),
        ),
        _type(
            "PermissionSetAssignment",
            "0Pa",
            _reference("PermissionSetId", "PermissionSet", required=True),
            _reference("AssigneeId", "User", required=True),
        ),
        _type(
            "FieldPermissions",
            "01k",
            _reference("ParentId", "PermissionSet", required=True),
            Field(name="SobjectType", required=True),
            Field(name="Field", required=True),
            Field(name="PermissionsRead", type="boolean"),
            Field(name="PermissionsEdit", type="boolean"),
        ),
    )
}

CHILDREN: Mapping[tuple[str, str], tuple[str, str]] = {  # (parent, relationship) → (child, its field)
    ("Account", "Contacts"): ("Contact", "AccountId"),
    ("Account", "Opportunities"): ("Opportunity", "AccountId"),
    ("Account", "Cases"): ("Case", "AccountId"),
    ("Account", "Tasks"): ("Task", "WhatId"),
    ("Account", "Events"): ("Event", "WhatId"),
    ("Contact", "Tasks"): ("Task", "WhoId"),
    ("Contact", "Events"): ("Event", "WhoId"),
    ("Contact", "Cases"): ("Case", "ContactId"),
    ("Contact", "OpportunityContactRoles"): ("OpportunityContactRole", "ContactId"),
    ("Contact", "CampaignMembers"): ("CampaignMember", "ContactId"),
    ("Lead", "Tasks"): ("Task", "WhoId"),
    ("Lead", "Events"): ("Event", "WhoId"),
    ("Lead", "CampaignMembers"): ("CampaignMember", "LeadId"),
    ("Opportunity", "OpportunityContactRoles"): ("OpportunityContactRole", "OpportunityId"),
    ("Opportunity", "Tasks"): ("Task", "WhatId"),
    ("Opportunity", "Events"): ("Event", "WhatId"),
    ("Case", "Tasks"): ("Task", "WhatId"),
    ("Case", "Events"): ("Event", "WhatId"),
}
