"""Fields of ours in one Salesforce org: made, shown to the connected user, and found out to hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connectors.crm.port import Sender, Stick, Sticking
from connectors.crm.records import Field, Kind
from connectors.crm.salesforce import wire, wire_account
from connectors.crm.salesforce.makeup import Makeup, rows_of
from connectors.crm.salesforce.manifest import API, KEY, KEYED, MANIFEST, PERMISSION_SET
from connectors.crm.salesforce.wire_errors import AlreadyExists, Denied, classified
from connectors.errors import Rejected, Unsupported
from connectors.request import Request

_FIELD = Field(name=KEY, label="Gateway Key", type="text", unique=True, custom=True)
_DESCRIPTION = "Keeps people, deals and cases from being entered twice. Please leave as it is."
_THERE = frozenset({"DUPLICATE_DEVELOPER_NAME", "DUPLICATE_VALUE", "DUPLICATE_CUSTOM_FIELD"})


async def probe(http: Sender, makeup: Makeup) -> Mapping[str, Sticking]:
    """The sticking of each kind of write: enforced where our unique external id is there and the user may write it.

    It is made where it is missing, which takes the right to customise the application. A refusal means the next level; an
    outage is raised, not taken for an answer.
    """
    objects = list(dict.fromkeys(of for needed in KEYED.values() for of in needed))
    missing = [of for of in objects if not await _holds(makeup, of)]
    if missing:
        made = [of for of in missing if await _made(http, of)]
        if made:
            await show(http, {of: [KEY] for of in made})
        missing = [of for of in missing if of not in made or not await _holds(makeup, of)]
    probed = {}
    for name, levels in MANIFEST.sticks.items():
        enforced = not set(KEYED.get(name, ())) & set(missing)
        probed[name] = next(level for level in levels if enforced or level.stick is not Stick.ENFORCED)
    return probed


async def _holds(makeup: Makeup, of: str) -> bool:
    """Whether the field is there, unique, and ours to write: a describe lists only what the user may see."""
    try:
        described = await makeup.described(of, anew=True)
    except Rejected:
        return False
    field = described.field(KEY)
    return field is not None and field.unique and field.external_id and field.createable


async def _made(http: Sender, of: str) -> bool:
    """Whether the field is there now, seen or not."""
    try:
        await http.send(wire_account.create_field(of, _FIELD, description=_DESCRIPTION, external_id=True))
    except Denied as refused:
        return refused.code in _THERE
    except Rejected:
        return False
    return True


async def create_field(http: Sender, makeup: Makeup, kind: Kind, field: Field) -> Field:
    """A custom field, and the right to see it. One of this name and type is success, whoever made it."""
    of, name = wire_account.holder(kind), wire_account.api_name(field.name)
    if not wire_account.takes(field.type):
        raise Unsupported(f"Salesforce takes no fields of type {field.type}")
    described = wire.TYPES[kind]
    existing = (await makeup.described(described, anew=True)).field(name)
    if existing is None:
        try:
            await http.send(wire_account.create_field(of, field))
        except Denied as refused:
            if refused.code not in _THERE:
                raise
        await show(http, {of: [name]})
        existing = (await makeup.described(described, anew=True)).field(name)
    if existing is None:
        raise Rejected("the field was made, but the connected user may not see it yet", field=name)
    if existing.field().type != field.type:
        raise Rejected("Salesforce has a field of this name, of another type", field=name)
    return existing.field()


async def show(http: Sender, fields: Mapping[str, Sequence[str]]) -> None:
    """Let the connected user see and edit these fields, through a permission set of ours.

    A new field is nobody's, not even an administrator's, until a profile or permission set names it. What is refused here
    is left to the describe that follows: it says whether the field can be used.
    """
    try:
        permission_set = await _permission_set(http)
        parts = [part for of, names in fields.items() for part in wire_account.permissions(permission_set, of, names)]
        numbered = [
            wire.Part(ref=f"p{at}", method=one.method, url=one.url, body=one.body) for at, one in enumerate(parts)
        ]
        user = wire.read(await http.send(Request(method="GET", path=f"{API}/")), wire_account.Resources).user
        if user is not None:
            numbered.append(wire_account.assignment(permission_set, user))
        reply = await http.send(wire.composite(numbered))
        for answered in wire.read_composite(reply, [part.ref for part in numbered]).values():
            if not answered.good:
                error = classified(answered.http_status_code, answered.body, writes=False)
                if not isinstance(error, Rejected):
                    raise error
    except Rejected:
        return


async def _permission_set(http: Sender) -> str:
    asked = wire.composite([wire.asking("set", wire_account.permission_set(PERMISSION_SET))])
    told = wire.read_composite(await http.send(asked), ("set",))
    rows = rows_of(told["set"])
    if rows:
        return wire.value(rows[0], "Id")
    try:
        made = await http.send(wire_account.create_permission_set(PERMISSION_SET))
    except AlreadyExists as there:
        if there.existing is None:
            raise
        return there.existing
    return wire.read(made, wire.Saved).id
