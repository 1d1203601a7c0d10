"""What hangs on a person or company in Salesforce, in one request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from connectors.crm.port import Sender
from connectors.crm.records import Activity, Company, Context, Ref
from connectors.crm.salesforce import wire, wire_people
from connectors.crm.salesforce import wire_soql as soql
from connectors.crm.salesforce.makeup import UNSEEN, Makeup
from connectors.crm.salesforce.people import People
from connectors.crm.salesforce.wire_errors import Denied, classified
from connectors.errors import ConnectorError, ReconnectNeeded

T = TypeVar("T")

_PER_KIND = 20  # of each kind of thing, the newest
_DEAL = ("Id", "Name", "StageName", "Amount", "CloseDate", "IsClosed")
_CASE = ("Id", "CaseNumber", "Subject", "Status", "Priority", "IsClosed")
_TASK = ("Id", "Subject", "TaskSubtype", "ActivityDate", "CreatedDate", "Description")
_EVENT = ("Id", "Subject", "StartDateTime", "ActivityDate")
_STEPS = 3


async def context(http: Sender, makeup: Makeup, people: People, ref: Ref, *, recent: int) -> Context:
    """One round trip, five queries in it, and one call of the org's allowance. A part that fails is left out and the
    context says that it is not complete; only a lost grant is raised. A merged or converted person costs one more."""
    for _ in range(_STEPS):
        of = wire.people_type(ref.kind)
        if not soql.is_id(ref.id):
            return Context()
        told = await _ask(http, makeup, people, of, ref.id, recent)
        answered = told["person"]
        if not answered.good:
            raise classified(answered.http_status_code, answered.body, writes=False)
        rows = wire.read(answered.reply(), wire.Rows).records
        heir = wire_people.heir(rows[0]) if rows else None
        if heir is not None:
            ref = heir
            continue
        if not rows or wire_people.is_gone(rows[0]):
            return Context()
        return _read(people, of, rows[0], told, recent)
    return Context(complete=False)


async def _ask(
    http: Sender, makeup: Makeup, people: People, of: str, id: str, recent: int
) -> Mapping[str, wire.Answered]:
    """Asked again without the fields this user turns out not to see."""
    for again in (False, True):
        asked = [wire.asking("person", people.by_id(of, [id]), deleted=True), *_around(of, id, recent)]
        told = wire.read_composite(await http.send(wire.composite(asked)), [part.ref for part in asked])
        error = (
            None
            if told["person"].good
            else classified(told["person"].http_status_code, told["person"].body, writes=False)
        )
        if again or not (isinstance(error, Denied) and error.code in UNSEEN):
            break
        await makeup.learn((of,))
    return told


def _around(of: str, id: str, recent: int) -> list[wire.Part]:
    me = soql.text(id)
    what, who = f"WhatId={me}", f"WhoId={me}"
    activities = what if of == "Account" else who
    newest = max(recent, 1)
    asked = [
        wire.asking(
            "tasks",
            soql.select(
                _TASK,
                "Task",
                activities,
                order="ActivityDate DESC NULLS LAST,CreatedDate DESC",
                limit=newest + _PER_KIND,
            ),
        ),
        wire.asking("events", soql.select(_EVENT, "Event", activities, order="StartDateTime DESC", limit=newest)),
    ]
    if of == "Contact":
        roles = soql.select(
            tuple(f"Opportunity.{field}" for field in _DEAL),
            "OpportunityContactRole",
            f"ContactId={me} AND Opportunity.IsClosed=false",
            order="CreatedDate DESC",
            limit=_PER_KIND,
        )
        cases = f"ContactId={me} AND IsClosed=false"
        asked.append(wire.asking("deals", roles))
    elif of == "Account":
        deals = soql.select(
            _DEAL, "Opportunity", f"AccountId={me} AND IsClosed=false", order="CreatedDate DESC", limit=_PER_KIND
        )
        cases = f"AccountId={me} AND IsClosed=false"
        asked.append(wire.asking("deals", deals))
    else:
        return asked
    asked.append(wire.asking("cases", soql.select(_CASE, "Case", cases, order="CreatedDate DESC", limit=_PER_KIND)))
    return asked


def _read(people: People, of: str, row: wire.Row, told: Mapping[str, wire.Answered], recent: int) -> Context:
    missing: list[ConnectorError] = []

    def part(name: str, read: Callable[[wire.Row], T]) -> list[T]:
        answered = told.get(name)
        if answered is None:
            return []
        try:
            if not answered.good:
                raise classified(answered.http_status_code, answered.body, writes=False)
            return [read(one) for one in wire.read(answered.reply(), wire.Rows).records]
        except ReconnectNeeded:
            raise
        except ConnectorError as error:
            missing.append(error)
            return []

    contact = people.contact(row)
    happened: Sequence[Activity | None] = [
        *part("tasks", wire_people.read_task),
        *part("events", wire_people.read_event),
    ]
    newest = sorted((one for one in happened if one), key=lambda one: one.at, reverse=True)
    deals = {deal.id: deal for deal in part("deals", wire_people.read_deal) if deal.is_open}
    return Context(
        company=_company(of, contact.company),
        owner=contact.owner,
        open_deals=tuple(deals.values()),
        open_tickets=tuple(ticket for ticket in part("cases", wire_people.read_ticket) if ticket.is_open),
        recent=tuple(newest[:recent]),
        complete=not missing,
    )


def _company(of: str, company: Company | None) -> Company | None:
    """A company around itself is none."""
    return None if of == "Account" else company
