"""Labels, which are Pipedrive's lists, and opt-outs, which end as a label where the marketing status cannot be set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectors.crm.pipedrive import wire, wire_writes
from connectors.crm.pipedrive.around import read_row
from connectors.crm.pipedrive.makeup import Makeup
from connectors.crm.pipedrive.manifest import NO_MARKETING
from connectors.crm.pipedrive.writing import gone, known, sent
from connectors.crm.port import Sender
from connectors.crm.records import AddToList, Field, Kind, OptOut, Ref
from connectors.errors import Rejected, Unsupported
from connectors.request import Request

UNSUBSCRIBED = {"marketing_status": "unsubscribed"}
_LABELLED = (Kind.CONTACT, Kind.COMPANY, Kind.DEAL, Kind.LEAD)


async def add_label(http: Sender, makeup: Makeup, write: AddToList) -> tuple[Ref, int]:
    """Put the label beside those there are: the list is written whole, so it is read first, inside the lane.

    Raises `Rejected` for a label the company does not have: we make none by a caller's word.
    """
    target = known(write.target)
    if target.kind not in _LABELLED:
        raise Unsupported(f"a {target.kind.value} has no labels in Pipedrive")
    label = await _label(http, makeup, target.kind, write.list)
    if label is None:
        raise Rejected("this Pipedrive company has no such label", field="label_ids")
    current = await read_row(http, wire.read_one(target.kind, target.id))
    if current is None:
        raise gone(target.kind.value)
    status = await _labelled(http, target, current, label)
    return target, status


async def opt_out(http: Sender, makeup: Makeup, write: OptOut) -> int:
    """Unsubscribe a person, and compare what Pipedrive answers: a change it does not allow is ignored without a word.

    Where the status does not take (no Campaigns product, no address, changed once already), the label or else the field
    “No marketing” says it to people.
    """
    target = known(write.target)
    if target.kind is Kind.LEAD:
        lead = await read_row(http, wire.read_one(Kind.LEAD, target.id))
        if lead is None or not lead.value("person_id"):
            raise gone("lead")
        target = Ref(Kind.CONTACT, lead.value("person_id"))
    if target.kind is not Kind.CONTACT:
        raise Unsupported(f"a {target.kind.value} cannot opt out in Pipedrive")
    try:
        with makeup.allowed("the marketing status"):
            current, status = await sent(http, unsubscription(target.id))
        if current.value("marketing_status") == UNSUBSCRIBED["marketing_status"]:
            return status
    except Rejected as refused:
        if refused.gone:
            raise
        found = await read_row(http, wire.read_one(Kind.CONTACT, target.id))
        if found is None:
            raise gone("person") from None
        current = found
    return await _say_to_people(http, makeup, target, current, write.reason)


def unsubscription(id: str) -> Request:
    return wire_writes.update(Kind.CONTACT, id, UNSUBSCRIBED, {})


async def _say_to_people(http: Sender, makeup: Makeup, target: Ref, current: wire.Row, reason: str) -> int:
    label = await _label(http, makeup, Kind.CONTACT, NO_MARKETING)
    if label is not None:
        return await _labelled(http, target, current, label)
    wanted = Field(name=NO_MARKETING, label=NO_MARKETING, type="text", custom=True)
    try:
        code = await makeup.our_code(Kind.CONTACT, NO_MARKETING)
        code = code or (await makeup.create_field(Kind.CONTACT, wanted)).name
    except Rejected as refused:
        text = "Pipedrive has no marketing status here, and we may not make a field that says “No marketing”"
        raise Rejected(text, field="marketing_status", scopes=refused.scopes, status=refused.status) from None
    if current.value(code):
        return 200
    custom: Mapping[str, Any] = {code: reason[:200] or "yes"}
    _, status = await sent(http, wire_writes.update(Kind.CONTACT, target.id, {}, custom))
    return status


async def _label(http: Sender, makeup: Makeup, kind: Kind, named: str) -> int | str | None:
    """A label's id by id or name. Those of leads are their own, and UUIDs."""
    if kind is Kind.LEAD:
        for label in wire.read_rows(await http.send(wire.lead_labels())).results:
            if named == label.id or named.casefold() == label.value("name").casefold():
                return label.id
        return None
    for again in (False, True):
        definition = (await makeup.definitions(kind, again=again)).get("label_ids")
        found = definition.option(named) if definition is not None else None
        if found is not None:
            return found
    return None


async def _labelled(http: Sender, target: Ref, current: wire.Row, label: int | str) -> int:
    held = current.ids("label_ids")
    if str(label) in held:
        return 200
    members = {"label_ids": [*(wire_writes.whole(id) for id in held), label]}
    _, status = await sent(http, wire_writes.update(target.kind, target.id, members, {}))
    return status
