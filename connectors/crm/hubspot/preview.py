"""What a write would send, for the dry run."""

from __future__ import annotations

from connectors.crm.hubspot import wire, wire_lists, wire_writes
from connectors.crm.hubspot.makeup import Makeup, placed
from connectors.crm.port import Stick
from connectors.crm.records import (
    AddToList,
    AssignOwner,
    CreateDeal,
    CreateTicket,
    Kind,
    MoveStage,
    OptOut,
    Ref,
    SetFields,
    UpsertContact,
    Write,
)
from connectors.request import Request


def preview(write: Write, stick: Stick, makeup: Makeup) -> list[Request]:
    """As far as it is known without asking: pipelines and lists are those last read."""
    match write:
        case UpsertContact(target=None):
            return [wire_writes.create_contact(write, stick)]
        case UpsertContact(target=target) if target is not None:
            changes = wire_writes.contact_changes(write, wire.Object(id=""), stick)
            return [wire_writes.update("contacts", wire_writes.id_of(target), changes)]
        case SetFields() | AssignOwner():
            of = wire.TYPES[write.target.kind] if isinstance(write.target, Ref) else "contacts"
            return [
                wire_writes.update(of, wire_writes.id_of(write.target), {**write.fields, **wire_writes.owned(write)})
            ]
        case MoveStage():
            kind = write.target.kind if isinstance(write.target, Ref) else Kind.DEAL
            named = placed(makeup.remembered_pipelines(kind), write.pipeline, write.stage)
            named = named or wire_writes.Place(write.pipeline or "<its pipeline>", write.stage)
            changes = {**write.fields, **wire_writes.placing(kind, named)}
            return [wire_writes.update(wire.TYPES[kind], wire_writes.id_of(write.target), changes)]
        case AddToList():
            of = wire.TYPES[write.target.kind] if isinstance(write.target, Ref) else "contacts"
            known = makeup.remembered_list(of, write.list)
            list_id = known or (write.list if write.list.isdecimal() else f"<id of “{write.list}”>")
            return [wire_lists.add(list_id, wire_writes.id_of(write.target))]
        case OptOut():
            return [wire_writes.unsubscribe_all(write.email or "<e-mail of the caller>")]
        case CreateDeal() | CreateTicket():
            pipelines = makeup.remembered_pipelines(wire_writes.KINDS[type(write)])
            place = placed(pipelines, write.pipeline, write.stage)
            place = place or wire_writes.Place(write.pipeline or "<first pipeline>", write.stage or "<first stage>")
            return [wire_writes.create(write, stick, place=place)]
        case _:
            assert not isinstance(write, UpsertContact)
            return [wire_writes.create(write, stick)]
