"""One Zoho CRM account: build, send, read. What is known about Zoho stands in `wire*.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

import msgspec
from phonenumbers import PhoneNumber

from connectors.crm.changes import Change, Happened, Subscription
from connectors.crm.port import Outcome, Sender, Sticking
from connectors.crm.records import (
    Account,
    Contact,
    Context,
    Field,
    Kind,
    Owner,
    Page,
    Pipeline,
    Record,
    Ref,
    Write,
)
from connectors.crm.zoho import around, finder, keys, wire, wire_account, wire_changes, wire_composite, wire_people
from connectors.crm.zoho.makeup import Makeup
from connectors.crm.zoho.manifest import MANIFEST
from connectors.crm.zoho.wire_errors import NotModified
from connectors.crm.zoho.writer import Writer
from connectors.errors import ConnectorError, ReconnectNeeded, Rejected, UnexpectedReply
from connectors.request import Reply, Request

_ROWS = 200  # of one page of changes: what a credit buys
_MOST_PAGES = 500  # of deleted or converted records in one go


class Zoho:
    """See `connectors.crm.port.Crm`.

    sticks        as probed on this account; a kind that is missing gets the manifest's last level.
    account       as `who_am_i` said; without it records have no `url`.
    region        in which numbers without a country code are read.
    phone_fields  further fields of contacts that hold numbers without being of Zoho's type for them.
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
        self._region = region
        self._phone_fields = tuple(phone_fields)
        self._makeup = Makeup(http)
        self._writer = Writer(http, self._makeup, sticks=sticks, account=account)

    async def who_am_i(self) -> Account:
        origin = getattr(self._http, "origin", "")  # of senders that know where they send
        host = urlsplit(origin).hostname if isinstance(origin, str) else None
        account = wire_account.read_account(await self._http.send(wire.org()), api_host=host)
        self._writer.account = account
        return account

    # ── people ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def find_contacts(self, number: PhoneNumber, *, limit: int = 5) -> list[Contact]:
        """One request: Zoho's search over contacts, leads and accounts, which is late and takes any field and spelling,
        and two queries, which are never late and take the usual spellings in the fields for numbers."""
        modules = [wire.MODULES[kind] for kind in wire.PEOPLE]
        phones = {module: await self._phones(module) for module in modules}
        asked = [
            *((one, wire.search_phone(one, number, fields=[*wire.READ[one], *phones[one]])) for one in modules),
            *((one, wire.spelled(one, number, phones=phones[one], columns=self._columns(one))) for one in modules[:2]),
        ]
        requests = [request for _, request in asked]
        parts = wire_composite.read_parts(requests, await self._http.send(wire_composite.together(requests)))
        found: dict[tuple[Kind, str], Contact] = {}
        refused: dict[str, ConnectorError] = {}
        answered: set[str] = set()
        for (module, _), part in zip(asked, parts, strict=True):
            if isinstance(part, ConnectorError):
                refused.setdefault(module, part)
                continue
            answered.add(module)
            for contact in await self._contacts(module, wire.read_rows(part).data):
                if match := wire_people.matched(contact, number):
                    found.setdefault((match.kind, match.id), match)
        self._judge(refused, answered)
        return sorted(found.values(), key=wire_people.rank)[:limit]

    def _judge(self, refused: Mapping[str, ConnectorError], answered: set[str]) -> None:
        """Whether what failed may be left out: a module the account or the grant does not have, or one that answered in
        the other way."""
        for module, error in refused.items():
            if isinstance(error, ReconnectNeeded):
                raise error
            if module not in answered and (module == "Contacts" or not isinstance(error, Rejected)):
                raise error

    async def read_contact(self, ref: Ref, *, fields: Sequence[str] = ()) -> Contact | None:
        """A lead that was converted is answered with the contact it has become."""
        module = wire.people_module(ref.kind)
        phones = await self._phones(module)
        more = wire.CONVERTED if ref.kind is Kind.LEAD else ()
        wanted = [*wire.READ[module], *phones, *more, *fields]
        row = await finder.record(self._http, module, ref.id, fields=wanted)
        if row is None:
            return None
        into = wire.converted_into(row) if ref.kind is Kind.LEAD else None
        if into is not None:
            return await self.read_contact(Ref(Kind.CONTACT, into), fields=fields)
        (contact,) = await self._contacts(module, [row])
        return msgspec.structs.replace(contact, fields={name: wire.value(row, name) for name in fields})

    async def _phones(self, module: str) -> Sequence[str]:
        found = await self._makeup.phones(module)
        more = [name for name in self._phone_fields if name not in found] if module == "Contacts" else []
        return [*found, *more]

    def _columns(self, module: str) -> list[str]:
        """What a query may select: names of links come with them, names of owners do not."""
        phones = [field.name for field in self._makeup.remembered_fields(module) if field.type == "phone"]
        more = self._phone_fields if module == "Contacts" else ()
        return list(dict.fromkeys([*wire.READ[module], *(phones or wire.STANDARD_PHONES[module]), *more]))

    async def _contacts(self, module: str, rows: Sequence[wire.Row]) -> list[Contact]:
        phones = await self._phones(module)
        found = []
        for row in rows:
            contact = wire_people.read_contact(
                module, row, phones=phones, account=self._writer.account, region=self._region
            )
            owner = self._makeup.remembered_owner(contact.owner.id) if contact.owner else None
            known = contact.owner is None or contact.owner.name or owner is None
            found.append(contact if known else msgspec.structs.replace(contact, owner=owner))
        return found

    async def context(self, ref: Ref, *, recent: int = 5) -> Context:
        currency = self._writer.account.currency if self._writer.account else None
        return await around.context(self._http, self._makeup, ref, recent=recent, currency=currency)

    async def list_contacts(self, kind: Kind, *, after: str | None = None, limit: int = 100) -> Page:
        """By queries that go on from the last id: any number of records, resumable for ever, one page in memory at a time.

        Page tokens end at 100,000 records and after a day. Bulk Read would cost less (50 credits for 200,000 records,
        against some 300 here), but leaves a job to wait for and a file to unpack; it is not used.
        """
        module = wire.people_module(kind)
        await self._makeup.phones(module)
        reply = await self._http.send(
            wire.list_after(module, columns=self._columns(module), above=after or "0", limit=limit)
        )
        found = wire.read_rows(reply)
        items = tuple(await self._contacts(module, found.data))
        return Page(items=items, next=items[-1].id if items and found.info.more_records else None)

    async def changes_since(self, kind: Kind, since: datetime) -> AsyncIterator[Page]:
        """By queries that go on from the last time and id, so nothing comes twice and nothing is left out at a seam."""
        module = wire.people_module(kind)
        await self._makeup.phones(module)
        columns = self._columns(module)
        above: str | None = None
        while True:
            asked = wire.changed_since(module, since, above=above, columns=columns, limit=_ROWS)
            found = wire.read_rows(await self._http.send(asked))
            items = tuple(await self._contacts(module, found.data))
            if not items:
                return
            last = items[-1]
            if last.updated_at is None:
                raise UnexpectedReply("Zoho did not say when a record was changed")
            since, above = last.updated_at, last.id
            yield Page(items=items, next=since.isoformat() if found.info.more_records else None)
            if not found.info.more_records:
                return

    async def deleted_since(self, kind: Kind, since: datetime) -> Sequence[Change]:
        """What lies in the recycle bin or has left it, and of leads those that became contacts. Merged records are told as
        deleted ones: Zoho does not say into what."""
        module = wire.people_module(kind)
        since = since.replace(microsecond=0)  # Zoho's times are whole seconds
        changes = await self._deleted(kind, module, since)
        return [*changes, *await self._converted(since)] if kind is Kind.LEAD else changes

    async def _deleted(self, kind: Kind, module: str, since: datetime) -> list[Change]:
        changes: list[Change] = []
        for page in range(1, _MOST_PAGES):
            found = await self._rows(wire.deleted(module, since, page=page))
            for row in found.data:
                at = wire.moment(wire.value(row, "deleted_time"))
                if at is None or at >= since:
                    changes.append(Change(kind=kind, id=wire.value(row, "id"), happened=Happened.DELETED, at=at))
            if not found.info.more_records:
                break
        return changes

    async def _converted(self, since: datetime) -> list[Change]:
        changes: list[Change] = []
        token: str | None = None
        for _ in range(_MOST_PAGES):
            found = await self._rows(wire.converted_leads(since, page_token=token))
            for row in found.data:
                into, at = wire.converted_into(row), wire.moment(wire.value(row, "Modified_Time"))
                if into is None or (at is not None and at < since):
                    continue
                ref, id = Ref(Kind.CONTACT, into), wire.value(row, "id")
                changes.append(Change(kind=Kind.LEAD, id=id, happened=Happened.CONVERTED, at=at, into=ref))
            token = found.info.next_page_token
            if token is None or not found.info.more_records:
                break
        return changes

    async def _rows(self, request: Request) -> wire.Rows:
        """Records of an answer that may also say that nothing is newer."""
        try:
            return wire.read_rows(await self._http.send(request))
        except NotModified:
            return wire.Rows(data=[])

    # ── being told ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def subscribe(self, *, address: str, secret: str) -> Sequence[Subscription]:
        channel = wire_changes.channel_for(address)
        exists = await self._watched(channel)
        request = wire_changes.enable(channel, address=address, secret=secret, now=datetime.now(UTC), exists=exists)
        return [wire_changes.read_subscription(await self._watch(request), channel, address=address)]

    async def renew(self, subscription: Subscription) -> Subscription:
        address = subscription.extra.get("address", "")
        request = wire_changes.prolong(subscription.id, address=address, now=datetime.now(UTC))
        return wire_changes.read_subscription(await self._watch(request), subscription.id, address=address)

    async def unsubscribe(self, subscription: Subscription) -> None:
        try:
            await self._watch(wire_changes.end(subscription.id))
        except Rejected as refused:
            if not refused.gone:
                raise

    async def _watched(self, channel: str) -> bool:
        try:
            reply = await self._watch(wire_changes.look(channel))
        except Rejected as refused:
            if refused.gone:
                return False
            raise
        return reply.status != 204

    async def _watch(self, request: Request) -> Reply:
        """Zoho answers 202 for some refusals here."""
        reply = await self._http.send(request)
        if error := wire_changes.refusal_in(request, reply):
            raise error
        return reply

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def write(self, run: Sequence[Write]) -> Sequence[Outcome]:
        return await self._writer.write(run)

    async def find(self, write: Write) -> Record | None:
        return await self._writer.find(write)

    def preview(self, write: Write) -> list[Request]:
        return self._writer.preview(write)

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
        self._writer.sticks = await keys.probe(self._http, self._makeup)
        return self._writer.sticks
