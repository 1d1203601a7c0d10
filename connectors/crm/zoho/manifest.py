"""Zoho CRM as data: addresses, data centres, scopes, limits, and how each kind of write is kept from doubling.

Source: zoho.com/crm/developer as of 2026-11 and zoho/crm-oas v8.0 (API version 8; v2 to v8 all answer).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import msgspec

from connectors.crm.port import Bucket, Manifest, Stick, Sticking
from connectors.crm.records import Kind

VERSION = "v8"

KEY = "Gateway_Key"
"""The field of ours that carries a write's key. Zoho makes a field's name out of its label: letters, digits, "_"."""
KEY_LABEL = "Gateway Key"
PER_REQUEST = 5  # sub-requests of one composite request, and so writes of one run


class DataCentre(msgspec.Struct, frozen=True):
    """One row of Zoho's table: where people sign in, where the API is, where the pages are. Never mixed across rows."""

    accounts: str
    api: str
    ui: str


_ROWS = (  # location, top-level domain; Canada's hosts are under another name
    *((place, "zoho", tld) for place, tld in (("us", "com"), ("eu", "eu"), ("in", "in"), ("au", "com.au"))),
    *((place, "zoho", tld) for place, tld in (("jp", "jp"), ("cn", "com.cn"), ("sa", "sa"), ("uk", "uk"))),
    ("ca", "zohocloud", "ca"),
)
DATA_CENTRES: Mapping[str, DataCentre] = {
    place: DataCentre(f"accounts.{name}.{tld}", f"www.zohoapis.{tld}", f"crm.{name}.{tld}")
    for place, name, tld in _ROWS
}
"""By the `location` of the callback. "uk" is hearsay: it is accepted, nobody is sent there."""

_TLDS = r"(?P<region>com|eu|in|com\.au|jp|com\.cn|sa|uk|ca)"  # which API belongs to which sign-in, and which secret

_ENFORCED = Sticking(
    stick=Stick.ENFORCED,
    where=f"in the field “{KEY_LABEL}”, whose values Zoho keeps unique",
    settle=timedelta(seconds=15),
)
OWN_FIELD = Sticking(
    stick=Stick.FOUND,
    where=f"in the field “{KEY_LABEL}”, looked up in Zoho's database before anything is sent again",
    settle=timedelta(seconds=30),
)
_MARKED = Sticking(
    stick=Stick.FOUND,
    where="in a line “Ref. gw-…” at the end of the text, found through the record it belongs to",
    settle=timedelta(seconds=60),
)
_BY_EMAIL = Sticking(
    stick=Stick.FOUND,
    where="by the person's e-mail address; without one it cannot be found again",
    settle=timedelta(seconds=60),
)
_REPEATABLE = Sticking(
    stick=Stick.REPEATABLE, where="nowhere: the same values twice change nothing", settle=timedelta(seconds=15)
)

KEYED: Mapping[str, tuple[Kind, ...]] = {
    "upsert_contact": (Kind.CONTACT, Kind.LEAD),
    "log_call": (Kind.CALL,),
    "create_task": (Kind.TASK,),
    "create_event": (Kind.EVENT,),
    "create_deal": (Kind.DEAL,),
    "create_ticket": (Kind.TICKET,),
}
"""Writes whose modules may get our field. Notes take no fields of their own."""


def has_field(sticking: Sticking) -> bool:
    """Whether at this level the key lies in a field of ours (and not in a text)."""
    return KEY_LABEL in sticking.where


def _modules(module: str, *rights: str) -> tuple[str, ...]:
    return tuple(f"ZohoCRM.modules.{module}.{right}" for right in rights)


MANIFEST = Manifest(
    slug="zoho",
    name="Zoho CRM",
    api_origin="https://www.zohoapis.com",
    auth_origin="https://accounts.zoho.com",  # where everyone starts; Zoho sends each to the user's data centre
    token_origin="https://accounts.zoho.com",  # noqa: S106 - an address; the callback names the one that counts
    authorize_path="/oauth/v2/auth",
    token_path="/oauth/v2/token",  # noqa: S106
    revoke_path="/oauth/v2/token/revoke",
    scopes=(
        *_modules("contacts", "READ", "CREATE", "UPDATE"),
        *_modules("leads", "READ", "CREATE", "UPDATE"),
        *_modules("accounts", "READ"),
        *_modules("calls", "READ", "CREATE"),
        "ZohoSearch.securesearch.READ",
        "ZohoCRM.coql.READ",
        "ZohoCRM.composite_requests.CUSTOM",
        "ZohoCRM.settings.fields.READ",
        "ZohoCRM.users.READ",
        "ZohoCRM.org.READ",
    ),
    optional_scopes=(
        *_modules("tasks", "READ", "CREATE"),
        *_modules("events", "READ", "CREATE"),
        *_modules("notes", "READ", "CREATE"),
        *_modules("deals", "READ", "CREATE", "UPDATE"),
        *_modules("cases", "READ", "CREATE", "UPDATE"),
        "ZohoCRM.settings.fields.CREATE",
        "ZohoCRM.settings.layouts.READ",
        "ZohoCRM.settings.pipeline.READ",
        "ZohoCRM.settings.tags.ALL",
        *(f"ZohoCRM.notifications.{right}" for right in ("CREATE", "READ", "UPDATE", "DELETE")),
    ),
    pkce=False,  # not documented for server-side apps
    client_auth="body",
    can=frozenset(KEYED)
    | {"add_note", "set_fields", "assign_owner", "move_stage", "add_to_list", "opt_out"}
    | {"find_contacts", "context", "owners", "pipelines", "fields", "create_field", "list_contacts", "changes_since"}
    | {"deleted_since", "subscribe"},
    sticks={
        **{name: (_ENFORCED, OWN_FIELD, _BY_EMAIL if name == "upsert_contact" else _MARKED) for name in KEYED},
        "add_note": (_MARKED,),
        **dict.fromkeys(("set_fields", "assign_owner", "move_stage", "add_to_list", "opt_out"), (_REPEATABLE,)),
    },
    run=PER_REQUEST,
    buckets={
        # Calls under way at once, of an org and app: 5 in the free edition, 10 in Standard, up to 25. A composite request
        # counts as five of them whatever it holds; one may always be the lookup's.
        "api": Bucket(limit=5, per=timedelta(0), reserve=1),
        "composite": Bucket(limit=2, per=timedelta(0), reserve=1),
        # Credits of 24 hours, of the org, all its apps together: 50,000 and more in paid editions, 5,000 in the free one.
        "credits": Bucket(limit=50_000, per=timedelta(days=1), reserve=5_000),
    },
    refresh_ahead=timedelta(minutes=10),  # tokens last an hour; at most ten are given out in ten minutes
    scope_words={
        "ZohoCRM.modules.contacts.READ": "find callers among your contacts",
        "ZohoCRM.modules.contacts.CREATE": "add callers to your contacts",
        "ZohoCRM.modules.contacts.UPDATE": "fill in what contacts lack",
        "ZohoCRM.modules.leads.READ": "find callers among your leads",
        "ZohoCRM.modules.leads.CREATE": "add callers to your leads",
        "ZohoCRM.modules.leads.UPDATE": "fill in what leads lack",
        "ZohoCRM.modules.accounts.READ": "find callers among your accounts",
        "ZohoCRM.modules.calls.READ": "see past calls",
        "ZohoCRM.modules.calls.CREATE": "log calls",
        "ZohoCRM.modules.tasks.READ": "see tasks",
        "ZohoCRM.modules.tasks.CREATE": "create follow-up tasks",
        "ZohoCRM.modules.events.READ": "see meetings",
        "ZohoCRM.modules.events.CREATE": "create meetings",
        "ZohoCRM.modules.notes.READ": "see notes",
        "ZohoCRM.modules.notes.CREATE": "write notes",
        "ZohoCRM.modules.deals.READ": "tell the agent about open deals",
        "ZohoCRM.modules.deals.CREATE": "create deals",
        "ZohoCRM.modules.deals.UPDATE": "move deals to another stage",
        "ZohoCRM.modules.cases.READ": "tell the agent about open cases",
        "ZohoCRM.modules.cases.CREATE": "create cases",
        "ZohoCRM.modules.cases.UPDATE": "change cases",
        "ZohoSearch.securesearch.READ": "search by phone number",
        "ZohoCRM.coql.READ": "look up what was just written",
        "ZohoCRM.composite_requests.CUSTOM": "ask for several things in one request",
        "ZohoCRM.settings.fields.READ": "see which fields hold phone numbers",
        "ZohoCRM.settings.fields.CREATE": "make the field that keeps records from doubling",
        "ZohoCRM.settings.layouts.READ": "see your layouts",
        "ZohoCRM.settings.pipeline.READ": "see your pipelines and stages",
        "ZohoCRM.settings.tags.ALL": "put tags on people",
        "ZohoCRM.notifications.CREATE": "be told when people change",
        "ZohoCRM.notifications.READ": "see which changes we are told of",
        "ZohoCRM.notifications.UPDATE": "go on being told of changes",
        "ZohoCRM.notifications.DELETE": "no longer be told of changes",
        "ZohoCRM.users.READ": "know who looks after a contact",
        "ZohoCRM.org.READ": "know which organisation this is",
    },
    substitutes={
        "create_ticket": "a case in Zoho CRM. Tickets of Zoho Desk are another product",
        "add_to_list": "a tag on the record; Zoho's lists are views over such values",
    },
    opt_out_limits="Zoho's “Email Opt Out” keeps a contact or lead from mass e-mails and campaigns sent out of Zoho CRM. "
    "It knows no do-not-call, and other Zoho products keep lists of their own.",
    keys_fields={kind: KEY for kinds in KEYED.values() for kind in kinds},
    region_hosts=rf"(?:www|sandbox|developer)\.zohoapis\.{_TLDS}",
    login_hosts=rf"accounts\.(?:zoho(?!\.ca)|zohocloud(?=\.ca))\.{_TLDS}",
    login_words="the data centre your Zoho account lives in, such as accounts.zoho.eu",
    callback_host="accounts-server",
    origin_field="api_domain",
    scope_separator=",",
    optional_scope_field="",  # Zoho's page knows no optional scopes
    # Without `offline` there is no refresh token; without `consent` a second sign-in gives none.
    authorize_extra={"access_type": "offline", "prompt": "consent"},
    consent_hosts=tuple(f"https://{row.accounts}" for row in DATA_CENTRES.values()),
    auth_scheme="Zoho-oauthtoken",
    refresh_floor=timedelta(minutes=1),  # ten tokens in ten minutes; after that none for the rest of them
    grants_apart=True,  # a user has twenty refresh tokens per app; one more silently ends the oldest
    assumed_life=timedelta(hours=1),
    notices="subscribed",
    guide="docs/connect/zoho.md",
)
