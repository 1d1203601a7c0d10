"""`make chaos SEEDS=20`: one run a seed, a table for people and build/chaos.json for programs; exits 1 when any run is bad."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests import servers
from tests.chaos.story import SHORT, Size, Verdict, run
from tests.chaos.vendors import VENDORS

OUT = Path(__file__).parents[2] / "build" / "chaos.json"


def main() -> int:
    wanted = _arguments()
    first, seeds = wanted.first, wanted.seeds
    size = SHORT if wanted.short else Size()
    verdicts: list[tuple[int, Verdict]] = []
    for seed in range(first, first + seeds):
        with servers.start_postgres(durable=True) as postgres, servers.start_redis() as redis:
            verdict = asyncio.run(run(seed, size, postgres, redis, crm=wanted.crm))
        sys.stdout.write(f"{wanted.crm}, seed {seed}: {verdict}\n")
        for what in ("lost", "doubled", "out_of_order", "unfinished"):
            for line in getattr(verdict, what)[:10]:
                sys.stdout.write(f"    {what}: {line}\n")
        sys.stdout.flush()
        verdicts.append((seed, verdict))
    _write(verdicts)
    Console().print(_table(verdicts))
    return 0 if all(verdict.good for _, verdict in verdicts) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description="Hurt delivery, then count at the CRM.")
    parser.add_argument("--seeds", type=int, default=5, help="how many runs")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--crm", choices=sorted(VENDORS), default="hubspot", help="whose sandbox is written to")
    parser.add_argument("--short", action="store_true", help="the size of the one in the suite")
    return parser.parse_args()


COUNTED = ("lost", "doubled", "out_of_order", "unfinished")


def _write(verdicts: list[tuple[int, Verdict]]) -> None:
    promised = sum(verdict.promised for _, verdict in verdicts)
    rows = [
        {
            "name": "promised",
            "value": promised,
            "unit": "writes",
            "floor": None,
            "ratio": None,
            "target": None,
            "holds": True,
        }
    ]
    for name in COUNTED:
        value = sum(len(getattr(verdict, name)) for _, verdict in verdicts)
        rows.append(
            {
                "name": name,
                "value": value,
                "unit": "writes",
                "floor": None,
                "ratio": None,
                "target": 0,
                "holds": value == 0,
            }
        )
    strays = sum(verdict.strays for _, verdict in verdicts)
    rows.append(
        {
            "name": "strays",
            "value": strays,
            "unit": "records",
            "floor": None,
            "ratio": None,
            "target": 0,
            "holds": strays == 0,
        }
    )
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=1) + "\n")


def _table(verdicts: list[tuple[int, Verdict]]) -> Table:
    table = Table(title="Counted at the CRM", width=80)
    for name in ("seed", "promised", "lost", "doubled", "order", "open", "strays", "troubles", "s"):
        table.add_column(name, justify="right")
    for seed, verdict in verdicts:
        counted = (len(getattr(verdict, name)) for name in COUNTED)
        more = (verdict.strays, verdict.troubles.total(), round(verdict.took))
        table.add_row(*map(str, (seed, verdict.promised, *counted, *more)))
    return table


if __name__ == "__main__":
    sys.exit(main())
