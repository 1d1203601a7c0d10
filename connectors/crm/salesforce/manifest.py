"""Salesforce as data: addresses, scopes, limits, and how each kind of write is kept from doubling.

Source: developer.salesforce.com and help.salesforce.com as of 2026-11 (API v66.0, Spring '26: in every org).
"""

from __future__ import annotations

from datetime import timedelta

from connectors.crm.port import Bucket, Manifest, Stick, Sticking
from connectors.crm.records import Kind

VERSION = "66.0"
API = f"/services/data/v{VERSION}"

KEY = "Gateway_Key__c"
"""The field of ours that carries a write's key: Text(255), External ID, Unique. Activities take none that is unique."""

PERMISSION_SET = "Voice_Gateway"  # makes our fields visible: a new field is nobody's until a permission set names it

KEYED: dict[str, tuple[str, ...]] = {  # write → the objects that must carry `KEY` before it is enforced
    "upsert_contact": ("Contact", "Lead"),
    "create_deal": ("Opportunity",),
    "create_ticket": ("Case",),
}

_ENFORCED = Sticking(
    stick=Stick.ENFORCED,
    where="in the field “Gateway Key”, an external id whose values Salesforce keeps unique",
    settle=timedelta(seconds=20),
)
_BY_ADDRESS = Sticking(
    stick=Stick.FOUND,
    where="by the person's e-mail address or telephone number, as we wrote it",
    settle=timedelta(seconds=60),
)
_CALL_OBJECT = Sticking(
    stick=Stick.FOUND, where="in the task's field “Call Object Identifier”", settle=timedelta(seconds=60)
)
_TITLE = Sticking(stick=Stick.FOUND, where="in the note's title, after “Ref.”", settle=timedelta(seconds=60))
_MARKED = Sticking(
    stick=Stick.FOUND,
    where="in a line “Ref. gw-…” at the end of the description, found through the person or company it belongs to",
    settle=timedelta(seconds=60),
)
_REPEATABLE = Sticking(
    stick=Stick.REPEATABLE, where="nowhere: the same values twice change nothing", settle=timedelta(seconds=20)
)

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_MY_DOMAIN = rf"(?:{_LABEL}\.){{1,4}}my\.salesforce\.com"  # the label in front of .my may be name--sandbox.sandbox

MANIFEST = Manifest(
    slug="salesforce",
    name="Salesforce",
    api_origin="https://login.salesforce.com",  # never called: each org has its own, said with every token
    auth_origin="https://login.salesforce.com",
    token_origin="https://login.salesforce.com",  # noqa: S106 - an address
    authorize_path="/services/oauth2/authorize",
    token_path="/services/oauth2/token",  # noqa: S106 - an address
    revoke_path="/services/oauth2/revoke",
    introspect_path="/services/oauth2/introspect",
    # What `api` lets us do is decided by the signed-in user's profile and permission sets, not by more scopes.
    scopes=("api", "refresh_token"),
    optional_scopes=(),
    pkce=True,  # partner apps are refused without it since 2026, confidential ones too
    client_auth="body",
    login_hosts=rf"login\.salesforce\.com|test\.salesforce\.com|{_MY_DOMAIN}",
    login_words="test.salesforce.com for a Salesforce sandbox, or your My Domain (your-name.my.salesforce.com)",
    origin_field="instance_url",
    region_hosts=rf"{_MY_DOMAIN}|(?:na|eu|ap|um|cs)[0-9]{{1,3}}\.salesforce\.com",  # the latter: old pods
    consent_hosts=("https://*.salesforce.com",),  # the page stands on the org's own host
    assumed_life=timedelta(
        hours=2
    ),  # the default session timeout; orgs set 15 minutes to 24 hours, answers say nothing
    idle_life=timedelta(days=30),  # of refresh tokens, for apps in several orgs
    refresh_ahead=timedelta(minutes=10),
    run=25,  # subrequests of one composite request
    can=frozenset(KEYED)
    | {"log_call", "create_task", "add_note", "create_event"}
    | {"set_fields", "assign_owner", "move_stage", "add_to_list", "opt_out"}
    | {"find_contacts", "context", "owners", "pipelines", "fields", "create_field"}
    | {"list_contacts", "changes_since", "deleted_since"},
    sticks={
        "upsert_contact": (_ENFORCED, _BY_ADDRESS),
        "create_deal": (_ENFORCED, _MARKED),
        "create_ticket": (_ENFORCED, _MARKED),
        "log_call": (_CALL_OBJECT,),
        "create_task": (_CALL_OBJECT,),
        "add_note": (_TITLE,),
        "create_event": (_MARKED,),
        **dict.fromkeys(("set_fields", "assign_owner", "move_stage", "add_to_list", "opt_out"), (_REPEATABLE,)),
    },
    buckets={
        # Rolling 24 hours of the whole org, shared with all its other apps. 15,000 is the smallest allowance (Developer);
        # the true one comes with every answer. A fifth is left to lookup.
        "api": Bucket(limit=15_000, per=timedelta(days=1), reserve=3_000),
        # Requests under way that take 20 s or longer: 25, in Developer orgs 5. Ours end after 10 s; this is manners.
        "concurrent": Bucket(limit=20, per=timedelta(0), reserve=5, spent_by=("api",)),
    },
    scope_words={
        "api": "read and write what the connected user may read and write",
        "refresh_token": "stay connected without asking you again",
    },
    opt_out_limits="Salesforce ticks “Email Opt Out” and “Do Not Call” on the person, as far as the connected user may "
    "see and edit them. Consent kept elsewhere (Individual, Marketing Cloud) is not touched.",
    keys_fields={Kind.CONTACT: KEY, Kind.LEAD: KEY, Kind.DEAL: KEY, Kind.TICKET: KEY},
    guide="docs/connect/salesforce.md",
)
