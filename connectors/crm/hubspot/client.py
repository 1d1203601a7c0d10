"""One HubSpot account: build, send, read. What is known about HubSpot stands in `wire*.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import assert_never

import msgspec
from phonenumbers import PhoneNumber

from connectors.crm.hubspot import keys, wire, wire_account, wire_people, wire_writes
from connectors.crm.hubspot.manifest import KEY, MANIFEST
from connectors.crm.hubspot.wire_errors import AlreadyExists
from connectors.crm.port import Done, Failed, Outcome, Sender, Stick, Sticking
from connectors.crm.records import (
    Account,
    Activity,
    AddNote,
    AssignOwner,
    Company,
    Contact,
    Context,
    CreateDeal,
    CreateEvent,
    CreateTask,
    CreateTicket,
    Deal,
    Field,
    Kind,
    Link,
    LogCall,
    OptOut,
    Owner,
    Page,
    Pipeline,
    Record,
    Ref,
    SetFields,
    Stage,
    Ticket,
    UpsertContact,
    Write,
    name_of,
)
from connectors.errors import (
    ConnectorError,
    OutcomeUnknown,
    RateLimited,
    ReconnectNeeded,
    Rejected,
    Unavailable,
    UnexpectedReply,
    Unsupported,
)
from connectors.request import Request

_FRESH = timedelta(minutes=10)  # how long owners and pipelines are believed
_AROUND = ("companies", "deals", "tickets", *wire.ACTIVITIES)
_PER_KIND = 20  # of each kind of thing around a contact, the newest
_PAGES_OF_LINKS = 20  # that a look for a marker goes through


class HubSpot:
    """See `connectors.crm.port.Crm`.

    sticks        as probed on this account; a kind that is missing gets the manifest's last level.
    account       as `who_am_i` said; without it records have no `url`.
    region        in which numbers without a country code are read.
    phone_fields  the account's own properties that hold numbers; the first of them is searched too.
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
        self._account = account
        self._region = region
        self._phone_fields = tuple(phone_fields)
        self._owners: dict[str, tuple[float, Owner]] = {}
        self._pipelines: dict[Kind, tuple[float, list[Pipeline]]] = {}

    async def who_am_i(self) -> Account:
        self._account = wire_account.read_account(await self._http.send(wire.details()))
        return self._account

    # ── people ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def find_contacts(self, number: PhoneNumber, *, limit: int = 5) -> list[Contact]:
        """Two searches at once, contacts and companies; without the companies' scope, contacts alone."""
        contacts, companies = await asyncio.gather(
            self._search("contacts", number, self._phone_fields), self._search_companies(number)
        )
        return sorted([*contacts, *companies], key=wire_people.rank)[:limit]

    async def _search(self, type: str, number: PhoneNumber, extra: Sequence[str] = ()) -> list[Contact]:
        reply = await self._http.send(wire.search_number(type, number, extra=extra, limit=20))
        found = [self._contact(type, one) for one in wire.read(reply, wire.Objects).results]
        return [match for contact in found if (match := wire_people.matched(contact, number))]

    async def _search_companies(self, number: PhoneNumber) -> list[Contact]:
        try:
            return await self._search("companies", number)
        except Rejected as refused:
            if refused.status != 403:
                raise
            return []

    async def read_contact(self, ref: Ref, *, fields: Sequence[str] = ()) -> Contact | None:
        type = wire.people_type(ref.kind)
        wanted = [*wire.READ[type], *self._phone_fields, *fields]
        found = await self._object(wire.read_one(type, ref.id, fields=wanted))
        if found is None:
            return None
        contact = self._contact(type, found)
        return msgspec.structs.replace(contact, fields={name: found.value(name) for name in fields})

    def _contact(self, type: str, found: wire.Object) -> Contact:
        extra = self._phone_fields if type == "contacts" else ()
        contact = wire_people.read_contact(type, found, account=self._account, region=self._region, extra=extra)
        known = self._owners.get(contact.owner.id) if contact.owner else None
        return msgspec.structs.replace(contact, owner=known[1]) if known else contact

    async def context(self, ref: Ref, *, recent: int = 5) -> Context:
        """Two round trips: the record with the ids around it, then what those are, all at once."""
        type = wire.people_type(ref.kind)
        around, complete = await self._around(type, ref.id)
        if around is None:
            return Context()
        ids = {kind: around.linked(kind)[:_PER_KIND] for kind in _AROUND}
        if type == "companies":
            ids["companies"] = []
        elif primary := around.value("associatedcompanyid"):
            ids["companies"] = [primary]
        parts = await asyncio.gather(
            self._company(ids["companies"][:1]),
            self._owner(around.value("hubspot_owner_id")),
            self._deals(ids["deals"]),
            self._tickets(ids["tickets"]),
            *(self._activities(kind, ids[kind]) for kind in wire.ACTIVITIES),
            return_exceptions=True,
        )
        for part in parts:
            if isinstance(part, BaseException) and not isinstance(part, ConnectorError):
                raise part
            if isinstance(part, ReconnectNeeded):
                raise part
        company, owner, deals, tickets, *activities = (
            None if isinstance(part, BaseException) else part for part in parts
        )
        happened = [one for some in activities if isinstance(some, list) for one in some if isinstance(one, Activity)]
        return Context(
            company=company if isinstance(company, Company) else None,
            owner=owner if isinstance(owner, Owner) else None,
            open_deals=tuple(one for one in _listed(deals) if isinstance(one, Deal) and one.is_open),
            open_tickets=tuple(one for one in _listed(tickets) if isinstance(one, Ticket) and one.is_open),
            recent=tuple(sorted(happened, key=lambda one: one.at, reverse=True)[:recent]),
            complete=complete and not any(isinstance(part, ConnectorError) for part in parts),
        )

    async def _around(self, type: str, id: str) -> tuple[wire.Object | None, bool]:
        """The record with the ids around it, and whether those are all: a missing scope must not hide the rest."""
        try:
            return await self._object(wire.read_one(type, id, associations=_AROUND)), True
        except Rejected as refused:
            if refused.status != 403:
                raise
        return await self._object(wire.read_one(type, id, associations=tuple(wire.ACTIVITIES))), False

    async def _company(self, ids: Sequence[str]) -> Company | None:
        found = await self._many("companies", ids)
        return Company(id=found[0].id, name=found[0].value("name")) if found else None

    async def _deals(self, ids: Sequence[str]) -> list[Deal]:
        if not ids:
            return []
        found, pipelines = await asyncio.gather(self._many("deals", ids), self._known_pipelines(Kind.DEAL))
        stages = _stages(pipelines)
        names = {pipeline.id: pipeline.label for pipeline in pipelines}
        return [wire_people.read_deal(one, stages, names) for one in found]

    async def _tickets(self, ids: Sequence[str]) -> list[Ticket]:
        if not ids:
            return []
        found, pipelines = await asyncio.gather(self._many("tickets", ids), self._known_pipelines(Kind.TICKET))
        return [wire_people.read_ticket(one, _stages(pipelines)) for one in found]

    async def _activities(self, type: str, ids: Sequence[str]) -> list[Activity]:
        found = await self._many(type, ids)
        return [activity for one in found if (activity := wire_people.read_activity(type, one))]

    async def _many(self, type: str, ids: Sequence[str]) -> list[wire.Object]:
        """In the order of `ids`."""
        if not ids:
            return []
        found = wire.read(await self._http.send(wire.read_many(type, ids)), wire.Objects).results
        return sorted(found, key=lambda one: ids.index(one.id) if one.id in ids else len(ids))

    async def _object(self, request: Request) -> wire.Object | None:
        try:
            return wire.read(await self._http.send(request), wire.Object)
        except Rejected as refused:
            if refused.gone:
                return None
            raise

    async def list_contacts(self, kind: Kind, *, after: str | None = None, limit: int = 100) -> Page:
        type = wire.people_type(kind)
        extra = self._phone_fields if type == "contacts" else ()
        reply = await self._http.send(wire.list_page(type, after=after, limit=limit, extra=extra))
        found = wire.read(reply, wire.Objects)
        return Page(items=tuple(self._contact(type, one) for one in found.results), next=found.after)

    async def changes_since(self, kind: Kind, since: datetime) -> AsyncIterator[Page]:
        """Through search, which lags by moments and gives out 10,000 hits a query; then a new query starts where the
        last one ended, so records at a seam come twice."""
        type = wire.people_type(kind)
        while True:
            after: str | None = None
            last = since
            while True:
                reply = await self._http.send(wire.search_changed(type, since, after=after))
                found = wire.read(reply, wire.Objects)
                items = tuple(self._contact(type, one) for one in found.results)
                last = max((one.updated_at for one in items if one.updated_at), default=last)
                after = found.after
                if items:
                    yield Page(items=items, next=last.isoformat() if after else None, total=found.total)
                if after is None:
                    return
                if int(after) + wire.MOST_PER_SEARCH > wire.SEARCH_WINDOW:
                    break
            if last > since:
                since = last
                continue
            async for page in self._changed_at(type, since):  # more than a window within one millisecond: an import
                yield page
            since += timedelta(milliseconds=1)

    async def _changed_at(self, type: str, moment: datetime) -> AsyncIterator[Page]:
        above = "0"
        while True:
            reply = await self._http.send(wire.search_changed_at(type, moment, above_id=above))
            found = wire.read(reply, wire.Objects).results
            if not found:
                return
            above = found[-1].id
            yield Page(items=tuple(self._contact(type, one) for one in found), next=moment.isoformat())

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def write(self, run: Sequence[Write]) -> Sequence[Outcome]:
        """One after the other, each in one request with its links inside.

        After a failure that may pass, the rest of the run is not sent: it would overtake what has to come before.
        """
        outcomes: list[Outcome] = []
        for write in run:
            if outcomes and isinstance(outcomes[-1], Failed) and _may_pass(outcomes[-1].error):
                outcomes.append(
                    Failed(error=Unavailable("not sent: an earlier write of this person has to come first"))
                )
                continue
            outcomes.append(await self._outcome(write))
        return outcomes

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
                return await self._upsert_contact(write)
            case SetFields():
                return await self._change(write.target, {**write.fields, **_owned(write)})
            case AssignOwner():
                if not write.owner:
                    raise Rejected("no owner was named", field="hubspot_owner_id")
                return await self._change(write.target, {**write.fields, **_owned(write)})
            case OptOut():
                return await self._opt_out(write)
            case LogCall() | CreateTask() | AddNote() | CreateEvent() | CreateDeal() | CreateTicket():
                return await self._create(write)
            case _:
                assert_never(write)

    async def _create(self, write: wire_writes.Dated) -> Done:
        for link in write.about:
            _target(link)
        request = await self._creation(write)
        kind = wire_writes.KINDS[type(write)]
        try:
            return await self._sent(request, kind)
        except AlreadyExists:
            earlier = await self.find(write) if self._stick(write) is Stick.ENFORCED else None
            if earlier is None:
                raise
            return Done(record=msgspec.structs.replace(earlier, created=False), status=200)

    async def _creation(self, write: wire_writes.Dated) -> Request:
        place = None
        if isinstance(write, CreateDeal | CreateTicket):
            place = await self._place(wire_writes.KINDS[type(write)], write.pipeline, write.stage)
        currency = self._account.currency if self._account else None
        return wire_writes.create(write, self._stick(write), place=place, home_currency=currency)

    async def _upsert_contact(self, write: UpsertContact) -> Done:
        """Create, unless there is a target. Refused because the key or the address is there: fill in that person."""
        if write.target is not None:
            return await self._fill_in(write, _target(write.target).id)
        stick = self._stick(write)
        try:
            return await self._sent(wire_writes.create_contact(write, stick), Kind.CONTACT)
        except AlreadyExists as refused:
            earlier = await self.find(write) if stick is Stick.ENFORCED or write.email else None
            existing = earlier.id if earlier else refused.existing
            if existing is None:
                raise
            return await self._fill_in(write, existing)

    async def _fill_in(self, write: UpsertContact, id: str) -> Done:
        stick = self._stick(write)
        wanted = wire_writes.contact_fields(write, stick)
        current = await self._object(wire.read_one("contacts", id, fields=wanted))
        if current is None:
            raise Rejected("this person is no longer in HubSpot", gone=True, status=404)
        changes = wire_writes.contact_changes(write, current, stick)
        if changes:
            return await self._changed(Ref(Kind.CONTACT, current.id), changes)
        return Done(record=self._record(Kind.CONTACT, current.id, created=False), status=200)

    async def _change(self, target: Link, properties: Mapping[str, str]) -> Done:
        return await self._changed(_target(target), properties)

    async def _changed(self, ref: Ref, properties: Mapping[str, str]) -> Done:
        return await self._sent(wire_writes.update(wire.TYPES[ref.kind], ref.id, properties), ref.kind, created=False)

    async def _opt_out(self, write: OptOut) -> Done:
        email = write.email
        if not email:
            found = await self.read_contact(_target(write.target))
            email = found.email if found else None
        if not email:
            raise Rejected("HubSpot unsubscribes e-mail addresses, and this person has none", field="email")
        reply = await self._http.send(wire_writes.unsubscribe_all(email))
        return Done(record=None, status=reply.status)

    async def _sent(self, request: Request, kind: Kind, *, created: bool = True) -> Done:
        """Send a write and read what it left. An answer we cannot read does not mean that nothing was written."""
        reply = await self._http.send(request)
        try:
            found = wire.read(reply, wire.Object)
        except UnexpectedReply as unreadable:
            settle = timedelta(0)  # replaced by what this kind of write needs, in `_outcome`
            raise OutcomeUnknown(unreadable.reason, settle=settle, status=reply.status) from None
        return Done(record=self._record(kind, found.id, created=created), status=reply.status)

    def _record(self, kind: Kind, id: str, *, created: bool = True) -> Record:
        return Record(
            kind=kind, id=id, url=wire_people.record_url(self._account, wire.TYPES[kind], id), created=created
        )

    async def find(self, write: Write) -> Record | None:
        """By our key where it is enforced, else by the marker in what hangs on the person; repeatable writes: None."""
        match write:
            case SetFields() | AssignOwner() | OptOut():
                return None
            case UpsertContact(target=target) if target is not None:
                return None
            case _ if self._stick(write) is Stick.ENFORCED:
                kind = Kind.CONTACT if isinstance(write, UpsertContact) else wire_writes.KINDS[type(write)]
                found = await self._object(wire.read_one(wire.TYPES[kind], write.key, fields=(KEY,), by=KEY))
                return self._record(kind, found.id) if found else None
            case UpsertContact(email=email) if email:
                found = await self._object(wire.read_one("contacts", email, fields=("email",), by="email"))
                return self._record(Kind.CONTACT, found.id) if found else None
            case UpsertContact():
                raise Unsupported("a person without an e-mail address cannot be found again in this HubSpot account")
            case _:
                return await self._find_marked(write)

    async def _find_marked(self, write: wire_writes.Dated) -> Record | None:
        """Newest first through what hangs on the first record it is about."""
        kind = wire_writes.KINDS[type(write)]
        of, body, marker = wire.TYPES[kind], wire_writes.BODIES[wire.TYPES[kind]], wire_writes.mark(write.key)
        anchors = [link for link in write.about if isinstance(link, Ref)]
        if not anchors:
            raise Unsupported("what hangs on no person cannot be found again in this HubSpot account")
        ids = await self._linked(anchors[0], of)
        for start in range(0, len(ids), wire.MOST_PER_PAGE):
            some = ids[start : start + wire.MOST_PER_PAGE]
            reply = await self._http.send(wire.read_many(of, some, fields=(body,)))
            batch = wire.read(reply, wire.Objects)
            wire.whole(batch)
            for found in batch.results:
                if marker in found.value(body):
                    return self._record(kind, found.id)
        return None

    async def _linked(self, ref: Ref, to: str) -> list[str]:
        """Ids of `to` around a record, newest first; none if the record is gone."""
        ids: set[str] = set()
        after: str | None = None
        for _ in range(_PAGES_OF_LINKS):
            reply = await self._http.send(wire.linked(wire.TYPES[ref.kind], ref.id, to, after=after))
            page = wire.read(reply, wire.Linked)
            wire.whole(page)
            ids.update(page.ids())
            after = page.after
            if after is None:
                break
        return wire.newest_first(ids)

    def preview(self, write: Write) -> list[Request]:
        """What would be sent, as far as it is known without asking: pipelines are those last read."""
        match write:
            case UpsertContact(target=None):
                return [wire_writes.create_contact(write, self._stick(write))]
            case UpsertContact(target=target) if target is not None:
                changes = wire_writes.contact_changes(write, wire.Object(id=""), self._stick(write))
                return [wire_writes.update("contacts", wire_writes.id_of(target), changes)]
            case SetFields() | AssignOwner():
                of = wire.TYPES[write.target.kind] if isinstance(write.target, Ref) else "contacts"
                return [wire_writes.update(of, wire_writes.id_of(write.target), {**write.fields, **_owned(write)})]
            case OptOut():
                return [wire_writes.unsubscribe_all(write.email or "<e-mail of the caller>")]
            case CreateDeal() | CreateTicket():
                known = self._pipelines.get(wire_writes.KINDS[type(write)])
                place = _place(known[1], write.pipeline, write.stage) if known else None
                place = place or wire_writes.Place(write.pipeline or "<first pipeline>", write.stage or "<first stage>")
                return [wire_writes.create(write, self._stick(write), place=place)]
            case _:
                assert not isinstance(write, UpsertContact)
                return [wire_writes.create(write, self._stick(write))]

    def _sticking(self, write: Write) -> Sticking:
        name = name_of(write)
        return self._sticks.get(name) or MANIFEST.sticks[name][-1]

    def _stick(self, write: Write) -> Stick:
        return self._sticking(write).stick

    # ── the account's own make-up ───────────────────────────────────────────────────────────────────────────────────

    async def owners(self) -> list[Owner]:
        listed: list[Owner] = []
        after: str | None = None
        while True:
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

    async def _owner(self, id: str) -> Owner | None:
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
        found = wire_account.read_pipelines(await self._http.send(wire.pipelines(wire.TYPES[kind])))
        self._pipelines[kind] = (monotonic(), found)
        return found

    async def _known_pipelines(self, kind: Kind) -> list[Pipeline]:
        known = self._pipelines.get(kind)
        if known and monotonic() - known[0] < _FRESH.total_seconds():
            return known[1]
        return await self.pipelines(kind)

    async def _place(self, kind: Kind, pipeline: str, stage: str) -> wire_writes.Place:
        """Ids for what the tenant named; asked again before a name is called unknown, since names change."""
        place = _place(await self._known_pipelines(kind), pipeline, stage)
        place = place or _place(await self.pipelines(kind), pipeline, stage)
        if place is None:
            field = "dealstage" if kind is Kind.DEAL else "hs_pipeline_stage"
            raise Rejected("this HubSpot account has no such pipeline or stage", field=field)
        return place

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

    async def probe(self) -> Mapping[str, Sticking]:
        self._sticks = await keys.probe(self._http)
        return self._sticks


def _target(link: Link) -> Ref:
    if not isinstance(link, Ref):
        raise Rejected("the record this is about is not known yet")
    return link


def _owned(write: SetFields | AssignOwner) -> Mapping[str, str]:
    return {"hubspot_owner_id": write.owner} if write.owner else {}


def _may_pass(error: ConnectorError) -> bool:
    return isinstance(error, Unavailable | RateLimited | OutcomeUnknown | ReconnectNeeded)


def _listed(part: object) -> Sequence[object]:
    return part if isinstance(part, list) else ()


def _stages(pipelines: Sequence[Pipeline]) -> Mapping[str, Stage]:
    return {stage.id: stage for pipeline in pipelines for stage in pipeline.stages}


def _place(pipelines: Sequence[Pipeline], pipeline: str, stage: str) -> wire_writes.Place | None:
    """By id, else by label, case aside. Nothing named: the first pipeline that has the stage, and its first open one."""
    chosen = [one for one in pipelines if _is(one, pipeline)] if pipeline else pipelines
    for one in chosen:
        for candidate in one.stages:
            if _is(candidate, stage) if stage else not candidate.closed:
                return wire_writes.Place(one.id, candidate.id)
    return None


def _is(thing: Pipeline | Stage, named: str) -> bool:
    return named == thing.id or named.casefold() == thing.label.casefold()
