"""`gateway deliveries`: the outbox, for whoever looks after it at a terminal."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.commands.terminal import Failed, Json, TenantName, as_json, opened, read_settings, run, say, table

commands = typer.Typer(name="deliveries", help="The outbox: what was promised to CRMs.", no_args_is_help=True)


@commands.command("list")
def list_(
    tenant: TenantName,
    state: Annotated[str, typer.Option(help="dead, held, uncertain, pending, …; all for every state.")] = "dead",
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    json_: Json = False,
) -> None:
    """Deliveries in one state, newest first, with what can be done about them."""

    async def work() -> list[dict[str, Any]]:
        from gateway.db.base import TenantId
        from gateway.delivery import dead_letters
        from gateway.delivery.routes import shown
        from gateway.outbox.states import State
        from gateway.tenants import queries

        if state != "all" and state not in set(State):
            raise Failed(f"no state is called {state}; there is {', '.join(State)}, all", code=2)
        states = () if state == "all" else (State(state),)
        async with opened(read_settings()) as (db, _), db.reading() as session:
            tenant_id = TenantId((await queries.named(session, tenant)).id)
            rows = await dead_letters.listed(session, tenant_id, states=states, limit=limit)
            return [shown(row, []).model_dump(mode="json", exclude={"attempts"}) for row in rows]

    found = run(work())
    if json_:
        as_json(found)
        return
    cells = [(one["id"], one["action"], one["state"], one["reason"] or "", one["mend"] or "") for one in found]
    table("Deliveries", ("id", "action", "state", "why", "what to do"), cells, empty="None.")


@commands.command("replay")
def replay(
    tenant: TenantName,
    delivery: Annotated[str | None, typer.Argument(metavar="[DELIVERY]", help="A delivery's id.")] = None,
    reason: Annotated[str | None, typer.Option(help="All dead and held ones of this reason: rejected, gone, …")] = None,
    resend: Annotated[
        bool | None,
        typer.Option("--resend/--arrived", help="For an uncertain one: send it again, or take it as there."),
    ] = None,
    json_: Json = False,
) -> None:
    """Let one delivery go on, or all of one reason."""
    if (delivery is None) == (reason is None):
        raise Failed("name one delivery, or a --reason", code=2)

    async def work() -> int:
        from gateway.db.base import TenantId
        from gateway.delivery import dead_letters
        from gateway.tenants import queries

        settings = read_settings()
        async with opened(settings) as (db, _), db.transaction() as session:
            tenant_id = TenantId((await queries.named(session, tenant)).id)
            lifetime = settings.delivery_lifetime
            if delivery is None:
                return await dead_letters.replay_by_code(session, tenant_id, reason or "", lifetime=lifetime)
            try:
                row = await dead_letters.replay(session, tenant_id, delivery, lifetime=lifetime, resend=resend)
            except dead_letters.NotNow as error:
                raise Failed(str(error)) from None
            if row is None:
                raise Failed("this tenant has no such delivery")
            return 1

    count = run(work())
    if json_:
        as_json({"replayed": count})
    else:
        say(f"{count} replayed; a worker sends {'it' if count == 1 else 'them'} next")


@commands.command("cancel")
def cancel(
    tenant: TenantName,
    delivery: Annotated[str, typer.Argument(metavar="DELIVERY", help="A delivery's id.")],
    json_: Json = False,
) -> None:
    """Give a delivery up; what needs it is held."""

    async def work() -> None:
        from gateway.db.base import TenantId
        from gateway.delivery import dead_letters
        from gateway.tenants import queries

        async with opened(read_settings()) as (db, _), db.transaction() as session:
            tenant_id = TenantId((await queries.named(session, tenant)).id)
            try:
                row = await dead_letters.cancel(session, tenant_id, delivery)
            except dead_letters.NotNow as error:
                raise Failed(str(error)) from None
            if row is None:
                raise Failed("this tenant has no such delivery")

    run(work())
    if json_:
        as_json({"cancelled": delivery})
    else:
        say(f"{delivery} is cancelled")
