"""v2's records: persons, organizations, deals and activities. Read after write, soft deletes, strict types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from connectors.sandbox.pipedrive.ask import Ask, Routes, cursor_page, ok
from connectors.sandbox.pipedrive.company import Company
from connectors.sandbox.pipedrive.documents import SHOWN, v2_time
from connectors.sandbox.pipedrive.errors import invalid, refused
from connectors.sandbox.pipedrive.hooks import tell
from connectors.sandbox.pipedrive.shapes import CONTACT_SYNC, PLURALS, SHAPES, check, check_custom
from connectors.sandbox.store import Entry

_READ_ONLY = frozenset({"id", "update_time", "person_id"})
_SORTS = {"id", "update_time", "add_time"}
_OF = {"persons": "contacts", "organizations": "contacts", "deals": "deals", "activities": "activities"}


def add_routes(routes: Routes) -> None:
    for plural, entity in PLURALS.items():
        reads = (f"{_OF[plural]}:read", f"{_OF[plural]}:full")
        writes = (f"{_OF[plural]}:full",)
        base = f"/api/v2/{plural}"
        routes.add("GET", base, partial(_list, entity), cost=10, scopes=reads)
        routes.add("POST", base, partial(_create, entity), cost=5, scopes=writes)
        routes.add("GET", base + "/{id}", partial(_one, entity), cost=1, scopes=reads)
        routes.add("PATCH", base + "/{id}", partial(_update, entity), cost=5, scopes=writes)
        routes.add("DELETE", base + "/{id}", partial(_delete, entity), cost=3, scopes=writes)


def _list(entity: str, ask: Ask) -> tuple[int, Any]:
    company = ask.company
    by, down = ask.one("sort_by") or "id", ask.one("sort_direction") == "desc"
    if by not in _SORTS | ({"due_date"} if entity == "activity" else set()):
        raise invalid("Parameter validation failed: sort_by is not one of the supported fields")
    if entity == "deal" and "deleted" in ask.many("status"):
        entries = company.deleted(entity)
    else:
        entries = list(company.all(entity))
    if ids := set(ask.many("ids")):
        entries = [entry for entry in entries if entry.id in ids]
    only = ask.many("custom_fields")
    if len(only) > 15:
        raise invalid("Parameter validation failed: custom_fields takes at most 15 keys")
    entries.sort(key=lambda entry: _place(company, entity, entry, by), reverse=down)
    return cursor_page(ask, _rows(entity, ask, entries, only), by=by, down=down)


def _rows(entity: str, ask: Ask, entries: Iterable[Entry], only: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Those that were asked for, made as the page needs them."""
    tests = _tests(entity, ask)
    for entry in entries:
        row = SHOWN[entity](ask.company, entry)
        if all(test(row) for test in tests):
            yield {**row, "custom_fields": {key: row["custom_fields"].get(key) for key in only}} if only else row


def _place(company: Company, entity: str, entry: Entry, by: str) -> tuple[str, int]:
    """Where a record stands in a list, as its cursor will say it."""
    match by:
        case "add_time":
            return v2_time(company.added(entry)), int(entry.id)
        case "update_time":
            return v2_time(entry.updated_at), int(entry.id)
        case "due_date":
            return str(company.value(entry, entity, "due_date") or ""), int(entry.id)
        case _:
            return "", int(entry.id)


def _tests(entity: str, ask: Ask) -> list[Callable[[Mapping[str, Any]], bool]]:
    tests: list[Callable[[Mapping[str, Any]], bool]] = []
    if len(ask.many("ids")) > 100:
        raise invalid("Parameter validation failed: ids takes at most 100 values")
    for name in ("owner_id", "org_id", "person_id", "deal_id", "pipeline_id", "stage_id", "lead_id"):
        wanted = ask.one(name)
        if wanted is not None:
            if name != "lead_id" and not wanted.isdigit():
                raise invalid(f"Parameter validation failed: {name} must be a number")
            tests.append(lambda row, name=name, wanted=wanted: str(row.get(name)) == wanted)  # type: ignore[misc]
    statuses = set(ask.many("status"))
    if statuses:
        tests.append(lambda row: row.get("status") in statuses)
    if entity == "deal":
        tests.append(lambda row: not row["is_archived"])
    if (done := ask.one("done")) is not None:
        tests.append(lambda row: row.get("done") is (done == "true"))
    since, until = ask.time("updated_since"), ask.time("updated_until")
    if since is not None:
        tests.append(lambda row: str(row["update_time"]) >= v2_time(since))
    if until is not None:
        tests.append(lambda row: str(row["update_time"]) < v2_time(until))
    return tests


def _one(entity: str, ask: Ask) -> tuple[int, Any]:
    """Deleted records answer to their id for thirty days."""
    entry = ask.company.get(entity, ask.path["id"], deleted=True)
    return ok(SHOWN[entity](ask.company, entry or ask.company.need(entity, ask.path["id"])))


def _create(entity: str, ask: Ask) -> tuple[int, Any]:
    values = checked(ask.company, entity, ask.document())
    needed = "title" if entity == "deal" else "name" if entity in ("person", "organization") else None
    if needed and not values.get(needed):
        raise refused(400, f"{entity.capitalize()} {needed} must be given.")
    if entity == "deal":
        values = _placed(ask.company, values)
    if entity == "activity":
        values = {"type": "call", "subject": "Call", "done": False, **values}
        _check_activity(ask.company, values)
    if entity == "person":
        values = _consenting(ask.company, values, None)
    entry = ask.company.create(entity, values, ask.now)
    tell(ask.company, entity, "create", ask.now, entry)
    return ok(SHOWN[entity](ask.company, entry))


def _update(entity: str, ask: Ask) -> tuple[int, Any]:
    """Partial."""
    company = ask.company
    entry = company.need(entity, ask.path["id"])
    values = checked(company, entity, ask.document())
    if entity == "activity":
        _check_activity(company, {"type": company.value(entry, entity, "type"), **values})
    if entity == "person":
        values = _consenting(company, values, entry)
    if entity == "deal" and ("stage_id" in values or "pipeline_id" in values):
        values = _placed(company, values, company.values(entry, "deal"))
    changed = company.update(entry, values, ask.now) if values else entry
    tell(company, entity, "change", ask.now, changed, before=entry)
    return ok(SHOWN[entity](company, changed))


def _delete(entity: str, ask: Ask) -> tuple[int, Any]:
    entry = ask.company.need(entity, ask.path["id"])
    ask.company.delete(entry, ask.now)
    tell(ask.company, entity, "delete", ask.now, None, before=entry)
    return ok({"id": int(entry.id)})


def checked(company: Company, entity: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a body, flat. Raises the 400 or 403 for what is none of this kind's members."""
    shape = SHAPES[entity]
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name == "custom_fields" and entity not in ("activity", "lead", "note"):
            own = company.custom(entity)
            for code, each in (value or {}).items():
                if code not in own:
                    raise invalid(f"Parameter validation failed: custom_fields.{code} is not allowed")
                check_custom(own[code], each)
                values[code] = each
            continue
        if entity == "person" and name in CONTACT_SYNC:
            if not company.contact_sync:
                raise refused(403, f"{name} cannot be set: contact sync is not enabled")
            continue
        if name == "marketing_status" and not company.campaigns:
            raise invalid("Parameter validation failed: marketing_status is not allowed")
        if name not in shape:
            raise invalid(f"Parameter validation failed: {name} is not allowed")
        check(name, shape[name], value)
        if entity != "activity" or name not in _READ_ONLY:
            values[name] = value
    _check_links(company, entity, values)
    return values


def _check_links(company: Company, entity: str, values: Mapping[str, Any]) -> None:
    owner = values.get("owner_id")
    if owner is not None and (owner not in company.users or not company.users[owner].active):
        raise refused(400, "Invalid owner_id")
    for name, other in (("person_id", "person"), ("org_id", "organization"), ("deal_id", "deal")):
        if values.get(name) is not None and company.get(other, str(values[name])) is None:
            raise refused(400, f"{other.capitalize()} not found: {name}")
    for each in values.get("participants") or ():
        if company.get("person", str(each.get("person_id"))) is None:
            raise refused(400, "Person not found: participants")


def _check_activity(company: Company, values: Mapping[str, Any]) -> None:
    active = {key for key, _, _, on in company.activity_types if on}
    if values.get("type") not in active:
        raise refused(400, "Activity could not be created: unknown type")
    if values.get("deal_id") is not None and values.get("lead_id") is not None:
        raise refused(400, "deal_id and lead_id cannot both be given")


def _placed(company: Company, values: dict[str, Any], held: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Pipeline and stage, the first ones where none are named. A stage of another pipeline takes the deal there."""
    stage_id = values.get("stage_id")
    pipeline_id = values.get("pipeline_id") or (held or {}).get("pipeline_id")
    stage = next((one for one in company.stages if one.id == stage_id), None)
    if stage_id is not None and stage is None:
        raise refused(400, "Stage not found: stage_id")
    if stage is None:
        first = sorted(
            (one for one in company.stages if pipeline_id in (None, one.pipeline_id)), key=lambda one: one.order
        )
        if not first:
            raise refused(400, "Pipeline not found: pipeline_id")
        stage = min(first, key=lambda one: (one.pipeline_id, one.order))
    return {**values, "stage_id": stage.id, "pipeline_id": stage.pipeline_id}


def _consenting(company: Company, values: dict[str, Any], current: Entry | None) -> dict[str, Any]:
    """A marketing status changes once, and only with an address; what is not allowed is ignored without a word."""
    if "marketing_status" not in values:
        return values
    wanted = values["marketing_status"]
    rest = {name: value for name, value in values.items() if name != "marketing_status"}
    held = company.values(current, "person") if current is not None else {}
    if not (rest.get("emails") or held.get("emails")):
        return rest
    if wanted == held.get("marketing_status", "no_consent"):
        return rest
    if current is not None and current.id in company.statuses_changed:
        return rest
    if current is not None:
        company.statuses_changed.add(current.id)
    return values
