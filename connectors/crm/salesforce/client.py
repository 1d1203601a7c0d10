"""One Salesforce org: build, send, read. What is known about Salesforce stands in `wire*.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime

from phonenumbers import PhoneNumber

from connectors.crm import runs
from connectors.crm.changes import Change, Subscription
from connectors.crm.port import Outcome, Sender, Stick, Sticking
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
from connectors.crm.salesforce import (
    around,
    keys,
    wire,
    wire_account,
    wire_run,
    wire_texts,
    wire_writes,
)
from connectors.crm.salesforce import wire_soql as soql
from connectors.crm.salesforce.makeup import Makeup, placed, rows_of
from connectors.crm.salesforce.manifest import KEY, MANIFEST
from connectors.crm.salesforce.people import People
from connectors.crm.salesforce.sending import Sending, known_by
from connectors.errors import Rejected, UnexpectedReply, Unsupported
from connectors.request import Request

_NO_NOTICES = "Salesforce sends no change notifications over HTTP: changes are asked for instead"
_LOOKED_THROUGH = 500  # of what hangs on a person, newest first, for a marker


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Salesforce:
    """See `connectors.crm.port.Crm`.

    sticks        as probed on this org; a kind that is missing gets the manifest's last level.
    account       as `who_am_i` said; without it records have no `url` and days are UTC's.
    region        in which numbers without a country code are read.
    phone_fields  the org's own fields of contacts and leads that hold numbers; search covers those of type phone anyway.
    now           for close dates and the span of deletions.
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
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._http = http
        self._sticks = sticks
        self._account = account
        self._makeup = Makeup(http)
        self._people = People(http, self._makeup, account=self._who, region=region, phone_fields=phone_fields, now=now)
        self._sending = Sending(
            http,
            self._makeup,
            self._people,
            account=self._who,
            now=now,
            sticking=self._sticking,
            find=self.find,
        )

    def _who(self) -> Account | None:
        return self._account

    async def who_am_i(self) -> Account:
        """One request: the org, the address its pages have, and its currency where it has several."""
        asked = [
            wire.asking("org", wire_account.ORGANIZATION),
            wire.Part(ref="contact", method="GET", url="sobjects/Contact/describe"),
            wire.asking("currency", wire_account.CORPORATE_CURRENCY),
        ]
        told = wire.read_composite(await self._http.send(wire.composite(asked)), [part.ref for part in asked])
        organization = rows_of(told["org"])
        if not organization:
            raise UnexpectedReply("Salesforce did not say which org this is")
        described = wire_account.Described(name="Contact")
        if told["contact"].good:
            described = wire.read(told["contact"].reply(), wire_account.Described)
            self._makeup.remember("Contact", described)
        self._account = wire_account.read_account(organization[0], described, rows_of(told["currency"]))
        return self._account

    # ── people ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def find_contacts(self, number: PhoneNumber, *, limit: int = 5) -> list[Contact]:
        return await self._people.find(number, limit=limit)

    async def read_contact(self, ref: Ref, *, fields: Sequence[str] = ()) -> Contact | None:
        return await self._people.read(ref, fields=fields)

    async def context(self, ref: Ref, *, recent: int = 5) -> Context:
        return await around.context(self._http, self._makeup, self._people, ref, recent=recent)

    async def list_contacts(self, kind: Kind, *, after: str | None = None, limit: int = 100) -> Page:
        return await self._people.page(kind, after=after, limit=limit)

    def changes_since(self, kind: Kind, since: datetime) -> AsyncIterator[Page]:
        return self._people.changes(kind, since)

    async def deleted_since(self, kind: Kind, since: datetime) -> Sequence[Change]:
        return await self._people.deleted(kind, since)

    async def subscribe(self, *, address: str, secret: str) -> Sequence[Subscription]:
        raise Unsupported(_NO_NOTICES)

    async def renew(self, subscription: Subscription) -> Subscription:
        raise Unsupported(_NO_NOTICES)

    async def unsubscribe(self, subscription: Subscription) -> None:
        raise Unsupported(_NO_NOTICES)

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def write(self, run: Sequence[Write]) -> Sequence[Outcome]:
        """In one composite request, as far as `wire_run.parts` lets it; what has to be read first is one more."""
        return await self._sending.run(run)

    async def find(self, write: Write) -> Record | None:
        """By SOQL, which reads what was just written: by our key where it is enforced, by the call object, the note's
        title, the person's own address or number, else by the marker in what hangs on the person or company."""
        match write:
            case SetFields() | AssignOwner() | MoveStage() | AddToList() | OptOut():
                return None
            case UpsertContact():
                return await self._find_person(write)
            case LogCall() | CreateTask():
                key = soql.text(wire_texts.key_value(write.key))
                return await self._one(Kind.CALL if isinstance(write, LogCall) else Kind.TASK, f"CallObject={key}")
            case AddNote():
                return await self._one(Kind.NOTE, f"Title={soql.text(wire_writes.title(write))}")
            case _:
                kind = wire_writes.KINDS[type(write)]
                if self._stick(write) is Stick.ENFORCED:
                    return await self._one(kind, f"{KEY}={soql.text(wire_texts.key_value(write.key))}")
                return await self._find_marked(write)

    async def _find_person(self, write: UpsertContact) -> Record | None:
        if write.target is not None:
            return None
        stick = self._stick(write)
        if stick is Stick.ENFORCED:
            return await self._one(write.kind, f"{KEY}={soql.text(wire_texts.key_value(write.key))}")
        where = known_by(write, stick)
        if not where:
            raise Unsupported("a person without address and number cannot be found again in this Salesforce org")
        return await self._one(write.kind, where)

    async def _one(self, kind: Kind, where: str) -> Record | None:
        """The oldest record of this kind that fits."""
        asked = soql.select(("Id",), wire.TYPES[kind], where, order="CreatedDate", limit=1)
        rows = wire.read(await self._http.send(wire.query(asked)), wire.Rows).records
        return self._sending.record(kind, wire.value(rows[0], "Id")) if rows else None

    async def _find_marked(self, write: CreateEvent | CreateDeal | CreateTicket) -> Record | None:
        """Newest first through what hangs on the first record it is about: descriptions cannot be asked for."""
        kind = wire_writes.KINDS[type(write)]
        where, of, path = self._hangs_on(write)
        marker = wire_texts.mark(write.key)
        asked = soql.select(
            (f"{path}Id", f"{path}Description"), of, where, order="CreatedDate DESC", limit=_LOOKED_THROUGH
        )
        for row in wire.read(await self._http.send(wire.query(asked)), wire.Rows).records:
            if marker in wire.value(row, f"{path}Description"):
                return self._sending.record(kind, wire.value(row, f"{path}Id"))
        return None

    @staticmethod
    def _hangs_on(write: CreateEvent | CreateDeal | CreateTicket) -> tuple[str, str, str]:
        """(condition, object, path to the record) of what hangs on its first link."""
        anchors = [link for link in write.about if isinstance(link, Ref)]
        if not anchors:
            raise Unsupported("what hangs on nobody cannot be found again in this Salesforce org")
        person = next((link for link in anchors if link.kind in (Kind.CONTACT, Kind.LEAD)), None)
        first = person or anchors[0]
        id = soql.text(first.id)
        match write:
            case CreateEvent():
                return f"{'WhoId' if person else 'WhatId'}={id}", "Event", ""
            case CreateDeal() if person:
                return f"ContactId={id}", "OpportunityContactRole", "Opportunity."
            case CreateDeal():
                return f"AccountId={id}", "Opportunity", ""
            case _:
                return f"{'ContactId' if person else 'AccountId'}={id}", "Case", ""

    def preview(self, write: Write) -> list[Request]:
        """What would be sent, as far as it is known without asking: stages and words are those last read."""
        words = self._makeup.remembered_words()
        about = [wire_writes.anchor(link) for link in runs.links_of(write)]
        ways = self._sending.ways(words.closed, words.high, words.low)
        known = wire_run.Known(ways=ways, about=about)
        match write:
            case UpsertContact(target=target) if target is not None:
                known = wire_run.Known(ways=ways, about=about, current={})
            case CreateDeal() | CreateTicket():
                pipelines = self._makeup.remembered_pipelines(wire_writes.KINDS[type(write)])
                place = placed(pipelines, write.pipeline, write.stage)
                place = place or wire_writes.Place(write.pipeline, write.stage or "<first stage>")
                known = wire_run.Known(ways=ways, about=about, place=place)
            case MoveStage():
                pipelines = self._makeup.remembered_pipelines(about[0][0])
                place = placed(pipelines, write.pipeline, write.stage)
                known = wire_run.Known(ways=ways, about=about, place=place or wire_writes.Place("", write.stage))
            case OptOut():
                known = wire_run.Known(ways=ways, about=about, opt_out=("HasOptedOutOfEmail", "DoNotCall"))
            case AddToList():
                known = wire_run.Known(ways=ways, about=about, list=f"<id of the campaign “{write.list}”>")
            case _:
                pass
        try:
            asked = wire_run.request([wire_run.plan(0, write, self._stick(write), known)])
        except (Rejected, Unsupported):
            return []
        return [asked] if asked is not None else []

    def _sticking(self, write: Write) -> Sticking:
        name = name_of(write)
        return self._sticks.get(name) or MANIFEST.sticks[name][-1]

    def _stick(self, write: Write) -> Stick:
        return self._sticking(write).stick

    # ── the org's own make-up ───────────────────────────────────────────────────────────────────────────────────────

    async def owners(self) -> list[Owner]:
        return await self._makeup.owners()

    async def owner_by_email(self, email: str) -> Owner | None:
        return await self._makeup.owner_by_email(email)

    async def pipelines(self, kind: Kind) -> list[Pipeline]:
        return await self._makeup.pipelines(kind)

    async def fields(self, kind: Kind) -> list[Field]:
        return await self._makeup.fields(kind)

    async def create_field(self, kind: Kind, field: Field) -> Field:
        return await keys.create_field(self._http, self._makeup, kind, field)

    async def probe(self) -> Mapping[str, Sticking]:
        self._sticks = await keys.probe(self._http, self._makeup)
        return self._sticks
