"""What an organisation is made of: itself, its users, modules, fields, layouts, pipelines, related lists; new fields."""

from __future__ import annotations

import re
from typing import Any

from connectors.sandbox.store import Person
from connectors.sandbox.zoho.ask import Answered, Ask, Routes, nothing, plain_scope, settings_scope
from connectors.sandbox.zoho.errors import refusal, said
from connectors.sandbox.zoho.modules import ACTIVITIES, MODULES, NO_CUSTOM_FIELDS, FieldDef, Module, described
from connectors.sandbox.zoho.related import LISTS

_TYPES = frozenset(
    (
        *("text", "textarea", "email", "phone", "picklist", "multiselectpicklist"),
        *("date", "datetime", "integer", "currency", "percent", "boolean"),
    )
)
_MOST_UNIQUE = 2  # of one module, in the editions most have


def add_routes(routes: Routes) -> None:
    routes.add("GET", "org", org, plain_scope("org", "READ"))
    routes.add("GET", "users", users, plain_scope("users", "READ"))
    routes.add("GET", "users/{user}", user, plain_scope("users", "READ"))
    routes.add("GET", "settings/modules", modules, settings_scope("modules", "READ"))
    routes.add("GET", "settings/fields", fields, settings_scope("fields", "READ"))
    routes.add("POST", "settings/fields", create_fields, settings_scope("fields", "CREATE"))
    routes.add("GET", "settings/tags", tags, settings_scope("tags", "READ"))
    routes.add("GET", "settings/layouts", layouts, settings_scope("layouts", "READ"))
    routes.add("GET", "settings/pipeline", pipelines, settings_scope("pipeline", "READ"))
    routes.add("GET", "settings/related_lists", related_lists, settings_scope("related_lists", "READ"))


def org(ask: Ask) -> Answered:
    one = ask.org
    return 200, {
        "org": [
            {
                "id": one.zgid,
                "zgid": one.zgid,
                "company_name": one.name,
                "alias": None,
                "type": "production",
                "country": "Switzerland",
                "country_code": "CH",
                "time_zone": one.timezone,
                "currency": "Franc",
                "currency_symbol": one.currency,
                "currency_locale": "de_CH",
                "iso_code": one.currency,
                "domain_name": "org" + one.zgid[-6:],
                "primary_email": one.installer.email,
                "mc_status": False,
                "license_details": {
                    "paid": True,
                    "paid_type": "professional",
                    "users_license_purchased": 10,
                    "portal_users_license_purchased": 0,
                },
            }
        ]
    }


def users(ask: Ask) -> Answered:
    kind = ask.one("type") or "AllUsers"
    people = list(ask.org.crm.people.values())
    if kind == "CurrentUser":
        people = [one for one in people if one.id == ask.by]
    elif "Active" in kind:
        people = [one for one in people if one.active]
    per_page, page = ask.number("per_page", 200, most=200), ask.number("page", 1, most=10**6)
    shown = people[(page - 1) * per_page : page * per_page]
    if not shown:
        return nothing()
    info = {"per_page": per_page, "count": len(shown), "page": page, "more_records": len(people) > page * per_page}
    return 200, {"users": [_user(ask, one) for one in shown], "info": info}


def user(ask: Ask) -> Answered:
    found = ask.org.crm.people.get(ask.path["user"])
    return (200, {"users": [_user(ask, found)]}) if found else nothing()


def _user(ask: Ask, person: Person) -> dict[str, Any]:
    """Recorded: nango-users, of which the members that matter."""
    return {
        "id": person.id,
        "first_name": person.first_name,
        "last_name": person.last_name,
        "full_name": f"{person.first_name} {person.last_name}".strip(),
        "email": person.email,
        "status": "active" if person.active else "inactive",
        "zuid": str(person.user_id),
        "confirm": True,
        "created_time": ask.org.stamp(person.since),
        "role": {"name": "Sales", "id": "7328395000000026005"},
        "profile": {"name": "Administrator", "id": "7328395000000026011"},
        "language": "en_US",
        "time_zone": ask.org.timezone,
        "phone": None,
        "mobile": None,
    }


def modules(ask: Ask) -> Answered:
    flags = (
        *("global_search_supported", "public_fields_configured", "recycle_bin_on_delete", "has_more_profiles"),
        *("sub_menu_available", "deletable"),
    )
    listed: list[dict[str, Any]] = [
        {
            **dict.fromkeys(flags, False),
            "api_name": module.name,
            "module_name": module.name,
            "plural_label": module.plural,
            "singular_label": module.name.removesuffix("s"),
            "id": str(7328395000000002000 + at),
            "profile_count": 1,
            "description": None,
            "profiles": [],
            "status": "visible",
            "sequence_number": at,
            "api_supported": True,
        }
        for at, module in enumerate(MODULES.values())
    ]
    return 200, {"modules": listed}


def _module(ask: Ask) -> Module:
    found = MODULES.get(ask.needed("module").lower())
    if found is None:
        raise refusal(400, "INVALID_MODULE", "the module name given seems to be invalid")
    return found


def fields(ask: Ask) -> Answered:
    return 200, {"fields": [described(field) for field in ask.org.fields[_module(ask).name].values()]}


def create_fields(ask: Ask) -> Answered:
    """The name is made of the label. Unique values are not for every module, and not for many fields of one."""
    module = _module(ask)
    if module.name in NO_CUSTOM_FIELDS:
        raise refusal(400, "NOT_SUPPORTED", "the given module is not supported for this api", {"module": module.name})
    given = ask.listed("fields", most=5)
    entries = [_created(ask, module, at, one) for at, one in enumerate(given)]
    bad = sum(entry["status"] == "error" for entry in entries)
    return (400 if bad == len(entries) else 207 if bad else 201), {"fields": entries}


def _created(ask: Ask, module: Module, at: int, given: dict[str, Any]) -> dict[str, Any]:
    def wrong(code: str, name: str, **more: Any) -> dict[str, Any]:
        return said(code, "invalid data", {"api_name": name, "json_path": f"$.fields[{at}].{name}", **more})

    label, kind, unique = given.get("field_label"), given.get("data_type"), given.get("unique")
    if not isinstance(label, str) or not label.strip():
        return wrong("MANDATORY_NOT_FOUND", "field_label")
    if len(label) > 25:
        return wrong("INVALID_DATA", "field_label", maximum_length=25)
    if kind not in _TYPES:
        return wrong("INVALID_DATA", "data_type", supported_values=sorted(_TYPES))
    name = re.sub(r"\W+", "_", label.strip(), flags=re.ASCII).strip("_")
    if name in ask.org.fields[module.name]:
        return wrong("DUPLICATE_DATA", "field_label")
    values = given.get("pick_list_values") or []
    if "picklist" in kind and not values:
        return wrong("MANDATORY_NOT_FOUND", "pick_list_values")
    if unique:
        held = sum(field.unique for field in ask.org.fields[module.name].values())
        if module.name in ACTIVITIES and not ask.org.activities_unique:
            return wrong("NOT_ALLOWED", "unique")
        if held >= _MOST_UNIQUE:
            return wrong("LIMIT_EXCEEDED", "unique", limit=_MOST_UNIQUE)
    made = FieldDef(
        name=name,
        label=label,
        type=kind,
        length=given.get("length") or (255 if kind == "text" else 0),
        options=tuple(str(one.get("actual_value") or one.get("display_value")) for one in values),
        shown=tuple(str(one.get("display_value")) for one in values),
        unique=bool(unique),
    )
    id = ask.org.add_field(module, made).id
    return {"code": "SUCCESS", "details": {"id": id}, "message": "field created", "status": "success"}


def tags(ask: Ask) -> Answered:
    known = ask.org.tags.get(_module(ask).name)
    if not known:
        return nothing()
    person = ask.org.installer
    who = {"id": person.id, "name": f"{person.first_name} {person.last_name}"}
    at = ask.org.stamp(person.since)
    common = {"created_time": at, "modified_time": at, "created_by": who, "modified_by": who, "color_code": None}
    listed = [{"id": id, "name": name, **common} for name, id in known.items()]
    return 200, {"tags": listed, "info": {"count": len(listed), "allowed_count": 100}}


def layouts(ask: Ask) -> Answered:
    module = _module(ask)
    listed = ask.org.layouts.get(module.name)
    shown = [(one.name, one.id) for one in listed] if listed else [("Standard", "7328395000000091055")]
    actions = ("edit", "rename", "clone", "downgrade", "delete", "deactivate", "set_layout_permissions")
    return 200, {
        "layouts": [
            {
                "id": id,
                "name": name,
                "display_label": name,
                "api_name": name,
                "status": "active",
                "visible": True,
                "source": "crm",
                "generated_type": "system" if at == 0 else "custom",
                "has_more_profiles": False,
                "show_business_card": True,
                "profiles": None,
                "sections": [],
                "actions_allowed": dict.fromkeys(actions, False),
                **dict.fromkeys(("created_time", "created_for", "created_by", "modified_time", "modified_by")),
            }
            for at, (name, id) in enumerate(shown)
        ]
    }


def pipelines(ask: Ask) -> Answered:
    id = ask.needed("layout_id")
    layout = next((one for listed in ask.org.layouts.values() for one in listed if one.id == id), None)
    if layout is None:
        raise refusal(400, "INVALID_DATA", "the layout id given seems to be invalid", {"param_name": "layout_id"})
    if not layout.pipelines:
        return nothing()
    category = {"Open": ("Pipeline", "1"), "Closed Won": ("Closed", "2"), "Closed Lost": ("Omitted", "3")}
    return 200, {
        "pipeline": [
            {
                "display_value": pipeline.name,
                "actual_value": pipeline.name,
                "default": at == 0,
                "id": pipeline.id,
                "maps": [
                    {
                        "display_value": stage.name,
                        "actual_value": stage.name,
                        "sequence_number": place + 1,
                        "colour_code": "#ced9ff",
                        "forecast_category": dict(zip(("name", "id"), category[stage.forecast], strict=True)),
                        "forecast_type": stage.forecast,
                        "id": stage.id,
                    }
                    for place, stage in enumerate(pipeline.stages)
                ],
            }
            for at, pipeline in enumerate(layout.pipelines)
        ]
    }


def related_lists(ask: Ask) -> Answered:
    _module(ask)
    listed = [
        {
            "id": str(7328395000000003000 + at),
            "sequence_number": str(at + 1),
            "display_label": name.replace("_", " "),
            "api_name": name,
            "name": name.replace("_", " "),
            "module": {"api_name": MODULES[module].name, "id": "1"},
            "action": None,
            "href": f"{ask.one('module')}/{{ENTITYID}}/{name}",
            "type": "default",
            "customize_sort": True,
            "customize_fields": True,
            "customize_display_label": True,
            "status": "visible",
        }
        for at, (name, (module, _)) in enumerate(LISTS.items())
    ]
    return 200, {"related_lists": listed}
