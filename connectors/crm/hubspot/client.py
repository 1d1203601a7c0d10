"""One HubSpot account: build, send, read. What is known about HubSpot stands in `wire*.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar, assert_never

import msgspec
from phonenumbers import PhoneNumber

from connectors.crm import runs
from connectors.crm.changes import Change, Subscription
from connectors.crm.hubspot import around, keys, wire, wire_account, wire_lists, wire_people, wire_writes
from connectors.crm.hubspot.makeup import Makeup
from connectors.crm.hubspot.manifest import KEY, MANIFEST
from connectors.crm.hubspot.preview import preview
from connectors.crm.hubspot.wire_errors import AlreadyExists
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
from connectors.errors import (
    ConnectorError,
    OutcomeUnknown,
    Rejected,
    UnexpectedReply,
    Unsupported,
)
from connectors.request import Request

T = TypeVar("T")

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
        self._makeup = Makeup(http)

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
            with self._makeup.allowed("search companies"):
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
        owner = self._makeup.remembered_owner(contact.owner.id) if contact.owner else None
        return msgspec.structs.replace(contact, owner=owner) if owner else contact

    async def context(self, ref: Ref, *, recent: int = 5) -> Context:
        return await around.context(self._http, self._makeup, ref, recent=recent)

    async def _object(self, request: Request) -> wire.Object | None:
        return await around.read_object(self._http, request)

    async def list_contacts(self, kind: Kind, *, after: str | None = None, limit: int = 100) -> Page:
        type = wire.people_type(kind)
        extra = self._phone_fields if type == "contacts" else ()
        reply = await self._http.send(wire.list_page(type, after=after, limit=limit, extra=extra))
        found = wire.read(reply, wire.Objects)
        return Page(items=tuple(self._contact(type, one) for one in found.results), next=found.after)

    async def deleted_since(self, kind: Kind, since: datetime) -> Sequence[Change]:
        raise Unsupported("HubSpot lists no deletions; its notifications tell them")

    async def subscribe(self, *, address: str, secret: str) -> Sequence[Subscription]:
        raise Unsupported("HubSpot's notifications are set up once, in the operator's app")

    async def renew(self, subscription: Subscription) -> Subscription:
        raise Unsupported("HubSpot's notifications are set up once, in the operator's app")

    async def unsubscribe(self, subscription: Subscription) -> None:
        raise Unsupported("HubSpot's notifications are set up once, in the operator's app")

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
                if after.isdigit() and int(after) + wire.MOST_PER_SEARCH > wire.SEARCH_WINDOW:
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
        """One after the other, each in one request with its links inside."""
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
                return await self._upsert_contact(write)
            case SetFields():
                return await self._change(write.target, {**write.fields, **wire_writes.owned(write)})
            case AssignOwner():
                if not write.owner:
                    raise Rejected("no owner was named", field="hubspot_owner_id")
                return await self._change(write.target, {**write.fields, **wire_writes.owned(write)})
            case MoveStage():
                return await self._change(write.target, {**write.fields, **await self._stage(write)})
            case AddToList():
                return await self._add_to_list(write)
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
            place = await self._makeup.place(wire_writes.KINDS[type(write)], write.pipeline, write.stage)
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

    async def _stage(self, write: MoveStage) -> Mapping[str, str]:
        target = _target(write.target)
        return wire_writes.placing(target.kind, await self._makeup.place(target.kind, write.pipeline, write.stage))

    async def _add_to_list(self, write: AddToList) -> Done:
        """A number is taken for the list's id first, then for its name."""
        target = _target(write.target)
        type = wire.TYPES[target.kind]
        known = self._makeup.remembered_list(type, write.list)
        if write.list.isdecimal() and known is None:
            try:
                return await self._joined(write.list, target)
            except Rejected as refused:
                if refused.status != 404:
                    raise
        try:
            return await self._joined(await self._makeup.list_named(type, write.list), target)
        except Rejected as refused:
            if refused.status != 404:
                raise
            self._makeup.forget_list(type, write.list)
            raise Rejected("this HubSpot account has no such list any more", field="list", status=404) from None

    async def _joined(self, list_id: str, target: Ref) -> Done:
        joined, status = await self._answered(wire_lists.add(list_id, target.id), wire_lists.Joined)
        if joined.missing(target.id):
            raise Rejected("this record is no longer in HubSpot", gone=True, status=status)
        return Done(record=self._record(target.kind, target.id, created=False), status=status)

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
        """Send a write and read what it left."""
        found, status = await self._answered(request, wire.Object)
        return Done(record=self._record(kind, found.id, created=created), status=status)

    async def _answered(self, request: Request, shape: type[T]) -> tuple[T, int]:
        """Send a write; its answer and status. One we cannot read does not mean that nothing was written."""
        reply = await self._http.send(request)
        try:
            return wire.read(reply, shape), reply.status
        except UnexpectedReply as unreadable:
            settle = timedelta(0)  # replaced by what this kind of write needs, in `_outcome`
            raise OutcomeUnknown(unreadable.reason, settle=settle, status=reply.status) from None

    def _record(self, kind: Kind, id: str, *, created: bool = True) -> Record:
        return Record(
            kind=kind, id=id, url=wire_people.record_url(self._account, wire.TYPES[kind], id), created=created
        )

    async def find(self, write: Write) -> Record | None:
        """By our key where it is enforced, else by the marker in what hangs on the person; repeatable writes: None."""
        match write:
            case SetFields() | AssignOwner() | MoveStage() | AddToList() | OptOut():
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
        return preview(write, self._stick(write), self._makeup)

    def _sticking(self, write: Write) -> Sticking:
        name = name_of(write)
        return self._sticks.get(name) or MANIFEST.sticks[name][-1]

    def _stick(self, write: Write) -> Stick:
        return self._sticking(write).stick

    # ── the account's own make-up ───────────────────────────────────────────────────────────────────────────────────

    async def owners(self) -> list[Owner]:
        return await self._makeup.owners()

    async def owner_by_email(self, email: str) -> Owner | None:
        return await self._makeup.owner_by_email(email)

    async def pipelines(self, kind: Kind) -> list[Pipeline]:
        return await self._makeup.pipelines(kind)

    async def fields(self, kind: Kind) -> list[Field]:
        return await self._makeup.fields(kind)

    async def create_field(self, kind: Kind, field: Field) -> Field:
        return await self._makeup.create_field(kind, field)

    async def probe(self) -> Mapping[str, Sticking]:
        self._sticks = await keys.probe(self._http)
        return self._sticks


def _target(link: Link) -> Ref:
    if not isinstance(link, Ref):
        raise Rejected("the record this is about is not known yet")
    return link
