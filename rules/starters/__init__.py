"""Rule sets to begin with, as the JSON documents a tenant could have written."""

import json
from functools import cache
from importlib.resources import files

from rules.rule import RuleSet, parse, with_ids


def names() -> tuple[str, ...]:
    """The sets there are, sorted; `default` is what a new tenant gets."""
    found = (entry.name for entry in files(__name__).iterdir() if entry.name.endswith(".json"))
    return tuple(sorted(name.removesuffix(".json") for name in found))


@cache
def starter(name: str = "default") -> RuleSet:
    """One set, checked and with ids, the same on every machine. Raises KeyError for a name that is not in `names()`."""
    if name not in names():
        raise KeyError(name)
    return with_ids(parse(json.loads(files(__name__).joinpath(f"{name}.json").read_text("utf-8"))))
