"""Where our keys can lie in one Pipedrive company, found out by trying."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from connectors.crm.pipedrive.makeup import Makeup
from connectors.crm.pipedrive.manifest import KEY, MANIFEST, TEXT
from connectors.crm.port import Sticking
from connectors.crm.records import Field, Kind
from connectors.errors import Rejected, Unsupported

_KEY = Field(name=KEY, label=KEY, type="text", custom=True)
_TEXT = Field(name=TEXT, label=TEXT, type="longtext", custom=True)


async def probe(makeup: Makeup) -> Mapping[str, Sticking]:
    """The sticking of each kind of write: the first level where our fields are, or could be made, the next where not.

    Activities and notes carry their marker in the text, which takes no permission. A refusal means the next level; an
    outage is raised, not taken for an answer.
    """
    persons, deals = await asyncio.gather(
        _made(makeup, Kind.CONTACT, _KEY), _made_both(makeup, Kind.DEAL, (_KEY, _TEXT))
    )
    held = {"upsert_contact": persons, "create_deal": deals}
    return {name: levels[0] if held.get(name, True) else levels[-1] for name, levels in MANIFEST.sticks.items()}


async def _made_both(makeup: Makeup, kind: Kind, fields: tuple[Field, ...]) -> bool:
    for field in fields:  # one after the other: both read the list before they add to it
        if not await _made(makeup, kind, field):
            return False
    return True


async def _made(makeup: Makeup, kind: Kind, field: Field) -> bool:
    """Whether the field is there, made now if it was missing. One of the name but of another type is none of ours."""
    try:
        await makeup.create_field(kind, field)
    except (Rejected, Unsupported):
        return False
    return True
