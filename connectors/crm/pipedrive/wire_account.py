"""What a Pipedrive company is made of → our records: who it is, its users, pipelines, fields and activity types. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from connectors.crm.pipedrive.manifest import V2
from connectors.crm.pipedrive.wire import FIELD_LISTS, Row, as_shape, envelope, path, read
from connectors.crm.records import Account, Field, Kind, Option, Owner, Pipeline, Stage
from connectors.errors import Rejected, Unsupported
from connectors.request import Reply, Request

WON, LOST = "won", "lost"
"""A deal's end is a status in Pipedrive, no stage. We show the two as closed stages at the end of each pipeline."""

FIELD_TYPES: Mapping[str, str] = {  # ours → theirs
    "text": "varchar",
    "longtext": "text",
    "number": "double",
    "date": "date",
    "choice": "enum",
    "choices": "set",
    "phone": "phone",
}
_OUR_TYPES: Mapping[str, str] = {
    "text": "longtext",
    "int": "number",
    "double": "number",
    "monetary": "number",
    "boolean": "bool",
    "date": "date",
    "enum": "choice",
    "set": "choices",
    "phone": "phone",
    "status": "choice",
    "visible_to": "choice",
}

# Standard fields that can be written; v2's lists do not say. Everything of the company's own can be.
WRITABLE: Mapping[Kind, Mapping[str, str]] = {
    Kind.CONTACT: {
        "name": "text",
        "first_name": "text",
        "last_name": "text",
        "phone": "phone",
        "email": "text",
        "owner_id": "number",
        "org_id": "number",
        "label_ids": "choices",
        "visible_to": "number",
        "job_title": "text",  # these four only where Contact Sync is on; Pipedrive answers 403 otherwise
        "birthday": "date",
        "notes": "text",
        "postal_address": "address",
        "marketing_status": "text",
    },
    Kind.COMPANY: {
        "name": "text",
        "owner_id": "number",
        "address": "address",
        "label_ids": "choices",
        "visible_to": "number",
        "website": "text",
        "linkedin": "text",
        "industry": "number",
        "annual_revenue": "number",
        "employee_count": "number",
    },
    Kind.DEAL: {
        "title": "text",
        "owner_id": "number",
        "person_id": "number",
        "org_id": "number",
        "pipeline_id": "number",
        "stage_id": "number",
        "value": "number",
        "currency": "text",
        "status": "text",
        "probability": "number",
        "lost_reason": "text",
        "expected_close_date": "date",
        "label_ids": "choices",
        "visible_to": "number",
    },
    Kind.LEAD: {
        "title": "text",
        "owner_id": "number",
        "person_id": "number",
        "organization_id": "number",
        "expected_close_date": "date",
        "visible_to": "text",
        "was_seen": "bool",
    },
    Kind.CALL: {
        "subject": "text",
        "type": "text",
        "owner_id": "number",
        "due_date": "date",
        "due_time": "text",
        "duration": "text",
        "busy": "bool",
        "done": "bool",
        "public_description": "text",
        "priority": "number",
        "location": "address",
    },
    Kind.NOTE: {
        "pinned_to_person_flag": "number",
        "pinned_to_deal_flag": "number",
        "pinned_to_organization_flag": "number",
        "pinned_to_lead_flag": "number",
        "user_id": "number",
    },
}
_FLAGS = (("yes", 1), ("true", True), ("1", True), ("no", 0), ("false", False), ("0", False))


class _Me(msgspec.Struct):
    company_id: int | str
    company_name: str | None = None
    company_domain: str | None = None
    default_currency: str | None = None
    timezone_name: str | None = None


def read_account(reply: Reply) -> Account:
    """Recorded: vcr2-users-me. The company is what a connection belongs to, whoever of it signed in."""
    said = as_shape(read(reply), _Me, reply)
    domain = said.company_domain
    return Account(
        id=str(said.company_id),
        name=said.company_name or f"Pipedrive {said.company_id}",
        timezone=said.timezone_name,
        currency=said.default_currency,
        ui_origin=f"https://{domain}.pipedrive.com" if domain else None,
    )


class _User(msgspec.Struct):
    id: int
    name: str | None = None
    email: str | None = None
    active_flag: bool = True
    is_deleted: bool = False
    default_currency: str | None = None


def read_users(reply: Reply) -> list[Owner]:
    """Active ones, by name (recorded: vcr2-users)."""
    listed = [one for one in as_shape(read(reply), list[_User], reply) if one.active_flag and not one.is_deleted]
    owners = [Owner(id=str(one.id), name=one.name or one.email or "", email=one.email or None) for one in listed]
    return sorted(owners, key=lambda owner: (owner.name.casefold(), owner.id))


def read_pipelines(pipelines: Iterable[Row], stages: Iterable[Row]) -> list[Pipeline]:
    """In the company's order, each with its stages and the two ends of a deal (recorded: nango-stages)."""
    of: dict[str, list[Row]] = {}
    for stage in stages:
        if not stage.is_gone:
            of.setdefault(stage.value("pipeline_id"), []).append(stage)
    ends = (Stage(id=WON, label="Won", closed=True, won=True), Stage(id=LOST, label="Lost", closed=True))
    return [
        Pipeline(
            id=one.id,
            label=one.value("name"),
            stages=(
                *(Stage(id=stage.id, label=stage.value("name")) for stage in _ordered(of.get(one.id, []))),
                *ends,
            ),
        )
        for one in _ordered(pipelines)
        if not one.is_gone
    ]


def _ordered(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: int(row.value("order_nr") or 0))


class ActivityType(msgspec.Struct, frozen=True):
    """Companies rename, add and switch off types; only `key_string` stays."""

    key_string: str
    icon_key: str | None = None
    active_flag: bool = True
    order_nr: int = 0


def read_activity_types(reply: Reply) -> list[ActivityType]:
    """Those in use (recorded: vcr2-activity-types)."""
    listed = as_shape(read(reply), list[ActivityType], reply)
    return sorted((one for one in listed if one.active_flag), key=lambda one: one.order_nr)


def type_for(wanted: str, known: Sequence[ActivityType]) -> str:
    """`key_string` of the company's type for calls, tasks, meetings or e-mails: the standard one, one with its icon,
    else whatever comes first. Raises `Rejected` where everything is switched off."""
    named = next((one for one in known if one.key_string == wanted), None)
    named = named or next((one for one in known if one.icon_key == wanted), None) or next(iter(known), None)
    if named is None:
        raise Rejected("this Pipedrive company has switched off all types of activities", field="type")
    return named.key_string


class _OptionObject(msgspec.Struct):
    id: int | str
    label: str = ""


class FieldObject(msgspec.Struct):
    """A field's definition in v2."""

    field_code: str
    field_name: str = ""
    field_type: str = ""
    options: list[_OptionObject] | None = None
    is_custom_field: bool = False

    def field(self, kind: Kind) -> Field:
        own = self.is_custom_field
        return Field(
            name=self.field_code,
            label=self.field_name or self.field_code,
            type=_OUR_TYPES.get(self.field_type, "text"),
            options=tuple(Option(value=str(one.id), label=one.label) for one in self.options or ()),
            writable=own or self.field_code in WRITABLE.get(kind, {}),
            custom=own,
        )

    def option(self, named: str) -> int | str | None:
        """An option's id, by id or label."""
        for one in self.options or ():
            if named == str(one.id) or named.strip().casefold() == one.label.casefold():
                return one.id
        return None


def read_definitions(reply: Reply) -> tuple[list[FieldObject], str | None]:
    """A page of definitions, and the cursor of the next."""
    said = envelope(reply)
    more = said.get("additional_data")
    cursor = more.get("next_cursor") if isinstance(more, dict) else None
    listed = as_shape(said["data"], list[FieldObject], reply)
    return listed, cursor if isinstance(cursor, str) and cursor else None


def read_definition(reply: Reply) -> FieldObject:
    return as_shape(read(reply), FieldObject, reply)


class _V1Field(msgspec.Struct):
    key: str
    name: str = ""
    field_type: str = ""
    edit_flag: bool | None = None
    options: list[_OptionObject] | None = None


def read_activity_fields(reply: Reply) -> list[Field]:
    writable = WRITABLE[Kind.CALL]
    return [
        Field(
            name=one.key,
            label=one.name or one.key,
            type=_OUR_TYPES.get(one.field_type, "text"),
            options=tuple(Option(value=str(each.id), label=each.label) for each in one.options or ()),
            writable=one.key in writable,
        )
        for one in as_shape(read(reply), list[_V1Field], reply)
    ]


def create_field(kind: Kind, field: Field) -> Request:
    """Not marked as a write: the list is read first, so a lost answer is simply asked again. Codes are given by Pipedrive."""
    theirs = FIELD_TYPES.get(field.type)
    if theirs is None or kind not in FIELD_LISTS:
        raise Unsupported(f"Pipedrive takes no fields of type {field.type} for the kind {kind.value}")
    body: dict[str, Any] = {"field_name": field.label or field.name, "field_type": theirs}
    if theirs in ("enum", "set"):
        body["options"] = [{"label": option.label or option.value} for option in field.options]
    return Request(method="POST", path=path(V2, FIELD_LISTS[kind]), json=body, cost=5)


def typed(name: str, value: str, definition: FieldObject | None, standard: str | None) -> Any:
    """A text of ours as Pipedrive wants it in JSON: strict types, options by id; null clears.

    definition  of a field of the company's own; `standard` is the type of one of Pipedrive's.
    Raises `Rejected` with the field for what cannot be one.
    """
    if value == "":
        return None
    kind = definition.field_type if definition is not None else standard or ""
    match kind:
        case "double" | "int" | "number" | "user" | "org" | "people":
            return _number(name, value)
        case "monetary":
            amount, _, currency = value.strip().partition(" ")
            return {"value": _number(name, amount), **({"currency": currency.strip()} if currency.strip() else {})}
        case "boolean" | "bool":
            flag = {text: bool(meant) for text, meant in _FLAGS}.get(value.strip().casefold())
            if flag is None:
                raise Rejected(f"“{name}” must be yes or no", field=name)
            return flag
        case "date":
            return value.strip()[:10]
        case "time" | "address":
            return {"value": value}
        case "enum" | "status" if definition is not None:
            return _option(name, value, definition)
        case "set" if definition is not None:
            return [_option(name, each, definition) for each in _several(value)]
        case "choices":
            return [_number(name, each) for each in _several(value)]
        case _:
            return value


def _several(value: str) -> list[str]:
    return [each.strip() for each in value.split(";") if each.strip()]


def _option(name: str, named: str, definition: FieldObject) -> int | str:
    found = definition.option(named)
    if found is None:
        raise Rejected(f"“{definition.field_name}” has no such option in this Pipedrive company", field=name)
    return found


def _number(name: str, text: str) -> int | float:
    try:
        number = float(text.strip())
    except ValueError:
        raise Rejected(f"“{name}” must be a number", field=name) from None
    if number != number or number in (float("inf"), float("-inf")):
        raise Rejected(f"“{name}” must be a number", field=name)
    return int(number) if number.is_integer() else number
