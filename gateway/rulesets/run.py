"""From a call to its promises: facts, decision, deliveries, in one transaction (delivery.md §5).

A rule is decided once per call. The first planning pins the rule set's version; fired and declined are final, undecided
ones are looked at again when later events come, until the grace time is over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from connectors import phone
from connectors.crm.port import Stick, Sticking
from connectors.crm.records import Kind, LogCall, Ref, Write
from connectors.voice.events import CallNews
from gateway.calls import queries as call_queries
from gateway.calls.merge import customer_of
from gateway.calls.tables import Call
from gateway.connections import queries as connection_queries
from gateway.connections.tables import Connection
from gateway.db.base import TenantId
from gateway.db.engine import utc_now
from gateway.logs import log
from gateway.mappings import apply
from gateway.mappings.apply import CallView
from gateway.outbox.amend import refresh
from gateway.outbox.plan import Promise, delivery_id, person_key, plan
from gateway.rulesets import queries
from gateway.rulesets.facts import facts_of, seconds
from gateway.tenants import queries as tenant_queries
from gateway.tenants import settings as tenant_settings
from gateway.tenants.keys import TenantKeys
from rules.decide import Decision, Outcome, Planned, decide
from rules.facts import Facts
from rules.rule import RuleSet

if TYPE_CHECKING:
    from gateway.lookup.find import Finder
    from gateway.parts import Parts

ASK_FOR = timedelta(seconds=5)  # how long planning waits for the CRMs to say who the caller is
NOT_CONNECTED = timedelta(minutes=10)  # a call of a tenant without a CRM is looked at again after this
UNPROBED = Sticking(stick=Stick.BLIND, where="not probed", settle=timedelta(seconds=60))


@dataclass(frozen=True, repr=False)
class Matter:
    """Everything a decision is made of, read before the transaction that keeps it."""

    tenant_id: TenantId
    call_id: str
    updated_at: datetime
    person: bytes
    subject_index: bytes | None
    people_until: datetime | None
    keys: TenantKeys
    facts: Facts
    view: CallView
    version: int
    rules: RuleSet
    earlier: Mapping[str, Outcome]
    grace_over: bool
    grace_until: datetime | None
    connections: Sequence[Connection]
    known_as: Mapping[str, Ref]
    nobody_at: datetime | None  # when all CRMs were asked who this is, and none knew
    zone: str


async def plan_call(parts: Parts, call_id: str, *, finder: Finder) -> list[str]:
    """Plan one call if it is due; the connections that have something to deliver now. Repeatable at any point."""
    async with parts.db.reading() as session:
        tenant_id = await call_queries.tenant_of(session, call_id)
    if tenant_id is None:
        return []
    now = utc_now()
    matter = await _read(parts, tenant_id, call_id, finder, now)
    if matter is None:
        return []
    decision = decide(matter.rules, matter.facts, now=now, earlier=matter.earlier, grace_over=matter.grace_over)
    async with parts.db.transaction(tenant_id) as session:
        call = await call_queries.locked(session, tenant_id, call_id)
        if call is None or call.updated_at != matter.updated_at or call.plan_at is None:
            return []  # news came in between, or another worker was faster: it is due again, or done
        if not matter.connections and not _given_up(parts, call, now):
            call.plan_at = now + NOT_CONNECTED
            return []
        decision = await _once_per(session, matter, decision, now)
        planned = await _promise(session, parts, matter, decision, now)
        await queries.keep(
            session, tenant_id, call_id, decision.rules, keys=matter.keys, now=now, until=matter.people_until
        )
        call.ruleset_version = matter.version
        call.state, call.planned_at = "planned", now
        call.plan_at = None if decision.is_final else matter.grace_until
    log.info("call planned", call=call_id, deliveries=sum(map(len, planned.values())))
    return [connection_id for connection_id, ids in planned.items() if ids]


def _given_up(parts: Parts, call: Call, now: datetime) -> bool:
    return now - call.received_at > parts.settings.delivery_lifetime


async def _read(parts: Parts, tenant_id: TenantId, call_id: str, finder: Finder, now: datetime) -> Matter | None:
    keys = await parts.keyring.of(tenant_id)
    async with parts.db.reading(tenant_id) as session:
        call = await call_queries.call(session, tenant_id, call_id)
        if call is None or call.plan_at is None or call.plan_at > now:
            return None
        tenant = await tenant_queries.tenant(session, tenant_id)
        wishes = await tenant_settings.current(session, tenant_id)
        found = await queries.ruleset(session, tenant_id, call.ruleset_version)
        earlier = await queries.outcomes(session, tenant_id, call_id)
        connections = await connection_queries.writable(session, tenant_id)
        before = 0
        if call.subject_index is not None:
            before = await queries.previous_calls(session, tenant_id, call.subject_index, not_call=call_id)
    if found is None:
        raise LookupError(f"rule set {call.ruleset_version} of a planned call is gone")
    version, rules = found
    news = msgspec.json.decode(keys.open(call.news, "calls", "news", call_id), type=CallNews)
    customer = customer_of(news, region=tenant.region)
    contact, known_as, settled, nobody_at = await _caller(finder, tenant_id, customer, call_id, tenant.region)
    grace_over = call.grace_until is not None and now >= call.grace_until
    facts = facts_of(
        news,
        customer=customer,
        contact=contact,
        caller_settled=settled,
        previous_calls=before,
        complete=call.complete,
        profiling=wishes.profiling_purpose is not None,
        zone=tenant.zone,
        now=now,
    )
    return Matter(
        tenant_id=tenant_id,
        call_id=call_id,
        updated_at=call.updated_at,
        person=call.person or keys.index(f"call:{call_id}"),
        subject_index=call.subject_index,
        people_until=call.people_until,
        keys=keys,
        facts=facts,
        view=view_of(news, customer=customer, zone=tenant.zone, received=call.received_at, region=tenant.region),
        version=version,
        rules=rules,
        earlier=earlier,
        grace_over=grace_over,
        grace_until=call.grace_until,
        connections=connections,
        known_as=known_as,
        nobody_at=nobody_at,
        zone=tenant.zone,
    )


def view_of(news: CallNews, *, customer: str | None, zone: str, received: datetime, region: str) -> CallView:
    """The call as writes need it. A call whose start nobody told began when we heard of it."""
    lasted = seconds(news)
    started = news.started_at or (news.ended_at - timedelta(seconds=lasted or 0) if news.ended_at else received)
    ours = news.our_number or (news.from_number if news.direction == "outbound" else news.to_number)
    number = phone.read(ours, region) if ours else None
    return CallView(
        direction=news.direction or "inbound",
        started_at=started,
        duration=None if lasted is None else timedelta(seconds=lasted),
        customer=customer,
        our_number=phone.e164(number) if number else None,
        outcome=news.outcome or "completed",
        recording_url=news.recording_url,
        zone=zone,
    )


async def _caller(
    finder: Finder, tenant_id: TenantId, customer: str | None, call_id: str, region: str
) -> tuple[Mapping[str, Any] | None, dict[str, Ref], bool, datetime | None]:
    """Who the CRMs say this is: the contact, the record per connection, whether all of them have answered, and since when
    they have been saying that it is nobody."""
    if customer is None:
        return None, {}, True, None
    found = await finder.find(
        tenant_id, customer, region=region, asked_by=f"call:{call_id}", assurance="key", budget=ASK_FOR
    )
    records: dict[str, Ref] = {}
    for record in found.kept.records:
        connection_id, kind, record_id = record.split("/", 2)
        if kind in (Kind.CONTACT, Kind.LEAD):
            records.setdefault(connection_id, Ref(Kind(kind), record_id))
    contact = found.fields().get("contact") if found.status in ("known", "several") else None
    settled = found.complete and found.status != "pending"
    is_nobody = settled and found.status == "unknown" and found.source != "none"
    return contact, records, settled, utc_now() - timedelta(seconds=found.age) if is_nobody else None


async def _once_per(session: AsyncSession, matter: Matter, decision: Decision, now: datetime) -> Decision:
    """Decline what fired before for this person (`once_per` contact or day)."""
    declined: dict[str, str] = {}
    for one in decision.rules:
        if not (one.fresh and one.outcome is Outcome.FIRED and matter.subject_index) or one.once_per == "call":
            continue
        since = None
        if one.once_per == "day":
            today = now.astimezone(ZoneInfo(matter.zone)).replace(hour=0, minute=0, second=0, microsecond=0)
            since = today.astimezone(now.tzinfo)
        if await queries.fired_before(
            session, matter.tenant_id, one.rule_id, matter.subject_index, not_call=matter.call_id, since=since
        ):
            declined[one.rule_id] = "It fired for this person before" + (" today." if since else ".")
    if not declined:
        return decision
    rules = tuple(
        replace(one, outcome=Outcome.DECLINED, because=f"{one.because} {declined[one.rule_id]}")
        if one.rule_id in declined
        else one
        for one in decision.rules
    )
    return Decision(rules, tuple(action for action in decision.actions if action.rule_id not in declined))


async def _promise(
    session: AsyncSession, parts: Parts, matter: Matter, decision: Decision, now: datetime
) -> dict[str, list[str]]:
    """Plan the deliveries of a decision, lane by lane; what was new, by connection."""
    names = {one.rule_id: one.name for one in decision.rules}
    later = _fired_again(matter, now)
    planned: dict[str, list[str]] = {}
    for connection in matter.connections:
        mine = [one for one in decision.actions if connection.id in _targets(one, matter.connections)]
        promises = promises_of(matter, connection, mine, names)
        again = [one for one in later if connection.id in _targets(one, matter.connections)]
        if again:
            sent = await refresh(
                session, matter.tenant_id, connection.id, matter.person, promises_of(matter, connection, again, names),
                keys=matter.keys,
            )  # fmt: skip
            promises += [added for promise, before in sent if (added := amendment(matter, connection, promise, before))]
        if promises:
            planned[connection.id] = await plan(
                session, matter.tenant_id, connection.id, matter.person, promises, keys=matter.keys,
                call_id=matter.call_id, lifetime=parts.settings.delivery_lifetime,
                subject_index=matter.subject_index, people_until=matter.people_until, known_as=matter.known_as.get(connection.id),
            )  # fmt: skip
    return planned


def _fired_again(matter: Matter, now: datetime) -> list[Planned]:
    """What rules that fired earlier would ask for with what is known now: for refreshing and amending, never for repeating."""
    fired = {rule_id for rule_id, outcome in matter.earlier.items() if outcome is Outcome.FIRED}
    if not fired:
        return []
    others = {rule_id: outcome for rule_id, outcome in matter.earlier.items() if rule_id not in fired}
    again = decide(matter.rules, matter.facts, now=now, earlier=others, grace_over=matter.grace_over)
    return [one for one in again.actions if one.rule_id in fired]


def amendment(matter: Matter, connection: Connection, promise: Promise, before: Write) -> Promise | None:
    """What a later event adds to a call that was logged without a word: its summary, as a note of its own."""
    now_said = promise.write
    if not (isinstance(before, LogCall) and isinstance(now_said, LogCall)) or before.body or before.unchecked:
        return None
    text = now_said.unchecked or now_said.body
    if not text:
        return None
    name = delivery_id(
        matter.tenant_id, matter.call_id, promise.rule_id, promise.action_id, connection.id, "amend", "summary"
    )
    sticking = sticking_of(connection, "add_note")
    return replace(
        promise,
        id=name,
        write=apply.late_summary(text, matter.view, key=name),
        needs=(promise.id,),
        record_key=apply.record_key("add_note", name),
        settle=sticking.settle,
        blind=sticking.stick is Stick.BLIND,
    )


def _targets(action: Planned, connections: Sequence[Connection]) -> Sequence[str]:
    """Where an action goes: the connections it names, else the tenant's first."""
    return action.connections or [one.id for one in connections[:1]]


def promises_of(
    matter: Matter, connection: Connection, actions: Sequence[Planned], names: Mapping[str, str]
) -> list[Promise]:
    """The promises for one connection, whoever creates the person first."""
    person = person_key(connection.id, matter.person)
    first = apply.needed(actions)
    was_asked = matter.nobody_at is not None and connection.connected_at < matter.nobody_at
    nobody_at = matter.nobody_at if was_asked else None
    ids = {
        one.action_id: delivery_id(matter.tenant_id, matter.call_id, one.rule_id, one.action_id, connection.id)
        for one in actions
    }
    promises = []
    for one in sorted(actions, key=lambda action: action.action_id != first):
        name = ids[one.action_id]
        sticking = sticking_of(connection, one.do)
        promises.append(
            Promise(
                id=name,
                rule_id=one.rule_id,
                rule=names.get(one.rule_id, one.rule_id),
                action_id=one.action_id,
                write=apply.write_of(one, matter.view, key=name, person_key=person, nobody_at=nobody_at),
                needs=(ids[first],) if first is not None and one.action_id != first else (),
                record_key=apply.record_key(one.do, name),
                settle=sticking.settle,
                blind=sticking.stick is Stick.BLIND,
            )
        )
    return promises


def sticking_of(connection: Connection, do: str) -> Sticking:
    """What was probed for this kind of write on this connection; unprobed counts as blind."""
    stored = connection.sticks.get(do)
    return UNPROBED if stored is None else msgspec.convert(stored, Sticking)
