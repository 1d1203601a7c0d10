"""Writing to one Zoho account: a run in one composite request, what the answers mean, and finding it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from connectors.crm import runs
from connectors.crm.port import Done, Failed, Outcome, Sender, Stick, Sticking
from connectors.crm.records import (
    Account,
    AddNote,
    AddToList,
    AssignOwner,
    CreateDeal,
    CreateTicket,
    Earlier,
    Kind,
    Link,
    MoveStage,
    OptOut,
    Record,
    Ref,
    SetFields,
    UpsertContact,
    Write,
    name_of,
)
from connectors.crm.zoho import finder, wire, wire_composite, wire_people, wire_writes
from connectors.crm.zoho.makeup import Makeup
from connectors.crm.zoho.manifest import KEY, MANIFEST, PER_REQUEST, has_field
from connectors.crm.zoho.wire_errors import AlreadyExists, ChangedMeanwhile, NotExecuted, error_of
from connectors.errors import ConnectorError, OutcomeUnknown, Rejected, Unavailable, UnexpectedReply
from connectors.request import Reply, Request


class Ready(msgspec.Struct, frozen=True):
    """A write as it goes out. `write` has its links resolved; `leaves` is whether a record comes of it, or is changed."""

    write: Write
    request: Request
    kind: Kind
    created: bool = True
    leaves: bool = True


class Writer:
    """Part of `client.Zoho`; the promises stand in the port."""

    def __init__(
        self, http: Sender, makeup: Makeup, *, sticks: Mapping[str, Sticking], account: Account | None
    ) -> None:
        self.sticks = sticks
        self.account = account
        self._http = http
        self._makeup = makeup

    # ── runs ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def write(self, run: Sequence[Write]) -> list[Outcome]:
        """Five to a request, one after the other in there, with references where one needs the record of another."""
        outcomes: list[Outcome] = []
        while len(outcomes) < len(run):
            if any(isinstance(one, Failed) and runs.may_pass(one.error) for one in outcomes):
                outcomes.append(_not_sent())
                continue
            outcomes += await self._next(run[len(outcomes) :][:PER_REQUEST], outcomes)
        return outcomes

    async def _next(self, batch: Sequence[Write], before: Sequence[Outcome]) -> list[Outcome]:
        """Outcomes of as many of `batch` as go together; at least one."""
        ready: list[Ready | Outcome] = []
        for write in batch:
            try:
                ready.append(await self._ready(self._linked(write, before, ready)))
            except _Waits:
                break
            except ConnectorError as error:
                ready.append(Failed(error=error))
                if runs.may_pass(error):
                    break
        parts = iter(await self._sent([one for one in ready if isinstance(one, Ready)]))
        outcomes: list[Outcome] = []
        for one, write in zip(ready, batch, strict=False):
            if isinstance(one, Ready):
                outcomes.append(await self._outcome(write, one, next(parts), [*before, *outcomes]))
            else:
                outcomes.append(one)
        return outcomes

    def _linked(self, write: Write, before: Sequence[Outcome], ready: Sequence[Ready | Outcome]) -> Write:
        """`write` with its `Earlier` links as records: known ones, or references to parts of the same request.

        Raises `Unavailable` if one points at what left nothing, `_Waits` if it needs a record before it can be prepared.
        """
        at_hand: list[Outcome] = [*before]
        parts = 0
        for one in ready:
            if isinstance(one, Ready):
                if isinstance(write, UpsertContact) and isinstance(write.target, Earlier):
                    raise _Waits
                id = wire_composite.reference(parts) if one.created else one.request.path.rsplit("/", 1)[1]
                at_hand.append(Done(record=Record(kind=one.kind, id=id)))
                parts += 1
            else:
                at_hand.append(one)
        linked = runs.resolved(write, at_hand)
        if linked is None:
            raise Unavailable(runs.NOT_SENT)
        return linked

    async def _sent(self, ready: Sequence[Ready]) -> list[Reply | ConnectorError]:
        """What came of each: one alone goes as it is. A request refused as a whole is tried piece by piece."""
        if len(ready) < 2:
            return [await self._alone(one) for one in ready]
        requests = [one.request for one in ready]
        try:
            reply = await self._http.send(wire_composite.together(requests, in_order=True))
            return wire_composite.read_parts(requests, reply)
        except UnexpectedReply as unreadable:
            lost = self._lost(ready[0].write, unreadable)
            return [lost for _ in ready]
        except OutcomeUnknown as unknown:
            return [unknown for _ in ready]
        except Rejected:  # nothing of it was carried out
            return [NotExecuted(runs.NOT_SENT) for _ in ready]
        except ConnectorError as error:
            return [error, *(Unavailable(runs.NOT_SENT) for _ in ready[1:])]

    async def _alone(self, ready: Ready) -> Reply | ConnectorError:
        try:
            return await self._http.send(ready.request)
        except ConnectorError as error:
            return error

    async def _outcome(
        self, write: Write, ready: Ready, part: Reply | ConnectorError, known: Sequence[Outcome]
    ) -> Outcome:
        try:
            if isinstance(part, NotExecuted):  # what it pointed at left nothing new, or the whole was refused
                stopped = any(isinstance(one, Failed) and runs.may_pass(one.error) for one in known)
                linked = None if stopped else runs.resolved(write, known)
                if linked is None:
                    return _not_sent()
                return await self._perform(linked)
            return await self._settled(ready, part)
        except OutcomeUnknown as lost:
            return Failed(error=self._lost(write, lost))
        except ConnectorError as error:
            return Failed(error=error)

    def _lost(self, write: Write, error: ConnectorError) -> OutcomeUnknown:
        return OutcomeUnknown(error.reason, settle=self.sticking(write).settle, status=error.status)

    # ── one write ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _perform(self, write: Write, *, again: bool = True) -> Done:
        ready = await self._ready(write)
        if not isinstance(ready, Ready):
            return ready
        return await self._settled(ready, await self._alone(ready), again=again)

    async def _settled(self, ready: Ready, part: Reply | ConnectorError, *, again: bool = True) -> Done:
        """What an answer means. A double is turned into the record that is there, a converted lead into its contact."""
        write, error = ready.write, part
        if isinstance(part, Reply):
            try:
                written = wire.read_written(part)
            except UnexpectedReply as unreadable:
                raise self._lost(write, unreadable) from None
            if written.status != "error":
                if written.id is None and ready.leaves:
                    raise self._lost(write, UnexpectedReply("Zoho did not say which record it wrote"))
                created = ready.created and written.action != "update"
                record = self.record(ready.kind, written.id or "", created=created) if ready.leaves else None
                return Done(record=record, status=part.status)
            error = error_of(ready.request, 400, msgspec.to_builtins(written))
        assert isinstance(error, ConnectorError)
        if isinstance(error, AlreadyExists) and ready.created:
            return await self._existing(write, ready.kind, error)
        if again and isinstance(error, ChangedMeanwhile):
            return await self._perform(write, again=False)
        if again and isinstance(error, Rejected) and not error.scopes:
            followed = await self._followed(write)
            if followed is not None:
                return await self._perform(followed, again=False)
        raise error

    async def _existing(self, write: Write, kind: Kind, refused: AlreadyExists) -> Done:
        """Zoho has it already: by our key it is ours, by another unique value only a person may be somebody known."""
        id = refused.existing
        if id is None:
            earlier = await self.find(write) if self._carries_key(write) else None
            id = earlier.id if earlier else None
        if id is None:
            raise refused
        if isinstance(write, UpsertContact):
            filled = await self._filled_in(write, Ref(kind, id))
            return filled if isinstance(filled, Done) else await self._settled(filled, await self._alone(filled))
        if refused.field not in (KEY, None):
            raise refused
        return Done(record=self.record(kind, id, created=False), status=200)

    async def _followed(self, write: Write) -> Write | None:
        """`write` with converted leads replaced by the contacts they became; None if there are none."""
        links = runs.links_of(write)
        changed: dict[Link, Link] = {}
        for link in links:
            if isinstance(link, Ref) and link.kind is Kind.LEAD and wire.DIGITS.fullmatch(link.id):
                row = await finder.record(self._http, "Leads", link.id, fields=wire.CONVERTED)
                into = wire.converted_into(row) if row else None
                if into is not None:
                    changed[link] = Ref(Kind.CONTACT, into)
        if not changed:
            return None
        if isinstance(write, UpsertContact | SetFields | AssignOwner | OptOut | MoveStage | AddToList):
            return msgspec.structs.replace(write, target=changed[links[0]])
        return msgspec.structs.replace(write, about=tuple(changed.get(link, link) for link in write.about))

    async def _ready(self, write: Write) -> Ready | Done:
        """The request a write becomes, or what it is without one. Reads what has to be known before."""
        match write:
            case UpsertContact(target=target):
                return await self._person(write) if target is None else await self._filled_in(write, known(target))
            case SetFields() | AssignOwner():
                target = known(write.target)
                if isinstance(write, AssignOwner) and not write.owner:
                    raise Rejected("no owner was named", field="Owner")
                if write.fields:
                    await self._makeup.known_fields(target.kind)
                return self._change(write, target)
            case MoveStage():
                target = known(write.target)
                wire_writes.placing(target.kind, wire_writes.Place("", ""))
                await self._makeup.place(target.kind, write.pipeline, write.stage)
                return self._change(write, target)
            case AddToList():
                target = known(write.target)
                request = wire_writes.add_tag(target.kind, target.id, await self._makeup.tag(target.kind, write.list))
                return Ready(write, request, target.kind, created=False)
            case OptOut():
                target = known(write.target)
                request = wire_writes.opt_out(target.kind, target.id)
                return Ready(write, request, target.kind, created=False, leaves=False)
            case _:
                for link in write.about:
                    known(link)
                kind = wire_writes.KINDS[type(write)]
                if write.fields or isinstance(write, CreateTicket):
                    await self._makeup.known_fields(kind)
                if isinstance(write, CreateDeal | CreateTicket):
                    await self._makeup.place(kind, write.pipeline, write.stage)
                return Ready(write, wire_writes.create(write, self._around(write, kind)), kind)

    async def _person(self, write: UpsertContact) -> Ready | Done:
        """A new person, unless the address (or our key, where nothing enforces it) is there already."""
        if write.fields or write.fields_if_empty:
            await self._makeup.known_fields(write.kind)
        key = write.key if self._stick(write) is not Stick.ENFORCED and self._carries_key(write) else None
        id = await finder.person(self._http, write.kind, key=key, email=write.email)
        if id is not None:
            return await self._filled_in(write, Ref(write.kind, id))
        return Ready(write, wire_writes.create_person(write, self._around(write, write.kind)), write.kind)

    async def _filled_in(self, write: UpsertContact, target: Ref) -> Ready | Done:
        """What an existing person lacks, compared with how it is now; nothing to send where nothing is missing."""
        wire.people_module(target.kind)
        await self._makeup.known_fields(target.kind)
        around = self._around(write, target.kind)
        names = wire_writes.person_fields(write, target.kind, around)
        current = await finder.record(self._http, wire.MODULES[target.kind], target.id, fields=names)
        if current is None:
            raise Rejected("this person is no longer in Zoho", gone=True, status=404)
        into = wire.converted_into(current) if target.kind is Kind.LEAD else None
        if into is not None:
            return await self._filled_in(write, Ref(Kind.CONTACT, into))
        changes = wire_writes.person_changes(write, target.kind, current, around)
        if not changes:
            return Done(record=self.record(target.kind, target.id, created=False), status=200)
        since = wire.value(current, "Modified_Time") or None
        request = wire_writes.update(target.kind, target.id, changes, unmodified_since=since)
        return Ready(write, request, target.kind, created=False)

    def _change(self, write: SetFields | AssignOwner | MoveStage, target: Ref) -> Ready:
        around = self._around(write, target.kind)
        changes = {**wire_writes.typed(write.fields, around), **wire_writes.owned(write.owner)}
        if isinstance(write, MoveStage):
            place = around.place or wire_writes.Place(write.pipeline, write.stage)
            changes |= wire_writes.placing(target.kind, place)
            if not write.pipeline:  # it stays in the one it is in
                changes.pop("Pipeline", None)
                changes.pop("Layout", None)
        return Ready(write, wire_writes.update(target.kind, target.id, changes), target.kind, created=False)

    def _around(self, write: Write, kind: Kind) -> wire_writes.Around:
        """Of what is known without asking."""
        place = None
        if isinstance(write, CreateDeal | CreateTicket | MoveStage):
            listed = self._makeup.remembered_pipelines(kind)
            place = self._makeup.placed(kind, listed, write.pipeline, write.stage)
            if place is None:
                place = wire_writes.Place(write.pipeline or "<first pipeline>", write.stage or "<first stage>")
        module = wire.MODULES[kind]
        return wire_writes.Around(
            place=place,
            fields=self._makeup.remembered_fields(module),
            links=self._makeup.remembered_links(module),
            timezone=self.account.timezone if self.account else None,
            currency=self.account.currency if self.account else None,
            today=datetime.now(UTC).date(),
            key_field=self._carries_key(write),
        )

    # ── for the client ──────────────────────────────────────────────────────────────────────────────────────────────

    async def find(self, write: Write) -> Record | None:
        match write:
            case SetFields() | AssignOwner() | MoveStage() | AddToList() | OptOut():
                return None
            case UpsertContact(target=target) if target is not None:
                return None
            case UpsertContact():
                kind = write.kind
                id = await finder.earlier_person(self._http, write, key_field=self._carries_key(write))
            case _:
                kind = wire_writes.KINDS[type(write)]
                id = await finder.earlier(self._http, write, key_field=self._carries_key(write))
        return self.record(kind, id) if id else None

    def preview(self, write: Write) -> list[Request]:
        """What would be sent, as far as it is known without asking: pipelines and fields are those last read."""
        match write:
            case UpsertContact(target=target):
                if target is None:
                    return [wire_writes.create_person(write, self._around(write, write.kind))]
                kind = wire_writes.kind_of(target)
                changes = wire_writes.person_changes(write, kind, {}, self._around(write, kind))
                return [wire_writes.update(kind, wire_writes.id_of(target), changes)]
            case SetFields() | AssignOwner() | MoveStage():
                ref = Ref(wire_writes.kind_of(write.target), wire_writes.id_of(write.target))
                return [self._change(write, ref).request]
            case AddToList():
                ref = Ref(wire_writes.kind_of(write.target), wire_writes.id_of(write.target))
                return [wire_writes.add_tag(ref.kind, ref.id, self._makeup.remembered_tag(ref.kind, write.list))]
            case OptOut():
                return [wire_writes.opt_out(wire_writes.kind_of(write.target), wire_writes.id_of(write.target))]
            case _:
                return [wire_writes.create(write, self._around(write, wire_writes.KINDS[type(write)]))]

    def record(self, kind: Kind, id: str, *, created: bool = True) -> Record:
        url = wire_people.record_url(self.account, wire.MODULES[kind], id)
        return Record(kind=kind, id=id, url=url, created=created)

    def sticking(self, write: Write) -> Sticking:
        name = name_of(write)
        return self.sticks.get(name) or MANIFEST.sticks[name][-1]

    def _stick(self, write: Write) -> Stick:
        return self.sticking(write).stick

    def _carries_key(self, write: Write) -> bool:
        return not isinstance(write, AddNote) and has_field(self.sticking(write))


class _Waits(Exception):
    """What comes next has to know a record that this request is only about to leave."""


def known(link: Link) -> Ref:
    if not isinstance(link, Ref):
        raise Rejected("the record this is about is not known yet")
    return link


def _not_sent() -> Failed:
    return Failed(error=Unavailable(runs.NOT_SENT))
