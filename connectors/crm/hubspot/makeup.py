"""What one HubSpot account is made of, asked for and remembered for a while: its owners, pipelines and fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic

from connectors.crm.hubspot import wire, wire_account, wire_lists
from connectors.crm.hubspot.wire_errors import AlreadyExists
from connectors.crm.hubspot.wire_writes import Place
from connectors.crm.port import Sender
from connectors.crm.records import Field, Kind, Owner, Pipeline, Stage
from connectors.errors import Rejected, Unsupported

_FRESH = timedelta(minutes=10)  # how long owners and pipelines are believed
_MOST_PAGES = 200  # of a hundred owners
_MOST_LISTS = 10  # pages of lists whose names contain a name


class Makeup:
    """Part of `client.HubSpot`; the promises stand in the port."""

    def __init__(self, http: Sender) -> None:
        self._http = http
        self._owners: dict[str, tuple[float, Owner]] = {}
        self._pipelines: dict[Kind, tuple[float, list[Pipeline]]] = {}
        self._lists: dict[tuple[str, str], str] = {}
        self._refused: dict[str, Rejected] = {}

    @contextmanager
    def allowed(self, what: str) -> Iterator[None]:
        """A block that asks for `what`. Once refused for want of a scope it is refused here, and not asked again by this
        connection: HubSpot counts an app's errors."""
        if what in self._refused:
            raise Rejected(self._refused[what].reason, scopes=self._refused[what].scopes, status=403)
        try:
            yield
        except Rejected as refused:
            if refused.status == 403:
                self._refused[what] = refused
            raise

    def remembered_owner(self, id: str) -> Owner | None:
        """Without asking."""
        known = self._owners.get(id)
        return known[1] if known else None

    def remembered_pipelines(self, kind: Kind) -> Sequence[Pipeline]:
        """Without asking."""
        known = self._pipelines.get(kind)
        return known[1] if known else ()

    async def owners(self) -> list[Owner]:
        listed: list[Owner] = []
        after: str | None = None
        for _ in range(_MOST_PAGES):
            page = wire.read(await self._http.send(wire.owners_page(after=after)), wire_account.Owners)
            listed += page.active()
            after = page.after
            if after is None:
                break
        now = monotonic()
        self._owners = {owner.id: (now, owner) for owner in listed}
        return sorted(listed, key=lambda owner: (owner.name.casefold(), owner.id))

    async def owner_by_email(self, email: str) -> Owner | None:
        reply = await self._http.send(wire.owners_page(email=email))
        found = wire.read(reply, wire_account.Owners).active()
        return next((owner for owner in found if (owner.email or "").casefold() == email.casefold()), None)

    async def owner(self, id: str) -> Owner | None:
        if not id:
            return None
        known = self._owners.get(id)
        if known and monotonic() - known[0] < _FRESH.total_seconds():
            return known[1]
        try:
            owner = wire_account.read_owner(await self._http.send(wire.owner(id)))
        except Rejected as refused:
            if refused.gone:
                return Owner(id=id)  # deactivated; still the owner
            raise
        self._owners[id] = (monotonic(), owner)
        return owner

    async def pipelines(self, kind: Kind) -> list[Pipeline]:
        if kind not in (Kind.DEAL, Kind.TICKET):
            raise Unsupported(f"HubSpot has no pipelines for the kind {kind.value}")
        with self.allowed(f"pipelines of {kind.value}s"):
            reply = await self._http.send(wire.pipelines(wire.TYPES[kind]))
        found = wire_account.read_pipelines(reply)
        self._pipelines[kind] = (monotonic(), found)
        return found

    async def known_pipelines(self, kind: Kind) -> list[Pipeline]:
        known = self._pipelines.get(kind)
        if known and monotonic() - known[0] < _FRESH.total_seconds():
            return known[1]
        return await self.pipelines(kind)

    async def place(self, kind: Kind, pipeline: str, stage: str) -> Place:
        """Ids for what the tenant named; asked again before a name is called unknown, since names change."""
        place = placed(await self.known_pipelines(kind), pipeline, stage)
        place = place or placed(await self.pipelines(kind), pipeline, stage)
        if place is None:
            field = "dealstage" if kind is Kind.DEAL else "hs_pipeline_stage"
            raise Rejected("this HubSpot account has no such pipeline or stage", field=field)
        return place

    def remembered_list(self, type: str, name: str) -> str | None:
        """Its id, without asking."""
        return self._lists.get((type, name.casefold()))

    async def list_named(self, type: str, name: str) -> str:
        """The id of the list of this name. Raises `Rejected` if there is none, or one that takes nobody from us."""
        known = self.remembered_list(type, name)
        if known is not None:
            return known
        found: list[wire_lists.Listed] = []
        offset = 0
        with self.allowed("search lists"):
            for _ in range(_MOST_LISTS):
                page = wire.read(await self._http.send(wire_lists.search(type, name, offset=offset)), wire_lists.Lists)
                found += page.lists
                offset = page.offset
                if not page.has_more:
                    break
        chosen = wire_lists.named(found, name)
        if chosen is None:
            raise Rejected("this HubSpot account has no list of this name", field="list")
        if not chosen.by_hand:
            raise Rejected(
                "HubSpot fills this list by its own filters; only one kept by hand takes people", field="list"
            )
        self._lists[type, name.casefold()] = chosen.id
        return chosen.id

    def forget_list(self, type: str, name: str) -> None:
        self._lists.pop((type, name.casefold()), None)

    async def fields(self, kind: Kind) -> list[Field]:
        return wire_account.read_fields(await self._http.send(wire.fields(wire.TYPES[kind])))

    async def create_field(self, kind: Kind, field: Field) -> Field:
        type = wire.TYPES[kind]
        existing = await self._field(type, field.name)
        if existing is None:
            group = wire.GROUPS.get(type)
            if group is None or field.type not in wire.FIELD_TYPES:
                raise Unsupported(f"HubSpot takes no fields of type {field.type} for the kind {kind.value}")
            try:
                made = await self._http.send(wire.create_field(type, field, group=group))
                return wire.read(made, wire_account.FieldObject).field()
            except AlreadyExists:
                existing = await self._field(type, field.name)
        if existing is None or existing.type != field.type:
            raise Rejected("HubSpot has a field of this name, of another type", field=field.name)
        return existing

    async def _field(self, type: str, name: str) -> Field | None:
        try:
            return wire.read(await self._http.send(wire.field(type, name)), wire_account.FieldObject).field()
        except Rejected as refused:
            if refused.gone:
                return None
            raise


def placed(pipelines: Sequence[Pipeline], pipeline: str, stage: str) -> Place | None:
    """By id, else by label, case aside. Nothing named: the first pipeline that has the stage, and its first open one."""
    chosen = [one for one in pipelines if _is(one, pipeline)] if pipeline else pipelines
    for one in chosen:
        for candidate in one.stages:
            if _is(candidate, stage) if stage else not candidate.closed:
                return Place(one.id, candidate.id)
    return None


def _is(thing: Pipeline | Stage, named: str) -> bool:
    return named == thing.id or named.casefold() == thing.label.casefold()
