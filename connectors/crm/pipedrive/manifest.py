"""Pipedrive as data: addresses, scopes, limits, and how each kind of write is kept from doubling.

Source: Pipedrive's OpenAPI files of 2026-08 and its developer guide as of 2026-11. v2 wherever it exists; v1 for what
has no v2 twin (users, notes, leads, webhooks, activity types, recents). v1 twins of v2 are out of support since 2026-08-01.
"""

from __future__ import annotations

from datetime import timedelta

from connectors.crm.port import Bucket, Manifest, Stick, Sticking
from connectors.crm.records import Kind

V1, V2 = "/api/v1", "/api/v2"

KEY = "Gateway key"
"""Name of the custom field of ours on persons and deals that carries a write's key. Pipedrive gives it a code of its own in
every company, and keeps no values unique."""

TEXT = "Gateway note"
"""Name of the custom field of ours that holds a deal's text: deals have none, and a note beside it would be a second
request that can be lost alone."""

NO_MARKETING = "No marketing"
"""Name of the label that stands for an opt-out where the marketing status cannot."""

TICKET = "Ticket: "
"""What subjects of activities that stand for tickets begin with."""

_KEYED = Sticking(
    stick=Stick.FOUND,
    where="in the field “Gateway key”, looked for among the persons added last",
    settle=timedelta(seconds=60),
)
_NEWEST = Sticking(
    stick=Stick.FOUND,
    where="by the same number or e-mail address among the persons added last",
    settle=timedelta(seconds=60),
)
_MARKED = Sticking(
    stick=Stick.FOUND,
    where="in a line “Ref. gw-…” at the end of the text, found through the person it belongs to, else among the newest",
    settle=timedelta(seconds=60),
)
_MARKED_NOTE = Sticking(
    stick=Stick.FOUND,
    where="in a line “Ref. gw-…” at the end of the note, found through the person it belongs to",
    settle=timedelta(seconds=60),
)
_KEYED_DEAL = Sticking(
    stick=Stick.FOUND,
    where="in the field “Gateway key”, looked for among the person's deals",
    settle=timedelta(seconds=60),
)
_BLIND_DEAL = Sticking(
    stick=Stick.BLIND,
    where="nowhere: the field “Gateway key” could not be made for deals",
    settle=timedelta(seconds=60),
)
_REPEATABLE = Sticking(
    stick=Stick.REPEATABLE, where="nowhere: the same values twice change nothing", settle=timedelta(seconds=15)
)

MANIFEST = Manifest(
    slug="pipedrive",
    name="Pipedrive",
    api_origin="https://api.pipedrive.com",  # a company's own `api_domain` replaces it
    auth_origin="https://oauth.pipedrive.com",
    token_origin="https://oauth.pipedrive.com",  # noqa: S106 - an address
    authorize_path="/oauth/authorize",
    token_path="/oauth/token",  # noqa: S106 - an address
    revoke_path="/oauth/revoke",
    # Set in the app at the Developer Hub and granted as one bundle: none are asked for at sign-in.
    scopes=("base", "contacts:full", "activities:full", "deals:full", "users:read", "search:read"),
    optional_scopes=("leads:full", "contact-fields:full", "deal-fields:full", "admin"),
    scope_field="",
    pkce=False,  # not documented
    client_auth="basic",
    region_hosts=r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.pipedrive\.com",
    origin_field="api_domain",
    assumed_life=timedelta(minutes=60),
    idle_life=timedelta(days=60),  # each refresh restarts it; the refresh token stays the same
    refresh_ahead=timedelta(minutes=10),
    can=frozenset(
        {
            "upsert_contact",
            "log_call",
            "create_task",
            "create_deal",
            "create_ticket",  # by a substitute, see `substitutes`
            "add_note",
            "create_event",
            "set_fields",
            "assign_owner",
            "move_stage",
            "add_to_list",
            "opt_out",
        }
    )
    | {"find_contacts", "context", "owners", "pipelines", "fields", "create_field", "list_contacts", "changes_since"}
    | {"deleted_since", "subscribe"},
    sticks={
        "upsert_contact": (_KEYED, _NEWEST),
        "create_deal": (_KEYED_DEAL, _BLIND_DEAL),
        "add_note": (_MARKED_NOTE,),
        **dict.fromkeys(("log_call", "create_task", "create_event", "create_ticket"), (_MARKED,)),
        **dict.fromkeys(("set_fields", "assign_owner", "move_stage", "add_to_list", "opt_out"), (_REPEATABLE,)),
    },
    substitutes={
        "create_ticket": "Pipedrive has no tickets. An open activity of the type “task” is written instead; its subject "
        "begins with “Ticket:”, its text carries the priority.",
        "add_to_list": "Pipedrive has no lists. The label of that name is put on the person, company, deal or lead.",
        "create_task": "Pipedrive reminds people by their own settings. The wished time of a reminder and the priority "
        "stand in the task's text.",
    },
    buckets={
        # Requests of one token, of the smallest plan; headers teach the true number.
        "api": Bucket(limit=80, per=timedelta(seconds=2), reserve=10, spent_by=("search",)),
        "search": Bucket(limit=10, per=timedelta(seconds=2), reserve=5),  # requests, on every plan
        # Tokens of the whole company, shared by all its apps: 30,000 × plan × seats, at least this.
        "daily": Bucket(limit=30_000, per=timedelta(days=1), reserve=6_000),
    },
    scope_words={
        "base": "sign in",
        "contacts:full": "find callers among your people and organisations, and write them",
        "activities:full": "write calls, tasks and meetings",
        "deals:full": "tell the agent about open deals, create and move them",
        "users:read": "know who looks after a contact",
        "search:read": "search by phone number",
        "leads:full": "read and create leads",
        "contact-fields:full": "make the field that keeps people from being entered twice",
        "deal-fields:full": "make the field that keeps deals from being entered twice",
        "admin": "be told of changes at once instead of asking every few minutes",
    },
    opt_out_limits="Pipedrive has a marketing status only with its Campaigns product, for people with an e-mail address, "
    "and lets it be changed once. Where it cannot be set, the person gets the label “No marketing”, which stops nobody "
    "by itself. There is no do-not-call.",
    keys_fields={Kind.CONTACT: KEY, Kind.DEAL: KEY},
    notices="subscribed",
    guide="docs/connect/pipedrive.md",
)
