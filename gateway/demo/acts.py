"""`gateway demo`: the main job on one command. A real CRM sandbox, a real sign-in, real webhooks, an outage; all on this machine.

Everything goes through the product's own doors: pages, API, voice endpoint. Only the tenant itself is made by hand.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from connectors.crm.catalog import CATALOG
from gateway.demo.browser import NoWayBack, sign_in
from gateway.demo.callers import STORIES, Story, end_report, vapi_message
from gateway.demo.people import KINDS, held, person_of, somebody, spelling
from gateway.demo.shown import act, addresses, crm_tables, outbox, rows, short
from gateway.demo.stage import TENANT, DemoFailed, Scene, console_link, grounded, staged, until

ENDED = {"delivered", "dead", "cancelled", "uncertain", "held"}


async def run(*, crm: str, story: str, once: bool, console: Console | None = None) -> None:
    """Tell one story; then keep serving, unless `once`. Raises `DemoFailed` when it does not go as told."""
    async with grounded(crm) as ground, staged(ground, console or Console(highlight=False)) as scene:
        await _tell(scene, STORIES[story])
        link = await console_link(ground.settings, ground.tenant_id)
        addresses(scene, link, once=once)
        if not once:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()


async def _tell(scene: Scene, story: Story) -> None:
    say = scene.say
    say.print(
        Panel(
            Text(f"{TENANT} answers the phone with a voice agent. Today: {story.title}."),
            title="gateway demo",
            width=80,
        )
    )
    await connect(scene)
    await endpoint(scene)
    caller = somebody(scene.crm) if story.known else "+41445550199"
    before = held(scene.crm, caller)
    await _ring(scene, caller, known=story.known)
    call = await _end(scene, story, caller)
    shown = await until_done(scene, [call])
    rows(scene, shown[0])
    crm_tables(scene, caller, before)
    await _down_and_up(scene)


async def connect(scene: Scene) -> None:
    """Walk the sign-in as a person would: our Approve page, the CRM's consent page, back to us."""
    act(scene, 1, f"Connecting {CATALOG[scene.ground.provider].manifest.name} by OAuth, as a person would")
    started = await scene.api("POST", "/v1/connections", {"provider": scene.ground.provider})
    try:
        told = await sign_in(scene.client, started["authorize_url"], ours=scene.origin)
    except NoWayBack as lost:
        raise DemoFailed(str(lost)) from None
    connections = (await scene.api("GET", "/v1/connections"))["items"]
    if len(connections) != 1:
        raise DemoFailed(f"the sign-in ended without a connection: {told}")
    (connection,) = connections
    scene.say.print(
        f"  {connection['account']['name']} is connected: {connection['state']}, {len(connection['scopes'])} scopes\n"
    )


async def endpoint(scene: Scene) -> None:
    act(scene, 2, "One address and one secret for Vapi")
    fallback = {"assistantId": "5b0a4a08-0000-4000-8000-000000000000"}
    made = await scene.api("POST", "/v1/endpoints", {"platform": "vapi", "name": "front desk", "fallback": fallback})
    scene.endpoint, scene.secret = made["url"], made["secret"]
    scene.say.print(f"  {short(scene.endpoint)}\n")


async def _ring(scene: Scene, caller: str, *, known: bool) -> None:
    """The phone rings twice: the first ask is cold, the second warm."""
    act(scene, 3, f"The phone rings: {caller}")
    person = person_of(scene.crm, caller)
    scene.say.print(f"  in the CRM: {spelling(person, caller) if person else 'nobody has this number'}")
    scene.calls += 1
    message = vapi_message("assistant-request", caller, f"demo-{scene.calls}", status="ringing")
    for name in ("cold", "warm"):
        answer, took = await scene.vapi(message)
        variables = answer["assistantOverrides"]["variableValues"]
        who = " ".join(filter(None, (variables.get("salutation"), variables.get("customer_name")))) or "nobody we know"
        scene.say.print(f"  {name}: {who}, answered in {took:.1f} ms as Vapi wants it")
        if name == "cold":
            await asyncio.sleep(0)
    if known and variables.get("customer_known") != "true":
        answer, _ = await _again_until_known(scene, message)
        scene.say.print("  (the first answers were `pending`: the CRM was slow, the agent was not kept waiting)")
    scene.say.print()


async def _again_until_known(scene: Scene, message: Mapping[str, Any]) -> tuple[Any, float]:
    async def ask() -> tuple[Any, float] | None:
        answer, took = await scene.vapi(message)
        known = answer["assistantOverrides"]["variableValues"].get("customer_known") == "true"
        return (answer, took) if known else None

    return await until("the caller is known", ask)


async def _end(scene: Scene, story: Story, caller: str) -> str:
    """The call ends; Vapi posts its report. Its id."""
    call_id = f"demo-{scene.calls}"
    act(scene, 4, "The call ends; Vapi posts its end-of-call-report")
    _, took = await scene.vapi(end_report(story, caller, call_id))
    scene.say.print(f"  stored and answered in {took:.1f} ms; what follows happens behind it\n")
    return call_id


async def _down_and_up(scene: Scene) -> None:
    act(scene, 5, "The CRM goes down; three more calls end")
    people = [somebody(scene.crm, skip=n) for n in (1, 2)] + ["+41445550142"]
    before = _totals(scene)
    scene.ground.outage.begin()
    calls = []
    for caller, name in zip(people, ("lead", "callback", "newcomer"), strict=True):
        scene.calls += 1
        calls.append(await _report_only(scene, STORIES[name], caller))
    planned = await _until_tried_in_vain(scene, calls)
    outbox(scene, planned, "The outbox while the CRM is down")
    await scene.ground.outage.end()
    scene.say.print("  The CRM is back.\n")
    done = await until_done(scene, calls)
    outbox(scene, done, "The outbox after it came back")
    promised = sum(len(call["deliveries"]) for call in done)
    _count(scene, before, done, promised)


async def _report_only(scene: Scene, story: Story, caller: str) -> str:
    call_id = f"demo-{scene.calls}"
    await scene.vapi(end_report(story, caller, call_id))
    return call_id


def _count(scene: Scene, before: Mapping[str, int], done: Sequence[Mapping[str, Any]], promised: int) -> None:
    """Ask the CRM, not ourselves, whether everything arrived once, and with the person it is about."""
    made = {"upsert_contact": "contact", "log_call": "call", "create_task": "task", "create_deal": "deal"}
    ids = [(one["record"]["kind"], one["record"]["id"]) for call in done for one in call["deliveries"] if one["record"]]
    items = {kind: {item.id: item for item in scene.crm.items(kind)} for kind in KINDS}
    linked = 0
    for kind, record_id in ids:
        if kind in items and not (record_id in items[kind] and items[kind][record_id].people):
            raise DemoFailed(f"{kind} {record_id} is not linked to the caller")
        linked += kind in items
    grown = {kind: count - before[kind] for kind, count in _totals(scene).items()}
    expected = {
        kind: sum(one["action"] == action for call in done for one in call["deliveries"])
        for action, kind in made.items()
    }
    expected["contact"] = 1  # two of the three callers were in the CRM already
    if len(ids) != promised or grown != expected:
        raise DemoFailed(f"promised {promised}, found {len(ids)}; the CRM grew by {grown}, expected {expected}")
    more = ", ".join(f"{count} {kind if count == 1 else kind + 's'}" for kind, count in grown.items())
    scene.say.print(f"  [bold]{promised} promised, {len(ids)} arrived, each once[/]; {linked} linked to their caller.")
    scene.say.print(f"  The CRM has {more} more than before.\n")


def _totals(scene: Scene) -> dict[str, int]:
    return {"contact": len(scene.crm.people()), **{kind: len(scene.crm.items(kind)) for kind in KINDS}}


async def _until_tried_in_vain(scene: Scene, calls: Sequence[str]) -> list[Any]:
    """All planned, and the CRM asked at least once; it is soon left alone, so not for each of them."""

    async def look() -> list[Any] | None:
        shown = await _shown(scene, calls)
        planned = all(call["deliveries"] for call in shown)
        tried = any(one["attempts"] for call in shown for one in call["deliveries"])
        return shown if planned and tried else None

    return await until("the calls are planned and the CRM was asked", look)


async def until_done(scene: Scene, calls: Sequence[str]) -> list[Any]:
    done = await _all(
        scene,
        calls,
        "everything is delivered",
        lambda call: call["deliveries"] and all(one["state"] in ENDED for one in call["deliveries"]),
    )
    for call in done:
        for one in call["deliveries"]:
            if one["state"] != "delivered":
                raise DemoFailed(f"{one['action']} ended as {one['state']}: {one['reason']}")
    return done


async def _all(scene: Scene, calls: Sequence[str], what: str, good: Callable[[Any], Any]) -> list[Any]:
    async def look() -> list[Any] | None:
        shown = await _shown(scene, calls)
        return shown if all(good(one) for one in shown) else None

    return await until(what, look)


async def _shown(scene: Scene, calls: Sequence[str]) -> list[Any]:
    return [await scene.api("GET", f"/v1/calls/{call}") for call in calls]
