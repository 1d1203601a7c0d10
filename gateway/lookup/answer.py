"""What a lookup says: from a match and its context to the JSON of design.md §5. Pure.

The JSON is made once and kept (`ready`); each lookup only puts its own id, age and time around it (`to_json`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from connectors.crm.records import Activity, Company, Contact, Context, Deal, Kind, Owner, Ticket
from gateway.lookup.match import Candidate, Match
from gateway.lookup.variables import one_line, safe


class LastCall(msgspec.Struct, frozen=True, kw_only=True):
    """Our own last call with this number. `sentiment` only where the tenant stated a purpose for profiling."""

    at: datetime
    summary: str | None = None
    sentiment: str | None = None

    def __repr__(self) -> str:
        return "<LastCall>"


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """An answer as it is kept in the cache: everything but what belongs to one lookup alone.

    status    known | several | unknown (| withheld | pending, which are never kept).
    complete  whether everybody who was to be asked has answered, context included.
    records   "connection/kind/id" answered, for `lookups`.
    ready     JSON from `"status":` on, up to the variables, which are left open for `gateway_lookup_id`.
    """

    status: str
    complete: bool
    records: tuple[str, ...]
    ready: bytes

    def __repr__(self) -> str:
        return f"<Kept {self.status}>"


class Found(msgspec.Struct, frozen=True):
    """The answer to one lookup.

    source  cache | directory | crm | none (nobody was asked). age  seconds since the CRM said so. took  seconds.
    over_cap  the asker has asked for too many numbers: a voice endpoint serves its stored fallback.
    """

    lookup_id: str
    kept: Kept
    source: str
    age: float
    took: float
    over_cap: bool = False

    def __repr__(self) -> str:
        return f"<Found {self.lookup_id} {self.kept.status}>"

    @property
    def status(self) -> str:
        return self.kept.status

    @property
    def complete(self) -> bool:
        return self.kept.complete

    def to_json(self) -> bytes:
        """The answer of `POST /v1/lookup`."""
        kept = self.kept
        return (
            b'{"lookup_id":"%b",%b"gateway_lookup_id":"%b"},%b"source":"%b","age_s":%.1f,"complete":%b,"took_ms":%.1f}'
            % (
                lookup_id := self.lookup_id.encode(),
                kept.ready,
                lookup_id,
                b'"caller_verified":false,',
                self.source.encode(),
                self.age,
                b"true" if kept.complete else b"false",
                self.took * 1000,
            )
        )

    def fields(self) -> dict[str, Any]:
        """The same as values, for answers in a platform's own shape."""
        fields: dict[str, Any] = msgspec.json.decode(self.to_json())
        return fields

    @property
    def variables(self) -> dict[str, str]:
        """Flat strings for prompt templates; the same names whoever calls."""
        variables: dict[str, str] = self.fields()["variables"]
        return variables

    @property
    def spoken(self) -> str:
        """One sentence for the agent, in the words of the variables; never a summary or other free text."""
        return spoken(self.status, self.variables)


_ENCODER = msgspec.json.Encoder(decimal_format="number")

NEUTRAL: Mapping[str, str] = {
    "customer_known": "false",
    "customer_name": "",
    "customer_first_name": "",
    "customer_last_name": "",
    "salutation": "",
    "customer_tier": "",
    "customer_language": "",
    "company_name": "",
    "owner_name": "",
    "open_deals": "0",
    "open_tickets": "0",
    "last_call_at": "",
}


def nobody(status: str, e164: str | None, *, complete: bool, last_call: LastCall | None = None) -> Kept:
    """An answer without a person: unknown, withheld or pending."""
    if last_call is None:  # made five hundred times at once when a CRM hangs
        number = b'"%b"' % e164.encode() if e164 else b"null"
        return Kept(status, complete, (), b'"status":"%b","phone":%b,%b' % (status.encode(), number, _NOBODY))
    return Kept(status, complete, (), _ready(status, e164, None, (), {**NEUTRAL, "last_call_at": _text(last_call.at)}))


def somebody(
    match: Match,
    e164: str,
    contexts: Mapping[str, Context],
    *,
    last_call: LastCall | None = None,
    complete: bool = True,
    summary_in_variables: bool = False,
) -> Kept:
    """An answer with the caller, or with all who may be the caller.

    contexts  by `Candidate.record`; a record whose context could not be read in time is not in it.
    summary_in_variables  the tenant let free text into prompts.
    """
    records = tuple(one.record for one in match.ranked)
    if match.best is None:
        variables = {**NEUTRAL, **_in_common(match.ranked)}
        variables["last_call_at"] = _text(last_call.at) if last_call else ""
        return Kept(match.status, complete, records, _ready(match.status, e164, None, match.ranked, variables))
    contact = _merged(match.same, contexts, last_call)
    variables = _variables(match.best.contact, contact, last_call)
    if summary_in_variables:
        variables["last_call_summary"] = (last_call.summary or "") if last_call else ""
    whole = complete and all(one.record in contexts and contexts[one.record].complete for one in match.same[:DEEP])
    return Kept(match.status, whole, records, _ready(match.status, e164, contact, match.ranked, variables))


_NOBODY = b'"contact":null,"matches":[],"variables":' + _ENCODER.encode(NEUTRAL)[:-1] + b","

DEEP = 3  # records of one person whose context is read; more duplicates than that add requests, not facts


def for_unsigned(kept: Kept, *, with_name: bool) -> Kept:
    """What an endpoint that only its address protects may say (security.md §6): that we know the caller, not who it is.

    with_name  the tenant ticked salutation and last name.
    """
    fields = msgspec.json.decode(b"{%b" % kept.ready.rstrip(b",") + b"}}")
    variables: dict[str, str] = fields["variables"]
    names = ("customer_known", "customer_language", *(("salutation", "customer_last_name") if with_name else ()))
    return Kept(
        kept.status,
        kept.complete,
        kept.records,
        _ready(
            kept.status, fields["phone"], None, (), {**NEUTRAL, **{name: variables.get(name, "") for name in names}}
        ),
    )


def spoken(status: str, variables: Mapping[str, str]) -> str:
    """One sentence about the caller, made of safe variables."""
    match status:
        case "withheld":
            return "The caller hides the number."
        case "several":
            company = variables.get("company_name")
            return f"Several people call from this number{f' at {company}' if company else ''}; ask who it is."
        case "known" if name := variables.get("customer_name") or variables.get("customer_last_name"):
            said = [" ".join(part for part in ("The caller is", variables.get("salutation"), name) if part)]
            if (company := variables.get("company_name")) and company != name:
                said.append(f" of {company}")
            if owner := variables.get("owner_name"):
                said.append(f", looked after by {owner}")
            for count, what in ((variables.get("open_deals"), "deal"), (variables.get("open_tickets"), "ticket")):
                if count not in (None, "", "0"):
                    said.append(f", {count} open {what}{'s' if count != '1' else ''}")
            return "".join(said) + "."
        case "known":
            return "The caller is a known customer."
        case "pending":
            return "The caller is not known yet; the answer is on its way."
        case _:
            return "The caller is not known."


def _ready(
    status: str,
    e164: str | None,
    contact: dict[str, Any] | None,
    ranked: Sequence[Candidate],
    values: Mapping[str, str],
) -> bytes:
    body = {
        "status": status,
        "phone": e164,
        "contact": contact,
        "matches": [
            {
                "crm": one.provider,
                "kind": one.contact.kind,
                "id": one.contact.id,
                "name": one.contact.name,
                "match": one.contact.match,
                "reason": one.contact.reason,
            }
            for one in ranked
        ],
        "variables": safe(values),
    }
    return _ENCODER.encode(body)[1:-2] + b","  # "status":…,"variables":{…,


def _merged(same: Sequence[Candidate], contexts: Mapping[str, Context], last_call: LastCall | None) -> dict[str, Any]:
    """The best record's facts; what it lacks comes from the person's other records, and `from` says where from."""
    best = same[0]
    taken: dict[str, dict[str, str]] = {}

    def first(field: str, value_of: Any) -> Any:
        for one in same:
            value = value_of(one.contact, contexts.get(one.record, Context()))
            if value:
                if one is not best:
                    taken[field] = {"crm": one.provider, "connection_id": one.connection_id, "id": one.contact.id}
                return value
        return None

    known = [contexts[one.record] for one in same if one.record in contexts]
    contact: dict[str, Any] = {
        "crm": best.provider,
        "connection_id": best.connection_id,
        "kind": best.contact.kind,
        "id": best.contact.id,
        "url": best.contact.url,
        "name": best.contact.name or first("name", lambda contact, _: contact.name) or "",
        "first_name": first("first_name", lambda contact, _: contact.first_name),
        "last_name": first("last_name", lambda contact, _: contact.last_name),
        "salutation": first("salutation", lambda contact, _: contact.salutation),
        "email": first("email", lambda contact, _: contact.email),
        "company": _company(first("company", _company_of)),
        "tier": first("tier", lambda contact, _: contact.tier),
        "owner": _owner(first("owner", lambda contact, context: context.owner or contact.owner)),
        "open_deals": [_deal(deal) for context in known for deal in context.open_deals],
        "open_tickets": [_ticket(ticket) for context in known for ticket in context.open_tickets],
        "recent": [_activity(one) for one in sorted((a for c in known for a in c.recent), key=_newest)[:5]],
        "last_call": last_call,
    }
    if taken:
        contact["from"] = taken
    return contact


def _variables(contact: Contact, merged: Mapping[str, Any], last_call: LastCall | None) -> dict[str, str]:
    company = merged["name"] if contact.kind is Kind.COMPANY else (merged["company"] or {}).get("name")
    return {
        **NEUTRAL,
        "customer_known": "true",
        "customer_name": merged["name"],
        "customer_first_name": merged["first_name"] or "",
        "customer_last_name": merged["last_name"] or "",
        "salutation": merged["salutation"] or "",
        "customer_tier": merged["tier"] or "",
        "customer_language": contact.language or "",
        "company_name": company or "",
        "owner_name": (merged["owner"] or {}).get("name") or "",
        "open_deals": str(len(merged["open_deals"])),
        "open_tickets": str(len(merged["open_tickets"])),
        "last_call_at": _text(last_call.at) if last_call else "",
    }


def _in_common(ranked: Sequence[Candidate]) -> dict[str, str]:
    """What is true whichever of them calls."""
    companies = {one_line(_company_name(one.contact)) for one in ranked}
    owners = {one_line(one.contact.owner.name) if one.contact.owner else "" for one in ranked}
    languages = {one.contact.language or "" for one in ranked if one.contact.kind is not Kind.COMPANY}
    shared = {"company_name": companies, "owner_name": owners, "customer_language": languages}
    return {name: next(iter(values)) for name, values in shared.items() if len(values) == 1}


def _company_name(contact: Contact) -> str | None:
    if contact.kind is Kind.COMPANY:
        return contact.name
    return contact.company.name if contact.company else None


def _company_of(contact: Contact, context: Context) -> Company | None:
    """The context's, which has the name; a search often answers the id alone."""
    return context.company or contact.company


def _company(company: Company | None) -> dict[str, Any] | None:
    return {"id": company.id, "name": company.name} if company else None


def _owner(owner: Owner | None) -> dict[str, Any] | None:
    return {"id": owner.id, "name": owner.name, "email": owner.email} if owner else None


def _deal(deal: Deal) -> dict[str, Any]:
    amount = deal.amount if deal.amount is None or deal.amount.is_finite() else None  # NaN is no JSON
    return {"id": deal.id, "name": deal.name, "stage": deal.stage, "amount": _plain(amount), "currency": deal.currency}


def _plain(amount: Decimal | None) -> Decimal | int | None:
    """1200.00 as 1200: the CRMs' trailing zeros mean nothing."""
    return int(amount) if amount is not None and amount == amount.to_integral_value() else amount


def _ticket(ticket: Ticket) -> dict[str, Any]:
    return {"id": ticket.id, "subject": ticket.subject, "stage": ticket.stage, "priority": ticket.priority}


def _activity(activity: Activity) -> dict[str, Any]:
    return {"kind": activity.kind, "at": activity.at, "subject": activity.subject}


def _newest(activity: Activity) -> float:
    return -activity.at.timestamp()


def _text(at: datetime) -> str:
    """RFC 3339 to the second, UTC: "2026-11-21T09:30:00Z"."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
