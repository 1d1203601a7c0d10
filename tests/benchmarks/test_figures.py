"""What a benchmark says is computed right, however fast the machine is."""

import json
from pathlib import Path

import pytest

from tests.benchmarks.figures import Figure, Target, against_floor, write


def test_each_run_is_compared_with_the_floors_around_it() -> None:
    """A neighbour who slows the machine down slows the floor down as well."""
    value, floor, ratio = against_floor([80.0, 40.0, 90.0], [100.0, 100.0, 50.0, 150.0])
    assert (value, floor) == (80.0, 100.0)
    assert ratio == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("target", "value", "ratio", "holds"),
    [
        (Target("ratio", ">=", 0.7), 10, 0.7, True),
        (Target("ratio", ">=", 0.7), 10, 0.69, False),
        (Target("ratio", ">=", 0.7), 10, None, False),
        (Target("value", "<=", 200), 199, None, True),
        (Target("value", "<=", 200), 201, 0.1, False),
        (None, 1, None, True),
    ],
)
def test_a_target_holds_or_not(target: Target | None, value: float, ratio: float | None, holds: bool) -> None:
    assert Figure("x", value, "/s", ratio=ratio, target=target).holds is holds


def test_programs_read_what_people_see(tmp_path: Path) -> None:
    out = tmp_path / "build" / "bench.json"
    write([Figure("warm", 12.34567, "/s", 20.0, 0.6172, Target("ratio", ">=", 0.7), (0.1, 0.2))], out)
    assert json.loads(out.read_text()) == [
        {
            "name": "warm",
            "value": 12.3457,
            "unit": "/s",
            "floor": 20.0,
            "ratio": 0.617,
            "target": "ratio >= 0.7",
            "holds": False,
        }
    ]
