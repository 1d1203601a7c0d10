"""What one Zoho account is made of, asked for and remembered for a while: its users, fields and pipelines."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic

import msgspec

from connectors.crm.port import Sender
from connectors.crm.records import Field, Kind, Owner, Pipeline, Stage
from connectors.crm.zoho import wire, wire_account, wire_composite
from connectors.crm.zoho.wire_errors import AlreadyExists
from connectors.crm.zoho.wire_writes import Place
from connectors.errors import ConnectorError, Rejected, Unsupported
from connectors.request import Reply

_FRESH = timedelta(minutes=10)  # how long users, fields and pipelines are believed
_MOST_PAGES = 50  # of two hundred users


class _Module(msgspec.Struct, frozen=True):
    fields: tuple[Field, ...]
    links: frozenset[str]


class Makeup:
    """Part of `client.Zoho`; the promises stand in the port."""

    def __init__(self, http: Sender) -> None:
        self._http = http
        self._owners: dict[str, tuple[float, Owner]] = {}
        self._modules: dict[str, tuple[float, _Module]] = {}
        self._pipelines: dict[Kind, tuple[float, list[Pipeline]]] = {}
        self._tags: dict[str, tuple[float, dict[str, str]]] = {}
        self._layouts: dict[tuple[str, str], str] = {}
        self._refused: dict[str, Rejected] = {}

    @contextmanager
    def allowed(self, what: str) -> Iterator[None]:
        """A block that asks for `what`. Once refused for want of a scope it is refused here, and not asked again by this
        connection: Zoho answers a missing scope as it answers a dead token, and tokens are rationed."""
        if what in self._refused:
            raise Rejected(self._refused[what].reason, scopes=self._refused[what].scopes, status=401)
        try:
            yield
        except Rejected as refused:
            if refused.scopes:
                self._refused[what] = refused
            raise

    # ── users ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def remembered_owner(self, id: str) -> Owner | None:
        """Without asking."""
        known = self._owners.get(id)
        return known[1] if known else None

    async def owners(self) -> list[Owner]:
        listed: list[Owner] = []
        for page in range(1, _MOST_PAGES + 1):
            reply = await self._http.send(wire.users(page=page))
            found = wire.read(reply, wire_account.Users)
            listed += found.active()
            if not found.info.more_records:
                break
        now = monotonic()
        self._owners = {owner.id: (now, owner) for owner in listed}
        return sorted(listed, key=lambda owner: (owner.name.casefold(), owner.id))

    async def owner_by_email(self, email: str) -> Owner | None:
        """Zoho finds no user by address; there are few enough to go through."""
        return next((one for one in await self.owners() if (one.email or "").casefold() == email.casefold()), None)

    async def owner(self, id: str) -> Owner:
        known = self._owners.get(id)
        if known and monotonic() - known[0] < _FRESH.total_seconds():
            return known[1]
        try:
            found = wire.read(await self._http.send(wire.user(id)), wire_account.Users).users
        except Rejected as refused:
            if refused.gone:
                return Owner(id=id)  # deleted; still the owner
            raise
        owner = found[0].owner() if found else Owner(id=id)
        self._owners[id] = (monotonic(), owner)
        return owner

    # ── fields ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def remembered_fields(self, module: str) -> Sequence[Field]:
        """Without asking."""
        known = self._modules.get(module)
        return known[1].fields if known else ()

    def remembered_links(self, module: str) -> frozenset[str]:
        """Without asking: fields of a module whose values are records."""
        known = self._modules.get(module)
        return known[1].links if known else frozenset()

    async def fields(self, kind: Kind) -> list[Field]:
        module = wire.MODULES[kind]
        with self.allowed("fields"):
            self._keep(module, await self._http.send(wire.fields(module)))
        return list(self.remembered_fields(module))

    async def known_fields(self, kind: Kind) -> Sequence[Field]:
        module = wire.MODULES[kind]
        return self.remembered_fields(module) if self._is_fresh(module) else await self.fields(kind)

    async def phones(self, module: str) -> Sequence[str]:
        """Fields for numbers, the most telling first. All modules with people are asked about at once, once in a while;
        where we may not ask, the fields every account has."""
        await self._learn(module)
        found = [field.name for field in self.remembered_fields(module) if field.type == "phone"]
        standard = wire.STANDARD_PHONES.get(module, ())
        if not found:
            return standard
        return sorted(found, key=lambda name: (standard.index(name) if name in standard else len(standard), name))

    async def _learn(self, module: str) -> None:
        if self._is_fresh(module):
            return
        modules = [wire.MODULES[kind] for kind in wire.PEOPLE]
        asked = [wire.fields(one) for one in modules]
        try:
            with self.allowed("fields"):
                parts = wire_composite.read_parts(asked, await self._http.send(wire_composite.together(asked)))
                for refused in parts:
                    if isinstance(refused, Rejected) and refused.scopes:
                        raise refused
        except Rejected:
            return
        for one, part in zip(modules, parts, strict=True):
            if isinstance(part, Reply):
                self._keep(one, part)
            elif not isinstance(part, Rejected):
                raise part
            else:  # the account has no such module
                self._modules[one] = (monotonic(), _Module((), frozenset()))

    def _keep(self, module: str, reply: Reply) -> None:
        known = _Module(tuple(wire_account.read_fields(reply)), wire_account.read_links(reply))
        self._modules[module] = (monotonic(), known)

    def _is_fresh(self, module: str) -> bool:
        known = self._modules.get(module)
        return known is not None and monotonic() - known[0] < _FRESH.total_seconds()

    async def create_field(self, kind: Kind, field: Field) -> Field:
        if field.type not in wire.FIELD_TYPES:
            raise Unsupported(f"Zoho takes no fields of type {field.type} from an app")
        module = wire.MODULES[kind]
        existing = await self._field(kind, field.name)
        if existing is None:
            with self.allowed(f"fields of {module}, new"):
                try:
                    reply = await self._http.send(wire.create_field(module, field))
                except AlreadyExists:
                    reply = None
            if reply is not None and (refused := wire.refused_in(reply, "fields")):
                raise Rejected(f"Zoho did not make the field ({refused})", field=field.name)
            existing = await self._field(kind, field.name)
        if existing is None or existing.type != field.type:
            raise Rejected("Zoho has a field of this name, of another type", field=field.name)
        return existing

    async def _field(self, kind: Kind, name: str) -> Field | None:
        return next((one for one in await self.fields(kind) if one.name == name), None)

    # ── tags ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def tag(self, kind: Kind, named: str) -> str:
        """The name of a tag of one module, by its id or its name, case aside. Raises `Rejected` for one that is not there:
        Zoho would make it, and nobody would know whose slip of the pen it is."""
        module = wire.MODULES[kind]
        known = self._tags.get(module)
        fresh = known is not None and monotonic() - known[0] < _FRESH.total_seconds()
        for listed in (known[1] if known and fresh else None, None):
            tags = listed if listed is not None else await self._listed_tags(module)
            for id, name in tags.items():
                if named == id or named.casefold() == name.casefold():
                    return name
        raise Rejected("this Zoho account has no such tag", field="Tag")

    def remembered_tag(self, kind: Kind, named: str) -> str:
        """Without asking."""
        known = self._tags.get(wire.MODULES[kind], (0.0, {}))[1]
        return known.get(named) or next((one for one in known.values() if one.casefold() == named.casefold()), named)

    async def _listed_tags(self, module: str) -> dict[str, str]:
        with self.allowed("tags"):
            found = wire_account.read_tags(await self._http.send(wire.tags(module)))
        self._tags[module] = (monotonic(), found)
        return found

    # ── pipelines ───────────────────────────────────────────────────────────────────────────────────────────────────

    def remembered_pipelines(self, kind: Kind) -> Sequence[Pipeline]:
        """Without asking."""
        known = self._pipelines.get(kind)
        return known[1] if known else ()

    async def pipelines(self, kind: Kind) -> list[Pipeline]:
        """Of deals those of each layout, the standard one's first; of cases, and of deals without any, the one field."""
        found: list[Pipeline] = []
        if kind is Kind.DEAL:
            found = await self._of_layouts()
        elif kind is not Kind.TICKET:
            raise Unsupported(f"Zoho has no pipelines for the kind {kind.value}")
        if not found:
            found = wire_account.stages_of(kind, await self.fields(kind))
        self._pipelines[kind] = (monotonic(), found)
        return found

    async def _of_layouts(self) -> list[Pipeline]:
        with self.allowed("layouts and pipelines"):
            layouts = wire_account.read_layouts(await self._http.send(wire.layouts("Deals")))
            replies = await asyncio.gather(*(self._pipelines_of(layout) for layout in layouts))
        found: dict[str, Pipeline] = {}
        self._layouts = {}
        for layout, listed in zip(layouts, replies, strict=True):
            for pipeline in listed:
                if found.setdefault(pipeline.id, pipeline) is pipeline and layout != layouts[0]:
                    self._layouts[Kind.DEAL.value, pipeline.id] = layout
        return list(found.values())

    async def _pipelines_of(self, layout: str) -> list[Pipeline]:
        try:
            return wire_account.read_pipelines(await self._http.send(wire.pipelines(layout)))
        except Rejected as refused:
            if refused.scopes:
                raise
            return []  # an edition without pipelines

    async def known_pipelines(self, kind: Kind) -> list[Pipeline]:
        known = self._pipelines.get(kind)
        if known and monotonic() - known[0] < _FRESH.total_seconds():
            return known[1]
        return await self.pipelines(kind)

    async def stages(self, kind: Kind) -> Mapping[str, Stage]:
        return {stage.id: stage for one in await self.known_pipelines(kind) for stage in one.stages}

    async def place(self, kind: Kind, pipeline: str, stage: str) -> Place:
        """Values for what the tenant named; asked again before a name is called unknown, since names change."""
        place = self.placed(kind, await self.known_pipelines(kind), pipeline, stage)
        place = place or self.placed(kind, await self.pipelines(kind), pipeline, stage)
        if place is None:
            field = "Stage" if kind is Kind.DEAL else "Status"
            raise Rejected("this Zoho account has no such pipeline or stage", field=field)
        return place

    def placed(self, kind: Kind, pipelines: Sequence[Pipeline], pipeline: str, stage: str) -> Place | None:
        """By value, else by label, case aside. Nothing named: the first pipeline that has the stage, and its first open
        one."""
        chosen = [one for one in pipelines if _is(one, pipeline)] if pipeline else pipelines
        for one in chosen:
            for candidate in one.stages:
                if _is(candidate, stage) if stage else not candidate.closed:
                    return Place(one.id, candidate.id, self._layouts.get((kind.value, one.id), ""))
        return None


def _is(thing: Pipeline | Stage, named: str) -> bool:
    return named == thing.id or named.casefold() == thing.label.casefold()


def raised(part: Reply | ConnectorError) -> Reply:
    """A part's reply, or its error raised."""
    if isinstance(part, ConnectorError):
        raise part
    return part
