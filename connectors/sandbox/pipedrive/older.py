"""What is still v1: users, activity types and fields, notes, leads and their labels, merges, recent changes. And pipelines
and stages, which are v2 and small."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from connectors.sandbox.pipedrive import documents
from connectors.sandbox.pipedrive.ask import Ask, Routes, cursor_page, made, offset_page, ok
from connectors.sandbox.pipedrive.company import Company, lead_number
from connectors.sandbox.pipedrive.documents import v1_time
from connectors.sandbox.pipedrive.errors import invalid, not_found, refused
from connectors.sandbox.pipedrive.hooks import tell
from connectors.sandbox.pipedrive.records import checked
from connectors.sandbox.pipedrive.shapes import check_custom
from connectors.sandbox.store import Entry

_LEADS, _READS_LEADS = ("leads:full",), ("leads:read", "leads:full")
_NOTES = ("deals:full", "contacts:full")
_READS_NOTES = ("deals:read", "contacts:read", *_NOTES)
_DEALS = ("deals:read", "deals:full", "admin")


def add_routes(routes: Routes) -> None:
    add = routes.add
    add("GET", "/api/v1/users/me", _me, cost=2, scopes=("base",))
    add("GET", "/api/v1/users", _users, cost=20, scopes=("users:read",))
    add("GET", "/api/v1/users/find", _find_user, cost=40, scopes=("users:read",))
    add("GET", "/api/v1/users/{id}", _user, cost=2, scopes=("users:read",))
    types = ("activities:read", "activities:full", "admin")
    add("GET", "/api/v1/activityTypes", _types, cost=20, scopes=types)
    add("GET", "/api/v1/activityFields", _activity_fields, cost=20, scopes=types[:2])
    add("GET", "/api/v1/notes", _notes, cost=20, scopes=_READS_NOTES)
    add("POST", "/api/v1/notes", _create_note, cost=10, scopes=_NOTES)
    add("GET", "/api/v1/notes/{id}", _note, cost=2, scopes=_READS_NOTES)
    add("PUT", "/api/v1/notes/{id}", _update_note, cost=10, scopes=_NOTES)
    add("DELETE", "/api/v1/notes/{id}", _delete_note, cost=6, scopes=_NOTES)
    add("GET", "/api/v1/leads", _leads, cost=20, scopes=_READS_LEADS)
    add("POST", "/api/v1/leads", _create_lead, cost=10, scopes=_LEADS)
    add("GET", "/api/v1/leads/{id}", _lead, cost=2, scopes=_READS_LEADS)
    add("PATCH", "/api/v1/leads/{id}", _update_lead, cost=10, scopes=_LEADS)
    add("DELETE", "/api/v1/leads/{id}", _delete_lead, cost=6, scopes=_LEADS)
    add("GET", "/api/v1/leadLabels", _lead_labels, cost=10, scopes=_READS_LEADS)
    add("PUT", "/api/v1/persons/{id}/merge", _merge, cost=40, scopes=("contacts:full",))
    add("GET", "/api/v1/recents", _recents, cost=20, scopes=("recents:read", "search:read"))
    add("GET", "/api/v2/pipelines", _pipelines, cost=5, scopes=_DEALS)
    add("GET", "/api/v2/stages", _stages, cost=5, scopes=_DEALS)


# ── users ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _me(ask: Ask) -> tuple[int, Any]:
    company = ask.company
    return ok(
        {
            **documents.user(company, company.installer),
            "company_id": company.id,
            "company_name": company.name,
            "company_domain": company.domain,
            "company_country": "CH",
            "company_industry": None,
            "language": {"language_code": "de", "country_code": "CH"},
        }
    )


def _users(ask: Ask) -> tuple[int, Any]:
    shown = [documents.user(ask.company, user) for user in ask.company.users.values()]
    return ok(shown, additional_data={"company_id": ask.company.id})


def _find_user(ask: Ask) -> tuple[int, Any]:
    term = (ask.one("term") or "").lower()
    by_email = ask.one("search_by_email") == "1"
    found = [user for user in ask.company.users.values() if term in (user.email if by_email else user.name).lower()]
    return ok([documents.user(ask.company, user) for user in found])


def _user(ask: Ask) -> tuple[int, Any]:
    user = ask.company.users.get(int(ask.path["id"]) if ask.path["id"].isdigit() else 0)
    if user is None:
        raise not_found("user")
    return ok(documents.user(ask.company, user), additional_data={"company_id": ask.company.id})


# ── activities' make-up, pipelines ──────────────────────────────────────────────────────────────────────────────────


def _types(ask: Ask) -> tuple[int, Any]:
    """Recorded: vcr2-activity-types."""
    return ok(
        [
            {
                "id": at,
                "order_nr": at,
                "name": name,
                "key_string": key,
                "icon_key": icon,
                "active_flag": active,
                "color": None,
                "is_custom_flag": False,
                "add_time": "2024-01-09 08:30:00",
                "update_time": None,
            }
            for at, (key, name, icon, active) in enumerate(ask.company.activity_types, 1)
        ]
    )


def _activity_fields(ask: Ask) -> tuple[int, Any]:
    listed = (
        ("subject", "Subject", "varchar"),
        ("type", "Type", "varchar"),
        ("due_date", "Due date", "date"),
        ("due_time", "Due time", "time"),
        ("note", "Note", "text"),
        ("done", "Done", "boolean"),
    )
    return ok(
        [
            {
                "id": at,
                "key": key,
                "name": name,
                "order_nr": at,
                "field_type": type,
                "active_flag": True,
                "edit_flag": False,
                "mandatory_flag": False,
                "options": None,
            }
            for at, (key, name, type) in enumerate(listed, 1)
        ],
        additional_data={"pagination": {"start": 0, "limit": 100, "more_items_in_collection": False}},
    )


def _pipelines(ask: Ask) -> tuple[int, Any]:
    at = "2026-05-15T09:12:16Z"
    rows = [
        {
            "id": one.id,
            "name": one.name,
            "order_nr": one.order,
            "is_deleted": False,
            "is_deal_probability_enabled": True,
            "add_time": at,
            "update_time": at,
        }
        for one in ask.company.pipelines
    ]
    return cursor_page(ask, rows)


def _stages(ask: Ask) -> tuple[int, Any]:
    """Recorded: nango-stages."""
    at = "2026-05-15T09:12:16Z"
    pipeline = ask.one("pipeline_id")
    rows = [
        {
            "id": one.id,
            "name": one.name,
            "order_nr": one.order,
            "pipeline_id": one.pipeline_id,
            "deal_probability": one.probability,
            "is_deal_rot_enabled": False,
            "days_to_rotten": None,
            "is_deleted": one.deleted,
            "add_time": at,
            "update_time": at,
        }
        for one in ask.company.stages
        if pipeline in (None, str(one.pipeline_id))
    ]
    return cursor_page(ask, sorted(rows, key=lambda row: (row["order_nr"], row["id"])), by="order_nr")


# ── notes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _notes(ask: Ask) -> tuple[int, Any]:
    company = ask.company
    shown = [documents.note(company, entry) for entry in company.all("note")]
    for name in ("person_id", "org_id", "deal_id", "lead_id", "user_id"):
        wanted = ask.one(name)
        if wanted is not None:
            shown = [row for row in shown if str(row[name]) == wanted]
    for part in reversed((ask.one("sort") or "").split(",")):
        name, _, direction = part.strip().partition(" ")
        if name and shown and name not in shown[0]:
            raise refused(400, "Invalid sort parameter")
        if name:
            shown.sort(key=lambda row: row[name], reverse=direction.upper() == "DESC")
    return offset_page(ask, shown)


def _create_note(ask: Ask) -> tuple[int, Any]:
    """Sanitised like any of their HTML: scripts do not get in. An add_time is UTC without saying so."""
    values = checked(ask.company, "note", ask.document())
    if not values.get("content"):
        raise refused(400, "Content must be given.")
    if not any(values.get(name) is not None for name in ("person_id", "org_id", "deal_id", "lead_id")):
        raise refused(400, "At least one of deal_id, lead_id, person_id, org_id must be given")
    if "<script" in values["content"].lower():
        raise refused(400, "content is not allowed")
    entry = ask.company.create("note", values, ask.now)
    tell(ask.company, "note", "create", ask.now, entry)
    return made(documents.note(ask.company, entry))


def _note(ask: Ask) -> tuple[int, Any]:
    return ok(documents.note(ask.company, ask.company.need("note", ask.path["id"])))


def _update_note(ask: Ask) -> tuple[int, Any]:
    entry = ask.company.need("note", ask.path["id"])
    changed = ask.company.update(entry, checked(ask.company, "note", ask.document()), ask.now)
    tell(ask.company, "note", "change", ask.now, changed, before=entry)
    return ok(documents.note(ask.company, changed))


def _delete_note(ask: Ask) -> tuple[int, Any]:
    ask.company.delete(ask.company.need("note", ask.path["id"]), ask.now)
    return ok(True)


# ── leads ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _need_lead(ask: Ask) -> Entry:
    return ask.company.need("lead", str(lead_number(ask.path["id"])))


def _leads(ask: Ask) -> tuple[int, Any]:
    """Archived ones have a list of their own."""
    company = ask.company
    shown = [documents.lead(company, entry) for entry in company.all("lead")]
    shown = [row for row in shown if not row["is_archived"]]
    for name in ("owner_id", "person_id", "organization_id"):
        wanted = ask.one(name)
        if wanted is not None:
            shown = [row for row in shown if str(row[name]) == wanted]
    since = ask.time("updated_since")
    if since is not None:
        shown = [row for row in shown if row["update_time"] >= documents.lead_time(since)]
    name, _, direction = (ask.one("sort") or "add_time ASC").partition(" ")
    if name not in ("id", "title", "owner_id", "add_time", "update_time"):
        raise refused(400, "Invalid sort parameter")
    shown.sort(key=lambda row: (row[name], row["id"]), reverse=direction.upper() == "DESC")
    return offset_page(ask, shown)


def _lead(ask: Ask) -> tuple[int, Any]:
    return ok(documents.lead(ask.company, _need_lead(ask)))


def _lead_values(company: Company, given: dict[str, Any]) -> dict[str, Any]:
    """Own fields stand beside the rest."""
    own = company.custom("lead")
    for code in own.keys() & given.keys():
        check_custom(own[code], given[code])
    rest = {name: value for name, value in given.items() if name not in own}
    values = checked(company, "lead", rest)
    for label in values.get("label_ids") or ():
        if label not in company.lead_labels:
            raise invalid("Label not found: label_ids")
    return {**values, **{code: given[code] for code in own.keys() & given.keys()}}


def _create_lead(ask: Ask) -> tuple[int, Any]:
    values = _lead_values(ask.company, ask.document())
    if not values.get("title"):
        raise refused(400, "title must be given")
    if values.get("person_id") is None and values.get("organization_id") is None:
        raise refused(400, "A lead must be linked to a person or an organization")
    entry = ask.company.create("lead", values, ask.now)
    tell(ask.company, "lead", "create", ask.now, entry)
    return made(documents.lead(ask.company, entry))


def _update_lead(ask: Ask) -> tuple[int, Any]:
    entry = _need_lead(ask)
    changed = ask.company.update(entry, _lead_values(ask.company, ask.document()), ask.now)
    tell(ask.company, "lead", "change", ask.now, changed, before=entry)
    return ok(documents.lead(ask.company, changed))


def _delete_lead(ask: Ask) -> tuple[int, Any]:
    entry = _need_lead(ask)
    ask.company.delete(entry, ask.now)
    tell(ask.company, "lead", "delete", ask.now, None, before=entry)
    return ok({"id": ask.path["id"]})


def _lead_labels(ask: Ask) -> tuple[int, Any]:
    at = "2026-05-15T09:12:16.000Z"
    labels = ask.company.lead_labels.items()
    return ok([{"id": id, "name": name, "color": "red", "add_time": at, "update_time": at} for id, name in labels])


# ── merges, recent changes ──────────────────────────────────────────────────────────────────────────────────────────


def _merge(ask: Ask) -> tuple[int, Any]:
    """The person of the path goes into `merge_with_id`, whose data win. To webhooks it is a delete and a change."""
    company = ask.company
    loser = company.need("person", ask.path["id"])
    winner = company.need("person", str(ask.document().get("merge_with_id")))
    if winner.id == loser.id:
        raise refused(400, "A person cannot be merged with itself")
    kept = company.merge(winner, loser, ask.now)
    tell(company, "person", "delete", ask.now, None, before=loser, merged_to_id=winner.id)
    tell(company, "person", "change", ask.now, kept, before=winner, merged_from_id=loser.id)
    return ok({**documents.old_person(company, kept), "merge_what_id": int(loser.id)})


def _recents(ask: Ask) -> tuple[int, Any]:
    """Everything that changed, deletions too, oldest first."""
    raw = ask.one("since_timestamp") or ""
    try:
        since = datetime.strptime(raw, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        raise refused(400, "since_timestamp must be given") from None
    wanted = set(ask.many("items")) or {"person", "organization"}
    rows: list[dict[str, Any]] = []
    for entity, shown in (("person", documents.old_person), ("organization", documents.old_organization)):
        if entity in wanted:
            for entry in (*ask.company.all(entity), *ask.company.deleted(entity)):
                if entry.updated_at >= since:
                    rows.append({"item": entity, "id": int(entry.id), "data": shown(ask.company, entry)})
    rows.sort(key=lambda row: (row["data"]["update_time"], row["id"]))
    status, body = offset_page(ask, rows)
    last = rows[-1]["data"]["update_time"] if rows else v1_time(ask.now)
    body["additional_data"] |= {"since_timestamp": raw, "last_timestamp_on_page": last}
    return status, body
