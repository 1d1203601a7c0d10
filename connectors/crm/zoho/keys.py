"""Where our keys can lie in one Zoho account, found out by trying."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from uuid import uuid4

import msgspec

from connectors.crm.port import Sender, Stick, Sticking
from connectors.crm.records import Kind
from connectors.crm.zoho import wire
from connectors.crm.zoho import wire_coql as coql
from connectors.crm.zoho.makeup import Makeup
from connectors.crm.zoho.manifest import KEY, KEYED, MANIFEST, has_field
from connectors.crm.zoho.wire_writes import FIELD
from connectors.errors import Rejected


async def probe(http: Sender, makeup: Makeup) -> Mapping[str, Sticking]:
    """The sticking of each kind of write: enforced where our field is unique, found where it is there and can be asked
    about, else by what stands in texts.

    Whether a module takes unique fields depends on the edition and the module, hence the trying: first with unique values,
    then without. A refusal (no scope, no such thing, no field left) means the next level; an outage is raised, not taken
    for an answer.
    """
    kinds = [kind for kinds in KEYED.values() for kind in kinds]
    reached = dict(zip(kinds, await asyncio.gather(*(_level(http, makeup, kind) for kind in kinds)), strict=True))
    probed: dict[str, Sticking] = {}
    for name, levels in MANIFEST.sticks.items():
        worst = min((reached[kind] for kind in KEYED.get(name, ())), default=0)
        probed[name] = next(level for level in levels if _holds(level, worst))
    return probed


def _holds(level: Sticking, reached: int) -> bool:
    if not has_field(level):
        return True
    return reached == 2 or (reached == 1 and level.stick is not Stick.ENFORCED)


async def _level(http: Sender, makeup: Makeup, kind: Kind) -> int:
    """2: our field is there with unique values; 1: without; 0: it is not, or cannot be asked about."""
    try:
        unique = await _made(makeup, kind)
        await http.send(coql.select(["id"], wire.MODULES[kind], coql.equals(KEY, f"probe-{uuid4().hex}"), limit=1))
    except Rejected:
        return 0
    return 2 if unique else 1


async def _made(makeup: Makeup, kind: Kind) -> bool:
    """Whether values are unique in the field, made now if it was missing. Raises `Rejected` if it cannot be made."""
    for wanted in (FIELD, msgspec.structs.replace(FIELD, unique=False)):
        try:
            return (await makeup.create_field(kind, wanted)).unique
        except Rejected as refused:
            if refused.scopes or not wanted.unique:
                raise
    raise AssertionError
