"""`make bench`: what is fast here, as ratios to floors measured in the same run. `BENCH=quick` for a first look.

Prints its table and writes build/bench.json. Figures inform; they never fail a build: machines differ, neighbours too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence

from tests.benchmarks import calls, delivery, directory, ingest, lookup, memory
from tests.benchmarks.figures import Figure, show, write
from tests.benchmarks.stage import Stage, staged

BENCHMARKS: Sequence[tuple[str, Callable[[Stage], Iterator[Figure]]]] = (
    ("lookup", lookup.run),
    ("directory", directory.run),
    ("ingest", ingest.measure),
    ("delivery", delivery.run),
    ("memory", memory.run),
    ("calls", calls.run),
)
"""Each yields its figures on a stage of its own; `BENCH_ONLY=lookup,…` picks some."""


def main() -> int:
    quick = os.environ.get("BENCH") == "quick"
    only = {name for name in os.environ.get("BENCH_ONLY", "").split(",") if name}
    figures: list[Figure] = []
    notes: list[str] = []
    for name, run in BENCHMARKS:
        if only and name not in only:
            continue
        with staged(quick=quick) as stage:
            notes = [
                f"PostgreSQL {stage.postgres.where.version}, Redis {stage.redis.where.version}, "
                f"Python {sys.version.split()[0]}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}",
                "CPU s/1000: CPU seconds of the measured server for a thousand requests, ours : floor",
            ]
            for figure in run(stage):
                sys.stderr.write(f"{name}: {figure.name}: {figure.value:.2f} {figure.unit}\n")
                figures.append(figure)
    if quick:
        notes.append("BENCH=quick: short runs, not to be quoted")
    show(figures, notes)
    write(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
