"""HubSpot as data: addresses, scopes, limits, and how each kind of write is kept from doubling.

Source: developers.hubspot.com as of 2026-11 (API version 2026-09, current since 2026-09-08).
"""

from __future__ import annotations

from datetime import timedelta

from connectors.crm.port import Bucket, Manifest, Stick, Sticking
from connectors.crm.records import Kind

VERSION = "2026-09"  # supported for 18 months; older dates and v1-v4 end in 2027

KEY = "gateway_key"
"""The property of ours that carries a write's key; values are unique where the account lets us. At most ten such
properties exist per kind of object, and uniqueness is fixed when one is made."""

_ENFORCED = Sticking(
    stick=Stick.ENFORCED,
    where="in the property “Gateway key”, whose values HubSpot keeps unique",
    settle=timedelta(seconds=15),
)
_MARKED = Sticking(
    stick=Stick.FOUND,
    where="in a line “Ref. gw-…” at the end of the text, found through the person it belongs to",
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

# What the probe has to make in order to enforce, and what remains where it may not.
KEYED: dict[str, Kind] = {
    "upsert_contact": Kind.CONTACT,
    "log_call": Kind.CALL,
    "create_task": Kind.TASK,
    "add_note": Kind.NOTE,
    "create_event": Kind.EVENT,
    "create_deal": Kind.DEAL,
    "create_ticket": Kind.TICKET,
}

MANIFEST = Manifest(
    slug="hubspot",
    name="HubSpot",
    api_origin="https://api.hubapi.com",  # for every region
    auth_origin="https://app.hubspot.com",
    token_origin="https://api.hubapi.com",  # noqa: S106 - an address
    authorize_path="/oauth/authorize",
    token_path=f"/oauth/{VERSION}/token",
    revoke_path=f"/oauth/{VERSION}/token/revoke",
    introspect_path=f"/oauth/{VERSION}/token/introspect",
    # Calls, tasks, notes and meetings come with the contacts' scopes; asking for scopes of their own breaks the page.
    scopes=("oauth", "crm.objects.contacts.read", "crm.objects.contacts.write", "crm.objects.owners.read"),
    # A required scope that an account's subscription lacks blocks the install; an optional one is dropped silently.
    optional_scopes=(
        "crm.objects.companies.read",
        "crm.objects.companies.write",
        "crm.objects.deals.read",
        "crm.objects.deals.write",
        "crm.schemas.contacts.read",
        "crm.schemas.contacts.write",
        "crm.schemas.companies.read",
        "crm.schemas.companies.write",
        "crm.schemas.deals.read",
        "crm.schemas.deals.write",
        "tickets",
        "crm.lists.read",
        "crm.lists.write",
        "communication_preferences.read_write",
    ),
    pkce=True,
    client_auth="body",
    can=frozenset(KEYED)
    | {"set_fields", "assign_owner", "opt_out", "move_stage", "add_to_list"}
    | {"find_contacts", "context", "owners", "pipelines", "fields", "create_field", "list_contacts", "changes_since"},
    sticks={
        **{name: (_ENFORCED, _BY_EMAIL if name == "upsert_contact" else _MARKED) for name in KEYED},
        **dict.fromkeys(("set_fields", "assign_owner", "opt_out", "move_stage", "add_to_list"), (_REPEATABLE,)),
    },
    buckets={
        "api": Bucket(limit=110, per=timedelta(seconds=10), reserve=20),  # of an OAuth app, per account
        "search": Bucket(limit=5, per=timedelta(seconds=1), reserve=3),  # of the account, shared by all its apps
    },
    refresh_ahead=timedelta(minutes=5),  # tokens last thirty
    scope_words={
        "oauth": "sign in",
        "crm.objects.contacts.read": "find callers among your contacts",
        "crm.objects.contacts.write": "write calls, tasks, notes and contacts",
        "crm.objects.owners.read": "know who looks after a contact",
        "crm.objects.companies.read": "find callers among your companies",
        "crm.objects.companies.write": "change companies",
        "crm.objects.deals.read": "tell the agent about open deals",
        "crm.objects.deals.write": "create deals",
        "crm.schemas.contacts.read": "see which fields contacts have",
        "crm.schemas.contacts.write": "make the field that keeps contacts and activities from doubling",
        "crm.schemas.companies.read": "see which fields companies have",
        "crm.schemas.companies.write": "make fields for companies",
        "crm.schemas.deals.read": "see which fields deals have",
        "crm.schemas.deals.write": "make the field that keeps deals from doubling",
        "tickets": "read and create tickets",
        "crm.lists.read": "find your lists by name",
        "crm.lists.write": "put callers into your lists",
        "communication_preferences.read_write": "unsubscribe people from e-mail",
    },
    people=(Kind.CONTACT, Kind.COMPANY),
    opt_out_limits="HubSpot unsubscribes an e-mail address from e-mail. It knows no do-not-call, and nothing for a "
    "person without an address.",
    notices="app",
    guide="docs/connect/hubspot.md",
    keys_fields=dict.fromkeys(KEYED.values(), KEY),
)
