"""What hangs on a person or company in HubSpot, in the fewest round trips."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import TypeVar

from connectors.crm.hubspot import wire, wire_people
from connectors.crm.hubspot.makeup import Makeup
from connectors.crm.port import Sender
from connectors.crm.records import Activity, Company, Context, Deal, Kind, Pipeline, Ref, Stage, Ticket
from connectors.errors import ConnectorError, ReconnectNeeded, Rejected
from connectors.request import Request

T = TypeVar("T")

_AROUND = ("companies", "deals", "tickets", *wire.ACTIVITIES)
_PER_KIND = 20  # of each kind of thing, the newest


async def context(http: Sender, makeup: Makeup, ref: Ref, *, recent: int) -> Context:
    """Two round trips: the record with the ids around it, then what those are, all at once.

    A part that fails is left out and the context says that it is not complete; only a lost grant is raised.
    """
    type = wire.people_type(ref.kind)
    centre, complete = await _centre(http, makeup, type, ref.id)
    if centre is None:
        return Context()
    ids = {kind: centre.linked(kind)[:_PER_KIND] for kind in _AROUND}
    primary = centre.value("associatedcompanyid")
    companies = [] if type == "companies" else [primary] if primary else ids["companies"][:1]
    missing: list[ConnectorError] = []

    async def part(wanted: Awaitable[T], otherwise: T) -> T:
        try:
            return await wanted
        except ReconnectNeeded:
            raise
        except ConnectorError as error:
            missing.append(error)
            return otherwise

    company, owner, deals, tickets, activities = await asyncio.gather(
        part(_company(http, makeup, companies), None),
        part(makeup.owner(centre.value("hubspot_owner_id")), None),
        part(_deals(http, makeup, ids["deals"]), []),
        part(_tickets(http, makeup, ids["tickets"]), []),
        asyncio.gather(*(part(_activities(http, makeup, kind, ids[kind]), []) for kind in wire.ACTIVITIES)),
    )
    happened = sorted((one for some in activities for one in some), key=lambda one: one.at, reverse=True)
    return Context(
        company=company,
        owner=owner,
        open_deals=tuple(deal for deal in deals if deal.is_open),
        open_tickets=tuple(ticket for ticket in tickets if ticket.is_open),
        recent=tuple(happened[:recent]),
        complete=complete and not missing,
    )


async def read_object(http: Sender, request: Request) -> wire.Object | None:
    """One record; None if it is gone."""
    try:
        return wire.read(await http.send(request), wire.Object)
    except Rejected as refused:
        if refused.gone:
            return None
        raise


async def _centre(http: Sender, makeup: Makeup, type: str, id: str) -> tuple[wire.Object | None, bool]:
    """The record with the ids around it, and whether those are all: a missing scope must not hide the rest."""
    try:
        with makeup.allowed(f"all around {type}"):
            return await read_object(http, wire.read_one(type, id, associations=_AROUND)), True
    except Rejected as refused:
        if refused.status != 403:
            raise
    return await read_object(http, wire.read_one(type, id, associations=tuple(wire.ACTIVITIES))), False


async def _company(http: Sender, makeup: Makeup, ids: Sequence[str]) -> Company | None:
    found = await _many(http, makeup, "companies", ids)
    return Company(id=found[0].id, name=found[0].value("name")) if found else None


async def _deals(http: Sender, makeup: Makeup, ids: Sequence[str]) -> list[Deal]:
    if not ids:
        return []
    found, pipelines = await asyncio.gather(_many(http, makeup, "deals", ids), makeup.known_pipelines(Kind.DEAL))
    stages = _stages(pipelines)
    names = {pipeline.id: pipeline.label for pipeline in pipelines}
    return [wire_people.read_deal(one, stages, names) for one in found]


async def _tickets(http: Sender, makeup: Makeup, ids: Sequence[str]) -> list[Ticket]:
    if not ids:
        return []
    found, pipelines = await asyncio.gather(_many(http, makeup, "tickets", ids), makeup.known_pipelines(Kind.TICKET))
    return [wire_people.read_ticket(one, _stages(pipelines)) for one in found]


async def _activities(http: Sender, makeup: Makeup, type: str, ids: Sequence[str]) -> list[Activity]:
    found = await _many(http, makeup, type, ids)
    return [activity for one in found if (activity := wire_people.read_activity(type, one))]


async def _many(http: Sender, makeup: Makeup, type: str, ids: Sequence[str]) -> list[wire.Object]:
    """In the order of `ids`; those that are gone are left out."""
    if not ids:
        return []
    with makeup.allowed(type):
        reply = await http.send(wire.read_many(type, ids))
    found = {one.id: one for one in wire.read(reply, wire.Objects).results}
    return [found[id] for id in ids if id in found]


def _stages(pipelines: Sequence[Pipeline]) -> Mapping[str, Stage]:
    return {stage.id: stage for pipeline in pipelines for stage in pipeline.stages}
