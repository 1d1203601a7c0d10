"""What a connector says of itself, held to the truth as far as a test can: its grade (`grade.toml`) and its manifest.

The rest of a grade is claims for a reviewer. Reasons why not everything is a test: nobody here has an account at a vendor.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import pytest

from connectors.crm.catalog import CATALOG
from connectors.crm.port import Crm, Manifest
from connectors.crm.records import Write
from tests.processes import PROJECT

FOLDER = PROJECT / "connectors" / "crm"
STATES = {"done", "todo", "exempt"}
WRITES = {str(kind.__struct_config__.tag) for kind in get_args(Write)}
READS = {name for name in vars(Crm) if not name.startswith("_") and callable(getattr(Crm, name))} - {
    "write",
    "find",
    "preview",
}

every_manifest = pytest.mark.parametrize("manifest", [one.manifest for one in CATALOG.values()], ids=list(CATALOG))
every_grade = pytest.mark.parametrize("slug", sorted(path.parent.name for path in FOLDER.glob("*/grade.toml")))


def grade(slug: str) -> Mapping[str, Any]:
    return tomllib.loads((FOLDER / slug / "grade.toml").read_text())


def items(slug: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Every item of the scale, as "contract.reads" and what is said of it. `[unsure]` is a list of questions instead."""
    for section, said in grade(slug).items():
        if section != "unsure":
            yield from ((f"{section}.{name}", item) for name, item in said.items())


def missing(test: str) -> str | None:
    """What of "tests/folder", "tests/file.py" or "tests/file.py::name", words after it left aside, is not there."""
    named = re.match(r"(tests/[\w/.]*\w)(?:::(\w+))?", test)
    if named is None:
        return "begin with a path below tests/"
    path = PROJECT / named[1]
    if not path.exists():
        return f"{named[1]} does not exist"
    if path.is_dir() and not any(path.rglob("test_*.py")):
        return f"{named[1]} holds no test"
    if named[2] and not re.search(rf"^(?:async )?def {named[2]}\(", path.read_text(), re.MULTILINE):
        return f"{named[1]} has no {named[2]}"
    return None


def test_every_connector_is_graded() -> None:
    """Copy connectors/crm/hubspot/grade.toml and say of each item what is true."""
    assert {path.parent.name for path in FOLDER.glob("*/grade.toml")} >= set(CATALOG)


@every_grade
def test_a_grade_leaves_nothing_of_the_scale_out(slug: str) -> None:
    """An item that one connector is asked about, all are: `exempt` with the reason is an answer, silence is none."""
    scale = {name for other in FOLDER.glob("*/grade.toml") for name, _ in items(other.parent.name)}
    assert scale - {name for name, _ in items(slug)} == set()


@every_grade
def test_each_item_says_what_it_rests_on(slug: str) -> None:
    """Done: by which test, or where a reviewer can see it. To do and exempt: why."""
    for name, item in items(slug):
        assert set(item) <= {"state", "note", "test"}, name
        assert item["state"] in STATES, f"{name} is {item['state']!r}: say one of {sorted(STATES)}"
        assert item.get("note") or (item["state"] == "done" and item.get("test")), (
            f"{name} rests on nothing: add a note"
        )


@every_grade
def test_the_tests_a_grade_names_exist(slug: str) -> None:
    wrong = {name: why for name, item in items(slug) if "test" in item and (why := missing(item["test"]))}
    assert wrong == {}


@every_grade
def test_what_is_unsure_is_said_in_words(slug: str) -> None:
    assert all(isinstance(text, str) and text for text in grade(slug).get("unsure", {}).values())


@every_manifest
def test_what_a_manifest_can_are_writes_and_reads_of_the_port(manifest: Manifest) -> None:
    """A misspelt ability would be shown to tenants as missing."""
    assert manifest.can - WRITES - READS == set()


@every_manifest
def test_every_write_it_can_says_how_a_repeat_is_kept_from_doubling(manifest: Manifest) -> None:
    assert set(manifest.sticks) == manifest.can & WRITES
    assert all(manifest.sticks.values()), "at least one level each, the best first"


@every_manifest
def test_every_scope_is_said_in_words(manifest: Manifest) -> None:
    """Pages name a missing scope by what it is for."""
    assert {*manifest.scopes, *manifest.optional_scopes} == set(manifest.scope_words)
    assert all(manifest.scope_words.values())


@every_manifest
def test_what_a_manifest_refers_to_is_there(manifest: Manifest) -> None:
    assert set(manifest.substitutes) <= manifest.can & WRITES
    for name, bucket in manifest.buckets.items():
        assert set(bucket.spent_by) <= set(manifest.buckets) - {name}
        assert 0 <= bucket.reserve < bucket.limit
    assert not manifest.guide or (PROJECT / manifest.guide).exists()
