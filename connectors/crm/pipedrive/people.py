"""Who is written as a person or lead: found among those there are, made where there is nobody, filled in where something
is missing. Pipedrive refuses no second of anybody, so the looking is ours."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from connectors import phone
from connectors.crm.pipedrive import wire, wire_writes
from connectors.crm.pipedrive.around import read_row
from connectors.crm.pipedrive.makeup import Makeup, code_of
from connectors.crm.pipedrive.manifest import KEY
from connectors.crm.pipedrive.wire_account import FieldObject
from connectors.crm.pipedrive.writing import gone, sent
from connectors.crm.port import Sender
from connectors.crm.records import Kind, Ref, UpsertContact
from connectors.request import Request

_BEFORE = 100  # persons added last that are looked through before one is made
_AFTER = (500, 5)  # and after a lost answer: per page, pages


class People:
    """Part of `client.Pipedrive`; the promises stand in the port."""

    def __init__(self, http: Sender, makeup: Makeup) -> None:
        self._http = http
        self._makeup = makeup

    # ── one person ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def upsert(self, write: UpsertContact) -> tuple[Ref, bool, int]:
        """Answers the record, whether it is new, and the status of the last answer."""
        target = write.target
        if isinstance(target, Ref):
            match target.kind:
                case Kind.LEAD:
                    return await self._of_lead(write, target.id)
                case Kind.COMPANY:
                    return await self._of_company(write, target.id)
                case _:
                    return await self._of_person(write, target.id)
        person, created, status, name = await self._person(write)
        if write.kind is not Kind.LEAD:
            return Ref(Kind.CONTACT, person), created, status
        return await self._lead(write, person, name)

    async def _person(self, write: UpsertContact) -> tuple[str, bool, int, str]:
        code = await self._makeup.our_code(Kind.CONTACT, KEY)
        existing = await self._there(write, code)
        if existing is not None:
            status, name = await self._fill_in(write, existing, code)
            return existing.id, False, status, name
        request = await self.creation(write, code)
        made, status = await sent(self._http, request)
        return made.id, True, status, str(request.json["name"])

    async def creation(self, write: UpsertContact, code: str | None) -> Request:
        company = await self._company(write.company) if write.company else None
        values, definitions = await self._makeup.coded(Kind.CONTACT, {**write.fields_if_empty, **write.fields})
        return created(write, company, values, definitions, code)

    async def _of_person(self, write: UpsertContact, id: str) -> tuple[Ref, bool, int]:
        current = await read_row(self._http, wire.read_one(Kind.CONTACT, id))
        if current is None:
            raise gone("person")
        status, _ = await self._fill_in(write, current, None)
        return Ref(Kind.CONTACT, id), False, status

    async def _fill_in(self, write: UpsertContact, current: wire.Row, code: str | None) -> tuple[int, str]:
        values, definitions = await self._makeup.coded(Kind.CONTACT, {**write.fields_if_empty, **write.fields})
        members, custom = wire_writes.person_changes(_by_code(write, values, definitions), current, definitions, code)
        if write.company and not current.value("org_id") and "org_id" not in members:
            members["org_id"] = wire_writes.whole(await self._company(write.company))
        name = str(members.get("name") or current.value("name"))
        if not members and not custom:
            return 200, name
        _, status = await sent(self._http, wire_writes.update(Kind.CONTACT, current.id, members, custom))
        return status, name

    async def _of_company(self, write: UpsertContact, id: str) -> tuple[Ref, bool, int]:
        """The lane's person is a company here, whose number it is: only what the tenant maps is written, no caller's name."""
        current = await read_row(self._http, wire.read_one(Kind.COMPANY, id))
        if current is None:
            raise gone("company")
        given, definitions = await self._makeup.coded(Kind.COMPANY, write.fields)
        empty, more = await self._makeup.coded(Kind.COMPANY, write.fields_if_empty)
        wished = {name: value for name, value in empty.items() if value and not current.value(name)}
        wished |= {name: value for name, value in given.items() if value != current.value(name)}
        members, custom = wire_writes.parted(Kind.COMPANY, wished, definitions or more, current)
        if not members and not custom:
            return Ref(Kind.COMPANY, id), False, 200
        _, status = await sent(self._http, wire_writes.update(Kind.COMPANY, id, members, custom))
        return Ref(Kind.COMPANY, id), False, status

    # ── leads ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _lead(self, write: UpsertContact, person: str, name: str) -> tuple[Ref, bool, int]:
        """A person has one open lead of ours or anybody's: another call makes no second."""
        there = await self.lead_of(person)
        if there is not None:
            return Ref(Kind.LEAD, there), False, 200
        made, status = await sent(self._http, wire_writes.lead(write, person, name))
        return Ref(Kind.LEAD, made.id), True, status

    async def _of_lead(self, write: UpsertContact, id: str) -> tuple[Ref, bool, int]:
        """A lead has no name and no number: what is new goes to its person."""
        lead = await read_row(self._http, wire.read_one(Kind.LEAD, id))
        if lead is None or not lead.value("person_id"):
            raise gone("lead")
        _, _, status = await self._of_person(write, lead.value("person_id"))
        return Ref(Kind.LEAD, id), False, status

    async def lead_of(self, person: str) -> str | None:
        """The id of the person's newest open lead, from a list that is read after write."""
        found = wire.read_rows(await self._http.send(wire.leads_of(("person_id", person)))).results
        living = [lead for lead in found if not lead.flag("is_archived") and lead.value("person_id") in (person, "")]
        return living[-1].id if living else None

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _there(self, write: UpsertContact, code: str | None) -> wire.Row | None:
        """Who would be doubled: whoever was added lately with our key, the same address or number; whoever has had the
        address for longer. Older numbers were looked up before this write was sent."""
        newest, by_email = await asyncio.gather(
            self._http.send(wire.newest(Kind.CONTACT, limit=_BEFORE)), self._by_email(write.email)
        )
        rows = wire.read_rows(newest).results
        return _ours(rows, write, code) or by_email or _like(rows, write)

    async def _by_email(self, email: str | None) -> wire.Row | None:
        """The one added first, of those who have this address; search is late, but not wrong about what it finds."""
        if not email:
            return None
        found = wire.read_found(await self._http.send(wire.search_email(email))).items
        wanted = email.casefold()
        holders = [row.id for row in found if wanted in (str(each).casefold() for each in row.raw.get("emails") or [])]
        for id in sorted(holders, key=lambda id: (len(id), id)):
            if (row := await read_row(self._http, wire.read_one(Kind.CONTACT, id))) is not None:
                return row
        return None

    async def find(self, write: UpsertContact) -> Ref | None:
        """What an earlier try left among the persons added last; a lead through its person."""
        code = await self._makeup.our_code(Kind.CONTACT, KEY)
        cursor: str | None = None
        for _ in range(_AFTER[1]):
            page = wire.read_rows(await self._http.send(wire.newest(Kind.CONTACT, limit=_AFTER[0], cursor=cursor)))
            found = _ours(page.results, write, code) if code else _like(page.results, write)
            if found is not None:
                if write.kind is not Kind.LEAD:
                    return Ref(Kind.CONTACT, found.id)
                lead = await self.lead_of(found.id)
                return Ref(Kind.LEAD, lead) if lead else None
            cursor = page.after
            if cursor is None:
                break
        return None

    async def _company(self, name: str) -> str:
        """The organisation of this name, made where there is none: the newest are looked through, since search is late."""
        newest, searched = await asyncio.gather(
            self._http.send(wire.newest(Kind.COMPANY, limit=_BEFORE)), self._http.send(wire.search_company(name))
        )
        for row in (*wire.read_found(searched).items, *wire.read_rows(newest).results):
            if row.value("name").strip().casefold() == name.strip().casefold() and not row.is_gone:
                return row.id
        made, _ = await sent(self._http, wire_writes.organisation(name))
        return made.id


def created(
    write: UpsertContact,
    company: str | None,
    values: Mapping[str, str],
    definitions: Mapping[str, FieldObject],
    code: str | None,
) -> Request:
    """A new person with everything that was asked for, `values` by code."""
    members, custom = wire_writes.parted(Kind.CONTACT, values, definitions, None)
    custom |= {code: write.key} if code else {}
    named = _by_code(write, values, definitions)
    return wire_writes.person(named, None if company is None else wire_writes.whole(company), members, custom)


def _by_code(write: UpsertContact, values: Mapping[str, str], definitions: Mapping[str, FieldObject]) -> UpsertContact:
    """The same write with its fields by code."""

    def coded(names: Iterable[str]) -> dict[str, str]:
        return {code: values[code] for name in names if (code := code_of(definitions, name) or name) in values}

    fields = coded(write.fields)
    empty = {code: value for code, value in coded(write.fields_if_empty).items() if code not in fields}
    return msgspec.structs.replace(write, fields=fields, fields_if_empty=empty)


def _ours(rows: Sequence[wire.Row], write: UpsertContact, code: str | None) -> wire.Row | None:
    """Whoever carries the write's key."""
    if code is None:
        return None
    return next((row for row in rows if row.value(code) == write.key and not row.is_gone), None)


def _like(rows: Sequence[wire.Row], write: UpsertContact) -> wire.Row | None:
    """Whoever has the same address, else the same number; of several the one added first. `rows` are newest first."""
    living = [row for row in reversed(rows) if not row.is_gone]
    if write.email:
        wanted = write.email.casefold()
        for row in living:
            if any(entry.value.casefold() == wanted for entry in row.entries("emails")):
                return row
    number = phone.read(write.phone)
    if number is None:
        return None
    region = phone.region_of(number)
    for row in living:
        if any(phone.same(number, entry.value, region) == "exact" for entry in row.entries("phones")):
            return row
    return None
