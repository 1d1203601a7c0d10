"""What the demo prints, 80 columns wide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from gateway.demo.people import hanging_on, person_of
from gateway.demo.stage import DemoFailed, Scene


def act(scene: Scene, number: int, title: str) -> None:
    scene.say.print(Text(f"{number}. {title}", style="bold"))


def rows(scene: Scene, call: Mapping[str, Any]) -> None:
    table = Table(title="What was decided, and why", width=80, title_justify="left")
    table.add_column("rule")
    table.add_column("fired", justify="center")
    table.add_column("because", ratio=1)
    for rule in call["decision"]["rules"]:
        table.add_row(rule["name"], "yes" if rule["matched"] else "no", Text(_cut(rule["because"], 90)))
    scene.say.print(table)
    outbox(scene, [call], "What was promised, and kept")


def outbox(scene: Scene, calls: Sequence[Mapping[str, Any]], title: str) -> None:
    table = Table(title=title, width=80, title_justify="left")
    for name in ("call", "action", "state", "record", "tries"):
        table.add_column(name)
    for call in calls:
        for one in sorted(call["deliveries"], key=_arrival):
            record = f"{one['record']['kind']} {one['record']['id']}" if one["record"] else ""
            table.add_row(
                call["call_id"],
                one["action"],
                Text(one["state"], style=_style(one["state"])),
                record,
                str(len(one["attempts"])),
            )
    scene.say.print(table)


def _arrival(delivery: Mapping[str, Any]) -> tuple[bool, str, bool]:
    """In the order in which the CRM was asked; what was not asked for yet comes last. The person is first of a request."""
    attempts = delivery["attempts"]
    asked = attempts[-1]["at"] if attempts else ""
    return (not attempts, asked, delivery["action"] != "upsert_contact")


def _style(state: str) -> str:
    return {"delivered": "green", "dead": "red", "uncertain": "red", "held": "red"}.get(state, "yellow")


def crm_tables(scene: Scene, caller: str, before: Mapping[str, int]) -> None:
    person = person_of(scene.crm, caller)
    if person is None:
        raise DemoFailed("the caller is not in the CRM after the call")
    table = Table(title=f"The CRM's own records of {person.name or caller}", width=80, title_justify="left")
    for column in ("", "before", "after", "newest"):
        table.add_column(column)
    after = {kind: hanging_on(scene.crm, person, kind) for kind in before}
    for kind, count in before.items():
        newest = after[kind][-1].title if after[kind] else ""
        table.add_row(f"{kind}s", str(count), str(len(after[kind])), Text(_cut(newest, 44)))
    scene.say.print(table)
    scene.say.print()
    if len(after["call"]) != before["call"] + 1:
        raise DemoFailed("the call is not in the CRM exactly once")


def addresses(scene: Scene, link: str, *, once: bool) -> None:
    """Each address on a line of its own, whole however narrow the terminal: it is there to be copied."""
    addresses = {"The API and its documentation": f"{scene.origin}/docs"}
    if not once:
        addresses |= {
            "The pages, by a link that opens once, within ten minutes": scene.origin + link,
            "What the CRM was asked": f"{scene.ground.outage.origin}/_sandbox/log",
            "An API key of this tenant": scene.ground.key,
        }
    scene.say.print(Text("It all went as told.", style="bold"))
    for what, address in addresses.items():
        scene.say.print(f"  {what}:")
        scene.say.print(Text(address), soft_wrap=True)
    if once:
        scene.say.print("Nothing is served any more; without --once it stays until Ctrl-C.")
    else:
        scene.say.print("Still serving; Ctrl-C ends it, and everything it made goes with it.")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def short(url: str) -> str:
    """An address with its key cut: it is as good as a password."""
    head, _, key = url.rpartition("/")
    return f"{head}/{key[:6]}…"
