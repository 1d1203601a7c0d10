"""Records as the API shows them: v2 with plain ids, RFC 3339 times and own fields apart; v1 (notes, leads, recents) as it
was. Shapes as recorded in 2026-05 (nango-*) and as OpenAPI has them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from connectors.sandbox.pipedrive.company import Company, User, lead_uuid
from connectors.sandbox.store import Entry


def v2_time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def v1_time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def lead_time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def split(name: str) -> tuple[str | None, str | None]:
    """First word and the rest (recorded: nango-update-person)."""
    first, _, rest = name.strip().partition(" ")
    return first or None, rest.strip() or None


def person(company: Company, entry: Entry) -> dict[str, Any]:
    """`marketing_status` only with Campaigns; job titles and the like only with Contact Sync."""
    values = company.values(entry, "person")
    first, last = split(values.get("name", ""))
    shown = {
        "id": int(entry.id),
        "name": values.get("name"),
        "first_name": first,
        "last_name": last,
        "owner_id": values.get("owner_id", company.installer.id),
        "org_id": values.get("org_id"),
        **_times(company, entry),
        "emails": values.get("emails") or [],
        "phones": values.get("phones") or [],
        "is_deleted": entry.archived_at is not None,
        "visible_to": values.get("visible_to", 3),
        "label_ids": values.get("label_ids") or [],
        "picture_id": None,
        "custom_fields": _own(company, "person", values),
    }
    return shown | ({"marketing_status": values.get("marketing_status", "no_consent")} if company.campaigns else {})


def organization(company: Company, entry: Entry) -> dict[str, Any]:
    values = company.values(entry, "organization")
    return {
        "id": int(entry.id),
        "name": values.get("name"),
        "owner_id": values.get("owner_id", company.installer.id),
        **_times(company, entry),
        "is_deleted": entry.archived_at is not None,
        "visible_to": values.get("visible_to", 3),
        "address": values.get("address"),
        "label_ids": values.get("label_ids") or [],
        "website": values.get("website"),
        "linkedin": values.get("linkedin"),
        "industry": values.get("industry"),
        "annual_revenue": values.get("annual_revenue"),
        "employee_count": values.get("employee_count"),
        "custom_fields": _own(company, "organization", values),
    }


def deal(company: Company, entry: Entry) -> dict[str, Any]:
    """Recorded: nango-get-deal."""
    values = company.values(entry, "deal")
    status = values.get("status", "open")
    closed = v2_time(entry.updated_at) if status != "open" else None
    return {
        "id": int(entry.id),
        "title": values.get("title"),
        "creator_user_id": company.installer.id,
        "value": values.get("value", 0),
        "person_id": values.get("person_id"),
        "org_id": values.get("org_id"),
        "stage_id": values.get("stage_id"),
        "currency": values.get("currency", company.currency),
        **_times(company, entry),
        "status": "deleted" if entry.archived_at is not None else status,
        "probability": values.get("probability"),
        "lost_reason": values.get("lost_reason"),
        "visible_to": values.get("visible_to", 3),
        "close_time": closed,
        "pipeline_id": values.get("pipeline_id"),
        "won_time": closed if status == "won" else None,
        "lost_time": closed if status == "lost" else None,
        "stage_change_time": None,
        "local_won_date": None,
        "local_lost_date": None,
        "local_close_date": None,
        "expected_close_date": values.get("expected_close_date"),
        "custom_fields": _own(company, "deal", values),
        "owner_id": values.get("owner_id", company.installer.id),
        "label_ids": values.get("label_ids") or [],
        "is_deleted": entry.archived_at is not None,
        "origin": "API",
        "origin_id": None,
        "channel": None,
        "channel_id": None,
        "is_archived": values.get("is_archived", False),
        "archive_time": None,
    }


def activity(company: Company, entry: Entry) -> dict[str, Any]:
    """`person_id` is the primary participant's: given on its own it is read, and never written."""
    values = company.values(entry, "activity")
    taking_part = values.get("participants") or []
    primary = next((each["person_id"] for each in taking_part if each.get("primary")), None)
    return {
        "id": int(entry.id),
        "subject": values.get("subject"),
        "type": values.get("type"),
        "owner_id": values.get("owner_id", company.installer.id),
        "creator_user_id": company.installer.id,
        "is_deleted": entry.archived_at is not None,
        **_times(company, entry),
        "deal_id": values.get("deal_id"),
        "lead_id": values.get("lead_id"),
        "person_id": primary,
        "org_id": values.get("org_id"),
        "project_id": None,
        "due_date": values.get("due_date"),
        "due_time": values.get("due_time"),
        "duration": values.get("duration"),
        "busy": values.get("busy", False),
        "done": values.get("done", False),
        "marked_as_done_time": v2_time(entry.updated_at) if values.get("done") else None,
        "location": values.get("location"),
        "participants": taking_part,
        "attendees": values.get("attendees"),
        "conference_meeting_client": None,
        "conference_meeting_url": None,
        "conference_meeting_id": None,
        "public_description": values.get("public_description"),
        "priority": values.get("priority"),
        "note": values.get("note"),
    }


def lead(company: Company, entry: Entry) -> dict[str, Any]:
    """Recorded: nango-create-lead. Own fields, which are those of deals, stand beside the rest, where they have a value."""
    values = company.values(entry, "lead")
    own = {code: values[code] for code in company.custom("lead") if code in values}
    return {
        "id": lead_uuid(entry.id),
        "title": values.get("title"),
        "owner_id": values.get("owner_id", company.installer.id),
        "creator_id": company.installer.id,
        "label_ids": values.get("label_ids") or [],
        "value": values.get("value"),
        "expected_close_date": values.get("expected_close_date"),
        "person_id": values.get("person_id"),
        "organization_id": values.get("organization_id"),
        "is_archived": values.get("is_archived", False),
        "archive_time": None,
        "source_name": "API",
        "source_deal_id": None,
        "origin": "API",
        "origin_id": values.get("origin_id"),
        "channel": values.get("channel"),
        "channel_id": values.get("channel_id"),
        "was_seen": values.get("was_seen", False),
        "next_activity_id": None,
        "add_time": lead_time(company.added(entry)),
        "update_time": lead_time(entry.updated_at),
        "visible_to": values.get("visible_to", "3"),
        "cc_email": f"{company.domain}+{company.id}+lead{entry.id}@pipedrivemail.com",
        **own,
    }


def note(company: Company, entry: Entry) -> dict[str, Any]:
    """Recorded: nango-create-note."""
    values = company.values(entry, "note")
    author = company.users.get(values.get("user_id", company.installer.id), company.installer)
    names = {
        "organization": ("organization", "org_id", "name"),
        "person": ("person", "person_id", "name"),
        "deal": ("deal", "deal_id", "title"),
    }
    beside: dict[str, Any] = {}
    for member, (entity, key, shown) in names.items():
        other = company.get(entity, str(values[key])) if values.get(key) is not None else None
        beside[member] = {shown: company.value(other, entity, shown)} if other is not None else None
    return {
        "id": int(entry.id),
        "user_id": author.id,
        "deal_id": values.get("deal_id"),
        "person_id": values.get("person_id"),
        "org_id": values.get("org_id"),
        "lead_id": values.get("lead_id"),
        "content": values.get("content"),
        "add_time": v1_time(company.added(entry)),
        "update_time": v1_time(entry.updated_at),
        "active_flag": entry.archived_at is None,
        "pinned_to_deal_flag": bool(values.get("pinned_to_deal_flag")),
        "pinned_to_person_flag": bool(values.get("pinned_to_person_flag")),
        "pinned_to_organization_flag": bool(values.get("pinned_to_organization_flag")),
        "pinned_to_lead_flag": bool(values.get("pinned_to_lead_flag")),
        "last_update_user_id": None,
        **beside,
        "lead": None,
        "user": {
            "email": author.email,
            "name": author.name,
            "icon_url": None,
            "is_you": author.id == company.installer.id,
        },
    }


def user(company: Company, one: User) -> dict[str, Any]:
    """Recorded: nango-get-user."""
    return {
        "id": one.id,
        "name": one.name,
        "email": one.email,
        "lang": 1,
        "locale": "de_CH",
        "timezone_name": "Europe/Zurich",
        "timezone_offset": "+01:00",
        "default_currency": company.currency,
        "icon_url": None,
        "active_flag": one.active,
        "is_deleted": False,
        "is_admin": int(one.admin),
        "role_id": 1,
        "created": "2024-01-09 08:30:00",
        "has_created_company": one.admin,
        "is_you": one.id == company.installer.id,
        "access": [{"app": "sales", "admin": one.admin, "permission_set_id": "29c72ef0-503e-11f1-b3a6-eb22592a8a2c"}],
        "phone": None,
        "modified": "2026-05-15 09:46:05",
        "last_login": "2026-05-15 09:46:05",
        "activated": True,
    }


def old_person(company: Company, entry: Entry) -> dict[str, Any]:
    """A person in v1's words, as `/recents` still shows them (recorded: nango-persons)."""
    new = person(company, entry)
    gone = entry.archived_at is not None
    merged = company.merged_into.get(entry.id)
    return {
        "id": new["id"],
        "company_id": company.id,
        "owner_id": new["owner_id"],
        "org_id": new["org_id"],
        "name": new["name"],
        "first_name": new["first_name"],
        "last_name": new["last_name"],
        "active_flag": not gone,
        "phone": new["phones"] or [{"value": "", "primary": True}],
        "email": new["emails"] or [{"value": "", "primary": True}],
        "add_time": v1_time(company.added(entry)),
        "update_time": v1_time(entry.updated_at),
        "delete_time": v1_time(entry.archived_at) if entry.archived_at else None,
        "visible_to": str(new["visible_to"]),
        **({"merge_what_id": int(merged)} if merged else {}),
        **new["custom_fields"],
    }


def old_organization(company: Company, entry: Entry) -> dict[str, Any]:
    new = organization(company, entry)
    return {
        "id": new["id"],
        "company_id": company.id,
        "owner_id": _old_user(company, new["owner_id"]),
        "name": new["name"],
        "active_flag": entry.archived_at is None,
        "add_time": v1_time(company.added(entry)),
        "update_time": v1_time(entry.updated_at),
        "visible_to": str(new["visible_to"]),
        **new["custom_fields"],
    }


def _old_user(company: Company, id: int) -> dict[str, Any]:
    """v1 embeds owners (recorded: nango-list-organizations)."""
    one = company.users.get(id, company.installer)
    shown = {"id": one.id, "name": one.name, "email": one.email, "has_pic": 0, "pic_hash": None}
    return {**shown, "active_flag": one.active, "value": one.id}


def _times(company: Company, entry: Entry) -> dict[str, str]:
    return {"add_time": v2_time(company.added(entry)), "update_time": v2_time(entry.updated_at)}


def _own(company: Company, entity: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Every field of the company's own, null where it has no value."""
    return {code: values.get(code) for code in company.custom(entity)}


SHOWN = {
    "person": person,
    "organization": organization,
    "deal": deal,
    "activity": activity,
    "lead": lead,
    "note": note,
}
