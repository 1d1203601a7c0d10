"""What one Pipedrive company is made of, asked for and remembered for a while: users, pipelines, fields, activity types."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic
from typing import TypeVar

from connectors.crm.pipedrive import wire, wire_account
from connectors.crm.pipedrive.wire_account import ActivityType, FieldObject
from connectors.crm.pipedrive.wire_writes import Place
from connectors.crm.port import Sender
from connectors.crm.records import Field, Kind, Owner, Pipeline, Stage
from connectors.errors import Rejected, Unsupported
from connectors.request import Request

T = TypeVar("T")

_FRESH = timedelta(minutes=30)  # how long users and pipelines are believed; their lists cost 20 and 10 tokens
_DAY = timedelta(hours=24)  # fields and types of activities
_AGAIN = timedelta(minutes=5)  # how soon a list may be asked again because of a field that is not in it
_MOST_PAGES = 40  # of five hundred


class Makeup:
    """Part of `client.Pipedrive`; the promises stand in the port."""

    def __init__(self, http: Sender) -> None:
        self._http = http
        self._owners: tuple[float, Mapping[str, Owner]] | None = None
        self._pipelines: tuple[float, list[Pipeline]] | None = None
        self._types: tuple[float, list[ActivityType]] | None = None
        self._definitions: dict[str, tuple[float, Mapping[str, FieldObject]]] = {}
        self._refused: dict[str, Rejected] = {}

    @contextmanager
    def allowed(self, what: str) -> Iterator[None]:
        """A block that asks for `what`. Once refused for want of a scope it is refused here, and not asked again by this
        connection: every request costs tokens, and going on against refusals ends at Cloudflare."""
        if what in self._refused:
            raise Rejected(self._refused[what].reason, scopes=self._refused[what].scopes, status=403)
        try:
            yield
        except Rejected as refused:
            if refused.status == 403:
                self._refused[what] = refused
            raise

    # ── users ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def owners(self) -> list[Owner]:
        with self.allowed("users"):
            listed = wire_account.read_users(await self._http.send(wire.users()))
        self._owners = (monotonic(), {owner.id: owner for owner in listed})
        return listed

    async def owner(self, id: str) -> Owner | None:
        """From the list: one user costs two tokens, but twenty callers have as many owners. Inactive ones have no name."""
        if not id:
            return None
        known = _fresh(self._owners, _FRESH)
        if known is None:
            known = {owner.id: owner for owner in await self.owners()}
        return known.get(id, Owner(id=id))

    async def owner_by_email(self, email: str) -> Owner | None:
        """From the list, asked again before somebody is called unknown."""
        for again in (False, True):
            known = None if again else _fresh(self._owners, _FRESH)
            listed = await self.owners() if known is None else list(known.values())
            found = next((owner for owner in listed if (owner.email or "").casefold() == email.casefold()), None)
            if found is not None or known is None:
                return found
        return None

    def remembered_owner(self, id: str) -> Owner | None:
        """Without asking."""
        return self._owners[1].get(id) if self._owners else None

    # ── pipelines ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def pipelines(self) -> list[Pipeline]:
        pipelines, stages = await asyncio.gather(self._all(wire.pipelines), self._all(wire.stages))
        found = wire_account.read_pipelines(pipelines, stages)
        self._pipelines = (monotonic(), found)
        return found

    async def known_pipelines(self) -> list[Pipeline]:
        known = _fresh(self._pipelines, _FRESH)
        return await self.pipelines() if known is None else known

    def remembered_pipelines(self) -> Sequence[Pipeline]:
        """Without asking."""
        return self._pipelines[1] if self._pipelines else ()

    async def place(self, pipeline: str, stage: str) -> Place:
        """Ids for what the tenant named; asked again before a name is called unknown, since names change."""
        place = placed(await self.known_pipelines(), pipeline, stage)
        place = place or placed(await self.pipelines(), pipeline, stage)
        if place is None:
            raise Rejected("this Pipedrive company has no such pipeline or stage", field="stage_id")
        return place

    async def _all(self, page: Callable[[str | None], Request]) -> list[wire.Row]:
        rows: list[wire.Row] = []
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            found = wire.read_rows(await self._http.send(page(cursor)))
            rows += found.results
            cursor = found.after
            if cursor is None:
                break
        return rows

    # ── activity types ──────────────────────────────────────────────────────────────────────────────────────────────

    async def activity_type(self, wanted: str) -> str:
        known = _fresh(self._types, _DAY)
        if known is None:
            known = wire_account.read_activity_types(await self._http.send(wire.activity_types()))
            self._types = (monotonic(), known)
        return wire_account.type_for(wanted, known)

    def remembered_type(self, wanted: str) -> str:
        """Without asking: the standard key, as long as the company's own types are not known."""
        return wire_account.type_for(wanted, self._types[1]) if self._types else wanted

    def forget_types(self) -> None:
        """Somebody may have switched one off since."""
        self._types = None

    # ── fields ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def definitions(self, kind: Kind, *, again: bool = False) -> Mapping[str, FieldObject]:
        """Of one kind, by code."""
        listed_at = wire.FIELD_LISTS.get(kind)
        if listed_at is None:
            return {}
        known = None if again else _fresh(self._definitions.get(listed_at), _DAY)
        if known is not None:
            return known
        found: dict[str, FieldObject] = {}
        cursor: str | None = None
        with self.allowed(listed_at):
            for _ in range(_MOST_PAGES):
                some, cursor = wire_account.read_definitions(await self._http.send(wire.fields(kind, cursor)))
                found |= {one.field_code: one for one in some}
                if cursor is None:
                    break
        self._definitions[listed_at] = (monotonic(), found)
        return found

    def remembered_definitions(self, kind: Kind) -> Mapping[str, FieldObject]:
        """Without asking."""
        known = self._definitions.get(wire.FIELD_LISTS.get(kind, ""))
        return known[1] if known else {}

    async def coded(self, kind: Kind, values: Mapping[str, str]) -> tuple[dict[str, str], Mapping[str, FieldObject]]:
        """`values` by code, where they were given by a field's name, and the definitions they are typed by.

        Lists are asked again before a field is called unknown; standard fields need no asking.
        """
        standard = wire_account.WRITABLE.get(kind, {})
        if all(name in standard or name in ("phones", "emails") for name in values):
            return dict(values), {}
        known = await self.definitions(kind)
        unknown = any(code_of(known, name) is None and name not in standard for name in values)
        if unknown and _fresh(self._definitions.get(wire.FIELD_LISTS.get(kind, "")), _AGAIN) is None:
            known = await self.definitions(kind, again=True)
        return {code_of(known, name) or name: value for name, value in values.items()}, known

    async def our_code(self, kind: Kind, name: str) -> str | None:
        """The code this company's Pipedrive gave to a field of ours; None where it has none."""
        try:
            return code_of(await self.definitions(kind), name)
        except Rejected as refused:
            if refused.status != 403:
                raise
            return None

    async def number_fields(self, kind: Kind) -> Mapping[str, str]:
        """The company's own fields of type "phone": code → name. Unknown where lists may not be read."""
        try:
            known = await self.definitions(kind)
        except Rejected:
            return {}
        return {
            code: one.field_name for code, one in known.items() if one.is_custom_field and one.field_type == "phone"
        }

    async def fields(self, kind: Kind) -> list[Field]:
        if wire.RESOURCES[kind] == "activities":
            return wire_account.read_activity_fields(await self._http.send(wire.activity_fields()))
        if kind not in wire.FIELD_LISTS:
            raise Unsupported(f"Pipedrive has no list of fields for the kind {kind.value}")
        known = await self.definitions(kind, again=True)
        listed = [one.field(kind) for one in known.values()]
        return sorted(listed, key=lambda field: (field.label.casefold(), field.name))

    async def create_field(self, kind: Kind, field: Field) -> Field:
        """Found by its name, which Pipedrive keeps no unique: the code is Pipedrive's."""
        request = wire_account.create_field(kind, field)
        existing = _named(await self.definitions(kind, again=True), field)
        if existing is None:
            made = wire_account.read_definition(await self._http.send(request))
            read_at, known = self._definitions[wire.FIELD_LISTS[kind]]
            self._definitions[wire.FIELD_LISTS[kind]] = (read_at, {**known, made.field_code: made})
            return made.field(kind)
        found = existing.field(kind)
        if found.type != field.type:
            raise Rejected("Pipedrive has a field of this name, of another type", field=found.name)
        return found


def _fresh(known: tuple[float, T] | None, life: timedelta) -> T | None:
    return known[1] if known and monotonic() - known[0] < life.total_seconds() else None


def code_of(known: Mapping[str, FieldObject], name: str) -> str | None:
    """A field's code, by itself or by the name people see; of several with one name, the company's own comes first."""
    if name in known:
        return name
    named = [one for one in known.values() if one.field_name.casefold() == name.casefold()]
    return min(named, key=lambda one: not one.is_custom_field).field_code if named else None


def _named(known: Mapping[str, FieldObject], field: Field) -> FieldObject | None:
    names = {field.name.casefold(), field.label.casefold()} - {""}
    return next(
        (
            one
            for code, one in known.items()
            if code == field.name or (one.is_custom_field and one.field_name.casefold() in names)
        ),
        None,
    )


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
