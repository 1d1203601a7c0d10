"""HubSpot's kinds of objects and how they may be associated: data, from vendors' facts.

Association type ids: HubSpot's "Associations" guide and association type table, as collected in 2026-11; the numbers are
HUBSPOT_DEFINED and the same in every portal. Odd and even neighbours are the two directions of one association.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class ObjectType(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of object. `shown` are the properties an answer carries when none are asked for."""

    name: str  # singular, as in association names
    plural: str
    id: str
    stamp: str  # the property with the time of the last change
    born: str  # … and of the creation
    shown: tuple[str, ...]
    read: tuple[str, ...]  # scopes, any of them
    write: tuple[str, ...]
    required: tuple[str, ...] = ()
    activity: bool = False


_CONTACTS = ("crm.objects.contacts.read",), ("crm.objects.contacts.write",)
_TICKETS = ("tickets", "crm.objects.tickets.read"), ("tickets", "crm.objects.tickets.write")


def _object(name: str, plural: str, id: str, shown: str, scopes: tuple[tuple[str, ...], tuple[str, ...]]) -> ObjectType:
    stamp = "lastmodifieddate" if name == "contact" else "hs_lastmodifieddate"
    names = ("createdate", "hs_object_id", stamp, *shown.split())
    required = ("hs_pipeline_stage",) if name == "ticket" else ()
    return ObjectType(
        name=name,
        plural=plural,
        id=id,
        stamp=stamp,
        born="createdate",
        shown=names,
        read=scopes[0],
        write=scopes[1],
        required=required,
    )


def _activity(name: str, plural: str, id: str) -> ObjectType:
    """Calls, tasks, notes, meetings: governed by the contacts' scopes; there are none of their own."""
    return ObjectType(
        name=name,
        plural=plural,
        id=id,
        stamp="hs_lastmodifieddate",
        born="hs_createdate",
        shown=("hs_createdate", "hs_lastmodifieddate", "hs_object_id"),
        read=_CONTACTS[0],
        write=_CONTACTS[1],
        required=("hs_timestamp",),
        activity=True,
    )


TYPES: tuple[ObjectType, ...] = (
    _object("contact", "contacts", "0-1", "email firstname lastname", _CONTACTS),
    _object(
        "company",
        "companies",
        "0-2",
        "domain name",
        (("crm.objects.companies.read",), ("crm.objects.companies.write",)),
    ),
    _object(
        "deal",
        "deals",
        "0-3",
        "amount closedate dealname dealstage pipeline",
        (("crm.objects.deals.read",), ("crm.objects.deals.write",)),
    ),
    _object(
        "ticket",
        "tickets",
        "0-5",
        "content hs_pipeline hs_pipeline_stage hs_ticket_category hs_ticket_priority subject",
        _TICKETS,
    ),
    _activity("call", "calls", "0-48"),
    _activity("task", "tasks", "0-27"),
    _activity("note", "notes", "0-46"),
    _activity("meeting", "meetings", "0-47"),
)

# Paths name a type as "contacts", "contact", "CONTACT", "Contact" or "0-1".
BY_SEGMENT: Mapping[str, ObjectType] = {
    segment: kind for kind in TYPES for segment in (kind.name, kind.plural, kind.id)
}


class AssociationType(msgspec.Struct, frozen=True, kw_only=True):
    """One direction of one association."""

    id: int
    source: str
    target: str
    label: str | None
    name: str  # as in v3 answers: "contact_to_company_unlabeled"
    inverse: int
    default: bool  # what an untyped association gets


def _pairs() -> dict[int, AssociationType]:
    table: list[tuple[str, str, int, int, str | None]] = [
        ("contact", "company", 279, 280, None),
        ("contact", "company", 1, 2, "Primary"),
        ("deal", "contact", 3, 4, None),
        ("deal", "company", 341, 342, None),
        ("deal", "company", 5, 6, "Primary"),
        ("contact", "ticket", 15, 16, None),
        ("ticket", "company", 339, 340, None),
        ("ticket", "company", 26, 25, "Primary"),
        ("deal", "ticket", 27, 28, None),
        ("contact", "contact", 449, 449, None),
        ("company", "company", 450, 450, None),
        ("deal", "deal", 451, 451, None),
        ("ticket", "ticket", 452, 452, None),
        ("company", "call", 181, 182, None),
        ("contact", "call", 193, 194, None),
        ("deal", "call", 205, 206, None),
        ("ticket", "call", 219, 220, None),
        ("company", "meeting", 187, 188, None),
        ("contact", "meeting", 199, 200, None),
        ("deal", "meeting", 211, 212, None),
        ("ticket", "meeting", 225, 226, None),
        ("company", "note", 189, 190, None),
        ("contact", "note", 201, 202, None),
        ("deal", "note", 213, 214, None),
        ("ticket", "note", 227, 228, None),
        ("company", "task", 191, 192, None),
        ("contact", "task", 203, 204, None),
        ("deal", "task", 215, 216, None),
        ("ticket", "task", 229, 230, None),
    ]
    types: dict[int, AssociationType] = {}
    twins = {(a, b) for a, b, _, _, label in table if label}
    for a, b, forward, backward, label in table:
        for id, source, target, inverse in ((forward, a, b, backward), (backward, b, a, forward)):
            unlabelled = label is None and ((a, b) in twins)
            types[id] = AssociationType(
                id=id,
                source=source,
                target=target,
                label=label,
                name=f"{source}_to_{target}{'_unlabeled' if unlabelled else ''}",
                inverse=inverse,
                default=label is None,
            )
    return types


ASSOCIATIONS: Mapping[int, AssociationType] = _pairs()
DEFAULTS: Mapping[tuple[str, str], AssociationType] = {
    (kind.source, kind.target): kind for kind in ASSOCIATIONS.values() if kind.default
}
PRIMARIES: Mapping[tuple[str, str], AssociationType] = {
    (kind.source, kind.target): kind for kind in ASSOCIATIONS.values() if kind.label == "Primary"
}


def between(source: str, target: str) -> list[AssociationType]:
    """All types from one kind to another, the labelled first, as HubSpot lists them."""
    found = [kind for kind in ASSOCIATIONS.values() if (kind.source, kind.target) == (source, target)]
    return sorted(found, key=lambda kind: (kind.label is None, kind.id))
