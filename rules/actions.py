"""What a rule may ask for, and the data each action takes.

The names are the gateway's own; a connection's mapping turns them into a CRM's fields. What a caller said may fill
texts that a person reads. It never chooses who gets something, where it goes or what it is (`takes_speech`), and that
is refused when the rule is saved: an expression is known by the facts it reads.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from rules import values
from rules.facts import MISSING, Facts
from rules.problems import Problem, did_you_mean
from rules.shapes import Shape, Unfit, fit

MAX_FIELDS: Final = 50
PRIORITIES: Final = ("low", "normal", "high")
_FIELD_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,79}")
# Fields of any CRM that say whose, where or what a record is end in these, in one spelling or another.
_STEERING: Final = (
    *(
        "owner",
        "ownerid",
        "owneremail",
        "stage",
        "stageid",
        "stagename",
        "status",
        "statusid",
        "pipeline",
        "pipelineid",
    ),
    *("kind", "type", "typeid", "priority", "optout", "optin", "hasoptedoutofemail", "donotcall"),
)


@dataclass(frozen=True, slots=True)
class Datum:
    """One name in an action's `with`.

    takes_speech  words out of a call may stand here.
    """

    shape: Shape
    meaning: str
    required: bool = False
    takes_speech: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ability:
    """One action of the catalogue."""

    do: str
    meaning: str
    data: Mapping[str, Datum] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepared:
    """An action's data, rendered: JSON, ready to be stored.

    notes   what is not in it and why, as sentences.
    speech  names whose text came, wholly or partly, out of the call ("From the call, not checked").
    lacks   required names that could not be filled; the action is of no use then.
    """

    data: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    speech: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


def _line(meaning: str, *, required: bool = False) -> Datum:
    return Datum(Shape.LINE, meaning, required=required, takes_speech=True)


def _body(meaning: str, *, required: bool = False) -> Datum:
    return Datum(Shape.BODY, meaning, required=required, takes_speech=True)


_OWNER: Final = Datum(Shape.EMAIL, "the colleague, by e-mail address")

CATALOGUE: Final[Mapping[str, Ability]] = {
    ability.do: ability
    for ability in (
        Ability(
            "log_call",
            "Enter the call in the CRM as an activity of the caller.",
            {"subject": _line("its title"), "body": _body("what was said")},
        ),
        Ability(
            "upsert_contact",
            "Create the caller's record, or fill in what it lacks.",
            {
                "first_name": _line("first name"),
                "last_name": _line("last name"),
                "email": Datum(Shape.EMAIL, "e-mail address of the caller", takes_speech=True),
                "company": _line("name of their company"),
            },
        ),
        Ability(
            "create_task",
            "Give somebody something to do.",
            {
                "subject": _line("what to do", required=True),
                "body": _body("all they need to know"),
                "due": Datum(Shape.DUE, 'by when: a day, a time, or "+2 days"', takes_speech=True),
                "owner": _OWNER,
                "priority": Datum(Shape.CHOICE, "how urgent it is", takes_speech=True, choices=PRIORITIES),
                "type": Datum(Shape.CHOICE, "how it is done", takes_speech=True, choices=("call", "email", "todo")),
            },
        ),
        Ability(
            "create_deal",
            "Open a deal for the caller.",
            {
                "name": _line("its title", required=True),
                "body": _body("what it is about"),
                "amount": Datum(Shape.AMOUNT, "what it may be worth", takes_speech=True),
                "currency": Datum(Shape.CURRENCY, "of the amount, such as CHF"),
                "stage": Datum(Shape.NAME, "stage of the pipeline, by label or id"),
                "pipeline": Datum(Shape.NAME, "pipeline, by label or id"),
                "closes": Datum(Shape.DUE, "when it is expected to close", takes_speech=True),
            },
        ),
        Ability(
            "create_ticket",
            "Open a ticket, or case, for the caller.",
            {
                "subject": _line("its title", required=True),
                "body": _body("what happened"),
                "priority": Datum(Shape.CHOICE, "how urgent it is", takes_speech=True, choices=(*PRIORITIES, "urgent")),
                "stage": Datum(Shape.NAME, "stage of the pipeline, by label or id"),
                "pipeline": Datum(Shape.NAME, "pipeline, by label or id"),
            },
        ),
        Ability(
            "add_note", "Add a note to the caller's record.", {"body": _body("the text of the note", required=True)}
        ),
        Ability(
            "assign_owner",
            "Make a colleague the owner of the caller's record.",
            {"email": Datum(Shape.EMAIL, "the colleague, by e-mail address", required=True)},
        ),
        Ability("opt_out", "No more marketing to this person."),
        Ability(
            "set_fields",
            "Set fields of the caller's record, by the CRM's own names.",
            {"fields": Datum(Shape.FIELDS, "field names and their values", required=True, takes_speech=True)},
        ),
    )
}


def check(do: str, data: Mapping[str, object], *, max_amount: float) -> list[Problem]:
    """What is wrong with an action, its `with` completed from the rule's. Paths start at the action."""
    ability = CATALOGUE.get(do)
    if ability is None:
        return [Problem("do", f'There is no action "{do}".{did_you_mean(do, CATALOGUE)}')]
    problems = [
        Problem(f"with.{name}", f"{do} takes no {name}.{did_you_mean(name, ability.data)}")
        for name in data
        if name not in ability.data
    ]
    for name, datum in ability.data.items():
        if name in data:
            problems += _check_datum(f"with.{name}", datum, data[name], max_amount)
        elif datum.required:
            problems.append(Problem("with", f"{do} needs {name}: {datum.meaning}."))
    return problems


def prepare(do: str, data: Mapping[str, object], facts: Facts, *, max_amount: float) -> Prepared:
    """Render an action that passed `check`. What cannot be rendered is left out and noted; nothing is raised."""
    today = facts.local.date
    ready: dict[str, Any] = {}
    notes: list[str] = []
    speech: list[str] = []
    for name, datum in CATALOGUE[do].data.items():
        for inner, raw in _entries(datum, name, data):
            value = values.read(raw)
            if isinstance(value, tuple):  # checked under an older schema
                notes.append(f"{inner}: {value[0].text}")
                continue
            rendered = values.render(value, facts)
            notes += [f"{inner}: {note}." for note in rendered.notes]
            if rendered.value is MISSING or (rendered.notes and rendered.value == ""):
                continue
            try:
                fitted = fit(rendered.value, datum.shape, choices=datum.choices, today=today, max_amount=max_amount)
            except Unfit as unfit:
                notes.append(f"{inner} is left out: {unfit}.")
                continue
            if fitted == "" and not isinstance(value, values.Literal):
                continue  # an empty text would wipe what the CRM has
            if datum.shape is Shape.FIELDS:
                ready.setdefault(name, {})[inner.removeprefix(f"{name}.")] = fitted
            else:
                ready[name] = fitted
            if values.spoken(value):
                speech.append(inner)
    lacks = tuple(name for name, datum in CATALOGUE[do].data.items() if datum.required and not ready.get(name))
    return Prepared(ready, tuple(notes), tuple(speech), lacks)


def _entries(datum: Datum, name: str, data: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """The raw values behind one name: one, or each of a `fields` map under its dotted name."""
    if name not in data:
        return
    raw = data[name]
    if datum.shape is Shape.FIELDS and isinstance(raw, Mapping):
        yield from ((f"{name}.{inner}", value) for inner, value in raw.items())
    else:
        yield name, raw


def _check_datum(path: str, datum: Datum, raw: object, max_amount: float) -> list[Problem]:
    if datum.shape is not Shape.FIELDS:
        return _check_value(path, datum, raw, max_amount, takes_speech=datum.takes_speech)
    if not isinstance(raw, Mapping) or not 0 < len(raw) <= MAX_FIELDS:
        return [Problem(path, f"This takes 1 to {MAX_FIELDS} field names with their values.")]
    problems = []
    for name, value in raw.items():
        if not isinstance(name, str) or not _FIELD_NAME.fullmatch(name):
            problems.append(Problem(path, f'"{str(name)[:80]}" is no field name: letters, digits, _ and . only.'))
            continue
        problems += _check_value(f"{path}.{name}", datum, value, max_amount, takes_speech=not _steers(name))
    return problems


def _steers(name: str) -> bool:
    """Whether a field decides whose, where or what a record is: `hubspot_owner_id`, `StageName`, `Type__c`."""
    return re.sub("[^a-z]", "", name.lower().removesuffix("__c")).endswith(_STEERING)


def _check_value(path: str, datum: Datum, raw: object, max_amount: float, *, takes_speech: bool) -> list[Problem]:
    value = values.read(raw)
    if isinstance(value, tuple):
        return [problem.under(path) for problem in value]
    said = values.spoken(value)
    if said and not takes_speech:
        reason = f"Words spoken in a call ({', '.join(said)}) may not choose this."
        return [Problem(path, f"{reason} Write it out, or take it from the caller's record.")]
    if isinstance(value, values.Literal):
        try:
            fit(value.value, datum.shape, choices=datum.choices, today=date(2026, 1, 1), max_amount=max_amount)
        except Unfit as unfit:
            hint = did_you_mean(str(value.value), datum.choices)
            return [Problem(path, f"This does not fit: {unfit}.{hint}")]
    return []
