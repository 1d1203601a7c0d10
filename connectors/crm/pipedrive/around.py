"""What hangs on a person, company or lead in Pipedrive, in the fewest round trips."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from connectors.crm.pipedrive import wire, wire_people
from connectors.crm.pipedrive.makeup import Makeup
from connectors.crm.port import Sender
from connectors.crm.records import Activity, Company, Context, Deal, Kind, Ref
from connectors.errors import ConnectorError, ReconnectNeeded, Rejected
from connectors.request import Request

T = TypeVar("T")

_DEALS, _ACTIVITIES = 20, 30  # of each, the latest changed


async def context(http: Sender, makeup: Makeup, ref: Ref, *, recent: int) -> Context:
    """Two round trips: the record with its deals and activities, at once; then its company (and a lead's person's deals).

    A part that fails is left out and the context says that it is not complete; only a lost grant is raised.
    Notes are not read: their list costs as much as deals and activities together.
    """
    kind = wire.people_kind(ref.kind)
    about = (wire.LINKS[kind], ref.id)
    missing: list[ConnectorError] = []

    async def part(wanted: Awaitable[T], otherwise: T) -> T:
        try:
            return await wanted
        except ReconnectNeeded:
            raise
        except ConnectorError as error:
            missing.append(error)
            return otherwise

    centre, deals, activities = await asyncio.gather(
        read_row(http, wire.read_one(kind, ref.id)),
        part(_deals(http, makeup, about), []) if kind is not Kind.LEAD else _nothing(),
        part(_activities(http, about), []),
    )
    if centre is None:
        return Context()
    company_id = "" if kind is Kind.COMPANY else centre.value("org_id") or centre.value("organization_id")
    person_id = centre.value("person_id") if kind is Kind.LEAD else ""
    company, owner, more = await asyncio.gather(
        part(_company(http, company_id), None) if company_id else _none(),
        part(makeup.owner(centre.value("owner_id")), None),
        part(_deals(http, makeup, ("person_id", person_id)), []) if person_id else _nothing(),
    )
    if kind is Kind.COMPANY:
        company = Company(id=centre.id, name=centre.value("name"))
    tickets = [wire_people.read_ticket(one) for one in activities if wire_people.is_ticket(one)]
    happened = [wire_people.read_activity(one) for one in activities if not wire_people.is_ticket(one)]
    return Context(
        company=company,
        owner=owner,
        open_deals=tuple(deal for deal in [*deals, *more] if deal.is_open),
        open_tickets=tuple(ticket for ticket in tickets if ticket.is_open),
        recent=_latest([one for one in happened if one is not None], recent),
        complete=not missing,
    )


async def read_row(http: Sender, request: Request) -> wire.Row | None:
    """One record; None if it is gone, deleted ones included, which answer for thirty days more."""
    try:
        found = wire.read_row(await http.send(request))
    except Rejected as refused:
        if refused.gone:
            return None
        raise
    return None if found.is_gone else found


def _latest(happened: list[Activity], most: int) -> tuple[Activity, ...]:
    return tuple(sorted(happened, key=lambda one: one.at, reverse=True)[:most])


async def _company(http: Sender, id: str) -> Company | None:
    found = await read_row(http, wire.read_one(Kind.COMPANY, id))
    return Company(id=found.id, name=found.value("name")) if found else None


async def _deals(http: Sender, makeup: Makeup, about: tuple[str, str]) -> list[Deal]:
    with makeup.allowed("deals"):
        reply, pipelines = await asyncio.gather(
            http.send(wire.open_deals(about, limit=_DEALS)), makeup.known_pipelines()
        )
    stages = {stage.id: stage for pipeline in pipelines for stage in pipeline.stages}
    names = {pipeline.id: pipeline.label for pipeline in pipelines}
    return [wire_people.read_deal(one, stages, names) for one in wire.read_rows(reply).results]


async def _activities(http: Sender, about: tuple[str, str]) -> list[wire.Row]:
    rows = wire.read_rows(await http.send(wire.activities_of(about, limit=_ACTIVITIES))).results
    return [one for one in rows if not one.is_gone]


async def _nothing() -> list[Deal]:
    return []


async def _none() -> None:
    return None
