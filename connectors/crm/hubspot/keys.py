"""Where our keys can lie in one HubSpot account, found out by trying."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from uuid import uuid4

from connectors.crm.hubspot import wire, wire_account
from connectors.crm.hubspot.manifest import KEY, KEYED, MANIFEST
from connectors.crm.port import Sender, Stick, Sticking
from connectors.crm.records import Field
from connectors.errors import Rejected

_FIELD = Field(name=KEY, label="Gateway key", type="text", unique=True, custom=True)
_DESCRIPTION = "Keeps calls and people from being entered twice. Please leave as it is."
_NEIGHBOURS = {"contacts": "firstname", "deals": "dealname", "tickets": "subject"}  # activities: hs_timestamp


async def probe(http: Sender) -> Mapping[str, Sticking]:
    """The sticking of each kind of write: enforced where our unique property is, or could be made and searched by.

    Whether activities may have unique properties is documented nowhere, hence the trying. A refusal (no scope, no such
    thing, ten unique properties already) means the next level; an outage is raised, not taken for an answer.
    """
    names = list(KEYED)
    holds = await asyncio.gather(*(_holds(http, wire.TYPES[KEYED[name]]) for name in names))
    levels = {name: MANIFEST.sticks[name] for name in MANIFEST.sticks}
    probed = {name: levels[name][0] for name in levels}
    for name, enforced in zip(names, holds, strict=True):
        probed[name] = next(level for level in levels[name] if enforced or level.stick is not Stick.ENFORCED)
    return probed


async def _holds(http: Sender, type: str) -> bool:
    try:
        return await _made(http, type) and await _finds(http, type)
    except Rejected:
        return False


async def _made(http: Sender, type: str) -> bool:
    """Whether the property is there with unique values, made now if it was missing."""
    try:
        reply = await http.send(wire.field(type, KEY))
    except Rejected as refused:
        if not refused.gone:
            raise
    else:
        return bool(wire.read(reply, wire_account.FieldObject).has_unique_value)
    neighbour = wire.field(type, _NEIGHBOURS.get(type, "hs_timestamp"))
    group = wire.read(await http.send(neighbour), wire_account.FieldObject).group_name
    made = await http.send(wire.create_field(type, _FIELD, group=group, description=_DESCRIPTION))
    return bool(wire.read(made, wire_account.FieldObject).has_unique_value)


async def _finds(http: Sender, type: str) -> bool:
    """Whether records can be read by it: asked for a key nobody has, HubSpot must know that there is no such record."""
    try:
        await http.send(wire.read_one(type, f"probe-{uuid4().hex}", fields=(), by=KEY))
    except Rejected as refused:
        return refused.gone
    return False
