"""The lines that close a test run: on what it ran, what was checked against vendors' schemas, and what was not.

A run that skipped half of itself looks like a good one unless it says so. Works across xdist's workers.
"""

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tests.processes import PROJECT
from tests.stores import PROVIDER

_operations: Counter[tuple[str, str]] = Counter()


def note_operation(vendor: str, operation: str) -> None:
    """Note that one exchange was checked against the vendor's published schema; call it after the check held.

    vendor     such as "hubspot"
    operation  method and path as the schema writes it, such as "POST /crm/objects/{version}/contacts"; counted once
               however often it is checked
    """
    _operations[vendor, operation] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["operations"] = [[*key, times] for key, times in _operations.items()]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """xdist: a worker is done and says what it noted (nothing, if it crashed: that is an error of its own)."""
    for vendor, operation, times in getattr(node, "workeroutput", {}).get("operations", []):
        _operations[vendor, operation] += times


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outermost, so that it comes after pytest's own list of failures
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> Iterator[None]:
    yield
    outcomes = {name: len(terminalreporter.stats.get(name, [])) for name in ("passed", "failed", "error", "skipped")}
    terminalreporter.section("what this run rests on")
    for line in [*_servers(config), *_schemas(), *_docker(), *_skips(terminalreporter.stats.get("skipped", []))]:
        terminalreporter.write_line(line)
    ran = outcomes["passed"] + outcomes["failed"]
    terminalreporter.write_line(
        f"{ran} tests ran: {outcomes['passed']} passed, {outcomes['failed']} failed, {outcomes['error']} errors, "
        f"{outcomes['skipped']} skipped"
    )


def _servers(config: pytest.Config) -> Iterable[str]:
    used = config.stash[PROVIDER].used()
    for kind, name in (("postgres", "PostgreSQL"), ("redis", "Redis")):
        where = used.get(kind)
        yield f"{name} {where.version}, from {where.origin}" if where else f"{name}: no test asked for it"


def _schemas() -> Iterable[str]:
    for vendor in sorted({vendor for vendor, _ in _operations} | {"hubspot"}):
        times = [count for (whose, _), count in _operations.items() if whose == vendor]
        yield f"{len(times)} operations checked against {vendor}'s published schemas, in {sum(times)} exchanges"


def _docker() -> Iterable[str]:
    if not (PROJECT / "docker-compose.yml").exists():
        return
    if not _docker_engine():
        yield "not checked: no Docker engine at hand, so docker-compose.yml and Dockerfile were read but not started"


def _docker_engine() -> bool:
    docker = shutil.which("docker")
    if docker is None:
        return False
    try:
        return subprocess.run([docker, "info"], capture_output=True, timeout=10, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _skips(reports: Iterable[Any]) -> Iterable[str]:
    reasons = Counter(_reason(report) for report in reports)
    for reason, times in sorted(reasons.items()):
        yield f"not checked: {times} × {reason}"


def _reason(report: Any) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return str(text).removeprefix("Skipped: ")
