"""Looking for what an earlier try left, where Zoho shows what was just written: COQL, and the notes of a record."""

from __future__ import annotations

from collections.abc import Sequence

from connectors.crm.port import Sender
from connectors.crm.records import AddNote, CreateDeal, CreateTicket, Kind, Ref, UpsertContact
from connectors.crm.zoho import around, wire, wire_writes
from connectors.crm.zoho import wire_coql as coql
from connectors.crm.zoho.manifest import KEY
from connectors.errors import Rejected, Unsupported
from connectors.request import Request

_MOST_PAGES = 20  # that a look for a marker goes through
_NOWHERE = "what hangs on no record cannot be found again in this Zoho account"


async def record(http: Sender, module: str, id: str, *, fields: Sequence[str]) -> wire.Row | None:
    """One record as it is now; None if it is gone."""
    try:
        found = wire.read_rows(await http.send(wire.read_one(module, id, fields=fields))).data
    except Rejected as refused:
        if refused.gone:
            return None
        raise
    return found[0] if found else None


async def person(http: Sender, kind: Kind, *, key: str | None, email: str | None) -> str | None:
    """Someone with this key or address; None if there is none, or neither can be asked about."""
    wanted = [coql.equals(KEY, wire_writes.kept_key(key))] if key else []
    if email and coql.is_speakable(email):
        wanted.append(coql.equals("Email", email.strip()))
    return await _first(http, coql.select(["id"], wire.MODULES[kind], coql.either(wanted), limit=1)) if wanted else None


async def earlier_person(http: Sender, write: UpsertContact, *, key_field: bool) -> str | None:
    """Raises `Unsupported` where there is neither a field of ours nor an address."""
    if key_field:
        return await person(http, write.kind, key=write.key, email=None)
    if not write.email or not coql.is_speakable(write.email):
        raise Unsupported("a person without an e-mail address cannot be found again in this Zoho account")
    return await person(http, write.kind, key=None, email=write.email)


async def earlier(http: Sender, write: wire_writes.Dated, *, key_field: bool) -> str | None:
    """By our key where there is a field for it, else by the marker in what hangs on the first record it is about."""
    module = wire.MODULES[wire_writes.KINDS[type(write)]]
    if key_field:
        wanted = coql.equals(KEY, wire_writes.kept_key(write.key))
        return await _first(http, coql.select(["id"], module, wanted, limit=1))
    if isinstance(write, AddNote):
        return await _marked_note(http, write)
    condition = _hanging_on(write)
    rows = coql.select(["id", "Description"], module, condition, order=["Created_Time desc"], limit=200)
    marker = wire_writes.mark(write.key)
    for row in wire.read_rows(await http.send(rows)).data:
        if marker in wire.value(row, "Description"):
            return wire.value(row, "id")
    return None


async def _first(http: Sender, request: Request) -> str | None:
    found = wire.read_rows(await http.send(request)).data
    return wire.value(found[0], "id") if found else None


async def _marked_note(http: Sender, write: AddNote) -> str | None:
    parent = wire_writes.linked(Kind.NOTE, [link for link in write.about if isinstance(link, Ref)]).get("Parent_Id", {})
    marker = wire_writes.mark(write.key)
    for page in range(1, _MOST_PAGES + 1):
        asked = wire.notes_of(parent["module"]["api_name"], parent["id"], page=page)
        try:
            found = wire.read_rows(await http.send(asked))
        except Rejected as refused:
            if refused.gone:
                return None
            raise
        for row in found.data:
            if marker in wire.value(row, "Note_Content"):
                return wire.value(row, "id")
        if not found.info.more_records:
            return None
    return None


def _hanging_on(write: wire_writes.Dated) -> str:
    anchors = [link for link in write.about if isinstance(link, Ref)]
    if isinstance(write, CreateDeal | CreateTicket):
        links = wire_writes.linked(wire_writes.KINDS[type(write)], anchors)
        name = next(iter(links), None)
        if name is None:
            raise Unsupported(_NOWHERE)
        return coql.equals(name, links[name]["id"])
    if not anchors:
        raise Unsupported(_NOWHERE)
    chosen = next((one for one in anchors if one.kind is Kind.CONTACT), anchors[0])
    return around.activities_of(chosen)
