"""A run of writes as composite requests. Pure.

One composite request carries up to 25 writes, each kept or refused for itself (`allOrNone` false), so one bad value costs
nobody else; what points at a refused one is halted by Salesforce. Apart go: a note, whose links must not fail without it
(all or none), and a second change of one record, which must not overtake a first that could not be made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from connectors.crm.port import Stick
from connectors.crm.records import (
    AddNote,
    AddToList,
    AssignOwner,
    CreateDeal,
    CreateTicket,
    Earlier,
    Kind,
    Link,
    MoveStage,
    OptOut,
    Ref,
    SetFields,
    UpsertContact,
    Write,
)
from connectors.crm.salesforce import wire_writes as writes
from connectors.crm.salesforce.wire import SUBREQUESTS, TYPES, Part, Row, composite, value
from connectors.crm.salesforce.wire_writes import Anchors, Dated, Making, Place, Ways
from connectors.errors import Rejected
from connectors.request import Request

Changing = SetFields | AssignOwner | MoveStage | OptOut | AddToList


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What must be known before a write can be put into words.

    about    its links, target first; references for what the same request makes.
    current  the person it fills in, as read; None: there is none, so one is made.
    place    pipeline and stage of a deal or ticket.
    account  the company of the person a deal or ticket is about.
    list     id of the campaign.
    opt_out  the fields that say no, as far as the connected user may write them.
    """

    ways: Ways
    about: Anchors = ()
    current: Row | None = None
    place: Place | None = None
    account: str | None = None
    list: str = ""
    opt_out: Sequence[str] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One write as subrequests: the first makes or changes its record. None at all: there is nothing to change.

    kind, id  of the record it leaves or changes; id None: the answer says it. kind None: it leaves none.
    """

    index: int
    write: Write
    parts: tuple[Part, ...]
    kind: Kind | None
    id: str | None = None


def ref(index: int) -> str:
    return f"w{index}"


def made_by(index: int) -> str:
    """A reference to the id of the record that the write at `index` makes in the same request."""
    return f"@{{{ref(index)}.id}}"


def parts(run: Sequence[Write]) -> list[list[int]]:
    """The run cut into what goes out together, as indexes, in order."""
    cut: list[list[int]] = []
    changed: set[Link] = set()
    for index, write in enumerate(run):
        target = write.target if isinstance(write, UpsertContact | Changing) else None
        alone = isinstance(write, AddNote) or (isinstance(write, UpsertContact) and isinstance(target, Earlier))
        full = bool(cut) and len(cut[-1]) >= SUBREQUESTS
        if (
            not cut
            or alone
            or full
            or (target is not None and target in changed)
            or (cut[-1] and isinstance(run[cut[-1][0]], AddNote))
        ):
            cut.append([])
            changed = set()
        cut[-1].append(index)
        if target is not None:
            changed.add(target)
    return cut


def plan(index: int, write: Write, stick: Stick, known: Known) -> Plan:
    """Raises `Rejected` and `Unsupported` for what Salesforce has no place for."""
    match write:
        case UpsertContact():
            return _person(index, write, stick, known)
        case SetFields():
            return _change(index, write, known, writes.typed(_of(known), write.fields, known.ways))
        case AssignOwner():
            if not write.owner:
                raise Rejected("no owner was named", field="OwnerId")
            return _change(index, write, known, writes.typed(_of(known), write.fields, known.ways))
        case MoveStage():
            stage = known.place.stage if known.place else write.stage
            pipeline = known.place.pipeline if known.place and write.pipeline else ""  # unnamed: the one it is in
            placed = writes.placing(_target(known)[0], Place(pipeline, stage))
            return _change(index, write, known, {**writes.typed(_of(known), write.fields, known.ways), **placed})
        case OptOut():
            if not known.opt_out:
                reason = "this org shows the connected user neither “Email Opt Out” nor “Do Not Call”"
                raise Rejected(reason, field="HasOptedOutOfEmail")
            return _change(index, write, known, dict.fromkeys(known.opt_out, True), leaves=False)
        case AddToList():
            kind, id = _target(known)
            making = writes.membership(known.list, (kind, id))
            return Plan(index=index, write=write, parts=(_post(ref(index), making),), kind=kind, id=id)
        case AddNote():
            making = writes.create(write, stick, known.ways, known.about)
            links = [writes.note_link(made_by(index), id) for _, id in dict.fromkeys(known.about)]
            linked = tuple(_post(f"{ref(index)}l{at}", link) for at, link in enumerate(links))
            return Plan(index=index, write=write, parts=(_post(ref(index), making), *linked), kind=Kind.NOTE)
        case _:
            return _dated(index, write, stick, known)


def _dated(index: int, write: Dated, stick: Stick, known: Known) -> Plan:
    place = known.place if isinstance(write, CreateDeal | CreateTicket) else None
    making = writes.create(write, stick, known.ways, known.about, place=place, account=known.account)
    return Plan(index=index, write=write, parts=(_post(ref(index), making),), kind=writes.KINDS[type(write)])


def _person(index: int, write: UpsertContact, stick: Stick, known: Known) -> Plan:
    if known.current is None:
        making = writes.create_person(write, stick, known.ways)
        return Plan(index=index, write=write, parts=(_post(ref(index), making),), kind=write.kind)
    kind, id = _target(known)
    of = TYPES[kind]
    changes = writes.person_changes(of, write, known.current, stick, known.ways)
    changed = (_patch(ref(index), writes.changing(of, changes), id),) if changes else ()
    return Plan(index=index, write=write, parts=changed, kind=kind, id=id)


def _change(index: int, write: Changing, known: Known, fields: Mapping[str, Any], *, leaves: bool = True) -> Plan:
    kind, id = _target(known)
    owned = {"OwnerId": write.owner} if write.owner else {}
    making = writes.changing(TYPES[kind], {**fields, **owned})
    changed = (_patch(ref(index), making, id),) if making.fields else ()
    return Plan(index=index, write=write, parts=changed, kind=kind if leaves else None, id=id)


def request(plans: Sequence[Plan]) -> Request | None:
    """All of them in one; None if nothing is left to do. One note is all or none."""
    together = [part for one in plans for part in one.parts]
    if not together:
        return None
    return composite(together, all_or_none=any(isinstance(one.write, AddNote) for one in plans), writes=True)


def person_of(row: Row) -> tuple[Kind, str]:
    return kind_of_id(value(row, "Id")) or Kind.CONTACT, value(row, "Id")


_PREFIXES = {"003": Kind.CONTACT, "00Q": Kind.LEAD, "001": Kind.COMPANY}


def kind_of_id(id: str) -> Kind | None:
    """Ids of standard objects begin with three characters that say which."""
    return _PREFIXES.get(id[:3])


def refs_of(write: Write) -> list[Ref]:
    """The people and companies it points at by id: those may have been merged or converted."""
    links = [write.target] if isinstance(write, UpsertContact | Changing) else list(write.about)
    return [link for link in links if isinstance(link, Ref) and link.kind in (Kind.CONTACT, Kind.LEAD, Kind.COMPANY)]


def repointed(write: Write, moved: Mapping[Ref, Ref]) -> Write:
    """The same about whoever they have become."""

    def now(link: Link) -> Link:
        return moved.get(link, link) if isinstance(link, Ref) else link

    if isinstance(write, UpsertContact):
        return write if write.target is None else msgspec.structs.replace(write, target=now(write.target))
    if isinstance(write, Changing):
        return msgspec.structs.replace(write, target=now(write.target))
    return msgspec.structs.replace(write, about=tuple(now(link) for link in write.about))


def _target(known: Known) -> tuple[Kind, str]:
    return known.about[0]


def _of(known: Known) -> str:
    return TYPES[_target(known)[0]]


def _post(name: str, making: Making) -> Part:
    return Part(ref=name, method="POST", url=f"sobjects/{making.of}", body=making.fields, headers=making.headers)


def _patch(name: str, making: Making, id: str) -> Part:
    url = f"sobjects/{making.of}/{id}"
    return Part(ref=name, method="PATCH", url=url, body=making.fields, headers=making.headers)
