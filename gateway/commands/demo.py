"""`gateway demo`: the main job on one command."""

from __future__ import annotations

import asyncio
import contextlib
import re
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.terminal import Failed


def demo(
    crm: Annotated[str, typer.Option(help="Which CRM's sandbox: hubspot, salesforce, pipedrive or zoho.")] = "hubspot",
    story: Annotated[str, typer.Option(help="Who calls: lead, newcomer or callback.")] = "lead",
    once: Annotated[bool, typer.Option("--once", help="End when the story is told, with 0 or 1.")] = False,
    picture: Annotated[Path | None, typer.Option(help="Keep what is shown as an SVG file; implies --once.")] = None,
) -> None:
    """Watch a call answered by name and written to a CRM, through an outage. Needs nothing and leaves nothing."""
    from rich.console import Console

    from connectors.sandbox.serve import SHOWN
    from gateway.demo import STORIES, DemoFailed, run

    if crm not in SHOWN:
        raise Failed(f"no sandbox is called {crm}; there is {', '.join(sorted(SHOWN))}", code=2)
    if story not in STORIES:
        raise Failed(f"no story is called {story}; there is {', '.join(sorted(STORIES))}", code=2)
    console = Console(highlight=False, record=picture is not None, width=80 if picture else None)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(run(crm=crm, story=story, once=once or picture is not None, console=console))
    except DemoFailed as failed:
        raise Failed(f"the demo did not go as told: {failed}") from None
    if picture is not None:
        svg = console.export_svg(title="make demo", unique_id="demo")
        picture.write_text(re.sub(r"@font-face {.*?}\s*", "", svg, flags=re.DOTALL))  # a picture fetches nothing
