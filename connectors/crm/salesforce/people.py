"""Reading people in one Salesforce org: found, as they are now, followed through merges and conversions, listed, changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from phonenumbers import PhoneNumber

from connectors.crm.changes import Change, Happened
from connectors.crm.port import Sender
from connectors.crm.records import Account, Contact, Kind, Page, Ref
from connectors.crm.salesforce import wire, wire_bulk, wire_people
from connectors.crm.salesforce import wire_soql as soql
from connectors.crm.salesforce.makeup import Makeup, rows_of
from connectors.crm.salesforce.wire_errors import Denied
from connectors.errors import Unsupported
from connectors.request import Request

_SEARCHED = ("Contact", "Lead", "Account")
_STEPS = 5  # from one merged record to the next
_POLLED = timedelta(seconds=5)  # between two looks at a job
_TOLD = timedelta(days=30)  # how long deletions are remembered there


class People:
    """Part of `client.Salesforce`; the promises stand in the port. `account` is asked for anew each time: it comes late."""

    def __init__(
        self,
        http: Sender,
        makeup: Makeup,
        *,
        account: Callable[[], Account | None],
        region: str | None,
        phone_fields: Sequence[str],
        now: Callable[[], datetime],
    ) -> None:
        self._http = http
        self._makeup = makeup
        self._account = account
        self._region = region
        self._phone_fields = tuple(soql.name(field) for field in phone_fields)
        self._now = now

    def contact(self, row: wire.Row, type: str | None = None) -> Contact:
        of = type or wire.type_of(row)
        extra = self._phone_fields if of != "Account" else ()
        return wire_people.read_contact(row, account=self._account(), region=self._region, extra=extra, type=of)

    def _fields(self, of: str, more: Iterable[str] = ()) -> list[str]:
        extra = self._phone_fields if of != "Account" else ()
        return self._makeup.readable(of, [*wire.READ[of], *extra, *more])

    # ── by number ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def find(self, number: PhoneNumber, *, limit: int) -> list[Contact]:
        """One search over contacts, leads that are leads still, and accounts. The index lags behind by moments."""
        reply = await self._makeup.seen(_SEARCHED, lambda: self._http.send(wire.search(self._sosl(number))))
        found = [self.contact(row) for row in wire.read(reply, wire.Found).search_records]
        hits = [match for contact in found if (match := wire_people.matched(contact, number))]
        return sorted(hits, key=wire_people.rank)[:limit]

    def _sosl(self, number: PhoneNumber) -> str:
        returning = []
        for of in _SEARCHED:
            if not self._makeup.can_see(of):
                continue
            where = " WHERE IsConverted=false" if of == "Lead" else ""
            returning.append(f"{of}({','.join(self._fields(of))}{where} LIMIT 20)")
        if not returning:
            raise Unsupported("the connected user sees neither contacts nor leads nor accounts")
        return soql.find_number(number, returning, limit=50)

    # ── by id ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def read(self, ref: Ref, *, fields: Sequence[str] = ()) -> Contact | None:
        row = await self.row(ref, fields=fields)
        if row is None:
            return None
        return msgspec.structs.replace(self.contact(row), fields={name: wire.value(row, name) for name in fields})

    async def row(self, ref: Ref, *, fields: Sequence[str] = ()) -> wire.Row | None:
        """The record as it is now, or what it was merged or converted into; None if nothing is left of it."""
        for _ in range(_STEPS):
            of = wire.people_type(ref.kind)
            rows = await self._makeup.seen((of,), lambda of=of, ref=ref: self._rows(of, ref, fields))  # type: ignore[misc]
            if not rows:
                return None
            heir = wire_people.heir(rows[0])
            if heir is None:
                return None if wire_people.is_gone(rows[0]) else rows[0]
            ref = heir
        return None

    async def _rows(self, of: str, ref: Ref, fields: Sequence[str]) -> Sequence[wire.Row]:
        if not soql.is_id(ref.id):
            return ()
        reply = await self._http.send(wire.query(self.by_id(of, [ref.id], fields), deleted=True))
        return wire.read(reply, wire.Rows).records

    def by_id(self, of: str, ids: Sequence[str], fields: Sequence[str] = ()) -> str:
        wanted = [*self._fields(of, fields), *wire.GONE[of]]
        return soql.select(wanted, of, f"Id IN {soql.texts(ids)}", limit=len(ids))

    async def heirs(self, refs: Iterable[Ref]) -> Mapping[Ref, Ref | None]:
        """For each that is no longer itself: what it has become, None if nothing. Those that are themselves are left out."""
        moved: dict[Ref, Ref | None] = {}
        for ref in dict.fromkeys(refs):
            row = await self.row(ref)
            if row is None:
                moved[ref] = None
            elif wire.value(row, "Id")[:15] != ref.id[:15]:
                moved[ref] = Ref(wire.PEOPLE[wire.type_of(row)], wire.value(row, "Id"))
        return moved

    # ── everyone ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def page(self, kind: Kind, *, after: str | None, limit: int) -> Page:
        """By id for few, through a bulk job for many: then pages hold what a page of results holds, whatever `limit` is."""
        of = wire.people_type(kind)
        if after is None:
            return await self._makeup.seen((of,), lambda: self._first(of, limit))
        at = wire_bulk.cursor(after)
        if at.job:
            return await self._of_job(of, at)
        soql_text = wire_bulk.page(of, self._fields(of), after=at.id, limit=limit)
        rows = wire.read(await self._http.send(wire.query(soql_text)), wire.Rows).records
        return self._keyset(rows, limit, total=None)

    async def _first(self, of: str, limit: int) -> Page:
        """How many there are, and the first of them, in one request."""
        fields = self._fields(of)
        first = wire_bulk.page(of, fields, after="", limit=limit)
        asked = [wire.asking("count", wire_bulk.count(of)), wire.asking("first", first)]
        told = wire.read_composite(await self._http.send(wire.composite(asked)), ("count", "first"))
        if not told["first"].good:
            rows_of(told["first"])
            await self._makeup.learn((of,))
            rows = wire.read(
                await self._http.send(wire.query(wire_bulk.page(of, self._fields(of), after="", limit=limit))),
                wire.Rows,
            ).records
        else:
            rows = rows_of(told["first"])
        total = wire.read(told["count"].reply(), wire.Rows).total_size if told["count"].good else None
        if total is not None and total > wire_bulk.FROM:
            try:
                job = wire.read(await self._http.send(wire_bulk.start(of, self._fields(of))), wire_bulk.Job)
            except Denied:  # bulk jobs take another right, and not every question: then page by page
                return self._keyset(rows, limit, total=total)
            return Page(items=(), next=str(wire_bulk.Cursor(job=job.id)), total=total, wait=_POLLED)
        return self._keyset(rows, limit, total=total)

    def _keyset(self, rows: Sequence[wire.Row], limit: int, *, total: int | None) -> Page:
        items = tuple(self.contact(row) for row in rows)
        full = len(rows) >= min(limit, wire.PAGE)
        following = str(wire_bulk.Cursor(id=items[-1].id)) if full else None
        return Page(items=items, next=following, total=total)

    async def _of_job(self, of: str, at: wire_bulk.Cursor) -> Page:
        """A job that came to nothing, or whose results are gone after a week, is given up for a keyset from the start."""
        anew = Page(items=(), next=str(wire_bulk.Cursor()))
        try:
            if not at.locator:
                job = wire.read(await self._http.send(wire_bulk.ask(at.job)), wire_bulk.Job)
                if not job.is_over:
                    return Page(items=(), next=str(at), wait=_POLLED)
                if job.state != "JobComplete":
                    return anew
            reply = await self._http.send(wire_bulk.results(at))
        except Denied as refused:
            if refused.gone:
                return anew
            raise
        rows, following = wire_bulk.read_results(reply, at)
        return Page(items=tuple(self.contact(row, of) for row in rows), next=str(following) if following else None)

    # ── changes ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def changes(self, kind: Kind, since: datetime) -> AsyncIterator[Page]:
        """By time of change and id, so that nothing is skipped where many changed within one second. Automation's changes
        count too. A transaction that ends late can lie behind what was read: who polls starts some minutes before."""
        of = wire.people_type(kind)
        condition = f"SystemModstamp>={soql.moment(since)}"
        while True:
            rows = await self._makeup.seen((of,), lambda condition=condition: self._changed(of, condition))  # type: ignore[misc]
            full = len(rows) == wire.PAGE
            items = tuple(self.contact(row) for row in rows if wire.value(row, "IsConverted") != "true")
            last = wire.moment(wire.value(rows[-1], "SystemModstamp")) if rows else None
            if items:
                yield Page(items=items, next=last.isoformat() if full and last else None)
            if not full or last is None:
                return
            at, id = soql.moment(last), soql.text(wire.value(rows[-1], "Id"))
            condition = f"(SystemModstamp>{at} OR (SystemModstamp={at} AND Id>{id}))"

    async def _changed(self, of: str, condition: str) -> Sequence[wire.Row]:
        more = ("IsConverted",) if of == "Lead" else ()
        asked = soql.select(self._fields(of, more), of, condition, order="SystemModstamp,Id", limit=wire.PAGE)
        return wire.read(await self._http.send(wire.query(asked)), wire.Rows).records

    async def deleted(self, kind: Kind, since: datetime) -> Sequence[Change]:
        """Deletions of at most the last 30 days, and what merges and conversions left behind; older ones Salesforce has
        forgotten. A merge is known as one for as long as the loser lies in the recycle bin (15 days)."""
        of = wire.people_type(kind)
        now = self._now()
        start = max(since, now - _TOLD + timedelta(minutes=5))
        end = max(now, start) + timedelta(minutes=1)  # the span must be a minute at least; its end may lie ahead
        asked = [
            wire.asking(
                "merged", _ended(of, f"MasterRecordId!=null AND SystemModstamp>={soql.moment(start)}"), deleted=True
            )
        ]
        if of == "Lead":
            converted = f"IsConverted=true AND SystemModstamp>={soql.moment(start)}"
            asked.append(wire.asking("converted", _ended(of, converted)))
        gone = wire.read(await self._http.send(_deleted(of, start, end)), Deleted).deleted_records
        refs = [part.ref for part in asked]
        told = wire.read_composite(await self._http.send(wire.composite(asked)), refs)
        merged = {change.id: change for ref in refs for change in _moves(kind, rows_of(told[ref]))}
        plain = [
            Change(kind=kind, id=one.id, happened=Happened.DELETED, at=wire.moment(one.deleted_date))
            for one in gone
            if one.id not in merged
        ]
        return sorted([*plain, *merged.values()], key=lambda change: (change.at or since, change.id))


class Gone(msgspec.Struct, rename="camel"):
    id: str
    deleted_date: str = ""


class Deleted(msgspec.Struct, rename="camel"):
    """Recorded: get_deleted_200."""

    deleted_records: list[Gone]


def _deleted(of: str, start: datetime, end: datetime) -> Request:
    span = [("start", soql.moment(start)), ("end", soql.moment(end))]  # times are kept in whole seconds
    return Request(method="GET", path=wire.path("sobjects", of, "deleted") + "/", query=span)


def _ended(of: str, where: str) -> str:
    return soql.select(("Id", *wire.GONE[of], "SystemModstamp"), of, where, order="SystemModstamp,Id", limit=wire.PAGE)


def _moves(kind: Kind, rows: Iterable[wire.Row]) -> Iterable[Change]:
    for row in rows:
        happened = Happened.MERGED if wire.value(row, "MasterRecordId") else Happened.CONVERTED
        at = wire.moment(wire.value(row, "SystemModstamp"))
        yield Change(kind=kind, id=wire.value(row, "Id"), happened=happened, at=at, into=wire_people.heir(row))
