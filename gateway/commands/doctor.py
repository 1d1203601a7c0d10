"""`gateway doctor`: the findings of `gateway/doctor.py`, for people and programs."""

from __future__ import annotations

from dataclasses import asdict

import typer

from gateway.commands.terminal import Json, as_json, read_settings, run, table


def doctor(json_: Json = False) -> None:
    """Say what is wrong with this installation. Ends with 1 when something does not work."""
    from gateway.doctor import Level, examine

    findings = run(examine(read_settings()))
    if json_:
        as_json([asdict(finding) for finding in findings])
    else:
        table("", ["", "about", "finding"], [[one.level, one.about, one.text] for one in findings], empty="")
    if any(finding.level is Level.PROBLEM for finding in findings):
        raise typer.Exit(1)
