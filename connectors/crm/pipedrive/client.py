"""One Pipedrive company: build, send, read. What is known about Pipedrive stands in `wire*.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import assert_never

import msgspec
from phonenumbers import PhoneNumber

from connectors.crm import runs
from connectors.crm.changes import Change, Subscription
from connectors.crm.pipedrive import (
    around,
    keys,
    marking,
    wire,
    wire_account,
    wire_changes,
    wire_people,
    wire_texts,
    wire_writes,
)
from connectors.crm.pipedrive.looking import Looking
from connectors.crm.pipedrive.makeup import Makeup
from connectors.crm.pipedrive.manifest import KEY, MANIFEST, TEXT
from connectors.crm.pipedrive.people import People
from connectors.crm.pipedrive.previews import previewed
from connectors.crm.pipedrive.writing import gone, known, sent
from connectors.crm.port import Done, Failed, Outcome, Sender, Stick, Sticking
from connectors.crm.records import (
    Account,
    AddNote,
    AddToList,
    AssignOwner,
    Contact,
    Context,
    CreateDeal,
    CreateEvent,
    CreateTask,
    CreateTicket,
    Field,
    Kind,
    Link,
    LogCall,
    MoveStage,
    OptOut,
    Owner,
    Page,
    Pipeline,
    Record,
    Ref,
    SetFields,
    UpsertContact,
    Write,
    name_of,
)
from connectors.errors import ConnectorError, OutcomeUnknown, Rejected, Unsupported
from connectors.request import Request

_PER_PAGE = 100  # with texts of 60 KB each it must stay within one answer's bound
_MARKED_PAGES = 10  # that a look for a marker goes through
_NEWEST_PAGES = 5  # where what is looked for hangs on nobody
_Creating = LogCall | CreateTask | CreateEvent | CreateTicket | AddNote | CreateDeal


class Pipedrive:
    """See `connectors.crm.port.Crm`.

    sticks        as probed on this account; a kind that is missing gets the manifest's last level.
    account       as `who_am_i` said; without it records have no `url`.
    region        in which numbers without a country code are read.
    phone_fields  codes of the company's own fields that hold numbers, besides those of the type "phone".
    """

    manifest = MANIFEST

    def __init__(
        self,
        http: Sender,
        *,
        sticks: Mapping[str, Sticking],
        account: Account | None = None,
        region: str | None = None,
        phone_fields: Sequence[str] = (),
    ) -> None:
        self._http = http
        self._sticks = sticks
        self._makeup = Makeup(http)
        self._people = People(http, self._makeup)
        self._looking = Looking(http, self._makeup, account=account, region=region, phone_fields=phone_fields)

    async def who_am_i(self) -> Account:
        account = wire_account.read_account(await self._http.send(wire.me()))
        self._looking.account = account
        return account

    # ── people ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def find_contacts(self, number: PhoneNumber, *, limit: int = 5) -> list[Contact]:
        return await self._looking.find(number, limit=limit)

    async def read_contact(self, ref: Ref, *, fields: Sequence[str] = ()) -> Contact | None:
        return await self._looking.one(ref, fields)

    async def context(self, ref: Ref, *, recent: int = 5) -> Context:
        return await around.context(self._http, self._makeup, ref, recent=recent)

    async def list_contacts(self, kind: Kind, *, after: str | None = None, limit: int = 100) -> Page:
        return await self._looking.page(wire.people_kind(kind), after=after, limit=limit)

    def changes_since(self, kind: Kind, since: datetime) -> AsyncIterator[Page]:
        return self._looking.changes(wire.people_kind(kind), since)

    async def deleted_since(self, kind: Kind, since: datetime) -> Sequence[Change]:
        return await self._looking.deletions(kind, since)

    # ── notifications ───────────────────────────────────────────────────────────────────────────────────────────────

    async def subscribe(self, *, address: str, secret: str) -> Sequence[Subscription]:
        """One for each kind of record. Those that would send another secret are replaced: their notices look forged."""
        there = wire_changes.kept(wire.read_rows(await self._http.send(wire.webhooks())).results, address)
        made = []
        for entity in wire_changes.ENTITIES:
            hook = there.get(entity)
            if hook is not None and not wire_changes.knows(hook, secret):
                await self._http.send(wire.delete_webhook(hook.id))
                hook = None
            if hook is None:
                request = wire.create_webhook(address, entity, user=wire_changes.USER, password=secret)
                hook = wire.read_row(await self._http.send(request))
            made.append(wire_changes.subscription(hook, entity))
        return made

    async def renew(self, subscription: Subscription) -> Subscription:
        """They have no end, but Pipedrive takes away those that nobody answers: still there is all there is to see to."""
        listed = wire.read_rows(await self._http.send(wire.webhooks())).results
        if any(hook.id == subscription.id and wire_changes.is_active(hook) for hook in listed):
            return subscription
        raise gone("subscription")

    async def unsubscribe(self, subscription: Subscription) -> None:
        try:
            await self._http.send(wire.delete_webhook(subscription.id))
        except Rejected as refused:
            if not refused.gone:
                raise

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def write(self, run: Sequence[Write]) -> Sequence[Outcome]:
        """One after the other: Pipedrive takes no several in one request."""
        return await runs.one_by_one(run, self._outcome)

    async def _outcome(self, write: Write) -> Outcome:
        try:
            return await self._perform(write)
        except OutcomeUnknown as lost:
            settle = self._sticking(write).settle
            return Failed(error=OutcomeUnknown(lost.reason, settle=settle, status=lost.status))
        except ConnectorError as error:
            return Failed(error=error)

    async def _perform(self, write: Write) -> Done:
        match write:
            case UpsertContact():
                if write.target is not None:
                    known(write.target)
                ref, created, status = await self._people.upsert(write)
                return Done(record=self._record(ref, created=created), status=status)
            case SetFields():
                return await self._change(known(write.target), write.fields, write.owner)
            case AssignOwner():
                if not write.owner:
                    raise Rejected("no owner was named", field="owner_id")
                return await self._change(known(write.target), write.fields, write.owner)
            case MoveStage():
                return await self._move(write)
            case AddToList():
                ref, status = await marking.add_label(self._http, self._makeup, write)
                return Done(record=self._record(ref, created=False), status=status)
            case OptOut():
                return Done(record=None, status=await marking.opt_out(self._http, self._makeup, write))
            case LogCall() | CreateTask() | AddNote() | CreateEvent() | CreateDeal() | CreateTicket():
                for link in write.about:
                    known(link)
                return await self._create(write)
            case _:
                assert_never(write)

    async def _create(self, write: _Creating) -> Done:
        match write:
            case CreateDeal():
                return await self._create_deal(write)
            case AddNote():
                members, _ = wire_writes.parted(Kind.NOTE, write.fields, {}, None)
                return await self._made(wire_writes.note(write, members), Kind.NOTE, write.about)
            case _:
                members, _ = wire_writes.parted(Kind.CALL, write.fields, {}, None)
                kind = await self._makeup.activity_type(wire_writes.type_wanted(write))
                try:
                    return await self._made(wire_writes.activity(write, kind, members), wire_writes.KINDS[type(write)])
                except Rejected as refused:
                    if refused.field == "type":
                        self._makeup.forget_types()
                    raise

    async def _create_deal(self, write: CreateDeal) -> Done:
        """In one request, text and key in fields of ours. Without those the text follows as a note: if that gets lost the
        whole is unknown, and a person looks."""
        place, about, ours, (values, definitions) = await asyncio.gather(
            self._makeup.place(write.pipeline, write.stage),
            self._people_of(write.about),
            self._ours(write),
            self._makeup.coded(Kind.DEAL, write.fields),
        )
        linked = msgspec.structs.replace(write, about=about)
        members, custom = wire_writes.parted(Kind.DEAL, values, definitions, None)
        done = await self._made(wire_writes.deal(linked, place, members, {**custom, **ours}), Kind.DEAL)
        if self._stick(write) is Stick.BLIND and write.body.strip() and done.record is not None:
            try:
                await sent(self._http, wire_writes.deal_note(done.record.id, write))
            except ConnectorError as error:
                reason = f"the deal was made, but not the note with its text: {error.reason}"
                raise OutcomeUnknown(reason, settle=self._sticking(write).settle, status=error.status) from None
        return done

    async def _ours(self, write: CreateDeal) -> dict[str, str]:
        """Our key and the text, by the codes this company's fields have for them."""
        if self._stick(write) is Stick.BLIND:
            return {}
        given = {KEY: write.key, **({TEXT: wire_texts.plain(write.body)} if write.body.strip() else {})}
        codes = {name: await self._makeup.our_code(Kind.DEAL, name) for name in given}
        if None in codes.values():
            raise Rejected("the fields “Gateway key” and “Gateway note” are gone from Pipedrive's deals: reconnect")
        return {str(codes[name]): value for name, value in given.items()}

    async def _people_of(self, about: Sequence[Link]) -> tuple[Link, ...]:
        """A deal is linked to a lead's person: to the lead itself Pipedrive links none."""
        links: list[Link] = []
        for link in about:
            if isinstance(link, Ref) and link.kind is Kind.LEAD:
                lead = await around.read_row(self._http, wire.read_one(Kind.LEAD, link.id))
                if lead is None or not lead.value("person_id"):
                    raise gone("lead")
                link = Ref(Kind.CONTACT, lead.value("person_id"))
            links.append(link)
        return tuple(dict.fromkeys(links))

    async def _change(self, target: Ref, fields: Mapping[str, str], owner: str | None) -> Done:
        """Numbers, addresses and half names are read first: they are written whole."""
        values, definitions = await self._makeup.coded(target.kind, fields)
        current: wire.Row | None = None
        if target.kind is Kind.CONTACT and values.keys() & {
            "first_name",
            "last_name",
            "phone",
            "email",
            "phones",
            "emails",
        }:
            current = await around.read_row(self._http, wire.read_one(target.kind, target.id))
            if current is None:
                raise gone("person")
        members, custom = wire_writes.parted(target.kind, values, definitions, current)
        if current is not None:
            members = wire_writes.renamed(members, current)
        members |= wire_writes.owned(owner)
        return await self._made(
            wire_writes.update(target.kind, target.id, members, custom), target.kind, (target,), created=False
        )

    async def _move(self, write: MoveStage) -> Done:
        """Within the deal's own pipeline, unless another is named: stages of one name are in many."""
        target = known(write.target)
        if target.kind is not Kind.DEAL:
            raise Unsupported(f"a {target.kind.value} has no stages in Pipedrive")
        pipeline = write.pipeline
        if not pipeline:
            current = await around.read_row(self._http, wire.read_one(Kind.DEAL, target.id))
            if current is None:
                raise gone("deal")
            pipeline = current.value("pipeline_id")
        place = await self._makeup.place(pipeline, write.stage)
        values, definitions = await self._makeup.coded(Kind.DEAL, write.fields)
        members, custom = wire_writes.parted(Kind.DEAL, values, definitions, None)
        request = wire_writes.update(Kind.DEAL, target.id, {**members, **place.members()}, custom)
        return await self._made(request, Kind.DEAL, created=False)

    async def _made(self, request: Request, kind: Kind, about: Sequence[Link] = (), *, created: bool = True) -> Done:
        row, status = await sent(self._http, request)
        return Done(record=self._record(Ref(kind, row.id), about, created=created), status=status)

    def _record(self, ref: Ref, about: Sequence[Link] = (), *, created: bool = True) -> Record:
        url = wire_people.record_url(self._looking.account, ref, about)
        return Record(kind=ref.kind, id=ref.id, url=url, created=created)

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def find(self, write: Write) -> Record | None:
        """Among the newest of their kind, first of all of the person they belong to; repeatable writes: None."""
        match write:
            case SetFields() | AssignOwner() | MoveStage() | AddToList() | OptOut():
                return None
            case UpsertContact():
                ref = await self._people.find(write) if write.target is None else None
                return self._record(ref) if ref else None
            case CreateDeal() if self._stick(write) is Stick.BLIND:
                raise Unsupported("a deal cannot be found again in this Pipedrive company")
            case CreateDeal():
                code = await self._makeup.our_code(Kind.DEAL, KEY)
                if code is None:
                    raise Unsupported("the field that deals are found again by is gone from Pipedrive")
                return await self._find(write, await self._people_of(write.about), code, write.key)
            case AddNote():
                return await self._find(write, write.about, "content", wire_texts.mark(write.key))
            case _:
                return await self._find(write, write.about, "note", wire_texts.mark(write.key))

    async def _find(self, write: _Creating, about: Sequence[Link], name: str, wanted: str) -> Record | None:
        """The record of which the member `name` holds `wanted`, through the first record it is about."""
        kind = wire_writes.KINDS[type(write)]
        anchor = next((link for link in about if isinstance(link, Ref) and link.kind in wire.LINKS), None)
        of = (wire.LINKS[anchor.kind], anchor.id) if anchor else None
        cursor: str | None = None
        for _ in range(_MARKED_PAGES if of else _NEWEST_PAGES):
            if kind is Kind.NOTE:
                if of is None:  # never sent: Pipedrive's notes belong to something
                    return None
                request = wire.notes_of(of, start=int(cursor or 0))
            else:
                request = wire.newest(kind, limit=_PER_PAGE, about=of, cursor=cursor)
            page = wire.read_rows(await self._http.send(request))
            for row in page.results:
                held = row.value(name)
                if (held == wanted if kind is Kind.DEAL else wanted in held) and not row.is_gone:
                    return self._record(Ref(kind, row.id), about)
            cursor = page.after
            if cursor is None:
                break
        return None

    def preview(self, write: Write) -> list[Request]:
        return previewed(self._makeup, write, keyed=self._stick(write) is not Stick.BLIND)

    def _sticking(self, write: Write) -> Sticking:
        name = name_of(write)
        return self._sticks.get(name) or MANIFEST.sticks[name][-1]

    def _stick(self, write: Write) -> Stick:
        return self._sticking(write).stick

    # ── the company's own make-up ───────────────────────────────────────────────────────────────────────────────────

    async def owners(self) -> list[Owner]:
        return await self._makeup.owners()

    async def owner_by_email(self, email: str) -> Owner | None:
        return await self._makeup.owner_by_email(email)

    async def pipelines(self, kind: Kind) -> list[Pipeline]:
        """Of deals; what stands for a ticket goes through none."""
        if kind is Kind.TICKET:
            return []
        if kind is not Kind.DEAL:
            raise Unsupported(f"Pipedrive has no pipelines for the kind {kind.value}")
        return await self._makeup.pipelines()

    async def fields(self, kind: Kind) -> list[Field]:
        return await self._makeup.fields(kind)

    async def create_field(self, kind: Kind, field: Field) -> Field:
        return await self._makeup.create_field(kind, field)

    async def probe(self) -> Mapping[str, Sticking]:
        self._sticks = await keys.probe(self._makeup)
        return self._sticks
