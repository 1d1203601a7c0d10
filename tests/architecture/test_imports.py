"""Who may import whom. The contracts themselves are in pyproject.toml, under [tool.importlinter]."""

import ast
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import PROJECT, program

PURE = {  # as style.md marks them; everything in `rules` and `connectors.voice` is pure as a whole
    "connectors.crm.records",
    "connectors.errors",
    "connectors.phone",
    "connectors.request",
    "gateway.connections.health",
    "gateway.crypto",
    "gateway.delivery.policy",
    "gateway.lookup.match",
    "gateway.mappings.apply",
    "gateway.outbox.states",
    "gateway.rulesets.facts",
}
PACKAGES = ("gateway", "connectors", "rules")


def test_import_contracts_hold() -> None:
    """A connector that knows tenants, or a rule that reaches the network, can be neither reused nor tested alone."""
    done = subprocess.run(
        [program("lint-imports"), "--no-logo", "--no-cache"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", sorted(PURE))
def test_a_pure_module_is_under_the_contract(module: str) -> None:
    """A contract protects what it names; a pure module that it does not name is pure by accident."""
    assert (PROJECT / module.replace(".", "/")).with_suffix(".py").exists()
    config = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    (pure,) = (one for one in config["tool"]["importlinter"]["contracts"] if one["id"] == "pure")
    assert module in pure["source_modules"], "add it to the contract `pure` in pyproject.toml"


def test_only_the_settings_read_the_environment() -> None:
    """A variable read elsewhere is in no documentation and in no test of the settings."""
    readers = {path for path in _sources() for name in _attributes(path) if name in ("os.environ", "os.getenv")}
    assert readers <= {PROJECT / "gateway" / "settings.py"}, "take it from gateway.settings instead"


def test_only_bell_and_worker_know_rq() -> None:
    """RQ imports jobs by name out of Redis: every queue and worker must be made where that is bounded (security.md §1)."""
    knowing = {path for path in _sources() for name in _imports(path) if name.split(".")[0] in ("rq", "fakeredis")}
    assert knowing <= {PROJECT / "gateway" / "bell.py", PROJECT / "gateway" / "worker.py"}, "go through gateway.bell"


def test_only_the_sender_and_the_oauth_steps_make_http_clients() -> None:
    """Time limits, size limits and logging without secrets are set up once; a second client would lack one of them."""
    allowed = {PROJECT / "connectors" / name for name in ("http.py", "oauth.py", "public_http.py")}
    assert {path for path in _sources() if "httpx2" in _called(path)} <= allowed, "send it through connectors.http"


def test_queries_take_the_tenant_first() -> None:
    """One forgotten condition shows a customer somebody else's calls."""
    found = [
        f"{path.relative_to(PROJECT)}:{function.lineno} {function.name}"
        for path in (PROJECT / "gateway").rglob("queries.py")
        if path.parent.name != "tenants"  # the list of tenants itself
        for function in ast.parse(path.read_text()).body
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and not function.name.startswith("_")
        if not _takes_the_tenant_first(function)
    ]
    assert found == [], "take `tenant_id` right after the session, or say in the docstring that it sees every tenant"


def _takes_the_tenant_first(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    names = [argument.arg for argument in function.args.args]
    if not names or names[0] not in ("session", "connection", "db"):
        return True  # it reads no rows by itself
    return names[1:2] == ["tenant_id"] or "every tenant" in " ".join(
        (ast.get_docstring(function) or "").lower().split()
    )


def _sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (PROJECT / package).rglob("*.py")


def _attributes(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def _called(path: Path) -> set[str]:
    """The modules whose functions or classes are called by their full name: `httpx2` for `httpx2.AsyncClient(…)`."""
    calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    return {func.value.id for func in calls if isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name)}


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
