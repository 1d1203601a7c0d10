"""A run of writes on its way into one Salesforce org: what has to be known first, the composite request, what came of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from connectors.crm import runs
from connectors.crm.port import Done, Failed, Outcome, Sender, Stick, Sticking
from connectors.crm.records import (
    Account,
    AddToList,
    CreateDeal,
    CreateTask,
    CreateTicket,
    Earlier,
    Kind,
    Link,
    LogCall,
    MoveStage,
    OptOut,
    Record,
    Ref,
    SetFields,
    UpsertContact,
    Write,
)
from connectors.crm.salesforce import wire, wire_people, wire_run, wire_texts, wire_writes
from connectors.crm.salesforce import wire_soql as soql
from connectors.crm.salesforce.makeup import Makeup
from connectors.crm.salesforce.people import People
from connectors.crm.salesforce.wire_errors import MOVED, AlreadyExists, Denied, Halted, classified
from connectors.crm.salesforce.wire_run import Known, Plan
from connectors.errors import ConnectorError, OutcomeUnknown, Rejected, Unavailable, UnexpectedReply

_ROUNDS = 4  # a duplicate becomes an update, a merged person is followed, and what hung on them goes after
_AMBIGUOUS = "several people in Salesforce have this address or number: a person has to say which"


class Sending:
    """Part of `client.Salesforce`.

    sticking  what each write gets on this account.
    find      what an earlier try of a write left (`Crm.find`).
    """

    def __init__(
        self,
        http: Sender,
        makeup: Makeup,
        people: People,
        *,
        account: Callable[[], Account | None],
        now: Callable[[], datetime],
        sticking: Callable[[Write], Sticking],
        find: Callable[[Write], Awaitable[Record | None]],
    ) -> None:
        self._http = http
        self._makeup = makeup
        self._people = people
        self._account = account
        self._now = now
        self._sticking = sticking
        self._find = find

    async def run(self, run: Sequence[Write]) -> list[Outcome]:
        """One outcome each, in order. After a failure that may pass nothing that has not gone out yet is sent."""
        going = _Going(run)
        for part in wire_run.parts(run):
            if going.stopped:
                going.leave_out(part)
            else:
                await self._part(going, {index: run[index] for index in part})
        return going.in_order()

    async def _part(self, going: _Going, todo: dict[int, Write]) -> None:
        for _ in range(_ROUNDS):
            plans = await self._plans(going, todo)
            asked = wire_run.request(plans)
            answers: Mapping[str, wire.Answered] = {}
            if asked is not None:
                try:
                    reply = await self._http.send(asked)
                    answers = wire.read_composite(reply, [part.ref for one in plans for part in one.parts])
                except ConnectorError as error:
                    for one in plans:  # what needed no sending is done all the same
                        going.settle(one.index, self._lost(one.write, error) if one.parts else self._done(one))
                    return
            todo = await self._read(going, plans, answers)
            if not todo:
                return
        for index in todo:
            going.settle(index, Failed(error=Unavailable("Salesforce kept changing what this is about")))

    # ── before ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _plans(self, going: _Going, todo: Mapping[int, Write]) -> list[Plan]:
        """What can go out; the rest has its outcome."""
        plans: list[Plan] = []
        try:
            before = await self._before(going, todo)
        except ConnectorError as error:
            for index in todo:
                going.settle(index, Failed(error=error))
            return []
        for index, write in todo.items():
            if going.stopped:
                going.leave_out([index])
                continue
            try:
                about = going.anchors(write, plans)
                if about is None:
                    going.leave_out([index])
                    continue
                known = await self._known(index, write, about, before)
                plans.append(wire_run.plan(index, write, self._sticking(write).stick, known))
            except ConnectorError as error:
                going.settle(index, Failed(error=error))
        return plans

    async def _before(self, going: _Going, todo: Mapping[int, Write]) -> _Before:
        """The people that are filled in, and the companies of those whom deals and tickets are about: one request.

        A person who is to be made is looked for by the e-mail address first, and by the number where no key is enforced.
        """
        for write in todo.values():
            if isinstance(write, UpsertContact):
                await self._types(write)  # what the org does not have is refused before it could spoil a query
        return await self._makeup.seen(tuple(wire.PEOPLE), lambda: self._look(going, todo))

    async def _look(self, going: _Going, todo: Mapping[int, Write]) -> _Before:
        asked: list[wire.Part] = []
        of_accounts: dict[str, None] = {}
        for index, write in todo.items():
            if isinstance(write, UpsertContact):
                if part := self._current(index, write, going.existing.get(index)):
                    asked.append(part)
            elif isinstance(write, CreateDeal | CreateTicket):
                kinds = {link.kind for link in write.about if isinstance(link, Ref | Earlier)}
                people = [link.id for link in write.about if isinstance(link, Ref) and link.kind is Kind.CONTACT]
                if people and Kind.COMPANY not in kinds and soql.is_id(people[0]):
                    of_accounts[people[0]] = None
        if of_accounts:
            where = f"Id IN {soql.texts(of_accounts)}"
            asked.append(wire.asking("accounts", soql.select(("Id", "AccountId"), "Contact", where)))
        told: dict[str, wire.Answered] = {}
        for start in range(0, len(asked), wire.QUERIES):
            some = asked[start : start + wire.QUERIES]
            reply = await self._http.send(wire.composite(some))
            told |= wire.read_composite(reply, [part.ref for part in some])
        rows = {ref: self._rows(answered) for ref, answered in told.items()}
        accounts = {wire.value(row, "Id")[:15]: wire.value(row, "AccountId") for row in rows.pop("accounts", [])}
        return _Before(rows, accounts)

    @staticmethod
    def _rows(answered: wire.Answered) -> list[dict[str, object]]:
        if not answered.good:
            raise classified(answered.http_status_code, answered.body, writes=False)
        return wire.read(answered.reply(), wire.Rows).records

    def _current(self, index: int, write: UpsertContact, existing: Ref | None) -> wire.Part | None:
        stick = self._sticking(write).stick
        target = existing or write.target
        if target is not None:
            if not isinstance(target, Ref):
                return None
            of = wire.people_type(target.kind)
            if not soql.is_id(target.id):
                return None
            wanted = [*self._makeup.readable(of, wire_writes.person_fields(of, write, stick)), *wire.GONE[of]]
            where = f"Id={soql.text(target.id)}"
            return wire.asking(wire_run.ref(index), soql.select(wanted, of, where, limit=1), deleted=True)
        of = wire.people_type(write.kind)
        where = known_by(write, stick)
        if not where:
            return None
        wanted = [*self._makeup.readable(of, wire_writes.person_fields(of, write, stick)), *wire.GONE[of]]
        return wire.asking(wire_run.ref(index), soql.select(wanted, of, where, order="CreatedDate,Id", limit=2))

    async def _known(self, index: int, write: Write, about: wire_writes.Anchors, before: _Before) -> Known:
        ways = await self._ways(write)
        match write:
            case UpsertContact():
                return await self._person(index, write, about, ways, before)
            case CreateDeal() | CreateTicket():
                kind = wire_writes.KINDS[type(write)]
                place = await self._makeup.place(kind, write.pipeline, write.stage)
                person = next((id for of, id in about if of is Kind.CONTACT), "")
                account = before.accounts.get(person[:15]) or None
                return Known(ways=ways, about=about, place=place, account=account)
            case MoveStage():
                place = await self._makeup.place(about[0][0], write.pipeline, write.stage)
                return Known(ways=ways, about=about, place=place)
            case AddToList():
                return Known(ways=ways, about=about, list=await self._makeup.campaign(write.list))
            case OptOut():
                if about[0][0] not in (Kind.CONTACT, Kind.LEAD):
                    raise Rejected("only people opt out, and this is none")
                return Known(ways=ways, about=about, opt_out=await self._makeup.opt_out_fields(wire.TYPES[about[0][0]]))
            case _:
                return Known(ways=ways, about=about)

    async def _person(
        self, index: int, write: UpsertContact, about: wire_writes.Anchors, ways: wire_writes.Ways, before: _Before
    ) -> Known:
        """Whom it fills in: its target, whoever a duplicate rule named, or the one who has this address already."""
        rows = before.rows.get(wire_run.ref(index), [])
        if not about and len(rows) > 1:
            raise Rejected(_AMBIGUOUS, field="Email" if write.email else "Phone")
        if not rows:
            if about:
                raise Rejected("this person is no longer in Salesforce", gone=True, status=404)
            return Known(ways=ways)
        row: wire.Row = rows[0]
        moved = wire_people.heir(row)
        if moved is not None:
            fields = wire_writes.person_fields(wire.people_type(moved.kind), write, self._sticking(write).stick)
            found = await self._people.row(moved, fields=fields)
            row = found if found is not None else row
        if wire_people.is_gone(row) or wire_people.heir(row) is not None:
            raise Rejected("this person is no longer in Salesforce", gone=True, status=404)
        return Known(ways=ways, about=(wire_run.person_of(row),), current=row)

    async def _ways(self, write: Write) -> wire_writes.Ways:
        words = (
            await self._makeup.words() if isinstance(write, LogCall | CreateTask) else self._makeup.remembered_words()
        )
        return self.ways(words.closed, words.high, words.low, types=await self._types(write))

    def ways(
        self, closed: str, high: str, low: str, *, types: Mapping[str, Mapping[str, str]] | None = None
    ) -> wire_writes.Ways:
        account = self._account()
        timezone = account.timezone if account else None
        return wire_writes.Ways(
            today=wire_texts.day(self._now(), timezone),
            timezone=timezone,
            home_currency=account.currency if account else None,
            closed_status=closed,
            high_priority=high,
            low_priority=low,
            types=types or {},
        )

    async def _types(self, write: Write) -> Mapping[str, Mapping[str, str]]:
        """Described only where the tenant's own fields are written: their names must be the org's, their values fit."""
        names = [*write.fields, *(write.fields_if_empty if isinstance(write, UpsertContact) else ())]
        if not names:
            return {}
        of = object_of(write)
        types = await self._makeup.types(of, names)
        unknown = next((name for name in names if name not in types), None)
        if unknown is not None:
            wire_writes.typed(of, {unknown: ""}, self.ways("", "", "", types={of: types}))
        return {of: types}

    # ── after ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _read(
        self, going: _Going, plans: Sequence[Plan], answers: Mapping[str, wire.Answered]
    ) -> dict[int, Write]:
        """Settle what is decided; answer what has to go out once more, in other words."""
        again: dict[int, Write] = {}
        for one in plans:
            failed = self._failure(one, answers)
            if failed is None:
                first = answers[one.parts[0].ref] if one.parts else None
                going.settle(one.index, self._done(going.made(one), first))
                continue
            if isinstance(failed, Halted):
                again[one.index] = one.write  # decided below, when it is known what it waits for
                continue
            try:
                step = await self._otherwise(going, one, failed)
            except ConnectorError as error:
                step = Failed(error=error)
            if isinstance(step, Done | Failed):
                going.settle(one.index, step)
            else:
                again[one.index] = step
        for index in [index for index in again if going.is_hopeless(again[index], again)]:
            going.leave_out([index])
            del again[index]
        return again

    def _failure(self, one: Plan, answers: Mapping[str, wire.Answered]) -> ConnectorError | None:
        """The first real refusal among its subrequests; a halted one only names another."""
        failures: list[ConnectorError] = []
        for part in one.parts:
            answered = answers[part.ref]
            if not answered.good:
                failures.append(classified(answered.http_status_code, answered.body, writes=True))
        return next((error for error in failures if not isinstance(error, Halted)), failures[0] if failures else None)

    async def _otherwise(self, going: _Going, one: Plan, failed: ConnectorError) -> Outcome | Write:
        """A refusal as outcome, or the write that takes its place: a duplicate is filled in, a merged person followed."""
        write = one.write
        if isinstance(failed, AlreadyExists):
            if isinstance(write, AddToList) and failed.code == "DUPLICATE_VALUE":
                return self._done(going.made(one))
            return await self._exists(going, one, failed)
        if isinstance(failed, Denied) and failed.code in MOVED:
            refs = wire_run.refs_of(write)
            moved = await self._people.heirs(refs)
            alive = {was: now for was, now in moved.items() if now is not None}
            if alive:
                return wire_run.repointed(write, alive)
            if moved or (failed.gone and isinstance(write, wire_run.Changing | UpsertContact)):
                return Failed(error=Rejected("Salesforce no longer has this record", gone=True, status=failed.status))
        return self._lost(write, failed)

    async def _exists(self, going: _Going, one: Plan, failed: AlreadyExists) -> Outcome | Write:
        write = one.write
        keyed = failed.code == "DUPLICATE_VALUE" and self._sticking(write).stick is Stick.ENFORCED and one.id is None
        earlier = await self._find(write) if keyed else None
        if not isinstance(write, UpsertContact):
            if earlier is not None:
                return Done(record=msgspec.structs.replace(earlier, created=False), status=200)
            return Failed(error=failed)
        existing = earlier.id if earlier is not None else failed.existing
        kind = wire_run.kind_of_id(existing) if existing else None
        if (
            one.id is not None
            or existing is None
            or kind not in (Kind.CONTACT, Kind.LEAD)
            or one.index in going.existing
        ):
            return Failed(error=failed)
        going.existing[one.index] = Ref(kind, existing)
        return write

    def _done(self, one: Plan, answered: wire.Answered | None = None) -> Outcome:
        status = answered.http_status_code if answered else 200
        if one.kind is None:
            return Done(record=None, status=status)
        if one.id is not None:
            return Done(record=self.record(one.kind, one.id, created=False), status=status)
        assert answered is not None, "what makes a record is sent"
        try:
            saved = wire.read(answered.reply(), wire.Saved)
        except UnexpectedReply as unreadable:
            return self._lost(one.write, unreadable)
        return Done(record=self.record(one.kind, saved.id), status=status)

    def _lost(self, write: Write, error: ConnectorError) -> Outcome:
        """An answer we cannot read does not mean that nothing was written."""
        if isinstance(error, OutcomeUnknown | UnexpectedReply):
            settle = self._sticking(write).settle
            return Failed(error=OutcomeUnknown(error.reason, settle=settle, status=error.status))
        return Failed(error=error)

    def record(self, kind: Kind, id: str, *, created: bool = True) -> Record:
        return Record(kind=kind, id=id, url=wire_people.record_url(self._account(), id), created=created)


class _Before(msgspec.Struct, frozen=True):
    """Rows by subrequest; accounts by the first 15 characters of their contact's id (the rest is a checksum)."""

    rows: Mapping[str, list[dict[str, object]]]
    accounts: Mapping[str, str]


class _Going:
    """A run as far as it has got. `existing`: whom a duplicate rule found in place of a person to be made."""

    def __init__(self, run: Sequence[Write]) -> None:
        self._run = run
        self._outcomes: dict[int, Outcome] = {}
        self.existing: dict[int, Ref] = {}
        self.stopped = False

    def settle(self, index: int, outcome: Outcome) -> None:
        self._outcomes[index] = outcome
        self.stopped = self.stopped or (isinstance(outcome, Failed) and runs.may_pass(outcome.error))

    def leave_out(self, indexes: Sequence[int]) -> None:
        """Not sent, because of another; that by itself stops nothing."""
        for index in indexes:
            self._outcomes[index] = Failed(error=Unavailable(runs.NOT_SENT))

    def in_order(self) -> list[Outcome]:
        return [self._outcomes[index] for index in range(len(self._run))]

    def anchors(self, write: Write, plans: Sequence[Plan]) -> wire_writes.Anchors | None:
        """Ids of its links, references for what `plans` are about to make; None if one of them will leave nothing.

        Raises `Rejected` for a link that is not known yet.
        """
        found: list[tuple[Kind, str]] = []
        for link in runs.links_of(write):
            if isinstance(link, Ref):
                if not soql.is_id(link.id):  # it becomes a part of an address
                    raise Rejected("this is no id of a Salesforce record")
                found.append((link.kind, link.id))
            elif isinstance(link, Earlier):
                known = self._left(link, plans)
                if known is None:
                    return None
                found.append(known)
            else:
                raise Rejected("the record this is about is not known yet")
        return found

    def _left(self, link: Earlier, plans: Sequence[Plan]) -> tuple[Kind, str] | None:
        outcome = self._outcomes.get(link.index)
        if isinstance(outcome, Done) and outcome.record is not None:
            return outcome.record.kind, outcome.record.id
        for one in plans:
            if one.index == link.index and one.kind is not None:
                return one.kind, one.id or wire_run.made_by(one.index)
        return None

    def made(self, one: Plan) -> Plan:
        """`one` with the id of what it changes, where that was made in the same request and referred to."""
        for index, outcome in self._outcomes.items():
            if one.id == wire_run.made_by(index) and isinstance(outcome, Done) and outcome.record is not None:
                return msgspec.structs.replace(one, id=outcome.record.id)
        return one

    def is_hopeless(self, write: Write, again: Mapping[int, Write]) -> bool:
        """Whether it waits for something that was refused, or must not be sent any more."""
        if self.stopped:
            return True
        waits: list[Link] = [link for link in runs.links_of(write) if isinstance(link, Earlier)]
        return any(
            isinstance(link, Earlier)
            and link.index not in again
            and not isinstance(self._outcomes.get(link.index), Done)
            for link in waits
        )


def known_by(write: UpsertContact, stick: Stick) -> str:
    """How a person who is to be made is looked for in the records themselves: by address, without a key also by number
    as we write it; "" where neither says anything."""
    ways = [f"Email={soql.text(write.email)}"] if write.email else []
    if stick is not Stick.ENFORCED and write.phone:
        ways += [f"{field}={soql.text(write.phone)}" for field in ("Phone", "MobilePhone")]
    if not ways:
        return ""
    open_only = " AND IsConverted=false" if write.kind is Kind.LEAD else ""
    return f"({' OR '.join(ways)}){open_only}"


def object_of(write: Write) -> str:
    """The object whose fields a write sets."""
    if isinstance(write, UpsertContact):
        return wire.TYPES[write.target.kind if isinstance(write.target, Ref) else write.kind]
    if isinstance(write, SetFields | wire_run.Changing):
        return wire.TYPES[write.target.kind] if isinstance(write.target, Ref | Earlier) else "Contact"
    return wire.TYPES[wire_writes.KINDS[type(write)]]
