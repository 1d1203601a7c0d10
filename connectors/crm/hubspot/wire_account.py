"""What a HubSpot account is made of → our records: who it is, its owners, pipelines and fields. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from connectors.crm.hubspot.wire import Paging, is_true, read
from connectors.crm.records import Account, Field, Option, Owner, Pipeline, Stage
from connectors.request import Reply

_DOMAIN = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")


class _Details(msgspec.Struct, rename="camel"):
    portal_id: int
    time_zone: str | None = None
    company_currency: str | None = None
    ui_domain: str | None = None
    data_hosting_location: str | None = None


def read_account(reply: Reply) -> Account:
    """Recorded: account_info_details_200. It says no company name; `name_account` finds a better one."""
    said = read(reply, _Details)
    return Account(
        id=str(said.portal_id),
        name=f"HubSpot {said.portal_id}",
        region=said.data_hosting_location,
        timezone=said.time_zone,
        currency=said.company_currency,
        ui_origin=f"https://{said.ui_domain}" if said.ui_domain else None,
    )


def name_account(account: Account, said: Mapping[str, Any]) -> Account:
    """The account by the domain it has in HubSpot, which its people know, unlike the number.

    said  what introspecting the token answers: `hub_id`, `hub_domain`, the scopes (developers.hubspot.com, 2026-11).
    """
    domain = said.get("hub_domain")
    if str(said.get("hub_id")) != account.id or not isinstance(domain, str) or not _DOMAIN.fullmatch(domain):
        return account
    return msgspec.structs.replace(account, name=f"{domain} ({account.id})")


class _OwnerObject(msgspec.Struct, rename="camel"):
    id: str
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    archived: bool = False

    def owner(self) -> Owner:
        name = " ".join(part for part in (self.first_name, self.last_name) if part)
        return Owner(id=self.id, name=name or self.email or "", email=self.email or None)


class Owners(msgspec.Struct):
    results: list[_OwnerObject]
    paging: Paging | None = None

    @property
    def after(self) -> str | None:
        return self.paging.next.after if self.paging and self.paging.next else None

    def active(self) -> list[Owner]:
        return [found.owner() for found in self.results if not found.archived]


def read_owner(reply: Reply) -> Owner:
    return read(reply, _OwnerObject).owner()


class _StageObject(msgspec.Struct, rename="camel"):
    id: str
    label: str = ""
    display_order: int = 0
    archived: bool = False
    metadata: dict[str, Any] = {}

    def stage(self) -> Stage:
        """Metadata values are strings. Deals have a probability, tickets a `ticketState` (recorded: pipelines_deals_200)."""
        closed = is_true(self.metadata.get("isClosed")) or self.metadata.get("ticketState") == "CLOSED"
        won = closed and str(self.metadata.get("probability", "")) in ("1", "1.0")
        return Stage(id=self.id, label=self.label, closed=closed, won=won)


class _PipelineObject(msgspec.Struct, rename="camel"):
    id: str
    label: str = ""
    display_order: int = 0
    archived: bool = False
    stages: list[_StageObject] = []


class _Pipelines(msgspec.Struct):
    results: list[_PipelineObject]


def read_pipelines(reply: Reply) -> list[Pipeline]:
    listed = sorted(read(reply, _Pipelines).results, key=lambda found: found.display_order)
    return [
        Pipeline(
            id=found.id,
            label=found.label,
            stages=tuple(
                stage.stage()
                for stage in sorted(found.stages, key=lambda stage: stage.display_order)
                if not stage.archived
            ),
        )
        for found in listed
        if not found.archived
    ]


class _OptionObject(msgspec.Struct):
    value: str
    label: str = ""
    hidden: bool | None = False


class FieldObject(msgspec.Struct, rename="camel"):
    """A property's definition (recorded: property_create_contacts)."""

    name: str
    label: str = ""
    type: str = ""
    field_type: str = ""
    group_name: str = ""
    options: list[_OptionObject] = []
    has_unique_value: bool | None = False
    hubspot_defined: bool | None = False
    calculated: bool | None = False
    hidden: bool | None = False
    archived: bool | None = False
    modification_metadata: dict[str, Any] | None = None

    def field(self) -> Field:
        read_only = bool(self.calculated) or is_true((self.modification_metadata or {}).get("readOnlyValue"))
        return Field(
            name=self.name,
            label=self.label or self.name,
            type=_our_type(self.type, self.field_type),
            options=tuple(Option(value=one.value, label=one.label) for one in self.options if not one.hidden),
            writable=not read_only,
            unique=bool(self.has_unique_value),
            custom=not self.hubspot_defined,
        )


class _Fields(msgspec.Struct):
    results: list[FieldObject]


def read_fields(reply: Reply) -> list[Field]:
    """Those a person sees in HubSpot, by label."""
    shown = [found for found in read(reply, _Fields).results if not found.hidden and not found.archived]
    return sorted((found.field() for found in shown), key=lambda field: (field.label.casefold(), field.name))


def _our_type(type: str, field_type: str) -> str:
    match type, field_type:
        case ("enumeration", "checkbox"):
            return "choices"
        case ("enumeration", _):
            return "choice"
        case ("phone_number", _) | (_, "phonenumber"):
            return "phone"
        case ("string", "textarea" | "html"):
            return "longtext"
        case ("number" | "date" | "datetime" | "bool", _):
            return type
        case _:
            return "text"
