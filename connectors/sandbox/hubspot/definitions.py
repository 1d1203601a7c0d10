"""The properties a fresh portal has, for each kind of object: names, types, options.

Not all of HubSpot's several hundred: those a caller's record, a call log, a task, a deal or a ticket is made of, and
the calculated ones that answers carry. Sources: public property references, recorded answers of 2022-2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

FIELD_TYPES = {
    "string": "text",
    "number": "number",
    "date": "date",
    "datetime": "date",
    "enumeration": "select",
    "bool": "booleancheckbox",
    "phone_number": "phonenumber",
}


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """One property of one kind of object.

    reference  "OWNER" when the options are the portal's owners, "STAGE" or "PIPELINE" when they are its pipelines'.
    """

    name: str
    label: str
    type: str
    field_type: str
    group: str
    options: tuple[tuple[str, str], ...] = ()  # value, label
    description: str = ""
    read_only: bool = False
    calculated: bool = False
    unique: bool = False
    custom: bool = False
    hidden: bool = False
    form_field: bool = True
    reference: str = ""
    archived: bool = False
    created_at: str = "2019-08-06T02:41:08.204Z"
    updated_at: str = "2019-08-06T02:41:08.204Z"

    def document(self, user_id: str) -> dict[str, Any]:
        """As the API shows it (recorded: property_create_contacts.json)."""
        shown: dict[str, Any] = {
            "updatedAt": self.updated_at,
            "createdAt": self.created_at,
            "name": self.name,
            "label": self.label,
            "type": self.type,
            "fieldType": self.field_type,
            "description": self.description,
            "groupName": self.group,
            "options": [
                {"label": label, "value": value, "displayOrder": order, "hidden": False}
                for order, (value, label) in enumerate(self.options)
            ],
            "displayOrder": -1,
            "calculated": self.calculated,
            "externalOptions": self.reference == "OWNER",
            "archived": self.archived,
            "hasUniqueValue": self.unique,
            "hidden": self.hidden,
            "modificationMetadata": {
                "archivable": self.custom,
                "readOnlyDefinition": not self.custom,
                "readOnlyValue": self.read_only,
            },
            "formField": self.form_field,
            "dataSensitivity": "non_sensitive",
        }
        if self.custom:
            shown |= {"createdUserId": user_id, "updatedUserId": user_id}
        else:
            shown["hubspotDefined"] = True
            if not self.read_only:
                shown["modificationMetadata"]["readOnlyOptions"] = False
        if self.reference == "OWNER":
            shown["referencedObjectType"] = "OWNER"
        return shown


def _choices(text: str) -> tuple[tuple[str, str], ...]:
    """ "NEW=New|OPEN=Open" as options; a value alone is its own label."""
    return tuple((part.partition("=")[0], part.partition("=")[2] or part) for part in text.split("|"))


_FLAGS = frozenset({"r", "c", "u"})


def _read(group: str, lines: str) -> Iterable[Definition]:
    """One property a line: name; label; type[:field type]; r(ead only), c(alculated), u(nique), @REFERENCE or options.

    An indented line goes on with the one before.
    """
    for line in re.sub(r"\n +", "", lines.strip()).splitlines():
        name, label, types, rest = (part.strip() for part in (*line.split(";"), "")[:4])
        kind, _, field_type = types.partition(":")
        flag = rest if rest in _FLAGS else ""
        reference = rest[1:] if rest.startswith("@") else ""
        yield Definition(
            name=name,
            label=label,
            type=kind,
            field_type=field_type or FIELD_TYPES[kind],
            group=group,
            options=_choices(rest) if rest and not flag and not reference else (),
            read_only=flag in ("r", "c"),
            calculated=flag == "c",
            unique=flag == "u",
            reference=reference,
        )


_COMMON = """
hs_object_id; Record ID; number; r
hs_object_source; Record source; string; r
hs_object_source_id; Record source ID; string; r
hs_object_source_label; Record source detail; string; r
hs_merged_object_ids; Merged record IDs; enumeration:checkbox; r
hubspot_owner_id; Owner; enumeration; @OWNER
hubspot_owner_assigneddate; Owner assigned date; datetime; c
hs_all_owner_ids; All owner IDs; enumeration:checkbox; c
"""
_LIFECYCLE = (
    "subscriber=Subscriber|lead=Lead|marketingqualifiedlead=Marketing Qualified Lead"
    "|salesqualifiedlead=Sales Qualified Lead|opportunity=Opportunity|customer=Customer|evangelist=Evangelist|other=Other"
)
_LANGUAGES = "de=German|de-at=German - Austria|de-ch=German - Switzerland|de-de=German - Germany|en=English|" + (
    "en-gb=English - United Kingdom|en-us=English - United States|fr=French|fr-be=French - Belgium|"
    "fr-ch=French - Switzerland|fr-fr=French - France|it=Italian|it-ch=Italian - Switzerland|it-it=Italian - Italy|"
    "es=Spanish|nl=Dutch|pt=Portuguese"
)

_CONTACT = f"""
firstname; First Name; string
lastname; Last Name; string
salutation; Salutation; string
email; Email; string; u
hs_additional_emails; Additional email addresses; enumeration:checkbox; r
phone; Phone Number; string:phonenumber
mobilephone; Mobile Phone Number; string:phonenumber
fax; Fax Number; string
company; Company Name; string
jobtitle; Job Title; string
website; Website URL; string
address; Street Address; string
city; City; string
state; State/Region; string
zip; Postal Code; string
country; Country/Region; string
message; Message; string:textarea
date_of_birth; Date of birth; string
gender; Gender; string
industry; Industry; string
annualrevenue; Annual Revenue; string
numemployees; Number of Employees; enumeration; 1-5|5-25|25-50|50-100|100-500|500-1000|1000+
hs_language; Preferred language; enumeration; {_LANGUAGES}
hs_timezone; Time Zone; enumeration;
    europe_slash_zurich=UTC +01:00 Europe Zurich|europe_slash_paris=UTC +01:00 Europe Paris
lifecyclestage; Lifecycle Stage; enumeration:radio; {_LIFECYCLE}
hs_lead_status; Lead Status; enumeration:radio;
    NEW=New|OPEN=Open|IN_PROGRESS=In Progress|OPEN_DEAL=Open Deal|UNQUALIFIED=Unqualified
    |ATTEMPTED_TO_CONTACT=Attempted to Contact|CONNECTED=Connected|BAD_TIMING=Bad Timing
hs_legal_basis; Legal basis for processing contact's data; enumeration:checkbox;
    Legitimate interest – prospect/lead|Legitimate interest – existing customer|Legitimate interest - other
    |Performance of a contract|Freely given consent from contact|Not applicable
closedate; Close Date; datetime
notes_last_contacted; Last Contacted; datetime; c
notes_last_updated; Last Activity Date; datetime; c
num_notes; Number of Sales Activities; number; c
createdate; Create Date; datetime; r
lastmodifieddate; Last Modified Date; datetime; r
associatedcompanyid; Primary Associated Company ID; number
hs_email_optout; Unsubscribed from all email; bool; r
hs_email_domain; Email Domain; string; c
hs_full_name_or_email; Full name or email; string; c
hs_is_contact; Is a contact; bool; c
hs_is_unworked; Contact unworked; bool; c
hs_all_contact_vids; Merged vids with timestamps of a contact; enumeration:checkbox; c
hs_pipeline; Pipeline; enumeration; contacts-lifecycle-pipeline=Lifecycle Stage Pipeline
hs_calculated_phone_number; Calculated Phone Number in International Format; string; c
hs_calculated_mobile_number; Calculated Mobile Number in International Format; string; c
hs_searchable_calculated_phone_number; Calculated Phone Number with area code; string; c
hs_searchable_calculated_mobile_number; Calculated Mobile Number with area code; string; c
hs_searchable_calculated_international_phone_number; Calculated Phone Number with country code; string; c
hs_searchable_calculated_international_mobile_number; Calculated Mobile Number with country code; string; c
"""
_COMPANY = f"""
name; Company name; string
domain; Company Domain Name; string
phone; Phone Number; string:phonenumber
website; Website URL; string
description; Description; string:textarea
address; Street Address; string
city; City; string
state; State/Region; string
zip; Postal Code; string
country; Country/Region; string
numberofemployees; Number of Employees; number
annualrevenue; Annual Revenue; number
industry; Industry; enumeration;
    ACCOUNTING=Accounting|CONSTRUCTION=Construction|COMPUTER_SOFTWARE=Computer Software
    |FINANCIAL_SERVICES=Financial Services|FOOD_BEVERAGES=Food & Beverages
    |HOSPITAL_HEALTH_CARE=Hospital & Health Care|INSURANCE=Insurance|MACHINERY=Machinery|REAL_ESTATE=Real Estate
    |RETAIL=Retail|TRANSPORTATION_TRUCKING_RAILROAD=Transportation/Trucking/Railroad
type; Type; enumeration; PROSPECT=Prospect|PARTNER=Partner|RESELLER=Reseller|VENDOR=Vendor|OTHER=Other
lifecyclestage; Lifecycle Stage; enumeration:radio; {_LIFECYCLE}
createdate; Create Date; datetime; r
hs_lastmodifieddate; Last Modified Date; datetime; r
hs_pipeline; Pipeline; enumeration; companies-lifecycle-pipeline=Lifecycle Stage Pipeline
hs_calculated_phone_number; Calculated Phone Number in International Format; string; c
hs_searchable_calculated_phone_number; Calculated Phone Number with area code; string; c
"""
_DEAL = """
dealname; Deal Name; string
amount; Amount; number
amount_in_home_currency; Amount in company currency; number; c
deal_currency_code; Currency; enumeration; CHF=CHF|EUR=EUR|USD=USD
pipeline; Pipeline; enumeration; @PIPELINE
dealstage; Deal Stage; enumeration:radio; @STAGE
dealtype; Deal Type; enumeration:radio; newbusiness=New Business|existingbusiness=Existing Business
description; Deal Description; string:textarea
closedate; Close Date; datetime
closed_lost_reason; Closed Lost Reason; string:textarea
closed_won_reason; Closed Won Reason; string:textarea
hs_priority; Priority; enumeration; low=Low|medium=Medium|high=High
hs_next_step; Next step; string
createdate; Create Date; datetime; r
hs_createdate; HubSpot Create Date; datetime; r
hs_lastmodifieddate; Last Modified Date; datetime; r
days_to_close; Days to close; number; c
hs_is_closed; Is Deal Closed?; bool; c
hs_is_closed_won; Is Closed Won; bool; c
hs_is_closed_lost; Is closed lost; bool; c
hs_deal_stage_probability; Deal probability; number; c
hs_projected_amount; Weighted amount; number; c
hs_forecast_amount; Forecast amount; number; c
num_associated_contacts; Number of Associated Contacts; number; c
num_notes; Number of Sales Activities; number; c
"""
_TICKET = """
subject; Ticket name; string
content; Ticket description; string:textarea
hs_pipeline; Pipeline; enumeration; @PIPELINE
hs_pipeline_stage; Ticket status; enumeration; @STAGE
hs_ticket_priority; Priority; enumeration; LOW=Low|MEDIUM=Medium|HIGH=High|URGENT=Urgent
hs_ticket_category; Category; enumeration:checkbox;
    PRODUCT_ISSUE=Product Issue|BILLING_ISSUE=Billing Issue|FEATURE_REQUEST=Feature Request
    |GENERAL_INQUIRY=General Inquiry
source_type; Source; enumeration; CHAT=Chat|EMAIL=Email|FORM=Form|PHONE=Phone
hs_resolution; Resolution; enumeration:checkbox; ISSUE_FIXED=Issue fixed|NO_RESPONSE=No response|OTHER=Other
closed_date; Close date; datetime
createdate; Create date; datetime; r
hs_lastmodifieddate; Last modified date; datetime; r
hs_ticket_id; Ticket ID; number; r
hs_is_closed; Is closed; bool; c
num_notes; Number of Sales Activities; number; c
"""
_ACTIVITY = """
hs_timestamp; Activity date; datetime
hs_createdate; Create date; datetime; r
hs_lastmodifieddate; Last modified date; datetime; r
hs_activity_type; Call and meeting type; string
hs_attachment_ids; Attached file IDs; enumeration:checkbox; *=Any
hs_body_preview; Body preview; string; c
hs_body_preview_html; HTML Body Preview; string; c
hs_body_preview_is_truncated; Body Preview Truncated; bool; c
hs_obj_coords; Object coordinates; string; c
hs_user_ids_of_all_owners; User IDs of all owners; enumeration:checkbox; c
"""
_CALL = """
hs_call_title; Call Title; string
hs_call_body; Call notes; string:html
hs_call_direction; Call direction; enumeration; INBOUND=Inbound|OUTBOUND=Outbound
hs_call_duration; Call duration; number
hs_call_from_number; From number; string
hs_call_to_number; To number; string
hs_call_status; Call status; enumeration;
    BUSY=Busy|CALLING_CRM_USER=Calling CRM User|CANCELED=Canceled|COMPLETED=Completed|CONNECTING=Connecting
    |FAILED=Failed|IN_PROGRESS=In Progress|NO_ANSWER=No Answer|QUEUED=Queued|RINGING=Ringing
hs_call_disposition; Call outcome; enumeration;
    9d9162e7-6cf3-4944-bf63-4dff82258764=Busy|f240bbac-87c9-4f6e-bf70-924b57d47db7=Connected
    |a4c4c377-d246-4b32-a13b-75a56a4cd0ff=Left live message|b2cf5968-551e-4856-9783-52b3da59a7d0=Left voicemail
    |73a0d17f-1163-4015-bdd5-ec830791da20=No answer|17b47fee-58de-441e-a44c-c6300d46f273=Wrong number
hs_call_recording_url; Recording URL; string
hs_call_source; Call source; string
hs_call_app_id; App ID; number
hs_call_external_id; External ID; string
hs_call_callee_object_id; Callee object ID; number
hs_call_callee_object_type_id; Callee object type; string
hs_call_has_transcript; Transcript available; bool; c
"""
_TASK = """
hs_task_subject; Task Title; string
hs_task_body; Task Notes; string:html
hs_task_status; Task Status; enumeration;
    NOT_STARTED=Not Started|IN_PROGRESS=In Progress|WAITING=Waiting|DEFERRED=Deferred|COMPLETED=Completed
hs_task_priority; Priority; enumeration; NONE=None|LOW=Low|MEDIUM=Medium|HIGH=High
hs_task_type; Task Type; enumeration; TODO=To-do|CALL=Call|EMAIL=Email
hs_task_reminders; Reminders; string
hs_queue_membership_ids; Task queues; enumeration:checkbox; *=Any
hs_task_completion_date; Completed at; datetime; c
hs_task_is_completed; Is completed; number; c
"""
_NOTE = """
hs_note_body; Note body; string:html
"""
_MEETING = """
hs_meeting_title; Meeting name; string
hs_meeting_body; Meeting description; string:html
hs_internal_meeting_notes; Internal meeting notes; string:html
hs_meeting_location; Meeting location; string
hs_meeting_external_url; External URL; string
hs_meeting_start_time; Meeting start time; datetime
hs_meeting_end_time; Meeting end time; datetime
hs_meeting_outcome; Meeting outcome; enumeration;
    SCHEDULED=Scheduled|COMPLETED=Completed|RESCHEDULED=Rescheduled|NO_SHOW=No Show|CANCELED=Canceled
hs_meeting_source; Meeting source; string
"""


def _all(group: str, *blocks: str) -> Mapping[str, Definition]:
    return {definition.name: definition for block in blocks for definition in _read(group, block)}


STANDARD: Mapping[str, Mapping[str, Definition]] = {
    "contact": _all("contactinformation", _COMMON, _CONTACT),
    "company": _all("companyinformation", _COMMON, _COMPANY),
    "deal": _all("dealinformation", _COMMON, _DEAL),
    "ticket": _all("ticketinformation", _COMMON, _TICKET),
    "call": _all("call", _COMMON, _ACTIVITY, _CALL),
    "task": _all("task", _COMMON, _ACTIVITY, _TASK),
    "note": _all("note", _COMMON, _ACTIVITY, _NOTE),
    "meeting": _all("meeting", _COMMON, _ACTIVITY, _MEETING),
}

GROUPS: Mapping[str, str] = {kind: next(iter(known.values())).group for kind, known in STANDARD.items()}
