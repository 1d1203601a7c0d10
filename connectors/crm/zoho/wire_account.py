"""What a Zoho organisation is made of → our records: who it is, its users, fields and pipelines. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from connectors.crm.records import Account, Field, Kind, Option, Owner, Pipeline, Stage
from connectors.crm.zoho.manifest import DATA_CENTRES
from connectors.crm.zoho.wire import Info, read
from connectors.errors import UnexpectedReply
from connectors.request import Reply

_NO_CHOICE = "-None-"


class _Org(msgspec.Struct):
    zgid: str
    company_name: str | None = None
    country_code: str | None = None
    time_zone: str | None = None
    iso_code: str | None = None


class _Orgs(msgspec.Struct):
    org: list[_Org]


def read_account(reply: Reply, *, api_host: str | None) -> Account:
    """api_host  where the answer came from, a sandbox's host too: it tells the data centre, which the answer does not."""
    found = read(reply, _Orgs).org
    if not found:
        raise UnexpectedReply("Zoho did not say which organisation this is", status=reply.status)
    org = found[0]
    place = next(
        (one for one, row in DATA_CENTRES.items() if (api_host or "").endswith(row.api.removeprefix("www."))), None
    )
    return Account(
        id=org.zgid,
        name=org.company_name or f"Zoho {org.zgid}",
        region=place,
        timezone=org.time_zone,
        currency=org.iso_code,
        ui_origin=f"https://{DATA_CENTRES[place or 'us'].ui}",
    )


class _User(msgspec.Struct):
    """Recorded: nango-users. `status` is "active" in whatever letters."""

    id: str
    full_name: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    status: str | None = None

    def owner(self) -> Owner:
        name = self.full_name or " ".join(part for part in (self.first_name, self.last_name) if part)
        return Owner(id=self.id, name=name or self.email or "", email=self.email or None)


class Users(msgspec.Struct):
    users: list[_User]
    info: Info = msgspec.field(default_factory=Info)

    def active(self) -> list[Owner]:
        return [user.owner() for user in self.users if (user.status or "active").lower() == "active"]


class _Value(msgspec.Struct):
    display_value: str
    actual_value: str | None = None
    type: str | None = None

    def option(self) -> Option:
        return Option(value=self.actual_value or self.display_value, label=self.display_value)


class _FieldObject(msgspec.Struct):
    api_name: str
    field_label: str = ""
    display_label: str | None = None
    data_type: str = "text"
    pick_list_values: list[_Value] | None = None
    unique: dict[str, Any] | None = None
    read_only: bool | None = False
    field_read_only: bool | None = False
    system_mandatory: bool | None = False
    custom_field: bool | None = False
    visible: bool | None = True

    def field(self) -> Field:
        options = [one.option() for one in self.pick_list_values or () if one.type != "unused"]
        return Field(
            name=self.api_name,
            label=self.display_label or self.field_label or self.api_name,
            type=_OUR_TYPES.get(self.data_type, self.data_type if self.data_type in _KEPT else "text"),
            options=tuple(option for option in options if option.value != _NO_CHOICE),
            writable=not self.read_only and not self.field_read_only and self.data_type not in _CALCULATED,
            unique=bool(self.unique),
            required=bool(self.system_mandatory),
            custom=bool(self.custom_field),
        )


class _Fields(msgspec.Struct):
    fields: list[_FieldObject]


# Ours; "link" and "reminder" are kept apart for the sake of writing, and shown as text.
_OUR_TYPES = {
    "textarea": "longtext",
    "integer": "number",
    "bigint": "number",
    "double": "number",
    "currency": "number",
    "percent": "number",
    "boolean": "bool",
    "picklist": "choice",
    "multiselectpicklist": "choices",
}
_KEPT = frozenset({"date", "datetime", "phone"})
_CALCULATED = frozenset({"formula", "autonumber", "rollup_summary"})
_LINKS = frozenset({"lookup", "ownerlookup", "userlookup"})


def read_fields(reply: Reply) -> list[Field]:
    """Those people see, by label."""
    shown = [found.field() for found in read(reply, _Fields).fields if found.visible is not False]
    return sorted(shown, key=lambda field: (field.label.casefold(), field.name))


def read_links(reply: Reply) -> frozenset[str]:
    """Names of fields whose values are records or users: written as {"id": …}."""
    return frozenset(found.api_name for found in read(reply, _Fields).fields if found.data_type in _LINKS)


class _Tag(msgspec.Struct):
    id: str
    name: str


class _Tags(msgspec.Struct):
    tags: list[_Tag]


def read_tags(reply: Reply) -> dict[str, str]:
    """Names by id."""
    return {} if reply.status == 204 else {one.id: one.name for one in read(reply, _Tags).tags}


class _Layout(msgspec.Struct):
    id: str
    status: str | None = "active"
    visible: bool | None = True


class _Layouts(msgspec.Struct):
    layouts: list[_Layout]


def read_layouts(reply: Reply) -> list[str]:
    """Ids of those in use, the standard one first."""
    return [
        one.id for one in read(reply, _Layouts).layouts if one.status in (None, "active") and one.visible is not False
    ]


class _Map(msgspec.Struct):
    display_value: str
    actual_value: str | None = None
    sequence_number: int = 0
    forecast_type: str | None = None
    forecast_category: dict[str, Any] | None = None

    def stage(self) -> Stage:
        kind = self.forecast_type or ("Closed Won" if (self.forecast_category or {}).get("name") == "Closed" else "")
        return Stage(
            id=self.actual_value or self.display_value,
            label=self.display_value,
            closed=kind.startswith("Closed"),
            won=kind == "Closed Won",
        )


class _Pipeline(msgspec.Struct):
    display_value: str
    actual_value: str | None = None
    default: bool | None = False
    maps: list[_Map] = []


class _Pipelines(msgspec.Struct):
    pipeline: list[_Pipeline]


def read_pipelines(reply: Reply) -> list[Pipeline]:
    """Of one layout, the default one first. Ids are the values a deal carries. None in an account without pipelines."""
    if reply.status == 204:
        return []
    listed = sorted(read(reply, _Pipelines).pipeline, key=lambda one: not one.default)
    return [
        Pipeline(
            id=one.actual_value or one.display_value,
            label=one.display_value,
            stages=tuple(step.stage() for step in sorted(one.maps, key=lambda step: step.sequence_number)),
        )
        for one in listed
    ]


def stages_of(kind: Kind, fields: Sequence[Field]) -> list[Pipeline]:
    """The one pipeline of cases, and of deals in an account without any: the values of a field."""
    name, label = ("Stage", "Deals") if kind is Kind.DEAL else ("Status", "Cases")
    options = next((field.options for field in fields if field.name == name), ())
    stages = tuple(
        Stage(id=one.value, label=one.label, closed=one.value.startswith("Closed"), won=one.value == "Closed Won")
        for one in options
    )
    return [Pipeline(id="", label=label, stages=stages)] if stages else []
