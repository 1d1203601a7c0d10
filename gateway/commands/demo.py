"""`gateway demo`: the main job on one command."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated

import typer

from gateway.commands.terminal import Failed


def demo(
    crm: Annotated[str, typer.Option(help="Which CRM's sandbox: hubspot.")] = "hubspot",
    story: Annotated[str, typer.Option(help="Who calls: lead, newcomer or callback.")] = "lead",
    once: Annotated[bool, typer.Option("--once", help="End when the story is told, with 0 or 1.")] = False,
) -> None:
    """Watch a call answered by name and written to a CRM, through an outage. Needs nothing and leaves nothing."""
    from connectors.sandbox.serve import PROVIDERS
    from gateway.demo import STORIES, DemoFailed, run

    if crm not in PROVIDERS:
        raise Failed(f"no sandbox is called {crm}; there is {', '.join(sorted(PROVIDERS))}", code=2)
    if story not in STORIES:
        raise Failed(f"no story is called {story}; there is {', '.join(sorted(STORIES))}", code=2)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(run(crm=crm, story=story, once=once))
    except DemoFailed as failed:
        raise Failed(f"the demo did not go as told: {failed}") from None
