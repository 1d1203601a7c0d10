"""The material beside the project: vendors' schemas, recorded answers, sample payloads. Read in place, never copied.

It is not part of the project; where it is absent, what needs it is skipped with a reason that the closing lines count.
"""

import os
from pathlib import Path

import pytest

from tests.processes import PROJECT

FOLDER = Path(os.environ.get("GATEWAY_SHARED") or PROJECT.parent / "shared")


def shared(path: str, *, what: str) -> Path:
    """The file or folder `path` (such as "specs/hubspot"), or a skip that says `what` was therefore not checked.

    Works inside tests and fixtures, and at import through `pytestmark = needs_shared(…)`.
    """
    found = FOLDER / path
    if not found.exists():
        pytest.skip(_reason(path, what))
    return found


def present(path: str) -> bool:
    """Whether it is there: to collect one test per sample file, and one skipped test where there is none."""
    return (FOLDER / path).exists()


def needs_shared(path: str, *, what: str) -> pytest.MarkDecorator:
    """The same as a mark, for a whole module or class."""
    return pytest.mark.skipif(not present(path), reason=_reason(path, what))


def _reason(path: str, what: str) -> str:
    return f"../shared/{path} is not here: {what} was not checked"
