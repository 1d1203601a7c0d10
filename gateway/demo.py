"""`gateway demo`: the main job on one command. A real CRM sandbox, a real sign-in, real webhooks, an outage; all on this machine.

Everything goes through the product's own doors: pages, API, voice endpoint. Only the tenant itself is made by hand.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import uvicorn
from pydantic import SecretStr
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from connectors import phone
from connectors.crm.catalog import CATALOG
from connectors.http import make_client
from connectors.sandbox.serve import PROVIDERS, bind, running
from connectors.sandbox.store import Crm, Entry
from gateway import logs, schema
from gateway.app import create_app
from gateway.connections.providers import Providers
from gateway.db.base import TenantId
from gateway.db.engine import Database, utc_now
from gateway.parts import parts
from gateway.settings import App, Settings
from gateway.tenants import api_keys
from gateway.tenants import queries as tenant_queries
from gateway.tenants.keys import Keyring, check_keks, load_keks
from gateway.tenants.principal import SCOPES
from gateway.tenants.sessions import make_console_link

T = TypeVar("T")
HUB = 62515  # the sandbox's filled portal
TENANT = "Helvetia Muster SA"
PATIENCE = timedelta(seconds=90)
ENDED = {"delivered", "dead", "cancelled", "uncertain", "held"}


class DemoFailed(Exception):
    """The story did not go as told; the text says where."""


@dataclass(frozen=True)
class Story:
    """What one caller says. `analysis`: the voice platform's structured data about the call."""

    title: str
    known: bool
    summary: str
    lines: tuple[tuple[str, str], ...]
    analysis: Mapping[str, Any]


STORIES: Mapping[str, Story] = {
    "lead": Story(
        "a customer wants to buy",
        True,
        "Wants an offer for two heat pumps, delivery in January. Asked to be called back on Monday.",
        (
            ("bot", "Bonjour, comment puis-je vous aider ?"),
            ("user", "Je voudrais une offre pour deux pompes à chaleur."),
        ),
        {
            "intents": ["purchase"],
            "products": ["heat pump"],
            "budget": 24000,
            "promises": [{"what": "call back with an offer", "due": "+MONDAY"}],
        },
    ),
    "newcomer": Story(
        "somebody nobody knows",
        False,
        "First call. Asked for the opening hours and left her name.",
        (("bot", "Grüezi, wie kann ich helfen?"), ("user", "Meier, guten Tag. Wann haben Sie offen?")),
        {"first_name": "Ruth", "last_name": "Meier", "intents": ["information"]},
    ),
    "callback": Story(
        "a call back is promised",
        True,
        "The invoice of October is not clear. Was promised a call back tomorrow.",
        (("bot", "Buongiorno."), ("user", "Non capisco la fattura di ottobre.")),
        {"intents": ["question"], "promises": [{"what": "call back about the invoice", "due": "+MONDAY"}]},
    ),
}


@dataclass
class Scene:
    """The running installation, as the story uses it."""

    say: Console
    origin: str
    crm: Crm
    client: httpx2.AsyncClient
    key: str
    endpoint: str = ""
    secret: str = field(default="", repr=False)
    calls: int = 0

    @property
    def auth(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    async def api(self, method: str, path: str, body: Any = None) -> Any:
        reply = await self.client.request(method, self.origin + path, json=body, headers=self.auth)
        if reply.status_code >= 400:
            raise DemoFailed(f"{method} {path} answered {reply.status_code}: {reply.text[:200]}")
        return reply.json() if reply.content else None

    async def vapi(self, message: Mapping[str, Any]) -> tuple[Any, float]:
        """Post as Vapi does; its answer and how long it took, in milliseconds."""
        began = time.perf_counter()
        reply = await self.client.post(self.endpoint, json={"message": message}, headers={"x-vapi-secret": self.secret})
        took = (time.perf_counter() - began) * 1000
        if reply.status_code >= 300:
            raise DemoFailed(f"the voice endpoint answered {reply.status_code}: {reply.text[:200]}")
        return (reply.json() if reply.content else None), took


async def run(*, crm: str, story: str, once: bool, console: Console | None = None) -> None:
    """Tell one story; then keep serving, unless `once`. Raises `DemoFailed` when it does not go as told."""
    say = console or Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as folder, bind() as ours:
        origin = f"http://127.0.0.1:{ours.getsockname()[1]}"
        face = PROVIDERS[crm]()
        outage = _Outage(face)
        async with outage:
            providers = _registered(crm, outage.origin)
            settings = Settings(
                database_url=f"sqlite+aiosqlite:///{Path(folder) / 'gateway.db'}",
                redis_url="",
                public_url=origin,
                log_level="ERROR",
            )
            logs.set_up(settings)
            await schema.migrate(settings.database_url)
            tenant_id, key = await _tenant(settings)
            async with _served(settings, providers, ours), make_client() as client:
                portal = face.vendor.portals[HUB]  # type: ignore[attr-defined]
                scene = Scene(say, origin, portal.crm, client, key)
                await _tell(scene, STORIES[story], crm, outage)
                link = await _link(settings, tenant_id)
                _addresses(scene, link, outage.origin, once=once)
                if not once:
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.Event().wait()


async def _tell(scene: Scene, story: Story, crm: str, outage: _Outage) -> None:
    say = scene.say
    say.print(
        Panel(
            Text(f"{TENANT} answers the phone with a voice agent. Today: {story.title}."),
            title="gateway demo",
            width=80,
        )
    )
    await _connect(scene, crm)
    await _endpoint(scene)
    caller = _somebody(scene.crm) if story.known else "+41445550199"
    before = _held(scene.crm, caller)
    await _ring(scene, caller, known=story.known)
    call = await _end(scene, story, caller)
    shown = await _until_done(scene, [call])
    _rows(scene, shown[0])
    _crm_tables(scene, caller, before)
    await _down_and_up(scene, outage)


# ── acts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _connect(scene: Scene, crm: str) -> None:
    """Walk the sign-in as a person would: our Approve page, the CRM's consent page, back to us."""
    _act(scene, 1, f"Connecting {CATALOG[crm].manifest.name} by OAuth, as a person would")
    started = await scene.api("POST", "/v1/connections", {"provider": crm})
    browser = scene.client
    await browser.get(started["authorize_url"])  # the page that says who asks for what
    approved = await browser.post(
        started["authorize_url"], headers={"sec-fetch-site": "same-origin", "origin": scene.origin}
    )
    cookie = {"cookie": approved.headers["set-cookie"].partition(";")[0]}  # what ties the sign-in to this browser
    agreed = await browser.get(f"{approved.headers['location']}&auto=approve&hub_id={HUB}")
    back = await browser.get(agreed.headers["location"], headers=cookie)
    result = await browser.get(scene.origin + back.headers["location"].removeprefix(scene.origin), headers=cookie)
    if result.status_code != 200:
        raise DemoFailed(f"the sign-in ended on a page with status {result.status_code}")
    connections = (await scene.api("GET", "/v1/connections"))["items"]
    if len(connections) != 1:
        told = re.search(r"<h1[^>]*>([^<]+)", result.text)
        raise DemoFailed(f"the sign-in ended without a connection: {told[1].strip() if told else 'no page says why'}")
    (connection,) = connections
    scene.say.print(
        f"  {connection['account']['name']} is connected: {connection['state']}, {len(connection['scopes'])} scopes\n"
    )


async def _endpoint(scene: Scene) -> None:
    _act(scene, 2, "One address and one secret for Vapi")
    fallback = {"assistantId": "5b0a4a08-0000-4000-8000-000000000000"}
    made = await scene.api("POST", "/v1/endpoints", {"platform": "vapi", "name": "front desk", "fallback": fallback})
    scene.endpoint, scene.secret = made["url"], made["secret"]
    scene.say.print(f"  {_short(scene.endpoint)}\n")


async def _ring(scene: Scene, caller: str, *, known: bool) -> None:
    """The phone rings twice: the first ask is cold, the second warm."""
    _act(scene, 3, f"The phone rings: {caller}")
    person = _entry_of(scene.crm, caller)
    scene.say.print(f"  in the CRM: {_spelling(person, caller) if person else 'nobody has this number'}")
    scene.calls += 1
    message = _vapi("assistant-request", caller, f"demo-{scene.calls}", status="ringing")
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

    return await _until("the caller is known", ask)


async def _end(scene: Scene, story: Story, caller: str) -> str:
    """The call ends; Vapi posts its report. Its id."""
    call_id = f"demo-{scene.calls}"
    _act(scene, 4, "The call ends; Vapi posts its end-of-call-report")
    _, took = await scene.vapi(_report(story, caller, call_id))
    scene.say.print(f"  stored and answered in {took:.1f} ms; what follows happens behind it\n")
    return call_id


async def _down_and_up(scene: Scene, outage: _Outage) -> None:
    _act(scene, 5, "The CRM goes down; three more calls end")
    people = [_somebody(scene.crm, skip=n) for n in (1, 2)] + ["+41445550142"]
    before = {kind: sum(1 for _ in scene.crm.all(kind)) for kind in ("contact", "call", "task", "deal")}
    outage.begin()
    calls = []
    for caller, name in zip(people, ("lead", "callback", "newcomer"), strict=True):
        scene.calls += 1
        calls.append(await _report_only(scene, STORIES[name], caller))
    planned = await _until_tried_in_vain(scene, calls)
    _outbox(scene, planned, "The outbox while the CRM is down")
    await outage.end()
    scene.say.print("  The CRM is back.\n")
    done = await _until_done(scene, calls)
    _outbox(scene, done, "The outbox after it came back")
    promised = sum(len(call["deliveries"]) for call in done)
    _count(scene, before, done, promised)


async def _report_only(scene: Scene, story: Story, caller: str) -> str:
    call_id = f"demo-{scene.calls}"
    await scene.vapi(_report(story, caller, call_id))
    return call_id


def _count(scene: Scene, before: Mapping[str, int], done: Sequence[Mapping[str, Any]], promised: int) -> None:
    """Ask the CRM, not ourselves, whether everything arrived once, and with the person it is about."""
    made = {"upsert_contact": "contact", "log_call": "call", "create_task": "task", "create_deal": "deal"}
    ids = [(one["record"]["kind"], one["record"]["id"]) for call in done for one in call["deliveries"] if one["record"]]
    linked = 0
    for kind, record_id in ids:
        if kind != "contact" and not scene.crm.linked(kind, record_id, "contact"):
            raise DemoFailed(f"{kind} {record_id} is not linked to the caller")
        linked += kind != "contact"
    grown = {kind: sum(1 for _ in scene.crm.all(kind)) - count for kind, count in before.items()}
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


# ── what is shown ───────────────────────────────────────────────────────────────────────────────────────────────────


def _act(scene: Scene, number: int, title: str) -> None:
    scene.say.print(Text(f"{number}. {title}", style="bold"))


def _rows(scene: Scene, call: Mapping[str, Any]) -> None:
    table = Table(title="What was decided, and why", width=80, title_justify="left")
    table.add_column("rule")
    table.add_column("fired", justify="center")
    table.add_column("because", ratio=1)
    for rule in call["decision"]["rules"]:
        table.add_row(rule["name"], "yes" if rule["matched"] else "no", Text(_cut(rule["because"], 90)))
    scene.say.print(table)
    _outbox(scene, [call], "What was promised, and kept")


def _outbox(scene: Scene, calls: Sequence[Mapping[str, Any]], title: str) -> None:
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


def _arrival(delivery: Mapping[str, Any]) -> tuple[bool, str]:
    """In the order in which the CRM was asked; what was not asked for yet comes last."""
    attempts = delivery["attempts"]
    return (not attempts, attempts[-1]["at"] if attempts else "")


def _style(state: str) -> str:
    return {"delivered": "green", "dead": "red", "uncertain": "red", "held": "red"}.get(state, "yellow")


def _held(crm: Crm, caller: str) -> dict[str, int]:
    person = _entry_of(crm, caller)
    return {kind: len(crm.linked("contact", person.id, kind)) if person else 0 for kind in ("call", "task", "deal")}


def _crm_tables(scene: Scene, caller: str, before: Mapping[str, int]) -> None:
    after, person = _held(scene.crm, caller), _entry_of(scene.crm, caller)
    if person is None:
        raise DemoFailed("the caller is not in the CRM after the call")
    name = f"{person.properties.get('firstname', '')} {person.properties.get('lastname', '')}".strip()
    table = Table(title=f"The CRM's own records of {name or caller}", width=80, title_justify="left")
    for column in ("", "before", "after", "newest"):
        table.add_column(column)
    titles = {"call": "hs_call_title", "task": "hs_task_subject", "deal": "dealname"}
    for kind, count in before.items():
        newest = max(scene.crm.linked("contact", person.id, kind), key=int, default=None)
        entry = scene.crm.get(kind, newest) if newest else None
        table.add_row(
            f"{kind}s",
            str(count),
            str(after[kind]),
            Text(_cut(entry.properties.get(titles[kind], "") if entry else "", 44)),
        )
    scene.say.print(table)
    scene.say.print()
    if after["call"] != before["call"] + 1:
        raise DemoFailed("the call is not in the CRM exactly once")


def _addresses(scene: Scene, link: str, crm_origin: str, *, once: bool) -> None:
    """Each address on a line of its own, whole however narrow the terminal: it is there to be copied."""
    addresses = {"The API and its documentation": f"{scene.origin}/docs"}
    if not once:
        addresses |= {
            "The pages, by a link that opens once, within ten minutes": scene.origin + link,
            "What the CRM was asked": f"{crm_origin}/_sandbox/log",
            "An API key of this tenant": scene.key,
        }
    scene.say.print(Text("It all went as told.", style="bold"))
    for what, address in addresses.items():
        scene.say.print(f"  {what}:")
        scene.say.print(Text(address), soft_wrap=True)
    if once:
        scene.say.print("Nothing is served any more; without --once it stays until Ctrl-C.")
    else:
        scene.say.print("Still serving; Ctrl-C ends it, and everything it made goes with it.")


# ── Vapi's side ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _vapi(kind: str, caller: str, call_id: str, **call: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "type": kind,
        "timestamp": int(now.timestamp() * 1000),
        "call": {"id": call_id, "type": "inboundPhoneCall", "customer": {"number": caller}, **call},
        "customer": {"number": caller},
        "phoneNumber": {"number": "+41435550100", "name": "Front desk"},
    }


def _report(story: Story, caller: str, call_id: str) -> dict[str, Any]:
    ended = datetime.now(UTC)
    began = ended - timedelta(seconds=74)
    monday = (ended + timedelta(days=7 - ended.weekday())).date().isoformat()
    promises = [{**one, "due": monday} for one in story.analysis.get("promises", [])]
    data = {**story.analysis, **({"promises": promises} if promises else {})}
    said = [
        {"role": role, "message": text, "secondsFromStart": 2.0 + 5 * n} for n, (role, text) in enumerate(story.lines)
    ]
    return {
        **_vapi("end-of-call-report", caller, call_id, status="ended"),
        "startedAt": began.isoformat(),
        "endedAt": ended.isoformat(),
        "endedReason": "customer-ended-call",
        "analysis": {"summary": story.summary, "structuredData": data, "successEvaluation": "true"},
        "artifact": {"messages": said, "transcript": "\n".join(text for _, text in story.lines)},
    }


# ── the stage ───────────────────────────────────────────────────────────────────────────────────────────────────────


class _Outage(contextlib.AbstractAsyncContextManager["_Outage"]):
    """The sandbox on a port, which can be taken off it and put back: the same CRM, gone and come back."""

    def __init__(self, face: Any) -> None:
        self._face = face
        self._stack = contextlib.AsyncExitStack()
        self._port = 0
        self.origin = ""

    async def __aenter__(self) -> _Outage:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _open(self) -> None:
        self.origin = await self._stack.enter_async_context(running(self._face, port=self._port))
        self._port = int(self.origin.rsplit(":", 1)[1])

    def begin(self) -> None:
        """Everything the CRM is asked from now on fails as it does when its front door is broken."""
        from connectors.sandbox.faults import Fault, Kind

        self._face.faults.add(Fault(kind=Kind.OUTAGE))

    async def end(self) -> None:
        self._face.faults.clear()


class _Server(uvicorn.Server):
    """A server on somebody else's loop: signals are not its business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


@contextlib.asynccontextmanager
async def _served(settings: Settings, providers: Providers, listening: Any) -> AsyncIterator[None]:
    server = _Server(
        uvicorn.Config(
            create_app(settings, opened=partial(parts, providers=providers)),
            lifespan="on",
            ws="none",
            access_log=False,
            log_config=None,
        )
    )
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        while not server.started:
            if task.done():
                raise DemoFailed("the gateway did not start")
            await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        await task


def _registered(crm: str, origin: str) -> Providers:
    """Our app at the sandbox, which stands in for the vendor."""
    secret = SecretStr("sandbox-secret")
    app = App(client_id="sandbox-client", client_secret=secret, auth_url=origin, token_url=origin, api_url=origin)
    return Providers({crm: CATALOG[crm]}, lambda _: app)


async def _tenant(settings: Settings) -> tuple[TenantId, str]:
    db = Database(settings.database_url)
    try:
        keks = load_keks(settings)
        await check_keks(db, keks)
        async with db.transaction() as session:
            row = await tenant_queries.create(session, Keyring(db, keks), name=TENANT, region="CH", now=utc_now())
            tenant_id = TenantId(row.id)
            _, key = await api_keys.create(session, tenant_id, scopes=SCOPES, name="demo", now=utc_now())
        return tenant_id, key
    finally:
        await db.close()


async def _link(settings: Settings, tenant_id: TenantId) -> str:
    db = Database(settings.database_url)
    try:
        async with db.transaction(tenant_id) as session:
            return await make_console_link(session, tenant_id, SCOPES, utc_now())
    finally:
        await db.close()


def _entry_of(crm: Crm, caller: str) -> Entry | None:
    """The contact who has this number, in whatever spelling."""
    return next((entry for entry in crm.all("contact") if caller in _numbers(entry)), None)


def _spelling(entry: Entry, caller: str) -> str:
    """How the CRM spells the number and whose it is."""
    fields = (entry.properties.get(name) or "" for name in ("phone", "mobilephone"))
    spelt = next(text for text in fields if (number := phone.read(text, "CH")) and phone.e164(number) == caller)
    return f"“{spelt}”, {entry.properties.get('firstname', '')} {entry.properties.get('lastname', '')}".rstrip(", ")


def _numbers(entry: Entry) -> set[str]:
    read = (phone.read(entry.properties.get(name), "CH") for name in ("phone", "mobilephone"))
    return {phone.e164(number) for number in read if number is not None}


def _somebody(crm: Crm, *, skip: int = 0) -> str:
    """The number of a contact whose CRM spells it the Swiss way ("079 …"), which no CRM search finds by E.164."""
    found = [
        entry
        for entry in crm.all("contact")
        if re.match(r"0\d\d ", entry.properties.get("phone") or "") and entry.properties.get("firstname")
    ]
    numbers = [min(_numbers(entry)) for entry in found if _numbers(entry)]
    alone = [number for number in numbers if numbers.count(number) == 1]
    return alone[skip]


async def _until_tried_in_vain(scene: Scene, calls: Sequence[str]) -> list[Any]:
    """All planned, and the CRM asked at least once; it is soon left alone, so not for each of them."""

    async def look() -> list[Any] | None:
        shown = await _shown(scene, calls)
        planned = all(call["deliveries"] for call in shown)
        tried = any(one["attempts"] for call in shown for one in call["deliveries"])
        return shown if planned and tried else None

    return await _until("the calls are planned and the CRM was asked", look)


async def _until_done(scene: Scene, calls: Sequence[str]) -> list[Any]:
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

    return await _until(what, look)


async def _shown(scene: Scene, calls: Sequence[str]) -> list[Any]:
    return [await scene.api("GET", f"/v1/calls/{call}") for call in calls]


async def _until(what: str, look: Callable[[], Awaitable[T | None]]) -> T:
    end = time.monotonic() + PATIENCE.total_seconds()
    while time.monotonic() < end:
        if (found := await look()) is not None:
            return found
        await asyncio.sleep(0.1)
    raise DemoFailed(f"waited {PATIENCE.seconds} s in vain until {what}")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _short(url: str) -> str:
    """An address with its key cut: it is as good as a password."""
    head, _, key = url.rpartition("/")
    return f"{head}/{key[:6]}…"
