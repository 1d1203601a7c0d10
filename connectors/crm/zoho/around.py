"""What hangs on a person or account in Zoho, in the fewest round trips."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from connectors.crm.port import Sender
from connectors.crm.records import Activity, Company, Context, Kind, Owner, Ref, Stage
from connectors.crm.zoho import wire, wire_composite, wire_people
from connectors.crm.zoho import wire_coql as coql
from connectors.crm.zoho.makeup import Makeup
from connectors.crm.zoho.manifest import PER_REQUEST
from connectors.errors import ConnectorError, ReconnectNeeded, Rejected
from connectors.request import Reply, Request

T = TypeVar("T")

_PER_KIND = 20  # of each kind of thing, the newest
_DEAL = ("id", "Deal_Name", "Stage", "Pipeline", "Amount", "Closing_Date")
_CASE = ("id", "Subject", "Status", "Priority")
_ACTIVITY = {
    "Calls": ("id", "Subject", "Call_Start_Time"),
    "Tasks": ("id", "Subject", "Due_Date"),
    "Events": ("id", "Event_Title", "Start_DateTime"),
}


async def context(
    http: Sender, makeup: Makeup, ref: Ref, *, recent: int, currency: str | None, followed: bool = False
) -> Context:
    """One round trip of two requests at once, and the stages' names if they are not known.

    A part that fails is left out and the context says that it is not complete; only a lost grant, and the record itself
    not being readable, is raised. A lead that was converted is answered with the contact's.
    """
    asked = _questions(ref)
    names = list(asked)
    missing: list[ConnectorError] = []
    size = PER_REQUEST
    halves = [names[at : at + size] for at in range(0, len(names), size)]
    answers, deal_stages, case_stages = await asyncio.gather(
        asyncio.gather(*(_asked(http, [asked[name] for name in half]) for half in halves)),
        _stages(makeup, Kind.DEAL, missing),
        _stages(makeup, Kind.TICKET, missing),
    )
    parts = dict(zip(names, (part for half in answers for part in half), strict=True))
    centre = _centre(parts.pop("record"))
    if centre is None:
        return Context()
    into = wire.converted_into(centre)
    if into is not None and not followed:
        return await context(http, makeup, Ref(Kind.CONTACT, into), recent=recent, currency=currency, followed=True)

    def rows(name: str, read: Callable[[wire.Row], T | None]) -> list[T]:
        part = parts.get(name)
        if part is None:
            return []
        try:
            if isinstance(part, ConnectorError):
                raise part
            return [one for row in wire.read_rows(part).data if (one := read(row)) is not None]
        except ReconnectNeeded:
            raise
        except ConnectorError as error:
            missing.append(error)
            return []

    deals = rows("deals", lambda row: wire_people.read_deal(row, deal_stages, currency=currency))
    cases = rows("cases", lambda row: wire_people.read_ticket(row, case_stages))
    happened: list[Activity] = []
    for module in ("Calls", "Notes", "Tasks", "Events"):
        happened += rows(module, lambda row, module=module: wire_people.read_activity(module, row))  # type: ignore[misc]
    happened.sort(key=lambda one: one.at, reverse=True)
    return Context(
        company=_company(ref, centre),
        owner=await _owner(makeup, centre, missing),
        open_deals=tuple(deal for deal in deals if deal.is_open),
        open_tickets=tuple(case for case in cases if case.is_open),
        recent=tuple(happened[:recent]),
        complete=not missing,
    )


def _questions(ref: Ref) -> Mapping[str, Request]:
    """By name, the record first. What Zoho does not link to this kind is not asked about."""
    module = wire.people_module(ref.kind)
    fields = ["Owner", "Account_Name"] if ref.kind is not Kind.LEAD else ["Owner", "Company", *wire.CONVERTED]
    asked = {"record": wire.read_one(module, ref.id, fields=fields)}
    if ref.kind is not Kind.LEAD:
        of_deals = "Contact_Name" if ref.kind is Kind.CONTACT else "Account_Name"
        of_cases = "Related_To" if ref.kind is Kind.CONTACT else "Account_Name"
        latest, most = ["Modified_Time desc"], _PER_KIND
        asked["deals"] = coql.select(_DEAL, "Deals", coql.equals(of_deals, ref.id), order=latest, limit=most)
        asked["cases"] = coql.select(_CASE, "Cases", coql.equals(of_cases, ref.id), order=latest, limit=most)
    for name, columns in _ACTIVITY.items():
        at = columns[-1]
        asked[name] = coql.select(columns, name, activities_of(ref), order=[f"{at} desc"], limit=_PER_KIND)
    asked["Notes"] = wire.notes_of(module, ref.id, most=_PER_KIND)
    return asked


def activities_of(ref: Ref) -> str:
    """The condition that finds calls, tasks and events about a record."""
    if ref.kind is Kind.CONTACT:
        return coql.equals("Who_Id", ref.id)
    return coql.points_at("What_Id", wire.MODULES[ref.kind], ref.id)


async def _asked(http: Sender, requests: Sequence[Request]) -> list[Reply | ConnectorError]:
    return wire_composite.read_parts(requests, await http.send(wire_composite.together(requests)))


def _centre(part: Reply | ConnectorError) -> wire.Row | None:
    if isinstance(part, Rejected) and part.gone:
        return None
    if isinstance(part, ConnectorError):
        raise part
    found = wire.read_rows(part).data
    return found[0] if found else None


def _company(ref: Ref, centre: wire.Row) -> Company | None:
    if ref.kind is Kind.COMPANY:
        return Company(id=ref.id, name=wire.value(centre, "Account_Name"))
    if linked := wire.link(centre, "Account_Name"):
        return Company(id=linked[0], name=linked[1])
    named = wire.value(centre, "Company")
    return Company(id="", name=named) if named else None


async def _owner(makeup: Makeup, centre: wire.Row, missing: list[ConnectorError]) -> Owner | None:
    """Records name their owner with address; only where one does not is asked."""
    owner = wire_people.read_owner(centre)
    if owner is None or owner.name:
        return owner
    try:
        return await makeup.owner(owner.id)
    except ReconnectNeeded:
        raise
    except ConnectorError as error:
        missing.append(error)
        return owner


async def _stages(makeup: Makeup, kind: Kind, missing: list[ConnectorError]) -> Mapping[str, Stage]:
    try:
        return await makeup.stages(kind)
    except ReconnectNeeded:
        raise
    except ConnectorError as error:
        missing.append(error)
        return {}
