"""What a write would send, as far as it is known without asking: names are those last read. For dry runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

from connectors.crm.pipedrive import marking, wire, wire_account, wire_writes
from connectors.crm.pipedrive.makeup import Makeup, code_of, placed
from connectors.crm.pipedrive.manifest import KEY, TEXT
from connectors.crm.pipedrive.people import created
from connectors.crm.pipedrive.wire_account import FieldObject
from connectors.crm.pipedrive.wire_texts import plain
from connectors.crm.pipedrive.wire_writes import Place
from connectors.crm.records import (
    AddNote,
    AddToList,
    AssignOwner,
    CreateDeal,
    CreateEvent,
    CreateTask,
    CreateTicket,
    Kind,
    LogCall,
    MoveStage,
    OptOut,
    Ref,
    SetFields,
    UpsertContact,
    Write,
)
from connectors.request import Request


def previewed(makeup: Makeup, write: Write, *, keyed: bool) -> list[Request]:
    """keyed  whether deals carry our key and text in fields of ours."""
    match write:
        case UpsertContact():
            return _upsert(makeup, write)
        case LogCall() | CreateTask() | CreateEvent() | CreateTicket():
            members, _ = _parted(makeup, Kind.CALL, write.fields)
            type = makeup.remembered_type(wire_writes.type_wanted(write))
            return [wire_writes.activity(write, type, members)]
        case AddNote():
            return [wire_writes.note(write, _parted(makeup, Kind.NOTE, write.fields)[0])]
        case CreateDeal():
            return _deal(makeup, write, keyed=keyed)
        case SetFields() | AssignOwner():
            kind = write.target.kind if isinstance(write.target, Ref) else Kind.CONTACT
            members, custom = _parted(makeup, kind, write.fields)
            members |= wire_writes.owned(write.owner)
            return [wire_writes.update(kind, wire_writes.id_of(write.target), members, custom)]
        case MoveStage():
            place = placed(makeup.remembered_pipelines(), write.pipeline, write.stage)
            place = place or Place(write.pipeline or "<its pipeline>", write.stage)
            members, custom = _parted(makeup, Kind.DEAL, write.fields)
            return [
                wire_writes.update(Kind.DEAL, wire_writes.id_of(write.target), {**members, **place.members()}, custom)
            ]
        case AddToList():
            kind = write.target.kind if isinstance(write.target, Ref) else Kind.CONTACT
            labels = {"label_ids": ["<labels there are>", f"<id of the label “{write.list}”>"]}
            return [wire_writes.update(kind, wire_writes.id_of(write.target), labels, {})]
        case OptOut():
            return [marking.unsubscription(wire_writes.id_of(write.target))]
        case _:
            assert_never(write)


def _upsert(makeup: Makeup, write: UpsertContact) -> list[Request]:
    definitions = makeup.remembered_definitions(Kind.CONTACT)
    values = {**write.fields_if_empty, **write.fields}
    if write.target is not None:
        members, custom = wire_writes.person_changes(
            write, wire.Row({"id": ""}), _known(Kind.CONTACT, definitions, values), None
        )
        return [wire_writes.update(Kind.CONTACT, wire_writes.id_of(write.target), members, custom)]
    company = [wire_writes.organisation(write.company)] if write.company else []
    place = f"<id of “{write.company}”>" if write.company else None
    coded = {code_of(definitions, name) or name: value for name, value in values.items()}
    code = code_of(definitions, KEY) if definitions else KEY
    person = created(write, place, coded, _known(Kind.CONTACT, definitions, coded), code)
    lead = [wire_writes.lead(write, "<id of the new contact>", str(person.json["name"]))]
    return [*company, person, *(lead if write.kind is Kind.LEAD else [])]


def _deal(makeup: Makeup, write: CreateDeal, *, keyed: bool) -> list[Request]:
    place = placed(makeup.remembered_pipelines(), write.pipeline, write.stage)
    place = place or Place(write.pipeline or "<first pipeline>", write.stage or "<first stage>")
    members, custom = _parted(makeup, Kind.DEAL, write.fields)
    if not keyed:
        text = [wire_writes.deal_note("<id of the new deal>", write)] if write.body.strip() else []
        return [wire_writes.deal(write, place, members, custom), *text]
    known = makeup.remembered_definitions(Kind.DEAL)
    ours = {code_of(known, KEY) or KEY: write.key}
    ours |= {code_of(known, TEXT) or TEXT: plain(write.body)} if write.body.strip() else {}
    return [wire_writes.deal(write, place, members, {**custom, **ours})]


def _parted(makeup: Makeup, kind: Kind, fields: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    known = makeup.remembered_definitions(kind)
    coded = {code_of(known, name) or name: value for name, value in fields.items()}
    return wire_writes.parted(kind, coded, _known(kind, known, coded), None)


def _known(kind: Kind, definitions: Mapping[str, FieldObject], values: Mapping[str, str]) -> Mapping[str, FieldObject]:
    """The definitions, with plain texts in the place of those never read: a dry run shows what it can."""
    standard = wire_account.WRITABLE.get(kind, {})
    missing = [name for name in values if name not in definitions and name not in standard]
    stand_ins = {
        name: FieldObject(field_code=name, field_name=name, field_type="varchar", is_custom_field=True)
        for name in missing
    }
    return {**definitions, **stand_ins}
