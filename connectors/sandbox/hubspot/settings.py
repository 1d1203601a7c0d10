"""What a portal is and how it is set up: account details, owners, pipelines with their stages, custom object schemas."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from connectors.sandbox.hubspot.ask import Ask, Routes, reads
from connectors.sandbox.hubspot.errors import not_found, stamp
from connectors.sandbox.hubspot.portal import Pipeline, Stage
from connectors.sandbox.store import Person

_ALWAYS = "1970-01-01T00:00:00Z"  # pipelines a portal was born with have never been touched (recorded)


def add_routes(routes: Routes) -> None:
    for details in ("/account-info/{version}/details", "/account-info/v3/details"):
        routes.add("GET", details, account, lambda ask: ("oauth",))
    for usage in (
        "/account-info/{version}/api-usage/daily/private-apps",
        "/account-info/v3/api-usage/daily/private-apps",
    ):
        routes.add("GET", usage, api_usage, lambda ask: ("oauth",))
    for owners in ("/crm/owners/{version}", "/crm/v3/owners", "/crm/owners/v3"):
        routes.add("GET", owners, list_owners, lambda ask: ("crm.objects.owners.read",))
        routes.add("GET", f"{owners}/{{id}}", read_owner, lambda ask: ("crm.objects.owners.read",))
    for pipelines in ("/crm/pipelines/{version}/{type}", "/crm/v3/pipelines/{type}", "/crm/pipelines/v3/{type}"):
        routes.add("GET", pipelines, list_pipelines, reads)
        routes.add("GET", f"{pipelines}/{{id}}", read_pipeline, reads)
        routes.add("GET", f"{pipelines}/{{id}}/stages", list_stages, reads)
        routes.add("GET", f"{pipelines}/{{id}}/stages/{{stage}}", read_stage, reads)
    for schemas in ("/crm/v3/schemas", "/crm-object-schemas/{version}/schemas"):
        routes.add("GET", schemas, list_schemas, lambda ask: ("oauth",))
    routes.add("GET", "/calling/v1/dispositions", dispositions, lambda ask: ("oauth",))


def account(ask: Ask) -> tuple[int, Any]:
    portal = ask.portal
    offset = ask.now.astimezone(ZoneInfo(portal.time_zone)).utcoffset()
    minutes = int(offset.total_seconds() // 60) if offset is not None else 0
    return 200, {
        "portalId": portal.hub_id,
        "accountType": "DEVELOPER_TEST",
        "timeZone": portal.time_zone,
        "companyCurrency": portal.currency,
        "additionalCurrencies": ["EUR"],
        "utcOffset": f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}",
        "utcOffsetMilliseconds": minutes * 60_000,
        "uiDomain": "app-eu1.hubspot.com",
        "dataHostingLocation": "eu1",
    }


def api_usage(ask: Ask) -> tuple[int, Any]:
    return 200, {"results": []}


# ── owners ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def list_owners(ask: Ask) -> tuple[int, Any]:
    limit, after = ask.number("limit", 100, most=500), int(ask.one("after") or "0")
    email, archived = (ask.one("email") or "").lower(), ask.flag("archived")
    people = sorted(ask.portal.crm.people.values(), key=lambda person: int(person.id))
    found = [
        person
        for person in people
        if person.active != archived and int(person.id) >= after and (not email or person.email == email)
    ]
    body: dict[str, Any] = {"results": [_owner(person) for person in found[:limit]]}
    if len(found) > limit:
        cursor = str(int(found[limit - 1].id) + 1)
        body["paging"] = {"next": {"after": cursor, "link": f"https://api.hubapi.com{ask.url}?after={cursor}"}}
    return 200, body


def read_owner(ask: Ask) -> tuple[int, Any]:
    """By owner id, or by user id with `idProperty=userId`; the two are different numbers."""
    id, archived = ask.path["id"], ask.flag("archived")
    by_user = ask.one("idProperty") == "userId"
    for person in ask.portal.crm.people.values():
        if person.active != archived and (str(person.user_id) if by_user else person.id) == id:
            return 200, _owner(person)
    raise not_found()


def _owner(person: Person) -> dict[str, Any]:
    return {
        "id": person.id,
        "email": person.email,
        "type": "PERSON",
        "firstName": person.first_name,
        "lastName": person.last_name,
        "userId": person.user_id if person.active else None,
        "userIdIncludingInactive": person.user_id,
        "createdAt": stamp(person.since),
        "updatedAt": stamp(person.since),
        "archived": not person.active,
    }


# ── pipelines ───────────────────────────────────────────────────────────────────────────────────────────────────────


def list_pipelines(ask: Ask) -> tuple[int, Any]:
    known = ask.portal.pipelines.get(ask.type().name, {}).values()
    return 200, {"results": [_pipeline(pipeline, order) for order, pipeline in enumerate(known)]}


def read_pipeline(ask: Ask) -> tuple[int, Any]:
    known = list(ask.portal.pipelines.get(ask.type().name, {}).values())
    pipeline = _pipeline_of(ask)
    return 200, _pipeline(pipeline, known.index(pipeline))


def list_stages(ask: Ask) -> tuple[int, Any]:
    return 200, {"results": [_stage(stage, order) for order, stage in enumerate(_pipeline_of(ask).stages)]}


def read_stage(ask: Ask) -> tuple[int, Any]:
    for order, stage in enumerate(_pipeline_of(ask).stages):
        if stage.id == ask.path["stage"]:
            return 200, _stage(stage, order)
    raise not_found()


def _pipeline_of(ask: Ask) -> Pipeline:
    pipeline = ask.portal.pipelines.get(ask.type().name, {}).get(ask.path["id"])
    if pipeline is None:
        raise not_found()
    return pipeline


def _pipeline(pipeline: Pipeline, order: int) -> dict[str, Any]:
    return {
        "label": pipeline.label,
        "displayOrder": order,
        "id": pipeline.id,
        "stages": [_stage(stage, at) for at, stage in enumerate(pipeline.stages)],
        "createdAt": _ALWAYS,
        "updatedAt": _ALWAYS,
        "archived": False,
    }


def _stage(stage: Stage, order: int) -> dict[str, Any]:
    """Metadata values are strings, also booleans and numbers (recorded: pipelines_deals_200.json)."""
    closed = "true" if stage.closed else "false"
    if stage.probability is not None:
        metadata = {"isClosed": closed, "probability": str(stage.probability)}
    else:
        metadata = {"isClosed": closed, "ticketState": "CLOSED" if stage.closed else "OPEN"}
    return {
        "label": stage.label,
        "displayOrder": order,
        "metadata": metadata,
        "id": stage.id,
        "createdAt": _ALWAYS,
        "updatedAt": _ALWAYS,
        "writePermissions": "CRM_PERMISSIONS_ENFORCEMENT",
        "archived": False,
    }


# ── the rest ────────────────────────────────────────────────────────────────────────────────────────────────────────


def list_schemas(ask: Ask) -> tuple[int, Any]:
    return 200, {"results": []}  # recorded: schemas_empty_200.json


def dispositions(ask: Ask) -> tuple[int, Any]:
    options = ask.portal.definitions["call"]["hs_call_disposition"].options
    return 200, [{"id": value, "label": label, "deleted": False} for value, label in options]
