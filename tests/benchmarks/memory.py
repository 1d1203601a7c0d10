"""Resident memory of `gateway serve` and `gateway worker` after the same story: lookups, a call, its writes at the CRM."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.figures import Figure
from tests.benchmarks.stage import Stage


def run(stage: Stage) -> Iterator[Figure]:
    return iter(())
