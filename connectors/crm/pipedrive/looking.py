"""Finding and listing people: search by number, lists, changes, deletions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime

import msgspec
from phonenumbers import PhoneNumber

from connectors.crm.changes import Change
from connectors.crm.pipedrive import wire, wire_changes, wire_people
from connectors.crm.pipedrive.around import read_row
from connectors.crm.pipedrive.makeup import Makeup
from connectors.crm.port import Sender
from connectors.crm.records import Account, Contact, Kind, Page, Ref
from connectors.errors import Rejected, Unsupported

_MOST_PAGES = 200  # of what was deleted


class Looking:
    """Part of `client.Pipedrive`; the promises stand in the port.

    phone_fields  the company's own fields that hold numbers, besides those of the type "phone", which are found.
    """

    def __init__(
        self, http: Sender, makeup: Makeup, *, account: Account | None, region: str | None, phone_fields: Sequence[str]
    ) -> None:
        self._http = http
        self._makeup = makeup
        self.account = account
        self._region = region
        self._phone_fields = tuple(phone_fields)

    async def find(self, number: PhoneNumber, *, limit: int) -> list[Contact]:
        """Two round trips: a search for each spelling, then the records themselves, which the index may be behind of.

        Persons and organisations by their numbers, and the open leads of the persons found, by their names.
        """
        terms = wire.number_terms(number)
        searches = asyncio.gather(*(self._http.send(wire.search_number(term)) for term in terms))
        replies, of_persons, of_companies = await asyncio.gather(
            searches, self._number_fields(Kind.CONTACT), self._number_fields(Kind.COMPANY)
        )
        found = [wire.read_found(reply) for reply in replies]
        persons, companies = await asyncio.gather(
            self._many(Kind.CONTACT, _each(one.ids("person") for one in found), of_persons),
            self._many(Kind.COMPANY, _each(one.ids("organization") for one in found), of_companies),
        )
        matches = [match for contact in (*persons, *companies) if (match := wire_people.matched(contact, number))]
        by_id = {contact.id: contact for contact in matches if contact.kind is Kind.CONTACT}
        leads = {row.id: row for one in found for row in one.related if row.value("type") == "lead"}
        for lead in leads.values():
            person = by_id.get(wire.text_of(lead.raw.get("person")))
            if person is not None and not lead.flag("is_archived"):
                matches.append(wire_people.read_lead(lead, person, account=self.account))
        return sorted(matches, key=wire_people.rank)[:limit]

    async def _many(self, kind: Kind, ids: Sequence[str], extra: Mapping[str, str]) -> list[Contact]:
        """In the order of `ids`; those that are gone are left out."""
        if not ids:
            return []
        rows = wire.read_rows(await self._http.send(wire.read_many(kind, ids[: wire.MOST_IDS]))).results
        by_id = {row.id: row for row in rows if not row.is_gone}
        return [self._contact(kind, by_id[id], extra) for id in ids if id in by_id]

    async def _number_fields(self, kind: Kind) -> Mapping[str, str]:
        found = dict(await self._makeup.number_fields(kind))
        if kind is Kind.CONTACT:
            known = self._makeup.remembered_definitions(kind)
            found |= {code: known[code].field_name if code in known else code for code in self._phone_fields}
        return found

    def _contact(self, kind: Kind, found: wire.Row, extra: Mapping[str, str]) -> Contact:
        contact = wire_people.read_contact(kind, found, account=self.account, region=self._region, extra=extra)
        owner = self._makeup.remembered_owner(contact.owner.id) if contact.owner else None
        return msgspec.structs.replace(contact, owner=owner) if owner else contact

    async def one(self, ref: Ref, fields: Sequence[str]) -> Contact | None:
        """One record; a lead with its person, which takes a second round trip."""
        kind = wire.people_kind(ref.kind)
        found, extra = await asyncio.gather(
            read_row(self._http, wire.read_one(kind, ref.id)),
            self._number_fields(Kind.CONTACT if kind is Kind.LEAD else kind),
        )
        if found is None:
            return None
        rows = [found]
        if kind is Kind.LEAD:
            person_id = found.value("person_id")
            person = await read_row(self._http, wire.read_one(Kind.CONTACT, person_id)) if person_id else None
            rows += [person] if person else []
            of = self._contact(Kind.CONTACT, person, extra) if person else None
            contact = wire_people.read_lead(found, of, account=self.account)
        else:
            contact = self._contact(kind, found, extra)
        codes, _ = await self._makeup.coded(kind, dict.fromkeys(fields, "")) if fields else ({}, {})
        values = {
            name: next((value for row in rows if (value := row.value(code))), "")
            for name, code in zip(fields, codes, strict=False)
        }
        return msgspec.structs.replace(contact, fields=values)

    async def page(self, kind: Kind, *, after: str | None, limit: int) -> Page:
        extra = await self._number_fields(Kind.CONTACT if kind is Kind.LEAD else kind)
        rows = wire.read_rows(await self._http.send(wire.list_page(kind, after=after, limit=limit)))
        return Page(items=await self._read(kind, rows.results, extra), next=rows.after)

    async def _read(self, kind: Kind, rows: Iterable[wire.Row], extra: Mapping[str, str]) -> tuple[Contact, ...]:
        """Leads take one more request for all their persons together."""
        living = [row for row in rows if not row.is_gone]
        if kind is not Kind.LEAD:
            return tuple(self._contact(kind, row, extra) for row in living)
        ids = _each([[row.value("person_id") for row in living]])
        persons = {person.id: person for person in await self._many(Kind.CONTACT, ids, extra)}
        return tuple(
            wire_people.read_lead(row, persons.get(row.value("person_id")), account=self.account) for row in living
        )

    async def changes(self, kind: Kind, since: datetime) -> AsyncIterator[Page]:
        """By list, so nothing lags. A cursor that Pipedrive no longer takes is answered by starting at the last change
        seen; records at such a seam come twice."""
        extra = await self._number_fields(Kind.CONTACT if kind is Kind.LEAD else kind)
        after: str | None = None
        last = since
        while True:
            try:
                rows = wire.read_rows(await self._http.send(wire.changed_page(kind, since, after=after)))
            except Rejected as refused:
                if refused.status != 400 or after is None or last <= since:
                    raise
                since, after = last, None
                continue
            items = await self._read(kind, rows.results, extra)
            last = max((one.updated_at for one in items if one.updated_at), default=last)
            after = rows.after
            if items:
                yield Page(items=items, next=last.isoformat() if after else None)
            if after is None:
                return

    async def deletions(self, kind: Kind, since: datetime) -> list[Change]:
        if kind not in (Kind.CONTACT, Kind.COMPANY):
            raise Unsupported(f"Pipedrive lists no deletions for the kind {kind.value}; its notifications tell them")
        found: dict[str, Change] = {}
        start = 0
        for _ in range(_MOST_PAGES):
            page = wire.read_rows(await self._http.send(wire.recents(kind, since, start=start)))
            found |= {change.id: change for change in wire_changes.read_deletions(page, kind)}
            if page.after is None:
                break
            start = int(page.after)
        return list(found.values())


def _each(several: Iterable[Iterable[str]]) -> list[str]:
    """Without repeats and empty ones, in order."""
    return [id for id in dict.fromkeys(id for some in several for id in some) if id]
