"""What a benchmark says: a figure, its floor, the ratio, the target; as a table for people and JSON for programs."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from rich.console import Console
from rich.table import Table

OUT = Path(__file__).parents[2] / "build" / "bench.json"


@dataclass(frozen=True)
class Target:
    """What must hold of the ratio, or of the value where there is no floor."""

    of: Literal["ratio", "value"]
    sign: Literal[">=", "<="]
    bound: float

    def holds(self, value: float, ratio: float | None) -> bool:
        found = ratio if self.of == "ratio" else value
        if found is None:
            return False
        return found >= self.bound if self.sign == ">=" else found <= self.bound

    def __str__(self) -> str:
        return f"{self.of} {self.sign} {self.bound:g}"


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    value, floor  in `unit`; medians of interleaved runs. `ratio` is the median of value ÷ neighbouring floors.
    cpu           CPU seconds that ours and the floor's server took for a thousand requests, where that was measured.
    """

    name: str
    value: float
    unit: str
    floor: float | None = None
    ratio: float | None = None
    target: Target | None = None
    cpu: tuple[float, float] | None = None

    @property
    def holds(self) -> bool:
        return self.target is None or self.target.holds(self.value, self.ratio)


def against_floor(values: Sequence[float], floors: Sequence[float]) -> tuple[float, float, float]:
    """(value, floor, ratio): medians, where each value ran between two floors: one floor more than values."""
    assert len(floors) == len(values) + 1
    ratios = [value * 2 / (floors[n] + floors[n + 1]) for n, value in enumerate(values)]
    return statistics.median(values), statistics.median(floors), statistics.median(ratios)


def write(figures: Sequence[Figure], out: Path = OUT) -> None:
    rows = [
        {
            "name": one.name,
            "value": round(one.value, 4),
            "unit": one.unit,
            "floor": None if one.floor is None else round(one.floor, 4),
            "ratio": None if one.ratio is None else round(one.ratio, 3),
            "target": None if one.target is None else str(one.target),
            "holds": one.holds,
        }
        for one in figures
    ]
    out.parent.mkdir(exist_ok=True)
    out.write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=2) + b"\n")


def show(figures: Sequence[Figure], notes: Sequence[str]) -> None:
    """The table, 80 columns wide."""
    table = Table(width=80, title="Benchmarks: ours against a floor of the same run", title_justify="left")
    table.add_column("what", ratio=1)
    for name in ("value", "floor", "ratio", "CPU s/1000", "target", ""):
        table.add_column(name, justify="right" if name != "" else "center")
    for one in figures:
        table.add_row(
            one.name,
            f"{_short(one.value)} {one.unit}",
            "" if one.floor is None else _short(one.floor),
            "" if one.ratio is None else f"{one.ratio:.2f}",
            "" if one.cpu is None else f"{one.cpu[0]:.2f} : {one.cpu[1]:.2f}",
            "" if one.target is None else f"{one.target.sign} {one.target.bound:g}",
            "" if one.target is None else "yes" if one.holds else "[bold red]NO[/]",
        )
    console = Console(file=sys.stdout, width=80)
    console.print(table)
    for note in notes:
        console.print(note, soft_wrap=True, highlight=False)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
